//! `echo.50` and `echo.1000`: a TCP echo server with that many connections, one message of 64 bytes on its way in each.
//!
//! The server is a process of its own on the first core, the client a thread of this one on the second: the same code
//! against every server. With 50 connections the client is the limit of the fast ones, so `cpu` says more than `rate`.
//!
//! | row | what |
//! | --- | --- |
//! | `cpu` | CPU time of the server's process for a request, from `/proc/PID/task/*/schedstat` |
//! | `rate` | answers a second |
//! | `p50` `p99` | from the write of a message to the last byte of its answer, over all connections |
//! | `fairness` | the connection with the fewest answers, in percent of the one with the most |

pub mod client;
#[cfg(feature = "net")]
pub mod net;
pub mod servers;

use std::time::Duration;

use crate::harness::{Effort, Sample};
use crate::measure::{Spent, cpu_of, pinned};
use crate::peer::Program;

const WARM_UP: Duration = Duration::from_millis(300);
const WARM_UP_QUICK: Duration = Duration::from_millis(150);
const WINDOW: Duration = Duration::from_millis(1_500);
const WINDOW_QUICK: Duration = Duration::from_millis(400);

/// A sample of the work `echo.CONNECTIONS` from a server that is started for it.
pub fn sample(program: &Program, work: &'static str, effort: Effort) -> Sample {
    let connections = work.strip_prefix("echo.").and_then(|count| count.parse().ok()).expect("echo.CONNECTIONS");
    let mut server = {
        let _on_first = pinned(0);
        program.start().unwrap_or_else(|error| panic!("{error}"))
    };
    let port = server.serve(work).unwrap_or_else(|error| panic!("{error}"));
    let (warm_up, window) = if effort.quick { (WARM_UP_QUICK, WINDOW_QUICK) } else { (WARM_UP, WINDOW) };
    let process = server.id();
    let load = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            std::mem::forget(pinned(1));
            client::window(port, connections, warm_up, window, || cpu_of(process))
        });
        client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let answers: u64 = load.answers.iter().sum();
    assert!(answers > 0, "the server of {} answered nobody", program.system);
    let (least, most) = (load.answers.iter().min(), load.answers.iter().max());
    let share = least.zip(most).map_or(0.0, |(&least, &most)| 100.0 * least as f64 / most.max(1) as f64);
    let mut latencies = load.latencies;
    latencies.sort_unstable();
    let percentile =
        |percent: usize| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)] as f64 / 1e3;
    // In a closed loop the busier side has no pause, unless the machine made one.
    Sample::of_rows(Spent { wall: load.wall, cpu: load.server_cpu.max(load.client_cpu) })
        .and("cpu", load.server_cpu.as_secs_f64() * 1e6 / answers as f64)
        .and("rate", answers as f64 / load.wall.as_secs_f64())
        .and("p50", percentile(50))
        .and("p99", percentile(99))
        .and("fairness", share)
}
