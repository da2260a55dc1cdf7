//! The first look at a deployment of python-rq: what it says, and that it writes nothing, under a user who could not.

#![cfg(unix)]

#[path = "brokers/redis.rs"]
#[allow(dead_code, reason = "of the suite of the brokers, which uses all of it")]
mod redis_server;

use redis_server::Server;
use ropewalk_jobs::Registry;
use ropewalk_jobs::audit::Audit;
use ropewalk_jobs::rq::data::{self, Serializer};
use ropewalk_jobs::rq::keys::Keys;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

#[ropewalk::task(name = "app.tasks.thumb")]
fn thumb(id: u64, size: u32) -> u64 {
    id * u64::from(size)
}

struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ropewalk-audit-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A pickle of a job whose argument is an object of the application.
const OF_AN_OBJECT: &[u8] = b"\x80\x04(\x8c\x0eapp.tasks.mailN(capp.models\nUser\n)\x81}bt}t.";

fn job(admin: &mut redis::Connection, keys: &Keys, id: &str, data: &[u8], list: (&str, &str, &str)) {
    let (command, key, status) = list;
    let fields = [
        ("origin", "high"),
        ("status", status),
        ("created_at", "2026-11-22T10:00:00.000000Z"),
        ("started_at", "2026-11-22T10:00:01.000000Z"),
        ("ended_at", if status == "finished" { "2026-11-22T10:00:01.250000Z" } else { "" }),
    ];
    redis::cmd("HSET").arg(keys.job(id)).arg("data").arg(data).arg(&fields[..]).exec(admin).unwrap();
    let mut listed = redis::cmd(command);
    listed.arg(key);
    if command == "ZADD" {
        listed.arg(9_000_000_000_u64);
    }
    listed.arg(if status == "started" { format!("{id}:execution") } else { id.to_owned() }).exec(admin).unwrap();
}

/// What MONITOR tells of a server until it is told to end.
struct Monitor {
    lines: BufReader<UnixStream>,
}

impl Monitor {
    fn start(server: &Server) -> Self {
        let mut stream = UnixStream::connect(&server.socket).unwrap();
        stream.write_all(b"MONITOR\r\n").unwrap();
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, "+OK\r\n");
        Self { lines }
    }

    /// The commands since its start, in small letters.
    fn commands(mut self, admin: &mut redis::Connection) -> Vec<String> {
        redis::cmd("ECHO").arg("the end of what is watched").exec(admin).unwrap();
        let mut commands = Vec::new();
        loop {
            let mut line = String::new();
            self.lines.read_line(&mut line).unwrap();
            if line.contains("the end of what is watched") {
                return commands;
            }
            let command = line.split('"').nth(1).unwrap_or_default().to_lowercase();
            commands.push(command);
        }
    }
}

#[test]
fn it_writes_nothing_and_says_what_would_fit() {
    let directory = Temporary::new("reads");
    let server = Server::start(&directory.0, &["--enable-debug-command", "yes"]);
    let mut admin = redis::Client::open(server.url("")).unwrap().get_connection().unwrap();
    let keys = Keys::default();
    redis::cmd("SADD").arg(keys.queues()).arg(keys.queue("high")).exec(&mut admin).unwrap();
    let call = |serializer, payload| data::write(serializer, "app.tasks.thumb", payload).unwrap();
    let (queue, finished, wip) = (keys.queue("high"), keys.finished("high"), keys.wip("high"));
    let ready = ("RPUSH", &*queue, "queued");
    let named = call(Serializer::Pickle, r#"{"args":[7],"kwargs":{"size":200}}"#);
    job(&mut admin, &keys, "a", &named, ready);
    job(&mut admin, &keys, "b", &call(Serializer::Json, "[7,200]"), ("ZADD", &finished, "finished"));
    job(&mut admin, &keys, "c", &call(Serializer::Json, "[7]"), ("ZADD", &wip, "started"));
    job(&mut admin, &keys, "d", OF_AN_OBJECT, ready);
    job(&mut admin, &keys, "e", b"neither", ready);
    // A job whose hash has expired, as rq leaves it in its list.
    redis::cmd("RPUSH").arg(&queue).arg("ghost").exec(&mut admin).unwrap();
    // The line of the module's first page.
    redis::cmd("ACL")
        .arg(&["SETUSER", "audit", "on", ">secret", "~rq:*", "-@all", "+@read", "+@connection"][..])
        .exec(&mut admin)
        .unwrap();
    let digest = |admin: &mut redis::Connection| redis::cmd("DEBUG").arg("DIGEST").query::<String>(admin).unwrap();

    let before = digest(&mut admin);
    let monitor = Monitor::start(&server);
    let registry = Registry::new().with::<thumb>();
    let audit = Audit::read(&server.url("user=audit&pass=secret"), None, &registry).unwrap();
    let commands: BTreeSet<String> = monitor.commands(&mut admin).into_iter().collect();
    assert_eq!(digest(&mut admin), before);
    let reads = ["smembers", "lrange", "llen", "zrange", "zcard", "hmget"];
    assert!(reads.iter().all(|command| commands.contains(*command)), "it read: {commands:?}");
    let harmless = |command: &&String| {
        reads.contains(&&***command) || ["hello", "client", "select", "auth", "ping"].contains(&&***command)
    };
    assert!(commands.iter().all(|command| harmless(&command)), "only that: {commands:?}");

    assert_eq!((audit.ghosts, audit.functions.len()), (1, 3));
    let of = |name: &str| audit.functions.iter().find(|function| function.name == name).unwrap();
    let thumb = of("app.tasks.thumb");
    assert_eq!(audit.functions[0], *thumb, "the most frequent first");
    assert_eq!((thumb.jobs, thumb.readable, thumb.registered, thumb.fits), (3, 3, true, 2));
    assert_eq!(thumb.serializers.iter().copied().collect::<Vec<_>>(), ["json", "pickle"]);
    assert_eq!((thumb.median_ms, thumb.states["started"]), (Some(250), 1));
    assert!(thumb.misfit.as_ref().unwrap().contains("missing 1 required argument: 'size'"), "{:?}", thumb.misfit);
    let mail = of("app.tasks.mail");
    assert_eq!((mail.jobs, mail.readable, mail.registered), (1, 0, false));
    assert!(mail.unreadable.as_ref().unwrap().contains("`app.models.User`"), "{:?}", mail.unreadable);
    assert!(of("?").unreadable.is_some());
}

#[test]
fn who_may_not_read_is_told_so() {
    let directory = Temporary::new("refused");
    let server = Server::start(&directory.0, &[]);
    let mut admin = redis::Client::open(server.url("")).unwrap().get_connection().unwrap();
    redis::cmd("ACL")
        .arg(&["SETUSER", "blind", "on", ">secret", "-@all", "+@connection"][..])
        .exec(&mut admin)
        .unwrap();
    let read = |url: &str| Audit::read(url, None, &Registry::new()).unwrap_err().to_string();
    let said = read(&server.url("user=blind&pass=secret"));
    assert!(said.contains("Redis cannot be read") && !said.contains("secret"), "{said}");
    let said = read(&server.url("user=blind&pass=wrong-one"));
    assert!(said.contains("Redis cannot be read") && !said.contains("wrong-one"), "{said}");
    assert!(read("http://x").contains("redis://HOST:PORT/DB"));
}
