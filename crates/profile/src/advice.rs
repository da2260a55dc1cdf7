//! Which model helps, and how that is written in the program's own language.
//!
//! Pure functions. The code is a few lines with the number filled in; a test runs each of them.

use serde::Serialize;

use crate::predict::Prediction;
use crate::recording::Recording;
use crate::states::States;
use crate::verdict::{Class, Finding, Language, in_round_trips};

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// In a sentence or two.
    pub text: String,
    /// In the program's own language; empty when there is nothing to write.
    pub code: Vec<String>,
}

/// For what was found.
pub fn advise(recording: &Recording, states: &States, finding: &Finding, prediction: &Prediction) -> Advice {
    let cores = recording.machine.cores.max(1);
    let in_flight = prediction.best.unwrap_or(8);
    let (text, code) = match finding.class {
        Class::Network if in_round_trips(states) => (
            "Send several requests in one round trip: pipelining, a batch call, one query instead of many.".to_owned(),
            String::new(),
        ),
        Class::Network => (overlap_text(finding.language), overlap(finding.language, in_flight)),
        Class::Mixed => (
            "Overlap the waits first; if computing then fills a processor, use processes or threads for that part.".to_owned(),
            overlap(finding.language, in_flight),
        ),
        Class::CpuSerial => (divide_text(finding.language, cores), divide(finding.language, cores)),
        Class::SingleRunner => (
            "Use processes: threads of this interpreter take turns, and greenlets or async only help with waits.".to_owned(),
            divide(finding.language, cores),
        ),
        Class::EventLoop => (
            "Move the computing off the loop, to processes or to a pool of threads, and await it.".to_owned(),
            off_the_loop(finding.language, cores),
        ),
        Class::CpuAllCores => (
            "The processors are the limit: a better algorithm, or more machines through a job queue.".to_owned(),
            beyond(finding.language, cores),
        ),
        Class::CpuOversubscribed => (
            format!("Start {cores} workers, not more: the others only take turns. Beyond that, more machines through a job queue."),
            beyond(finding.language, cores),
        ),
        Class::CpuStarved => ("Free the machine, or give this program a higher priority: there is nothing to mend in it.".to_owned(), String::new()),
        Class::Disk => (
            "Write or flush less often: one fsync for many records, one transaction for many rows; for reads, larger ones or several at once.".to_owned(),
            String::new(),
        ),
        Class::Lock => (
            "No model helps before the lock does: hold it for less (nothing slow inside), divide what it guards, or give each thread its own part.".to_owned(),
            String::new(),
        ),
        Class::Pipeline => (
            "Speed up that stage alone: run several of it side by side, or apply this command to it by itself.".to_owned(),
            String::new(),
        ),
        Class::Child => (
            "Start fewer processes (several items each), or several at a time.".to_owned(),
            if finding.language == Language::Shell { shell(cores) } else { String::new() },
        ),
        Class::Sleeping => ("Wait for the event instead of looking again after a pause; if the pause is wanted, nothing is wrong.".to_owned(), String::new()),
        Class::Person => ("Nothing to speed up: it waits for input.".to_owned(), String::new()),
        Class::Idle => ("Nothing to speed up: it waits for work.".to_owned(), String::new()),
        Class::TooShort => ("Profile it with more work, or in a loop.".to_owned(), String::new()),
        Class::Unclear => ("Profile a part of it that is slow: `--pid` while it is, for instance.".to_owned(), String::new()),
    };
    Advice { text, code: code.lines().map(str::to_owned).collect() }
}

fn overlap_text(language: Language) -> String {
    match language {
        Language::Python => "Overlap the waits: a pool of threads, or asyncio with an asynchronous client.",
        Language::Node => "Overlap the waits: several requests under way at once.",
        Language::Rust => "Overlap the waits: a pool of threads keeps the calls as they are; greenlets and async tasks carry thousands.",
        Language::Shell => "Overlap the waits: several commands at once.",
        Language::Ruby | Language::Native => "Overlap the waits: a pool of threads, or non-blocking sockets.",
    }
    .to_owned()
}

fn divide_text(language: Language, cores: usize) -> String {
    match language {
        Language::Python | Language::Ruby => {
            format!("Divide the work over {cores} processes: threads of this interpreter take turns at computing.")
        }
        Language::Node => format!("Divide the work over {cores} worker threads or processes."),
        Language::Shell => format!("Run {cores} commands at once."),
        Language::Rust | Language::Native => format!("Divide the work over {cores} threads."),
    }
}

/// Waits side by side, `n` of them.
pub fn overlap(language: Language, n: usize) -> String {
    match language {
        Language::Python => format!(
            "from concurrent.futures import ThreadPoolExecutor\n\n\
             with ThreadPoolExecutor(max_workers={n}) as pool:\n    results = list(pool.map(work, items))"
        ),
        Language::Node => format!(
            "const todo = items.entries(), results = [];\n\
             await Promise.all(Array.from({{ length: {n} }}, async () => {{\n  \
             for (const [i, item] of todo) results[i] = await work(item);\n}}));"
        ),
        Language::Rust => rust_pool(n),
        Language::Shell => shell(n),
        Language::Ruby | Language::Native => String::new(),
    }
}

/// Computing on `n` processors.
pub fn divide(language: Language, n: usize) -> String {
    match language {
        Language::Python => format!(
            "from concurrent.futures import ProcessPoolExecutor\n\n\
             if __name__ == \"__main__\":\n    with ProcessPoolExecutor(max_workers={n}) as pool:\n        \
             results = list(pool.map(work, items))"
        ),
        Language::Rust => rust_pool(n),
        Language::Shell => shell(n),
        Language::Node => format!(
            "const {{ Worker }} = require(\"node:worker_threads\");\n\
             const parts = Array.from({{ length: {n} }}, (_, k) => items.filter((_, i) => i % {n} === k));\n\
             const run = part => new Promise((done, failed) =>\n  \
             new Worker(\"./work.js\", {{ workerData: part }}).on(\"message\", done).on(\"error\", failed));\n\
             const results = await Promise.all(parts.map(run));"
        ),
        Language::Ruby | Language::Native => String::new(),
    }
}

/// Computing beside an event loop, on `n` processors.
pub fn off_the_loop(language: Language, n: usize) -> String {
    match language {
        Language::Python => format!(
            "import asyncio\nfrom concurrent.futures import ProcessPoolExecutor\n\n\
             pool = ProcessPoolExecutor(max_workers={n})  # once, at the start\n\
             result = await asyncio.get_running_loop().run_in_executor(pool, work, item)"
        ),
        Language::Rust => "let result = tokio::task::spawn_blocking(move || work(item)).await?;".to_owned(),
        Language::Node => "const { Worker } = require(\"node:worker_threads\");\n\
             const result = await new Promise((done, failed) =>\n  \
             new Worker(\"./work.js\", { workerData: item }).on(\"message\", done).on(\"error\", failed));"
            .to_owned(),
        Language::Shell | Language::Ruby | Language::Native => String::new(),
    }
}

/// Computing on more machines, with `n` processors each: through a job queue on a Redis. (Its address stands where 127.0.0.1 is.)
pub fn beyond(language: Language, n: usize) -> String {
    match language {
        Language::Python => format!(
            "from redis import Redis\nfrom rq import Queue\n\n\
             queue = Queue(connection=Redis(\"127.0.0.1\"))  # on each machine: rq worker-pool --url redis://127.0.0.1 --num-workers {n}\n\
             jobs = [queue.enqueue(work, item) for item in items]"
        ),
        Language::Rust => format!(
            "use ropewalk_jobs::{{Enqueue, JobQueue, RedisBroker, Worker}};\n\n\
             let queue = JobQueue::new(RedisBroker::open(\"redis://127.0.0.1/\")?);\n\
             let jobs: Vec<_> = items.map(|item| work::call(item).enqueue(&queue)).collect::<Result<_, _>>()?;\n\
             // And on each machine:\n\
             Worker::new(RedisBroker::open(\"redis://127.0.0.1/\")?).concurrency({n}).register::<work>().run()?;"
        ),
        Language::Shell => format!(
            "xargs -n 1 ropewalk enqueue --broker redis://127.0.0.1/ -- ./work.sh < items.txt\n\
             # And on each machine:\n\
             ropewalk worker --broker redis://127.0.0.1/ --concurrency {n} --allow-commands"
        ),
        Language::Node | Language::Ruby | Language::Native => String::new(),
    }
}

fn rust_pool(n: usize) -> String {
    format!(
        "use ropewalk::ThreadPoolExecutor;\n\n\
         let pool = ThreadPoolExecutor::new({n});\nlet results: Vec<_> = pool.map(work, items).collect();"
    )
}

fn shell(n: usize) -> String {
    format!("xargs -P {n} -n 1 ./work.sh < items.txt")
}
