//! The threads of a worker. They only wait, and call the loops.
//!
//! | thread | calls |
//! | --- | --- |
//! | the main one | the dispatcher: at every end of a run, at news of work, when it asked to be called |
//! | `-beat` | the heartbeater, and looks for runs that hang |
//! | `-keep` | the keeper |
//! | `-news` | waits for news of work at the broker, and tells the main one |
//! | `-cron` | the scheduler, if there are schedules |
//! | `-metrics` | answers whoever asks over HTTP, if somebody may |
//! | `-ear` | hears what runs in other processes say |
//!
//! # The end
//!
//! Told to stop, a worker takes no more jobs and waits for those that run. After the grace they are asked to end. What
//! they return still counts; those that end otherwise, with an error or in a wait, and those that have not ended shortly after go
//! back to their queue, uncounted. Told a second time, it skips the first wait.

use super::dispatcher::{Counts, Dispatcher};
use super::heartbeater::Heartbeater;
use super::model::Runs;
#[cfg(all(target_os = "linux", feature = "process"))]
use super::model::within;
use super::slots::Slots;
use super::verdict::{self, Asked, Run};
use super::{Config, Notice, keeper};
#[cfg(all(target_os = "linux", feature = "process"))]
use crate::apart::{Ear, Word};
use crate::broker::{Broker, Command, Held, Topic};
use crate::crash::crash_point;
use crate::job::{End, ExecId, Failure, FailureKind, Lease, Outcome};
use ropewalk::sync::queue::channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use ropewalk::{JobContext, TaskError};
use std::collections::HashMap;
use std::io;
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
/// How often what runs have said is sent, at most.
const NEWS_EVERY: Duration = Duration::from_secs(1);
/// How long an end waits for the next one to go with it, at most; and below which it is not worth a sleep.
const LINGER_PAUSE_MAX: Duration = Duration::from_micros(50);
const LINGER_PAUSE_MIN: Duration = Duration::from_micros(20);
/// Between two tries to give back what still runs at the end.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Between two tries to have new processes.
#[cfg(all(target_os = "linux", feature = "process"))]
const RENEW_AFTER: Duration = Duration::from_secs(1);
/// How long the ends of processes that were killed are waited for.
#[cfg(all(target_os = "linux", feature = "process"))]
const ENDS_WITHIN: Duration = Duration::from_secs(1);

enum Message {
    /// A run has come to its end.
    Ended(ExecId, Run),
    /// A run hangs: its job is settled without it.
    Hangs(ExecId),
    /// A run in another process has come to its end.
    #[cfg(all(target_os = "linux", feature = "process"))]
    Apart(ExecId),
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
    /// What the main thread has counted so far, and when the broker last took a beat: for those who ask.
    told_of: Mutex<Told>,
    /// Held while logs are taken and sent: else one thread may settle a run while another has its last lines in its hands.
    logs: Mutex<()>,
}

/// What a worker tells of itself.
#[derive(Clone, Copy)]
pub(super) struct Told {
    pub(super) counts: Counts,
    /// Jobs of others that run again, and those that do not.
    pub(super) recovered: u64,
    pub(super) not_recovered: u64,
    pub(super) beat: Instant,
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

    fn told_of(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told_of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `metrics` tells.
    #[cfg(feature = "metrics")]
    pub(super) fn tells(&self) -> (Told, usize, &Config, &dyn Broker) {
        (*self.told_of(), self.slots.count(), &self.config, &*self.broker)
    }

    pub(super) fn is_over(&self) -> bool {
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

    /// Sends what runs have said for their logs: all, or one.
    fn send_logs(&self, of: Option<ExecId>) {
        let _in_order = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        let said = self.slots.said(of);
        if !said.is_empty()
            && let Err(error) = self.broker.log(&said)
        {
            self.notice(&Notice::Trouble(error));
        }
    }
}

/// Makes a worker; it runs when [`Crew::run`] is called.
pub(super) struct Crew {
    shared: Arc<Shared>,
    messages: Receiver<Message>,
    runs: Runs,
}

impl Crew {
    pub(super) fn new(broker: Arc<dyn Broker>, config: Config) -> io::Result<Self> {
        let runs = Runs::new(&config)?;
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
            told_of: Mutex::new(Told {
                counts: Counts::default(),
                recovered: 0,
                not_recovered: 0,
                beat: Instant::now(),
            }),
            logs: Mutex::default(),
        };
        Ok(Self { shared: Arc::new(shared), messages, runs })
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Works until it was told to stop, or until nothing is left if it is a burst.
    pub(super) fn run(self) -> io::Result<Counts> {
        let shared = &self.shared;
        #[cfg(all(target_os = "linux", feature = "process"))]
        let ear = match self.runs.processes() {
            Some(_) => Some(Arc::new(listen(shared)?)),
            None => None,
        };
        #[cfg(feature = "metrics")]
        let _metrics = super::metrics::serve(shared)?;
        let config = &shared.config;
        let name = |what: &str| thread::Builder::new().name(format!("ropewalk-jobs-{what}"));
        thread::scope(|scope| {
            let helpers = [
                name("beat").spawn_scoped(scope, || beat(shared)),
                name("keep").spawn_scoped(scope, || keep(shared)),
                name("news").spawn_scoped(scope, || news(shared)),
                #[cfg(feature = "cron")]
                name("cron").spawn_scoped(scope, || schedule(shared)),
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
                helper?;
            }
            let dispatcher = Dispatcher::new(
                config.worker.clone(),
                config.order.clone(),
                config.concurrency,
                config.lease,
                fastrand::Rng::new(),
            )
            .knowing(config.registry.names().map(str::to_owned));
            let mut main = Main {
                shared,
                dispatcher,
                runs: self.runs,
                leases: HashMap::new(),
                dice: fastrand::Rng::new(),
                #[cfg(all(target_os = "linux", feature = "process"))]
                ear,
                #[cfg(all(target_os = "linux", feature = "process"))]
                apart: HashMap::new(),
                #[cfg(all(target_os = "linux", feature = "process"))]
                renew_at: None,
            };
            let all_ended = main.work(&self.messages);
            if all_ended {
                drop(main.runs);
            } else {
                main.runs.let_go();
            }
            Ok(main.dispatcher.counts)
        })
    }
}

/// The main thread.
struct Main<'a> {
    shared: &'a Arc<Shared>,
    dispatcher: Dispatcher,
    runs: Runs,
    leases: HashMap<ExecId, Lease>,
    dice: fastrand::Rng,
    #[cfg(all(target_os = "linux", feature = "process"))]
    ear: Option<Arc<Ear>>,
    #[cfg(all(target_os = "linux", feature = "process"))]
    apart: HashMap<ExecId, AtProcess>,
    /// The processes gave up: when to try to have new ones.
    #[cfg(all(target_os = "linux", feature = "process"))]
    renew_at: Option<Instant>,
}

/// The handle of a run in another process, for the main thread and for whoever stops it.
#[cfg(all(target_os = "linux", feature = "process"))]
type AtProcess = Arc<Mutex<Option<ropewalk::TaskHandle<crate::apart::Told>>>>;

impl Main<'_> {
    /// Whether every run has given its thread back.
    fn work(&mut self, messages: &Receiver<Message>) -> bool {
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
                #[cfg(all(target_os = "linux", feature = "process"))]
                self.kill_the_rest(messages);
                self.release_the_rest(messages);
                return false;
            }
            while let Ok(message) = messages.try_recv() {
                self.take(message);
            }
            #[cfg(all(target_os = "linux", feature = "process"))]
            self.renew();
            let began = Instant::now();
            let wants = self.dispatcher.step(self.shared.broker.now(), &*self.shared.broker);
            let step_took = began.elapsed();
            self.shared.told_of().counts = self.dispatcher.counts;
            if let Some(error) = &wants.trouble {
                self.shared.notice(&Notice::Trouble(error.clone()));
            }
            let started = !wants.start.is_empty();
            wants.start.into_iter().for_each(|lease| self.start(lease));
            if self.dispatcher.is_idle()
                && (stopping.is_some() || (self.shared.config.burst && wants.drained && !started))
            {
                return true;
            }
            let now = self.shared.broker.now();
            // The wall clock may have been set back since: no pause is longer than this.
            let mut wait = wants.again.map_or(IDLE, |again| again.since(now).clamp(Duration::from_millis(1), IDLE));
            for (since, limit) in [(stopping, self.shared.config.grace), (asked, LAST_WORDS)] {
                if let Some(since) = since {
                    wait = wait.min(limit.saturating_sub(since.elapsed()).max(Duration::from_millis(1)));
                }
            }
            #[cfg(all(target_os = "linux", feature = "process"))]
            if let Some(at) = self.renew_at {
                wait = wait.min(at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)));
            }
            let came = match messages.recv_timeout(wait) {
                Ok(message) => {
                    self.take(message);
                    true
                }
                Err(RecvTimeoutError::TimedOut) => false,
                Err(_) => return true,
            };
            if came {
                self.linger(messages, step_took);
            }
            // What ends while it is waited for is settled in the next step. With nothing left to end, that step can as well ask for more
            // before it is here.
            if !came || !self.leases.is_empty() || wants.trouble.is_some() {
                self.dispatcher.wait_for_answers();
                while let Ok(message) = messages.try_recv() {
                    self.take(message);
                }
            }
        }
    }

    /// Ends that come one after the other are settled in one go: a step is a wait for the broker, and most of it costs the same for
    /// one as for many. So the first waits for the next ones, for a small part of what a step takes, and only while they come. It does
    /// not listen meanwhile, so that nobody has to wake it for each.
    fn linger(&mut self, messages: &Receiver<Message>, step_took: Duration) {
        let pause = (step_took / 16).min(LINGER_PAUSE_MAX);
        let until = Instant::now() + step_took / 4;
        let mut came = true;
        while came && pause >= LINGER_PAUSE_MIN && !self.leases.is_empty() && Instant::now() < until {
            ropewalk::sleep(pause);
            came = false;
            while let Ok(message) = messages.try_recv() {
                self.take(message);
                came = true;
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
            #[cfg(all(target_os = "linux", feature = "process"))]
            Message::Apart(exec) => {
                let handle = self.apart.remove(&exec).and_then(|at| lock(&at).take());
                // It has ended, so nobody waits here.
                let Some(outcome) = handle.map(ropewalk::TaskHandle::join) else { return };
                let run = match outcome {
                    Ok(told) => Run::Returned(told.into_ran()),
                    Err(error) => self.ended_badly(exec, &error),
                };
                self.take(Message::Ended(exec, run));
            }
        }
    }

    /// How a run ended in its process, or with it.
    #[cfg(all(target_os = "linux", feature = "process"))]
    fn ended_badly(&mut self, exec: ExecId, error: &TaskError) -> Run {
        let has_given_up = self.runs.processes().is_some_and(ropewalk::ProcessPoolExecutor::has_given_up);
        if has_given_up && self.renew_at.is_none() && matches!(error, TaskError::WorkerDied { .. }) {
            self.shared.notice(&Notice::Processes(error.to_string()));
            // A pool that gave up runs nothing any more: what it has goes back uncounted, and a new one takes its place. Until there
            // is one, no job is taken.
            self.shared.slots.ask_all(Asked::Shutdown);
            self.dispatcher.hold(true);
            self.renew_at = Some(Instant::now());
            self.renew();
        }
        // A process that was killed because its job was to stop is no crash.
        match error {
            TaskError::Cancelled | TaskError::Shutdown => Run::Cancelled,
            TaskError::WorkerDied { .. } if self.shared.slots.asked(exec) == Some(Asked::Shutdown) => Run::Cancelled,
            other => Run::Unwound(Failure::of_task(other)),
        }
    }

    /// Puts a new pool in the place of one that gave up, if it is time to try.
    #[cfg(all(target_os = "linux", feature = "process"))]
    fn renew(&mut self) {
        if self.renew_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        match Runs::new(&self.shared.config) {
            Ok(runs) => {
                std::mem::replace(&mut self.runs, runs).let_go();
                self.dispatcher.hold(false);
                self.renew_at = None;
            }
            Err(error) => {
                self.shared.notice(&Notice::Processes(format!("there are no new ones, and no job is taken: {error}")));
                self.renew_at = Instant::now().checked_add(RENEW_AFTER);
            }
        }
    }

    fn ended(&mut self, exec: ExecId, run: Run) {
        let Some(lease) = self.leases.remove(&exec) else { return };
        // Before the settle: after it, it holds no lease.
        self.shared.send_logs(Some(exec));
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
        // A process that is too late is killed, after the grace of its pool; until then its job is no one else's.
        #[cfg(all(target_os = "linux", feature = "process"))]
        let overdue = overdue.filter(|_| self.runs.processes().is_none());
        let latest = self.shared.slots.open(exec, lease.id.clone(), overdue);
        let due = limit.map(|limit| (self.shared.broker.now() + limit).into());
        let context = JobContext::outside().with_states(Arc::clone(&config.states)).of_job(
            lease.id.as_str(),
            lease.attempt(),
            due,
            latest,
        );
        #[cfg(all(target_os = "linux", feature = "process"))]
        if let (Some(ear), Some(pool)) = (&self.ear, self.runs.processes()) {
            let function = config.registry.apart(&lease.task).expect("looked at when the pool was made");
            let asked = crate::apart::Asked {
                id: lease.id.to_string(),
                exec: exec.0,
                attempt: lease.attempt(),
                due: limit.map(|limit| (self.shared.broker.now() + limit).millis()),
                payload: lease.payload.clone(),
                memory_max: lease.options.memory_max,
                ear: ear.path(),
            };
            let at = Arc::new(Mutex::new(None));
            self.apart.insert(exec, Arc::clone(&at));
            self.leases.insert(exec, lease);
            let handle = within(deadline, || pool.spawn(function, asked));
            let (ear, messages) = (Arc::clone(ear), self.shared.messages.clone());
            let at_end = move |_: Result<(), &TaskError>| {
                if !ear.end(exec) {
                    let _ = messages.send(Message::Apart(exec));
                }
            };
            lock(&at).insert(handle).on_finish(at_end);
            let ender = move || {
                if let Some(handle) = &*lock(&at) {
                    handle.cancel();
                }
            };
            self.shared.slots.begun(exec, Box::new(ender));
            return;
        }
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
        self.shared.slots.begun(
            exec,
            Box::new(move || {
                handle.cancel();
            }),
        );
    }

    /// Processes are ended before their jobs go back, whatever grace they have: else a job would run here and elsewhere.
    #[cfg(all(target_os = "linux", feature = "process"))]
    fn kill_the_rest(&mut self, messages: &Receiver<Message>) {
        let Some(pool) = self.runs.processes() else { return };
        pool.shutdown(ropewalk::Shutdown::Kill);
        let until = Instant::now() + ENDS_WITHIN;
        while !self.leases.is_empty()
            && let Ok(message) = messages.recv_timeout(until.saturating_duration_since(Instant::now()))
        {
            self.take(message);
        }
    }

    /// What still runs goes back; its end will not count.
    fn release_the_rest(&mut self, messages: &Receiver<Message>) {
        // After that they hold no lease.
        self.shared.send_logs(None);
        for (exec, lease) in self.leases.drain() {
            self.dispatcher.end(Ok(Outcome { id: lease.id, exec, end: End::Release }));
            self.dispatcher.gone(exec);
        }
        let until = Instant::now() + LAST_WORDS;
        while let Err(error) = self.dispatcher.settle_now(&*self.shared.broker) {
            self.shared.notice(&Notice::Trouble(error));
            // Without it their leases run out: then they go back as well, and count as crashes.
            if Instant::now() >= until {
                return;
            }
            let _ = messages.recv_timeout(AGAIN_AFTER);
        }
    }
}

#[cfg(all(target_os = "linux", feature = "process"))]
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hears what runs in other processes say.
#[cfg(all(target_os = "linux", feature = "process"))]
fn listen(shared: &Arc<Shared>) -> io::Result<Ear> {
    use ropewalk::task::Listener as _;
    let shared = Arc::clone(shared);
    Ear::new(move |exec, word| match word {
        Word::End => drop(shared.messages.send(Message::Apart(exec))),
        Word::Progress(at) => {
            if let Some(listener) = shared.slots.listener(exec) {
                listener.progress(at.done, &at.message);
            }
        }
        Word::Line(line) => {
            if let Some(listener) = shared.slots.listener(exec) {
                listener.log(&line);
            }
        }
    })
}

fn beat(shared: &Shared) {
    let config = &shared.config;
    let heartbeater = Heartbeater::new(config.worker.clone(), config.order.names(), config.concurrency, config.lease);
    loop {
        let over = shared.is_over();
        let seen = shared.broker.news(Topic::Stop);
        shared.send_logs(None);
        let running = shared.slots.running();
        let (news, wait) = heartbeater.step(&*shared.broker, running.clone(), over);
        match news {
            Ok(news) => {
                shared.told_of().beat = Instant::now();
                for (exec, held) in news {
                    let why = if held == Held::Stop { Asked::Stop } else { Asked::Lost };
                    shared.slots.ask(exec, why);
                }
                for command in shared.broker.commands(&config.worker) {
                    shared.notice(&Notice::Told(command));
                    match command {
                        Command::End => shared.stop(),
                        Command::Kill => shared.slots.ask_all(Asked::Kill),
                    }
                }
            }
            Err(error) => {
                shared.slots.not_sent(running);
                shared.notice(&Notice::Trouble(error));
            }
        }
        if over {
            return;
        }
        wait_for_stop(shared, seen, wait);
    }
}

/// Until the next beat is due, somebody asked a job to stop, or a run has said something; meanwhile, runs that hang are told of.
fn wait_for_stop(shared: &Shared, seen: u64, wait: Duration) {
    let began = Instant::now();
    let until = began + wait;
    loop {
        shared.slots.overdue().into_iter().for_each(|exec| {
            let _ = shared.messages.send(Message::Hangs(exec));
        });
        let now = Instant::now();
        let may_send = now >= began + NEWS_EVERY;
        if shared.is_over()
            || now >= until
            || shared.broker.news(Topic::Stop) != seen
            || (may_send && shared.slots.is_news())
        {
            return;
        }
        // A run that begins meanwhile hangs no sooner than that.
        let next = shared.slots.next_overdue().unwrap_or(until).min(now + NEWS_EVERY);
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
                let mut told = shared.told_of();
                told.recovered += ticked.recovered as u64;
                told.not_recovered += ticked.ended as u64;
                drop(told);
                shared.notice(&Notice::Recovered(ticked.recovered + ticked.ended));
            }
            Ok(_) => {}
            Err(error) => shared.notice(&Notice::Trouble(error)),
        }
        shared.pause(again.since(shared.broker.now()).min(keeper::TICK_EVERY));
    }
}

/// Runs the schedules, if there are some.
#[cfg(feature = "cron")]
fn schedule(shared: &Shared) {
    let mut scheduler = super::scheduler::Scheduler::new(shared.config.schedules.clone());
    while !shared.is_over() && !scheduler.is_empty() {
        let (said, wait) = scheduler.step(shared.broker.now(), &*shared.broker);
        said.missed.into_iter().for_each(|(name, slots)| shared.notice(&Notice::Missed(name, slots)));
        said.doubled.into_iter().for_each(|(name, id)| shared.notice(&Notice::Doubled(name, id)));
        said.trouble.into_iter().for_each(|error| shared.notice(&Notice::Trouble(error)));
        shared.pause(wait);
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
