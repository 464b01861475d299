//! Which of the words that are known somebody may have meant.
//!
//! Guarantees: what is answered is one of ours. The word that was written is never repeated: in the wrong place it may
//! be a secret, or a person's name.

/// Bytes of the longest word that is compared: ours are shorter.
const WORD_MAX: usize = 40;
/// Letters that may be missing, added, others, or in the place of the next.
const SLIPS_MAX: usize = 2;

/// The one of `known` that is nearest to `word`, if it is near.
pub(crate) fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_MAX {
        return None;
    }
    let near = known.into_iter().filter_map(|known| {
        // In a short word two slips make another word.
        let slips_max = SLIPS_MAX.min(known.len() / 3);
        let slips = slips(word.as_bytes(), known.as_bytes(), slips_max)?;
        Some((slips, known))
    });
    near.min_by_key(|(slips, _)| *slips).map(|(_, known)| known)
}

/// How many letters must be put in, taken out, replaced or swapped with their neighbour to make `one` of `other`, if
/// these are not more than `most`. O(length x 4^most).
fn slips(one: &[u8], other: &[u8], most: usize) -> Option<usize> {
    let ([a, one_after @ ..], [b, other_after @ ..]) = (one, other) else {
        // Of one of them nothing is left.
        let rest = one.len() + other.len();
        return (rest <= most).then_some(rest);
    };
    if a == b {
        return slips(one_after, other_after, most);
    }
    let left = most.checked_sub(1)?;
    let swapped = match (one_after, other_after) {
        ([c, one_after @ ..], [d, other_after @ ..]) if a == d && b == c => {
            slips(one_after, other_after, left)
        }
        _ => None,
    };
    let others = [(one_after, other), (one, other_after), (one_after, other_after)];
    let others = others.into_iter().filter_map(|(one, other)| slips(one, other, left));
    others.chain(swapped).min().map(|slips| slips + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted() {
        let check = |one: &str, other: &str, expect| {
            let (one, other) = (one.as_bytes(), other.as_bytes());
            for (one, other) in [(one, other), (other, one)] {
                assert_eq!(slips(one, other, 4), Some(expect), "{one:?} {other:?}");
                assert_eq!(slips(one, other, expect), Some(expect));
                assert_eq!(expect.checked_sub(1).and_then(|most| slips(one, other, most)), None);
            }
        };
        check("", "", 0);
        check("", "port", 4);
        check("port", "port", 0);
        check("prt", "port", 1);
        check("sort", "port", 1);
        check("kitten", "sitting", 3);
        check("prot", "port", 1);
        check("agoar", "agora", 1);
        check("ab", "ba", 1);
        check("abc", "cab", 2);
    }

    #[test]
    fn the_nearest_is_meant_if_it_is_near() {
        let known = ["port", "bind_addresses", "revocations", "rtc.udp_port", "rtc.tcp_port"];
        let check = |word, expect| assert_eq!(meant(word, known), expect, "{word}");
        check("bind_adresses", Some("bind_addresses"));
        check("revocation", Some("revocations"));
        check("ports", Some("port"));
        check("prot", Some("port"));
        check("rtc.ucp_port", Some("rtc.udp_port"));
        check("pots", None);
        check("ada.lovelace@clinic.example", None);
        check("", None);
        assert_eq!(meant(&"revocations".repeat(4), known), None);
    }
}
