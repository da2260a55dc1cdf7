//! python-rq beside us: a private redis-server, and a script that plays one sample.

use std::cell::RefCell;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::harness::{Effort, Sample, Work};
use crate::install;
use crate::measure::timed;

struct Redis {
    server: Child,
    port: u16,
    python: PathBuf,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Lets rq take part in the works that it knows.
pub(crate) fn join(sources: &Path, works: &mut [Work]) -> Result<bool, String> {
    if !works.iter().any(|work| work.suite == "jobs") {
        return Ok(false);
    }
    let python = install::venv("rq", &sources.join("requirements-rq.txt"))?.join("bin/python");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map_err(|e| e.to_string())?.port();
    let server = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .stdout(Stdio::null())
        .spawn()
        .map_err(|e| format!("redis-server cannot be started ({e}): apt-get install redis-server"))?;
    let redis = Rc::new(RefCell::new(Redis { server, port, python }));
    let until = Instant::now() + Duration::from_secs(10);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if Instant::now() > until {
            return Err("redis-server does not answer".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let script = sources.join("rq_peer.py");
    for work in works.iter_mut().filter(|work| work.suite == "jobs") {
        let amount: fn(Effort) -> u64 = match work.name {
            "enqueue.one" => |effort| effort.pick(1_000, 200),
            "enqueue.batch" => |effort| effort.pick(5_000, 1_000),
            "noop.c1" => |effort| effort.pick(400, 100),
            "latency" => |effort| effort.pick(100, 30),
            _ => continue,
        };
        let (redis, script, name) = (Rc::clone(&redis), script.clone(), work.name);
        work.add("rq-simple", move |effort| sample(&redis.borrow(), &script, name, amount(effort)));
    }
    Ok(true)
}

fn sample(redis: &Redis, script: &Path, work: &str, count: u64) -> Sample {
    let (output, spent) = timed(|| {
        Command::new(&redis.python)
            .arg(script)
            .args([work, &redis.port.to_string(), &count.to_string()])
            .output()
            .expect("python was found before")
    });
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "rq: {}", String::from_utf8_lossy(&output.stderr));
    let figures: Vec<f64> = text.split_whitespace().map(|word| word.parse().expect("a figure")).collect();
    match figures[..] {
        [p50, p99] => Sample::of_rows(spent).and("p50", p50).and("p99", p99),
        [rate] => Sample::new(rate, spent),
        _ => panic!("rq said {text}"),
    }
}
