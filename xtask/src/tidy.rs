//! The rules of the house that no compiler knows: run by `cargo xtask ci --only tidy`.
//!
//! Owns: who may import whom, what no file may say, which licences may come in, that the
//! documents tell the truth about names.
//! Guarantees: a failure names the file and the rule.
//! Not here: what clippy can hold (`core/clippy.toml`, the lint table).

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::command::{cargo, root};
use crate::scenario::SCENARIOS;

/// A crate of ours and what it may import of ours. A new crate is a new row.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("wire", &["model"]),
    ("rtp", &["model"]),
    ("e2ee", &[]),
    ("peer", &["model", "rtp"]),
    ("sfu", &["model", "rtp"]),
    ("settings", &["wire", "model"]),
    ("edge", &["peer", "sfu", "rtp", "wire", "model"]),
    ("incamera", &["edge", "settings", "wire", "model"]),
    ("sim", &["sfu", "rtp", "model"]),
    ("benches", &["e2ee", "wire", "peer", "sfu", "rtp", "model"]),
    ("fuzz", &["e2ee", "settings", "wire", "peer", "sfu", "rtp", "model"]),
    ("load", &["e2ee", "wire", "peer", "rtp", "model"]),
    ("xtask", &[]),
];

/// What no core may reach, however far away.
const NOT_IN_CORE: &[&str] = &["tokio", "mio", "socket2", "async-std", "smol", "rand"];

/// What the binary that faces clients may not reach: frame decryption, recording, storage.
const NOT_IN_SERVER: &[&str] = &["e2ee", "mux", "recorder", "store", "livekit"];

/// Crates that bring WebRTC, and the only crate of ours that may name them.
const WEBRTC: (&[&str], &str) = (&["dimpl", "sctp-proto"], "peer");

/// The only files that may hold `unsafe`: system calls, the allocator that wipes, and one that counts and is
/// not shipped.
const UNSAFE: &[&str] = &[
    "shell/edge/src/sys.rs",
    "shell/edge/src/machine.rs",
    "shell/edge/src/memory.rs",
    "benches/src/sys.rs",
];

/// What no Rust file may say, and why. Split, so that this file does not say it.
const BANNED: &[(&str, &str)] = &[
    (concat!("todo", "!("), "finish it or leave it out"),
    (concat!("unimplemented", "!("), "finish it or leave it out"),
    (concat!("dbg", "!("), "a trace of debugging"),
    (concat!("TO", "DO"), "finish it or file an issue"),
    (concat!("FIX", "ME"), "fix it"),
    (concat!("#[ign", "ore"), "a test that does not run is no test"),
    (concat!("#[should", "_panic"), "assert on the error"),
    (concat!("#[al", "low("), "#[expect(lint, reason = \"…\")] instead"),
    (concat!("#![al", "low("), "#![expect(lint, reason = \"…\")] instead"),
];

/// The only files that may name the log's library: the macro that takes classified values alone, and where
/// lines go.
const LOG: &[&str] =
    &["shell/edge/src/log.rs", "bin/incamera/src/log.rs", "bin/incamera/src/lines.rs"];

/// What no text file may say: a path of one machine, an index of packages.
const BANNED_EVERYWHERE: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("--index", "-url"),
    concat!("--extra-index", "-url"),
];

pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn printed(command: &mut Command) -> String {
    let output = command.current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every file of the work tree that git knows or would add, sorted.
pub(crate) fn files() -> Vec<String> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let names: BTreeSet<String> =
        printed(Command::new("git").args(list)).lines().map(str::to_owned).collect();
    names.into_iter().filter(|name| root().join(name).is_file()).collect()
}

fn rust_files() -> impl Iterator<Item = (String, String)> {
    files().into_iter().filter(|name| name.ends_with(".rs")).map(|name| {
        let text = read(&name);
        (name, text)
    })
}

pub(crate) fn metadata(arguments: &[&str]) -> Value {
    let text =
        printed(cargo().args(["metadata", "--format-version", "1", "--locked"]).args(arguments));
    serde_json::from_str(&text).unwrap()
}

pub(crate) fn packages(metadata: &Value) -> &[Value] {
    metadata["packages"].as_array().unwrap()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The names of all crates that `package` links, itself included.
fn linked(package: &str) -> BTreeSet<String> {
    let tree = ["tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}"];
    printed(cargo().args(tree).args(["--package", package]))
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

/// Folder (`core`, `shell`, …) and name of each crate of ours.
fn our_crates() -> Vec<(String, String)> {
    let metadata = metadata(&["--no-deps"]);
    let place = |package: &Value| {
        let manifest = Path::new(text(&package["manifest_path"]));
        let folder = manifest.strip_prefix(root()).unwrap().parent().unwrap();
        (folder.to_string_lossy().into_owned(), text(&package["name"]).to_owned())
    };
    packages(&metadata).iter().map(place).collect()
}

pub(crate) fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn imports_follow_the_table() {
    let mut problems = Vec::new();
    for package in packages(&metadata(&["--no-deps"])) {
        let name = text(&package["name"]);
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(row, _)| *row == name) else {
            problems.push(format!("{name} has no row in MAY_IMPORT (xtask/src/tidy.rs)"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap() {
            let imported = text(&dependency["name"]);
            if !dependency["path"].is_null() && !allowed.contains(&imported) {
                problems.push(format!("{name} may not import {imported}"));
            }
            if WEBRTC.0.contains(&imported) && name != WEBRTC.1 {
                problems.push(format!("{name} names {imported}; only {} may", WEBRTC.1));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn cores_reach_no_io() {
    let mut problems = Vec::new();
    for (folder, name) in our_crates() {
        if folder.starts_with("core/") {
            let linked = linked(&name);
            for banned in NOT_IN_CORE.iter().filter(|banned| linked.contains(**banned)) {
                // SCTP draws its tags by itself: the named exception to purity.
                if !(name == "peer" && *banned == "rand") {
                    problems
                        .push(format!("{name} reaches {banned}: cargo tree -p {name} -i {banned}"));
                }
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn the_server_links_no_media_decryption() {
    let linked = linked("incamera");
    assert!(linked.contains("edge"), "cargo tree listed {linked:?}");
    for banned in NOT_IN_SERVER {
        assert!(!linked.contains(*banned), "incamera links {banned}");
    }
}

/// The switches that take guards out are compiled only for those who ask for them twice (decision 0015).
#[test]
fn no_server_has_a_switch_that_was_not_asked_for() {
    const SWITCHED: &[&str] = &[
        "bin/incamera/src/process.rs",
        "core/peer/src/ice.rs",
        "core/peer/src/lib.rs",
        "core/rtp/src/lib.rs",
        "core/rtp/src/srtp/replay.rs",
        "core/sfu/src/forward/arena.rs",
        "core/sfu/src/lib.rs",
        "core/wire/src/lib.rs",
        "core/wire/src/revocation.rs",
        "shell/edge/src/hub/request.rs",
        "shell/edge/src/lib.rs",
        "shell/edge/src/memory.rs",
        "shell/edge/src/socket.rs",
        "shell/edge/src/worker/hop.rs",
        "shell/edge/src/worker/turn.rs",
        "shell/edge/src/worker/turn/drain.rs",
    ];
    let features = |more: &[&str]| {
        let tree = ["tree", "--locked", "--package", "incamera", "--edges", "normal"];
        let format = ["--prefix", "none", "--format", "{p} [{f}]"];
        printed(cargo().args(tree).args(format).args(more))
    };
    let feature = concat!("sabot", "age]");
    assert!(!features(&[]).contains(feature), "a server has it that nobody asked for it");
    assert!(features(&["--features", "sabotage"]).contains(feature), "nothing would be found");
    let code = concat!("cfg(feature = \"", "sabotage\")");
    let switched: Vec<String> =
        rust_files().filter(|(_, text)| text.contains(code)).map(|(name, _)| name).collect();
    assert_eq!(switched, SWITCHED);
    let guard = read("shell/edge/src/sabotage.rs");
    assert!(guard.contains("option_env!(\"INCAMERA_SABOTAGE_IS_MEANT\").is_some()"));
}

#[test]
fn cores_forbid_unsafe_code_and_the_rest_keeps_it_in_one_place() {
    let mut problems = Vec::new();
    for (folder, _) in our_crates() {
        if folder.starts_with("core/") {
            let path = format!("{folder}/src/lib.rs");
            if !read(&path).contains("#![forbid(unsafe_code)]") {
                problems.push(format!("{path} lacks #![forbid(unsafe_code)]"));
            }
        }
    }
    for (name, text) in rust_files() {
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let words = [concat!("unsafe", " {"), concat!("unsafe", " fn"), concat!("unsafe", " impl")];
        let is_unsafe = code.into_iter().any(|line| words.iter().any(|word| line.contains(word)));
        if is_unsafe && !UNSAFE.contains(&name.as_str()) {
            problems.push(format!("{name} holds unsafe code; only {UNSAFE:?} may"));
        }
    }
    assert_none(&problems);
}

#[test]
fn rust_files_open_with_a_header_and_keep_to_the_width() {
    let mut problems = Vec::new();
    for (name, text) in rust_files() {
        if !text.starts_with("//! ") {
            problems.push(format!("{name} does not open with a //! header"));
        }
        for (index, line) in text.lines().enumerate() {
            if line.chars().count() > 120 && !line.contains("://") && !line.contains('"') {
                problems.push(format!("{name}:{} is wider than 120 columns", index + 1));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn nothing_banned_is_said() {
    let mut problems = Vec::new();
    for (name, text) in rust_files() {
        for (index, line) in text.lines().enumerate() {
            for (banned, reason) in BANNED.iter().filter(|(banned, _)| line.contains(banned)) {
                problems.push(format!("{name}:{}: `{banned}`: {reason}", index + 1));
            }
        }
    }
    for name in files() {
        // Not text: nothing to read.
        let Ok(text) = std::fs::read_to_string(root().join(&name)) else { continue };
        for (index, line) in text.lines().enumerate() {
            for banned in BANNED_EVERYWHERE.iter().filter(|banned| line.contains(**banned)) {
                problems.push(format!("{name}:{}: `{banned}` is of one machine", index + 1));
            }
            if name.ends_with("package-lock.json") && line.contains("\"resolved\": \"http") {
                problems.push(format!("{name}:{}: omit-lockfile-registry-resolved", index + 1));
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn nothing_is_logged_but_classified_values() {
    let log = concat!("trac", "ing");
    let elsewhere = rust_files().filter(|(name, _)| !LOG.contains(&name.as_str()));
    let problems: Vec<String> = elsewhere
        .filter(|(_, text)| {
            text.contains(&format!("{log}::")) || text.contains(&format!("use {log}"))
        })
        .map(|(name, _)| format!("{name}: `{log}`: log by `edge::log!`"))
        .collect();
    assert_none(&problems);
    assert!(LOG.iter().all(|name| read(name).contains(log)), "the list is up to date");
}

/// Whoever wraps a value in `LogData` or `LocalText` vouches for it: what a type of its own keeps from a log is not
/// unwrapped there.
#[test]
fn what_does_not_print_is_not_unwrapped_for_the_log() {
    let wrappers = [concat!("Log", "Data("), concat!("Local", "Text(")];
    let problems: Vec<String> = rust_files()
        .flat_map(|(name, text)| {
            let all = wrappers.into_iter().flat_map(|wrapper| text.split(wrapper).skip(1));
            let wrapped = all.map(within).filter(|it| {
                [".expose()", ".into_inner()", ".as_str()"].iter().any(|way| it.contains(way))
            });
            wrapped.map(|it| format!("{name}: logged as ({it})")).collect::<Vec<_>>()
        })
        .collect();
    assert_none(&problems);
    assert_eq!(within("f(a.expose())), b"), "f(a.expose())");
}

/// What stands before the parenthesis that closes one opened before `text`.
fn within(text: &str) -> &str {
    let mut depth = 1;
    let closing = text.char_indices().find(|(_, letter)| {
        depth += match letter {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        depth == 0
    });
    closing.and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// The quoted strings of the list `key = [ … ]` in `deny.toml`.
fn list_in_deny(key: &str) -> Vec<String> {
    let file = read("deny.toml");
    let (_, rest) = file.split_once(&format!("\n{key} = [")).unwrap();
    let (list, _) = rest.split_once("\n]").unwrap();
    let lines = list.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.flat_map(|line| line.split('"').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// Whether one way through an SPDX expression needs only licences of `allowed`.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    // Crates published long ago write `A/B` for `A OR B`.
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut place = 0;
    any_of(&words, &mut place, allowed) && place == words.len()
}

fn any_of(words: &[&str], place: &mut usize, allowed: &[String]) -> bool {
    let mut is_good = all_of(words, place, allowed);
    while words.get(*place) == Some(&"OR") {
        *place += 1;
        is_good |= all_of(words, place, allowed);
    }
    is_good
}

fn all_of(words: &[&str], place: &mut usize, allowed: &[String]) -> bool {
    let mut is_good = licence(words, place, allowed);
    while words.get(*place) == Some(&"AND") {
        *place += 1;
        is_good &= licence(words, place, allowed);
    }
    is_good
}

fn licence(words: &[&str], place: &mut usize, allowed: &[String]) -> bool {
    let Some(word) = words.get(*place) else { return false };
    *place += 1;
    if *word == "(" {
        let is_good = any_of(words, place, allowed);
        *place += 1;
        return is_good;
    }
    if words.get(*place) == Some(&"WITH") {
        let with = format!("{word} WITH {}", words.get(*place + 1).unwrap_or(&""));
        *place += 2;
        return allowed.contains(&with);
    }
    allowed.iter().any(|licence| licence == word)
}

#[test]
fn licences_are_read_as_spdx() {
    let allowed = ["MIT".to_owned(), "ISC".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()];
    for (expression, expect) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0 OR MIT", true),
        ("ISC AND (GPL-3.0 OR MIT)", true),
        ("ISC AND GPL-3.0", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("Apache-2.0 WITH other", false),
        ("", false),
        ("(MIT", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), expect, "{expression}");
    }
}

#[test]
fn dependencies_have_licences_that_we_accept() {
    let allowed = list_in_deny("allow");
    let (mut problems, mut judged) = (Vec::new(), 0);
    let (metadata, built) = (metadata(&[]), built());
    for package in packages(&metadata) {
        let (name, licence) = (text(&package["name"]), text(&package["license"]));
        if !built.contains(&format!("{name} v{}", text(&package["version"]))) {
            continue;
        }
        judged += 1;
        if !is_allowed(licence, &allowed) {
            problems.push(format!("{name}: `{licence}` is not in deny.toml"));
        }
    }
    assert_none(&problems);
    assert!(judged > 200, "only {judged} were found");
}

/// Name and version of each crate that is built for some machine. `cargo metadata` and the lock file name more: what
/// a crate could use, too, if another of its features were on (`name?/feature`).
fn built() -> BTreeSet<String> {
    let tree = ["tree", "--locked", "--workspace", "--target", "all", "--prefix", "none"];
    let edges = ["--edges", "normal,build,dev", "--format", "{p}"];
    let words = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    printed(cargo().args(tree).args(edges)).lines().map(words).collect()
}

#[test]
fn dependencies_come_from_one_registry() {
    for line in read("Cargo.lock").lines().filter(|line| line.starts_with("source = ")) {
        assert!(line.contains("rust-lang/crates.io-index"), "{line}");
    }
}

/// What `cargo xtask prove` shows as measured can be wrong, and fails then.
#[test]
fn no_figure_is_measured_that_cannot_fail() {
    let scripts = files();
    let scripts = scripts.iter().filter(|name| name.starts_with("tests/clients/python/"));
    let sure = |name: &&String| {
        let text: String = read(name).split_whitespace().collect();
        text.contains("measured(True,")
    };
    assert_none(&scripts.filter(sure).cloned().collect::<Vec<_>>());
}

/// That a token was refused, and that without the key no frame was opened, is checked behind a `never`, since no second
/// try makes the contrary good.
#[test]
fn what_must_never_be_is_said_before_it_is_checked() {
    let (mut problems, mut count) = (Vec::new(), 0);
    for name in files() {
        let is_script = name.ends_with(".py") || name.ends_with(".mjs");
        if name.starts_with("tests/clients/") && is_script {
            let checks = checks_of_what_must_never_be(&read(&name));
            count += checks.len();
            let silent = checks.into_iter().filter(|(_, is_said)| !is_said);
            problems.extend(silent.map(|(line, _)| format!("{name}:{line}: no `never` before it")));
        }
    }
    assert_none(&problems);
    assert!(count > 15, "{count}: is this how they are written?");
}

/// The line of each such check, and whether a `never` stands shortly before it.
fn checks_of_what_must_never_be(script: &str) -> Vec<(usize, bool)> {
    const SIGNS: [&str; 4] = ["== 401", "== (401", "framesDecoded === 0", "audioEnergy === 0"];
    const CHECKS: [&str; 3] = ["check(", "measured(", "control("];
    const BEFORE: usize = 8;
    let lines: Vec<&str> = script.lines().collect();
    let has = |line: &str, words: &[&str]| words.iter().any(|word| line.contains(word));
    let mut checks = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        // The call may have its words on lines of their own.
        let is_check = lines[at.saturating_sub(1)..=at].iter().any(|line| has(line, &CHECKS));
        if is_check && has(line, &SIGNS) {
            let before = &lines[at.saturating_sub(BEFORE)..at];
            checks.push((at + 1, before.iter().any(|line| line.contains("never("))));
        }
    }
    checks
}

#[test]
fn a_check_without_never_is_noticed() {
    let said = "never(status == 200, 'open')\ncheck(status == 401, 'shut')";
    assert_eq!(checks_of_what_must_never_be(said), [(2, true)]);
    let silent = "measured(\n  video.framesDecoded === 0 && audio.audioEnergy === 0,\n)";
    assert_eq!(checks_of_what_must_never_be(silent), [(2, false)]);
    assert_eq!(checks_of_what_must_never_be("if status == 401:\n    return"), []);
}

/// Whoever asks for JSON reads standard output: what is on the way there is told on the other.
#[test]
fn nothing_that_is_prepared_prints_beside_an_answer() {
    let setup = read("xtask/src/setup.rs");
    let printing: Vec<&str> =
        setup.lines().map(str::trim).filter(|line| line.starts_with("println!")).collect();
    assert_eq!(printing, ["println!(\"everything is there\");"], "the answer of `setup` itself");
    let builds = ["command", "lanes", "network", "scan", "server"];
    let builds = builds.map(|name| format!("xtask/src/{name}.rs"));
    assert_none(
        &builds.into_iter().filter(|file| read(file).contains("println!")).collect::<Vec<_>>(),
    );
}

#[test]
fn the_map_names_every_crate() {
    let map = read("ARCHITECTURE.md");
    for (folder, name) in our_crates() {
        assert!(map.contains(&format!("`{folder}`")), "ARCHITECTURE.md does not name {name}");
    }
    assert!(map.lines().count() <= 280, "ARCHITECTURE.md is longer than 280 lines");
}

/// An invariant, or a flaw of others, names its tests as `path/to/file.rs` → `test_name`, `another_of_the_same_file`.
#[test]
fn every_test_that_the_docs_name_exists() {
    let mut problems = Vec::new();
    for (document, least) in [("ARCHITECTURE.md", 60), ("docs/regressions.md", 20)] {
        let text = read(document);
        let named = tests_named(&text);
        assert!(named.len() > least, "only {} tests found in {document}", named.len());
        for (file, test) in named {
            let is_there = std::fs::read_to_string(root().join(file)).is_ok_and(|text| {
                text.contains(&format!("fn {test}(")) || text.contains(&format!("\"{test}\""))
            });
            if !is_there {
                problems.push(format!("{document} names {file} → {test}, which is not there"));
            }
        }
    }
    assert_none(&problems);
}

fn tests_named(map: &str) -> Vec<(&str, &str)> {
    let pieces: Vec<&str> = map.split('`').collect();
    let mut named: Vec<(&str, &str)> = Vec::new();
    for triple in pieces.windows(3) {
        let [before, between, test] = triple else { continue };
        match (between.trim(), named.last()) {
            ("→", _) => named.push((before, test)),
            (",", Some((file, last))) if last == before => named.push((file, test)),
            _ => {}
        }
    }
    named
}

#[test]
fn tests_of_one_file_are_named_one_after_the_other() {
    let map = "`a.rs` → `one`, `two`,\n    `three`; black-box: `b.rs` → `four`. `five`, `six`";
    let expect = [("a.rs", "one"), ("a.rs", "two"), ("a.rs", "three"), ("b.rs", "four")];
    assert_eq!(tests_named(map), expect);
}

#[test]
fn decision_records_are_short_and_numbered() {
    let records: Vec<String> =
        files().into_iter().filter(|name| name.starts_with("docs/decisions/")).collect();
    assert!(!records.is_empty());
    // Numbers are given out before records are written: some never were.
    let mut numbers = BTreeSet::new();
    for name in &records {
        let number = name.strip_prefix("docs/decisions/").and_then(|name| name.split_once('-'));
        let number = number.map_or("", |(number, _)| number);
        let is_number = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
        assert!(is_number && numbers.insert(number), "{name} has no number of its own");
        let lines = read(name).lines().count();
        assert!(lines <= 25, "{name} has {lines} lines, 25 is the most");
    }
}

#[test]
fn every_scenario_script_is_in_the_table_and_there() {
    let mut problems = Vec::new();
    for scenario in SCENARIOS {
        if !root().join("tests/clients").join(scenario.script).is_file() {
            problems
                .push(format!("{} names {}, which is not there", scenario.name, scenario.script));
        }
    }
    for name in files() {
        let Some(script) = name.strip_prefix("tests/clients/") else { continue };
        // Scripts lie flat; what they share lies in a folder or is listed.
        let is_script = matches!(script.split_once('/'), Some(("web", file)) if file.ends_with(".mjs"))
            || matches!(script.split_once('/'), Some(("python", file)) if file.ends_with(".py"));
        let is_shared = script.split('/').count() > 2 || SHARED_BY_SCENARIOS.contains(&script);
        if is_script && !is_shared && SCENARIOS.iter().all(|scenario| scenario.script != script) {
            problems.push(format!("{name} has no row in xtask/src/scenario.rs"));
        }
    }
    assert_none(&problems);
}

/// Scripts that use clients or tools of ours, and what for.
const USERS_OF_OURS: &[(&str, &str)] = &[
    ("web/frame_encryption.mjs", "pits core/e2ee against LiveKit's own"),
    ("python/forgotten.py", "media holds what is looked for"),
    ("python/stamped.py", "says what is looked for"),
    ("python/unacknowledged.py", "media holds what is looked for"),
    ("python/blind.py", "media holds what is looked for"),
    ("python/marked.py", "media holds what is looked for"),
    ("python/guest.py", "says what is looked for"),
    ("python/quiet.py", "says what is looked for"),
    ("python/load_call.py", "clients know what they missed"),
    ("python/flood.py", "clients know what they missed, and strangers are many"),
    ("python/front_door.py", "strangers are many"),
    ("python/overload.py", "many clients, which know what they missed"),
    ("python/abuse.py", "clients misbehave, and others know what they missed"),
    ("python/insistence.py", "clients know what they missed"),
];

#[test]
fn scripts_that_use_programs_of_ours_are_named() {
    let signs =
        ["INCAMERA_LOAD", "INCAMERA_HOSTILE", "INCAMERA_FRAME_JUDGE", "load_call", "marked"];
    let uses = |text: &str| {
        text.lines().any(|line| {
            let is_import = line.contains("import ");
            signs
                .iter()
                .any(|sign| line.contains(sign) && (is_import || sign.starts_with("INCAMERA")))
        })
    };
    let scripts = files()
        .into_iter()
        .filter_map(|name| Some(name.strip_prefix("tests/clients/")?.to_owned()));
    let found: BTreeSet<String> =
        scripts.filter(|it| uses(&read(&format!("tests/clients/{it}")))).collect();
    let named: BTreeSet<String> =
        USERS_OF_OURS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(found, named);
}

/// What scenarios import; all beside them is a scenario.
const SHARED_BY_SCENARIOS: &[&str] = &[
    "python/authority.py",
    "python/client.py",
    "python/clock.py",
    "python/datagrams.py",
    "python/figures.py",
    "python/guarded.py",
    "python/load_call.py",
    "python/marked.py",
    "python/media.py",
    "python/memory.py",
    "python/odd_authority.py",
    "python/guest.py",
    "python/own_server.py",
    "python/page.py",
    "python/pebble.py",
    "python/process.py",
    "python/sdk_person.py",
    "python/stranger.py",
    "python/whereabouts.py",
    "web/busy_picture.mjs",
    "web/dev_server.mjs",
    "web/driver.mjs",
    "web/mint.mjs",
    "web/page.mjs",
    "web/room_client.mjs",
    "web/lossy_server.mjs",
    "web/sdk_page.mjs",
    "web/stamped_call.mjs",
    "web/sdk_person.mjs",
    "web/signal_proxy.mjs",
    "web/throttled_network.mjs",
];

#[test]
fn every_path_in_the_map_exists() {
    let map = read("ARCHITECTURE.md");
    let starts = ["core/", "shell/", "bin/", "xtask/", "docs/", "tests/", "web/"];
    let ends = ["/", ".rs", ".toml", ".mjs", ".py"];
    let mut problems = Vec::new();
    for path in map.split('`').filter(|piece| !piece.contains(char::is_whitespace)) {
        let is_path = starts.iter().any(|start| path.starts_with(start))
            && ends.iter().any(|end| path.ends_with(end));
        if is_path && !root().join(path).exists() {
            problems.push(format!("ARCHITECTURE.md names {path}, which is not there"));
        }
    }
    assert_none(&problems);
}

#[test]
fn the_readme_names_the_versions_that_ci_runs() {
    let readme = read("README.md");
    let mut pinned = Vec::new();
    for file in ["web/package.json", "tests/clients/web/package.json"] {
        let package: Value = serde_json::from_str(&read(file)).unwrap();
        for (name, version) in package["dependencies"].as_object().unwrap() {
            if name.starts_with("livekit") {
                pinned.push(format!("{name} {}", text(version)));
            }
        }
    }
    for line in read("tests/clients/python/requirements.txt").lines() {
        if line.starts_with("livekit==") || line.starts_with("livekit-api==") {
            pinned.push(line.replace("==", " "));
        }
    }
    assert!(pinned.len() >= 3, "{pinned:?}");
    for version in pinned {
        assert!(readme.contains(&version), "README.md does not name `{version}`");
    }
}

/// What systemd's own judge (scenario `deployment`) has no opinion on.
#[test]
fn the_service_is_started_again_however_often_it_ends() {
    let unit = read("deploy/incamera.service");
    let section = |name: &str| {
        let (_, rest) = unit.split_once(&format!("\n[{name}]\n")).unwrap();
        let lines = rest.lines().take_while(|line| !line.starts_with('['));
        lines.filter(|line| !line.starts_with('#')).collect::<BTreeSet<_>>()
    };
    assert!(section("Unit").contains("StartLimitIntervalSec=0"), "elsewhere it does nothing");
    let service = section("Service");
    for line in ["Restart=always", "RestartSec=1"] {
        assert!(service.contains(line), "{line}: {service:?}");
    }
}

/// An image is built of what the list at the root names. Another list is taken instead of that, if there is one, and by
/// one that only names what stays out keys that lie here come into a layer.
#[test]
fn an_image_is_built_of_what_is_named_alone() {
    let list = read(".dockerignore");
    let first = list.lines().find(|line| !line.starts_with('#') && !line.is_empty());
    assert_eq!(first, Some("*"), "all stays out but what is named after it");
    for other in [
        ".containerignore",
        "deploy/Containerfile.containerignore",
        "deploy/Containerfile.dockerignore",
    ] {
        assert!(!root().join(other).exists(), "{other} is taken instead of .dockerignore");
    }
    let named: BTreeSet<&str> = list.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for (folder, name) in our_crates() {
        let top = folder.split('/').next().unwrap_or_default();
        assert!(named.contains(top), "{name} is not let in, and cargo misses it");
    }
}

#[test]
fn ci_has_one_definition() {
    let script = read(".ci/run");
    let commands: Vec<&str> =
        script.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert_eq!(commands, ["exec cargo xtask ci"]);
}
