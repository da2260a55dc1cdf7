//! What goes through the rings: frames, and how values become bytes.
//!
//! A frame is a head of fixed size and a body. To a worker it is a task: the number of the task, its two functions, and the
//! arguments. To the pool it is a reply: the number, how it ended, how long it took, and the result or the error.

use super::image::Offset;
use super::ring::{Corrupt, Reader, Writer};
use crate::task::{Panic, TaskError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Bytes of the arguments, or the result, of one task.
pub(super) const BODY_BYTES_MAX: usize = 1 << 30;
/// Bytes of a frame's head.
const HEAD_BYTES: usize = 32;
/// What is read at once, and reserved for a body that is longer than has come yet.
const PIECE_BYTES: usize = 256 * 1024;

/// The head of a frame. The meaning of `a` and `b` is the direction's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) task: u64,
    pub(super) a: u64,
    pub(super) b: u64,
    length: u64,
}

impl Head {
    pub(super) fn new(task: u64, a: u64, b: u64, body: &[u8]) -> Self {
        Self { task, a, b, length: body.len() as u64 }
    }

    pub(super) fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip([self.task, self.a, self.b, self.length]) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
        let mut word = || words.next().ok_or(Corrupt);
        let head = Self { task: word()?, a: word()?, b: word()?, length: word()? };
        if head.length > BODY_BYTES_MAX as u64 { Err(Corrupt) } else { Ok(head) }
    }
}

/// Frames as they come, in whatever pieces.
#[derive(Default)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    head: Option<Head>,
}

impl Incoming {
    /// The next frame, if all of it has come; what is read makes room for the writer, which the caller tells.
    pub(super) fn next(&mut self, ring: &mut Reader) -> Result<Option<(Head, Vec<u8>)>, Corrupt> {
        loop {
            let wanted = self.head.map_or(HEAD_BYTES, |head| head.length as usize);
            if self.bytes.len() == wanted {
                match self.head.take() {
                    Some(head) => return Ok(Some((head, std::mem::take(&mut self.bytes)))),
                    None => {
                        self.head = Some(Head::from_bytes(&self.bytes)?);
                        self.bytes.clear();
                    }
                }
                continue;
            }
            let missing = wanted - self.bytes.len();
            if ring.read(&mut self.bytes, missing.min(PIECE_BYTES))? == 0 {
                return Ok(None);
            }
            if wanted > RING_HALF {
                // A long body comes in pieces: the writer goes on meanwhile.
                ring.wake_writer();
            }
        }
    }
}

const RING_HALF: usize = super::ring::RING_BYTES / 2;

/// A frame that is on its way out.
pub(super) struct Outgoing {
    head: [u8; HEAD_BYTES],
    body: Vec<u8>,
    written: usize,
}

impl Outgoing {
    pub(super) fn new(head: Head, body: Vec<u8>) -> Self {
        Self { head: head.to_bytes(), body, written: 0 }
    }

    /// Writes what there is room for; true when all is written.
    pub(super) fn write(&mut self, ring: &mut Writer) -> Result<bool, Corrupt> {
        loop {
            let rest = match self.head.get(self.written..) {
                Some(head) if !head.is_empty() => head,
                _ => &self.body[self.written - HEAD_BYTES..],
            };
            if rest.is_empty() {
                return Ok(true);
            }
            match ring.write(&rest[..rest.len().min(PIECE_BYTES)])? {
                0 => return Ok(false),
                wrote => self.written += wrote,
            }
            if self.body.len() > RING_HALF {
                ring.wake_reader();
            }
        }
    }

    /// The body, to be sent once more.
    pub(super) fn into_body(self) -> Vec<u8> {
        self.body
    }
}

/// How values become bytes and come back.
///
/// There is one codec, postcard: small, fast, and without names in it, so both sides must be the same program, which they
/// are.
pub(super) trait Codec {
    fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, TaskError>;
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, TaskError>;
}

pub(super) struct Postcard;

fn failed<T: ?Sized>(what: &str, error: &postcard::Error) -> TaskError {
    TaskError::Failed {
        type_name: std::any::type_name::<T>().to_owned(),
        message: format!("could not be {what} on the way between processes"),
        chain: vec![error.to_string()],
    }
}

impl Codec for Postcard {
    fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, TaskError> {
        let bytes = postcard::to_extend(value, Vec::new()).map_err(|error| failed::<T>("serialized", &error))?;
        if bytes.len() > BODY_BYTES_MAX {
            let message = format!("is {} bytes long; at most {BODY_BYTES_MAX} can go to another process", bytes.len());
            let type_name = std::any::type_name::<T>().to_owned();
            return Err(TaskError::Failed { type_name, message, chain: Vec::new() });
        }
        Ok(bytes)
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, TaskError> {
        postcard::from_bytes(bytes).map_err(|error| failed::<T>("deserialized", &error))
    }
}

/// How a task ended, in the head of its reply.
pub(super) const DONE: u64 = 0;
pub(super) const FAILED: u64 = 1;

/// What a shim makes of a task.
#[derive(Default)]
pub(super) struct Reply(pub(super) Option<Result<Vec<u8>, TaskError>>);

impl Reply {
    /// The frame for the pool.
    pub(super) fn into_frame(self, task: u64, took: Duration) -> Outgoing {
        let (kind, body) = match self.0 {
            Some(Ok(body)) => (DONE, body),
            Some(Err(error)) => (FAILED, Postcard::encode(&Told::from(&error)).unwrap_or_default()),
            None => (FAILED, Vec::new()),
        };
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        Outgoing::new(Head::new(task, kind, took, &body), body)
    }
}

/// What a task frame asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) shim: Offset,
    pub(super) function: Offset,
}

/// An error that travels.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Told {
    Cancelled,
    TimedOut,
    Shutdown,
    Panicked(String),
    Failed { type_name: String, message: String, chain: Vec<String> },
    Other(String),
}

impl From<&TaskError> for Told {
    fn from(error: &TaskError) -> Self {
        match error {
            TaskError::Cancelled => Self::Cancelled,
            TaskError::TimedOut => Self::TimedOut,
            TaskError::Shutdown => Self::Shutdown,
            TaskError::Panicked(panic) => Self::Panicked(panic.message().to_owned()),
            TaskError::Failed { type_name, message, chain } => {
                Self::Failed { type_name: type_name.clone(), message: message.clone(), chain: chain.clone() }
            }
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<Told> for TaskError {
    fn from(told: Told) -> Self {
        match told {
            Told::Cancelled => Self::Cancelled,
            Told::TimedOut => Self::TimedOut,
            Told::Shutdown => Self::Shutdown,
            Told::Panicked(message) => Self::Panicked(Panic::from_payload(Box::new(message))),
            Told::Failed { type_name, message, chain } => Self::Failed { type_name, message, chain },
            Told::Other(reason) => Self::WorkerDied { reason },
        }
    }
}

/// The error of a reply.
pub(super) fn error_of(body: &[u8]) -> TaskError {
    match Postcard::decode::<Told>(body) {
        Ok(told) => told.into(),
        Err(_) => TaskError::WorkerDied { reason: "its reply made no sense".to_owned() },
    }
}
