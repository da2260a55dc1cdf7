//! Reading `/proc`: files kept open, and the forms of those that are read.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::recording::Watched;

/// Longest content of the small files read here.
const SMALL: usize = 512;
/// Peers named of one set of sockets.
const PEERS_MAX: usize = 8;

/// A file of `/proc` that is read again and again: kept open while there are descriptors for that.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    file: Option<File>,
}

impl Kept {
    /// `keep` says whether there is a descriptor for it.
    pub(super) fn new(path: PathBuf, keep: bool) -> io::Result<Kept> {
        let file = if keep { Some(File::open(&path)?) } else { None };
        Ok(Kept { path, file })
    }

    /// What it says now.
    pub(super) fn read<'b>(&self, buffer: &'b mut [u8; SMALL]) -> io::Result<&'b str> {
        let length = match &self.file {
            Some(file) => file.read_at(buffer, 0)?,
            None => File::open(&self.path)?.read_at(buffer, 0)?,
        };
        // Names may hold anything; the numbers around them are ASCII.
        std::str::from_utf8(&buffer[..length]).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    }
}

/// Room for [`Kept::read`].
pub(super) fn buffer() -> [u8; SMALL] {
    [0; SMALL]
}

/// `schedstat`: nanoseconds on a processor, nanoseconds ready for one, times it got one.
pub(super) fn schedstat(text: &str) -> Option<(u64, u64, u64)> {
    let mut numbers = text.split_ascii_whitespace().map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

/// What `syscall` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syscall {
    /// On a processor, or ready for one.
    Running,
    /// Blocked outside any call: a page fault, a stop.
    Outside,
    /// Blocked in this call.
    In { number: i64, arguments: [u64; 6] },
}

pub(super) fn syscall(text: &str) -> Option<Syscall> {
    let mut words = text.split_ascii_whitespace();
    let first = words.next()?;
    if first == "running" {
        return Some(Syscall::Running);
    }
    let number: i64 = first.parse().ok()?;
    if number < 0 {
        return Some(Syscall::Outside);
    }
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        *argument = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    }
    Some(Syscall::In { number, arguments })
}

/// The state letter and the parent in `stat`, whose second field is a name that may hold anything.
pub(super) fn stat(text: &str) -> Option<(char, u32)> {
    let rest = &text[text.rfind(')')? + 1..];
    let mut words = rest.split_ascii_whitespace();
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

/// A whole file of `/proc/<pid>`, `None` when the process has gone or may not be looked at.
pub(super) fn text(pid: u32, name: &str) -> Option<String> {
    std::fs::read(format!("/proc/{pid}/{name}")).ok().map(|b| String::from_utf8_lossy(&b).into_owned())
}

/// What a descriptor of a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    Socket(u64),
    Pipe(u64),
    Epoll,
    /// An eventfd, a timerfd and their kin, with the kernel's name.
    Anonymous(String),
    Path(String),
}

pub(super) fn link(pid: u32, fd: u64) -> Option<Link> {
    let target = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
    Some(link_of(&target.to_string_lossy()))
}

pub(super) fn link_of(target: &str) -> Link {
    let inode = |kind: &str| target.strip_prefix(kind)?.strip_prefix(":[")?.strip_suffix(']')?.parse().ok();
    if let Some(inode) = inode("socket") {
        Link::Socket(inode)
    } else if let Some(inode) = inode("pipe") {
        Link::Pipe(inode)
    } else if target == "anon_inode:[eventpoll]" {
        Link::Epoll
    } else if let Some(kind) = target.strip_prefix("anon_inode:") {
        Link::Anonymous(kind.to_owned())
    } else {
        Link::Path(target.to_owned())
    }
}

/// A socket, as the tables below `/proc/net` know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Socket {
    /// Accepts connections.
    Listening,
    /// One end of a connection that we, or the program, asked for.
    Outward { peer: String },
    /// One end of a connection that was accepted: the peer is a client.
    Accepted,
    /// Connected to nobody, or to somebody without a name.
    Unnamed,
}

/// The sockets of a network namespace by inode.
pub(super) fn sockets(pid: u32) -> HashMap<u64, Socket> {
    let mut all = HashMap::new();
    let mut listens = Vec::new();
    let mut connected = Vec::new();
    for (name, stream) in [("net/tcp", true), ("net/tcp6", true), ("net/udp", false), ("net/udp6", false)] {
        for line in text(pid, name).unwrap_or_default().lines().skip(1) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let [_, local, remote, state, ..] = words.as_slice() else { continue };
            let (Some(local), Some(remote)) = (address(local), address(remote)) else { continue };
            let Some(inode) = words.get(9).and_then(|i| i.parse::<u64>().ok()) else { continue };
            if stream && *state == "0A" {
                listens.push(local.port());
                all.insert(inode, Socket::Listening);
            } else if remote.port() == 0 {
                all.insert(inode, if stream { Socket::Unnamed } else { Socket::Listening });
            } else {
                connected.push((inode, local.port(), remote));
            }
        }
    }
    for (inode, local, remote) in connected {
        let accepted = listens.contains(&local);
        let socket = if accepted { Socket::Accepted } else { Socket::Outward { peer: remote.to_string() } };
        all.insert(inode, socket);
    }
    for line in text(pid, "net/unix").unwrap_or_default().lines().skip(1) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (Some(flags), Some(inode)) = (words.get(3), words.get(6).and_then(|i| i.parse().ok())) else { continue };
        // An accepted end carries the name of the listening one.
        let socket = match (u32::from_str_radix(flags, 16), words.get(7)) {
            (Ok(flags), _) if flags & 0x1_0000 != 0 => Socket::Listening,
            (_, Some(_)) => Socket::Accepted,
            _ => Socket::Unnamed,
        };
        all.insert(inode, socket);
    }
    all
}

/// One socket of a process, asked for by itself: cheap however many sockets the machine has, and it names the peer of a Unix
/// socket, which the tables do not. `listens` says whether somebody accepts connections on a port. `None` where the kernel
/// refuses, or is older than 5.6.
///
/// We hold a second descriptor of it for a moment, and do nothing with it but ask.
pub(super) fn socket(pid: u32, fd: u64, listens: impl Fn(u16) -> bool) -> Option<Socket> {
    let process = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
    let process = rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty()).ok()?;
    let flags = rustix::process::PidfdGetfdFlags::empty();
    let held = rustix::process::pidfd_getfd(process, i32::try_from(fd).ok()?, flags).ok()?;
    let stream = TcpStream::from(held);
    if let Ok(local) = stream.local_addr() {
        return Some(match stream.peer_addr() {
            Ok(_) if listens(local.port()) => Socket::Accepted,
            Ok(peer) => Socket::Outward { peer: plain(peer).to_string() },
            // Still on its way: its peer is known only when it has arrived.
            Err(_) if !listens(local.port()) => return None,
            Err(_) => Socket::Listening,
        });
    }
    let stream = UnixStream::from(OwnedFd::from(stream));
    let path = |a: io::Result<std::os::unix::net::SocketAddr>| a.ok()?.as_pathname().map(Path::to_path_buf);
    Some(match (path(stream.peer_addr()), path(stream.local_addr())) {
        (Some(peer), _) => Socket::Outward { peer: peer.to_string_lossy().into_owned() },
        (None, Some(_)) if stream.peer_addr().is_ok() => Socket::Accepted,
        (None, Some(_)) => Socket::Listening,
        (None, None) => Socket::Unnamed,
    })
}

/// What speaks IPv4 through an IPv6 socket is IPv4.
fn plain(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::from((v4, v6.port())),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

/// The ports of a network namespace on which somebody accepts connections, as far as they are in tables of streams.
pub(super) fn listening_ports(pid: u32) -> HashSet<u16> {
    let mut ports = HashSet::new();
    for name in ["net/tcp", "net/tcp6"] {
        for line in text(pid, name).unwrap_or_default().lines().skip(1) {
            let mut words = line.split_ascii_whitespace().skip(1);
            let (local, state) = (words.next(), words.nth(1));
            match (local.and_then(address), state) {
                (Some(local), Some("0A")) => drop(ports.insert(local.port())),
                // Listening sockets come first in these tables.
                _ => break,
            }
        }
    }
    ports
}

/// `0100007F:1F90`, as the kernel writes it: words in the machine's own order of bytes.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(host.get(at..at + 8)?, 16).ok();
    if host.len() == 8 {
        return Some(SocketAddr::from((Ipv4Addr::from(word(0)?.to_ne_bytes()), port)));
    }
    let mut bytes = [0; 16];
    for (i, chunk) in bytes.chunks_exact_mut(4).enumerate() {
        chunk.copy_from_slice(&word(8 * i)?.to_ne_bytes());
    }
    Some(plain(SocketAddr::from((Ipv6Addr::from(bytes), port))))
}

/// Descriptors and inodes in the set of an epoll descriptor.
pub(super) fn epoll_set(pid: u32, fd: u64) -> Vec<(u64, u64)> {
    let info = text(pid, &format!("fdinfo/{fd}")).unwrap_or_default();
    let entry = |line: &str| {
        let fd = line.strip_prefix("tfd:")?.split_ascii_whitespace().next()?.parse().ok()?;
        let at = line.find("ino:")?;
        Some((fd, u64::from_str_radix(line[at + 4..].split_ascii_whitespace().next()?, 16).ok()?))
    };
    info.lines().filter_map(entry).collect()
}

impl Watched {
    /// Counts one socket.
    pub(super) fn add(&mut self, socket: Option<&Socket>) {
        match socket {
            Some(Socket::Listening) => self.listening += 1,
            Some(Socket::Outward { peer }) => {
                self.sockets += 1;
                if self.peers.len() < PEERS_MAX && !self.peers.contains(peer) {
                    self.peers.push(peer.clone());
                    self.peers.sort();
                }
            }
            Some(Socket::Accepted) => {
                self.sockets += 1;
                self.accepted += 1;
            }
            Some(Socket::Unnamed) | None => self.others += 1,
        }
    }
}

/// What the kernel counts for the whole machine. Times are in ticks of the clock of each processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MachineStat {
    /// In use by programs and the kernel.
    pub(super) busy: u64,
    /// In interrupts, which no thread is charged for.
    pub(super) interrupts: u64,
    /// Wanted, and given to other machines by the one that this is a guest of.
    pub(super) stolen: u64,
    pub(super) idle: u64,
    pub(super) cores: usize,
    /// Processes and threads ever started.
    pub(super) forks: u64,
}

pub(super) fn machine_stat() -> Option<MachineStat> {
    machine_stat_in(&std::fs::read_to_string("/proc/stat").ok()?)
}

fn machine_stat_in(text: &str) -> Option<MachineStat> {
    let cpu: Vec<u64> = text.lines().next()?.split_ascii_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    // Guest time, after these, is part of user time already.
    let [user, nice, system, idle, iowait, irq, softirq, stolen, ..] = cpu[..] else { return None };
    let forks = text.lines().find_map(|l| l.strip_prefix("processes "))?.trim().parse().ok()?;
    let cores = text.lines().filter(|l| l.starts_with("cpu") && !l.starts_with("cpu ")).count();
    Some(MachineStat {
        busy: user + nice + system,
        interrupts: irq + softirq,
        stolen,
        idle: idle + iowait,
        cores,
        forks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_move_the_fields() {
        assert_eq!(stat("7 (a) R 9) (b)) S 42 1 1"), Some(('S', 42)));
        assert_eq!(stat("7 (x"), None);
    }

    #[test]
    fn stolen_time_and_interrupts_are_nobodys_work() {
        let text =
            "cpu  10 1 5 100 4 2 3 7 9 0\ncpu0 5 0 2 50 2 1 1 3 4 0\ncpu1 5 1 3 50 2 1 2 4 5 0\nintr 5\nprocesses 77\n";
        let stat = MachineStat { busy: 16, interrupts: 5, stolen: 7, idle: 104, cores: 2, forks: 77 };
        assert_eq!(machine_stat_in(text), Some(stat));
        assert_eq!(machine_stat_in("cpu  10 1 5\nprocesses 77\n"), None);
    }

    #[test]
    fn the_three_faces_of_syscall() {
        assert_eq!(syscall("running\n"), Some(Syscall::Running));
        assert_eq!(syscall("-1 0x7ffc 0x7f\n"), Some(Syscall::Outside));
        let Some(Syscall::In { number, arguments }) = syscall("202 0x7f0 0x109 0x72c6 0x0 0x0 0xffffffff 0x7f 0x7f\n")
        else {
            panic!("a call");
        };
        assert_eq!((number, arguments[1], arguments[2]), (202, 0x109, 0x72c6));
        assert_eq!(syscall("202 0x7f0 0x109\n"), None);
        assert_eq!(syscall(""), None);
    }

    #[test]
    fn addresses_of_both_families() {
        if cfg!(target_endian = "little") {
            assert_eq!(address("0100007F:1F90").map(|a| a.to_string()).as_deref(), Some("127.0.0.1:8080"));
            let six = address("00000000000000000000000001000000:0050").map(|a| a.to_string());
            assert_eq!(six.as_deref(), Some("[::1]:80"));
            let mapped = address("0000000000000000FFFF00000100007F:0050").map(|a| a.to_string());
            assert_eq!(mapped.as_deref(), Some("127.0.0.1:80"));
        }
        assert_eq!(address("nonsense"), None);
        assert_eq!(address("01:xx"), None);
    }

    #[test]
    fn links_are_told_apart() {
        assert_eq!(link_of("socket:[12]"), Link::Socket(12));
        assert_eq!(link_of("pipe:[3]"), Link::Pipe(3));
        assert_eq!(link_of("anon_inode:[eventpoll]"), Link::Epoll);
        assert_eq!(link_of("anon_inode:[eventfd]"), Link::Anonymous("[eventfd]".into()));
        assert_eq!(link_of("/tmp/a"), Link::Path("/tmp/a".into()));
    }

    #[test]
    fn a_unix_socket_is_named_by_the_path_of_its_peer() {
        use std::os::fd::AsRawFd as _;
        use std::os::unix::net::{UnixListener, UnixStream};
        let path = std::env::temp_dir().join(format!("ropewalk-proc-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a free name");
        let client = UnixStream::connect(&path).expect("it listens");
        let (accepted, _) = listener.accept().expect("connected");
        let (one, other) = UnixStream::pair().expect("a pair");
        let of = |fd: i32| socket(std::process::id(), u64::try_from(fd).expect("positive"), |_| false);
        let peer = path.to_string_lossy().into_owned();
        std::fs::remove_file(&path).expect("ours");
        assert_eq!(of(client.as_raw_fd()), Some(Socket::Outward { peer }));
        assert_eq!(of(listener.as_raw_fd()), Some(Socket::Listening));
        assert_eq!(of(accepted.as_raw_fd()), Some(Socket::Accepted));
        assert_eq!((of(one.as_raw_fd()), of(other.as_raw_fd())), (Some(Socket::Unnamed), Some(Socket::Unnamed)));
    }

    #[test]
    fn the_tables_of_this_machine_name_a_connection_of_ours() {
        use std::os::fd::AsRawFd as _;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        let (accepted, _) = listener.accept().expect("connected");
        let me = std::process::id();
        let all = sockets(me);
        let of = |fd: i32| match link(me, u64::try_from(fd).expect("positive")) {
            Some(Link::Socket(inode)) => all.get(&inode).cloned(),
            other => panic!("{other:?} is no socket"),
        };
        let peer = listener.local_addr().expect("bound").to_string();
        assert_eq!(of(client.as_raw_fd()), Some(Socket::Outward { peer }));
        assert_eq!(of(listener.as_raw_fd()), Some(Socket::Listening));
        assert_eq!(of(accepted.as_raw_fd()), Some(Socket::Accepted));
        // The same, asked for one by one.
        let ports = listening_ports(me);
        assert!(ports.contains(&listener.local_addr().expect("bound").port()));
        let one = |fd: i32| socket(me, u64::try_from(fd).expect("positive"), |port| ports.contains(&port));
        for fd in [client.as_raw_fd(), listener.as_raw_fd(), accepted.as_raw_fd()] {
            assert_eq!(one(fd), of(fd));
        }
    }
}
