//! Searches what the stack was used for by calls that are over: nothing of a person is left there.
#![cfg(target_os = "linux")]
#![expect(clippy::disallowed_types, reason = "a test looks at the process from outside")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs::File;
use std::hint::black_box;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac};
use wire::key::{App, Project, ProjectKeys, RefreshKey};
use wire::rinse;
use wire::token::verify;

const APP: &str = "00112233445566778899aabbccddeeff";
const CERTIFICATE: &str = "ffeeddccbbaa99887766554433221100";
/// Each byte inverted, so that this program does not hold the name.
const IDENTITY: [u8; 16] = [0x9e; 16];
const ISSUED: u32 = 1_800_000_000;
/// Far more than a verification needs, and less than a thread of a test has.
const DEPTH: usize = 256 << 10;

fn identity() -> Vec<u8> {
    IDENTITY.iter().map(|byte| !byte).collect()
}

/// How often the identity lies below this frame, where calls were that are over.
#[inline(never)]
fn left_on_the_stack() -> usize {
    let here = 0_u8;
    let end = black_box(&raw const here).addr();
    let mut below = vec![0; DEPTH];
    let memory = File::open("/proc/self/mem").unwrap();
    memory.read_exact_at(&mut below, u64::try_from(end - DEPTH).unwrap()).unwrap();
    let is_it = |window: &&[u8]| window.iter().zip(IDENTITY).all(|(a, b)| *a == !b);
    below.windows(IDENTITY.len()).filter(is_it).count()
}

/// Does the work far below this frame, where the search itself writes nothing.
#[inline(never)]
fn far_below(work: impl FnOnce()) {
    let between = black_box([0_u8; 32 << 10]);
    work();
    black_box(between);
}

/// A token for this app and that identity, signed if `is_signed`.
fn token(is_signed: bool) -> String {
    let text = |text: &[u8]| [&u16::try_from(text.len()).unwrap().to_le_bytes(), text].concat();
    let number = |number: u32| number.to_le_bytes().to_vec();
    let (salt, lasts) = (7, 3600);
    // One service, of kind 1, with one privilege, 1, for as long as the token.
    let service = [1_u16, 1, 1, 1].map(u16::to_le_bytes).concat();
    let body = [
        text(APP.as_bytes()),
        [number(ISSUED), number(lasts), number(salt), service, number(lasts)].concat(),
        text(b"red"),
        text(&identity()),
    ]
    .concat();
    let under = |key: &[u8], message: &[u8]| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
    };
    let key = under(&number(salt), &under(&number(ISSUED), CERTIFICATE.as_bytes()));
    let signature = if is_signed { under(&key, &body) } else { vec![0; 32] };
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&[text(&signature), body].concat()).unwrap();
    format!("007{}", STANDARD.encode(encoder.finish().unwrap()))
}

/// On a stack of its own.
fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap()
}

#[test]
fn a_token_that_was_judged_leaves_no_name_on_the_stack() {
    let keys = || {
        let app = App::new(APP, CERTIFICATE).unwrap();
        ProjectKeys::new(RefreshKey::new(&[7; 32]), [Project::App(app)]).unwrap()
    };
    for is_signed in [true, false] {
        let token = apart(move || token(is_signed));
        let found = apart(move || {
            let keys = keys();
            let mut verified = None;
            far_below(|| verified = Some(verify(&keys, &token, u64::from(ISSUED) + 1)));
            let found = left_on_the_stack();
            let is_believed =
                verified.unwrap().is_ok_and(|it| it.claims.identity.as_bytes() == identity());
            assert_eq!(is_believed, is_signed);
            found
        });
        assert_eq!(found, 0, "of a token that is {}", if is_signed { "good" } else { "refused" });
    }
}

#[test]
fn rings_own_digests_leave_it_and_rinsed_ones_do_not() {
    let left = |work: fn(&hmac::Key, &[u8])| {
        apart(move || {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
            let name = identity();
            far_below(|| work(&key, &name));
            left_on_the_stack()
        })
    };
    let sign = left(|key, name| _ = black_box(hmac::sign(key, name)));
    assert!(sign > 0, "the search finds what is left");
    assert_eq!(left(|key, name| _ = black_box(rinse::sign(key, &[b"identity", name]))), 0);
    assert_eq!(left(|key, name| _ = black_box(rinse::verify(key, name, &[0; 32]))), 0);
    assert_eq!(left(|_, name| _ = black_box(rinse::sha256(&[b"identity", name]))), 0);
    let expect = digest::digest(&digest::SHA256, b"identity");
    assert_eq!(rinse::sha256(&[b"ident", b"ity"]).as_ref(), expect.as_ref());
}
