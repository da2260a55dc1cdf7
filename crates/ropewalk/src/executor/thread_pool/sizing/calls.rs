//! Which system call waits for what.

/// What a thread does that is not on a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// For something outside of this process: a device, another machine, a time. Another worker could run meanwhile.
    Outside(&'static str),
    /// For a lock of this process or of the system, for memory, or for the end of a child: another worker would only wait as
    /// well. (A job that waits in `Command::output` is outside: it reads what its child writes, and nothing tells the two apart.)
    Lock,
    /// The system does not say.
    Unknown,
}

/// A call that is in neither list.
const OTHER_CALL: &str = "a system call";

/// What the call with this number waits for.
pub(super) fn wait_of(number: i64) -> Wait {
    // -1 is no call: as a rule a page fault, of a file that is read in, or of memory that is short, where more workers do harm.
    if number < 0 || TABLE.is_empty() {
        return Wait::Unknown;
    }
    match TABLE.iter().find(|(call, _)| *call == number) {
        Some((_, wait)) => *wait,
        None => Wait::Outside(OTHER_CALL),
    }
}

macro_rules! calls {
    ($($number:literal $wait:ident $($name:literal)?;)+) => { &[$(($number, calls!(@ $wait $($name)?))),+] };
    (@ lock) => { Wait::Lock };
    (@ lock $name:literal) => { Wait::Lock };
    (@ outside $name:literal) => { Wait::Outside($name) };
}

/// The numbers of arch/x86/entry/syscalls/syscall_64.tbl.
#[cfg(all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64"))]
const TABLE: &[(i64, Wait)] = calls! {
    0 outside "read"; 1 outside "write"; 2 outside "open"; 4 outside "stat"; 7 outside "poll"; 9 lock "mmap";
    10 lock "mprotect"; 11 lock "munmap"; 12 lock "brk"; 17 outside "pread"; 18 outside "pwrite"; 19 outside "readv";
    20 outside "writev"; 23 outside "select"; 25 lock "mremap"; 28 lock "madvise"; 35 outside "nanosleep";
    40 outside "sendfile"; 42 outside "connect"; 43 outside "accept"; 44 outside "sendto"; 45 outside "recvfrom";
    46 outside "sendmsg"; 47 outside "recvmsg"; 61 lock "wait4"; 65 lock "semop"; 72 lock "fcntl"; 73 lock "flock";
    74 outside "fsync"; 75 outside "fdatasync"; 202 lock "futex"; 220 lock "semtimedop"; 230 outside "clock_nanosleep";
    232 outside "epoll_wait"; 247 lock "waitid"; 257 outside "openat"; 262 outside "newfstatat"; 270 outside "pselect";
    271 outside "ppoll"; 281 outside "epoll_pwait"; 288 outside "accept4"; 326 outside "copy_file_range";
    332 outside "statx"; 426 outside "io_uring_enter"; 449 lock "futex_waitv"; 455 lock "futex_wait";
};

/// The numbers of include/uapi/asm-generic/unistd.h.
#[cfg(all(target_os = "linux", any(target_arch = "aarch64", target_arch = "riscv64"), target_pointer_width = "64"))]
const TABLE: &[(i64, Wait)] = calls! {
    22 outside "epoll_pwait"; 25 lock "fcntl"; 32 lock "flock"; 56 outside "openat"; 63 outside "read";
    64 outside "write"; 65 outside "readv"; 66 outside "writev"; 67 outside "pread"; 68 outside "pwrite";
    71 outside "sendfile"; 72 outside "pselect"; 73 outside "ppoll"; 79 outside "newfstatat"; 82 outside "fsync";
    83 outside "fdatasync"; 95 lock "waitid"; 98 lock "futex"; 101 outside "nanosleep"; 115 outside "clock_nanosleep";
    192 lock "semtimedop"; 193 lock "semop"; 202 outside "accept"; 203 outside "connect"; 206 outside "sendto";
    207 outside "recvfrom"; 211 outside "sendmsg"; 212 outside "recvmsg"; 214 lock "brk"; 215 lock "munmap";
    216 lock "mremap"; 222 lock "mmap"; 226 lock "mprotect"; 233 lock "madvise"; 242 outside "accept4"; 260 lock "wait4";
    285 outside "copy_file_range"; 291 outside "statx"; 426 outside "io_uring_enter"; 449 lock "futex_waitv";
    455 lock "futex_wait";
};

/// Elsewhere the numbers are not known, and no growth is based on them.
#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")
)))]
const TABLE: &[(i64, Wait)] = &[];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_listed_once() {
        for (index, (number, _)) in TABLE.iter().enumerate() {
            assert!(TABLE[..index].iter().all(|(other, _)| other < number), "{number} is out of order");
        }
    }

    #[test]
    fn page_fault_says_nothing() {
        assert_eq!(wait_of(-1), Wait::Unknown);
    }

    /// Calls for memory wait for each other, and for memory.
    #[cfg(all(target_os = "linux", target_arch = "x86_64", target_pointer_width = "64"))]
    #[test]
    fn call_for_memory_is_no_reason_to_grow() {
        for number in [9, 10, 11, 12, 25, 28] {
            assert_eq!(wait_of(number), Wait::Lock, "{number}");
        }
    }
}
