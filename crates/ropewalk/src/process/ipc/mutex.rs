//! A lock between processes, whose owner may die.
//!
//! # How it works
//!
//! In the memory lie a robust lock of the C library's, a word that says whether the data are as they should be, and the data. The
//! system itself releases such a lock when its owner dies, however that happens, and tells the next one so. What it tells is
//! kept in the word, until somebody says that the data are repaired: so nobody can miss it, and no lock is ever lost.
//!
//! The lock belongs to a thread. Within a process the strands first take turns at a *gate*, an ordinary lock of ours; only who is
//! inside tries the one in the memory. If another process holds that, a thread waits in the system. A greenlet and an async task
//! must not, so for them a *holder* does: a thread that takes the lock, holds it for them and releases it when it is told. A
//! wait that is given up leaves its holder alone, which releases the lock as soon as it has it.
//!
//! # Why this is safe
//!
//! The lock in the memory is initialised before another process sees it, is only reached through the C library, and its memory
//! stays mapped for as long as a guard or a holder has it: both keep the mapping. A guard stays on its thread. Data are
//! reached through a guard only, so by one strand of all processes at a time, and every bit pattern is a value of them.

use super::memory::{Holds, Memory};
use bytemuck::Pod;
use ropewalk_core::park::{self, Wait};
use ropewalk_core::strand;
use ropewalk_core::sync::{Event, Mutex as Gate, MutexGuard as Inside};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What lies in the memory before the data.
#[repr(C)]
struct Header {
    lock: UnsafeCell<libc::pthread_mutex_t>,
    /// [`WHOLE`] or [`BROKEN`]; changed by who has the lock.
    state: AtomicU32,
}

/// The data are as the last owner has left them. New memory is zeroed.
const WHOLE: u32 = 0;
/// An owner has died, and nobody has said since that the data are right.
const BROKEN: u32 = 1;
/// Where the data begin.
const DATA_AT: usize = 128;
const _: () = assert!(size_of::<Header>() <= DATA_AT);
/// A wait in the system with a time limit goes by the wall clock: a part of it is no longer, whatever that is set to.
const WAIT_PART: Duration = Duration::from_secs(1);

/// A lock with plain data in it, for strands of any process. Clones are the same lock.
///
/// When a process dies while it holds the lock, the next one gets it with [`OwnerDied`] around it, and so does everybody after
/// that, until one says that the [data are repaired](OwnerDied::repair).
///
/// # Fairness
///
/// Within a process as that of [`sync::Mutex`](crate::sync::Mutex); none between processes.
///
/// # Cancel safety
///
/// As with other locks, a wait is not ended by a cancel; a future that is dropped gives up its place.
///
/// # Examples
///
/// ```
/// use ropewalk::process::{Process, ipc};
///
/// fn adds(total: ipc::Mutex<[u64; 2]>) {
///     let mut total = total.lock().unwrap();
///     total[0] += 20;
///     total[1] += 1;
/// }
///
/// ropewalk::init();
/// let total = ipc::Mutex::new([2, 0])?;
/// Process::spawn(adds, total.clone())?.join()?;
/// Process::spawn(adds, total.clone())?.join()?;
/// assert_eq!(*total.lock().unwrap(), [42, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "Lock")]
pub struct Mutex<T> {
    shared: Arc<Shared>,
    of: PhantomData<fn() -> T>,
}

/// The mapping, and the gate of this process.
struct Shared {
    memory: Memory,
    gate: Gate<()>,
}

/// Whoever held the lock has died, and nobody has said since that the data are right. The lock is held.
///
/// Dropped as it is, the lock is released, and whoever takes it next is told again.
#[must_use = "the data may be half changed: look at them and `repair()`, or drop this to leave it to the next one"]
pub struct OwnerDied<G>(G);

/// Reaches the data; releases the lock when it is dropped.
#[must_use = "the lock is released at once when its guard is dropped"]
pub struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// Keeps the mapping, also if this is forgotten.
    shared: Arc<Shared>,
    /// Whose holder has the lock; None if this thread does.
    holder: Option<Waiting>,
    _inside: Inside<'a, ()>,
    /// The lock belongs to a thread.
    _here: PhantomData<*const ()>,
}

type Locked<'a, T> = Result<MutexGuard<'a, T>, OwnerDied<MutexGuard<'a, T>>>;

impl<T: Pod> Mutex<T> {
    /// A lock with these data.
    ///
    /// # Errors
    ///
    /// When the system has no memory, or no descriptor, for it.
    pub fn new(value: T) -> io::Result<Self> {
        let memory = Memory::new(Holds::Lock(size_of::<T>()), Self::BYTES)?;
        let lock = memory.at(0).cast::<libc::pthread_mutex_t>().as_ptr();
        initialise(lock)?;
        let mutex = Self { shared: Arc::new(Shared { memory, gate: Gate::new(()) }), of: PhantomData };
        // SAFETY: inside the mapping, aligned; nobody else knows of it yet.
        unsafe { mutex.data().write(value) };
        Ok(mutex)
    }

    const BYTES: usize = {
        assert!(align_of::<T>() <= DATA_AT, "data begin at a multiple of their alignment");
        DATA_AT + size_of::<T>()
    };

    fn data(&self) -> *mut T {
        self.shared.memory.at(DATA_AT).cast().as_ptr()
    }

    /// Takes the lock; waits while somebody else has it.
    ///
    /// # Panics
    ///
    /// In async code when it would have to wait: see [`lock_async`](Self::lock_async).
    ///
    /// # Errors
    ///
    /// [`OwnerDied`], with the guard.
    #[doc(alias = "acquire")]
    #[track_caller]
    pub fn lock(&self) -> Locked<'_, T> {
        self.lock_until(None, self.shared.gate.lock()).expect("a wait without an end has not come to it")
    }

    /// [`lock`](Self::lock) that waits so long at most; None if the time was over.
    ///
    /// # Panics
    ///
    /// In async code when it would have to wait.
    #[track_caller]
    pub fn lock_timeout(&self, timeout: Duration) -> Option<Locked<'_, T>> {
        let Some(deadline) = Instant::now().checked_add(timeout) else { return Some(self.lock()) };
        self.lock_until(Some(deadline), self.shared.gate.lock_timeout(timeout)?)
    }

    /// Takes the lock if nobody has it.
    pub fn try_lock(&self) -> Option<Locked<'_, T>> {
        let inside = self.shared.gate.try_lock()?;
        self.shared.try_take().map(|()| self.guard(inside, None))
    }

    /// [`lock`](Self::lock) for async code. The guard stays on its thread: it must not be held across an `.await` of a task that
    /// may move.
    ///
    /// # Errors
    ///
    /// [`OwnerDied`], with the guard.
    pub async fn lock_async(&self) -> Locked<'_, T> {
        let inside = self.shared.gate.lock_async().await;
        if self.shared.try_take().is_some() {
            return self.guard(inside, None);
        }
        let waiting = Holder::start(&self.shared);
        waiting.0.has_it.wait_async().await;
        self.guard(inside, Some(waiting))
    }

    #[track_caller]
    fn lock_until<'a>(&'a self, deadline: Option<Instant>, inside: Inside<'a, ()>) -> Option<Locked<'a, T>> {
        if self.shared.try_take().is_some() {
            return Some(self.guard(inside, None));
        }
        park::refuse_in_async();
        if !strand::in_greenlet() {
            match self.shared.take(deadline) {
                Taken::Yes => return Some(self.guard(inside, None)),
                Taken::TimedOut => return None,
                // This very thread has it, through another mapping: it can only be waited for from elsewhere.
                Taken::Mine => {}
            }
        }
        let waiting = Holder::start(&self.shared);
        let holder = Arc::clone(&waiting.0);
        let mut has_it = pin!(holder.has_it.wait_async());
        let wait = deadline.map_or(Wait::LOCK, |deadline| Wait::LOCK.until(deadline));
        let is_held = park::wait_on(wait, |context| has_it.as_mut().poll(context)).is_ok();
        is_held.then(|| self.guard(inside, Some(waiting)))
    }

    /// The guard of a lock that was taken.
    fn guard<'a>(&'a self, inside: Inside<'a, ()>, holder: Option<Waiting>) -> Locked<'a, T> {
        let shared = Arc::clone(&self.shared);
        let is_broken = shared.header().state.load(Ordering::Relaxed) == BROKEN;
        let guard = MutexGuard { mutex: self, shared, holder, _inside: inside, _here: PhantomData };
        if is_broken { Err(OwnerDied(guard)) } else { Ok(guard) }
    }
}

/// How an attempt to take the lock has ended.
enum Taken {
    Yes,
    TimedOut,
    /// The thread that asks has it.
    Mine,
}

impl Shared {
    fn header(&self) -> &Header {
        // SAFETY: inside the mapping, which begins at a page, and initialised.
        unsafe { &*self.memory.at(0).cast::<Header>().as_ptr() }
    }

    fn lock(&self) -> *mut libc::pthread_mutex_t {
        self.header().lock.get()
    }

    /// Takes the lock for this thread if nobody has it.
    fn try_take(&self) -> Option<()> {
        // SAFETY: an initialised lock.
        match unsafe { libc::pthread_mutex_trylock(self.lock()) } {
            libc::EBUSY | libc::EDEADLK => None,
            code => {
                self.took(code);
                Some(())
            }
        }
    }

    /// Takes the lock for this thread, which sleeps in the system meanwhile.
    fn take(&self, deadline: Option<Instant>) -> Taken {
        loop {
            let code = match deadline {
                // SAFETY: an initialised lock.
                None => unsafe { libc::pthread_mutex_lock(self.lock()) },
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Taken::TimedOut;
                    }
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    let until = now + left.min(WAIT_PART);
                    let until = libc::timespec {
                        tv_sec: libc::time_t::try_from(until.as_secs()).unwrap_or(libc::time_t::MAX),
                        tv_nsec: until.subsec_nanos().into(),
                    };
                    // SAFETY: an initialised lock, and a time.
                    unsafe { libc::pthread_mutex_timedlock(self.lock(), &raw const until) }
                }
            };
            match code {
                libc::EDEADLK => return Taken::Mine,
                libc::ETIMEDOUT => {}
                code => {
                    self.took(code);
                    return Taken::Yes;
                }
            }
        }
    }

    /// This thread has the lock, or never will.
    fn took(&self, code: i32) {
        match code {
            0 => {}
            libc::EOWNERDEAD => {
                // First the word: if this process dies in between, the system tells the next one again.
                self.header().state.store(BROKEN, Ordering::Relaxed);
                // SAFETY: an initialised lock, which this thread has.
                let code = unsafe { libc::pthread_mutex_consistent(self.lock()) };
                assert_eq!(code, 0, "a lock whose owner died is taken over");
            }
            code => panic!(
                "a lock between processes cannot be taken ({}): some process has written over its memory",
                io::Error::from_raw_os_error(code)
            ),
        }
    }

    /// Releases the lock, which this thread has.
    fn release(&self) {
        // SAFETY: an initialised lock.
        let code = unsafe { libc::pthread_mutex_unlock(self.lock()) };
        debug_assert_eq!(code, 0, "whoever releases a lock has it");
    }
}

fn initialise(lock: *mut libc::pthread_mutex_t) -> io::Result<()> {
    let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    let check = |code| if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) };
    // SAFETY: attributes are initialised before they are used, and destroyed after; the lock is memory of its size, which
    // nobody else knows of yet.
    unsafe {
        check(libc::pthread_mutexattr_init(attributes))?;
        let made = check(libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED))
            .and_then(|()| check(libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST)))
            .and_then(|()| check(libc::pthread_mutexattr_settype(attributes, libc::PTHREAD_MUTEX_ERRORCHECK)))
            .and_then(|()| check(libc::pthread_mutex_init(lock, attributes)));
        libc::pthread_mutexattr_destroy(attributes);
        made
    }
}

/// A thread that takes the lock for somebody who must not wait in the system.
///
/// WAITING → HELD (the holder has the lock) → it is released when the guard says so. WAITING → LEFT: nobody waits any more, and
/// the holder releases the lock when it gets it. Both are one exchange of one word.
struct Holder {
    state: AtomicU8,
    has_it: Event,
    lets_go: Event,
}

const WAITING: u8 = 0;
const HELD: u8 = 1;
const LEFT: u8 = 2;

/// Somebody waits for a holder, or has the lock by it. Dropped, it is left, or lets go.
struct Waiting(Arc<Holder>);

impl Holder {
    fn start(shared: &Arc<Shared>) -> Waiting {
        let holder = Arc::new(Self { state: AtomicU8::new(WAITING), has_it: Event::new(), lets_go: Event::new() });
        let (waits, shared) = (Arc::clone(&holder), Arc::clone(shared));
        let hold = move || waits.hold(&shared);
        let started = std::thread::Builder::new().name("ropewalk-lock".to_owned()).spawn(hold);
        started.expect("the system has a thread for a wait");
        Waiting(holder)
    }

    fn hold(&self, shared: &Shared) {
        // A thread that has just begun has no lock.
        if !matches!(shared.take(None), Taken::Yes) {
            return;
        }
        // AcqRel: pairs with the exchange of who gives up; what was written under the lock is seen through `has_it`.
        let was = self.state.compare_exchange(WAITING, HELD, Ordering::AcqRel, Ordering::Acquire);
        if was.is_ok() {
            self.has_it.set();
            self.lets_go.wait();
        }
        shared.release();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let was = self.0.state.compare_exchange(WAITING, LEFT, Ordering::AcqRel, Ordering::Acquire);
        if was.is_err() {
            self.0.lets_go.set();
        }
    }
}

impl<G> OwnerDied<G> {
    /// The guard, as if nothing had happened; whoever takes the lock next is told again.
    pub fn into_inner(self) -> G {
        self.0
    }

    /// The data, to be looked at and mended.
    pub fn get_mut(&mut self) -> &mut G {
        &mut self.0
    }
}

impl<'a, T: Pod> OwnerDied<MutexGuard<'a, T>> {
    /// Says that the data are right, or never mattered: from now on the lock is as any other.
    #[doc(alias = "mark_consistent")]
    pub fn repair(self) -> MutexGuard<'a, T> {
        self.0.shared.header().state.store(WHOLE, Ordering::Relaxed);
        self.0
    }
}

impl<G> fmt::Debug for OwnerDied<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnerDied").finish_non_exhaustive()
    }
}

impl<G> fmt::Display for OwnerDied<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a process died while it held the lock, and nobody has repaired the data since")
    }
}

impl<G> std::error::Error for OwnerDied<G> {}

impl<T: Pod> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: inside the mapping, aligned, every bit pattern a value; and only who has the lock gets here.
        unsafe { &*self.mutex.data() }
    }
}

impl<T: Pod> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.mutex.data() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        // Otherwise its holder lets go, before the next strand of this process comes in.
        if self.holder.is_none() {
            self.shared.release();
        }
    }
}

impl<T> Clone for Mutex<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), of: PhantomData }
    }
}

impl<T> Serialize for Mutex<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        super::serialize(&self.shared.memory.descriptor, serializer)
    }
}

impl<'de, T: Pod> Deserialize<'de> for Mutex<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let descriptor: OwnedFd = super::deserialize(deserializer)?;
        let memory = Memory::of(descriptor, Holds::Lock(size_of::<T>()), Self::BYTES).map_err(D::Error::custom)?;
        Ok(Self { shared: Arc::new(Shared { memory, gate: Gate::new(()) }), of: PhantomData })
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

impl<T: Pod + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
