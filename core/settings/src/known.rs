//! Which of the words that are known somebody may have meant.
//!
//! Guarantees: what is answered is one of ours. The word that was written is never repeated: in the wrong place it may
//! be a secret, or a person's name.

/// Bytes of the longest word that is compared: ours are shorter.
const WORD_MAX: usize = 40;
/// Letters that may be missing, added or others.
const SLIPS_MAX: usize = 2;

/// The one of `known` that is nearest to `word`, if it is near.
pub(crate) fn meant<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_MAX {
        return None;
    }
    let all = known.into_iter().map(|known| (slips(word.as_bytes(), known.as_bytes()), known));
    // In a short word two slips make another word.
    let near = all.filter(|(slips, known)| *slips <= SLIPS_MAX.min(known.len() / 3));
    near.min_by_key(|(slips, _)| *slips).map(|(_, known)| known)
}

/// How many letters must be put in, taken out or replaced to make `one` of `other`. O(length x length).
fn slips(one: &[u8], other: &[u8]) -> usize {
    // What it takes from the letters of `one` so far to each beginning of `other`.
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.iter().enumerate() {
        let mut diagonal = index;
        let mut left = index + 1;
        for (above, theirs) in
            row.iter_mut().zip(std::iter::once(None).chain(other.iter().map(Some)))
        {
            let Some(theirs) = theirs else {
                *above = left;
                continue;
            };
            let replaced = diagonal + usize::from(letter != theirs);
            diagonal = *above;
            left = replaced.min(diagonal + 1).min(left + 1);
            *above = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted() {
        let check = |one: &str, other: &str, expect| {
            assert_eq!(slips(one.as_bytes(), other.as_bytes()), expect, "{one} {other}");
            assert_eq!(slips(other.as_bytes(), one.as_bytes()), expect, "{other} {one}");
        };
        check("", "", 0);
        check("", "port", 4);
        check("port", "port", 0);
        check("prt", "port", 1);
        check("sort", "port", 1);
        check("kitten", "sitting", 3);
        check("agoar", "agora", 2);
    }

    #[test]
    fn the_nearest_is_meant_if_it_is_near() {
        let known = ["port", "bind_addresses", "revocations", "rtc.udp_port", "rtc.tcp_port"];
        let check = |word, expect| assert_eq!(meant(word, known), expect, "{word}");
        check("bind_adresses", Some("bind_addresses"));
        check("revocation", Some("revocations"));
        check("ports", Some("port"));
        check("rtc.ucp_port", Some("rtc.udp_port"));
        check("pots", None);
        check("ada.lovelace@clinic.example", None);
        check("", None);
        assert_eq!(meant(&"revocations".repeat(4), known), None);
    }
}
