//! Tests of `server` and `keys`: what starts us, what is named, and what is refused where.

use std::collections::BTreeMap;
use std::time::Duration;

use model::AccountData;
use zeroize::Zeroizing;

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const HEX: &str = "0123456789abcdef0123456789ABCDEF";
const ID: &str = "fedcba9876543210fedcba9876543210";
const PEM: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
";
const JWKS: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

const LEAF: &str = include_str!("../certificate/leaf.pem");

fn settings(text: &str) -> Result<Settings, Fault> {
    let files = BTreeMap::from([
        ("public.pem", PEM.to_owned()),
        ("set.json", JWKS.to_owned()),
        ("keys.yaml", format!("filed: {SECRET}\n")),
        ("short.yaml", "filed: secretive\n".to_owned()),
        ("certificate", format!("{HEX}\n")),
        ("refresh", format!("{SECRET}\n")),
        ("leaf.pem", LEAF.to_owned()),
        ("key.pem", "-----BEGIN PRIVATE KEY-----".to_owned()),
    ]);
    read_settings(text, &mut |path, _| {
        files.get(path).cloned().map(Zeroizing::new).ok_or_else(|| "no such file".to_owned())
    })
}

fn names(settings: &Settings) -> Vec<&str> {
    settings.projects.iter().map(|project| &**project.name().expose()).collect()
}

#[test]
fn the_least_file_serves_this_machine() {
    let least = settings(&format!("keys:\n  mine: {SECRET}\n")).unwrap();
    assert_eq!(least.http, ["127.0.0.1:7880".parse().unwrap()]);
    let places = least.media.places(&[]).unwrap();
    assert_eq!(places.bound, ["127.0.0.1:7882".parse().unwrap()]);
    assert_eq!(places.advertised, [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    assert_eq!((names(&least), least.warnings.len()), (vec!["mine"], 0));
    assert!(least.refresh.is_none() && least.revocations.is_none());
}

#[test]
fn every_kind_of_key_is_taken_from_the_text_or_a_file() {
    let indented = PEM.replace('\n', "\n      ");
    let text = format!(
        "keys:
  shared: {SECRET}
  inline:
    public_key: |
      {indented}
  filed-pem: {{public_key: public.pem}}
  filed-set: {{jwks: set.json}}
  set: {{jwks: '{JWKS}'}}
key_file: keys.yaml
agora:
  apps:
    - {{app_id: {ID}, app_certificate: {HEX}}}
    - {{app_id: {other}, app_certificate_file: certificate}}
refresh_secret_file: refresh
revocations: revoked.yaml
",
        other = ID.replace('0', "1"),
    );
    let all = settings(&text).unwrap();
    let expect = ["shared", "inline", "filed-pem", "filed-set", "set", "filed"];
    assert_eq!(names(&all)[..6], expect);
    assert_eq!((all.projects.len(), all.warnings.len()), (8, 0));
    assert!(all.refresh.is_some());
    let revocations = all.revocations.as_ref().unwrap();
    assert_eq!(revocations.name, "revoked.yaml");
    assert_eq!(revocations.fault(String::new()).line, revocations.line);
    assert!(!format!("{all:?}").contains("0123"));
}

#[test]
fn a_livekit_file_starts_and_what_has_no_effect_is_named() {
    let text = format!(
        "port: 7000
redis:
  address: localhost:6379
rtc:
  udp_port: 7001
  tcp_port: 7881
  node_ip: 192.0.2.7
  use_external_ip: true
  pli_throttl: 1
keys:
  key1: {SECRET}
turn:
  enabled: true
logging: {{level: info}}
colour: red
"
    );
    let taken = settings(&text).unwrap();
    assert_eq!(taken.http, ["127.0.0.1:7000".parse().unwrap()]);
    let places = taken.media.places(&[]).unwrap();
    assert_eq!(places.bound, ["0.0.0.0:7001".parse().unwrap()]);
    assert_eq!(places.bound_tcp, ["0.0.0.0:7881".parse().unwrap()]);
    assert_eq!(places.advertised, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
    let said: Vec<String> = taken.warnings.iter().map(ToString::to_string).collect();
    let expect = [
        "line 2: `redis` has no effect here",
        "line 7: media is for others, and HTTP listens on this machine alone: give `bind_addresses`, or \
         `behind_proxy: true` if a proxy is before it",
        "line 8: `rtc.use_external_ip` has no effect here: clients are told `rtc.node_ip` alone",
        "line 9: this key is not known: is `rtc.pli_throttle` meant?",
        "line 12: `turn` has no effect here",
        "line 14: `logging` has no effect here",
        "line 15: this key is not known, and has no effect",
    ];
    assert_eq!(said, expect);
}

#[test]
fn a_known_key_without_a_value_is_named_and_refused_where_more_would_be_let_in() {
    let with = |more: &str| settings(&format!("keys: {{mine: {SECRET}}}\n{more}\n"));
    for (key, path) in [
        ("tls:", "tls"),
        ("key_file: ~", "key_file"),
        ("port: null", "port"),
        ("prometheus:", "prometheus"),
        ("rtc:", "rtc"),
        ("rtc: {ips: }", "rtc.ips"),
        ("rtc: {node_ip: }", "rtc.node_ip"),
        ("room: {auto_create: }", "room.auto_create"),
        ("node_selector: {cpu_load_limit: }", "node_selector.cpu_load_limit"),
    ] {
        let said: Vec<_> = with(key).unwrap().warnings.iter().map(ToString::to_string).collect();
        assert_eq!(said, [format!("line 2: `{path}` has no value, and no effect")], "{key}");
    }
    let app = format!("agora: {{apps: [{{app_id: {ID}, app_certificate: {HEX}, X}}]}}");
    for (text, name) in [
        ("revocations:", "revocations"),
        ("refresh_secret_file:", "refresh_secret_file"),
        ("prometheus: {port: 6789, username: , password: }", "username"),
        ("prometheus: {port: 6789, username: a, password: }", "password"),
        ("tls: {cert_file: leaf.pem, key_file: key.pem, acme: }", "acme"),
        (&app.replace('X', "app_certificate_file: "), "app_certificate_file"),
        ("rtc: {ips: {excludes: }}", "excludes"),
    ] {
        let fault = with(text).unwrap_err();
        let expect = format!("`{name}` has no value: give it one, or leave the line out");
        assert_eq!((fault.line, fault.reason), (2, expect), "{text}");
    }
}

#[test]
fn metrics_have_a_port_of_their_own_and_may_want_a_password() {
    let taken = |more: &str| settings(&format!("keys: {{mine: {SECRET}}}\n{more}\n"));
    assert!(taken("").unwrap().metrics.is_none());
    // Of UDP, and of none.
    assert!(taken("prometheus_port: 7882").is_ok());
    assert!(taken("prometheus_port: 7881\nrtc: {tcp_port: 0}").is_ok());
    let old = taken("prometheus_port: 6789").unwrap();
    assert_eq!(old.metrics.as_ref().unwrap().address, "127.0.0.1:6789".parse().unwrap());
    assert_eq!(old.warnings, []);
    let text = "prometheus: {port: 6789, username: grafana, password: hushhush}";
    let closed = taken(text).unwrap();
    assert!(!format!("{closed:?}").contains("hush"));
    let login = closed.metrics.unwrap().login.unwrap();
    assert_eq!((login.username.as_str(), login.password.as_str()), ("grafana", "hushhush"));

    let open = "bind_addresses: ['']\nbehind_proxy: true\nrtc: {node_ip: 192.0.2.7}\n";
    let warned = taken(&format!("{open}prometheus_port: 6789")).unwrap().warnings;
    assert_eq!((warned.len(), warned[0].line), (1, 5));
    assert_eq!(taken(&format!("{open}{text}")).unwrap().warnings, []);

    let check = |text: &str, word: &str| {
        let fault = taken(text).unwrap_err();
        assert!(fault.line == 2 && fault.reason.contains(word), "{text}: {fault}");
        assert!(!fault.reason.contains("hush"), "{fault}");
    };
    check("prometheus_port: 7880", "one of its own");
    check("prometheus_port: 7881", "`rtc.tcp_port` (7881");
    check("prometheus: {port: 443}\nrtc: {tcp_port: 443}", "`rtc.tcp_port`");
    check("prometheus: {port: 0}", "port");
    check("prometheus: {username: a, password: hush}", "`port` is missing");
    check("prometheus: {port: 6789, password: hush}", "or neither");
    check("prometheus: {port: 6789, username: a:b, password: hush}", "colon");
    check("prometheus: {port: 6789, username: a, password: ''}", "a password");
    check(
        "prometheus: {port: 6789, path: /}",
        "this key is not known here: `port`, `username`, `password` are",
    );
    check("prometheus: {port: 6789}\nprometheus_port: 6789", "not both");
}

#[test]
fn metrics_are_served_at_the_address_that_is_named_first_though_another_takes_it_in() {
    let check = |bind: &str, at: &str, is_warned| {
        let text = format!(
            "keys: {{mine: {SECRET}}}\nbind_addresses: {bind}\nbehind_proxy: true\nrtc: {{node_ip: 192.0.2.7}}\n\
             prometheus_port: 6789\n"
        );
        let taken = settings(&text).unwrap();
        assert_eq!(taken.metrics.unwrap().address.to_string(), at, "{bind}");
        assert_eq!(!taken.warnings.is_empty(), is_warned, "{bind}: {:?}", taken.warnings);
    };
    check("[10.0.0.5, '']", "10.0.0.5:6789", true);
    check("[127.0.0.1, '']", "127.0.0.1:6789", false);
    check("['::1', 0.0.0.0]", "[::1]:6789", false);
    check("['', 127.0.0.1]", "[::]:6789", true);
}

#[test]
fn rooms_are_as_a_livekit_file_says() {
    let taken = |more: &str| settings(&format!("keys: {{mine: {SECRET}}}\n{more}\n"));
    let nothing =
        Rooms { are_made_by_joins: true, participants_max: None, empty: None, departure: None };
    assert_eq!(taken("").unwrap().rooms, nothing);
    let zeros = "room: {max_participants: 0, empty_timeout: 0, departure_timeout: 0}";
    assert_eq!(taken(zeros).unwrap().rooms, nothing);
    let text = "room:\n  auto_create: false\n  max_participants: 12\n  empty_timeout: 600\n  \
                departure_timeout: 30\n  enabled_codecs: [{mime: audio/opus}]\n  maxx: 1";
    let said = taken(text).unwrap();
    let expect = Rooms {
        are_made_by_joins: false,
        participants_max: Some(12),
        empty: Some(Duration::from_secs(600)),
        departure: Some(Duration::from_secs(30)),
    };
    assert_eq!(said.rooms, expect);
    let warned: Vec<String> = said.warnings.iter().map(ToString::to_string).collect();
    let expect = [
        "line 7: `room.enabled_codecs` has no effect here",
        "line 8: this key is not known, and has no effect",
    ];
    assert_eq!(warned, expect);
    for (wrong, reason) in [
        ("room: {auto_create: no way}", "true or false"),
        ("room: {max_participants: -1}", "a number of people"),
        ("room: {empty_timeout: 5m}", "a number of seconds"),
        ("room: all", "a map"),
    ] {
        let fault = taken(wrong).unwrap_err();
        assert!(fault.line == 2 && fault.reason.contains(reason), "{wrong}: {fault}");
    }
}

#[test]
fn newcomers_are_let_in_up_to_a_share_of_the_workers_time() {
    let taken = |more: &str| settings(&format!("keys: {{mine: {SECRET}}}\n{more}\n"));
    assert_eq!(taken("").unwrap().busy_max, None);
    let text = "node_selector:\n  kind: cpuload\n  cpu_load_limit: 0.75\n  sorted: no";
    let said = taken(text).unwrap();
    assert_eq!(said.busy_max, Some(Share::from_permille(750)));
    let warned: Vec<String> = said.warnings.iter().map(ToString::to_string).collect();
    let expect = [
        "line 3: `node_selector.kind` has no effect here",
        "line 5: this key is not known, and has no effect",
    ];
    assert_eq!(warned, expect);
    for wrong in ["0", "1.5", "-1", "90%", "[1]"] {
        let fault = taken(&format!("node_selector: {{cpu_load_limit: {wrong}}}")).unwrap_err();
        assert!(fault.line == 2 && fault.reason.contains("at most 1"), "{wrong}: {fault}");
    }
}

#[test]
fn media_over_tcp_has_a_port_of_its_own_unless_it_is_told_to_have_none() {
    let check = |port: u16, rtc: &str| {
        let text = format!("port: {port}\n{rtc}\nkeys: {{mine: {SECRET}}}\n");
        settings(&text).map(|taken| taken.media.tcp_port).map_err(|fault| fault.line)
    };
    assert_eq!(check(7880, ""), Ok(Some(7881)));
    assert_eq!(check(7880, "rtc: {tcp_port: 443}"), Ok(Some(443)));
    assert_eq!(check(7880, "rtc: {tcp_port: 0}"), Ok(None));
    assert_eq!(check(7880, "rtc: {tcp_port: 7880}"), Err(2), "HTTP is there");
    assert_eq!(check(7881, ""), Err(1));
    assert_eq!(check(7881, "rtc: {tcp_port: 0}"), Ok(None));
    assert_eq!(check(7880, "rtc: {tcp_port: 70000}"), Err(2));
}

#[test]
fn tokens_go_in_the_clear_on_this_machine_only_unless_a_proxy_is_declared() {
    let check = |bind: &str, more: &str| {
        let text = format!("bind_addresses: {bind}\n{more}keys: {{mine: {SECRET}}}\n");
        let taken = settings(&text).map_err(|fault| fault.line)?;
        Ok(taken.http.iter().map(|each| each.ip().to_string()).collect::<Vec<_>>().join(" "))
    };
    let node = "rtc: {node_ip: 192.0.2.7}\n";
    assert_eq!(check("[127.0.0.1]", ""), Ok("127.0.0.1".into()));
    assert_eq!(check("['::1', 127.0.0.1]", ""), Ok("::1 127.0.0.1".into()));
    let tls = "tls: {cert_file: leaf.pem, key_file: key.pem}\n";
    for open in ["['']", "[0.0.0.0]", "['::']", "[192.0.2.7]", "[127.0.0.1, 192.0.2.7]"] {
        assert_eq!(check(open, node), Err(1), "{open}");
        assert!(check(open, &format!("behind_proxy: true\n{node}")).is_ok(), "{open}");
        assert!(check(open, &format!("{tls}{node}")).is_ok(), "{open}");
    }
    let node_tls = format!("{tls}{node}");
    assert_eq!(check("[0.0.0.0, '::']", &node_tls), Ok("::".into()));
    assert_eq!(check("['::1', '']", &node_tls), Ok("::".into()));
    assert_eq!(check("[127.0.0.1, 0.0.0.0, '::1']", &node_tls), Ok("0.0.0.0 ::1".into()));
    assert_eq!(check("[0.0.0.0]", "behind_proxy: true\n"), Err(1));
    assert_eq!(check("[0.0.0.0]", tls), Err(1));
    assert_eq!(check("[127.0.0.1, 127.0.0.1]", node), Err(1));
    assert_eq!(check("[]", node), Err(1));
}

#[test]
fn a_proxy_before_tls_of_our_own_is_taken_with_a_word_on_what_it_switches_off() {
    let warned = |more: &str| {
        let text = format!(
            "keys: {{mine: {SECRET}}}\nrtc: {{node_ip: 192.0.2.7}}\n{more}bind_addresses: [127.0.0.1]\n"
        );
        let warnings = settings(&text).unwrap().warnings;
        warnings.iter().map(|it| (it.line, it.reason.clone())).collect::<Vec<_>>()
    };
    let tls = "tls: {cert_file: leaf.pem, key_file: key.pem}\n";
    let said = warned(&format!("{tls}behind_proxy: true\n"));
    assert!(
        matches!(&said[..], [(4, reason)] if reason.contains("limited by address")),
        "{said:?}"
    );
    assert_eq!(warned("behind_proxy: true\n"), []);
    assert_eq!(warned(tls), []);
    assert_eq!(warned(&format!("{tls}behind_proxy: false\n")), []);
}

#[test]
fn media_for_others_beside_http_for_this_machine_alone_is_told_unless_that_is_said() {
    let node = |ip: &str| format!("rtc: {{node_ip: {ip}}}");
    let other = node("192.0.2.7");
    let (bound, proxy) = ("bind_addresses: [127.0.0.1]", "behind_proxy: true");
    let tls = "tls: {cert_file: leaf.pem, key_file: key.pem}";
    for (lines, expect) in [
        (vec![other.as_str()], 1),
        (vec![&other, tls], 1),
        (vec![&node("[127.0.0.1, '2001:db8::7']")], 1),
        (vec![&other, bound], 0),
        (vec![&other, proxy], 0),
        (vec![&other, tls, "bind_addresses: ['']"], 0),
        (vec![&node("127.0.0.1")], 0),
        (vec![], 0),
    ] {
        let text = format!("keys: {{mine: {SECRET}}}\n{}\n", lines.join("\n"));
        let said = settings(&text).unwrap().warnings;
        let told =
            |fault: &&Fault| fault.line == 2 && fault.reason.contains("give `bind_addresses`");
        assert_eq!((said.iter().filter(told).count(), said.len()), (expect, expect), "{text}");
    }
}

#[test]
fn a_certificate_comes_with_its_times_and_never_shows_its_key() {
    let text =
        format!("keys: {{mine: {SECRET}}}\ntls:\n  cert_file: leaf.pem\n  key_file: key.pem\n");
    let taken = settings(&text).unwrap();
    assert!(!format!("{taken:?}").contains("PRIVATE"));
    let Some(Tls::Files(tls)) = taken.tls else { panic!("{taken:?}") };
    assert_eq!(
        ((tls.cert_line, tls.key_line), tls.cert_file.as_str(), tls.key_file.as_str()),
        ((3, 4), "leaf.pem", "key.pem")
    );
    assert_eq!(tls.chain.valid_to().to_string(), "2027-01-15T08:00:00Z");
}

#[test]
fn what_cannot_be_served_with_is_refused_with_its_line_and_without_a_secret() {
    let pem_private = PEM.replace("PUBLIC", "PRIVATE").replace('\n', "\n      ");
    let check = |text: &str, line: usize, word: &str| {
        let fault = settings(text).unwrap_err();
        assert_eq!(fault.line, line, "{text}\n{fault}");
        assert!(fault.reason.contains(word), "{text}\n{fault}");
        assert!(!fault.reason.contains("secretive") && !fault.reason.contains("0123"), "{fault}");
    };
    check("", 1, "nobody");
    check("keys:\n", 1, "nobody");
    check("port: 1\nkeyz: {mine: secretive}\n", 2, "is `keys` meant?");
    check("keys:\n  mine: secretive\n", 2, "at least 32 bytes");
    check("keys:\n  mine: [secretive]\n", 2, "wants a secret");
    check("key_file: short.yaml\n", 1, "in that file, line 1: the secret of an API key");
    check("keys:\n  mine: {public_key: nowhere.pem}\n", 2, "nowhere.pem: no such file");
    check(
        "keys:\n  mine: {public_key: secretive}\n",
        2,
        "the file that is named here: no such file",
    );
    check("keys:\n  mine: {public_key: keys.yaml}\n", 2, "not PEM");
    check(
        &format!("keys:\n  mine:\n    public_key: |\n      {pem_private}\n"),
        2,
        "public half only",
    );
    check("keys:\n  mine: {public_key: public.pem, jwks: set.json}\n", 2, "either");
    check("keys:\n  mine: {public: public.pem}\n", 2, "not known here: `public_key`, `jwks` are");
    check(&format!("keys:\n  'incamera:x': {SECRET}\n"), 2, "server's own");
    check(&format!("keys:\n  filed: {SECRET}\nkey_file: keys.yaml\n"), 3, "same name");
    check(&format!("keys:\n  mine: {SECRET}\n  mine: {SECRET}\n"), 3, "on line 2");
    check("agora:\n  apps:\n    - {app_id: 0, app_certificate: secretive}\n", 3, "hexadecimal");
    check(&format!("agora:\n  apps:\n    - app_id: {HEX}\n"), 3, "either");
    let with = |more: &str| format!("keys: {{mine: {SECRET}}}\n{more}\n");
    check(&with("tls: {cert_file: leaf.pem}"), 2, "`key_file` is missing");
    check(&with("tls: {cert_file: leaf.pem, key_file: no.pem}"), 2, "no such file");
    check(
        &with("tls:\n  cert_file: key.pem\n  key_file: key.pem"),
        3,
        "key.pem: holds no certificate",
    );
    check(&with("tls: {cert_file: leaf.pem, key_file: key.pem, acm: {}}"), 2, "not known");
    check(&with("port: 0"), 2, "port");
    check(&with("rtc: {udp_port: 50000-60000}"), 2, "one port");
    check(&with("rtc: {node_ip: 0.0.0.0}"), 2, "cannot send");
    check(&with("rtc: {use_external_ip: true}"), 2, "rtc.node_ip");
    check(&with("behind_proxy: yes please"), 2, "true or false");
    check(&with("refresh_secret_file: public"), 2, "no such file");
    check(&with("refresh_secret_file: short.yaml"), 2, "the secret of refresh tokens");
    check(&with("port: &p 7880\nrtc: {udp_port: *p}"), 3, "aliases");
    check(&with("---\nport: 1"), 3, "second document");
    check(&with("port: [1"), 3, "");
    check(&with(&format!("room: {}", "[".repeat(99))), 2, "deeper");
    check(&" ".repeat(SETTINGS_MAX + 1), 1, "bytes");
}

#[test]
fn an_authority_can_be_asked_for_the_certificate() {
    let taken = |acme: &str, more: &str| {
        let text = format!("keys: {{mine: {SECRET}}}\n{more}\ntls:\n  acme: {{{acme}}}\n");
        settings(&text).map(|taken| {
            let Some(Tls::Acme(acme)) = taken.tls else { panic!("{:?}", taken.tls) };
            (acme, taken.warnings)
        })
    };
    let least = "domains: [Calls.Example.ORG], accept_terms: true, state_dir: acme";
    let open = "bind_addresses: ['']\nrtc: {node_ip: 192.0.2.7}";
    let (acme, warnings) = taken(least, open).unwrap();
    assert_eq!(acme.domains, ["calls.example.org"]);
    assert_eq!(acme.directory_url, "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!((acme.line, acme.state_dir.as_str(), acme.http_port), (5, "acme", None));
    assert_eq!((acme.email, acme.directory_ca_file, warnings), (None, None, Vec::new()));
    let (acme, _) = taken(
        "domains: [a, xn--bcher-kva.example], accept_terms: true, state_dir: /s, http_port: 80, \
         email: ops@example.org, directory_url: 'https://ca.example:9000/acme/x/directory', directory_ca_file: ca.pem",
        open,
    )
    .unwrap();
    assert_eq!(acme.domains, ["a", "xn--bcher-kva.example"]);
    assert_eq!(acme.directory_url, "https://ca.example:9000/acme/x/directory");
    assert_eq!(
        (acme.http_port, acme.email),
        (Some(80), Some(AccountData::new("ops@example.org".to_owned())))
    );
    assert_eq!(acme.directory_ca_file.as_deref(), Some("ca.pem"));
    let (_, warnings) = taken(least, "").unwrap();
    assert!(warnings[0].reason.contains("`bind_addresses`") && warnings.len() == 1, "{warnings:?}");
}

#[test]
fn where_in_the_file_an_authority_is_named_makes_no_other_of_it() {
    let taken = |before: &str, acme: &str| {
        let text = format!("{before}keys: {{mine: {SECRET}}}\ntls:\n  acme: {{{acme}}}\n");
        let Some(Tls::Acme(acme)) = settings(&text).unwrap().tls else { panic!("{text}") };
        acme
    };
    let least = "domains: [a.example], accept_terms: true, state_dir: acme";
    let (acme, moved) = (taken("", least), taken("# of the ward\n\n", least));
    assert!(acme.line != moved.line && acme == moved);
    for other in [
        "domains: [b.example], accept_terms: true, state_dir: acme",
        "domains: [a.example], accept_terms: true, state_dir: other",
        "domains: [a.example], accept_terms: true, state_dir: acme, http_port: 80",
        "domains: [a.example], accept_terms: true, state_dir: acme, email: ops@example.org",
        "domains: [a.example], accept_terms: true, state_dir: acme, directory_url: https://ca",
        "domains: [a.example], accept_terms: true, state_dir: acme, directory_ca_file: ca.pem",
    ] {
        assert!(acme != taken("", other), "{other}");
    }
}

#[test]
fn an_authority_that_could_not_be_asked_is_refused_with_the_reason() {
    let check = |acme: &str, more: &str, word: &str| {
        let text = format!("keys: {{mine: {SECRET}}}\n{more}\ntls:\n  acme: {{{acme}}}\n");
        let fault = settings(&text).unwrap_err();
        assert!(fault.reason.contains(word), "{acme}: {fault}");
        assert_eq!(fault.line, 4, "{acme}: {fault}");
    };
    let rest = "accept_terms: true, state_dir: acme";
    for (domains, word) in [
        ("domains: []", "from 1 to 25 names"),
        ("domains: calls.example.org", "a list"),
        ("domains: ['*.example.org']", "give each name"),
        ("domains: [192.0.2.1]", "not an address"),
        ("domains: ['2001:db8::1']", "not an address"),
        ("domains: [b\u{fc}cher.example]", "xn--"),
        ("domains: ['https://a.example']", "without scheme"),
        ("domains: ['a.example:443']", "without scheme"),
        ("domains: [a..example]", "without scheme"),
        ("domains: [-a.example]", "without scheme"),
        ("domains: [a.example.]", "without scheme"),
        ("domains: [a.1]", "without scheme"),
        ("domains: [a.example, A.example]", "there already"),
    ] {
        check(&format!("{domains}, {rest}"), "", word);
    }
    let long = format!("domains: [{}.example]", "a".repeat(64));
    check(&format!("{long}, {rest}"), "", "without scheme");
    let long = format!("domains: [{}a]", "a.".repeat(127));
    check(&format!("{long}, {rest}"), "", "without scheme");
    let with = |more: &str| format!("domains: [a.example], {rest}, {more}");
    check("accept_terms: true, state_dir: acme", "", "`domains` is missing");
    check("domains: [a.example], accept_terms: true", "", "`state_dir` is missing");
    check("domains: [a.example], accept_terms: true, state_dir: ''", "", "a path");
    let terms = "https://acme-v02.api.letsencrypt.org/directory names";
    check("domains: [a.example], state_dir: acme", "", terms);
    check("domains: [a.example], state_dir: acme, accept_terms: false", "", "accept_terms: true");
    check("domains: [a.example], state_dir: acme, accept_terms: maybe", "", "true or false");
    let emails = r"ops|'@example.org'|ops@|a@b@c|'a b@c'|'a,b@c'|'mailto:a@c?cc=d'|'a\b@c'";
    for email in emails.split('|') {
        check(&with(&format!("email: {email}")), "", "one e-mail address");
    }
    for url in [
        "'http://ca.example/dir'",
        "ca.example",
        "'https://'",
        "'https:///dir'",
        "'https://a:b@c/'",
    ] {
        check(&with(&format!("directory_url: {url}")), "", "the authority's directory");
    }
    check(&with("http_port: 0"), "", "one port");
    check(&with("http_port: 7880"), "", "one of its own");
    check(&with("http_port: 7881"), "", "one of its own");
    check(&with("http_port: 80"), "prometheus_port: 80", "one of its own");
    check(&with("challenge: dns-01"), "", "this key is not known here: `domains`");
    let text = "keys: {mine: 0}\ntls: {acme: {}, cert_file: leaf.pem}\n"
        .replace("mine: 0", &format!("mine: {SECRET}"));
    let fault = settings(&text).unwrap_err();
    assert!(fault.line == 2 && fault.reason.contains("give one of the two"), "{fault}");
    let text = format!(
        "keys: {{mine: {SECRET}}}\nbehind_proxy: true\nrtc: {{node_ip: 192.0.2.7}}\n\
         tls: {{acme: {{domains: [a.example], {rest}}}}}\n"
    );
    let fault = settings(&text).unwrap_err();
    assert!(
        fault.line == 4 && fault.reason.contains("the proxy that needs the certificate"),
        "{fault}"
    );
}

/// Files that are wrong, or odd, by a word: X.
const WHERE_A_WORD_STANDS: &[&str] = &[
    "X: 1",
    "X: 1\nX: 2",
    "rtc: {X: 1}",
    "rtc: X",
    "rtc: {udp_port: X}",
    "rtc: {node_ip: X}",
    "rtc: {interfaces: {X: 1}}",
    "rtc: {interfaces: {includes: X}}",
    "rtc: {ips: {includes: [X]}}",
    "node_selector: {X: 1}",
    "node_selector: {cpu_load_limit: X}",
    "port: X",
    "bind_addresses: [X]",
    "behind_proxy: X",
    "keys: X",
    "keys: {X: X}",
    "keys: {X: short}",
    "keys: {X: [1]}",
    "keys: {X: {}}",
    "keys: {X: {X: 1}}",
    "keys: {X: {public_key: X}}",
    "keys: {X: {jwks: X}}",
    "keys: {X: 1, X: 2}",
    "key_file: X",
    "key_file: filled",
    "agora: {X: 1}",
    "agora: {apps: [{app_id: X, app_certificate: X, X: 1}]}",
    "agora: {apps: [{app_id: X, app_certificate_file: X}]}",
    "agora: {apps: [{app_id: X, app_certificate: X1}]}",
    "refresh_secret_file: X",
    "tls: X",
    "tls: {X: 1}",
    "tls: {cert_file: X, key_file: X}",
    "tls: {cert_file: leaf.pem, key_file: X}",
    "tls: {acme: {X: 1}}",
    "tls: {acme: {domains: ['X/'], state_dir: a, accept_terms: true}}",
    "tls: {acme: {domains: [a.example], state_dir: a, accept_terms: X}}",
    "tls: {acme: {domains: [a.example], state_dir: a, email: 'X@X@'}}",
    "tls: {acme: {domains: [a.example], state_dir: a, directory_url: X}}",
    "prometheus: {X: 1}",
    "prometheus: {port: X}",
    "prometheus: {port: 6789, username: 'X:', password: a}",
    "*X",
    "X: [",
    "{X}: 1",
];

#[test]
fn a_key_that_is_meant_as_a_guard_is_refused_and_one_that_is_not_is_told() {
    let with = |more: &str| format!("port: 7000\n{more}\nkeys: {{mine: {SECRET}}}\n");
    for (more, line, meant) in [
        ("revokations: revoked.yaml", 2, "revocations"),
        ("revcoations: revoked.yaml", 2, "revocations"),
        ("recovations: revoked.yaml", 2, "revocations"),
        ("Revocation_file: revoked.yaml", 2, "revocations"),
        ("revoked: revoked.yaml", 2, "revocations"),
        ("rtc:\n  node_ip: 127.0.0.1\n  revocations: revoked.yaml", 4, "revocations"),
        ("room: {revocation: revoked.yaml}", 2, "revocations"),
        ("refresh_secret: refresh", 2, "refresh_secret_file"),
        ("refesh_secret_file: refresh", 2, "refresh_secret_file"),
        ("TLS: {cert_file: leaf.pem, key_file: key.pem}", 2, "tls"),
        ("tsl: {cert_file: leaf.pem, key_file: key.pem}", 2, "tls"),
        ("behind_proxi: true", 2, "behind_proxy"),
        ("behind-a-proxy: true", 2, "behind_proxy"),
    ] {
        let fault = settings(&with(more)).unwrap_err();
        assert_eq!(fault.line, line, "{more}: {fault}");
        assert!(fault.reason.contains(&format!("is `{meant}` meant")), "{more}: {fault}");
    }
    for more in
        ["bind_adresses: []", "region: a", "revision: 3", "turn: {tls_port: 5349}", "prot: 1"]
    {
        assert_eq!(settings(&with(more)).unwrap().warnings.len(), 1, "{more}");
    }
    let said = settings(&with("prot: 1")).unwrap().warnings[0].to_string();
    assert!(said.contains("is `port` meant?"), "{said}");
}

#[test]
fn no_word_of_a_file_is_repeated_wherever_it_stands() {
    // A person, a secret, what would look like an option, and what YAML has another meaning for.
    for word in ["ada.lovelace@clinic.example", HEX, "bind_adress_of_ada", "'&ada *ada'"] {
        let bare = word.trim_matches('\'');
        let mut told = 0;
        for text in WHERE_A_WORD_STANDS {
            let fill = |text: &str| match word.starts_with('\'') {
                true => text.replace("'X", "'").replace('X', word),
                false => text.replace('X', word),
            };
            let keys = if text.contains("key") {
                String::new()
            } else {
                format!("keys: {{mine: {SECRET}}}\n")
            };
            let whole = format!("{keys}{}\n", fill(text));
            let read = read_settings(&whole, &mut |path, _| match path {
                "filled" => Ok(Zeroizing::new(fill("X: short\nX: other\n"))),
                "leaf.pem" => Ok(Zeroizing::new(LEAF.to_owned())),
                _ => Err("no such file".to_owned()),
            });
            let said: Vec<_> = match read {
                Ok(settings) => settings.warnings,
                Err(fault) => vec![fault],
            };
            told += said.len();
            for fault in &said {
                assert!(!fault.reason.contains(bare), "{whole}: {fault}");
            }
        }
        assert!(told > 40, "{told}");
    }
}

#[test]
fn what_each_file_holds_is_told_and_whether_the_settings_hold_a_secret() {
    let opened = |text: &str| {
        let mut opened = Vec::new();
        let read = read_settings(text, &mut |path, holds| {
            opened.push(holds);
            Ok(Zeroizing::new(match path {
                "public.pem" => PEM.to_owned(),
                "leaf.pem" => LEAF.to_owned(),
                "certificate" => HEX.to_owned(),
                "keys.yaml" => format!("filed: {SECRET}\n"),
                _ => SECRET.to_owned(),
            }))
        });
        (opened, read.unwrap().holds_secret)
    };
    let check = |text: &str, files: &[Holds], holds_secret| {
        assert_eq!(opened(text), (files.to_vec(), holds_secret), "{text}");
    };
    let public = "keys: {mine: {public_key: public.pem}}\n";
    check(&format!("keys: {{mine: {SECRET}}}\n"), &[], true);
    check(public, &[Holds::NoSecret], false);
    check("key_file: keys.yaml\n", &[Holds::TokenSecret], false);
    let app = |certificate| format!("agora: {{apps: [{{app_id: {HEX}, {certificate}}}]}}\n");
    check(&app("app_certificate_file: certificate"), &[Holds::TokenSecret], false);
    check(&app(&format!("app_certificate: {HEX}")), &[], true);
    let refresh = format!("{public}refresh_secret_file: refresh\n");
    check(&refresh, &[Holds::NoSecret, Holds::TokenSecret], false);
    let metrics = format!("{public}prometheus: {{port: 6789, username: a, password: b}}\n");
    check(&metrics, &[Holds::NoSecret], true);
    let tls = format!("{public}tls: {{cert_file: leaf.pem, key_file: key.pem}}\n");
    check(&tls, &[Holds::NoSecret, Holds::NoSecret, Holds::CertificateKey], false);
}

#[test]
fn what_a_key_file_names_lies_beside_it() {
    let check = |key_file: &str, named: &str, expect: &str| {
        let mut opened = Vec::new();
        let read = read_settings(&format!("key_file: {key_file}\n"), &mut |path, _| {
            opened.push(path.to_owned());
            let names = format!("mine: {{public_key: {named}}}\n");
            Ok(Zeroizing::new(if path == key_file { names } else { PEM.to_owned() }))
        });
        assert_eq!(names(&read.unwrap()), ["mine"]);
        assert_eq!(opened, [key_file, expect]);
    };
    check("keys.yaml", "public.pem", "public.pem");
    check("sub/keys.yaml", "public.pem", "sub/public.pem");
    check("sub/keys.yaml", "../public.pem", "sub/../public.pem");
    check("sub/keys.yaml", "/etc/public.pem", "/etc/public.pem");
    check("/etc/keys.yaml", "public.pem", "/etc/public.pem");
}
