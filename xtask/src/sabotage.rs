//! Servers of which one guard has been taken out: `prove` must fail against each.
//!
//! Owns: building the sabotaged server, apart from the shipped one; the list of its guards and which proof misses
//! each.
//! Guarantees: a twin counts as noticed only when the proof fails for the reason that is named here; the shipped
//! binary has none of the switches, which is looked up in its bytes.
//! Not here: what a switch takes out (`shell/edge/src/sabotage.rs` says where they are; decision 0015).

use std::fs;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::command::{Log, cargo, target};
use crate::prove::{self, Proof};
use crate::scenario::{self, Extent};
use crate::server::{self, Make};

/// Which guard a sabotaged server does without.
pub(crate) const VARIABLE: &str = "INCAMERA_SABOTAGE";

/// What the crates ask for before they compile with a switch in them.
const MEANT: &str = "INCAMERA_SABOTAGE_IS_MEANT";

/// A guard, and the proof that notices that it is gone.
struct Twin {
    name: &'static str,
    /// What is taken out.
    what: &'static str,
    proof: &'static str,
    /// What the proof says then.
    because: &'static str,
}

const TWINS: &[Twin] = &[
    Twin {
        name: "zeroing",
        what: "memory is not zeroed when it is freed",
        proof: "forgotten",
        because: "is still there",
    },
    Twin {
        name: "replay-window",
        what: "a packet is accepted as often as it comes",
        proof: "replay",
        because: "media_replayed",
    },
    Twin {
        name: "front-door",
        what: "a binding request is answered before its integrity is checked",
        proof: "front_door",
        because: "answers to strangers",
    },
    Twin {
        name: "revocation",
        what: "what the operator revokes stays good",
        proof: "tokens",
        because: "the token is revoked",
    },
];

/// Where the sabotaged server is.
pub(crate) fn binary() -> PathBuf {
    folder().join("release/incamera")
}

fn folder() -> PathBuf {
    target().join("sabotage")
}

/// Builds it: what it has in common with the shipped one is not compiled again.
pub(crate) fn build(log: &Log) -> Result<(), Failure> {
    log.run(
        cargo()
            .args(["build", "--release", "--locked", "--package", "incamera"])
            .args(["--features", "sabotage", "--target-dir"])
            .arg(folder())
            .env("CARGO_BUILD_BUILD_DIR", target())
            .env(MEANT, "yes"),
    )
}

/// Whether the server at this path can be sabotaged: the name of the variable is in its bytes.
fn can_be_sabotaged(path: &Path) -> Result<bool, Failure> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let name = VARIABLE.as_bytes();
    Ok(bytes.windows(name.len()).any(|window| window == name))
}

/// Runs each twin's proof, which must fail; how many were noticed.
pub(crate) fn run() -> Result<usize, Failure> {
    if can_be_sabotaged(&server::binary())? {
        return Err("the shipped server has switches that take its guards out".into());
    }
    if !can_be_sabotaged(&binary())? {
        return Err("the sabotaged server has no switches: nothing below would be one".into());
    }
    println!("The shipped server has no switch; these servers have, and each lacks one guard:");
    for twin in TWINS {
        notice(twin)?;
    }
    Ok(TWINS.len())
}

fn notice(twin: &Twin) -> Result<(), Failure> {
    let Twin { name, what, proof, because } = twin;
    let proof: &Proof = prove::named(proof)?;
    let scenario = scenario::named(proof.scenario().ok_or("a twin needs a scenario")?)?;
    match scenario::run_one(scenario, Make::Sabotaged(name), Extent::Brief) {
        Ok(_) => Err(format!("{name}: {what}, and `{}` passes nevertheless", proof.name)),
        Err(failure) => {
            let verdict = failure.lines().next().unwrap_or_default();
            if !verdict.contains(because) {
                return Err(format!(
                    "{name}: `{}` failed for another reason: {failure}",
                    proof.name
                ));
            }
            println!("  noticed  {name}: {what}\n           {}: {verdict}", proof.name);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_twin_names_a_proof_that_is_a_scenario() {
        for twin in TWINS {
            let proof = prove::named(twin.proof).unwrap();
            assert!(proof.scenario().is_some(), "{}", twin.name);
        }
    }
}
