//! Lanes as Chrome's trace events, which Perfetto, chrome://tracing and speedscope open.

use serde_json::{Value, json};

use super::lanes::Lanes;
use crate::recording::Recording;
use crate::states::States;

/// All of a recording as one JSON text.
pub fn json(recording: &Recording, states: &States) -> String {
    let lanes = Lanes::finest(recording, states);
    let us = |s: f64| (s * 1e6).round();
    let mut events: Vec<Value> = recording
        .processes
        .iter()
        .map(|p| json!({"ph": "M", "name": "process_name", "pid": p.pid, "args": {"name": p.name}}))
        .collect();
    for row in &lanes.rows {
        events.push(json!({"ph": "M", "name": "thread_name", "pid": row.pid, "tid": row.tid, "args": {"name": row.name.trim()}}));
        for s in &row.segments {
            let mut event = json!({
                "ph": "X", "name": s.look.word(), "cat": "state", "pid": row.pid, "tid": row.tid,
                // Not the length rounded, or slices of one thread would overlap, which no viewer allows.
                "ts": us(s.start), "dur": us(s.end) - us(s.start),
            });
            if !s.what.is_empty() {
                event["args"] = json!({ "for": s.what });
            }
            events.push(event);
        }
    }
    let first = recording.processes.first().map_or(0, |p| p.pid);
    for cell in &states.wall.cells {
        let value = (cell.runnable * 100.0).round() / 100.0;
        events.push(json!({"ph": "C", "name": "runnable threads", "pid": first, "ts": us(cell.start), "args": {"threads": value}}));
    }
    json!({"traceEvents": events, "displayTimeUnit": "ms"}).to_string()
}
