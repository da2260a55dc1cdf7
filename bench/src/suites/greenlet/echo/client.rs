//! The client: one thread, one epoll, one message on its way in each connection.
//!
//! Each message has its connection's number, a count and a pattern; an answer that differs in one byte ends the run.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::measure::thread_cpu;

const MESSAGE_BYTES: usize = 64;
const EVENTS_AT_ONCE: usize = 256;
/// A server that answers nobody for so long has hung.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// What the client saw in its window of time.
pub struct Load {
    /// How long the window was.
    pub wall: Duration,
    /// What `server_cpu` grew by meanwhile.
    pub server_cpu: Duration,
    /// The client's own CPU time meanwhile.
    pub client_cpu: Duration,
    /// Nanoseconds from a message to the end of its answer, of all connections.
    pub latencies: Vec<u64>,
    /// Answers of each connection.
    pub answers: Vec<u64>,
}

/// Sends and checks for `warm_up`, then for a `window` that counts.
pub fn window(
    port: u16,
    connections: usize,
    warm_up: Duration,
    window: Duration,
    server_cpu: impl Fn() -> Duration,
) -> Load {
    let mut client = Client::connect(port, connections);
    client.run(warm_up);
    client.latencies.clear();
    client.connections.iter_mut().for_each(|connection| connection.answers = 0);
    let (cpu, own, begin) = (server_cpu(), thread_cpu(), Instant::now());
    client.run(window);
    let (wall, own, cpu) = (begin.elapsed(), thread_cpu() - own, server_cpu() - cpu);
    Load {
        wall,
        server_cpu: cpu,
        client_cpu: own,
        latencies: client.latencies,
        answers: client.connections.iter().map(|connection| connection.answers).collect(),
    }
}

/// Sends and checks until there were so many answers; how many there were.
pub fn requests(port: u16, connections: usize, wanted: u64) -> u64 {
    let mut client = Client::connect(port, connections);
    while (client.latencies.len() as u64) < wanted {
        client.run(Duration::from_millis(1));
    }
    client.latencies.len() as u64
}

struct Connection {
    stream: TcpStream,
    message: [u8; MESSAGE_BYTES],
    answer: [u8; MESSAGE_BYTES],
    received: usize,
    sent_at: Instant,
    number: u64,
    count: u64,
    answers: u64,
}

impl Connection {
    fn send(&mut self) {
        self.count += 1;
        self.received = 0;
        self.message[..8].copy_from_slice(&self.number.to_le_bytes());
        self.message[8..16].copy_from_slice(&self.count.to_le_bytes());
        for (at, byte) in self.message[16..].iter_mut().enumerate() {
            *byte = (self.count as u8).wrapping_mul(31).wrapping_add(at as u8);
        }
        self.sent_at = Instant::now();
        let written = self.stream.write(&self.message).expect("the server reads");
        assert_eq!(written, MESSAGE_BYTES, "an empty connection takes a whole message");
    }

    /// Takes what has come. True when the answer is complete.
    fn receive(&mut self) -> bool {
        match self.stream.read(&mut self.answer[self.received..]) {
            Ok(0) => panic!("the server closed a connection"),
            Ok(bytes) => self.received += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("a connection broke: {error}"),
        }
        if self.received < MESSAGE_BYTES {
            return false;
        }
        assert_eq!(self.answer, self.message, "the server answered something else");
        true
    }
}

struct Client {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    events: Vec<Event>,
    latencies: Vec<u64>,
}

impl Client {
    /// Connects, and sends the first message in each connection.
    fn connect(port: u16, connections: usize) -> Client {
        let epoll = epoll::create(CreateFlags::CLOEXEC).expect("an epoll can be made");
        let connections = (0..connections)
            .map(|number| {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server listens");
                stream.set_nodelay(true).expect("it is a TCP socket");
                stream.set_nonblocking(true).expect("it is a socket");
                let data = EventData::new_u64(number as u64);
                epoll::add(&epoll, &stream, data, EventFlags::IN).expect("it is not in there");
                let (message, answer) = ([0; MESSAGE_BYTES], [0; MESSAGE_BYTES]);
                let sent_at = Instant::now();
                Connection {
                    stream,
                    message,
                    answer,
                    received: 0,
                    sent_at,
                    number: number as u64,
                    count: 0,
                    answers: 0,
                }
            })
            .collect();
        let mut client =
            Client { epoll, connections, events: Vec::with_capacity(EVENTS_AT_ONCE), latencies: Vec::new() };
        client.connections.iter_mut().for_each(Connection::send);
        client
    }

    /// Answers come in and messages go out for that long.
    fn run(&mut self, length: Duration) {
        let silence = Timespec::try_from(SILENCE_MAX).expect("it is short");
        let begin = Instant::now();
        while begin.elapsed() < length {
            match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&silence)) {
                Ok(0) => panic!("the server has been silent for {} s", SILENCE_MAX.as_secs()),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => panic!("waiting for answers: {error}"),
            }
            for event in self.events.drain(..) {
                let connection = &mut self.connections[event.data.u64() as usize];
                if connection.receive() {
                    self.latencies.push(connection.sent_at.elapsed().as_nanos() as u64);
                    connection.answers += 1;
                    connection.send();
                }
            }
        }
    }
}
