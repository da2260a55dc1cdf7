//! The counts of a pool of workers: how many of them may run, and who comes when one is needed.
//!
//! Counts and nothing else: this starts no thread, holds no job and waits for nobody, so that the checkers can explore it.
//! The pool does what the answers say.
//!
//! # Counts
//!
//! A worker is in one of these conditions:
//!
//! * **running** a job, or **idle**, waiting for one: both count as *runnable*, of which there are at most
//!   `max_workers`;
//! * **blocked**: its job waits for what other tasks do (a handle, an event, an item), which may not have started. It does
//!   not count; if there is work, another takes its place;
//! * **stuck**: its job waits for a lock or a permit. As a rule that ends without any further job, so it goes on counting as
//!   runnable: replacing it would only send the next job into the same queue (4,000 jobs that compute under a semaphore of
//!   10 would become 4,000 threads). Only when *all* runnable workers are stuck is one added, since whoever holds the lock
//!   may wait for a job that has not started. (Where the holders are outside the pool, or wait for others themselves, that
//!   can still become a thread for each job.) Whoever was granted a lock is stuck until it runs again, so with one lock that
//!   everybody wants all are stuck for moments on end. A *patient* crew therefore adds nobody by itself in that case: somebody
//!   comes by while there is work, sees them stuck for a while, and [says so](Crew::long_stuck).
//! * **spare**: it came back from being blocked and there were enough runnable ones. It waits to replace the next that
//!   blocks, and ends after a while.
//!
//! # No lost job
//!
//! A submit *claims* an idle worker (takes one off the count of the idle) and puts the job, which wakes one. If there is
//! none to claim, it puts the job and then adds a worker if fewer than `max_workers` are runnable, or all are stuck. A
//! worker that blocks, is stuck or becomes a spare changes its count and then does the same if the queue is not empty. All
//! of them pass through the queue's lock between their change and their look, so of two at the same time at least one sees
//! the other. That is why the counts themselves need no ordering: the queue's lock has it.
//!
//! The count of the idle is exact because each claim is settled once: an idle worker that takes a job which claimed
//! nobody takes itself off the count; a busy worker that takes a job which claimed somebody puts that one back on it. The
//! first may come before the second of the same pair, so the count may be negative for a moment; only a positive one is
//! claimed from. (Miscounting here is how CPython's pool came to under-use its threads, cpython#115634.)
//!
//! A worker that comes back from being blocked may be one too many. If another is idle just then, it claims that one with a
//! job that is none, which makes it step down. One that becomes idle at the same moment sees that it is one too many, and steps down
//! by itself: each changes its count, and then looks at the other's, with a `fence(SeqCst)` between the two.
//!
//! # Another size
//!
//! `max_workers` may change at any time. Nothing that is queued is left lying, and no worker is one too many for long:
//!
//! * When it *grows*, whoever changes it passes through the queue's lock afterwards and adds a worker for each job that lies
//!   there, as far as there is room. A job that is put later finds the new number, since its submit passed through the same
//!   lock before it looked; one that was put before is seen. So of the two at least one adds the worker. Both may: then one
//!   of the two finds nothing, and is idle, which is what it was hired for.
//! * When it *shrinks*, each worker looks at the number between two jobs and steps down if there are too many; one that is
//!   idle, or becomes idle, is dealt with as above. A worker never steps down as the last that can go on, whatever the
//!   number is, so there is always one who comes by the queue.
//!
//! Two that change it at once would be a race about which number holds, so one at a time does it.
//!
//! # Shutdown
//!
//! Shutting the queue down ends every worker when the queue is empty. Spares end at once: as many calls as there are spares
//! wake them to see it, and one that sees it ends unless somebody counts on it. (To let them run instead would be wrong twice:
//! they would be too many, step down, see the shutdown, and so on.) A submit whose job was taken from the queue again by
//! then must not start a thread any more: the [`Census`] refuses it.

use crate::model::sync::atomic::{AtomicIsize, AtomicUsize, Ordering, fence};
use crate::model::weaken;
use crate::park::EndsBy;

/// Whether a job counts on an idle worker; it stays with the job, and whoever takes the job settles it.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// One was idle and is spoken for.
    Claimed,
    /// Nobody was idle.
    Nobody,
}

/// Who is needed to run what is queued.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// There are enough.
    Nobody,
    /// A spare: call one, it is off the count of the spares and counts as runnable.
    Spare,
    /// A new worker, which counts as runnable already.
    Worker,
}

/// Whether a worker goes on taking jobs.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It goes on.
    On,
    /// There were too many: it is a spare now.
    Down,
}

/// How a wait ended for the pool.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Back {
    /// There is room for it, or it steps down after its job.
    Fits,
    /// It is one too many, and an idle one was claimed that has to step down: put a job that is none.
    SendOneHome,
}

/// What became of a spare that waits no longer: it has waited for long enough, or the queue was shut down.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    /// Nobody counts on it any more.
    Gone,
    /// It was called at the same moment: the call is there or comes, and it counts as runnable.
    Called,
}

/// Who is left for the queue when a worker could not be started.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Somebody who can go on.
    Others,
    /// Nobody, or only such as wait for what might be in the queue.
    Nobody,
}

/// How many workers are in which condition.
#[derive(Debug)]
pub struct Crew {
    max_workers: AtomicUsize,
    patient: bool,
    runnable: AtomicUsize,
    idle: AtomicIsize,
    blocked: AtomicUsize,
    stuck: AtomicUsize,
    /// Not yet called.
    spares: AtomicUsize,
}

impl Crew {
    /// Nobody yet.
    pub fn new(max_workers: usize) -> Self {
        Self {
            max_workers: AtomicUsize::new(max_workers),
            patient: false,
            runnable: AtomicUsize::new(0),
            idle: AtomicIsize::new(0),
            blocked: AtomicUsize::new(0),
            stuck: AtomicUsize::new(0),
            spares: AtomicUsize::new(0),
        }
    }

    /// Adds nobody because all are stuck before [`long_stuck`](Self::long_stuck) says that they are.
    pub fn patient(self) -> Self {
        Self { patient: true, ..self }
    }

    /// How many may be runnable.
    #[inline]
    pub fn max_workers(&self) -> usize {
        self.max_workers.load(Ordering::Relaxed)
    }

    /// Changes how many may be runnable. Nobody comes or goes by that alone: [`looks`](Self::looks) and
    /// [`sends_home`](Self::sends_home) say who does.
    pub fn set_max_workers(&self, max_workers: usize) {
        self.max_workers.store(max_workers, Ordering::Relaxed);
    }

    /// After there may be more: who is needed for one of the jobs that wait. `work_waits` looks at the queue, through its lock.
    pub fn looks(&self, work_waits: impl FnOnce() -> bool) -> Needed {
        if weaken::keep("crew.looks") && work_waits() { self.add(self.patient) } else { Needed::Nobody }
    }

    /// All were stuck for a while, in which no job was finished: adds one if they still are and work waits.
    pub fn long_stuck(&self, work_waits: impl FnOnce() -> bool) -> Needed {
        if work_waits() { self.add(false) } else { Needed::Nobody }
    }

    /// After there may be fewer: claims idle workers, as many as are too many. Each of them has to step down: put a job that is
    /// none for each.
    pub fn sends_home(&self) -> usize {
        // Between the number and a look at who is idle: pairs with the fence in `idles`.
        if weaken::keep("crew.sends_home_fence") {
            fence(Ordering::SeqCst);
        }
        // Looked at once: those that step down meanwhile are among those that were claimed.
        let surplus = self.runnable().saturating_sub(self.max_workers());
        (0..surplus).take_while(|_| self.claim_idle() == Claim::Claimed).count()
    }

    /// How many count as runnable, at some moment: those that run, are idle or are stuck.
    #[inline]
    pub fn runnable(&self) -> usize {
        self.runnable.load(Ordering::Relaxed)
    }

    /// How many have a job that waits for a lock or a permit, at some moment.
    pub fn stuck(&self) -> usize {
        self.stuck.load(Ordering::Relaxed)
    }

    /// How many are idle, at some moment.
    #[inline]
    pub fn idle(&self) -> usize {
        self.idle.load(Ordering::Relaxed).try_into().unwrap_or(0)
    }

    /// How many have a job that waits, at some moment.
    pub fn waiting(&self) -> usize {
        self.blocked.load(Ordering::Relaxed) + self.stuck.load(Ordering::Relaxed)
    }

    /// Whether one more job would find a worker, at some moment: for whoever has work to share but need not. No more than
    /// `busy_max` are to be busy with such.
    #[inline]
    pub fn has_room(&self, busy_max: usize) -> bool {
        let (idle, runnable) = (self.idle.load(Ordering::Relaxed), self.runnable());
        if idle <= 0 {
            runnable < self.max_workers().min(busy_max)
        } else {
            runnable.saturating_sub(idle.unsigned_abs()) < busy_max
        }
    }

    /// Before a job is put: takes one off the count of the idle.
    #[inline]
    pub fn claim_idle(&self) -> Claim {
        // A count that is not positive most of the time costs no exclusive access to its cache line.
        let claimed = self.idle.load(Ordering::Relaxed) > 0
            && self
                .idle
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |idle| (idle > 0).then(|| idle - 1))
                .is_ok();
        if claimed { Claim::Claimed } else { Claim::Nobody }
    }

    /// After a job was put.
    #[inline]
    pub fn submitted(&self, claim: Claim) -> Needed {
        match claim {
            Claim::Claimed => Needed::Nobody,
            Claim::Nobody => self.add(self.patient),
        }
    }

    /// A job was not put after all.
    pub fn refused(&self, claim: Claim) {
        if claim == Claim::Claimed {
            self.idle.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds a runnable worker, unless there are as many as may be and one of them can go on, or will be able to soon.
    fn add(&self, patient: bool) -> Needed {
        // The loads come after a pass through the queue's lock; see the head of this file.
        let mut runnable = self.runnable.load(Ordering::Relaxed);
        loop {
            let one_goes_on = self.stuck.load(Ordering::Relaxed) < runnable || !weaken::keep("crew.all_stuck");
            if runnable >= self.max_workers() && (one_goes_on || patient) {
                return Needed::Nobody;
            }
            match self.runnable.compare_exchange_weak(runnable, runnable + 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => runnable = now,
            }
        }
        if take_one(&self.spares) { Needed::Spare } else { Needed::Worker }
    }

    /// Found nothing in the queue: waits for something, unless there are too many by now. Then it is a spare.
    #[inline]
    pub fn idles(&self) -> Step {
        self.idle.fetch_add(1, Ordering::Relaxed);
        // Pairs with the fences of those who make it one too many: of them and this one, at least one sees the other.
        if weaken::keep("crew.idles_fence") {
            fence(Ordering::SeqCst);
        }
        if self.runnable.load(Ordering::Relaxed) <= self.max_workers() { Step::On } else { self.idles_too_many() }
    }

    #[cold]
    fn idles_too_many(&self) -> Step {
        // One that somebody counts on takes the job first.
        if !weaken::keep("crew.idles") || self.claim_idle() == Claim::Nobody {
            return Step::On;
        }
        let step = self.step_down();
        if step == Step::On {
            self.idle.fetch_add(1, Ordering::Relaxed);
        }
        step
    }

    /// Took a job after [`idles`](Self::idles).
    #[inline]
    pub fn idle_took(&self, claim: Claim) {
        if claim == Claim::Nobody && weaken::keep("crew.idle_took") {
            self.idle.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Took a job without having been idle: to run it, or to end it.
    #[inline]
    pub fn busy_took(&self, claim: Claim) {
        if claim == Claim::Claimed && weaken::keep("crew.busy_took") {
            self.idle.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends, since the queue was shut down while it was idle.
    pub fn idle_ends(&self) {
        self.idle.fetch_sub(1, Ordering::Relaxed);
        self.ends();
    }

    /// Ends, since the queue was shut down and is empty; or never was, for the same reason.
    pub fn ends(&self) {
        self.runnable.fetch_sub(1, Ordering::Relaxed);
    }

    /// The job of a worker begins to wait. `work_waits` looks at the queue, through its lock.
    pub fn blocks(&self, ends_by: EndsBy, work_waits: impl FnOnce() -> bool) -> Needed {
        match ends_by {
            EndsBy::Others => {
                self.blocked.fetch_add(1, Ordering::Relaxed);
                self.runnable.fetch_sub(1, Ordering::Relaxed);
            }
            EndsBy::Release => {
                self.stuck.fetch_add(1, Ordering::Relaxed);
            }
        }
        if weaken::keep("crew.blocks") && work_waits() { self.add(self.patient) } else { Needed::Nobody }
    }

    /// The job of a worker goes on after [`blocks`](Self::blocks).
    pub fn unblocks(&self, ends_by: EndsBy) -> Back {
        match ends_by {
            EndsBy::Others => {
                self.blocked.fetch_sub(1, Ordering::Relaxed);
                let before = self.runnable.fetch_add(1, Ordering::Relaxed);
                // Pairs with the fence in `idles`.
                if weaken::keep("crew.unblocks_fence") {
                    fence(Ordering::SeqCst);
                }
                if before >= self.max_workers() && weaken::keep("crew.unblocks") && self.claim_idle() == Claim::Claimed
                {
                    return Back::SendOneHome;
                }
            }
            EndsBy::Release => {
                self.stuck.fetch_sub(1, Ordering::Relaxed);
            }
        }
        Back::Fits
    }

    /// Between two jobs: makes a spare of the worker if there are too many and another can go on.
    #[inline]
    pub fn step(&self) -> Step {
        if self.runnable.load(Ordering::Relaxed) <= self.max_workers() { Step::On } else { self.step_down() }
    }

    #[cold]
    fn step_down(&self) -> Step {
        let down = self.runnable.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |runnable| {
            let others_go_on = runnable - 1 > self.stuck.load(Ordering::Relaxed);
            (runnable > self.max_workers() && others_go_on && weaken::keep("crew.step")).then(|| runnable - 1)
        });
        if down.is_err() {
            return Step::On;
        }
        self.spares.fetch_add(1, Ordering::Relaxed);
        Step::Down
    }

    /// After [`Step::Down`]: the others may have got stuck at the same moment. (This may call the very spare that asks.)
    pub fn spare_looks(&self, work_waits: impl FnOnce() -> bool) -> Needed {
        if weaken::keep("crew.spare_looks") && work_waits() { self.add(self.patient) } else { Needed::Nobody }
    }

    /// A spare waits no longer.
    pub fn spare_expires(&self) -> Expired {
        // Nobody counts on this one from here on: whoever needs a worker starts one.
        if take_one(&self.spares) || !weaken::keep("crew.spare_expires") { Expired::Gone } else { Expired::Called }
    }

    /// How many spares wait that nobody has called. One that is not among them yet sees what was done before, if the queue's
    /// lock was passed in between.
    pub fn spares(&self) -> usize {
        self.spares.load(Ordering::Relaxed)
    }

    /// The worker that was needed was not started.
    pub fn not_started(&self) -> Left {
        let others = self.runnable.fetch_sub(1, Ordering::Relaxed) - 1;
        if others > self.stuck.load(Ordering::Relaxed) { Left::Others } else { Left::Nobody }
    }

    /// Everybody is gone: every count is 0 again.
    #[cfg(all(test, any(ropewalk_loom, ropewalk_shuttle)))]
    pub(crate) fn is_square(&self) -> bool {
        self.idle.load(Ordering::Relaxed) == 0
            && [&self.runnable, &self.blocked, &self.stuck, &self.spares]
                .iter()
                .all(|count| count.load(Ordering::Relaxed) == 0)
    }

    /// How many are runnable, and how many of them are idle, when nothing moves.
    #[cfg(all(test, ropewalk_loom))]
    pub(crate) fn runnable_and_idle(&self) -> (usize, isize) {
        (self.runnable.load(Ordering::Relaxed), self.idle.load(Ordering::Relaxed))
    }
}

/// Takes one from a count, if there is one.
fn take_one(count: &AtomicUsize) -> bool {
    // A count that is 0 most of the time costs no exclusive access to its cache line.
    count.load(Ordering::Relaxed) > 0
        && count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1)).is_ok()
}

/// Whether a worker may still be started.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hired {
    /// Start it. It is alive from now on.
    Number(usize),
    /// There will be no more work.
    TooLate,
}

/// Who lives, and until when. Plain data under the pool's lock.
#[derive(Debug, Default)]
pub struct Census {
    alive: usize,
    hired: usize,
    shut_down: bool,
}

impl Census {
    /// A worker is needed, unless the queue is closed and empty, which `is_closed` looks at.
    ///
    /// It stays so then, so nobody is needed any more, and whoever waits for the end may have seen it already.
    pub fn hires(&mut self, is_closed: impl FnOnce() -> bool) -> Hired {
        if is_closed() && weaken::keep("crew.hires") {
            return Hired::TooLate;
        }
        self.alive += 1;
        self.hired += 1;
        Hired::Number(self.hired - 1)
    }

    /// A worker has ended.
    pub fn leaves(&mut self) {
        self.alive -= 1;
    }

    /// It is over when everybody has left. True the first time.
    pub fn shuts_down(&mut self) -> bool {
        !std::mem::replace(&mut self.shut_down, true)
    }

    /// Whether everybody has left for good.
    pub fn is_over(&self, is_closed: impl FnOnce() -> bool) -> bool {
        self.alive == 0 && self.shut_down && is_closed()
    }

    /// How many live.
    pub fn alive(&self) -> usize {
        self.alive
    }
}
