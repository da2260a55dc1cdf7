//! Functions and their arguments as what a frame needs, and the shims that turn a frame back into a call.
//!
//! A shim is made by the compiler for the types of one submit. The pool sends its offset beside that of the function, so the
//! type of the function pointer in the worker is the one that was checked here.

use super::image::{self, Offset, Unsendable};
use super::wire::{Asked, Codec, Postcard, Reply};
use crate::executor::Chunk;
use crate::executor::map::run_chunk;
use crate::task::{Panic, Task, TaskError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// Something that can travel: sent to another process, and made anew there.
///
/// Every type with serde's `Serialize` and `Deserialize` is, if it borrows nothing.
pub trait Travels: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Travels for T {}

/// A frame's contents, and how its result is made of bytes.
pub(super) struct Packed<R> {
    pub(super) asked: Asked,
    pub(super) body: Vec<u8>,
    pub(super) unpack: fn(&[u8]) -> Result<R, TaskError>,
}

fn offsets(shim: image::Shim, function: usize) -> Result<Asked, TaskError> {
    let offset = |address| {
        Offset::of(address).map_err(|error: Unsendable| TaskError::Failed {
            type_name: "ropewalk::process".to_owned(),
            message: error.to_string(),
            chain: Vec::new(),
        })
    };
    Ok(Asked { shim: offset(shim as usize)?, function: offset(function)? })
}

/// A call of a `#[ropewalk::task]` function.
pub(super) fn pack_call<A, R>(arguments: A, run: fn(A) -> Result<R, TaskError>) -> Result<Packed<R>, TaskError>
where
    A: Task<Tuple: Serialize + DeserializeOwned>,
    R: Travels,
{
    let asked = offsets(run_call::<A, R>, run as usize)?;
    Ok(Packed { asked, body: Postcard::encode(&arguments.into_tuple())?, unpack: Postcard::decode::<R> })
}

fn run_call<A, R>(function: usize, arguments: &[u8], reply: &mut Reply)
where
    A: Task<Tuple: DeserializeOwned>,
    R: Travels,
{
    // SAFETY: `pack_call` sends this shim with the offset of such a function only.
    let function = unsafe { image::function::<fn(A) -> Result<R, TaskError>>(function) };
    let called = Postcard::decode::<A::Tuple>(arguments).and_then(|tuple| function(A::from_tuple(tuple)));
    reply.0 = Some(called.and_then(|result| Postcard::encode(&result)));
}

/// A call of a plain function.
pub(super) fn pack_function<A: Travels, R: Travels>(
    function: fn(A) -> R,
    argument: &A,
) -> Result<Packed<R>, TaskError> {
    let asked = offsets(run_function::<A, R>, function as usize)?;
    Ok(Packed { asked, body: Postcard::encode(argument)?, unpack: Postcard::decode::<R> })
}

fn run_function<A: Travels, R: Travels>(function: usize, arguments: &[u8], reply: &mut Reply) {
    // SAFETY: `pack_function` sends this shim with the offset of such a function only.
    let function = unsafe { image::function::<fn(A) -> R>(function) };
    let called = Postcard::decode::<A>(arguments).map(function);
    reply.0 = Some(called.and_then(|result| Postcard::encode(&result)));
}

/// The results of a chunk, on their way.
#[derive(Serialize, Deserialize)]
struct Sent<R> {
    values: Vec<R>,
    failures: Vec<(usize, String)>,
    took: Duration,
}

/// Calls of one function for several items.
pub(super) fn pack_chunk<A: Travels, R: Travels>(
    function: fn(A) -> R,
    items: &[A],
) -> Result<Packed<Chunk<R>>, TaskError> {
    let asked = offsets(run_items::<A, R>, function as usize)?;
    let unpack = |bytes: &[u8]| {
        let Sent { values, failures, took } = Postcard::decode::<Sent<R>>(bytes)?;
        let error = |message: String| TaskError::Panicked(Panic::from_payload(Box::new(message)));
        let failures: VecDeque<_> = failures.into_iter().map(|(place, message)| (place, error(message))).collect();
        Ok(Chunk::of_parts(values, failures, took))
    };
    Ok(Packed { asked, body: Postcard::encode(items)?, unpack })
}

fn run_items<A: Travels, R: Travels>(function: usize, arguments: &[u8], reply: &mut Reply) {
    // SAFETY: `pack_chunk` sends this shim with the offset of such a function only.
    let function = unsafe { image::function::<fn(A) -> R>(function) };
    let done = Postcard::decode::<Vec<A>>(arguments).map(|items| run_chunk(&function, items));
    reply.0 = Some(done.and_then(|chunk| {
        let (values, failures, took) = chunk.into_parts();
        let message = |error: TaskError| match error {
            TaskError::Panicked(panic) => panic.message().to_owned(),
            other => other.to_string(),
        };
        let failures = failures.into_iter().map(|(place, error)| (place, message(error))).collect();
        Postcard::encode(&Sent { values, failures, took })
    }));
}
