//! Without our library the locks are std's.

/// As far as it is needed here.
pub(super) struct Mutex(std::sync::Mutex<()>);

impl Mutex {
    pub(super) fn new((): ()) -> Self {
        Self(std::sync::Mutex::new(()))
    }
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        self.0.lock().expect("no job panics")
    }
}

/// A channel with as many places.
pub(super) struct Semaphore(crossbeam_channel::Sender<()>, crossbeam_channel::Receiver<()>);

impl Semaphore {
    pub(super) fn new(permits: usize) -> Self {
        let (give, take) = crossbeam_channel::bounded(permits);
        (0..permits).for_each(|_| give.send(()).expect("there is room"));
        Self(give, take)
    }
    pub(super) fn acquire(&self) -> Permit<'_> {
        self.1.recv().expect("both ends are here");
        Permit(&self.0)
    }
}

/// Given back when it is dropped.
pub(super) struct Permit<'a>(&'a crossbeam_channel::Sender<()>);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}
