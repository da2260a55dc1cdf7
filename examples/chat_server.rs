//! A chat room for a thousand people on one thread: each has a greenlet that reads and one that writes.
//!
//! Nobody waits for a slow reader: whoever does not take what is said is sent away when a hundred lines wait. Without an
//! argument the program is its own thousand clients, and looks whether anything is left when they have gone.
//!
//! ```text
//! cargo run --release --example chat_server
//! cargo run --release --example chat_server 127.0.0.1:7000     # then `nc 127.0.0.1 7000`, twice
//! ```

use ropewalk::greenlet::{self, Group, join_all};
use ropewalk::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use ropewalk::sync::{Barrier, Mutex, Queue};
use std::io::{self, BufRead, BufReader, Write};
use std::{collections::HashMap, sync::Arc, time::Duration};

const LAG_MAX: usize = 100;
const SPEAKERS: usize = 10;

/// Who is in the room, and what each has still to be told.
type Room = Mutex<HashMap<SocketAddr, Arc<Queue<Arc<str>>>>>;

fn serve(room: &Room, connection: &TcpStream, who: SocketAddr) -> io::Result<()> {
    let outbox = Arc::new(Queue::bounded(LAG_MAX));
    room.lock().insert(who, Arc::clone(&outbox));
    let (mut writes, lines) = (connection.try_clone()?, Arc::clone(&outbox));
    let writer = greenlet::spawn(move || {
        writes.write_all(b"welcome\n")?;
        let written = lines.iter().try_for_each(|line: Arc<str>| writes.write_all(line.as_bytes()));
        // Gone or sent away: whoever reads from this connection shall not wait any more.
        written.and(writes.shutdown(Shutdown::Both))
    });
    for line in BufReader::new(connection).lines().map_while(Result::ok) {
        let line: Arc<str> = format!("{}: {line}\n", who.port()).into();
        let refuses = |outbox: &&Arc<Queue<_>>| outbox.try_put(Arc::clone(&line)).is_err();
        room.lock().values().filter(refuses).for_each(|full| full.shutdown_now());
    }
    room.lock().remove(&who);
    outbox.shutdown();
    writer.flatten().join().map_err(io::Error::other)
}

fn serve_all(listener: &TcpListener, room: &Arc<Room>, served: &Group) {
    loop {
        let Ok((connection, who)) = listener.accept() else {
            ropewalk::sleep(Duration::from_millis(10)); // no descriptor is free, for instance, and that passes
            continue;
        };
        let room = Arc::clone(room);
        drop(served.spawn(move || serve(&room, &connection, who)));
    }
}

/// Comes in, waits for the others, says a line if it is a speaker, and hears what is said. Returns how many lines.
fn client(server: SocketAddr, everybody: &Barrier, speaks: bool) -> io::Result<usize> {
    let connection = TcpStream::connect(server)?;
    let mut lines = BufReader::new(&connection).lines();
    lines.next().transpose()?;
    everybody.wait().map_err(io::Error::other)?;
    if speaks {
        (&connection).write_all(b"hemp is dear today\n")?;
    }
    Ok(lines.take(SPEAKERS).map_while(Result::ok).count())
}

/// How many descriptors are open, and how many may be; zeros where the system does not tell.
fn descriptors() -> (usize, usize) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let words = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap_or_default();
    let limit = words.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
    (std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count), limit)
}

#[ropewalk::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (room, served) = (Arc::new(Room::default()), Arc::new(Group::new()));
    let address = std::env::args().nth(1);
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:0"))?;
    if address.is_some() {
        ropewalk::dump_on_sigquit()?; // Ctrl-\ shows who is in the room
        println!("the room is open at {}", listener.local_addr()?);
        serve_all(&listener, &room, &served);
    }
    let (server, group, (before, limit)) = (listener.local_addr()?, Arc::clone(&served), descriptors());
    let accepts = greenlet::spawn(move || serve_all(&listener, &room, &group));
    // A client has a descriptor, and the server has one for it. Not every machine gives a program so many.
    let everybody = Arc::new(Barrier::new((limit.max(256) / 2 - 50).min(1000)));
    let clients = (0..everybody.parties()).map(|number| {
        let everybody = Arc::clone(&everybody);
        greenlet::spawn(move || client(server, &everybody, number < SPEAKERS))
    });
    let heard = join_all(clients)?.into_iter().sum::<io::Result<usize>>()?;
    println!("{SPEAKERS} of {} clients said a line each, and all together heard {heard}", everybody.parties());
    served.join();
    println!("all have left; descriptors before and after: {before} {}", descriptors().0);
    accepts.kill();
    Ok(())
}
