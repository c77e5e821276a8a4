//! Thrift's compact protocol, in which the footer and the headers of pages are written. Nothing is allocated for what a
//! file states: a list is as long as the bytes that are there for it.
//!
//! Source: the specification of the protocol, `doc/specs/thrift-compact-protocol.md` of Apache Thrift.

use super::fault::{Fault, Read, unsound};

/// How deep structures that are skipped may be nested.
const MAX_DEPTH: usize = 32;

/// The type of a field or of the elements of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(u8);

impl Kind {
    const TRUE: u8 = 1;
    const FALSE: u8 = 2;
    const BYTE: u8 = 3;
    const I16: u8 = 4;
    const I32: u8 = 5;
    const I64: u8 = 6;
    const DOUBLE: u8 = 7;
    const BINARY: u8 = 8;
    const LIST: u8 = 9;
    const SET: u8 = 10;
    const MAP: u8 = 11;
    const STRUCT: u8 = 12;
    const UUID: u8 = 13;
}

/// Bytes that are read from the front.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self, count: u64) -> Read<&'a [u8]> {
        let taken = usize::try_from(count).ok().and_then(|count| self.rest.split_at_checked(count));
        let (taken, rest) = taken.ok_or_else(short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Read<u8> {
        Ok(self.take(1)?[0])
    }

    fn varint(&mut self) -> Read<u64> {
        let (value, size) = varint(self.rest).ok_or_else(short)?;
        self.rest = &self.rest[size..];
        Ok(value)
    }

    /// Calls `each` with the number and the type of every field of a structure; it reads the field and returns true,
    /// or leaves it and returns false.
    pub(super) fn fields(&mut self, mut each: impl FnMut(&mut Self, i16, Kind) -> Read<bool>) -> Read<()> {
        self.fields_at(0, &mut each)
    }

    fn fields_at(&mut self, depth: usize, each: &mut dyn FnMut(&mut Self, i16, Kind) -> Read<bool>) -> Read<()> {
        let mut id = 0_i16;
        loop {
            let byte = self.byte()?;
            if byte == 0 {
                return Ok(());
            }
            id = match byte >> 4 {
                0 => i16::try_from(zigzag(self.varint()?)).map_err(|_| unsound("a field has an impossible number"))?,
                step => id.checked_add(step.into()).ok_or_else(|| unsound("a field has an impossible number"))?,
            };
            let kind = Kind(byte & 15);
            if !each(self, id, kind)? {
                self.skip(kind, depth)?;
            }
        }
    }

    /// Skips a field.
    fn skip(&mut self, kind: Kind, depth: usize) -> Read<()> {
        if depth > MAX_DEPTH {
            return Err(unsound(format!("its structures are nested more than {MAX_DEPTH} deep")));
        }
        match kind.0 {
            Kind::TRUE | Kind::FALSE => Ok(()),
            Kind::BYTE => self.byte().map(drop),
            Kind::I16 | Kind::I32 | Kind::I64 => self.varint().map(drop),
            Kind::DOUBLE => self.take(8).map(drop),
            Kind::UUID => self.take(16).map(drop),
            Kind::BINARY => self.binary(kind).map(drop),
            Kind::LIST | Kind::SET => {
                let (count, of) = self.list(Kind(Kind::LIST))?;
                (0..count).try_for_each(|_| self.skip_element(of, depth + 1))
            }
            Kind::MAP => {
                let count = self.varint()?;
                if count == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                for _ in 0..self.count(count)? {
                    self.skip_element(Kind(kinds >> 4), depth + 1)?;
                    self.skip_element(Kind(kinds & 15), depth + 1)?;
                }
                Ok(())
            }
            Kind::STRUCT => self.fields_at(depth + 1, &mut |_, _, _| Ok(false)),
            other => Err(unsound(format!("a field has the unknown type {other}"))),
        }
    }

    /// Skips an element; one of truth values has a byte, which a field has not.
    fn skip_element(&mut self, kind: Kind, depth: usize) -> Read<()> {
        match kind.0 {
            Kind::TRUE | Kind::FALSE => self.byte().map(drop),
            _ => self.skip(kind, depth),
        }
    }

    /// A count of elements, each of which has a byte or more.
    fn count(&self, count: u64) -> Read<usize> {
        usize::try_from(count).ok().filter(|&count| count <= self.rest.len()).ok_or_else(short)
    }

    /// The number of elements of a list, and their type.
    pub(super) fn list(&mut self, kind: Kind) -> Read<(usize, Kind)> {
        expect(kind.0 == Kind::LIST, "a list", kind)?;
        let byte = self.byte()?;
        let count = match byte >> 4 {
            15 => self.varint()?,
            few => few.into(),
        };
        Ok((self.count(count)?, Kind(byte & 15)))
    }

    /// The structures of a list, each read by `each`.
    pub(super) fn structures<T>(
        &mut self,
        kind: Kind,
        mut each: impl FnMut(&mut Self, Kind) -> Read<T>,
    ) -> Read<Vec<T>> {
        let (count, of) = self.list(kind)?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(each(self, of)?);
        }
        Ok(list)
    }

    /// The fields of a structure in a field or a list, as [`fields`](Self::fields).
    pub(super) fn structure(&mut self, kind: Kind, each: impl FnMut(&mut Self, i16, Kind) -> Read<bool>) -> Read<()> {
        expect(kind.0 == Kind::STRUCT, "a structure", kind)?;
        self.fields(each)
    }

    /// An integer of any width.
    pub(super) fn integer(&mut self, kind: Kind) -> Read<i64> {
        match kind.0 {
            Kind::BYTE => Ok(i64::from(self.byte()? as i8)),
            Kind::I16 | Kind::I32 | Kind::I64 => Ok(zigzag(self.varint()?)),
            _ => Err(mismatch("an integer", kind)),
        }
    }

    /// A count or a size.
    pub(super) fn size(&mut self, kind: Kind) -> Read<u64> {
        let value = self.integer(kind)?;
        u64::try_from(value).map_err(|_| unsound(format!("a count or a size is {value}")))
    }

    /// A truth value, which is in the type of its field.
    pub(super) fn truth(kind: Kind) -> Read<bool> {
        expect(matches!(kind.0, Kind::TRUE | Kind::FALSE), "a truth value", kind)?;
        Ok(kind.0 == Kind::TRUE)
    }

    /// Bytes.
    pub(super) fn binary(&mut self, kind: Kind) -> Read<&'a [u8]> {
        expect(kind.0 == Kind::BINARY, "a string", kind)?;
        let size = self.varint()?;
        self.take(size)
    }
}

fn short() -> Fault {
    unsound("its footer or a page's header ends in the middle of a field")
}

fn expect(is_so: bool, what: &str, kind: Kind) -> Read<()> {
    if is_so { Ok(()) } else { Err(mismatch(what, kind)) }
}

fn mismatch(what: &str, kind: Kind) -> Fault {
    unsound(format!("a field has the type {}, expected {what}", kind.0))
}

/// The number at the front in groups of seven bits, the lowest first, and its size in bytes; `None` where there is none
/// of 64 bits.
pub(super) fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for (position, &byte) in bytes.iter().take(10).enumerate() {
        let part = u64::from(byte & 0x7f);
        if position == 9 && part > 1 {
            return None;
        }
        value |= part << (7 * position);
        if byte < 0x80 {
            return Some((value, position + 1));
        }
    }
    None
}

/// The integer that an unsigned one stands for: 0, -1, 1, -2 and so on.
pub(super) fn zigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
