//! The Redis of suite `jobs`: one server for a whole run, on loopback and without persistence, which all systems use in turn.
//!
//! It is empty at the beginning of each sample. Peers are told its address in the environment ([`VARIABLE`]). It ends with this
//! process, however that ends: a shell waits for the end of its input.

#[cfg(feature = "ours")]
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Where peers find the address.
pub const VARIABLE: &str = "ROPEWALK_BENCH_REDIS";

const PROGRAM: &str = "redis-server";
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// The server.
#[derive(Debug)]
pub struct Server {
    port: u16,
    password: String,
    _guard: Child,
}

/// What it has done so far.
#[cfg(feature = "ours")]
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Commands that it ran, those inside of scripts too.
    pub commands: f64,
    /// Its CPU time, in seconds.
    pub cpu_s: f64,
}

/// Started at the first call; none where there is no `redis-server`.
pub fn shared() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    SERVER.get_or_init(Server::start).as_ref()
}

impl Server {
    fn start() -> Option<Server> {
        let version = Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            return None;
        }
        // Free now; whoever takes it in between does not know the password, without which nothing is emptied.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let password = format!("{}-{}", std::process::id(), now.as_nanos());
        let guard = Command::new("sh")
            .args(["-c", r#""$0" "$@" >/dev/null & server=$!; cat >/dev/null; kill $server"#, PROGRAM])
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--requirepass", &password])
            .stdin(Stdio::piped())
            .spawn()
            .expect("a shell");
        let since = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(since.elapsed() < ANSWERS_WITHIN, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(Server { port, password, _guard: guard })
    }

    /// As every client takes it.
    pub fn address(&self) -> String {
        format!("redis://:{}@127.0.0.1:{}/", self.password, self.port)
    }
}

#[cfg(feature = "ours")]
impl Server {
    /// Forgets all data.
    pub fn empty(&self) {
        assert_eq!(self.ask("FLUSHALL"), "+OK");
    }

    /// What it has done so far.
    pub fn figures(&self) -> Figures {
        let info = self.ask("INFO all");
        let value = |name: &str| -> f64 {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|text| text.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in INFO"))
        };
        Figures { commands: value("total_commands_processed"), cpu_s: value("used_cpu_user") + value("used_cpu_sys") }
    }

    /// One command and its answer: a line, or a text.
    fn ask(&self, command: &str) -> String {
        let mut server = TcpStream::connect(("127.0.0.1", self.port)).expect("the server lives");
        server.set_read_timeout(Some(ANSWERS_WITHIN)).expect("a socket");
        server.write_all(format!("AUTH {}\r\n{command}\r\n", self.password).as_bytes()).expect("the server lives");
        let mut answer = BufReader::new(server);
        let mut line = String::new();
        answer.read_line(&mut line).expect("an answer");
        assert_eq!(line.trim_end(), "+OK", "another server has taken the port");
        line.clear();
        answer.read_line(&mut line).expect("an answer");
        let Some(length) = line.strip_prefix('$') else { return line.trim_end().to_owned() };
        let mut text = vec![0; length.trim().parse().expect("a length")];
        answer.read_exact(&mut text).expect("the rest of the answer");
        String::from_utf8(text).expect("text")
    }
}
