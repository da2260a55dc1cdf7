//! CPython on the same work: its standard library only, run by a script that speaks the protocol of a row.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::child::Child;
use super::model::Switching;
use crate::exit::Expected;

/// The script; it begins with what it is for, like any other file here.
const SCRIPT: &str = include_str!("python/lab.py");

/// What precedes the names of its models in tables and in JSON.
pub const PREFIX: &str = "python-";

/// Its models, the reference first.
pub const MODELS: [(&str, Switching); 4] = [
    ("sequential", Switching::None),
    ("threading", Switching::Os),
    ("asyncio", Switching::Cooperative),
    ("multiprocessing", Switching::Os),
];

/// An interpreter that was found and tried.
#[derive(Debug, Clone)]
pub struct Python {
    program: PathBuf,
    /// As it names itself, for example `CPython 3.13.1`.
    pub version: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Request {
    Calibrate(u64),
}

#[derive(Debug, Deserialize)]
struct Bound {
    bound: u64,
}

impl Python {
    /// Looks for an interpreter on the search path.
    ///
    /// # Errors
    /// When there is none, or it is too old.
    pub fn find() -> Result<Python, Expected> {
        const ASK: &str = "import sys, platform; assert sys.version_info >= (3, 8); \
                           print(sys.executable); print(platform.python_implementation(), platform.python_version())";
        let mut why = "not found".to_owned();
        for program in ["python3", "python"] {
            let tried =
                Command::new(program).args(["-I", "-c", ASK]).stdin(Stdio::null()).stderr(Stdio::null()).output();
            match tried {
                Ok(out) if out.status.success() => {
                    let text = String::from_utf8_lossy(&out.stdout);
                    // What the search path names may be a script that looks for the interpreter every time.
                    if let Some((program, version)) = text.trim().split_once('\n') {
                        return Ok(Python { program: program.trim().into(), version: version.trim().to_owned() });
                    }
                    why = format!("`{program}` does not say where it is");
                }
                Ok(_) => why = format!("`{program}` does not run, or is older than 3.8"),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => why = format!("`{program}`: {e}"),
            }
        }
        Err(Expected::Python(format!(
            "--with python: no usable python3 on the search path ({why}); install CPython 3.8 or newer \
             (for example `apt-get install python3`), or leave --with away"
        )))
    }

    /// The command that runs the script. Its answer is that of a row.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-I", "-c", SCRIPT]);
        command
    }

    /// The bound whose sum takes this python about `unit_ms`.
    ///
    /// # Errors
    /// When the script fails.
    pub fn calibrate(&self, unit_ms: u64) -> Result<u64, Expected> {
        let mut child = Child::start(self.command(), "python", &Request::Calibrate(unit_ms))?;
        child.answer::<Bound>(|_| {}).map(|b| b.bound).map_err(blame)
    }
}

/// A row's process that failed was python's.
pub fn blame(error: Expected) -> Expected {
    match error {
        Expected::Process(why) => Expected::Python(why),
        other => other,
    }
}
