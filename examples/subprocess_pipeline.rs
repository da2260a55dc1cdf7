//! Three programs in a row, without a shell: what each one ended with, and the limits on all of them together.
//!
//! ```text
//! cargo run --release --example subprocess_pipeline
//! ```

use ropewalk::subprocess::{Command, Error, Reason, ReturnCode};
use std::time::Duration;

fn main() -> Result<(), Error> {
    let fibres = "jute hemp sisal hemp jute hemp";

    // Arguments reach the programs as they are: nothing to quote, nothing to inject.
    let counted = (Command::new("tr").args([" ", "\\n"]) | Command::new("sort") | Command::new("uniq").arg("-c"))
        .input(fibres)
        .pipefail(true)
        .read()?;
    for line in counted.lines() {
        println!("count   : {}", line.trim());
    }

    // `head` wants two lines of an endless output. Its writer is told by SIGPIPE, and nobody waits for ever.
    let endless = Command::new("yes").arg("hemp") | Command::new("head").args(["-n", "2"]);
    let output = endless.output()?;
    let codes: Vec<String> = output.stages.iter().map(|status| status.returncode().to_string()).collect();
    println!("endless : {:?}, the stages ended with {}", String::from_utf8_lossy(&output.stdout), codes.join(" and "));

    // A stage that fails in the middle is seen if one asks for it.
    let broken = || Command::new("echo").arg("hemp") | Command::new("false") | Command::new("cat");
    println!("broken  : the last stage is content: {}", broken().output()?.status.success());
    let error = broken().pipefail(true).run().expect_err("a stage has failed");
    println!("broken  : {}", error.status().map_or(0, |status| status.returncode()));

    // All stages are one group: past the limit they end together.
    let slow = Command::new("sleep").arg("60") | Command::new("cat");
    let error = slow.timeout(Duration::from_millis(200)).run().expect_err("the limit has passed");
    println!("limit   : {error}");

    let error = Command::new("yes").output_limit(1_000_000).run().expect_err("there is no end to it");
    if let Reason::TooMuchOutput(limit) = error.reason() {
        println!("output  : stopped after {limit} bytes");
    }
    Ok(())
}
