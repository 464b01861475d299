//! Other programs: where they run, what they print, how they end.
//!
//! Owns: the paths of the work tree, the log file of one piece of work, process groups.
//! Guarantees: a child that was started here in a group of its own is gone, with all of its
//! children, when its `Group` is dropped or `xtask` dies.
//! Source: signals(7), setpriv(1).

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;

/// How often a waiting chore looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Lines of a log that a failure shows; the whole log stays in its file.
const SHOWN_LINES: usize = 200;

/// The top of the work tree.
pub(crate) fn root() -> &'static Path {
    const XTASK: &str = env!("CARGO_MANIFEST_DIR");
    Path::new(XTASK).parent().unwrap_or(Path::new(XTASK))
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// Cargo, run at the top of the work tree as if by hand.
///
/// The variables that describe `xtask` itself are taken away: ring's build script watches them, and
/// would be compiled again at every change between `cargo build` and `cargo xtask`.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let about_xtask = ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_CRATE_", "CARGO_BIN_"];
        if name.to_str().is_some_and(|name| about_xtask.iter().any(|start| name.starts_with(start)))
        {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// The processor's name, or `unknown`.
pub(crate) fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned())
}

/// What `program arguments…` prints on its standard output, trimmed; `None` if it cannot run or
/// fails.
pub(crate) fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The first of `programs` that is on the path.
pub(crate) fn find(programs: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // The administrator's tools (ip, tc) are not on everybody's path.
    let folders: Vec<PathBuf> =
        std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
    programs.iter().find_map(|program| {
        folders.iter().map(|folder| folder.join(program)).find(|file| file.is_file())
    })
}

/// The file that receives what one piece of work prints.
pub(crate) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens `target/xtask/NAME.log`, empty.
    pub(crate) fn create(name: &str) -> Result<Self, Failure> {
        let path = target().join("xtask").join(format!("{name}.log"));
        let folder = path.parent().unwrap_or(&path);
        fs::create_dir_all(folder)
            .and_then(|()| File::create(&path))
            .map(|file| Self { path: path.clone(), file })
            .map_err(|error| format!("cannot write {}: {error}", path.display()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A handle for a child's output.
    pub(crate) fn sink(&self) -> Result<Stdio, Failure> {
        self.file.try_clone().map(Stdio::from).map_err(|error| error.to_string())
    }

    /// Runs `command` to its end with all output in the log.
    pub(crate) fn run(&self, command: &mut Command) -> Result<(), Failure> {
        let status = command
            .stdin(Stdio::null())
            .stdout(self.sink()?)
            .stderr(self.sink()?)
            .status()
            .map_err(|error| format!("cannot run {}: {error}", name_of(command)))?;
        if status.success() { Ok(()) } else { Err(format!("{}: {status}", name_of(command))) }
    }

    /// Everything that was written.
    pub(crate) fn read(&self) -> String {
        fs::read(&self.path)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The end of the log, and where the rest is.
    pub(crate) fn shown(&self) -> String {
        let text = self.read();
        let lines: Vec<&str> = text.lines().collect();
        let skipped = lines.len().saturating_sub(SHOWN_LINES);
        let shown: Vec<&str> = lines.into_iter().skip(skipped).collect();
        format!("--- {} ({skipped} lines above)\n{}", self.path.display(), shown.join("\n"))
    }
}

fn name_of(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy()));
    words.join(" ")
}

/// A child in a process group of its own.
pub(crate) struct Group {
    child: Child,
    name: String,
}

impl Group {
    /// Starts `program arguments…`; `prepare` sets its environment and output.
    ///
    /// A group of its own does not hear Ctrl-C, so the kernel is asked to end the child when
    /// `xtask` dies.
    pub(crate) fn start(
        program: &Path,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "--"]).arg(program).args(arguments);
        command.current_dir(root()).stdin(Stdio::null()).process_group(0);
        prepare(&mut command)?;
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        Ok(Self { child, name })
    }

    /// The child's process id: `setpriv` becomes the program.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How the child ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child.try_wait().map_err(|error: io::Error| format!("{}: {error}", self.name))
    }

    /// Waits for the child to end; `None` when `limit` has passed.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>, Failure> {
        until(limit, || self.ended().transpose()).transpose()
    }

    /// Sends `signal` (TERM, KILL, …) to the child and all that it started.
    pub(crate) fn signal(&self, signal: &str) {
        let group = format!("-{}", self.pid());
        // The group may be gone already; that is what the signal is for.
        let _gone =
            Command::new("kill").args(["-s", signal, "--", &group]).stderr(Stdio::null()).status();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal("KILL");
        let _reaped = self.child.wait();
    }
}

/// Asks `question` until it has an answer; `None` when `limit` has passed.
pub(crate) fn until<T>(limit: Duration, mut question: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = question() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(LOOK_AGAIN);
    }
}
