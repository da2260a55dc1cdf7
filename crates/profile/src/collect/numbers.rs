//! What a system call waits for, by its number: from the tables of both architectures, whichever this was compiled for, to a
//! name, and from the name to what its arguments mean.

use syscalls::{aarch64, x86_64};

use crate::recording::Verb;

/// What a call asks for, as far as that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// A word of memory.
    Futex,
    /// Time to pass.
    Sleep,
    /// A child to end, or to go on by itself.
    Child,
    /// Any of a set of descriptors. Its time limit is behind a pointer, or a number.
    Epoll { pointer: bool },
    /// Any of an array of descriptors; likewise.
    Poll { pointer: bool },
    /// Any of bit sets of descriptors.
    Select,
    /// A client.
    Accept,
    /// Something of the descriptor that is the first argument.
    Descriptor(Verb),
    /// Something of files that no descriptor names.
    Files(Verb),
    /// A lock on a file.
    FileLock,
    /// A semaphore or a message of System V.
    SystemV,
    /// Anything else.
    Else,
}

/// The name of a call of an architecture, as [`std::env::consts::ARCH`] spells it; `None` for one that is not known.
pub(super) fn name(architecture: &str, number: i64) -> Option<&'static str> {
    let number = usize::try_from(number).ok()?;
    match architecture {
        "x86_64" => x86_64::Sysno::new(number).map(|call| call.name()),
        "aarch64" => aarch64::Sysno::new(number).map(|call| call.name()),
        _ => None,
    }
}

/// What the call of this name asks for. Those that the older architecture alone has are here as well.
pub(super) fn asks(name: &str) -> Asks {
    match name {
        "futex" => Asks::Futex,
        "nanosleep" | "clock_nanosleep" | "rt_sigtimedwait" => Asks::Sleep,
        "wait4" | "waitid" | "clone" | "clone3" | "fork" | "vfork" => Asks::Child,
        "epoll_wait" | "epoll_pwait" => Asks::Epoll { pointer: false },
        "epoll_pwait2" => Asks::Epoll { pointer: true },
        "poll" => Asks::Poll { pointer: false },
        "ppoll" => Asks::Poll { pointer: true },
        "select" | "pselect6" => Asks::Select,
        "accept" | "accept4" => Asks::Accept,
        "connect" => Asks::Descriptor(Verb::Connect),
        "fsync" | "fdatasync" | "sync_file_range" => Asks::Descriptor(Verb::Sync),
        "read" | "readv" | "pread64" | "preadv" | "preadv2" | "recvfrom" | "recvmsg" | "recvmmsg" | "getdents64"
        | "splice" | "tee" | "copy_file_range" | "fstat" | "readahead" => Asks::Descriptor(Verb::Read),
        "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" | "sendto" | "sendmsg" | "sendmmsg" | "sendfile"
        | "ftruncate" | "fallocate" | "vmsplice" => Asks::Descriptor(Verb::Write),
        "sync" | "syncfs" | "msync" => Asks::Files(Verb::Sync),
        // Its first argument names a queue of requests, which are to files.
        "io_getevents" | "io_pgetevents" => Asks::Files(Verb::Read),
        "openat" | "openat2" | "statx" | "newfstatat" | "fstatat" | "unlinkat" | "mkdirat" | "renameat"
        | "renameat2" | "linkat" | "symlinkat" | "readlinkat" | "faccessat" | "faccessat2" | "fchmodat" | "execve"
        | "execveat" | "open" | "stat" | "lstat" | "access" | "unlink" | "mkdir" | "rmdir" | "rename" | "link"
        | "symlink" | "readlink" | "creat" => Asks::Files(Verb::Name),
        "flock" | "fcntl" => Asks::FileLock,
        "semop" | "semtimedop" | "msgrcv" | "msgsnd" => Asks::SystemV,
        _ => Asks::Else,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_wait_have_their_numbers_on_both_architectures() {
        // (name, x86-64, aarch64), as the kernel's own tables have them.
        let both = [
            ("futex", 202, 98),
            ("nanosleep", 35, 101),
            ("clock_nanosleep", 230, 115),
            ("wait4", 61, 260),
            ("waitid", 247, 95),
            ("epoll_pwait", 281, 22),
            ("epoll_pwait2", 441, 441),
            ("ppoll", 271, 73),
            ("pselect6", 270, 72),
            ("accept", 43, 202),
            ("accept4", 288, 242),
            ("connect", 42, 203),
            ("fsync", 74, 82),
            ("fdatasync", 75, 83),
            ("read", 0, 63),
            ("write", 1, 64),
            ("recvfrom", 45, 207),
            ("sendto", 44, 206),
            ("recvmsg", 47, 212),
            ("openat", 257, 56),
            ("flock", 73, 32),
            ("fcntl", 72, 25),
            ("semop", 65, 193),
            ("splice", 275, 76),
            ("sendfile", 40, 71),
            ("io_uring_enter", 426, 426),
        ];
        for (word, old, new) in both {
            assert_eq!((name("x86_64", old), name("aarch64", new)), (Some(word), Some(word)));
            assert!(asks(word) != Asks::Else || word == "io_uring_enter", "{word}");
        }
        assert_eq!(name("riscv64", 98), None);
        assert_eq!(name("x86_64", 100_000), None);
        assert_eq!(name("aarch64", -1), None);
    }

    #[test]
    fn the_table_of_this_machine_is_the_one_it_was_compiled_for() {
        let here = |number| name(std::env::consts::ARCH, number);
        assert_eq!(here(libc::SYS_futex), Some("futex"));
        assert_eq!(here(libc::SYS_epoll_pwait), Some("epoll_pwait"));
        assert_eq!(here(libc::SYS_clock_nanosleep), Some("clock_nanosleep"));
    }

    #[test]
    fn every_call_that_is_known_by_name_exists_somewhere() {
        // A name that is misspelt above would never be met.
        let old: Vec<&str> = x86_64::Sysno::iter().map(|call| call.name()).filter(|n| asks(n) != Asks::Else).collect();
        let new: Vec<&str> = aarch64::Sysno::iter().map(|call| call.name()).filter(|n| asks(n) != Asks::Else).collect();
        assert_eq!((old.len(), new.len()), (KNOWN_OLD, KNOWN_NEW), "{old:?}\n{new:?}");
        // What the newer one lacks, it has under a name that is known too.
        for (gone, instead) in [
            ("poll", "ppoll"),
            ("select", "pselect6"),
            ("epoll_wait", "epoll_pwait"),
            ("open", "openat"),
            ("fork", "clone"),
        ] {
            assert!(!new.contains(&gone) && new.contains(&instead), "{gone}");
        }
    }

    const KNOWN_OLD: usize = 88;
    const KNOWN_NEW: usize = 71;
}
