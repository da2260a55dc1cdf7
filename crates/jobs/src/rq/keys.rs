//! The names of rq's keys, under a prefix.
//!
//! rq 3 reads the prefix from `RQ_KEY_PREFIX`; older versions always use `rq`. With braces around it (`{rq}`) a Redis Cluster
//! keeps all keys together.

use crate::job::Problem;
use std::fmt::Display;

/// The prefix of every version of rq, unless it is told otherwise.
pub const PREFIX: &str = "rq";

/// The longest prefix, in bytes.
const PREFIX_BYTES_MAX: usize = 128;

/// Makes the names of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    prefix: String,
}

impl Default for Keys {
    fn default() -> Self {
        Self { prefix: PREFIX.to_owned() }
    }
}

/// A key that is the prefix and a word, or a word and names.
macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident($($part:ident),*) $text:literal;)*) => {
        impl Keys {
            $(
                $(#[$doc])*
                pub fn $name(&self, $($part: impl Display),*) -> String {
                    format!(concat!("{}:", $text), self.prefix $(, $part)*)
                }
            )*
        }
    };
}

keys! {
    /// Set of the keys of all queues.
    queues() "queues";
    /// List of ids: a queue.
    queue(queue) "queue:{}";
    /// List of ids between a Python worker's pop and its start.
    intermediate(queue) "queue:{}:intermediate";
    /// Hash: a job.
    job(id) "job:{}";
    /// Set of the ids that wait for this job.
    dependents(id) "job:{}:dependents";
    /// Set of the ids that this job waits for. Two colons, as rq has it.
    dependencies(id) "job::{}:dependencies";
    /// Sorted set of `job:execution` by the end of the lease: what runs.
    wip(queue) "wip:{}";
    /// Sorted set of ids by the time when they are forgotten.
    finished(queue) "finished:{}";
    /// The same, of those that failed or were stopped.
    failed(queue) "failed:{}";
    /// Sorted set of ids that wait for others.
    deferred(queue) "deferred:{}";
    /// Sorted set of ids whose needs are met and that are not in the list yet; rq 3.
    ready(queue) "ready:{}";
    /// Sorted set of ids by the time when they are due.
    scheduled(queue) "scheduled:{}";
    /// Sorted set of ids that were cancelled.
    canceled(queue) "canceled:{}";
    /// Hash: an execution.
    execution(job, execution) "execution:{}:{}";
    /// Sorted set of the executions of a job.
    executions(job) "executions:{}";
    /// Stream of the results of a job.
    results(job) "results:{}";
    /// Set of the keys of all workers.
    workers() "workers";
    /// Set of the keys of the workers of a queue.
    workers_of(queue) "workers:{}";
    /// Hash: a worker.
    worker(name) "worker:{}";
    /// Set of `job:execution` that a worker runs; rq 3.
    worker_executions(name) "worker:{}:executions";
    /// Channel of the commands to a worker.
    pubsub(worker) "pubsub:{}";
    /// String that is there while all workers pause.
    suspended() "suspended";
    /// String that is there while somebody cleans the registries of a queue.
    cleaning(queue) "clean_registries:{}";
    /// String with the name of the scheduler of a queue.
    scheduler_lock(queue) "scheduler-lock:{}";
    /// Set of the names of all groups.
    groups() "groups";
    /// Set of the ids of a group.
    group(name) "group:{}";
    /// Set of the rate limits in use; rq 3.
    rate_limits() "rl-keys";
    /// Hash: a rate limit; rq 3.
    rate_limit(key) "rl:{}";
    /// Sorted set of the ids that a rate limit lets run; rq 3.
    rate_allowed(key) "rl:{}:allowed";
    /// Sorted set of the ids that a rate limit holds back; rq 3.
    rate_waiting(key) "rl:{}:rate_limited";
}

impl Keys {
    /// Keys under this prefix.
    ///
    /// # Errors
    ///
    /// When it has other characters than rq allows.
    pub fn with_prefix(prefix: &str) -> Result<Self, Problem> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:-{}".contains(&byte);
        if prefix.is_empty() || prefix.len() > PREFIX_BYTES_MAX || !prefix.bytes().all(fine) {
            return Err(Problem::new(format!(
                "`{}` is no prefix of keys: use 1 to {PREFIX_BYTES_MAX} letters, digits and `_ . : - {{ }}`",
                crate::arguments::shown(prefix)
            )));
        }
        Ok(Self { prefix: prefix.to_owned() })
    }

    /// The prefix, without the colon.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The name of the queue that has this key.
    pub fn queue_of<'k>(&self, key: &'k str) -> Option<&'k str> {
        key.strip_prefix(&self.prefix)?.strip_prefix(":queue:")
    }

    /// The name of the worker that has this key.
    pub fn worker_of<'k>(&self, key: &'k str) -> Option<&'k str> {
        key.strip_prefix(&self.prefix)?.strip_prefix(":worker:")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_rq() {
        let keys = Keys::default();
        assert_eq!(keys.queues(), "rq:queues");
        assert_eq!(keys.dependencies("a"), "rq:job::a:dependencies");
        assert_eq!(keys.execution("a", "e"), "rq:execution:a:e");
        assert_eq!(keys.queue_of(&keys.queue("high")), Some("high"));
        assert_eq!(keys.worker_of("rq:worker:w"), Some("w"));
        assert_eq!(keys.worker_of("rq:queue:w"), None);
        assert_eq!(Keys::with_prefix("{rq}").unwrap().job("a"), "{rq}:job:a");
        assert!(Keys::with_prefix("a b").is_err() && Keys::with_prefix("").is_err());
    }
}
