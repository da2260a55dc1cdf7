//! What is known of the server's clock.

use super::*;

impl Place {
    /// The time of day there.
    pub(super) fn server_ms(&mut self) -> u64 {
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(&mut self.raw).expect("a time");
        seconds * 1_000 + micros / 1_000
    }
}

/// An answer that was long on its way says what time it was when it was given.
#[test]
fn clock_of_the_server_is_not_taken_from_an_answer_that_came_late() {
    const LATE: Duration = Duration::from_millis(300);
    let (mut place, directory) = (Place::new(), Directory::new("late"));
    let socket = directory.0.join("late.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    let is_late = Arc::new(AtomicBool::new(false));
    let late = Arc::clone(&is_late);
    // Ends with the connection.
    let way = thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let mut upstream = UnixStream::connect(&server().socket).expect("a server");
        let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
        let forth = thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
        let mut bytes = vec![0; 64 << 10];
        while let Ok(read @ 1..) = upstream.read(&mut bytes) {
            if late.load(Ordering::Acquire) {
                thread::sleep(LATE);
            }
            if client.write_all(&bytes[..read]).is_err() {
                break;
            }
        }
        let _ = forth.join();
    });
    let url = format!("redis+unix://{}?{USER}", socket.display());
    let broker = RedisBroker::at(url).prefix(place.prefix.clone()).open().unwrap();
    let mut behind = || place.server_ms().saturating_sub(broker.now().millis());
    assert!(behind() <= 1);
    is_late.store(true, Ordering::Release);
    broker.tick().unwrap();
    assert!(behind() <= 1, "a job with a delay would begin {} ms early", behind());
    drop(broker);
    way.join().unwrap();
}
