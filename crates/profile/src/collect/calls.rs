//! From the number and the arguments of a system call to what is waited for.
//!
//! [`numbers`] says what a call is. Whatever is not known there stays [`Call::Other`].

use std::collections::{HashMap, HashSet};
use std::io::IoSliceMut;
use std::time::{Duration, Instant};

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::numbers::{self, Asks, asks};
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
        let name = numbers::name(std::env::consts::ARCH, number);
        match name.map_or(Asks::Else, asks) {
            Asks::Futex => futex(a, is_thread).unwrap_or_else(|| other(number, name)),
            Asks::Sleep => Call::Sleep,
            Asks::Child => Call::Child,
            Asks::Epoll { pointer } => {
                let mut on = Watched::default();
                for (fd, inode) in proc::epoll_set(pid, a[0]) {
                    on.add(self.socket(pid, fd, inode));
                }
                // A time limit in milliseconds, of which -1 is none; or a pointer to one.
                let timed = if pointer { a[3] != 0 } else { a[3] as u32 as i32 >= 0 };
                poll(on, timed)
            }
            Asks::Poll { pointer } => {
                self.polled(pid, a[0], a[1], if pointer { a[2] != 0 } else { a[2] as u32 as i32 >= 0 })
            }
            Asks::Select => self.selected(pid, a),
            Asks::Accept => Call::Accept,
            Asks::Descriptor(verb) => self.descriptor(pid, a[0], verb),
            Asks::Files(verb) => Call::File { path: String::new(), verb },
            Asks::FileLock => match proc::link(pid, a[0]) {
                Some(Link::Path(of)) => Call::SystemLock { of },
                _ => other(number, name),
            },
            Asks::SystemV => Call::SystemLock { of: "System V".to_owned() },
            Asks::Else if blocked_on_disk() => Call::File { path: String::new(), verb: Verb::Read },
            Asks::Else => other(number, name),
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

/// `None` for an operation that does not wait.
fn futex(a: &[u64; 6], is_thread: impl Fn(u32) -> bool) -> Option<Call> {
    let [address, operation, value, timeout, ..] = *a;
    if !FUTEX_WAITS.contains(&(operation & FUTEX_OPERATION)) {
        return None;
    }
    // The kernel clears a thread's id at its end, which is shared and not private, and wakes whoever joins it.
    let joined = u32::try_from(value).ok().filter(|tid| operation & FUTEX_PRIVATE == 0 && is_thread(*tid));
    if let Some(tid) = joined {
        return Some(Call::Join { tid });
    }
    Some(Call::Futex { line: address / CACHE_LINE * CACHE_LINE, timed: timeout != 0 })
}

fn other(number: i64, name: Option<&str>) -> Call {
    Call::Other { number, name: name.unwrap_or_default().to_owned() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_is_a_shared_wait_for_a_living_threads_id() {
        let join = [0x7f40, 0x109, 77, 0, 0, 0];
        assert_eq!(futex(&join, |tid| tid == 77), Some(Call::Join { tid: 77 }));
        assert_eq!(futex(&join, |_| false), Some(Call::Futex { line: 0x7f40, timed: false }));
        let private = [0x7f44, 0x189, 77, 0, 0, 0];
        assert_eq!(futex(&private, |_| true), Some(Call::Futex { line: 0x7f40, timed: false }));
        let timed = [0x7f44, 0x80, 2, 0x7ff, 0, 0];
        assert_eq!(futex(&timed, |_| true), Some(Call::Futex { line: 0x7f40, timed: true }));
        let wakes = [0x7f44, 0x81, 1, 0, 0, 0];
        assert_eq!(futex(&wakes, |_| true), None);
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
