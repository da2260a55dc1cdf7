//! Our pools.

use std::sync::Arc;

use ropewalk::{Submit as _, TaskHandle, ThreadPoolExecutor};

pub(super) use ropewalk::sync::{Mutex, Semaphore};

use super::{Load, Look, Subject};

/// One of ours.
pub(super) struct Pool(pub(super) Arc<ThreadPoolExecutor>);

/// The name of a fixed one in the tables.
pub(super) fn name(workers: usize) -> &'static str {
    match workers {
        2 => "ropewalk:fixed-2",
        4 => "ropewalk:fixed-4",
        8 => "ropewalk:fixed-8",
        10 => "ropewalk:fixed-10",
        16 => "ropewalk:fixed-16",
        32 => "ropewalk:fixed-32",
        64 => "ropewalk:fixed-64",
        160 => "ropewalk:fixed-160",
        512 => "ropewalk:fixed-512",
        1_024 => "ropewalk:fixed-1024",
        _ => unreachable!("a size without a name"),
    }
}

impl Pool {
    pub(super) fn sizes_itself() -> Self {
        Self(Arc::new(ThreadPoolExecutor::default()))
    }

    pub(super) fn fixed(workers: usize) -> Self {
        Self(Arc::new(ThreadPoolExecutor::new(workers)))
    }
}

impl Subject for Pool {
    fn run(&self, load: &Load) {
        fn nest(pool: &Arc<ThreadPoolExecutor>, depth: usize) -> usize {
            let below = Arc::clone(pool);
            if depth == 0 { 0 } else { 1 + pool.submit(move || nest(&below, depth - 1)).join().expect("no job panics") }
        }
        match load {
            Load::Flat { count, job } => {
                let submit = |_| {
                    let job = Arc::clone(job);
                    self.0.submit(move || job())
                };
                let handles: Vec<TaskHandle<()>> = (0..*count).map(submit).collect();
                handles.into_iter().for_each(|handle| handle.join().expect("no job panics"));
            }
            Load::Nested { depth } => assert_eq!(nest(&self.0, *depth), *depth),
        }
    }

    fn look(&self) -> Look {
        let stats = self.0.stats();
        Look {
            threads: stats.workers,
            target: stats.target,
            running: stats.workers.saturating_sub(stats.idle),
            queued: stats.queued,
        }
    }
}
