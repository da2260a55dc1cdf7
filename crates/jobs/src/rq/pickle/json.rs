//! A value of a document as JSON.
//!
//! The way down is kept on a stack of our own, which also tells where something is that JSON cannot say.

use super::{DEPTH_MAX, Document, JSON_BYTES_MAX, NODES_MAX, Node, Ref, known};
use crate::arguments::{quoted, shown};
use crate::job::Problem;
use std::fmt::Write as _;

/// A value that holds others, and which of them is next.
struct Frame {
    at: Ref,
    next: usize,
}

struct Writer<'d> {
    document: &'d Document,
    out: String,
    frames: Vec<Frame>,
    nodes: usize,
}

pub(super) fn write(document: &Document, at: Ref) -> Result<String, Problem> {
    let mut writer = Writer { document, out: String::new(), frames: Vec::new(), nodes: 0 };
    writer.value(at)?;
    while let Some(frame) = writer.frames.last_mut() {
        let (at, next) = (frame.at, frame.next);
        frame.next += 1;
        match document.node(at) {
            Node::List(items) | Node::Tuple(items) | Node::Set(items) => match items.get(next) {
                Some(item) => {
                    writer.comma(next);
                    writer.value(*item)?;
                }
                None => writer.close(']'),
            },
            Node::Dict(pairs) => match pairs.get(next) {
                Some((key, value)) => {
                    writer.comma(next);
                    writer.key(*key)?;
                    writer.value(*value)?;
                }
                None => writer.close('}'),
            },
            _ => unreachable!("only what holds values has a frame"),
        }
    }
    Ok(writer.out)
}

impl Writer<'_> {
    fn comma(&mut self, next: usize) {
        if next > 0 {
            self.out.push(',');
        }
    }

    fn close(&mut self, bracket: char) {
        self.out.push(bracket);
        self.frames.pop();
    }

    fn open(&mut self, at: Ref, bracket: char) -> Result<(), Problem> {
        if self.frames.len() >= DEPTH_MAX {
            return Err(Problem::new(format!("a value that is nested deeper than {DEPTH_MAX}, or contains itself")));
        }
        self.out.push(bracket);
        self.frames.push(Frame { at, next: 0 });
        Ok(())
    }

    fn count(&mut self) -> Result<(), Problem> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Problem::new(format!("more than {NODES_MAX} values, counting what is shared each time")));
        }
        Ok(())
    }

    fn room_for(&self, bytes: usize) -> Result<(), Problem> {
        if self.out.len() + bytes > JSON_BYTES_MAX {
            return Err(Problem::new(format!("more than {JSON_BYTES_MAX} bytes when written as JSON")));
        }
        Ok(())
    }

    fn value(&mut self, at: Ref) -> Result<(), Problem> {
        self.count()?;
        // What one value adds is checked where it may be long.
        self.room_for(0)?;
        match self.document.node(at) {
            Node::None => self.out.push_str("null"),
            Node::Bool(bool) => self.out.push_str(if *bool { "true" } else { "false" }),
            Node::Int(int) => {
                let _ = write!(self.out, "{int}");
            }
            Node::Big(digits) => self.out.push_str(digits),
            Node::Float(float) if float.is_finite() => {
                let _ = write!(self.out, "{float:?}");
            }
            Node::Text(text) => {
                self.room_for(text.len())?;
                self.out.push_str(&quoted(text));
            }
            Node::Bytes(bytes) => {
                self.room_for(4 * bytes.len())?;
                self.out.push('[');
                for (at, byte) in bytes.iter().enumerate() {
                    let _ = write!(self.out, "{}{byte}", if at > 0 { "," } else { "" });
                }
                self.out.push(']');
            }
            Node::List(_) | Node::Tuple(_) | Node::Set(_) => self.open(at, '[')?,
            Node::Dict(_) => self.open(at, '{')?,
            Node::Delta(micros) => {
                let (sign, size) = (if *micros < 0 { "-" } else { "" }, micros.unsigned_abs());
                let _ = write!(self.out, "{sign}{}", size / 1_000_000);
                if size % 1_000_000 > 0 {
                    let fraction = format!("{:06}", size % 1_000_000);
                    let _ = write!(self.out, ".{}", fraction.trim_end_matches('0'));
                }
            }
            Node::Zone(offset) => {
                let _ = write!(self.out, "\"{}\"", known::offset_text(*offset));
            }
            other @ (Node::Float(_) | Node::Uuid | Node::Global(..) | Node::Opaque(_)) => {
                return Err(Problem::new(format!(
                    "{} is {}: only plain data is read, and nothing is run to make more of it",
                    self.place(),
                    other.words()
                )));
            }
        }
        Ok(())
    }

    /// As `json.dumps` writes it.
    fn key(&mut self, at: Ref) -> Result<(), Problem> {
        self.count()?;
        let key = match self.document.node(at) {
            Node::Text(text) => {
                self.room_for(text.len())?;
                quoted(text)
            }
            Node::None => "\"null\"".to_owned(),
            Node::Bool(bool) => format!("\"{bool}\""),
            Node::Int(int) => format!("\"{int}\""),
            Node::Big(digits) => format!("\"{digits}\""),
            Node::Float(float) if float.is_finite() => format!("\"{float:?}\""),
            other => {
                return Err(Problem::new(format!(
                    "{} has a key that is {}, and keys are texts or numbers",
                    self.place(),
                    other.words()
                )));
            }
        };
        self.out.push_str(&key);
        self.out.push(':');
        Ok(())
    }

    /// Where in the value it stands, as Python would reach it.
    fn place(&self) -> String {
        /// More would say nothing more.
        const STEPS_MAX: usize = 8;
        let mut place = "value".to_owned();
        for frame in self.frames.iter().take(STEPS_MAX) {
            let at = frame.next.saturating_sub(1);
            let _ = match self.document.node(frame.at) {
                Node::Dict(pairs) => match pairs.get(at).map(|(key, _)| self.document.node(*key)) {
                    Some(Node::Text(key)) => write!(place, "['{}']", shown(key)),
                    Some(Node::Int(key)) => write!(place, "[{key}]"),
                    _ => write!(place, "[..]"),
                },
                _ => write!(place, "[{at}]"),
            };
        }
        if self.frames.len() > STEPS_MAX {
            place.push_str("..");
        }
        place
    }
}
