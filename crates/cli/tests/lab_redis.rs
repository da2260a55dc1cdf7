//! The row of the lab on a broker that the user names.
#![cfg(unix)]

mod common;

use common::{complaint, lab, run, until};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A server of this test's own.
struct Server {
    child: Child,
    socket: PathBuf,
}

impl Server {
    fn start() -> Self {
        let directory = common::directory("lab-redis");
        // A path to a socket is short.
        let socket = std::env::temp_dir().join(format!("ropewalk-lab-{}.sock", std::process::id()));
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .current_dir(directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("this test needs redis-server: `apt-get install redis-server`");
        let server = Self { child, socket };
        until("redis-server answers", || UnixStream::connect(&server.socket).ok());
        server
    }

    fn keys(&self) -> String {
        let mut server = UnixStream::connect(&self.socket).expect("the server lives");
        server.write_all(b"DBSIZE\r\n").expect("the server lives");
        let mut answer = [0; 64];
        let read = server.read(&mut answer).expect("the server answers");
        String::from_utf8_lossy(&answer[..read]).trim().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

#[test]
fn row_on_a_broker_is_complete_and_leaves_nothing_there() {
    let server = Server::start();
    let broker = format!("redis+unix://{}", server.socket.display());
    let output = run(&["--quick", "--only", "io", "--json", "--broker", &broker]);
    assert!(output.status.success(), "{}", complaint(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = json["experiments"][0]["rows"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["model"] == "jobs-redis").expect("the row of the broker");
    assert_eq!(row["lost"], 0);
    assert!(row["speedup"].as_f64().expect("a number") > 1.0, "{row}");
    assert_eq!(server.keys(), ":0");
}

#[test]
fn broker_that_cannot_be_had_is_said_before_the_work() {
    let output = run(&["--quick", "--broker", "redis://:sesame@127.0.0.1:1/"]);
    let says = complaint(&output);
    assert!(!output.status.success() && says.contains("cannot be reached") && !says.contains("sesame"), "{says}");
    // And the address may stand in the environment.
    let output = lab(&["--quick", "--broker"]).env("RQ_REDIS_URL", "redis://:sesame@127.0.0.1:1/").output().unwrap();
    let says = complaint(&output);
    assert!(!output.status.success() && says.contains("cannot be reached") && !says.contains("sesame"), "{says}");
    let output = lab(&["--quick", "--broker"]).env_remove("RQ_REDIS_URL").output().unwrap();
    assert!(output.status.code() == Some(2) && complaint(&output).contains("RQ_REDIS_URL"), "{}", complaint(&output));
    let output = run(&["--quick", "--broker", "sqlite:jobs.db"]);
    assert!(complaint(&output).contains("redis://"), "{}", complaint(&output));
}
