//! dimpl's cipher suites, made so that a connection's ciphers can be had when its handshake is over.
//!
//! Owns: a cipher's way out of dimpl's machine. The machine makes its ciphers through suites that are one for the
//! process, and gives none back. Ours make dimpl's own, each in a case that notes what it did last; while [`take_over`]
//! drops a machine, the cases leave their content in a place of this thread.
//! Guarantees: a cipher is in a machine or out of it, never both, so that no two can seal under one number; what is
//! dropped otherwise leaves nothing.
//! Not here: what is then done with them (`records`).

use std::cell::RefCell;
use std::fmt;
use std::sync::LazyLock;

use dimpl::crypto::aws_lc_rs::default_provider;
use dimpl::crypto::{
    Aad, Buf, Cipher, CryptoProvider, Dtls12CipherSuite, HashAlgorithm, Nonce,
    SupportedDtls12CipherSuite, TmpBuf,
};
use dimpl::{CryptoError, Dtls as Machine};

thread_local! {
    /// What a machine leaves that is being taken over; `None` while none is.
    static LEFT: RefCell<Option<Vec<Worn>>> = const { RefCell::new(None) };
}

static CASED: LazyLock<Vec<CasedSuite>> =
    LazyLock::new(|| default_provider().cipher_suites.iter().map(|it| CasedSuite(*it)).collect());
static SUITES: LazyLock<Vec<&'static dyn SupportedDtls12CipherSuite>> = LazyLock::new(|| {
    CASED.iter().map(|suite| -> &dyn SupportedDtls12CipherSuite { suite }).collect()
});

/// dimpl's own provider but for the cases.
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider { cipher_suites: &SUITES, ..default_provider() }
}

/// Drops the machine of a connection; what sealed and what opened its records.
pub(crate) fn take_over(machine: Box<Machine>) -> Option<Pair> {
    LEFT.set(Some(Vec::with_capacity(2)));
    drop(machine);
    let (mut sealer, mut opener) = (None, None);
    for worn in LEFT.take()? {
        match worn.did.last {
            Act::Sealed => sealer = Some(worn),
            Act::Opened => opener = Some(worn),
        }
    }
    Some(Pair { sealer: sealer?, opener: opener? })
}

/// The ciphers of a client and of its server under keys that are made of `seed`, each as after its first record: for
/// `readers`. `None`: there is no such suite.
pub(crate) fn known(suite: usize, seed: &[u8; 32]) -> Option<[Pair; 2]> {
    let suite = default_provider().cipher_suites.get(suite).copied()?;
    let (_, key_len, _) = suite.key_lengths();
    let worn = |last: Act, key: u8| {
        // Epoch 1, number 1.
        let name = [0, 1, 0, 0, 0, 0, 0, 1];
        let aad = Aad(name.into_iter().chain([0; 5]).collect());
        Some(Worn {
            cipher: suite.create_cipher(seed.map(|byte| byte ^ key).get(..key_len)?).ok()?,
            did: Did { last, aad, nonce: Nonce([key; 12]) },
            explicit_len: suite.explicit_nonce_len(),
            tag_len: suite.tag_len(),
        })
    };
    let pair = |own: u8, other: u8| {
        Some(Pair { sealer: worn(Act::Sealed, own)?, opener: worn(Act::Opened, other)? })
    };
    Some([pair(1, 2)?, pair(2, 1)?])
}

/// The ciphers of a connection.
pub(crate) struct Pair {
    pub(crate) sealer: Worn,
    pub(crate) opener: Worn,
}

/// A cipher that has done something.
pub(crate) struct Worn {
    pub(crate) cipher: Box<dyn Cipher>,
    pub(crate) did: Did,
    /// Bytes of a record's own nonce in front of its ciphertext, and of the tag behind it.
    pub(crate) explicit_len: usize,
    pub(crate) tag_len: usize,
}

/// The record of the highest number that a cipher took.
#[derive(Debug)]
pub(crate) struct Did {
    last: Act,
    pub(crate) aad: Aad,
    pub(crate) nonce: Nonce,
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Sealed,
    Opened,
}

/// A suite of dimpl's, with its ciphers in cases.
#[derive(Debug)]
struct CasedSuite(&'static dyn SupportedDtls12CipherSuite);

impl SupportedDtls12CipherSuite for CasedSuite {
    fn suite(&self) -> Dtls12CipherSuite {
        self.0.suite()
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.0.hash_algorithm()
    }

    fn key_lengths(&self) -> (usize, usize, usize) {
        self.0.key_lengths()
    }

    fn explicit_nonce_len(&self) -> usize {
        self.0.explicit_nonce_len()
    }

    fn tag_len(&self) -> usize {
        self.0.tag_len()
    }

    fn min_protected_fragment_len(&self) -> usize {
        self.0.min_protected_fragment_len()
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        Ok(Box::new(Case {
            cipher: Some(self.0.create_cipher(key)?),
            did: None,
            explicit_len: self.0.explicit_nonce_len(),
            tag_len: self.0.tag_len(),
        }))
    }
}

/// A cipher in a machine.
struct Case {
    /// Until it is dropped.
    cipher: Option<Box<dyn Cipher>>,
    did: Option<Did>,
    explicit_len: usize,
    tag_len: usize,
}

impl Case {
    /// Records may be opened out of order; the number is what the associated data begins with.
    fn note(&mut self, did: Did) {
        let number = |did: &Did| did.aad.first_chunk::<8>().copied();
        if self.did.as_ref().is_none_or(|before| number(before) < number(&did)) {
            self.did = Some(did);
        }
    }
}

impl Cipher for Case {
    fn encrypt(&mut self, plaintext: &mut Buf, aad: Aad, nonce: Nonce) -> Result<(), CryptoError> {
        let cipher = self.cipher.as_mut().ok_or(CryptoError::ClientCipherNotInitialized)?;
        cipher.encrypt(plaintext, aad.clone(), nonce)?;
        self.note(Did { last: Act::Sealed, aad, nonce });
        Ok(())
    }

    fn decrypt(
        &mut self,
        ciphertext: &mut TmpBuf<'_>,
        aad: Aad,
        nonce: Nonce,
    ) -> Result<(), CryptoError> {
        let cipher = self.cipher.as_mut().ok_or(CryptoError::ClientCipherNotInitialized)?;
        cipher.decrypt(ciphertext, aad.clone(), nonce)?;
        self.note(Did { last: Act::Opened, aad, nonce });
        Ok(())
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        let (Some(cipher), Some(did)) = (self.cipher.take(), self.did.take()) else { return };
        let (explicit_len, tag_len) = (self.explicit_len, self.tag_len);
        // A thread that ends has no place any more, and nobody who waits.
        let _is_there = LEFT.try_with(|left| {
            if let Ok(mut left) = left.try_borrow_mut()
                && let Some(left) = &mut *left
            {
                left.push(Worn { cipher, did, explicit_len, tag_len });
            }
        });
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Case(…)")
    }
}
