//! The tools that the chores need.
//!
//! Owns: which tools, in which versions, and how each is got; what npm and pip install for us.
//! Guarantees: a second run finds its stamps and takes well under a second; what it cannot install
//! is named with the command that installs it; what it does meanwhile is told on standard error.
//! Not here: Rust itself: cargo runs us, and `rust-toolchain.toml` pins it.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::command::{Log, answer, find, root};

pub(crate) const HELP: &str = "
Usage: cargo xtask setup [--page]

Checks the tools and installs what it can: Debian packages (as root or through sudo without a
password), the npm packages of web/, tests/clients/web/ and core/wire/tests/judges/, and a Python environment
in tests/.venv with the pinned LiveKit SDKs and libsrtp. Run it as often as you like: when all is there it only looks.

  --page   only what `cargo xtask demo` needs: node, npm and the packages of web/

It does not install node: distributions carry old ones. It needs node 20.19 or later in its line,
or 22.12 or later, with npm 11 or later: https://nodejs.org or a version manager, then
`npm install --global npm@11`.
";

/// The names under which the browser may be installed.
pub(crate) const CHROMIUM: &[&str] = &["chromium", "chromium-browser", "google-chrome"];

/// Those of the other browser. Ubuntu's is a snap, which no driver can start as it likes.
pub(crate) const FIREFOX: &[&str] = &["firefox-esr", "firefox"];

/// A tool that a Debian package brings.
struct Tool {
    programs: &'static [&'static str],
    package: &'static str,
    reason: &'static str,
}

const PAGE_TOOLS: &[Tool] =
    &[Tool { programs: &["cc"], package: "build-essential", reason: "two crates compile C" }];

const CLIENT_TOOLS: &[Tool] = &[
    Tool { programs: &["python3"], package: "python3", reason: "the Python SDK" },
    Tool { programs: CHROMIUM, package: "chromium", reason: "the JavaScript SDK in a browser" },
    Tool { programs: FIREFOX, package: "firefox-esr", reason: "the same in another browser" },
    Tool { programs: &["ip"], package: "iproute2", reason: "network namespaces" },
    Tool { programs: &["tc"], package: "iproute2", reason: "throttled links" },
    Tool { programs: &["openssl"], package: "openssl", reason: "a judge of TLS" },
    Tool { programs: &["pebble"], package: "pebble", reason: "an authority that speaks ACME" },
    Tool { programs: &["pebble-challtestsrv"], package: "pebble", reason: "its DNS server" },
    Tool { programs: &["certutil"], package: "libnss3-tools", reason: "whom the browser trusts" },
    Tool { programs: &["systemd-analyze"], package: "systemd", reason: "a judge of the unit" },
    Tool { programs: &["faketime"], package: "faketime", reason: "a server whose clock is set" },
    Tool { programs: &["kill"], package: "procps", reason: "ending servers" },
    Tool { programs: &["git"], package: "git", reason: "the list of our files" },
];

const WIRE_TOOLS: &[Tool] =
    &[Tool { programs: &["ethtool"], package: "ethtool", reason: "a thread for a virtual wire" }];

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    match arguments {
        [] => everything(),
        [option] if option == "--page" => page(),
        _ => Err(format!("unknown options {arguments:?}; see --help")),
    }?;
    println!("everything is there");
    Ok(())
}

/// What building and serving the page needs.
pub(crate) fn page() -> Result<(), Failure> {
    packages(PAGE_TOOLS)?;
    node()?;
    npm(&root().join("web"))
}

/// What tells the work of a virtual wire from the server's.
pub(crate) fn wire_tool() -> Result<(), Failure> {
    packages(WIRE_TOOLS)
}

/// What all chores need.
pub(crate) fn everything() -> Result<(), Failure> {
    packages(PAGE_TOOLS)?;
    packages(CLIENT_TOOLS)?;
    node()?;
    npm(&root().join("web"))?;
    npm(&root().join("tests/clients/web"))?;
    npm(&root().join("core/wire/tests/judges"))?;
    python_packages()
}

/// Builds `web/dist`, which the server embeds. What is as it was stays untouched, as cargo goes by times and
/// would build the server again.
pub(crate) fn build_page(log: &Log) -> Result<(), Failure> {
    let (web, built) = (root().join("web"), root().join("target/xtask/page"));
    let arguments = ["run", "build", "--", "--emptyOutDir", "--outDir"];
    log.run(npm_in(&web).args(arguments).arg(&built))?;
    let dist = web.join("dist");
    mirror(&built, &dist).map_err(|error| format!("{}: {error}", dist.display()))
}

/// Gives `to` the files of `from` and no others; writes only those that differ.
fn mirror(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(to)? {
        let old = entry?;
        if from.join(old.file_name()).exists() {
            continue;
        }
        if old.file_type()?.is_dir() {
            fs::remove_dir_all(old.path())?;
        } else {
            fs::remove_file(old.path())?;
        }
    }
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            mirror(&entry.path(), &target)?;
            continue;
        }
        let bytes = fs::read(entry.path())?;
        if !fs::read(&target).is_ok_and(|kept| kept == bytes) {
            fs::write(&target, bytes)?;
        }
    }
    Ok(())
}

/// The Python of the scenarios and judges, with their packages.
pub(crate) fn python() -> PathBuf {
    venv().join("bin/python")
}

fn venv() -> PathBuf {
    root().join("tests/.venv")
}

/// npm, run in `folder`.
pub(crate) fn npm_in(folder: &Path) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(folder);
    npm
}

fn packages(tools: &[Tool]) -> Result<(), Failure> {
    let missing: Vec<&Tool> = tools.iter().filter(|tool| find(tool.programs).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut names: Vec<&str> = missing.iter().map(|tool| tool.package).collect();
    names.dedup();
    apt(&names).map_err(|failure| {
        let list = missing.iter().map(|tool| {
            format!(
                "\n  {} (Debian: {}): {}",
                tool.programs.join(" or "),
                tool.package,
                tool.reason
            )
        });
        format!("please install, then run this again:{}\n({failure})", list.collect::<String>())
    })
}

/// Installs Debian packages, if this is Debian and we may.
fn apt(names: &[&str]) -> Result<(), Failure> {
    if find(&["apt-get"]).is_none() {
        return Err("not a Debian system".into());
    }
    let is_root = answer("id", &["-u"]).as_deref() == Some("0");
    if !is_root && answer("sudo", &["-n", "true"]).is_none() {
        return Err("neither root nor sudo without a password".into());
    }
    eprintln!("installing {} …", names.join(" "));
    let log = Log::create("setup")?;
    let apt_get = |arguments: &[&str]| {
        let mut words = vec!["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes"];
        words.extend(arguments);
        let mut command = Command::new(if is_root { "env" } else { "sudo" });
        log.run(command.args(if is_root { words.get(1..).unwrap_or_default() } else { &words }))
    };
    let mut install = vec!["install", "--no-install-recommends"];
    install.extend(names);
    apt_get(&["update"])
        .and_then(|()| apt_get(&install))
        .map_err(|failure| format!("{failure}\n{}", log.shown()))
}

/// Checks node and npm; neither can be installed by us.
fn node() -> Result<(), Failure> {
    let advice = "get node from https://nodejs.org or a version manager, npm by \
                  `npm install --global npm@11`";
    let node =
        answer("node", &["--version"]).ok_or_else(|| format!("node is missing: {advice}"))?;
    let npm = answer("npm", &["--version"]).ok_or_else(|| format!("npm is missing: {advice}"))?;
    if !is_node_good(&node) {
        return Err(format!("node {node} is too old, 20.19 or 22.12 is needed: {advice}"));
    }
    if version(&npm).is_none_or(|(major, _)| major < 11) {
        return Err(format!("npm {npm} is too old, Vite 8 needs npm 11: {advice}"));
    }
    Ok(())
}

/// Whether Vite 8 runs on it: 20.19 or later in its line, or 22.12 or later.
fn is_node_good(node: &str) -> bool {
    version(node).is_some_and(|version| match version {
        (20, minor) => minor >= 19,
        later => later >= (22, 12),
    })
}

/// The first two numbers of a version such as `v20.19.3`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim_start_matches('v').split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Installs exactly what the lockfile of `folder` says.
fn npm(folder: &Path) -> Result<(), Failure> {
    let lockfile = folder.join("package-lock.json");
    let node = answer("node", &["--version"]).unwrap_or_default();
    stamped(&lockfile, &node, &folder.join("node_modules/.stamp"), |log| {
        eprintln!("npm ci in {} …", folder.display());
        log.run(npm_in(folder).args(["ci", "--no-audit", "--no-fund"]))
    })
}

/// Makes the Python environment of `tests/clients/python/requirements.txt`.
fn python_packages() -> Result<(), Failure> {
    let version_of = answer("python3", &["--version"]).unwrap_or_default();
    let number = version_of.rsplit(' ').next().and_then(version);
    if number.is_none_or(|number| number < (3, 9)) {
        return Err(format!("python3 3.9 or later is needed, this is `{version_of}`"));
    }
    if answer("python3", &["-c", "import ensurepip, venv"]).is_none() {
        apt(&["python3-venv"]).map_err(|failure| {
            format!("python3 lacks venv, please install python3-venv ({failure})")
        })?;
    }
    let requirements = root().join("tests/clients/python/requirements.txt");
    stamped(&requirements, &version_of, &venv().join(".stamp"), |log| {
        eprintln!("the Python packages into {} …", venv().display());
        log.run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv()))?;
        let pip = ["-m", "pip", "install", "--disable-pip-version-check", "--requirement"];
        log.run(Command::new(python()).args(pip).arg(&requirements))
    })
}

/// Runs `work` unless `stamp` says that it was done for this `input` and this `tool`.
fn stamped(
    input: &Path,
    tool: &str,
    stamp: &Path,
    work: impl FnOnce(&Log) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let text = fs::read(input).map_err(|error| format!("{}: {error}", input.display()))?;
    let mut hasher = DefaultHasher::new();
    (text, tool).hash(&mut hasher);
    let expected = format!("{:016x}", hasher.finish());
    if fs::read_to_string(stamp).is_ok_and(|found| found == expected) {
        return Ok(());
    }
    let log = Log::create("setup")?;
    work(&log).map_err(|failure| format!("{failure}\n{}", log.shown()))?;
    fs::write(stamp, expected).map_err(|error| format!("{}: {error}", stamp.display()))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn a_mirror_writes_only_what_differs() {
        let folder = root().join("target/xtask/mirror");
        fs::remove_dir_all(&folder).ok();
        let (from, to) = (folder.join("from"), folder.join("to"));
        for (path, text) in [
            ("from/same", "a"),
            ("from/assets/new", "b"),
            ("from/other", "c"),
            ("to/same", "a"),
            ("to/other", "d"),
            ("to/old", "e"),
            ("to/gone/old", "f"),
        ] {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        for name in ["same", "other"] {
            fs::File::options()
                .write(true)
                .open(to.join(name))
                .unwrap()
                .set_modified(long_ago)
                .unwrap();
        }

        mirror(&from, &to).unwrap();
        let is_written = |name| fs::metadata(to.join(name)).unwrap().modified().unwrap() > long_ago;
        assert!(!is_written("same"));
        assert!(is_written("other"));
        assert_eq!(fs::read_to_string(to.join("other")).unwrap(), "c");
        assert_eq!(fs::read_to_string(to.join("assets/new")).unwrap(), "b");
        assert!(!to.join("old").exists() && !to.join("gone").exists());
    }

    #[test]
    fn node_is_judged_by_its_line() {
        for (node, is_good) in [
            ("v18.20.0", false),
            ("v20.18.9", false),
            ("v20.19.0", true),
            ("v21.7.0", false),
            ("v22.11.0", false),
            ("v22.12.0", true),
            ("v24.0.0", true),
            ("nonsense", false),
        ] {
            assert_eq!(is_node_good(node), is_good, "{node}");
        }
    }
}
