//! Seals and opens what it is told to, so that LiveKit's own worker in a real browser can judge the crate
//! (`tests/clients/web/frame_encryption.mjs`).
//!
//! `frame_judge PASSPHRASE…`, one for each key index from 0. In, until the end of input: four bytes of
//! length, then operation (`s`eal, `o`pen, or `k` to seal with the key index that is the only byte), what
//! (`opus`, `vp8`, `vp9`, `h264`, `h265` as 0 to 4, data as 5), AES key length in bytes, SSRC (four bytes),
//! RTP timestamp (four bytes; both unused when opening), and the bytes. Out: four bytes of length, then 0
//! and the bytes, or 1 and the reason. A data packet is its key index, its IV and its value.

use std::error::Error;
use std::io::{BufReader, Read, Write};
use std::time::Duration;

use e2ee::{
    ChannelKey, Codec, Frame, KeyIndex, KeyOptions, KeyRing, KeySize, Opener, SealedData, Sealer,
};

const DATA: u8 = 5;
const IV_LEN: usize = 12;

fn main() -> Result<(), Box<dyn Error>> {
    let passphrases: Vec<String> = std::env::args().skip(1).collect();
    let mut ends = [KeySize::Aes128, KeySize::Aes256].map(|size| {
        let keys = || {
            let mut keys = KeyRing::new(KeyOptions::livekit(size));
            for (index, passphrase) in (0..).map_while(KeyIndex::new).zip(&passphrases) {
                keys.insert(index, &ChannelKey::passphrase(passphrase));
            }
            keys
        };
        (Sealer::new(keys(), 1000), Opener::new(keys(), &[]))
    });
    let (mut input, mut output) = (BufReader::new(std::io::stdin()), std::io::stdout().lock());
    let (mut request, mut reply) = (Vec::new(), Vec::new());
    let mut len = [0; 4];
    while input.read_exact(&mut len).is_ok() {
        request.resize(usize::try_from(u32::from_be_bytes(len))?, 0);
        input.read_exact(&mut request)?;
        let [small, large] = &mut ends;
        let end = if request.get(2) == Some(&16) { small } else { large };
        let outcome = answer(end, &request, &mut reply);
        let (status, bytes) = match &outcome {
            Ok(()) => (0, reply.as_slice()),
            Err(reason) => (1, reason.as_bytes()),
        };
        output.write_all(&u32::try_from(bytes.len() + 1)?.to_be_bytes())?;
        output.write_all(&[status])?;
        output.write_all(bytes)?;
        output.flush()?;
    }
    Ok(())
}

fn answer(
    (sealer, opener): &mut (Sealer, Opener),
    request: &[u8],
    reply: &mut Vec<u8>,
) -> Result<(), String> {
    let (head, bytes) = request.split_first_chunk::<11>().ok_or("too short")?;
    let &[operation, what, _, s0, s1, s2, s3, t0, t1, t2, t3] = head;
    let ssrc = u32::from_be_bytes([s0, s1, s2, s3]);
    let rtp_timestamp = u32::from_be_bytes([t0, t1, t2, t3]);
    let codec = match what {
        0 => Codec::Opus,
        1 => Codec::Vp8,
        2 => Codec::Vp9,
        3 => Codec::H264,
        _ => Codec::H265,
    };
    match (operation, what) {
        (b'k', _) => {
            reply.clear();
            let index = bytes.first().copied().and_then(KeyIndex::new);
            sealer.keys.select(index.ok_or("no key index")?);
            Ok(())
        }
        (b's', DATA) => {
            let header = sealer.seal_data(bytes, rtp_timestamp, ssrc, reply).map_err(words)?;
            reply.splice(..0, [&[header.key_index.value()][..], &header.iv].concat());
            Ok(())
        }
        (b's', _) => {
            let frame = Frame { codec, ssrc, rtp_timestamp, bytes };
            sealer.seal_frame(&frame, reply).map_err(words)
        }
        (_, DATA) => {
            let (key_index, rest) = bytes.split_first().ok_or("too short")?;
            let (iv, value) = rest.split_at_checked(IV_LEN).ok_or("too short")?;
            let sealed = SealedData { key_index: (*key_index).into(), iv, value };
            opener.open_data(&sealed, reply).map_err(words)
        }
        // A minute is nothing to a replay window.
        _ => opener.open_frame(codec, bytes, Duration::ZERO, reply).map_err(words),
    }
}

fn words(error: impl Error) -> String {
    error.to_string()
}
