//! What rq does at the end of a job and to a worker, where the worker is ours: callbacks, webhooks, commands; and what is kept of a log.

use super::*;
use ropewalk_jobs::broker::{Command, Passed, Said, Slot};

const ON_SUCCESS: (&str, &str) = ("success_callback_name", "app.tasks.on_success");
const ON_FAILURE: (&str, &str) = ("failure_callback_name", "app.tasks.on_failure");

impl Place {
    /// The job at the front of the queue, which is one that calls something: what it was told.
    fn called(&mut self) -> serde_json::Value {
        let id = self.text(&["LINDEX", "queue:default", "0"]);
        let job = self.broker.job(&id.parse().expect("an id")).expect("a look").expect("a job");
        assert_eq!((job.task.as_str(), job.state), ("builtins.exec", State::Ready));
        let args: serde_json::Value = serde_json::from_str(&job.payload).expect("JSON");
        assert!(args[0].as_str().is_some_and(|text| text.contains("Job.fetch(job_id")), "{args}");
        args[1].clone()
    }

    fn queued(&mut self) -> usize {
        self.text(&["LLEN", "queue:default"]).parse().expect("a number")
    }
}

/// In the form of the job, before all that waits there, and once: whoever is told of it twice.
#[test]
fn callback_of_python_becomes_a_small_job_of_python() {
    let mut place = Place::new();
    // The pickle of the document: ("tasks.add", None, (1,), {"b": 2}).
    place.push("a", b"\x80\x05(\x8c\x09tasks.addNK\x01\x85}\x8c\x01bK\x02st.", &[ON_SUCCESS, ON_FAILURE]);
    place.push("b", ADD, &[ON_SUCCESS, ON_FAILURE]);
    let leases = place.claim(&["app.tasks.add", "tasks.add"]);
    place.push("c", ADD, &[]);
    assert_eq!(place.settle(&leases[0], End::Done("3".into())), Settled::Recorded);
    assert_eq!(place.settle(&leases[0], End::Done("3".into())), Settled::Repeated);
    let told = place.called();
    let word = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    assert_eq!([word("job_id"), word("kind"), word("callback")], ["a", "success", "app.tasks.on_success"]);
    assert_eq!(word("execution"), leases[0].exec.to_string());
    let id = place.text(&["LINDEX", "queue:default", "0"]);
    let data: Vec<u8> =
        redis::cmd("HGET").arg(place.key(&format!("job:{id}"))).arg("data").query(&mut place.raw).unwrap();
    assert_eq!(ropewalk_jobs::rq::data::read(&data).unwrap().serializer, Serializer::Pickle);
    let mut failure = Failure::new(FailureKind::Error, "no rope");
    failure.type_name = "app::NoRope".into();
    assert_eq!(place.settle(&leases[1], End::Failed(failure)), Settled::Recorded);
    let told = place.called();
    assert_eq!(
        (&told["job_id"], &told["kind"], &told["error"], &told["message"]),
        (&"b".into(), &"failure".into(), &"app::NoRope".into(), &"no rope".into())
    );
    // Two, and the one that waits; a tick adds none, and our workers leave them alone.
    place.broker.tick().unwrap();
    assert_eq!((place.queued(), place.text(&["EXISTS", "rw:owed"])), (3, "0".into()));
    assert_eq!(place.claim(&["nobody"]), []);
}

/// Whoever settles dies before the small job is made; another one's tick makes it.
#[test]
fn callback_that_is_owed_is_made_by_another() {
    let mut place = Place::new();
    place.push("a", ADD, &[]);
    let owed = r#"{"job":"a","queue":"default","kind":"stopped","execution":"e","callback":"f","seconds":7,"hooks":false,"text":""}"#;
    for entry in [owed, "of nobody", &owed.replace("\"a\"", "\"deleted\"")] {
        place.send(&["RPUSH", "rw:owed", entry]);
    }
    place.broker.tick().unwrap();
    assert_eq!((&place.called()["kind"], &place.called()["callback"]), (&"stopped".into(), &"f".into()));
    assert_eq!((place.queued(), place.text(&["EXISTS", "rw:owed"])), (2, "0".into()));
}

#[test]
fn webhooks_wait_for_the_last_try_and_are_asked_for_once() {
    let mut place = Place::new();
    let hooks =
        r#"[{"url": "http://127.0.0.1/", "job_status": "failed", "method": "GET", "headers": null, "timeout": 10}]"#;
    place.push("a", ADD, &[("webhooks", hooks), ("retries_left", "1"), ("retry_intervals", "[0]")]);
    place.push("b", ADD, &[("webhooks", hooks)]);
    let failure = || End::Failed(Failure::new(FailureKind::Error, "no rope"));
    let leases = place.claim(&["app.tasks.add"]);
    assert_eq!(place.settle(&leases[0], failure()), Settled::Recorded);
    assert_eq!(place.settle(&leases[1], End::Done("3".into())), Settled::Recorded);
    // One will be tried again, one ended well: nothing is owed for either.
    assert_eq!(place.queued(), 1);
    let last = place.claim(&["app.tasks.add"]).remove(0);
    assert_eq!(place.settle(&last, failure()), Settled::Recorded);
    let told = place.called();
    assert_eq!((&told["hooks"], &told["callback"], &told["kind"]), (&true.into(), &"".into(), &"failure".into()));
    assert!(told["traceback"].as_str().is_some_and(|text| text.contains("no rope")), "{told}");
}

/// A worker that was alive and is gone: rq calls the callback for it as well, with an exception of its own.
#[test]
fn callback_of_a_job_whose_worker_is_gone() {
    let mut place = Place::new();
    place.push("a", ADD, &[ON_FAILURE]);
    let lease = Duration::from_millis(300);
    let leases = place.broker.claim(&Claim { lease, ..claim(Some(&["app.tasks.add"]), 1) }).unwrap();
    let started = place.broker.now();
    while place.broker.now() <= started + Duration::from_millis(2) {
        thread::yield_now();
    }
    let running = vec![Running { id: id("a"), exec: leases[0].exec, progress: None }];
    let (worker, queues) = (WorkerId::of("w"), vec!["default".into()]);
    let beat = Beat { worker, queues, concurrency: 1, running, lease, leaving: false };
    assert_eq!(place.broker.heartbeat(&beat).unwrap(), [Held::Held]);
    let until = Instant::now() + LIMIT;
    while place.broker.tick().unwrap().ended == 0 {
        assert!(Instant::now() < until, "nobody noticed");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(place.state("a"), State::Failed);
    let told = place.called();
    let words = ["job_id", "kind", "callback", "error"].map(|name| told[name].as_str().unwrap_or_default());
    assert_eq!(words, ["a", "failure", "app.tasks.on_failure", "AbandonedJobError"]);
}

/// It is forgotten after as many seconds. Some have passed since, on a slow machine.
#[track_caller]
fn assert_life(place: &mut Place, key: &str, seconds: i64) {
    let left: i64 = place.text(&["TTL", key]).parse().unwrap();
    assert!((seconds - 60..=seconds).contains(&left), "{key}: {left} s of {seconds}");
}

/// The result of a job that is not to be kept is there for its callback, for a while.
#[test]
fn job_whose_result_is_not_kept_waits_for_its_callback() {
    let mut place = Place::new();
    place.push("a", ADD, &[ON_SUCCESS, ("result_ttl", "0")]);
    place.push("b", ADD, &[("result_ttl", "0")]);
    place.push("c", ADD, &[ON_SUCCESS, ("result_ttl", "1")]);
    for lease in place.claim(&["app.tasks.add"]) {
        assert_eq!(place.settle(&lease, End::Done("3".into())), Settled::Recorded);
    }
    assert_eq!(place.text(&["TTL", "job:b"]), "-2");
    for id in ["a", "c"] {
        assert_life(&mut place, &format!("job:{id}"), 600);
    }
}

#[ropewalk::task(name = "slow")]
fn slow() {
    ropewalk::sleep(LIMIT);
}

#[test]
fn commands_by_the_channel_of_rq_reach_their_worker() {
    let mut place = Place::new();
    let worker = Worker::new(place.broker.clone()).register::<slow>().on_notice(|_| ()).start().unwrap();
    let until = Instant::now() + LIMIT;
    let name = loop {
        if let Some(worker) = place.broker.workers().unwrap().first() {
            break worker.id.clone();
        }
        assert!(Instant::now() < until, "no worker came");
        thread::yield_now();
    };
    let say = |place: &mut Place, to: &str, word: &str| {
        let said = format!(r#"{{"command": "{word}"}}"#);
        redis::cmd("PUBLISH").arg(place.key(&format!("pubsub:{to}"))).arg(said).exec(&mut place.raw).unwrap();
    };
    // What runs has failed then, and the worker goes on.
    place.broker.enqueue(&["a", "b"].map(|name| NewJob { id: id(name), ..NewJob::new("slow", "[]") })).unwrap();
    for job in ["a", "b"] {
        while place.state(job) != State::Failed {
            assert!(Instant::now() < until, "it did not hear");
            // rq says it once; whoever has just begun may not listen yet.
            if place.state(job) == State::Leased {
                say(&mut place, name.as_str(), "kill-horse");
            }
            thread::sleep(Duration::from_millis(20));
        }
        let failure = place.broker.job(&id(job)).unwrap().unwrap().failure.unwrap();
        assert_eq!(failure.message, "its worker was told to break off what it runs");
    }
    // For nobody, and of a kind that nobody knows.
    say(&mut place, "another", "shutdown");
    say(&mut place, name.as_str(), "dance");
    while !worker.is_finished() {
        assert!(Instant::now() < until, "it did not hear");
        say(&mut place, name.as_str(), "shutdown");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(place.broker.workers().unwrap(), []);
    // What comes after its end is kept for nobody, and what is for one worker is not taken by another.
    let own = place.key(&format!("pubsub:{name}"));
    let listeners = |place: &mut Place| -> (String, u64) {
        redis::cmd("PUBSUB").arg("NUMSUB").arg(&own).query(&mut place.raw).unwrap()
    };
    while listeners(&mut place).1 > 0 {
        assert!(Instant::now() < until, "it listens for a worker that has ended");
        say(&mut place, name.as_str(), "shutdown");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(place.broker.commands(&name), [] as [Command; 0]);
    assert_eq!(place.broker.commands(&WorkerId::of("w")), [] as [Command; 0]);
}

/// rq's history of a schedule has its limits too.
#[test]
fn history_of_a_schedule_is_cut_as_rq_cuts_it() {
    let mut place = Place::new();
    let many: Vec<String> = (0..1_500).flat_map(|n| [format!("{n}"), format!("old-{n:04}")]).collect();
    let mut add = redis::cmd("ZADD");
    add.arg(place.key("cron_job:s:jobs")).arg(&many).exec(&mut place.raw).unwrap();
    let jobs = vec![NewJob { id: id("new"), ..NewJob::new("t", "[]") }];
    let slot = Slot { schedule: "s".into(), after: None, at: place.broker.now(), jobs };
    assert!(matches!(place.broker.pass_slot(&slot).unwrap(), Passed::Here(_)));
    let left: Vec<String> =
        redis::cmd("ZRANGE").arg(place.key("cron_job:s:jobs")).arg(0).arg(-1).query(&mut place.raw).unwrap();
    assert_eq!((left.len(), left[0].as_str(), left[999].as_str()), (1_000, "old-0501", "new"));
    assert_life(&mut place, "cron_job:s:jobs", 31_536_000);
}

/// A log goes with its job, also where Redis itself forgets that; and what Python deletes without a word leaves none for ever.
#[test]
fn log_has_the_life_of_its_job() {
    let mut place = Place::new();
    place.push("a", ADD, &[]);
    let lease = place.claim(&["app.tasks.add"]).remove(0);
    let said = |text: &str| [Said { id: lease.id.clone(), exec: lease.exec, text: text.into() }];
    place.broker.log(&said("one\n")).unwrap();
    assert_life(&mut place, "rw:log:a", 604_800);
    assert_eq!(place.settle(&lease, End::Done("3".into())), Settled::Recorded);
    assert_life(&mut place, "rw:log:a", 500);
    assert_life(&mut place, "job:a", 500);
    place.broker.log(&said("too late\n")).unwrap();
    assert_eq!(place.broker.logs(&id("a")).unwrap().as_deref(), Some("one\n"));
}

/// The end of a run that rq's maintenance had given up comes late: it has ended, and is not open for ever. (Found with a server
/// that was away for two seconds while a worker of rq's, which counts on a beat in five, had a job.)
#[test]
fn job_that_ended_after_python_scheduled_it_again_is_not_open() {
    let mut place = Place::new();
    place.broker.enqueue(&[NewJob { id: id("a"), ..NewJob::new("t", "[]") }]).unwrap();
    let lease = place.claim(&["t"]).remove(0);
    assert_eq!(place.settle(&lease, End::Done("1".into())), Settled::Recorded);
    // A repeat of an older rq looks like this.
    place.send(&["ZADD", "scheduled:default", "1", "a"]);
    place.send(&["HSET", "job:a", "repeats_left", "0"]);
    place.broker.tick().unwrap();
    let open = |place: &Place, state| place.broker.queues().unwrap().iter().map(|queue| queue.of(state)).sum::<u64>();
    assert_eq!((open(&place, State::Scheduled), open(&place, State::Done)), (1, 1));
    place.send(&["HDEL", "job:a", "repeats_left"]);
    assert_eq!(place.broker.tick().unwrap().due, 0);
    assert_eq!((place.list(), place.state("a")), (vec![], State::Done));
    assert_eq!((open(&place, State::Scheduled), open(&place, State::Done)), (0, 1));
}
