//! What the hot paths cost, and whether the gates hold: the `benches` crate in its release build.

use crate::Failure;
use crate::ci::{Count, ONE};
use crate::command::{Log, cargo};

pub(crate) const HELP: &str = "
Usage: cargo xtask bench [--keep]

Measures forwarding, ingest, the timer, the SRTP profiles, frame encryption, token verification and the
handshake of a join, and fails when a packet or a turn of the timer costs more than its gate allows, or a packet
allocates. A packet that costs more is measured again for up to three minutes.

  --keep   appends the figures and this machine to benches/history.ndjson
";

const ARGUMENTS: &[&str] = &["run", "--release", "--locked", "--package", "benches"];

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let mut command = cargo();
    command.args(ARGUMENTS);
    match arguments {
        [] => {}
        [keep] if keep == "--keep" => {
            command.args(["--", "--history", "benches/history.ndjson"]);
        }
        [..] => return Err("unknown options; see --help".into()),
    }
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the measurement ended with {status}")),
        Err(error) => Err(format!("cargo: {error}")),
    }
}

pub(crate) fn step(log: &Log) -> Result<Count, Failure> {
    log.run(cargo().args(ARGUMENTS)).map(|()| ONE)
}
