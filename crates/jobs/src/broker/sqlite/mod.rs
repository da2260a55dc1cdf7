//! The embedded broker: one SQLite file, any number of processes of one machine, no server.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `schema` | the tables, and how they came to be |
//! | `writer` | the one thread of a process that writes, and its group commits |
//! | `turn` | whose turn it is among the processes |
//! | `bell` | how one process wakes another |
//! | `steps`, `leases`, `upkeep` | the steps of the trait, in SQL |
//! | `row`, `error` | rows as jobs; what SQLite says, in words |
//!
//! # What holds
//!
//! The journal is a WAL. A step that was answered survives the end of any process. What was enqueued, settled, controlled or scheduled
//! also survives the end of the machine's power, as far as the disk keeps its word (`synchronous=FULL`). Claims and beats wait
//! for no disk (`NORMAL`): when the power goes, so do the workers that they speak of, and a job whose claim was lost with it is
//! ready instead of leased to nobody. A step that was not answered has happened as a whole or not at all.
//!
//! Beside `jobs.db` lie SQLite's own `-wal` and `-shm`, and three files of ours that hold nothing of worth: `-bell`, `-door` and
//! `-room`. All are for their owner alone (mode 0600). The file must lie on a local disk: the locks and the shared memory of a
//! network file system are not to be relied on.
//!
//! A process that is stopped (SIGSTOP) in the middle of a commit keeps the others waiting until it goes on or is killed, as with
//! every database that is a file. A step of theirs says [`ErrorKind::Busy`] after twice [`BUSY_MAX`], and that it may have happened
//! all the same, and the file cannot be opened meanwhile: that is tried for [`BUSY_MAX`], too.

#[expect(unsafe_code, reason = "maps a file; see its head")]
mod bell;
mod error;
mod leases;
mod row;
mod schema;
mod steps;
mod turn;
mod upkeep;
mod writer;

use super::{
    Beat, Broker, BrokerError, Claim, Clock, Control, Enqueued, ErrorKind, Filter, Held, Passed, QueueCounts, Settling,
    Slot, SystemClock, Ticked, Topic, WorkerInfo,
};
use crate::job::{Job, JobId, Lease, NewJob, Outcome, Time};
use crate::state::{Settled, State};
use bell::Bell;
use error::translate;
use ropewalk::sync::queue::channel::{Receiver, Sender, unbounded};
use ropewalk::{TaskError, TaskHandle};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use steps::Tx;
use turn::Turns;
use writer::{Lasting, Said, Step, Steps};

/// How long SQLite waits for a lock of another connection. Whose turn it is waits before that, without a limit of its own; whoever
/// called a step waits for twice as long at most (of a claim and a settle together, for each), and the step may still happen after that.
pub const BUSY_MAX: Duration = Duration::from_secs(30);

/// How often the end of the writer is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Connections for reading that are kept.
const READERS_MAX: usize = 8;

/// The file, for messages.
struct Named {
    path: PathBuf,
}

impl Named {
    fn unavailable(&self, error: &io::Error) -> BrokerError {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Full,
            _ => ErrorKind::Unavailable,
        };
        BrokerError::new(kind, format!("{}: {error}", self.path.display()))
    }
}

/// What the writer and everybody else share.
struct Inside {
    named: Named,
    clock: Box<dyn Clock>,
    bell: Bell,
}

/// A queue in a file. Clones are the same one.
///
/// # Examples
///
/// ```
/// use ropewalk_jobs::{Broker, NewJob, SqliteBroker};
///
/// # let directory = std::env::temp_dir().join(format!("ropewalk-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// let broker = SqliteBroker::open(directory.join("jobs.db"))?;
/// broker.enqueue(&[NewJob::new("app::thumb", "[7]")])?; // on the disk when this returns
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SqliteBroker {
    outside: Arc<Outside>,
}

struct Outside {
    inside: Arc<Inside>,
    readers: Mutex<Vec<Connection>>,
    /// Gone when the broker is dropped, by which the writer ends.
    steps: Option<Sender<Steps>>,
    writer: Option<JoinHandle<()>>,
}

/// A claim that somebody waits for.
struct Claiming {
    leases: TaskHandle<Said<Vec<Lease>>>,
    given_up: Arc<AtomicBool>,
}

impl Drop for Claiming {
    fn drop(&mut self) {
        // Also when the wait is unwound. Release: pairs with the Acquire of the step.
        self.given_up.store(true, Ordering::Release);
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.steps = None;
        let Some(writer) = self.writer.take() else { return };
        // The last steps reach the disk. One that waits for a process that stands still is left to wait alone: it ends with
        // that process, or with ours.
        let until = Instant::now() + BUSY_MAX;
        while !writer.is_finished() && Instant::now() < until {
            std::thread::park_timeout(LOOK_EVERY);
        }
        if writer.is_finished() {
            // (A panic there has been reported by its hook.)
            let _ = writer.join();
        }
    }
}

impl SqliteBroker {
    /// Opens the queue in this file, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened or written, is damaged, or belongs to another program or a newer version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BrokerError> {
        Self::open_with_clock(path, SystemClock)
    }

    /// [`open`](Self::open) with its own idea of time.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_with_clock(path: impl AsRef<Path>, clock: impl Clock + 'static) -> Result<Self, BrokerError> {
        let named = Named { path: path.as_ref().to_owned() };
        let here = |error: io::Error| named.unavailable(&error);
        create(&named.path).map_err(here)?;
        let mut db = Connection::open(&named.path).map_err(|error| translate(&named.path, error))?;
        // Before anything of ours is made beside it, and before the file is written.
        schema::look(&db, &named.path)?;
        let turns = Turns::new(
            own_file(&beside(&named.path, "door")).map_err(here)?,
            own_file(&beside(&named.path, "room")).map_err(here)?,
        );
        let bell = Bell::new(&own_file(&beside(&named.path, "bell")).map_err(here)?).map_err(here)?;
        {
            let _turn = turns.take_within(BUSY_MAX).map_err(here)?.ok_or_else(|| {
                BrokerError::new(
                    ErrorKind::Busy,
                    format!(
                        "{} could not be opened within {BUSY_MAX:?}: another process holds it and does not go on; is it stopped?",
                        named.path.display()
                    ),
                )
            })?;
            schema::settle_in(&db, &named.path)?;
            schema::migrate(&mut db, &named.path, &clock)?;
        }
        let inside = Arc::new(Inside { named, clock: Box::new(clock), bell });
        let (steps, taken): (Sender<Steps>, Receiver<_>) = unbounded();
        let writer = std::thread::Builder::new()
            .name("ropewalk-jobs-writer".to_owned())
            .spawn({
                let inside = Arc::clone(&inside);
                move || writer::run(db, &turns, &inside, &taken)
            })
            .map_err(|error| inside.named.unavailable(&error))?;
        let outside = Outside { inside, readers: Mutex::default(), steps: Some(steps), writer: Some(writer) };
        Ok(Self { outside: Arc::new(outside) })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.outside.inside.named.path
    }

    /// Gives a step to the writer and waits for its commit, as threads and greenlets wait.
    #[track_caller]
    fn write<T: Send + 'static>(
        &self,
        lasting: Lasting,
        act: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<Said<T>> + Send + 'static,
    ) -> Result<T, BrokerError> {
        let (step, mut handle) = writer::step(lasting, act);
        self.send(vec![step]);
        self.commit_of(&mut handle)
    }

    fn send(&self, steps: Steps) {
        let way = self.outside.steps.as_ref().expect("it is there until the broker is dropped");
        writer::send(way, steps, &self.outside.inside.named);
    }

    /// A claim. One that still waits for its turn when nobody waits for it any more gives nothing.
    fn claiming(claim: Claim) -> (Box<dyn Step>, Claiming) {
        let given_up = Arc::new(AtomicBool::new(false));
        let is_given_up = Arc::clone(&given_up);
        let (step, leases) = writer::step(Lasting::No, move |tx: &mut Tx<'_>| {
            // Acquire: pairs with the Release of whoever gave up.
            if is_given_up.load(Ordering::Acquire) { Ok(Ok(Vec::new())) } else { tx.claim(&claim) }
        });
        (step, Claiming { leases, given_up })
    }

    #[track_caller]
    fn leases_of(&self, mut claiming: Claiming) -> Result<Vec<Lease>, BrokerError> {
        self.commit_of(&mut claiming.leases)
        // Dropped here, it is given up; after an answer that says nothing to anybody.
    }

    #[track_caller]
    fn commit_of<T: Send + 'static>(&self, handle: &mut TaskHandle<Said<T>>) -> Result<T, BrokerError> {
        let named = &self.outside.inside.named;
        match handle.join_timeout(2 * BUSY_MAX) {
            Ok(said) => said,
            Err(TaskError::TimedOut) => Err(BrokerError::uncertain(
                ErrorKind::Busy,
                format!(
                    "{} was not written for {:?}: another process holds it, or the disk hangs",
                    named.path.display(),
                    2 * BUSY_MAX
                ),
            )),
            // Whoever waits was cancelled. It unwinds here as in every wait.
            Err(TaskError::Cancelled) => {
                ropewalk_core::task::check_cancelled();
                Err(BrokerError::uncertain(ErrorKind::Unavailable, "the wait for the commit was cancelled"))
            }
            Err(_) => Err(BrokerError::uncertain(
                ErrorKind::Unavailable,
                format!("the writer of {} died", named.path.display()),
            )),
        }
    }

    fn read<T>(&self, look: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, BrokerError> {
        let path = self.path();
        let kept = self.readers().pop();
        let db = match kept {
            Some(db) => db,
            None => {
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let db = Connection::open_with_flags(path, flags).map_err(|error| translate(path, error))?;
                db.busy_timeout(BUSY_MAX).map_err(|error| translate(path, error))?;
                db
            }
        };
        let seen = look(&db).map_err(|error| translate(path, error));
        let mut readers = self.readers();
        if readers.len() < READERS_MAX {
            readers.push(db);
        }
        seen
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.outside.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `jobs.db` → `jobs.db-bell`.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-");
    name.push(what);
    name.into()
}

/// Makes the database's file, for its owner alone, if it is not there; one that is there is left to SQLite.
///
/// Nobody but SQLite may open that file: to close *any* descriptor of a file drops all POSIX locks that the process has on it,
/// also those of connections that go on. Another process would then take itself for the last one, and unlink the WAL.
fn create(path: &Path) -> io::Result<()> {
    /// Until the descriptor that made the file is closed, no other thread gets as far as to open it.
    static CREATING: Mutex<()> = Mutex::new(());
    let _alone = CREATING.lock().unwrap_or_else(PoisonError::into_inner);
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

/// A file beside the database for its owner alone, made if it is not there.
fn own_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

impl fmt::Debug for SqliteBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteBroker").field("path", &self.path()).finish_non_exhaustive()
    }
}

impl Broker for SqliteBroker {
    fn now(&self) -> Time {
        self.outside.inside.clock.wall()
    }

    fn enqueue(&self, jobs: &[NewJob]) -> Result<Vec<Enqueued>, BrokerError> {
        super::check_without_rq(jobs)?;
        let jobs = jobs.to_vec();
        self.write(Lasting::Yes, move |tx| tx.enqueue(&jobs))
    }

    fn claim(&self, claim: &Claim) -> Result<Vec<Lease>, BrokerError> {
        let (step, leases) = Self::claiming(claim.clone());
        self.send(vec![step]);
        self.leases_of(leases)
    }

    fn heartbeat(&self, beat: &Beat) -> Result<Vec<Held>, BrokerError> {
        let beat = beat.clone();
        self.write(Lasting::No, move |tx| tx.heartbeat(&beat))
    }

    fn settle(&self, outcomes: &[Outcome]) -> Result<Vec<Settled>, BrokerError> {
        super::check_outcomes(outcomes)?;
        let outcomes = outcomes.to_vec();
        self.write(Lasting::Yes, move |tx| tx.settle(&outcomes))
    }

    fn claim_and_settle(&self, claim: &Claim, outcomes: &[Outcome]) -> (Result<Vec<Lease>, BrokerError>, Settling) {
        if let Err(error) = super::check_outcomes(outcomes) {
            return (self.claim(claim), Settling::said(Err(error)));
        }
        let outcomes = outcomes.to_vec();
        let (first, leases) = Self::claiming(claim.clone());
        let (settle, mut settled) = writer::step(Lasting::Yes, move |tx: &mut Tx<'_>| tx.settle(&outcomes));
        self.send(vec![first, settle]);
        let this = self.clone();
        (self.leases_of(leases), Settling::awaited(move || this.commit_of(&mut settled)))
    }

    fn log(&self, said: &[super::Said]) -> Result<(), BrokerError> {
        let said = said.to_vec();
        // Nobody waits for the disk: whatever is settled after it is behind it in the queue of the writer.
        let (step, _) = writer::step(Lasting::No, move |tx: &mut Tx<'_>| tx.log(&said));
        self.send(vec![step]);
        Ok(())
    }

    fn logs(&self, id: &JobId) -> Result<Option<String>, BrokerError> {
        self.read(|db| {
            db.prepare_cached("SELECT text FROM logs JOIN jobs USING (seq) WHERE id = ?1")?
                .query_row([id.as_str()], |row| row.get(0))
                .optional()
        })
    }

    fn pass_slot(&self, slot: &Slot) -> Result<Passed, BrokerError> {
        super::check_without_rq(&slot.jobs)?;
        let slot = slot.clone();
        self.write(Lasting::Yes, move |tx| tx.pass_slot(&slot))
    }

    fn tick(&self) -> Result<Ticked, BrokerError> {
        // Behind the settles and beats that were sent before it, so that no lease runs out whose end is only waiting to be written. (One that
        // finds nothing to do changes no page, and waits for no disk.)
        self.write(Lasting::Yes, |tx| tx.tick())
    }

    fn control(&self, control: &Control) -> Result<usize, BrokerError> {
        let control = control.clone();
        self.write(Lasting::Yes, move |tx| tx.control(&control))
    }

    fn job(&self, id: &JobId) -> Result<Option<Job>, BrokerError> {
        self.read(|db| {
            db.prepare_cached(&format!("SELECT {} FROM jobs WHERE id = ?1", row::WHOLE))?
                .query_row([id.as_str()], row::read_job)
                .optional()
        })
    }

    fn jobs(&self, filter: &Filter) -> Result<Vec<Job>, BrokerError> {
        let limit = i64::try_from(filter.limit).unwrap_or(i64::MAX);
        self.read(|db| {
            db.prepare_cached(&format!(
                "SELECT {} FROM jobs WHERE (?1 IS NULL OR queue = ?1) AND (?2 IS NULL OR state = ?2)
                 ORDER BY seq DESC LIMIT ?3",
                row::WHOLE
            ))?
            .query_map(params![filter.queue, filter.state.map(State::code), limit], row::read_job)?
            .collect()
        })
    }

    fn queues(&self) -> Result<Vec<QueueCounts>, BrokerError> {
        self.read(|db| {
            let mut counts = std::collections::BTreeMap::<String, QueueCounts>::new();
            let fresh =
                |queue: &String| QueueCounts { queue: queue.clone(), jobs: [0; State::ALL.len()], suspended: false };
            let mut select = db.prepare_cached(&row::COUNTS)?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let queue: String = row.get(0)?;
                let (state, count): (usize, u64) = (row.get(1)?, row.get(2)?);
                let entry = counts.entry(queue).or_insert_with_key(fresh);
                if let Some(place) = entry.jobs.get_mut(state) {
                    *place = count;
                }
            }
            let suspended: Vec<String> = db
                .prepare_cached("SELECT queue FROM suspended")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let all = suspended.iter().any(String::is_empty);
            for queue in suspended.into_iter().filter(|queue| !queue.is_empty()) {
                counts.entry(queue).or_insert_with_key(fresh).suspended = true;
            }
            counts.values_mut().for_each(|queue| queue.suspended |= all);
            Ok(counts.into_values().collect())
        })
    }

    fn workers(&self) -> Result<Vec<WorkerInfo>, BrokerError> {
        let steady = i64::try_from(self.outside.inside.clock.steady().as_millis()).unwrap_or(i64::MAX);
        let texts: Vec<String> = self.read(|db| {
            db.prepare_cached("SELECT info FROM workers WHERE until > ?1 ORDER BY id")?
                .query_map([steady], |row| row.get(0))?
                .collect()
        })?;
        // One that cannot be read was written by another version: it is alive all the same, and says so itself.
        Ok(texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
    }

    fn ended_since(&self, mark: Option<u64>) -> Result<(u64, Vec<JobId>), BrokerError> {
        self.read(|db| {
            let last: u64 = db
                .prepare_cached("SELECT coalesce(max(ended_seq), 0) FROM jobs WHERE ended_seq IS NOT NULL")?
                .query_row([], |row| row.get(0))?;
            let Some(mark) = mark else { return Ok((last, Vec::new())) };
            let ids: Vec<JobId> = db
                .prepare_cached("SELECT id FROM jobs WHERE ended_seq > ?1 AND ended_seq <= ?2 ORDER BY ended_seq")?
                .query_map([mark, last], |row| row::id(row, 0))?
                .collect::<Result<_, _>>()?;
            Ok((last.max(mark), ids))
        })
    }

    fn news(&self, topic: Topic) -> u64 {
        self.outside.inside.bell.news(topic).into()
    }

    fn wait(&self, topic: Topic, seen: u64, timeout: Duration) {
        // The low half is the whole number here.
        self.outside.inside.bell.wait(topic, seen as u32, timeout);
    }

    fn ring(&self, topic: Topic) {
        self.outside.inside.bell.ring(topic);
    }
}
