//! `ropewalk lab --explain-sizing`, looked at as a script or a browser would.

mod common;

use common::{complaint, directory, run};
use serde_json::Value;

#[test]
fn decisions_and_curves_of_both_experiments() {
    let svg = directory("explain-sizing");
    let output = run(&["--quick", "--explain-sizing", "--json", "--svg", &svg.to_string_lossy()]);
    assert!(output.status.success(), "{}", complaint(&output));
    let json: Value = serde_json::from_slice(&output.stdout).expect("one JSON object and nothing else");
    let experiments = json["experiments"].as_array().expect("an array");
    let names: Vec<_> = experiments.iter().filter_map(|e| e["name"].as_str()).collect();
    assert_eq!(names, ["io-bound", "cpu-bound"]);
    let peak = |index: usize| {
        let points = experiments[index]["points"].as_array().expect("an array");
        points.iter().filter_map(|point| point["target"].as_u64()).max().expect("there are points")
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    if cfg!(target_os = "linux") {
        assert!(peak(0) >= 4 * cores.min(8), "the waits ask for more than cores: {}", experiments[0]["decisions"]);
        let reason = experiments[0]["decisions"][0]["reason"].as_str().expect("a sentence");
        assert!(reason.starts_with("grow ") && reason.contains(" % of the time, the rest in "), "{reason}");
    }
    assert!(peak(1) <= cores + 2, "sums need no more than cores: {}", experiments[1]["decisions"]);
    for name in names {
        let text = std::fs::read_to_string(svg.join(format!("sizing-{name}.svg"))).expect("the picture was written");
        assert!(text.starts_with("<svg ") && text.contains("jobs that may run"), "{text}");
    }
}

#[test]
fn wrong_result_is_noticed_here_too() {
    let output = run(&["--quick", "--explain-sizing", "--only", "cpu", "--fault", "wrong-sum"]);
    assert!(!output.status.success());
    assert!(
        complaint(&output).contains("cannot be trusted") || complaint(&output).contains("nothing above"),
        "{}",
        complaint(&output)
    );
}

#[test]
fn what_it_does_not_show_is_refused() {
    let output = run(&["--explain-sizing", "--html", "page.html"]);
    assert!(!output.status.success());
    assert!(complaint(&output).contains("--html"), "{}", complaint(&output));
}
