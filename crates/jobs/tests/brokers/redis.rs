//! A Redis of one's own: one server for each process of tests, on a socket in a directory of its own, gone when the process is.
//!
//! Tests do not see each other: each has a prefix of its own. They speak as the user of the guide's `ACL SETUSER` line, so
//! what that line forgets is a test that fails.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What the guide tells people to give to ropewalk, word by word; `rq` is the prefix of the keys.
fn acl() -> &'static str {
    let guide = include_str!("../../../../guide/src/jobs.md");
    guide.lines().find(|line| line.starts_with("ACL SETUSER ")).expect("a line of the guide")
}

/// A server, and where it listens.
pub(crate) struct Server {
    pub(crate) socket: PathBuf,
    /// Ends it with this process, however that ends: its standard input closes.
    guard: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Server {
    /// Starts one in this directory. `more` are lines for its configuration.
    pub(crate) fn start(directory: &Path, more: &[&str]) -> Self {
        Self::start_and(directory, more, false)
    }

    /// And, if that is wanted, the directory goes with it.
    fn start_and(directory: &Path, more: &[&str], forget: bool) -> Self {
        let socket = directory.join("redis.sock");
        let mut command = Command::new("sh");
        // The shell waits for the end of its input, and then ends what it started.
        command
            .arg("-c")
            .arg(r#"$SERVER "$@" >redis.log 2>&1 & server=$!; cat >/dev/null; kill -9 $server; rm -rf "$FORGET""#)
            .arg("sh");
        command.env("FORGET", if forget { directory } else { Path::new("") });
        // Another one that speaks like it, as valkey-server; with words before its name, if it has to be started somewhere.
        command.env("SERVER", std::env::var("ROPEWALK_REDIS_SERVER").as_deref().unwrap_or("redis-server"));
        command.args(["--port", "0", "--unixsocket"]).arg(&socket).args(["--save", "", "--dir", "."]).args(more);
        let guard = command.current_dir(directory).stdin(Stdio::piped()).spawn().expect("a shell");
        let until = Instant::now() + Duration::from_secs(20);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            let log = std::fs::read_to_string(directory.join("redis.log")).unwrap_or_default();
            assert!(
                Instant::now() < until && !log.contains("not found"),
                "these tests need redis-server: `apt-get install redis-server` or `brew install redis` ({log})"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { socket, guard }
    }

    /// Ends it as a power cut does (SIGKILL), and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        drop(self.guard.stdin.take());
        self.guard.wait().expect("the shell was ours");
    }

    /// The address, with a user and a password if there are any.
    pub(crate) fn url(&self, user: &str) -> String {
        format!("redis+unix://{}?{user}", self.socket.display())
    }
}

/// The server of this process, with the user of the guide.
pub(crate) fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let name = format!("ropewalk-redis-{}", std::process::id());
        let memory = PathBuf::from("/dev/shm");
        let directory = if memory.is_dir() { memory } else { std::env::temp_dir() }.join(name);
        std::fs::create_dir_all(&directory).expect("a directory for temporary files");
        let server = Server::start_and(&directory, &[], true);
        let mut admin =
            redis::Client::open(server.url("")).and_then(|client| client.get_connection()).expect("a connection");
        let mut set = redis::cmd("ACL");
        // The line without the name of its command, and with a password.
        for word in acl().replace("PASSWORD", "secret").split_whitespace().skip(1) {
            set.arg(word);
        }
        set.exec(&mut admin).expect("an ACL that Redis takes");
        server
    })
}

/// A prefix that nobody else has.
pub(crate) fn prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("rq:test{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// As which user the tests speak.
pub(crate) const USER: &str = "user=ropewalk&pass=secret";
