//! What the system says of one thread, in files that stay open; and how many files there may be.
//!
//! Each look costs about 1 microsecond a file where opening it costs 8. There may be hundreds of workers, and a process as a
//! rule may have 1,024 descriptors, so only some of the workers are looked at (`monitor` says how many).

#[cfg(not(target_os = "linux"))]
pub(super) use elsewhere::{Probe, open_files_max, this_thread};
#[cfg(target_os = "linux")]
pub(super) use linux::{Probe, open_files_max, this_thread};

use super::calls::Wait;

/// Where Linux describes the threads of the calling process.
pub(super) const THREADS: &str = "/proc/self/task";

/// What was read of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// How long it ran since it was started, in nanoseconds.
    pub(super) on_cpu_ns: u64,
    /// How long it was ready to run and did not, in nanoseconds.
    pub(super) for_cpu_ns: u64,
    /// What it waits for; None while it runs or is ready to.
    pub(super) waits: Option<Wait>,
}

#[cfg(target_os = "linux")]
mod linux {
    use super::super::calls::{Wait, wait_of};
    use super::Reading;
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    /// The calling thread's id.
    pub(in super::super) fn this_thread() -> Option<u32> {
        // "1234/task/1240": no call of libc's for it, since the thread side of this library needs none.
        std::fs::read_link("/proc/thread-self").ok()?.file_name()?.to_str()?.parse().ok()
    }

    /// How many files this process may have open (the soft limit). None if there is no limit, or the system does not say.
    pub(in super::super) fn open_files_max() -> Option<usize> {
        soft_limit_of_files(&std::fs::read_to_string("/proc/self/limits").ok()?)
    }

    /// From lines as "Max open files            1024                 524288               files".
    fn soft_limit_of_files(limits: &str) -> Option<usize> {
        let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        limit.split_ascii_whitespace().next()?.parse().ok()
    }

    /// The open files of one thread.
    pub(in super::super) struct Probe {
        /// "on-cpu-ns for-cpu-ns slices".
        schedstat: File,
        /// "running", or the number of the call and its arguments; may be forbidden.
        syscall: Option<File>,
    }

    impl Probe {
        /// None where the system does not describe this thread.
        pub(in super::super) fn open(threads: &Path, thread: u32) -> Option<Self> {
            let directory = threads.join(thread.to_string());
            let schedstat = File::open(directory.join("schedstat")).ok()?;
            Some(Self { schedstat, syscall: File::open(directory.join("syscall")).ok() })
        }

        /// None when the thread has ended, or the kernel keeps no such statistics.
        pub(in super::super) fn read(&self) -> Option<Reading> {
            let mut buffer = [0; 96];
            let mut numbers = text(&self.schedstat, &mut buffer)?.split_ascii_whitespace();
            let on_cpu_ns = numbers.next()?.parse().ok()?;
            let for_cpu_ns = numbers.next()?.parse().ok()?;
            // A thread that told us its id has run: this is a kernel that keeps no account.
            if on_cpu_ns == 0 {
                return None;
            }
            Some(Reading { on_cpu_ns, for_cpu_ns, waits: self.waits() })
        }

        fn waits(&self) -> Option<Wait> {
            let mut buffer = [0; 24];
            // Forbidden (ptrace rules, a sandbox), or not compiled into the kernel.
            let Some(line) = self.syscall.as_ref().and_then(|file| text(file, &mut buffer)) else {
                return Some(Wait::Unknown);
            };
            match line.split_ascii_whitespace().next() {
                Some("running") => None,
                Some(number) => Some(number.parse().map_or(Wait::Unknown, wait_of)),
                None => Some(Wait::Unknown),
            }
        }
    }

    /// The beginning of a file that the kernel makes up anew for each read from its start.
    fn text<'buffer>(file: &File, buffer: &'buffer mut [u8]) -> Option<&'buffer str> {
        let bytes = file.read_at(buffer, 0).ok()?;
        std::str::from_utf8(&buffer[..bytes]).ok().filter(|text| !text.is_empty())
    }

    #[cfg(test)]
    mod tests {
        use super::super::THREADS;
        use super::*;
        use std::path::PathBuf;
        use std::sync::mpsc;
        use std::time::{Duration, Instant};

        /// Looks at a thread that does this, until what it sees is as expected.
        fn seen(body: impl FnOnce(mpsc::Receiver<()>) + Send + 'static, expected: impl Fn(&Reading) -> bool) {
            let (tell, told) = mpsc::channel();
            let (ends, end) = mpsc::channel();
            let thread = std::thread::spawn(move || {
                tell.send(this_thread().unwrap()).unwrap();
                body(end);
            });
            let probe = Probe::open(Path::new(THREADS), told.recv().unwrap()).expect("the thread is described");
            let start = Instant::now();
            while !probe.read().is_some_and(|reading| expected(&reading)) {
                assert!(start.elapsed() < Duration::from_secs(30), "last seen: {:?}", probe.read());
                std::thread::yield_now();
            }
            drop(ends);
            thread.join().unwrap();
        }

        #[test]
        fn thread_that_computes() {
            let computes = |end: mpsc::Receiver<()>| {
                while end.try_recv() == Err(mpsc::TryRecvError::Empty) {
                    std::hint::spin_loop();
                }
            };
            seen(computes, |reading| reading.on_cpu_ns > 1_000_000 && reading.waits.is_none());
        }

        #[test]
        fn thread_that_waits_for_a_lock() {
            seen(
                |end| assert!(end.recv().is_err()),
                |reading| matches!(reading.waits, Some(Wait::Lock | Wait::Unknown)),
            );
        }

        #[test]
        fn thread_that_reads_a_socket() {
            let reads = |end: mpsc::Receiver<()>| {
                let (mut hears, says) = std::os::unix::net::UnixStream::pair().unwrap();
                std::thread::spawn(move || drop((end.recv(), says)));
                std::io::Read::read_to_end(&mut hears, &mut Vec::new()).unwrap();
            };
            seen(reads, |reading| matches!(reading.waits, Some(Wait::Outside("read" | "recvfrom") | Wait::Unknown)));
        }

        #[test]
        fn limit_of_files_is_the_soft_one() {
            let limits = |files: &str| {
                format!(
                    "Limit                     Soft Limit           Hard Limit           Units     \n\
                     Max processes             31393                31393                processes \n\
                     Max open files            {files}files     \n\
                     Max locked memory         8388608              8388608              bytes     \n"
                )
            };
            assert_eq!(soft_limit_of_files(&limits("1024                 524288               ")), Some(1_024));
            assert_eq!(soft_limit_of_files(&limits("unlimited            unlimited            ")), None);
            assert_eq!(soft_limit_of_files(""), None);
            assert_eq!(soft_limit_of_files("Max open files"), None);
            // This process has some open.
            assert!(open_files_max().is_none_or(|files| files > 2));
        }

        #[test]
        fn hidden_directory_describes_nobody() {
            let nowhere = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("no-such-directory");
            assert!(Probe::open(&nowhere, this_thread().unwrap()).is_none());
        }

        #[test]
        fn text_that_is_no_statistics_is_refused() {
            let file = || File::open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
            assert_eq!(Probe { schedstat: file(), syscall: None }.read(), None);
            // And such a text instead of the number of a call says nothing.
            assert_eq!(Probe { schedstat: file(), syscall: Some(file()) }.waits(), Some(Wait::Unknown));
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use super::Reading;
    use std::path::Path;

    /// Not needed where no thread is described.
    pub(in super::super) fn this_thread() -> Option<u32> {
        None
    }

    /// Not asked.
    pub(in super::super) fn open_files_max() -> Option<usize> {
        None
    }

    /// Of which there is none.
    pub(in super::super) enum Probe {}

    impl Probe {
        /// Never one.
        pub(in super::super) fn open(_threads: &Path, _thread: u32) -> Option<Self> {
            None
        }

        /// Never asked.
        pub(in super::super) fn read(&self) -> Option<Reading> {
            match *self {}
        }
    }
}
