//! What a job of rq says is to be run, and what it gave: bytes to the house's JSON and back.
//!
//! A job says nothing about its serializer, so it is seen from the bytes of each and answered in kind: whoever reads a queue
//! of pickles with pickle must be able to read what we write.
//!
//! | serializer | first byte | function, instance, args, kwargs |
//! | --- | --- | --- |
//! | pickle | `0x80`, or `(` and others of protocols 0 and 1 | a tuple of four |
//! | JSON | `[` | an array of four |
//!
//! The bytes are deflated (zlib) by rq; what is not is taken as it is, as rq does.
//!
//! What became of a value on the way is the table of [`pickle`].

use super::pickle::{self, Document};
use crate::arguments::{self, Arguments};
use crate::job::{PAYLOAD_BYTES_MAX, Problem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::value::RawValue;
use std::io::{Read as _, Write as _};

/// What inflated bytes may come to, in bytes.
pub const INFLATED_BYTES_MAX: usize = 16 << 20;
/// How many times its size something may inflate to, once it is larger than [`RATIO_FREE_BYTES`].
pub const RATIO_MAX: usize = 250;
/// Up to here any ratio is fine: a few zeros are no attack.
pub const RATIO_FREE_BYTES: usize = 1 << 20;

/// In which form rq wrote a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Serializer {
    /// Python's own; rq's default.
    #[default]
    Pickle,
    /// JSON.
    Json,
}

impl Serializer {
    /// As rq names it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pickle => "pickle",
            Self::Json => "json",
        }
    }

    /// The form of these bytes, which are inflated already. JSON of a job begins with `[`; nothing that pickle writes for a
    /// job does.
    pub fn of(bytes: &[u8]) -> Self {
        // A pickle of protocol 0 has no mark of its own; `[` would be an opcode that no value begins with.
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'[') if bytes.first() != Some(&0x80) => Self::Json,
            _ => Self::Pickle,
        }
    }
}

/// What a job says is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// In which form it was written, and wants its answer.
    pub serializer: Serializer,
    /// The dotted name of the function.
    pub function: String,
    /// The arguments as the house writes them, or why they cannot be.
    pub arguments: Result<String, Problem>,
}

impl Data {
    /// The arguments as a payload. If they cannot be read it says so to whoever runs the job: the job fails with the reason.
    pub fn payload(&self) -> String {
        match &self.arguments {
            Ok(payload) => payload.clone(),
            Err(why) => arguments::unreadable(&format!(
                "the arguments of {} cannot be read: {why}",
                arguments::shown(&self.function)
            )),
        }
    }
}

/// The field `data` of a job.
///
/// # Errors
///
/// When not even the name of the function can be read.
pub fn read(bytes: &[u8]) -> Result<Data, Problem> {
    let blob = inflate(bytes)?;
    let bytes = blob.bytes();
    let serializer = Serializer::of(bytes);
    match serializer {
        Serializer::Json => read_json(bytes),
        Serializer::Pickle => read_pickle(bytes),
    }
}

fn read_json(bytes: &[u8]) -> Result<Data, Problem> {
    let broken = |error: serde_json::Error| Problem::new(format!("its data is no JSON of a job: {error}"));
    let (function, instance, args, kwargs): (String, &RawValue, &RawValue, &RawValue) =
        serde_json::from_slice(bytes).map_err(broken)?;
    let arguments = if instance.get() != "null" {
        Err(of_instance(&function))
    } else {
        // Read and written again: a kwarg may be null, and its half is then left out.
        let args = if args.get() == "null" { "[]" } else { args.get() };
        let kwargs = if kwargs.get() == "null" { "{}" } else { kwargs.get() };
        let text = format!("{{\"args\":{args},\"kwargs\":{kwargs}}}");
        Arguments::parse(&text).map(|arguments| arguments.to_payload()).and_then(within)
    };
    Ok(Data { serializer: Serializer::Json, function, arguments })
}

fn read_pickle(bytes: &[u8]) -> Result<Data, Problem> {
    let document = Document::read(bytes)?;
    let no_job =
        || Problem::new("its data is a pickle, and none of a job: it wants (function, instance, args, kwargs)");
    let [function, instance, args, kwargs] =
        document.items(document.root()).and_then(|items| items.try_into().ok()).ok_or_else(no_job)?;
    let function = document.text(function).ok_or_else(no_job)?.to_owned();
    let arguments = if !document.is_none(instance) {
        Err(of_instance(&function))
    } else {
        payload_of(&document, args, kwargs).and_then(within)
    };
    Ok(Data { serializer: Serializer::Pickle, function, arguments })
}

/// The arguments of a pickle as a payload.
fn payload_of(document: &Document, args: pickle::Ref, kwargs: pickle::Ref) -> Result<String, Problem> {
    let no_args = || Problem::new("the positional arguments are no tuple");
    let no_kwargs = || Problem::new("the arguments by name are no dict");
    let is_list = document.items(args).is_some();
    let pairs = if document.is_none(kwargs) { &[][..] } else { document.pairs(kwargs).ok_or_else(no_kwargs)? };
    let args = match (is_list, document.is_none(args)) {
        (true, _) => document.to_json(args)?,
        (false, true) => "[]".to_owned(),
        (false, false) => return Err(no_args()),
    };
    if pairs.is_empty() {
        return Ok(args);
    }
    if pairs.iter().any(|(name, _)| document.text(*name).is_none()) {
        return Err(no_kwargs());
    }
    Ok(format!("{{\"args\":{args},\"kwargs\":{}}}", document.to_json(kwargs)?))
}

fn within(payload: String) -> Result<String, Problem> {
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Problem::new(format!(
            "written as JSON they are {} bytes long, and {PAYLOAD_BYTES_MAX} is the limit",
            payload.len()
        )));
    }
    Ok(payload)
}

fn of_instance(function: &str) -> Problem {
    Problem::new(format!(
        "`{}` is a method that was enqueued with its object, which only Python can run: enqueue a function",
        arguments::shown(function)
    ))
}

/// The field `data` of a job that calls `function` with a payload of the house.
///
/// # Errors
///
/// When the payload is none.
pub fn write(serializer: Serializer, function: &str, payload: &str) -> Result<Vec<u8>, Problem> {
    let arguments = Arguments::parse(payload)?;
    let bytes = match serializer {
        Serializer::Json => {
            let args = arguments.args.iter().map(|value| value.get()).collect::<Vec<_>>().join(",");
            format!("[{},null,[{args}],{}]", arguments::quoted(function), arguments.kwargs_text()).into_bytes()
        }
        Serializer::Pickle => {
            let mut pickle = pickle::Writer::new();
            pickle.mark();
            pickle.text(function);
            pickle.none();
            pickle.mark();
            for value in &arguments.args {
                pickle.json(value.get())?;
            }
            pickle.tuple();
            pickle.json(&arguments.kwargs_text())?;
            pickle.tuple();
            pickle.finish()
        }
    };
    Ok(deflate(&bytes))
}

/// A value of the house as its bytes; for `meta` too.
///
/// # Errors
///
/// When it is no JSON.
pub fn write_value(serializer: Serializer, json: &str) -> Result<Vec<u8>, Problem> {
    match serializer {
        Serializer::Json => Ok(json.as_bytes().to_vec()),
        Serializer::Pickle => {
            let mut pickle = pickle::Writer::new();
            pickle.json(json)?;
            Ok(pickle.finish())
        }
    }
}

/// The JSON of a value's bytes, in whichever form they are.
///
/// # Errors
///
/// When the bytes are none, or hold what JSON cannot say.
pub fn read_value(serializer: Serializer, bytes: &[u8]) -> Result<String, Problem> {
    match serializer {
        Serializer::Json => {
            let value: &RawValue =
                serde_json::from_slice(bytes).map_err(|error| Problem::new(format!("it is no JSON: {error}")))?;
            Ok(value.get().to_owned())
        }
        Serializer::Pickle => {
            let document = Document::read(bytes)?;
            document.to_json(document.root())
        }
    }
}

/// The field `return_value` of a result; none for `null`, as rq has it.
///
/// # Errors
///
/// When it is no JSON.
pub fn return_value(serializer: Serializer, json: &str) -> Result<Option<String>, Problem> {
    if json.trim() == "null" {
        return Ok(None);
    }
    write_value(serializer, json).map(|bytes| Some(BASE64.encode(bytes)))
}

/// The JSON of the field `return_value`; `null` when it is missing.
///
/// # Errors
///
/// When it is no base64 of a value, or holds what JSON cannot say.
pub fn read_return_value(serializer: Serializer, field: Option<&[u8]>) -> Result<String, Problem> {
    let Some(field) = field else { return Ok("null".to_owned()) };
    let bytes = BASE64.decode(field).map_err(|error| Problem::new(format!("the result is no base64: {error}")))?;
    read_value(serializer, &bytes)
}

/// How rq describes a call to people: `function(1, 'a', size=200)`.
pub fn description(function: &str, payload: &str) -> String {
    /// Each argument is cut here, as rq does.
    const ARGUMENT_CHARS_MAX: usize = 75;
    let Ok(arguments) = Arguments::parse(payload) else { return format!("{function}(..)") };
    let cut = |text: &str| {
        let mut cut: String = text.chars().take(ARGUMENT_CHARS_MAX).collect();
        if cut.len() < text.len() {
            cut.push_str("...");
        }
        cut
    };
    let args = arguments.args.iter().map(|value| cut(value.get()));
    let mut named: Vec<_> =
        arguments.kwargs.iter().map(|(name, value)| format!("{name}={}", cut(value.get()))).collect();
    named.sort();
    format!("{function}({})", args.chain(named).collect::<Vec<_>>().join(", "))
}

/// Bytes that were deflated, or were not.
pub(crate) enum Blob<'b> {
    Inflated(Vec<u8>),
    Plain(&'b [u8]),
}

impl Blob<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Inflated(bytes) => bytes,
            Self::Plain(bytes) => bytes,
        }
    }
}

/// Inflates what was deflated; what was not, or only looks like it, is given back as it is.
pub(crate) fn inflate(bytes: &[u8]) -> Result<Blob<'_>, Problem> {
    let too_large = |what: String| Err(Problem::new(format!("its data {what}: it is not read")));
    let mut inflated = Vec::new();
    let ratio_limit = bytes.len().saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES);
    let limit = ratio_limit.min(INFLATED_BYTES_MAX);
    let mut reader = flate2::read::ZlibDecoder::new(bytes).take(limit as u64 + 1);
    match reader.read_to_end(&mut inflated) {
        Ok(_) if inflated.len() <= limit => Ok(Blob::Inflated(inflated)),
        Ok(_) if limit < INFLATED_BYTES_MAX => {
            too_large(format!("inflates to more than {RATIO_MAX} times its {} bytes", bytes.len()))
        }
        Ok(_) => too_large(format!("inflates to more than {INFLATED_BYTES_MAX} bytes")),
        Err(_) if bytes.len() > INFLATED_BYTES_MAX => {
            too_large(format!("is {} bytes long, and {INFLATED_BYTES_MAX} is the limit", bytes.len()))
        }
        Err(_) => Ok(Blob::Plain(bytes)),
    }
}

/// Up to so many bytes are only wrapped. To pack the arguments of a small job makes them a fifth smaller, and costs more than all else that
/// is done for it before it is sent; whoever reads them saves as much.
const WRAPPED_BYTES_MAX: usize = 256;

pub(crate) fn deflate(bytes: &[u8]) -> Vec<u8> {
    if bytes.len() <= WRAPPED_BYTES_MAX {
        return wrapped(bytes);
    }
    let mut deflater =
        flate2::write::ZlibEncoder::new(Vec::with_capacity(bytes.len() / 2 + 32), flate2::Compression::fast());
    deflater.write_all(bytes).and_then(|()| deflater.finish()).expect("a vector takes what is written")
}

/// What zlib writes at level 0: one block of bytes as they are, with its length (RFC 1951, 3.2.4), between the header and the checksum
/// of RFC 1950.
fn wrapped(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("few enough for one block");
    // Far from where the sums would have to be brought back under the modulus on the way, which is after 5552 bytes.
    let (a, b) = bytes.iter().fold((1_u32, 0_u32), |(a, b), byte| (a + u32::from(*byte), b + a + u32::from(*byte)));
    let checksum = ((b % ADLER_MODULUS) << 16) | (a % ADLER_MODULUS);
    let mut all = Vec::with_capacity(bytes.len() + 11);
    all.extend([0x78, 0x01, 0x01]);
    all.extend(length.to_le_bytes());
    all.extend((!length).to_le_bytes());
    all.extend(bytes);
    all.extend(checksum.to_be_bytes());
    all
}

const ADLER_MODULUS: u32 = 65_521;

#[cfg(test)]
mod tests {
    use super::*;

    /// Short bytes are wrapped by hand: whoever inflates them looks at the length and at the sum.
    #[test]
    fn what_is_deflated_or_wrapped_comes_back() {
        for length in [0, 1, WRAPPED_BYTES_MAX - 1, WRAPPED_BYTES_MAX, WRAPPED_BYTES_MAX + 1, 100_000] {
            for byte in [0_u8, 0x5b, 0xff] {
                let bytes = vec![byte; length];
                let deflated = deflate(&bytes);
                let blob = inflate(&deflated).unwrap();
                assert!(matches!(&blob, Blob::Inflated(inflated) if *inflated == bytes), "{length} times {byte}");
            }
        }
    }
}
