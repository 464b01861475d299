//! The promises, each attacked before the reader's eyes: `cargo xtask prove`.
//!
//! Owns: which promise is proven by what, in words for somebody who answers for security and is no programmer.
//! Guarantees: a proof holds only when its scenario passes; a figure is printed as it was measured, and
//! none without the positive control beside it.
//! Not here: what is done (`tests/clients/`), the servers that must fail (`sabotage`).

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::ci::Count;
use crate::command::Log;
use crate::lanes::{self, Ended, Needs, Try};
use crate::sabotage::Depth;
use crate::scenario::{self, Extent, Scenario, Shown};
use crate::server::{self, Make};
use crate::{Failure, sabotage, setup};

pub(crate) const HELP: &str = "
Usage: cargo xtask prove [--only NAME]… [--json] [--list]
       cargo xtask prove --twins [--cross] [--only TWIN]…

Attacks each promise of the server and says for each: what is claimed, what was done, what was measured, how we know
that the measurement finds something when there is something (the positive control), and what it does not show.
It takes about three minutes after the build, needs root (to read the server's memory, to listen in, to forge sender
addresses) and starts what it needs: the server, LiveKit's own clients, a browser, a network of its own.

  --only NAME  only this proof; may be given several times
  --json       the same as JSON, on standard output
  --list       names the proofs
  --twins      the other way round: servers that lack one guard each, and it fails if a proof does not notice;
               with --only, that server alone
  --cross      with --twins, attacks each of these servers with every proof: the one that belongs to its guard must
               fail, and others only if they find the same; about three minutes for each server

Each proof is a scenario of `cargo xtask test`. `cargo xtask ci` runs them all (step `prove`), and --twins without
--cross.
What the promises mean, and what nobody promises: docs/security.md.
";

/// What all proofs together are to take, after the build, on two cores of their own.
const WITHIN: Duration = Duration::from_secs(180);
/// How many times that long they may take in CI, whose machine others may use as well.
const STEP_SLACK: f32 = 1.5;

/// How it is said of a proof that it holds at its second try.
const AGAIN: &str = "alone, after it failed";

/// One promise.
pub(crate) struct Proof {
    pub(crate) name: &'static str,
    claim: &'static str,
    done: &'static str,
    /// What a reader must not conclude.
    not_shown: &'static str,
    /// What proves it, of `cargo xtask test`.
    pub(crate) scenario: &'static str,
}

const PROOFS: &[Proof] = &[
    Proof {
        name: "forgotten",
        claim: "What was said is forgotten after ten seconds, and a person two seconds after the goodbye or the \
                removal, though the others talk on.",
        done: "People talk, send data and leave; some talk until they say goodbye, are removed, or their room is \
               deleted; one is killed. Meanwhile all memory of the server is searched again and again for what \
               they said, what they sent and who they are. Encryption between the clients is off, so that there is \
               something to find.",
        not_shown: "The kernel's own buffers, swap, and what the other participants keep, or have been sent and do not \
                    take.",
        scenario: "forgotten",
    },
    Proof {
        name: "tokens",
        claim: "Nobody enters without a good token, and revocation ends a running session within a second.",
        done: "Tokens of every kind of key, made by the vendors' own libraries, are presented good, expired, signed \
               by a foreign key, signed by the means of another kind of key, and revoked; sessions are revoked \
               while they run.",
        not_shown: "That the back end which mints the tokens gives them to the right people.",
        scenario: "dynamic_keys",
    },
    Proof {
        name: "blind",
        claim: "With end-to-end encryption the server never has the content or the key, and the wire shows nothing.",
        done: "Two people talk and chat under a channel key, and others send sound and pictures under it. What they \
               say and the key, as typed and as derived, are searched for in the server's memory, in its log and its \
               metrics, and in every packet of media and signalling to and from it.",
        not_shown: "Who is in which room, when, and how much they send: the server sees that.",
        scenario: "blind",
    },
    Proof {
        name: "wrong_key",
        claim: "A participant without the right channel key sees and hears nothing.",
        done: "Three people are in one room in a real browser. The server gives each the others' packets. Eve has \
               another key than Ada; Grace has Ada's.",
        not_shown: "That the page which handles the key is the one that you trust: whoever serves it could change it.",
        scenario: "wrong_key",
    },
    Proof {
        name: "replay",
        claim: "A recorded packet that is sent again counts for nothing.",
        done: "A participant's own sealed packets, of sound, data and reports, are captured and sent again from the \
               participant's own address, and so are packets that were changed.",
        not_shown: "Replay by somebody inside the call, which end-to-end encryption refuses in the clients. That it was \
                    the replay window which refused them is the server's own count: what has passed once would not be \
                    passed on again without it, either.",
        scenario: "replay",
    },
    Proof {
        name: "spoofed_handshake",
        claim: "Whoever forges packets from a client's address cannot keep it from joining.",
        done: "Clients join one after the other. From the first packet of each on, forged packets in its name \
               arrive beside its own at every step: hellos, alerts, broken and oversized handshake pieces, media; \
               and then 20 and 80 hellos for each packet, every one as good as the client's own and of another.",
        not_shown: "An attacker on the path, who can simply drop the packets. A client whose certificate or hello is \
                    so long that it comes in several packets: a forged piece that arrives between them costs it \
                    that attempt to join.",
        scenario: "spoofed_handshake",
    },
    Proof {
        name: "front_door",
        claim: "Strangers get nothing: no answer on the media port, no memory, no place in the queue.",
        done: "Everything that a stranger can send to the media port is sent from many addresses, and a knock with a \
               participant's public name but without the password; tokens are forged and join requests inflate; \
               and 5,000 request heads are begun and never finished, and answers never read.",
        not_shown: "Floods that fill the line before the server: that takes the network's operator. That HTTP answers \
                    over TCP are shorter than the requests: they are not, their sender has been shown to be there.",
        scenario: "front_door",
    },
    Proof {
        name: "flood",
        claim: "A flood of forged packets does not touch a running call, and people can still join.",
        done: "Ten times the call's own packets are sent at the media port from forged addresses, those of the \
               clients among them, shaped like every protocol that is spoken there.",
        not_shown: "More than this machine can send; a full line.",
        scenario: "flood",
    },
    Proof {
        name: "abuse",
        claim: "A participant who asks for too much gets no more than a fixed share, and nobody else pays for it.",
        done: "Two malicious subscribers ask two hundred times a second for all packets again and for a new picture, \
               beside a call of others.",
        not_shown: "A participant who uploads as much as the line carries. Who has others told of it again and again, \
                    or asks at the door again and again, is attacked by `cargo xtask test insistence`.",
        scenario: "abuse",
    },
    Proof {
        name: "panic",
        claim: "A fault in the server that one participant provokes ends that participant's session alone.",
        done: "Three people talk in one room and two in another. One after the other provokes a fault in the server, \
               in the connection, where rooms are decided, and on the media side; the fault says what it was about, \
               as a careless one would.",
        not_shown: "Faults of the hardware and of the kernel; and one in what is nobody's in particular, which ends the \
                    process: it is started again, and all come back. In the server that is shipped nothing raises a \
                    fault on demand; the one that is attacked here is the same but for that.",
        scenario: "panic",
    },
];

/// How one proof ended.
pub(crate) struct Verdict {
    pub(crate) proof: &'static Proof,
    took: Duration,
    pub(crate) outcome: Result<Shown, Failure>,
}

pub(crate) fn named(name: &str) -> Result<&'static Proof, Failure> {
    let found = PROOFS.iter().find(|proof| proof.name == name);
    found.ok_or_else(|| format!("there is no proof `{name}`; see cargo xtask prove --list"))
}

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let mut names: Vec<&str> = Vec::new();
    let (mut is_json, mut is_twins, mut depth) = (false, false, Depth::Own);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--list" => {
                for proof in PROOFS {
                    println!("{:<18}{}", proof.name, proof.claim);
                }
                return Ok(());
            }
            "--json" => is_json = true,
            "--twins" => is_twins = true,
            "--cross" => depth = Depth::All,
            "--only" => names.push(rest.next().ok_or("--only needs a name; see --list")?),
            _ => return Err(format!("unknown option `{argument}`; see --help")),
        }
    }
    if is_twins {
        if is_json {
            return Err("--twins has no --json".into());
        }
        return prove_twins(&names, depth);
    }
    if depth == Depth::All {
        return Err("--cross goes with --twins; see --help".into());
    }
    let chosen = names.into_iter().map(named).collect::<Result<Vec<_>, _>>()?;
    let chosen = if chosen.is_empty() { PROOFS.iter().collect() } else { chosen };
    if !is_json {
        println!("building what is attacked and what attacks it …");
    }
    prepare()?;
    let began = Instant::now();
    let verdicts = prove(&chosen, Make::Shipped, |verdict| {
        if !is_json {
            println!("{}", told(verdict));
        }
    });
    let failed = verdicts.iter().filter(|verdict| verdict.outcome.is_err()).count();
    if is_json {
        println!("{}", json(&verdicts));
    } else {
        let (held, of) = (verdicts.len() - failed, verdicts.len());
        let (took, aim) = (began.elapsed().as_secs_f32(), WITHIN.as_secs());
        println!("{held} of {of} promises held, in {took:.0} s ({aim} s are the aim for all)");
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} of {} did not hold", verdicts.len())) }
}

fn prove_twins(names: &[&str], depth: Depth) -> Result<(), Failure> {
    println!("building what is attacked and what attacks it …");
    prepare()?;
    let noticed = sabotage::run(names, depth)?;
    println!("{noticed} of {noticed} noticed");
    Ok(())
}

fn prepare() -> Result<(), Failure> {
    setup::everything()?;
    let log = Log::create("build")?;
    let build = || {
        setup::build_page(&log)?;
        server::build(&log)?;
        scenario::build_tools(&log)?;
        sabotage::build(&log)?;
        sabotage::is_apart()
    };
    build().map_err(|failure: Failure| format!("{failure}\n{}", log.shown()))
}

/// Every proof, as one test each.
pub(crate) fn step(log: &Log) -> Result<Count, Failure> {
    scenario::build_tools(log)?;
    sabotage::build(log)?;
    sabotage::is_apart()?;
    let began = Instant::now();
    let mut count = Count::default();
    everything(Make::Shipped, |verdict| match &verdict.outcome {
        Ok(shown) => {
            count.passed += 1;
            for line in shown.measured.iter().filter(|line| line.starts_with(AGAIN)) {
                println!("  {}: {line}", verdict.proof.name);
            }
        }
        Err(failure) => {
            count.failed += 1;
            println!("{}{failure}", told(verdict));
        }
    });
    let took = began.elapsed();
    println!("  {} promises held, in {:.0} s", count.passed, took.as_secs_f32());
    let most = WITHIN.mul_f32(STEP_SLACK);
    if took > most {
        return Err(format!(
            "all proofs together are to take {WITHIN:?}, and took {took:.0?}: more than {most:?}"
        ));
    }
    Ok(count)
}

/// Whether a proof does all that this scenario does.
pub(crate) fn covers(scenario: &Scenario) -> bool {
    !scenario.is_scaled && PROOFS.iter().any(|proof| proof.scenario == scenario.name)
}

/// What every proof says of a server of this make.
pub(crate) fn everything(make: Make, note: impl FnMut(&Verdict)) {
    prove(&PROOFS.iter().collect::<Vec<_>>(), make, note);
}

fn prove(chosen: &[&'static Proof], make: Make, mut tell: impl FnMut(&Verdict)) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let proofs = chosen.iter().map(|proof| (*proof, needs(proof))).collect();
    lanes::run(
        proofs,
        |proof, which| attack(proof, make, which),
        |_, failure| scenario::is_final(failure),
        |proof, Ended { took, mut outcome, before }| {
            if let (Ok(shown), Some(failure)) = (&mut outcome, before) {
                let failure = failure.lines().next().unwrap_or_default();
                shown.measured.insert(0, format!("{AGAIN} beside another proof: {failure}"));
            }
            let verdict = Verdict { proof, took, outcome };
            tell(&verdict);
            verdicts.push(verdict);
        },
    );
    verdicts
}

fn needs(proof: &Proof) -> Needs {
    scenario::named(proof.scenario).map_or(Needs::Nothing, |scenario| scenario.needs)
}

pub(crate) fn attack(proof: &Proof, make: Make, which: Try) -> Result<Shown, Failure> {
    scenario::named(proof.scenario)
        .and_then(|scenario| scenario::run_one(scenario, make, Extent::Brief, which))
}

/// One promise, for a reader.
fn told(verdict: &Verdict) -> String {
    let Verdict { proof, took, outcome } = verdict;
    let mut text = String::new();
    let mut say = |label: &str, words: &str| {
        let mut start = format!("  {label:<12}");
        for line in wrapped(words) {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{start}{line}");
            start = " ".repeat(14);
        }
    };
    say("claim", proof.claim);
    say("done", proof.done);
    match outcome {
        Ok(shown) => {
            shown.measured.iter().for_each(|line| say("measured", line));
            shown.controls.iter().for_each(|line| say("control", line));
        }
        Err(failure) => say("FAILED", failure.lines().next().unwrap_or_default()),
    }
    say("not shown", proof.not_shown);
    let word = if outcome.is_ok() { "HOLDS" } else { "DOES NOT HOLD" };
    format!("{}: {word} ({:.0} s)\n{text}", proof.name, took.as_secs_f32())
}

/// Lines of at most 100 characters.
fn wrapped(words: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words.split_whitespace() {
        let is_full =
            lines.last().is_some_and(|line| !line.is_empty() && line.len() + word.len() >= 100);
        if is_full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// An array of objects, one for each proof.
fn json(verdicts: &[Verdict]) -> String {
    let none = Vec::new();
    let objects: Vec<String> = verdicts
        .iter()
        .map(|Verdict { proof, took, outcome }| {
            let shown = outcome.as_ref().ok();
            let list = |lines: &[String]| {
                format!("[{}]", lines.iter().map(|it| quoted(it)).collect::<Vec<_>>().join(", "))
            };
            let failure = outcome.as_ref().err().and_then(|failure| failure.lines().next());
            format!(
                "{{\"name\": {}, \"claim\": {}, \"done\": {}, \"measured\": {}, \"positive_control\": {}, \
                 \"not_shown\": {}, \"holds\": {}, \"failure\": {}, \"seconds\": {:.1}}}",
                quoted(proof.name),
                quoted(proof.claim),
                quoted(proof.done),
                list(shown.map_or(&none, |shown| &shown.measured)),
                list(shown.map_or(&none, |shown| &shown.controls)),
                quoted(proof.not_shown),
                shown.is_some(),
                failure.map_or("null".to_owned(), quoted),
                took.as_secs_f32(),
            )
        })
        .collect();
    format!("[\n  {}\n]", objects.join(",\n  "))
}

/// A JSON string (RFC 8259 §7).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            control if control < ' ' => {
                // Writing to a string does not fail.
                let _ = write!(quoted, "\\u{:04x}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_proof_is_a_scenario_that_is_there() {
        for proof in PROOFS {
            assert!(scenario::named(proof.scenario).is_ok(), "{}", proof.name);
        }
    }

    #[test]
    fn what_is_told_as_json_is_json() {
        let shown = Shown {
            measured: vec!["0 of \"12\"".into(), "a\\b\u{1}".into()],
            controls: vec!["one".into()],
        };
        let took = Duration::from_millis(1_500);
        let verdicts = [
            Verdict { proof: &PROOFS[0], took, outcome: Ok(shown) },
            Verdict { proof: &PROOFS[1], took, outcome: Err("no\nmore".into()) },
        ];
        let read: serde_json::Value = serde_json::from_str(&json(&verdicts)).unwrap();
        assert_eq!(read[0]["measured"][0], "0 of \"12\"");
        assert_eq!(read[0]["measured"][1], "a\\b\u{1}");
        assert_eq!((&read[0]["holds"], &read[1]["holds"]), (&true.into(), &false.into()));
        assert_eq!(read[1]["failure"], "no");
    }

    #[test]
    fn a_failure_is_told_as_one() {
        let took = Duration::ZERO;
        let failed = Verdict { proof: &PROOFS[0], took, outcome: Err("it was there\nlog".into()) };
        let text = told(&failed);
        assert!(text.contains("DOES NOT HOLD") && text.contains("it was there"), "{text}");
        assert!(!text.contains("log"));
    }
}
