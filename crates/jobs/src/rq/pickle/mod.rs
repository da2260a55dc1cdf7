//! Python's pickle as data: read without running anything, and written so that every CPython loads it.
//!
//! A pickle is a program for a little stack machine, and its usual machine calls whatever function the program names. This one
//! knows only data. A constructor of the standard library that is nothing but data (the list below) becomes its value; every
//! other class, function, reference or extension becomes an *opaque* value that carries its name, so the rest of the pickle
//! is still read, and only who wants that very value is told what it is. Nothing is looked up, imported or called.
//!
//! # What a value becomes
//!
//! | Python | JSON, and so a Rust argument | JSON from Rust | Python |
//! | --- | --- | --- | --- |
//! | `None`, `bool` | `null`, `true`, `false` | the same | `None`, `bool` |
//! | `int` | a number with all its digits; up to [`INT_BYTES_MAX`] bytes | a number without `.` or `e` | `int` |
//! | `float` | a number; `nan` and `inf` are refused, for JSON has none (a Rust `f64` that is none is `null`) | a number with `.` or `e` | `float` |
//! | `str` | a string; one with a lone surrogate is refused | a string | `str` |
//! | `bytes`, `bytearray` | an array of numbers, as serde reads a `Vec<u8>` | – | |
//! | `list`, `tuple`, `set`, `frozenset`, `deque` | an array | an array | `list` |
//! | `dict`, `OrderedDict`, `defaultdict`, `Counter` | an object; keys are `str`, or `int`, `float`, `bool`, `None` written as `json.dumps` does | an object | `dict` |
//! | `datetime`, `date`, `time` | a string as of `isoformat()`; with a zone of the `zoneinfo` module only if it is UTC | – | |
//! | `timedelta` | seconds, with up to six digits after the point | – | |
//! | `timezone` | its offset, `"+02:00"` | – | |
//! | `Decimal` | a string with its digits | – | |
//! | `UUID` | a string, `"12345678-…"` | – | |
//! | `complex` | `[real, imaginary]` | – | |
//! | `Path` (of `pathlib`, for POSIX) | a string | – | |
//! | everything else | refused, by name | – | |
//!
//! What JSON does not know (a dash above) travels to Python as the string or number that it is on our side.
//!
//! # Limits
//!
//! [`INPUT_BYTES_MAX`], [`NODES_MAX`], [`DEPTH_MAX`], [`INT_BYTES_MAX`] and [`JSON_BYTES_MAX`]. Values are kept in one flat
//! table and name each other by number: what is shared is there once, nothing recurses (the end of the table neither), and a
//! value that contains itself is found by its depth. What is shared counts each time it is written, so a few bytes that refer
//! to themselves a billion times end at the limit.

mod int;
mod json;
mod known;
mod machine;
mod write;

pub use write::Writer;

use crate::job::Problem;

/// The longest pickle that is read, in bytes.
pub const INPUT_BYTES_MAX: usize = 16 << 20;
/// How many values a pickle may put on the stack, and how many may be written from it.
pub const NODES_MAX: usize = 1_000_000;
/// How deep values may be nested.
pub const DEPTH_MAX: usize = 512;
/// The longest integer, in bytes; that is 1,233 digits.
pub const INT_BYTES_MAX: usize = 512;
/// The longest JSON that is written, in bytes.
pub const JSON_BYTES_MAX: usize = 64 << 20;

/// The place of a value in its document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ref(u32);

/// One value; those that it holds are named by their places.
#[derive(Clone, Debug)]
enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// Decimal digits.
    Big(Box<str>),
    Float(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    List(Vec<Ref>),
    Tuple(Vec<Ref>),
    Set(Vec<Ref>),
    Dict(Vec<(Ref, Ref)>),
    /// A duration, in microseconds.
    Delta(i128),
    /// An offset from UTC, in microseconds.
    Zone(i64),
    /// A UUID whose number has not come yet.
    Uuid,
    /// A function or class: module and name.
    Global(Box<str>, Box<str>),
    /// What is no data: in words.
    Opaque(Box<str>),
}

/// A pickle that was read.
#[derive(Debug)]
pub struct Document {
    nodes: Vec<Node>,
    root: Ref,
}

impl Document {
    /// Reads a pickle of any protocol from 0 to 5. Nothing of it is run.
    ///
    /// # Errors
    ///
    /// When the bytes are no pickle, or exceed a limit. A value that is no plain data is no error here.
    pub fn read(bytes: &[u8]) -> Result<Self, Problem> {
        machine::read(bytes)
    }

    /// The value as a whole.
    pub fn root(&self) -> Ref {
        self.root
    }

    fn node(&self, at: Ref) -> &Node {
        &self.nodes[at.0 as usize]
    }

    /// The values of a list or a tuple.
    pub fn items(&self, at: Ref) -> Option<Vec<Ref>> {
        match self.node(at) {
            Node::List(items) | Node::Tuple(items) => Some(items.clone()),
            _ => None,
        }
    }

    /// The pairs of a dict.
    pub fn pairs(&self, at: Ref) -> Option<&[(Ref, Ref)]> {
        match self.node(at) {
            Node::Dict(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// A text.
    pub fn text(&self, at: Ref) -> Option<&str> {
        match self.node(at) {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is `None`.
    pub fn is_none(&self, at: Ref) -> bool {
        matches!(self.node(at), Node::None)
    }

    /// A value as JSON, as the table says.
    ///
    /// # Errors
    ///
    /// When it holds what is no plain data, and where; or exceeds a limit.
    pub fn to_json(&self, at: Ref) -> Result<String, Problem> {
        json::write(self, at)
    }
}

/// The words for the value in an error.
impl Node {
    fn words(&self) -> String {
        match self {
            Self::None => "None".to_owned(),
            Self::Bool(_) => "a bool".to_owned(),
            Self::Int(_) | Self::Big(_) => "an int".to_owned(),
            Self::Float(float) => format!("the float {float}"),
            Self::Text(_) => "a str".to_owned(),
            Self::Bytes(_) => "bytes".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Tuple(_) => "a tuple".to_owned(),
            Self::Set(_) => "a set".to_owned(),
            Self::Dict(_) => "a dict".to_owned(),
            Self::Delta(_) => "a timedelta".to_owned(),
            Self::Zone(_) => "a timezone".to_owned(),
            Self::Uuid => "a UUID without its number".to_owned(),
            Self::Global(module, name) => format!("the function or class `{module}.{name}`"),
            Self::Opaque(what) => what.to_string(),
        }
    }
}
