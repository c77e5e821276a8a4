//! The encodings of small integers: runs and groups of bits (levels, positions in a dictionary, truth values), and
//! differences (integers and lengths). Each is read a value at a time; nothing is kept but where it is.
//!
//! Source: `Encodings.md` of Apache's parquet-format.

use super::fault::{Read, short, unsound};
use super::thrift::{varint, zigzag};

/// The `width` bits from the bit `at` on, the lowest first; `None` where `data` ends before. At most 64.
fn bits(data: &[u8], at: u64, width: u32) -> Option<u64> {
    let first = usize::try_from(at / 8).ok()?;
    let shift = (at % 8) as u32;
    let count = (shift + width).div_ceil(8) as usize;
    let bytes = data.get(first..first.checked_add(count)?)?;
    let mut word = [0; 16];
    word[..count].copy_from_slice(bytes);
    let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
    Some((u128::from_le_bytes(word) >> shift) as u64 & mask)
}

fn advance(data: &[u8], at: &mut usize) -> Read<u64> {
    let (value, size) = data.get(*at..).and_then(varint).ok_or_else(short)?;
    *at += size;
    Ok(value)
}

/// Numbers in runs of one value, and in groups of eight that are packed.
pub(super) struct Runs {
    width: u32,
    /// Where the next run begins.
    at: usize,
    /// How many numbers of this run are left.
    left: u64,
    /// The value of this run; or where the next number of a packed one begins, in bits.
    run: Run,
}

enum Run {
    Same(u32),
    Packed(u64),
}

impl Runs {
    /// Numbers of `width` bits, which begin at the byte `at`.
    pub(super) fn new(at: usize, width: u32) -> Read<Self> {
        if width > 32 {
            return Err(unsound(format!("it has numbers of {width} bits, at most 32 are possible")));
        }
        Ok(Self { width, at, left: 0, run: Run::Same(0) })
    }

    /// The next number.
    pub(super) fn next(&mut self, data: &[u8]) -> Read<u32> {
        if self.width == 0 {
            return Ok(0);
        }
        while self.left == 0 {
            let header = advance(data, &mut self.at)?;
            let length = header >> 1;
            if header & 1 == 0 {
                let size = self.width.div_ceil(8) as usize;
                let value = bits(data, self.at as u64 * 8, 8 * size as u32).ok_or_else(short)?;
                self.at += size;
                (self.left, self.run) = (length, Run::Same(value as u32));
            } else {
                // The last group may be cut where its numbers end.
                let size = length.checked_mul(self.width.into()).and_then(|size| usize::try_from(size).ok());
                let end = size.and_then(|size| self.at.checked_add(size)).ok_or_else(short)?;
                (self.left, self.run) = (length.saturating_mul(8), Run::Packed(self.at as u64 * 8));
                self.at = end;
            }
        }
        self.left -= 1;
        match &mut self.run {
            Run::Same(value) => Ok(*value),
            Run::Packed(at) => {
                let value = bits(data, *at, self.width).ok_or_else(short)?;
                *at += u64::from(self.width);
                Ok(value as u32)
            }
        }
    }
}

/// Integers as differences, in blocks of parts that have a width each.
#[derive(Clone)]
pub(super) struct Deltas {
    /// The number of integers that are left.
    left: u64,
    /// The next integer.
    next: i64,
    parts: u64,
    part_length: u64,
    /// The smallest difference of this block.
    least: i64,
    /// Where the widths of this block are, and which of them is that of the next part.
    widths: usize,
    part: u64,
    /// Where the next part or block begins.
    at: usize,
    /// The differences that are left in this part, the bit at which the next begins, and the width of each.
    part_left: u64,
    bit: u64,
    width: u32,
}

impl Deltas {
    /// Integers that begin at the byte `at`; at most `most`.
    pub(super) fn new(data: &[u8], mut at: usize, most: u64) -> Read<Self> {
        let block = advance(data, &mut at)?;
        let parts = advance(data, &mut at)?;
        let left = advance(data, &mut at)?;
        let next = zigzag(advance(data, &mut at)?);
        if parts == 0 || block % parts != 0 || block / parts % 8 != 0 || block == 0 || block > 1 << 31 {
            return Err(unsound(format!("it has differences in blocks of {block} in {parts} parts")));
        }
        if left > most {
            return Err(unsound(format!("a page of {most} values has {left} integers")));
        }
        // As if a block had ended, so that the next begins when it is needed.
        let part_length = block / parts;
        Ok(Self {
            left,
            next,
            parts,
            part_length,
            least: 0,
            widths: 0,
            part: parts,
            at,
            part_left: 0,
            bit: 0,
            width: 0,
        })
    }

    /// The number of integers that are left.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The next integer.
    pub(super) fn next(&mut self, data: &[u8]) -> Read<i64> {
        self.left = self.left.checked_sub(1).ok_or_else(short)?;
        let value = self.next;
        if self.left > 0 {
            if self.part_left == 0 {
                self.begin_part(data)?;
            }
            let delta = bits(data, self.bit, self.width).ok_or_else(short)? as i64;
            self.bit += u64::from(self.width);
            self.part_left -= 1;
            self.next = value.wrapping_add(self.least).wrapping_add(delta);
        }
        Ok(value)
    }

    fn begin_part(&mut self, data: &[u8]) -> Read<()> {
        if self.part == self.parts {
            self.least = zigzag(advance(data, &mut self.at)?);
            self.widths = self.at;
            let end = usize::try_from(self.parts).ok().and_then(|parts| self.at.checked_add(parts));
            self.at = end.filter(|&end| end <= data.len()).ok_or_else(short)?;
            self.part = 0;
        }
        self.width = data[self.widths + self.part as usize].into();
        if self.width > 64 {
            return Err(unsound(format!("it has differences of {} bits, at most 64 are possible", self.width)));
        }
        self.bit = self.at as u64 * 8;
        self.at = self.at.saturating_add((self.part_length * u64::from(self.width) / 8) as usize);
        self.part_left = self.part_length;
        self.part += 1;
        Ok(())
    }

    /// The byte behind the last integer.
    pub(super) fn end(&self, data: &[u8]) -> Read<usize> {
        let mut last = self.clone();
        // The first integer has no difference.
        let mut differences = last.left.saturating_sub(1);
        while differences > last.part_left {
            differences -= last.part_left;
            last.begin_part(data)?;
        }
        if last.at <= data.len() { Ok(last.at) } else { Err(short()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_groups_follow_one_another() {
        // 0 to 7 in three bits, as in the specification of the encoding, and four times 5.
        let data = [0x03, 0x88, 0xc6, 0xfa, 0x08, 0x05];
        let mut runs = Runs::new(0, 3).unwrap();
        let found: Vec<u32> = (0..12).map(|_| runs.next(&data).unwrap()).collect();
        assert_eq!(found, [0, 1, 2, 3, 4, 5, 6, 7, 5, 5, 5, 5]);
        assert!(runs.next(&data).is_err());
        // A run of no numbers, and a group that is longer than the page.
        assert!(Runs::new(0, 3).unwrap().next(&[0, 5, 1]).is_err());
        assert!(Runs::new(0, 32).unwrap().next(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
        assert!(Runs::new(0, 33).is_err());
    }

    #[test]
    fn differences_end_where_their_last_part_ends() {
        // 7, 5, 3, 1, 2, 3, 4, 5, as in the specification: differences of -2 and more, in two bits.
        let data = [&[128, 1, 4, 8, 14, 3, 2, 0, 0, 0, 0xc0, 0x3f, 0, 0, 0, 0, 0, 0][..], &[9]].concat();
        let mut deltas = Deltas::new(&data, 0, 8).unwrap();
        assert_eq!(deltas.end(&data).unwrap(), data.len() - 1);
        let found: Vec<i64> = (0..8).map(|_| deltas.next(&data).unwrap()).collect();
        assert_eq!(found, [7, 5, 3, 1, 2, 3, 4, 5]);
        assert!(deltas.next(&data).is_err());
        assert!(Deltas::new(&data, 0, 7).is_err());
        // One integer has no block.
        assert_eq!(Deltas::new(&[128, 1, 4, 1, 14], 0, 1).unwrap().end(&[128, 1, 4, 1, 14]).unwrap(), 5);
    }

    #[test]
    fn differences_of_every_width_are_read() {
        for width in [1_u32, 7, 31, 32, 33, 63, 64] {
            let mut data = vec![128, 1, 4, 2, 0, 1, width as u8, 0, 0, 0];
            data.extend(std::iter::repeat_n(0xff, 4 * width as usize));
            let mut deltas = Deltas::new(&data, 0, 2).unwrap();
            deltas.next(&data).unwrap();
            let largest = if width == 64 { u64::MAX } else { (1 << width) - 1 };
            assert_eq!(deltas.next(&data).unwrap(), (largest as i64).wrapping_sub(1));
            assert_eq!(deltas.end(&data).unwrap(), data.len());
        }
    }
}
