//! The web application of the examples, as a browser sees it; where there is none, as HTTP.

#[path = "support/built.rs"]
mod built;

use built::built;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// As long as a slow machine may take for five pages of 0.4 s and a browser.
const PATIENCE: Duration = Duration::from_secs(60);

struct App {
    child: Child,
    address: String,
}

impl App {
    fn start() -> App {
        let program = built().join(format!("web_app_jobs{}", std::env::consts::EXE_SUFFIX));
        let mut child =
            Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it was built");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("an address");
        let address = line.trim().strip_prefix("http://").expect("an address").trim_end_matches('/').to_owned();
        App { child, address }
    }

    /// The body of an answer.
    fn ask(&self, method: &str, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        let host = &self.address;
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // The end of its input is its end.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

#[test]
fn job_is_ordered_and_watched_over_http() {
    let app = App::start();
    let (status, body) = app.ask("POST", "/order/Ropes");
    assert_eq!(status, "HTTP/1.1 200 OK", "{body}");
    let id = body.split('"').nth(3).expect("an id").to_owned();
    let until = Instant::now() + PATIENCE;
    let (mut seen_under_way, mut last) = (false, String::new());
    while !last.contains("\"state\":\"done\"") {
        assert!(Instant::now() < until, "{last}");
        last = app.ask("GET", &format!("/job/{id}")).1;
        // Half of it: what was said while it ran has come through before its end.
        seen_under_way |= last.contains("\"state\":\"leased\"") && last.contains("page 1 of Ropes");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(seen_under_way, "nothing was heard of it before its end");
    assert!(last.contains("page 5 of Ropes") && last.contains("Ropes, 5 pages"), "{last}");
    assert_eq!(app.ask("GET", "/job/nobody").0, "HTTP/1.1 404 Not Found");
    assert_eq!(app.ask("GET", "/job/no%20id").0, "HTTP/1.1 400 Bad Request");
}

/// Without a browser on the machine the page is only looked at as text; `apt-get install chromium` for the rest.
#[test]
fn page_shows_the_job_to_its_end() {
    let app = App::start();
    let found = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|browser| {
        Command::new(browser).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    });
    let Some(browser) = found else {
        let (status, page) = app.ask("GET", "/");
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(page.contains("<progress id=\"done\"") && page.contains("/order/Ropes"));
        return;
    };
    // A browser's virtual time passes as fast as the page lets it: each look of the page is a fifth of a second of it.
    let profile = std::env::temp_dir().join(format!("ropewalk-browser-{}", std::process::id()));
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=600000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("http://{}/#order", app.address))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it has told its version");
    let mut page = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut page).expect("text");
    let _ = child.wait();
    let _ = std::fs::remove_dir_all(profile);
    assert!(page.contains("done: Ropes, 5 pages"), "{page}");
    assert!(page.contains("page 5 of Ropes"), "{page}");
}
