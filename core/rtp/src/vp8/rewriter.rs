//! Rewrites VP8 descriptors so that one subscriber sees one continuous stream.
//!
//! Owns: the offsets between incoming and outgoing picture ids, tl0picidx and keyidx; which
//! temporal layers pass. Guarantees: a frame is passed or dropped as a whole; a dropped frame
//! leaves no gap in the picture ids; every packet of a frame, late or repeated, gets the same
//! values, for the last [`limits::VP8_FRAMES`] frames of the current source and of the one before;
//! fields are overwritten in their own width, so that no payload changes its length. Not here:
//! sequence numbers and timestamps (`sfu`), the choice of source and of temporal layer. Source: RFC
//! 7741 §4.2; behaviour checked against LiveKit `pkg/sfu/codecmunger/vp8.go`.
//!
//! [`limits::VP8_FRAMES`]: crate::limits::VP8_FRAMES

use super::{
    Descriptor, EXTENDED, HAS_KEYIDX, HAS_PICTURE_ID, HAS_TL0PICIDX, KEYIDX, PictureId, WIDE,
};
use crate::limits::VP8_FRAMES;

/// The values that one packet carries to one subscriber.
///
/// Kept with the packet's place in the history, it makes a retransmission equal to the first transmission.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp8Rewrite {
    /// 15 bits; the lower 7 where the payload has room for no more.
    pub picture_id: u16,
    /// Counts frames of temporal layer 0.
    pub tl0picidx: u8,
    /// 5 bits.
    pub keyidx: u8,
}

impl Vp8Rewrite {
    /// Overwrites those fields that the descriptor at the start of `payload` has. The length stays.
    pub fn apply(&self, payload: &mut [u8]) {
        let [first, flags, rest @ ..] = payload else { return };
        if *first & EXTENDED == 0 {
            return;
        }
        let mut bytes = rest.iter_mut();
        let [high, low] = self.picture_id.to_be_bytes();
        if *flags & HAS_PICTURE_ID != 0
            && let Some(byte) = bytes.next()
        {
            if *byte & WIDE == 0 {
                *byte = low & !WIDE;
            } else {
                *byte = high | WIDE;
                if let Some(byte) = bytes.next() {
                    *byte = low;
                }
            }
        }
        if *flags & HAS_TL0PICIDX != 0
            && let Some(byte) = bytes.next()
        {
            *byte = self.tl0picidx;
        }
        if *flags & HAS_KEYIDX != 0
            && let Some(byte) = bytes.next()
        {
            *byte = *byte & !KEYIDX | self.keyidx & KEYIDX;
        }
    }

    /// What follows `self` when another source goes on after it.
    const fn successor(self) -> Self {
        Self {
            picture_id: self.picture_id.wrapping_add(1) & 0x7fff,
            tl0picidx: self.tl0picidx.wrapping_add(1),
            keyidx: self.keyidx.wrapping_add(1) & KEYIDX,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    /// Nothing is known of a frame here.
    #[default]
    Vacant,
    /// Skipped over: lost, or still to come. It has its place in the outgoing numbers.
    Awaited,
    Passed,
    Dropped,
}

#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    picture_id: u16,
    /// Incoming minus outgoing picture id.
    offset: u16,
    fate: Fate,
}

/// One source from a switch on: how its numbers become the subscription's.
#[derive(Clone, Debug)]
struct Lane {
    source: u8,
    /// False until the first packet fixes the offsets.
    anchored: bool,
    newest: u16,
    /// For frames after `newest`.
    offset: Vp8Rewrite,
    /// By picture id modulo the length.
    frames: [Frame; VP8_FRAMES as usize],
}

impl Lane {
    fn new(source: u8) -> Self {
        Self {
            source,
            anchored: false,
            newest: 0,
            offset: Vp8Rewrite::default(),
            frames: [Frame::default(); VP8_FRAMES as usize],
        }
    }

    /// Makes the frame of `descriptor` follow `last`.
    fn anchor(&mut self, id: PictureId, descriptor: &Descriptor, last: Option<Vp8Rewrite>) {
        *self = Self::new(self.source);
        self.anchored = true;
        self.newest = id.value.wrapping_sub(1) & id.mask;
        if let Some(next) = last.map(Vp8Rewrite::successor) {
            self.offset = Vp8Rewrite {
                picture_id: id.value.wrapping_sub(next.picture_id),
                tl0picidx: descriptor.tl0picidx.unwrap_or(0).wrapping_sub(next.tl0picidx),
                keyidx: descriptor.keyidx.unwrap_or(0).wrapping_sub(next.keyidx) & KEYIDX,
            };
        }
    }

    /// How far `id` lies ahead of the newest frame; `None` if it is not ahead.
    fn ahead(&self, id: PictureId) -> Option<u16> {
        let ahead = id.value.wrapping_sub(self.newest) & id.mask;
        (1..=id.mask / 2).contains(&ahead).then_some(ahead)
    }

    /// The frame, if it is remembered.
    fn frame(&mut self, picture_id: u16) -> Option<&mut Frame> {
        let frame = self.frames.get_mut(usize::from(picture_id % VP8_FRAMES))?;
        (frame.fate != Fate::Vacant && frame.picture_id == picture_id).then_some(frame)
    }

    /// Makes `id` the newest frame; those between are awaited.
    fn advance(&mut self, id: PictureId, ahead: u16, fate: Fate) {
        let remembered = ahead.min(VP8_FRAMES);
        for distance in (0..remembered).rev() {
            let picture_id = id.value.wrapping_sub(distance) & id.mask;
            let fate = if distance == 0 { fate } else { Fate::Awaited };
            let offset = self.offset.picture_id;
            if let Some(frame) = self.frames.get_mut(usize::from(picture_id % VP8_FRAMES)) {
                *frame = Frame { picture_id, offset, fate };
            }
        }
        self.newest = id.value;
        if fate == Fate::Dropped {
            self.offset.picture_id = self.offset.picture_id.wrapping_add(1);
        }
    }

    /// The outgoing values of a packet of the frame with picture id `offset`.
    fn rewrite(&self, id: PictureId, offset: u16, descriptor: &Descriptor) -> Vp8Rewrite {
        let tl0picidx = descriptor.tl0picidx.unwrap_or(0);
        let keyidx = descriptor.keyidx.unwrap_or(0);
        Vp8Rewrite {
            picture_id: id.value.wrapping_sub(offset) & 0x7fff,
            tl0picidx: tl0picidx.wrapping_sub(self.offset.tl0picidx),
            keyidx: keyidx.wrapping_sub(self.offset.keyidx) & KEYIDX,
        }
    }

    /// The values of a frame that is not newer than all others; `None` if it is dropped or not remembered.
    fn revisit(
        &mut self,
        id: PictureId,
        descriptor: &Descriptor,
        temporal: u8,
    ) -> Option<Vp8Rewrite> {
        let frame = self.frame(id.value)?;
        if frame.fate == Fate::Awaited {
            frame.fate = if descriptor.temporal > temporal { Fate::Dropped } else { Fate::Passed };
        }
        let offset = (frame.fate == Fate::Passed).then_some(frame.offset)?;
        Some(self.rewrite(id, offset, descriptor))
    }
}

/// Turns the VP8 packets of several sources into those of one subscription.
///
/// A source is one RTP stream of a simulcast publication. Call [`Self::switch_to`] when the next
/// packet given begins a key frame of another source, or of the same one after a pause; then
/// [`Self::rewrite`] for every packet, of the old source too.
#[derive(Clone, Debug)]
pub struct Vp8Rewriter {
    current: Lane,
    previous: Option<Box<Lane>>,
    /// Temporal layers up to this one pass.
    temporal: u8,
    /// Given to the newest frame that passed.
    last: Option<Vp8Rewrite>,
}

impl Vp8Rewriter {
    /// Begins with `source`, whose numbers are kept until the first frame is dropped or the source changes.
    #[must_use]
    pub fn new(source: u8) -> Self {
        Self::after(None, source)
    }

    /// Begins with `source`, whose first frame follows on the one with these values.
    #[must_use]
    pub fn after(last: Option<Vp8Rewrite>, source: u8) -> Self {
        Self { current: Lane::new(source), previous: None, temporal: 0, last }
    }

    /// The values of the newest frame that passed.
    #[must_use]
    pub const fn last(&self) -> Option<Vp8Rewrite> {
        self.last
    }

    /// The next packet of `source` begins a key frame and follows the last frame that passed.
    pub fn switch_to(&mut self, source: u8) {
        if self.current.anchored {
            let current = std::mem::replace(&mut self.current, Lane::new(source));
            match &mut self.previous {
                Some(previous) => **previous = current,
                None => self.previous = Some(Box::new(current)),
            }
        } else {
            self.current.source = source;
        }
    }

    /// The temporal layer up to which frames pass now.
    #[must_use]
    pub const fn temporal(&self) -> u8 {
        self.temporal
    }

    /// The values for a packet of `source`; `None` if it is to be dropped.
    ///
    /// Temporal layers above `temporal_target` stop at the next frame; further ones up to it begin,
    /// one by one, with a frame that depends on the base layer alone (Y), or all at a key frame. A
    /// payload without picture id passes as it is.
    pub fn rewrite(
        &mut self,
        source: u8,
        descriptor: &Descriptor,
        temporal_target: u8,
    ) -> Option<Vp8Rewrite> {
        if source != self.current.source {
            return self.rewrite_previous(source, descriptor);
        }
        let Some(id) = descriptor.picture_id else {
            return Some(Vp8Rewrite {
                picture_id: 0,
                tl0picidx: descriptor.tl0picidx.unwrap_or(0),
                keyidx: descriptor.keyidx.unwrap_or(0),
            });
        };
        if !self.current.anchored || self.is_anew(id, descriptor) {
            self.current.anchor(id, descriptor, self.last);
            self.temporal = temporal_target;
        }
        let Some(ahead) = self.current.ahead(id) else {
            if self.current.frame(id.value).is_none() {
                return self.rewrite_previous(source, descriptor);
            }
            return self.current.revisit(id, descriptor, self.temporal);
        };
        self.choose_temporal(descriptor, temporal_target);
        let passes = descriptor.temporal <= self.temporal;
        let offset = self.current.offset.picture_id;
        self.current.advance(id, ahead, if passes { Fate::Passed } else { Fate::Dropped });
        if !passes {
            return None;
        }
        let rewrite = self.current.rewrite(id, offset, descriptor);
        self.last = Some(rewrite);
        Some(rewrite)
    }

    /// A key frame with a picture id that has nothing to do with the last ones: the encoder was restarted.
    fn is_anew(&self, id: PictureId, descriptor: &Descriptor) -> bool {
        let ahead = id.value.wrapping_sub(self.current.newest) & id.mask;
        let behind = self.current.newest.wrapping_sub(id.value) & id.mask;
        descriptor.keyframe && ahead.min(behind) > VP8_FRAMES
    }

    fn choose_temporal(&mut self, descriptor: &Descriptor, target: u8) {
        let is_next = descriptor.sync && descriptor.temporal == self.temporal.saturating_add(1);
        if descriptor.keyframe || (is_next && descriptor.temporal <= target) {
            self.temporal = if descriptor.keyframe { target } else { descriptor.temporal };
        }
        self.temporal = self.temporal.min(target);
    }

    /// A packet of the source before the switch: passes if its frame had its place by then.
    fn rewrite_previous(&mut self, source: u8, descriptor: &Descriptor) -> Option<Vp8Rewrite> {
        let id = descriptor.picture_id?;
        let previous = self.previous.as_mut().filter(|previous| previous.source == source)?;
        previous.revisit(id, descriptor, self.temporal)
    }
}

#[cfg(test)]
mod tests;
