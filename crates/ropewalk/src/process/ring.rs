//! Memory that a pool and one of its workers share: two rings of bytes, one in each direction.
//!
//! # Protocol
//!
//! A ring has one writer and one reader, in different processes. `tail` counts the bytes ever written, `head` those ever read;
//! each side changes its own count only, and keeps a copy that it trusts: what it finds in the shared one belongs to the
//! other side. The bytes between the counts are the reader's, all others the writer's.
//!
//! A side that finds nothing to do sets its `waits` word, fences, and looks once more before it sleeps; a side that has moved
//! its count fences and then looks at the word of the other side, which it resets and rings for. So one of them sees the
//! other, and in between nobody makes a system call. A worker sleeps on its word (a futex). The pool, which has many rings and
//! more to look out for, sleeps elsewhere: for its words the worker rings a bell.
//!
//! # Whose a task is
//!
//! Each frame to the worker has a *place*, a word beside the ring to the pool: the pool puts the number of the task there before
//! the frame. The worker *begins* it, or the pool *takes it back*: both by a compare-and-swap of that number for one with a mark,
//! so exactly one of them succeeds, and what the pool has taken back no worker runs. The worker replies to either, and only
//! then the place is used again.
//!
//! # Why this is safe
//!
//! The other process may be broken: what it writes is data, copied out before anybody looks at it, and never borrowed. A count
//! of its that makes no sense (more bytes than the ring has room for) is [`Corrupt`]. The words are atomics, and the bytes are
//! reached by pointers that stay inside the mapping, whichever counts are found.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::thread::futex;
use std::ffi::c_void;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Bytes that a ring holds.
pub(super) const RING_BYTES: usize = 2 * 1024 * 1024;
const HEADER_BYTES: usize = 4096;
const MAP_BYTES: usize = 2 * (HEADER_BYTES + RING_BYTES);
const _: () = assert!(size_of::<Words>() <= HEADER_BYTES && RING_BYTES.is_power_of_two());

/// What the other side has written makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Corrupt;

/// A word with a cache line of its own.
#[repr(C, align(64))]
struct Line<T>(T);

/// The head of a ring. Zeroed memory is an empty ring.
#[repr(C)]
struct Words {
    tail: Line<AtomicU64>,
    head: Line<AtomicU64>,
    /// 1 while the reader sleeps, or is about to.
    reader_waits: Line<AtomicU32>,
    /// 1 while the writer sleeps, or is about to.
    writer_waits: Line<AtomicU32>,
    /// In the ring to the pool: whose the tasks are that were sent and not replied to.
    places: Line<[AtomicU64; PLACES]>,
}

/// Frames that are with a worker at most.
pub(super) const PLACES: usize = 16;
/// The mark of a task that the worker has begun.
const BEGUN: u64 = 1 << 63;
/// The mark of a task that the pool has taken back.
const TAKEN: u64 = 1 << 62;

/// The mapping of both rings.
struct Map(NonNull<u8>);

// SAFETY: what is reached through it are atomics, and bytes that one side at a time may touch.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and whoever used it is gone.
        let _ = unsafe { munmap(self.0.as_ptr().cast::<c_void>(), MAP_BYTES) };
    }
}

/// Anonymous memory for the rings of one worker, of fixed size: it can neither grow nor shrink under a mapping.
pub(super) fn memory() -> io::Result<OwnedFd> {
    let memory = memfd_create("ropewalk-rings", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&memory, MAP_BYTES as u64)?;
    fcntl_add_seals(&memory, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(memory)
}

/// The ends of the pool: it writes to the worker, and reads from it.
pub(super) fn pool_ends(memory: impl AsFd) -> io::Result<(Writer, Reader)> {
    let [to_worker, to_pool] = rings(memory)?;
    Ok((Writer(End::new(to_worker)), Reader(End::new(to_pool))))
}

/// The ends of the worker, which rings this bell, an eventfd, to wake the pool.
pub(super) fn worker_ends(memory: impl AsFd, bell: OwnedFd) -> io::Result<(Reader, Writer)> {
    let [to_worker, to_pool] = rings(memory)?;
    let bell = Some(Arc::new(bell));
    let end = |ring| End { bell: bell.clone(), ..End::new(ring) };
    Ok((Reader(end(to_worker)), Writer(end(to_pool))))
}

fn rings(memory: impl AsFd) -> io::Result<[Ring; 2]> {
    let (readable, shared) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
    // SAFETY: a new mapping, at a place that the system chooses.
    let start = unsafe { mmap(std::ptr::null_mut(), MAP_BYTES, readable, shared, memory, 0) }?;
    let map = Arc::new(Map(NonNull::new(start.cast()).expect("a mapping is not at null")));
    Ok([0, HEADER_BYTES + RING_BYTES].map(|at| Ring { map: Arc::clone(&map), at }))
}

/// One of the two rings of a mapping.
struct Ring {
    map: Arc<Map>,
    at: usize,
}

impl Ring {
    fn words(&self) -> &Words {
        // SAFETY: inside the mapping, which starts at a page; any bytes are values of atomics.
        unsafe { &*self.map.0.as_ptr().add(self.at).cast::<Words>() }
    }

    /// The word that says whose the `nth` task is.
    fn owner(&self, nth: u64) -> &AtomicU64 {
        &self.words().places.0[nth as usize % PLACES]
    }

    /// Marks a task that nobody has marked.
    fn mark(&self, nth: u64, task: u64, mark: u64) -> bool {
        self.owner(nth).compare_exchange(task, task | mark, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// The place of a count, and how many bytes lie there before the ring begins anew.
    fn place(&self, count: u64) -> (*mut u8, usize) {
        let at = count as usize & (RING_BYTES - 1);
        // SAFETY: inside the ring, which lies behind its header in the mapping.
        (unsafe { self.map.0.as_ptr().add(self.at + HEADER_BYTES + at) }, RING_BYTES - at)
    }
}

/// One end of a ring, with the count that it moves.
struct End {
    ring: Ring,
    mine: u64,
    /// What wakes the other side; None where that sleeps on its word.
    bell: Option<Arc<OwnedFd>>,
}

impl End {
    fn new(ring: Ring) -> Self {
        Self { ring, mine: 0, bell: None }
    }

    /// Wakes the other side if it sleeps, or is about to.
    fn wake(&self, word: &AtomicU32) {
        if !take_wait(word) {
            return;
        }
        match &self.bell {
            // If its count is full, it rings already.
            Some(bell) => drop(rustix::io::write(bell, &1_u64.to_ne_bytes())),
            None => drop(futex::wake(word, futex::Flags::empty(), 1)),
        }
    }
}

/// Sleeps on a word that was set to 1, until it is reset.
fn sleep(word: &AtomicU32) {
    // Whatever it says, the caller looks again.
    match futex::wait(word, futex::Flags::empty(), 1, None) {
        Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
        Err(error) => panic!("futex: {error}"),
    }
}

/// Whether the other side has to be woken; it is not any more.
fn take_wait(word: &AtomicU32) -> bool {
    // Between the count that was moved and this look; pairs with the fence of whoever is about to sleep.
    fence(Ordering::SeqCst);
    word.load(Ordering::Relaxed) != 0 && word.swap(0, Ordering::Relaxed) != 0
}

/// Says that this side is about to sleep. It looks at the ring once more afterwards.
fn set_wait(word: &AtomicU32) {
    word.store(1, Ordering::Relaxed);
    fence(Ordering::SeqCst);
}

/// The end that writes.
pub(super) struct Writer(End);

impl Writer {
    fn room(&self) -> Result<usize, Corrupt> {
        // Acquire: the reader is done with the bytes before its count.
        let head = self.0.ring.words().head.0.load(Ordering::Acquire);
        match self.0.mine.wrapping_sub(head) {
            used if used <= RING_BYTES as u64 => Ok(RING_BYTES - used as usize),
            _ => Err(Corrupt),
        }
    }

    /// Writes as much as there is room for, and says how much. A reader that sleeps is not woken by
    /// this.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<usize, Corrupt> {
        let count = self.room()?.min(bytes.len());
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            let (place, length) = self.0.ring.place(self.0.mine);
            let (now, later) = rest.split_at(length.min(rest.len()));
            // SAFETY: these bytes are the writer's, and there are `length` in a row.
            unsafe { std::ptr::copy_nonoverlapping(now.as_ptr(), place, now.len()) };
            self.0.mine += now.len() as u64;
            rest = later;
        }
        // Release: the reader that sees the count sees the bytes.
        self.0.ring.words().tail.0.store(self.0.mine, Ordering::Release);
        Ok(count)
    }

    /// Wakes the reader if it sleeps.
    pub(super) fn wake_reader(&self) {
        self.0.wake(&self.0.ring.words().reader_waits.0);
    }

    /// Wants to be woken when there is room; true if there is some already.
    pub(super) fn wait_for_room(&self) -> Result<bool, Corrupt> {
        set_wait(&self.0.ring.words().writer_waits.0);
        Ok(self.room()? > 0)
    }

    /// Sleeps until there is room.
    pub(super) fn sleep_until_room(&self) -> Result<(), Corrupt> {
        while !self.wait_for_room()? {
            sleep(&self.0.ring.words().writer_waits.0);
        }
        self.0.ring.words().writer_waits.0.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Begins the task of this frame, the `nth` in this ring. False when it was taken back.
    pub(super) fn begin(&self, nth: u64, task: u64) -> bool {
        self.0.ring.mark(nth, task, BEGUN)
    }
}

/// The end that reads.
pub(super) struct Reader(End);

impl Reader {
    fn filled(&self) -> Result<usize, Corrupt> {
        // Acquire: pairs with the Release of the writer.
        let tail = self.0.ring.words().tail.0.load(Ordering::Acquire);
        match tail.wrapping_sub(self.0.mine) {
            filled if filled <= RING_BYTES as u64 => Ok(filled as usize),
            _ => Err(Corrupt),
        }
    }

    /// Whether there is nothing to read.
    pub(super) fn is_empty(&self) -> bool {
        self.filled() == Ok(0)
    }

    /// Appends what there is to `into`, at most `most`, and says how much that was.
    pub(super) fn read(&mut self, into: &mut Vec<u8>, most: usize) -> Result<usize, Corrupt> {
        let count = self.filled()?.min(most);
        into.reserve(count);
        let mut left = count;
        while left > 0 {
            let (place, length) = self.0.ring.place(self.0.mine);
            let now = left.min(length);
            // SAFETY: these bytes are the reader's, there are `now` in a row; and `into` has room for `left` more.
            unsafe {
                std::ptr::copy_nonoverlapping(place.cast_const(), into.as_mut_ptr().add(into.len()), now);
                into.set_len(into.len() + now);
            }
            self.0.mine += now as u64;
            left -= now;
        }
        // Release: the writer that sees the count may write over the bytes.
        self.0.ring.words().head.0.store(self.0.mine, Ordering::Release);
        Ok(count)
    }

    /// Wakes the writer if it waits for room.
    pub(super) fn wake_writer(&self) {
        self.0.wake(&self.0.ring.words().writer_waits.0);
    }

    /// Wants to be woken when there is something to read; true if there is something already.
    pub(super) fn wait_for_bytes(&self) -> bool {
        set_wait(&self.0.ring.words().reader_waits.0);
        !self.is_empty()
    }

    /// Does not want to be woken any more.
    pub(super) fn is_awake(&self) {
        self.0.ring.words().reader_waits.0.store(0, Ordering::Relaxed);
    }

    /// Sleeps until there is something to read.
    pub(super) fn sleep_until_bytes(&self) {
        while !self.wait_for_bytes() {
            sleep(&self.0.ring.words().reader_waits.0);
        }
        self.is_awake();
    }

    /// The `nth` frame to the worker is this task's. Before the frame is written.
    pub(super) fn offer(&self, nth: u64, task: u64) {
        // The frame's count publishes it.
        self.0.ring.owner(nth).store(task, Ordering::Relaxed);
    }

    /// Takes a task back that the worker was sent. False when it has begun.
    pub(super) fn take_back(&self, nth: u64, task: u64) -> bool {
        self.0.ring.mark(nth, task, TAKEN)
    }

    /// Whether the worker has begun this task.
    pub(super) fn has_begun(&self, nth: u64, task: u64) -> bool {
        // Acquire: what the worker did before it began is there.
        self.0.ring.owner(nth).load(Ordering::Acquire) == task | BEGUN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Writer, Reader, Ring) {
        let memory = memory().unwrap();
        let (writer, _) = pool_ends(&memory).unwrap();
        let (_, reader) = pool_ends_swapped(&memory);
        let [ring, _] = rings(&memory).unwrap();
        (writer, reader, ring)
    }

    /// The ends of a worker that sleeps on a word as the pool's other side does: for both sides in one process.
    fn pool_ends_swapped(memory: &OwnedFd) -> (Writer, Reader) {
        let [to_worker, to_pool] = rings(memory).unwrap();
        (Writer(End::new(to_pool)), Reader(End::new(to_worker)))
    }

    /// A generator that needs no crate: xorshift.
    fn random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn bytes_come_in_order_whatever_the_pieces() {
        let (mut writer, mut reader, _) = pair();
        let mut seed = 0x1234_5678_9abc_def1;
        let (mut sent, mut got) = (0_u64, 0_u64);
        let mut total = 0;
        while total < 8 * RING_BYTES {
            let length = random(&mut seed) as usize % (RING_BYTES / 2);
            let piece: Vec<u8> =
                (0..length).map(|at| (sent + at as u64) as u8 ^ ((sent + at as u64) >> 8) as u8).collect();
            sent += writer.write(&piece).unwrap() as u64;
            let mut read = Vec::new();
            total += reader.read(&mut read, random(&mut seed) as usize % RING_BYTES).unwrap();
            for byte in read {
                assert_eq!(byte, got as u8 ^ (got >> 8) as u8);
                got += 1;
            }
        }
    }

    #[test]
    fn full_ring_takes_nothing_and_an_empty_one_gives_nothing() {
        let (mut writer, mut reader, _) = pair();
        assert_eq!(writer.write(&vec![7; RING_BYTES + 1]).unwrap(), RING_BYTES);
        assert_eq!(writer.write(b"more").unwrap(), 0);
        assert!(!writer.wait_for_room().unwrap());
        let mut all = Vec::new();
        assert_eq!(reader.read(&mut all, usize::MAX).unwrap(), RING_BYTES);
        let waits = &reader.0.ring.words().writer_waits.0;
        assert!(take_wait(waits) && !take_wait(waits), "it is told once");
        assert!(reader.is_empty() && writer.wait_for_room().unwrap());
    }

    #[test]
    fn counts_that_make_no_sense_are_corrupt_and_never_followed() {
        let mut seed = 99;
        for _ in 0..20_000 {
            let (mut writer, mut reader, ring) = pair_of(&mut seed);
            let (mut into, bytes) = (Vec::new(), [1; 100]);
            // Whatever the other side has written: an answer or an error, inside the mapping.
            let wild = random(&mut seed);
            ring.words().tail.0.store(wild, Ordering::Relaxed);
            let read = reader.read(&mut into, RING_BYTES);
            assert_eq!(read.is_ok(), wild.wrapping_sub(0) <= RING_BYTES as u64);
            assert_eq!(into.len(), read.unwrap_or(0));
            ring.words().head.0.store(wild, Ordering::Relaxed);
            let wrote = writer.write(&bytes);
            assert!(wrote.is_err() || wild == 0 || 0_u64.wrapping_sub(wild) <= RING_BYTES as u64);
        }
    }

    /// A pair that is made once: 20,000 mappings would be slow. Its ends begin anew each time.
    fn pair_of(seed: &mut u64) -> (Writer, Reader, Ring) {
        thread_local! {
            static MEMORY: OwnedFd = memory().unwrap();
        }
        let _ = random(seed);
        MEMORY.with(|memory| {
            let (writer, _) = pool_ends(memory).unwrap();
            let (_, reader) = pool_ends_swapped(memory);
            let [ring, _] = rings(memory).unwrap();
            ring.words().head.0.store(0, Ordering::Relaxed);
            (writer, reader, ring)
        })
    }

    #[test]
    fn task_is_begun_or_taken_back_and_never_both() {
        let memory = memory().unwrap();
        let (_, pool) = pool_ends(&memory).unwrap();
        let bell = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
        let (_, worker) = worker_ends(&memory, bell).unwrap();
        const TASKS: u64 = 2_000;
        let barrier = std::sync::Barrier::new(2);
        let count = |takes: &dyn Fn(u64) -> bool, before: &dyn Fn(u64)| {
            let mine = |nth: &u64| {
                before(*nth);
                barrier.wait();
                let is_mine = takes(*nth);
                barrier.wait();
                is_mine
            };
            (0..TASKS).filter(mine).collect::<Vec<_>>()
        };
        let (begun, taken) = std::thread::scope(|scope| {
            let begins = scope.spawn(|| count(&|nth| worker.begin(nth, nth + 1), &|_| {}));
            let taken = count(&|nth| pool.take_back(nth, nth + 1), &|nth| pool.offer(nth, nth + 1));
            (begins.join().unwrap(), taken)
        });
        assert_eq!(begun.len() + taken.len(), TASKS as usize);
        assert!(begun.iter().all(|nth| !taken.contains(nth)));
        let last = TASKS - 1;
        assert_eq!(pool.has_begun(last, TASKS), begun.last() == Some(&last));
    }

    #[test]
    fn reader_and_writer_that_sleep_wake_each_other() {
        let (mut writer, mut reader, _) = pair();
        const TOTAL: usize = 16 * RING_BYTES;
        let writes = std::thread::spawn(move || {
            let bytes = vec![3; RING_BYTES / 3];
            let mut left = TOTAL;
            while left > 0 {
                let wrote = writer.write(&bytes[..bytes.len().min(left)]).unwrap();
                writer.wake_reader();
                left -= wrote;
                if wrote == 0 {
                    writer.sleep_until_room().unwrap();
                }
            }
        });
        let (mut got, mut into) = (0, Vec::new());
        while got < TOTAL {
            reader.sleep_until_bytes();
            into.clear();
            got += reader.read(&mut into, 10_000).unwrap();
            reader.wake_writer();
        }
        writes.join().unwrap();
    }
}
