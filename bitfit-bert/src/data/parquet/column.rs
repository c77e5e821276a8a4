//! The values of a column in a row group, one after the other.

use serde_json::{Number, Value};

use super::bits::{Deltas, Runs};
use super::fault::{Budget, Fault, Loan, Read, short, unsound, unsupported};
use super::footer::{Column, Values};
use super::pages::{DataPage, PLAIN, PLAIN_DICTIONARY, Page, Pages, RLE};
use super::unpack::Unpacked;
use crate::data::line_reader::MAX_LINE;

/// The longest text that is read, as of the lines of other formats.
const MAX_TEXT: usize = MAX_LINE;

/// Encodings beside those of `pages`.
const DELTA_BINARY_PACKED: i64 = 5;
const DELTA_LENGTH_BYTE_ARRAY: i64 = 6;
const DELTA_BYTE_ARRAY: i64 = 7;
const RLE_DICTIONARY: i64 = 8;
const BYTE_STREAM_SPLIT: i64 = 9;

/// Reads the values of a column.
pub(super) struct Reader<'a> {
    column: &'a Column,
    pages: Pages<'a>,
    budget: &'a Budget,
    /// The number of values that are in none of the pages so far.
    left: u64,
    dictionary: Option<Dictionary<'a>>,
    page: Option<Current<'a>>,
}

/// The values that pages name by their positions.
struct Dictionary<'a> {
    bytes: Unpacked<'a>,
    entries: usize,
    /// Where each text is.
    starts: Vec<u32>,
    _loan: Loan<'a>,
}

/// A page that is being read.
struct Current<'a> {
    page: DataPage<'a>,
    /// The number of its values that are left.
    left: u64,
    /// Which values are there; `None` where all are.
    levels: Option<Runs>,
    decoder: Decoder,
}

/// Where the next value of a page is.
enum Decoder {
    /// Values as they are, from this byte on.
    Plain(usize),
    /// Truth values, from this bit on.
    Bits(usize),
    /// Truth values in runs.
    Booleans(Runs),
    /// Positions in the dictionary.
    Positions(Runs),
    /// Integers as differences.
    Deltas(Deltas),
    /// The lengths of texts, which follow one another from this byte on.
    Lengths { lengths: Deltas, at: usize },
    /// As many bytes of the text before, and then those of a text.
    Prefixes { prefixes: Deltas, lengths: Deltas, at: usize, last: Vec<u8> },
    /// The first bytes of all numbers, then the second ones, and so on: `count` from `start` on, of which `next` is the
    /// next.
    Split { start: usize, count: usize, next: usize },
}

impl<'a> Reader<'a> {
    /// Reads `count` values.
    pub(super) fn new(column: &'a Column, pages: Pages<'a>, count: u64, budget: &'a Budget) -> Self {
        Self { column, pages, budget, left: count, dictionary: None, page: None }
    }

    /// The next value; null for one that is missing, which pandas may write as NaN.
    pub(super) fn next(&mut self) -> Read<Value> {
        while self.page.as_ref().is_none_or(|page| page.left == 0) {
            // Frees it before the next is unpacked.
            self.page = None;
            match self.pages.next(self.column.is_optional)? {
                Some(Page::Data(page)) => {
                    let left = self.left.checked_sub(page.values);
                    self.left = left.ok_or_else(|| unsound("its pages have more values than there are rows"))?;
                    self.page = Some(Current::new(page, self.column)?);
                }
                Some(Page::Dictionary { .. }) if self.dictionary.is_some() => {
                    return Err(unsound("a row group has two dictionaries"));
                }
                Some(Page::Dictionary { entries, bytes }) => {
                    self.dictionary = Some(Dictionary::new(entries, bytes, self.column.values, self.budget)?);
                }
                None => return Err(unsound("its pages end before the rows do")),
            }
        }
        let Some(current) = &mut self.page else { return Ok(Value::Null) };
        current.left -= 1;
        let Current { page, levels, decoder, .. } = current;
        let data: &[u8] = &page.bytes.bytes;
        if let Some(levels) = levels {
            match levels.next(page.levels.unwrap_or(data))? {
                0 => return Ok(Value::Null),
                1 => {}
                level => return Err(unsound(format!("a value has the level {level}, expected 0 or 1"))),
            }
        }
        decoder.next(data, self.column.values, self.dictionary.as_ref())
    }
}

impl<'a> Dictionary<'a> {
    fn new(entries: usize, bytes: Unpacked<'a>, values: Values, budget: &'a Budget) -> Read<Self> {
        let data: &[u8] = &bytes.bytes;
        let Some(width) = values.width() else {
            // Each text has four bytes or more.
            if entries > data.len() / 4 {
                return Err(short());
            }
            let loan = budget.lend(4 * entries)?;
            let (mut starts, mut at) = (Vec::with_capacity(entries), 0);
            for _ in 0..entries {
                starts.push(u32::try_from(at).map_err(|_| short())?);
                at += 4 + plain_text(data, at)?.len();
            }
            return Ok(Self { bytes, entries, starts, _loan: loan });
        };
        if entries > data.len() / width {
            return Err(short());
        }
        Ok(Self { bytes, entries, starts: Vec::new(), _loan: budget.lend(0)? })
    }

    fn value(&self, position: u32, values: Values) -> Read<Value> {
        let (position, data): (_, &[u8]) = (position as usize, &self.bytes.bytes);
        if position >= self.entries {
            return Err(unsound(format!("value {position} of a dictionary of {}", self.entries)));
        }
        match self.starts.get(position) {
            Some(&start) => text(plain_text(data, start as usize)?),
            None => values.number(data, position * values.width().unwrap_or(0)),
        }
    }
}

impl<'a> Current<'a> {
    fn new(page: DataPage<'a>, column: &Column) -> Read<Self> {
        let data: &[u8] = &page.bytes.bytes;
        let (mut start, mut levels) = (0, None);
        if column.is_optional && page.levels.is_some() {
            levels = Some(Runs::new(0, 1)?);
        } else if column.is_optional {
            start = 4 + plain_text(data, 0)?.len();
            levels = Some(Runs::new(4, 1)?);
        }
        let decoder = Decoder::new(&page, start, column.values)?;
        Ok(Self { left: page.values, page, levels, decoder })
    }
}

impl Decoder {
    /// Reads the values of a page from the byte `start` on.
    fn new(page: &DataPage<'_>, start: usize, values: Values) -> Read<Self> {
        use Values::{Boolean, F32, F64, I32, I64, Text, U32, U64};
        let (data, count): (&[u8], _) = (&page.bytes.bytes, page.values);
        if data.len() == start {
            // All values are missing, or there are none; the first that is not is found to be.
            return Ok(if values == Boolean { Self::Bits(8 * start) } else { Self::Plain(start) });
        }
        match (page.encoding, values) {
            (PLAIN, Boolean) => Ok(Self::Bits(8 * start)),
            (PLAIN, _) => Ok(Self::Plain(start)),
            (PLAIN_DICTIONARY | RLE_DICTIONARY, _) => Ok(Self::Positions(Runs::new(start + 1, data[start].into())?)),
            (RLE, Boolean) => {
                plain_text(data, start)?;
                Ok(Self::Booleans(Runs::new(start + 4, 1)?))
            }
            (DELTA_BINARY_PACKED, I32 | U32 | I64 | U64) => Ok(Self::Deltas(Deltas::new(data, start, count)?)),
            (DELTA_LENGTH_BYTE_ARRAY, Text) => {
                let lengths = Deltas::new(data, start, count)?;
                Ok(Self::Lengths { at: lengths.end(data)?, lengths })
            }
            (DELTA_BYTE_ARRAY, Text) => {
                let prefixes = Deltas::new(data, start, count)?;
                let lengths = Deltas::new(data, prefixes.end(data)?, count)?;
                if lengths.left() != prefixes.left() {
                    return Err(unsound("a page has not as many beginnings of texts as ends"));
                }
                Ok(Self::Prefixes { at: lengths.end(data)?, prefixes, lengths, last: Vec::new() })
            }
            (BYTE_STREAM_SPLIT, I32 | U32 | I64 | U64 | F32 | F64) => {
                let count = (data.len() - start) / values.width().unwrap_or(1);
                Ok(Self::Split { start, count, next: 0 })
            }
            (encoding, _) => Err(unsupported(format!("values in the encoding {encoding}"))),
        }
    }

    /// The next value that is there.
    fn next(&mut self, data: &[u8], values: Values, dictionary: Option<&Dictionary<'_>>) -> Read<Value> {
        match self {
            Self::Plain(at) => match values.width() {
                Some(width) => {
                    let value = values.number(data, *at)?;
                    *at += width;
                    Ok(value)
                }
                None => {
                    let bytes = plain_text(data, *at)?;
                    *at += 4 + bytes.len();
                    text(bytes)
                }
            },
            Self::Bits(at) => {
                let byte = data.get(*at / 8).ok_or_else(short)?;
                let value = byte >> (*at % 8) & 1 == 1;
                *at += 1;
                Ok(value.into())
            }
            Self::Booleans(runs) => Ok((runs.next(data)? == 1).into()),
            Self::Positions(runs) => {
                let dictionary = dictionary.ok_or_else(|| unsound("a page needs a dictionary that is not there"))?;
                dictionary.value(runs.next(data)?, values)
            }
            Self::Deltas(deltas) => Ok(values.integer(deltas.next(data)?)),
            Self::Lengths { lengths, at } => {
                let bytes = part(data, at, lengths.next(data)?)?;
                text(bytes)
            }
            Self::Prefixes { prefixes, lengths, at, last } => {
                let prefix = usize::try_from(prefixes.next(data)?).ok().filter(|&prefix| prefix <= last.len());
                let bytes = part(data, at, lengths.next(data)?)?;
                last.truncate(prefix.ok_or_else(|| unsound("a text begins with more than the text before has"))?);
                last.extend_from_slice(bytes);
                text(last)
            }
            Self::Split { start, count, next } => {
                if next == count {
                    return Err(short());
                }
                let width = values.width().unwrap_or(0);
                let mut bytes = [0; 8];
                for (position, byte) in bytes[..width].iter_mut().enumerate() {
                    *byte = data[*start + position * *count + *next];
                }
                *next += 1;
                values.number(&bytes, 0)
            }
        }
    }
}

impl Values {
    /// The bytes of a value; none of texts and truth values.
    fn width(self) -> Option<usize> {
        match self {
            Self::I32 | Self::U32 | Self::F32 => Some(4),
            Self::I64 | Self::U64 | Self::F64 => Some(8),
            Self::Text | Self::Boolean | Self::Other => None,
        }
    }

    /// The number that stands at the byte `at`.
    fn number(self, data: &[u8], at: usize) -> Read<Value> {
        let bytes = data.get(at..).ok_or_else(short)?;
        Ok(match self.width() {
            Some(4) => {
                let bytes = *bytes.first_chunk().ok_or_else(short)?;
                match self {
                    // By its shortest decimal form, which an f64 of the same value may not have.
                    Self::F32 => {
                        let number = f32::from_le_bytes(bytes).to_string().parse().ok().and_then(Number::from_f64);
                        number.map_or(Value::Null, Value::Number)
                    }
                    _ => self.integer(i32::from_le_bytes(bytes).into()),
                }
            }
            _ => {
                let bytes = *bytes.first_chunk().ok_or_else(short)?;
                match self {
                    Self::F64 => Number::from_f64(f64::from_le_bytes(bytes)).map_or(Value::Null, Value::Number),
                    _ => self.integer(i64::from_le_bytes(bytes)),
                }
            }
        })
    }

    /// An integer, of which the lower bits count where the column has 32.
    fn integer(self, value: i64) -> Value {
        match self {
            Self::U32 => (value as u32).into(),
            Self::I32 => (value as i32).into(),
            Self::U64 => (value as u64).into(),
            _ => value.into(),
        }
    }
}

/// The bytes behind their number, which begins at `at`.
fn plain_text(data: &[u8], at: usize) -> Read<&[u8]> {
    let (size, rest) = data.get(at..).and_then(<[u8]>::split_first_chunk).ok_or_else(short)?;
    rest.get(..u32::from_le_bytes(*size) as usize).ok_or_else(short)
}

/// The next `length` bytes.
fn part<'d>(data: &'d [u8], at: &mut usize, length: i64) -> Read<&'d [u8]> {
    let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length)).ok_or_else(short)?;
    let bytes = data.get(*at..end).ok_or_else(short)?;
    *at = end;
    Ok(bytes)
}

fn text(bytes: &[u8]) -> Read<Value> {
    if bytes.len() > MAX_TEXT {
        return Err(Fault(format!("a text of more than {} MiB, the most that is read", MAX_TEXT >> 20)));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| unsound("a text is not UTF-8"))?;
    Ok(Value::String(text.into()))
}
