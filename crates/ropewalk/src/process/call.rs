//! Functions and their arguments as what a frame needs, and the shims that turn a frame back into a call.
//!
//! A shim is made by the compiler for the types of one submit. The pool sends its offset beside that of the function, so the
//! type of the function pointer in the worker is the one that was checked here.

use super::bytes::Bytes;
use super::carry::Way;
use super::image::{self, Offset, Unsendable};
use super::wire::{self, Asked, Body, Codec, Postcard, Reply};
use crate::executor::Chunk;
use crate::executor::map::run_chunk;
use crate::task::{Panic, Task, TaskError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::cell::OnceCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Something that can travel: sent to another process, and made anew there.
///
/// Every type with serde's `Serialize` and `Deserialize` is, if it borrows nothing.
pub trait Travels: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> Travels for T {}

/// What a call is made with that all calls of it share; encoded once, and sent to each worker once.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// No other one of this process has it; not 0.
    pub(super) number: u64,
    pub(super) bytes: Bytes,
}

impl Context {
    pub(super) fn new<C: Serialize>(context: &C) -> Result<Self, TaskError> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let bytes = Postcard::encode(context, Way::Bytes)?.bytes;
        Ok(Self { number: LAST.fetch_add(1, Ordering::Relaxed) + 1, bytes: Bytes::from(bytes) })
    }
}

/// A context in a worker: made of its bytes by the first call.
pub(super) struct Made {
    bytes: Bytes,
    value: OnceCell<Box<dyn Any>>,
}

impl Made {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, value: OnceCell::new() }
    }

    fn get<C: DeserializeOwned + 'static>(&self) -> Result<&C, TaskError> {
        if self.value.get().is_none() {
            let body = Body { bytes: self.bytes.to_vec(), ..Body::default() };
            let _ = self.value.set(Box::new(Postcard::decode::<C>(body)?));
        }
        // All calls with one number are made with one context, so it has their type.
        self.value.get().and_then(|value| value.downcast_ref::<C>()).ok_or_else(|| TaskError::Failed {
            type_name: std::any::type_name::<C>().to_owned(),
            message: "is not the context that the worker has".to_owned(),
            chain: Vec::new(),
        })
    }
}

/// What a shim works with besides the arguments.
pub(super) struct Job {
    pub(super) context: Option<Rc<Made>>,
    /// What the way back can carry.
    pub(super) way: Way,
    pub(super) reply: Reply,
}

impl Job {
    pub(super) fn new(context: Option<Rc<Made>>, way: Way) -> Self {
        Self { context, way, reply: Reply::default() }
    }
}

/// A frame's contents, and how its result is made of bytes.
pub(super) struct Packed<R> {
    pub(super) asked: Asked,
    pub(super) context: Option<Context>,
    pub(super) body: Body,
    pub(super) unpack: fn(Body) -> Result<R, TaskError>,
}

fn offsets(shim: image::Shim, function: usize) -> Result<Asked, Unsendable> {
    Ok(Asked { shim: Offset::of(shim as usize)?, function: Offset::of(function)? })
}

fn failed(error: &Unsendable) -> TaskError {
    TaskError::Failed { type_name: "ropewalk::process".to_owned(), message: error.to_string(), chain: Vec::new() }
}

/// A call of a `#[ropewalk::task]` function.
pub(super) fn pack_call<A, R>(
    arguments: A,
    run: fn(A) -> Result<R, TaskError>,
    way: Way,
) -> Result<Packed<R>, TaskError>
where
    A: Task<Tuple: Serialize + DeserializeOwned>,
    R: Travels,
{
    let asked = offsets(run_call::<A, R>, run as usize).map_err(|error| failed(&error))?;
    let body = Postcard::encode(&arguments.into_tuple(), way)?;
    Ok(Packed { asked, context: None, body, unpack: wire::unpack::<R> })
}

fn run_call<A, R>(function: usize, arguments: Body, job: &mut Job)
where
    A: Task<Tuple: DeserializeOwned>,
    R: Travels,
{
    // SAFETY: `pack_call` sends this shim with the offset of such a function only.
    let function = unsafe { image::function::<fn(A) -> Result<R, TaskError>>(function) };
    let called = Postcard::decode::<A::Tuple>(arguments).and_then(|tuple| function(A::from_tuple(tuple)));
    job.reply.0 = Some(called.and_then(|result| wire::pack(result, job.way)));
}

/// A call of a plain function.
pub(super) fn pack_function<A: Travels, R: Travels>(
    function: fn(A) -> R,
    argument: A,
    way: Way,
) -> Result<Packed<R>, TaskError> {
    let asked = offsets(run_function::<A, R>, function as usize).map_err(|error| failed(&error))?;
    Ok(Packed { asked, context: None, body: wire::pack(argument, way)?, unpack: wire::unpack::<R> })
}

fn run_function<A: Travels, R: Travels>(function: usize, arguments: Body, job: &mut Job) {
    // SAFETY: `pack_function` sends this shim with the offset of such a function only.
    let function = unsafe { image::function::<fn(A) -> R>(function) };
    let called = wire::unpack::<A>(arguments).map(function);
    job.reply.0 = Some(called.and_then(|result| wire::pack(result, job.way)));
}

/// A call of a plain function with a context.
pub(super) fn pack_with<C: Travels, A: Travels, R: Travels>(
    context: &Context,
    function: fn(&C, A) -> R,
    argument: A,
) -> Result<Packed<R>, TaskError> {
    let asked = offsets(run_with::<C, A, R>, function as usize).map_err(|error| failed(&error))?;
    let body = wire::pack(argument, Way::Pieces)?;
    Ok(Packed { asked, context: Some(context.clone()), body, unpack: wire::unpack::<R> })
}

/// The context that came with a call.
fn context_of<C: DeserializeOwned + 'static>(made: Option<&Rc<Made>>) -> Result<&C, TaskError> {
    made.map(|made| made.get::<C>()).unwrap_or_else(|| {
        Err(TaskError::Failed {
            type_name: std::any::type_name::<C>().to_owned(),
            message: "did not come with the call".to_owned(),
            chain: Vec::new(),
        })
    })
}

fn run_with<C: Travels, A: Travels, R: Travels>(function: usize, arguments: Body, job: &mut Job) {
    // SAFETY: `pack_with` sends this shim with the offset of such a function only.
    let function = unsafe { image::function::<fn(&C, A) -> R>(function) };
    let called = context_of::<C>(job.context.as_ref())
        .and_then(|context| wire::unpack::<A>(arguments).map(|argument| function(context, argument)));
    job.reply.0 = Some(called.and_then(|result| wire::pack(result, Way::Pieces)));
}

/// The results of a chunk, on their way.
#[derive(Serialize, Deserialize)]
struct Sent {
    failures: Vec<(usize, String)>,
    took: Duration,
}

/// What is called for each item of a map.
#[derive(Clone, Debug)]
pub struct ItemCall {
    asked: Result<Asked, Unsendable>,
    context: Option<Context>,
}

impl ItemCall {
    pub(super) fn of<A: Travels, R: Travels>(function: fn(A) -> R) -> Self {
        Self { asked: offsets(run_items::<A, R>, function as usize), context: None }
    }

    pub(super) fn with<C: Travels, A: Travels, R: Travels>(context: &Context, function: fn(&C, A) -> R) -> Self {
        let asked = offsets(run_items_with::<C, A, R>, function as usize);
        Self { asked, context: Some(context.clone()) }
    }
}

/// Calls of one function for several items. The call was made for these types of items and results.
pub(super) fn pack_chunk<A: Travels, R: Travels>(
    call: &ItemCall,
    items: Vec<A>,
) -> Result<Packed<Chunk<R>>, TaskError> {
    let asked = call.asked.as_ref().map_err(failed)?;
    let unpack = |mut body: Body| {
        // The account of the chunk lies behind its values.
        let length = body.bytes.len();
        let account_length = length
            .checked_sub(8)
            .and_then(|at| body.bytes.get(at..))
            .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")) as usize);
        let account_at = account_length.and_then(|account| length.checked_sub(8)?.checked_sub(account));
        let account = account_at.map(|at| body.bytes.split_off(at)).unwrap_or_default();
        let account = Body { bytes: account, ..Body::default() };
        let Sent { failures, took } = Postcard::decode::<Sent>(account)?;
        let values = wire::unpack_all::<R>(body)?;
        let error = |message: String| TaskError::Panicked(Panic::from_payload(Box::new(message)));
        let failures: VecDeque<_> = failures.into_iter().map(|(place, message)| (place, error(message))).collect();
        Ok(Chunk::of_parts(values, failures, took))
    };
    Ok(Packed { asked: *asked, context: call.context.clone(), body: wire::pack_all(items, Way::Pieces)?, unpack })
}

fn send_chunk<R: Travels>(chunk: Chunk<R>) -> Result<Body, TaskError> {
    let (values, failures, took) = chunk.into_parts();
    let message = |error: TaskError| match error {
        TaskError::Panicked(panic) => panic.message().to_owned(),
        other => other.to_string(),
    };
    let failures = failures.into_iter().map(|(place, error)| (place, message(error))).collect();
    let mut body = wire::pack_all(values, Way::Pieces)?;
    let account = Postcard::encode(&Sent { failures, took }, Way::Bytes)?.bytes;
    body.bytes.extend(&account);
    body.bytes.extend((account.len() as u64).to_le_bytes());
    Ok(body)
}

fn run_items<A: Travels, R: Travels>(function: usize, arguments: Body, job: &mut Job) {
    // SAFETY: `ItemCall::of` sends this shim with the offset of such a function only.
    let function = unsafe { image::function::<fn(A) -> R>(function) };
    let done = wire::unpack_all::<A>(arguments).map(|items| run_chunk(&function, items));
    job.reply.0 = Some(done.and_then(send_chunk));
}

fn run_items_with<C: Travels, A: Travels, R: Travels>(function: usize, arguments: Body, job: &mut Job) {
    // SAFETY: `ItemCall::with` sends this shim with the offset of such a function only.
    let function = unsafe { image::function::<fn(&C, A) -> R>(function) };
    let done = context_of::<C>(job.context.as_ref()).and_then(|context| {
        let items = wire::unpack_all::<A>(arguments)?;
        Ok(run_chunk(&|item| function(context, item), items))
    });
    job.reply.0 = Some(done.and_then(send_chunk));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(n: Vec<u8>) -> Vec<u8> {
        assert!(!n.is_empty(), "nothing to double");
        n.repeat(2)
    }

    #[test]
    fn chunks_come_back_and_replies_that_are_broken_are_errors() {
        let call = ItemCall::of(double as fn(Vec<u8>) -> Vec<u8>);
        let items = vec![vec![1], vec![], vec![2; 40_000]];
        let packed = pack_chunk::<Vec<u8>, Vec<u8>>(&call, items).unwrap();
        assert_eq!(packed.body.apart.len(), 1);
        let mut job = Job::new(None, Way::Pieces);
        run_items::<Vec<u8>, Vec<u8>>(packed.asked.function.address().unwrap(), packed.body, &mut job);
        let reply = job.reply.0.unwrap().unwrap();
        let (values, failures, _) = (packed.unpack)(reply.try_clone().unwrap()).unwrap().into_parts();
        assert_eq!((values, failures.len()), (vec![vec![1, 1], vec![2; 80_000]], 1));
        for at in 0..reply.bytes.len() {
            for byte in [0, 1, 127, 128, 255] {
                let mut broken = reply.try_clone().unwrap();
                broken.bytes[at] = byte;
                let _ = (packed.unpack)(broken);
            }
            let _ = (packed.unpack)(Body { bytes: reply.bytes[..at].to_vec(), ..Body::default() });
        }
    }
}
