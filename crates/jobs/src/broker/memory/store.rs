//! All jobs in maps, and the rules applied to them one at a time: what the other brokers must agree with.
//!
//! A job moves in one place only ([`Store::go`]), which asks the table. What follows from a job's end, for those that need it, is
//! done there too, so no step can forget it.

use crate::broker::{
    Beat, BrokerError, Claim, Control, Enqueued, Filter, Held, Passed, QueueCounts, Said, Slot, TICK_JOBS_MAX, Ticked,
    WorkerInfo, add_to_log,
};
use crate::dependency::Need;
use crate::job::{End, ExecId, Failure, Job, JobId, Lease, Limit, NewJob, Outcome, Time, WorkerId, millis_up};
use crate::state::{self, Event, Settled, State};
use crate::unique::{self, Unique};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

/// What both clocks say.
#[derive(Clone, Copy)]
pub(super) struct Now {
    pub(super) wall: Time,
    pub(super) steady: Duration,
}

struct Entry {
    /// When it came, among all jobs.
    seq: u64,
    job: Job,
    needs: Vec<Need>,
    unique: Option<Unique>,
    limit: Option<Limit>,
    /// Its place among the ready.
    place: i64,
    /// By the steady clock.
    lease_until: Duration,
    /// What its executions have said of themselves.
    log: String,
}

type Place = (Reverse<i32>, i64, JobId);

#[derive(Default)]
pub(super) struct Store {
    jobs: HashMap<JobId, Entry>,
    ready: BTreeMap<String, BTreeSet<Place>>,
    scheduled: BTreeSet<(Time, JobId)>,
    leased: BTreeSet<(Duration, JobId)>,
    kept: BTreeSet<(Time, JobId)>,
    needed_by: HashMap<JobId, Vec<JobId>>,
    taken: HashMap<String, (JobId, Option<Time>)>,
    suspended: HashSet<Option<String>>,
    workers: BTreeMap<WorkerId, (WorkerInfo, Duration)>,
    /// The last slot that was passed of each schedule.
    slots: HashMap<String, Time>,
    ended: Vec<JobId>,
    counter: i64,
    seq: u64,
}

impl Store {
    pub(super) fn enqueue(&mut self, jobs: &[NewJob], now: Now) -> Result<Vec<Enqueued>, BrokerError> {
        let mut known: HashSet<&JobId> = HashSet::new();
        for job in jobs {
            if let Some(need) =
                job.needs.iter().find(|need| !known.contains(&need.id) && !self.jobs.contains_key(&need.id))
            {
                return Err(BrokerError::unknown_need(&job.id, &need.id));
            }
            known.insert(&job.id);
        }
        Ok(jobs.iter().map(|job| self.enqueue_one(job, now)).collect())
    }

    fn enqueue_one(&mut self, new: &NewJob, now: Now) -> Enqueued {
        if self.jobs.contains_key(&new.id) {
            return Enqueued::Duplicate(new.id.clone());
        }
        if let Some(unique) = &new.unique {
            if let Some((holder, until)) = self.taken.get(&unique.key)
                && unique::is_taken(*until, now.wall)
            {
                return Enqueued::Duplicate(holder.clone());
            }
            self.taken.insert(unique.key.clone(), (new.id.clone(), unique.until(now.wall)));
        }
        self.seq += 1;
        let mut open = Vec::new();
        let mut broken = None;
        for need in &new.needs {
            // A need of a duplicate in the same batch may lead to nothing: then it is as if it had been cancelled.
            match self.jobs.get(&need.id).map_or(Some(false), |on| need.when.is_met(on.job.state)) {
                None if open.contains(need) => {}
                None => open.push(need.clone()),
                Some(true) => {}
                Some(false) => broken = broken.or(Some(need.id.clone())),
            }
        }
        for need in &open {
            self.needed_by.entry(need.id.clone()).or_default().push(new.id.clone());
        }
        let job = Job {
            id: new.id.clone(),
            state: State::Waiting,
            queue: new.queue.clone(),
            task: new.task.clone(),
            payload: new.payload.clone(),
            priority: new.priority,
            due: new.due,
            waits_for: open.len() as u32,
            failures: 0,
            crashes: 0,
            exec: None,
            worker: None,
            stop: false,
            enqueued: now.wall,
            started: None,
            ended: None,
            expires: None,
            result: None,
            failure: None,
            progress: None,
            options: new.options.clone(),
        };
        let entry = Entry {
            seq: self.seq,
            job,
            needs: open,
            unique: new.unique.clone(),
            limit: new.limit.clone(),
            place: 0,
            lease_until: Duration::ZERO,
            log: String::new(),
        };
        let waits = !entry.needs.is_empty();
        self.jobs.insert(new.id.clone(), entry);
        if let Some(on) = broken {
            self.break_off(&new.id, &on, now);
        } else if !waits {
            self.met(&new.id, now);
        }
        Enqueued::Accepted(new.id.clone())
    }

    /// Everything that a job needed has ended as needed.
    fn met(&mut self, id: &JobId, now: Now) {
        let early = self.entry(id).job.due.is_some_and(|due| due > now.wall);
        self.go_alone(id, if early { Event::MetEarly } else { Event::Met }, now, |_| {});
    }

    fn break_off(&mut self, id: &JobId, on: &JobId, now: Now) -> State {
        let failure = Failure::broken_need(on);
        self.go_alone(id, Event::Broken, now, |job| job.failure = Some(failure))
    }

    fn entry(&mut self, id: &JobId) -> &mut Entry {
        self.jobs.get_mut(id).expect("a job that is named by an index is there")
    }

    /// Moves a job. When it ends, so do those that need it otherwise, and those that need these: a list and no recursion,
    /// because a chain can be longer than a stack.
    fn go(&mut self, id: &JobId, event: Event, now: Now, edit: impl FnOnce(&mut Job)) {
        let to = self.go_alone(id, event, now, edit);
        let mut ended = VecDeque::new();
        if to.is_ended() {
            ended.push_back((id.clone(), to));
        }
        while let Some((id, to)) = ended.pop_front() {
            self.tell_those_who_need(&id, to, now, &mut ended);
        }
    }

    /// Moves one job; the only place that does. `edit` changes what the move itself does not.
    fn go_alone(&mut self, id: &JobId, event: Event, now: Now, edit: impl FnOnce(&mut Job)) -> State {
        let counter = {
            self.counter += 1;
            self.counter
        };
        let entry = self.jobs.get_mut(id).expect("a job that is named by an index is there");
        let from = entry.job.state;
        let to = state::next(from, event).unwrap_or_else(|| panic!("{event:?} happened to a job that is {from}"));
        // Out of the index of the old state, with the values it was put there by.
        match from {
            State::Ready => {
                let place = (Reverse(entry.job.priority), entry.place, id.clone());
                if let Some(ready) = self.ready.get_mut(&entry.job.queue) {
                    ready.remove(&place);
                }
            }
            State::Scheduled => {
                self.scheduled.remove(&(entry.job.due.unwrap_or_default(), id.clone()));
            }
            State::Leased => {
                self.leased.remove(&(entry.lease_until, id.clone()));
            }
            _ if from.is_ended() => {
                self.kept.remove(&(entry.job.expires.unwrap_or_default(), id.clone()));
            }
            _ => {}
        }
        let job = &mut entry.job;
        (job.failures, job.crashes) = state::counted(event, job.failures, job.crashes);
        job.state = to;
        match event {
            Event::Expire | Event::Poison | Event::Requeue => job.exec = None,
            _ => {}
        }
        edit(job);
        if to.is_ended() {
            job.ended = Some(now.wall);
            job.expires = Some(now.wall + job.options.kept(to));
            job.stop = false;
            job.waits_for = 0;
            entry.needs.clear();
        }
        match to {
            State::Ready => {
                entry.place = if event == Event::Release { -counter } else { counter };
                let place = (Reverse(job.priority), entry.place, id.clone());
                self.ready.entry(job.queue.clone()).or_default().insert(place);
            }
            State::Scheduled => {
                self.scheduled.insert((job.due.unwrap_or_default(), id.clone()));
            }
            State::Leased => {
                self.leased.insert((entry.lease_until, id.clone()));
            }
            _ if to.is_ended() => {
                self.kept.insert((job.expires.unwrap_or_default(), id.clone()));
                if let Some(unique) = entry.unique.as_ref().filter(|unique| unique.window_ms.is_none())
                    && self.taken.get(&unique.key).is_some_and(|(holder, _)| holder == id)
                {
                    self.taken.remove(&unique.key);
                }
                self.ended.push(id.clone());
            }
            _ => {}
        }
        to
    }

    /// Those that end by it go onto the list.
    fn tell_those_who_need(&mut self, id: &JobId, ended: State, now: Now, list: &mut VecDeque<(JobId, State)>) {
        for waiting in self.needed_by.remove(id).unwrap_or_default() {
            let Some(entry) = self.jobs.get_mut(&waiting).filter(|entry| entry.job.state == State::Waiting) else {
                continue;
            };
            let mut kept = true;
            entry.needs.retain(|need| {
                let mine = need.id == *id;
                kept &= !mine || need.when.is_met(ended) == Some(true);
                !mine
            });
            entry.job.waits_for = entry.needs.len() as u32;
            if !kept {
                let to = self.break_off(&waiting, id, now);
                list.push_back((waiting, to));
            } else if entry.needs.is_empty() {
                self.met(&waiting, now);
            }
        }
    }

    pub(super) fn claim(&mut self, claim: &Claim, now: Now) -> Vec<Lease> {
        let mut leases = Vec::new();
        if self.suspended.contains(&None) {
            return leases;
        }
        for queue in &claim.queues {
            if self.suspended.contains(&Some(queue.clone())) {
                continue;
            }
            let mut from = Bound::Unbounded;
            while leases.len() < claim.max {
                let may = |(.., id): &&Place| claim.wants(&self.jobs[id].job.task) && self.is_within_limit(id);
                let ready = self.ready.get(queue);
                let found = ready.and_then(|ready| ready.range((from.as_ref(), Bound::Unbounded)).find(may).cloned());
                let Some(place) = found else { break };
                let id = place.2.clone();
                from = Bound::Excluded(place);
                let exec = ExecId::random();
                self.entry(&id).lease_until = now.steady.saturating_add(claim.lease);
                self.go(&id, Event::Claim, now, |job| {
                    job.exec = Some(exec);
                    job.worker = Some(claim.worker.clone());
                    job.started = Some(now.wall);
                    job.progress = None;
                });
                let job = &self.entry(&id).job;
                leases.push(Lease {
                    id: id.clone(),
                    exec,
                    queue: job.queue.clone(),
                    task: job.task.clone(),
                    payload: job.payload.clone(),
                    failures: job.failures,
                    crashes: job.crashes,
                    options: job.options.clone(),
                });
            }
        }
        leases
    }

    fn is_within_limit(&self, id: &JobId) -> bool {
        let Some(limit) = &self.jobs[id].limit else { return true };
        let running = self
            .leased
            .iter()
            .filter(|(_, leased)| self.jobs[leased].limit.as_ref().is_some_and(|other| other.key == limit.key));
        running.count() < limit.at_once as usize
    }

    pub(super) fn heartbeat(&mut self, beat: &Beat, now: Now) -> Vec<Held> {
        if beat.leaving {
            self.workers.remove(&beat.worker);
        } else {
            let info = WorkerInfo {
                id: beat.worker.clone(),
                queues: beat.queues.clone(),
                concurrency: beat.concurrency,
                running: beat.running.len(),
                seen: now.wall,
            };
            self.workers.insert(beat.worker.clone(), (info, now.steady.saturating_add(beat.lease)));
        }
        let answer = |running: &crate::broker::Running| {
            let Some(entry) = self.jobs.get_mut(&running.id) else { return Held::Lost };
            if entry.job.state != State::Leased || entry.job.exec != Some(running.exec) {
                return Held::Lost;
            }
            self.leased.remove(&(entry.lease_until, running.id.clone()));
            entry.lease_until = now.steady.saturating_add(beat.lease);
            self.leased.insert((entry.lease_until, running.id.clone()));
            if let Some(progress) = &running.progress {
                entry.job.progress = Some(progress.clone());
            }
            if entry.job.stop { Held::Stop } else { Held::Held }
        };
        beat.running.iter().map(answer).collect()
    }

    pub(super) fn settle(&mut self, outcomes: &[Outcome], now: Now) -> Vec<Settled> {
        // Backwards, so that jobs that are released together keep their order at the front.
        let mut settled: Vec<Settled> = outcomes.iter().rev().map(|outcome| self.settle_one(outcome, now)).collect();
        settled.reverse();
        settled
    }

    fn settle_one(&mut self, outcome: &Outcome, now: Now) -> Settled {
        let Some(entry) = self.jobs.get(&outcome.id) else { return Settled::Lost };
        let fenced = state::fence(entry.job.state, entry.job.exec, outcome.exec);
        if fenced == Settled::Recorded {
            let event = state::ended(outcome.end.event(), entry.job.stop);
            self.go(&outcome.id, event, now, |job| apply(&outcome.end, job, event, now.wall));
        }
        fenced
    }

    pub(super) fn log(&mut self, said: &[Said]) {
        for said in said {
            if let Some(entry) = self.jobs.get_mut(&said.id)
                && state::fence(entry.job.state, entry.job.exec, said.exec) == Settled::Recorded
            {
                add_to_log(&mut entry.log, &said.text);
            }
        }
    }

    pub(super) fn logs(&self, id: &JobId) -> Option<String> {
        self.jobs.get(id).map(|entry| entry.log.clone()).filter(|log| !log.is_empty())
    }

    pub(super) fn pass_slot(&mut self, slot: &Slot, now: Now) -> Result<Passed, BrokerError> {
        let last = self.slots.get(&slot.schedule).copied();
        if last != slot.after {
            return Ok(Passed::Elsewhere(last));
        }
        let enqueued = self.enqueue(&slot.jobs, now)?;
        self.slots.insert(slot.schedule.clone(), slot.at);
        Ok(Passed::Here(enqueued))
    }

    pub(super) fn tick(&mut self, now: Now) -> Ticked {
        let mut ticked = Ticked::default();
        let due: Vec<JobId> = self
            .scheduled
            .iter()
            .take_while(|(due, _)| *due <= now.wall)
            .take(TICK_JOBS_MAX)
            .map(|(_, id)| id.clone())
            .collect();
        for id in &due {
            self.go(id, Event::Due, now, |_| {});
        }
        ticked.due = due.len();
        let expired: Vec<JobId> = self
            .leased
            .iter()
            .take_while(|(until, _)| *until <= now.steady)
            .take(TICK_JOBS_MAX)
            .map(|(_, id)| id.clone())
            .collect();
        for id in &expired {
            let job = &self.entry(id).job;
            let event = state::expired(job.crashes, job.options.crashes_max(), job.stop);
            let failure = Failure::crashed(job.worker.as_ref(), event, job.crashes + 1);
            self.go(id, event, now, |job| {
                job.exec = None;
                job.failure = failure;
            });
            if event == Event::Expire { ticked.recovered += 1 } else { ticked.ended += 1 }
        }
        let old: Vec<JobId> = self
            .kept
            .iter()
            .take_while(|(until, _)| *until <= now.wall)
            .take(TICK_JOBS_MAX)
            .map(|(_, id)| id.clone())
            .collect();
        for id in &old {
            self.forget(id);
        }
        ticked.forgotten = old.len();
        self.workers.retain(|_, (_, until)| *until > now.steady);
        self.taken.retain(|_, (_, until)| unique::is_taken(*until, now.wall));
        ticked.more = [due.len(), expired.len(), old.len()].contains(&TICK_JOBS_MAX);
        ticked.next_due = self.scheduled.first().map(|(due, _)| *due);
        ticked
    }

    fn forget(&mut self, id: &JobId) {
        if let Some(entry) = self.jobs.remove(id) {
            self.kept.remove(&(entry.job.expires.unwrap_or_default(), id.clone()));
        }
    }

    pub(super) fn control(&mut self, control: &Control, now: Now) -> Result<usize, BrokerError> {
        match control {
            Control::Cancel(id) | Control::Stop(id) | Control::End(id) => {
                let state = self.state_of(id)?;
                let runs = state == State::Leased;
                let wrong = match control {
                    Control::Cancel(_) => runs,
                    Control::Stop(_) => !runs,
                    _ => false,
                };
                if wrong || state.is_ended() {
                    return Err(BrokerError::wrong_state(control, state));
                }
                if runs {
                    self.entry(id).job.stop = true;
                } else {
                    self.go(id, Event::Cancel, now, |_| {});
                }
                Ok(1)
            }
            Control::Requeue(id) => {
                let state = self.state_of(id)?;
                if state::next(state, Event::Requeue).is_none() {
                    return Err(BrokerError::wrong_state(control, state));
                }
                if let Some(unique) = self.entry(id).unique.clone() {
                    if let Some((holder, until)) = self.taken.get(&unique.key)
                        && holder != id
                        && unique::is_taken(*until, now.wall)
                    {
                        return Err(BrokerError::key_is_taken(id, &unique.key, holder));
                    }
                    self.taken.insert(unique.key.clone(), (id.clone(), unique.until(now.wall)));
                }
                self.go(id, Event::Requeue, now, |job| {
                    job.failure = None;
                    job.progress = None;
                    job.ended = None;
                    job.expires = None;
                    job.due = None;
                });
                Ok(1)
            }
            Control::Delete(id) => {
                let state = self.state_of(id)?;
                if state == State::Leased {
                    return Err(BrokerError::wrong_state(control, state));
                }
                if !state.is_ended() {
                    self.go(id, Event::Cancel, now, |_| {});
                }
                self.forget(id);
                Ok(1)
            }
            Control::Empty(queue) => {
                let waiting: Vec<(u64, JobId)> = self
                    .jobs
                    .values()
                    .filter(|entry| entry.job.queue == *queue && state::next(entry.job.state, Event::Cancel).is_some())
                    .map(|entry| (entry.seq, entry.job.id.clone()))
                    .collect();
                let mut emptied = 0;
                for (_, id) in waiting.iter().collect::<BTreeSet<_>>() {
                    // A job before it may have been what it needed.
                    if state::next(self.state_of(id)?, Event::Cancel).is_some() {
                        self.go(id, Event::Cancel, now, |_| {});
                        emptied += 1;
                    }
                }
                Ok(emptied)
            }
            Control::Suspend(queue) => Ok(usize::from(self.suspended.insert(queue.clone()))),
            Control::Resume(queue) => Ok(usize::from(self.suspended.remove(queue))),
        }
    }

    fn state_of(&self, id: &JobId) -> Result<State, BrokerError> {
        self.jobs.get(id).map(|entry| entry.job.state).ok_or_else(|| BrokerError::not_found(id))
    }

    pub(super) fn job(&self, id: &JobId) -> Option<Job> {
        self.jobs.get(id).map(|entry| entry.job.clone())
    }

    pub(super) fn jobs(&self, filter: &Filter) -> Vec<Job> {
        let fits = |job: &Job| {
            filter.queue.as_ref().is_none_or(|queue| *queue == job.queue)
                && filter.state.is_none_or(|state| state == job.state)
        };
        let mut found: Vec<&Entry> = self.jobs.values().filter(|entry| fits(&entry.job)).collect();
        found.sort_by_key(|entry| Reverse(entry.seq));
        found.iter().take(filter.limit).map(|entry| entry.job.clone()).collect()
    }

    pub(super) fn queues(&self) -> Vec<QueueCounts> {
        let mut counts: BTreeMap<&String, [u64; State::ALL.len()]> = BTreeMap::new();
        for entry in self.jobs.values() {
            counts.entry(&entry.job.queue).or_default()[entry.job.state as usize] += 1;
        }
        for queue in self.suspended.iter().flatten() {
            counts.entry(queue).or_default();
        }
        let is_suspended =
            |queue: &String| self.suspended.contains(&None) || self.suspended.contains(&Some(queue.clone()));
        counts
            .into_iter()
            .map(|(queue, jobs)| QueueCounts { queue: queue.clone(), jobs, suspended: is_suspended(queue) })
            .collect()
    }

    pub(super) fn workers(&self, now: Now) -> Vec<WorkerInfo> {
        self.workers.values().filter(|(_, until)| *until > now.steady).map(|(info, _)| info.clone()).collect()
    }

    pub(super) fn ended_since(&self, mark: Option<u64>) -> (u64, Vec<JobId>) {
        let end = self.ended.len();
        let from = mark.map_or(end, |mark| usize::try_from(mark).unwrap_or(end).min(end));
        (end as u64, self.ended[from..].to_vec())
    }
}

/// What an outcome leaves in its job, besides the move.
fn apply(end: &End, job: &mut Job, event: Event, now: Time) {
    match end {
        End::Done(result) => {
            job.result = Some(result.clone());
            job.failure = None;
        }
        End::Failed(failure) => job.failure = Some(failure.clone()),
        End::Retry { after, failure } | End::Snooze { after, failure } => {
            job.failure = Some(failure.clone());
            if event != Event::Stop {
                job.due = Some(now + Duration::from_millis(millis_up(*after)));
            }
        }
        End::Release | End::Stopped => {}
    }
}
