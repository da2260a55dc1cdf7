//! After all of it, both sides say the same of everything that has run: rq's library, its command, and rq-dashboard.

use crate::cells::{House, PYTHON, RUST};
use ropewalk_jobs::broker::{Broker as _, Filter, QueueCounts};
use ropewalk_jobs::{Job, State};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// rq's registries, and what we count for each.
const REGISTRIES: [(&str, &[State]); 7] = [
    ("queued", &[State::Ready]),
    ("started", &[State::Leased]),
    ("finished", &[State::Done]),
    ("failed", &[State::Failed, State::Stopped]),
    ("deferred", &[State::Waiting]),
    ("scheduled", &[State::Scheduled]),
    ("canceled", &[State::Canceled]),
];

fn status(state: State) -> &'static str {
    match state {
        State::Waiting => "deferred",
        State::Scheduled => "scheduled",
        State::Ready => "queued",
        State::Leased => "started",
        State::Done => "finished",
        State::Failed => "failed",
        State::Stopped => "stopped",
        State::Canceled => "canceled",
    }
}

fn count(counts: &QueueCounts, states: &[State]) -> u64 {
    states.iter().map(|state| counts.of(*state)).sum()
}

impl House {
    /// The end of the house: nothing moves any more.
    pub(crate) fn agree(mut self) {
        let ask = |action: &str, args: Value| self.peer.ask(action, args, json!({})).unwrap();
        let info = ask("info", json!([]));
        let info = info.as_str().unwrap();
        let dashboard = ask("dashboard", json!([[RUST, PYTHON]]));
        let counts = self.broker.queues().unwrap();
        for queue in [RUST, PYTHON] {
            let ours = counts.iter().find(|counts| counts.queue == queue).expect("it has jobs");
            let theirs = ask("counts", json!([queue]));
            let shown = &dashboard["queues"][queue];
            for (registry, states) in REGISTRIES {
                let wanted = json!(count(ours, states));
                assert_eq!(theirs[registry], wanted, "{queue}: {registry}, Python's {theirs} and our {ours:?}");
                assert_eq!(shown[registry], wanted, "{queue}: {registry}, the dashboard's {shown} and our {ours:?}");
            }
            let [queued, started, done, failed] = ["queued", "started", "finished", "failed"].map(|of| &theirs[of]);
            let line = format!("queue {queue} {queued}, {started} executing, {done} finished, {failed} failed");
            assert!(info.lines().any(|other| other == line), "`{line}` is not in {info}");
            self.agree_on_jobs(queue, &dashboard);
        }
        self.agree_on_workers(info, &dashboard);
    }

    fn agree_on_jobs(&self, queue: &str, dashboard: &Value) {
        let filter = Filter { queue: Some(queue.to_owned()), state: None, limit: 10_000 };
        let ours: BTreeMap<String, Job> =
            self.broker.jobs(&filter).unwrap().into_iter().map(|job| (job.id.to_string(), job)).collect();
        let shown: BTreeSet<&str> =
            dashboard["lists"][queue].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(shown, ours.keys().map(String::as_str).collect(), "{queue}: the lists of the dashboard, and ours");
        assert!(dashboard["jobs"].as_object().unwrap().len() > ours.len() / 2, "most have a page");
        for (id, job) in &ours {
            let theirs = self.peer.fetch(id).unwrap();
            let page = &dashboard["jobs"][id];
            let all = || format!("{queue}: Python's {theirs}, the dashboard's {page}, our {job:?}");
            assert_eq!(theirs["status"], status(job.state), "{}", all());
            assert_eq!(theirs["function"], job.task.as_str(), "{}", all());
            // Pages that the dashboard cannot show are not there.
            let shows = |name: &str, wanted: &Value| page.is_null() || page[name] == *wanted;
            assert!(shows("status", &theirs["status"]) && shows("origin", &queue.into()), "{}", all());
            assert_eq!(theirs["ended"], job.ended.is_some(), "{}", all());
            assert!(theirs["spent"].as_f64().is_none_or(|spent| (0.0..60.0).contains(&spent)), "{}", all());
            if job.state == State::Done {
                let result: Value = serde_json::from_str(job.result.as_deref().unwrap()).unwrap();
                assert!(theirs["value"] == result && theirs["type"] == 1 && shows("result", &result), "{}", all());
            }
            if matches!(job.state, State::Failed | State::Stopped) {
                let said = theirs["traceback"].as_str().unwrap_or_default();
                assert!(theirs["type"] == 2 && shows("exc_info", &theirs["traceback"]), "{}", all());
                let why = job.failure.as_ref().map_or("", |failure| failure.message.lines().next().unwrap_or_default());
                assert!(said.contains(why), "{}", all());
            }
        }
    }

    /// What the worker says of itself at its end is what its hash said to rq.
    fn agree_on_workers(&mut self, info: &str, dashboard: &Value) {
        let workers = self.broker.workers().unwrap();
        let [ours] = &workers[..] else { panic!("one worker is alive: {workers:?}") };
        let worker = self.worker.take().expect("it works");
        worker.stop();
        let counts = worker.join();
        let (done, failed) = (counts.done, counts.failed + counts.retried + counts.stopped);
        let page = &dashboard["workers"][ours.id.as_str()];
        let wanted = json!([done, failed, [RUST], "idle", "ropewalk"]);
        let shown =
            ["successful_job_count", "failed_job_count", "queues", "state", "python_version"].map(|of| &page[of]);
        assert_eq!(json!(shown), wanted, "the dashboard says {page}, and we {counts:?}");
        let worked = page["total_working_time"].as_f64().unwrap_or_default();
        assert!((0.3..60.0).contains(&worked), "the dashboard says {page}");
        let line = format!(" idle {RUST}. jobs: {done} finished, {failed} failed");
        assert!(
            info.lines().any(|other| other.starts_with(&format!("worker {} ", ours.id)) && other.ends_with(&line)),
            "`{line}` of {} is not in {info}",
            ours.id
        );
    }
}
