//! The pages of a column in a row group: their headers, and their bytes unpacked.

use super::fault::{Budget, Read, unsound, unsupported};
use super::footer::Chunk;
use super::thrift::{Input, Kind};
use super::unpack::{Codec, Unpacked};

/// The pages of a chunk that have not been read.
pub(super) struct Pages<'a> {
    rest: &'a [u8],
    codec: Codec,
    budget: &'a Budget,
}

/// A page.
pub(super) enum Page<'a> {
    Dictionary { entries: usize, bytes: Unpacked<'a> },
    Data(DataPage<'a>),
}

/// A page of values.
pub(super) struct DataPage<'a> {
    /// The number of values, missing ones too.
    pub(super) values: u64,
    pub(super) encoding: i64,
    /// Which values are there, if that is not at the front of `bytes`.
    pub(super) levels: Option<&'a [u8]>,
    pub(super) bytes: Unpacked<'a>,
}

/// A page's header.
#[derive(Default)]
struct Header {
    kind: Option<i64>,
    unpacked: u64,
    packed: u64,
    crc: Option<u32>,
    values: u64,
    encoding: Option<i64>,
    /// How the levels of a page in the first layout are encoded.
    levels: Option<i64>,
    /// The sizes of the levels of a page in the second layout.
    definition: u64,
    repetition: u64,
    is_stored: bool,
}

/// The values of `Header::kind`.
const DATA: i64 = 0;
const INDEX: i64 = 1;
const DICTIONARY: i64 = 2;
const DATA_2: i64 = 3;

/// Encodings.
pub(super) const PLAIN: i64 = 0;
pub(super) const PLAIN_DICTIONARY: i64 = 2;
pub(super) const RLE: i64 = 3;

impl<'a> Pages<'a> {
    pub(super) fn new(chunk: &Chunk, bytes: &'a [u8], budget: &'a Budget) -> Read<Self> {
        Ok(Self { rest: bytes, codec: Codec::of(chunk.codec)?, budget })
    }

    /// The next page of a column whose values may be missing, or not; none at the end of the chunk.
    pub(super) fn next(&mut self, is_optional: bool) -> Read<Option<Page<'a>>> {
        while !self.rest.is_empty() {
            let mut input = Input::new(self.rest);
            let header = Header::read(&mut input)?;
            let size = usize::try_from(header.packed).ok();
            let body = size.and_then(|size| input.rest().split_at_checked(size));
            let (body, rest) = body.ok_or_else(|| unsound("a page ends behind the end of its column"))?;
            self.rest = rest;
            if let Some(crc) = header.crc {
                let mut found = flate2::Crc::new();
                found.update(body);
                if found.sum() != crc {
                    return Err(unsound("the checksum of a page does not match its bytes"));
                }
            }
            if let Some(page) = self.page(&header, body, is_optional)? {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }

    fn page(&self, header: &Header, body: &'a [u8], is_optional: bool) -> Read<Option<Page<'a>>> {
        let size = usize::try_from(header.unpacked).map_err(|_| unsound("the size of a page is impossible"))?;
        if header.values == 0 && matches!(header.kind, Some(DATA | DATA_2)) {
            return Ok(None);
        }
        let encoding = || header.encoding.ok_or_else(|| unsound("the header of a page does not say what is in it"));
        match header.kind {
            Some(DATA) => {
                let (encoding, values) = (encoding()?, header.values);
                if is_optional && header.levels != Some(RLE) {
                    return Err(unsupported("levels that are encoded as before 2013"));
                }
                let bytes = self.codec.unpack(body, size, self.budget)?;
                Ok(Some(Page::Data(DataPage { values, encoding, levels: None, bytes })))
            }
            Some(DATA_2) => {
                let (encoding, values) = (encoding()?, header.values);
                let levels = (|| {
                    let (repetition, definition) =
                        (header.repetition.try_into().ok()?, header.definition.try_into().ok()?);
                    let (_, rest) = body.split_at_checked(repetition)?;
                    let (levels, packed) = rest.split_at_checked(definition)?;
                    Some((levels, packed, size.checked_sub(body.len() - packed.len())?))
                })();
                let (levels, packed, size) =
                    levels.ok_or_else(|| unsound("the levels of a page are longer than it"))?;
                let codec = if header.is_stored { Codec::None } else { self.codec };
                let bytes = codec.unpack(packed, size, self.budget)?;
                Ok(Some(Page::Data(DataPage { values, encoding, levels: Some(levels), bytes })))
            }
            Some(DICTIONARY) => {
                if !matches!(encoding()?, PLAIN | PLAIN_DICTIONARY) {
                    return Err(unsupported(format!("a dictionary in the encoding {}", encoding()?)));
                }
                let entries =
                    usize::try_from(header.values).map_err(|_| unsound("the size of a dictionary is impossible"))?;
                Ok(Some(Page::Dictionary { entries, bytes: self.codec.unpack(body, size, self.budget)? }))
            }
            Some(INDEX) => Ok(None),
            other => Err(unsound(format!("there is no page of kind {}", other.unwrap_or(-1)))),
        }
    }
}

impl Header {
    fn read(input: &mut Input<'_>) -> Read<Self> {
        let mut header = Self::default();
        input.fields(|input, id, kind| {
            match id {
                1 => header.kind = Some(input.integer(kind)?),
                2 => header.unpacked = input.size(kind)?,
                3 => header.packed = input.size(kind)?,
                4 => header.crc = Some(input.integer(kind)? as u32),
                5 => header.read_data(input, kind)?,
                7 => header.read_dictionary(input, kind)?,
                8 => header.read_data_2(input, kind)?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(header)
    }

    fn read_data(&mut self, input: &mut Input<'_>, kind: Kind) -> Read<()> {
        input.structure(kind, |input, id, kind| {
            match id {
                1 => self.values = input.size(kind)?,
                2 => self.encoding = Some(input.integer(kind)?),
                3 => self.levels = Some(input.integer(kind)?),
                _ => return Ok(false),
            }
            Ok(true)
        })
    }

    fn read_dictionary(&mut self, input: &mut Input<'_>, kind: Kind) -> Read<()> {
        input.structure(kind, |input, id, kind| {
            match id {
                1 => self.values = input.size(kind)?,
                2 => self.encoding = Some(input.integer(kind)?),
                _ => return Ok(false),
            }
            Ok(true)
        })
    }

    fn read_data_2(&mut self, input: &mut Input<'_>, kind: Kind) -> Read<()> {
        input.structure(kind, |input, id, kind| {
            match id {
                1 => self.values = input.size(kind)?,
                4 => self.encoding = Some(input.integer(kind)?),
                5 => self.definition = input.size(kind)?,
                6 => self.repetition = input.size(kind)?,
                7 => self.is_stored = !Input::truth(kind)?,
                _ => return Ok(false),
            }
            Ok(true)
        })
    }
}
