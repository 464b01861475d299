//! Judges: other implementations that hold what our cores write, and write what our cores must take.
//!
//! Owns: the table of judges, and the programs of ours that they question.
//! Guarantees: every judge runs against the library of somebody else as it is installed, at the
//! version that a lockfile pins.
//! Not here: whole clients against the whole server (`scenario`); vectors that judges left behind,
//! which the crates' own tests compare with byte for byte.

use std::path::PathBuf;
use std::process::Command;

use crate::Failure;
use crate::ci::Count;
use crate::command::{Log, cargo, find, root, target};
use crate::setup;

/// The programs of ours: an example of a crate each.
const PROGRAMS: [(&str, &str); 2] = [("rtp", "srtp"), ("wire", "negotiate")];

struct Judge {
    /// Below the top of the work tree; the ending says what runs it.
    script: &'static str,
    /// The program that it questions, if it does.
    program: Option<&'static str>,
}

const JUDGES: &[Judge] = &[
    // livekit-api, livekit-server-sdk and jsonwebtoken verify the tokens that `core/wire` mints.
    Judge { script: "core/wire/tests/judges/judge.py", program: None },
    Judge { script: "core/wire/tests/judges/judge.mjs", program: None },
    // Chromium takes the answers of `core/wire`.
    Judge { script: "core/wire/tests/judges/chromium.mjs", program: Some("negotiate") },
    // libsrtp opens what `core/rtp` seals, and the other way round.
    Judge { script: "core/rtp/tests/judges/libsrtp.py", program: Some("srtp") },
];

/// Runs them all and prints a line for each.
pub(crate) fn step(log: &Log) -> Result<Count, Failure> {
    for (package, example) in PROGRAMS {
        let arguments = ["build", "--locked", "--package", package, "--example", example];
        log.run(cargo().args(arguments))?;
    }
    let mut count = Count::default();
    for judge in JUDGES {
        let outcome = log.run(&mut command_of(judge));
        let verdict = if outcome.is_ok() { "PASS" } else { "FAIL" };
        println!("  {verdict} {}", judge.script);
        match outcome {
            Ok(()) => count.passed += 1,
            Err(_) => count.failed += 1,
        }
    }
    Ok(count)
}

fn command_of(judge: &Judge) -> Command {
    let python = judge.script.ends_with(".py");
    let mut command = Command::new(if python { setup::python() } else { PathBuf::from("node") });
    command.current_dir(root()).arg(judge.script);
    if let Some(program) = judge.program {
        command.arg(target().join("debug/examples").join(program));
    }
    if let Some(chromium) = find(setup::CHROMIUM) {
        command.env("INCAMERA_CHROMIUM", chromium);
    }
    command
}
