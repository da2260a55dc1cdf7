//! Other programs from greenlets: input and output at once, a time limit that bounds the call, and errors that say what
//! happened.
//!
//! ```text
//! cargo run --release --example subprocess_communicate
//! ```

use ropewalk::greenlet;
use ropewalk::subprocess::{Command, Error, ReturnCode, Stdio};
use std::time::{Duration, Instant};

#[ropewalk::main]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    // More than any pipe holds goes in while as much comes out: nobody waits for a full pipe.
    let fibres = "hemp\njute\n".repeat(300_000);
    let sorted = Command::new("sort").input(fibres).run()?.stdout;
    println!("sort    : {} bytes went in and came out", sorted.len());

    // The shell ends at once, but what it started holds the pipe for a minute. The limit bounds the call all the same, and
    // the process group goes with it.
    let started = Instant::now();
    let late = Command::new("sh").args(["-c", "sleep 60 & echo started"]).timeout(Duration::from_millis(200)).run();
    let late = late.expect_err("the limit has passed");
    println!("limit   : timed out {}, in time {}", late.is_timeout(), started.elapsed() < Duration::from_secs(10));
    println!("limit   : it had written {:?}", String::from_utf8_lossy(&late.output().stdout));

    // Twenty programs, each waited for by a greenlet, all on this thread.
    let naps: Vec<_> = (0..20)
        .map(|number| {
            greenlet::spawn(move || Command::new("sh").args(["-c", &format!("sleep 0.2; echo {number}")]).read())
        })
        .collect();
    let numbers: Result<Vec<String>, Error> =
        naps.into_iter().map(|nap| nap.join().expect("it does not panic")).collect();
    println!("greenlet: {}", numbers?.join(" "));

    // An error has the whole story; a bad end need not be one.
    let failed = Command::new("sh").args(["-c", "echo out of hemp >&2; exit 3"]).run().expect_err("it ended badly");
    println!("error   : code {}", failed.status().map_or(0, |status| status.returncode()));
    println!("error   : {}", failed.to_string().lines().last().unwrap_or_default());
    let missing = Command::new("no-such-program").env("PATH", "/usr/bin:/bin").run().expect_err("there is none");
    println!("error   : {missing}");

    // A child to talk to, line by line. Dropped, it would be ended; here it ends by itself.
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let (mut stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let talk = greenlet::spawn(move || std::io::Write::write_all(&mut stdin, b"one\ntwo\n"));
    for line in stdout.lines() {
        println!("cat     : {}", line?);
    }
    talk.join()??;
    println!("cat     : ended well: {}", child.wait()?.success());
    Ok(())
}
