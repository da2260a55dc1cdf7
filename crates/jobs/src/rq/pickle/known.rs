//! The constructors that are nothing but data, and what their calls become. Everything else becomes opaque.
//!
//! | class | forms that CPython writes |
//! | --- | --- |
//! | `datetime.datetime`, `date`, `time` | `(bytes)`, `(bytes, timezone)` |
//! | `datetime.timedelta`, `timezone` | `(days, seconds, microseconds)`, `(timedelta)` |
//! | `decimal.Decimal` | `(digits)` |
//! | `uuid.UUID` | a new object, then its state `{"int": n}` |
//! | `collections.OrderedDict`, `defaultdict`, `Counter`, `deque` | empty and then filled, or with what they hold |
//! | `builtins.set`, `frozenset`, `bytearray`, `bytes`, `complex`; `_codecs.encode` | protocols 0 to 3, which have no opcodes for them |
//! | `pathlib.Path` and its kin for POSIX | `(parts ..)` |
//! | UTC of `zoneinfo` and `pytz` | |

use super::machine::{Machine, opaque};
use super::{Node, Ref};
use crate::arguments::shown;
use crate::job::Problem;

/// The microseconds of a day.
const DAY: i128 = 86_400_000_000;
/// `timedelta` goes no further than so many days.
const DAYS_MAX: i64 = 999_999_999;

/// A function or class, under the name that Python 3 has for it.
pub(super) fn global(module: &str, name: &str) -> Node {
    let module = match module {
        "__builtin__" => "builtins",
        "copy_reg" => "copyreg",
        other => other,
    };
    Node::Global(shown(module).into(), shown(name).into())
}

/// An object of a class that is not known.
pub(super) fn object(machine: &Machine<'_>, class: Ref) -> Node {
    match machine.node(class) {
        Node::Global(module, name) => opaque(format!("an object of `{module}.{name}`")),
        Node::Opaque(what) => Node::Opaque(what.clone()),
        other => opaque(format!("what {} made", other.words())),
    }
}

/// A new object, without its state.
pub(super) fn new(machine: &Machine<'_>, class: Ref, args: Ref) -> Node {
    match (machine.node(class), machine.node(args)) {
        (Node::Global(module, name), Node::Tuple(args)) if is(module, name, "uuid", "UUID") && args.is_empty() => {
            Node::Uuid
        }
        _ => object(machine, class),
    }
}

/// An object that gets its state.
pub(super) fn build(machine: &Machine<'_>, object: Ref, state: Ref) -> Node {
    let number = |state: &Node| match state {
        Node::Dict(pairs) => {
            let is_int = |(key, _): &&(Ref, Ref)| matches!(machine.node(*key), Node::Text(text) if **text == *"int");
            pairs.iter().find(is_int).and_then(|(_, value)| match machine.node(*value) {
                Node::Int(int) => u128::try_from(*int).ok(),
                Node::Big(digits) => digits.parse().ok(),
                _ => None,
            })
        }
        _ => None,
    };
    match machine.node(object) {
        Node::Uuid => match number(machine.node(state)) {
            Some(number) => {
                let hex = format!("{number:032x}");
                let groups = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
                Node::Text(groups.join("-").into())
            }
            None => opaque("a UUID whose state is not known"),
        },
        Node::Opaque(what) => Node::Opaque(what.clone()),
        other => opaque(format!("{} with a state of its own", other.words())),
    }
}

fn is(module: &str, name: &str, wanted_module: &str, wanted_name: &str) -> bool {
    module == wanted_module && name == wanted_name
}

/// What a call gives.
pub(super) fn call(machine: &mut Machine<'_>, function: Ref, args: Ref) -> Result<Node, Problem> {
    let Node::Global(module, name) = machine.node(function) else { return Ok(object(machine, function)) };
    let what = format!("an object of `{module}.{name}`");
    let Node::Tuple(args) = machine.node(args) else { return Ok(opaque(what)) };
    // No known call has more arguments, but for the parts of a path.
    if args.len() > PARTS_MAX {
        return Ok(opaque(what));
    }
    let (module, name, args) = (module.clone(), name.clone(), args.clone());
    let made = match (&*module, &*name) {
        ("datetime", "datetime") => stamped(machine, &args, datetime),
        ("datetime", "date") => stamped(machine, &args, date),
        ("datetime", "time") => stamped(machine, &args, time),
        ("datetime", "timedelta") => timedelta(machine, &args),
        ("datetime", "timezone") => timezone(machine, &args),
        ("decimal", "Decimal") => decimal(machine, &args)?,
        ("collections", "OrderedDict" | "Counter") => dict(machine, &args)?,
        // The factory is a name, and stays one.
        ("collections", "defaultdict") => dict(machine, args.get(1..).unwrap_or_default())?,
        ("collections", "deque") => items(machine, &args[..args.len().min(1)])?.map(Node::List),
        ("builtins", "set" | "frozenset") => items(machine, &args)?.map(Node::Set),
        ("builtins", "bytearray" | "bytes") => bytes(machine, &args)?,
        ("_codecs", "encode") => encoded(machine, &args)?,
        ("builtins", "complex") => complex(machine, &args),
        ("builtins", "getattr") => unpickle_of_zone(machine, &args),
        ("zoneinfo", "ZoneInfo._unpickle") => zone(machine, &args),
        ("pytz", "_UTC") => Some(Node::Zone(0)),
        ("copyreg", "_reconstructor") => {
            return Ok(match args[..] {
                [class, _, _] => match machine.node(class) {
                    Node::Global(module, name) if is(module, name, "uuid", "UUID") => Node::Uuid,
                    _ => object(machine, class),
                },
                _ => opaque(what),
            });
        }
        ("pathlib" | "pathlib._local", "PosixPath" | "PurePosixPath" | "Path" | "PurePath") => path(machine, &args)?,
        _ => None,
    };
    Ok(made.unwrap_or_else(|| opaque(what)))
}

/// More parts than this has no path.
const PARTS_MAX: usize = 256;

/// The bytes of a point in time, and its zone.
fn stamped(machine: &Machine<'_>, args: &[Ref], text: fn(&[u8]) -> Option<String>) -> Option<Node> {
    let (bytes, zone) = match args {
        [bytes] => (*bytes, None),
        [bytes, zone] => (*bytes, Some(*zone)),
        _ => return None,
    };
    let Node::Bytes(bytes) = machine.node(bytes) else { return None };
    let mut text = text(bytes)?;
    match zone.map(|zone| machine.node(zone)) {
        None | Some(Node::None) => {}
        Some(Node::Zone(offset)) => text.push_str(&offset_text(*offset)),
        Some(other) => return Some(opaque(format!("a time in {}, whose offset is not known here", other.words()))),
    }
    Some(Node::Text(text.into()))
}

fn datetime(bytes: &[u8]) -> Option<String> {
    let (day, clock) = bytes.split_at_checked(4)?;
    Some(format!("{}T{}", date(day)?, time(clock)?))
}

fn date(bytes: &[u8]) -> Option<String> {
    let [high, low, month, day] = *bytes else { return None };
    // The highest bit of the month says which of two equal hours it is when a clock is set back.
    let (year, month) = (u32::from(high) << 8 | u32::from(low), month & 0x7f);
    ((1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day))
        .then(|| format!("{year:04}-{month:02}-{day:02}"))
}

fn time(bytes: &[u8]) -> Option<String> {
    let [hour, minute, second, a, b, c] = *bytes else { return None };
    let (hour, micros) = (hour & 0x7f, u32::from(a) << 16 | u32::from(b) << 8 | u32::from(c));
    let fine = hour < 24 && minute < 60 && second < 60 && micros < 1_000_000;
    let fraction = if micros == 0 { String::new() } else { format!(".{micros:06}") };
    fine.then(|| format!("{hour:02}:{minute:02}:{second:02}{fraction}"))
}

/// An offset from UTC as `isoformat` writes it.
pub(super) fn offset_text(micros: i64) -> String {
    let (sign, size) = (if micros < 0 { '-' } else { '+' }, micros.unsigned_abs());
    let (minutes, rest) = (size / 60_000_000, size % 60_000_000);
    let mut text = format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60);
    if rest > 0 {
        text.push_str(&format!(":{:02}", rest / 1_000_000));
    }
    if rest % 1_000_000 > 0 {
        text.push_str(&format!(".{:06}", rest % 1_000_000));
    }
    text
}

fn timedelta(machine: &Machine<'_>, args: &[Ref]) -> Option<Node> {
    let [days, seconds, micros] = *args else { return None };
    let int = |at: Ref| match machine.node(at) {
        Node::Int(int) => Some(*int),
        _ => None,
    };
    let (days, seconds, micros) = (int(days)?, int(seconds)?, int(micros)?);
    ((-DAYS_MAX..=DAYS_MAX).contains(&days) && (0..86_400).contains(&seconds) && (0..1_000_000).contains(&micros))
        .then(|| Node::Delta(i128::from(days) * DAY + i128::from(seconds) * 1_000_000 + i128::from(micros)))
}

fn timezone(machine: &Machine<'_>, args: &[Ref]) -> Option<Node> {
    let ([offset] | [offset, _]) = *args else { return None };
    match machine.node(offset) {
        Node::Delta(micros) if micros.abs() < DAY => Some(Node::Zone(*micros as i64)),
        _ => None,
    }
}

fn decimal(machine: &mut Machine<'_>, args: &[Ref]) -> Result<Option<Node>, Problem> {
    /// The longest that is copied, in bytes.
    const BYTES_MAX: usize = 4_096;
    let [digits] = *args else { return Ok(None) };
    let Node::Text(digits) = machine.node(digits) else { return Ok(None) };
    let fine =
        digits.len() <= BYTES_MAX && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte));
    let node = fine.then(|| Node::Text(digits.clone()));
    let copied = if fine { digits.len() } else { 0 };
    machine.spend_bytes(copied)?;
    Ok(node)
}

/// Nothing, or one thing that holds others: those.
fn items(machine: &mut Machine<'_>, args: &[Ref]) -> Result<Option<Vec<Ref>>, Problem> {
    let items = match *args {
        [] => return Ok(Some(Vec::new())),
        [one] => one,
        _ => return Ok(None),
    };
    let count = match machine.node(items) {
        Node::List(items) | Node::Tuple(items) | Node::Set(items) => items.len(),
        _ => return Ok(None),
    };
    // Before the copy: it is what a small pickle would repeat.
    machine.spend(count)?;
    match machine.node(items) {
        Node::List(items) | Node::Tuple(items) | Node::Set(items) => Ok(Some(items.clone())),
        _ => Ok(None),
    }
}

/// Nothing, or a dict, or a list of pairs.
fn dict(machine: &mut Machine<'_>, args: &[Ref]) -> Result<Option<Node>, Problem> {
    if let [one] = *args
        && let Node::Dict(pairs) = machine.node(one)
    {
        let count = pairs.len();
        machine.spend(2 * count)?;
        return Ok(Some(machine.node(one).clone()));
    }
    let Some(items) = items(machine, args)? else { return Ok(None) };
    let pair = |item: &Ref| match machine.node(*item) {
        Node::List(pair) | Node::Tuple(pair) => match pair[..] {
            [key, value] => Some((key, value)),
            _ => None,
        },
        _ => None,
    };
    Ok(items.iter().map(pair).collect::<Option<Vec<_>>>().map(Node::Dict))
}

fn bytes(machine: &mut Machine<'_>, args: &[Ref]) -> Result<Option<Node>, Problem> {
    match *args {
        [] => Ok(Some(Node::Bytes(Box::default()))),
        [bytes] => {
            let Node::Bytes(bytes) = machine.node(bytes) else { return Ok(None) };
            let count = bytes.len();
            let [at] = *args else { return Ok(None) };
            machine.spend_bytes(count)?;
            Ok(Some(machine.node(at).clone()))
        }
        _ => encoded(machine, args),
    }
}

/// Bytes that were written as a text of their codes.
fn encoded(machine: &mut Machine<'_>, args: &[Ref]) -> Result<Option<Node>, Problem> {
    let [text, encoding] = *args else { return Ok(None) };
    let (Node::Text(letters), Node::Text(encoding)) = (machine.node(text), machine.node(encoding)) else {
        return Ok(None);
    };
    if !matches!(&**encoding, "latin1" | "latin-1") {
        return Ok(None);
    }
    let count = letters.len();
    machine.spend_bytes(count)?;
    let Node::Text(letters) = machine.node(text) else { return Ok(None) };
    let bytes: Option<Box<[u8]>> = letters.chars().map(|letter| u8::try_from(u32::from(letter)).ok()).collect();
    Ok(bytes.map(Node::Bytes))
}

fn complex(machine: &Machine<'_>, args: &[Ref]) -> Option<Node> {
    let is_float = |at: &Ref| matches!(machine.node(*at), Node::Float(_));
    (args.len() == 2 && args.iter().all(is_float)).then(|| Node::Tuple(args.to_vec()))
}

/// `getattr(ZoneInfo, "_unpickle")` is how a zone begins; no other attribute is known.
fn unpickle_of_zone(machine: &Machine<'_>, args: &[Ref]) -> Option<Node> {
    let [class, name] = *args else { return None };
    match (machine.node(class), machine.node(name)) {
        (Node::Global(module, class), Node::Text(name))
            if is(module, class, "zoneinfo", "ZoneInfo") && **name == *"_unpickle" =>
        {
            Some(global("zoneinfo", "ZoneInfo._unpickle"))
        }
        _ => None,
    }
}

fn zone(machine: &Machine<'_>, args: &[Ref]) -> Option<Node> {
    let Node::Text(key) = machine.node(*args.first()?) else { return None };
    Some(match &**key {
        "UTC" | "Etc/UTC" | "Etc/UCT" | "UCT" | "Zulu" | "Etc/Zulu" => Node::Zone(0),
        other => opaque(format!("the zone `{}`", shown(other))),
    })
}

fn path(machine: &mut Machine<'_>, args: &[Ref]) -> Result<Option<Node>, Problem> {
    let mut path = String::new();
    for part in args {
        let Node::Text(part) = machine.node(*part) else { return Ok(None) };
        if part.starts_with('/') {
            path.clear();
        } else if !path.is_empty() && !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(part);
        let count = part.len() + 1;
        machine.spend_bytes(count)?;
    }
    Ok(Some(Node::Text(if path.is_empty() { ".".into() } else { path.into() })))
}
