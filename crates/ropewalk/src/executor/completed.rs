//! Waiting for the first of many tasks, or for all.

use crate::task::TaskHandle;
use ropewalk_core::park::{self, Wait};
use ropewalk_core::sync::channel::{self, Receiver, RecvTimeoutError};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// Gives the handles in the order in which their tasks end.
///
/// # Panics
///
/// Waiting for the next one in async code; use [`Completed::next_async`] there.
///
/// # Examples
///
/// ```
/// use ropewalk::{Submit, ThreadPoolExecutor, as_completed};
/// use std::time::Duration;
///
/// let pool = ThreadPoolExecutor::new(2);
/// let naps = [40, 0].map(|ms| pool.submit(move || { ropewalk::sleep(Duration::from_millis(ms)); ms }));
/// let order: Vec<u64> = as_completed(naps).map(|nap| nap.join().unwrap()).collect();
/// assert_eq!(order, [0, 40]);
/// ```
pub fn as_completed<T: Send>(handles: impl IntoIterator<Item = TaskHandle<T>>) -> Completed<T> {
    let (sender, ended) = channel::unbounded();
    let handles: Vec<_> = handles
        .into_iter()
        .enumerate()
        .map(|(index, handle)| {
            let sender = sender.clone();
            handle.on_finish(move |_| {
                // Nobody listens any more when the iterator was dropped.
                let _ = sender.send(index);
            });
            Some(handle)
        })
        .collect();
    Completed { left: handles.len(), handles, ended, deadline: None, timed_out: false }
}

/// Handles of tasks in the order in which they end; see [`as_completed`].
#[must_use = "iterators do nothing unless consumed"]
pub struct Completed<T> {
    handles: Vec<Option<TaskHandle<T>>>,
    left: usize,
    ended: Receiver<usize>,
    deadline: Option<Instant>,
    timed_out: bool,
}

impl<T: Send> Completed<T> {
    /// Ends the iteration after `timeout` from now, if not all tasks have ended then: [`timed_out`](Self::timed_out) says so
    /// and [`into_remaining`](Self::into_remaining) gives the rest.
    ///
    /// # Examples
    ///
    /// ```
    /// use ropewalk::{Submit, ThreadPoolExecutor, as_completed, sync::Event};
    /// use std::{sync::Arc, time::Duration};
    ///
    /// let pool = ThreadPoolExecutor::new(2);
    /// let go = Arc::new(Event::new());
    /// let slow = pool.submit({ let go = Arc::clone(&go); move || { go.wait(); 2 } });
    ///
    /// let mut completed = as_completed([slow, pool.submit(|| 1)]).timeout(Duration::from_millis(50));
    /// for task in &mut completed {
    ///     assert_eq!(task.join()?, 1);
    /// }
    /// assert!(completed.timed_out());
    /// go.set();
    /// for late in completed.into_remaining() {
    ///     assert_eq!(late.join()?, 2);
    /// }
    /// # Ok::<(), ropewalk::TaskError>(())
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Self {
        (self.deadline, self.timed_out) = (Instant::now().checked_add(timeout), false);
        self
    }

    /// Whether the iteration has ended because of the [`timeout`](Self::timeout) and not because all tasks had ended.
    pub fn timed_out(&self) -> bool {
        self.timed_out
    }

    /// The handles that were not given out: their tasks have not ended, or nobody asked yet.
    pub fn into_remaining(self) -> Vec<TaskHandle<T>> {
        self.handles.into_iter().flatten().collect()
    }

    /// How many have not been given out.
    pub fn remaining(&self) -> usize {
        self.left
    }

    /// The next handle, in async code. A [`timeout`](Self::timeout) is not looked at here.
    pub async fn next_async(&mut self) -> Option<TaskHandle<T>> {
        if self.left == 0 {
            return None;
        }
        let index = self.ended.recv_async().await.ok()?;
        self.give(index)
    }

    fn give(&mut self, index: usize) -> Option<TaskHandle<T>> {
        self.left -= 1;
        self.handles[index].take()
    }
}

impl<T: Send> Iterator for Completed<T> {
    type Item = TaskHandle<T>;

    #[track_caller]
    fn next(&mut self) -> Option<TaskHandle<T>> {
        if self.left == 0 {
            return None;
        }
        let index = match self.deadline {
            None => self.ended.recv().ok()?,
            Some(deadline) => match self.ended.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(index) => index,
                Err(error) => {
                    // A cancelled wait unwinds with a time limit as it does without.
                    park::check_cancelled();
                    self.timed_out = error == RecvTimeoutError::TimedOut;
                    return None;
                }
            },
        };
        self.give(index)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (if self.deadline.is_some() { 0 } else { self.left }, Some(self.left))
    }
}

impl<T> fmt::Debug for Completed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completed").field("left", &self.left).finish_non_exhaustive()
    }
}

/// When [`wait`] returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReturnWhen {
    /// As soon as one task has ended.
    FirstCompleted,
    /// As soon as one task has ended without a result, or all have ended.
    #[doc(alias = "FirstException")]
    FirstFailure,
    /// When all have ended.
    #[default]
    AllCompleted,
}

/// Which tasks had ended when [`wait`] returned, by their place in what was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waited {
    /// Those that had ended.
    pub done: Vec<usize>,
    /// Those that had not.
    pub not_done: Vec<usize>,
}

/// Waits for tasks without taking their results: for the first, the first failure, or all; at the longest for
/// `timeout`, if there is one.
///
/// # Panics
///
/// In async code.
///
/// # Examples
///
/// ```
/// use ropewalk::{ReturnWhen, Submit, ThreadPoolExecutor, sync::Event, wait};
/// use std::sync::Arc;
///
/// let pool = ThreadPoolExecutor::new(2);
/// let go = Arc::new(Event::new());
/// let handles = [pool.submit(|| 1), pool.submit({ let go = Arc::clone(&go); move || { go.wait(); 2 } })];
///
/// let waited = wait(&handles, ReturnWhen::FirstCompleted, None);
/// assert_eq!((waited.done, waited.not_done), (vec![0], vec![1]));
/// go.set();
/// assert_eq!(wait(&handles, ReturnWhen::AllCompleted, None).done, [0, 1]);
/// ```
#[track_caller]
pub fn wait<T: Send>(handles: &[TaskHandle<T>], until: ReturnWhen, timeout: Option<Duration>) -> Waited {
    park::refuse_in_async();
    let enough = enough(handles, until);
    match timeout {
        None => park::wait_ready(enough),
        // Timed out or cancelled: what has ended by now is the answer.
        Some(timeout) => drop(park::wait_on(Wait::FOREVER.timeout(timeout), enough)),
    }
    waited(handles)
}

/// [`wait`] in async code, where the runtime has the time limit: `timeout(limit, wait_async(&handles, until))`.
///
/// # Cancel safety
///
/// Dropping the future before it is ready does nothing to the tasks.
///
/// # Examples
///
/// ```
/// use ropewalk::{ReturnWhen, Submit, ThreadPoolExecutor, block_on, executor::wait_async};
///
/// let pool = ThreadPoolExecutor::new(2);
/// let handles = [1, 2].map(|n| pool.submit(move || n));
/// assert_eq!(block_on(wait_async(&handles, ReturnWhen::AllCompleted)).done, [0, 1]);
/// ```
pub async fn wait_async<T: Send>(handles: &[TaskHandle<T>], until: ReturnWhen) -> Waited {
    std::future::poll_fn(enough(handles, until)).await;
    waited(handles)
}

/// Ready when enough of the tasks have ended.
fn enough<T: Send>(handles: &[TaskHandle<T>], until: ReturnWhen) -> impl FnMut(&mut Context<'_>) -> Poll<()> {
    let mut pending: Vec<_> = handles.iter().map(|handle| (handle, Box::pin(handle.finished()))).collect();
    move |context| {
        let mut failed = false;
        pending.retain_mut(|(handle, finished)| {
            let ended = Pin::new(finished).poll(context).is_ready();
            failed |= ended && handle.is_failed();
            !ended
        });
        let done = match until {
            ReturnWhen::FirstCompleted => pending.len() < handles.len() || handles.is_empty(),
            ReturnWhen::FirstFailure => failed || pending.is_empty(),
            ReturnWhen::AllCompleted => pending.is_empty(),
        };
        if done { Poll::Ready(()) } else { Poll::Pending }
    }
}

fn waited<T: Send>(handles: &[TaskHandle<T>]) -> Waited {
    let (done, not_done) = (0..handles.len()).partition(|&index| handles[index].is_finished());
    Waited { done, not_done }
}
