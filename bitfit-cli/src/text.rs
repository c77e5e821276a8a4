//! Text for a terminal. Much of the output comes from files: names of tensors, labels, texts, metadata. Characters that
//! move the cursor, start a control sequence or reorder a line are written as escapes.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with every character that is not safe on a terminal replaced by its escape, as Rust writes it: `\r`,
/// `\u{1b}`.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        // Writing to a string cannot fail.
        _ = match is_unsafe(c) {
            true if c.is_ascii() => write!(escaped, "{}", c.escape_default()),
            true => write!(escaped, "{}", c.escape_unicode()),
            false => escaped.write_char(c),
        };
    }
    Cow::Owned(escaped)
}

/// A message as one safe line: line breaks and the blanks around them become one space, and the rest is escaped.
pub fn one_line(message: &str) -> String {
    let lines = message.split('\n').map(str::trim).filter(|line| !line.is_empty());
    escape(&lines.collect::<Vec<_>>().join(" ")).into_owned()
}

/// The longest message that is printed whole, in characters.
const LONGEST: usize = 1000;

/// A message without its middle if it is very long, for example because it quotes a value of many kilobytes. The error
/// is at its start, and the advice at its end.
pub fn shortened(message: &str) -> Cow<'_, str> {
    let length = message.chars().count();
    if length <= LONGEST {
        return Cow::Borrowed(message);
    }
    let start: String = message.chars().take(LONGEST * 2 / 3).collect();
    let end: String = message.chars().skip(length - LONGEST / 3).collect();
    Cow::Owned(format!("{start} … {end}"))
}

/// A text as a field of tab-separated output: tabs and line breaks become spaces, and the rest is escaped.
pub fn field(text: &str) -> String {
    escape(&text.replace("\r\n", " ").replace(['\t', '\n', '\r'], " ")).into_owned()
}

/// Control characters, C1 and DEL included; the line and paragraph separators; and the characters that embed, override
/// or isolate a direction of writing, which can make a line appear different from its content.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_control_a_terminal_are_escaped() {
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
    fn letters_of_every_script_stay_as_they_are() {
        for text in ["", "plain", "Größe", "日本語", "שלום\u{200f}", "👩\u{200d}🚀", r"C:\new", "\u{fffd}"]
        {
            assert!(matches!(escape(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(one_line("a file\n  called so\r\n"), "a file called so");
        assert_eq!(one_line("gone.tsv\r: all is well"), r"gone.tsv\r: all is well");
    }

    #[test]
    fn a_long_message_keeps_its_start_and_its_end() {
        assert_eq!(shortened("short"), "short");
        let long = format!("start{}end", "é".repeat(50_000));
        let short = shortened(&long);
        assert!(short.starts_with("starté") && short.ends_with("éend") && short.chars().count() < 1010, "{short}");
    }

    #[test]
    fn a_field_ends_where_it_should() {
        assert_eq!(field("good\tday\r\nvery\nfine"), "good day very fine");
        assert_eq!(field("bell\x07"), r"bell\u{7}");
    }
}
