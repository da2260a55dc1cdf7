//! Where a broker's time comes from: two clocks, because two things are measured.
//!
//! *When a job is due* is a point in time, and people mean the wall clock, which can be set. *Whether a lease has run out* is a
//! duration, and a wall clock that jumps would end all leases at once; so leases run on a clock that only goes on, which all
//! processes of one boot of one machine share.

use crate::job::Time;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// The two clocks of a broker.
pub trait Clock: Send + Sync {
    /// The time of day.
    fn wall(&self) -> Time;

    /// Since the machine started; goes on evenly, whatever is done to the wall clock. Not while the machine sleeps: no worker
    /// loses its lease by that.
    fn steady(&self) -> Duration;

    /// Which start of the machine that is; empty where it cannot be known. Leases from before it have run out, unless one of
    /// the two is not known: those end by their time.
    fn boot(&self) -> String;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn wall(&self) -> Time {
        (**self).wall()
    }

    fn steady(&self) -> Duration {
        (**self).steady()
    }

    fn boot(&self) -> String {
        (**self).boot()
    }
}

/// The clocks of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> Time {
        SystemTime::now().into()
    }

    #[cfg(all(unix, feature = "sqlite"))]
    fn steady(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
    }

    // Without a broker that other processes share, the start of this process is as good.
    #[cfg(not(all(unix, feature = "sqlite")))]
    fn steady(&self) -> Duration {
        use std::sync::OnceLock;
        use std::time::Instant;
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    fn boot(&self) -> String {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
    }
}

/// A clock that stands still until somebody moves it; for tests and for the simulation.
#[derive(Debug)]
pub struct VirtualClock {
    wall: AtomicU64,
    steady: AtomicU64,
}

impl VirtualClock {
    /// A clock that shows `wall`.
    pub fn at(wall: Time) -> Self {
        Self { wall: AtomicU64::new(wall.millis()), steady: AtomicU64::new(0) }
    }

    /// Time passes.
    pub fn advance(&self, by: Duration) {
        let by = crate::job::millis_up(by);
        self.wall.fetch_add(by, Ordering::Relaxed);
        self.steady.fetch_add(by, Ordering::Relaxed);
    }

    /// Somebody sets the wall clock; no time passes.
    pub fn set_wall(&self, wall: Time) {
        self.wall.store(wall.millis(), Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn wall(&self) -> Time {
        Time::of_millis(self.wall.load(Ordering::Relaxed))
    }

    fn steady(&self) -> Duration {
        Duration::from_millis(self.steady.load(Ordering::Relaxed))
    }

    fn boot(&self) -> String {
        "virtual".to_owned()
    }
}
