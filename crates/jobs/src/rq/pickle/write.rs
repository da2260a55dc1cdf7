//! Values as a pickle: protocol 4, without frames and without a memo, which every CPython loads.

use super::machine::op;
use super::{DEPTH_MAX, int};
use crate::job::Problem;
use serde::de::IgnoredAny;

/// Writes a pickle, one value after the other.
#[derive(Debug)]
pub struct Writer {
    out: Vec<u8>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// A pickle that holds nothing yet.
    pub fn new() -> Self {
        Self { out: vec![op::PROTO, 4] }
    }

    /// What follows, up to [`tuple`](Self::tuple), belongs together.
    pub fn mark(&mut self) {
        self.out.push(op::MARK);
    }

    /// What was written since the mark is a tuple.
    pub fn tuple(&mut self) {
        self.out.push(op::TUPLE);
    }

    /// `None`.
    pub fn none(&mut self) {
        self.out.push(op::NONE);
    }

    /// A `str`.
    pub fn text(&mut self, text: &str) {
        match u8::try_from(text.len()) {
            Ok(short) => self.out.extend([op::SHORT_BINUNICODE, short]),
            Err(_) => match u32::try_from(text.len()) {
                Ok(length) => {
                    self.out.push(op::BINUNICODE);
                    self.out.extend(length.to_le_bytes());
                }
                Err(_) => {
                    self.out.push(op::BINUNICODE8);
                    self.out.extend((text.len() as u64).to_le_bytes());
                }
            },
        }
        self.out.extend(text.as_bytes());
    }

    /// A value that is written as JSON.
    ///
    /// # Errors
    ///
    /// When it is no JSON, or exceeds a limit.
    pub fn json(&mut self, json: &str) -> Result<(), Problem> {
        let no_json = |error: serde_json::Error| Problem::new(format!("a value that is no JSON: {error}"));
        // From here on its form is known to be right.
        serde_json::from_str::<IgnoredAny>(json).map_err(no_json)?;
        let bytes = json.as_bytes();
        let (mut at, mut depth) = (0, 0_usize);
        while let Some(byte) = bytes.get(at) {
            let start = at;
            at += 1;
            match byte {
                b'{' => self.out.extend([op::EMPTY_DICT, op::MARK]),
                b'}' => self.out.push(op::SETITEMS),
                b'[' => self.out.extend([op::EMPTY_LIST, op::MARK]),
                b']' => self.out.push(op::APPENDS),
                b'"' => {
                    while bytes[at] != b'"' {
                        at += if bytes[at] == b'\\' { 2 } else { 1 };
                    }
                    at += 1;
                    let inner = &json[start + 1..at - 1];
                    if inner.contains('\\') {
                        let text: String = serde_json::from_str(&json[start..at]).map_err(no_json)?;
                        self.text(&text);
                    } else {
                        self.text(inner);
                    }
                }
                b't' | b'n' => {
                    self.out.push(if *byte == b't' { op::NEWTRUE } else { op::NONE });
                    at = start + 4;
                }
                b'f' => {
                    self.out.push(op::NEWFALSE);
                    at = start + 5;
                }
                b'-' | b'0'..=b'9' => {
                    let more = bytes[at..]
                        .iter()
                        .take_while(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
                    at += more.count();
                    self.number(&json[start..at])?;
                }
                _ => {}
            }
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            if depth > DEPTH_MAX {
                return Err(Problem::new(format!("a value that is nested deeper than {DEPTH_MAX}")));
            }
        }
        Ok(())
    }

    fn number(&mut self, text: &str) -> Result<(), Problem> {
        if text.contains(['.', 'e', 'E']) {
            let float: f64 =
                text.parse().ok().filter(|float: &f64| float.is_finite()).ok_or_else(|| {
                    Problem::new(format!("`{}` is larger than any float", crate::arguments::shown(text)))
                })?;
            self.out.push(op::BINFLOAT);
            self.out.extend(float.to_be_bytes());
            return Ok(());
        }
        match text.parse::<i64>() {
            Ok(small @ 0..=0xff) => self.out.extend([op::BININT1, small as u8]),
            Ok(middle @ 0x100..=0xffff) => {
                self.out.push(op::BININT2);
                self.out.extend((middle as u16).to_le_bytes());
            }
            Ok(int) if i32::try_from(int).is_ok() => {
                self.out.push(op::BININT);
                self.out.extend((int as i32).to_le_bytes());
            }
            _ => {
                let bytes = int::bytes(text).ok_or_else(|| {
                    Problem::new(format!(
                        "an integer of {} digits, and {} is the limit",
                        text.len(),
                        int::DIGITS_MAX - 1
                    ))
                })?;
                match u8::try_from(bytes.len()) {
                    Ok(short) => self.out.extend([op::LONG1, short]),
                    Err(_) => {
                        self.out.push(op::LONG4);
                        self.out.extend((bytes.len() as u32).to_le_bytes());
                    }
                }
                self.out.extend(bytes);
            }
        }
        Ok(())
    }

    /// The pickle; its value is what was written.
    pub fn finish(mut self) -> Vec<u8> {
        self.out.push(op::STOP);
        self.out
    }
}
