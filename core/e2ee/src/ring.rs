//! The keys of one participant, or of all when they share one.
//!
//! Guarantees: hostile frames make it derive each ratchet step once, and no more than [`RATCHET_WINDOW_MAX`]
//! of them per slot.
//! Not here: LiveKit's `failureTolerance`, which gives a key up after some frames did not open: whoever
//! carries the frames could end a call with eleven of them.
//! Source: `livekit-client` 2.23.0 `src/e2ee/worker/ParticipantKeyHandler.ts`; the steps of the window as
//! the native `frame_crypto_transformer.cc` takes them, one after the other.

use crate::iv::Iv;
use crate::key::{ChannelKey, Key, KeyShape, KeySize};
use crate::limits::{KEY_RING_SLOTS, RATCHET_WINDOW_MAX};
use crate::opener::OpenError;

/// The salt that LiveKit's SDKs use unless they are given another one.
const DEFAULT_SALT: &[u8] = b"LKFrameEncryptionKey";

/// Which key of a ring: less than [`KEY_RING_SLOTS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyIndex(u8);

impl KeyIndex {
    /// `None` from [`KEY_RING_SLOTS`] on.
    #[must_use]
    pub const fn new(index: u8) -> Option<Self> {
        if index < KEY_RING_SLOTS { Some(Self(index)) } else { None }
    }

    /// The number as it is on the wire.
    #[must_use]
    pub const fn value(self) -> u8 {
        self.0
    }
}

/// What all participants of a room must have set alike, and how far a receiver follows a ratchet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOptions {
    /// LiveKit's `keySize`.
    pub size: KeySize,
    /// LiveKit's `ratchetSalt`: no secret.
    pub salt: Vec<u8>,
    /// LiveKit's `ratchetWindowSize`: steps that are tried on a frame that does not open, none if 0. More than
    /// [`RATCHET_WINDOW_MAX`] count as that.
    pub ratchet_window: u8,
}

impl KeyOptions {
    /// LiveKit's salt, and no automatic ratchet.
    #[must_use]
    pub fn livekit(size: KeySize) -> Self {
        Self { size, salt: DEFAULT_SALT.to_vec(), ratchet_window: 0 }
    }
}

/// A key and what was derived from it in search of a sender that ratcheted.
struct Slot {
    key: Key,
    /// Tells this key from all that the ring held before.
    epoch: u64,
    /// The next steps, as far as they were needed.
    ahead: Vec<Key>,
}

/// Up to [`KEY_RING_SLOTS`] keys, one of which is selected for sealing.
#[expect(missing_debug_implementations, reason = "what is sensitive does not print")]
pub struct KeyRing {
    shape: KeyShape,
    window: usize,
    slots: [Option<Slot>; KEY_RING_SLOTS as usize],
    selected: KeyIndex,
    epochs: u64,
}

impl KeyRing {
    /// A ring without keys, the first slot selected.
    #[must_use]
    pub fn new(options: KeyOptions) -> Self {
        let KeyOptions { size, salt, ratchet_window } = options;
        Self {
            shape: KeyShape { size, salt },
            window: ratchet_window.min(RATCHET_WINDOW_MAX).into(),
            slots: [const { None }; KEY_RING_SLOTS as usize],
            selected: KeyIndex::default(),
            epochs: 0,
        }
    }

    /// Puts `key` into a slot, over the one that is there. It is taken for one that has sealed nothing: to come back to
    /// a key, leave it in its slot and select that again. Costs what its [`Derivation`](crate::Derivation) costs.
    pub fn insert(&mut self, index: KeyIndex, key: &ChannelKey) {
        let key = Key::new(&self.shape, key);
        self.put(index, key);
    }

    /// The key to seal with from now on. Receivers take any key that they have: give it to all of them first.
    pub const fn select(&mut self, index: KeyIndex) {
        self.selected = index;
    }

    /// Replaces a key by the one derived from it. `false` if the slot is empty. Costs one derivation.
    ///
    /// LiveKit's ratchet gives no forward secrecy: the bytes that a step is handed on as begin with the AES
    /// key of the step before (all of it with [`KeySize::Aes128`], and with [`KeySize::Aes256`] they are
    /// that key). Whoever is given a ratcheted key can read what was sent before it. To shut somebody out,
    /// insert a fresh key.
    #[must_use]
    pub fn ratchet(&mut self, index: KeyIndex) -> bool {
        let Some(slot) = self.slots.get(usize::from(index.0)).and_then(Option::as_ref) else {
            return false;
        };
        let key = slot.key.ratcheted(&self.shape);
        self.put(index, key);
        true
    }

    /// Overwrites and drops a key: nothing sealed under it opens any more.
    pub fn forget(&mut self, index: KeyIndex) {
        if let Some(slot) = self.slots.get_mut(usize::from(index.0)) {
            *slot = None;
        }
    }

    /// The selected key, if its slot has one, and its epoch.
    pub(crate) fn sealing(&self) -> Result<(&Key, u64), KeyIndex> {
        let slot = self.slots.get(usize::from(self.selected.0)).and_then(Option::as_ref);
        slot.map(|slot| (&slot.key, slot.epoch)).ok_or(self.selected)
    }

    pub(crate) const fn selected(&self) -> KeyIndex {
        self.selected
    }

    /// Whether anything can be opened under this index.
    pub(crate) fn has(&self, index: u8) -> bool {
        self.slots.get(usize::from(index)).is_some_and(Option::is_some)
    }

    /// Opens `out`, of which `clear` bytes are readable, under the key of `index` or, within the window, one
    /// ratcheted from it, which then takes its place. `refill` restores `out` for another try. On failure
    /// `out` is empty.
    pub(crate) fn open(
        &mut self,
        index: u8,
        iv: Iv,
        clear: usize,
        out: &mut Vec<u8>,
        refill: impl Fn(&mut Vec<u8>),
    ) -> Result<(), OpenError> {
        let slot = self.slots.get_mut(usize::from(index)).and_then(Option::as_mut);
        let slot = slot.ok_or(OpenError::UnknownKey(index))?;
        if slot.key.open(iv, clear, out) {
            return Ok(());
        }
        for step in 0..self.window {
            if step == slot.ahead.len() {
                let newest = slot.ahead.last().unwrap_or(&slot.key);
                let next = newest.ratcheted(&self.shape);
                slot.ahead.push(next);
            }
            refill(out);
            if slot.ahead.get(step).is_some_and(|key| key.open(iv, clear, out)) {
                let mut passed = slot.ahead.drain(..=step);
                if let Some(key) = passed.next_back() {
                    slot.key = key;
                    self.epochs += 1;
                    slot.epoch = self.epochs;
                }
                return Ok(());
            }
        }
        Err(OpenError::Unauthentic)
    }

    fn put(&mut self, index: KeyIndex, key: Key) {
        self.epochs += 1;
        if let Some(slot) = self.slots.get_mut(usize::from(index.0)) {
            *slot = Some(Slot { key, epoch: self.epochs, ahead: Vec::new() });
        }
    }

    #[cfg(test)]
    pub(crate) fn chain(&self, index: KeyIndex) -> [u8; crate::key::CHAIN_LEN] {
        self.slots[usize::from(index.0)].as_ref().unwrap().key.chain()
    }
}
