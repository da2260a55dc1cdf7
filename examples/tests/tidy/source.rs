//! The tree that the rules read, and just enough understanding of Rust to read it rightly.
//!
//! Three views of a Rust file: `text` as it stands; `code` with comments and literals blanked, so that a rule never trips over
//! prose; `shipped` with the test-only items blanked as well. All three have the same lines.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The files of a repository.
pub(crate) struct Tree {
    pub(crate) rust: Vec<Source>,
    /// Every other text file: path and content.
    pub(crate) texts: Vec<(String, String)>,
}

/// One Rust file.
pub(crate) struct Source {
    /// Relative to the root, with forward slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) code: String,
    pub(crate) shipped: String,
    /// Lies under `tests/`, or is a module that only a test build contains.
    pub(crate) is_test: bool,
}

impl Tree {
    /// The repository that this test was built from.
    pub(crate) fn of_this_repository() -> Tree {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the examples lie in the repository");
        let mut files = Vec::new();
        walk(root, "", &mut files);
        let borrowed: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        Tree::of(&borrowed)
    }

    /// A tree of these files.
    pub(crate) fn of(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree { rust: Vec::new(), texts: Vec::new() };
        let mut only_in_tests = BTreeSet::new();
        for (path, text) in files {
            if !path.ends_with(".rs") {
                tree.texts.push(((*path).to_owned(), (*text).to_owned()));
                continue;
            }
            let code = without_prose(text);
            let (shipped, whole_file, test_modules) = without_tests(&code);
            for module in test_modules {
                let directory = module_directory(path);
                only_in_tests.insert(format!("{directory}/{module}.rs"));
                only_in_tests.insert(format!("{directory}/{module}/mod.rs"));
            }
            let is_test = whole_file || path.contains("/tests/") || path.contains("/benches/");
            tree.rust.push(Source { path: (*path).to_owned(), text: (*text).to_owned(), code, shipped, is_test });
        }
        for file in &mut tree.rust {
            file.is_test |= only_in_tests.contains(&file.path);
        }
        tree
    }

    /// All files with their text as it stands.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        let rust = self.rust.iter().map(|file| (file.path.as_str(), file.text.as_str()));
        rust.chain(self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str())))
    }

    /// The text of one file that is not Rust.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.iter().find(|(at, _)| at == path).map(|(_, text)| text.as_str())
    }
}

impl Source {
    /// What ships of this file: nothing, if it is a test.
    pub(crate) fn shipped(&self) -> &str {
        if self.is_test { "" } else { &self.shipped }
    }
}

fn walk(root: &Path, below: &str, files: &mut Vec<(String, String)>) {
    let directory = root.join(below);
    // Build output of any name carries this tag (cargo writes it).
    if directory.join("CACHEDIR.TAG").exists() {
        return;
    }
    let mut entries: Vec<_> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("cannot list {}: {error}", directory.display()))
        .map(|entry| entry.expect("a directory entry").file_name().into_string().expect("file names are UTF-8"))
        .collect();
    entries.sort();
    for name in entries {
        let hidden_but_ours = [".ci", ".config", ".github", ".gitignore"].contains(&name.as_str());
        if (name.starts_with('.') && !hidden_but_ours)
            || ["target", "book", "node_modules", "__pycache__"].contains(&name.as_str())
        {
            continue;
        }
        let path = if below.is_empty() { name } else { format!("{below}/{name}") };
        // Another test may be writing and removing files: what has gone meanwhile is no file of the repository.
        let Ok(kind) = fs::metadata(root.join(&path)) else { continue };
        if kind.is_dir() {
            walk(root, &path, files);
        } else if let Ok(text) = fs::read_to_string(root.join(&path)) {
            files.push((path, text));
        }
    }
}

/// The directory in which `mod name;` of this file looks for its file.
fn module_directory(path: &str) -> String {
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "mod.rs" | "lib.rs" | "main.rs" => directory.to_owned(),
        _ => format!("{directory}/{}", name.trim_end_matches(".rs")),
    }
}

/// Rust with comments and string and character literals replaced by spaces.
pub(crate) fn without_prose(text: &str) -> String {
    let from: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let blank =
        |code: &mut String, range: &[char]| code.extend(range.iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
    let mut i = 0;
    while i < from.len() {
        let rest = &from[i..];
        let inside_a_word = i > 0 && is_word(from[i - 1]);
        let length = if rest.starts_with(&['/', '/']) {
            rest.iter().position(|c| *c == '\n').unwrap_or(rest.len())
        } else if rest.starts_with(&['/', '*']) {
            block_comment(rest)
        } else if rest[0] == '"' {
            string(rest)
        } else if !inside_a_word && raw_string(rest).is_some() {
            raw_string(rest).unwrap_or(1)
        } else if rest[0] == '\'' {
            character(rest)
        } else {
            0
        };
        if length == 0 {
            code.push(rest[0]);
            i += 1;
        } else {
            blank(&mut code, &rest[..length]);
            i += length;
        }
    }
    code
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut i) = (0, 0);
    while i < rest.len() {
        if rest[i..].starts_with(&['/', '*']) {
            depth += 1;
            i += 2;
        } else if rest[i..].starts_with(&['*', '/']) {
            depth -= 1;
            i += 2;
            if depth == 0 {
                break;
            }
        } else {
            i += 1;
        }
    }
    i
}

fn string(rest: &[char]) -> usize {
    let mut i = 1;
    while i < rest.len() {
        match rest[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    rest.len()
}

/// The length of `r".."`, `r#".."#`, `br".."`, `cr".."`; none for anything else, raw identifiers included.
fn raw_string(rest: &[char]) -> Option<usize> {
    let prefix = rest.iter().take(2).position(|c| *c == 'r')?;
    if prefix == 1 && !['b', 'c'].contains(&rest[0]) {
        return None;
    }
    let hashes = rest[prefix + 1..].iter().take_while(|c| **c == '#').count();
    let open = prefix + 1 + hashes;
    if rest.get(open) != Some(&'"') {
        return None;
    }
    let mut end = vec!['"'];
    end.extend(std::iter::repeat_n('#', hashes));
    let body = &rest[open + 1..];
    let close = body.windows(end.len()).position(|window| window == end.as_slice())?;
    Some(open + 1 + close + end.len())
}

/// The length of a character literal; 0 for a lifetime.
fn character(rest: &[char]) -> usize {
    match rest {
        ['\'', '\\', escaped, tail @ ..] => {
            let _ = escaped;
            tail.iter().position(|c| *c == '\'').map_or(0, |at| at + 4)
        }
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Code without what only a test build contains; whether that is the whole file; and the names of the test-only `mod name;`.
fn without_tests(code: &str) -> (String, bool, Vec<String>) {
    let mut chars: Vec<char> = code.chars().collect();
    let mut modules = Vec::new();
    let mut whole_file = false;
    let mut i = 0;
    while i < chars.len() {
        if chars[i] != '#' {
            i += 1;
            continue;
        }
        let inner = chars.get(i + 1) == Some(&'!');
        let open = i + 1 + usize::from(inner);
        if chars.get(open) != Some(&'[') {
            i += 1;
            continue;
        }
        let end = balanced(&chars, open);
        let attribute: String =
            chars[open + 1..end.saturating_sub(1).max(open + 1)].iter().filter(|c| !c.is_whitespace()).collect();
        if !is_test_only(&attribute) {
            i = end;
            continue;
        }
        if inner {
            whole_file = true;
            i = end;
            continue;
        }
        let item_end = item_end(&chars, end);
        let item: String = chars[end..item_end].iter().collect();
        if let Some(name) = item.trim().strip_suffix(';').and_then(|item| item.rsplit_once("mod ")) {
            modules.push(name.1.trim().to_owned());
        }
        for c in &mut chars[i..item_end] {
            if *c != '\n' {
                *c = ' ';
            }
        }
        i = item_end;
    }
    (chars.into_iter().collect(), whole_file, modules)
}

fn is_test_only(attribute: &str) -> bool {
    if attribute == "test" || attribute == "cfg(test)" {
        return true;
    }
    let Some(all) = attribute.strip_prefix("cfg(all(") else { return false };
    all.trim_end_matches(')').split(',').any(|part| part == "test")
}

/// The index after the bracket that closes the one at `open`.
fn balanced(chars: &[char], open: usize) -> usize {
    let mut depth = 0usize;
    for (i, c) in chars.iter().enumerate().skip(open) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return i + 1;
                }
            }
            _ => {}
        }
    }
    chars.len()
}

/// The index after the item that starts at `from`, further attributes included.
fn item_end(chars: &[char], from: usize) -> usize {
    let mut i = from;
    while i < chars.len() {
        match chars[i] {
            ';' => return i + 1,
            '{' => return balanced(chars, i),
            '(' | '[' => i = balanced(chars, i),
            _ => i += 1,
        }
    }
    chars.len()
}

/// Every path that is written in this code, as `(line, "a::b::c")`; `use` groups are unfolded: `a::{b, c::*}` is `a::b` and
/// `a::c::*`.
pub(crate) fn paths(code: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = code.chars().collect();
    let mut found = Vec::new();
    let mut i = 0;
    while i < chars.len() {
        if is_word(chars[i]) && !chars[i].is_numeric() {
            i = path_tree(&chars, i, "", &mut found);
        } else if is_word(chars[i]) {
            while i < chars.len() && is_word(chars[i]) {
                i += 1;
            }
        } else {
            i += 1;
        }
    }
    let mut line_starts = vec![0];
    line_starts.extend(chars.iter().enumerate().filter(|(_, c)| **c == '\n').map(|(i, _)| i + 1));
    found.into_iter().map(|(at, path)| (line_starts.partition_point(|start| *start <= at), path)).collect()
}

fn path_tree(chars: &[char], from: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    let mut path = prefix.to_owned();
    let mut i = from;
    loop {
        let start = i;
        while i < chars.len() && (is_word(chars[i]) || (chars[i] == '#' && i == start + 1 && chars[start] == 'r')) {
            i += 1;
        }
        path.extend(&chars[start..i]);
        let after_name = skip_space(chars, i);
        if !chars[after_name.min(chars.len())..].starts_with(&[':', ':']) {
            break;
        }
        let next = skip_space(chars, after_name + 2);
        match chars.get(next) {
            Some('{') => return group(chars, next, &format!("{path}::"), found),
            Some('*') => {
                found.push((from, format!("{path}::*")));
                return next + 1;
            }
            Some(c) if is_word(*c) => {
                path.push_str("::");
                i = next;
            }
            _ => break,
        }
    }
    found.push((from, path));
    i.max(from + 1)
}

fn group(chars: &[char], open: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    let end = balanced(chars, open);
    let mut i = open + 1;
    while i < end {
        match chars[i] {
            '*' => {
                found.push((i, format!("{prefix}*")));
                i += 1;
            }
            c if is_word(c) => {
                i = path_tree(chars, i, prefix, found);
                // `as name`
                while i < end && chars[i] != ',' && chars[i] != '}' {
                    i += 1;
                }
            }
            _ => i += 1,
        }
    }
    end
}

fn skip_space(chars: &[char], from: usize) -> usize {
    (from..chars.len()).find(|i| !chars[*i].is_whitespace()).unwrap_or(chars.len())
}

/// Every word of this code, as `(line, word)`.
pub(crate) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(index, line)| {
        line.split(|c: char| !is_word(c)).filter(|word| !word.is_empty()).map(move |word| (index + 1, word))
    })
}

/// Whether `path` is `prefix` or lies below it.
pub(crate) fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[test]
fn comments_and_literals_are_blanked_and_lines_stay() {
    let text = "a /* b /* c */ d */ e // f\nr#\"g \" h\"# i 'j' 'k: \"l\\\" m\" '\\'' br\"n\" r#type\nz";
    let code = without_prose(text);
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "e", "i", "'k:", "r#type", "z"]);
    assert_eq!(code.lines().count(), 3);
}

#[test]
fn test_only_items_are_blanked() {
    let code = "use a;\n#[cfg(test)]\n#[allow(x)]\nmod tests { fn b() { } }\n#[test] fn c() -> [u8; 2] { d }\nfn e() {}\n\
                #[cfg(all(test, ropewalk_loom))] mod f;\n#[cfg(not(test))] fn g() {}";
    let (shipped, whole, modules) = without_tests(code);
    assert!(!whole);
    assert_eq!(modules, ["f"]);
    let left: Vec<_> = words(&shipped).map(|(_, word)| word).collect();
    assert_eq!(left, ["use", "a", "fn", "e", "cfg", "not", "test", "fn", "g"]);
    assert!(without_tests("#![cfg(all(test, ropewalk_loom))]\nfn a() {}").1);
    let tree = Tree::of(&[("c/src/a.rs", "#[cfg(test)] mod b;"), ("c/src/a/b.rs", "fn x() {}")]);
    assert!(tree.rust[1].is_test && !tree.rust[0].is_test);
}

#[test]
fn paths_are_found_inside_groups_and_expressions() {
    let code = "use std::{sync::{Arc, atomic::{self, AtomicU8 as A}}, thread};\nlet x = ::std::time::Instant::now();\n\
                use loom::*; Vec::<std::thread::Thread>::new(); 1u8";
    let found = paths(code);
    for wanted in [
        (1, "std::sync::Arc"),
        (1, "std::sync::atomic::self"),
        (1, "std::sync::atomic::AtomicU8"),
        (1, "std::thread"),
        (2, "std::time::Instant::now"),
        (3, "loom::*"),
        (3, "std::thread::Thread"),
    ] {
        assert!(
            found.iter().any(|(line, path)| (*line, path.as_str()) == wanted),
            "{wanted:?} is missing in {found:?}"
        );
    }
}
