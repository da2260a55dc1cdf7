//! What `profile` recommends where one machine is not enough, run on a Redis: with python-rq, from a shell, and compiled against ours.
//!
//! rq is installed by the test, into the build directory: it needs `python3` with `venv`, and PyPI once.
#![cfg(target_os = "linux")]
// The recommended lines stand here as they are printed, imports included.
#![allow(clippy::items_after_statements)]

#[path = "../../jobs/tests/rq/peer.rs"]
#[allow(dead_code, reason = "of the suite of python-rq, which uses all of it")]
mod peer;
#[path = "../../jobs/tests/brokers/redis.rs"]
#[allow(dead_code, reason = "of the suite of the brokers, which uses all of it")]
mod redis_server;

use redis_server::{prefix, server};
use ropewalk_profile::advice::beyond;
use ropewalk_profile::verdict::Language;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Two processors on each machine.
const CORES: usize = 2;

fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    drop(std::fs::remove_dir_all(&path));
    std::fs::create_dir_all(&path).expect("the target directory can be written");
    path
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}{complaint}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stdout).expect("text")
}

fn short(code: &str) -> &str {
    assert!((1..=6).contains(&code.lines().count()), "six lines at most:\n{code}");
    code
}

/// The lines, on the Redis of this test instead of that of the machine.
fn here(code: &str, theirs: &str, ours: &str) -> String {
    assert!(short(code).contains(theirs), "{code}");
    code.replace(theirs, ours)
}

#[test]
fn python_on_more_machines() {
    let python = peer::venv(peer::VERSIONS[0]);
    let (socket, place) = (&server().socket, directory("advice_rq_python"));
    let code = here(
        &beyond(Language::Python, CORES),
        "Redis(\"127.0.0.1\")",
        &format!("Redis(unix_socket_path={socket:?}, db=7)"),
    );
    std::fs::write(place.join("app.py"), "def work(n):\n    return n * n\n").expect("written");
    let program = format!("from app import work\nitems = range(20)\n\n{code}\nprint(*[job.id for job in jobs])");
    std::fs::write(place.join("program.py"), program).expect("written");
    let ids = said(Command::new(&python).arg("program.py").current_dir(&place));
    // As the comment says, until nothing is left.
    let url = format!("unix://{}?db=7", socket.display());
    let advised = code.lines().find_map(|line| line.split_once("on each machine: rq ")).expect("a comment").1;
    let advised = here(advised, "redis://127.0.0.1", &url);
    let rq = python.with_file_name("rq");
    said(Command::new(rq).args(advised.split(' ')).args(["--burst", "--quiet"]).current_dir(&place));
    let results = "import sys\nfrom redis import Redis\nfrom rq.job import Job\n\
                   redis = Redis.from_url(sys.argv[1])\n\
                   print([Job.fetch(id, connection=redis).return_value() for id in sys.argv[2:]])";
    let all = said(Command::new(&python).args(["-c", results, &url]).args(ids.split_whitespace()).current_dir(&place));
    assert_eq!(all.trim(), format!("{:?}", (0..20).map(|n| n * n).collect::<Vec<_>>()));
}

#[test]
fn shell_on_more_machines() {
    let place = directory("advice_rq_shell");
    let url = server().url("");
    let code = here(&beyond(Language::Shell, CORES), "redis://127.0.0.1/", &format!("\"{url}\""));
    std::fs::write(place.join("work.sh"), "#!/bin/sh\nmkdir done.$1\n").expect("written");
    std::fs::write(place.join("items.txt"), "1\n2\n3\n4\n").expect("written");
    // The worker goes on until it is told to stop; this one ends when there is no more.
    std::fs::write(place.join("a.sh"), format!("set -e\nchmod +x work.sh\n{code} --burst\n")).expect("written");
    let ropewalk = Path::new(env!("CARGO_BIN_EXE_ropewalk")).parent().expect("a directory");
    let path = format!("{}:{}", ropewalk.display(), std::env::var("PATH").expect("a path"));
    let mut command = Command::new("sh");
    command.arg("a.sh").current_dir(&place).env("PATH", path).env("RQ_KEY_PREFIX", prefix()).env_remove("RQ_REDIS_URL");
    said(&mut command);
    assert!(
        (1..=4).all(|n| place.join(format!("done.{n}")).is_dir()),
        "{:?}",
        std::fs::read_dir(&place).unwrap().collect::<Vec<_>>()
    );
}

/// The lines that are recommended, on the Redis of this test, and with a worker that ends when there is no more.
mod rust {
    use super::{prefix, server};
    use std::error::Error;
    use std::sync::LazyLock;

    #[ropewalk::task]
    fn work(n: u64) -> u64 {
        n * n
    }

    /// What the program uses of the crate.
    mod ropewalk_jobs {
        pub(super) use ::ropewalk_jobs::{Enqueue, JobHandle, JobQueue};

        pub(super) struct RedisBroker;

        impl RedisBroker {
            pub(super) fn open(url: &str) -> Result<::ropewalk_jobs::RedisBroker, ::ropewalk_jobs::BrokerError> {
                static PREFIX: super::LazyLock<String> = super::LazyLock::new(super::prefix);
                assert_eq!(url, "redis://127.0.0.1/");
                ::ropewalk_jobs::RedisBroker::at(super::server().url("")).prefix(PREFIX.clone()).open()
            }
        }

        pub(super) struct Worker;

        impl Worker {
            #[expect(clippy::new_ret_no_self, reason = "as the one that it stands for")]
            pub(super) fn new(broker: ::ropewalk_jobs::RedisBroker) -> ::ropewalk_jobs::Worker {
                ::ropewalk_jobs::Worker::new(broker).burst()
            }
        }
    }

    #[rustfmt::skip]
    pub(super) fn run(items: std::ops::Range<u64>) -> Result<Vec<ropewalk_jobs::JobHandle<u64>>, Box<dyn Error>> {
        use ropewalk_jobs::{Enqueue, JobQueue, RedisBroker, Worker};

        let queue = JobQueue::new(RedisBroker::open("redis://127.0.0.1/")?);
        let jobs: Vec<_> = items.map(|item| work::call(item).enqueue(&queue)).collect::<Result<_, _>>()?;
        // And on each machine:
        Worker::new(RedisBroker::open("redis://127.0.0.1/")?).concurrency(2).register::<work>().run()?;
        Ok(jobs)
    }
}

#[test]
fn rust_on_more_machines() {
    let code = beyond(Language::Rust, CORES);
    let own: Vec<&str> = include_str!("advice_rq.rs").lines().map(str::trim).collect();
    for line in short(&code).lines().filter(|line| !line.is_empty()) {
        assert!(own.contains(&line), "`{line}` is recommended and not compiled here");
    }
    let jobs = rust::run(0..20).expect("a server");
    let results: Result<Vec<u64>, _> = jobs.into_iter().map(|job| job.join()).collect();
    assert_eq!(results.expect("results"), (0..20).map(|n| n * n).collect::<Vec<_>>());
}
