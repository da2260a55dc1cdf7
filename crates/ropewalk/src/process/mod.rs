//! Processes: a pool in which a crash costs one task, a process for one call, and what processes share.
//!
//! [`ProcessPoolExecutor`] and [`Process`] run functions of this program in other processes, which are this program, started once more. So
//! `main` begins with [`init`], which `#[ropewalk::main]` calls; a test program has [`test_support!`](crate::test_support) in it, once.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `executor` | what its users see: builder, verbs, limits |
//! | `pool` | the queue, and who has which task |
//! | `keeper` | the thread that looks after the workers |
//! | `hand` | a worker as the pool knows it |
//! | `output` | where the streams of workers lead, and who listens |
//! | `start` | how a program becomes its own worker: `init`, exec, zygote |
//! | `worker` | what a worker does |
//! | `image` | functions as offsets in the program's image |
//! | `call` | calls as bytes, and the shims that turn them back |
//! | `ring` | the memory that a worker shares with the pool |
//! | `wire`, `bytes` | frames, the codec, and bytes that it leaves as they are |
//! | `carry` | what travels beside the bytes of a value: large pieces, descriptors |
//! | `single` | a process for one call |
//! | `ipc` | what processes share |
//! | `system` | packets with descriptors, and the fork of a process with one thread |

mod bytes;
mod call;
mod carry;
mod executor;
mod hand;
mod image;
pub mod ipc;
mod keeper;
mod output;
mod pool;
mod ring;
mod single;
mod start;
mod system;
mod wire;
mod worker;

pub use bytes::Bytes;
pub use call::{ItemCall, Travels};
pub use executor::{BuildError, Builder, Limits, ProcessChunk, ProcessMap, ProcessPoolExecutor, ProcessTryMap, With};
pub use output::{Line, OnLine, Output, Stream};
pub use pool::Counts;
pub use single::{Process, ProcessBuilder, returncode};
pub use start::{Start, init};
#[doc(hidden)]
pub use start::{has_worker_test, worker_test};

/// Makes pools of processes work in the tests of this program. Put it into each test program that has one, at its top level or
/// in a module, once; a program of unit tests is one too.
///
/// A worker is the test program, started once more, and runs a test that this adds: `ropewalk_worker_entry`. It passes at once
/// when it is run as a test. Nothing else is needed for `cargo test` and for nextest. (A program with a `main` of its own, an
/// example or a test without the harness, has `ropewalk::init()` there instead.)
///
/// ```
/// // tests/crunching.rs
/// ropewalk::test_support!();
///
/// # /*
/// #[test]
/// # */
/// fn crunches_elsewhere() {
///     let pool = ropewalk::ProcessPoolExecutor::new(2).unwrap();
///     assert_eq!(pool.spawn(|n: u64| n + 1, 41).join().unwrap(), 42);
/// }
/// ```
#[macro_export]
macro_rules! test_support {
    () => {
        #[test]
        fn ropewalk_worker_entry() {
            $crate::__private::worker_test();
        }

        const _: () = {
            extern "C" fn here() {
                $crate::__private::has_worker_test(::core::concat!(::core::module_path!(), "::ropewalk_worker_entry"));
            }

            // Before `main`, where nothing may be done: this keeps a text, and does nothing else.
            #[used]
            #[unsafe(link_section = ".init_array")]
            static HERE: extern "C" fn() = here;
        };
    };
}
