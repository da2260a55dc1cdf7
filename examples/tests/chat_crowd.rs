//! A crowd that vanishes: the clients of the chat room are killed at random moments, and nothing of them is left in it.
//!
//! A thousand clients, three times; with `ROPEWALK_DEEP` set (`ci/deep.sh`) ten thousand, five times.
#![cfg(target_os = "linux")]

#[path = "support/built.rs"]
mod built;

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long the room may take to notice that everybody has gone.
const PATIENCE: Duration = Duration::from_secs(100);

/// Connects that many times, says so after each hundred and once more when all have been welcomed, and then lets somebody
/// speak now and then, for ever.
const CROWD: &str = r#"
import resource, socket, sys, time
host, port, clients = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
crowd = []
for number in range(clients):
    crowd.append(socket.create_connection((host, port)))
    if number % 100 == 99:
        print(number + 1, flush=True)
for member in crowd:
    member.recv(len(b"welcome\n"))
print("all are in", flush=True)
while True:
    crowd[int(time.monotonic() * 1000) % clients].sendall(b"hemp is dear today\n")
    time.sleep(0.002)
"#;

/// The program and what it has said on its standard error.
struct Room {
    child: Child,
    errors: PathBuf,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.child.kill().expect("it is a child of ours");
        self.child.wait().expect("it is a child of ours");
        fs::remove_file(&self.errors).expect("it was made");
    }
}

impl Room {
    fn proc(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.child.id()))
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(self.proc("fd")).expect("it runs").count()
    }

    /// Addresses that it has mapped, in kilobytes: stacks are never unmapped, but used again.
    fn mapped(&self) -> u64 {
        let status = fs::read_to_string(self.proc("status")).expect("it runs");
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).expect("Linux says it");
        size.split_whitespace().next().expect("a number").parse().expect("a number")
    }

    /// Who is there besides `main`, by a dump that is asked for.
    fn greenlets(&self) -> usize {
        let before = fs::read_to_string(&self.errors).expect("it was made").len();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-QUIT", &pid]).status().expect("kill runs").success());
        let dump = eventually("a dump", || {
            let text = fs::read_to_string(&self.errors).expect("it was made");
            // Written at once, with `main` in it.
            text[before..].contains("\"main\" (spawned").then(|| text[before..].to_owned())
        });
        dump.lines().filter(|line| line.starts_with("  greenlet ")).count() - 1
    }
}

#[track_caller]
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "{what}: not within {} s", PATIENCE.as_secs());
        ropewalk::sleep(Duration::from_millis(20));
    }
}

/// Descriptors that a program started from here may have.
fn descriptors_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").expect("Linux says it");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("Linux says it");
    line.split_whitespace().next().expect("a number").parse().unwrap_or(usize::MAX)
}

#[test]
fn crowd_that_is_killed_leaves_nothing_in_the_room() {
    let deep = std::env::var_os("ROPEWALK_DEEP").is_some();
    let (wanted, rounds) = if deep { (10_000, 5) } else { (1_000, 3) };
    let clients = wanted.min(descriptors_max() - 100);
    assert!(clients >= 500, "too few descriptors for a crowd: raise the limit with `ulimit -n 4096`");

    let errors = std::env::temp_dir().join(format!("ropewalk-chat-crowd-{}", std::process::id()));
    let mut child = Command::new(built::built().join("chat_server"))
        .arg("127.0.0.1:0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&errors).expect("a file for what it complains of"))
        .spawn()
        .expect("the example was built");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("is piped")).read_line(&mut first).expect("it says where it is");
    let room = Room { child, errors };
    let address = first.trim_end().strip_prefix("the room is open at ").expect(&first);
    let (host, port) = address.rsplit_once(':').expect("an address has a port");

    let before = room.descriptors();
    let mut mapped = None;
    for round in 0..rounds {
        let mut crowd = Command::new("python3")
            .args(["-c", CROWD, host, port, &clients.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is installed (apt install python3)");
        // The first crowd is complete, and in the middle of a talk: a connection alone may still wait to be accepted, and
        // no later crowd shall need more stacks. The others have got as far as chance will have it.
        let hundreds = clients / 100;
        let random = RandomState::new().hash_one(round) as usize;
        let last = if round == 0 { hundreds + 1 } else { 1 + random % hundreds };
        let mut progress = BufReader::new(crowd.stdout.take().expect("is piped")).lines();
        assert_eq!(progress.by_ref().take(last).map_while(Result::ok).count(), last, "the crowd came in");
        ropewalk::sleep(Duration::from_millis(random as u64 / 7 % 100));
        assert!(room.descriptors() > before, "somebody is in the room");
        crowd.kill().expect("it is a child of ours");
        crowd.wait().expect("it is a child of ours");

        eventually("the descriptors from before", || (room.descriptors() == before).then_some(()));
        eventually("no greenlet but main", || (room.greenlets() == 0).then_some(()));
        let now = room.mapped();
        let first = *mapped.get_or_insert(now);
        assert!(now <= first + first / 10, "{first} kB of addresses after the first crowd, {now} kB after {round}");
    }
}
