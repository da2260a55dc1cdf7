//! `rediss://`: who is trusted, and who is not. The authorities are made here, by `openssl`.

#![cfg(all(unix, feature = "redis"))]

#[allow(dead_code, reason = "what other tests use of it")]
#[path = "brokers/redis.rs"]
mod redis_server;

use redis_server::Server;
use ropewalk_jobs::broker::{Broker, ErrorKind, Topic};
use ropewalk_jobs::{BrokerError, NewJob, RedisBroker, Registry, audit::Audit};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn openssl(directory: &Path, arguments: &str) {
    let done = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output();
    let done = done.unwrap_or_else(|error| panic!("this test needs openssl: `apt-get install openssl` ({error})"));
    assert!(done.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&done.stderr));
}

/// An authority, and a certificate from it for what is called that.
fn authority(directory: &Path, name: &str, called: &str) {
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(directory, &format!("req -x509 {key} -subj /CN={name} -keyout {name}-ca.key -out {name}-ca.pem"));
    openssl(directory, &format!("req -new {key} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
    std::fs::write(directory.join("names"), format!("subjectAltName={called}\n")).expect("a file");
    let from = format!("-CA {name}-ca.pem -CAkey {name}-ca.key -CAcreateserial -days 2 -extfile names");
    openssl(directory, &format!("x509 -req -in {name}.csr {from} -out {name}.pem"));
}

#[test]
fn only_a_server_whose_certificate_is_right_is_spoken_to() {
    let directory = std::env::temp_dir().join(format!("ropewalk-tls-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory for temporary files");
    let directory = Directory(directory);
    let place = &directory.0;
    authority(place, "ours", "IP:127.0.0.1");
    authority(place, "theirs", "IP:127.0.0.1");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let port = port.to_string();
    let options = ["--tls-port", &port, "--bind", "127.0.0.1", "--tls-auth-clients", "optional"];
    let files = ["--tls-cert-file", "ours.pem", "--tls-key-file", "ours.key", "--tls-ca-cert-file", "ours-ca.pem"];
    let server = Server::start(place, &[&options[..], &files[..]].concat());
    let file = |name: &str| place.join(name).display().to_string();
    let url = |host: &str, more: &str| format!("rediss://{host}:{port}/?{more}");
    let ours = format!("ssl_ca_certs={}", file("ours-ca.pem"));
    let open = |url: String| RedisBroker::open(&url);
    let refused = |opened: Result<RedisBroker, BrokerError>, says: &str| {
        let error = opened.expect_err(says);
        assert!(error.to_string().contains(says), "{error}");
        error.kind()
    };

    // Both connections: the one that speaks and the one that listens.
    let broker = open(url("127.0.0.1", &ours)).expect("the authority is the right one");
    let seen = broker.news(Topic::Work);
    broker.enqueue(&[NewJob::new("t", "[]")]).expect("room for a job");
    broker.wait(Topic::Work, seen, Duration::from_secs(20));
    assert_ne!(broker.news(Topic::Work), seen, "nobody heard it");
    let audit = Audit::read(&url("127.0.0.1", &ours), None, &Registry::new()).expect("the authority is the right one");
    assert_eq!(audit.functions.len(), 1);
    let client = format!("ssl_certfile={}&ssl_keyfile={}", file("ours.pem"), file("ours.key"));
    open(url("127.0.0.1", &format!("{ours}&{client}"))).expect("a client that says who it is");

    // Signed by nobody whom this machine trusts; by somebody else; right, and for another name.
    assert_eq!(refused(open(url("127.0.0.1", "")), "certificate"), ErrorKind::Unavailable);
    let theirs = format!("ssl_ca_certs={}", file("theirs-ca.pem"));
    assert_eq!(refused(open(url("127.0.0.1", &theirs)), "certificate"), ErrorKind::Unavailable);
    assert_eq!(refused(open(url("localhost", &ours)), "certificate"), ErrorKind::Unavailable);
    // What would switch the look off, and what is not there.
    for off in ["ssl_cert_reqs=none", "ssl_cert_reqs=optional", "ssl_check_hostname=false"] {
        assert_eq!(refused(open(url("127.0.0.1", &format!("{ours}&{off}"))), "protects nobody"), ErrorKind::Refused);
    }
    assert_eq!(refused(open(url("127.0.0.1", "ssl_ca_certs=/nowhere.pem")), "/nowhere.pem"), ErrorKind::Refused);
    let half = format!("{ours}&ssl_certfile={}", file("ours.pem"));
    assert_eq!(refused(open(url("127.0.0.1", &half)), "ssl_keyfile"), ErrorKind::Refused);
    drop(server);
}
