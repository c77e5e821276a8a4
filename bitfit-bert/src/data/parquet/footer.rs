//! The footer: the columns of the file, and where the pages of each are.
//!
//! Source of the structures and numbers here and in `pages.rs`: `src/main/thrift/parquet.thrift` of Apache's
//! parquet-format.

use super::fault::{Read, unsound, unsupported};
use super::thrift::{Input, Kind};

/// How a file begins and ends.
const MAGIC: &[u8] = b"PAR1";
/// The end of a file whose footer is encrypted.
const ENCRYPTED: &[u8] = b"PARE";
/// The most nodes that a schema may have: its columns, those in columns, and what has them.
const MAX_NODES: usize = 1 << 16;

/// What a file has.
pub(super) struct Footer {
    /// The columns at the top.
    pub(super) columns: Vec<Column>,
    pub(super) groups: Vec<RowGroup>,
    /// Where the footer begins, and the pages end.
    pub(super) start: usize,
}

/// A column at the top of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// The position of its chunk in each row group.
    pub(super) leaf: usize,
    /// Whether values may be missing.
    pub(super) is_optional: bool,
    pub(super) values: Values,
    /// Its physical type, as its chunks have it.
    physical: Option<i64>,
    /// Its type in the words of the format, for messages.
    pub(super) found: String,
}

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    Text,
    Boolean,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
    /// A type that is not read.
    Other,
}

/// Rows that are stored together.
#[derive(Default)]
pub(super) struct RowGroup {
    pub(super) rows: u64,
    chunks: Vec<Chunk>,
}

/// The pages of a column in a row group.
#[derive(Default, Clone, Copy)]
pub(super) struct Chunk {
    pub(super) codec: i64,
    pub(super) values: u64,
    physical: i64,
    size: u64,
    data_page: u64,
    dictionary_page: u64,
    /// The numbers of the fields that it has, a bit each.
    seen: u16,
}

impl Footer {
    /// The footer of a whole file.
    pub(super) fn of(file: &[u8]) -> Read<Self> {
        let tail = file.len().checked_sub(8).filter(|&tail| tail >= MAGIC.len());
        let tail = tail.ok_or_else(|| unsound("it is shorter than an empty one"))?;
        if &file[tail + 4..] == ENCRYPTED {
            return Err(unsupported("encryption"));
        }
        if !file.starts_with(MAGIC) || &file[tail + 4..] != MAGIC {
            return Err(unsound("it does not begin and end with PAR1; it may be cut short"));
        }
        let size = u32::from_le_bytes([file[tail], file[tail + 1], file[tail + 2], file[tail + 3]]) as usize;
        let start = tail.checked_sub(size).filter(|&start| start >= MAGIC.len());
        let start = start.ok_or_else(|| unsound(format!("a footer of {size} bytes has no place in it")))?;
        let (mut elements, mut groups, mut nodes) = (None, None, 0);
        let mut element = |input: &mut Input<'_>, kind| {
            nodes += 1;
            let is_too_large = nodes > MAX_NODES;
            if is_too_large {
                Err(unsupported(format!("more than {MAX_NODES} columns")))
            } else {
                Element::read(input, kind)
            }
        };
        Input::new(&file[start..tail]).fields(|input, id, kind| {
            match id {
                2 => elements = Some(input.structures(kind, &mut element)?),
                4 => groups = Some(input.structures(kind, RowGroup::read)?),
                8 => return Err(unsupported("encryption")),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let (Some(elements), Some(groups)) = (elements, groups) else {
            return Err(unsound("its footer has no schema or no row groups"));
        };
        let (columns, leaves) = columns(elements)?;
        if let Some(group) = groups.iter().find(|group| group.chunks.len() != leaves) {
            return Err(unsound(format!("a row group has {} columns, the schema {leaves}", group.chunks.len())));
        }
        Ok(Self { columns, groups, start })
    }
}

/// The columns at the top, and the number of leaves of all.
fn columns(elements: Vec<Element>) -> Read<(Vec<Column>, usize)> {
    let missing = || unsound("its schema is cut short");
    let mut elements = elements.into_iter();
    let top = elements.next().ok_or_else(missing)?.children;
    let (mut columns, mut leaves) = (Vec::new(), 0);
    for _ in 0..top {
        let element = elements.next().ok_or_else(missing)?;
        let mut below = if element.physical.is_some() { 0 } else { element.children };
        columns.push(element.column(leaves)?);
        leaves += usize::from(columns.last().is_some_and(|column| column.physical.is_some()));
        while below > 0 {
            let element = elements.next().ok_or_else(missing)?;
            below -= 1;
            match element.physical {
                Some(_) => leaves += 1,
                None => below = below.checked_add(element.children).ok_or_else(missing)?,
            }
        }
    }
    match elements.next() {
        None => Ok((columns, leaves)),
        Some(_) => Err(unsound("its schema has more elements than columns")),
    }
}

/// A node of the schema.
#[derive(Default)]
struct Element {
    name: Vec<u8>,
    physical: Option<i64>,
    repetition: i64,
    children: u64,
    converted: Option<i64>,
    logical: Option<i16>,
    is_unsigned: bool,
}

impl Element {
    fn read(input: &mut Input<'_>, kind: Kind) -> Read<Self> {
        let mut element = Self::default();
        input.structure(kind, |input, id, kind| {
            match id {
                1 => element.physical = Some(input.integer(kind)?),
                3 => element.repetition = input.integer(kind)?,
                4 => element.name = input.binary(kind)?.to_vec(),
                5 => element.children = input.size(kind)?,
                6 => element.converted = Some(input.integer(kind)?),
                10 => input.structure(kind, |input, id, kind| {
                    element.logical = Some(id);
                    if id != 10 {
                        return Ok(false);
                    }
                    input.structure(kind, |_, id, kind| {
                        // A truth value has no bytes of its own.
                        if id == 2 {
                            element.is_unsigned = !Input::truth(kind)?;
                        }
                        Ok(id == 2)
                    })?;
                    Ok(true)
                })?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(element)
    }

    fn column(self, leaf: usize) -> Read<Column> {
        let found = self.found();
        // Integers of a width and a sign: by the old way of writing it too.
        let is_integer = matches!(self.logical, None | Some(10)) && matches!(self.converted, None | Some(11..=18));
        let is_unsigned = self.is_unsigned || self.logical.is_none() && matches!(self.converted, Some(11..=14));
        let is_bare = self.logical.is_none() && self.converted.is_none();
        let values = match self.physical {
            _ if !matches!(self.repetition, 0 | 1) => Values::Other,
            Some(0) if is_bare => Values::Boolean,
            Some(1) if is_integer => {
                if is_unsigned {
                    Values::U32
                } else {
                    Values::I32
                }
            }
            Some(2) if is_integer => {
                if is_unsigned {
                    Values::U64
                } else {
                    Values::I64
                }
            }
            Some(4) if is_bare => Values::F32,
            Some(5) if is_bare => Values::F64,
            Some(6) if self.logical == Some(1) || self.logical.is_none() && self.converted == Some(0) => Values::Text,
            _ => Values::Other,
        };
        let name = String::from_utf8(self.name).map_err(|_| unsound("the name of a column is not UTF-8"))?;
        Ok(Column { name, leaf, is_optional: self.repetition == 1, values, physical: self.physical, found })
    }

    /// The type in the words of the format.
    fn found(&self) -> String {
        let logical = match (self.logical, self.converted) {
            (Some(id), _) => name_of(&LOGICAL, id.into()),
            (None, Some(id)) => name_of(&CONVERTED, id),
            (None, None) => "",
        };
        let repeated = if self.repetition == 2 { "repeated " } else { "" };
        match self.physical {
            None if logical.is_empty() => format!("{repeated}group of columns"),
            None => format!("{repeated}{logical}"),
            Some(physical) => {
                let physical = name_of(&PHYSICAL, physical);
                let logical = if logical.is_empty() { String::new() } else { format!(" ({logical})") };
                format!("{repeated}{physical}{logical}")
            }
        }
    }
}

fn name_of(names: &[&'static str], id: i64) -> &'static str {
    usize::try_from(id).ok().and_then(|id| names.get(id)).copied().unwrap_or("unknown")
}

const PHYSICAL: [&str; 8] =
    ["BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"];
const LOGICAL: [&str; 19] = [
    "unknown",
    "STRING",
    "MAP",
    "LIST",
    "ENUM",
    "DECIMAL",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "INTERVAL",
    "INTEGER",
    "NULL",
    "JSON",
    "BSON",
    "UUID",
    "FLOAT16",
    "VARIANT",
    "GEOMETRY",
    "GEOGRAPHY",
];
const CONVERTED: [&str; 22] = [
    "UTF8",
    "MAP",
    "MAP_KEY_VALUE",
    "LIST",
    "ENUM",
    "DECIMAL",
    "DATE",
    "TIME_MILLIS",
    "TIME_MICROS",
    "TIMESTAMP_MILLIS",
    "TIMESTAMP_MICROS",
    "UINT_8",
    "UINT_16",
    "UINT_32",
    "UINT_64",
    "INT_8",
    "INT_16",
    "INT_32",
    "INT_64",
    "JSON",
    "BSON",
    "INTERVAL",
];

impl RowGroup {
    fn read(input: &mut Input<'_>, kind: Kind) -> Read<Self> {
        let (mut chunks, mut rows) = (None, None);
        input.structure(kind, |input, id, kind| {
            match id {
                1 => chunks = Some(input.structures(kind, Chunk::read)?),
                3 => rows = Some(input.size(kind)?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        match (chunks, rows) {
            (Some(chunks), Some(rows)) => Ok(Self { rows, chunks }),
            _ => Err(unsound("a row group has no columns or no count of rows")),
        }
    }

    /// The chunk of a column, and its bytes in the file, whose footer begins at `end`.
    pub(super) fn chunk<'a>(&self, column: &Column, file: &'a [u8], end: usize) -> Read<(Chunk, &'a [u8])> {
        let Some(chunk) = self.chunks.get(column.leaf) else { return Err(unsound("a row group lacks the column")) };
        if Some(chunk.physical) != column.physical {
            return Err(unsound("the column's type is not the same in the schema and in a row group"));
        }
        if chunk.values != self.rows {
            return Err(unsound(format!("it has {} values for {} rows", chunk.values, self.rows)));
        }
        // Some programs write 0 where there is no dictionary.
        let start = match chunk.dictionary_page {
            0 => chunk.data_page,
            dictionary => dictionary.min(chunk.data_page),
        };
        let pages = usize::try_from(start).ok().zip(start.checked_add(chunk.size).and_then(|end| end.try_into().ok()));
        let pages = pages.filter(|&(start, stop)| start >= MAGIC.len() && stop <= end);
        let pages = pages.ok_or_else(|| unsound("its pages are not inside of the file"))?;
        Ok((*chunk, &file[pages.0..pages.1]))
    }
}

impl Chunk {
    /// The fields of `seen` that are required.
    const REQUIRED: u16 = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 9;

    fn read(input: &mut Input<'_>, kind: Kind) -> Read<Self> {
        let mut chunk = Self::default();
        input.structure(kind, |input, id, kind| {
            match id {
                1 if !input.binary(kind)?.is_empty() => return Err(unsupported("columns in other files")),
                1 => {}
                3 => chunk.read_metadata(input, kind)?,
                8 | 9 => return Err(unsupported("encryption")),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if chunk.seen & Self::REQUIRED != Self::REQUIRED {
            return Err(unsound("a row group does not say where the pages of a column are"));
        }
        Ok(chunk)
    }

    fn read_metadata(&mut self, input: &mut Input<'_>, kind: Kind) -> Read<()> {
        input.structure(kind, |input, id, kind| {
            match id {
                1 => self.physical = input.integer(kind)?,
                4 => self.codec = input.integer(kind)?,
                5 => self.values = input.size(kind)?,
                7 => self.size = input.size(kind)?,
                9 => self.data_page = input.size(kind)?,
                11 => self.dictionary_page = input.size(kind)?,
                _ => return Ok(false),
            }
            self.seen |= 1 << id;
            Ok(true)
        })
    }
}
