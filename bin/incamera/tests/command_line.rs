//! The binary as a shell sees it: output, exit codes, signals.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use wire::key::Project;

const BINARY: &str = env!("CARGO_BIN_EXE_incamera");

/// Far more than anything here takes; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn incamera(words: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(words).env_remove("INCAMERA_API_KEY").env_remove("INCAMERA_API_SECRET");
    command.output().unwrap()
}

/// `incamera dev` on free ports.
const DEV: [&str; 7] = ["dev", "--http-port", "0", "--udp-port", "0", "--tcp-port", "0"];

/// A running `incamera dev`; killed if the test fails first.
struct Dev {
    process: Child,
    http: SocketAddr,
}

impl Dev {
    /// Starts one on free ports; the banner says which.
    fn start() -> Self {
        let mut process = Command::new(BINARY)
            .args(DEV)
            .args(["--workers", "1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut banner = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = banner.find_map(|line| {
            let (_, address) =
                line.unwrap().split_once("ws://").map(|(a, b)| (a.to_owned(), b.to_owned()))?;
            address.parse().ok()
        });
        Self { process, http: address.unwrap() }
    }

    fn ask(&self, target: &str) -> String {
        let mut stream = TcpStream::connect(self.http).unwrap();
        let head = format!("GET {target} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn dev_takes_the_tokens_that_create_makes_and_ends_in_order() {
    let mut dev = Dev::start();
    assert!(dev.ask("/").starts_with("HTTP/1.1 200 "));
    let words = "token create --api-key devkey --api-secret secret --join --room a --identity b";
    let output = incamera(&words.split(' ').collect::<Vec<_>>());
    assert_eq!(output.status.code(), Some(0));
    let token = String::from_utf8(output.stdout).unwrap();
    let validated = dev.ask(&format!("/rtc/v1/validate?access_token={}", token.trim()));
    assert!(validated.ends_with("success"), "{validated}");
    dev.signal("TERM");
    assert_eq!(dev.ended().code(), Some(0));
}

/// The fields behind the `#` of a link to this page.
fn fields<'a>(link: &'a str, page: &str) -> Vec<(&'a str, &'a str)> {
    let (before, kept) = link.trim().split_once('#').unwrap();
    assert_eq!(before, page);
    kept.split('&').map(|field| field.split_once('=').unwrap()).collect()
}

#[test]
fn dev_prints_links_that_let_in_and_share_a_channel_key() {
    let mut process = Command::new(BINARY)
        .args(DEV)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut banner = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    let http = banner.find_map(|line| Some(line.split_once("ws://")?.1.to_owned())).unwrap();
    let dev = Dev { process, http: http.parse().unwrap() };
    let links: Vec<String> = banner
        .take_while(|line| !line.starts_with("Ctrl-C"))
        .filter_map(|line| line.split_once(":  http").map(|(_, link)| format!("http{link}")))
        .collect();
    assert_eq!(links.len(), 2);
    let mut channel_keys = Vec::new();
    for link in &links {
        let [("token", token), ("key", key)] = fields(link, &format!("http://{http}/call"))[..]
        else {
            panic!("other fields");
        };
        assert!(dev.ask(&format!("/rtc/v1/validate?access_token={token}")).ends_with("success"));
        channel_keys.push(key);
    }
    assert!(channel_keys[0].len() == 64 && channel_keys[0] == channel_keys[1]);
}

#[test]
fn create_prints_links_of_people_who_share_a_channel_key() {
    let folder = std::env::temp_dir().join(format!("incamera-link-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("room.key");
    let link = |more: &[&str]| {
        let words = "token create --api-key devkey --api-secret secret --join --room a --identity b \
                     --link https://calls.example.org";
        let words: Vec<&str> = words.split_whitespace().chain(more.iter().copied()).collect();
        let output = incamera(&words);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stderr.is_empty(), "nobody is warned of the pair that everybody knows");
        String::from_utf8(output.stdout).unwrap()
    };
    let key_of = |link: &str| {
        let all = fields(link, "https://calls.example.org/call");
        assert!(matches!(all[..], [("token", _), ("key", _)]));
        all[1].1.to_owned()
    };
    let kept = ["--channel-key-file", file.to_str().unwrap()];
    let [one, same, other] = [link(&kept), link(&kept), link(&[])].map(|link| key_of(&link));
    assert_eq!(one, same);
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim_end(), one);
    assert_ne!(one, other);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_guessable_secret_is_named_as_such_unless_it_is_the_one_of_development() {
    let said = |key: &str, secret: &str| {
        let output = incamera(&["token", "create", "--api-key", key, "--api-secret", secret]);
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(said("devkey", "secret"), "");
    for (key, secret) in [("devkey", "hushhush"), ("mine", "secret")] {
        assert!(said(key, secret).contains("can be guessed"));
    }
}

#[test]
fn keygen_overwrites_nothing_and_says_so() {
    let folder = std::env::temp_dir().join(format!("incamera-again-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("shared.yaml"), "mine").unwrap();
    let refused = incamera(&["token", "keygen", "--out", folder.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("shared.yaml is there already; nothing was overwritten"), "{said}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn keygen_takes_names_that_settings_have_as_they_are_written() {
    for name in ["project", "Ward-7_b.2", "7", "a b", "süd"] {
        let done = incamera(&["token", "keygen", "--name", name]);
        assert_eq!(done.status.code(), Some(0), "{name}");
    }
}

#[test]
fn what_keygen_prints_is_settings_and_says_who_can_mint_with_what() {
    let printed = incamera(&["token", "keygen", "--name", "mine"]);
    let text = String::from_utf8(printed.stdout).unwrap();
    let (pair, shared) = text.split_once("# A shared secret").unwrap();
    assert!(pair.starts_with("# A key pair. Nobody can mint with the public half;"), "{text}");
    assert!(shared.contains("The server's operator could mint with it.\nkeys:\n"), "{text}");
    let read = |text: &str| {
        let text = format!("rtc: {{node_ip: 127.0.0.1}}\n{text}");
        let mut none = |_: &str, _: settings::Holds| Err("no file is named".to_owned());
        settings::read_settings(&text, &mut none).unwrap().projects
    };
    let names = |projects: &[Project]| {
        let names = projects.iter().map(|project| project.name().expose().to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&read(shared.split_once('\n').unwrap().1)), ["mine-shared"]);
    // The public half stands there twice, as comments: in either form.
    let (_, public) = pair.split_once("#keys:\n").unwrap();
    let (pem, jwks) = public.split_once("#    jwks:").unwrap();
    let (pem, _) = pem.rsplit_once("#  mine:\n").unwrap();
    for form in [pem.to_owned(), format!("#  mine:\n#    jwks:{jwks}")] {
        let projects = read(&format!("keys:\n{}", form.replace('#', "")));
        assert!(matches!(&projects[..], [Project::Public(_)]) && names(&projects) == ["mine"]);
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let mut dev = Dev::start();
    // A request that is never finished holds up the first.
    let mut stream = TcpStream::connect(dev.http).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    assert!(dev.ask("/").starts_with("HTTP/1.1 200 "));
    dev.signal("TERM");
    // It no longer listens once it has begun to stop.
    let begun = Instant::now();
    while TcpStream::connect(dev.http).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it goes on listening");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(dev.process.try_wait().unwrap().is_none());
    dev.signal("INT");
    assert_eq!(dev.ended().code(), Some(130));
}

#[test]
fn what_cannot_be_done_exits_1_and_says_why() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = incamera(&["dev", "--http-port", &port, "--udp-port", "0", "--tcp-port", "0"]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(
        complaint.contains(&format!("cannot listen for HTTP on 127.0.0.1:{port}: ")),
        "{complaint}"
    );

    let output = incamera(&[&DEV[..], &["--bind", "0.0.0.0"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("0.0.0.0 cannot be advertised to clients"), "{complaint}");
}

#[test]
fn a_token_or_a_secret_in_the_place_of_its_file_is_not_repeated() {
    let word = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJhIn0.c2lnbmVk";
    for (words, says) in [
        (&["token", "id", word][..], "FILE: the file that is named here: "),
        (&["token", "create", "--api-key", "k", "--api-secret-file", word], "--api-secret-file: "),
        (
            &["token", "create", "--api-key", "k", "--private-key-file", word],
            "--private-key-file: ",
        ),
    ] {
        let output = incamera(words);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(complaint.contains(says) && !complaint.contains("eyJ"), "{complaint}");
    }
    let path = std::env::temp_dir().join(format!("incamera-word-{}.yaml", std::process::id()));
    let keys = "keys: {mine: 0123456789abcdef0123456789abcdef}\nrtc: {node_ip: 127.0.0.1}\n";
    let acme = "domains: [a.example], accept_terms: true, state_dir: s, directory_url: 'https://ca.example/d'";
    for text in [
        format!("{keys}revocations: {word}\n"),
        format!("{keys}tls: {{cert_file: {word}, key_file: {word}}}\n"),
        format!("{keys}tls: {{acme: {{{acme}, directory_ca_file: {word}}}}}\n"),
    ] {
        std::fs::write(&path, &text).unwrap();
        for command in ["serve", "doctor"] {
            let output = incamera(&[command, "--config", path.to_str().unwrap()]);
            assert_ne!(output.status.code(), Some(0), "{command} {text}");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8(said).unwrap();
            assert!(said.contains("the file that is named here: "), "{command}: {said}");
            assert!(!said.contains("eyJ"), "{command}: {said}");
        }
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn serve_refuses_settings_with_file_line_and_reason_and_no_secret() {
    let folder = std::env::temp_dir().join(format!("incamera-serve-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("server.yaml");
    let good = "mine: 0123456789abcdef0123456789abcdef";
    for (text, reason) in [
        ("port: 7880\nkeys:\n  mine: hushhush\n".to_owned(), "line 3: the secret of an API key"),
        (format!("keys: {{{good}}}\nbind_addresses: ['0.0.0.0']\n"), "line 2: this would serve"),
        (format!("keys: {{{good}}}\nrevocations: nowhere.yaml\n"), "nowhere.yaml"),
    ] {
        std::fs::write(&path, text).unwrap();
        let refused = incamera(&["serve", "--config", path.to_str().unwrap()]);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(said.contains(reason), "{said}");
        assert!(!said.contains("hushhush") && !said.contains("0123456789"), "{said}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_a_revocation_file_may_mean_otherwise_is_told_by_its_line_and_never_by_a_name() {
    let folder = std::env::temp_dir().join(format!("incamera-meant-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("server.yaml");
    // So that it says what it has to say, and ends.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = format!(
        "keys: {{mine: 0123456789abcdef0123456789abcdef}}\nport: {}\nrtc: {{node_ip: 127.0.0.1}}\n\
         revocations: revoked.yaml\n",
        taken.local_addr().unwrap().port()
    );
    std::fs::write(&path, settings).unwrap();
    let revoked =
        "keys: [mine, mnie]\nidentities:\n  - {identity: lovelace, issued_before: 99999999999}\n";
    std::fs::write(folder.join("revoked.yaml"), revoked).unwrap();
    for command in ["serve", "doctor"] {
        let output = incamera(&[command, "--config", path.to_str().unwrap()]);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        for words in [
            "line 1: no key or app here has this name: right only if it was removed",
            "line 3: `issued_before` lies ahead",
        ] {
            assert!(said.contains(words), "{command}: {said}");
        }
        assert!(!said.contains("mnie") && !said.contains("lovelace"), "{command}: {said}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// Whatever is logged beside it, so that whoever collects lines by level is told.
#[test]
fn why_a_server_does_not_start_is_an_object_where_each_line_of_the_log_is_one() {
    let path = std::env::temp_dir().join(format!("incamera-json-{}.yaml", std::process::id()));
    std::fs::write(&path, "port: 7880\nkeys:\n  mine: hushhush\n").unwrap();
    let serve = ["serve", "--config", path.to_str().unwrap()];
    for more in [&[][..], &["--log", "edge=debug"], &["--log", "off"]] {
        let refused = incamera(&[&serve[..], &["--log-format", "json"], more].concat());
        let said = String::from_utf8(refused.stderr).unwrap();
        let parsed = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        let lines: Vec<serde_json::Value> = said.lines().map(parsed).collect();
        let failed = lines.iter().filter(|line| line["level"] == "ERROR").collect::<Vec<_>>();
        assert_eq!((refused.status.code(), failed.len()), (Some(1), 1), "{said}");
        let failure = failed[0]["fields"]["failure"].as_str().unwrap();
        let begin = format!("{}: line 3: the secret of an API key", path.display());
        assert!(failure.starts_with(&begin) && !said.contains("hushhush"), "{said}");
    }
    let refused =
        incamera(&[&serve[..], &["--log-format", "json", "--log", "edge=debgu"]].concat());
    let said = String::from_utf8(refused.stderr).unwrap();
    let line: serde_json::Value = serde_json::from_str(said.trim_end()).unwrap();
    assert!(line["level"] == "ERROR" && said.contains("edge=debgu"), "{said}");
    assert_eq!(refused.status.code(), Some(2), "the command line is wrong");
    let refused = incamera(&serve);
    let said = String::from_utf8(refused.stderr).unwrap();
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("incamera: ") && last.contains("line 3: "), "people read it: {said}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_wrong_command_line_exits_2() {
    for words in [
        &["token", "create", "--identity", "ada"][..],
        &["token", "create", "--api-key", "k", "--join"],
        &["dev", "--http-port", "x"],
        &["dev", "--spread-at", "0"],
        &["dev", "--log", "edge=debgu"],
        &["token", "keygen", "--name", ""],
        &["token", "keygen", "--name", "incamera:mine"],
        &["token", "keygen", "--name", "a: b"],
        &["token", "keygen", "--name", "a #b"],
        &["token", "keygen", "--name", "a "],
        &["token", "keygen", "--name", "- a"],
        &["token", "keygen", "--name", "a, b"],
        &["token", "keygen", "--name", "'a'"],
        &["token", "keygen", "--name", "{a"],
        &["token", "keygen", "--name", "a\nb"],
        &["token", "keygen", "--name", "--- a"],
        &["room", "update", "demo", "ada"],
        &["sing"],
        &[],
    ] {
        assert_eq!(incamera(words).status.code(), Some(2), "{words:?}");
    }
}

#[test]
fn a_secret_may_come_from_the_environment_or_a_file() {
    let file = std::env::temp_dir().join(format!("incamera-secret-{}", std::process::id()));
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    let path = file.to_str().unwrap();
    let from_file = incamera(&["token", "create", "--api-key", "k", "--api-secret-file", path]);
    std::fs::remove_file(&file).unwrap();
    let from_environment = Command::new(BINARY)
        .args(["token", "create"])
        .env("INCAMERA_API_KEY", "k")
        .env("INCAMERA_API_SECRET", "0123456789abcdef0123456789abcdef")
        .output()
        .unwrap();
    for output in [from_file, from_environment] {
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8(output.stdout).unwrap().matches('.').count(), 2);
        assert!(output.stderr.is_empty());
    }
}

#[test]
fn a_room_command_says_what_the_server_says_or_that_there_is_none() {
    let dev = Dev::start();
    let url = format!("http://{}", dev.http);
    let ask = |words: &[&str]| {
        let given = ["--url", &url, "--api-key", "devkey", "--api-secret", "secret"];
        incamera(&[&["room"], words, &given[..]].concat())
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let listed = ask(&["list", "--json"]);
    assert_eq!(
        (listed.status.code(), text(&listed.stdout).as_str()),
        (Some(0), "{\"rooms\":[]}\n")
    );
    let listed = ask(&["list"]);
    assert_eq!(text(&listed.stdout), "ROOM  PARTICIPANTS  PUBLISHERS  ID\n");
    let refused = ask(&["show", "demo", "ada"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr)
            .contains("the server refuses: participant does not exist (not_found)"),
        "{}",
        text(&refused.stderr)
    );
    let wrong = incamera(&[
        "room",
        "list",
        "--url",
        &url,
        "--api-key",
        "x",
        "--api-secret",
        &"x".repeat(40),
    ]);
    assert!(text(&wrong.stderr).contains("(unauthenticated)"), "{}", text(&wrong.stderr));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (url, reason) in [
        (format!("http://{nobody}"), format!("cannot reach {nobody}: ")),
        (format!("https://{}", dev.http), "the server there does not speak TLS".to_owned()),
        ("ftp://127.0.0.1".to_owned(), "a server's address is wanted".to_owned()),
    ] {
        let words =
            ["room", "list", "--url", &url, "--api-key", "devkey", "--api-secret", "secret"];
        let failed = incamera(&words);
        assert_eq!(failed.status.code(), Some(1));
        assert!(text(&failed.stderr).contains(&reason), "{}", text(&failed.stderr));
    }
}

#[test]
fn a_token_for_a_room_command_may_come_from_outside() {
    let dev = Dev::start();
    let url = format!("http://{}", dev.http);
    let minted =
        incamera(&["token", "create", "--api-key", "devkey", "--api-secret", "secret", "--list"]);
    let token = String::from_utf8(minted.stdout).unwrap();
    let mut command = Command::new(BINARY);
    command.args(["room", "list", "--url", &url]).env_remove("INCAMERA_API_KEY");
    let from_environment = command.env("INCAMERA_TOKEN", token.trim()).output().unwrap();
    assert_eq!(from_environment.status.code(), Some(0));
    let mut command = Command::new(BINARY);
    command.args(["room", "list", "--url", &url, "--token-stdin"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(0));
}

/// Answers so many requests, one after the other, and says with what tokens they came.
fn tokens_shown(listener: &TcpListener, requests: usize) -> Vec<String> {
    let answered = (0..requests).map(|_| {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut request, mut piece) = (String::new(), [0; 1024]);
        while !request.ends_with('}') {
            let len = stream.read(&mut piece).unwrap();
            assert_ne!(len, 0, "{request}");
            request.push_str(std::str::from_utf8(piece.get(..len).unwrap()).unwrap());
        }
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n";
        stream.write_all(format!("{head}{{}}").as_bytes()).unwrap();
        let token = request.lines().find_map(|line| line.strip_prefix("authorization: Bearer "));
        token.unwrap().to_owned()
    });
    answered.collect()
}

#[test]
fn a_command_that_asks_twice_reads_its_token_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let words = ["room", "update", "demo", "ada", "--can-publish=false", "--token-stdin", "--url"];
    let mut command = Command::new(BINARY);
    command.args(words).arg(url).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a.b.c\n").unwrap();
    assert_eq!(tokens_shown(&listener, 2), ["a.b.c", "a.b.c"]);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_token_and_a_file_do_not_both_come_from_standard_input() {
    for path in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        let mut command = Command::new(BINARY);
        command.args(["room", "send", "demo", "--token-stdin", "--file", path]);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It reads none of it, and may have ended by now.
        child.stdin.take().unwrap().write_all(b"a.b.c\n").ok();
        let refused = child.wait_with_output().unwrap();
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(2), "{path}: {said}");
        assert!(said.contains("--file and --token-stdin both read standard input"), "{said}");
    }
}

#[test]
fn dev_serves_metrics_where_it_is_told_to() {
    let mut process = Command::new(BINARY)
        .args(["dev", "--http-port", "0", "--udp-port", "0", "--metrics-port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut banner = BufReader::new(process.stdout.take().unwrap()).lines();
    let at = banner.find_map(|line| {
        let line = line.unwrap();
        let (_, rest) = line.split_once("metrics     http://")?;
        rest.strip_suffix("/metrics").map(str::to_owned)
    });
    let dev = Dev { process, http: at.unwrap().parse().unwrap() };
    let answer = dev.ask("/metrics");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("\nlivekit_room_total{node_id=\"ND_"), "{answer}");
    assert!(dev.ask("/").starts_with("HTTP/1.1 404 "));
}
