//! Records of DTLS after the handshake, of a client and of whoever copies, changes and withholds what it sends.
//!
//! The first byte chooses the suite. Then comes one act after the other: a byte that says which, and what it needs.

use peer::readers::Sealed;
use ring::digest::{SHA256, digest};

/// Records of one input: a whole one is looked for among all of them.
const RECORDS_MAX: usize = 256;
/// Bytes of a message at most: what fits a datagram.
const MESSAGE_BYTES_MAX: usize = 1_200;

pub(super) fn run(data: &[u8]) {
    let Some((suite, mut rest)) = data.split_first() else { return };
    // Keys of this input alone: a search that has seen a record under them could send it as a stranger's.
    let digest = digest(&SHA256, data);
    let Ok(seed) = digest.as_ref().try_into() else { return };
    let Some(mut sealed) = Sealed::new(usize::from(suite % 3), seed) else { return };
    let mut count = 0;
    while let Some(act) = byte(&mut rest) {
        match act % 5 {
            // The client says something, which comes at once or stays on the way.
            choice @ (0 | 1) => {
                if count == RECORDS_MAX {
                    return;
                }
                count += 1;
                sealed.seal(text(&mut rest));
                if choice == 0 {
                    come(&mut sealed, 0, |_| {});
                }
            }
            // Something comes, for the first time or again.
            2 => come(&mut sealed, byte(&mut rest).unwrap_or(0).into(), |_| {}),
            // Something comes that was changed, or cut.
            3 => {
                let back = byte(&mut rest).unwrap_or(0).into();
                let (at, len) = (number(&mut rest), number(&mut rest));
                let mask = byte(&mut rest).unwrap_or(1);
                come(&mut sealed, back, |datagram| {
                    if let Some(byte) = datagram.get_mut(at) {
                        *byte ^= mask;
                    }
                    datagram.truncate(len);
                });
            }
            _ => sealed.come(text(&mut rest)),
        }
    }
}

fn come(sealed: &mut Sealed, back: usize, change: impl FnOnce(&mut Vec<u8>)) {
    let Some(datagram) = sealed.datagram(back) else { return };
    let mut datagram = datagram.to_vec();
    change(&mut datagram);
    sealed.come(&datagram);
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(*first)
}

fn number(rest: &mut &[u8]) -> usize {
    let high = byte(rest).unwrap_or(0);
    usize::from(u16::from_be_bytes([high, byte(rest).unwrap_or(0)]))
}

/// Two bytes of length, and so many.
fn text<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let len = number(rest).min(rest.len()).min(MESSAGE_BYTES_MAX);
    let (text, after) = rest.split_at(len);
    *rest = after;
    text
}
