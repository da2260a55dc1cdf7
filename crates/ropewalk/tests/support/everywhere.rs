//! The same test on every kind of strand that can block.

use ropewalk::{Submit, ThreadPoolExecutor};

/// Runs a test on a plain thread, in a task, which can be cancelled, and in a greenlet.
#[track_caller]
pub(crate) fn everywhere(test: impl Fn() + Send + Sync + Clone + 'static) {
    test();
    let in_task = test.clone();
    ThreadPoolExecutor::new(1).submit(in_task).join().expect("the test in a task");
    ropewalk::run(test);
}

/// Polls a future on this thread, with no runtime of anybody's at hand.
pub(crate) fn bare<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}
