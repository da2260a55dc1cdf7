//! What users get wrong, and what servers and results get wrong: a clear error each, and its own exit code.

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{complaint, directory, lab, run};

/// Serves `answer(n)` to the n-th request, on connections that stay open. Lives as long as the test program.
fn server(answer: impl Fn(u64) -> String + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/page", listener.local_addr().expect("bound"));
    let answer = Arc::new(answer);
    let count = Arc::new(AtomicU64::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (answer, count) = (Arc::clone(&answer), Arc::clone(&count));
            std::thread::spawn(move || converse(stream, |n| answer(n), &count));
        }
    });
    url
}

fn converse(stream: TcpStream, answer: impl Fn(u64) -> String, count: &AtomicU64) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(line)) = lines.next() {
        if line.is_empty() && writer.write_all(answer(count.fetch_add(1, Ordering::SeqCst)).as_bytes()).is_err() {
            return;
        }
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Runs the lab with what cannot work, and checks how it says so.
fn refused(arguments: &[&str], code: i32, needed: &[&str]) {
    let output = run(arguments);
    let text = complaint(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(text.starts_with("error: "), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    for word in needed {
        assert!(text.contains(word), "{arguments:?} does not mention {word:?}: {text}");
    }
    assert!(output.stdout.is_empty(), "nothing was measured");
}

#[test]
fn unreachable_url() {
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port that nobody listens on");
    let url = format!("http://{gone}/x");
    refused(&["--url", &url], 3, &[&url, "refused"]);
    refused(&["--url", "http://no-such-host.invalid/"], 3, &["no-such-host.invalid"]);
}

#[test]
fn url_that_answers_an_error_or_points_elsewhere() {
    let missing = server(|_| "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned());
    refused(&["--url", &missing], 3, &["404"]);
    let moved =
        server(|_| "HTTP/1.1 301 Moved\r\nLocation: http://example.test/new\r\nContent-Length: 0\r\n\r\n".to_owned());
    refused(&["--url", &moved], 3, &["http://example.test/new", "name that one"]);
}

#[test]
fn url_that_is_none() {
    refused(&["--url", "ftp://example.test/"], 3, &["http://"]);
    refused(&["--url", "example.test"], 3, &["http://"]);
    refused(&["--url", "http://a b/"], 3, &["not a URL"]);
}

#[test]
fn password_in_a_url_is_refused_and_not_repeated() {
    for url in [
        "http://user:s3cret@127.0.0.1:1/",
        "http://s3cret@127.0.0.1/?a",
        "user:s3cret@127.0.0.1",
        "http:/u:s3cret@host/",
    ] {
        refused(&["--url", url], 2, &["--url", "password"]);
        assert!(!complaint(&run(&["--url", url])).contains("s3cret"));
    }
    // An `@` further on is a part of a path.
    refused(&["--url", "http://no-such-host.invalid/@home"], 3, &["no-such-host.invalid/@home"]);
}

#[cfg(not(feature = "tls"))]
#[test]
fn https_without_the_feature_names_the_feature() {
    refused(&["--url", "https://example.test/"], 3, &["tls", "--features"]);
}

#[test]
fn answer_that_breaks_off() {
    // One connection that closes in the middle of its body, whenever it is asked.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = BufReader::new(stream.try_clone().expect("a second handle")).lines();
            while head.next().is_some_and(|l| l.is_ok_and(|l| !l.is_empty())) {}
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        }
    });
    refused(&["--url", &url], 3, &[&url]);
}

#[test]
fn the_users_own_url_works() {
    let url = server(|_| ok("always the same"));
    let output = run(&["--quick", "--only", "io", "--json", "--url", &url]);
    assert!(output.status.success(), "{}", complaint(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let rows = json["experiments"][0]["rows"].as_array().expect("an array");
    assert!(rows.iter().all(|r| r["lost"] == 0), "{json}");
}

#[test]
fn a_page_that_changes_by_itself_is_measured_and_said_so() {
    let url = server(|n| ok(&format!("visitor number {n}")));
    let output = run(&["--quick", "--only", "io", "--url", &url]);
    assert!(output.status.success(), "{}", complaint(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    let words: Vec<&str> = text.split_whitespace().collect();
    assert!(words.join(" ").contains("only success and completeness"), "{text}");
}

#[test]
fn url_that_answers_something_else_later_makes_the_lab_fail() {
    let url = server(|n| ok(if n == 20 { "wrong" } else { "right" }));
    let output = run(&["--quick", "--only", "io", "--url", &url]);
    assert_eq!(output.status.code(), Some(6), "{}", complaint(&output));
}

#[test]
fn unreadable_files() {
    refused(&["--files", "/no/such/directory"], 4, &["/no/such/directory", "No such file"]);
    let empty = directory("empty");
    refused(&["--files", &empty.to_string_lossy()], 4, &["no file in"]);
    let file = empty.join("file");
    std::fs::write(&file, "x").expect("writable");
    refused(&["--files", &file.to_string_lossy()], 4, &["directory"]);
}

#[cfg(target_os = "linux")]
#[test]
fn unreadable_file_is_named_with_its_reason() {
    // Files that only can be written, for root as well as for anybody else.
    let route = "/proc/sys/net/ipv4/route";
    if std::fs::read(format!("{route}/flush")).is_ok() || !std::path::Path::new(route).exists() {
        eprintln!("skipped: this system has no file that nobody can read");
        return;
    }
    refused(&["--files", route], 4, &["/proc/sys/net/ipv4/route/", "denied"]);
}

#[cfg(unix)]
#[test]
fn file_whose_name_is_no_text_is_named() {
    use std::os::unix::ffi::OsStrExt as _;
    let some = directory("no-text");
    std::fs::write(some.join(std::ffi::OsStr::from_bytes(b"hemp\xff")), "x").expect("writable");
    refused(&["--files", &some.to_string_lossy()], 4, &["hemp", "no UTF-8"]);
}

#[test]
fn files_are_hashed_by_every_row() {
    let some = directory("some");
    std::fs::create_dir(some.join("below")).expect("writable");
    for (name, size) in [("a", 0), ("b", 10), ("below/c", 3_000_000)] {
        std::fs::write(some.join(name), vec![7; size]).expect("writable");
    }
    let output = run(&["--quick", "--only", "cpu", "--json", "--files", &some.to_string_lossy()]);
    assert!(output.status.success(), "{}", complaint(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["experiments"][0]["unit_of_work"], "SHA-256 of each of 3 files");
}

#[test]
fn places_that_cannot_be_written_are_refused_before_anything_runs() {
    let here = directory("places");
    let file = here.join("file");
    std::fs::write(&file, "x").expect("writable");
    refused(&["--html", &here.join("no/such/lab.html").to_string_lossy()], 8, &["--html", "lab.html"]);
    refused(&["--svg", &file.join("below").to_string_lossy()], 8, &["--svg"]);
    // A page that nothing came of is not left behind; one that was there stays as it was.
    let page = here.join("lab.html");
    refused(&["--html", &page.to_string_lossy(), "--files", "/no/such/directory"], 4, &["/no/such/directory"]);
    assert!(!page.exists());
    refused(&["--html", &file.to_string_lossy(), "--files", "/no/such/directory"], 4, &["/no/such/directory"]);
    assert_eq!(std::fs::read(&file).expect("readable"), b"x");
}

#[test]
fn options_that_contradict_each_other() {
    refused(&["--only", "cpu", "--url", "http://127.0.0.1:1/"], 2, &["--url", "--only cpu"]);
    refused(&["--only", "io", "--files", "/tmp"], 2, &["--files", "--only io"]);
    refused(&["--only", "neither"], 2, &["neither"]);
    refused(&["--with", "cobol"], 2, &["cobol"]);
    refused(&["--only", "cpu", "--mixed"], 2, &["--only cpu", "--mixed"]);
}

#[test]
fn missing_python() {
    let output = lab(&["--with", "python"]).env("PATH", "/nowhere").output().expect("started");
    assert_eq!(output.status.code(), Some(5), "{}", complaint(&output));
    assert!(complaint(&output).contains("python3") && complaint(&output).contains("install"));
}

#[test]
fn wrong_body_makes_the_lab_fail() {
    let output = run(&["--quick", "--only", "io", "--json", "--fault", "wrong-body"]);
    let text = complaint(&output);
    assert_eq!(output.status.code(), Some(6), "{text}");
    assert!(text.contains("io-bound sequential: unit 12 answered"), "{text}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("the report comes nevertheless");
    for row in json["experiments"][0]["rows"].as_array().expect("an array") {
        assert_eq!(row["lost"], 1, "{row}");
    }
    assert!(json["experiments"][0]["verdict"].as_str().is_some_and(|v| v.starts_with("No verdict")));
}

#[test]
fn wrong_sum_makes_the_lab_fail() {
    let output = run(&["--quick", "--only", "cpu", "--fault", "wrong-sum"]);
    let text = complaint(&output);
    assert_eq!(output.status.code(), Some(6), "{text}");
    assert!(text.contains("cpu-bound sequential: unit 7 answered"), "{text}");
}
