//! From the number and the arguments of a system call to what is waited for.
//!
//! The numbers are those of the architecture this was compiled for. Whatever is not listed stays [`Call::Other`].

use std::collections::{HashMap, HashSet};
use std::io::IoSliceMut;
use std::time::{Duration, Instant};

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::proc::{self, Link, Socket};
use crate::recording::{Call, Verb, Watched};

/// Descriptors of one poll or select that are looked at.
const POLLED_MAX: usize = 256;
/// The tables of sockets are read again for an unknown socket no sooner than after this many times what that costs.
const TABLE_REST: u32 = 30;
/// How long what was known about ports is believed.
const PORTS_EVERY: Duration = Duration::from_secs(2);
/// Sockets that are remembered.
const SOCKETS_MAX: usize = 20_000;

/// The bits of a futex operation that are no operation, and the operations that wait.
const FUTEX_OPERATION: u64 = 0x7f;
const FUTEX_PRIVATE: u64 = 128;
const FUTEX_WAITS: [u64; 4] = [0, 6, 9, 11];
const CACHE_LINE: u64 = 64;

/// Resolves calls, and remembers sockets.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    sockets: HashMap<u64, Socket>,
    ports: Option<(Instant, HashSet<u16>)>,
    read: Option<(Instant, Duration)>,
}

impl Resolver {
    /// What thread of `pid` waits for in this call. `blocked_on_disk` is the kernel's word for it.
    pub(super) fn resolve(
        &mut self,
        pid: u32,
        number: i64,
        a: &[u64; 6],
        blocked_on_disk: impl Fn() -> bool,
        is_thread: impl Fn(u32) -> bool,
    ) -> Call {
        let n = number;
        match () {
            () if n == libc::SYS_futex => futex(a, is_thread),
            () if is(n, &[libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_rt_sigtimedwait]) => Call::Sleep,
            () if is(n, &[libc::SYS_wait4, libc::SYS_waitid, libc::SYS_clone]) || is_vfork(n) => Call::Child,
            () if is(n, &[libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2]) || is_epoll_wait(n) => {
                let mut on = Watched::default();
                for (fd, inode) in proc::epoll_set(pid, a[0]) {
                    on.add(self.socket(pid, fd, inode));
                }
                // A time limit in milliseconds; -1 is none. (epoll_pwait2 has a pointer.)
                let timed = if n == libc::SYS_epoll_pwait2 { a[3] != 0 } else { a[3] as u32 as i32 >= 0 };
                poll(on, timed)
            }
            () if n == libc::SYS_ppoll => self.polled(pid, a[0], a[1], a[2] != 0),
            () if is_poll(n) => self.polled(pid, a[0], a[1], a[2] as u32 as i32 >= 0),
            () if n == libc::SYS_pselect6 || is_select(n) => self.selected(pid, a),
            () if is(n, &[libc::SYS_accept, libc::SYS_accept4]) => Call::Accept,
            () if n == libc::SYS_connect => self.descriptor(pid, a[0], Verb::Connect),
            () if is(n, &[libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_sync_file_range]) => {
                self.descriptor(pid, a[0], Verb::Sync)
            }
            () if is(n, &[libc::SYS_sync, libc::SYS_syncfs, libc::SYS_msync]) => {
                Call::File { path: String::new(), verb: Verb::Sync }
            }
            () if is(n, READS) => self.descriptor(pid, a[0], Verb::Read),
            () if is(n, WRITES) => self.descriptor(pid, a[0], Verb::Write),
            () if is(n, NAMES) || is_old_name(n) => Call::File { path: String::new(), verb: Verb::Name },
            () if is(n, &[libc::SYS_flock, libc::SYS_fcntl]) => match proc::link(pid, a[0]) {
                Some(Link::Path(of)) => Call::SystemLock { of },
                _ => Call::Other { number },
            },
            () if is(n, &[libc::SYS_semop, libc::SYS_semtimedop, libc::SYS_msgrcv, libc::SYS_msgsnd]) => {
                Call::SystemLock { of: "System V".to_owned() }
            }
            () if blocked_on_disk() => Call::File { path: String::new(), verb: Verb::Read },
            () => Call::Other { number },
        }
    }

    fn descriptor(&mut self, pid: u32, fd: u64, verb: Verb) -> Call {
        // Arguments are registers; a descriptor is their lower half.
        match proc::link(pid, fd & 0xffff_ffff) {
            Some(Link::Socket(inode)) => match self.socket(pid, fd & 0xffff_ffff, inode) {
                Some(Socket::Accepted) if verb == Verb::Read => Call::Accept,
                Some(Socket::Listening) => Call::Accept,
                Some(Socket::Outward { peer }) => Call::Socket { peer: peer.clone(), verb },
                _ => Call::Socket { peer: String::new(), verb },
            },
            Some(Link::Pipe(inode)) => Call::Pipe { inode, verb },
            Some(Link::Anonymous(kind)) if kind.contains("timer") => Call::Sleep,
            Some(Link::Anonymous(_) | Link::Epoll) => {
                Call::Poll { on: Watched { others: 1, ..Watched::default() }, timed: false }
            }
            Some(Link::Path(path)) if is_terminal(&path) => Call::Terminal,
            Some(Link::Path(path)) => Call::File { path, verb },
            None => Call::Socket { peer: String::new(), verb },
        }
    }

    /// A `poll`: an array of (descriptor, events asked, events had) in the other process.
    fn polled(&mut self, pid: u32, array: u64, length: u64, timed: bool) -> Call {
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(POLLED_MAX);
        let mut bytes = vec![0; 8 * length];
        let read = read_memory(pid, array, &mut bytes);
        let fds = bytes[..read].chunks_exact(8).map(|c| i32::from_ne_bytes([c[0], c[1], c[2], c[3]]));
        let fds: Vec<u64> = fds.filter_map(|fd| u64::try_from(fd).ok()).collect();
        self.any_of(pid, &fds, timed)
    }

    /// A `select`: bit sets of descriptors.
    fn selected(&mut self, pid: u32, a: &[u64; 6]) -> Call {
        let limit = usize::try_from(a[0] & 0xffff_ffff).unwrap_or(usize::MAX).min(1024);
        let mut fds = Vec::new();
        for set in [a[1], a[2]].into_iter().filter(|set| *set != 0) {
            let mut bits = vec![0; limit.div_ceil(8)];
            let read = read_memory(pid, set, &mut bits);
            fds.extend((0..limit.min(8 * read)).filter(|fd| bits[fd / 8] >> (fd % 8) & 1 == 1).map(|fd| fd as u64));
        }
        fds.truncate(POLLED_MAX);
        self.any_of(pid, &fds, a[4] != 0)
    }

    fn any_of(&mut self, pid: u32, fds: &[u64], timed: bool) -> Call {
        if let [fd] = fds {
            // With one descriptor it is that descriptor's wait.
            return match self.descriptor(pid, *fd, Verb::Read) {
                Call::Poll { on, .. } => Call::Poll { on, timed },
                call => call,
            };
        }
        let mut on = Watched::default();
        for fd in fds {
            match proc::link(pid, *fd) {
                Some(Link::Socket(inode)) => on.add(self.socket(pid, *fd, inode)),
                Some(Link::Path(path)) if is_terminal(&path) => return Call::Terminal,
                _ => on.others += 1,
            }
        }
        poll(on, timed)
    }

    /// What is known of a socket. One that is new is asked for; where that is refused, the tables are read again as often as is
    /// cheap.
    pub(super) fn socket(&mut self, pid: u32, fd: u64, inode: u64) -> Option<&Socket> {
        if !self.sockets.contains_key(&inode) {
            if self.sockets.len() > SOCKETS_MAX {
                self.sockets.clear();
            }
            if self.ports.as_ref().is_none_or(|(when, _)| when.elapsed() > PORTS_EVERY) {
                self.ports = Some((Instant::now(), proc::listening_ports(pid)));
            }
            let listens = |port: u16| self.ports.as_ref().is_some_and(|(_, ports)| ports.contains(&port));
            if let Some(socket) = proc::socket(pid, fd, listens) {
                self.sockets.insert(inode, socket);
            } else if self.read.is_none_or(|(when, cost)| when.elapsed() > cost * TABLE_REST) {
                let begin = Instant::now();
                self.sockets = proc::sockets(pid);
                self.read = Some((Instant::now(), begin.elapsed()));
            }
        }
        self.sockets.get(&inode)
    }
}

fn poll(on: Watched, timed: bool) -> Call {
    // Nothing to be ready, and a time limit: the usual way to sleep before there was one.
    if timed && on == Watched::default() { Call::Sleep } else { Call::Poll { on, timed } }
}

fn futex(a: &[u64; 6], is_thread: impl Fn(u32) -> bool) -> Call {
    let [address, operation, value, timeout, ..] = *a;
    if !FUTEX_WAITS.contains(&(operation & FUTEX_OPERATION)) {
        return Call::Other { number: libc::SYS_futex };
    }
    // The kernel clears a thread's id at its end, which is shared and not private, and wakes whoever joins it.
    let joined = u32::try_from(value).ok().filter(|tid| operation & FUTEX_PRIVATE == 0 && is_thread(*tid));
    if let Some(tid) = joined {
        return Call::Join { tid };
    }
    Call::Futex { line: address / CACHE_LINE * CACHE_LINE, timed: timeout != 0 }
}

fn is_terminal(path: &str) -> bool {
    path.starts_with("/dev/pts/") || path.starts_with("/dev/tty") || path == "/dev/console"
}

/// Reads memory of another process; how many bytes came.
fn read_memory(pid: u32, address: u64, into: &mut [u8]) -> usize {
    let (Ok(pid), Ok(base)) = (i32::try_from(pid), usize::try_from(address)) else { return 0 };
    let remote = [RemoteIoVec { base, len: into.len() }];
    process_vm_readv(Pid::from_raw(pid), &mut [IoSliceMut::new(into)], &remote).unwrap_or(0)
}

fn is(number: i64, any: &[i64]) -> bool {
    any.contains(&number)
}

const READS: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_getdents64,
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_copy_file_range,
    libc::SYS_fstat,
    libc::SYS_readahead,
    libc::SYS_io_getevents,
];

const WRITES: &[i64] = &[
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendfile,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_vmsplice,
];

const NAMES: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_faccessat,
    libc::SYS_fchmodat,
    libc::SYS_execve,
];

// Calls that only the older architecture has.
#[cfg(target_arch = "x86_64")]
mod old {
    pub(super) const VFORK: &[i64] = &[libc::SYS_vfork, libc::SYS_fork];
    pub(super) const EPOLL: &[i64] = &[libc::SYS_epoll_wait];
    pub(super) const POLL: &[i64] = &[libc::SYS_poll];
    pub(super) const SELECT: &[i64] = &[libc::SYS_select];
    pub(super) const NAMES: &[i64] = &[
        libc::SYS_open,
        libc::SYS_stat,
        libc::SYS_lstat,
        libc::SYS_access,
        libc::SYS_unlink,
        libc::SYS_mkdir,
        libc::SYS_rmdir,
        libc::SYS_rename,
        libc::SYS_link,
        libc::SYS_symlink,
        libc::SYS_readlink,
    ];
}
#[cfg(not(target_arch = "x86_64"))]
mod old {
    pub(super) const VFORK: &[i64] = &[];
    pub(super) const EPOLL: &[i64] = &[];
    pub(super) const POLL: &[i64] = &[];
    pub(super) const SELECT: &[i64] = &[];
    pub(super) const NAMES: &[i64] = &[];
}

fn is_vfork(n: i64) -> bool {
    is(n, old::VFORK)
}

fn is_epoll_wait(n: i64) -> bool {
    is(n, old::EPOLL)
}

fn is_poll(n: i64) -> bool {
    is(n, old::POLL)
}

fn is_select(n: i64) -> bool {
    is(n, old::SELECT)
}

fn is_old_name(n: i64) -> bool {
    is(n, old::NAMES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_is_a_shared_wait_for_a_living_threads_id() {
        let join = [0x7f40, 0x109, 77, 0, 0, 0];
        assert_eq!(futex(&join, |tid| tid == 77), Call::Join { tid: 77 });
        assert_eq!(futex(&join, |_| false), Call::Futex { line: 0x7f40, timed: false });
        let private = [0x7f44, 0x189, 77, 0, 0, 0];
        assert_eq!(futex(&private, |_| true), Call::Futex { line: 0x7f40, timed: false });
        let timed = [0x7f44, 0x80, 2, 0x7ff, 0, 0];
        assert_eq!(futex(&timed, |_| true), Call::Futex { line: 0x7f40, timed: true });
    }

    #[test]
    fn two_words_of_one_lock_are_one_line() {
        let of = |address| futex(&[address, 0x80, 2, 0, 0, 0], |_| false);
        assert_eq!(of(0x6f0), of(0x6f4));
        assert_ne!(of(0x6f0), of(0x730));
    }

    #[test]
    fn poll_on_nothing_with_a_limit_is_a_sleep() {
        assert_eq!(poll(Watched::default(), true), Call::Sleep);
        assert!(matches!(poll(Watched::default(), false), Call::Poll { .. }));
    }

    #[test]
    fn descriptors_of_a_poll_are_read_from_its_process() {
        use std::os::fd::AsRawFd as _;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let client = std::net::TcpStream::connect(address).expect("it listens");
        let mut array = Vec::new();
        array.extend(client.as_raw_fd().to_ne_bytes());
        array.extend([1, 0, 0, 0]);
        array.extend(listener.as_raw_fd().to_ne_bytes());
        array.extend([1, 0, 0, 0]);
        let me = std::process::id();
        let call = Resolver::default().polled(me, array.as_ptr() as u64, 2, true);
        let on = Watched { sockets: 1, listening: 1, peers: vec![address.to_string()], ..Watched::default() };
        assert_eq!(call, Call::Poll { on, timed: true });
        let one = Resolver::default().polled(me, array.as_ptr() as u64, 1, true);
        assert_eq!(one, Call::Socket { peer: address.to_string(), verb: Verb::Read });
    }
}
