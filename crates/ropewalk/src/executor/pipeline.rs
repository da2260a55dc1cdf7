//! Producer, stages, consumer: each stage on its own executor, with a bounded number of items in it.
//!
//! # Who moves the items
//!
//! A pipeline has no thread of its own. Whoever asks it for the next result polls it, from the last stage up to the source:
//! a stage that has room takes an item from the one above it and submits it; a stage whose jobs have all to be waited for
//! leaves the waker of the asker with them. So a stage is a small stream over task handles, the memory is what the capacities
//! say, and dropping the pipeline leaves nothing behind but jobs that were asked to stop.
//!
//! # Failures
//!
//! An error travels down in its item's place. The stage where it happens takes nothing more from above, cancels what is
//! above and what it has itself, and ends behind the error; the stages below end when it has passed through them.

use super::Submit;
use crate::task::{TaskError, TaskHandle};
use ropewalk_core::park;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The work on one item, as it is submitted by [`Pipeline::stage`].
pub type StageJob<R> = Box<dyn FnOnce() -> R + Send>;

/// The work of a source that runs on an executor: the iterator goes in, and comes out with its next item.
pub type SourceJob<I> = Box<dyn FnOnce() -> Asked<I> + Send>;

/// An iterator that was asked for its next item, and the answer.
pub type Asked<I> = (I, Option<<I as Iterator>::Item>);

mod sealed {
    pub trait Sealed {}
}
use sealed::Sealed;

/// What can be polled for its next item: the source, and each stage. Nobody else's.
pub trait Flow: Sealed {
    /// What it gives.
    type Item;

    /// The next item or the failure that ends the flow; `None` when it has ended.
    #[doc(hidden)]
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Self::Item, TaskError>>>;

    /// Stops everything here and above; from here on there is nothing.
    #[doc(hidden)]
    fn cancel(&mut self);
}

type Polled<T> = Poll<Option<Result<T, TaskError>>>;

/// A producer, stages that each run on an executor of their own, and a consumer: whoever calls [`for_each`](Self::for_each),
/// [`collect`](Self::collect), or iterates.
///
/// Lazy: nothing happens before the first result is asked for. Each stage holds at most its capacity of items: those that
/// its executor works on, and those that are done and wait to go on. So an endless producer is no problem, and a slow stage
/// or consumer holds back what is above it. Items move on while somebody waits for the next result.
///
/// Results come in the order of the input, unless a stage is [`unordered`](Self::unordered).
///
/// # Errors
///
/// A stage that panics, or returns an error where it [may](Self::try_stage), ends the pipeline: what comes before the failed
/// item is given out (of an unordered stage, what has come by then), then the error. The producer is not asked for more, jobs of items behind it are cancelled.
///
/// # Cancel safety
///
/// Dropping the pipeline cancels what is under way and does not wait for it. Whoever is cancelled in the wait for a result,
/// and whoever catches a panic of the producer there, has ended the pipeline: it gives nothing more.
///
/// # Panics
///
/// A panic of the producer goes on in the consumer, unless the producer runs [on an executor](Self::on). Waiting for a result
/// in async code is a panic; use [`Results::next_async`] there.
///
/// # Examples
///
/// ```
/// use ropewalk::{InlineExecutor, Pipeline, TaskError, ThreadPoolExecutor};
///
/// let (readers, workers, writer) = (ThreadPoolExecutor::new(4), ThreadPoolExecutor::new(2), InlineExecutor::new());
/// let pages = ["hemp", "jute", "sisal"];
///
/// let lengths: Vec<usize> = Pipeline::from(pages)
///     .stage(&readers, 8, |name| format!("the page on {name}"))
///     .stage(&workers, 2, |page| page.len())
///     .stage(&writer, 1, |length| length)
///     .collect()?;
/// assert_eq!(lengths, [16, 16, 17]);
///
/// // The first error ends it, and an endless producer with it.
/// let error = Pipeline::from(0_u32..)
///     .try_stage(&workers, 4, |n| if n < 100 { Ok(n) } else { Err("a hundred is enough") })
///     .for_each(drop)
///     .unwrap_err();
/// assert!(matches!(error, TaskError::Failed { message, .. } if message == "a hundred is enough"));
/// # Ok::<(), TaskError>(())
/// ```
#[must_use = "a pipeline is lazy: nothing happens before its results are asked for"]
pub struct Pipeline<F: Flow> {
    flow: F,
}

impl<I: Iterator> Pipeline<Source<I>> {
    /// A pipeline of these items; [`std::iter::from_fn`] makes one of a closure. The consumer's strand takes them, when the
    /// first stage has room; see [`on`](Self::on) for a producer that waits or computes.
    pub fn from(items: impl IntoIterator<IntoIter = I>) -> Self {
        Self { flow: Source { items: Some(items.into_iter()) } }
    }

    /// Has the producer run on `executor`, one item a job: where it waits or computes, the results that are there already
    /// are not held up by it.
    ///
    /// # Examples
    ///
    /// ```
    /// use ropewalk::{Pipeline, ThreadPoolExecutor, sync::channel};
    ///
    /// let (pool, (sender, receiver)) = (ThreadPoolExecutor::new(2), channel::bounded(1));
    /// let mut lengths = Pipeline::from(receiver).on(&pool).stage(&pool, 4, str::len).into_iter();
    /// sender.send("hemp").unwrap();
    /// assert_eq!(lengths.next().unwrap().unwrap(), 4); // also while the producer waits for the next word
    /// ```
    pub fn on<E>(self, executor: &E) -> Pipeline<SourceOn<'_, I>>
    where
        E: Submit<SourceJob<I>, Output = Asked<I>> + Sync,
        I: Send + 'static,
        I::Item: Send + 'static,
    {
        let items = self.flow.items;
        let next = Box::new(move |mut items: I| {
            executor.submit(Box::new(move || {
                let item = items.next();
                (items, item)
            }))
        });
        Pipeline { flow: SourceOn { next, items, asked: None } }
    }
}

impl<F: Flow> Pipeline<F> {
    /// Adds a stage that calls `function` for each item on `executor`; at most `capacity` items are in it at once, at least 1.
    ///
    /// How many of them run at the same time is up to the executor: a pool of two runs two, greenlets all of them, the inline
    /// executor each in its turn.
    pub fn stage<'e, E, R>(
        self,
        executor: &'e E,
        capacity: usize,
        function: impl Fn(F::Item) -> R + Send + Sync + 'static,
    ) -> Pipeline<Stage<'e, F, R>>
    where
        E: Submit<StageJob<R>, Output = R> + Sync,
        F::Item: Send + 'static,
    {
        self.stage_with(executor, capacity, boxed(function))
    }

    /// [`stage`](Self::stage) whose function returns a `Result`: an `Err` ends the pipeline as [`TaskError::Failed`].
    pub fn try_stage<'e, E, R, X>(
        self,
        executor: &'e E,
        capacity: usize,
        function: impl Fn(F::Item) -> Result<R, X> + Send + Sync + 'static,
    ) -> Pipeline<Stage<'e, F, R>>
    where
        E: Submit<StageJob<Result<R, X>>, Output = Result<R, X>> + Sync,
        F::Item: Send + 'static,
        R: Send + 'static,
        X: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        let mut job = boxed(function);
        self.then(capacity, move |item| executor.submit(job(item)).flatten())
    }

    /// [`stage`](Self::stage) for executors that do not take closures: `job` makes of each item what is submitted, a future
    /// for the async executor, or a call of a `#[ropewalk::task]` for any.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(all(unix, feature = "greenlet"))] {
    /// use ropewalk::{AsyncExecutor, Pipeline};
    ///
    /// let executor = AsyncExecutor::new(2);
    /// let doubled = Pipeline::from(1..=3).stage_with(&executor, 2, |n| async move { 2 * n });
    /// assert_eq!(doubled.collect::<Vec<_>>().unwrap(), [2, 4, 6]);
    /// # }
    /// ```
    pub fn stage_with<'e, E, J, R>(
        self,
        executor: &'e E,
        capacity: usize,
        mut job: impl FnMut(F::Item) -> J + Send + 'e,
    ) -> Pipeline<Stage<'e, F, R>>
    where
        E: Submit<J, Output = R> + Sync,
    {
        self.then(capacity, move |item| executor.submit(job(item)))
    }

    fn then<'e, R>(
        self,
        capacity: usize,
        start: impl FnMut(F::Item) -> TaskHandle<R> + Send + 'e,
    ) -> Pipeline<Stage<'e, F, R>> {
        let flow = Stage {
            above: Some(self.flow),
            start: Box::new(start),
            capacity: capacity.max(1),
            ordered: true,
            flights: VecDeque::new(),
        };
        Pipeline { flow }
    }

    /// Calls `consume` for each result, here and one after another.
    ///
    /// # Errors
    ///
    /// The one that ended the pipeline, after the results before it.
    ///
    /// # Panics
    ///
    /// With the panic of `consume` or of the producer, after which everything is cancelled. In async code.
    #[track_caller]
    pub fn for_each(self, mut consume: impl FnMut(F::Item)) -> Result<(), TaskError> {
        self.into_iter().try_for_each(|result| result.map(&mut consume))
    }

    /// Collects the results.
    ///
    /// # Errors
    ///
    /// The one that ended the pipeline.
    ///
    /// # Panics
    ///
    /// In async code.
    #[track_caller]
    pub fn collect<C: FromIterator<F::Item>>(self) -> Result<C, TaskError> {
        self.into_iter().collect()
    }
}

impl<F: Flow, R> Pipeline<Stage<'_, F, R>> {
    /// Has the last stage give its results as they come, not in the order of its input. What is slow holds up nothing behind
    /// it then, except by its place in the capacity.
    pub fn unordered(mut self) -> Self {
        self.flow.ordered = false;
        self
    }
}

/// The function as a maker of jobs.
fn boxed<T: Send + 'static, R>(
    function: impl Fn(T) -> R + Send + Sync + 'static,
) -> impl FnMut(T) -> StageJob<R> + Send + 'static {
    let function = std::sync::Arc::new(function);
    move |item| {
        let function = std::sync::Arc::clone(&function);
        Box::new(move || function(item))
    }
}

impl<F: Flow> IntoIterator for Pipeline<F> {
    type Item = Result<F::Item, TaskError>;
    type IntoIter = Results<F>;

    fn into_iter(self) -> Results<F> {
        Results { flow: self.flow }
    }
}

impl<F: Flow> fmt::Debug for Pipeline<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").finish_non_exhaustive()
    }
}

/// The results of a [`Pipeline`]: an iterator of `Result`s, of which an error is the last.
#[must_use = "the pipeline is lazy: nothing happens before its results are asked for"]
pub struct Results<F: Flow> {
    flow: F,
}

impl<F: Flow> Results<F> {
    /// The next result, in async code.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no item: the next one goes on where it was.
    ///
    /// # Panics
    ///
    /// When a stage would have to wait for a place in the full queue of its executor.
    ///
    /// # Examples
    ///
    /// ```
    /// use ropewalk::{Pipeline, ThreadPoolExecutor, block_on};
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let mut lengths = Pipeline::from(["hemp", "sisal"]).stage(&pool, 2, str::len).into_iter();
    /// assert_eq!(block_on(lengths.next_async()).unwrap()?, 4);
    /// # Ok::<(), ropewalk::TaskError>(())
    /// ```
    pub async fn next_async(&mut self) -> Option<Result<F::Item, TaskError>> {
        poll_fn(|context| {
            let polling = Polling(&mut self.flow);
            let polled = polling.0.poll_next(context);
            std::mem::forget(polling);
            polled
        })
        .await
    }
}

/// Cancels the flow, unless the poll came back.
struct Polling<'a, F: Flow>(&'a mut F);

impl<F: Flow> Drop for Polling<'_, F> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl<F: Flow> Iterator for Results<F> {
    type Item = Result<F::Item, TaskError>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        let polling = Polling(&mut self.flow);
        let next = park::wait_ready(|context| polling.0.poll_next(context));
        std::mem::forget(polling);
        next
    }
}

impl<F: Flow> fmt::Debug for Results<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results").finish_non_exhaustive()
    }
}

/// The producer of a [`Pipeline`], on the consumer's strand.
pub struct Source<I> {
    items: Option<I>,
}

impl<I> Sealed for Source<I> {}

impl<I: Iterator> Flow for Source<I> {
    type Item = I::Item;

    fn poll_next(&mut self, _: &mut Context<'_>) -> Polled<I::Item> {
        let item = self.items.as_mut().and_then(Iterator::next);
        if item.is_none() {
            self.items = None;
        }
        Poll::Ready(item.map(Ok))
    }

    fn cancel(&mut self) {
        self.items = None;
    }
}

impl<I> fmt::Debug for Source<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

/// The producer of a [`Pipeline`], on an executor.
pub struct SourceOn<'e, I: Iterator> {
    next: Box<dyn FnMut(I) -> TaskHandle<Asked<I>> + Send + 'e>,
    /// None while a job has it, and when it has ended.
    items: Option<I>,
    asked: Option<TaskHandle<Asked<I>>>,
}

impl<I: Iterator> Sealed for SourceOn<'_, I> {}

impl<I: Iterator> Flow for SourceOn<'_, I> {
    type Item = I::Item;

    fn poll_next(&mut self, context: &mut Context<'_>) -> Polled<I::Item> {
        if let Some(items) = self.items.take() {
            self.asked = Some((self.next)(items));
        }
        let Some(asked) = &mut self.asked else { return Poll::Ready(None) };
        let Poll::Ready(answer) = Pin::new(asked).poll(context) else { return Poll::Pending };
        self.asked = None;
        Poll::Ready(match answer {
            Ok((items, Some(item))) => {
                self.items = Some(items);
                Some(Ok(item))
            }
            Ok((_, None)) => None,
            Err(error) => Some(Err(error)),
        })
    }

    fn cancel(&mut self) {
        self.items = None;
        if let Some(asked) = self.asked.take() {
            asked.cancel();
        }
    }
}

impl<I: Iterator> Drop for SourceOn<'_, I> {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl<I: Iterator> fmt::Debug for SourceOn<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceOn").finish_non_exhaustive()
    }
}

/// One item in a stage.
enum Flight<R> {
    /// Its job was submitted.
    Submitted(TaskHandle<R>),
    /// It failed in a stage above.
    Failed(TaskError),
}

/// A stage of a [`Pipeline`], and all that is above it.
pub struct Stage<'e, F: Flow, R> {
    /// None when there is nothing more to come from there.
    above: Option<F>,
    start: Box<dyn FnMut(F::Item) -> TaskHandle<R> + Send + 'e>,
    capacity: usize,
    ordered: bool,
    flights: VecDeque<Flight<R>>,
}

impl<F: Flow, R> Stage<'_, F, R> {
    /// Takes items from above while there is room and there are some.
    fn fill(&mut self, context: &mut Context<'_>) {
        while self.flights.len() < self.capacity
            && let Some(above) = &mut self.above
            && let Poll::Ready(next) = above.poll_next(context)
        {
            match next {
                Some(Ok(item)) => {
                    let handle = (self.start)(item);
                    self.flights.push_back(Flight::Submitted(handle));
                }
                Some(Err(error)) => {
                    self.above = None;
                    self.flights.push_back(Flight::Failed(error));
                }
                None => self.above = None,
            }
        }
    }

    /// Takes a flight that has landed: the first, or any where order does not matter.
    fn land(&mut self, context: &mut Context<'_>) -> Polled<R> {
        let looks_at = if self.ordered { 1 } else { self.flights.len() };
        for place in 0..looks_at.min(self.flights.len()) {
            let landed = match &mut self.flights[place] {
                Flight::Submitted(handle) => match Pin::new(handle).poll(context) {
                    Poll::Ready(result) => result,
                    Poll::Pending => continue,
                },
                // What was taken before it goes first: it is the last, and so its place is.
                Flight::Failed(_) if place > 0 => continue,
                Flight::Failed(_) => match self.flights.pop_front() {
                    Some(Flight::Failed(error)) => return Poll::Ready(Some(Err(error))),
                    _ => unreachable!("it was just seen there"),
                },
            };
            self.flights.remove(place);
            if landed.is_err() {
                self.cancel();
            }
            return Poll::Ready(Some(landed));
        }
        if self.flights.is_empty() && self.above.is_none() { Poll::Ready(None) } else { Poll::Pending }
    }
}

impl<F: Flow, R> Sealed for Stage<'_, F, R> {}

impl<F: Flow, R> Flow for Stage<'_, F, R> {
    type Item = R;

    fn poll_next(&mut self, context: &mut Context<'_>) -> Polled<R> {
        self.fill(context);
        self.land(context)
    }

    fn cancel(&mut self) {
        self.above = None;
        for flight in self.flights.drain(..) {
            if let Flight::Submitted(handle) = flight {
                handle.cancel();
            }
        }
    }
}

impl<F: Flow, R> Drop for Stage<'_, F, R> {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl<F: Flow, R> fmt::Debug for Stage<'_, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage")
            .field("capacity", &self.capacity)
            .field("in_it", &self.flights.len())
            .finish_non_exhaustive()
    }
}
