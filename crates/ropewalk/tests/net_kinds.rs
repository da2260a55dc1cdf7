//! UDP, Unix sockets, names, and what std's documentation says of errors.

#![cfg(all(unix, feature = "net"))]

mod support;

use ropewalk::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream,
    ToSocketAddrs, UdpSocket, UnixDatagram, UnixListener, UnixStream,
};
use ropewalk::{CancelToken, Interrupted, Submit, ThreadPoolExecutor};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use support::SHORT;

/// Runs `body` as a greenlet, as a plain thread, and as a task of a pool.
fn everywhere(body: fn()) {
    ropewalk::run(body);
    std::thread::spawn(body).join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
    ThreadPoolExecutor::new(1).submit(body).join().unwrap_or_else(|error| error.resume());
}

/// A directory that is removed with this.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ropewalk-net-kinds-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a temporary directory");
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[track_caller]
fn fails<T>(kind: ErrorKind, result: io::Result<T>) {
    assert_eq!(result.err().map(|error| error.kind()), Some(kind));
}

#[test]
fn datagrams_find_their_way_and_their_sender() {
    everywhere(|| {
        let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = server.local_addr().expect("it is bound");
        let server = ropewalk::spawn(move || {
            let mut word = [0; 16];
            for _ in 0..10 {
                assert_eq!(server.peek_from(&mut word).expect("a datagram").0, 4);
                let (length, from) = server.recv_from(&mut word).expect("the same datagram");
                server.send_to(&word[..length], from).expect("the client is there");
            }
        });
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let mut word = [0; 16];
        for _ in 0..5 {
            client.send_to(b"hemp", address).expect("the server is there");
            assert_eq!(client.recv_from(&mut word).expect("it answers"), (4, address));
        }
        client.connect(address).expect("an address");
        assert_eq!(client.peer_addr().expect("it is connected"), address);
        for _ in 0..5 {
            client.send(b"jute").expect("the server is there");
            assert_eq!(client.peek(&mut word).expect("it answers"), 4);
            assert_eq!(client.recv(&mut word).expect("it is still there"), 4);
        }
        assert_eq!(&word[..4], b"jute");
        server.join().expect("it serves");
    });
}

/// A datagram is a whole: that less came than was asked for says nothing of the next one.
#[test]
fn several_datagrams_at_once() {
    everywhere(|| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        socket.connect(socket.local_addr().expect("it is bound")).expect("an address");
        let writer = socket.try_clone().expect("never fails");
        let sends =
            ropewalk::spawn(move || (0..10_u8).for_each(|n| assert!(writer.send(&[n; 3]).is_ok_and(|sent| sent == 3))));
        let mut word = [0; 100];
        for n in 0..10_u8 {
            assert_eq!(socket.recv(&mut word).expect("it was sent"), 3);
            assert_eq!(word[0], n);
        }
        sends.join().expect("it sends");
    });
}

#[test]
fn unix_stream_and_listener() {
    everywhere(|| {
        let directory = Directory::new();
        let path = directory.join("socket");
        let listener = UnixListener::bind(&path).expect("a path");
        assert_eq!(listener.local_addr().expect("it is bound").as_pathname(), Some(&*path));
        let server = ropewalk::spawn(move || {
            for connection in listener.incoming().take(10) {
                let connection = connection.expect("a connection");
                io::copy(&mut &connection, &mut &connection).expect("the client reads");
            }
        });
        for _ in 0..10 {
            let mut client = UnixStream::connect(&path).expect("it listens");
            client.write_all(b"hemp").expect("the server reads");
            client.shutdown(Shutdown::Write).expect("it is connected");
            let mut word = String::new();
            client.read_to_string(&mut word).expect("the server answers");
            assert_eq!(word, "hemp");
        }
        server.join().expect("it serves");
        fails(ErrorKind::ConnectionRefused, UnixStream::connect(&path));
        fails(ErrorKind::AddrInUse, UnixListener::bind(&path));
        fails(ErrorKind::NotFound, UnixStream::connect(directory.join("nothing")));
    });
}

/// A read of a Unix stream may stop before the end of what is there, so the next one must try.
#[test]
fn unix_stream_in_pieces() {
    everywhere(|| {
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
        let reads = ropewalk::spawn(move || {
            let (mut buffer, mut all) = ([0; 1000], 0);
            loop {
                match ours.read(&mut buffer).expect("the peer writes") {
                    0 => return all,
                    read => all += read,
                }
            }
        });
        ropewalk::yield_now();
        (0..1000).for_each(|n| theirs.write_all(&vec![7; n]).expect("somebody reads"));
        drop(theirs);
        assert_eq!(reads.join().expect("it reads to the end"), 499_500);
    });
}

/// The system says "try again" and has no event that says when.
#[test]
fn unix_listener_that_is_full_lets_the_next_one_wait() {
    everywhere(|| {
        let directory = Directory::new();
        let path = directory.join("socket");
        let listener = ropewalk::block_on(async {
            let socket = tokio::net::UnixSocket::new_stream().expect("a socket");
            socket.bind(&path).expect("a path");
            socket.listen(1).expect("it is bound")
        });
        let listener = UnixListener::from_tokio(listener).expect("it lets go");
        let mut inside = Vec::new();
        // Cancelled, it was full; it takes one more than it was told.
        while let Ok(connection) = CancelToken::new().with_timeout(SHORT).run(|| UnixStream::connect(&path)) {
            inside.push(connection.expect("it listens"));
            assert!(inside.len() < 100, "it is never full");
        }
        let waits = ropewalk::spawn(move || UnixStream::connect(&path).map(drop));
        ropewalk::yield_now();
        (0..=inside.len()).for_each(|_| drop(listener.accept().expect("a connection")));
        waits.join().expect("no panic").expect("there was room at last");
    });
}

#[test]
fn unix_datagrams_and_a_receiver_that_is_full() {
    everywhere(|| {
        let directory = Directory::new();
        let path = directory.join("receiver");
        let receiver = UnixDatagram::bind(&path).expect("a path");
        let sender = UnixDatagram::unbound().expect("a socket");
        sender.set_write_timeout(Some(SHORT)).expect("a limit");
        let fill = |send: &dyn Fn() -> io::Result<usize>| -> usize {
            (0..100_000)
                .take_while(|_| send().map_err(|error| assert_eq!(error.kind(), ErrorKind::TimedOut)).is_ok())
                .count()
        };
        let waiting = fill(&|| sender.send_to(b"hemp", &path));
        assert!((1..100_000).contains(&waiting), "it is never full");
        sender.connect(&path).expect("a path");
        assert_eq!(fill(&|| sender.send(b"hemp")), 0);

        // With nobody's limit it waits for the receiver, by an event if it is connected and by trying if not.
        sender.set_write_timeout(None).expect("no limit");
        let sends = ropewalk::spawn(move || {
            sender.send(b"jute").expect("room at last");
            UnixDatagram::unbound().expect("a socket").send_to(b"jute", &path).expect("room at last");
        });
        ropewalk::yield_now();
        let mut word = [0; 16];
        for _ in 0..waiting {
            assert_eq!(receiver.recv(&mut word).expect("it was sent"), 4);
            assert_eq!(&word[..4], b"hemp");
        }
        for _ in 0..2 {
            let (length, from) = receiver.recv_from(&mut word).expect("it was sent");
            assert_eq!((&word[..length], from.is_unnamed()), (&b"jute"[..], true));
        }
        sends.join().expect("all is sent");
        let path: &Path = &directory.join("nothing");
        fails(ErrorKind::NotFound, UnixDatagram::unbound().expect("a socket").send_to(b"hemp", path));
    });
}

#[test]
fn addresses_that_are_no_names() {
    everywhere(|| {
        let v4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 80);
        let v6 = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 80, 0, 0);
        let both = [SocketAddr::V4(v4), SocketAddr::V6(v6)];
        let all = |addresses: &dyn Fn() -> io::Result<Vec<SocketAddr>>| addresses().expect("a literal");
        macro_rules! is {
            ($($given:expr => $expected:expr),+ $(,)?) => {
                $(assert_eq!(all(&|| Ok($given.to_socket_addrs()?.collect())), $expected, stringify!($given));)+
            };
        }
        is! {
            v4 => both[..1],
            v6 => both[1..],
            both[0] => both[..1],
            &both[..] => both,
            (Ipv4Addr::LOCALHOST, 80) => both[..1],
            (Ipv6Addr::LOCALHOST, 80) => both[1..],
            (IpAddr::V4(Ipv4Addr::LOCALHOST), 80) => both[..1],
            ("127.0.0.1", 80) => both[..1],
            ("::1", 80) => both[1..],
            ("127.0.0.1".to_owned(), 80) => both[..1],
            "127.0.0.1:80" => both[..1],
            "[::1]:80" => both[1..],
            "[::1]:80".to_owned() => both[1..],
        }
        fails(ErrorKind::InvalidInput, "127.0.0.1".to_socket_addrs());
        fails(ErrorKind::InvalidInput, "127.0.0.1:hemp".to_socket_addrs());
        fails(ErrorKind::InvalidInput, TcpStream::connect(&[][..]));
        fails(ErrorKind::InvalidInput, UdpSocket::bind("127.0.0.1:0").expect("a port").send_to(b"", &[][..]));
    });
}

#[test]
fn name_of_this_machine_is_resolved() {
    everywhere(|| {
        let listener = TcpListener::bind("localhost:0").expect("the machine has a loopback");
        let port = listener.local_addr().expect("it is bound").port();
        assert!(("localhost", port).to_socket_addrs().expect("a name").all(|address| address.ip().is_loopback()));
        // All its addresses are tried; one of them is that of the listener.
        drop(TcpStream::connect(("localhost", port)).expect("somebody listens"));
        drop(TcpStream::connect(format!("localhost:{port}")).expect("somebody listens"));
        // `.invalid` is promised never to be a name.
        assert!("hemp.invalid:80".to_socket_addrs().is_err());
        assert!(TcpStream::connect(("hemp.invalid", 80)).is_err());
    });
}

#[test]
fn errors_are_those_that_std_names() {
    everywhere(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        fails(ErrorKind::AddrInUse, TcpListener::bind(address));

        let (mut ours, mut theirs) =
            (TcpStream::connect(address).expect("it listens"), listener.accept().expect("one").0);
        assert_eq!((ours.peer_addr().unwrap(), theirs.peer_addr().unwrap()), (address, ours.local_addr().unwrap()));
        theirs.write_all(b"hemp").expect("it is connected");
        theirs.shutdown(Shutdown::Both).expect("it is connected");
        let mut word = Vec::new();
        ours.read_to_end(&mut word).expect("an end is no error");
        assert_eq!(word, b"hemp");
        drop(theirs);
        // The first write meets nobody and is told so; some later one fails, and no signal ends the program.
        let error = (0..1000).find_map(|_| ours.write_all(&[0; 1 << 16]).err()).expect("nobody is there");
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error:?}");

        let mut ours = TcpStream::connect(address).expect("it listens");
        drop(listener.accept().expect("one"));
        fails(ErrorKind::UnexpectedEof, ours.read_exact(&mut [0; 4]));

        drop(listener);
        fails(ErrorKind::ConnectionRefused, TcpStream::connect(address));
        // The last of the addresses tells why.
        fails(ErrorKind::ConnectionRefused, TcpStream::connect(&[address, address][..]));
    });
}

#[test]
fn options_reach_the_system() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let stream = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
    assert!(!stream.nodelay().unwrap());
    stream.set_nodelay(true).unwrap();
    assert!(stream.nodelay().unwrap());
    stream.set_ttl(42).unwrap();
    listener.set_ttl(43).unwrap();
    assert_eq!((stream.ttl().unwrap(), listener.ttl().unwrap()), (42, 43));
    assert!(stream.take_error().unwrap().is_none() && listener.take_error().unwrap().is_none());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.set_broadcast(true).unwrap();
    socket.set_multicast_ttl_v4(3).unwrap();
    assert_eq!((socket.broadcast().unwrap(), socket.multicast_ttl_v4().unwrap()), (true, 3));
    let text = format!("{stream:?} {listener:?} {socket:?}");
    assert!(text.contains("127.0.0.1"), "{text}");
    let ended = CancelToken::new().with_timeout(SHORT).run(|| listener.accept().and_then(|_| listener.accept()));
    assert_eq!(ended.err(), Some(Interrupted::TimedOut));
}
