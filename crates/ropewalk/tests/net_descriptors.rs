//! No descriptor is left behind. One test, because it counts those of the whole process.

#![cfg(all(target_os = "linux", feature = "net"))]

mod support;

use ropewalk::net::{TcpListener, TcpStream, UdpSocket, UnixStream};
use ropewalk::{CancelToken, Submit, ThreadPoolExecutor, greenlet};
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;
use support::eventually;

fn open() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("Linux").count()
}

/// How many threads there are that the library does not keep for ever; those have its name.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux").flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| !name.starts_with("ropewalk-")).count()
}

/// Threads that have done their work may still be on their way out.
#[track_caller]
fn comes_back_to(count: usize) {
    eventually("as many descriptors as before", || open() == count);
}

/// Waits for everything that a socket can wait for, and is cancelled in the middle of it.
fn use_sockets() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let clients: Vec<_> = (0..20)
        .map(|_| {
            ropewalk::spawn(move || {
                let mut stream = TcpStream::connect(address).expect("it listens");
                let mut clone = stream.try_clone().expect("never fails");
                stream.write_all(b"hemp").expect("the server reads");
                clone.read_exact(&mut [0; 4]).expect("the server answers");
                // Some are left in the middle of a read.
                drop(CancelToken::new().with_timeout(Duration::from_millis(1)).run(|| stream.read(&mut [0])));
            })
        })
        .collect();
    for _ in 0..20 {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut word = [0; 4];
        stream.read_exact(&mut word).expect("the client writes");
        stream.write_all(&word).expect("the client reads");
    }
    clients.into_iter().for_each(|client| client.join().expect("it was answered"));
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a limit");
    socket.recv(&mut [0]).expect_err("nothing comes");
    drop(TcpStream::connect("127.0.0.1:1").map_err(|refused| refused.kind()));
    let (one, other) = UnixStream::pair().expect("a pair");
    drop(ropewalk::block_on(async { one.into_tokio() }).expect("the reactor takes it"));
    drop(other.into_std().expect("it is the only one"));
}

#[test]
fn sockets_hubs_and_threads_give_back_what_they_took() {
    let at_first = threads();
    // What the process keeps for ever: the driver of plain threads, and its reactor.
    use_sockets();
    ropewalk::run(use_sockets);
    eventually("only the driver is left", || threads() <= at_first);
    let before = open();

    for _ in 0..5 {
        ropewalk::run(use_sockets);
        std::thread::spawn(use_sockets).join().expect("no panic");
        let pool = ThreadPoolExecutor::new(1);
        pool.submit(use_sockets).join().expect("no panic");
    }
    comes_back_to(before);

    // A hub's reactor is kept by the sockets that it knew, until those are gone or meet another hub.
    let kept: Arc<Vec<TcpListener>> =
        Arc::new((0..10).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port is free")).collect());
    let wait_for_all = |kept: &Arc<Vec<TcpListener>>| {
        let kept = Arc::clone(kept);
        ropewalk::run(move || {
            let waits: Vec<_> = (0..kept.len())
                .map(|at| {
                    let kept = Arc::clone(&kept);
                    greenlet::spawn(move || drop(kept[at].accept()))
                })
                .collect();
            ropewalk::yield_now();
            greenlet::kill_all(&waits);
        });
    };
    wait_for_all(&kept);
    wait_for_all(&kept);
    let with_two = open();
    for _ in 0..20 {
        wait_for_all(&kept);
    }
    assert_eq!(open(), with_two, "a reactor of each hub is left");
    drop(kept);
    comes_back_to(before);
}
