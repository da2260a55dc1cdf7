//! Pictures of timelines that a careless drawing would get wrong: well-formed, inside the paper, and never huge.

mod made;

use std::collections::HashMap;
use std::time::Duration;

use made::Does::{Run, Wait as In};
use ropewalk_profile::picture::curves::{self, Curve, Curves, PoolLook};
use ropewalk_profile::picture::{Comparison, Strip, html, svg, terminal, trace};
use ropewalk_profile::timeline::{Cause, Timeline, Unit, Wait};

fn us(n: u64) -> Duration {
    Duration::from_micros(n)
}

/// `units` on each of `threads`, each `long` microseconds of which all but the first and last tenth is waiting.
fn strip(name: &str, threads: u64, units: u64, long: u64) -> Strip {
    let mut all = Vec::new();
    for thread in 0..threads {
        for i in 0..units {
            let start = thread + i * long;
            let wait = Wait { start: us(start + long / 10), end: us(start + long - long / 10), cause: Cause::Network };
            all.push(Unit {
                id: thread * units + i,
                thread,
                start: us(start),
                end: us(start + long),
                waits: vec![wait],
            });
        }
    }
    let timeline = Timeline::from_units(&all).expect("nothing contradicts itself");
    Strip { name: name.to_owned(), timeline, speedup: "1.00x".to_owned() }
}

fn comparison(strips: Vec<Strip>) -> Comparison {
    Comparison { title: "A <title> & \"more\"".to_owned(), subtitle: "units of work".to_owned(), strips }
}

/// Every number of every path and rectangle lies on the paper.
fn inside(text: &str) {
    let tree = roxmltree::Document::parse(text).expect("well-formed XML");
    let root = tree.root_element();
    let number = |n: roxmltree::Node<'_, '_>, key: &str| n.attribute(key).and_then(|v| v.parse::<f64>().ok());
    let (width, height) = (number(root, "width").expect("a width"), number(root, "height").expect("a height"));
    for node in root.descendants().filter(|n| n.is_element()) {
        for (key, most) in [("x", width), ("y", height), ("x1", width), ("x2", width), ("y1", height), ("y2", height)] {
            if let Some(v) = number(node, key) {
                assert!((0.0..=most).contains(&v), "{key}={v} of a {} is off the paper", node.tag_name().name());
            }
        }
        if let Some(path) = node.attribute("d") {
            let numbers = path.split(|c: char| c.is_ascii_alphabetic() || c == ' ').filter(|n| !n.is_empty());
            for n in numbers {
                let v: f64 = n.parse().unwrap_or_else(|_| panic!("{n} in a path is no number"));
                assert!((0.0..=width.max(height)).contains(&v), "{v} in a path is off the paper");
            }
        }
    }
}

#[test]
fn nothing_at_all_is_still_a_picture() {
    inside(&svg::draw(&comparison(Vec::new())));
    inside(&svg::draw(&comparison(vec![Strip::default()])));
    assert!(terminal::draw(&comparison(vec![Strip::default()]), terminal::Style::default()).contains("waiting"));
}

#[test]
fn units_of_no_length_are_still_a_picture() {
    inside(&svg::draw(&comparison(vec![strip("instant", 3, 4, 0)])));
}

#[test]
fn one_lane_and_many_lanes_of_very_different_length() {
    let all = vec![strip("sequential", 1, 160, 50_000), strip("five", 5, 32, 50_000), strip("pool", 160, 1, 50_000)];
    let text = svg::draw(&comparison(all));
    inside(&text);
    assert!(text.contains("160 workers"));
    assert!(text.contains("magnified"), "what is too short to see is shown larger");
}

#[test]
fn ten_thousand_lanes_stay_legible_and_say_how_many_there_are() {
    let text = svg::draw(&comparison(vec![strip("crowd", 10_000, 1, 1000)]));
    inside(&text);
    let tree = roxmltree::Document::parse(&text).expect("well-formed XML");
    let height: f64 = tree.root_element().attribute("height").and_then(|h| h.parse().ok()).expect("a height");
    assert!(height < 400.0, "{height} pixels tall");
    assert!(text.contains("10000 workers (168 drawn)"));
}

#[test]
fn a_hundred_thousand_units_do_not_make_a_huge_file() {
    let text = svg::draw(&comparison(vec![strip("many", 2, 50_000, 100)]));
    inside(&text);
    assert!(text.len() < 200_000, "{} bytes", text.len());
}

#[test]
fn long_names_push_the_lanes_aside() {
    let long = strip("a-model-with-a-name-of-its-own", 2, 3, 1000);
    let text = svg::draw(&comparison(vec![long]));
    inside(&text);
    // DejaVu Sans Bold, a wide face, needs about 8.7 pixels for a character of this size.
    let first = text.find("class=\"rw-track\" d=\"M").map(|at| &text[at + 21..]).expect("a lane");
    let left: f64 = first.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    assert!(left > 32.0 + 30.0 * 8.7, "lanes begin at {left}");
}

#[test]
fn terminal_lanes_fit_and_need_neither_colour_nor_unicode() {
    let all =
        || vec![strip("python-multiprocessing", 2, 80, 50_000), strip("pool", 160, 1, 50_000), strip("one", 1, 3, 1)];
    for width in [60, 80, 200] {
        let style = terminal::Style { width, ..terminal::Style::default() };
        let text = terminal::draw(&comparison(all()), style);
        assert!(text.lines().all(|l| l.chars().count() <= width), "{width}:\n{text}");
        assert!(!text.contains('\u{1b}'));
        let plain = terminal::draw(&comparison(all()), terminal::Style { ascii: true, ..style });
        assert!(plain.is_ascii());
        assert!(plain.contains('-') && plain.contains("160 workers"));
    }
    let coloured = terminal::draw(&comparison(all()), terminal::Style { colour: true, ..terminal::Style::default() });
    assert_eq!(coloured.matches("\u{1b}[0m").count() * 2, coloured.matches('\u{1b}').count(), "every colour is ended");
}

#[test]
fn text_of_a_page_cannot_become_markup() {
    let page = html::Page {
        title: "<script>alert(1)</script>".to_owned(),
        sections: vec![html::Section {
            heading: "a & b".to_owned(),
            table: html::Table { head: vec!["<b>".to_owned()], rows: vec![vec!["\"quoted\"".to_owned()]] },
            claims: vec![html::Claim { mark: "held".to_owned(), text: "1 < 2".to_owned() }],
            ..html::Section::default()
        }],
        ..html::Page::default()
    };
    let text = html::draw(&page);
    assert!(!text.contains("<script") && !text.contains("<b>"));
    assert!(text.contains("a &amp; b") && text.contains("1 &lt; 2") && text.contains("&quot;quoted&quot;"));
}

#[test]
fn curves_stay_on_the_paper() {
    inside(&curves::draw(&Curves::default()));
    let long = (0..5_000).map(|at| (us(at * at), at % 7 * 1_000)).collect();
    let curve = |points| Curve { name: "a <name>".to_owned(), points, at_right: false };
    let picture = curves::draw(&Curves {
        title: "A <title> & \"more\"".to_owned(),
        subtitle: "numbers".to_owned(),
        curves: vec![curve(long), curve(vec![(us(5), 3)]), curve(Vec::new())],
        marks: vec![(us(1_000_000), "grow 2 -> 4".to_owned())],
    });
    inside(&picture);
    assert!(picture.contains("grow 2 -&gt; 4"));
}

/// A queue of thousands and a dozen workers on one scale would be a line on the axis.
#[test]
fn long_queue_does_not_press_the_workers_onto_the_axis() {
    let look = |at, workers, queued| PoolLook { at: us(at), target: workers, running: workers, queued };
    let looks = [look(0, 2, 1_598), look(10, 12, 700), look(20, 12, 0)];
    let picture = curves::draw(&Curves::of_pool("A pool".to_owned(), "jobs".to_owned(), &looks, Vec::new()));
    inside(&picture);
    for label in [">12<", ">6<", ">1598<", ">799<"] {
        assert!(picture.contains(label), "no {label} in {picture}");
    }
}

#[test]
fn slices_of_a_trace_are_in_order_named_and_never_overlap() {
    let mut r = made::recording(3000);
    made::process(&mut r, 100, 1, "/opt/program");
    made::process(&mut r, 200, 100, "/opt/other");
    made::thread(&mut r, 100, 100, &[Run(30), In(170, made::net("10.0.0.7:80"))]);
    made::thread(&mut r, 100, 101, &[Run(33), In(41, made::futex(0x1000)), Run(10)]);
    made::thread(&mut r, 200, 200, &[In(77, made::file("/var/x")), Run(29)]);
    let text = trace::json(&r, &ropewalk_profile::judge(&r).states);
    let trace: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let events = trace["traceEvents"].as_array().expect("a list");
    let (mut ends, mut slices) = (HashMap::new(), 0);
    for event in events {
        let number = |key: &str| event[key].as_f64().unwrap_or_else(|| panic!("{key} of {event}"));
        match event["ph"].as_str().expect("a kind of event") {
            "X" => {
                slices += 1;
                let end = ends.insert((event["pid"].as_u64(), event["tid"].as_u64()), number("ts") + number("dur"));
                assert!(number("dur") >= 0.0 && end.is_none_or(|end| end <= number("ts")), "{event} after {end:?}");
                assert!(number("ts") >= 0.0 && number("ts") + number("dur") <= 3_000_001.0);
                assert!(event["name"].as_str().is_some_and(|n| !n.is_empty()));
            }
            "M" => assert!(event["args"]["name"].as_str().is_some_and(|n| !n.is_empty()), "{event}"),
            "C" => assert!(number("ts") >= 0.0 && event["args"]["threads"].as_f64() >= Some(0.0), "{event}"),
            other => panic!("no viewer was tried with {other}"),
        }
    }
    assert_eq!(ends.len(), 3, "each thread has a track");
    assert!(slices > 100, "{slices}");
    let names = |what: &str| events.iter().filter(|e| e["ph"] == "M" && e["name"] == what).count();
    assert_eq!((names("process_name"), names("thread_name")), (2, 3));
}
