//! The threads of a worker. They only wait, and call the loops.
//!
//! | thread | calls |
//! | --- | --- |
//! | the main one | the dispatcher: at every end of a run, at news of work, when it asked to be called |
//! | `-beat` | the heartbeater, and looks for runs that hang |
//! | `-keep` | the keeper |
//! | `-news` | waits for news of work at the broker, and tells the main one |
//!
//! # The end
//!
//! Told to stop, a worker takes no more jobs and waits for those that run. After the grace they are asked to end. What
//! they return still counts; those that end otherwise, with an error or in a wait, and those that have not ended shortly after go
//! back to their queue, uncounted. Told a second time, it skips the first wait.

use super::dispatcher::{Counts, Dispatcher};
use super::heartbeater::Heartbeater;
use super::model::Runs;
use super::slots::Slots;
use super::verdict::{self, Asked, Run};
use super::{Config, Notice, keeper};
use crate::broker::{Broker, Held, Topic};
use crate::crash::crash_point;
use crate::job::{End, ExecId, Failure, FailureKind, Lease, Outcome, Time};
use ropewalk::sync::queue::channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use ropewalk::{JobContext, TaskError};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long runs that were asked to end have for it.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long after its timeout a run counts as hanging.
pub(super) const HANGS_AFTER: Duration = Duration::from_secs(5);
/// How long the main thread waits when nobody asks for it.
const IDLE: Duration = Duration::from_secs(5);

enum Message {
    /// A run has come to its end.
    Ended(ExecId, Run),
    /// A run hangs: its job is settled without it.
    Hangs(ExecId),
    News,
}

/// What all threads of a worker share.
pub(super) struct Shared {
    broker: Arc<dyn Broker>,
    config: Config,
    slots: Slots,
    /// How often it was told to stop.
    told: AtomicU8,
    over: AtomicBool,
    bell: Condvar,
    rung: Mutex<()>,
    news: AtomicBool,
    messages: Sender<Message>,
}

impl Shared {
    /// Somebody tells it to stop.
    pub(super) fn stop(&self) {
        self.told.fetch_update(Ordering::AcqRel, Ordering::Acquire, |told| Some(told.saturating_add(1))).ok();
        self.tell_news();
    }

    fn tell_news(&self) {
        let _ = self.messages.send(Message::News);
    }

    fn notice(&self, notice: &Notice) {
        if let Some(tell) = &self.config.notice {
            // The threads that say so keep the leases. (The hook has reported the panic.)
            let _ = catch_unwind(AssertUnwindSafe(|| tell(notice)));
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Waits for so long, or until the worker is over.
    fn pause(&self, until: Duration) {
        let guard = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_over() {
            drop(self.bell.wait_timeout(guard, until));
        }
    }

    fn end(&self) {
        let guard = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        self.over.store(true, Ordering::Release);
        drop(guard);
        self.bell.notify_all();
        self.broker.ring(Topic::Work);
        self.broker.ring(Topic::Stop);
    }
}

/// Makes a worker; it runs when [`Crew::run`] is called.
pub(super) struct Crew {
    shared: Arc<Shared>,
    messages: Receiver<Message>,
}

impl Crew {
    pub(super) fn new(broker: Arc<dyn Broker>, config: Config) -> Self {
        let (sender, messages) = unbounded();
        let shared = Shared {
            broker,
            config,
            slots: Slots::default(),
            told: AtomicU8::new(0),
            over: AtomicBool::new(false),
            bell: Condvar::new(),
            rung: Mutex::new(()),
            news: AtomicBool::new(false),
            messages: sender,
        };
        Self { shared: Arc::new(shared), messages }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Works until it was told to stop, or until nothing is left if it is a burst.
    pub(super) fn run(self) -> Counts {
        let shared = &self.shared;
        let config = &shared.config;
        let name = |what: &str| thread::Builder::new().name(format!("ropewalk-jobs-{what}"));
        thread::scope(|scope| {
            let helpers = [
                name("beat").spawn_scoped(scope, || beat(shared)),
                name("keep").spawn_scoped(scope, || keep(shared)),
                name("news").spawn_scoped(scope, || news(shared)),
            ];
            // Ends the helpers however this ends.
            struct Over<'a>(&'a Shared);
            impl Drop for Over<'_> {
                fn drop(&mut self) {
                    self.0.end();
                }
            }
            let _over = Over(shared);
            for helper in helpers {
                helper.expect("a worker needs three threads beside its own");
            }
            let dispatcher = Dispatcher::new(
                config.worker.clone(),
                config.order.clone(),
                config.concurrency,
                config.lease,
                fastrand::Rng::new(),
            )
            .knowing(config.registry.names().map(str::to_owned));
            let runs = Runs::new(config.model, config.concurrency);
            let main = Main { shared, dispatcher, runs: &runs, leases: HashMap::new(), dice: fastrand::Rng::new() };
            let (counts, all_ended) = main.work(&self.messages);
            if all_ended {
                drop(runs);
            } else {
                runs.let_go();
            }
            counts
        })
    }
}

/// The main thread.
struct Main<'a> {
    shared: &'a Arc<Shared>,
    dispatcher: Dispatcher,
    runs: &'a Runs,
    leases: HashMap<ExecId, Lease>,
    dice: fastrand::Rng,
}

impl Main<'_> {
    /// What it counted, and whether every run has given its thread back.
    fn work(mut self, messages: &Receiver<Message>) -> (Counts, bool) {
        let mut stopping: Option<Instant> = None;
        let mut asked: Option<Instant> = None;
        loop {
            let told = self.shared.told.load(Ordering::Acquire);
            if told > 0 && stopping.is_none() {
                stopping = Some(Instant::now());
                self.dispatcher.stop();
            }
            if let Some(since) = stopping
                && asked.is_none()
                && (told > 1 || since.elapsed() >= self.shared.config.grace)
            {
                asked = Some(Instant::now());
                self.shared.slots.ask_all(Asked::Shutdown);
            }
            if asked.is_some_and(|since| since.elapsed() >= LAST_WORDS) {
                self.release_the_rest();
                return (self.dispatcher.counts, false);
            }
            while let Ok(message) = messages.try_recv() {
                self.take(message);
            }
            let wants = self.dispatcher.step(self.shared.broker.now(), &*self.shared.broker);
            if let Some(error) = &wants.trouble {
                self.shared.notice(&Notice::Trouble(error.clone()));
            }
            let started = !wants.start.is_empty();
            wants.start.into_iter().for_each(|lease| self.start(lease));
            if self.dispatcher.is_idle()
                && (stopping.is_some() || (self.shared.config.burst && wants.drained && !started))
            {
                return (self.dispatcher.counts, true);
            }
            let now = self.shared.broker.now();
            let mut wait = wants.again.map_or(IDLE, |again| again.since(now).max(Duration::from_millis(1)));
            for (since, limit) in [(stopping, self.shared.config.grace), (asked, LAST_WORDS)] {
                if let Some(since) = since {
                    wait = wait.min(limit.saturating_sub(since.elapsed()).max(Duration::from_millis(1)));
                }
            }
            match messages.recv_timeout(wait) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::TimedOut) => {}
                Err(_) => return (self.dispatcher.counts, true),
            }
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::News => self.shared.news.store(false, Ordering::Release),
            Message::Hangs(exec) => {
                let Some(lease) = self.leases.get(&exec) else { return };
                self.shared.notice(&Notice::Hangs(lease.id.clone(), lease.task.clone()));
                let failure = Failure::new(
                    FailureKind::TimedOut,
                    "time limit passed, and the task goes on: it neither waits through ropewalk nor asks whether it is \
                     cancelled, and a thread cannot be killed",
                );
                self.ended(exec, Run::Unwound(failure));
            }
            Message::Ended(exec, run) => {
                self.ended(exec, run);
                self.shared.slots.close(exec);
                self.dispatcher.gone(exec);
            }
        }
    }

    fn ended(&mut self, exec: ExecId, run: Run) {
        let Some(lease) = self.leases.remove(&exec) else { return };
        let end = verdict::of(&lease, run, self.shared.slots.asked(exec), self.dice.f64());
        let outcome = end.map(|end| {
            if let End::Failed(failure) | End::Retry { failure, .. } = &end {
                self.shared.notice(&Notice::Failed(lease.id.clone(), lease.task.clone(), failure.clone()));
            }
            Outcome { id: lease.id.clone(), exec, end }
        });
        self.dispatcher.end(outcome.ok_or(exec));
    }

    fn start(&mut self, lease: Lease) {
        let (exec, config) = (lease.exec, &self.shared.config);
        let Some(handler) = config.registry.get(&lease.task).cloned() else {
            let mut known: Vec<&str> = config.registry.names().collect();
            known.sort_unstable();
            let end = verdict::unknown(&lease, &known);
            self.shared.notice(&Notice::Unknown(lease.id.clone(), lease.task.clone()));
            self.dispatcher.end(Ok(Outcome { id: lease.id, exec, end }));
            self.dispatcher.gone(exec);
            // The outcome is settled in the next step, which must not wait.
            self.shared.tell_news();
            return;
        };
        let limit = lease.options.timeout();
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        let overdue = deadline.and_then(|deadline| deadline.checked_add(HANGS_AFTER));
        let latest = self.shared.slots.open(exec, lease.id.clone(), overdue);
        let due = limit.map(|limit| (self.shared.broker.now() + limit).into());
        let context = JobContext::outside().with_states(Arc::clone(&config.states)).of_job(
            lease.id.as_str(),
            lease.attempt(),
            due,
            latest,
        );
        let payload = lease.payload.clone();
        self.leases.insert(exec, lease);
        let messages = self.shared.messages.clone();
        let run = move || {
            crash_point!("run.before");
            let ran = handler(&payload, &context);
            crash_point!("run.after");
            // Whoever listens has gone only with the worker.
            let _ = messages.send(Message::Ended(exec, Run::Returned(ran)));
        };
        let handle = self.runs.start(deadline, run);
        let messages = self.shared.messages.clone();
        handle.on_finish(move |outcome| {
            // One that returned has said so itself.
            let Err(error) = outcome else { return };
            let run = match error {
                TaskError::Cancelled | TaskError::Shutdown => Run::Cancelled,
                other => Run::Unwound(Failure::of_task(other)),
            };
            let _ = messages.send(Message::Ended(exec, run));
        });
        self.shared.slots.begun(exec, handle);
    }

    /// What still runs goes back; its end will not count.
    fn release_the_rest(&mut self) {
        for (exec, lease) in self.leases.drain() {
            self.dispatcher.end(Ok(Outcome { id: lease.id, exec, end: End::Release }));
            self.dispatcher.gone(exec);
        }
        let wants = self.dispatcher.step(self.shared.broker.now(), &*self.shared.broker);
        if let Some(error) = wants.trouble {
            // Their leases run out: then they go back as well, and count as crashes.
            self.shared.notice(&Notice::Trouble(error));
        }
    }
}

fn beat(shared: &Shared) {
    let config = &shared.config;
    let heartbeater = Heartbeater::new(config.worker.clone(), config.order.names(), config.concurrency, config.lease);
    loop {
        let over = shared.is_over();
        let seen = shared.broker.news(Topic::Stop);
        let (news, again) = heartbeater.step(shared.broker.now(), &*shared.broker, shared.slots.running(), over);
        match news {
            Ok(news) => {
                for (exec, held) in news {
                    let why = if held == Held::Stop { Asked::Stop } else { Asked::Lost };
                    shared.slots.ask(exec, why);
                }
            }
            Err(error) => shared.notice(&Notice::Trouble(error)),
        }
        if over {
            return;
        }
        wait_for_stop(shared, seen, again);
    }
}

/// Until the next beat is due, or somebody asked a job to stop; meanwhile, runs that hang are told of.
fn wait_for_stop(shared: &Shared, seen: u64, again: Time) {
    let until = Instant::now() + again.since(shared.broker.now());
    loop {
        shared.slots.overdue().into_iter().for_each(|exec| {
            let _ = shared.messages.send(Message::Hangs(exec));
        });
        let now = Instant::now();
        if shared.is_over() || now >= until || shared.broker.news(Topic::Stop) != seen {
            return;
        }
        // A run that begins meanwhile hangs no sooner than this.
        let next = shared.slots.next_overdue().unwrap_or(until).min(now + HANGS_AFTER);
        shared.broker.wait(
            Topic::Stop,
            seen,
            until.min(next).saturating_duration_since(now).max(Duration::from_millis(1)),
        );
    }
}

fn keep(shared: &Shared) {
    while !shared.is_over() {
        let (ticked, again) = keeper::step(shared.broker.now(), &*shared.broker);
        match ticked {
            Ok(ticked) if ticked.recovered + ticked.ended > 0 => {
                shared.notice(&Notice::Recovered(ticked.recovered + ticked.ended));
            }
            Ok(_) => {}
            Err(error) => shared.notice(&Notice::Trouble(error)),
        }
        shared.pause(again.since(shared.broker.now()).min(keeper::TICK_EVERY));
    }
}

fn news(shared: &Shared) {
    let mut seen = shared.broker.news(Topic::Work);
    while !shared.is_over() {
        shared.broker.wait(Topic::Work, seen, IDLE);
        let news = shared.broker.news(Topic::Work);
        if news != seen && !shared.news.swap(true, Ordering::AcqRel) {
            shared.tell_news();
        }
        seen = news;
    }
}
