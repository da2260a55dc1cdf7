//! The stack machine of a pickle: every opcode of protocols 0 to 5.
//!
//! The stack holds places of values and marks say where a group of them begins, as in CPython; nothing may be taken from below
//! the last mark. What is put on the stack costs one of [`NODES_MAX`], and so does every place that is copied; bytes that are
//! made of other bytes cost as many of [`INPUT_BYTES_MAX`]. So the memory of a reading is bounded by the pickle's own length
//! and those two.

use super::{Document, INPUT_BYTES_MAX, INT_BYTES_MAX, NODES_MAX, Node, Ref, int, known};
use crate::arguments::shown;
use crate::job::Problem;
use std::collections::HashMap;

/// Every opcode, by its protocol.
#[rustfmt::skip]
pub(super) mod op {
    // 0
    pub(crate) const MARK: u8 = b'(';
    pub(crate) const STOP: u8 = b'.';
    pub(crate) const POP: u8 = b'0';
    pub(crate) const DUP: u8 = b'2';
    pub(crate) const FLOAT: u8 = b'F';
    pub(crate) const INT: u8 = b'I';
    pub(crate) const LONG: u8 = b'L';
    pub(crate) const NONE: u8 = b'N';
    pub(crate) const PERSID: u8 = b'P';
    pub(crate) const REDUCE: u8 = b'R';
    pub(crate) const STRING: u8 = b'S';
    pub(crate) const UNICODE: u8 = b'V';
    pub(crate) const APPEND: u8 = b'a';
    pub(crate) const BUILD: u8 = b'b';
    pub(crate) const GLOBAL: u8 = b'c';
    pub(crate) const DICT: u8 = b'd';
    pub(crate) const GET: u8 = b'g';
    pub(crate) const INST: u8 = b'i';
    pub(crate) const LIST: u8 = b'l';
    pub(crate) const PUT: u8 = b'p';
    pub(crate) const SETITEM: u8 = b's';
    pub(crate) const TUPLE: u8 = b't';
    // 1
    pub(crate) const POP_MARK: u8 = b'1';
    pub(crate) const BININT: u8 = b'J';
    pub(crate) const BININT1: u8 = b'K';
    pub(crate) const BININT2: u8 = b'M';
    pub(crate) const BINPERSID: u8 = b'Q';
    pub(crate) const BINSTRING: u8 = b'T';
    pub(crate) const SHORT_BINSTRING: u8 = b'U';
    pub(crate) const BINUNICODE: u8 = b'X';
    pub(crate) const EMPTY_DICT: u8 = b'}';
    pub(crate) const APPENDS: u8 = b'e';
    pub(crate) const BINGET: u8 = b'h';
    pub(crate) const LONG_BINGET: u8 = b'j';
    pub(crate) const EMPTY_LIST: u8 = b']';
    pub(crate) const OBJ: u8 = b'o';
    pub(crate) const BINPUT: u8 = b'q';
    pub(crate) const LONG_BINPUT: u8 = b'r';
    pub(crate) const EMPTY_TUPLE: u8 = b')';
    pub(crate) const SETITEMS: u8 = b'u';
    pub(crate) const BINFLOAT: u8 = b'G';
    // 2
    pub(crate) const PROTO: u8 = 0x80;
    pub(crate) const NEWOBJ: u8 = 0x81;
    pub(crate) const EXT1: u8 = 0x82;
    pub(crate) const EXT2: u8 = 0x83;
    pub(crate) const EXT4: u8 = 0x84;
    pub(crate) const TUPLE1: u8 = 0x85;
    pub(crate) const TUPLE2: u8 = 0x86;
    pub(crate) const TUPLE3: u8 = 0x87;
    pub(crate) const NEWTRUE: u8 = 0x88;
    pub(crate) const NEWFALSE: u8 = 0x89;
    pub(crate) const LONG1: u8 = 0x8a;
    pub(crate) const LONG4: u8 = 0x8b;
    // 3
    pub(crate) const BINBYTES: u8 = b'B';
    pub(crate) const SHORT_BINBYTES: u8 = b'C';
    // 4
    pub(crate) const SHORT_BINUNICODE: u8 = 0x8c;
    pub(crate) const BINUNICODE8: u8 = 0x8d;
    pub(crate) const BINBYTES8: u8 = 0x8e;
    pub(crate) const EMPTY_SET: u8 = 0x8f;
    pub(crate) const ADDITEMS: u8 = 0x90;
    pub(crate) const FROZENSET: u8 = 0x91;
    pub(crate) const NEWOBJ_EX: u8 = 0x92;
    pub(crate) const STACK_GLOBAL: u8 = 0x93;
    pub(crate) const MEMOIZE: u8 = 0x94;
    pub(crate) const FRAME: u8 = 0x95;
    // 5
    pub(crate) const BYTEARRAY8: u8 = 0x96;
    pub(crate) const NEXT_BUFFER: u8 = 0x97;
    pub(crate) const READONLY_BUFFER: u8 = 0x98;
}

/// The newest protocol that is read.
const PROTOCOL_MAX: u8 = 5;
/// The longest line of protocol 0 that is no text, in bytes.
const LINE_BYTES_MAX: usize = 4_096;

pub(super) struct Machine<'p> {
    input: &'p [u8],
    at: usize,
    pub(super) nodes: Vec<Node>,
    stack: Vec<Ref>,
    marks: Vec<usize>,
    memo: HashMap<u64, Ref>,
    /// What is left of [`NODES_MAX`].
    nodes_left: usize,
    /// What is left of [`INPUT_BYTES_MAX`] for bytes made of others.
    bytes_left: usize,
}

type Done<T = ()> = Result<T, Problem>;

pub(super) fn read(input: &[u8]) -> Done<Document> {
    if input.len() > INPUT_BYTES_MAX {
        return Err(Problem::new(format!("a pickle of {} bytes, and {INPUT_BYTES_MAX} is the limit", input.len())));
    }
    let mut machine = Machine {
        input,
        at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        nodes_left: NODES_MAX,
        bytes_left: INPUT_BYTES_MAX,
    };
    let root = machine.run()?;
    Ok(Document { nodes: machine.nodes, root })
}

impl<'p> Machine<'p> {
    fn run(&mut self) -> Done<Ref> {
        loop {
            let code = self.byte()?;
            if code == op::STOP {
                return self.pop();
            }
            self.step(code)?;
        }
    }

    #[expect(clippy::too_many_lines, reason = "one line for each opcode")]
    fn step(&mut self, code: u8) -> Done {
        match code {
            op::PROTO => {
                let version = self.byte()?;
                if version > PROTOCOL_MAX {
                    return Err(
                        self.broken(&format!("protocol {version}, and {PROTOCOL_MAX} is the newest that is known"))
                    );
                }
            }
            op::FRAME => {
                self.take(8)?;
            }

            op::NONE => self.put(Node::None)?,
            op::NEWTRUE => self.put(Node::Bool(true))?,
            op::NEWFALSE => self.put(Node::Bool(false))?,
            op::BININT => {
                let int = self.le(4)? as u32 as i32;
                self.put(Node::Int(int.into()))?;
            }
            op::BININT1 => {
                let int = self.byte()?;
                self.put(Node::Int(int.into()))?;
            }
            op::BININT2 => {
                let int = self.le(2)?;
                self.put(Node::Int(int as i64))?;
            }
            op::LONG1 => self.long(1)?,
            op::LONG4 => self.long(4)?,
            op::INT => match self.line()? {
                b"00" => self.put(Node::Bool(false))?,
                b"01" => self.put(Node::Bool(true))?,
                line => self.int_of(line)?,
            },
            op::LONG => {
                let line = self.line()?;
                self.int_of(line.strip_suffix(b"L").unwrap_or(line))?;
            }
            op::FLOAT => {
                let line = self.line()?;
                let float = std::str::from_utf8(line).ok().and_then(|text| text.trim().parse().ok());
                let float = float.ok_or_else(|| self.broken("a float that is none"))?;
                self.put(Node::Float(float))?;
            }
            op::BINFLOAT => {
                let bytes = self.take(8)?.try_into().expect("it took eight");
                self.put(Node::Float(f64::from_be_bytes(bytes)))?;
            }

            op::SHORT_BINUNICODE => self.unicode(1)?,
            op::BINUNICODE => self.unicode(4)?,
            op::BINUNICODE8 => self.unicode(8)?,
            op::UNICODE => {
                let line = self.text_line()?;
                self.put(raw_unicode(line))?;
            }
            op::STRING => {
                let line = self.text_line()?;
                let node = quoted(line).ok_or_else(|| self.broken("a string without its quotes"))?;
                self.put(node)?;
            }
            op::BINSTRING => self.old_string(4)?,
            op::SHORT_BINSTRING => self.old_string(1)?,
            op::SHORT_BINBYTES => self.bytes(1)?,
            op::BINBYTES => self.bytes(4)?,
            op::BINBYTES8 | op::BYTEARRAY8 => self.bytes(8)?,
            op::NEXT_BUFFER => self.put(opaque("a buffer that was sent beside its pickle"))?,
            // It says only that what is on top may not be written to.
            op::READONLY_BUFFER => {
                self.top()?;
            }

            op::EMPTY_TUPLE => self.put(Node::Tuple(Vec::new()))?,
            op::EMPTY_LIST => self.put(Node::List(Vec::new()))?,
            op::EMPTY_DICT => self.put(Node::Dict(Vec::new()))?,
            op::EMPTY_SET => self.put(Node::Set(Vec::new()))?,
            op::TUPLE1 => self.tuple(1)?,
            op::TUPLE2 => self.tuple(2)?,
            op::TUPLE3 => self.tuple(3)?,
            op::TUPLE => {
                let items = self.group()?;
                self.put(Node::Tuple(items))?;
            }
            op::LIST => {
                let items = self.group()?;
                self.put(Node::List(items))?;
            }
            op::FROZENSET => {
                let items = self.group()?;
                self.put(Node::Set(items))?;
            }
            op::DICT => {
                let items = self.group()?;
                let pairs = self.paired(&items)?;
                self.put(Node::Dict(pairs))?;
            }
            op::APPEND => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            op::APPENDS | op::ADDITEMS => {
                let items = self.group()?;
                self.append(&items)?;
            }
            op::SETITEM => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(vec![(key, value)])?;
            }
            op::SETITEMS => {
                let items = self.group()?;
                let pairs = self.paired(&items)?;
                self.set(pairs)?;
            }

            op::MARK => {
                // A group without values costs too.
                self.spend(1)?;
                self.marks.push(self.stack.len());
            }
            op::POP => {
                // CPython takes a mark with it when nothing is above it.
                if self.marks.last() == Some(&self.stack.len()) {
                    self.marks.pop();
                } else {
                    self.pop()?;
                }
            }
            op::POP_MARK => {
                self.group()?;
            }
            op::DUP => {
                let top = self.top()?;
                self.again(top)?;
            }

            op::GET => {
                let line = self.line()?;
                let place = self.place_of(line)?;
                self.get(place)?;
            }
            op::BINGET => {
                let place = self.le(1)?;
                self.get(place)?;
            }
            op::LONG_BINGET => {
                let place = self.le(4)?;
                self.get(place)?;
            }
            op::PUT => {
                let line = self.line()?;
                let place = self.place_of(line)?;
                self.memoize(place)?;
            }
            op::BINPUT => {
                let place = self.le(1)?;
                self.memoize(place)?;
            }
            op::LONG_BINPUT => {
                let place = self.le(4)?;
                self.memoize(place)?;
            }
            op::MEMOIZE => self.memoize(self.memo.len() as u64)?,

            op::GLOBAL => {
                let (module, name) = (self.name_line()?, self.name_line()?);
                self.put(known::global(&module, &name))?;
            }
            op::STACK_GLOBAL => {
                let (name, module) = (self.pop()?, self.pop()?);
                let node = match (self.node(module), self.node(name)) {
                    (Node::Text(module), Node::Text(name)) => known::global(module, name),
                    _ => return Err(self.broken("a class whose name is no text")),
                };
                self.put(node)?;
            }
            op::REDUCE => {
                let (args, function) = (self.pop()?, self.pop()?);
                let node = known::call(self, function, args)?;
                self.put(node)?;
            }
            op::NEWOBJ => {
                let (args, class) = (self.pop()?, self.pop()?);
                let node = known::new(self, class, args);
                self.put(node)?;
            }
            op::NEWOBJ_EX => {
                let (_, _, class) = (self.pop()?, self.pop()?, self.pop()?);
                let node = known::object(self, class);
                self.put(node)?;
            }
            op::INST => {
                let (module, name) = (self.name_line()?, self.name_line()?);
                self.group()?;
                self.put(opaque(format!("an object of `{}.{}`", shown(&module), shown(&name))))?;
            }
            op::OBJ => {
                let items = self.group()?;
                let class = *items.first().ok_or_else(|| self.broken("an object without its class"))?;
                let node = known::object(self, class);
                self.put(node)?;
            }
            op::BUILD => {
                let state = self.pop()?;
                let object = self.top()?;
                let node = known::build(self, object, state);
                self.charge(&node)?;
                self.nodes[object.0 as usize] = node;
            }

            op::PERSID => {
                let id = self.name_line()?;
                self.put(opaque(format!("a reference to something outside of the pickle, `{}`", shown(&id))))?;
            }
            op::BINPERSID => {
                self.pop()?;
                self.put(opaque("a reference to something outside of the pickle"))?;
            }
            op::EXT1 => self.extension(1)?,
            op::EXT2 => self.extension(2)?,
            op::EXT4 => self.extension(4)?,

            _ => return Err(self.broken("an opcode that does not exist")),
        }
        Ok(())
    }

    // What the opcodes are made of.

    fn take(&mut self, count: usize) -> Done<&'p [u8]> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.input.len());
        let end = end.ok_or_else(|| Problem::new("a pickle that ends too early"))?;
        let bytes = &self.input[self.at..end];
        self.at = end;
        Ok(bytes)
    }

    fn byte(&mut self) -> Done<u8> {
        Ok(self.take(1)?[0])
    }

    /// A number of so many bytes, the lowest first.
    fn le(&mut self, count: usize) -> Done<u64> {
        Ok(self.take(count)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// As many bytes as a number of so many bytes says.
    fn counted(&mut self, size: usize) -> Done<&'p [u8]> {
        let count = self.le(size)?;
        self.take(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// The rest of a line.
    fn text_line(&mut self) -> Done<&'p [u8]> {
        let rest = &self.input[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or_else(|| Problem::new("a pickle that ends within a line"))?;
        self.at += end + 1;
        let line = &rest[..end];
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// The same, short.
    fn line(&mut self) -> Done<&'p [u8]> {
        let line = self.text_line()?;
        if line.len() > LINE_BYTES_MAX {
            return Err(self.broken(&format!("a number of more than {LINE_BYTES_MAX} bytes")));
        }
        Ok(line)
    }

    fn name_line(&mut self) -> Done<String> {
        let line = self.text_line()?;
        Ok(String::from_utf8_lossy(line).into_owned())
    }

    pub(super) fn spend(&mut self, nodes: usize) -> Done {
        let left = self.nodes_left.checked_sub(nodes);
        self.nodes_left = left.ok_or_else(|| Problem::new(format!("a pickle of more than {NODES_MAX} values")))?;
        Ok(())
    }

    /// Bytes that are made of other bytes.
    pub(super) fn spend_bytes(&mut self, bytes: usize) -> Done {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or_else(|| {
            Problem::new(format!("a pickle that makes more than {INPUT_BYTES_MAX} bytes of those it has"))
        })?;
        Ok(())
    }

    /// What is said of something that cannot be read may have been copied from what was said before.
    fn charge(&mut self, node: &Node) -> Done {
        match node {
            Node::Opaque(what) => self.spend_bytes(what.len()),
            _ => Ok(()),
        }
    }

    fn put(&mut self, node: Node) -> Done {
        self.charge(&node)?;
        let place = u32::try_from(self.nodes.len()).expect("fewer than a million");
        self.again(Ref(place))?;
        self.nodes.push(node);
        Ok(())
    }

    /// One that is there already.
    fn again(&mut self, at: Ref) -> Done {
        self.spend(1)?;
        self.stack.push(at);
        Ok(())
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Done<Ref> {
        if self.stack.len() <= self.floor() {
            return Err(self.broken("it takes more than was put there"));
        }
        Ok(self.stack.pop().expect("it is above the floor"))
    }

    fn top(&self) -> Done<Ref> {
        if self.stack.len() <= self.floor() {
            return Err(self.broken("it takes more than was put there"));
        }
        Ok(*self.stack.last().expect("it is above the floor"))
    }

    /// What was put since the last mark.
    fn group(&mut self) -> Done<Vec<Ref>> {
        let mark = self.marks.pop().ok_or_else(|| self.broken("a group without its mark"))?;
        Ok(self.stack.split_off(mark))
    }

    fn paired(&self, items: &[Ref]) -> Done<Vec<(Ref, Ref)>> {
        if !items.len().is_multiple_of(2) {
            return Err(self.broken("a dict with a key and no value"));
        }
        Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    pub(super) fn node(&self, at: Ref) -> &Node {
        &self.nodes[at.0 as usize]
    }

    fn tuple(&mut self, count: usize) -> Done {
        let start = self.stack.len().checked_sub(count).filter(|start| *start >= self.floor());
        let start = start.ok_or_else(|| self.broken("it takes more than was put there"))?;
        let items = self.stack.split_off(start);
        self.put(Node::Tuple(items))
    }

    fn append(&mut self, items: &[Ref]) -> Done {
        let target = self.top()?;
        match &mut self.nodes[target.0 as usize] {
            Node::List(list) | Node::Set(list) => list.extend_from_slice(items),
            Node::Opaque(_) => {}
            other => return Err(Problem::new(format!("a pickle that appends to {}", other.words()))),
        }
        Ok(())
    }

    fn set(&mut self, pairs: Vec<(Ref, Ref)>) -> Done {
        let target = self.top()?;
        match &mut self.nodes[target.0 as usize] {
            Node::Dict(dict) => dict.extend(pairs),
            Node::Opaque(_) => {}
            other => return Err(Problem::new(format!("a pickle that sets items of {}", other.words()))),
        }
        Ok(())
    }

    fn get(&mut self, place: u64) -> Done {
        let at = self.memo.get(&place).copied();
        let at = at.ok_or_else(|| self.broken("it refers to a value that was not kept"))?;
        self.again(at)
    }

    fn memoize(&mut self, place: u64) -> Done {
        let top = self.top()?;
        self.memo.insert(place, top);
        if self.memo.len() > NODES_MAX {
            return Err(Problem::new(format!("a pickle that keeps more than {NODES_MAX} values")));
        }
        Ok(())
    }

    fn place_of(&self, line: &[u8]) -> Done<u64> {
        let place = std::str::from_utf8(line).ok().and_then(|text| text.parse().ok());
        place.ok_or_else(|| self.broken("a place that is no number"))
    }

    fn long(&mut self, size: usize) -> Done {
        let bytes = self.counted(size)?;
        if bytes.len() > INT_BYTES_MAX {
            return self.put(too_long());
        }
        let digits = int::digits(bytes);
        self.put(integer(digits))
    }

    fn int_of(&mut self, line: &[u8]) -> Done {
        let text = std::str::from_utf8(line).map_err(|_| self.broken("an int that is none"))?.trim();
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.broken("an int that is none"));
        }
        if digits.len() > int::DIGITS_MAX {
            return self.put(too_long());
        }
        // As JSON wants it: no zeros in front.
        let digits = digits.trim_start_matches('0');
        let sign = if text.starts_with('-') && !digits.is_empty() { "-" } else { "" };
        self.put(integer(format!("{sign}{}", if digits.is_empty() { "0" } else { digits })))
    }

    fn unicode(&mut self, size: usize) -> Done {
        let bytes = self.counted(size)?;
        self.put(std::str::from_utf8(bytes).map_or_else(|_| surrogate(), |text| Node::Text(text.into())))
    }

    fn bytes(&mut self, size: usize) -> Done {
        let bytes = self.counted(size)?;
        self.put(Node::Bytes(bytes.into()))
    }

    fn old_string(&mut self, size: usize) -> Done {
        let bytes = self.counted(size)?;
        self.put(ascii(bytes))
    }

    fn extension(&mut self, size: usize) -> Done {
        let code = self.le(size)?;
        self.put(opaque(format!("the class with the number {code} of `copyreg`")))
    }

    /// What is wrong, and where.
    fn broken(&self, what: &str) -> Problem {
        Problem::new(format!("a pickle that is broken at byte {}: {what}", self.at.saturating_sub(1)))
    }
}

/// What is said of something that cannot be read is no longer than this, in bytes: it is quoted in what is said of others.
const SAID_BYTES_MAX: usize = 512;

pub(super) fn opaque(what: impl Into<String>) -> Node {
    let mut what = what.into();
    let mut end = SAID_BYTES_MAX.min(what.len());
    while !what.is_char_boundary(end) {
        end -= 1;
    }
    what.truncate(end);
    Node::Opaque(what.into())
}

fn surrogate() -> Node {
    opaque("a str with a lone surrogate, which is no text")
}

fn too_long() -> Node {
    opaque(format!("an int of more than {INT_BYTES_MAX} bytes"))
}

fn integer(digits: String) -> Node {
    digits.parse().map_or_else(|_| Node::Big(digits.into()), Node::Int)
}

/// A string of Python 2, which was bytes.
fn ascii(bytes: &[u8]) -> Node {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Node::Text(text.into()),
        _ => opaque("a string of Python 2 that is not ASCII"),
    }
}

/// A text of protocol 0: Latin-1, with `\u` and `\U` for the rest.
fn raw_unicode(line: &[u8]) -> Node {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let [byte, after @ ..] = rest {
        rest = after;
        let size = match (byte, after.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            (b'\\', Some(next)) => {
                // Two of them are no escape, and neither is what follows.
                text.push('\\');
                text.push(char::from(*next));
                rest = &after[1..];
                continue;
            }
            _ => {
                text.push(char::from(*byte));
                continue;
            }
        };
        let code = after.get(1..=size).and_then(|hex| std::str::from_utf8(hex).ok());
        let Some(code) = code.and_then(|hex| u32::from_str_radix(hex, 16).ok()) else {
            return opaque("a str with a broken escape");
        };
        match char::from_u32(code) {
            Some(char) => text.push(char),
            None => return surrogate(),
        }
        rest = &after[1 + size..];
    }
    Node::Text(text.into())
}

/// A string of protocol 0: as Python 2 prints it.
fn quoted(line: &[u8]) -> Option<Node> {
    let line = line.trim_ascii();
    let quote = *line.first().filter(|first| matches!(first, b'\'' | b'"'))?;
    let inner = line.get(1..line.len().checked_sub(1)?)?;
    if line.len() < 2 || line.last() != Some(&quote) {
        return None;
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        let [escape, after @ ..] = rest else { return None };
        rest = after;
        let byte = match escape {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'0'..=b'7' => {
                let digits = 1 + after.iter().take(2).take_while(|digit| (b'0'..=b'7').contains(digit)).count();
                let code = after[..digits - 1]
                    .iter()
                    .fold(u32::from(escape - b'0'), |code, digit| code * 8 + u32::from(digit - b'0'));
                rest = &after[digits - 1..];
                code as u8
            }
            b'a' => 7,
            b'b' => 8,
            b'f' => 12,
            b'v' => 11,
            b'x' => {
                let hex = std::str::from_utf8(after.get(..2)?).ok()?;
                rest = &after[2..];
                u8::from_str_radix(hex, 16).ok()?
            }
            b'\\' | b'\'' | b'"' => *escape,
            other => {
                bytes.push(b'\\');
                *other
            }
        };
        bytes.push(byte);
    }
    Some(ascii(&bytes))
}
