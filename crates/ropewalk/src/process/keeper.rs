//! The thread that looks after the pool: it takes replies, learns of deaths, passes on cancels and time limits. Workers are started
//! by another one, the *starter*, so that nothing waits for that.

use super::hand::{DEAF, DONE_ENOUGH, INITIALIZER, Worker};
use super::output::Heard;
use super::pool::{Pool, Queued, Settled, State, error_of, settle};
use super::start::{Running, Starter};
use crate::io::descriptor::{Interest, Operation, Step};
use crate::task::TaskError;
use ropewalk_core::park::Reason;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::task::Wake;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// After so many deaths without a task that ended in between the pool takes no more.
const DEATHS_MAX: u32 = 40;
/// The longest pause before a worker is started in the place of one that died.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);
/// How long the keeper looks for a reply before it sleeps, where that has paid lately.
const SPIN: Duration = Duration::from_micros(30);
/// How often the memory of a worker is looked at.
const MEMORY_LOOK: Duration = Duration::from_millis(50);

/// Wakes the keeper.
pub(super) struct Bell {
    pub(super) descriptor: OwnedFd,
    /// A task was cancelled, or all: the queue has to be looked through.
    pub(super) cancels: AtomicBool,
}

impl Bell {
    pub(super) fn ring(&self) {
        // If its count is full, it rings already.
        let _ = rustix::io::write(&self.descriptor, &1_u64.to_ne_bytes());
    }

    /// Wakes the keeper to look for what was cancelled.
    pub(super) fn ring_for_cancel(&self) {
        // Release: pairs with the swap of the keeper.
        self.cancels.store(true, Ordering::Release);
        self.ring();
    }

    pub(super) fn silence(&self) {
        let _ = rustix::io::read(&self.descriptor, &mut [0; 8]);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring_for_cancel();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring_for_cancel();
    }
}

/// The thread that looks after the pool.
pub(super) struct Keeper {
    pool: Arc<Pool>,
    /// One for each worker that is to be started.
    starts: Option<Sender<()>>,
    starter: Option<JoinHandle<()>>,
    /// What it sleeps on besides the bell.
    processes: Vec<Arc<Running>>,
    pipes: Vec<Arc<io::PipeReader>>,
    next_look: Option<Instant>,
    /// How well looking before sleeping has paid.
    spins: i32,
    oom_kills: u64,
}

/// The keeper ends. If it does by a panic, which is a bug of ours, nobody is left waiting.
struct EndOfAll(Arc<Pool>);

impl Drop for EndOfAll {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = "the thread that keeps the pool has panicked; this is a bug in ropewalk".to_owned();
            let mut state = self.0.state();
            let queued = state.queue.drain(..).map(|queued| queued.entry).collect::<Vec<_>>();
            let workers = std::mem::take(&mut state.workers);
            state.unhealthy = Some(reason.clone());
            drop(state);
            workers.iter().for_each(|worker| worker.process.kill());
            let under_way = workers
                .into_iter()
                .flat_map(|worker| worker.under_way)
                .filter_map(|task| task.sent)
                .map(|sent| sent.entry);
            let failed = || Err(TaskError::worker_died(&reason));
            settle(queued.into_iter().chain(under_way).map(|entry| (entry, failed())).collect());
        }
        self.0.ended.set();
    }
}

impl Keeper {
    pub(super) fn new(pool: Arc<Pool>, mut starter: Starter) -> io::Result<Self> {
        let (starts, wanted) = channel();
        let starting = Arc::clone(&pool);
        let thread = std::thread::Builder::new().name("ropewalk-starter".to_owned());
        let starter = thread.spawn(move || wanted.iter().for_each(|()| start(&starting, &mut starter)))?;
        Ok(Self {
            pool,
            starts: Some(starts),
            starter: Some(starter),
            processes: Vec::new(),
            pipes: Vec::new(),
            next_look: None,
            spins: 0,
            oom_kills: oom_kills(),
        })
    }

    pub(super) fn keep(&mut self) {
        let _ = self.pool.keeper.set(std::thread::current().id());
        let _end = EndOfAll(Arc::clone(&self.pool));
        while crate::io::descriptor::drive(self).is_err() {
            // Out of memory for a moment: there is nothing better than to try again.
            std::thread::yield_now();
        }
    }

    /// Replaces the dead, kills those whose time is over, and says when to look again.
    fn look_after(&mut self, state: &mut State, settled: &mut Vec<Settled>) -> (Vec<Worker>, Option<Instant>) {
        let now = Instant::now();
        let settings = &self.pool.settings;
        let mut wake: Option<Instant> = None;
        let mut at = |when: Instant| wake = Some(wake.map_or(when, |wake| wake.min(when)));
        if state.is_killed {
            state.queue.drain(..).for_each(|queued| settled.push((queued.entry, Err(TaskError::Cancelled))));
        }
        // Acquire: pairs with the Release of whoever cancelled.
        let cancels = self.pool.bell.cancels.swap(false, Ordering::Acquire);
        if cancels || state.queue_deadline.is_some_and(|deadline| deadline <= now) {
            state.look_through_queue(now, settled);
        }
        state.queue_deadline.into_iter().for_each(&mut at);
        for worker in &mut state.workers {
            if state.is_killed && !worker.under_way.is_empty() {
                worker.condemned.get_or_insert("the pool was shut down");
            }
            let mut place = 0;
            while place < worker.under_way.len() {
                let task = &worker.under_way[place];
                let Some(sent) = &task.sent else {
                    // The one at the front has only to be skipped.
                    if place == 0 {
                        let task = &mut worker.under_way[0];
                        task.kill_at = task.kill_at.or(now.checked_add(settings.grace));
                        match task.kill_at {
                            Some(kill_at) if kill_at <= now => {
                                worker.condemned.get_or_insert(DEAF);
                            }
                            kill_at => kill_at.into_iter().for_each(&mut at),
                        }
                    }
                    place += 1;
                    continue;
                };
                // The initializer, which is number 0, is no task.
                let limit = settings.task_timeout.filter(|_| place == 0 && task.number != 0);
                let limit = limit.and_then(|limit| worker.since.checked_add(limit));
                let deadline = sent.entry.deadline().into_iter().chain(limit).min();
                let raised = sent.entry.interrupt().reason();
                let late = deadline.filter(|deadline| *deadline <= now).map(|_| Reason::Deadline);
                if let Some(reason) = raised.or(late) {
                    if let Some(sent) = worker.take_back(place) {
                        state.counts.taken_back += 1;
                        settled.push((sent.entry, Err(error_of(reason))));
                        continue;
                    }
                    worker.stop(place, reason, settings.grace);
                } else {
                    deadline.into_iter().for_each(&mut at);
                }
                let kill_at = worker.under_way[place].kill_at;
                if kill_at.is_some_and(|kill_at| kill_at <= now) {
                    worker.condemned.get_or_insert("its task did not stop when it was asked to");
                } else {
                    kill_at.into_iter().for_each(&mut at);
                }
                place += 1;
            }
            if let Some(most) = settings.rss_max
                && now >= worker.looked_at_memory + MEMORY_LOOK
            {
                worker.looked_at_memory = now;
                worker.is_leaving = worker.is_leaving || worker.rss() > most;
            }
            let is_over = worker.is_leaving || worker.done >= worker.tasks_max;
            if worker.under_way.is_empty() && is_over && worker.condemned.is_none() {
                worker.condemned = Some(DONE_ENOUGH);
                state.counts.retired += 1;
            }
            if worker.condemned.is_some() {
                worker.process.kill();
            }
        }
        let mut dead = Vec::new();
        let mut place = 0;
        while place < state.workers.len() {
            if state.workers[place].process.has_ended() {
                dead.push(state.workers.swap_remove(place));
            } else {
                place += 1;
            }
        }
        (dead, wake)
    }

    /// What became of the tasks of a worker that has died.
    fn bury(&mut self, state: &mut State, mut worker: Worker, settled: &mut Vec<Settled>, heard: &mut Vec<Heard>) {
        // What it had replied before counts.
        worker.read(&mut state.average, settled);
        let front_has_begun = worker.has_begun();
        let status = worker.process.reap();
        worker.listen(heard);
        let pid = worker.process.pid();
        worker.said.iter_mut().for_each(|said| said.end(pid, heard));
        let is_retired = worker.condemned == Some(DONE_ENOUGH);
        if !is_retired && !state.is_killed {
            state.counts.died += 1;
            let weight = if worker.condemned == Some(INITIALIZER) { DEATHS_MAX / 4 } else { 1 };
            state.deaths_in_a_row = if worker.done > 0 { 1 } else { state.deaths_in_a_row + weight };
            let wait = Duration::from_millis(1 << state.deaths_in_a_row.saturating_sub(1).min(10)).min(BACK_OFF_MAX);
            if state.deaths_in_a_row > 1 {
                state.not_before = Some(Instant::now() + wait);
            }
        }
        while let Some(task) = worker.under_way.pop_back() {
            let Some(sent) = task.sent.filter(|_| task.number != 0) else { continue };
            // Only the one at the front can have begun, whatever the ring of a broken process says.
            let has_begun = front_has_begun && worker.under_way.is_empty();
            if let Some(reason) = task.stop {
                settled.push((sent.entry, Err(error_of(reason))));
            } else if state.is_killed {
                settled.push((sent.entry, Err(TaskError::Cancelled)));
            } else if has_begun {
                let error = self.obituary(status, &mut worker);
                settled.push((sent.entry, Err(error)));
            } else {
                state.queue_deadline = state.queue_deadline.into_iter().chain(sent.entry.deadline()).min();
                state.queue.push_front(sent.into_queued());
            }
        }
        if state.deaths_in_a_row > DEATHS_MAX {
            let last = match self.obituary(status, &mut worker) {
                TaskError::WorkerDied { reason, .. } => reason,
                other => other.to_string(),
            };
            state.unhealthy = Some(format!(
                "the pool gave up after {DEATHS_MAX} workers had died without a task done; the last: {last}"
            ));
        }
        // Also what came back from a worker that had done something, when the pool had given up before.
        if let Some(reason) = state.unhealthy.clone() {
            let fail = |queued: Queued| (queued.entry, Err(TaskError::worker_died(&reason)));
            settled.extend(state.queue.drain(..).map(fail));
        }
    }

    /// What is known about a death.
    fn obituary(&mut self, status: Option<ExitStatus>, worker: &mut Worker) -> TaskError {
        let stderr = worker.said.last_mut().map(|said| said.tail()).unwrap_or_default();
        death(worker.process.pid(), status, worker.condemned, stderr, &mut self.oom_kills)
    }

    /// Has started what is missing, and says when to try again.
    fn start_missing(&mut self) -> Option<Instant> {
        let mut state = self.pool.state();
        let wanted = match (state.is_closed, &state.unhealthy) {
            (_, Some(_)) => 0,
            (true, None) if state.queue.is_empty() => 0,
            _ => self.pool.settings.workers,
        };
        // One that is told to go is replaced while it goes.
        let there = state.workers.iter().filter(|worker| worker.condemned.is_none()).count();
        let missing = wanted.saturating_sub(there + state.starting);
        if missing == 0 || state.is_killed {
            return None;
        }
        if let Some(when) = state.not_before.filter(|when| *when > Instant::now()) {
            return Some(when);
        }
        state.starting += missing;
        drop(state);
        let sent = (0..missing).try_for_each(|_| self.starts.as_ref()?.send(()).ok());
        debug_assert!(sent.is_some(), "the starter lives as long as the keeper");
        None
    }

    /// Looks for a reply for a moment, where that has paid lately: to be woken takes longer.
    fn spin(&mut self) -> bool {
        if self.spins <= -3 || !self.pool.settings.setup.may_spin {
            return false;
        }
        let until = Instant::now() + SPIN;
        while Instant::now() < until {
            let state = self.pool.state();
            let busy = state.workers.iter().any(|worker| !worker.under_way.is_empty());
            let replied = state.workers.iter().any(|worker| !worker.reader.is_empty());
            drop(state);
            if replied {
                self.spins = (self.spins + 1).min(3);
                return true;
            }
            if !busy {
                return false;
            }
            std::hint::spin_loop();
        }
        self.spins -= 1;
        false
    }
}

impl Operation for Keeper {
    type Output = ();

    fn step(&mut self) -> Step<()> {
        self.pool.bell.silence();
        let pool = Arc::clone(&self.pool);
        let mut heard = Vec::new();
        let mut state = pool.state();
        let mut settled = std::mem::take(&mut state.unsettled);
        let State { workers, average, .. } = &mut *state;
        let replies: usize = workers.iter_mut().map(|worker| worker.read(average, &mut settled)).sum();
        // Afterwards: what a task said is there before its reply.
        workers.iter_mut().for_each(|worker| worker.listen(&mut heard));
        if replies > 0 {
            state.deaths_in_a_row = 0;
        }
        let (dead, wake) = self.look_after(&mut state, &mut settled);
        for worker in dead {
            self.bury(&mut state, worker, &mut settled, &mut heard);
        }
        state.workers.iter_mut().for_each(Worker::write);
        state.hand_out(&mut settled);
        let to_take_back = state.take_back(Instant::now(), &mut settled);
        state.counts.settled += settled.len() as u64;
        let is_idle = state.queue.is_empty() && state.workers.iter().all(|worker| worker.under_way.is_empty());
        let ends = state.is_closed && is_idle && state.starting == 0;
        drop(state);
        let has_settled = !settled.is_empty();
        heard.iter().for_each(Heard::tell);
        settle(settled);
        if ends && !has_settled && pool.roster.alive() == 0 {
            let workers = std::mem::take(&mut pool.state().workers);
            self.processes.clear();
            for mut worker in workers {
                worker.process.kill();
                worker.process.reap();
                let mut heard = Vec::new();
                worker.listen(&mut heard);
                worker.said.iter_mut().for_each(|said| said.end(worker.process.pid(), &mut heard));
                heard.iter().for_each(Heard::tell);
            }
            // With it the zygote goes.
            self.starts = None;
            let _ = self.starter.take().map(JoinHandle::join);
            return Step::Done(());
        }
        let later = self.start_missing();
        self.next_look = wake.into_iter().chain(later).chain(to_take_back).min();
        if has_settled || self.spin() {
            return Step::Again;
        }
        let state = pool.state();
        self.processes.clear();
        self.processes.extend(state.workers.iter().map(|worker| Arc::clone(&worker.process)));
        self.pipes.clear();
        let said = state.workers.iter().flat_map(|worker| &worker.said).filter(|said| !said.is_over);
        self.pipes.extend(said.map(|said| Arc::clone(&said.pipe)));
        // Says of each ring what it waits for, and looks once more.
        let mut more = false;
        for worker in &state.workers {
            more |= worker.reader.wait_for_bytes();
            if worker.has_unwritten() {
                more |= worker.writer.wait_for_room().unwrap_or(true);
            }
        }
        if more { Step::Again } else { Step::Wait }
    }

    fn interests<'a>(&'a self, name: &mut dyn FnMut(BorrowedFd<'a>, Interest)) {
        name(self.pool.bell.descriptor.as_fd(), Interest::Read);
        self.processes.iter().for_each(|process| name(process.end(), Interest::Read));
        self.pipes.iter().for_each(|pipe| name(pipe.as_fd(), Interest::Read));
    }

    fn deadline(&self) -> Option<Instant> {
        self.next_look
    }
}

/// Starts a worker, on a thread that has nothing else to do: it takes a moment, and may take long.
fn start(pool: &Pool, starter: &mut Starter) {
    let started = pool.start_worker(starter);
    let mut state = pool.state();
    state.starting -= 1;
    // What ends is told by the keeper: code of a user's must not hold this up.
    let mut settled = std::mem::take(&mut state.unsettled);
    match started {
        Ok(worker) => {
            state.workers.push(worker);
            state.hand_out(&mut settled);
        }
        Err(error) => {
            state.deaths_in_a_row += 1;
            state.not_before = Some(Instant::now() + BACK_OFF_MAX / 4);
            if state.deaths_in_a_row > DEATHS_MAX && state.workers.is_empty() {
                let reason = format!("the pool gave up: no worker can be started ({error})");
                let queue = std::mem::take(&mut state.queue);
                let fail = |queued: Queued| (queued.entry, Err(TaskError::worker_died(&reason)));
                settled.extend(queue.into_iter().map(fail));
                state.unhealthy = Some(reason);
            }
        }
    }
    state.unsettled = settled;
    drop(state);
    // The keeper looks after it from now on, or tries again.
    pool.bell.ring();
}

/// The error that tells of the death of a process.
pub(super) fn death(
    pid: u32,
    status: Option<ExitStatus>,
    condemned: Option<&str>,
    stderr: String,
    oom_kills_before: &mut u64,
) -> TaskError {
    let status_text = status.map_or("how is not known".to_owned(), |status| status.to_string());
    let mut reason = format!("process {pid}: {status_text}");
    if let Some(condemned) = condemned {
        reason = format!("{reason}; {condemned}");
    }
    let mut likely_oom = false;
    if condemned.is_none() && status.is_some_and(|status| status.signal() == Some(9)) {
        let kills = oom_kills();
        likely_oom = kills > std::mem::replace(oom_kills_before, kills);
    }
    if likely_oom {
        reason.push_str("; the system was out of memory, which is why, most likely");
    }
    TaskError::WorkerDied { reason, status, stderr, likely_oom }
}

/// How many processes the system has killed for memory since it started.
pub(super) fn oom_kills() -> u64 {
    let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}
