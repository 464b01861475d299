//! Servers of which one guard has been taken out, and in which clients may raise faults: `prove` must fail against
//! each that lacks a guard.
//!
//! Owns: building the sabotaged server, apart from the shipped one; the list of its guards and which proofs miss
//! each.
//! Guarantees: a twin counts as noticed only when the proof fails for the reason that is named here; the shipped
//! binary has none of the switches and no fault on demand, which is looked up in its bytes.
//! Not here: what a switch takes out (`shell/edge/src/sabotage.rs` says where they are; decision 0015).

use std::fs;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::command::{Log, cargo, target};
use crate::lanes::Try;
use crate::prove::{self, Proof};
use crate::scenario::Shown;
use crate::server::{self, Make};

/// Which guard a sabotaged server does without.
pub(crate) const VARIABLE: &str = "INCAMERA_SABOTAGE";

/// What the crates ask for before they compile with a switch in them.
const MEANT: &str = "INCAMERA_SABOTAGE_IS_MEANT";

/// What is in the bytes of a sabotaged server alone: how a guard is named, and how a client asks for a fault.
const MARKS: [&str; 2] = [VARIABLE, "incamera-sabotage: "];

/// What a twin is attacked with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The first proof that must notice it.
    Own,
    /// All proofs, of which no other may fail but for the same reason.
    All,
}

/// A guard, and the proofs that notice that it is gone.
struct Twin {
    name: &'static str,
    /// What is taken out.
    what: &'static str,
    /// The first must; the others may find the same.
    noticed_by: &'static [Noticer],
}

/// A proof that fails without a guard, and what it says then: one of these, whichever is seen first.
struct Noticer {
    proof: &'static str,
    because: &'static [&'static str],
}

/// Of media that stay in memory.
const MEDIA_STAY: &[&str] = &[
    "_video is still there",
    "_audio is still there",
    "killed_media is still there",
    "the oldest copy of",
];

const TWINS: &[Twin] = &[
    Twin {
        name: "zeroing",
        what: "memory is not zeroed when it is freed",
        noticed_by: &[
            Noticer { proof: "forgotten", because: &["is still there"] },
            Noticer { proof: "tokens", because: &["token2 is still there"] },
        ],
    },
    Twin {
        name: "eviction",
        what: "what leaves a room's history stays in its memory",
        noticed_by: &[Noticer { proof: "forgotten", because: MEDIA_STAY }],
    },
    Twin {
        name: "rings",
        what: "what one worker gave another stays in the ring between them",
        noticed_by: &[Noticer { proof: "forgotten", because: MEDIA_STAY }],
    },
    Twin {
        name: "replay-window",
        what: "a packet is accepted as often as it comes",
        noticed_by: &[Noticer { proof: "replay", because: &["media_replayed"] }],
    },
    Twin {
        name: "front-door",
        what: "a binding request is answered before its integrity is checked",
        noticed_by: &[Noticer {
            proof: "front_door",
            because: &["random addresses", "without her password"],
        }],
    },
    Twin {
        name: "revocation",
        what: "what the operator revokes stays good",
        noticed_by: &[Noticer { proof: "tokens", because: &["the token is revoked"] }],
    },
    Twin {
        name: "containment",
        what: "a panic over one participant ends the process of all",
        noticed_by: &[Noticer {
            proof: "panic",
            because: &["the server died: signal: 6", "the others' media go on"],
        }],
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

/// Which of the marks are in the server at this path.
fn marks(path: &Path) -> Result<usize, Failure> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let holds = |mark: &str| bytes.windows(mark.len()).any(|window| window == mark.as_bytes());
    Ok(MARKS.into_iter().filter(|mark| holds(mark)).count())
}

/// Makes sure that the shipped server has no switch and no fault on demand, and that the other has.
pub(crate) fn is_apart() -> Result<(), Failure> {
    if marks(&server::binary())? > 0 {
        return Err("the shipped server has switches that take its guards out".into());
    }
    if marks(&binary())? < MARKS.len() {
        return Err("the sabotaged server has no switches: nothing below would be one".into());
    }
    Ok(())
}

/// Attacks each twin, or those that are named, with the proof that must fail; how many were noticed.
pub(crate) fn run(names: &[&str], depth: Depth) -> Result<usize, Failure> {
    if let Some(name) = names.iter().find(|name| TWINS.iter().all(|twin| twin.name != **name)) {
        let all: Vec<&str> = TWINS.iter().map(|twin| twin.name).collect();
        return Err(format!("there is no twin `{name}`; there are {}", all.join(", ")));
    }
    is_apart()?;
    println!("The shipped server has no switch; these servers have, and each lacks one guard:");
    let chosen: Vec<&Twin> =
        TWINS.iter().filter(|twin| names.is_empty() || names.contains(&twin.name)).collect();
    for twin in &chosen {
        match depth {
            Depth::Own => notice(twin)?,
            Depth::All => cross(twin)?,
        }
    }
    Ok(chosen.len())
}

fn notice(twin: &Twin) -> Result<(), Failure> {
    let Some(noticer) = twin.noticed_by.first() else {
        return Err(format!("{}: no proof is to notice it", twin.name));
    };
    let proof: &Proof = prove::named(noticer.proof)?;
    judge(twin, noticer, &prove::attack(proof, Make::Sabotaged(Some(twin.name)), Try::First))
}

/// Every proof: the one that is to notice must fail, others only if they find the same.
fn cross(twin: &Twin) -> Result<(), Failure> {
    let mut failures = Vec::new();
    prove::everything(Make::Sabotaged(Some(twin.name)), |verdict| {
        let name = verdict.proof.name;
        let noticer = twin.noticed_by.iter().position(|noticer| noticer.proof == name);
        if let Some(at) = noticer
            && let Some(noticer) = twin.noticed_by.get(at)
            && (at == 0 || verdict.outcome.is_err())
        {
            failures.extend(judge(twin, noticer, &verdict.outcome).err());
            return;
        }
        match &verdict.outcome {
            Ok(_) => println!("  holds    {}: {name} all the same", twin.name),
            Err(failure) => {
                failures.push(format!("{}: `{name}` does not hold either: {failure}", twin.name));
            }
        }
    });
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// Whether the proof has failed for the reason that belongs to the guard.
fn judge(twin: &Twin, noticer: &Noticer, outcome: &Result<Shown, Failure>) -> Result<(), Failure> {
    let (Twin { name, what, .. }, Noticer { proof, because }) = (twin, noticer);
    match outcome {
        Ok(_) => Err(format!("{name}: {what}, and `{proof}` passes nevertheless")),
        Err(failure) => {
            let said = failure.lines().next().unwrap_or_default();
            if !because.iter().any(|reason| said.contains(reason)) {
                return Err(format!("{name}: `{proof}` failed for another reason: {failure}"));
            }
            println!("  noticed  {name}: {what}\n           {proof}: {said}");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_twin_names_proofs() {
        for twin in TWINS {
            let is_proof = |noticer: &Noticer| prove::named(noticer.proof).is_ok();
            let is_noticed = twin.noticed_by.iter().all(is_proof) && !twin.noticed_by.is_empty();
            assert!(is_noticed, "{}", twin.name);
        }
    }
}
