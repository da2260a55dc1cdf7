//! What goes through the rings: frames, and how values become bytes.
//!
//! A frame is a head of fixed size and a body. To a worker it is a task: the number of the task, its two functions, and the
//! arguments. To the pool it is a reply: the number, how it ended, how long it took, and the result or the error. Large pieces
//! of memory in a value follow the other bytes of the body, each read into memory of its own.

use super::bytes::Bytes;
use super::carry::{self, APART_MAX, Sack, Way};
use super::image::Offset;
use super::ring::{Corrupt, Reader, Writer};
use crate::task::{Panic, TaskError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Bytes of the arguments, or the result, of one task.
pub(super) const BODY_BYTES_MAX: usize = 1 << 30;
/// Bytes of a frame's head.
const HEAD_BYTES: usize = 48;
/// What is read at once.
const PIECE_BYTES: usize = 256 * 1024;
/// What is reserved at once for a part of a frame of which nothing has come yet.
const RESERVED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A value on its way: its bytes, the pieces of memory that travel beside them, and the descriptors.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    pub(super) apart: Vec<Bytes>,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Body {
    fn length(&self) -> usize {
        self.apart.iter().fold(self.bytes.len(), |sum, piece| sum.saturating_add(piece.len()))
    }

    /// The same value once more.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        let descriptors = self.descriptors.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>()?;
        Ok(Self { bytes: self.bytes.clone(), apart: self.apart.clone(), descriptors })
    }
}

/// The head of a frame. The meaning of `a` and `b` is the direction's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) task: u64,
    pub(super) a: u64,
    pub(super) b: u64,
    /// The context that the task is called with; 0 for none.
    pub(super) context: u64,
    length: u64,
    /// How many pieces follow the bytes; their lengths come first.
    pieces: u64,
}

impl Head {
    pub(super) fn new(task: u64, a: u64, b: u64) -> Self {
        Self { task, a, b, context: 0, length: 0, pieces: 0 }
    }

    fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let words = [self.task, self.a, self.b, self.context, self.length, self.pieces];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut words = words(bytes);
        let mut word = || words.next().ok_or(Corrupt);
        let head = Self { task: word()?, a: word()?, b: word()?, context: word()?, length: word()?, pieces: word()? };
        // One more than a value has: the context goes along as a piece.
        let makes_sense = head.length <= BODY_BYTES_MAX as u64 && head.pieces <= APART_MAX as u64 + 1;
        makes_sense.then_some(head).ok_or(Corrupt)
    }
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u64> {
    bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")))
}

/// Frames as they come, in whatever pieces.
#[derive(Default)]
pub(super) struct Incoming {
    /// Of the next head, as far as it has come.
    front: Vec<u8>,
    head: Option<Head>,
    /// Of the next part, as far as it has come.
    part: Vec<u8>,
    /// The lengths of the parts that are still to come.
    wanted: VecDeque<usize>,
    /// The parts that have come: the table of the pieces' lengths, if there are any, the bytes, the pieces.
    parts: Vec<Vec<u8>>,
}

impl Incoming {
    /// The next frame, if all of it has come; what is read makes room for the writer, which the caller tells.
    pub(super) fn next(&mut self, ring: &mut Reader) -> Result<Option<(Head, Body)>, Corrupt> {
        loop {
            let Some(head) = self.head else {
                if self.front.len() < HEAD_BYTES {
                    let missing = HEAD_BYTES - self.front.len();
                    if ring.read(&mut self.front, missing)? == 0 {
                        return Ok(None);
                    }
                    continue;
                }
                let head = Head::from_bytes(&self.front)?;
                self.front.clear();
                self.head = Some(head);
                self.wanted.extend((head.pieces > 0).then_some(8 * head.pieces as usize));
                self.wanted.push_back(head.length as usize);
                continue;
            };
            let Some(wanted) = self.wanted.front().copied() else {
                self.head = None;
                let mut parts = std::mem::take(&mut self.parts).into_iter().skip(usize::from(head.pieces > 0));
                let bytes = parts.next().unwrap_or_default();
                return Ok(Some((
                    head,
                    Body { bytes, apart: parts.map(Bytes::from).collect(), descriptors: Vec::new() },
                )));
            };
            if self.part.len() < wanted {
                // At once for all of it, up to what nobody is believed without having sent it.
                self.part.reserve_exact(wanted.min(RESERVED_BYTES_MAX).saturating_sub(self.part.len()));
                let missing = wanted - self.part.len();
                if ring.read(&mut self.part, missing.min(PIECE_BYTES))? == 0 {
                    return Ok(None);
                }
                if wanted > RING_HALF {
                    // A long body comes in pieces: the writer goes on meanwhile.
                    ring.wake_writer();
                }
                continue;
            }
            self.wanted.pop_front();
            let part = std::mem::take(&mut self.part);
            if head.pieces > 0 && self.parts.is_empty() {
                let sum = words(&part).try_fold(head.length, u64::checked_add).ok_or(Corrupt)?;
                if sum > BODY_BYTES_MAX as u64 {
                    return Err(Corrupt);
                }
                self.wanted.extend(words(&part).map(|length| length as usize));
            }
            self.parts.push(part);
        }
    }
}

const RING_HALF: usize = super::ring::RING_BYTES / 2;

/// A frame that is on its way out.
pub(super) struct Outgoing {
    /// The head, and the lengths of the pieces.
    front: Vec<u8>,
    context: Option<Bytes>,
    body: Body,
    length: usize,
    /// Which part is being written, and how much of it was.
    part: usize,
    written: usize,
}

impl Outgoing {
    pub(super) fn new(head: Head, body: Body) -> Self {
        Self::with_context(head, None, body)
    }

    /// With the context that the head names, for a worker that does not have it yet: it goes before the pieces of the body.
    pub(super) fn with_context(head: Head, context: Option<Bytes>, body: Body) -> Self {
        let lengths: Vec<u64> = context.iter().chain(&body.apart).map(|piece| piece.len() as u64).collect();
        let head = Head { length: body.bytes.len() as u64, pieces: lengths.len() as u64, ..head };
        let mut front = Vec::with_capacity(HEAD_BYTES + 8 * lengths.len());
        front.extend(head.to_bytes());
        lengths.iter().for_each(|length| front.extend(length.to_le_bytes()));
        let length = front.len() + body.length() + context.as_ref().map_or(0, |context| context.len());
        Self { front, context, body, length, part: 0, written: 0 }
    }

    fn part(&self) -> Option<&[u8]> {
        let context = usize::from(self.context.is_some());
        match self.part {
            0 => Some(&self.front),
            1 => Some(&self.body.bytes),
            2 if context == 1 => self.context.as_ref().map(|context| &context[..]),
            piece => self.body.apart.get(piece - 2 - context).map(|piece| &piece[..]),
        }
    }

    /// Writes what there is room for; true when all is written.
    pub(super) fn write(&mut self, ring: &mut Writer) -> Result<bool, Corrupt> {
        while let Some(part) = self.part() {
            let rest = &part[self.written..];
            if rest.is_empty() {
                self.part += 1;
                self.written = 0;
                continue;
            }
            match ring.write(&rest[..rest.len().min(PIECE_BYTES)])? {
                0 => return Ok(false),
                wrote => self.written += wrote,
            }
            if self.length > RING_HALF {
                ring.wake_reader();
            }
        }
        Ok(true)
    }

    /// Whether the context goes along, and not its number only.
    pub(super) fn brings_context(&self) -> bool {
        self.context.is_some()
    }

    /// The body, to be sent once more.
    pub(super) fn into_body(self) -> Body {
        self.body
    }
}

/// How values become bytes and come back.
///
/// There is one codec, postcard: small, fast, and without names in it, so both sides must be the same program, which they
/// are.
pub(super) trait Codec {
    fn encode<T: Serialize + ?Sized>(value: &T, way: Way) -> Result<Body, TaskError>;
    fn decode<T: DeserializeOwned>(body: Body) -> Result<T, TaskError>;
}

pub(super) struct Postcard;

fn failed<T: ?Sized>(what: &str, error: &postcard::Error, chain: Option<String>) -> TaskError {
    TaskError::Failed {
        type_name: std::any::type_name::<T>().to_owned(),
        message: format!("could not be {what} on the way between processes"),
        chain: vec![chain.unwrap_or_else(|| error.to_string())],
    }
}

impl Codec for Postcard {
    fn encode<T: Serialize + ?Sized>(value: &T, way: Way) -> Result<Body, TaskError> {
        let (bytes, sack) = Sack::empty(way).around(|| {
            // postcard keeps no texts of errors.
            (postcard::to_extend(value, Vec::new()), carry::take_refusal())
        });
        let (bytes, refusal) = bytes;
        let bytes = bytes.map_err(|error| failed::<T>("serialized", &error, refusal))?;
        let (apart, descriptors) = sack.into_parts();
        let body = Body { bytes, apart, descriptors };
        if body.length() > BODY_BYTES_MAX {
            let message =
                format!("is {} bytes long; at most {BODY_BYTES_MAX} can go to another process", body.length());
            let type_name = std::any::type_name::<T>().to_owned();
            return Err(TaskError::Failed { type_name, message, chain: Vec::new() });
        }
        Ok(body)
    }

    fn decode<T: DeserializeOwned>(body: Body) -> Result<T, TaskError> {
        let Body { bytes, apart, descriptors } = body;
        let (decoded, _) = Sack::full(apart, descriptors)
            .around(|| postcard::from_bytes(&bytes).map_err(|error| failed::<T>("deserialized", &error, None)));
        decoded
    }
}

/// As [`Codec::encode`], for a value that is given away. A `Vec<u8>` goes as [`Bytes`], which is what it is.
pub(super) fn pack<T: Serialize + 'static>(value: T, way: Way) -> Result<Body, TaskError> {
    let mut value = Some(value);
    match (&mut value as &mut dyn Any).downcast_mut::<Option<Vec<u8>>>() {
        Some(bytes) => Postcard::encode(&Bytes::from(bytes.take().expect("it is there")), way),
        None => Postcard::encode(value.as_ref().expect("it is there"), way),
    }
}

/// The other side of [`pack`].
pub(super) fn unpack<T: DeserializeOwned + 'static>(body: Body) -> Result<T, TaskError> {
    let mut value: Option<T> = None;
    match (&mut value as &mut dyn Any).downcast_mut::<Option<Vec<u8>>>() {
        Some(bytes) => *bytes = Some(Postcard::decode::<Bytes>(body)?.into_vec()),
        None => value = Some(Postcard::decode(body)?),
    }
    Ok(value.expect("it was filled"))
}

/// [`pack`] for several.
pub(super) fn pack_all<T: Serialize + 'static>(values: Vec<T>, way: Way) -> Result<Body, TaskError> {
    let mut values = Some(values);
    match (&mut values as &mut dyn Any).downcast_mut::<Option<Vec<Vec<u8>>>>() {
        Some(all) => {
            let all: Vec<Bytes> = all.take().expect("they are there").into_iter().map(Bytes::from).collect();
            Postcard::encode(&all, way)
        }
        None => Postcard::encode(values.as_ref().expect("they are there"), way),
    }
}

/// The other side of [`pack_all`].
pub(super) fn unpack_all<T: DeserializeOwned + 'static>(body: Body) -> Result<Vec<T>, TaskError> {
    let mut values: Option<Vec<T>> = None;
    match (&mut values as &mut dyn Any).downcast_mut::<Option<Vec<Vec<u8>>>>() {
        Some(all) => *all = Some(Postcard::decode::<Vec<Bytes>>(body)?.into_iter().map(Bytes::into_vec).collect()),
        None => values = Some(Postcard::decode(body)?),
    }
    Ok(values.expect("they were filled"))
}

/// How a task ended, in the head of its reply.
pub(super) const DONE: u64 = 0;
pub(super) const FAILED: u64 = 1;
/// It was taken back before it had begun.
pub(super) const SKIPPED: u64 = 2;

/// What a shim makes of a task.
#[derive(Default)]
pub(super) struct Reply(pub(super) Option<Result<Body, TaskError>>);

impl Reply {
    /// The frame for the pool.
    pub(super) fn into_frame(self, task: u64, took: Duration) -> Outgoing {
        let (kind, body) = match self.0 {
            Some(Ok(body)) => (DONE, body),
            Some(Err(error)) => (FAILED, told(&error)),
            None => (FAILED, Body::default()),
        };
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        Outgoing::new(Head::new(task, kind, took), body)
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
            Told::Other(reason) => Self::worker_died(reason),
        }
    }
}

/// An error as the body of a reply.
pub(super) fn told(error: &TaskError) -> Body {
    Postcard::encode(&Told::from(error), Way::Bytes).unwrap_or_default()
}

/// The error of a reply.
pub(super) fn error_of(body: Body) -> TaskError {
    match Postcard::decode::<Told>(body) {
        Ok(told) => told.into(),
        Err(_) => TaskError::worker_died("its reply made no sense"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ring;
    use super::*;

    /// The ends of the pool and of its worker, in one process.
    fn both() -> (Writer, Reader) {
        let memory = ring::memory().unwrap();
        let (writer, _) = ring::pool_ends(&memory).unwrap();
        let bell = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).unwrap();
        let (reader, _) = ring::worker_ends(&memory, bell).unwrap();
        (writer, reader)
    }

    /// A generator that needs no crate: xorshift.
    fn random(state: &mut u64, below: usize) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state as usize % below.max(1)
    }

    type Value = (u64, String, Vec<Bytes>, Option<Vec<(u8, i64)>>);

    fn value(large: usize) -> Value {
        let pieces = [3, carry::APART_BYTES_MIN, large].map(|length| Bytes::from(vec![length as u8; length]));
        (7, "hemp".to_owned(), pieces.to_vec(), Some(vec![(1, -5), (2, 6)]))
    }

    fn frame(task: u64, context: Option<Bytes>) -> Outgoing {
        let body = Postcard::encode(&value(20_000), Way::Pieces).unwrap();
        assert_eq!(body.apart.len(), 2, "the large ones travel beside the others");
        Outgoing::with_context(Head { context: 9, ..Head::new(task, 1, 2) }, context, body)
    }

    #[test]
    fn frames_come_back_with_all_that_belongs_to_them() {
        let (mut writer, mut reader) = both();
        let mut incoming = Incoming::default();
        let context = Bytes::from(vec![5; 100]);
        for task in 1..200 {
            let with_context = task % 3 == 0;
            assert!(frame(task, with_context.then(|| context.clone())).write(&mut writer).unwrap());
            let (head, mut body) = incoming.next(&mut reader).unwrap().unwrap();
            assert_eq!((head.task, head.a, head.b, head.context), (task, 1, 2, 9));
            assert!(!with_context || body.apart.remove(0) == context);
            assert_eq!(Postcard::decode::<Value>(body).unwrap(), value(20_000));
        }
        // Longer than the ring: it goes in pieces.
        let long = vec![3_u8; 3 * ring::RING_BYTES];
        let mut outgoing = Outgoing::new(Head::new(1, 0, 0), pack(long.clone(), Way::Pieces).unwrap());
        let body = loop {
            let is_out = outgoing.write(&mut writer).unwrap();
            if let Some((_, body)) = incoming.next(&mut reader).unwrap() {
                assert!(is_out);
                break body;
            }
        };
        assert!(body.bytes.len() < 10 && unpack::<Vec<u8>>(body).unwrap() == long);
    }

    /// What a broken process may write: frames with bytes changed, left out, doubled, and lengths of all kinds.
    #[test]
    fn mutated_frames_are_errors_or_values_and_take_no_memory_that_was_not_sent() {
        let (mut writer, mut reader) = both();
        let mut whole = Vec::new();
        for task in 1..4 {
            frame(task, (task == 2).then(|| Bytes::from(vec![1; 50]))).write(&mut writer).unwrap();
            reader.read(&mut whole, usize::MAX).unwrap();
        }
        let mut seed = 0x9e37_79b9_7f4a_7c15;
        let (mut corrupt, mut decoded, mut refused) = (0, 0, 0);
        for _ in 0..3_000 {
            let mut bytes = whole.clone();
            for _ in 0..=random(&mut seed, 4) {
                // Heads and tables more often than their share.
                let at = match random(&mut seed, 3) {
                    0 => random(&mut seed, bytes.len()),
                    _ => random(&mut seed, bytes.len().min(160)),
                };
                match random(&mut seed, 5) {
                    0 if at < bytes.len() => bytes[at] ^= 1 << random(&mut seed, 8),
                    1 if at < bytes.len() => bytes[at] = 255,
                    2 => bytes.truncate(at),
                    3 if at < bytes.len() => drop(bytes.remove(at)),
                    _ => {
                        let again = bytes[at.min(bytes.len())..bytes.len().min(at + 8)].to_vec();
                        bytes.splice(at.min(bytes.len())..at.min(bytes.len()), again);
                    }
                }
            }
            let mut incoming = Incoming::default();
            let mut rest = &bytes[..];
            let is_corrupt = loop {
                let wrote = writer.write(rest).unwrap();
                rest = &rest[wrote..];
                match incoming.next(&mut reader) {
                    Ok(Some((_, body))) => match Postcard::decode::<Value>(body) {
                        Ok(_) => decoded += 1,
                        Err(_) => refused += 1,
                    },
                    Ok(None) if rest.is_empty() => break false,
                    Ok(None) => {}
                    Err(Corrupt) => break true,
                }
                let held: usize = incoming.parts.iter().map(Vec::capacity).sum();
                assert!(incoming.part.capacity() + held <= RESERVED_BYTES_MAX + 4 * bytes.len());
            };
            corrupt += usize::from(is_corrupt);
            // The next one begins with an empty ring.
            reader.read(&mut Vec::new(), usize::MAX).unwrap();
        }
        assert!(
            corrupt > 100 && decoded > 100 && refused > 100,
            "{corrupt} corrupt, {decoded} decoded, {refused} refused"
        );
    }

    #[test]
    fn errors_that_travel_come_back_and_mutated_ones_are_errors_all_the_same() {
        let failed = TaskError::Failed { type_name: "T".into(), message: "torn".into(), chain: vec!["wet".into()] };
        let body = told(&failed);
        assert_eq!(error_of(body.try_clone().unwrap()).to_string(), failed.to_string());
        for at in 0..body.bytes.len() {
            for byte in [0, 1, 5, 127, 128, 255] {
                let mut bytes = body.bytes.clone();
                bytes[at] = byte;
                let _ = error_of(Body { bytes, ..Body::default() }).to_string();
                let _ = error_of(Body { bytes: body.bytes[..at].to_vec(), ..Body::default() }).to_string();
            }
        }
    }
}
