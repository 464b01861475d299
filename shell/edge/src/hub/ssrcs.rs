//! SSRCs under which participants receive.
//!
//! Owns: random bytes that were drawn ahead, since a draw from the operating system costs more than all else about one.
//! Guarantees: no participant is given an SSRC twice that it still has.
//! Not here: that numbers of an SSRC which comes again go on (`sfu`).

use std::collections::BTreeSet;

use ring::rand::SystemRandom;

use super::bytes;

/// Bytes of a draw.
const DRAWN: usize = 1024;
/// Bytes of an SSRC.
const SSRC: usize = 4;
/// Draws for one SSRC: one in a hundred million is taken, so many in a row never are.
const DRAWS_MAX: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Ssrcs {
    /// The last comes first.
    drawn: Vec<u8>,
}

impl Ssrcs {
    /// Two that the participant has not, which it has from now on.
    pub(super) fn take_two(
        &mut self,
        random: &SystemRandom,
        held: &mut BTreeSet<u32>,
    ) -> Option<(u32, u32)> {
        let first = self.take(random, held)?;
        Some((first, self.take(random, held)?))
    }

    fn take(&mut self, random: &SystemRandom, held: &mut BTreeSet<u32>) -> Option<u32> {
        (0..DRAWS_MAX).map(|_| self.draw(random)).find(|ssrc| *ssrc != 0 && held.insert(*ssrc))
    }

    fn draw(&mut self, random: &SystemRandom) -> u32 {
        if self.drawn.len() < SSRC {
            self.drawn = bytes::<DRAWN>(random).to_vec();
        }
        let rest = self.drawn.len() - SSRC;
        let ssrc = self.drawn.split_off(rest);
        u32::from_be_bytes(ssrc.try_into().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_ssrc_is_given_twice() {
        let (random, mut ssrcs) = (SystemRandom::new(), Ssrcs::default());
        let mut held = BTreeSet::new();
        for number in 0..2000 {
            let (ssrc, rtx_ssrc) = ssrcs.take_two(&random, &mut held).unwrap();
            assert!(ssrc != 0 && rtx_ssrc != 0 && ssrc != rtx_ssrc);
            assert_eq!(held.len(), 2 * (number + 1));
        }
        assert_eq!(ssrcs.drawn.len() % SSRC, 0);
    }

    #[test]
    fn what_is_drawn_twice_or_nothing_is_drawn_again() {
        let (random, mut held) = (SystemRandom::new(), BTreeSet::from([7]));
        let drawn = [9_u32, 0, 7, 8].map(u32::to_be_bytes).concat();
        let mut ssrcs = Ssrcs { drawn };
        assert_eq!(ssrcs.take_two(&random, &mut held), Some((8, 9)));
    }
}
