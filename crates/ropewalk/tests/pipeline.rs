//! Pipelines: what moves, what is bounded, and what stops when something fails, on every executor.

#![cfg(all(unix, feature = "macros", feature = "greenlet"))]

mod support;

use ropewalk::executor::Maps;
use ropewalk::executor::pipeline::StageJob;
use ropewalk::sync::{Event, channel};
use ropewalk::{
    AsyncExecutor, CancelToken, Executor, GreenletExecutor, InlineExecutor, Interrupted, Pipeline, Shutdown, Submit,
    TaskError, ThreadPoolExecutor,
};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;
use support::{eventually, ignore, joined, panic_text};

/// An executor for stages that take and give numbers.
trait Stages: Executor + Submit<StageJob<usize>, Output = usize> + Maps<usize> {}

impl<E: Executor + Submit<StageJob<usize>, Output = usize> + Maps<usize>> Stages for E {}

/// The same of each model that takes closures.
macro_rules! of_each_model {
    ($($hazard:ident),+) => {
        mod inline {
            $(#[test]
            fn $hazard() {
                super::$hazard(&ropewalk::InlineExecutor::new());
            })+
        }
        mod threads {
            $(#[test]
            fn $hazard() {
                super::$hazard(&ropewalk::ThreadPoolExecutor::new(2));
            })+
        }
        mod greenlets {
            $(#[test]
            fn $hazard() {
                super::$hazard(&ropewalk::GreenletExecutor::new(2));
            })+
        }
    };
}

of_each_model!(
    results_have_the_order_of_the_input,
    endless_producer_is_held_back_by_the_capacities,
    failure_stops_the_producer,
    failure_comes_behind_what_was_before_it,
    panic_of_the_producer_goes_on_in_the_consumer,
    dropped_early_it_takes_no_more,
    shut_down_executor_is_an_error,
    producer_on_an_executor
);

fn results_have_the_order_of_the_input(executor: &impl Stages) {
    let pipeline = Pipeline::from(0..200).stage(executor, 5, |n| n + 1).stage(executor, 3, |n| 10 * n);
    assert_eq!(pipeline.collect::<Vec<usize>>().unwrap(), (1..=200).map(|n| 10 * n).collect::<Vec<_>>());

    let mut results = Pipeline::from(0..200).stage(executor, 7, |n| n).unordered().collect::<Vec<usize>>().unwrap();
    results.sort_unstable();
    assert_eq!(results, (0..200).collect::<Vec<_>>());
    assert_eq!(Pipeline::from(std::iter::empty()).stage(executor, 1, |n: usize| n).into_iter().count(), 0);
}

/// Each item that was taken has been given out or is in one of the stages.
fn endless_producer_is_held_back_by_the_capacities(executor: &impl Stages) {
    for unordered in [false, true] {
        let taken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&taken);
        let first = Pipeline::from((0..).inspect(move |_| ignore(counter.fetch_add(1, Ordering::Relaxed)))).stage(
            executor,
            3,
            |n| n,
        );
        let first = if unordered { first.unordered() } else { first };
        let mut results = first.stage(executor, 2, |n| n).into_iter();
        assert_eq!(taken.load(Ordering::Relaxed), 0, "lazy");
        for given in 1..=300 {
            results.next().expect("it is endless").unwrap();
            let taken = taken.load(Ordering::Relaxed);
            assert!(taken <= given + 3 + 2, "{taken} items were taken when {given} had been given out");
        }
    }
}

fn failure_stops_the_producer(executor: &impl Stages) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let mut given = 0;
    let ended = Pipeline::from((0..).inspect(move |_| ignore(counter.fetch_add(1, Ordering::Relaxed))))
        .stage(executor, 4, |n: usize| n)
        .stage(executor, 4, |n| if n == 50 { panic!("item {n}") } else { n })
        .stage(executor, 4, |n| n)
        .for_each(|_| given += 1);
    assert_eq!(ended.unwrap_err().to_string(), "task panicked: item 50");
    assert_eq!(given, 50);
    assert!(taken.load(Ordering::Relaxed) <= 50 + 1 + 12, "{taken:?}");
}

fn failure_comes_behind_what_was_before_it(executor: &impl Stages) {
    let fails = |n: usize| if n == 5 { panic!("item {n}") } else { n };
    let mut results = Pipeline::from(0..).stage(executor, 8, fails).stage(executor, 8, |n| n).into_iter();
    for n in 0..5 {
        assert_eq!(results.next().unwrap().unwrap(), n);
    }
    assert!(results.next().unwrap().unwrap_err().is_panic());
    assert!(results.next().is_none() && results.next().is_none(), "it has ended");
}

fn panic_of_the_producer_goes_on_in_the_consumer(executor: &impl Stages) {
    let items = (0..).map(|n| if n == 3 { panic!("no more hemp") } else { n });
    let mut results = Pipeline::from(items).stage(executor, 1, |n: usize| n).into_iter();
    assert_eq!((0..3).map(|_| results.next().unwrap().unwrap()).sum::<usize>(), 3);
    assert_eq!(panic_text(|| drop(results.next())), "no more hemp");
    assert!(results.next().is_none(), "it has ended");
}

fn dropped_early_it_takes_no_more(executor: &impl Stages) {
    let (taken, dropped) = (Arc::new(AtomicUsize::new(0)), Arc::new(Event::new()));
    struct Tells(Arc<Event>);
    impl Drop for Tells {
        fn drop(&mut self) {
            self.0.set();
        }
    }
    let (counter, tells) = (Arc::clone(&taken), Tells(Arc::clone(&dropped)));
    let items = (0..).inspect(move |_| {
        let _producer = &tells;
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let mut results = Pipeline::from(items).stage(executor, 3, |n: usize| n).stage(executor, 3, |n| n).into_iter();
    assert_eq!(results.next().unwrap().unwrap(), 0);
    drop(results);
    assert!(dropped.is_set(), "the producer is gone");
    assert!(taken.load(Ordering::Relaxed) <= 7);
}

fn shut_down_executor_is_an_error(executor: &impl Stages) {
    let mut results = Pipeline::from(0..).stage(executor, 1, |n: usize| n).into_iter();
    assert_eq!(results.next().unwrap().unwrap(), 0);
    executor.shutdown(Shutdown::Wait);
    assert!(matches!(results.find_map(Result::err), Some(TaskError::Shutdown)));
    assert!(results.next().is_none());
}

fn producer_on_an_executor(executor: &impl Stages) {
    let elsewhere = ThreadPoolExecutor::new(1);
    let doubled = Pipeline::from(0..100).on(&elsewhere).stage(executor, 4, |n| 2 * n);
    assert_eq!(doubled.collect::<Vec<usize>>().unwrap(), (0..100).map(|n| 2 * n).collect::<Vec<_>>());

    let items = (0..).map(|n| if n == 3 { panic!("no more hemp") } else { n });
    let mut results = Pipeline::from(items).on(&elsewhere).stage(executor, 1, |n: usize| n).into_iter();
    assert_eq!((0..3).map(|_| results.next().unwrap().unwrap()).sum::<usize>(), 3);
    assert_eq!(results.next().unwrap().unwrap_err().to_string(), "task panicked: no more hemp");
    assert!(results.next().is_none());
}

/// What is done stays behind a slow one where order matters, and goes past it where it does not.
#[test]
fn slow_item_holds_up_only_an_ordered_stage() {
    let pool = ThreadPoolExecutor::new(3);
    let gate = Arc::new(Event::new());
    let slow_first = {
        let gate = Arc::clone(&gate);
        move |n: usize| {
            if n == 0 {
                gate.wait();
            }
            n
        }
    };
    let mut results = Pipeline::from(0..4).stage(&pool, 2, slow_first.clone()).unordered().into_iter();
    assert_eq!([results.next(), results.next(), results.next()].map(|result| result.unwrap().unwrap()), [1, 2, 3]);
    gate.set();
    assert_eq!(results.next().unwrap().unwrap(), 0);

    gate.clear();
    let opens = std::thread::spawn({
        let (gate, pool) = (Arc::clone(&gate), ThreadPoolExecutor::new(1));
        move || pool.submit(move || gate.set()).join().unwrap()
    });
    assert_eq!(Pipeline::from(0..4).stage(&pool, 2, slow_first).collect::<Vec<_>>().unwrap(), [0, 1, 2, 3]);
    opens.join().unwrap();
}

/// The source waits for a word that does not come; the results that are there are given out all the same.
#[test]
fn producer_that_waits_elsewhere_holds_up_nobody() {
    let pool = ThreadPoolExecutor::new(2);
    let (sender, receiver) = channel::bounded(1);
    let mut lengths = Pipeline::from(receiver).on(&pool).stage(&pool, 4, str::len).into_iter();
    for word in ["hemp", "sisal"] {
        sender.send(word).unwrap();
        assert_eq!(lengths.next().unwrap().unwrap(), word.len());
    }
    drop(sender);
    assert!(lengths.next().is_none());
}

/// Jobs that would wait for ever end when the pipeline is dropped, fails below them, or its consumer is cancelled: otherwise
/// the pool would never end.
#[test]
fn jobs_that_wait_are_cancelled_with_the_pipeline() {
    let pool = ThreadPoolExecutor::new(2);
    let never = Arc::new(Event::new());
    let waits_behind = |limit: usize| {
        let never = Arc::clone(&never);
        move |n: usize| {
            if n >= limit {
                never.wait();
            }
            n
        }
    };
    let mut results = Pipeline::from(0..).stage(&pool, 3, waits_behind(1)).into_iter();
    assert_eq!(results.next().unwrap().unwrap(), 0);
    drop(results);

    let ended = Pipeline::from(0..)
        .stage(&pool, 3, waits_behind(1))
        .try_stage(&pool, 3, |n| if n == 0 { Err("the first already") } else { Ok(n) })
        .for_each(drop);
    assert_eq!(ended.unwrap_err().to_string(), "task failed: the first already (&str)");

    let token = CancelToken::new().with_timeout(Duration::from_millis(20));
    let consumed = token.run(|| Pipeline::from(0..).stage(&pool, 3, waits_behind(0)).for_each(drop));
    assert!(matches!(consumed, Err(Interrupted::TimedOut)));
    pool.shutdown(Shutdown::Wait);
}

/// Each waits for the one below, and the consumer is a job of the same pool.
#[test]
fn all_on_a_pool_of_one() {
    let pool = Arc::new(ThreadPoolExecutor::builder().max_workers(1).daemon(true).build().expect("a valid pool"));
    let inner = Arc::clone(&pool);
    let sum = pool.submit(move || {
        let stages = Pipeline::from(0..50).on(&*inner).stage(&*inner, 2, |n: usize| n + 1).stage(&*inner, 2, |n| 2 * n);
        stages.collect::<Vec<_>>().unwrap().into_iter().sum::<usize>()
    });
    assert_eq!(joined(sum), 2550);
}

/// A queue with a limit is waited for in the middle of a poll.
#[test]
fn stages_that_share_a_queue_with_a_limit() {
    let pool = ThreadPoolExecutor::builder().max_workers(1).queue_limit(1).build().expect("a valid pool");
    let stages = Pipeline::from(0..50).stage(&pool, 8, |n: usize| n).stage(&pool, 8, |n| n).stage(&pool, 8, |n| n);
    assert_eq!(stages.collect::<Vec<_>>().unwrap(), (0..50).collect::<Vec<_>>());
}

#[test]
fn each_stage_on_another_model() {
    #[ropewalk::task]
    fn halve(n: usize) -> Result<usize, String> {
        if n.is_multiple_of(2) { Ok(n / 2) } else { Err(format!("{n} is odd")) }
    }
    let (threads, greenlets) = (ThreadPoolExecutor::new(2), GreenletExecutor::new(1));
    let (tasks, inline) = (AsyncExecutor::new(1), InlineExecutor::new());
    let run = |items: std::ops::Range<usize>| {
        Pipeline::from(items)
            .stage(&threads, 4, |n| n + 1)
            .stage_with(&tasks, 4, |n| async move { 4 * n })
            .stage(&greenlets, 4, |n| n - 2)
            .stage_with(&tasks, 4, halve::call)
            .stage_with(&threads, 4, |n| halve::call(n + 1))
            .stage(&inline, 4, |n| n)
            .collect::<Vec<usize>>()
    };
    assert_eq!(run(0..20).unwrap(), (1..=20).collect::<Vec<_>>());
    let odd = Pipeline::from(0..).stage_with(&greenlets, 2, halve::call).collect::<Vec<usize>>();
    assert!(matches!(odd, Err(TaskError::Failed { message, .. }) if message == "1 is odd"));
}

#[test]
fn consumer_is_a_greenlet() {
    let pool = ThreadPoolExecutor::new(1);
    let (sum, turns) = ropewalk::run(|| {
        let turns = Arc::new(AtomicUsize::new(0));
        let other = ropewalk::spawn({
            let turns = Arc::clone(&turns);
            move || {
                loop {
                    turns.fetch_add(1, Ordering::Relaxed);
                    ropewalk::yield_now();
                }
            }
        });
        let sum = Pipeline::from(0..50).stage(&pool, 4, |n: usize| n).collect::<Vec<_>>().unwrap().into_iter().sum();
        other.kill();
        (sum, turns.load(Ordering::Relaxed))
    });
    assert!((sum, turns > 0) == (1225_usize, true), "the other greenlet ran meanwhile");
}

#[test]
fn stage_with_a_time_limit_for_each_item() {
    let pool = ThreadPoolExecutor::new(2);
    let hurried = pool.timeout(Duration::from_millis(20));
    let never = Arc::new(Event::new());
    let waits = move |n: usize| {
        if n == 3 {
            never.wait();
        }
        n
    };
    let mut results = Pipeline::from(0..).stage(&hurried, 1, waits).into_iter();
    assert_eq!((0..3).map(|_| results.next().unwrap().unwrap()).sum::<usize>(), 3);
    assert!(matches!(results.next(), Some(Err(TaskError::TimedOut))));
    assert!(results.next().is_none());
}

#[test]
fn consumer_that_panics_cancels_all() {
    let pool = ThreadPoolExecutor::new(2);
    let began = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&began);
    let stages = Pipeline::from(0..).stage(&pool, 2, move |n: usize| {
        counter.fetch_add(1, Ordering::Relaxed);
        n
    });
    assert_eq!(panic_text(|| stages.for_each(|n| assert!(n < 3, "enough"))), "enough");
    pool.shutdown(Shutdown::Wait);
    assert!(began.load(Ordering::Relaxed) <= 6);
    eventually("the pool has ended", || pool.stats().workers == 0);
}

/// The same pipeline, asked in async code; a question that is dropped loses no item.
#[test]
fn consumer_is_an_async_task() {
    let (tasks, pool) = (AsyncExecutor::new(1), ThreadPoolExecutor::new(2));
    let results = tasks.block_on(async {
        let doubled =
            Pipeline::from(0..50).stage(&pool, 4, |n: usize| n).stage_with(&tasks, 4, |n| async move { 2 * n });
        let (mut asked, mut results) = (doubled.into_iter(), Vec::new());
        loop {
            let at_once = poll_fn(|context| Poll::Ready(pin!(asked.next_async()).poll(context)));
            let next = match at_once.await {
                Poll::Ready(next) => next,
                Poll::Pending => asked.next_async().await,
            };
            match next {
                Some(result) => results.push(result.unwrap()),
                None => return results,
            }
        }
    });
    assert_eq!(results, (0..50).map(|n| 2 * n).collect::<Vec<_>>());

    let text =
        panic_text(|| tasks.block_on(async { ignore(Pipeline::from(0..2).stage(&pool, 1, |n| n).into_iter().next()) }));
    assert!(text.starts_with("blocking call in async context"), "{text}");
}
