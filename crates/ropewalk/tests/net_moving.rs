//! Sockets that change hands: from hub to hub, to threads, to std and tokio and back, dropped far from where they were used.

#![cfg(all(unix, feature = "net"))]

#[path = "support/sockets.rs"]
mod sockets;
mod support;

use ropewalk::net::{Shutdown, TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use ropewalk::{Submit, ThreadPoolExecutor, greenlet};
use sockets::{here, pair};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, mpsc};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// One question and its answer, with a wait for it.
#[track_caller]
fn ask(stream: &mut TcpStream, word: [u8; 4]) {
    stream.write_all(&word).expect("the peer reads");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("the peer answers");
    assert_eq!(answer, word);
}

/// Echoes on a thread of std's until the other side ends.
fn echo(mut stream: TcpStream) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut word = [0; 4];
        while stream.read_exact(&mut word).is_ok() {
            stream.write_all(&word).expect("the other side reads");
        }
    })
}

/// A hub on a thread of its own, to which sockets can be sent.
fn hub(
    serve: impl Fn(TcpStream) -> TcpStream + Send + 'static,
) -> (mpsc::Sender<TcpStream>, mpsc::Receiver<TcpStream>) {
    let (give, given) = mpsc::channel::<TcpStream>();
    let (take, taken) = mpsc::channel();
    std::thread::spawn(move || {
        ropewalk::run(|| {
            for stream in given {
                take.send(serve(stream)).expect("the test goes on");
            }
        });
    });
    (give, taken)
}

/// Each hub has a registration, of which the others know nothing, and each finds its own again.
#[test]
fn stream_moves_between_two_hubs_a_thread_and_a_task() {
    let (mut stream, theirs) = pair();
    let peer = echo(theirs);
    let pool = ThreadPoolExecutor::new(1);
    let serve = |word| {
        move |mut stream: TcpStream| {
            ask(&mut stream, word);
            stream
        }
    };
    let (to_one, from_one) = hub(serve(*b"one1"));
    let (to_two, from_two) = hub(serve(*b"two2"));
    for _ in 0..20 {
        to_one.send(stream).expect("the hub runs");
        stream = from_one.recv().expect("it answers");
        ask(&mut stream, *b"main");
        to_two.send(stream).expect("the hub runs");
        stream = from_two.recv().expect("it answers");
        stream = pool.submit(move || serve(*b"task")(stream)).join().expect("it answers");
    }
    drop(stream);
    peer.join().expect("it echoes to the end");
}

#[test]
fn two_hubs_and_a_thread_use_one_stream_at_the_same_time() {
    const BYTES: usize = 4 << 20;
    let (ours, theirs) = pair();
    let ours = Arc::new(ours);
    let reads = std::thread::spawn({
        let ours = Arc::clone(&ours);
        move || {
            ropewalk::run(move || {
                let mut all = Vec::new();
                (&*ours).read_to_end(&mut all).expect("the peer writes");
                all.len()
            })
        }
    });
    let writes = std::thread::spawn({
        let ours = Arc::clone(&ours);
        move || {
            ropewalk::run(move || {
                (&*ours).write_all(&vec![7; BYTES]).expect("the peer reads");
                ours.shutdown(Shutdown::Write).expect("it is connected");
            });
        }
    });
    std::io::copy(&mut &theirs, &mut &theirs).expect("the other side reads");
    drop(theirs);
    writes.join().expect("all is written");
    assert_eq!(reads.join().expect("all is read"), BYTES);
}

/// The byte that one of them takes was announced to both.
#[test]
fn readers_of_two_hubs_take_turns() {
    const WORDS: usize = 200;
    let (ours, mut theirs) = pair();
    let readers: Vec<_> = (0..3)
        .map(|reader| {
            let mut ours = ours.try_clone().expect("never fails");
            let mut read = move || {
                let (mut word, mut bytes) = ([0; 1], 0);
                while ours.read(&mut word).expect("the peer writes") > 0 {
                    bytes += 1;
                    ropewalk::yield_now();
                }
                bytes
            };
            std::thread::spawn(move || if reader == 2 { read() } else { ropewalk::run(read) })
        })
        .collect();
    for _ in 0..WORDS {
        theirs.write_all(b"hemp").expect("somebody reads");
    }
    drop(theirs);
    let bytes: usize = readers.into_iter().map(|reader| reader.join().expect("it reads to the end")).sum();
    assert_eq!(bytes, 4 * WORDS);
}

#[test]
fn listener_serves_two_hubs_and_a_thread() {
    const EACH: usize = 10;
    let (listener, address) = here();
    let listener = Arc::new(listener);
    let servers: Vec<_> = (0..3)
        .map(|server| {
            let listener = Arc::clone(&listener);
            let serve = move || {
                for _ in 0..EACH {
                    let (mut connection, _) = listener.accept().expect("a connection");
                    connection.write_all(b"hemp").expect("the client reads");
                }
            };
            std::thread::spawn(move || if server == 2 { serve() } else { ropewalk::run(serve) })
        })
        .collect();
    for _ in 0..3 * EACH {
        let mut word = [0; 4];
        TcpStream::connect(address).expect("they listen").read_exact(&mut word).expect("they answer");
    }
    servers.into_iter().for_each(|server| server.join().expect("it serves"));
}

/// Its number is free at once, and the next socket of the hub gets it: the reactor must not take one for the other.
#[test]
fn dropped_on_another_thread_than_it_was_registered_on() {
    ropewalk::run(|| {
        for _ in 0..50 {
            let (mut ours, theirs) = pair();
            let peer = echo(theirs);
            ask(&mut ours, *b"hemp");
            let number = ours.as_raw_fd();
            greenlet::offload(move || drop(ours));
            let (mut next, theirs) = pair();
            let next_peer = echo(theirs);
            let _same_or_not = next.as_raw_fd() == number;
            ask(&mut next, *b"jute");
            drop(next);
            greenlet::offload(move || {
                peer.join().expect("it echoes to the end");
                next_peer.join().expect("it echoes to the end");
            });
        }
    });
}

/// The hub is gone, its record is used by the next one, and the socket still has a registration with the old reactor.
#[test]
fn hub_that_ended_while_a_socket_was_registered_with_it() {
    let (mut stream, theirs) = pair();
    let peer = echo(theirs);
    for _ in 0..20 {
        stream = ropewalk::run(|| {
            ask(&mut stream, *b"hemp");
            stream
        });
    }
    ask(&mut stream, *b"jute");
    // Dropped where no hub is left at all.
    drop(stream);
    peer.join().expect("it echoes to the end");
}

/// Dropped by the hub itself at its very end, in a task of its runtime.
#[test]
fn socket_that_a_task_of_the_hub_holds_to_the_end() {
    ropewalk::run(|| {
        let (mut ours, theirs) = pair();
        let peer = echo(theirs);
        ask(&mut ours, *b"hemp");
        tokio::task::spawn_local(async move {
            let _kept = ours;
            std::future::pending::<()>().await;
        });
        drop(peer);
    });
}

#[test]
fn to_tokio_and_back() {
    let round = || {
        let (mut ours, theirs) = pair();
        let peer = echo(theirs);
        ask(&mut ours, *b"hemp");
        // The registration of before must be gone: a reactor takes a descriptor once.
        let back = ropewalk::block_on(async move {
            let mut tokio = ours.into_tokio().expect("the reactor takes it");
            tokio.write_all(b"jute").await.expect("the peer reads");
            let mut word = [0; 4];
            tokio.read_exact(&mut word).await.expect("the peer answers");
            assert_eq!(&word, b"jute");
            tokio
        });
        let mut back = TcpStream::from_tokio(back).expect("it lets go");
        ask(&mut back, *b"hemp");

        // With another handle, tokio's is a duplicate, and both work.
        let mut clone = back.try_clone().expect("never fails");
        let tokio = ropewalk::block_on(async move { back.into_tokio().expect("the reactor takes it") });
        ask(&mut clone, *b"jute");
        drop(clone);
        let mut back = TcpStream::from_tokio(tokio).expect("it lets go");
        ask(&mut back, *b"hemp");
        drop(back);
        peer
    };
    // Joined outside: a hub does not block its thread.
    ropewalk::run(round).join().expect("it echoes to the end");
    round().join().expect("it echoes to the end");
}

#[test]
fn every_kind_of_socket_goes_to_tokio_and_back() {
    let directory = support_directory();
    let path = directory.join("listener");
    let round = move || {
        ropewalk::block_on(async {
            let (listener, address) = here();
            let listener = TcpListener::from_tokio(listener.into_tokio().expect("taken")).expect("given back");
            assert_eq!(listener.local_addr().expect("it is bound"), address);

            let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free").into_tokio().expect("taken");
            drop(UdpSocket::from_tokio(socket).expect("given back"));

            let (one, other) = UnixStream::pair().expect("a pair");
            drop(UnixStream::from_tokio(one.into_tokio().expect("taken")).expect("given back"));
            drop(other);

            let (one, other) = UnixDatagram::pair().expect("a pair");
            drop(UnixDatagram::from_tokio(one.into_tokio().expect("taken")).expect("given back"));
            drop(other);

            let listener = UnixListener::bind(&path).expect("a path").into_tokio().expect("taken");
            drop(UnixListener::from_tokio(listener).expect("given back"));
            std::fs::remove_file(&path).expect("it was made");
        });
    };
    ropewalk::run(&round);
    round();
    std::fs::remove_dir(directory).expect("it is empty");
}

/// A directory of this test alone.
fn support_directory() -> std::path::PathBuf {
    let directory = std::env::temp_dir().join(format!("ropewalk-net-moving-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("a temporary directory");
    directory
}

/// std's socket blocks and ours must not: the mode belongs to what both are names of.
#[test]
fn to_std_and_back() {
    let (mut ours, theirs) = pair();
    let peer = echo(theirs);
    ask(&mut ours, *b"hemp");
    let clone = ours.try_clone().expect("never fails");
    let busy = ours.into_std().expect_err("the clone needs it as it is");
    assert_eq!(busy.kind(), ErrorKind::ResourceBusy);

    let mut std = clone.into_std().expect("it is the only one");
    std.write_all(b"jute").expect("the peer reads");
    let mut word = [0; 4];
    std.read_exact(&mut word).expect("it blocks until the peer answers");
    assert_eq!(&word, b"jute");

    let mut back = TcpStream::from_std(std).expect("it can be non-blocking");
    ask(&mut back, *b"hemp");
    let descriptor = OwnedFd::try_from(back).expect("it is the only one");
    let mut back = TcpStream::try_from(descriptor).expect("it can be non-blocking");
    ropewalk::run(|| ask(&mut back, *b"jute"));
    drop(back);
    peer.join().expect("it echoes to the end");
}
