//! One server's SRTP session driven by lines of JSON, so that another implementation can judge it
//! (`tests/judges/libsrtp.py`).
//!
//! In, first: `{"profile": 7, "exported": "hex"}`, the profile by its number in DTLS. Then
//! `{"protect": "hex", "header_len": 12, "index": 65536}`, `{"protect_rtcp": "hex"}`,
//! `{"unprotect": "hex"}` or `{"unprotect_rtcp": "hex"}`. Out, for each of these: a line
//! `{"packet": "hex"}` or `{"refused": "why"}`.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{BufRead, Write};

use rtp::srtp::{DtlsRole, KeyingMaterial, Profile, SrtpError, SrtpReceiver, SrtpSender};
use serde_json::{Value, json};

const PROFILES: [Profile; 3] =
    [Profile::AeadAes128Gcm, Profile::AeadAes256Gcm, Profile::AesCm128HmacSha1_80];

fn main() -> Result<(), Box<dyn Error>> {
    let mut lines = std::io::stdin().lock().lines();
    let first: Value = serde_json::from_str(&lines.next().ok_or("no session")??)?;
    let number = first.get("profile").and_then(Value::as_u64);
    let profile = PROFILES.into_iter().find(|it| Some(u64::from(it.dtls_id())) == number);
    let exported = bytes(&first, "exported").ok_or("no keying material")?;
    let material = KeyingMaterial::new(profile.ok_or("no such profile")?, &exported)?;
    let mut sender = SrtpSender::new(&material, DtlsRole::Server);
    let mut receiver = SrtpReceiver::new(&material, DtlsRole::Server);
    let mut out = std::io::stdout().lock();
    for line in lines {
        let reply = match serve(&mut sender, &mut receiver, &serde_json::from_str(&line?)?) {
            Ok(packet) => json!({ "packet": hex(&packet) }),
            Err(refused) => json!({ "refused": refused.to_string() }),
        };
        writeln!(out, "{reply}")?;
        out.flush()?;
    }
    Ok(())
}

fn serve(
    sender: &mut SrtpSender,
    receiver: &mut SrtpReceiver,
    line: &Value,
) -> Result<Vec<u8>, SrtpError> {
    /// More than any profile adds.
    const ROOM: usize = 32;
    let number = |name: &str| line.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (mut packet, len);
    if let Some(plain) = bytes(line, "protect") {
        let header_len = usize::try_from(number("header_len")).unwrap_or_default();
        let payload_len = plain.len().saturating_sub(header_len);
        packet = [plain, vec![0; ROOM]].concat();
        len = sender.protect_rtp(&mut packet, header_len, payload_len, number("index"))?;
    } else if let Some(plain) = bytes(line, "protect_rtcp") {
        let plain_len = plain.len();
        packet = [plain, vec![0; ROOM]].concat();
        len = sender.protect_rtcp(&mut packet, plain_len)?;
    } else if let Some(protected) = bytes(line, "unprotect_rtcp") {
        packet = protected;
        len = receiver.unprotect_rtcp(&mut packet)?;
    } else {
        packet = bytes(line, "unprotect").unwrap_or_default();
        len = receiver.unprotect_rtp(&mut packet)?.packet_len();
    }
    packet.truncate(len);
    Ok(packet)
}

fn bytes(line: &Value, name: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = line
        .get(name)?
        .as_str()?
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let (pairs, []) = digits.as_deref()?.as_chunks() else { return None };
    Some(pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}
