//! Ids that look random and are the same for the same seed.
//!
//! Owns: a SplitMix64 sequence. Not here: secrets. A sid is shown to everyone in the room; knowing one
//! opens nothing, because a resume needs the token of the same identity as well.
//! Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.

#[derive(Debug)]
pub(super) struct Entropy(u64);

impl Entropy {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// The random part of a sid.
    pub(super) const fn sid(&mut self) -> [u8; 12] {
        let [a, b, c, d, e, f, g, h] = self.next().to_le_bytes();
        let [i, j, k, l, ..] = self.next().to_le_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_that_of_the_reference() {
        let mut entropy = Entropy::new(1_234_567);
        assert_eq!(entropy.next(), 6_457_827_717_110_365_317);
        assert_eq!(entropy.next(), 3_203_168_211_198_807_973);
    }
}
