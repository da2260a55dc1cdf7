//! A first look at what python-rq keeps in a Redis: per function, whether a program of ours could run its jobs. Writes nothing.
//!
//! It has a connection of its own and sends `SMEMBERS`, `LRANGE`, `LLEN`, `ZRANGE`, `ZCARD` and `HMGET`, so it needs no more
//! than the rights to read: a user made by
//!
//! ```text
//! ACL SETUSER audit on >PASSWORD ~rq:* -@all +@read +@connection
//! ```
//!
//! will do. It is no picture of one moment: what moves meanwhile may be seen twice, or not at all.

use crate::broker::{BrokerError, ErrorKind};
use crate::job::{Problem, Time};
use crate::registry::Registry;
use crate::rq::data;
use crate::rq::keys::Keys;
use crate::rq::text;
use redis::{Cmd, FromRedisValue};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

/// How many jobs of each list are looked at, the newest first.
pub const JOBS_MAX: usize = 10_000;
/// How many jobs one pipeline reads.
const CHUNK: usize = 200;
/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The fields of a job that are looked at.
const FIELDS: [&str; 4] = ["data", "status", "started_at", "ended_at"];

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Audit {
    /// By function, the most frequent first.
    pub functions: Vec<Function>,
    /// Lists that have more jobs than were looked at: the key, and how many it has.
    pub cut: BTreeMap<String, u64>,
    /// Jobs that are listed and whose hash is gone, as rq leaves them.
    pub ghosts: u64,
}

/// The jobs of one function.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Function {
    /// Its dotted name; `?` for jobs whose data says none.
    pub name: String,
    /// How many.
    pub jobs: u64,
    /// How many in each of rq's states.
    pub states: BTreeMap<String, u64>,
    /// Where.
    pub queues: BTreeSet<String>,
    /// How they are written.
    pub serializers: BTreeSet<&'static str>,
    /// How long a run took that ended, half of them less; in milliseconds.
    pub median_ms: Option<u64>,
    /// And the longest.
    pub longest_ms: Option<u64>,
    /// How many have arguments that can be read here.
    pub readable: u64,
    /// Why one of the others cannot.
    pub unreadable: Option<String>,
    /// Whether a task of this name is registered here.
    pub registered: bool,
    /// How many of them that task would take.
    pub fits: u64,
    /// Why it would not take one of the others.
    pub misfit: Option<String>,
    #[serde(skip)]
    runs: Vec<u64>,
}

/// One job, as it was found.
struct Seen<'j> {
    queue: &'j str,
    data: &'j [u8],
    status: &'j str,
    run: Option<Duration>,
}

impl Function {
    fn see(&mut self, job: &Seen<'_>, read: Result<data::Data, Problem>, registry: &Registry) {
        self.jobs += 1;
        *self.states.entry(job.status.to_owned()).or_default() += 1;
        self.queues.insert(job.queue.to_owned());
        self.runs.extend(job.run.and_then(|run| u64::try_from(run.as_millis()).ok()));
        let payload = match read {
            Ok(data) => {
                self.serializers.insert(data.serializer.word());
                data.arguments
            }
            Err(why) => Err(why),
        };
        self.registered = registry.names().any(|name| name == self.name);
        match payload {
            Ok(payload) => {
                self.readable += 1;
                match registry.takes(&self.name, &payload) {
                    Some(Err(why)) => {
                        self.misfit.get_or_insert_with(|| why.to_string());
                    }
                    Some(Ok(())) => self.fits += 1,
                    // A handler knows by itself, and only when it runs.
                    None => self.fits += u64::from(self.registered),
                }
            }
            Err(why) => {
                self.unreadable.get_or_insert_with(|| why.to_string());
            }
        }
    }

    fn sum_up(&mut self) {
        self.runs.sort_unstable();
        self.median_ms = self.runs.get(self.runs.len() / 2).copied();
        self.longest_ms = self.runs.last().copied();
    }
}

impl Audit {
    /// Looks at the jobs under a prefix of keys (`rq` unless it is told otherwise), with the tasks of a program in mind.
    ///
    /// # Errors
    ///
    /// When the address is none, the server cannot be reached, or it does not let us read.
    pub fn read(url: &str, prefix: Option<&str>, registry: &Registry) -> Result<Self, BrokerError> {
        let keys = prefix.map_or_else(|| Ok(Keys::default()), Keys::with_prefix)?;
        let (client, _) = crate::broker::redis::client(url)?;
        let mut server = Server(client.get_connection_with_timeout(ANSWER_MAX).map_err(trouble)?);
        server.0.set_read_timeout(Some(ANSWER_MAX)).map_err(trouble)?;

        let mut audit = Self::default();
        let mut functions: BTreeMap<String, Function> = BTreeMap::new();
        let names: Vec<String> = server.ask(redis::cmd("SMEMBERS").arg(keys.queues()))?;
        for queue in names.iter().filter_map(|key| keys.queue_of(key)) {
            let ids = audit.ids(&mut server, &keys, queue)?;
            for some in ids.chunks(CHUNK) {
                let mut pipeline = redis::pipe();
                for id in some {
                    pipeline.cmd("HMGET").arg(keys.job(id)).arg(&FIELDS[..]);
                }
                let rows: Vec<[Option<Vec<u8>>; 4]> = pipeline.query(&mut server.0).map_err(trouble)?;
                for [data, status, started, ended] in &rows {
                    let Some(data) = data else {
                        audit.ghosts += 1;
                        continue;
                    };
                    let text_in = |field: &Option<Vec<u8>>| {
                        field.as_deref().and_then(|field| std::str::from_utf8(field).ok()).unwrap_or("").to_owned()
                    };
                    let time_in = |field| text::read_time(&text_in(field));
                    let run =
                        time_in(started).zip(time_in(ended)).map(|(started, ended): (Time, Time)| ended.since(started));
                    let status = text_in(status);
                    let job = Seen { queue, data, status: &status, run };
                    audit.see(&mut functions, &job, registry);
                }
            }
        }
        audit.functions = functions.into_values().collect();
        audit.functions.iter_mut().for_each(Function::sum_up);
        audit.functions.sort_by(|a, b| b.jobs.cmp(&a.jobs).then_with(|| a.name.cmp(&b.name)));
        Ok(audit)
    }

    fn see(&self, functions: &mut BTreeMap<String, Function>, job: &Seen<'_>, registry: &Registry) {
        let read = data::read(job.data);
        let name = read.as_ref().map_or("?", |data| &data.function).to_owned();
        let function = functions.entry(name.clone()).or_insert_with(|| Function { name, ..Function::default() });
        function.see(job, read, registry);
    }

    /// The ids of a queue's jobs, wherever they are listed.
    fn ids(&mut self, server: &mut Server, keys: &Keys, queue: &str) -> Result<Vec<String>, BrokerError> {
        let last = JOBS_MAX as isize - 1;
        let mut ids: Vec<String> = Vec::new();
        // The newest are at the end of the list.
        let list = keys.queue(queue);
        ids.extend(server.ask::<Vec<String>>(redis::cmd("LRANGE").arg(&list).arg(-1 - last).arg(-1))?);
        let listed: u64 = server.ask(redis::cmd("LLEN").arg(&list))?;
        self.cut_at(list, listed);
        for registry in [
            keys.wip(queue),
            keys.finished(queue),
            keys.failed(queue),
            keys.deferred(queue),
            keys.ready(queue),
            keys.scheduled(queue),
            keys.canceled(queue),
        ] {
            let members: Vec<String> = server.ask(redis::cmd("ZRANGE").arg(&registry).arg(0).arg(last).arg("REV"))?;
            // In `wip` an execution stands behind the job.
            ids.extend(members.into_iter().map(|member| member.split(':').next().unwrap_or_default().to_owned()));
            let listed: u64 = server.ask(redis::cmd("ZCARD").arg(&registry))?;
            self.cut_at(registry, listed);
        }
        let mut seen = HashSet::new();
        ids.retain(|id| seen.insert(id.clone()));
        Ok(ids)
    }

    fn cut_at(&mut self, key: String, listed: u64) {
        if listed > JOBS_MAX as u64 {
            self.cut.insert(key, listed);
        }
    }
}

/// A connection that asks.
struct Server(redis::Connection);

impl Server {
    fn ask<T: FromRedisValue>(&mut self, command: &Cmd) -> Result<T, BrokerError> {
        command.query(&mut self.0).map_err(trouble)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
fn trouble(error: redis::RedisError) -> BrokerError {
    let kind = if error.is_io_error() || error.is_timeout() { ErrorKind::Unavailable } else { ErrorKind::Refused };
    BrokerError::new(kind, format!("Redis cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rq::data::Serializer;

    #[test]
    fn what_a_function_comes_to() {
        let registry = Registry::new().with_handler("app.ours", std::sync::Arc::new(|_, _| Ok("null".to_owned())));
        let (mut functions, audit) = (BTreeMap::new(), Audit::default());
        let ours = data::write(Serializer::Json, "app.ours", "[1]").unwrap();
        for (data, millis) in [(&ours[..], 30), (&ours, 10), (&ours, 20), (b"no job", 0)] {
            let run = Some(Duration::from_millis(millis));
            audit.see(&mut functions, &Seen { queue: "q", data, status: "finished", run }, &registry);
        }
        functions.values_mut().for_each(Function::sum_up);
        let ours = &functions["app.ours"];
        assert_eq!((ours.jobs, ours.readable, ours.fits, ours.registered), (3, 3, 3, true));
        assert_eq!((ours.median_ms, ours.longest_ms), (Some(20), Some(30)));
        let unknown = &functions["?"];
        assert!(unknown.unreadable.is_some() && !unknown.registered && unknown.readable == 0);
    }
}
