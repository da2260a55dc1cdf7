//! Spans of tasks: they are children of the span in which the task was submitted, and a greenlet takes its span along.
//!
//! The subscriber here keeps what it is told: which spans there are, and which are entered on this thread. It is the default of
//! the thread only, so the tests do not see each other; spans carry it to the other threads.

use ropewalk::{Submit, TaskError, ThreadPoolExecutor};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber, info_span};

thread_local! {
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// A span as it was told.
#[derive(Clone, Default, Debug)]
struct Told {
    name: &'static str,
    parent: Option<u64>,
    fields: HashMap<&'static str, String>,
}

struct Fields<'a>(&'a mut HashMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

/// Keeps spans down to a level.
#[derive(Clone)]
struct Keeper(Arc<Kept>);

struct Kept {
    level: Level,
    next: AtomicU64,
    spans: Mutex<HashMap<u64, Told>>,
}

impl Keeper {
    fn new(level: Level) -> Self {
        Self(Arc::new(Kept { level, next: AtomicU64::new(1), spans: Mutex::default() }))
    }

    fn of(&self, id: u64) -> Told {
        self.0.spans.lock().unwrap()[&id].clone()
    }

    /// The names around this strand, the innermost first.
    fn around(&self) -> Vec<String> {
        let mut next = ENTERED.with_borrow(|entered| entered.last().copied());
        let mut names = Vec::new();
        while let Some(id) = next {
            let told = self.of(id);
            names.push(match told.fields.get("n") {
                Some(n) => format!("{} {n}", told.name),
                None => told.name.to_owned(),
            });
            next = told.parent;
        }
        names
    }

    /// The spans of tasks.
    fn tasks(&self) -> Vec<Told> {
        self.0.spans.lock().unwrap().values().filter(|told| told.name == "task").cloned().collect()
    }
}

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.0.level
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let parent = match attributes.parent() {
            Some(parent) => Some(parent.into_u64()),
            None => ENTERED.with_borrow(|entered| entered.last().copied()),
        };
        let mut told = Told { name: attributes.metadata().name(), parent, fields: HashMap::new() };
        attributes.record(&mut Fields(&mut told.fields));
        self.0.spans.lock().unwrap().insert(id, told);
        Id::from_u64(id)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let mut spans = self.0.spans.lock().unwrap();
        values.record(&mut Fields(&mut spans.get_mut(&span.into_u64()).unwrap().fields));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.into_u64()));
    }

    fn exit(&self, span: &Id) {
        ENTERED.with_borrow_mut(|entered| {
            assert_eq!(entered.pop(), Some(span.into_u64()), "a span is left by whoever entered it last");
        });
    }

    fn current_span(&self) -> tracing_core::span::Current {
        let Some(id) = ENTERED.with_borrow(|entered| entered.last().copied()) else {
            return tracing_core::span::Current::none();
        };
        tracing_core::span::Current::new(Id::from_u64(id), METADATA.with(|metadata| *metadata))
    }
}

thread_local! {
    /// Nobody looks at the metadata of the current span; it must have some.
    static METADATA: &'static Metadata<'static> =
        tracing::subscriber::with_default(Keeper::new(Level::TRACE), || info_span!("current").metadata().unwrap());
}

#[ropewalk::task]
fn where_am_i(keeper: Keeper) -> Vec<String> {
    keeper.around()
}

fn keep<R>(level: Level, f: impl FnOnce(&Keeper) -> R) -> R {
    METADATA.with(|_| ());
    let keeper = Keeper::new(level);
    tracing::subscriber::with_default(keeper.clone(), || f(&keeper))
}

#[test]
fn task_belongs_to_whoever_submitted_it() {
    keep(Level::DEBUG, |keeper| {
        let pool = ThreadPoolExecutor::new(1);
        let there = keeper.clone();
        let around = info_span!("request", n = 1).in_scope(|| pool.submit(move || there.around()));
        assert_eq!(around.join().unwrap(), ["task", "request 1"]);
        let call = info_span!("request", n = 2).in_scope(|| pool.submit(where_am_i::call(keeper.clone())));
        assert_eq!(call.join().unwrap(), ["task", "request 2"]);
        let scoped = info_span!("request", n = 3).in_scope(|| pool.scope(|s| s.submit(|| keeper.around()).join()));
        assert_eq!(scoped.unwrap(), ["task", "request 3"]);
        drop(pool);
        let names: Vec<String> = keeper.tasks().iter().map(|task| task.fields["task"].clone()).collect();
        assert!(names.iter().any(|name| name.ends_with("::where_am_i")), "{names:?}");
        for task in keeper.tasks() {
            assert_eq!((&*task.fields["on"], &*task.fields["outcome"]), ("thread-pool", "done"));
            assert!(task.fields["waited_us"].parse::<u64>().is_ok());
        }
    });
}

/// A filter that wants no spans of ours still has the request in every line of a task.
#[test]
fn unwanted_task_span_leaves_the_submitters() {
    keep(Level::INFO, |keeper| {
        let pool = ThreadPoolExecutor::new(1);
        let there = keeper.clone();
        let around = info_span!("request", n = 1).in_scope(|| pool.submit(move || there.around()));
        assert_eq!(around.join().unwrap(), ["request 1"]);
        assert!(keeper.tasks().is_empty());
    });
}

#[test]
fn outcome_of_each_kind_is_said() {
    keep(Level::DEBUG, |keeper| {
        let pool = ThreadPoolExecutor::new(1);
        drop(pool.submit(|| -> u8 { std::panic::panic_any("no rope") }).join());
        let (ready, waits) = (ropewalk::sync::Event::new(), ropewalk::sync::Event::new());
        let (ready, waits) = (Arc::new(ready), Arc::new(waits));
        let (there, never) = (Arc::clone(&ready), waits);
        let cancelled = pool.submit(move || {
            there.set();
            never.wait();
        });
        ready.wait();
        cancelled.cancel();
        assert!(matches!(cancelled.join(), Err(TaskError::Cancelled)));
        drop(pool);
        let mut outcomes: Vec<String> = keeper.tasks().iter().map(|task| task.fields["outcome"].clone()).collect();
        outcomes.sort();
        assert_eq!(outcomes, ["cancelled", "panicked"]);
    });
}

#[cfg(all(unix, feature = "greenlet"))]
mod greenlets {
    use super::*;
    use ropewalk::{AsyncExecutor, GreenletExecutor, greenlet, yield_now};

    /// Without the hook the second greenlet would run inside the span of the first, and each would leave the other's.
    #[test]
    fn greenlets_that_take_turns_keep_their_spans() {
        keep(Level::DEBUG, |keeper| {
            ropewalk::run(|| {
                greenlet::scope(|scope| {
                    for n in 0..3 {
                        drop(scope.spawn(move || {
                            ropewalk::in_span(&info_span!("mine", n), || {
                                for _ in 0..4 {
                                    assert_eq!(keeper.around(), [&*format!("mine {n}"), "task"]);
                                    yield_now();
                                }
                            });
                            assert_eq!(keeper.around(), ["task"]);
                        }));
                    }
                });
                assert!(keeper.around().is_empty());
            });
        });
    }

    #[test]
    fn span_follows_to_greenlets_and_async_tasks() {
        keep(Level::DEBUG, |keeper| {
            let hubs = GreenletExecutor::new(1);
            let there = keeper.clone();
            let around = info_span!("request", n = 1).in_scope(|| {
                hubs.submit(move || {
                    ropewalk::sleep(std::time::Duration::from_millis(1));
                    there.around()
                })
            });
            assert_eq!(around.join().unwrap(), ["task", "request 1"]);

            let runtime = AsyncExecutor::new(1);
            let there = keeper.clone();
            let around = info_span!("request", n = 2).in_scope(|| {
                runtime.submit(async move {
                    tokio::task::yield_now().await;
                    there.around()
                })
            });
            assert_eq!(around.join().unwrap(), ["task", "request 2"]);
            let kinds: std::collections::BTreeSet<_> = keeper.tasks().iter().map(|t| t.fields["on"].clone()).collect();
            assert_eq!(kinds.into_iter().collect::<Vec<_>>(), ["async", "greenlet"]);
        });
    }
}
