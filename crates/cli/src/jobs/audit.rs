//! `ropewalk jobs audit`: which jobs of python-rq this program could run. It only reads.

use ropewalk_jobs::Registry;
use ropewalk_jobs::audit::{Audit, Function, JOBS_MAX};

use super::{Which, is_redis, key_prefix, refused};
use crate::arguments::redis_url;
use crate::exit::Expected;
use crate::output::{Out, table};

/// Looks, and prints what it found.
///
/// # Errors
/// When no Redis is named, or it cannot be read.
pub fn run(which: &Which, registry: &Registry) -> Result<(), Expected> {
    let named = which.broker.clone().or_else(redis_url);
    let url = named.filter(|text| is_redis(text)).ok_or_else(|| {
        Expected::Usage("say which Redis python-rq uses: `--broker redis://HOST:PORT/DB`, or RQ_REDIS_URL".to_owned())
    })?;
    let audit = Audit::read(&url, key_prefix().as_deref(), registry).map_err(refused)?;
    let out = Out::detect();
    if which.json {
        return out.text(&format!("{}\n", serde_json::to_string(&audit).map_err(|e| Expected::Queue(e.to_string()))?));
    }
    out.text(&text(&audit))
}

fn text(audit: &Audit) -> String {
    if audit.functions.is_empty() {
        return "no jobs of python-rq are kept there\n".to_owned();
    }
    let rows: Vec<Vec<String>> = audit.functions.iter().map(row).collect();
    let mut text = table::draw(&["function", "jobs", "written as", "run", "longest", "readable", "here"], &rows);
    for function in &audit.functions {
        if let Some(why) = &function.unreadable {
            text.push_str(&format!(
                "\n{}: {} of {} cannot be read here: {why}\n",
                function.name,
                function.jobs - function.readable,
                function.jobs
            ));
        }
        if let Some(why) = &function.misfit {
            text.push_str(&format!(
                "\n{}: {} of {} do not fit: {why}\n",
                function.name,
                function.readable - function.fits,
                function.readable
            ));
        }
    }
    for (key, jobs) in &audit.cut {
        text.push_str(&format!("\n{key} has {jobs} jobs; the newest {JOBS_MAX} were looked at\n"));
    }
    if audit.ghosts > 0 {
        text.push_str(&format!("\n{} listed jobs are gone, as rq leaves them behind\n", audit.ghosts));
    }
    text
}

fn row(function: &Function) -> Vec<String> {
    let time = |millis: Option<u64>| match millis {
        Some(millis) if millis >= 10_000 => format!("{} s", millis / 1_000),
        Some(millis) => format!("{millis} ms"),
        None => "-".to_owned(),
    };
    let part = |count: u64, of: u64| match (count, of) {
        _ if count == of => "all".to_owned(),
        (0, _) => "none".to_owned(),
        _ => format!("{count}/{of}"),
    };
    vec![
        function.name.clone(),
        function.jobs.to_string(),
        function.serializers.iter().copied().collect::<Vec<_>>().join(","),
        time(function.median_ms),
        time(function.longest_ms),
        part(function.readable, function.jobs),
        if function.registered { part(function.fits, function.readable) } else { "no task".to_owned() },
    ]
}
