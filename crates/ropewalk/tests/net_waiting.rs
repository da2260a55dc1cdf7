//! Waits for sockets that do not end well: time limits, cancelling, sockets that do not wait at all.

#![cfg(all(unix, feature = "net"))]

#[path = "support/sockets.rs"]
mod sockets;
mod support;

use ropewalk::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use ropewalk::sync::Event;
use ropewalk::task::Shutdown;
use ropewalk::{CancelToken, Interrupted, Submit, TaskError, ThreadPoolExecutor, greenlet};
use sockets::{everywhere, here, pair};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{HANG, SHORT, joined};

/// A listener that has all the connections that may wait for it, so that nobody else gets in.
fn full() -> (TcpListener, SocketAddr, Vec<TcpStream>) {
    let listener = ropewalk::block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port is free");
        socket.listen(1).expect("it is bound")
    });
    let listener = TcpListener::from_tokio(listener).expect("it lets go");
    let address = listener.local_addr().expect("it is bound");
    let mut inside = Vec::new();
    // The system takes one or two more than it was told.
    while let Ok(connection) = TcpStream::connect_timeout(&address, 10 * SHORT) {
        inside.push(connection);
        assert!(inside.len() < 100, "it is never full");
    }
    (listener, address, inside)
}

/// Fails with a time limit, not before `limit` has passed.
#[track_caller]
fn times_out<T>(limit: Duration, body: impl FnOnce() -> io::Result<T>) {
    let start = Instant::now();
    let error = body().err().expect("nothing came");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() >= limit, "ended {:?} early", limit - start.elapsed());
}

#[test]
fn read_that_times_out_takes_nothing() {
    everywhere(|| {
        let (mut ours, mut theirs) = pair();
        ours.set_read_timeout(Some(SHORT)).expect("a limit");
        times_out(SHORT, || ours.read(&mut [0; 4]));
        times_out(SHORT, || ours.peek(&mut [0; 4]));
        // A part of what is wanted is not the whole.
        theirs.write_all(b"he").expect("it is connected");
        let mut word = [0; 4];
        times_out(SHORT, || ours.read_exact(&mut word));
        assert_eq!(&word[..2], b"he");
        theirs.write_all(b"mp").expect("it is connected");
        ours.set_read_timeout(None).expect("no limit");
        ours.read_exact(&mut word[2..]).expect("it was written");
        assert_eq!(&word, b"hemp");
    });
}

#[test]
fn write_to_somebody_who_does_not_read_times_out() {
    everywhere(|| {
        let (mut ours, _theirs) = pair();
        ours.set_write_timeout(Some(SHORT)).expect("a limit");
        times_out(SHORT, || {
            loop {
                ours.write_all(&[7; 1 << 16])?;
            }
            #[allow(unreachable_code, reason = "tells the type")]
            Ok(())
        });
        // Reading is not writing.
        ours.set_read_timeout(Some(SHORT)).expect("a limit");
        times_out(SHORT, || ours.read(&mut [0; 4]));
    });
}

#[test]
fn limits_belong_to_the_socket_and_not_to_a_handle() {
    everywhere(|| {
        let (ours, _theirs) = pair();
        let mut clone = ours.try_clone().expect("never fails");
        assert_eq!((ours.read_timeout().unwrap(), ours.write_timeout().unwrap()), (None, None));
        ours.set_read_timeout(Some(SHORT)).expect("a limit");
        ours.set_write_timeout(Some(2 * SHORT)).expect("a limit");
        assert_eq!((clone.read_timeout().unwrap(), clone.write_timeout().unwrap()), (Some(SHORT), Some(2 * SHORT)));
        times_out(SHORT, || clone.read(&mut [0; 4]));
        let zero = [ours.set_read_timeout(Some(Duration::ZERO)), ours.set_write_timeout(Some(Duration::ZERO))];
        assert!(zero.iter().all(|set| set.as_ref().is_err_and(|error| error.kind() == ErrorKind::InvalidInput)));
        assert_eq!(ours.read_timeout().unwrap(), Some(SHORT), "what is refused changes nothing");
        ours.set_read_timeout(Some(Duration::MAX)).expect("as good as none");
        assert!(ours.read_timeout().unwrap().is_some());
    });
}

#[test]
fn datagram_that_does_not_come_times_out() {
    everywhere(|| {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        socket.set_read_timeout(Some(SHORT)).expect("a limit");
        times_out(SHORT, || socket.recv_from(&mut [0; 4]));
    });
}

#[test]
fn connecting_where_nobody_accepts_times_out_and_is_cancelled() {
    everywhere(|| {
        let (listener, address, inside) = full();
        times_out(SHORT, || TcpStream::connect_timeout(&address, SHORT));
        let cancelled = CancelToken::new().with_timeout(SHORT).run(|| TcpStream::connect(address));
        assert_eq!(cancelled.err(), Some(Interrupted::TimedOut));
        let zero = TcpStream::connect_timeout(&address, Duration::ZERO).expect_err("no time at all");
        assert_eq!(zero.kind(), ErrorKind::InvalidInput);
        drop((listener, inside));
    });
}

/// The wait unwinds: `read_exact` would take an error for one of the stream, or try again.
#[test]
fn killed_greenlet_has_read_nothing() {
    ropewalk::run(|| {
        for limit in [None, Some(HANG)] {
            let (ours, mut theirs) = pair();
            ours.set_read_timeout(limit).expect("a limit");
            let ours = Arc::new(ours);
            let reads = greenlet::spawn({
                let ours = Arc::clone(&ours);
                move || {
                    let read = (&*ours).read_exact(&mut [0; 4]);
                    unreachable!("{read:?}");
                }
            });
            ropewalk::yield_now(); // it waits now
            theirs.write_all(b"hemp").expect("it is connected");
            reads.kill();
            assert!(matches!(reads.join(), Err(TaskError::Cancelled)));
            let mut word = [0; 4];
            (&*ours).read_exact(&mut word).expect("nobody took it");
            assert_eq!(&word, b"hemp");
        }
    });
}

#[test]
fn killed_greenlet_has_accepted_nothing() {
    ropewalk::run(|| {
        let (listener, address) = here();
        let listener = Arc::new(listener);
        let accepts = greenlet::spawn({
            let listener = Arc::clone(&listener);
            move || drop(listener.accept())
        });
        ropewalk::yield_now(); // it waits now
        // std's, which does not let anybody else run meanwhile.
        let mut client = std::net::TcpStream::connect(address).expect("it listens");
        client.write_all(b"hemp").expect("the system has accepted");
        accepts.kill();
        let mut word = [0; 4];
        let (mut connection, _) = listener.accept().expect("nobody took it");
        connection.read_exact(&mut word).expect("it was written");
        assert_eq!(&word, b"hemp");
    });
}

/// The wait of a socket is not one that only another strand could end.
#[test]
fn who_waits_for_a_socket_is_shown_as_such() {
    ropewalk::run(|| {
        let (listener, _) = here();
        let accepts = greenlet::spawn(move || drop(listener.accept()));
        ropewalk::yield_now();
        let text = ropewalk::dump();
        assert!(text.contains(" waits on TcpListener at ") && text.contains(file!()), "{text}");
        accepts.kill();
    });
}

/// Some of them wait in poll(2) when they are cancelled and some are on their way there: the test cannot tell, and neither
/// may matter.
#[test]
fn cancelled_thread_wakes_in_its_system_call() {
    for round in 0..40 {
        let (mut ours, mut theirs) = pair();
        let token = CancelToken::new();
        let begins = Arc::new(Event::new());
        let thread = std::thread::spawn({
            let (token, begins) = (token.clone(), Arc::clone(&begins));
            move || {
                let ended = token.run(|| {
                    begins.set();
                    ours.read(&mut [0; 4])
                });
                (ended.map(|read| read.expect("no error")), ours)
            }
        });
        begins.wait();
        if round % 2 == 0 {
            std::thread::sleep(Duration::from_micros(500));
        }
        token.cancel();
        let (ended, mut ours) = thread.join().expect("no panic");
        assert_eq!(ended, Err(Interrupted::Cancelled));
        theirs.write_all(b"hemp").expect("it is connected");
        assert_eq!(ours.read(&mut [0; 4]).expect("nobody took it"), 4);
    }
}

#[test]
fn deadline_of_a_token_ends_a_read() {
    everywhere(|| {
        let (mut ours, _theirs) = pair();
        let start = Instant::now();
        let ended = CancelToken::new().with_timeout(SHORT).run(|| ours.read(&mut [0; 4]).expect("no error"));
        assert_eq!(ended, Err(Interrupted::TimedOut));
        assert!(start.elapsed() >= SHORT);
        // The shorter of the two limits is the one that counts, and says how.
        ours.set_read_timeout(Some(HANG)).expect("a limit");
        let ended = CancelToken::new().with_timeout(SHORT).run(|| ours.read(&mut [0; 4]).expect("no error"));
        assert_eq!(ended, Err(Interrupted::TimedOut));
        ours.set_read_timeout(Some(SHORT)).expect("a limit");
        let ended =
            CancelToken::new().with_timeout(HANG).run(|| ours.read(&mut [0; 4]).expect_err("nothing came").kind());
        assert_eq!(ended, Ok(ErrorKind::TimedOut));
    });
}

#[test]
fn shutdown_of_a_pool_ends_the_reads_of_its_workers() {
    let pool = ThreadPoolExecutor::new(3);
    let (listener, address) = here();
    let begun = Arc::new(ropewalk::sync::Semaphore::new(0));
    let tasks: Vec<_> = (0..3)
        .map(|_| {
            let begun = Arc::clone(&begun);
            pool.submit(move || {
                let mut connection = TcpStream::connect(address).expect("it listens");
                begun.release(1);
                connection.read(&mut [0; 4]).expect("no error")
            })
        })
        .collect();
    (0..3).for_each(|_| begun.acquire().forget());
    pool.shutdown(Shutdown::Kill);
    for task in tasks {
        assert!(matches!(task.join(), Err(TaskError::Cancelled)), "it read nothing");
    }
    drop(listener);
}

/// A worker in a read goes on counting: a pool of one does not start a second job beside it.
#[test]
fn worker_that_waits_for_a_socket_is_not_replaced() {
    let pool = ThreadPoolExecutor::new(1);
    let (mut ours, mut theirs) = pair();
    let begun = Arc::new(Event::new());
    let reads = pool.submit({
        let begun = Arc::clone(&begun);
        move || {
            begun.set();
            ours.read(&mut [0; 4]).expect("no error")
        }
    });
    begun.wait();
    let mut second = pool.submit(|| ());
    assert!(second.join_timeout(SHORT).is_err(), "two jobs run in a pool of one");
    theirs.write_all(b"hemp").expect("it is connected");
    assert_eq!((joined(reads), joined(pool.submit(|| 7))), (4, 7));
}

#[test]
fn socket_that_must_not_wait_says_so() {
    everywhere(|| {
        let (listener, address) = here();
        let mut ours = TcpStream::connect(address).expect("it listens");
        let (mut theirs, _) = listener.accept().expect("it connected");
        let would_block = |error: io::Error| assert_eq!(error.kind(), ErrorKind::WouldBlock);
        // Before the first wait, and after one.
        for _ in 0..2 {
            ours.set_nonblocking(true).expect("a mode");
            would_block(ours.read(&mut [0; 4]).expect_err("nothing is there"));
            listener.set_nonblocking(true).expect("a mode");
            would_block(listener.accept().expect_err("nobody comes"));
            ours.set_nonblocking(false).expect("a mode");
            theirs.write_all(b"hemp").expect("it is connected");
            ours.read_exact(&mut [0; 4]).expect("it was written");
            ours.set_read_timeout(Some(SHORT)).expect("a limit");
            times_out(SHORT, || ours.read(&mut [0; 4]));
        }
    });
}

/// The two ways in which a socket is made known to nobody: it is dropped in the middle of somebody else's wait for a
/// handle of the same, and the wait is not harmed.
#[test]
fn other_handle_is_dropped_while_one_waits() {
    everywhere(|| {
        let (ours, mut theirs) = pair();
        let mut waits = ours.try_clone().expect("never fails");
        let reads = ropewalk::spawn(move || waits.read(&mut [0; 4]).expect("no error"));
        ropewalk::yield_now();
        drop(ours);
        theirs.write_all(b"hemp").expect("it is connected");
        assert_eq!(reads.join().expect("it reads"), 4);
    });
}

/// Whoever waits for a direction that somebody else ends must not wait on.
#[test]
fn shutdown_wakes_who_waits() {
    everywhere(|| {
        let (ours, _theirs) = pair();
        let mut waits = ours.try_clone().expect("never fails");
        let reads = ropewalk::spawn(move || waits.read(&mut [0; 4]).expect("no error"));
        ropewalk::yield_now();
        ours.shutdown(ropewalk::net::Shutdown::Read).expect("it is connected");
        assert_eq!(reads.join().expect("it reads"), 0);
    });
}
