//! What is read without a step: jobs, queues and workers, as people ask for them. Each is a few pipelines, so it is no picture of
//! one moment: a job that moves meanwhile may be missing, or be seen where it was.

use super::RedisBroker;
use super::row::{Row, items_of, number_of, text_of};
use super::wire::Request;
use crate::broker::{BrokerError, ErrorKind, Filter, QueueCounts, WorkerInfo};
use crate::job::{Job, JobId, Time, WorkerId};
use crate::state::State;
use redis::{Cmd, Value};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// How many jobs one pipeline reads.
const CHUNK: usize = 1_000;

fn command(name: &str, parts: &[&str]) -> Cmd {
    let mut command = redis::cmd(name);
    for part in parts {
        command.arg(*part);
    }
    command
}

fn texts(value: Value) -> Vec<String> {
    items_of(value).iter().filter_map(text_of).collect()
}

impl RedisBroker {
    fn ask(&self, commands: &[Cmd]) -> Result<Vec<Value>, BrokerError> {
        let mut answers = Vec::with_capacity(commands.len());
        for some in commands.chunks(CHUNK) {
            answers.extend(self.inner.wire.ask(Request::look(some))?);
        }
        Ok(answers)
    }

    /// Removes every key under this broker's prefix, and so all of its queues, jobs and results: for trials and tests that have
    /// a prefix of their own, whose last part begins with `trial-`. What others do there meanwhile may stay.
    ///
    /// # Errors
    ///
    /// When the prefix is another one, which others may share; and when the user may not `SCAN` and `UNLINK`, which jobs do not need.
    pub fn remove_all(&self) -> Result<(), BrokerError> {
        let prefix = self.inner.keys.prefix();
        if !prefix.rsplit(':').next().is_some_and(|last| last.starts_with("trial-")) {
            return Err(BrokerError::new(
                ErrorKind::Refused,
                format!(
                    "`{prefix}` may be the prefix of somebody's queues, which are not removed: give the broker one of its own, such \
                     as rq:trial-7"
                ),
            ));
        }
        let pattern = format!("{}:*", prefix.replace(['*', '?', '[', ']', '\\'], "?"));
        let mut place = "0".to_owned();
        loop {
            let scan = command("SCAN", &[&place, "MATCH", &pattern, "COUNT", "1000"]);
            let mut answer = items_of(self.ask(&[scan])?.into_iter().next().unwrap_or_default()).into_iter();
            place = answer.next().as_ref().and_then(text_of).unwrap_or_else(|| "0".to_owned());
            let keys = answer.next().map(texts).unwrap_or_default();
            if !keys.is_empty() {
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                self.ask(&[command("UNLINK", &keys)])?;
            }
            if place == "0" {
                return Ok(());
            }
        }
    }

    /// These jobs, in this order; nothing for those that are not there.
    pub(super) fn read_jobs(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>, BrokerError> {
        let keys = &self.inner.keys;
        let mut jobs = Vec::with_capacity(ids.len());
        for some in ids.chunks(CHUNK / 2) {
            let commands: Vec<Cmd> = some
                .iter()
                .flat_map(|id| {
                    [
                        command("HGETALL", &[&keys.job(id)]),
                        command("XREVRANGE", &[&keys.results(id), "+", "-", "COUNT", "1"]),
                    ]
                })
                .collect();
            let mut answers = self.ask(&commands)?.into_iter();
            for id in some {
                let row = Row::of(answers.next().unwrap_or_default());
                let record = items_of(answers.next().unwrap_or_default()).into_iter().next();
                let record = record.and_then(|entry| items_of(entry).into_iter().nth(1)).map(Row::of);
                jobs.push(row.job(id.clone(), record.as_ref()));
            }
        }
        Ok(jobs)
    }

    fn queue_names(&self) -> Result<BTreeSet<String>, BrokerError> {
        let keys = &self.inner.keys;
        let answers = self.ask(&[
            command("SMEMBERS", &[&keys.queues()]),
            command("SMEMBERS", &[&format!("{}:rw:suspended", keys.prefix())]),
        ])?;
        let mut answers = answers.into_iter().map(texts);
        let mut names: BTreeSet<String> = BTreeSet::new();
        names.extend(answers.next().unwrap_or_default().iter().filter_map(|key| keys.queue_of(key)).map(str::to_owned));
        names.extend(answers.next().unwrap_or_default());
        Ok(names)
    }

    /// Where the jobs of a queue that are in this state are listed.
    fn lists(&self, queue: &str, state: State) -> Vec<Cmd> {
        let keys = &self.inner.keys;
        let sorted = |key: String| command("ZRANGE", &[&key, "0", "-1"]);
        match state {
            State::Waiting => vec![sorted(keys.deferred(queue)), sorted(keys.ready(queue))],
            State::Scheduled => vec![sorted(keys.scheduled(queue))],
            State::Ready => vec![command("LRANGE", &[&keys.queue(queue), "0", "-1"])],
            State::Leased => vec![sorted(keys.wip(queue))],
            State::Done => vec![sorted(keys.finished(queue))],
            // rq keeps both in one registry.
            State::Failed | State::Stopped => vec![sorted(keys.failed(queue))],
            State::Canceled => vec![sorted(keys.canceled(queue))],
        }
    }

    pub(super) fn list(&self, filter: &Filter) -> Result<Vec<Job>, BrokerError> {
        let queues = match &filter.queue {
            Some(queue) => BTreeSet::from([queue.clone()]),
            None => self.queue_names()?,
        };
        let states: Vec<State> = filter.state.map_or_else(|| State::ALL.to_vec(), |state| vec![state]);
        let commands: Vec<Cmd> =
            queues.iter().flat_map(|queue| states.iter().flat_map(|state| self.lists(queue, *state))).collect();
        let mut seen = HashSet::new();
        let ids: Vec<JobId> = self
            .ask(&commands)?
            .into_iter()
            .flat_map(texts)
            // In `wip` an execution stands behind the job.
            .filter_map(|member| member.split(':').next()?.parse::<JobId>().ok())
            .filter(|id| seen.insert(id.clone()))
            .collect();
        let commands: Vec<Cmd> =
            ids.iter().map(|id| command("HMGET", &[&self.inner.keys.job(id), "rw_seq", "created_at"])).collect();
        let mut ours: Vec<(u64, String, JobId)> = Vec::new();
        let mut theirs: Vec<(String, JobId)> = Vec::new();
        for (id, answer) in ids.into_iter().zip(self.ask(&commands)?) {
            let row = Row::of_some(&["rw_seq", "created_at"], &items_of(answer));
            let made = row.text("created_at").unwrap_or_default().to_owned();
            match row.number("rw_seq") {
                Some(number) => ours.push((number, made, id)),
                None => theirs.push((made, id)),
            }
        }
        ours.sort_by_key(|(number, ..)| Reverse(*number));
        theirs.sort_by(|a, b| b.0.cmp(&a.0));
        // Both are in order; together they are by the time at which they were made.
        let (mut ours, mut theirs) = (ours.into_iter().peekable(), theirs.into_iter().peekable());
        let mut sorted = std::iter::from_fn(|| {
            let ours_first = match (ours.peek(), theirs.peek()) {
                (Some((_, made, _)), Some((other, _))) => made >= other,
                (mine, _) => mine.is_some(),
            };
            if ours_first { ours.next().map(|(_, _, id)| id) } else { theirs.next().map(|(_, id)| id) }
        });
        let fits = |job: &Job| {
            filter.queue.as_ref().is_none_or(|queue| *queue == job.queue)
                && filter.state.is_none_or(|state| state == job.state)
        };
        let mut found = Vec::new();
        loop {
            let some: Vec<JobId> = sorted.by_ref().take((filter.limit - found.len()).min(CHUNK)).collect();
            if some.is_empty() {
                return Ok(found);
            }
            found.extend(self.read_jobs(&some)?.into_iter().flatten().filter(fits));
        }
    }

    pub(super) fn count(&self) -> Result<Vec<QueueCounts>, BrokerError> {
        let keys = &self.inner.keys;
        let names = self.queue_names()?;
        let mut commands = vec![
            command("EXISTS", &[&keys.suspended()]),
            command("SMEMBERS", &[&format!("{}:rw:suspended", keys.prefix())]),
        ];
        const COUNTS: usize = 9;
        for queue in &names {
            commands.push(command("ZCARD", &[&keys.deferred(queue)]));
            commands.push(command("ZCARD", &[&keys.ready(queue)]));
            commands.push(command("ZCARD", &[&keys.scheduled(queue)]));
            commands.push(command("LLEN", &[&keys.queue(queue)]));
            commands.push(command("ZCARD", &[&keys.wip(queue)]));
            commands.push(command("ZCARD", &[&keys.finished(queue)]));
            commands.push(command("ZCARD", &[&keys.failed(queue)]));
            commands.push(command("ZCARD", &[&format!("{}:rw:stopped:{queue}", keys.prefix())]));
            commands.push(command("ZCARD", &[&keys.canceled(queue)]));
        }
        let mut answers = self.ask(&commands)?.into_iter();
        let all = answers.next().and_then(|answer| number_of(&answer)).unwrap_or(0) > 0;
        let some: HashSet<String> = texts(answers.next().unwrap_or_default()).into_iter().collect();
        let numbers: Vec<u64> = answers.map(|answer| number_of(&answer).unwrap_or(0).unsigned_abs()).collect();
        let mut counts = Vec::new();
        for (queue, of) in names.into_iter().zip(numbers.chunks(COUNTS)) {
            let mut jobs = [0; State::ALL.len()];
            jobs[State::Waiting as usize] = of[0] + of[1];
            jobs[State::Scheduled as usize] = of[2];
            jobs[State::Ready as usize] = of[3];
            jobs[State::Leased as usize] = of[4];
            jobs[State::Done as usize] = of[5];
            jobs[State::Stopped as usize] = of[7].min(of[6]);
            jobs[State::Failed as usize] = of[6] - jobs[State::Stopped as usize];
            jobs[State::Canceled as usize] = of[8];
            let alone = some.contains(&queue);
            if alone || jobs.iter().any(|count| *count > 0) {
                counts.push(QueueCounts { suspended: all || alone, queue, jobs });
            }
        }
        Ok(counts)
    }

    pub(super) fn list_workers(&self) -> Result<Vec<WorkerInfo>, BrokerError> {
        let keys = &self.inner.keys;
        let steady = self.steady();
        let answers = self.ask(&[
            command("ZRANGEBYSCORE", &[&format!("{}:rw:workers", keys.prefix()), &format!("({steady}"), "+inf"]),
            command("SMEMBERS", &[&keys.workers()]),
        ])?;
        let mut answers = answers.into_iter().map(texts);
        let alive: HashSet<String> = answers.next().unwrap_or_default().into_iter().collect();
        let named = answers.next().unwrap_or_default();
        let mut names: BTreeSet<String> =
            named.iter().filter_map(|key| keys.worker_of(key)).map(str::to_owned).collect();
        names.extend(alive.iter().cloned());
        let commands: Vec<Cmd> = names
            .iter()
            .flat_map(|name| {
                [command("HGETALL", &[&keys.worker(name)]), command("SCARD", &[&keys.worker_executions(name)])]
            })
            .collect();
        let mut answers = self.ask(&commands)?.into_iter();
        let mut workers: BTreeMap<WorkerId, WorkerInfo> = BTreeMap::new();
        for name in names {
            let row = Row::of(answers.next().unwrap_or_default());
            let runs = answers.next().and_then(|answer| number_of(&answer)).unwrap_or(0);
            let id = WorkerId::of(name.clone());
            if let Some(info) = row.text("rw_info") {
                if alive.contains(&name)
                    && let Ok(info) = serde_json::from_str::<WorkerInfo>(info)
                {
                    workers.insert(id, info);
                }
            } else if row.text("death").is_none()
                && let Some(seen) = row.text("last_heartbeat").and_then(crate::rq::text::read_time)
            {
                let running = usize::try_from(runs).unwrap_or(0).max(usize::from(row.text("current_job").is_some()));
                let queues = row.text("queues").unwrap_or_default().split(',').filter(|queue| !queue.is_empty());
                // rq's run one job at a time.
                workers.insert(
                    id.clone(),
                    WorkerInfo {
                        id,
                        queues: queues.map(str::to_owned).collect(),
                        concurrency: 1,
                        running,
                        seen: seen.max(Time::default()),
                    },
                );
            }
        }
        Ok(workers.into_values().collect())
    }
}
