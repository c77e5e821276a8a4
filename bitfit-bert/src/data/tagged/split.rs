//! The words of a plain text, where none are marked.

use std::ops::Range;

/// The words of a text as ranges of its bytes: what stands between blanks, with marks at its two ends as words of
/// their own, a run of one mark as one word. Marks inside a word stay in it: "(don't…" is "(", "don't" and "…".
///
/// Tag sets are made for texts whose words were separated by hand or by a tool of their own; where that differs, give
/// the words instead of a plain text.
pub fn split_words(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut end = 0;
    for part in text.split_whitespace() {
        let start = end + text[end..].find(part).unwrap_or(0);
        end = start + part.len();
        let is_mark = |c: char| !c.is_alphanumeric();
        let core = part.trim_start_matches(is_mark);
        let before = part.len() - core.len();
        let core = core.trim_end_matches(is_mark);
        push_runs(&mut words, part, 0..before, start);
        if !core.is_empty() {
            words.push(start + before..start + before + core.len());
        }
        push_runs(&mut words, part, before + core.len()..part.len(), start);
    }
    words
}

/// Adds each run of one character in a range of `part` as a word; the part begins at `offset`.
fn push_runs(words: &mut Vec<Range<usize>>, part: &str, range: Range<usize>, offset: usize) {
    let mut last = None;
    for (at, c) in part[range.clone()].char_indices() {
        let start = offset + range.start + at;
        match words.last_mut() {
            Some(word) if last == Some(c) => word.end = start + c.len_utf8(),
            _ => words.push(start..start + c.len_utf8()),
        }
        last = Some(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_at_the_ends_are_words_and_inside_of_a_word_are_not() {
        for (text, expected) in [
            ("", &[][..]),
            ("  ", &[]),
            ("Berlin", &["Berlin"]),
            (
                " \"I don't (really)...\"\u{a0}she said. ",
                &["\"", "I", "don't", "(", "really", ")", "...", "\"", "she", "said", "."],
            ),
            ("--- a-b U.S. ¿qué?", &["---", "a-b", "U.S", ".", "¿", "qué", "?"]),
            ("a a aa", &["a", "a", "aa"]),
        ] {
            let words: Vec<&str> = split_words(text).into_iter().map(|range| &text[range]).collect();
            assert_eq!(words, expected, "{text:?}");
        }
    }
}
