//! What the lab prints and writes, looked at as a script or a browser would.

mod common;

use std::path::PathBuf;
use std::sync::OnceLock;

use common::{complaint, directory, has_python, run};
use serde_json::Value;

struct Ran {
    json: Value,
    files: PathBuf,
}

/// One quick run, looked at by many tests.
fn quick() -> &'static Ran {
    static RAN: OnceLock<Ran> = OnceLock::new();
    RAN.get_or_init(|| {
        let files = directory("quick");
        let (svg, html) = (files.join("svg"), files.join("lab.html"));
        let (svg, html) = (svg.to_string_lossy(), html.to_string_lossy());
        let output = run(&["--quick", "--mixed", "--json", "--svg", &svg, "--html", &html]);
        assert!(output.status.success(), "{}", complaint(&output));
        assert_eq!(complaint(&output), "", "nothing to complain about, and no bar without a terminal");
        Ran { json: serde_json::from_slice(&output.stdout).expect("one JSON object and nothing else"), files }
    })
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn rows(experiment: &Value) -> &[Value] {
    experiment["rows"].as_array().expect("an array")
}

#[test]
#[cfg(target_os = "linux")]
fn what_was_predicted_of_the_sequential_row_stands_beside_what_was_measured() {
    for experiment in quick().json["experiments"].as_array().expect("an array") {
        let profile = &experiment["profile"];
        assert_eq!(keys(profile), ["class", "predicted", "sentence"]);
        for predicted in profile["predicted"].as_array().expect("an array") {
            let row = rows(experiment).iter().find(|r| r["model"] == predicted["model"]).expect("a row that ran");
            assert_eq!(predicted["measured_s"], row["wall_s"]);
            assert!(predicted["low_s"].as_f64() < predicted["high_s"].as_f64(), "{predicted}");
        }
    }
}

#[test]
fn json_has_the_keys_that_scripts_rely_on() {
    let json = &quick().json;
    assert_eq!(keys(json), ["claims", "experiments", "machine", "version"]);
    let claims = json["claims"].as_array().expect("an array");
    assert!(claims.len() == 4 && claims.iter().all(|claim| keys(claim) == ["held", "text"]), "{claims:?}");
    assert!(json["machine"]["effective_cores"].as_f64().is_some_and(|c| c > 0.0));
    let names: Vec<&str> =
        json["experiments"].as_array().expect("an array").iter().filter_map(|e| e["name"].as_str()).collect();
    assert_eq!(names, ["io-bound", "cpu-bound", "mixed"]);
    for experiment in json["experiments"].as_array().expect("an array") {
        let expected = [
            "ideal_speedup",
            "name",
            "notes",
            #[cfg(target_os = "linux")]
            "profile",
            "rows",
            "unit_of_work",
            "verdict",
        ];
        assert_eq!(keys(experiment), expected);
        let models: Vec<&str> = rows(experiment).iter().filter_map(|r| r["model"].as_str()).collect();
        let expected = [
            "sequential",
            "threads-5",
            "threads-per-core",
            "thread-pool-160",
            "thread-pool-auto",
            "work-stealing",
            "greenlets",
            "async",
            #[cfg(target_os = "linux")]
            "processes",
            #[cfg(all(unix, feature = "jobs"))]
            "jobs-sqlite",
        ];
        assert_eq!(models, expected);
        for row in rows(experiment) {
            let expected = [
                "cpu_percent",
                "lost",
                "model",
                "of_ideal",
                "peak_in_flight",
                "peak_rss_mib",
                "processors",
                "speedup",
                "switching",
                "wall_s",
            ];
            assert_eq!(keys(row), expected);
            assert!(["os", "cooperative", "none"].contains(&row["switching"].as_str().expect("a word")));
        }
    }
}

#[test]
fn figures_of_a_row_agree_with_each_other() {
    for experiment in quick().json["experiments"].as_array().expect("an array") {
        let ideal = experiment["ideal_speedup"].as_f64().expect("a number");
        let reference = rows(experiment)[0]["wall_s"].as_f64().expect("a number");
        for row in rows(experiment) {
            let number = |key: &str| row[key].as_f64().expect("a number");
            assert_eq!(number("lost"), 0.0);
            assert!((number("speedup") - reference / number("wall_s")).abs() < 1e-6 * number("speedup"));
            assert!((number("of_ideal") - number("speedup") / ideal).abs() < 1e-9);
            assert!(number("peak_rss_mib") > 0.5, "a process has some memory");
            let most = match row["model"].as_str() {
                Some("sequential") => 1.0,
                Some("threads-5") => 5.0,
                _ => 160.0,
            };
            assert!((1.0..=most).contains(&number("peak_in_flight")), "{row}");
        }
    }
}

#[test]
fn overlapping_waits_is_seen() {
    // Not a limit of speed: a lab that ran its rows one unit after the other would stay at 1.
    let io = &quick().json["experiments"][0];
    assert!(rows(io)[1]["speedup"].as_f64().is_some_and(|s| s > 2.0), "{io}");
    for model in [3, 4, 6, 7] {
        assert!(rows(io)[model]["peak_in_flight"].as_u64().is_some_and(|n| n > 5), "{io}");
    }
}

#[test]
fn svg_is_well_formed_and_needs_nothing_from_elsewhere() {
    for name in ["io-bound", "cpu-bound", "mixed"] {
        let path = quick().files.join("svg").join(format!("{name}.svg"));
        let text = std::fs::read_to_string(&path).expect("--svg writes each");
        let tree = roxmltree::Document::parse(&text).expect("well-formed XML");
        let texts: String = tree.descendants().filter(|n| n.has_tag_name("text")).filter_map(|n| n.text()).collect();
        for needed in
            ["sequential", "threads-5", "thread-pool-160", "greenlets", "async", "computing", "waiting", "1 worker"]
        {
            assert!(texts.contains(needed), "{name}.svg does not show {needed:?}");
        }
        for node in tree.descendants() {
            for attribute in node.attributes() {
                let foreign = attribute.name() == "href" || attribute.value().contains("://");
                assert!(!foreign, "{name}.svg refers to {}", attribute.value());
                assert!(
                    !attribute.value().contains("NaN") && !attribute.value().contains("inf"),
                    "{name}.svg: {attribute:?}"
                );
            }
        }
    }
}

#[test]
fn page_is_self_contained() {
    let page = std::fs::read_to_string(quick().files.join("lab.html")).expect("--html writes it");
    assert_eq!(page.matches("<svg ").count(), 3);
    let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
    for foreign in ["://", "<script", " src=", "@import", "url(http"] {
        assert!(!elsewhere.contains(foreign), "the page contains {foreign}");
    }
    for opened in ["section", "table", "ul", "main", "body", "html", "svg"] {
        assert_eq!(
            page.matches(&format!("</{opened}>")).count(),
            page.matches(&format!("<{opened}")).count(),
            "{opened}"
        );
    }
    assert!(page.contains("What the course says"));
}

#[test]
fn text_fits_80_columns_and_has_no_colour_in_a_pipe() {
    let with_python = has_python();
    let arguments: &[&str] =
        if with_python { &["--quick", "--only", "cpu", "--with", "python"] } else { &["--quick", "--only", "cpu"] };
    let output = run(arguments);
    assert!(output.status.success(), "{}", complaint(&output));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
    assert!(!text.contains('\u{1b}'), "an escape sequence in a pipe");
    assert!(text.contains("Doubling the bound took"));
    assert!(text.contains("What the course says"));
    if with_python {
        for model in ["python-sequential", "python-threading", "python-asyncio", "python-multiprocessing"] {
            assert!(text.contains(model), "{model}");
        }
    } else {
        assert!(text.contains("add --with python"));
    }
}

#[test]
fn python_does_the_same_io_and_the_same_mixed_work() {
    if !has_python() {
        return;
    }
    for which in ["io", "mixed"] {
        let output = run(&["--quick", "--only", which, "--with", "python", "--json"]);
        assert!(output.status.success(), "{}", complaint(&output));
        let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let experiment = &json["experiments"][0];
        assert!(rows(experiment).iter().all(|r| r["lost"] == 0), "{experiment}");
        let of = |model: &str| rows(experiment).iter().find(|r| r["model"] == model).expect("its row");
        assert!(
            ["python-sequential", "python-threading", "python-multiprocessing"].into_iter().all(|m| of(m)["lost"] == 0)
        );
        let asyncio = of("python-asyncio");
        assert_eq!(asyncio["switching"], "cooperative");
        assert!(asyncio["peak_in_flight"].as_u64().is_some_and(|n| n > 5), "asyncio overlaps: {experiment}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_crash_costs_processes_what_crashed_and_the_others_everything() {
    let output = run(&["--crash", "--quick", "--json"]);
    assert!(output.status.success(), "{}", complaint(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object and nothing else");
    let rows = rows(&report);
    assert!(rows.len() >= 8, "every model has its row");
    for row in rows {
        let lost = if row["model"] == "processes" { 2 } else { 100 };
        assert_eq!(row["lost"], lost, "{row}");
    }
}
