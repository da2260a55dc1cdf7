//! `map` over an executor: lazy, bounded, in order or as it comes, in chunks whose size finds itself.
//!
//! # Chunks
//!
//! A task of its own costs some hundred nanoseconds, so small items are sent together. The first chunks hold one item;
//! from what they took follows how many items fill [`CHUNK_TIME`], towards which the size grows by at most a factor of
//! [`GROWTH`] from one chunk to the next, so that a few cheap items in front of dear ones do no harm.
//!
//! # Bound
//!
//! Items taken from the input and not yet given out are at most `buffer`, or [`CHUNKS_PER_WORKER`] chunks for each
//! worker if nothing is said. No more chunks than that are sent either before anything is known of the items, and none
//! smaller than it should be while others are under way: a buffer that is filled with single items once is filled with
//! single items for ever, as each makes room for one.
//!
//! # Cancelled in the middle
//!
//! Whoever catches the cancellation of a `next` and asks again misses nothing: items that were taken are kept until their
//! chunk is full, and a chunk until the executor has taken it.

use super::{Executor, Submit, same_again};
use crate::task::{Cancelled, Panic, TaskError, TaskHandle};
use ropewalk_core::park;
use ropewalk_core::sync::Mutex;
use ropewalk_core::sync::channel::{self, Receiver, Sender};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// What a chunk should take: far more than it costs to send, far less than anybody waits for.
const CHUNK_TIME: Duration = Duration::from_micros(100);
const CHUNK_ITEMS_MAX: usize = 4_096;
const GROWTH: usize = 4;
const CHUNKS_PER_WORKER: usize = 3;

/// The work on one chunk, as it is submitted.
pub type ChunkJob<R> = Box<dyn FnOnce() -> Chunk<R> + Send>;

/// The work on one chunk for an executor of futures, as it is submitted.
pub type ChunkFuture<R> = Pin<Box<dyn Future<Output = Chunk<R>> + Send>>;

mod sealed {
    use super::{Arc, ChunkFuture, ChunkJob, Mutex};

    /// A chunk's work that can be left lying until the executor begins it.
    pub trait Work: Send + Sized + 'static {
        /// The work that is in the slot when this begins.
        fn later(slot: Arc<Mutex<Option<Self>>>) -> Self;
    }

    const TAKEN_BACK: &str = "taken back only if this was not submitted";

    impl<R: 'static> Work for ChunkJob<R> {
        fn later(slot: Arc<Mutex<Option<Self>>>) -> Self {
            Box::new(move || {
                let job = slot.lock().take();
                job.expect(TAKEN_BACK)()
            })
        }
    }

    impl<R: 'static> Work for ChunkFuture<R> {
        fn later(slot: Arc<Mutex<Option<Self>>>) -> Self {
            Box::pin(async move {
                let job = slot.lock().take();
                job.expect(TAKEN_BACK).await
            })
        }
    }
}
pub(crate) use sealed::Work;

/// The results of one chunk.
pub struct Chunk<R> {
    /// Those that there are, in order.
    values: Vec<R>,
    /// Which items have none, in order.
    failures: VecDeque<(usize, TaskError)>,
    took: Duration,
}

#[cfg(all(target_os = "linux", feature = "process"))]
impl<R> Chunk<R> {
    /// Of results that were computed elsewhere.
    pub(crate) fn of_parts(values: Vec<R>, failures: VecDeque<(usize, TaskError)>, took: Duration) -> Self {
        Self { values, failures, took }
    }

    /// What it is made of, for its way elsewhere.
    pub(crate) fn into_parts(self) -> (Vec<R>, VecDeque<(usize, TaskError)>, Duration) {
        (self.values, self.failures, self.took)
    }
}

impl<R> fmt::Debug for Chunk<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk").field("values", &self.values.len()).field("failures", &self.failures.len()).finish()
    }
}

pub(crate) fn run_chunk<T, R>(function: &(impl Fn(T) -> R + ?Sized), items: Vec<T>) -> Chunk<R> {
    let start = Instant::now();
    let mut values = Vec::with_capacity(items.len());
    let mut failures = VecDeque::new();
    let mut items = items.into_iter();
    // One net under all items, spread anew after each panic: one under each item costs more than a small item does.
    while let Err(payload) = catch_unwind(AssertUnwindSafe(|| values.extend(items.by_ref().map(function)))) {
        if payload.is::<Cancelled>() {
            // A cancelled wait ends the whole chunk.
            resume_unwind(payload);
        }
        let place = values.len() + failures.len();
        failures.push_back((place, TaskError::Panicked(Panic::from_payload(payload))));
    }
    Chunk { values, failures, took: start.elapsed() }
}

/// The same for a function that makes a future of each item; they are polled one after another.
#[cfg_attr(not(all(unix, feature = "greenlet")), expect(dead_code, reason = "the async executor comes with greenlets"))]
async fn poll_chunk<T, F: Future>(function: Arc<impl Fn(T) -> F>, items: Vec<T>) -> Chunk<F::Output> {
    let start = Instant::now();
    let mut values = Vec::with_capacity(items.len());
    let mut failures = VecDeque::new();
    for (place, item) in items.into_iter().enumerate() {
        // The call may panic as well as a poll.
        let mut future = pin!(async { function(item).await });
        let polled = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(polled) => polled.map(Ok),
            Err(payload) if payload.is::<Cancelled>() => resume_unwind(payload),
            Err(payload) => Poll::Ready(Err(payload)),
        });
        match polled.await {
            Ok(value) => values.push(value),
            Err(payload) => failures.push_back((place, TaskError::Panicked(Panic::from_payload(payload)))),
        }
    }
    Chunk { values, failures, took: start.elapsed() }
}

/// Chunks under way.
struct Flight<R> {
    number: usize,
    items: usize,
    handle: TaskHandle<Chunk<R>>,
}

impl<R> Flight<R> {
    /// Has the number sent when the chunk has ended.
    fn tells(&self, sender: &Sender<usize>) {
        let (sender, number) = (sender.clone(), self.number);
        self.handle.on_finish(move |_| {
            // Nobody listens any more when the map was dropped.
            let _ = sender.send(number);
        });
    }
}

/// The results of [`try_map`](crate::ThreadPoolExecutor::try_map): an iterator of `Result`s.
///
/// Dropping it cancels what has not started and does not wait.
#[must_use = "the map is lazy: nothing is called before its results are asked for"]
pub struct TryMap<'e, E, F, I: Iterator, R, J = ChunkJob<R>> {
    executor: &'e E,
    function: Arc<F>,
    /// Makes the work on a chunk.
    work: fn(Arc<F>, Vec<I::Item>) -> J,
    items: Option<I>,
    /// Taken and not yet in a chunk: the input may wait, and be cancelled, between two items.
    taken: Vec<I::Item>,
    /// A chunk that the executor did not take, since the wait for its place was cancelled; and how many items it has.
    unsent: Option<(J, usize)>,
    buffer: Option<usize>,
    fixed_chunk: Option<usize>,
    chunk: usize,
    /// A chunk has come back: `chunk` is not only a guess.
    has_learned: bool,
    next_number: usize,
    flights: VecDeque<Flight<R>>,
    in_flight: usize,
    /// With `unordered`: the numbers of chunks that have ended.
    ended: Option<(Sender<usize>, Receiver<usize>)>,
    /// The number of a chunk that has ended and was not taken yet.
    arrived: Option<usize>,
    ready: Ready<R>,
}

/// The chunk that is being given out.
struct Ready<R> {
    values: std::vec::IntoIter<R>,
    failures: VecDeque<(usize, TaskError)>,
    place: usize,
}

impl<R> Ready<R> {
    fn len(&self) -> usize {
        self.values.len() + self.failures.len()
    }

    fn next(&mut self) -> Option<Result<R, TaskError>> {
        let place = self.place;
        self.place += 1;
        if self.failures.front().is_some_and(|(failed, _)| *failed == place) {
            return self.failures.pop_front().map(|(_, error)| Err(error));
        }
        self.values.next().map(Ok)
    }
}

impl<'e, E, F, I, R> TryMap<'e, E, F, I, R>
where
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    I: Iterator<Item: Send + 'static>,
    R: Send + 'static,
{
    pub(super) fn new(executor: &'e E, function: F, items: I) -> Self {
        Self::with(executor, function, items, |function, taken| Box::new(move || run_chunk(&*function, taken)))
    }
}

impl<'e, E, F, I, U> TryMap<'e, E, F, I, U::Output, ChunkFuture<U::Output>>
where
    F: Fn(I::Item) -> U + Send + Sync + 'static,
    I: Iterator<Item: Send + 'static>,
    U: Future<Output: Send + 'static> + Send + 'static,
{
    /// A map whose function makes a future of each item.
    #[cfg(all(unix, feature = "greenlet"))]
    pub(crate) fn of_futures(executor: &'e E, function: F, items: I) -> Self {
        Self::with(executor, function, items, |function, taken| Box::pin(poll_chunk(function, taken)))
    }
}

impl<'e, E, F, I: Iterator, R, J> TryMap<'e, E, F, I, R, J> {
    /// A map whose chunks become jobs of whatever kind.
    pub(crate) fn with(executor: &'e E, function: F, items: I, work: fn(Arc<F>, Vec<I::Item>) -> J) -> Self {
        Self {
            executor,
            function: Arc::new(function),
            work,
            items: Some(items),
            taken: Vec::new(),
            unsent: None,
            buffer: None,
            fixed_chunk: None,
            chunk: 1,
            has_learned: false,
            next_number: 0,
            flights: VecDeque::new(),
            in_flight: 0,
            ended: None,
            arrived: None,
            ready: Ready { values: Vec::new().into_iter(), failures: VecDeque::new(), place: 0 },
        }
    }

    /// How many items may be taken from the input and not yet given out; at least 1.
    #[doc(alias = "buffersize")]
    pub fn buffer(mut self, items: usize) -> Self {
        self.buffer = Some(items.max(1));
        self
    }

    /// How many items are sent together, instead of what is found out; at least 1.
    #[doc(alias = "chunksize")]
    pub fn chunk(mut self, items: usize) -> Self {
        self.fixed_chunk = Some(items.max(1));
        self
    }

    /// Gives results as they come, not in the order of the input.
    pub fn unordered(mut self) -> Self {
        let (sender, receiver) = channel::unbounded();
        // Some are under way if results were taken before.
        self.flights.iter().for_each(|flight| flight.tells(&sender));
        self.ended = Some((sender, receiver));
        self
    }
}

impl<E, F, I, R, J> TryMap<'_, E, F, I, R, J>
where
    E: Submit<J, Output = Chunk<R>> + Executor,
    I: Iterator,
    R: Send + 'static,
    J: Work,
{
    fn chunk_size(&self) -> usize {
        let chunk = self.fixed_chunk.unwrap_or(self.chunk);
        // With a small buffer, every worker shall still get its share.
        let share = self.buffer.map_or(usize::MAX, |buffer| buffer / self.executor.parallelism().saturating_mul(2));
        chunk.min(share).max(1)
    }

    /// Sends chunks until the buffer is full or the input is at its end.
    #[track_caller]
    fn fill(&mut self) {
        while let Some((job, items)) = self.unsent.take().or_else(|| self.make_chunk()) {
            let handle = match self.executor.try_submit(job) {
                Ok(handle) => handle,
                Err(error) => {
                    let mut waits = Waits::new(&mut self.unsent, error.into_job(), items);
                    let handle = self.executor.submit(waits.job());
                    waits.is_over();
                    handle
                }
            };
            self.is_under_way(handle, items);
        }
    }

    /// [`fill`](Self::fill) in async code.
    async fn fill_async(&mut self) {
        while let Some((job, items)) = self.unsent.take().or_else(|| self.make_chunk()) {
            let handle = match self.executor.try_submit(job) {
                Ok(handle) => handle,
                Err(error) => {
                    let mut waits = Waits::new(&mut self.unsent, error.into_job(), items);
                    let handle = self.executor.submit_async(waits.job()).await;
                    waits.is_over();
                    handle
                }
            };
            self.is_under_way(handle, items);
        }
    }

    fn is_under_way(&mut self, handle: TaskHandle<Chunk<R>>, items: usize) {
        let number = self.next_number;
        self.next_number += 1;
        self.in_flight += items;
        let flight = Flight { number, items, handle };
        if let Some((sender, _)) = &self.ended {
            flight.tells(sender);
        }
        self.flights.push_back(flight);
    }

    /// Takes items for the next chunk, if there is room for it and there are some.
    fn make_chunk(&mut self) -> Option<(J, usize)> {
        let chunk = self.chunk_size();
        let at_once = self.executor.parallelism().saturating_mul(CHUNKS_PER_WORKER);
        let bound = self.buffer.unwrap_or(chunk.saturating_mul(at_once));
        let room = bound.saturating_sub(self.in_flight + self.ready.len()).min(chunk);
        let waits_for_room = room < chunk && !self.flights.is_empty();
        let knows_too_little = !self.has_learned && self.fixed_chunk.is_none() && self.flights.len() >= at_once;
        if waits_for_room || knows_too_little {
            return None;
        }
        if let Some(items) = &mut self.items {
            self.taken.extend(items.take(room.saturating_sub(self.taken.len())));
            if self.taken.len() < room {
                self.items = None;
            }
        }
        if self.taken.is_empty() {
            return None;
        }
        let taken = std::mem::take(&mut self.taken);
        let items = taken.len();
        Some(((self.work)(Arc::clone(&self.function), taken), items))
    }

    /// Takes the next chunk that is to be given out. A wait that is cancelled loses nothing: the flight is still there.
    #[track_caller]
    fn land(&mut self) -> Option<()> {
        // Also where the chunk happens to have ended: whether that is so depends on the moment.
        park::refuse_in_async();
        let place = if self.ended.is_none() {
            self.flights.front()?.handle.wait_finished();
            0
        } else {
            if self.arrived.is_none() {
                self.arrived = Some(self.arrivals()?.recv().ok()?);
            }
            let place = self.place_of_arrived()?;
            // Its callback runs at this moment.
            self.flights[place].handle.wait_finished_shielded();
            place
        };
        self.give_out(place)
    }

    /// [`land`](Self::land) in async code.
    async fn land_async(&mut self) -> Option<()> {
        let place = if self.ended.is_none() {
            self.flights.front()?.handle.finished().await;
            0
        } else {
            if self.arrived.is_none() {
                self.arrived = Some(self.arrivals()?.recv_async().await.ok()?);
            }
            let place = self.place_of_arrived()?;
            self.flights[place].handle.finished().await;
            place
        };
        self.give_out(place)
    }

    /// Where the numbers of ended chunks come, if there are any to come.
    fn arrivals(&self) -> Option<&Receiver<usize>> {
        self.ended.as_ref().filter(|_| !self.flights.is_empty()).map(|(_, ended)| ended)
    }

    fn place_of_arrived(&self) -> Option<usize> {
        self.flights.iter().position(|flight| Some(flight.number) == self.arrived)
    }

    /// Takes the chunk at this place, which has ended, to be given out.
    fn give_out(&mut self, place: usize) -> Option<()> {
        self.arrived = None;
        let Flight { items, mut handle, .. } = self.flights.remove(place)?;
        // It has ended, so this is no wait; `join` would be refused in async code.
        let Poll::Ready(chunk) = Pin::new(&mut handle).poll(&mut Context::from_waker(Waker::noop())) else {
            unreachable!("its end was waited for");
        };
        self.in_flight -= items;
        let chunk = chunk.unwrap_or_else(|error| Chunk {
            values: Vec::new(),
            failures: (0..items).map(|place| (place, same_again(&error))).collect(),
            took: Duration::ZERO,
        });
        if !chunk.values.is_empty() {
            self.grow(chunk.took, items);
        }
        self.ready = Ready { values: chunk.values.into_iter(), failures: chunk.failures, place: 0 };
        Some(())
    }

    /// The next result, in async code.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future before it is ready loses no item: the next one goes on where it was.
    pub async fn next_async(&mut self) -> Option<Result<R, TaskError>> {
        loop {
            if let Some(result) = self.ready.next() {
                return Some(result);
            }
            self.fill_async().await;
            self.land_async().await?;
            self.fill_async().await;
        }
    }

    fn grow(&mut self, took: Duration, items: usize) {
        self.has_learned = true;
        let each = (took.as_nanos() / items as u128).max(1);
        let ideal = usize::try_from(CHUNK_TIME.as_nanos() / each).unwrap_or(CHUNK_ITEMS_MAX);
        self.chunk = ideal.clamp(1, CHUNK_ITEMS_MAX).min(self.chunk.saturating_mul(GROWTH));
    }
}

/// A chunk whose wait for a place may be cancelled; then it is unsent again.
struct Waits<'a, J> {
    unsent: &'a mut Option<(J, usize)>,
    job: Arc<Mutex<Option<J>>>,
    items: usize,
}

impl<'a, J: Work> Waits<'a, J> {
    fn new(unsent: &'a mut Option<(J, usize)>, job: J, items: usize) -> Self {
        Self { unsent, job: Arc::new(Mutex::new(Some(job))), items }
    }

    /// What is submitted in its place.
    fn job(&self) -> J {
        J::later(Arc::clone(&self.job))
    }

    fn is_over(&mut self) {
        // The executor has the other half.
        self.job = Arc::default();
    }
}

impl<J> Drop for Waits<'_, J> {
    fn drop(&mut self) {
        *self.unsent = self.job.lock().take().map(|job| (job, self.items));
    }
}

impl<E, F, I, R, J> Iterator for TryMap<'_, E, F, I, R, J>
where
    E: Submit<J, Output = Chunk<R>> + Executor,
    I: Iterator,
    R: Send + 'static,
    J: Work,
{
    type Item = Result<R, TaskError>;

    #[track_caller]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(result) = self.ready.next() {
                return Some(result);
            }
            // Also where the chunk has ended by chance: what blocks now and then is found at once.
            park::refuse_in_async();
            self.fill();
            self.land()?;
            // The workers go on while this chunk is given out.
            self.fill();
        }
    }
}

impl<E, F, I: Iterator, R, J> Drop for TryMap<'_, E, F, I, R, J> {
    fn drop(&mut self) {
        for flight in &self.flights {
            flight.handle.cancel();
        }
    }
}

impl<E, F, I: Iterator, R, J> fmt::Debug for TryMap<'_, E, F, I, R, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TryMap").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

/// The results of [`map`](crate::ThreadPoolExecutor::map): an iterator that re-throws a panic at its place.
///
/// Dropping it cancels what has not started and does not wait.
///
/// # Panics
///
/// With the panic of the function, when the iteration comes to its item; and with the text of a
/// [`TaskError`](crate::TaskError) when the executor was shut down meanwhile.
#[must_use = "the map is lazy: nothing is called before its results are asked for"]
pub struct Map<'e, E, F, I: Iterator, R, J = ChunkJob<R>> {
    inner: TryMap<'e, E, F, I, R, J>,
}

impl<'e, E, F, I: Iterator, R, J> Map<'e, E, F, I, R, J> {
    pub(crate) fn new(inner: TryMap<'e, E, F, I, R, J>) -> Self {
        Self { inner }
    }

    /// How many items may be taken from the input and not yet given out; at least 1.
    #[doc(alias = "buffersize")]
    pub fn buffer(self, items: usize) -> Self {
        Self { inner: self.inner.buffer(items) }
    }

    /// How many items are sent together, instead of what is found out; at least 1.
    #[doc(alias = "chunksize")]
    pub fn chunk(self, items: usize) -> Self {
        Self { inner: self.inner.chunk(items) }
    }

    /// Gives results as they come, not in the order of the input.
    pub fn unordered(self) -> Self {
        Self { inner: self.inner.unordered() }
    }
}

impl<E, F, I, R, J> Map<'_, E, F, I, R, J>
where
    E: Submit<J, Output = Chunk<R>> + Executor,
    I: Iterator,
    R: Send + 'static,
    J: Work,
{
    /// The next result, in async code; see [`TryMap::next_async`].
    pub async fn next_async(&mut self) -> Option<R> {
        match self.inner.next_async().await? {
            Ok(value) => Some(value),
            Err(error) => error.resume(),
        }
    }
}

impl<E, F, I, R, J> Iterator for Map<'_, E, F, I, R, J>
where
    E: Submit<J, Output = Chunk<R>> + Executor,
    I: Iterator,
    R: Send + 'static,
    J: Work,
{
    type Item = R;

    #[track_caller]
    fn next(&mut self) -> Option<R> {
        match self.inner.next()? {
            Ok(value) => Some(value),
            Err(error) => error.resume(),
        }
    }
}

impl<E, F, I: Iterator, R, J> fmt::Debug for Map<'_, E, F, I, R, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("in_flight", &self.inner.in_flight).finish_non_exhaustive()
    }
}
