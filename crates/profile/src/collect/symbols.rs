//! From addresses at which a thread computed to the functions of its program, by the table of symbols in the program's file.
//!
//! What is mapped where is read while the process lives, the files are read after its end. A file that was replaced meanwhile
//! is not looked into, and an address that no function covers stays without a name: none is better than a neighbour's.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _, ReadCache, SymbolKind};

use super::proc;
use crate::recording::Function;

/// Functions that are listed, and the share of one below which it is not.
const FUNCTIONS_MAX: usize = 3;
const SHARE_MIN: f64 = 0.05;
/// With fewer addresses a share says nothing.
const PLACES_MIN: u32 = 10;
/// Files of one program that are looked into.
const FILES_MAX: usize = 16;

/// A stretch of code in the memory of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    start: u64,
    end: u64,
    /// Of the file's bytes.
    offset: u64,
    inode: u64,
    path: String,
}

/// What a process may execute, in order of address.
pub(super) fn mappings(pid: u32) -> Vec<Mapping> {
    proc::text(pid, "maps").unwrap_or_default().lines().filter_map(mapping).collect()
}

/// `7f1-7f2 r-xp 00001000 fe:00 123  /lib/libc.so.6`, where a path may hold anything.
fn mapping(line: &str) -> Option<Mapping> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    if !words.next()?.contains('x') {
        return None;
    }
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let offset = hex(words.next()?)?;
    let inode = words.nth(1)?.parse().ok()?;
    let path = words.next().unwrap_or_default().trim_start().to_owned();
    Some(Mapping { start: hex(start)?, end: hex(end)?, offset, inode, path })
}

/// The functions that cover these addresses, the most frequent first. Nothing where there are too few to say.
pub(super) fn functions(pid: u32, tid: u32, places: &HashMap<u64, u32>, mapped: &[Mapping]) -> Vec<Function> {
    let all: u32 = places.values().sum();
    if all < PLACES_MIN {
        return Vec::new();
    }
    let mut files: HashMap<&str, Option<Symbols>> = HashMap::new();
    let mut found: HashMap<(String, String), u32> = HashMap::new();
    for (address, count) in places {
        let Some(mapping) = mapped.iter().find(|m| (m.start..m.end).contains(address)) else { continue };
        let name = if mapping.inode == 0 || files.len() >= FILES_MAX && !files.contains_key(mapping.path.as_str()) {
            None
        } else {
            let symbols = files.entry(mapping.path.as_str()).or_insert_with(|| Symbols::of(mapping));
            symbols.as_ref().and_then(|s| s.name(address - mapping.start + mapping.offset))
        };
        *found.entry((name.unwrap_or_default(), mapping.path.clone())).or_default() += count;
    }
    let mut functions: Vec<Function> = found
        .into_iter()
        .map(|((name, file), count)| Function { pid, tid, name, file, share: f64::from(count) / f64::from(all) })
        .filter(|f| f.share >= SHARE_MIN)
        .collect();
    functions.sort_by(|a, b| b.share.total_cmp(&a.share).then_with(|| a.name.cmp(&b.name)));
    functions.truncate(FUNCTIONS_MAX);
    functions
}

/// The functions of a file.
struct Symbols {
    /// (offset in the file, bytes, address) of what is loaded.
    segments: Vec<(u64, u64, u64)>,
    /// (address, bytes, name), in order.
    functions: Vec<(u64, u64, String)>,
}

impl Symbols {
    fn of(mapping: &Mapping) -> Option<Symbols> {
        // What lies there by now may be a pipe, which would keep an open waiting.
        let metadata = std::fs::metadata(&mapping.path).ok()?;
        if !metadata.is_file() || metadata.ino() != mapping.inode {
            return None;
        }
        let file = File::open(&mapping.path).ok()?;
        let cache = ReadCache::new(file);
        let file = object::File::parse(&cache).ok()?;
        let segments = file.segments().map(|s| (s.file_range().0, s.file_range().1, s.address())).collect();
        let mut functions: Vec<(u64, u64, String)> = file
            .symbols()
            .chain(file.dynamic_symbols())
            .filter(|s| s.kind() == SymbolKind::Text && s.size() > 0)
            .filter_map(|s| Some((s.address(), s.size(), s.name().ok()?.to_owned())))
            .collect();
        functions.sort();
        Some(Symbols { segments, functions })
    }

    fn name(&self, offset: u64) -> Option<String> {
        // The numbers are the watched program's: any.
        let inside = |start: u64, bytes: u64, at: u64| at.checked_sub(start).is_some_and(|from| from < bytes);
        let (from, _, address) = self.segments.iter().find(|(from, bytes, _)| inside(*from, *bytes, offset))?;
        let address = address.checked_add(offset - from)?;
        let after = self.functions.partition_point(|(start, ..)| *start <= address);
        let (start, bytes, name) = self.functions.get(after.checked_sub(1)?)?;
        inside(*start, *bytes, address).then(|| plain(name))
    }
}

/// A name as it was written.
fn plain(symbol: &str) -> String {
    if let Ok(name) = rustc_demangle::try_demangle(symbol) {
        return format!("{name:#}");
    }
    let cpp = cpp_demangle::Symbol::new(symbol).ok().filter(|_| symbol.starts_with("_Z"));
    cpp.and_then(|s| s.demangle().ok()).unwrap_or_else(|| symbol.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn known_by_name() -> u64 {
        std::hint::black_box(7)
    }

    #[test]
    fn an_address_in_this_program_has_the_name_of_its_function() {
        assert_eq!(known_by_name(), 7);
        let me = std::process::id();
        let mapped = mappings(me);
        let address = known_by_name as fn() -> u64 as usize as u64;
        let functions = functions(me, 1, &HashMap::from([(address, 90), (address + 1, 8), (1, 2)]), &mapped);
        assert!(functions[0].name.ends_with("symbols::tests::known_by_name"), "{functions:?}");
        assert!(functions[0].share > 0.97, "{functions:?}");
        assert_eq!(functions[0].file, std::env::current_exe().expect("a path").to_string_lossy());
        assert_eq!(functions.len(), 1, "two of a hundred are not worth a line");
    }

    #[test]
    fn a_file_that_was_replaced_and_an_address_between_functions_have_no_name() {
        let mapped = mappings(std::process::id());
        let address = known_by_name as fn() -> u64 as usize as u64;
        let of = |mapped: &[Mapping]| functions(1, 1, &HashMap::from([(address, 50)]), mapped)[0].name.clone();
        let other: Vec<Mapping> =
            mapped.iter().map(|m| Mapping { inode: m.inode + u64::from(m.inode > 0), ..m.clone() }).collect();
        assert_eq!(of(&other), "");
        assert_ne!(of(&mapped), "");
        let symbols = Symbols {
            segments: vec![(0x1000, 0x1000, 0x40_1000)],
            functions: vec![(0x40_1000, 16, "a".to_owned()), (0x40_1020, 16, "b".to_owned())],
        };
        let name = |offset| symbols.name(offset);
        assert_eq!(name(0x100f), Some("a".to_owned()));
        assert_eq!(name(0x1010), None);
        assert_eq!(name(0x1020), Some("b".to_owned()));
        assert_eq!((name(0x0fff), name(0x2000)), (None, None));
        let wild = Symbols {
            segments: vec![(0x1000, u64::MAX, 0x40_1000), (0, u64::MAX, u64::MAX)],
            functions: vec![(0x40_1000, u64::MAX, "a".to_owned())],
        };
        assert_eq!((wild.name(0x1001), wild.name(7)), (Some("a".to_owned()), None));
    }

    #[test]
    fn lines_of_maps() {
        let line = "55d0c6a00000-55d0c6a02000 r-xp 00001000 fe:00 123                      /a dir/x (deleted)";
        let expected = Mapping {
            start: 0x55d0_c6a0_0000,
            end: 0x55d0_c6a0_2000,
            offset: 0x1000,
            inode: 123,
            path: "/a dir/x (deleted)".to_owned(),
        };
        assert_eq!(mapping(line), Some(expected));
        assert_eq!(mapping("7ff0-7ff1 rw-p 00000000 00:00 0 [stack]"), None);
        assert_eq!(mapping("7ff0-7ff1 r-xp 00000000 00:00 0").map(|m| m.path), Some(String::new()));
        assert_eq!(mapping("nonsense"), None);
    }

    #[test]
    fn names_as_they_were_written() {
        assert_eq!(plain("_ZN4core3fmt5write17h0123456789abcdefE"), "core::fmt::write");
        assert_eq!(plain("_Z3addii"), "add(int, int)");
        assert_eq!(plain("xorshift"), "xorshift");
    }
}
