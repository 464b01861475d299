//! Black-box scenarios: the vendors' own clients against the server as it is shipped.
//!
//! Owns: the table of scenarios; running one with a server, a time limit and a log scan.
//! Guarantees: a scenario sees the server only as an address; it ends in its time with all that it
//! started; the server ends gracefully and its log says nothing that it must not.
//! Not here: what a scenario does (`tests/clients/`), building clients (`setup`).

use std::collections::BTreeSet;
use std::env;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::Failure;
use crate::ci::Count;
use crate::command::{Group, Log, cargo, find, root, target};
use crate::lanes::{self, Ended, Needs, Try};
use crate::network::Network;
use crate::server::{self, API_KEY, API_SECRET, Command, Make, Ports, Server};
use crate::{sabotage, scan, setup};

pub(crate) const HELP: &str = "
Usage: cargo xtask test [NAME…] [--list]

Runs black-box scenarios (all of them, or those named): each gets a fresh `incamera dev`, or `serve`
with keys of all kinds, on free ports of 127.0.0.1 (some: of an address before a network namespace, in
which the script runs), or ports at which its script starts servers itself; then its script runs with a
time limit. It passes when the script ends with 0, the server ends gracefully after SIGTERM, and the server's log
holds no token, key, secret, identity or client address. Many need root. Those that measure nothing closely run two at
a time, before the others; what fails so is tried again alone, but not where something was that must never be: a
secret that was found, a forged token that was taken, a frame without the key that was seen.

A script finds in its environment:
  INCAMERA_URL        http://127.0.0.1:PORT of its server
  INCAMERA_KEY        devkey
  INCAMERA_SECRET     secret
  INCAMERA_BIN        the server's binary, for `incamera token create`
  INCAMERA_CHROMIUM   the browser
  INCAMERA_FIREFOX    the other one
  INCAMERA_BROWSER    firefox, if that is to be the browser
  INCAMERA_FRAME_JUDGE  core/e2ee behind its standard input and output, for `frame_encryption`
  INCAMERA_XTASK      this program, for `xtask demo`
  INCAMERA_LOAD       clients that know what they missed, and can misbehave or be many
  INCAMERA_SETTINGS   with `serve`: the folder of its settings and keys
  INCAMERA_PID        the server's process
  INCAMERA_HTTP_PORT  INCAMERA_UDP_PORT  INCAMERA_TCP_PORT  INCAMERA_SERVER_LOG
                      the ports of its server, and the file of its log: a script that starts servers
                      itself gives them these ports and appends their logs there
  INCAMERA_HOSTILE    the sender of hostile datagrams
  INCAMERA_HOSTILE_COUNT  how many of them, for `front_door`
  INCAMERA_SENSITIVE  a file: each line that the script appends is a value that the server's log must
                      not hold, as names, rooms, keys and words; tokens, the API secret, the identities ada, ben, cy,
                      eve and grace, and those of the load client are looked for without being named

What a script prints after `  measured: ` and `  control: ` is what `cargo xtask prove` shows; `  expects: COUNTER N`
asks the server for a counter that has reached N at its end.

A new scenario is a file in tests/clients/web/ (.mjs) or tests/clients/python/ (.py) and a row in
xtask/src/scenario.rs. Logs stay in target/xtask/scenario/, those of a second try as NAME.again.
";

/// Who takes part in scenarios, and what those are called of whom there are many: their identities may be in no log.
const PEOPLE: [&str; 8] = ["ada", "ben", "cy", "eve", "grace", "Publisher", "Subscriber", "Guest"];

/// To whose servers nobody comes, so that there is no name that their logs could hold.
const DESERTED: &[&str] = &["started"];

/// How a failure begins that is a finding in a server's log.
const TOO_MUCH: &str = "too much is logged";
/// What a script says of what no processor excuses (`never` in `client.py` and `driver.mjs`).
const NEVER: &str = "this must never be";

/// Scenarios whose scripts have the server panic.
const PANICKING: &[&str] = &["acme", "panic"];

/// What pages are opened in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Browser {
    Chromium,
    Firefox,
}

/// One behaviour, seen from outside.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Below `tests/clients/`; the ending says what runs it.
    pub(crate) script: &'static str,
    /// From the start of the script; the server's start and end are not counted.
    pub(crate) limit: Duration,
    /// Which of the server's commands it runs against.
    pub(crate) server: Command,
    /// What the server is started with, beside its ports.
    options: &'static [&'static str],
    /// What the server must have counted, for what no client can see.
    counted: Option<&'static str>,
    /// Whether the script runs in a network of its own, in which it may be anybody.
    is_apart: bool,
    browser: Browser,
    /// Whether the server is one in which clients may raise faults.
    is_fragile: bool,
    /// Whether it does less where less is asked for.
    pub(crate) is_scaled: bool,
    /// What must be nobody else's meanwhile.
    pub(crate) needs: Needs,
}

const fn scenario(name: &'static str, script: &'static str, limit_s: u64) -> Scenario {
    let limit = Duration::from_secs(limit_s);
    Scenario {
        name,
        script,
        limit,
        server: Command::Dev,
        options: &[],
        counted: None,
        is_apart: false,
        browser: Browser::Chromium,
        is_fragile: false,
        is_scaled: false,
        needs: Needs::Machine,
    }
}

const fn served(name: &'static str, script: &'static str, limit_s: u64) -> Scenario {
    Scenario { server: Command::Serve, ..scenario(name, script, limit_s) }
}

/// Whose script starts servers by itself, each in its own way.
const fn own(name: &'static str, script: &'static str, limit_s: u64) -> Scenario {
    Scenario { server: Command::Own, ..scenario(name, script, limit_s) }
}

impl Scenario {
    /// With a server that was started with `options` and counts `counted` at its end.
    const fn over(self, options: &'static [&'static str], counted: &'static str) -> Self {
        Self { options, counted: Some(counted), ..self }
    }

    /// Against a server in which clients may raise faults: not the shipped one.
    const fn fragile(self) -> Self {
        Self { is_fragile: true, ..self }
    }

    /// Doing as much as is asked for.
    const fn scaled(self) -> Self {
        Self { is_scaled: true, ..self }
    }

    /// Beside another: it measures neither time nor loss closely, waits most of its time, and is in nobody's way.
    const fn shared(self) -> Self {
        let needs = if self.is_apart { Needs::Network } else { Needs::Nothing };
        Self { needs, ..self }
    }

    /// In a network namespace of its own.
    const fn apart(self) -> Self {
        Self { is_apart: true, ..self }
    }

    /// In Firefox, which has no way to a server at a loopback address.
    const fn in_firefox(self) -> Self {
        Self { browser: Browser::Firefox, ..self.apart() }
    }
}

/// Every participant on another worker than the one before.
const SPREAD: &[&str] = &["--workers", "2", "--spread-at", "1"];
/// The same with figures for whoever asks.
const SPREAD_WITH_METRICS: &[&str] = &["--workers", "2", "--spread-at", "1", "--metrics-port", "0"];

/// One worker, and little that it may do.
const SOON_BUSY: &[&str] = &["--workers", "1", "--cpu-load-limit", "0.15"];

/// Every scenario, cheapest first.
pub(crate) const SCENARIOS: &[Scenario] = &[
    own("started", "python/started.py", 60).shared(),
    scenario("refused_tokens", "python/refused_tokens.py", 60).shared(),
    scenario("server_sdk", "web/server_sdk.mjs", 60).shared(),
    scenario("join", "python/join.py", 60).shared(),
    scenario("room_service", "python/room_service.py", 180).shared(),
    own("observed", "python/observed.py", 120).shared(),
    scenario("data", "python/data.py", 90).shared(),
    scenario("publish", "python/publish.py", 180),
    scenario("h264", "python/h264.py", 90).shared(),
    scenario("relay", "python/relay.py", 90).over(SPREAD, "packets_relayed").shared(),
    scenario("e2ee", "python/e2ee.py", 120).shared(),
    served("dynamic_keys", "python/dynamic_keys.py", 180).shared(),
    own("revoked", "python/revoked.py", 90).shared(),
    own("tls", "python/tls.py", 180).shared(),
    own("acme", "python/acme.py", 240).shared(),
    own("deployment", "python/deployment.py", 90).shared(),
    own("doctor", "python/doctor.py", 120).shared(),
    own("addresses", "python/addresses.py", 180),
    own("tcp", "python/tcp.py", 240),
    own("faults", "python/faults.py", 180),
    scenario("forgotten", "python/forgotten.py", 150).over(SPREAD, "packets_relayed").shared(),
    scenario("quiet", "python/quiet.py", 90).over(SPREAD, "packets_relayed"),
    own("stamped", "python/stamped.py", 170),
    scenario("unacknowledged", "python/unacknowledged.py", 150).apart(),
    scenario("slow_reader", "python/slow_reader.py", 120),
    scenario("blind", "python/blind.py", 60).over(SPREAD_WITH_METRICS, "packets_relayed").shared(),
    scenario("replay", "python/replay.py", 60).shared(),
    scenario("spoofed_handshake", "python/spoofed_handshake.py", 90),
    scenario("stolen_path", "python/stolen_path.py", 90).over(SPREAD, "hops_made"),
    scenario("panic", "python/panic.py", 150)
        .over(SPREAD_WITH_METRICS, "packets_relayed")
        .fragile(),
    scenario("abuse", "python/abuse.py", 60),
    scenario("insistence", "python/insistence.py", 120),
    scenario("largest", "python/largest.py", 240).shared(),
    scenario("given_back", "python/given_back.py", 120).shared(),
    scenario("front_door", "python/front_door.py", 360).apart().scaled(),
    scenario("flood", "python/flood.py", 150).apart(),
    scenario("overload", "python/overload.py", 120).over(SOON_BUSY, "joins_refused_busy").apart(),
    scenario("two_pages", "web/two_pages.mjs", 60).shared(),
    scenario("remembered", "web/remembered.mjs", 60).shared(),
    scenario("devices", "web/devices.mjs", 120).shared(),
    scenario("wrong_key", "web/wrong_key.mjs", 60).shared(),
    scenario("unopened", "web/unopened.mjs", 180).shared(),
    scenario("aes_256", "web/aes_256.mjs", 60).shared(),
    scenario("late_joiner", "web/late_joiner.mjs", 60),
    scenario("layer_change", "web/layer_change.mjs", 120),
    scenario("rotate_key", "web/rotate_key.mjs", 150),
    scenario("late_offer", "web/late_offer.mjs", 60).shared(),
    scenario("resume", "web/resume.mjs", 60),
    scenario("full_reconnect", "web/full_reconnect.mjs", 60),
    scenario("interrupted", "web/interrupted.mjs", 120).shared(),
    own("unnoticed", "web/unnoticed.mjs", 120).shared(),
    scenario("sdk_alone", "web/sdk_alone.mjs", 120).shared(),
    scenario("force_tcp", "web/force_tcp.mjs", 90),
    own("lan", "web/lan.mjs", 120),
    own("loss", "web/loss.mjs", 150),
    own("throttled", "web/throttled.mjs", 150),
    own("demo", "web/demo.mjs", 300).apart().shared(),
    own("firefox", "web/firefox.mjs", 120).apart().shared(),
    scenario("firefox_force_tcp", "web/force_tcp.mjs", 90).in_firefox().shared(),
    scenario("firefox_full_reconnect", "web/full_reconnect.mjs", 60).in_firefox().shared(),
    scenario("firefox_layer_change", "web/layer_change.mjs", 120).in_firefox(),
    scenario("firefox_resume", "web/resume.mjs", 60).in_firefox().shared(),
    scenario("firefox_unopened", "web/unopened.mjs", 180).in_firefox().shared(),
    scenario("accessibility", "web/accessibility.mjs", 180).shared(),
    scenario("frame_encryption", "web/frame_encryption.mjs", 300),
];

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    if arguments.iter().any(|argument| argument == "--list") {
        for scenario in SCENARIOS {
            println!("{:<24}{:>4} s  {}", scenario.name, scenario.limit.as_secs(), scenario.script);
        }
        return Ok(());
    }
    let chosen = choose(arguments)?;
    setup::everything()?;
    println!("building the page and the server …");
    let log = Log::create("build")?;
    setup::build_page(&log)
        .and_then(|()| server::build(&log))
        .and_then(|()| build_tools(&log))
        .and_then(|()| build_fragile(&chosen, &log))
        .map_err(|failure| format!("{failure}\n{}", log.shown()))?;
    let count = run_all(&chosen);
    println!("{count}");
    if count.failed == 0 { Ok(()) } else { Err("a scenario failed".into()) }
}

/// Builds the program that `frame_encryption` pits against LiveKit's worker, and the clients whose media
/// `forgotten` looks for.
pub(crate) fn build_tools(log: &Log) -> Result<(), Failure> {
    let judge = ["--package", "e2ee", "--example", "frame_judge"];
    let load = ["--package", "load"];
    log.run(cargo().args(["build", "--release", "--locked"]).args(judge))?;
    log.run(cargo().args(["build", "--release", "--locked"]).args(load))
}

/// Builds the server in which clients may raise faults, if one of these scenarios asks for it.
pub(crate) fn build_fragile(scenarios: &[&Scenario], log: &Log) -> Result<(), Failure> {
    if !scenarios.iter().any(|scenario| scenario.is_fragile) {
        return Ok(());
    }
    sabotage::build(log)?;
    sabotage::is_apart()
}

fn choose(names: &[String]) -> Result<Vec<&'static Scenario>, Failure> {
    if names.is_empty() {
        return Ok(SCENARIOS.iter().collect());
    }
    names.iter().map(|name| named(name)).collect()
}

pub(crate) fn named(name: &str) -> Result<&'static Scenario, Failure> {
    let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
    found.ok_or_else(|| format!("there is no scenario `{name}`; see cargo xtask test --list"))
}

/// Runs `scenarios` and prints a line for each.
pub(crate) fn run_all(scenarios: &[&Scenario]) -> Count {
    let mut count = Count::default();
    lanes::run(
        scenarios.iter().map(|scenario| (*scenario, scenario.needs)).collect(),
        |scenario, which| run_one(scenario, Make::Shipped, Extent::Full, which),
        |_, failure| is_final(failure),
        |scenario, Ended { took, outcome, before }| {
            let verdict = if outcome.is_ok() { "PASS" } else { "FAIL" };
            println!("  {verdict} {:<28}{:6.1} s", scenario.name, took.as_secs_f32());
            if let Some(failure) = before {
                println!("       alone, after it failed beside another: {failure}");
            }
            match outcome {
                Ok(_) => count.passed += 1,
                Err(failure) => {
                    count.failed += 1;
                    println!("{failure}");
                }
            }
        },
    );
    count
}

/// Whether a failure beside another is one for good: what it names must never be, however little of a processor anybody
/// had.
pub(crate) fn is_final(failure: &Failure) -> bool {
    let said = failure.lines().next().unwrap_or_default();
    said.starts_with(TOO_MUCH) || said.contains(NEVER)
}

/// What a scenario that passed has shown.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    pub(crate) measured: Vec<String>,
    pub(crate) controls: Vec<String>,
}

/// How much a scenario does that can do less.
#[derive(Clone, Copy)]
pub(crate) enum Extent {
    Full,
    /// For `prove`, which has three minutes for everything.
    Brief,
}

impl Extent {
    /// Datagrams of strangers.
    const fn hostile_count(self) -> &'static str {
        match self {
            Self::Full => "10000000",
            Self::Brief => "1000000",
        }
    }
}

/// Runs one scenario against a server of this make, or against one in which faults may be raised if it needs that.
pub(crate) fn run_one(
    scenario: &Scenario,
    make: Make,
    extent: Extent,
    which: Try,
) -> Result<Shown, Failure> {
    let folder = match make {
        Make::Shipped | Make::Sabotaged(None) => "scenario".to_owned(),
        Make::Sabotaged(Some(guard)) => format!("sabotage/{guard}"),
    };
    let make = match make {
        Make::Shipped if scenario.is_fragile => Make::Sabotaged(None),
        Make::Shipped | Make::Sabotaged(_) => make,
    };
    // What the first try left is there to be read beside what came of the second.
    let name = match which {
        Try::First => scenario.name.to_owned(),
        Try::Again => format!("{}.again", scenario.name),
    };
    let server_log = Log::create(&format!("{folder}/{name}.server"))?;
    let log_path = server_log.path().to_owned();
    let settings = log_path.with_extension("settings");
    let network = if scenario.is_apart { Some(Network::make()?) } else { None };
    let address = network.as_ref().map_or(Ipv4Addr::LOCALHOST, |_| Network::server());
    let server = match scenario.server {
        Command::Dev => {
            Host::Server(Server::start_as(make, address, server_log, scenario.options)?)
        }
        Command::Serve => Host::Server(Server::serve(make, server_log, &settings)?),
        Command::Own => Host::Script(server_log, Ports::free()?),
    };
    let pid = server.pid();
    let ports = server.ports();
    let client_log = Log::create(&format!("{folder}/{name}.client"))?;
    let sensitive = Log::create(&format!("{folder}/{name}.sensitive"))?;
    let (program, script) = command_of(scenario.script);
    let (program, arguments) = match &network {
        Some(network) => network.inside(&program, script),
        None => (program, vec![script]),
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut client = Group::start(&program, &arguments, |command| {
        command
            .env("INCAMERA_URL", format!("http://{address}:{}", ports.http))
            .env("INCAMERA_KEY", API_KEY)
            .env("INCAMERA_SECRET", API_SECRET)
            .env("INCAMERA_BIN", make.binary())
            .env("INCAMERA_FRAME_JUDGE", target().join("release/examples/frame_judge"))
            .env("INCAMERA_LOAD", target().join("release/load"))
            .env("INCAMERA_HOSTILE", target().join("release/hostile"))
            .env("INCAMERA_HOSTILE_COUNT", extent.hostile_count())
            .env("INCAMERA_SENSITIVE", sensitive.path())
            .env("INCAMERA_XTASK", env::current_exe().map_err(|error| error.to_string())?)
            .env("INCAMERA_SETTINGS", &settings)
            .env("INCAMERA_PID", &pid)
            .env("INCAMERA_HTTP_PORT", ports.http.to_string())
            .env("INCAMERA_UDP_PORT", ports.udp.to_string())
            .env("INCAMERA_TCP_PORT", ports.tcp.to_string())
            .env("INCAMERA_SERVER_LOG", &log_path)
            .stdout(client_log.sink()?)
            .stderr(client_log.sink()?);
        for (variable, names) in
            [("INCAMERA_CHROMIUM", setup::CHROMIUM), ("INCAMERA_FIREFOX", setup::FIREFOX)]
        {
            command.envs(find(names).map(|browser| (variable, browser)));
        }
        if scenario.browser == Browser::Firefox {
            command.env("INCAMERA_BROWSER", "firefox");
        }
        Ok(())
    })?;
    let ended = client.wait(scenario.limit)?;
    drop(client);
    let (server_log, stopped) = server.stop();
    let (server, client, marked) = (server_log.read(), client_log.read(), sensitive.read());
    concluded(&Run { scenario, address, ports, ended, stopped, server, client, marked })
        .map_err(|failure| format!("{failure}\n{}\n{}", client_log.shown(), server_log.shown()))
}

/// What a scenario runs against.
enum Host {
    /// A server that runs as long as the script.
    Server(Server),
    /// Servers of the script; it ends them as well.
    Script(Log, Ports),
}

impl Host {
    fn pid(&self) -> String {
        match self {
            Self::Server(server) => server.pid().to_string(),
            Self::Script(..) => String::new(),
        }
    }

    fn ports(&self) -> Ports {
        match self {
            Self::Server(server) => server.ports(),
            Self::Script(_, ports) => *ports,
        }
    }

    fn stop(self) -> (Log, Result<(), Failure>) {
        match self {
            Self::Server(server) => server.stop(),
            Self::Script(log, _) => (log, Ok(())),
        }
    }
}

/// What one run left behind.
struct Run<'a> {
    scenario: &'a Scenario,
    address: Ipv4Addr,
    ports: Ports,
    /// How the script ended, if it did in its time.
    ended: Option<ExitStatus>,
    /// Whether the server ended well.
    stopped: Result<(), Failure>,
    /// The server's log.
    server: String,
    /// The script's.
    client: String,
    /// What the script marked as sensitive, a line for each.
    marked: String,
}

/// What a run has shown. A failure says in its first line all that went wrong, since some of it is final whatever the
/// rest is.
fn concluded(run: &Run<'_>) -> Result<Shown, Failure> {
    let wrong = [search(run).err(), calm(run).err(), judge(run).err(), run.stopped.clone().err()];
    let wrong: Vec<Failure> = wrong.into_iter().flatten().collect();
    if wrong.is_empty() { examine(run) } else { Err(wrong.join("; ")) }
}

impl Run<'_> {
    /// What the script marked, and so is there: once each, as they came.
    fn marked(&self) -> Vec<&str> {
        let mut seen = BTreeSet::new();
        self.marked.lines().filter(|line| !line.is_empty() && seen.insert(*line)).collect()
    }

    /// The same, and whoever may be there without being marked: the server's log may not hold it.
    fn secrets(&self) -> Vec<&str> {
        let mut secrets = self.marked();
        secrets.extend(PEOPLE);
        secrets
    }
}

/// Looks into the server's log for what must not be there.
fn search(run: &Run<'_>) -> Result<(), Failure> {
    let found = scan::findings(&run.server, run.address, run.ports, &run.secrets());
    if found.is_empty() { Ok(()) } else { Err(format!("{TOO_MUCH}: {found:?}")) }
}

/// Gathers what was shown by a run that went well.
fn examine(run: &Run<'_>) -> Result<Shown, Failure> {
    let Run { scenario, address, ports, server: text, client, .. } = run;
    let marked = run.marked();
    if marked.is_empty() && !DESERTED.contains(&scenario.name) {
        return Err("the script marks nothing as sensitive: the log was searched for nobody".into());
    }
    if text.is_empty() {
        return Err("the server's log is empty: nothing was searched".into());
    }
    let named = run.secrets();
    let printed = |word: &str| -> Vec<String> {
        client.lines().filter_map(|line| line.strip_prefix(word)).map(str::to_owned).collect()
    };
    let mut shown = Shown { measured: printed("  measured: "), controls: printed("  control: ") };
    shown.measured.push(format!(
        "the server's log, {} lines and every counter: no token, no secret, no address of a client, none of {} \
         names, rooms, keys and words that are there",
        text.lines().count(),
        marked.len()
    ));
    for plant in [*marked.last().unwrap_or(&API_SECRET), "007eJxTYBBbsMM", "127.0.0.1", "::1"] {
        let planted = format!("{text}INFO planted {plant}\n");
        if scan::findings(&planted, *address, *ports, &named).is_empty() {
            return Err("the search of the log does not find what is planted".into());
        }
    }
    shown.controls.push(
        "one of them, a token and two addresses, each planted in a copy of the log, are found there".into(),
    );
    for expected in
        scenario.counted.map(|it| format!("{it} 1")).into_iter().chain(printed("  expects: "))
    {
        shown.measured.push(counted(text, &expected)?);
    }
    Ok(shown)
}

/// What the server's log says at its end of `expected`, a counter and what it must have reached.
fn counted(log: &str, expected: &str) -> Result<String, Failure> {
    let (counter, least) = expected.split_once(' ').ok_or("`expects` without a number")?;
    let least: u64 = least.parse().map_err(|_| format!("`{least}` is no number"))?;
    let name = format!("name={counter} ");
    let total = log.lines().filter(|line| line.contains("counted") && line.contains(&name));
    let total = total.filter_map(|line| line.rsplit_once("total=")?.1.trim().parse().ok()).next();
    let total: u64 = total.unwrap_or(0);
    if total < least {
        return Err(format!("the server has counted {total} {counter}, {least} are expected"));
    }
    Ok(format!("the server counted {total} {counter}"))
}

/// Whether the server has caught no panic: who provokes one comes again by himself, which no script would see.
fn calm(run: &Run<'_>) -> Result<(), Failure> {
    let panic = run.server.lines().find(|line| line.contains(" panicked"));
    match panic.filter(|_| !PANICKING.contains(&run.scenario.name)) {
        Some(line) => Err(format!("{NEVER}: {line}")),
        None => Ok(()),
    }
}

/// Whether the script ended well and in time.
fn judge(run: &Run<'_>) -> Result<(), Failure> {
    let said = verdict(&run.client).map_or_else(String::new, |said| format!(": {said}"));
    match run.ended {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("the script ended with {status}{said}")),
        None => Err(format!("not done within {} s{said}", run.scenario.limit.as_secs())),
    }
}

/// What a script says last of why it failed.
fn verdict(log: &str) -> Option<&str> {
    log.lines().rev().find_map(|line| line.strip_prefix("FAIL "))
}

/// What runs `script`, and the script's path.
fn command_of(script: &str) -> (PathBuf, String) {
    let program = match Path::new(script).extension().and_then(|ending| ending.to_str()) {
        Some("py") => setup::python(),
        _ => find(&["node"]).unwrap_or_else(|| "node".into()),
    };
    let path = root().join("tests/clients").join(script);
    (program, path.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    /// What comes of a run of `started` whose script ended so, whose server's log and whose own say this.
    fn came_of(
        ended: Option<i32>,
        stopped: Result<(), &str>,
        server: &str,
        client: &str,
    ) -> Result<Shown, Failure> {
        marking("started", "", ended, stopped, server, client)
    }

    /// The same of another scenario, whose script marked this.
    fn marking(
        name: &str,
        marked: &str,
        ended: Option<i32>,
        stopped: Result<(), &str>,
        server: &str,
        client: &str,
    ) -> Result<Shown, Failure> {
        concluded(&Run {
            scenario: named(name)?,
            address: Ipv4Addr::LOCALHOST,
            ports: Ports { http: 7880, udp: 7882, tcp: 7881 },
            ended: ended.map(|code| ExitStatus::from_raw(code << 8)),
            stopped: stopped.map_err(str::to_owned),
            server: server.to_owned(),
            client: client.to_owned(),
            marked: marked.to_owned(),
        })
    }

    #[test]
    fn a_log_is_searched_for_those_who_are_there_and_they_are_counted_once() {
        let of = |marked, log| marking("join", marked, Some(0), Ok(()), log, "PASS join");
        let shown = of("ada\njoin-7f3a\nada\n\n", "INFO listening\n").unwrap();
        assert!(shown.measured.iter().any(|it| it.contains("none of 2 names")), "{shown:?}");
        let found = of("ada\njoin-7f3a\n", "INFO closed room=join-7f3a\n").unwrap_err();
        assert!(is_final(&found), "{found}");
        let empty = of("ada\n", "").unwrap_err();
        assert!(empty.contains("empty"), "{empty}");
        let silent = of("", "INFO listening\n").unwrap_err();
        assert!(silent.contains("marks nothing"), "{silent}");
    }

    #[test]
    fn a_panic_that_the_server_has_caught_is_final() {
        let log = "INFO listening\nERROR edge::panics: panicked at=hub.rs:7\n";
        let found = marking("join", "ada\n", Some(0), Ok(()), log, "PASS join").unwrap_err();
        assert!(is_final(&found), "{found}");
        assert!(marking("acme", "ada\n", Some(0), Ok(()), log, "PASS acme").is_ok());
    }

    #[test]
    fn the_log_of_a_run_that_failed_is_searched_and_what_is_found_is_final() {
        let log = "INFO joined identity=ada\n";
        for (ended, stopped) in [
            (Some(0), Ok(())),
            (Some(1), Ok(())),
            (None, Ok(())),
            (Some(1), Err("the server died: signal: 6")),
            (Some(0), Err("the server did not end after SIGTERM")),
        ] {
            let failure = came_of(ended, stopped, log, "FAIL started: too late").unwrap_err();
            let first = failure.lines().next().unwrap();
            assert!(
                is_final(&failure) && first.contains("log line 1: sensitive value"),
                "{failure}"
            );
            assert!(stopped.err().is_none_or(|died| first.contains(died)), "{failure}");
        }
    }

    #[test]
    fn what_must_never_be_is_final_whatever_else_goes_wrong() {
        let said = format!("FAIL started: {NEVER}: a forged token opens the door");
        for (ended, stopped) in [
            (Some(1), Ok(())),
            (None, Ok(())),
            (Some(1), Err("the server died: signal: 6")),
            (Some(1), Err("the server ended with 1")),
        ] {
            let failure = came_of(ended, stopped, "INFO listening\n", &said).unwrap_err();
            assert!(is_final(&failure), "{failure}");
        }
    }

    #[test]
    fn what_a_busy_machine_may_have_spoiled_is_not_final() {
        let late = "FAIL started: the first answer: not within 60 ms";
        for (ended, stopped) in
            [(Some(1), Ok(())), (None, Ok(())), (Some(0), Err("the server died: signal: 9"))]
        {
            let failure = came_of(ended, stopped, "INFO listening\n", late).unwrap_err();
            assert!(!is_final(&failure), "{failure}");
        }
        assert!(came_of(Some(0), Ok(()), "INFO listening\n", "PASS started").is_ok());
    }

    #[test]
    fn what_must_never_be_is_said_in_the_same_words_and_is_final() {
        for helper in ["python/client.py", "web/driver.mjs"] {
            let text = std::fs::read_to_string(root().join("tests/clients").join(helper)).unwrap();
            assert!(text.contains(NEVER), "{helper}");
        }
        let final_ones = [
            format!("the script ended with 1: blind: {NEVER}: a secret"),
            format!("{TOO_MUCH}: a name"),
        ];
        assert!(final_ones.iter().all(is_final));
        assert!(!is_final(&format!("not done within 9 s\n{NEVER}")));
    }
}
