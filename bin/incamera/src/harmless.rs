//! What others have written, as it may be shown on a terminal.
//!
//! Guarantees: nothing in it moves the cursor or changes the order of what stands beside it, and no letter is
//! invisible but the two joiners, which scripts and emoji need.
//! Source: Unicode 16, general categories Cc, Cf, Zl and Zp; UAX #9 for the order.

use std::fmt::Write as _;

/// For people: each letter that a terminal obeys is written as `\u{…}`.
pub(crate) fn text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if steers(letter) {
            shown.extend(letter.escape_unicode());
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// For programs, of an answer in JSON: such a letter is written as `\uXXXX`, which means the same in a string, and
/// outside of strings there is none.
pub(crate) fn json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        if steers(letter) && !matches!(letter, '\n' | '\r' | '\t') {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(letter);
        }
    }
    shown
}

/// Whether a terminal obeys the letter rather than showing it.
fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_written_out_and_all_else_stays() {
        for (given, shown) in [
            ("\u{1b}[2Jgone\n", "\\u{1b}[2Jgone\\u{a}"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("ada\u{202e}nimda", "ada\\u{202e}nimda"),
            ("\u{2066}x\u{2069}", "\\u{2066}x\\u{2069}"),
            ("a\u{200b}d\u{2028}a", "a\\u{200b}d\\u{2028}a"),
            ("Zoë 李 שלום 👩\u{200d}🚀", "Zoë 李 שלום 👩\u{200d}🚀"),
        ] {
            assert_eq!(text(given), shown);
        }
    }

    #[test]
    fn an_answer_in_json_means_the_same() {
        let name = "\u{7f}\u{9b}2J\u{202e}\u{e0001}Zoë";
        let answer = serde_json::json!({ "name": name }).to_string();
        let shown = json(&format!("{answer}\n"));
        assert!(!shown.trim_end().chars().any(steers), "{shown:?}");
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read["name"], name);
    }
}
