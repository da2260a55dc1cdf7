//! A FIFO of waiters whose nodes live inside the waiting futures, so that waiting allocates nothing.
//!
//! # Protocol
//!
//! A [`List`] lies behind a leaf lock, usually together with the state of its primitive; a [`Node`] lies in a pinned
//! future (or in the stack frame of a blocking call, which is the same future). All fields of a node are read and
//! written through `&mut List` only, that is, by whoever holds the lock of *its* list. The first list that a node is pushed
//! to is its list until that lets it go for good; using it with another one panics.
//!
//! ```text
//!  IDLE ──push──▶ LINKED ──pop──▶ WOKEN or GRANTED ──take──▶ IDLE
//!                   └────────────remove──────────────────────▲
//! ```
//!
//! Who takes a node off the list says what it gave: *woken* is news (look again), *granted* is the thing itself (the
//! lock, the permits). Whoever drops a future with a node calls [`List::remove`], is told in which state the node was,
//! and **hands on what it had been given**; that is what makes cancellation and timeouts lose nothing.
//!
//! # Why this is safe
//!
//! The list holds plain pointers to nodes. A node is pinned before it can be pushed, so it does not move, and its
//! destructor aborts the process if it is still linked, so a pointer in a list is never stale. Nobody touches a node
//! outside the lock, except for its `linked` flag in that destructor, when the owner has it alone.
//!
//! # Waking
//!
//! A waker runs code of somebody else (a runtime's scheduler), so it is never fired under a list's lock: popping fills a
//! [`Wakes`], and that is `#[must_use]` and fired when the lock is gone. One that panics costs the others nothing: they are
//! all fired before the panic goes on.

use crate::model::cell::UnsafeCell;
use crate::model::sync::atomic::{AtomicUsize, Ordering};
use crate::model::time::Instant;
use crate::model::weaken;
use std::any::Any;
use std::marker::PhantomPinned;
use std::panic::resume_unwind;
#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Waker};

/// Who waits: that decides whether a thing may be handed over or only announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// A thread or greenlet inside a blocking verb: it will run, so it may be granted things.
    Blocking,
    /// An async task: its future may never be polled again, so it is woken and must come for the thing itself.
    Task,
}

/// What a node was given by the last that popped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// Not on a list, nothing outstanding.
    Idle,
    /// Waiting on the list.
    Linked,
    /// Told to look again.
    Woken,
    /// Handed what it waits for.
    Granted,
}

#[derive(Debug)]
struct Fields {
    given: Given,
    waker: Option<Waker>,
    prev: *const Node,
    next: *const Node,
    /// How much is wanted: permits, or what else the primitive counts.
    need: usize,
    /// Which link of its list this was; see [`List::wake_up_to`].
    ticket: u64,
    /// When the wait began; kept when a woken waiter has to queue again.
    since: Option<Instant>,
}

/// One waiter.
#[derive(Debug)]
pub(crate) struct Node {
    waiting: Waiting,
    /// The list this node belongs to, by address; 0 before the first push.
    list: AtomicUsize,
    fields: UnsafeCell<Fields>,
    _pinned: PhantomPinned,
}

// SAFETY: the fields are reached only through the list's lock; what lies in them (a waker, pointers) may be sent.
unsafe impl Send for Node {}
// SAFETY: as above: `&Node` alone gives no access to the fields.
unsafe impl Sync for Node {}

impl Node {
    pub(crate) fn new(waiting: Waiting) -> Self {
        Self::with_need(waiting, 1)
    }

    pub(crate) fn with_need(waiting: Waiting, need: usize) -> Self {
        Self {
            waiting,
            list: AtomicUsize::new(0),
            fields: UnsafeCell::new(Fields {
                given: Given::Idle,
                waker: None,
                prev: std::ptr::null(),
                next: std::ptr::null(),
                need,
                ticket: 0,
                since: None,
            }),
            _pinned: PhantomPinned,
        }
    }

    /// Whether no list knows it: it was never on one, or the last has [let go](List::pop_one_for_good) of it. Such a node
    /// needs no lock to be dropped.
    pub(crate) fn is_fresh(&self) -> bool {
        // Acquire: pairs with the Release of the list that lets go. (Only the owner pushes, and only the owner asks.)
        self.list.load(weaken::ordering("waitlist.let_go", Ordering::Acquire)) == 0
    }

    pub(crate) fn waiting(&self) -> Waiting {
        self.waiting
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let linked = self.fields.with_mut(|fields| {
            // SAFETY: unlinked nodes are the owner's alone; a linked one is only compared, and ends the process.
            unsafe { (*fields).given == Given::Linked }
        });
        if linked {
            // A pointer to this memory is in a list. Unwinding would free it.
            eprintln!("ropewalk: a waiter was freed while linked; this is a bug in ropewalk");
            std::process::abort();
        }
    }
}

/// A FIFO of waiters.
#[derive(Debug)]
pub(crate) struct List {
    head: *const Node,
    tail: *const Node,
    len: usize,
    /// The last ticket that was given to a node.
    tickets: u64,
}

// SAFETY: the pointers lead to nodes, which may be reached from any thread that holds the lock around this list.
unsafe impl Send for List {}

impl List {
    pub(crate) const fn new() -> Self {
        Self { head: std::ptr::null(), tail: std::ptr::null(), len: 0, tickets: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The fields of a node of this list.
    fn fields<R>(&mut self, node: &Node, with: impl FnOnce(&mut Fields) -> R) -> R {
        let me = std::ptr::from_mut(self).addr();
        // Relaxed: the first push is by the owner, later readers of the fields come through the lock.
        let list = node.list.load(Ordering::Relaxed);
        if list == 0 {
            node.list.store(me, Ordering::Relaxed);
        } else {
            assert!(list == me, "a waiter was used with two lists; this is a bug in ropewalk");
        }
        // SAFETY: the node belongs to this list, and `&mut self` proves that we hold its lock.
        node.fields.with_mut(|fields| with(unsafe { &mut *fields }))
    }

    /// The fields of a node that is linked here.
    fn linked<R>(&mut self, node: *const Node, with: impl FnOnce(&mut Fields) -> R) -> R {
        // SAFETY: a linked node is alive: its destructor would have ended the process.
        self.fields(unsafe { &*node }, with)
    }

    /// Links the node at the end, or refreshes its waker where it stands.
    pub(crate) fn push_back(&mut self, node: Pin<&Node>, context: &Context<'_>) -> Replaced {
        self.push(node, context, false)
    }

    /// Links the node at the front: for a waiter that was woken, came too late and keeps its turn.
    pub(crate) fn push_front(&mut self, node: Pin<&Node>, context: &Context<'_>) -> Replaced {
        self.push(node, context, true)
    }

    fn push(&mut self, node: Pin<&Node>, context: &Context<'_>, front: bool) -> Replaced {
        let node = node.get_ref();
        let (head, tail, ticket) = (self.head, self.tail, self.tickets + 1);
        let (old_waker, link) = self.fields(node, |fields| {
            let stale = !fields.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
            let old = if stale { fields.waker.replace(context.waker().clone()) } else { None };
            let link = fields.given != Given::Linked;
            if link {
                fields.given = Given::Linked;
                fields.ticket = ticket;
                (fields.prev, fields.next) = if front { (std::ptr::null(), head) } else { (tail, std::ptr::null()) };
            }
            (old, link)
        });
        if link {
            let pointer = std::ptr::from_ref(node);
            if front {
                if head.is_null() {
                    self.tail = pointer
                } else {
                    self.linked(head, |old| old.prev = pointer)
                }
                self.head = pointer;
            } else {
                if tail.is_null() {
                    self.head = pointer
                } else {
                    self.linked(tail, |old| old.next = pointer)
                }
                self.tail = pointer;
            }
            self.len += 1;
            self.tickets = ticket;
        }
        Replaced(old_waker)
    }

    fn unlink(&mut self, node: *const Node, given: Given) {
        let (prev, next) = self.linked(node, |fields| {
            fields.given = given;
            (
                std::mem::replace(&mut fields.prev, std::ptr::null()),
                std::mem::replace(&mut fields.next, std::ptr::null()),
            )
        });
        if prev.is_null() {
            self.head = next
        } else {
            self.linked(prev, |fields| fields.next = next)
        }
        if next.is_null() {
            self.tail = prev
        } else {
            self.linked(next, |fields| fields.prev = prev)
        }
        self.len -= 1;
    }

    /// Who is first, and how much it needs.
    pub(crate) fn front(&mut self) -> Option<Front> {
        let head = self.head;
        (!head.is_null()).then(|| {
            let (need, since) = self.linked(head, |fields| (fields.need, fields.since));
            // SAFETY: a linked node is alive.
            Front { waiting: unsafe { &*head }.waiting, need, since }
        })
    }

    /// Takes the first waiter off, gives it `given` and keeps its waker for later. False when nobody waits.
    pub(crate) fn pop_front(&mut self, given: Given, wakes: &mut Wakes) -> bool {
        if self.is_empty() {
            return false;
        }
        let waker = self.pop_one_linked(given);
        wakes.add(waker);
        true
    }

    /// Takes the first waiter off and gives it `given`; its waker is to be fired after the lock. For the way of every
    /// message, where the array of [`Wakes`] would cost more than the message.
    #[inline]
    pub(crate) fn pop_one(&mut self, given: Given) -> Option<Waker> {
        if self.head.is_null() { None } else { self.pop_one_linked(given) }
    }

    /// Takes the first waiter off for good: for news that need no answer. Its owner finds it [fresh](Node::is_fresh) and
    /// need not come back under the lock to ask what it was given.
    pub(crate) fn pop_one_for_good(&mut self) -> Option<Waker> {
        let head = self.head;
        if head.is_null() {
            return None;
        }
        let waker = self.pop_one_linked(Given::Woken);
        // SAFETY: its owner drops it only after this store, or comes under the lock that we hold.
        // Release: whatever was done to the node is done before its owner may drop it without the lock.
        unsafe { &*head }.list.store(0, Ordering::Release);
        waker
    }

    #[cold]
    fn pop_one_linked(&mut self, given: Given) -> Option<Waker> {
        let head = self.head;
        // The waker is taken while the lock is held: once it is gone, the node may be.
        let waker = self.linked(head, |fields| fields.waker.take());
        self.unlink(head, given);
        waker
    }

    /// Whether the node is the next to be popped.
    pub(crate) fn is_front(&self, node: &Node) -> bool {
        std::ptr::eq(self.head, node)
    }

    /// What the node has been given; it is idle afterwards unless it still waits.
    pub(crate) fn take(&mut self, node: Pin<&Node>) -> Given {
        self.fields(node.get_ref(), |fields| {
            let given = fields.given;
            if given != Given::Linked {
                fields.given = Given::Idle;
            }
            given
        })
    }

    /// Takes the node off the list if it is on it, and says in which state it was: what must be handed on.
    pub(crate) fn remove(&mut self, node: &Node) -> Given {
        if node.is_fresh() {
            return Given::Idle;
        }
        let given = self.fields(node, |fields| fields.given);
        if given == Given::Linked {
            self.unlink(std::ptr::from_ref(node), Given::Idle);
        } else {
            self.fields(node, |fields| fields.given = Given::Idle);
        }
        given
    }

    /// Remembers when this wait began, once.
    pub(crate) fn mark_start(&mut self, node: Pin<&Node>) {
        self.fields(node.get_ref(), |fields| {
            fields.since.get_or_insert_with(Instant::now);
        });
    }

    /// Takes off everybody who waits now (at most `most`), in batches, waking each batch without the lock.
    ///
    /// The caller holds the lock already and says how to take it again for the next batch. Who begins to wait in between
    /// is behind the others and has a later ticket, so it is left alone, also when some of the others have left.
    pub(crate) fn wake_up_to<G>(
        mut guard: G,
        mut most: usize,
        given: Given,
        relock: impl Fn() -> G,
        list: impl Fn(&mut G) -> &mut Self,
    ) {
        let last = list(&mut guard).tickets;
        let mut panicked = None;
        loop {
            let mut wakes = Wakes::new();
            let waiting = list(&mut guard);
            while most > 0 && wakes.has_room() && waiting.front_ticket().is_some_and(|ticket| ticket <= last) {
                waiting.pop_front(given, &mut wakes);
                most -= 1;
            }
            let done = wakes.has_room();
            drop(guard);
            panicked = panicked.or(wakes.fire());
            if done {
                return panicked.map_or((), |payload| resume_unwind(payload));
            }
            guard = relock();
        }
    }

    fn front_ticket(&mut self) -> Option<u64> {
        let head = self.head;
        (!head.is_null()).then(|| self.linked(head, |fields| fields.ticket))
    }
}

/// Wakes one list after the other, each whatever a waker of those before it does. Panics as the first that does, at the end.
#[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
pub(crate) fn each_in_turn(lists: &mut [&mut dyn FnMut()]) {
    let mut panicked = None;
    for wake in lists {
        let woken = catch_unwind(AssertUnwindSafe(wake));
        panicked = panicked.or(woken.err());
    }
    if let Some(payload) = panicked {
        resume_unwind(payload);
    }
}

/// As [`Wakes::fire`]: the panics of a checker must get through.
#[cfg(any(ropewalk_loom, ropewalk_shuttle))]
pub(crate) fn each_in_turn(lists: &mut [&mut dyn FnMut()]) {
    lists.iter_mut().for_each(|wake| wake());
}

/// A waker that another one took the place of. Dropping it may run a runtime's code (the last reference to a task drops
/// the task), so that must not happen under the lock: keep this until the guard is gone.
#[must_use = "keep it until the lock is released"]
pub(crate) struct Replaced(#[allow(dead_code, reason = "only its drop matters")] Option<Waker>);

/// The first waiter of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Front {
    pub(crate) waiting: Waiting,
    pub(crate) need: usize,
    pub(crate) since: Option<Instant>,
}

/// How many wakers are carried from under a lock at once.
///
/// Two under a checker, so that the gap between two batches is explored with few waiters.
pub(crate) const WAKES_MAX: usize = if cfg!(any(ropewalk_loom, ropewalk_shuttle)) { 2 } else { 32 };

/// Wakers that were collected under a lock and are fired after it.
#[must_use = "these waiters were taken off their list and sleep for ever unless they are woken"]
pub(crate) struct Wakes {
    wakers: [Option<Waker>; WAKES_MAX],
    len: usize,
}

impl Wakes {
    pub(crate) const fn new() -> Self {
        Self { wakers: [const { None }; WAKES_MAX], len: 0 }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.len < WAKES_MAX
    }

    fn add(&mut self, waker: Option<Waker>) {
        if waker.is_some() {
            self.wakers[self.len] = waker;
            self.len += 1;
        }
    }

    /// Fires them, in the order of waiting. Not under a lock. Panics as one of them does, when all have been fired.
    pub(crate) fn wake(self) {
        if let Some(payload) = self.fire() {
            resume_unwind(payload);
        }
    }

    /// Fires them all; the payload if one of them panics.
    #[cfg(not(any(ropewalk_loom, ropewalk_shuttle)))]
    pub(crate) fn fire(mut self) -> Option<Box<dyn Any + Send>> {
        let mut panicked = None;
        let mut wakers = self.wakers[..self.len].iter_mut().filter_map(Option::take);
        // One net under all, spread anew after a panic.
        while let Err(payload) = catch_unwind(AssertUnwindSafe(|| wakers.by_ref().for_each(Waker::wake))) {
            if let Some(before) = panicked.replace(payload) {
                // It was reported, and its destructor might panic too.
                std::mem::forget(before);
            }
        }
        panicked
    }

    /// A checker ends an execution that failed by panics in the middle of it: they must get through.
    #[cfg(any(ropewalk_loom, ropewalk_shuttle))]
    pub(crate) fn fire(mut self) -> Option<Box<dyn Any + Send>> {
        self.wakers[..self.len].iter_mut().filter_map(Option::take).for_each(Waker::wake);
        None
    }
}
