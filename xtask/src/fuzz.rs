//! Looking for input that breaks a reader: the `fuzz` targets under libFuzzer, each for so much processor time.
//!
//! Owns: building them, the inputs found so far (`target/fuzz/corpus`), the record of how long each was looked at.
//! Guarantees: what is recorded is the processor time of the search itself, and only of searches that ended well.
//! Not here: the targets and the corpora that every CI run replays (`fuzz`).
//! Source: <https://llvm.org/docs/LibFuzzer.html>.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::Failure;
use crate::ci::Count;
use crate::command::{self, Group, Log, answer, cargo, root, target, until};

pub(crate) const HELP: &str = "
Usage: cargo xtask fuzz [TARGET…] [--minutes N] [--keep]
       cargo xtask fuzz --hours

Searches for input that makes a reader of outside bytes panic, hang or grow: each TARGET (all, if none is named)
for N minutes of processor time (default 1), one after the other. It begins with the committed corpus and with what
earlier searches found in target/fuzz/corpus. What breaks a reader is kept in target/fuzz/found; once mended, put
it into fuzz/corpus/TARGET, which every CI run replays.

  --minutes N  processor time for each target; what others do on this machine does not count
  --keep       adds what was searched to fuzz/hours.tsv
  --hours      how long each target has been searched, by that file

The pinned toolchain is enough. Search several at once by running this several times.
";

/// Sanitizer coverage as libFuzzer needs it. Our own code is safe Rust: an address sanitizer, which needs another
/// toolchain, would watch only what ring and the standard library guard themselves.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks -Ccodegen-units=1";

/// How long one input may take, in seconds by the clock on the wall, which goes on while others have the processor;
/// and how much memory the process, in MiB.
const LIMITS: [&str; 2] = ["-timeout=600", "-rss_limit_mb=1024"];

/// Freed memory stays with the process. By default glibc takes and returns the larger buffers of the state targets anew
/// for each input, which then spend up to nine tenths of their time on page faults.
const HEAP: (&str, &str) = ("MALLOC_TRIM_THRESHOLD_", "67108864");

/// Processor time of each target in CI.
const STEP_SECONDS: u64 = 2;

/// Lines about what broke.
const SHOWN_LINES: usize = 20;

/// A search that gets no processor at all ends in a failure.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// The kernel's unit of processor time towards programs: USER_HZ, 100 on every architecture that we run on.
const TICKS_PER_SECOND: u64 = 100;

/// One line of `fuzz/hours.tsv`: all searches of one target on one day, at one commit, on one kind of machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    target: String,
    date: String,
    commit: String,
    cpu: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Search {
    cpu_seconds: u64,
    executions: u64,
    /// Edges of the code that some input has reached.
    edges: u64,
}

impl Search {
    fn add(&mut self, other: Self) {
        self.cpu_seconds += other.cpu_seconds;
        self.executions += other.executions;
        self.edges = self.edges.max(other.edges);
    }
}

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let targets = targets()?;
    let mut chosen: Vec<String> = Vec::new();
    let (mut minutes, mut is_kept) = (1, false);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--hours" => return hours(&targets),
            "--keep" => is_kept = true,
            "--minutes" => {
                minutes = words
                    .next()
                    .and_then(|number| number.parse().ok())
                    .filter(|minutes| (1..=24 * 60).contains(minutes))
                    .ok_or("--minutes takes a number from 1 to 1440")?;
            }
            name if targets.iter().any(|target| target == name) => chosen.push(name.to_owned()),
            other => {
                return Err(format!(
                    "there is no target `{other}`; there are {}",
                    targets.join(", ")
                ));
            }
        }
    }
    if chosen.is_empty() {
        chosen = targets;
    }
    println!("building the targets …");
    let log = Log::create("fuzz.build")?;
    let program = build(&log).map_err(|failure| format!("{failure}\n{}", log.shown()))?;
    let mut broken = Vec::new();
    for target in chosen {
        match search(&program, &target, minutes * 60) {
            Ok(found) => {
                println!("{target:<20}{found}");
                if is_kept {
                    keep(&target, found)?;
                }
            }
            Err(failure) => {
                println!("{target:<20}{failure}");
                broken.push(target);
            }
        }
    }
    if broken.is_empty() { Ok(()) } else { Err(format!("broken: {}", broken.join(", "))) }
}

/// A moment for each target.
pub(crate) fn step(log: &Log) -> Result<Count, Failure> {
    let program = build(log)?;
    let mut count = Count::default();
    for target in targets()? {
        match search(&program, &target, STEP_SECONDS) {
            Ok(_) => count.passed += 1,
            Err(failure) => {
                println!("{target}: {failure}");
                count.failed += 1;
            }
        }
    }
    Ok(count)
}

impl fmt::Display for Search {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu_seconds, executions, edges } = self;
        write!(out, "{cpu_seconds:6} s  {executions:12} inputs  {edges:6} edges")
    }
}

/// The targets are the folders of the corpora; that each has one is a test of `fuzz`.
fn targets() -> Result<Vec<String>, Failure> {
    let folder = root().join("fuzz/corpus");
    let entries =
        fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut names: Vec<String> =
        entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    Ok(names)
}

fn build(log: &Log) -> Result<PathBuf, Failure> {
    let host = answer("rustc", &["-vV"])
        .and_then(|said| {
            Some(said.lines().find_map(|line| line.strip_prefix("host: "))?.to_owned())
        })
        .ok_or("rustc does not say what it compiles for")?;
    let folder = target().join("fuzz");
    // With a target of its own the flags leave build scripts alone.
    log.run(
        cargo()
            .args(["build", "--release", "--locked", "--manifest-path", "fuzz/discover/Cargo.toml"])
            .args(["--target", &host, "--target-dir"])
            .arg(&folder)
            .env("RUSTFLAGS", COVERAGE),
    )?;
    Ok(folder.join(host).join("release/any"))
}

/// Searches for `seconds` of processor time.
fn search(program: &Path, name: &str, seconds: u64) -> Result<Search, Failure> {
    let (found, corpus) = (target().join("fuzz/found"), target().join("fuzz/corpus").join(name));
    for folder in [&found, &corpus] {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let log = Log::create(&format!("fuzz.{name}"))?;
    let artifacts = format!("-artifact_prefix={}/{name}-", found.display());
    let (corpus, seeds) = (corpus.display().to_string(), format!("fuzz/corpus/{name}"));
    let mut arguments = vec![corpus.as_str(), &seeds, &artifacts, "-print_final_stats=1"];
    arguments.extend(LIMITS);
    let mut group = Group::start(program, &arguments, |command| {
        command.env("FUZZ_TARGET", name).env(HEAP.0, HEAP.1);
        command.stdout(log.sink()?).stderr(log.sink()?);
        Ok(())
    })?;
    let mut spent = 0;
    let ended = until(PATIENCE, || {
        if let Some(ticks) = ticks(group.pid()) {
            spent = ticks / TICKS_PER_SECOND;
        }
        match group.ended() {
            Ok(None) if spent < seconds => None,
            ended => Some(ended),
        }
    });
    if ended.transpose()?.flatten().is_none() {
        // Asks libFuzzer to say what it did, and to end.
        group.signal("USR1");
        group.wait(Duration::from_secs(60))?;
    }
    let said = log.read();
    let last = |mark: &str| said.lines().rev().find_map(|line| number_after(line, mark));
    match (group.ended()?, last("stat::number_of_executed_units:")) {
        (Some(status), Some(executions)) if status.success() && spent >= seconds => {
            let edges = last(" cov: ").unwrap_or_default();
            Ok(Search { cpu_seconds: spent, executions, edges })
        }
        (status, _) => {
            let begins = |line: &&str| {
                line.contains("panicked at") || line.starts_with("ALARM") || line.starts_with("==")
            };
            let about: Vec<&str> =
                said.lines().skip_while(|line| !begins(line)).take(SHOWN_LINES).collect();
            Err(format!(
                "it ended with {status:?}; what broke it is in {}, all it said in {}\n{}",
                found.display(),
                log.path().display(),
                about.join("\n")
            ))
        }
    }
}

/// Processor time of a process, user and system: fields 14 and 15 of proc_pid_stat(5).
fn ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn number_after(line: &str, mark: &str) -> Option<u64> {
    line.split_once(mark)?.1.trim_start().split(' ').next()?.parse().ok()
}

fn record() -> PathBuf {
    root().join("fuzz/hours.tsv")
}

const COLUMNS: &str = "target\tdate\tcommit\tprocessor\tcpu_seconds\tinputs\tedges";

fn keep(name: &str, search: Search) -> Result<(), Failure> {
    let key = Key {
        target: name.to_owned(),
        date: answer("date", &["-u", "+%F"]).unwrap_or_default(),
        commit: answer("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_default(),
        cpu: command::processor(),
    };
    let mut searches = read(&fs::read_to_string(record()).unwrap_or_default())?;
    searches.entry(key).or_default().add(search);
    fs::write(record(), write(&searches))
        .map_err(|error| format!("{}: {error}", record().display()))
}

fn read(text: &str) -> Result<BTreeMap<Key, Search>, Failure> {
    let lines = text.lines().skip(1).enumerate();
    lines
        .map(|(index, line)| {
            line_of(line).ok_or_else(|| format!("fuzz/hours.tsv: line {} is not ours", index + 2))
        })
        .collect()
}

fn line_of(line: &str) -> Option<(Key, Search)> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [target, date, commit, cpu, cpu_seconds, executions, edges] = fields[..] else {
        return None;
    };
    let [target, date, commit, cpu] = [target, date, commit, cpu].map(str::to_owned);
    let number = |text: &str| u64::from_str(text).ok();
    let search = Search {
        cpu_seconds: number(cpu_seconds)?,
        executions: number(executions)?,
        edges: number(edges)?,
    };
    Some((Key { target, date, commit, cpu }, search))
}

fn write(searches: &BTreeMap<Key, Search>) -> String {
    let lines = searches.iter().map(|(key, search)| {
        let Key { target, date, commit, cpu } = key;
        let Search { cpu_seconds, executions, edges } = search;
        format!("{target}\t{date}\t{commit}\t{cpu}\t{cpu_seconds}\t{executions}\t{edges}\n")
    });
    std::iter::once(format!("{COLUMNS}\n")).chain(lines).collect()
}

/// What all searches so far come to.
fn hours(targets: &[String]) -> Result<(), Failure> {
    let searches = read(&fs::read_to_string(record()).unwrap_or_default())?;
    for target in targets {
        let mut sum = Search::default();
        let of_it = searches.iter().filter(|(key, _)| key.target == *target);
        of_it.for_each(|(_, search)| sum.add(*search));
        println!("{target:<20}{sum}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_of_one_day_and_commit_are_one_line() {
        let key = Key {
            target: "sdp".to_owned(),
            date: "2026-01-02".to_owned(),
            commit: "0123456789ab".to_owned(),
            cpu: "Some CPU @ 3 GHz".to_owned(),
        };
        let mut searches = read("").unwrap();
        for edges in [90, 100] {
            let search = Search { cpu_seconds: 60, executions: 1_000, edges };
            searches.entry(key.clone()).or_default().add(search);
            searches = read(&write(&searches)).unwrap();
        }
        let sum = Search { cpu_seconds: 120, executions: 2_000, edges: 100 };
        assert_eq!(searches.into_iter().collect::<Vec<_>>(), [(key, sum)]);
        assert!(read(&format!("{COLUMNS}\nsdp\tyesterday\n")).is_err());
    }

    #[test]
    fn what_the_search_prints_is_read() {
        let line = "#1048576\tpulse  cov: 1421 ft: 5093 corp: 622/61Kb exec/s: 26214 rss: 71Mb";
        assert_eq!(number_after(line, " cov: "), Some(1_421));
        let line = "stat::number_of_executed_units: 1048577";
        assert_eq!(number_after(line, "stat::number_of_executed_units:"), Some(1_048_577));
    }

    #[test]
    fn time_of_a_process_is_read() {
        let begun = ticks(std::process::id()).unwrap();
        while ticks(std::process::id()).unwrap() == begun {}
        assert_eq!(ticks(u32::MAX), None);
    }
}
