//! Protocols over our sockets: crates written for std's sockets take ours, and crates written for tokio are waited for by
//! `block_on`, in greenlets and on plain threads alike.

use ropewalk::net::{SocketAddr, TcpListener, TcpStream};
use ropewalk::{TaskHandle, block_on};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::Arc;
use tungstenite::{Bytes, Message};

const CLIENTS: usize = 20;

/// Runs `body` as a greenlet and as a plain thread.
fn everywhere(body: fn()) {
    ropewalk::run(body);
    std::thread::spawn(body).join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
}

/// A server for `connections` of them, each served by a strand of the kind that calls.
fn server(connections: usize, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> (SocketAddr, TaskHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the machine has a loopback");
    let address = listener.local_addr().expect("it is bound");
    let serve = Arc::new(serve);
    let server = ropewalk::spawn(move || {
        let served: Vec<_> = (0..connections)
            .map(|_| {
                let (connection, _) = listener.accept().expect("a client");
                let serve = Arc::clone(&serve);
                ropewalk::spawn(move || serve(connection))
            })
            .collect();
        served.into_iter().for_each(|one| one.join().expect("it serves"));
    });
    (address, server)
}

/// Many clients at the same time, each a strand of the kind that calls.
fn clients(count: usize, client: impl Fn(usize) + Send + Sync + 'static) {
    let client = Arc::new(client);
    let all: Vec<_> = (0..count)
        .map(|number| {
            let client = Arc::clone(&client);
            ropewalk::spawn(move || client(number))
        })
        .collect();
    all.into_iter().for_each(|one| one.join().expect("it is served"));
}

#[test]
fn web_sockets() {
    everywhere(|| {
        let (address, server) = server(CLIENTS, |connection| {
            let mut socket = tungstenite::accept(connection).expect("a handshake");
            loop {
                match socket.read() {
                    Ok(message @ (Message::Text(_) | Message::Binary(_))) => socket.send(message).expect("it reads"),
                    Ok(_) => {}
                    Err(tungstenite::Error::ConnectionClosed) => return,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        clients(CLIENTS, move |number| {
            let stream = TcpStream::connect(address).expect("it listens");
            let (mut socket, _) = tungstenite::client("ws://localhost/", stream).expect("a handshake");
            // Longer than the buffers of the system: both sides wait in the middle of a frame.
            for message in [Message::text("hemp"), Message::binary(Bytes::from(vec![number as u8; 3 << 20]))] {
                socket.send(message.clone()).expect("the server reads");
                assert!(socket.read().expect("the server answers") == message);
            }
            socket.close(None).expect("the server reads");
            while socket.read().is_ok() {}
        });
        server.join().expect("it serves");
    });
}

/// Both ends of TLS with a certificate that signs itself.
fn tls() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a name");
    let certificate = signed.cert.der().clone();
    let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).expect("a key");
    let mut trusted = rustls::RootCertStore::empty();
    trusted.add(certificate.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they belong together");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(trusted)
        .with_no_client_auth();
    (Arc::new(server), Arc::new(client))
}

#[test]
fn tls_streams() {
    everywhere(|| {
        let (server_side, client_side) = tls();
        let (address, server) = server(CLIENTS, move |connection| {
            let session = rustls::ServerConnection::new(Arc::clone(&server_side)).expect("a session");
            let mut stream = rustls::StreamOwned::new(session, connection);
            let mut question = vec![0; 1 << 20];
            stream.read_exact(&mut question).expect("the client writes");
            stream.write_all(&question).expect("the client reads");
            stream.conn.send_close_notify();
            stream.flush().expect("the client reads");
        });
        clients(CLIENTS, move |number| {
            let name = ServerName::try_from("localhost").expect("a name");
            let session = rustls::ClientConnection::new(Arc::clone(&client_side), name).expect("a session");
            let connection = TcpStream::connect(address).expect("it listens");
            let mut stream = rustls::StreamOwned::new(session, connection);
            let question = vec![number as u8; 1 << 20];
            stream.write_all(&question).expect("the server reads");
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).expect("the server answers, and says that it is all");
            assert!(answer == question);
        });
        server.join().expect("it serves");
    });
}

/// One request and its answer.
fn answer_http(connection: TcpStream) {
    let mut lines = BufReader::new(&connection).lines();
    let request = lines.next().expect("a request").expect("text");
    lines.map_while(Result::ok).find(String::is_empty).expect("the end of the head");
    let path = request.split(' ').nth(1).expect("a path");
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{path}", path.len());
    (&connection).write_all(answer.as_bytes()).expect("the client reads");
}

#[test]
fn reqwest_asks_our_server() {
    everywhere(|| {
        let (address, server) = server(CLIENTS, answer_http);
        clients(CLIENTS, move |number| {
            let text = block_on(async { reqwest::get(format!("http://{address}/{number}")).await?.text().await });
            assert_eq!(text.expect("an answer"), format!("/{number}"));
        });
        server.join().expect("it serves");
    });
}

/// As much of a redis server as a ping needs: commands are arrays of strings.
fn answer_redis(connection: TcpStream) {
    let mut reader = BufReader::new(&connection);
    let mut line = String::new();
    let mut number = |reader: &mut BufReader<&TcpStream>, kind: char| -> Option<usize> {
        line.clear();
        reader.read_line(&mut line).expect("a line");
        let text = line.trim_end().strip_prefix(kind)?;
        Some(text.parse().expect("a number"))
    };
    while let Some(words) = number(&mut reader, '*') {
        let command: Vec<Vec<u8>> = (0..words)
            .map(|_| {
                let mut word = vec![0; number(&mut reader, '$').expect("a length") + 2];
                reader.read_exact(&mut word).expect("a word");
                word.truncate(word.len() - 2);
                word
            })
            .collect();
        let answer: &[u8] = if command[0].eq_ignore_ascii_case(b"PING") { b"+PONG\r\n" } else { b"+OK\r\n" };
        (&connection).write_all(answer).expect("the client reads");
    }
}

#[test]
fn redis_pings_our_server() {
    everywhere(|| {
        let (address, server) = server(CLIENTS, answer_redis);
        clients(CLIENTS, move |_| {
            let ended: redis::RedisResult<()> = block_on(async {
                let client = redis::Client::open(format!("redis://{address}/"))?;
                let mut connection = client.get_multiplexed_async_connection().await?;
                for _ in 0..10 {
                    let answer: String = redis::cmd("PING").query_async(&mut connection).await?;
                    assert_eq!(answer, "PONG");
                }
                Ok(())
            });
            ended.expect("it answers");
        });
        server.join().expect("it serves");
    });
}

/// Some crates ask for `Read + Write` as an object, or for a socket in pieces.
#[test]
fn socket_as_an_object() {
    trait Stream: Read + Write + Send + Sync + std::fmt::Debug + std::panic::UnwindSafe {}
    impl<S: Read + Write + Send + Sync + std::fmt::Debug + std::panic::UnwindSafe> Stream for S {}
    everywhere(|| {
        let (address, server) = server(1, |connection| drop(io::copy(&mut &connection, &mut &connection)));
        let mut stream: Box<dyn Stream> = Box::new(TcpStream::connect(address).expect("it listens"));
        stream.write_all(b"hemp").expect("the server reads");
        stream.read_exact(&mut [0; 4]).expect("the server answers");
        drop(stream);
        server.join().expect("it serves");
    });
}
