//! From texts to an [`Encoding`], with the tokenizers crate's model, truncation and post-processor.
//!
//! The number of tokens of each text that are kept is computed here ([`longest_first`], the crate's rule), because the
//! crate needs both texts encoded in full, and here a text of megabytes is encoded only as far as it is kept.

use tokenizers::utils::truncation::TruncationDirection;
use tokenizers::{Encoding as Raw, NormalizedString, Normalizer};

use super::{Encoding, guarded, load::Loaded};

/// The maximum size in bytes of the part of a text that is encoded at once, which takes about 400 MB of memory. A part
/// is larger than a chunk only if it cannot be cut: it has no space and no punctuation, or the tokenizer does not work
/// word by word.
pub(super) const MAX_BYTES: usize = 4 << 20;

/// The most of a text, in bytes after its normalizers, that is encoded at once: three times as much, so that nothing
/// which people write is refused here, but a file whose normalizers turn each letter into a thousand takes no more than
/// three times as much memory.
const MAX_NORMALIZED: u64 = 3 * MAX_BYTES as u64;

/// How many times longer Unicode's compatibility forms can make a text (11, for U+FDFA), rounded up.
const UNICODE_GROWTH: u64 = 16;

/// The tokens of one text or two, at most `room` of the texts.
///
/// # Errors
/// A message that describes the error.
pub(super) fn encode(loaded: &Loaded, text: &str, pair: Option<&str>, room: usize) -> Result<Encoding, String> {
    let mut first = Text::new(loaded, text);
    let mut second = pair.map(|pair| Text::new(loaded, pair));
    first.read(room)?;
    if let Some(second) = &mut second {
        second.read(room)?;
        read_until_decided(&mut first, second, room)?;
    }
    let (n1, n2) = longest_first(first.tokens, second.as_ref().map_or(0, |second| second.tokens), room);
    let all = first.estimated_tokens() + second.as_ref().map_or(0, Text::estimated_tokens);
    let (first, second) = (first.cut(n1), second.map(|second| second.cut(n2)));
    let framed = guarded(|| loaded.frame.apply(first, second))?.map_err(|error| error.to_string())?;
    let (ids, type_ids) = (framed.get_ids().to_vec(), framed.get_type_ids().to_vec());
    Ok(Encoding { ids, type_ids, left_out: all - (n1 + n2), ..Encoding::default() })
}

/// A text that is encoded part by part, starting at the end that is kept.
struct Text<'t> {
    loaded: &'t Loaded,
    /// The rest that is not yet encoded; `None` when the whole text was read.
    rest: Option<&'t str>,
    /// The number of bytes of the whole text.
    bytes: usize,
    /// The number of tokens of the parts so far.
    tokens: usize,
    /// The tokens of the first parts, or of the last if the text is cut on the left; at least those that are kept.
    kept: Raw,
}

impl<'t> Text<'t> {
    fn new(loaded: &'t Loaded, text: &'t str) -> Self {
        Self { loaded, rest: Some(text), bytes: text.len(), tokens: 0, kept: Raw::default() }
    }

    /// Encodes until there are `room` tokens or the text ends.
    fn read(&mut self, room: usize) -> Result<(), String> {
        while self.tokens < room && self.rest.is_some() {
            self.read_part(true)?;
        }
        Ok(())
    }

    /// Encodes the next part, and keeps its tokens or only counts them.
    fn read_part(&mut self, keep: bool) -> Result<(), String> {
        let Some(text) = self.rest.take() else { return Ok(()) };
        let (part, rest) = match &self.loaded.cuts {
            None => (text, ""),
            Some(cuts) if self.loaded.cut_left => {
                let (rest, part) = cuts.last(text);
                (part, rest)
            }
            Some(cuts) => cuts.first(text),
        };
        let encoding = encode_part(self.loaded, part, false)?;
        self.rest = Some(rest).filter(|rest| !rest.is_empty());
        let is_first = self.tokens == 0;
        self.tokens += encoding.len();
        if is_first {
            self.kept = encoding;
        } else if keep {
            let kept = std::mem::take(&mut self.kept);
            let parts = if self.loaded.cut_left { [encoding, kept] } else { [kept, encoding] };
            self.kept = Raw::merge(parts, false);
        }
        Ok(())
    }

    /// The number of tokens of the whole text: counted, or, where a rest is not encoded, as many in each of its bytes
    /// as in those before it.
    fn estimated_tokens(&self) -> usize {
        let rest = self.rest.map_or(0, str::len);
        let read = (self.bytes - rest).max(1);
        self.tokens + (self.tokens as f64 * rest as f64 / read as f64).round() as usize
    }

    /// The `len` tokens of the text that are kept.
    fn cut(mut self, len: usize) -> Raw {
        let direction = if self.loaded.cut_left { TruncationDirection::Left } else { TruncationDirection::Right };
        self.kept.truncate(len, 0, direction);
        // Removes the truncated parts, which the crate would otherwise frame as well, in every combination with those
        // of a pair.
        self.kept.take_overflowing();
        self.kept
    }
}

/// The tokens of a part of a text; with the words that they belong to, if asked for.
pub(super) fn encode_part(loaded: &Loaded, part: &str, with_words: bool) -> Result<Raw, String> {
    if part.len() > MAX_BYTES {
        return Err(format!(
            "{} bytes without a place to cut, of which at most {MAX_BYTES} are encoded; put spaces between its words",
            part.len()
        ));
    }
    check_normalized(loaded, part)?;
    let inner = &loaded.inner;
    let encode = || if with_words { inner.encode(part, false) } else { inner.encode_fast(part, false) };
    guarded(encode)?.map_err(|error| error.to_string())
}

/// Refuses a part that becomes too long. A part that could is normalized piece by piece to find out.
pub(super) fn check_normalized(loaded: &Loaded, part: &str) -> Result<(), String> {
    let piece = MAX_NORMALIZED / loaded.growth.saturating_mul(UNICODE_GROWTH);
    if part.len() as u64 <= piece {
        return Ok(());
    }
    let Some(normalizer) = loaded.inner.get_normalizer() else { return Ok(()) };
    let (mut rest, mut len) = (part, 0);
    while !rest.is_empty() {
        let (first, others) = rest.split_at(rest.ceil_char_boundary(piece.max(1) as usize));
        let mut text = NormalizedString::from(first);
        guarded(|| normalizer.normalize(&mut text))?.map_err(|error| error.to_string())?;
        (rest, len) = (others, len + text.len() as u64);
        if len > MAX_NORMALIZED {
            return Err(format!(
                "{} bytes, of which the normalizers make more than {MAX_NORMALIZED}, the most that is encoded",
                part.len()
            ));
        }
    }
    Ok(())
}

/// Encodes enough of two texts to determine which of them is longer, because an odd token goes to the longer one.
fn read_until_decided(first: &mut Text, second: &mut Text, room: usize) -> Result<(), String> {
    let half = room / 2;
    while room % 2 == 1 && first.tokens > half && second.tokens > half {
        match (first.rest, second.rest) {
            (None, None) => break,
            (None, Some(_)) if second.tokens >= first.tokens => break,
            (Some(_), None) if first.tokens > second.tokens => break,
            (None, Some(_)) => second.read_part(false)?,
            (Some(_), None) => first.read_part(false)?,
            (Some(_), Some(_)) if first.tokens <= second.tokens => first.read_part(false)?,
            (Some(_), Some(_)) => second.read_part(false)?,
        }
    }
    Ok(())
}

/// The number of tokens of two texts of `n1` and `n2` tokens that are kept if `room` fit: the longer one is cut to the
/// shorter one's length first, then both alike, with an odd token going to the one that was longer (the second, if they
/// were equal).
///
/// The rule of the tokenizers crate (`truncate_encodings`), which is also that of transformers' fast tokenizers.
pub(super) fn longest_first(n1: usize, n2: usize, room: usize) -> (usize, usize) {
    if n1 <= room && n2 <= room - n1 {
        return (n1, n2);
    }
    if n1 > n2 {
        let (n2, n1) = longest_first(n2, n1, room);
        return (n1, n2);
    }
    let half = room / 2;
    if n1 <= half { (n1, room - n1) } else { (half, room - half) }
}
