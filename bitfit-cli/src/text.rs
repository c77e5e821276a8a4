//! Text for a terminal: messages as one line.

use std::borrow::Cow;

pub use bitfit_bert::text::{escape, field};

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
