//! A process of Python with rq in it, which does what it is told.

use serde_json::{Value, json};
use std::cell::RefCell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

/// The last of each line that is held.
pub(crate) const VERSIONS: [&str; 2] = ["2.12.0", "3.0.0"];

/// Through what rq speaks.
const CLIENT: &str = "8.1.0";

/// What shows a deployment to people.
const DASHBOARD: &str = "rq-dashboard==0.9.0";

/// The interpreter of an environment with this version of rq: made once, in the build directory.
pub(crate) fn venv(version: &str) -> PathBuf {
    // Tests run side by side, and one makes it.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the build directory");
    let home = target.join("rq").join(format!("rq-{version}"));
    let python = home.join("bin/python");
    let is_there = || {
        let check = format!(
            "import redis, rq, rq_dashboard.cli; assert (rq.VERSION, redis.__version__) == ('{version}', '{CLIENT}')"
        );
        Command::new(&python).args(["-c", &check]).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if !is_there() {
        let run = |program: &Path, arguments: &[&str]| {
            let status = Command::new(program).args(arguments).status();
            let line = format!("{} {}", program.display(), arguments.join(" "));
            assert!(
                status.is_ok_and(|status| status.success()),
                "this test needs rq {version}, and this failed: {line}"
            );
        };
        let home = home.to_str().expect("a path of text");
        run(Path::new("python3"), &["-m", "venv", "--clear", home]);
        let (rq, client) = (format!("rq=={version}"), format!("redis=={CLIENT}"));
        // The dashboard does not say that it needs `six`.
        run(&python, &["-m", "pip", "-q", "install", "--disable-pip-version-check", &rq, &client, DASHBOARD, "six"]);
        assert!(is_there(), "rq {version} was installed and cannot be imported from {home}");
    }
    python
}

pub(crate) struct Peer {
    child: Child,
    lines: RefCell<(Option<ChildStdin>, BufReader<ChildStdout>)>,
}

impl Peer {
    pub(crate) fn start(python: &Path, socket: &Path, serializer: &str) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rq");
        let mut child = Command::new(python)
            .arg(here.join("peer.py"))
            .arg(socket)
            .arg(serializer)
            .env("PYTHONPATH", &here)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter of the environment");
        let lines = (child.stdin.take(), BufReader::new(child.stdout.take().expect("piped")));
        Self { child, lines: RefCell::new(lines) }
    }

    /// Asks for something; arguments by position and by name.
    pub(crate) fn ask(&self, action: &str, args: Value, options: Value) -> Result<Value, String> {
        let mut lines = self.lines.borrow_mut();
        let (requests, answers) = &mut *lines;
        let request = format!("{}\n", json!([action, args, options]));
        requests.as_mut().expect("it is open").write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let mut line = String::new();
        answers.read_line(&mut line).map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&line).map_err(|error| format!("{action}: {error}: {line:?}"))?;
        match &answer["error"] {
            Value::String(error) => Err(format!("{action} of Python: {error}")),
            _ => Ok(answer["ok"].clone()),
        }
    }

    pub(crate) fn id(&self, action: &str, args: Value, options: Value) -> Result<String, String> {
        let answer = self.ask(action, args, options)?;
        answer.as_str().map(str::to_owned).ok_or_else(|| format!("{action} gave {answer}"))
    }

    pub(crate) fn fetch(&self, id: &str) -> Result<Value, String> {
        self.ask("fetch", json!([id]), json!({}))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // At the end of its input it ends.
        self.lines.borrow_mut().0.take();
        let _ = self.child.wait();
    }
}
