//! Every chore of this repository, one command each: `cargo xtask NAME`.
//!
//! Owns: the list of chores and the help that teaches them.
//! Guarantees: the standard library is all it needs, so that it builds in seconds on a new machine.
//! Not here: what a chore does; each has a file of its own.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its terminal")]

mod bench;
mod ci;
mod command;
mod demo;
mod fuzz;
mod judge;
mod lanes;
mod load;
mod network;
#[cfg(test)]
mod protocol;
mod prove;
mod sabotage;
mod scan;
mod scenario;
mod server;
mod setup;
#[cfg(test)]
mod tidy;

use std::process::ExitCode;

/// Why a chore failed, in a sentence for the person who ran it.
type Failure = String;

struct Chore {
    name: &'static str,
    summary: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Result<(), Failure>,
}

const CHORES: &[Chore] = &[
    Chore {
        name: "demo",
        summary: "a call on this machine, in two links",
        help: demo::HELP,
        run: demo::run,
    },
    Chore { name: "ci", summary: "everything that must be green", help: ci::HELP, run: ci::run },
    Chore {
        name: "test",
        summary: "black-box scenarios with the vendors' own clients",
        help: scenario::HELP,
        run: scenario::run,
    },
    Chore {
        name: "prove",
        summary: "each promise attacked before your eyes",
        help: prove::HELP,
        run: prove::run,
    },
    Chore {
        name: "bench",
        summary: "what packets cost on this machine",
        help: bench::HELP,
        run: bench::run,
    },
    Chore {
        name: "load",
        summary: "many clients at once: loss, and what each costs",
        help: load::HELP,
        run: load::run,
    },
    Chore {
        name: "fuzz",
        summary: "a search for input that breaks a reader",
        help: fuzz::HELP,
        run: fuzz::run,
    },
    Chore {
        name: "setup",
        summary: "check the tools, install what can be installed",
        help: setup::HELP,
        run: setup::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        println!("{}", overview());
        return ExitCode::FAILURE;
    };
    if matches!(name.as_str(), "help" | "-h" | "--help") {
        println!("{}", overview());
        return ExitCode::SUCCESS;
    }
    let Some(chore) = CHORES.iter().find(|chore| chore.name == name) else {
        eprintln!("xtask: there is no chore `{name}`\n\n{}", overview());
        return ExitCode::FAILURE;
    };
    if rest.iter().any(|argument| argument == "-h" || argument == "--help") {
        println!("{}", chore.help.trim());
        return ExitCode::SUCCESS;
    }
    match (chore.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask {name}: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn overview() -> String {
    let mut text = String::from("Usage: cargo xtask CHORE [--help]\n");
    for chore in CHORES {
        text.push_str(&format!("\n  {:<8}{}", chore.name, chore.summary));
    }
    text.push_str("\n\nNew here? `cargo xtask demo`, then `cargo xtask ci`.");
    text
}
