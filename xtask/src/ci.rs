//! Everything that must be green, in order.
//!
//! Owns: the steps, their timing, the count at the end.
//! Guarantees: the first step that fails stops the run with its output; the last line counts what
//! ran, tests where a step has tests and the step itself where it has none.
//! Not here: a second definition of green: `.ci/run` is this command.

use std::fmt;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::command::{Log, cargo, root};
use crate::sabotage::Depth;
use crate::scenario::{self, SCENARIOS};
use crate::{bench, fuzz, judge, load, prove, sabotage, server, setup};

pub(crate) const HELP: &str = "
Usage: cargo xtask ci [--only STEP…] [--list]

Runs every check of the repository in order, installs what they need first (see `setup --help`),
and stops at the first that fails with its output. From a cold cache it takes half an hour to an hour on
two cores, most of it compiling dependencies once for each of check, test and release.

  --list         names the steps
  --only STEP…   runs only these, in their usual order
";

/// What one step found.
#[derive(Default)]
pub(crate) struct Count {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
}

impl fmt::Display for Count {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// A step that has no tests of its own counts as one.
pub(crate) const ONE: Count = Count { passed: 1, failed: 0 };

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Log) -> Result<Count, Failure>,
}

const STEPS: &[Step] = &[
    Step { name: "setup", what: "tools and packages", run: set_up },
    Step { name: "fmt", what: "rustfmt", run: fmt },
    Step { name: "tidy", what: "xtask's tests: layout, imports, bans, licences", run: tidy },
    Step { name: "clippy", what: "lints, warnings are errors", run: clippy },
    Step { name: "doc", what: "rustdoc, warnings are errors", run: doc },
    Step { name: "unit", what: "the crates' own tests", run: unit },
    Step { name: "judges", what: "other implementations judge our bytes", run: judge::step },
    Step { name: "web", what: "the page: types, lints, tests, build", run: web },
    Step { name: "server", what: "the release build, page embedded", run: build_server },
    Step { name: "bench", what: "what packets cost, see `cargo xtask bench`", run: bench::step },
    Step {
        name: "load",
        what: "what datagrams and participants cost, see `cargo xtask load`",
        run: load::step,
    },
    Step { name: "clients", what: "black-box scenarios, see `cargo xtask test`", run: clients },
    Step {
        name: "prove",
        what: "the promises attacked, see `cargo xtask prove`",
        run: prove::step,
    },
    Step {
        name: "twins",
        what: "servers without a guard are noticed, see `cargo xtask prove`",
        run: twins,
    },
    Step {
        name: "fuzz",
        what: "each reader is searched for a moment, see `cargo xtask fuzz`",
        run: fuzz::step,
    },
];

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    if arguments.iter().any(|argument| argument == "--list") {
        for step in STEPS {
            println!("{:<9}{}", step.name, step.what);
        }
        return Ok(());
    }
    let steps = choose(arguments)?;
    let mut total = Count::default();
    let mut times: Vec<(&str, Duration)> = Vec::new();
    let mut stopped = None;
    for step in steps {
        println!("{} …", step.name);
        let start = Instant::now();
        let log = Log::create(&format!("ci/{}", step.name))?;
        let outcome = (step.run)(&log);
        times.push((step.name, start.elapsed()));
        let count = match outcome {
            Ok(count) => count,
            Err(failure) => {
                println!("{failure}");
                Count { passed: 0, failed: 1 }
            }
        };
        total.passed += count.passed;
        total.failed += count.failed;
        println!("{}: {count}", step.name);
        if count.failed > 0 {
            println!("{}", log.shown());
            stopped = Some(step.name);
            break;
        }
    }
    println!();
    for (name, time) in &times {
        println!("{name:<9}{:7.1} s", time.as_secs_f32());
    }
    println!("{total}");
    stopped.map_or(Ok(()), |name| Err(format!("stopped at `{name}`")))
}

fn choose(arguments: &[String]) -> Result<Vec<&'static Step>, Failure> {
    let names = match arguments.split_first() {
        None => return Ok(STEPS.iter().collect()),
        Some((option, names)) if option == "--only" && !names.is_empty() => names,
        Some(_) => return Err("unknown options; see --help".into()),
    };
    if let Some(unknown) = names.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        return Err(format!("there is no step `{unknown}`; see --list"));
    }
    Ok(STEPS.iter().filter(|step| names.iter().any(|name| step.name == name)).collect())
}

fn set_up(_: &Log) -> Result<Count, Failure> {
    setup::everything().map(|()| ONE)
}

fn fmt(log: &Log) -> Result<Count, Failure> {
    log.run(cargo().args(["fmt", "--all", "--check"])).map(|()| ONE)
}

fn tidy(log: &Log) -> Result<Count, Failure> {
    tests(log, &["--package", "xtask"])
}

fn clippy(log: &Log) -> Result<Count, Failure> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    log.run(cargo().args(arguments)).map(|()| ONE)
}

fn doc(log: &Log) -> Result<Count, Failure> {
    let arguments = ["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"];
    log.run(cargo().args(arguments).env("RUSTDOCFLAGS", "-D warnings")).map(|()| ONE)
}

fn unit(log: &Log) -> Result<Count, Failure> {
    tests(log, &["--workspace", "--exclude", "xtask"])
}

fn web(log: &Log) -> Result<Count, Failure> {
    log.run(setup::npm_in(&root().join("web")).args(["run", "check"]))?;
    setup::build_page(log).map(|()| ONE)
}

fn build_server(log: &Log) -> Result<Count, Failure> {
    server::build(log).map(|()| ONE)
}

fn clients(log: &Log) -> Result<Count, Failure> {
    scenario::build_tools(log)?;
    // The proofs are a step of their own.
    let these: Vec<_> = SCENARIOS.iter().filter(|scenario| !prove::covers(scenario)).collect();
    scenario::build_fragile(&these, log)?;
    let count = scenario::run_all(&these);
    if count.passed + count.failed == 0 { Err("no scenario ran".into()) } else { Ok(count) }
}

fn twins(log: &Log) -> Result<Count, Failure> {
    scenario::build_tools(log)?;
    sabotage::build(log)?;
    sabotage::run(&[], Depth::Own).map(|passed| Count { passed, failed: 0 })
}

/// Runs `cargo test` and counts its tests.
fn tests(log: &Log, packages: &[&str]) -> Result<Count, Failure> {
    let outcome = log.run(cargo().args(["test", "--locked", "--no-fail-fast"]).args(packages));
    let count = counted(&log.read());
    match outcome {
        // What does not compile has no failed test to count.
        Err(failure) if count.failed == 0 => Err(failure),
        Ok(()) if count.passed == 0 => Err("no test ran".into()),
        Ok(()) | Err(_) => Ok(count),
    }
}

/// Adds up the closing lines of Rust's test runner.
fn counted(output: &str) -> Count {
    let mut count = Count::default();
    for line in output.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        let number_before = |word: &str| {
            let (before, _) = line.split_once(word)?;
            before.trim_end().rsplit(' ').next()?.parse::<usize>().ok()
        };
        count.passed += number_before(" passed;").unwrap_or(0);
        count.failed += number_before(" failed;").unwrap_or(0);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_added_up() {
        let count = counted(
            "running 3 tests\n\
             test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\
             test result: FAILED. 12 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!((count.passed, count.failed), (15, 2));
    }

    #[test]
    fn steps_run_in_their_usual_order_and_only_if_known() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let names: Vec<_> = choose(&words("--only unit fmt")).unwrap();
        assert_eq!(names.iter().map(|step| step.name).collect::<Vec<_>>(), ["fmt", "unit"]);
        assert!(choose(&words("--only nonsense")).is_err());
        assert!(choose(&words("--only")).is_err());
        assert_eq!(choose(&[]).unwrap().len(), STEPS.len());
    }
}
