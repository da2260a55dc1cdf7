//! Jobs that a worker of python-rq had in its hands when it was killed.

use super::*;

/// Between the word "scheduled" and the time at which.
#[test]
fn job_that_python_was_about_to_try_again_is_taken_up() {
    let mut place = Place::new();
    place.broker.enqueue(&[NewJob { id: id("a"), ..NewJob::new("t", "[]") }]).unwrap();
    place.push("b", ADD, &[]);
    for name in ["a", "b"] {
        begin_in_python(&mut place, name, "e1", "1");
        place.send(&["HSET", &format!("job:{name}"), "status", "scheduled"]);
    }
    place.maintain();
    place.broker.tick().unwrap();
    let mut list = place.list();
    list.sort();
    assert_eq!(list, ["a", "b"]);
    assert_eq!(place.claim(&["t", "app.tasks.add"]).len(), 2);
}

/// What a Python worker that died has left, and what one that lives has ended.
#[test]
fn what_workers_of_python_leave_is_taken_up() {
    let mut place = Place::new();
    let needs = |on: &str, when| vec![ropewalk_jobs::Need { id: id(on), when }];
    let job = |name: &str| NewJob { id: id(name), ..NewJob::new("t", "[]") };
    let (on_a, on_failed) = (needs("a", ropewalk_jobs::When::Ended), needs("a", ropewalk_jobs::When::Failed));
    place
        .broker
        .enqueue(&[job("a"), NewJob { needs: on_a, ..job("b") }, NewJob { needs: on_failed, ..job("c") }, job("d")])
        .unwrap();
    // One was ended by a Python worker, one was begun by another whose lease is over, one was popped and never begun.
    let (queue, wip) = (place.key("queue:default"), place.key("wip:default"));
    let set = |place: &mut Place, id: &str, status: &str| {
        redis::cmd("HSET").arg(place.key(&format!("job:{id}"))).arg("status").arg(status).exec(&mut place.raw).unwrap();
    };
    redis::cmd("DEL").arg(&queue).exec(&mut place.raw).unwrap();
    set(&mut place, "a", "finished");
    set(&mut place, "d", "started");
    redis::cmd("ZADD").arg(&wip).arg(1).arg("d:0123").exec(&mut place.raw).unwrap();
    place.push("e", ADD, &[]);
    redis::cmd("LMOVE")
        .arg(&queue)
        .arg(format!("{queue}:intermediate"))
        .arg("LEFT")
        .arg("RIGHT")
        .exec(&mut place.raw)
        .unwrap();
    redis::cmd("SET").arg(format!("{queue}:intermediate:first_seen:e")).arg("1.5").exec(&mut place.raw).unwrap();
    place.broker.tick().unwrap();
    let state = |name: &str| place.broker.job(&id(name)).unwrap().unwrap().state;
    assert_eq!(["b", "c", "d", "e"].map(state), [State::Ready, State::Canceled, State::Ready, State::Ready]);
    assert_eq!(place.broker.job(&id("d")).unwrap().unwrap().crashes, 1);
    assert_eq!(place.claim(&["t", "app.tasks.add"]).len(), 3);
}

/// A worker of rq's says `scheduled` first and writes down when afterwards; it was killed in between, and the maintenance of rq has
/// struck out its execution.
#[test]
fn retry_that_python_never_wrote_down_is_taken_up() {
    let mut place = Place::new();
    place.broker.enqueue(&[NewJob { id: id("a"), ..NewJob::new("t", "[]") }]).unwrap();
    place.push("b", ADD, &[]);
    place.send(&["DEL", "queue:default"]);
    for name in ["a", "b"] {
        place.send(&["HSET", &format!("job:{name}"), "status", "started"]);
        place.send(&["ZADD", "wip:default", FAR, &format!("{name}:0123")]);
    }
    place.maintain();
    assert_eq!(["a", "b"].map(|name| place.status(name)), ["started", "started"]);
    place.send(&["HSET", "job:a", "status", "scheduled"]);
    place.send(&["HSET", "job:b", "status", "scheduled"]);
    place.maintain();
    place.broker.tick().unwrap();
    assert_eq!(["a", "b"].map(|name| place.status(name)), ["scheduled", "scheduled"], "their executions are not over");
    place.send(&["DEL", "wip:default"]);
    place.maintain();
    place.broker.tick().unwrap();
    assert_eq!(["a", "b"].map(|name| place.status(name)), ["queued", "queued"]);
    assert_eq!(place.claim(&["t", "app.tasks.add"]).len(), 2);
}
