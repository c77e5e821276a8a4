//! The tokens of a text for masked language modelling: all of them in as many sequences as it takes, with those that
//! may be masked; and, of a text that holds masks, where they are.

use rayon::prelude::*;
use tokenizers::Token;

use super::encode::encode_part;
use super::load::Loaded;
use super::{Encoding, ReadToken, Tokenizer, guarded};
use crate::Result;
use crate::data::Example;
use crate::heads::Encoded;

/// What masked language modelling reads of a tokenizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaskVocabulary {
    /// The id of the mask token.
    pub mask: u32,
    /// The ids of all tokens that are not special, ascending.
    pub ordinary: Vec<u32>,
}

/// A token of a text.
struct Piece {
    id: u32,
    /// The number of the word that it belongs to, from the beginning of the text.
    word: usize,
    is_special: bool,
}

impl Tokenizer {
    /// The text of the mask token; `None` where the tokenizer has none.
    pub fn mask_token(&self) -> Option<&str> {
        Some(&self.loaded.mask.as_ref()?.0)
    }

    /// The text of a token as the vocabulary has it; empty for an id that it does not have.
    pub fn token(&self, id: u32) -> String {
        self.loaded.inner.id_to_token(id).unwrap_or_default()
    }

    /// The mask token and the tokens that may stand in its place.
    ///
    /// # Errors
    /// [`Error::Tokenizer`](crate::Error::Tokenizer) for a tokenizer without a mask token, or with one that the model
    /// has no embedding for.
    pub fn mask_vocabulary(&self) -> Result<MaskVocabulary> {
        let rows = self.limits.vocab_size;
        let Some((token, mask)) = &self.loaded.mask else {
            return Err(self.wrong(
                "the tokenizer has no mask token, which masked language modelling needs: name it under \"mask_token\" in \
                 tokenizer_config.json",
            ));
        };
        if *mask as usize >= rows {
            return Err(self.wrong(format!(
                "the mask token {token:?} is number {mask}, but the model's vocabulary has {rows}: this is the tokenizer \
                 of another model"
            )));
        }
        let ids = self.loaded.inner.get_vocab(true).into_values();
        let mut ordinary: Vec<u32> =
            ids.filter(|id| (*id as usize) < rows && !self.loaded.special.contains(id)).collect();
        ordinary.sort_unstable();
        ordinary.dedup();
        if ordinary.is_empty() {
            return Err(self.wrong("every token of the vocabulary is special, so there is none to predict"));
        }
        Ok(MaskVocabulary { mask: *mask, ordinary })
    }

    /// All tokens of each text in sequences of at most `max_length` tokens, each token in one of them, in the order of
    /// the texts. A sequence ends before a word that does not fit, unless the word alone is longer. [`Encoding::read`]
    /// has every token that is not special, with the number of its word as the tokenizer splits the text. A text
    /// without such a token makes no sequence.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_all`].
    pub fn encode_all_chunks(&self, texts: &[Example], max_length: usize) -> Result<Encoded> {
        let room = self.room(false, max_length)?;
        let encode = |(row, example): (usize, &Example)| {
            let sequences = chunks(&self.loaded, &example.text, room);
            let sequences = sequences.map_err(|reason| self.wrong_text(Some(row), &example.text, &reason))?;
            sequences.into_iter().map(|encoding| self.fitted(encoding)).collect::<Result<Vec<_>>>()
        };
        let all: Vec<Result<Vec<Encoding>>> = texts.par_iter().enumerate().map(encode).collect();
        Encoded::of_texts(all)
    }

    /// As [`Tokenizer::encode_all`], for single texts, with the place of each mask token in [`Encoding::read`].
    ///
    /// # Errors
    /// As [`Tokenizer::encode_all`].
    pub fn encode_all_masks(&self, texts: &[Example], max_length: usize) -> Result<Vec<Encoding>> {
        let mut encodings = self.encode_all(&crate::data::texts(texts), max_length)?;
        let mask = self.mask_vocabulary()?.mask;
        for encoding in &mut encodings {
            let masks = encoding.ids.iter().enumerate().filter(|(_, id)| **id == mask);
            encoding.read = masks.enumerate().map(|(word, (token, _))| ReadToken { token, word }).collect();
        }
        Ok(encodings)
    }
}

/// All tokens of a text.
fn pieces(loaded: &Loaded, text: &str) -> Result<Vec<Piece>, String> {
    let (mut rest, mut pieces) = (text, Vec::<Piece>::new());
    while !rest.is_empty() {
        let part;
        (part, rest) = loaded.cuts.as_ref().map_or((rest, ""), |cuts| cuts.first(rest));
        let encoding = encode_part(loaded, part, true)?;
        let first = pieces.last().map_or(0, |last| last.word + 1);
        for (&id, word) in encoding.get_ids().iter().zip(encoding.get_word_ids()) {
            // A token that the tokenizer finds before it splits the text belongs to no word, and is one of its own.
            let own = pieces.last().map_or(0, |last| last.word + 1);
            let word = word.map_or(own, |word| first + word as usize);
            pieces.push(Piece { id, word, is_special: loaded.special.contains(&id) });
        }
    }
    Ok(pieces)
}

/// The sequences of a text, with at most `room` tokens of it each.
fn chunks(loaded: &Loaded, text: &str, room: usize) -> Result<Vec<Encoding>, String> {
    let pieces = pieces(loaded, text)?;
    let (mut sequences, mut first) = (Vec::new(), 0);
    while first < pieces.len() {
        let end = first + fitting(&pieces[first..], room);
        let chunk = &pieces[first..end];
        first = end;
        if chunk.iter().all(|piece| piece.is_special) {
            continue;
        }
        let tokens = chunk.iter().map(|piece| Token::new(piece.id, String::new(), (0, 0))).collect();
        let tokens = tokenizers::Encoding::from_tokens(tokens, 0);
        let framed = guarded(|| loaded.frame.apply(tokens, None))?.map_err(|error| error.to_string())?;
        let before = loaded.frame.before();
        let read = chunk.iter().enumerate().filter(|(_, piece)| !piece.is_special);
        sequences.push(Encoding {
            ids: framed.get_ids().to_vec(),
            type_ids: framed.get_type_ids().to_vec(),
            read: read.map(|(place, piece)| ReadToken { token: before + place, word: piece.word }).collect(),
            ..Encoding::default()
        });
    }
    Ok(sequences)
}

/// How many of the pieces are the first sequence: at most `room`, and no part of a word that begins behind the first.
fn fitting(pieces: &[Piece], room: usize) -> usize {
    if pieces.len() <= room {
        return pieces.len();
    }
    let next = pieces[room].word;
    let whole = pieces[..room].iter().rposition(|piece| piece.word != next);
    whole.map_or(room, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_ends_before_a_word_that_does_not_fit_unless_the_word_is_longer() {
        let pieces = |words: &[usize]| -> Vec<Piece> {
            words.iter().map(|&word| Piece { id: 7, word, is_special: false }).collect()
        };
        assert_eq!(fitting(&pieces(&[0, 0, 1]), 3), 3, "all of it");
        assert_eq!(fitting(&pieces(&[0, 0, 1, 2]), 3), 3, "between two words");
        assert_eq!(fitting(&pieces(&[0, 0, 1, 1]), 3), 2, "before the second word");
        assert_eq!(fitting(&pieces(&[0, 0, 0, 0, 1]), 3), 3, "inside of a long word");
    }
}
