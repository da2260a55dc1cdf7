//! .NET's thread pool, as far as it sizes itself: plain threads with one queue, whose number is what [`rule`] says.
//!
//! Not in it: local queues and stealing, and the compensation for waits that announce themselves (what blocks in these works
//! is std's, as a driver's or the kernel's would be). `nested` has no row: a task that waits for one that nobody runs gets
//! one more thread each half second.

mod rule;

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use self::rule::{GATE_EVERY, Rule};
use super::{Job, Load, Look, Subject};
use crate::measure::{cores, process_cpu};

/// .NET's own.
const THREADS_MAX: usize = 32_767;

/// The pool.
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// There is work, more may work, or it is over.
    work: Condvar,
    /// A load has ended, or it is over: for the caller and for the gate.
    news: Condvar,
}

struct State {
    queue: VecDeque<Job>,
    unfinished: usize,
    rule: Rule,
    goal: usize,
    existing: usize,
    working: usize,
    /// When something last left the queue.
    dequeued: Instant,
    sample_began: Instant,
    sample_length: Duration,
    completions: usize,
    cpu: f64,
    over: bool,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Pool {
    pub(super) fn open() -> Self {
        let now = Instant::now();
        // The seed of the sample lengths; any will do.
        let seed = std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64);
        let rule = Rule::new(cores(), THREADS_MAX, seed);
        let state = State {
            queue: VecDeque::new(),
            unfinished: 0,
            goal: cores(),
            existing: 0,
            working: 0,
            dequeued: now,
            sample_began: now,
            sample_length: rule.first_sample(),
            rule,
            completions: 0,
            cpu: 0.0,
            over: false,
            threads: Vec::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), work: Condvar::new(), news: Condvar::new() });
        let gate = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.gate()
        });
        shared.lock().threads.push(gate);
        Self(shared)
    }
}

impl Subject for Pool {
    fn run(&self, load: &Load) {
        let Load::Flat { count, job } = load else { unreachable!("it has no row in nested works") };
        for _ in 0..*count {
            let mut state = self.0.lock();
            state.queue.push_back(Arc::clone(job));
            state.unfinished += 1;
            self.0.staff(&mut state);
        }
        let mut state = self.0.lock();
        while state.unfinished > 0 {
            state = self.0.news.wait(state).expect("no job panics");
        }
    }

    fn look(&self) -> Look {
        let state = self.0.lock();
        Look { threads: state.existing, target: state.goal, running: state.working, queued: state.queue.len() }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let threads = {
            let mut state = self.0.lock();
            state.over = true;
            std::mem::take(&mut state.threads)
        };
        self.0.work.notify_all();
        self.0.news.notify_all();
        threads.into_iter().for_each(|thread| thread.join().expect("no job panics"));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no job panics")
    }

    /// Wakes a thread for queued work, or starts one, if one more may work.
    fn staff(self: &Arc<Self>, state: &mut State) {
        if state.queue.is_empty() || state.working >= state.goal {
            return;
        }
        if state.existing > state.working {
            self.work.notify_one();
        } else if state.existing < state.goal {
            state.existing += 1;
            let shared = Arc::clone(self);
            state.threads.push(std::thread::spawn(move || shared.work()));
        }
    }

    fn work(self: &Arc<Self>) {
        let mut state = self.lock();
        loop {
            if state.over {
                return;
            }
            if state.working >= state.goal || state.queue.is_empty() {
                state = self.work.wait(state).expect("no job panics");
                continue;
            }
            let job = state.queue.pop_front().expect("it is not empty");
            state.dequeued = Instant::now();
            state.working += 1;
            // There may be room for more, one at a time.
            self.staff(&mut state);
            drop(state);
            job();
            state = self.lock();
            state.completions += 1;
            state.unfinished -= 1;
            if state.unfinished == 0 {
                self.news.notify_all();
            }
            self.sample(&mut state);
            state.working -= 1;
        }
    }

    /// Where the sample has been long enough, and no more work than may: asks the rule.
    fn sample(&self, state: &mut State) {
        let took = state.sample_began.elapsed();
        if took < state.sample_length || state.working > state.goal {
            return;
        }
        let (completions, cpu) = (state.completions, state.cpu);
        (state.goal, state.sample_length) = state.rule.sampled(took, completions, cpu);
        state.sample_began += took;
        state.completions = 0;
    }

    fn gate(self: &Arc<Self>) {
        let mut state = self.lock();
        let (mut at, mut cpu) = (Instant::now(), process_cpu());
        loop {
            let until = at + GATE_EVERY;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                if state.over {
                    return;
                }
                state = self.news.wait_timeout(state, left).expect("no job panics").0;
            }
            let (now, used) = (Instant::now(), process_cpu());
            state.cpu = (used - cpu).as_secs_f64() / (now - at).as_secs_f64() / cores() as f64;
            (at, cpu) = (now, used);
            if !state.queue.is_empty() {
                let (still, existing, cpu) = (state.dequeued.elapsed(), state.existing, state.cpu);
                if let Some(goal) = state.rule.gate(still, existing, cpu) {
                    state.goal = goal;
                    self.staff(&mut state);
                }
            }
        }
    }
}
