//! The tokens of a text that is given word by word, in one sequence or several, and the first token of each word.
//!
//! Each word is encoded by itself, as `tokenizer(words, is_split_into_words=True)` of transformers does. A tokenizer
//! that distinguishes a word behind a space sees each behind a space, as with `add_prefix_space=True`, which
//! transformers asks for there: not the word, but each part of it between added tokens.
//!
//! A text of more tokens than a sequence takes is several sequences. Each begins and ends with words that are read in
//! its neighbours, so that no word is read without what stands before and behind it; each word is read once.

use std::ops::Range;

use rayon::prelude::*;
use tokenizers::{Model, OffsetType, PreTokenizer, PreTokenizerWrapper, Token};

use super::encode::{MAX_BYTES, check_normalized};
use super::load::Loaded;
use super::{Encoding, ReadToken, Tokenizer, guarded};
use crate::Result;
use crate::data::Example;
use crate::heads::Encoded;

/// Of the room in a sequence, the share that words take at each end which its neighbours read.
const CONTEXT: usize = 4;

impl Tokenizer {
    /// The tokens of a text that is given as words, in as many sequences of at most `max_length` tokens as it takes.
    /// [`Encoding::read`] has the first token of each word, in one of the sequences. A word that the tokenizer makes
    /// nothing of (an unprintable character) has none, and a text of such words no sequence. Of a word that is longer
    /// than a sequence, the beginning is kept.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_words<W: AsRef<str>>(&self, words: &[W], max_length: usize) -> Result<Vec<Encoding>> {
        self.encode_words_of(None, words, max_length)
    }

    /// [`Tokenizer::encode_words`] for many texts, in parallel over the current rayon pool; in the order of the texts.
    ///
    /// # Errors
    /// Those of the first text that has one.
    pub fn encode_all_words(&self, texts: &[Example], max_length: usize) -> Result<Encoded> {
        let encode = |(row, text): (usize, &Example)| self.encode_words_of(Some(row), &text.words(), max_length);
        let all: Vec<Result<Vec<Encoding>>> = texts.par_iter().enumerate().map(encode).collect();
        Encoded::of_texts(all)
    }

    /// As [`Tokenizer::encode_words`]; an error names the text by its number from 0, where it has one.
    fn encode_words_of<W: AsRef<str>>(
        &self,
        row: Option<usize>,
        words: &[W],
        max_length: usize,
    ) -> Result<Vec<Encoding>> {
        let room = self.room(false, max_length)?;
        let encodings = encode(&self.loaded, words, room).map_err(|reason| {
            let start: String = words.first().map_or("", AsRef::as_ref).chars().take(32).collect();
            let row = row.map_or(String::new(), |row| format!(" {}", row + 1));
            self.wrong(format!("text{row} ({start:?} …): {reason}"))
        })?;
        encodings.into_iter().map(|encoding| self.fitted(encoding)).collect()
    }
}

/// The sequences of a text, with at most `room` tokens of it each.
fn encode<W: AsRef<str>>(loaded: &Loaded, words: &[W], room: usize) -> Result<Vec<Encoding>, String> {
    let (ids, words) = tokens(loaded, words, room)?;
    windows(&words, room).into_iter().map(|window| window.frame(loaded, &ids, &words)).collect()
}

/// A word that has tokens.
struct Word {
    /// Its number in the text.
    number: usize,
    /// Its tokens among those of the text.
    tokens: Range<usize>,
}

/// The tokens of all words, of each at most `room`, and the words that have some.
fn tokens<W: AsRef<str>>(loaded: &Loaded, words: &[W], room: usize) -> Result<(Vec<u32>, Vec<Word>), String> {
    let behind_space = loaded.inner.get_pre_tokenizer().is_some_and(distinguishes_a_space);
    let (mut ids, mut found) = (Vec::new(), Vec::new());
    for (number, word) in words.iter().map(AsRef::as_ref).enumerate() {
        if word.len() > MAX_BYTES {
            return Err(format!("a word of {} bytes, of which at most {MAX_BYTES} are encoded", word.len()));
        }
        check_normalized(loaded, word)?;
        let word = guarded(|| encode_word(loaded, word, behind_space))?.map_err(|error| error.to_string())?;
        let word = &word.get_ids()[..word.len().min(room)];
        if !word.is_empty() {
            found.push(Word { number, tokens: ids.len()..ids.len() + word.len() });
            ids.extend_from_slice(word);
        }
    }
    Ok((ids, found))
}

/// A word as the tokenizers crate encodes it, but each part that is no added token behind a space where `behind_space`.
fn encode_word(loaded: &Loaded, word: &str, behind_space: bool) -> tokenizers::Result<tokenizers::Encoding> {
    let inner = &loaded.inner;
    let mut parts = inner.get_added_vocabulary().extract_and_normalize(inner.get_normalizer(), word);
    if behind_space {
        parts.split(|_, mut part| {
            if !part.get().starts_with(' ') {
                part.prepend(" ");
            }
            Ok([part])
        })?;
    }
    if let Some(pre_tokenizer) = inner.get_pre_tokenizer() {
        pre_tokenizer.pre_tokenize(&mut parts)?;
    }
    inner.get_model().tokenize_in_pretokenized(&mut parts, None)?;
    parts.into_encoding(None, 0, OffsetType::None)
}

/// Whether a word behind a space has other tokens than one at the beginning of a text: byte-level BPE without a prefix
/// space of its own.
fn distinguishes_a_space(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    match pre_tokenizer {
        PreTokenizerWrapper::ByteLevel(bytes) => !bytes.add_prefix_space,
        PreTokenizerWrapper::Sequence(sequence) => sequence.as_ref().iter().any(distinguishes_a_space),
        _ => false,
    }
}

/// The words of one sequence, as a range of those that have tokens.
#[derive(Debug, PartialEq)]
struct Window {
    /// All of them.
    words: Range<usize>,
    /// Those that are read here.
    read: Range<usize>,
}

/// Sequences of at most `room` tokens in which each word is read once.
fn windows(words: &[Word], room: usize) -> Vec<Window> {
    let context = room / CONTEXT;
    let count = |range: Range<usize>| words[range].iter().map(|word| word.tokens.len()).sum::<usize>();
    let (mut windows, mut next) = (Vec::new(), 0);
    while next < words.len() {
        // As many words before the first that is read as the context takes, and never so many that it does not fit.
        let before = context.min(room - words[next].tokens.len());
        let mut first = next;
        while first > 0 && count(first - 1..next) <= before {
            first -= 1;
        }
        let mut tokens = count(first..next);
        let mut end = next;
        while end < words.len() && tokens + words[end].tokens.len() <= room {
            tokens += words[end].tokens.len();
            end += 1;
        }
        let mut last = end;
        // The words behind are read in the next sequence, where they are not the last of the text.
        while end < words.len() && last > next + 1 && count(last - 1..end) <= context {
            last -= 1;
        }
        windows.push(Window { words: first..end, read: next..last });
        next = last;
    }
    windows
}

impl Window {
    /// The sequence with its special tokens.
    fn frame(&self, loaded: &Loaded, ids: &[u32], words: &[Word]) -> Result<Encoding, String> {
        let words = &words[self.words.start..];
        let tokens = words[0].tokens.start..words[self.words.len() - 1].tokens.end;
        let text = ids[tokens.clone()].iter().map(|&id| Token::new(id, String::new(), (0, 0))).collect();
        let text = tokenizers::Encoding::from_tokens(text, 0);
        let framed = guarded(|| loaded.frame.apply(text, None))?.map_err(|error| error.to_string())?;
        let before = loaded.frame.before();
        let read = words[self.read.start - self.words.start..][..self.read.len()]
            .iter()
            .map(|word| ReadToken { token: before + word.tokens.start - tokens.start, word: word.number });
        Ok(Encoding {
            ids: framed.get_ids().to_vec(),
            type_ids: framed.get_type_ids().to_vec(),
            read: read.collect(),
            ..Encoding::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of these numbers of tokens.
    fn words(lengths: &[usize]) -> Vec<Word> {
        let mut first = 0;
        let word = |(number, &tokens): (usize, &usize)| {
            first += tokens;
            Word { number, tokens: first - tokens..first }
        };
        lengths.iter().enumerate().map(word).collect()
    }

    #[test]
    fn each_word_is_read_once_with_its_neighbours_around_it() {
        assert_eq!(windows(&words(&[1, 2, 1]), 4), [Window { words: 0..3, read: 0..3 }]);
        // Eight tokens a sequence, of which two are for words that a neighbour reads.
        let found = windows(&words(&[1; 14]), 8);
        let expected = [(0..8, 0..6), (4..12, 6..10), (8..14, 10..14)];
        assert_eq!(found, expected.map(|(words, read)| Window { words, read }));
    }

    #[test]
    fn every_text_is_covered_whatever_the_lengths_of_its_words() {
        for seed in 0_usize..400 {
            let room = 1 + seed % 9;
            let lengths: Vec<usize> = (0..1 + seed % 23).map(|i| 1 + (i * 7 + seed) % room).collect();
            let (words, mut next) = (words(&lengths), 0);
            for window in windows(&words, room) {
                assert_eq!(window.read.start, next, "{lengths:?}");
                assert!(!window.read.is_empty() && window.words.start <= next && window.read.end <= window.words.end);
                assert!(lengths[window.words].iter().sum::<usize>() <= room, "{lengths:?}");
                next = window.read.end;
            }
            assert_eq!(next, lengths.len());
        }
    }
}
