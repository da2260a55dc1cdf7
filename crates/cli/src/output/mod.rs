//! What a person reads: plain text on stdout (on stderr where stdout belongs to a program that is profiled), coloured only where that helps, gone quietly when nobody reads on.

pub mod file;
pub mod progress;
pub mod table;

use std::io::{ErrorKind, IsTerminal as _, Write as _};

use crate::exit::Expected;

/// Stdout or stderr, and what it can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Out {
    /// Colours are understood and wanted.
    pub colour: bool,
    /// Only ASCII can be shown.
    pub ascii: bool,
    /// Stderr, since stdout is somebody else's.
    pub stderr: bool,
}

impl Out {
    /// Colour when stdout is a terminal and neither `NO_COLOR` nor `TERM=dumb` says otherwise; ASCII when the locale says
    /// that it is not UTF-8.
    pub fn detect() -> Self {
        let locale =
            ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(|k| std::env::var(k).ok()).find(|v| !v.is_empty());
        // No locale at all (a container, a CI job) is taken as UTF-8, as everything there is.
        let ascii = locale.is_some_and(|l| {
            let l = l.to_ascii_lowercase();
            !(l.contains("utf-8") || l.contains("utf8") || l == "c" || l == "posix")
        });
        Out { colour: std::io::stdout().is_terminal() && colours_wanted(), ascii, stderr: false }
    }

    /// The same for stderr.
    pub fn detect_stderr() -> Self {
        let stdout = Out::detect();
        Out { colour: std::io::stderr().is_terminal() && colours_wanted(), stderr: true, ..stdout }
    }

    /// Writes `text` as it is.
    ///
    /// # Errors
    /// [`Expected::ReaderGone`] when the other end of a pipe was closed, [`Expected::Unwritable`] for anything else, such
    /// as a full disk.
    pub fn text(&self, text: &str) -> Result<(), Expected> {
        let written = if self.stderr {
            std::io::stderr().write_all(text.as_bytes())
        } else {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
        };
        let name = if self.stderr { "error" } else { "output" };
        written.map_err(|e| match e.kind() {
            ErrorKind::BrokenPipe => Expected::ReaderGone,
            _ => Expected::Unwritable(format!("cannot write to standard {name}: {e}")),
        })
    }

    /// `text` in bold, where colours are wanted.
    pub fn bold(&self, text: &str) -> String {
        self.with("1", text)
    }

    /// `text` less bright, where colours are wanted.
    pub fn dim(&self, text: &str) -> String {
        self.with("2", text)
    }

    /// `text` in green, where colours are wanted.
    pub fn good(&self, text: &str) -> String {
        self.with("32", text)
    }

    /// `text` in yellow, where colours are wanted.
    pub fn notable(&self, text: &str) -> String {
        self.with("33", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Neither `NO_COLOR` nor `TERM=dumb` says otherwise.
fn colours_wanted() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|v| v == "dumb");
    !no_color && !dumb
}

/// Breaks `text` at spaces so that no line is longer than `width`; lines after the first begin with `indent` spaces.
pub fn wrap(text: &str, width: usize, indent: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_lines_keep_to_the_width() {
        let text = "one processor is what threads of CPython use, whatever the machine has, since one lock guards it";
        for width in 20..100 {
            let wrapped = wrap(text, width, 4);
            assert!(wrapped.lines().all(|l| l.chars().count() <= width), "{wrapped}");
            assert_eq!(wrapped.split_whitespace().collect::<Vec<_>>(), text.split_whitespace().collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_colour_means_no_escape() {
        let out = Out { colour: false, ascii: false, stderr: false };
        assert_eq!([out.bold("x"), out.dim("x"), out.good("x"), out.notable("x")], ["x"; 4]);
    }
}
