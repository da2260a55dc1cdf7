//! `#[ropewalk::task]`: the function stays callable, its call is a value, and the value runs on the thread pool.

#![cfg(feature = "macros")]
// A user's crate may be as strict as it likes: nothing that the macro adds may trip it.
#![deny(warnings, missing_docs, unreachable_pub, missing_debug_implementations, unsafe_code)]

use std::path::PathBuf;

use ropewalk::{Submit, TaskError, ThreadPoolExecutor};

mod images {
    use std::path::PathBuf;

    /// Pretends to make a thumbnail, and says how many bytes it has.
    #[ropewalk::task]
    pub(crate) fn thumb(mut path: PathBuf, size: u32) -> std::io::Result<u64> {
        path.set_extension("thumb");
        if size == 0 {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "a thumbnail of no size"));
        }
        Ok(u64::from(size) * u64::from(size))
    }
}

use images::thumb;

#[ropewalk::task]
fn nothing() {}

#[ropewalk::task]
fn answer() -> u8 {
    42
}

#[ropewalk::task]
fn breaks(why: String) {
    panic!("{why}");
}

#[ropewalk::task]
fn asks(config: String) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
    Ok(config.parse::<u32>()?)
}

/// Has neither `Debug` nor `Clone`.
struct Plain(u8);

#[ropewalk::task]
fn takes_plain(plain: Plain, with: Box<dyn Fn(&str) -> usize + Send>) -> usize {
    with("three") + usize::from(plain.0)
}

/// Every name that the expansion could trip over is an argument here.
#[ropewalk::task]
fn run(run: u8, call: u8, args: u8, output: u8) -> u8 {
    run + call + args + output
}

#[ropewalk::task]
fn r#match(r#type: &'static str) -> usize {
    r#type.len()
}

#[ropewalk::task]
#[cfg(any())]
fn absent(of: NoSuchType) {}

macro_rules! task_of {
    ($name:ident, $argument:ident: $kind:ty) => {
        #[ropewalk::task]
        fn $name($argument: $kind) -> $kind {
            $argument
        }
    };
}
task_of!(echo, word: String);

#[test]
fn function_stays_callable() {
    assert_eq!(thumb(PathBuf::from("a.png"), 3).unwrap(), 9);
    assert_eq!(answer(), 42);
    nothing();
}

#[test]
fn call_is_data_with_named_fields_and_a_stable_name() {
    let call = thumb::call(PathBuf::from("a.png"), 3);
    assert_eq!(call.name(), concat!(module_path!(), "::images::thumb"));
    let thumb { path, size } = call.args();
    assert_eq!((path.to_str(), *size), (Some("a.png"), 3));
    assert_eq!(r#match::call("rope").name(), concat!(module_path!(), "::match"));
}

#[test]
fn call_runs_where_it_is() {
    assert_eq!(thumb::call(PathBuf::from("a.png"), 3).run().unwrap(), 9);
    assert_eq!(run::call(1, 2, 3, 4).run().unwrap(), 10);
    assert_eq!(r#match::call("rope").run().unwrap(), 4);
    assert_eq!(takes_plain::call(Plain(1), Box::new(str::len)).run().unwrap(), 6);
    assert_eq!(echo::call("walk".to_owned()).run().unwrap(), "walk");
}

#[test]
fn call_travels_as_a_name_and_a_tuple() {
    use ropewalk::task::Task;

    assert_eq!(<thumb as Task>::NAME, thumb::call(PathBuf::new(), 1).name());
    assert_eq!(<thumb as Task>::PARAMETERS, ["path", "size"]);
    assert_eq!(<r#match as Task>::PARAMETERS, ["type"]);
    assert_eq!(<nothing as Task>::PARAMETERS, [""; 0]);
    let (name, args, function) = thumb::call(PathBuf::from("a.png"), 3).into_parts();
    assert_eq!(name, <thumb as Task>::NAME);
    let tuple: (PathBuf, u32) = args.into_tuple();
    assert_eq!(function(<thumb as Task>::from_tuple(tuple)).unwrap(), 9);
    let () = nothing::call().into_parts().1.into_tuple();
    assert_eq!(<run as Task>::from_tuple((1, 2, 3, 4)).run().unwrap(), 10);
}

#[test]
fn calls_run_on_the_thread_pool() {
    let pool = ThreadPoolExecutor::new(2);
    let thumbs: Vec<_> = (1..=20).map(|size| pool.submit(thumb::call(PathBuf::from("a.png"), size))).collect();
    let sizes: Vec<u64> = thumbs.into_iter().map(|handle| handle.join().unwrap()).collect();
    assert_eq!(sizes, (1..=20).map(|size| size * size).collect::<Vec<u64>>());
    pool.submit(nothing::call()).join().unwrap();
    assert_eq!(pool.submit(answer::call()).join().unwrap(), 42);
}

#[test]
fn error_of_a_task_is_a_failure_with_its_type_and_message() {
    let pool = ThreadPoolExecutor::new(1);
    match pool.submit(thumb::call(PathBuf::from("a.png"), 0)).join() {
        Err(TaskError::Failed { type_name, message, .. }) => {
            assert!(type_name.ends_with("io::error::Error") || type_name.ends_with("io::Error"), "{type_name}");
            assert_eq!(message, "a thumbnail of no size");
        }
        other => panic!("not a failure: {other:?}"),
    }
    assert!(matches!(pool.submit(asks::call("x".into())).join(), Err(TaskError::Failed { .. })));
    assert_eq!(pool.submit(asks::call("7".into())).join().unwrap(), 7);
}

#[test]
fn panic_of_a_task_reaches_the_joiner_and_not_the_pool() {
    let pool = ThreadPoolExecutor::new(1);
    match pool.submit(breaks::call("broken on purpose".into())).join() {
        Err(TaskError::Panicked(panic)) => assert_eq!(panic.message(), "broken on purpose"),
        other => panic!("not a panic: {other:?}"),
    }
    assert_eq!(pool.submit(answer::call()).join().unwrap(), 42);
}

#[test]
fn task_inside_a_function_works_too() {
    #[ropewalk::task]
    fn double(number: u32) -> u32 {
        number * 2
    }
    assert_eq!(double::call(4).run().unwrap(), double(4));
}
