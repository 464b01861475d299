//! What a server's log must not say.
//!
//! Owns: the search for tokens, keys, secrets, named values and client addresses in a finished log.
//! Guarantees: a finding is reported by line and kind; the value itself is not repeated.
//! Not here: preventing it; that is `model::Sensitive` and the log's own style.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::server::{API_KEY, API_SECRET, Ports};

/// How tokens begin: JSON Web Tokens with `{"` in base64, AccessToken2 with its version and, in base64, the first
/// byte of zlib and each of the second.
const TOKEN_STARTS: [&str; 5] = ["eyJ", "007eJ", "007eN", "007eA", "007eF"];

/// Reports each line of `log` that holds a token, the API key or its secret, one of `sensitive`, or an
/// address that is not the server's own, which is `address`.
///
/// A client is on loopback too, so an address is the server's only with one of `ports`.
pub(crate) fn findings(
    log: &str,
    address: Ipv4Addr,
    ports: Ports,
    sensitive: &[&str],
) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in log.lines().enumerate() {
        let mut report = |kind: &str| found.push(format!("log line {}: {kind}", index + 1));
        if TOKEN_STARTS.iter().any(|start| line.contains(start)) {
            report("a token");
        }
        if holds_word(line, API_SECRET) {
            report("the API secret");
        }
        if holds_word(line, API_KEY) {
            report("a project's name");
        }
        for (number, value) in sensitive.iter().enumerate() {
            if holds_word(line, value) {
                report(&format!("sensitive value {}", number + 1));
            }
        }
        if words(line).any(|word| is_foreign_address(word, address, ports)) {
            report("an address of a client");
        }
    }
    found
}

/// Whether `line` holds `value`, and not as a part of a longer word: "ben" is not in "benches".
fn holds_word(line: &str, value: &str) -> bool {
    line.match_indices(value).any(|(start, _)| {
        let before = line.get(..start).and_then(|text| text.chars().next_back());
        let after = line.get(start + value.len()..).and_then(|text| text.chars().next());
        ![before, after].into_iter().flatten().any(char::is_alphanumeric)
    })
}

/// The pieces of `line` that could be an address, with or without a port.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|letter: char| !(letter.is_ascii_alphanumeric() || ".:[]".contains(letter)))
        .map(|word| word.trim_matches('.'))
        // A colon that ends a word is a sentence's; two begin or end an address.
        .map(|word| if word.ends_with("::") { word } else { word.trim_end_matches(':') })
        .filter(|word| !word.is_empty())
}

fn is_foreign_address(word: &str, ours: Ipv4Addr, ports: Ports) -> bool {
    let is_near = |address: IpAddr| is_local(address) || address == IpAddr::V4(ours);
    let bare = word.strip_prefix('[').and_then(|word| word.strip_suffix(']')).unwrap_or(word);
    if let Ok(address) = word.parse::<std::net::SocketAddr>() {
        let all = [ports.http, ports.udp, ports.tcp];
        let is_ours = is_near(address.ip()) && all.contains(&address.port());
        // No client is at an address that stands for all.
        return !is_ours && !address.ip().is_unspecified();
    }
    // A path of Rust's is no address, since no crate of ours is called by hexadecimal digits alone.
    bare.parse::<IpAddr>().is_ok_and(|address| !address.is_unspecified())
}

fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            // The near end of a network namespace (RFC 2544), where servers are; clients are at the far one.
            let is_near_end = matches!(address.octets(), [198, 18 | 19, _, 1]);
            address == Ipv4Addr::LOCALHOST || is_near_end
        }
        IpAddr::V6(address) => address == Ipv6Addr::LOCALHOST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
    const PORTS: Ports = Ports { http: 7880, udp: 7882, tcp: 7881 };

    fn check(line: &str, expect: usize) {
        assert_eq!(findings(line, OURS, PORTS, &["alice", "k-3f9a"]).len(), expect, "{line}");
    }

    #[test]
    fn ordinary_lines_pass() {
        check("INFO listening http=127.0.0.1:7880 udp=127.0.0.1:7882", 0);
        check("INFO listening at 0.0.0.0 and :: and [::]:7880 and [::]:443", 0);
        check("INFO edge::http::head: at 13:00:00: done::", 0);
        check("2026-11-24T13:00:00.123456Z INFO edge::http: joined participant=PA_x", 0);
        check("INFO incamera 0.1.0", 0);
        check("INFO listening http=198.18.0.1:7880", 0);
        check("DEBUG the malice of benches", 0);
    }

    #[test]
    fn secrets_and_people_are_found() {
        check("WARN bad token eyJhbGciOiJIUzI1NiJ9", 1);
        check("WARN bad token 007eJxTYBBbsMM", 1);
        check("WARN number 007 or id 007ea007ed", 0);
        check("INFO key secret", 1);
        check("INFO token of devkey", 1);
        check("INFO joined identity=alice", 1);
        check("INFO key k-3f9a of alice", 2);
    }

    #[test]
    fn addresses_of_clients_are_found() {
        check("INFO from 127.0.0.1:50312", 1);
        check("INFO from 10.0.0.7.", 1);
        check("INFO from 127.0.0.1", 1);
        check("INFO from 198.18.0.1: hello", 1);
        check("INFO from ::1", 1);
        check("INFO from [::1].", 1);
        check("INFO from=2001:db8::7, hello", 1);
        check("INFO from 2001:db8::7: hello", 1);
        check("INFO from ::ffff:127.0.0.1", 1);
        check("INFO network 2001:db8:7:: is full", 1);
        check("INFO from [::1]:50312", 1);
        check("INFO from 192.0.2.4:7880", 1);
        check("INFO started http=198.18.7.1:7880", 0);
        check("INFO from 198.18.7.1:50312", 1);
        check("INFO from 198.18.7.2:7880", 1);
        check("INFO from 198.18.0.1:50312", 1);
    }

    #[test]
    fn a_finding_does_not_repeat_the_value() {
        let found = findings("identity=alice", OURS, PORTS, &["alice"]);
        assert!(found.iter().all(|finding| !finding.contains("alice")), "{found:?}");
    }
}
