//! The tokens of a question with its context, in one sequence or several.
//!
//! A context that does not fit beside its question is several sequences, each with the whole question: windows over the
//! context that overlap, as `tokenizer(question, context, truncation="only_second", stride=n,
//! return_overflowing_tokens=True)` of transformers makes them: from the beginning, or from the end and the last first
//! where the tokenizer truncates on the left. The tokens of a context are made once for all questions about it.

use std::ops::Range;

use rayon::prelude::*;
use tokenizers::Token;

use super::encode::{MAX_BYTES, check_normalized};
use super::load::Loaded;
use super::{Encoding, Tokenizer, guarded};
use crate::Result;
use crate::data::Example;
use crate::heads::Encoded;

/// Where the context of a question is in a sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// The number of tokens of the sequence.
    pub tokens: usize,
    /// The position of the context's first token in the sequence.
    pub first: usize,
    /// The bytes of the context that each of its tokens here stands for, without blanks around them.
    pub offsets: Vec<Range<u32>>,
}

/// A text's tokens, with the bytes that each stands for.
struct Tokens {
    ids: Vec<u32>,
    offsets: Vec<Range<u32>>,
}

impl Tokenizer {
    /// The tokens of a question with its context, in as many sequences of at most `max_length` tokens as it takes.
    /// Two neighbours have `stride` tokens of the context in common, or half of the room that the question leaves if
    /// that is less.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`]; [`crate::Error::Tokenizer`] also for a question that leaves no room for its context.
    pub fn encode_windows(
        &self,
        question: &str,
        context: &str,
        max_length: usize,
        stride: usize,
    ) -> Result<Vec<Encoding>> {
        let context = tokens(&self.loaded, context).map_err(|reason| self.wrong(format!("the context: {reason}")))?;
        let name = || format!("the question {:?}", question.chars().take(32).collect::<String>());
        self.windows(name, question, &context, max_length, stride)
    }

    /// [`Tokenizer::encode_windows`] for many questions, in parallel over the current rayon pool; in the order of the
    /// questions.
    ///
    /// # Errors
    /// Those of the first question that has one, which they name.
    pub fn encode_all_windows(&self, questions: &[Example], max_length: usize, stride: usize) -> Result<Encoded> {
        // Questions about one context follow each other.
        let groups: Vec<&[Example]> = questions.chunk_by(|one, next| one.pair == next.pair).collect();
        let encode = |group: &&[Example]| -> Vec<Result<Vec<Encoding>>> {
            let context = tokens(&self.loaded, group[0].pair.as_deref().unwrap_or_default());
            let encode = |example: &Example| match &context {
                Ok(context) => self.windows(|| name(example), &example.text, context, max_length, stride),
                Err(reason) => Err(self.wrong(format!("the context of {}: {reason}", name(example)))),
            };
            group.iter().map(encode).collect()
        };
        let all: Vec<Vec<Result<Vec<Encoding>>>> = groups.par_iter().map(encode).collect();
        Encoded::of_texts(all.into_iter().flatten().collect())
    }

    /// The windows of a question, of which an error tells the name.
    fn windows(
        &self,
        name: impl Fn() -> String,
        question: &str,
        context: &Tokens,
        max_length: usize,
        stride: usize,
    ) -> Result<Vec<Encoding>> {
        let room = self.room(true, max_length)?;
        let wrong = |reason: String| self.wrong(format!("{}: {reason}", name()));
        let question = tokens(&self.loaded, question).map_err(wrong)?;
        let room = room.checked_sub(question.ids.len()).filter(|room| *room > 0).ok_or_else(|| {
            let special = self.special_tokens(true);
            wrong(format!(
                "{} tokens and {special} special ones leave no room for its context in a length of {max_length}; choose a \
                 greater one",
                question.ids.len()
            ))
        })?;
        let frame = |range: Range<usize>| self.fitted(frame(&self.loaded, &question, context, range).map_err(wrong)?);
        ranges(context.ids.len(), room, stride.min(room / 2), self.loaded.cut_left).map(frame).collect()
    }
}

/// The ranges of `count` tokens in windows of at most `room` with `overlap` in common, from the beginning or the end.
fn ranges(count: usize, room: usize, overlap: usize, from_end: bool) -> impl Iterator<Item = Range<usize>> {
    let step = room - overlap;
    let windows = if count <= room { 1 } else { (count - room).div_ceil(step) + 1 };
    let range = move |window: usize| window * step..count.min(window * step + room);
    (0..windows).map(range).map(move |range| match from_end {
        true => count - range.end..count - range.start,
        false => range,
    })
}

/// How an error names a question.
fn name(example: &Example) -> String {
    let id = example.question.as_ref().map(|question| format!("question {:?}", question.id));
    id.unwrap_or_else(|| format!("the question of line {}", example.line))
}

fn tokens(loaded: &Loaded, text: &str) -> Result<Tokens, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("{} bytes, of which at most {MAX_BYTES} are encoded at once", text.len()));
    }
    check_normalized(loaded, text)?;
    // Not encode_fast, which tells no offsets.
    let encoding = guarded(|| loaded.inner.encode(text, false))?.map_err(|error| error.to_string())?;
    let offsets = encoding.get_offsets().iter().map(|&(start, end)| trimmed(text, start..end)).collect();
    Ok(Tokens { ids: encoding.get_ids().to_vec(), offsets })
}

/// A range of a text without the blanks around what is in it.
fn trimmed(text: &str, range: Range<usize>) -> Range<u32> {
    let inside = text.get(range.clone()).unwrap_or_default();
    let start = range.start + inside.len() - inside.trim_start().len();
    let end = start + inside.trim().len();
    // A text is far shorter than 4 GiB: see MAX_BYTES.
    start as u32..end as u32
}

/// The sequence of a question and a part of its context, with the special tokens.
fn frame(loaded: &Loaded, question: &Tokens, context: &Tokens, range: Range<usize>) -> Result<Encoding, String> {
    let raw = |ids: &[u32]| {
        let token = |&id: &u32| Token::new(id, String::new(), (0, 0));
        tokenizers::Encoding::from_tokens(ids.iter().map(token).collect(), 0)
    };
    let (first, second) = (raw(&question.ids), raw(&context.ids[range.clone()]));
    let framed = guarded(|| loaded.frame.apply(first, Some(second)))?.map_err(|error| error.to_string())?;
    let first = loaded.frame.before_second() + question.ids.len();
    let window = Window { tokens: framed.len(), first, offsets: context.offsets[range].to_vec() };
    let (ids, type_ids) = (framed.get_ids().to_vec(), framed.get_type_ids().to_vec());
    Ok(Encoding { ids, type_ids, window: Some(window), ..Encoding::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(count: usize, room: usize, overlap: usize) -> Vec<(usize, usize)> {
        ranges(count, room, overlap, false).map(|range| (range.start, range.end)).collect()
    }

    /// As the tokenizers crate cuts ten, six and five tokens with the direction left.
    #[test]
    fn windows_from_the_end_are_whole_at_the_end() {
        let all = |count| ranges(count, 5, 1, true).map(|range| (range.start, range.end)).collect::<Vec<_>>();
        assert_eq!(all(10), [(5, 10), (1, 6), (0, 2)]);
        assert_eq!(all(6), [(1, 6), (0, 2)]);
        assert_eq!((all(5), all(0)), (vec![(0, 5)], vec![(0, 0)]));
    }

    #[test]
    fn windows_overlap_and_end_with_the_context() {
        assert_eq!(all(10, 10, 4), [(0, 10)]);
        assert_eq!(all(11, 10, 4), [(0, 10), (6, 11)]);
        assert_eq!(all(16, 10, 4), [(0, 10), (6, 16)]);
        assert_eq!(all(17, 10, 4), [(0, 10), (6, 16), (12, 17)]);
        assert_eq!(all(3, 1, 0), [(0, 1), (1, 2), (2, 3)]);
        assert_eq!(all(0, 5, 2), [(0, 0)]);
    }

    #[test]
    fn the_bytes_of_a_token_have_no_blanks_around_them() {
        assert_eq!(trimmed("a  Köln ", 1..8), 3..8);
        assert_eq!(trimmed("a   b", 1..3), 3..3);
        assert_eq!(trimmed("é", 1..2), 1..1, "inside of a character, as byte-level tokens are");
    }
}
