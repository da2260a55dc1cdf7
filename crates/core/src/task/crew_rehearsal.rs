//! A pool as small as can be around a [`Crew`], for the checkers: it does with the answers what the real pool does, with the
//! same queue, the same calls for spares and the same order of steps, and leaves everything else out.
#![cfg(all(test, any(ropewalk_loom, ropewalk_shuttle)))]

use super::crew::{Back, Census, Claim, Crew, Expired, Hired, Needed, Step};
use crate::model::sync::atomic::{AtomicU32, Ordering};
use crate::model::thread;
use crate::model::time::Duration;
use crate::park::EndsBy;
use crate::park::leaf::Leaf;
use crate::sync::queue::PutError;
use crate::sync::{Event, Permit, Queue, Semaphore};
use std::sync::Arc;

/// What a job does; it may wait, between [`Pool::blocked`] and [`Pool::unblocked`].
pub(crate) type Job = Box<dyn FnOnce(&Arc<Pool>) + Send>;

struct Queued {
    /// None for what only asks an idle worker to step down.
    job: Option<Job>,
    claim: Claim,
}

/// The pool.
pub(crate) struct Pool {
    pub(crate) crew: Crew,
    queue: Queue<Queued>,
    call_spare: Semaphore,
    /// How long a spare waits; `None` for ever.
    keep_alive: Option<Duration>,
    census: Leaf<Census>,
    threads: Leaf<Vec<thread::JoinHandle<()>>>,
    ended: Event,
    /// 1 once a shutdown has returned.
    over: AtomicU32,
    /// Workers that were started after that.
    late: AtomicU32,
    started: AtomicU32,
    life: Life,
}

/// How long workers of a rehearsal work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Until there will be no more jobs.
    UntilShutdown,
    /// One job, so that the model needs no shutdown to end.
    OneJob,
}

impl Pool {
    pub(crate) fn new(max_workers: usize, life: Life, keep_alive: Option<Duration>) -> Arc<Self> {
        Arc::new(Self {
            crew: Crew::new(max_workers),
            queue: Queue::unbounded(),
            call_spare: Semaphore::new(0),
            keep_alive,
            census: Leaf::new(Census::default()),
            threads: Leaf::new(Vec::new()),
            ended: Event::new(),
            over: AtomicU32::new(0),
            late: AtomicU32::new(0),
            started: AtomicU32::new(0),
            life,
        })
    }

    fn work_waits(&self) -> bool {
        !self.queue.is_empty()
    }

    fn is_closed(&self) -> bool {
        self.queue.is_shut_down() && self.queue.is_empty()
    }

    /// False when the pool was shut down.
    pub(crate) fn submit(self: &Arc<Self>, job: impl FnOnce(&Arc<Self>) + Send + 'static) -> bool {
        let claim = self.crew.claim_idle();
        match self.queue.put(Queued { job: Some(Box::new(job)), claim }) {
            Ok(()) => {
                self.call(self.crew.submitted(claim));
                true
            }
            Err(PutError(_)) => {
                self.crew.refused(claim);
                false
            }
        }
    }

    /// Puts a job and calls nobody: what a submit looks like that has got no further.
    #[cfg(ropewalk_loom)]
    pub(crate) fn put(&self, job: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let queued = Queued { job: Some(Box::new(job)), claim: Claim::Nobody };
        assert!(self.queue.put(queued).is_ok(), "the queue is open");
    }

    fn call(self: &Arc<Self>, needed: Needed) {
        match needed {
            Needed::Nobody => {}
            Needed::Spare => self.call_spare.release(1),
            Needed::Worker => self.start_worker(),
        }
    }

    fn start_worker(self: &Arc<Self>) {
        if self.census.lock().hires(|| self.is_closed()) == Hired::TooLate {
            return self.crew.ends();
        }
        self.late.fetch_add(self.over.load(Ordering::Relaxed), Ordering::Relaxed);
        self.started.fetch_add(1, Ordering::Relaxed);
        let pool = Arc::clone(self);
        let thread = thread::spawn(move || {
            pool.work();
            pool.worker_ended();
        });
        self.threads.lock().push(thread);
    }

    /// Makes a worker runnable that the model plays; it ends with [`worker_ended`](Self::worker_ended).
    #[cfg(ropewalk_loom)]
    pub(crate) fn hire(&self) {
        assert_eq!(self.crew.submitted(Claim::Nobody), Needed::Worker);
        assert!(matches!(self.census.lock().hires(|| false), Hired::Number(_)));
    }

    pub(crate) fn worker_ended(&self) {
        self.census.lock().leaves();
        self.note_end();
    }

    fn note_end(&self) {
        if self.census.lock().is_over(|| self.is_closed()) {
            self.ended.set();
        }
    }

    /// Takes jobs, for as long as workers do here.
    pub(crate) fn work(self: &Arc<Self>) {
        loop {
            if self.crew.step() == Step::Down {
                if !self.wait_as_spare() {
                    return;
                }
                continue;
            }
            let took = self.takes();
            if !took && self.crew.idles() == Step::Down {
                if !self.wait_as_spare() {
                    return;
                }
                continue;
            }
            if !(took || self.waits()) || self.life == Life::OneJob {
                return;
            }
        }
    }

    /// Takes and runs what there is. (A worker of the real pool ends here when there will be nothing any more; this one goes on
    /// to be idle and ends there.)
    pub(crate) fn takes(self: &Arc<Self>) -> bool {
        match self.queue.try_get() {
            Ok(queued) => {
                self.crew.busy_took(queued.claim);
                self.run(queued);
                true
            }
            Err(_) => false,
        }
    }

    /// Waits for something while it is idle, takes and runs it. False when there will be nothing any more: it has ended.
    fn waits(self: &Arc<Self>) -> bool {
        match self.queue.get() {
            Ok(queued) => {
                self.crew.idle_took(queued.claim);
                self.run(queued);
                true
            }
            Err(_) => {
                self.crew.idle_ends();
                false
            }
        }
    }

    /// After a step down.
    pub(crate) fn wait_as_spare(self: &Arc<Self>) -> bool {
        self.call(self.crew.spare_looks(|| self.work_waits()));
        let called = !self.queue.is_shut_down() && self.is_called();
        if called && !self.queue.is_shut_down() {
            return true;
        }
        match self.crew.spare_expires() {
            Expired::Gone => {
                if called {
                    self.call_spare.release(1);
                }
                false
            }
            Expired::Called => {
                if !called {
                    self.call_spare.acquire().forget();
                }
                true
            }
        }
    }

    fn is_called(&self) -> bool {
        let call = match self.keep_alive {
            Some(keep_alive) => self.call_spare.acquire_timeout(keep_alive).ok(),
            None => Some(self.call_spare.acquire()),
        };
        call.map(Permit::forget).is_some()
    }

    fn run(self: &Arc<Self>, queued: Queued) {
        if let Some(job) = queued.job {
            job(self);
        }
    }

    pub(crate) fn blocked(self: &Arc<Self>, ends_by: EndsBy) {
        self.call(self.crew.blocks(ends_by, || self.work_waits()));
    }

    pub(crate) fn unblocked(&self, ends_by: EndsBy) {
        if self.crew.unblocks(ends_by) == Back::SendOneHome {
            self.send_one_home();
        }
    }

    fn send_one_home(&self) {
        if self.queue.put(Queued { job: None, claim: Claim::Claimed }).is_err() {
            self.crew.refused(Claim::Claimed);
        }
    }

    /// Changes how many may be runnable, as the real pool does.
    #[cfg(ropewalk_loom)]
    pub(crate) fn resize(self: &Arc<Self>, max_workers: usize) {
        self.crew.set_max_workers(max_workers);
        for _ in 0..self.queue.len() {
            match self.crew.looks(|| self.work_waits()) {
                Needed::Nobody => break,
                needed => self.call(needed),
            }
        }
        for _ in 0..self.crew.sends_home() {
            self.send_one_home();
        }
    }

    /// What an idle worker does when it is handed something, without the wait for it.
    #[cfg(ropewalk_loom)]
    pub(crate) fn idle_takes(self: &Arc<Self>) -> bool {
        match self.queue.try_get() {
            Ok(queued) => {
                self.crew.idle_took(queued.claim);
                self.run(queued);
                true
            }
            Err(_) => false,
        }
    }

    /// Ends the pool and waits for it, without what has not started if `cancel`.
    pub(crate) fn shut_down(&self, cancel: bool) {
        self.begin_shutdown(cancel);
        self.await_end();
    }

    pub(crate) fn begin_shutdown(&self, cancel: bool) {
        self.queue.shutdown();
        let _first = self.census.lock().shuts_down();
        while cancel && let Ok(queued) = self.queue.try_get() {
            self.crew.busy_took(queued.claim);
        }
        self.note_end();
        self.call_spare.release(self.crew.spares());
    }

    pub(crate) fn await_end(&self) {
        self.ended.wait();
        self.over.store(1, Ordering::Relaxed);
    }

    /// Waits for the bare threads.
    pub(crate) fn join(&self) {
        loop {
            let Some(thread) = self.threads.lock().pop() else { return };
            thread.join().expect("a panic ends the model");
        }
    }

    #[cfg(ropewalk_loom)]
    pub(crate) fn started(&self) -> u32 {
        self.started.load(Ordering::Relaxed)
    }

    pub(crate) fn late(&self) -> u32 {
        self.late.load(Ordering::Relaxed)
    }
}
