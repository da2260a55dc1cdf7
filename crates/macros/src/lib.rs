//! The attributes `#[ropewalk::main]` and `#[ropewalk::task]`.
//!
//! Use them through the `ropewalk` crate: what they expand to names only `::ropewalk::…`, `::std::…` and `::core::…`, so a
//! program needs `ropewalk` among its dependencies and nothing else.
//!
//! One file per attribute: `main_attr` and `task_attr`. Each is a pure function from tokens to tokens, so its tests need
//! no compiler; the texts of the compile errors are held by `crates/ropewalk/tests/macro_errors/`.
//!
//! An attribute that finds a mistake answers with its message *and* the function it was put on. So the first thing a person
//! reads is what they did, and not ten errors about a function that has disappeared.

#![forbid(unsafe_code)]

mod main_attr;
mod task_attr;
mod task_options;

use proc_macro::TokenStream;

/// Makes `main` wait for the threads of the program, as users of Python know it.
///
/// The body runs on the main thread, as the first greenlet of a hub (`ropewalk::run`): it can spawn greenlets, and where it
/// waits through ropewalk they run. Greenlets that are left when it returns are cancelled. An `async fn main` is polled by
/// that hub, inside its tokio runtime. When the body returns, the program waits for every **non-daemon** thread that was started
/// through `ropewalk` (the default kind), then exits with what the body returned; **daemon** threads end with the process,
/// wherever they are. A plain `fn main()` ends all of them at once when it returns, as Rust programs do.
///
/// `main` may return anything that a plain `main` may return, a `Result` for instance.
///
/// # Compile errors
///
/// On a function with arguments, and on anything that is not `main`.
///
/// # Examples
///
/// ```
/// #[ropewalk::main]
/// fn main() -> Result<(), std::num::ParseIntError> {
///     let n: u64 = "3".parse()?;
///     ropewalk::thread::spawn(move || println!("printed before the program ends: {n}"));
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    main_attr::expand(options.into(), item.into()).into()
}

/// Makes a function a task: besides calling it, a program can pass its call around as a value.
///
/// The function stays as it is: `thumb(path, 64)` still calls it. Beside it, in the namespace of types, stands a struct of
/// the same name with the arguments as its fields, and `thumb::call(path, 64)` builds a `ropewalk::Call` from it: the
/// arguments plus which function. A call can be submitted to an executor of any model, because it carries data and not a
/// closure.
///
/// - Visibility: the struct, its fields and `call` are as visible as the function. `use images::thumb` imports all of it.
/// - Output: of `Result<T, E>` (any path that ends in `Result` and has arguments, such as `io::Result<T>`) it is `T`, and an
///   `Err` becomes `TaskError::Failed`; `E` is any error type. Every other return type is the output itself, an alias
///   without arguments too.
/// - Name: `Call::name` is the path of the module and the name of the function, such as `shop::images::thumb`. It stays the
///   same from build to build, and is the name by which programs on other machines know the task. `name = "app.tasks.thumb"`
///   gives it another one: that of the function in Python whose jobs it runs, for instance.
/// - Options, for its jobs in a queue: `#[ropewalk::task(queue = "img", retries = 5, timeout = "5m", unique)]`. A timeout is a
///   number with `ms`, `s`, `m` or `h`; `unique` keeps a second job with the same arguments out while the first has not
///   ended. Other executors do not look at them.
/// - What is lent: leading parameters `State<T>` and `&JobContext` are no arguments. A worker of the job queue gives them; in
///   the hands of other executors the context is that of a first attempt, and a state is missing, which is a failure.
/// - Arguments and output are owned and `Send`: a task outlives its caller and runs on another thread.
///
/// # Compile errors
///
/// On an `async fn`, a method, a generic function, an argument that borrows (`&str`; `&'static str` is fine), an argument
/// without a name, and on anything that is not a function; each says what to write instead.
///
/// # Examples
///
/// ```
/// use ropewalk::{Submit, ThreadPoolExecutor};
///
/// /// How many letters a word has.
/// #[ropewalk::task]
/// fn letters(word: String) -> Result<usize, std::fmt::Error> {
///     if word.is_empty() { Err(std::fmt::Error) } else { Ok(word.chars().count()) }
/// }
///
/// assert_eq!(letters("rope".into()), Ok(4));          // a call, as ever
///
/// let pool = ThreadPoolExecutor::new(2);
/// let handle = pool.submit(letters::call("walk".into())); // the call as a value
/// assert_eq!(handle.join().unwrap(), 4);
/// assert!(pool.submit(letters::call(String::new())).join().is_err());
/// ```
#[proc_macro_attribute]
pub fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    task_attr::expand(options.into(), item.into()).into()
}

/// What both attributes say about the item they were put on, when it is not a function with a body.
fn what_is_it(item: &proc_macro2::TokenStream) -> &'static str {
    use syn::Item;
    match syn::parse2::<Item>(item.clone()) {
        Ok(Item::Struct(_)) => "a struct",
        Ok(Item::Enum(_)) => "an enum",
        Ok(Item::Union(_)) => "a union",
        Ok(Item::Trait(_)) => "a trait",
        Ok(Item::Impl(_)) => "an impl block",
        Ok(Item::Mod(_)) => "a module",
        Ok(Item::Const(_)) => "a const",
        Ok(Item::Static(_)) => "a static",
        Ok(Item::Use(_)) => "a use",
        Ok(Item::Type(_)) => "a type alias",
        Ok(Item::Macro(_)) => "a macro",
        Ok(Item::ForeignMod(_)) => "an extern block",
        Ok(Item::Verbatim(_)) => "a function without a body",
        _ => "something else",
    }
}
