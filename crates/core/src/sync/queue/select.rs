//! Waiting for the first of several channels.

use super::channel::{Receiver, Sender};
use crate::model::time::Duration;
use crate::park::{self, Interrupted, Wait};
use crate::waitlist::{Node, Waiting};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// One side of one channel, without its type.
trait Ready {
    fn poll_ready(&self, node: Pin<&Node>, context: &Context<'_>) -> Poll<()>;
    fn leave(&self, node: &Node);
}

impl<T> Ready for Receiver<T> {
    fn poll_ready(&self, node: Pin<&Node>, context: &Context<'_>) -> Poll<()> {
        Self::poll_ready(self, node, context)
    }

    fn leave(&self, node: &Node) {
        Self::leave(self, node);
    }
}

impl<T> Ready for Sender<T> {
    fn poll_ready(&self, node: Pin<&Node>, context: &Context<'_>) -> Poll<()> {
        Self::poll_ready(self, node, context)
    }

    fn leave(&self, node: &Node) {
        Self::leave(self, node);
    }
}

/// Waits until one of several channels can be received from or sent to.
///
/// It says which one is ready and takes nothing, so nothing can be lost: follow with `try_recv` or `try_send`, and wait
/// again if another strand was faster. A closed channel is ready. In async code use any `select!` on the futures.
///
/// # Fairness
///
/// When several are ready, the first one asked changes from call to call.
///
/// # Examples
///
/// ```
/// use ropewalk_core::sync::channel::{self, Select};
///
/// let (_keep, numbers) = channel::unbounded::<i32>();
/// let (sender, words) = channel::unbounded();
/// sender.send("hello").unwrap();
///
/// let mut select = Select::new();
/// let from_numbers = select.recv(&numbers);
/// let from_words = select.recv(&words);
/// let ready = select.ready();
/// assert_ne!(ready, from_numbers);
/// assert_eq!(ready, from_words);
/// assert_eq!(words.try_recv(), Ok("hello"));
/// ```
#[derive(Default)]
pub struct Select<'a> {
    sides: Vec<&'a (dyn Ready + Sync)>,
}

impl<'a> Select<'a> {
    /// Nothing to wait for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the wait for something to receive; returns the index that [`ready`](Self::ready) answers with.
    pub fn recv<T: Send>(&mut self, receiver: &'a Receiver<T>) -> usize {
        self.sides.push(receiver);
        self.sides.len() - 1
    }

    /// Adds the wait for room to send; returns the index that [`ready`](Self::ready) answers with.
    pub fn send<T: Send>(&mut self, sender: &'a Sender<T>) -> usize {
        self.sides.push(sender);
        self.sides.len() - 1
    }

    /// Waits until one is ready and returns its index.
    ///
    /// # Panics
    ///
    /// When nothing was added: that wait would never end. In async code.
    #[track_caller]
    pub fn ready(&self) -> usize {
        assert!(!self.sides.is_empty(), "select over no channels would wait for ever");
        let nodes = Nodes::new(self);
        park::wait_ready(|context| nodes.poll(context))
    }

    /// Waits until one is ready, at the longest for `timeout`.
    ///
    /// # Errors
    ///
    /// [`Interrupted`]: the time limit passed, or the task around this wait was cancelled.
    #[track_caller]
    pub fn ready_timeout(&self, timeout: Duration) -> Result<usize, Interrupted> {
        let nodes = Nodes::new(self);
        park::wait_on(Wait::FOREVER.timeout(timeout), |context| nodes.poll(context))
    }

    /// One that is ready now, without waiting.
    pub fn try_ready(&self) -> Option<usize> {
        let nodes = Nodes::new(self);
        match nodes.poll(&Context::from_waker(Waker::noop())) {
            Poll::Ready(index) => Some(index),
            Poll::Pending => None,
        }
    }

    /// [`ready`](Self::ready) in async code.
    ///
    /// # Panics
    ///
    /// When nothing was added: that wait would never end.
    pub async fn ready_async(&self) -> usize {
        assert!(!self.sides.is_empty(), "select over no channels would wait for ever");
        let nodes = Nodes::new(self);
        std::future::poll_fn(|context| nodes.poll(context)).await
    }
}

impl std::fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Select").field("sides", &self.sides.len()).finish()
    }
}

/// One node for each side, on all lists at once.
struct Nodes<'a> {
    sides: &'a [&'a (dyn Ready + Sync)],
    nodes: Vec<Pin<Box<Node>>>,
    first: usize,
}

impl<'a> Nodes<'a> {
    fn new(select: &'a Select<'_>) -> Self {
        // Unchecked: this decides only who is asked first. A checker needs the same answer in each execution.
        use crate::model::unchecked::{Ordering, PlainU64};
        static TURN: PlainU64 = PlainU64::new(0);
        let turn = if cfg!(any(ropewalk_loom, ropewalk_shuttle)) { 0 } else { TURN.fetch_add(1, Ordering::Relaxed) };
        let nodes = select.sides.iter().map(|_| Box::pin(Node::new(Waiting::Blocking))).collect();
        Self { sides: &select.sides, nodes, first: turn as usize }
    }

    fn poll(&self, context: &Context<'_>) -> Poll<usize> {
        let count = self.sides.len();
        for step in 0..count {
            let index = self.first.wrapping_add(step) % count;
            if self.sides[index].poll_ready(self.nodes[index].as_ref(), context).is_ready() {
                return Poll::Ready(index);
            }
        }
        Poll::Pending
    }
}

impl Drop for Nodes<'_> {
    fn drop(&mut self) {
        for (side, node) in self.sides.iter().zip(&self.nodes) {
            side.leave(node);
        }
    }
}
