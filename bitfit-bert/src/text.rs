//! Text for a terminal. Much of what is printed came from a file: names of tensors, labels, texts, metadata. Characters
//! of it that move the cursor, start a control sequence or reorder a line are written as escapes.

use std::borrow::Cow;
use std::fmt::{self, Display, Write};

/// The text with every character that is not safe on a terminal replaced by its escape, as Rust writes it: `\r`,
/// `\u{1b}`.
pub fn escape(text: &str) -> Cow<'_, str> {
    if text.contains(is_unsafe) { Cow::Owned(OneLine(text).to_string()) } else { Cow::Borrowed(text) }
}

/// A text as a field of tab-separated output: tabs and line breaks become spaces, and the rest is escaped.
pub fn field(text: &str) -> String {
    escape(&text.replace("\r\n", " ").replace(['\t', '\n', '\r'], " ")).into_owned()
}

/// Shows a value with [`escape`] over its text: on one line, whatever it holds.
pub(crate) struct OneLine<T>(pub T);

impl<T: Display> Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

/// Writes text with escapes.
struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_unsafe(*c)) {
            self.0.write_str(&rest[..at])?;
            match c.is_ascii() {
                true => write!(self.0, "{}", c.escape_default())?,
                false => write!(self.0, "{}", c.escape_unicode())?,
            }
            rest = &rest[at + c.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// Control characters, C1 and DEL included; the line and paragraph separators; and the characters that embed, override
/// or isolate a direction of writing, which can make a line read differently from what it is.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        for (text, expected) in [
            ("\x1b[31mred\x1b[0m", r"\u{1b}[31mred\u{1b}[0m"),
            ("error\rfine", r"error\rfine"),
            ("a\nb\tc\0\x07\x08", r"a\nb\tc\u{0}\u{7}\u{8}"),
            ("\u{7f}\u{9b}2J", r"\u{7f}\u{9b}2J"),
            ("a\u{2028}b\u{2029}c", r"a\u{2028}b\u{2029}c"),
            ("\u{202e}gnp.exe\u{2066}", r"\u{202e}gnp.exe\u{2066}"),
        ] {
            assert_eq!(escape(text), expected);
            assert!(!escape(text).chars().any(is_unsafe));
        }
    }

    #[test]
    fn a_field_ends_where_it_should() {
        assert_eq!(field("good\tday\r\nvery\nfine"), "good day very fine");
        assert_eq!(field("bell\x07"), r"bell\u{7}");
    }

    #[test]
    fn letters_of_every_script_stay_as_they_are() {
        for text in ["", "plain", "Größe", "日本語", "שלום\u{200f}", "👩\u{200d}🚀", r"C:\new", "\u{fffd}"]
        {
            assert!(matches!(escape(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }
}
