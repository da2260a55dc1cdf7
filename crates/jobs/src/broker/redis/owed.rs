//! What Python asked for at the end of a job: callbacks (`on_success`, `on_failure`, `on_stopped`) and webhooks.
//!
//! They are functions that only Python has, so a small job of Python's calls them: `exec` of a text of ours (`rq/callback.py`), with
//! what it has to know beside it. It needs nothing on the other side but rq, and stands at the front of the queue of the job.
//!
//! The step that ends a run writes down what is owed (`P:rw:owed`), and whoever looks next makes the small jobs, in the form of the
//! job they belong to. That step takes the entry away and puts the job in its place, so each is made once, whoever is killed between
//! the two.

use super::row::{Row, bytes_of, items_of};
use super::wire::Request;
use super::{RedisBroker, Step};
use crate::broker::BrokerError;
use crate::job::JobId;
use crate::rq::data::{self, Serializer};
use crate::rq::text;
use serde::Deserialize;
use serde_json::json;

/// How many are made in one step.
const OWED_MAX: usize = 64;
/// The text that Python runs.
const CALLBACK: &str = include_str!("../../rq/callback.py");
/// rq's exception for a job whose worker is gone, of which it writes a line and no traceback.
const ABANDONED: &str = "AbandonedJobError";
/// How long (s) the requests of a job may take together, besides its callback.
const HOOKS_SECONDS: i64 = 120;

/// As the script wrote it down.
#[derive(Deserialize)]
struct Owed {
    job: String,
    queue: String,
    kind: String,
    execution: String,
    callback: String,
    seconds: i64,
    hooks: bool,
    text: String,
}

impl Owed {
    /// The fields of its job, in this form.
    fn fields(&self, form: Serializer) -> Option<Vec<(&'static str, Vec<u8>)>> {
        let traceback = text::read_exc_string(self.text.as_bytes()).unwrap_or_default();
        let (mut error, message) = text::title(&traceback);
        if message.contains(ABANDONED) {
            ABANDONED.clone_into(&mut error);
        }
        let known = json!({
            "job_id": self.job, "execution": self.execution, "kind": self.kind, "callback": self.callback, "hooks": self.hooks,
            "error": error, "message": message, "traceback": traceback,
        });
        let data = data::write(form, "builtins.exec", &json!([CALLBACK, known]).to_string()).ok()?;
        let what = if self.callback.is_empty() { "webhooks" } else { &self.callback };
        // -1 is no limit.
        let seconds = self.seconds + if self.hooks && self.seconds > 0 { HOOKS_SECONDS } else { 0 };
        Some(vec![
            ("origin", self.queue.clone().into()),
            ("data", data),
            ("description", format!("{what}: {} of job {}", self.kind, self.job).into()),
            ("timeout", seconds.to_string().into()),
            ("success_callback_name", Vec::new()),
            ("failure_callback_name", Vec::new()),
            ("stopped_callback_name", Vec::new()),
            ("started_at", Vec::new()),
            ("ended_at", Vec::new()),
            ("last_heartbeat", Vec::new()),
            ("worker_name", Vec::new()),
            ("group_id", Vec::new()),
        ])
    }
}

impl RedisBroker {
    /// Makes small jobs of all that is owed.
    pub(super) fn pay(&self) -> Result<(), BrokerError> {
        let prefix = self.inner.keys.prefix();
        loop {
            let mut look = redis::cmd("LRANGE");
            look.arg(format!("{prefix}:rw:owed")).arg(0).arg(OWED_MAX - 1);
            let answers = self.inner.wire.ask(Request::look(&[look]))?;
            let entries: Vec<Vec<u8>> =
                answers.into_iter().flat_map(items_of).filter_map(|entry| Some(bytes_of(&entry)?.to_vec())).collect();
            if entries.is_empty() {
                return Ok(());
            }
            // What nobody can read, and what belongs to a job that was deleted, is taken away with the rest.
            let owed: Vec<Option<Owed>> = entries.iter().map(|entry| serde_json::from_slice(entry).ok()).collect();
            let forms = self.forms_of_owed(&owed)?;
            let mut command = self.command(Step::Callback);
            command.arg(entries.len());
            for ((entry, owed), form) in entries.iter().zip(&owed).zip(forms) {
                command.arg(entry);
                match owed.as_ref().and_then(|owed| Some((owed, owed.fields(form?)?))) {
                    Some((owed, fields)) => {
                        command.arg(JobId::random().as_str()).arg(&owed.queue).arg(fields.len() * 2);
                        for (name, value) in &fields {
                            command.arg(*name).arg(&value[..]);
                        }
                    }
                    None => {
                        command.arg("").arg("").arg(0);
                    }
                }
            }
            self.step(Step::Callback, &command, true)?;
            if entries.len() < OWED_MAX {
                return Ok(());
            }
        }
    }

    /// In which form the jobs are written to which these belong, if they are there.
    fn forms_of_owed(&self, owed: &[Option<Owed>]) -> Result<Vec<Option<Serializer>>, BrokerError> {
        let commands: Vec<redis::Cmd> = owed
            .iter()
            .map(|owed| {
                let mut command = redis::cmd("HMGET");
                let id = owed.as_ref().map_or("", |owed| &owed.job);
                command.arg(self.inner.keys.job(id)).arg("data");
                command
            })
            .collect();
        let answers = self.inner.wire.ask(Request::look(&commands))?;
        let form = |answer| {
            let row = Row::of_some(&["data"], &items_of(answer));
            row.bytes("data").map(|_| row.call().serializer)
        };
        Ok(answers.into_iter().map(form).collect())
    }
}
