//! In a terminal: whatever interrupts the lab, the terminal is as it was, and nothing of the lab stays.
#![cfg(target_os = "linux")]

mod common;

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};

use common::processes::{Process, below, command_line, is_gone, pid};
use common::until;
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};

/// What a program switches on in a terminal, and how it switches it off.
const SWITCHES: &[(&str, &str, &str)] = &[
    ("\x1b[?25l", "\x1b[?25h", "the cursor is hidden"),
    ("\x1b[?1049h", "\x1b[?1049l", "the other screen is shown"),
    ("\x1b[?7l", "\x1b[?7h", "lines are cut at the edge"),
    ("\x1b[?2004h", "\x1b[?2004l", "a paste is bracketed"),
    ("\x1b[?1000h", "\x1b[?1000l", "the mouse is watched"),
];

/// What of it was left on by what was written.
fn left_on(written: &str) -> Vec<&'static str> {
    let left = SWITCHES.iter().filter(|(on, off, _)| written.rfind(on) > written.rfind(off));
    let mut left: Vec<_> = left.map(|(_, _, what)| *what).collect();
    // Colours and bold: `ESC [ .. m`; without a number or with 0 it switches all of them off.
    let last = written.split("\x1b[").skip(1).filter_map(|rest| {
        let numbers = rest.split(|c: char| !c.is_ascii_digit() && c != ';').next()?;
        rest[numbers.len()..].starts_with('m').then_some(numbers)
    });
    if last.last().is_some_and(|numbers| !["", "0"].contains(&numbers)) {
        left.push("a colour is on");
    }
    left
}

#[test]
fn what_is_left_on_is_noticed() {
    assert_eq!(left_on("\x1b[?25l bar \x1b[1;32mgreen\x1b[0m \x1b[?25h"), [""; 0]);
    assert_eq!(left_on("\x1b[?25h\x1b[?25l"), ["the cursor is hidden"]);
    assert_eq!(left_on("\x1b[?1049h\x1b[0m\x1b[31m"), ["the other screen is shown", "a colour is on"]);
}

/// A lab that owns a terminal, of which this is the other end.
struct Terminal {
    keys: File,
    lab: Child,
    /// As the lab found it.
    settings: Termios,
    written: Arc<Mutex<String>>,
    reader: std::thread::JoinHandle<()>,
}

impl Terminal {
    fn lab(arguments: &[&str]) -> Self {
        let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(&size, None).expect("there are pseudo terminals");
        let settings = tcgetattr(&master).expect("it is a terminal");
        let end = || slave.try_clone().expect("a descriptor");
        // It makes the terminal the lab's own, so that Ctrl-C in it is a signal to all of the lab, and then becomes the lab.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(env!("CARGO_BIN_EXE_ropewalk")).arg("lab").args(arguments);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR").env_remove("CI");
        let lab = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("setsid is part of Linux");
        // The lab's end is only the lab's now: when the last of its processes has ended, the reader ends.
        drop((command, slave));

        let written = Arc::new(Mutex::new(String::new()));
        let mut screen = File::from(master.try_clone().expect("a descriptor"));
        let reader = std::thread::spawn({
            let written = Arc::clone(&written);
            move || {
                let mut bytes = [0; 4096];
                // At the end a terminal fails instead of saying that nothing comes any more.
                while let Ok(length @ 1..) = screen.read(&mut bytes) {
                    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                    written.lock().expect("nobody panics here").push_str(&text);
                }
            }
        });
        Terminal { keys: master.into(), lab, settings, written, reader }
    }

    fn written(&self) -> String {
        self.written.lock().expect("nobody panics here").clone()
    }

    /// Waits until a row works and its bar is drawn.
    fn in_the_middle(&self) -> Vec<Process> {
        until("a row draws its bar", || {
            let processes = below(pid(&self.lab));
            let row = processes.iter().any(|process| command_line(process.pid).contains("__lab-child row"));
            // A bar is drawn anew by clearing its line.
            (row && self.written().contains("\x1b[2K")).then_some(processes)
        })
    }

    fn ended(&mut self) -> Option<i32> {
        until("the lab has ended", || self.lab.try_wait().expect("it is our child")).code()
    }
}

#[test]
fn ctrl_c_leaves_a_sane_terminal() {
    let mut terminal = Terminal::lab(&["--only", "io"]);
    let processes = terminal.in_the_middle();
    terminal.keys.write_all(b"\x03").expect("it is open");
    assert_eq!(terminal.ended(), Some(130));
    assert!(processes.iter().all(is_gone), "it ended before its children");
    until("nobody has the terminal any more", || terminal.reader.is_finished().then_some(()));

    let written = terminal.written();
    assert_eq!(left_on(&written), [""; 0], "{written:?}");
    let last_line = written.trim_end().rsplit(['\r', '\n']).next().unwrap_or_default();
    let last_line = last_line.rsplit("\x1b[2K").next().unwrap_or_default();
    assert_eq!(last_line, "error: interrupted", "the bar is still there: {written:?}");
    let settings = tcgetattr(&terminal.keys).expect("it is a terminal");
    assert_eq!(settings, terminal.settings);
    assert!(settings.local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG));
}
