//! What is particular to a queue in a file: other processes, other programs, bad disks.

#![cfg(all(unix, feature = "sqlite"))]

use ropewalk_jobs::broker::{BrokerError, Claim, Clock, Control, ErrorKind, Said, Topic};
use ropewalk_jobs::job::{End, Outcome, WorkerId};
use ropewalk_jobs::{Broker, NewJob, SqliteBroker, State, Time};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ropewalk-sqlite-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory for temporary files");
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("jobs.db")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A claim, under a lease that outlives every test.
fn any_five() -> Claim {
    Claim {
        worker: WorkerId::random(),
        queues: vec!["default".into()],
        max: 5,
        lease: Duration::from_secs(60),
        tasks: None,
    }
}

fn error_of(path: &Path) -> BrokerError {
    match SqliteBroker::open(path).and_then(|broker| broker.enqueue(&[NewJob::new("t", "[]")]).map(drop)) {
        Ok(()) => panic!("{} was opened and written", path.display()),
        Err(error) => error,
    }
}

#[test]
fn files_are_for_their_owner_alone() {
    let directory = Directory::new();
    let broker = SqliteBroker::open(directory.file()).unwrap();
    broker.enqueue(&[NewJob::new("t", "[]")]).unwrap();
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(&directory.0).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
        seen.push(entry.file_name().into_string().unwrap());
    }
    seen.sort();
    assert_eq!(seen, ["jobs.db", "jobs.db-bell", "jobs.db-door", "jobs.db-room", "jobs.db-shm", "jobs.db-wal"]);
}

#[test]
fn damaged_file_is_said_and_left_alone() {
    let directory = Directory::new();
    std::fs::write(directory.file(), "this is no database, and long enough to be read as the head of one. ".repeat(20))
        .unwrap();
    let before = std::fs::read(directory.file()).unwrap();
    let error = error_of(&directory.file());
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("is no database: name another file"), "{error}");
    assert_eq!(std::fs::read(directory.file()).unwrap(), before);
}

#[test]
fn pages_that_were_overwritten_are_said() {
    let directory = Directory::new();
    {
        let broker = SqliteBroker::open(directory.file()).unwrap();
        let jobs: Vec<_> = (0..500).map(|_| NewJob::new("t", "[\"some arguments\"]")).collect();
        broker.enqueue(&jobs).unwrap();
    }
    let mut bytes = std::fs::read(directory.file()).unwrap();
    let from = 4096;
    bytes[from..].fill(0xa5);
    std::fs::write(directory.file(), &bytes).unwrap();
    let error = error_of(&directory.file());
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(".recover"), "{error}");
}

/// The names of the files in a directory, and what is in this one.
fn all_of(directory: &Directory) -> (Vec<std::ffi::OsString>, Vec<u8>) {
    let mut names: Vec<_> = std::fs::read_dir(&directory.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    (names, std::fs::read(directory.file()).unwrap())
}

#[test]
fn database_of_another_program() {
    let tables = "CREATE TABLE accounts (id INTEGER)";
    for made in [tables, "PRAGMA journal_mode=WAL; CREATE TABLE accounts (id INTEGER)", "PRAGMA application_id=7"] {
        let directory = Directory::new();
        let other = rusqlite::Connection::open(directory.file()).unwrap();
        other.execute_batch(made).unwrap();
        drop(other);
        let before = all_of(&directory);
        let error = error_of(&directory.file());
        assert!(error.to_string().contains("is the database of another program"), "{error}");
        assert!(all_of(&directory) == before, "{made}: it was touched");
    }
}

#[test]
fn file_of_a_newer_version() {
    let directory = Directory::new();
    drop(SqliteBroker::open(directory.file()).unwrap());
    let other = rusqlite::Connection::open(directory.file()).unwrap();
    other.pragma_update(None, "user_version", 999).unwrap();
    drop(other);
    let before = all_of(&directory);
    let error = error_of(&directory.file());
    assert!(all_of(&directory) == before, "it was touched");
    assert!(error.to_string().contains("was written by a newer ropewalk"), "{error}");
}

#[test]
fn file_of_an_earlier_version_is_brought_up() {
    let directory = Directory::new();
    let broker = SqliteBroker::open(directory.file()).unwrap();
    let job = NewJob::new("t", "[]");
    broker.enqueue(std::slice::from_ref(&job)).unwrap();
    drop(broker);
    // What the first version had not.
    let other = rusqlite::Connection::open(directory.file()).unwrap();
    other
        .execute_batch(
            "DROP TRIGGER logs_forgotten; DROP TABLE logs; DROP TABLE slots; DROP INDEX jobs_ended;
             CREATE INDEX jobs_ended ON jobs (ended_seq) WHERE ended_seq IS NOT NULL; PRAGMA user_version = 1;",
        )
        .unwrap();
    let broker = SqliteBroker::open(directory.file()).unwrap();
    assert_eq!(broker.job(&job.id).unwrap().unwrap().state, State::Ready);
    let indexed =
        other.query_row("SELECT count(*) FROM pragma_index_info('jobs_ended')", [], |row| row.get::<_, u64>(0));
    assert_eq!(indexed.unwrap(), 3, "ended jobs are counted from it alone");
    assert_eq!(broker.logs(&job.id).unwrap(), None);
}

/// The trigger that does it for others is off in our own writer, where that ships.
#[test]
fn log_goes_with_its_job_without_the_trigger() {
    let directory = Directory::new();
    let broker = SqliteBroker::open(directory.file()).unwrap();
    let job = NewJob::new("t", "[]");
    broker.enqueue(std::slice::from_ref(&job)).unwrap();
    let lease = broker.claim(&any_five()).unwrap().remove(0);
    broker.log(&[Said { id: lease.id.clone(), exec: lease.exec, text: "one\n".into() }]).unwrap();
    // What is settled is behind it in the queue of the writer.
    let done = Outcome { id: lease.id, exec: lease.exec, end: End::Done("1".into()) };
    broker.settle(&[done]).unwrap();
    let other = rusqlite::Connection::open(directory.file()).unwrap();
    let logs = || other.query_row("SELECT count(*) FROM logs", [], |row| row.get::<_, u64>(0)).unwrap();
    assert_eq!(logs(), 1);
    other.execute_batch("DROP TRIGGER logs_forgotten").unwrap();
    broker.control(&Control::Delete(job.id)).unwrap();
    assert_eq!(logs(), 0);
}

#[test]
fn directory_that_is_not_there() {
    let error = error_of(Path::new("/proc/nothing/jobs.db"));
    assert!(error.to_string().contains("/proc/nothing/jobs.db"), "{error}");
}

/// The database itself refuses a move that is not in the table, whoever tries it.
#[test]
fn a_move_that_the_table_does_not_have() {
    let directory = Directory::new();
    let broker = SqliteBroker::open(directory.file()).unwrap();
    broker.enqueue(&[NewJob::new("t", "[]")]).unwrap();
    let other = rusqlite::Connection::open(directory.file()).unwrap();
    for to in State::ALL {
        let may = ropewalk_jobs::state::TABLE.iter().any(|row| row.0 == State::Ready && row.2 == to);
        let tried = other.execute("UPDATE jobs SET state = ?1, exec = x'00', lease_until = 0", [to.code()]);
        assert_eq!(tried.is_ok(), may || to == State::Ready, "ready to {to}");
        if may {
            // There is no way back, so a new one.
            other.execute("DELETE FROM jobs", []).unwrap();
            broker.enqueue(&[NewJob::new("t", "[]")]).unwrap();
        }
    }
    assert!(other.execute("UPDATE jobs SET state = 99", []).is_err());
}

/// Runs this test binary again, inside of a small file system; the test of the same name does the work there.
fn in_a_small_file_system(name: &str, read_only: bool) {
    let directory = Directory::new();
    let place = directory.0.display();
    let after =
        if read_only { format!("&& touch {place}/jobs.db && mount -o remount,ro {place}") } else { String::new() };
    let script = format!("mount -t tmpfs -o size=2m none {place} {after} && exec \"$0\" --exact {name} --nocapture");
    let status = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env("ROPEWALK_SMALL", &directory.0)
        .stdin(Stdio::null())
        .status()
        .expect("unshare, of the package util-linux: apt-get install util-linux");
    assert!(
        status.success(),
        "{status}; are user namespaces allowed here (sysctl kernel.unprivileged_userns_clone=1)?"
    );
}

#[test]
fn full_disk_refuses_and_loses_nothing() {
    let Some(place) = std::env::var_os("ROPEWALK_SMALL").map(PathBuf::from) else {
        return in_a_small_file_system("full_disk_refuses_and_loses_nothing", false);
    };
    let broker = SqliteBroker::open(place.join("jobs.db")).unwrap();
    let payload = format!("[\"{}\"]", "x".repeat(50_000));
    let mut accepted = 0;
    let error = loop {
        match broker.enqueue(&[NewJob::new("t", payload.clone())]) {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 100, "2 MiB hold more than that?");
    };
    assert_eq!((error.kind(), error.is_uncertain(), error.is_passing()), (ErrorKind::Full, false, true), "{error}");
    assert!(error.to_string().contains("make room"), "{error}");
    assert_eq!(broker.queues().unwrap()[0].of(State::Ready), accepted);
    assert!(accepted > 3);
    // There is room again when the journal begins anew: nothing was broken by it.
    drop(broker);
    let broker = SqliteBroker::open(place.join("jobs.db")).unwrap();
    assert_eq!(broker.queues().unwrap()[0].of(State::Ready), accepted);
}

#[test]
fn read_only_file_system() {
    let Some(place) = std::env::var_os("ROPEWALK_SMALL").map(PathBuf::from) else {
        return in_a_small_file_system("read_only_file_system", true);
    };
    let error = error_of(&place.join("jobs.db"));
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error}");
    assert!(error.to_string().contains("jobs.db"), "{error}");
}

/// A second process on the file: started again as a producer, it wakes a waiter here.
#[test]
fn another_process_wakes_a_waiter() {
    if let Some(file) = std::env::var_os("ROPEWALK_OTHER") {
        SqliteBroker::open(file).unwrap().enqueue(&[NewJob::new("t", "[]")]).unwrap();
        return;
    }
    let directory = Directory::new();
    let broker = SqliteBroker::open(directory.file()).unwrap();
    let seen = broker.news(Topic::Work);
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "another_process_wakes_a_waiter"])
        .env("ROPEWALK_OTHER", directory.file())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while broker.news(Topic::Work) == seen {
        broker.wait(Topic::Work, seen, Duration::from_secs(100));
        assert!(begun.elapsed() < Duration::from_secs(90), "it slept through the news");
    }
    assert!(other.wait().unwrap().success());
    assert_eq!(broker.claim(&any_five()).unwrap().len(), 1);
}

#[test]
fn many_open_a_fresh_file_at_once() {
    for _ in 0..30 {
        let directory = Directory::new();
        let start = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    let broker = SqliteBroker::open(directory.file()).unwrap();
                    broker.enqueue(&[NewJob::new("t", "[]")]).unwrap();
                });
            }
        });
    }
}

/// A process that comes and goes takes itself for the last one if the locks of the others were dropped, and unlinks the WAL.
#[test]
fn opened_twice_and_again_elsewhere_loses_nothing() {
    if let Some(file) = std::env::var_os("ROPEWALK_GUEST") {
        drop(SqliteBroker::open(file).unwrap());
        return;
    }
    let directory = Directory::new();
    let first = SqliteBroker::open(directory.file()).unwrap();
    let second = SqliteBroker::open(directory.file()).unwrap();
    let guest = || {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "opened_twice_and_again_elsewhere_loses_nothing"])
            .env("ROPEWALK_GUEST", directory.file())
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    };
    guest();
    let job = NewJob::new("t", "[]");
    first.enqueue(std::slice::from_ref(&job)).unwrap();
    guest();
    assert!(directory.0.join("jobs.db-wal").exists(), "the WAL was unlinked under two brokers");
    assert!(second.job(&job.id).unwrap().is_some());
    // As another process would see it.
    let copy = Directory::new();
    for name in ["jobs.db", "jobs.db-wal"] {
        std::fs::copy(directory.0.join(name), copy.0.join(name)).unwrap();
    }
    assert!(SqliteBroker::open(copy.file()).unwrap().job(&job.id).unwrap().is_some(), "an acknowledged job is lost");
}

#[test]
fn boot_that_is_not_known_ends_no_lease_and_is_not_remembered() {
    let directory = Directory::new();
    let first = SqliteBroker::open_with_clock(directory.file(), Boot("first")).unwrap();
    first.enqueue(&[NewJob::new("t", "[]")]).unwrap();
    assert_eq!(first.claim(&any_five()).unwrap().len(), 1);
    for boot in ["", "first"] {
        let other = SqliteBroker::open_with_clock(directory.file(), Boot(boot)).unwrap();
        assert_eq!(other.tick().unwrap().recovered, 0, "{boot:?}");
    }
    let broker = SqliteBroker::open_with_clock(directory.file(), Boot("second")).unwrap();
    assert_eq!(broker.tick().unwrap().recovered, 1);
}

/// A clock of another boot.
struct Boot(&'static str);

impl Clock for Boot {
    fn wall(&self) -> Time {
        std::time::SystemTime::now().into()
    }

    fn steady(&self) -> Duration {
        Duration::from_secs(1_000)
    }

    fn boot(&self) -> String {
        self.0.to_owned()
    }
}

/// No worker survives the end of the machine, so its jobs need not wait for their leases.
#[test]
fn leases_of_an_earlier_boot_have_run_out() {
    let directory = Directory::new();
    {
        let broker = SqliteBroker::open_with_clock(directory.file(), Boot("first")).unwrap();
        broker.enqueue(&[NewJob::new("t", "[]")]).unwrap();
        assert_eq!(broker.claim(&any_five()).unwrap().len(), 1);
        assert_eq!(broker.tick().unwrap().recovered, 0);
    }
    let same = SqliteBroker::open_with_clock(directory.file(), Boot("first")).unwrap();
    assert_eq!(same.tick().unwrap().recovered, 0);
    drop(same);
    let broker = SqliteBroker::open_with_clock(directory.file(), Boot("second")).unwrap();
    assert_eq!(broker.tick().unwrap().recovered, 1);
}

/// A process whose clock is ten minutes ahead does not take what others hold; one ten minutes behind takes it in time.
#[test]
fn clock_ten_minutes_off_takes_no_lease() {
    struct Off(i64);
    impl Clock for Off {
        fn wall(&self) -> Time {
            let now: Time = std::time::SystemTime::now().into();
            Time::of_millis(now.millis().saturating_add_signed(self.0))
        }
        fn steady(&self) -> Duration {
            ropewalk_jobs::broker::SystemClock.steady()
        }
        fn boot(&self) -> String {
            ropewalk_jobs::broker::SystemClock.boot()
        }
    }
    let directory = Directory::new();
    let right = SqliteBroker::open(directory.file()).unwrap();
    right.enqueue(&[NewJob::new("t", "[]")]).unwrap();
    let lease = right.claim(&any_five()).unwrap().remove(0);
    for off in [600_000, -600_000] {
        let other = SqliteBroker::open_with_clock(directory.file(), Off(off)).unwrap();
        assert_eq!(other.tick().unwrap().recovered, 0, "{off}");
    }
    assert_eq!(right.job(&lease.id).unwrap().unwrap().exec, Some(lease.exec));
}
