//! The methods of a broker that stands before another, which passes them on: written once, for all that do so.

/// Methods of [`Broker`](crate::Broker) that do what another does, which `|this| EXPRESSION` names: `all`, or those in the list. For
/// brokers that tests put before another, too; no part of the interface.
#[doc(hidden)]
#[macro_export]
macro_rules! __pass_on {
    (|$this:ident| $to:expr; all) => {
        $crate::__pass_on!(|$this| $to; now, leaves_unknown, enqueue, claim, heartbeat, settle, claim_and_settle, log, logs, pass_slot,
            commands, tick, control, job, jobs, queues, workers, ended_since, news, wait, ring);
    };
    (|$this:ident| $to:expr; $($method:ident),+) => {
        $($crate::__pass_on!(@$method $this, $to);)+
    };
    (@now $this:ident, $to:expr) => {
        fn now(&self) -> $crate::Time {
            let $this = self;
            $to.now()
        }
    };
    (@leaves_unknown $this:ident, $to:expr) => {
        fn leaves_unknown(&self) -> bool {
            let $this = self;
            $to.leaves_unknown()
        }
    };
    (@enqueue $this:ident, $to:expr) => {
        fn enqueue(&self, jobs: &[$crate::NewJob]) -> Result<Vec<$crate::broker::Enqueued>, $crate::BrokerError> {
            let $this = self;
            $to.enqueue(jobs)
        }
    };
    (@claim $this:ident, $to:expr) => {
        fn claim(&self, claim: &$crate::broker::Claim) -> Result<Vec<$crate::job::Lease>, $crate::BrokerError> {
            let $this = self;
            $to.claim(claim)
        }
    };
    (@heartbeat $this:ident, $to:expr) => {
        fn heartbeat(&self, beat: &$crate::broker::Beat) -> Result<Vec<$crate::broker::Held>, $crate::BrokerError> {
            let $this = self;
            $to.heartbeat(beat)
        }
    };
    (@settle $this:ident, $to:expr) => {
        fn settle(&self, outcomes: &[$crate::job::Outcome]) -> Result<Vec<$crate::state::Settled>, $crate::BrokerError> {
            let $this = self;
            $to.settle(outcomes)
        }
    };
    (@claim_and_settle $this:ident, $to:expr) => {
        fn claim_and_settle(
            &self,
            claim: &$crate::broker::Claim,
            outcomes: &[$crate::job::Outcome],
        ) -> (Result<Vec<$crate::job::Lease>, $crate::BrokerError>, $crate::broker::Settling) {
            let $this = self;
            $to.claim_and_settle(claim, outcomes)
        }
    };
    (@log $this:ident, $to:expr) => {
        fn log(&self, said: &[$crate::broker::Said]) -> Result<(), $crate::BrokerError> {
            let $this = self;
            $to.log(said)
        }
    };
    (@logs $this:ident, $to:expr) => {
        fn logs(&self, id: &$crate::JobId) -> Result<Option<String>, $crate::BrokerError> {
            let $this = self;
            $to.logs(id)
        }
    };
    (@pass_slot $this:ident, $to:expr) => {
        fn pass_slot(&self, slot: &$crate::broker::Slot) -> Result<$crate::broker::Passed, $crate::BrokerError> {
            let $this = self;
            $to.pass_slot(slot)
        }
    };
    (@commands $this:ident, $to:expr) => {
        fn commands(&self, worker: &$crate::job::WorkerId) -> Vec<$crate::broker::Command> {
            let $this = self;
            $to.commands(worker)
        }
    };
    (@tick $this:ident, $to:expr) => {
        fn tick(&self) -> Result<$crate::broker::Ticked, $crate::BrokerError> {
            let $this = self;
            $to.tick()
        }
    };
    (@control $this:ident, $to:expr) => {
        fn control(&self, control: &$crate::broker::Control) -> Result<usize, $crate::BrokerError> {
            let $this = self;
            $to.control(control)
        }
    };
    (@job $this:ident, $to:expr) => {
        fn job(&self, id: &$crate::JobId) -> Result<Option<$crate::Job>, $crate::BrokerError> {
            let $this = self;
            $to.job(id)
        }
    };
    (@jobs $this:ident, $to:expr) => {
        fn jobs(&self, filter: &$crate::broker::Filter) -> Result<Vec<$crate::Job>, $crate::BrokerError> {
            let $this = self;
            $to.jobs(filter)
        }
    };
    (@queues $this:ident, $to:expr) => {
        fn queues(&self) -> Result<Vec<$crate::broker::QueueCounts>, $crate::BrokerError> {
            let $this = self;
            $to.queues()
        }
    };
    (@workers $this:ident, $to:expr) => {
        fn workers(&self) -> Result<Vec<$crate::broker::WorkerInfo>, $crate::BrokerError> {
            let $this = self;
            $to.workers()
        }
    };
    (@ended_since $this:ident, $to:expr) => {
        fn ended_since(&self, mark: Option<u64>) -> Result<(u64, Vec<$crate::JobId>), $crate::BrokerError> {
            let $this = self;
            $to.ended_since(mark)
        }
    };
    (@news $this:ident, $to:expr) => {
        fn news(&self, topic: $crate::broker::Topic) -> u64 {
            let $this = self;
            $to.news(topic)
        }
    };
    (@wait $this:ident, $to:expr) => {
        fn wait(&self, topic: $crate::broker::Topic, seen: u64, timeout: std::time::Duration) {
            let $this = self;
            $to.wait(topic, seen, timeout);
        }
    };
    (@ring $this:ident, $to:expr) => {
        fn ring(&self, topic: $crate::broker::Topic) {
            let $this = self;
            $to.ring(topic);
        }
    };
}
