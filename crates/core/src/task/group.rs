//! Tasks that end together: the first failure cancels the others, and nothing is left behind.

use super::harness::Joinable;
use super::{TaskError, TaskHandle};
use crate::park;
use crate::park::leaf::Leaf;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Weak};

/// Tasks whose failure is a failure of all.
///
/// When one panics, is cancelled or fails (returns an error, if it was added as one that [may](Self::add_fallible)), the
/// others are cancelled at once, from the thread on which it ended. Dropping the group cancels what is left and waits for it.
/// (In async code, and in a greenlet that unwinds, it does not wait: that would stop the whole thread, and with it those who
/// are to end.)
///
/// # Examples
///
/// ```
/// # use ropewalk_core::task::{harness, TaskHandle};
/// # fn submit<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> TaskHandle<T> {
/// #     let (task, handle) = harness::new_task(0, || Ok(job()));
/// #     std::thread::spawn(move || task.run());
/// #     handle
/// # }
/// use ropewalk_core::task::TaskGroup;
///
/// let mut group = TaskGroup::new();
/// for n in 0..4 {
///     group.add(submit(move || n * n));
/// }
/// assert_eq!(group.join().unwrap(), [0, 1, 4, 9]);
/// ```
#[doc(alias = "nursery")]
#[doc(alias = "StructuredTaskScope")]
pub struct TaskGroup<T: Send + 'static> {
    handles: Vec<TaskHandle<T>>,
    members: Arc<Leaf<Members<T>>>,
}

struct Members<T> {
    /// Which one failed first.
    failed: Option<usize>,
    cancels: Vec<Weak<dyn Joinable<T>>>,
}

/// Cancels all members, because number `failed` did not end well. Not under the lock: a cancelled task's captures and
/// callbacks run here.
fn cancel_all<T>(members: &Leaf<Members<T>>, failed: usize) {
    let cancels = {
        let mut members = members.lock();
        members.failed.get_or_insert(failed);
        std::mem::take(&mut members.cancels)
    };
    for task in cancels.iter().filter_map(Weak::upgrade) {
        task.cancel();
    }
}

impl<T: Send + 'static> TaskGroup<T> {
    /// A group without tasks.
    pub fn new() -> Self {
        let members = Members { failed: None, cancels: Vec::new() };
        Self { handles: Vec::new(), members: Arc::new(Leaf::new(members)) }
    }

    /// Adds a task. When the group has failed already, the task is cancelled.
    ///
    /// An `Err` that it returns is a result like any other; see [`add_fallible`](Self::add_fallible).
    pub fn add(&mut self, handle: TaskHandle<T>) {
        let members = Arc::clone(&self.members);
        let number = self.handles.len();
        handle.on_finish(move |outcome| {
            if outcome.is_err() {
                cancel_all(&members, number);
            }
        });
        self.enlist(handle);
    }

    /// Adds a task that may return an error, which fails it: the others are cancelled, and [`join`](Self::join) gives the
    /// error as [`TaskError::Failed`]. So does a task of asyncio's `TaskGroup` that raises.
    ///
    /// # Examples
    ///
    /// ```
    /// # use ropewalk_core::task::{harness, TaskHandle};
    /// # fn submit<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> TaskHandle<T> {
    /// #     let (task, handle) = harness::new_task(0, || Ok(job()));
    /// #     std::thread::spawn(move || task.run());
    /// #     handle
    /// # }
    /// use ropewalk_core::sync::Event;
    /// use ropewalk_core::task::{TaskError, TaskGroup};
    ///
    /// let mut group = TaskGroup::new();
    /// group.add(submit(|| { Event::new().wait(); 0 })); // for ever, unless it is cancelled
    /// group.add_fallible(submit(|| "hemp".parse::<u32>()));
    /// assert!(matches!(group.join(), Err(TaskError::Failed { .. })));
    /// ```
    pub fn add_fallible<E>(&mut self, handle: TaskHandle<Result<T, E>>)
    where
        E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
    {
        let (members, task) = (Arc::clone(&self.members), Arc::downgrade(&handle.task));
        let number = self.handles.len();
        handle.on_finish(move |_| {
            // The task is there: this is called by whoever ends it, or by the caller, who has the handle.
            if task.upgrade().is_some_and(|task| task.has_failed(&Result::is_err)) {
                cancel_all(&members, number);
            }
        });
        self.enlist(handle.flatten());
    }

    /// After the callback, which may cancel those before: one that has failed by now has itself to be cancelled no more.
    fn enlist(&mut self, handle: TaskHandle<T>) {
        let late = {
            let mut members = self.members.lock();
            members.cancels.push(Arc::downgrade(&handle.task));
            members.failed.is_some()
        };
        if late {
            handle.cancel();
        }
        self.handles.push(handle);
    }

    /// Cancels all tasks that were added; [`join`](Self::join) then ends with [`TaskError::Cancelled`], unless all had
    /// ended.
    pub fn cancel(&self) {
        for handle in &self.handles {
            handle.cancel();
        }
    }

    /// How many tasks were added.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Whether no task was added.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// Waits for all tasks and returns their results in the order in which they were added.
    ///
    /// # Errors
    ///
    /// That of the task which failed first, after all have ended.
    ///
    /// # Panics
    ///
    /// In async code; use [`join_async`](Self::join_async) there.
    #[track_caller]
    pub fn join(mut self) -> Result<Vec<T>, TaskError> {
        park::refuse_in_async();
        for handle in &self.handles {
            handle.wait_finished();
        }
        self.results()
    }

    /// [`join`](Self::join) in async code.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub async fn join_async(mut self) -> Result<Vec<T>, TaskError> {
        for handle in &self.handles {
            handle.finished().await;
        }
        self.results()
    }

    fn results(&mut self) -> Result<Vec<T>, TaskError> {
        let failed = self.members.lock().failed;
        if let Some(failed) = failed {
            return Err(match self.handles.swap_remove(failed).take() {
                Err(error) => error,
                Ok(_) => TaskError::Cancelled,
            });
        }
        std::mem::take(&mut self.handles).into_iter().map(TaskHandle::take).collect()
    }
}

impl<T: Send + 'static> Default for TaskGroup<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Send + 'static> Drop for TaskGroup<T> {
    fn drop(&mut self) {
        self.cancel();
        // Where waiting would stop those who are waited for, they are left to end by themselves.
        if !park::would_stop_others() {
            for handle in &self.handles {
                handle.wait_finished_shielded();
            }
        }
    }
}

impl<T: Send + 'static> fmt::Debug for TaskGroup<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskGroup").field("tasks", &self.handles.len()).finish()
    }
}
