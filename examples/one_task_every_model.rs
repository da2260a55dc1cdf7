//! One function, run one after another, on threads, on greenlets and as async tasks: what changes is one word.
//!
//! ```text
//! cargo run --release --example one_task_every_model
//! ```

use ropewalk::{
    AsyncExecutor, Call, Executor, GreenletExecutor, InlineExecutor, Pipeline, Submit, TaskError, ThreadPoolExecutor,
    as_completed,
};
use std::num::ParseIntError;
use std::time::{Duration, Instant};

const NAP: Duration = Duration::from_millis(50);

/// Stays a function that anybody can call; `length::call(..)` is the call as a value, which any executor can run.
#[ropewalk::task]
fn length(line: String) -> Result<u32, ParseIntError> {
    ropewalk::sleep(NAP);
    line.trim_end_matches(" fathoms").parse()
}

/// Written once. It asks for nothing but an executor that runs calls of `length`.
fn program<E>(model: &str, executor: &E) -> Result<(), TaskError>
where
    E: Executor + Submit<Call<length, u32>, Output = u32>,
{
    let start = Instant::now();
    let lines = ["120 fathoms", "90 fathoms", "60 fathoms", "30 fathoms"].map(str::to_owned);

    // All at once, results in order.
    let all = executor.run_all(lines.clone().map(length::call)).into_iter().collect::<Result<Vec<u32>, _>>()?;

    // One by one, as they end.
    let handles = lines.clone().map(|line| executor.submit(length::call(line)));
    let sum: u32 = as_completed(handles).map(|handle| handle.join()).sum::<Result<u32, _>>()?;

    // A stage of a pipeline: at most two under way.
    let most = Pipeline::from(lines).stage_with(executor, 2, length::call).collect::<Vec<_>>()?.into_iter().max();

    // An error of the function, and a time limit that ends a job.
    let knot = executor.submit(length::call("a knot".to_owned())).join().unwrap_err();
    let late = executor.timeout(NAP / 10).submit(length::call("7 fathoms".to_owned())).join().unwrap_err();

    println!(
        "{model:<9}: {all:?}, {sum} in all, {} at most; {:.2} s",
        most.unwrap_or(0),
        start.elapsed().as_secs_f64()
    );
    println!("{:<9}  {knot}", "");
    println!("{:<9}  {late}", "");
    Ok(())
}

fn main() -> Result<(), TaskError> {
    program("inline", &InlineExecutor::new())?;
    program("threads", &ThreadPoolExecutor::new(4))?;
    program("greenlets", &GreenletExecutor::new(1))?;
    program("async", &AsyncExecutor::new(1))
}
