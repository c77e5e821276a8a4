//! Where a long text can be cut so that the concatenated tokens of its parts are the tokens of the text.
//!
//! Encoding takes a hundred bytes of memory for each byte of a text. If a text is much longer than the tokens that are
//! kept, only a part of it needs to be encoded. Cutting does not change ids for tokenizers that work word by word, for
//! the following reasons, and only for those are texts cut:
//!
//! - The normalizer is BERT's, or none. It maps characters one by one, except that stripping accents decomposes them
//!   and reorders combining marks (NFD), but never across a character that is not a mark. A text is cut before a space,
//!   an ASCII punctuation character or a CJK ideograph, none of which is a mark or becomes one.
//! - The pre-tokenizer is BERT's, or one that splits at white space. The character after a cut always begins a new
//!   word.
//! - Added tokens are searched in the text. No cut is before a character that occurs in one.

use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper, Tokenizer as Inner};

/// The size in bytes of the part of a text that is encoded at once. Shorter texts are never cut.
const CHUNK: usize = 16 << 10;

/// The characters before which texts may be cut.
pub(super) struct Cuts {
    ascii: [bool; 128],
    ideographs: bool,
}

impl Cuts {
    /// The places where texts may be cut for this tokenizer; `None` if there are none.
    pub fn of(inner: &Inner) -> Option<Self> {
        let chinese = match inner.get_normalizer() {
            None => false,
            Some(NormalizerWrapper::BertNormalizer(bert)) => bert.handle_chinese_chars,
            Some(_) => return None,
        };
        let punctuation = match inner.get_pre_tokenizer() {
            Some(PreTokenizerWrapper::BertPreTokenizer(_)) => true,
            Some(PreTokenizerWrapper::Whitespace(_) | PreTokenizerWrapper::WhitespaceSplit(_)) => false,
            _ => return None,
        };
        let added: Vec<AddedToken> = inner.get_added_tokens_decoder().into_values().collect();
        // A token that contains a space may cover any space of a text; a normalized one may match other characters.
        let reaches = |token: &AddedToken| {
            token.content.contains(char::is_whitespace) || (token.normalized && !token.content.is_ascii())
        };
        if added.iter().any(reaches) {
            return None;
        }
        let mut cuts = Self {
            ascii: std::array::from_fn(|byte| {
                // For tokens that match whole words only, the underscore is a letter.
                let byte = byte as u8;
                matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
                    || punctuation && byte.is_ascii_punctuation() && byte != b'_'
            }),
            ideographs: chinese && added.iter().all(|token| token.content.is_ascii() && !token.single_word),
        };
        for byte in added.iter().flat_map(|token| token.content.bytes()).filter(u8::is_ascii) {
            cuts.ascii[usize::from(byte)] = false;
        }
        Some(cuts)
    }

    /// Splits off the first part of a text, or the whole of one that is short or has no place to cut.
    pub fn first<'t>(&self, text: &'t str) -> (&'t str, &'t str) {
        let start = text.ceil_char_boundary(CHUNK);
        let cut = text[start..].char_indices().find(|&(_, c)| self.allows(c));
        text.split_at(cut.map_or(text.len(), |(at, _)| start + at))
    }

    /// Splits off the last part of a text, or the whole of one that is short or has no place to cut.
    pub fn last<'t>(&self, text: &'t str) -> (&'t str, &'t str) {
        let end = text.floor_char_boundary(text.len().saturating_sub(CHUNK));
        let cut = text[..end].char_indices().rev().find(|&(_, c)| self.allows(c));
        text.split_at(cut.map_or(0, |(at, _)| at))
    }

    /// Whether a text may be cut before this character.
    fn allows(&self, c: char) -> bool {
        match u8::try_from(c) {
            Ok(byte @ 0..=0x7f) => self.ascii[usize::from(byte)],
            // A subset of the characters around which BERT's normalizer puts spaces.
            _ => self.ideographs && matches!(c, '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}'),
        }
    }
}
