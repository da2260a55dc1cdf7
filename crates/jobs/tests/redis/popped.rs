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
