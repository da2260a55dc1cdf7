//! What the kernel counted for this process, and the clock that every process of the machine shares.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The monotonic clock. Its origin is the machine's, not this process's: reports from several processes fit together.
#[cfg(unix)]
pub fn clock() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    // The clock is there on every system that nix builds for; a failure would only shift an origin that nobody uses.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// The monotonic clock; its origin is the first call in this process.
#[cfg(not(unix))]
pub fn clock() -> Duration {
    static ORIGIN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    ORIGIN.get_or_init(std::time::Instant::now).elapsed()
}

/// Processor time of the calling thread: what others make it wait for a processor is not in it.
#[cfg(unix)]
pub fn thread_cpu() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or_else(|_| clock(), Duration::from)
}

/// The wall clock, since this system's way to tell processor time is not known here.
#[cfg(not(unix))]
pub fn thread_cpu() -> Duration {
    clock()
}

/// The operating system's id of the calling thread.
#[cfg(target_os = "linux")]
pub fn thread_id() -> u64 {
    u64::try_from(nix::unistd::gettid().as_raw()).unwrap_or_default()
}

/// An id of the calling thread, unique within the process.
#[cfg(not(target_os = "linux"))]
pub fn thread_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static MINE: u64 = NEXT.fetch_add(1, Ordering::Relaxed));
    MINE.with(|id| *id)
}

/// Processor time of this process so far, all threads, user and system, and of those of its children that it has reaped.
#[cfg(unix)]
pub fn cpu() -> Duration {
    use nix::sys::resource::{UsageWho, getrusage};
    let of = |t: nix::sys::time::TimeVal| {
        Duration::from_secs(t.tv_sec().unsigned_abs()) + Duration::from_micros(t.tv_usec().unsigned_abs())
    };
    let spent = |who| getrusage(who).map_or(Duration::ZERO, |u| of(u.user_time()) + of(u.system_time()));
    spent(UsageWho::RUSAGE_SELF) + spent(UsageWho::RUSAGE_CHILDREN)
}

/// Not known on this system.
#[cfg(not(unix))]
pub fn cpu() -> Duration {
    Duration::ZERO
}

/// What other processes of the row have to themselves, in KiB.
static OTHERS_KIB: AtomicU64 = AtomicU64::new(0);

/// Counts what each process below this one has to itself, at this moment, as memory of the row.
#[cfg(target_os = "linux")]
pub fn count_memory_of_children() {
    let private = |process: u32| {
        let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
        field(&text, "Private_Clean:").unwrap_or(0) + field(&text, "Private_Dirty:").unwrap_or(0)
    };
    let mut open = children_of(std::process::id());
    while let Some(process) = open.pop() {
        OTHERS_KIB.fetch_add(private(process), Ordering::Relaxed);
        open.extend(children_of(process));
    }
}

#[cfg(target_os = "linux")]
fn children_of(process: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.map(|thread| std::fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    lists.flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()).collect()
}

/// The greatest resident size of this process so far, in KiB, with what others of the row have to themselves.
pub fn peak_rss_kib() -> u64 {
    own_peak_rss_kib() + OTHERS_KIB.load(Ordering::Relaxed)
}

fn own_peak_rss_kib() -> u64 {
    // Not `ru_maxrss` where it can be avoided: on Linux a child starts with the size of its parent in it.
    std::fs::read_to_string("/proc/self/status").ok().and_then(|s| field(&s, "VmHWM:")).unwrap_or_else(from_rusage)
}

/// The number after `name` in a file of lines like `VmHWM:   1234 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

#[cfg(unix)]
fn from_rusage() -> u64 {
    use nix::sys::resource::{UsageWho, getrusage};
    let raw = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |u| u.max_rss()).unsigned_abs();
    // Kilobytes everywhere but on macOS, which counts bytes.
    if cfg!(target_vendor = "apple") { raw / 1024 } else { raw }
}

#[cfg(not(unix))]
fn from_rusage() -> u64 {
    0
}

/// Name of the processor, installed memory in MiB; empty and zero where unknown.
pub fn machine() -> (String, u64) {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpu.lines().find_map(|l| l.strip_prefix("model name")).and_then(|l| l.split_once(':'));
    let memory = std::fs::read_to_string("/proc/meminfo").ok().and_then(|s| field(&s, "MemTotal:"));
    (name.map(|(_, n)| n.trim().to_owned()).unwrap_or_default(), memory.unwrap_or_default() / 1024)
}
