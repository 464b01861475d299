//! PEM: DER in base 64 between two lines that name it.
//!
//! Guarantees: one block and nothing beside it; what was read is overwritten when dropped, since it may be
//! the private half of a key pair.
//! Source: RFC 7468.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::KeyError;
use crate::limits::PEM_MAX;

/// Bytes of base 64 in a line.
const WIDTH: usize = 64;

/// Whether the text is meant as PEM, rather than as the path of a file with it.
#[must_use]
pub fn is_pem(text: &str) -> bool {
    text.trim_start().starts_with("-----BEGIN ")
}

/// The DER of the only block, which must be named `label`.
pub(super) fn read(text: &str, label: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    if text.len() > PEM_MAX {
        return Err(KeyError::TooLong);
    }
    let body = text.trim().strip_prefix("-----BEGIN ").ok_or(KeyError::NotPem)?;
    let (found, body) = body.split_once("-----").ok_or(KeyError::NotPem)?;
    if found != label {
        return Err(if found.ends_with("PRIVATE KEY") {
            KeyError::PrivateHalf
        } else {
            KeyError::OtherPem
        });
    }
    let end = body.strip_suffix("-----").and_then(|body| body.strip_suffix(label));
    let body = end.and_then(|body| body.strip_suffix("-----END ")).ok_or(KeyError::NotPem)?;
    let base64: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    // The decoder leaves what it has read behind when it fails, so it is given what will be overwritten.
    let mut der = Zeroizing::new(Vec::with_capacity(base64.len()));
    STANDARD.decode_vec(base64.as_bytes(), &mut der).map_err(|_| KeyError::NotPem)?;
    Ok(der)
}

/// The block, with a line feed at its end.
pub(super) fn write(label: &str, der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    // Long enough that it is never moved, which would leave a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * base64.len() + 4 * WIDTH));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let mut rest = base64.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at_checked(WIDTH).unwrap_or((rest, ""));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
