//! TCP streams and listeners: nothing is lost, doubled or stuck, whoever uses them and however many at once.

#![cfg(all(unix, feature = "net"))]

#[path = "support/sockets.rs"]
mod sockets;
mod support;

use ropewalk::net::{Shutdown, TcpStream, UdpSocket};
use ropewalk::{TaskError, TaskHandle, greenlet};
use sockets::{everywhere, here, pair};
use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use support::panic_text;

/// More than any buffer of the system holds, so that both sides have to wait in the middle.
const LARGE: usize = 8 << 20;

/// Bytes that show where they belong.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect()
}

/// Answers with what it gets, until the other side ends. Returns how much that was.
fn echo(connection: &TcpStream) -> u64 {
    let copied = io::copy(&mut { connection }, &mut { connection }).expect("the other side reads");
    connection.shutdown(Shutdown::Write).expect("it is connected");
    copied
}

#[test]
fn echo_of_many_strands() {
    everywhere(|| {
        const CLIENTS: usize = 40;
        let (listener, address) = here();
        let server: TaskHandle<u64> = ropewalk::spawn(move || {
            let served: Vec<_> = listener
                .incoming()
                .take(CLIENTS)
                .map(|connection| {
                    let connection = connection.expect("a connection");
                    ropewalk::spawn(move || echo(&connection))
                })
                .collect();
            served.into_iter().map(|handle| handle.join().expect("it echoes")).sum()
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                ropewalk::spawn(move || {
                    let mut connection = TcpStream::connect(address).expect("the server listens");
                    for round in 0..20 {
                        let message = pattern(1 + client * 97 + round * 13);
                        connection.write_all(&message).expect("the server reads");
                        let mut answer = vec![0; message.len()];
                        connection.read_exact(&mut answer).expect("the server answers");
                        assert!(answer == message, "client {client}, round {round}");
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().expect("the answers are right");
        }
        let sent: usize =
            (0..CLIENTS).map(|client| (0..20).map(|round| 1 + client * 97 + round * 13).sum::<usize>()).sum();
        assert_eq!(server.join().expect("it serves"), sent as u64);
    });
}

/// Neither direction goes on without the other: the peer stops reading when its answers are not read.
#[test]
fn one_strand_reads_while_another_writes() {
    everywhere(|| {
        let (ours, theirs) = pair();
        let peer = ropewalk::spawn(move || echo(&theirs));
        let ours = Arc::new(ours);
        let writes = ropewalk::spawn({
            let ours = Arc::clone(&ours);
            move || {
                (&*ours).write_all(&pattern(LARGE)).expect("the peer reads");
                ours.shutdown(Shutdown::Write).expect("it is connected");
            }
        });
        let mut answer = Vec::new();
        (&*ours).read_to_end(&mut answer).expect("the peer answers");
        assert!(answer == pattern(LARGE));
        writes.join().expect("all is written");
        assert_eq!(peer.join().expect("all is echoed"), LARGE as u64);
    });
}

#[test]
fn many_strands_read_one_stream_and_each_byte_comes_once() {
    everywhere(|| {
        const READERS: usize = 8;
        let (ours, mut theirs) = pair();
        let sums: Vec<_> = (0..READERS)
            .map(|_| {
                let mut ours = ours.try_clone().expect("never fails");
                ropewalk::spawn(move || {
                    let (mut buffer, mut bytes, mut sum) = ([0; 1000], 0, 0_u64);
                    loop {
                        match ours.read(&mut buffer).expect("the peer writes") {
                            0 => return (bytes, sum),
                            read => {
                                bytes += read;
                                sum += buffer[..read].iter().map(|byte| u64::from(*byte)).sum::<u64>();
                                ropewalk::yield_now();
                            }
                        }
                    }
                })
            })
            .collect();
        let message = pattern(1 << 20);
        theirs.write_all(&message).expect("somebody reads");
        drop(theirs);
        let all = sums.into_iter().map(|handle| handle.join().expect("it reads to the end"));
        let (bytes, sum) = all.fold((0, 0), |so_far, one| (so_far.0 + one.0, so_far.1 + one.1));
        assert_eq!((bytes, sum), (message.len(), message.iter().map(|byte| u64::from(*byte)).sum()));
    });
}

/// All wake for the first connection, and all but one must go back to waiting.
#[test]
fn several_strands_accept_from_one_listener() {
    everywhere(|| {
        const CONNECTIONS: usize = 30;
        let (listener, address) = here();
        let listener = Arc::new(listener);
        let accepted = Arc::new(AtomicUsize::new(0));
        let servers: Vec<_> = (0..5)
            .map(|_| {
                let (listener, accepted) = (Arc::clone(&listener), Arc::clone(&accepted));
                ropewalk::spawn(move || {
                    loop {
                        let (mut connection, _) = listener.accept().expect("a connection");
                        if connection.read(&mut [0]).expect("a byte or the end") == 0 {
                            return;
                        }
                        accepted.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for _ in 0..CONNECTIONS {
            TcpStream::connect(address).expect("they listen").write_all(&[1]).expect("they read");
        }
        // One that ends without a byte sends its server home.
        for _ in &servers {
            drop(TcpStream::connect(address).expect("they listen"));
        }
        servers.into_iter().for_each(|server| server.join().expect("it was sent home"));
        assert_eq!(accepted.load(Ordering::Relaxed), CONNECTIONS);
    });
}

/// One event for all of them: who has accepted one must try for the next.
#[test]
fn several_connections_come_at_once() {
    everywhere(|| {
        let (listener, address) = here();
        let accepts = ropewalk::spawn(move || (0..10).for_each(|_| drop(listener.accept().expect("a connection"))));
        ropewalk::yield_now(); // it waits now
        // std's, which do not let anybody else run meanwhile.
        let all: Vec<_> = (0..10).map(|_| std::net::TcpStream::connect(address).expect("it listens")).collect();
        accepts.join().expect("it accepts all");
        drop(all);
    });
}

/// std lets 128 wait; a hub's greenlets may all connect before the one that accepts has its turn, and a client that the
/// system forgot waits for ever if the server is the one that speaks first.
#[test]
#[cfg(target_os = "linux")]
fn crowd_connects_before_anybody_accepts() {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux");
    let crowd = 200.min(most.trim().parse().expect("a number"));
    let (listener, address) = here();
    let clients: Vec<_> = (0..crowd)
        .map(|_| TcpStream::connect_timeout(&address, support::HANG).expect("there is room for all"))
        .collect();
    for _ in 0..crowd {
        listener.accept().expect("a client").0.write_all(b"welcome").expect("it reads");
    }
    for mut client in clients {
        client.read_exact(&mut [0; 7]).expect("the server speaks first");
    }
}

/// A read that gave less than it could is taken for the last one before the next event. It must not be taken for more.
#[test]
fn end_that_came_together_with_the_last_bytes() {
    everywhere(|| {
        for _ in 0..50 {
            let (mut ours, mut theirs) = pair();
            let reads = ropewalk::spawn(move || {
                let (mut buffer, mut text) = ([0; 100], Vec::new());
                loop {
                    match ours.read(&mut buffer).expect("the peer writes") {
                        0 => return text,
                        read => text.extend_from_slice(&buffer[..read]),
                    }
                }
            });
            ropewalk::yield_now(); // let it wait, and register
            theirs.write_all(b"hemp").expect("somebody reads");
            theirs.write_all(b" and jute").expect("somebody reads");
            drop(theirs);
            assert_eq!(reads.join().expect("it reads to the end"), b"hemp and jute");
        }
    });
}

#[test]
fn peek_does_not_count_as_a_read() {
    everywhere(|| {
        let (mut ours, theirs) = pair();
        let peer = ropewalk::spawn(move || {
            (&theirs).write_all(b"hemp").expect("somebody reads");
            theirs
        });
        let mut buffer = [0; 100];
        // The first one waits; the others find what it left, though it asked for more than there is.
        for _ in 0..3 {
            assert_eq!(ours.peek(&mut buffer).expect("the peer writes"), 4);
        }
        assert_eq!(ours.read(&mut buffer[..2]).expect("it is there"), 2);
        assert_eq!(ours.peek(&mut buffer[2..]).expect("it is there"), 2);
        assert_eq!(ours.read(&mut buffer[2..]).expect("it is there"), 2);
        assert_eq!(&buffer[..4], b"hemp");
        drop(peer.join());
        assert_eq!(ours.peek(&mut buffer).expect("the end"), 0);
    });
}

/// More buffers than the system takes at once: what comes is less than all of them hold, and the socket is not exhausted.
#[test]
fn more_buffers_than_one_call_takes() {
    ropewalk::run(|| {
        let (mut here, mut there) = pair();
        let limit = Some(std::time::Duration::from_secs(10));
        here.set_write_timeout(limit).unwrap();
        there.set_read_timeout(limit).unwrap();
        // So that both are known to the reactor.
        here.write_all(b"a").unwrap();
        there.read_exact(&mut [0]).unwrap();
        let slices: Vec<_> = (0..2_000).map(|_| IoSlice::new(b"x")).collect();
        let first = here.write_vectored(&slices).unwrap();
        assert!(0 < first && first < 2_000);
        here.write_all(&vec![b'x'; 4_000 - first]).unwrap();
        let mut bytes = vec![0; 2_000];
        let mut slices: Vec<_> = bytes.chunks_mut(1).map(IoSliceMut::new).collect();
        let first = there.read_vectored(&mut slices).unwrap();
        there.read_exact(&mut vec![0; 4_000 - first]).unwrap();
    });
}

#[test]
fn buffers_in_pieces_and_readers_of_std() {
    everywhere(|| {
        let (ours, mut theirs) = pair();
        let wrote = theirs.write_vectored(&[IoSlice::new(b"hemp"), IoSlice::new(b" and jute\nsisal\n")]);
        assert_eq!(wrote.expect("somebody reads"), 20);
        drop(theirs);
        let (mut first, mut second) = ([0; 2], [0; 3]);
        let read = (&ours).read_vectored(&mut [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)]);
        assert_eq!((read.expect("it is there"), &first, &second), (5, b"he", b"mp "));
        let lines: Vec<_> = BufReader::new(ours).lines().map(|line| line.expect("text")).collect();
        assert_eq!(lines, ["and jute", "sisal"]);
    });
}

/// A peer that is always faster never makes the strand wait, and the others of its hub would never have their turn.
#[test]
fn stream_that_never_waits_does_not_keep_the_hub() {
    ropewalk::run(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        socket.connect(socket.local_addr().expect("it is bound")).expect("it is there");
        let ran = Arc::new(AtomicBool::new(false));
        drop(greenlet::spawn({
            let ran = Arc::clone(&ran);
            move || ran.store(true, Ordering::Relaxed)
        }));
        let mut rounds = 0;
        while !ran.load(Ordering::Relaxed) {
            socket.send(b"hemp").expect("it is there");
            assert_eq!(socket.recv(&mut [0; 10]).expect("it was sent"), 4);
            rounds += 1;
            assert!(rounds < 10_000, "nobody else had a turn");
        }
    });
}

#[test]
fn task_that_never_waits_can_be_cancelled() {
    ropewalk::run(|| {
        let endless = greenlet::spawn(|| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
            socket.connect(socket.local_addr().expect("it is bound")).expect("it is there");
            loop {
                socket.send(b"hemp").expect("it is there");
                socket.recv(&mut [0; 10]).expect("it was sent");
            }
        });
        ropewalk::yield_now();
        endless.kill();
        assert!(matches!(endless.join(), Err(TaskError::Cancelled)));
    });
}

/// A greenlet that unwinds must not switch, so its hub stands still and cannot tell it when the socket is ready.
#[test]
fn destructor_reads_and_writes_while_its_greenlet_unwinds() {
    struct SaysGoodbye(TcpStream, Arc<AtomicBool>);
    impl Drop for SaysGoodbye {
        fn drop(&mut self) {
            self.0.write_all(b"bye").expect("the peer reads");
            let mut answer = [0; 3];
            self.0.read_exact(&mut answer).expect("the peer answers");
            self.1.store(answer == *b"BYE", Ordering::Relaxed);
        }
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the machine has a loopback");
    let address = listener.local_addr().expect("it is bound");
    let peer = std::thread::spawn(move || {
        for _ in 0..20 {
            let (mut connection, _) = listener.accept().expect("a connection");
            let mut said = [0; 6];
            connection.read_exact(&mut said[..3]).expect("the greeting");
            connection.write_all(b"hi!").expect("it reads");
            connection.read_exact(&mut said[3..]).expect("the goodbye");
            connection.write_all(b"BYE").expect("it reads");
            assert_eq!(&said, b"hi?bye");
        }
    });
    ropewalk::run(|| {
        for _ in 0..20 {
            let answered = Arc::new(AtomicBool::new(false));
            let mut connection = TcpStream::connect(address).expect("the peer listens");
            connection.write_all(b"hi?").expect("the peer reads");
            // Registered with the reactor before the panic.
            connection.read_exact(&mut [0; 3]).expect("the peer answers");
            let flag = Arc::clone(&answered);
            let panics = greenlet::spawn(move || {
                let _goodbye = SaysGoodbye(connection, flag);
                // A panic without the message.
                std::panic::resume_unwind(Box::new("out of hemp"));
            });
            assert!(matches!(panics.join(), Err(TaskError::Panicked(_))));
            assert!(answered.load(Ordering::Relaxed));
        }
    });
    peer.join().expect("the peer is well");
}

#[test]
fn blocking_call_in_async_code_is_refused() {
    let (ours, mut theirs) = pair();
    theirs.write_all(b"hemp").expect("somebody reads");
    let refused = |body: &dyn Fn()| {
        let text = panic_text(|| ropewalk::block_on(async { body() }));
        assert!(text.contains("blocking call in async context"), "{text}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let text = panic_text(|| runtime.block_on(async { body() }));
        assert!(text.contains("blocking call in async context"), "{text}");
    };
    // Also what would not have to wait at this moment.
    refused(&|| drop((&ours).read(&mut [0; 4])));
    refused(&|| drop((&ours).write(b"hemp")));
    refused(&|| drop(TcpStream::connect(ours.peer_addr().expect("it is connected"))));
    assert_eq!((&ours).read(&mut [0; 10]).expect("nothing was taken"), 4);
}
