//! The bytes of a file, with the first of them in sight: unpacked where they are gzip, without a byte-order mark, and
//! with the line ends of today.

use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::line_reader::without_bom;
use crate::{Error, Result};

/// The number of bytes that are looked at before anything is read.
const START: u64 = 1 << 16;
/// How gzip data begins.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// A stream whose first bytes are known.
pub(super) struct Source<'a> {
    /// The first bytes, up to 64 KiB, which [`reader`](Self::reader) yields again.
    pub(super) start: Vec<u8>,
    /// Whether the stream has no other bytes.
    pub(super) is_whole: bool,
    /// Whether it was unpacked.
    pub(super) is_gzip: bool,
    rest: Box<dyn BufRead + 'a>,
}

impl<'a> Source<'a> {
    /// Looks at a stream; `path` names it in errors.
    pub(super) fn open(reader: impl Read + 'a, path: &Path) -> Result<Self> {
        let mut rest: Box<dyn BufRead + 'a> = Box::new(BufReader::with_capacity(START as usize, reader));
        let mut start = look(&mut rest, path)?;
        let is_gzip = start.starts_with(&GZIP);
        if is_gzip {
            let packed = Cursor::new(start).chain(rest);
            rest = Box::new(BufReader::with_capacity(START as usize, Gunzip { member: Some(GzDecoder::new(packed)) }));
            start = look(&mut rest, path)?;
        }
        let is_whole = (start.len() as u64) < START;
        while without_bom(&start).len() < start.len() {
            start.drain(..3);
        }
        // The line ends of the first Macintosh, which some programs still write. The bytes of a Parquet file are none.
        if !start.starts_with(b"PAR1") && start.contains(&b'\r') && !start.contains(&b'\n') {
            start.iter_mut().for_each(modern);
            rest = Box::new(BufReader::with_capacity(START as usize, LineFeeds(rest)));
        }
        Ok(Self { start, is_whole, is_gzip, rest })
    }

    /// The whole stream.
    pub(super) fn reader(self) -> impl BufRead + 'a {
        Cursor::new(self.start).chain(self.rest)
    }
}

/// The first bytes of a stream, fewer than [`START`] only where there are no more.
fn look(reader: &mut impl BufRead, path: &Path) -> Result<Vec<u8>> {
    let mut start = Vec::new();
    reader.by_ref().take(START).read_to_end(&mut start).map_err(Error::io(path))?;
    Ok(start)
}

/// A reader that makes a line feed of every carriage return.
struct LineFeeds<R>(R);

impl<R: Read> Read for LineFeeds<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        buffer[..count].iter_mut().for_each(modern);
        Ok(count)
    }
}

fn modern(byte: &mut u8) {
    if *byte == b'\r' {
        *byte = b'\n';
    }
}

/// A reader of gzip data, which may consist of several members, as `cat a.gz b.gz` makes them. What follows the last
/// member is an error: it may be the rest of a file that was damaged.
struct Gunzip<R> {
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(buffer).map_err(told_apart)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(member) = self.member.take() else { break };
            let mut rest = member.into_inner();
            match rest.fill_buf()? {
                [] => {}
                next if next[0] == GZIP[0] => self.member = Some(GzDecoder::new(rest)),
                _ => return Err(invalid("other bytes follow the end of the gzip data".into())),
            }
        }
        Ok(0)
    }
}

/// An error of the decoder as a message that names gzip; other errors as they are.
fn told_apart(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => invalid("the gzip data is cut short".into()),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => invalid(format!("broken gzip data: {error}")),
        _ => error,
    }
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn all(bytes: &[u8]) -> Result<Vec<u8>> {
        let source = Source::open(bytes, Path::new("x.csv.gz"))?;
        let mut all = Vec::new();
        source.reader().read_to_end(&mut all).map_err(Error::io(Path::new("x.csv.gz")))?;
        Ok(all)
    }

    #[test]
    fn gzip_data_is_unpacked_whatever_its_members() {
        let long = vec![b'x'; 300_000];
        assert_eq!(all(&gzip(b"\xef\xbb\xbfa,b\n")).unwrap(), b"a,b\n");
        assert_eq!(all(&gzip(&long)).unwrap(), long);
        assert_eq!(all(&[gzip(b"a\n"), gzip(b""), gzip(b"b\n")].concat()).unwrap(), b"a\nb\n");
        assert_eq!(all(&gzip(b"")).unwrap(), b"");
    }

    #[test]
    fn broken_gzip_data_says_what_is_wrong_with_it() {
        let packed = gzip(&(0..200_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
        for cut in [2, 9, 15, 1_000, packed.len() - 1] {
            assert_eq!(all(&packed[..cut]).unwrap_err().to_string(), "x.csv.gz: the gzip data is cut short", "{cut}");
        }
        let message = all(&[&packed[..], b"\0\0\0"].concat()).unwrap_err().to_string();
        assert_eq!(message, "x.csv.gz: other bytes follow the end of the gzip data");
        let mut flipped = packed.clone();
        let last = flipped.len() - 6;
        flipped[last] ^= 1;
        assert!(all(&flipped).unwrap_err().to_string().starts_with("x.csv.gz: broken gzip data: "));
    }

    #[test]
    fn carriage_returns_alone_are_line_ends() {
        assert_eq!(all(b"a\rb\r").unwrap(), b"a\nb\n");
        assert_eq!(all(b"a\rb\r\n").unwrap(), b"a\rb\r\n");
        let long = "text\r".repeat(50_000);
        assert_eq!(all(long.as_bytes()).unwrap(), "text\n".repeat(50_000).as_bytes());
    }
}
