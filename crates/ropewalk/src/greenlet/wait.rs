//! Waiting for several tasks: all of them, the first, or each as it ends.
//!
//! These work with handles of any executor and from any strand; gevent's names for them are here, those of
//! `concurrent.futures` in [`executor`](crate::executor).

use crate::executor::{Completed, as_completed};
use crate::task::{TaskError, TaskHandle};

/// Handles that [`join_all`] can wait for: an iterator of one type, or a tuple of up to eight different ones.
///
/// `Shape` only tells the two apart; it is always inferred.
pub trait Handles<Shape> {
    /// The results, in the shape of the handles.
    type Results;

    /// Waits for all.
    ///
    /// # Errors
    ///
    /// The first error in the order of the handles, after all have ended.
    fn join(self) -> Result<Self::Results, TaskError>;

    /// Waits for all, in async code.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    fn join_async(self) -> impl Future<Output = Result<Self::Results, TaskError>>;
}

/// The shape of an iterator of handles.
#[derive(Debug)]
pub enum Sequence {}

/// The shape of a tuple of handles.
#[derive(Debug)]
pub enum Tuple {}

impl<T, I: IntoIterator<Item = TaskHandle<T>>> Handles<(Sequence, T)> for I {
    type Results = Vec<T>;

    #[track_caller]
    fn join(self) -> Result<Vec<T>, TaskError> {
        // All are there before the first is waited for: an iterator may start them as it goes. All are joined before the
        // first error is looked at.
        let handles: Vec<_> = self.into_iter().collect();
        let ended: Vec<_> = handles.into_iter().map(TaskHandle::join).collect();
        ended.into_iter().collect()
    }

    async fn join_async(self) -> Result<Vec<T>, TaskError> {
        let mut ended = Vec::new();
        for handle in self.into_iter().collect::<Vec<_>>() {
            ended.push(handle.await);
        }
        ended.into_iter().collect()
    }
}

macro_rules! tuples {
    ($($name:ident)+) => {
        #[allow(non_snake_case, reason = "a variable is called as its type")]
        impl<$($name),+> Handles<(Tuple, $($name),+)> for ($(TaskHandle<$name>,)+) {
            type Results = ($($name,)+);

            #[track_caller]
            fn join(self) -> Result<Self::Results, TaskError> {
                let ($($name,)+) = self;
                let ($($name,)+) = ($($name.join(),)+);
                Ok(($($name?,)+))
            }

            async fn join_async(self) -> Result<Self::Results, TaskError> {
                let ($($name,)+) = self;
                let ($($name,)+) = ($($name.await,)+);
                Ok(($($name?,)+))
            }
        }
    };
}

tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
tuples!(A B C D E F G);
tuples!(A B C D E F G H);

/// Waits for all tasks and returns their results, in the shape in which the handles came: a `Vec` for an iterator, a
/// tuple for a tuple.
///
/// # Errors
///
/// The first error in the order of the handles, after all tasks have ended.
///
/// # Cancel safety
///
/// Cancelled while it waits, the tasks go on by themselves.
///
/// # Panics
///
/// In async code; use [`gather`] there.
///
/// # Examples
///
/// ```
/// use ropewalk::greenlet::{join_all, spawn};
///
/// ropewalk::run(|| {
///     let squares = join_all((1..=3).map(|n| spawn(move || n * n))).unwrap();
///     assert_eq!(squares, [1, 4, 9]);
///
///     let (text, number) = join_all((spawn(|| "hemp".to_owned()), spawn(|| 3))).unwrap();
///     assert_eq!((text.as_str(), number), ("hemp", 3));
/// });
/// ```
#[doc(alias = "joinall")]
#[track_caller]
pub fn join_all<Shape, H: Handles<Shape>>(handles: H) -> Result<H::Results, TaskError> {
    handles.join()
}

/// [`join_all`] in async code.
///
/// # Errors
///
/// As [`join_all`].
#[doc(alias = "join_all_async")]
pub async fn gather<Shape, H: Handles<Shape>>(handles: H) -> Result<H::Results, TaskError> {
    handles.join_async().await
}

/// Cancels all tasks and waits until they have ended.
///
/// # Panics
///
/// In async code.
#[doc(alias = "killall")]
#[track_caller]
pub fn kill_all<'h, T: 'h>(handles: impl IntoIterator<Item = &'h TaskHandle<T>>) {
    let handles: Vec<_> = handles.into_iter().collect();
    for handle in &handles {
        handle.cancel();
    }
    handles.iter().for_each(|handle| handle.kill());
}

/// Waits until one of the tasks has ended; returns its handle and the others. None when there are no handles.
///
/// # Panics
///
/// In async code.
///
/// # Examples
///
/// ```
/// use ropewalk::greenlet::{spawn, spawn_later, wait_any};
/// use std::time::Duration;
///
/// ropewalk::run(|| {
///     let slow = spawn_later(Duration::from_secs(60), || "slow");
///     let (first, rest) = wait_any([slow, spawn(|| "quick")]).unwrap();
///     assert_eq!(first.join().unwrap(), "quick");
///     rest.iter().for_each(|handle| handle.kill());
/// });
/// ```
#[track_caller]
pub fn wait_any<T: Send>(
    handles: impl IntoIterator<Item = TaskHandle<T>>,
) -> Option<(TaskHandle<T>, Vec<TaskHandle<T>>)> {
    let mut ended = as_completed(handles);
    let first = ended.next()?;
    Some((first, ended.into_remaining()))
}

/// The handles in the order in which their tasks end: [`as_completed`] under gevent's name.
#[doc(alias = "imap_unordered")]
pub fn iwait<T: Send>(handles: impl IntoIterator<Item = TaskHandle<T>>) -> Completed<T> {
    as_completed(handles)
}
