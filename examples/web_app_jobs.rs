//! A web application that gives work to a queue: a handler enqueues, a page shows how far the job has come, and its log.
//!
//! ```text
//! cargo run --release --example web_app_jobs             # then look at the address that it prints
//! ```
//!
//! The worker is in the same process here. In a larger application it is another one, on the same file.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::{get, post};
use axum::{Json, Router};
use ropewalk::JobContext;
use ropewalk_jobs::{Enqueue, JobId, JobQueue, SqliteBroker, Worker};
use serde_json::{Value, json};
use std::time::Duration;

/// Pages of a book, bound one after another.
#[ropewalk::task(queue = "books", retries = 2, timeout = "60s")]
fn bind(job: &JobContext, title: String, pages: u32) -> String {
    for page in 1..=pages {
        ropewalk::sleep(Duration::from_millis(400)); // a wait of ropewalk: a stop or the timeout ends it
        job.log(format_args!("page {page} of {title}"));
        job.progress(f64::from(page) / f64::from(pages), "binding");
    }
    format!("{title}, {pages} pages")
}

type Answer = Result<Json<Value>, (StatusCode, String)>;

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
fn refused(error: impl ToString) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

/// When this answers, the job is on the disk.
async fn order(State(queue): State<JobQueue>, Path(title): Path<String>) -> Answer {
    let handle = bind::call(title, 5).job().enqueue_async(&queue).await.map_err(refused)?;
    Ok(Json(json!({ "id": handle.id() })))
}

async fn look(State(queue): State<JobQueue>, Path(id): Path<String>) -> Answer {
    let id: JobId = id.parse().map_err(|problem| (StatusCode::BAD_REQUEST, format!("{problem}")))?;
    // Reading is quick, and yet a file is read: not on a thread that others need.
    let read = tokio::task::spawn_blocking(move || {
        Ok::<_, ropewalk_jobs::BrokerError>((queue.job(&id)?, queue.broker().logs(&id)?))
    });
    let (job, log) = read.await.map_err(refused)?.map_err(refused)?;
    let job = job.ok_or((StatusCode::NOT_FOUND, "no such job".to_owned()))?;
    let done = if job.state.is_ended() { 1.0 } else { job.progress.map_or(0.0, |at| at.done) };
    Ok(Json(json!({ "state": job.state, "done": done, "result": job.result, "log": log.unwrap_or_default() })))
}

const PAGE: &str = include_str!("web_app_jobs.html");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::temp_dir().join(format!("web-app-jobs-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let broker = SqliteBroker::open(directory.join("jobs.db"))?;
    let worker = Worker::new(broker.clone()).queues(["books"]).concurrency(4).register::<bind>().start()?;
    let app = Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/order/{title}", post(order))
        .route("/job/{id}", get(look))
        .with_state(JobQueue::new(broker));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("http://{}/", listener.local_addr()?);
        // Until Ctrl-C, or until whoever started this closes its input.
        let end = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        axum::serve(listener, app).with_graceful_shutdown(async { drop(end.await) }).await
    })?;
    drop(worker);
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
