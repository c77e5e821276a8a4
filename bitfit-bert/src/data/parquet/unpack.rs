//! The codecs of pages. The size of what a page unpacks to is stated in its header; it is set aside before a codec sees
//! the page, and a codec that has more or less to give is an error.

use std::borrow::Cow;
use std::io::Read as _;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;

use super::fault::{Budget, Loan, Read, unsound, unsupported};
use crate::guard::guarded;

/// What zstd may look back in a page that is smaller: the window of a stream whose size was not known.
const ZSTD_WINDOW: usize = 8 << 20;
/// The most that a byte of gzip unpacks to.
const GZIP_RATIO: usize = 1_032;
/// The most that a byte of Snappy unpacks to: three bytes make 64.
const SNAPPY_RATIO: usize = 22;

/// How pages are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    None,
    Snappy,
    Gzip,
    Zstd,
}

/// The bytes of a page as they were before they were packed.
pub(super) struct Unpacked<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    _loan: Option<Loan<'a>>,
}

impl Codec {
    /// The codec of a number in the footer.
    pub(super) fn of(number: i64) -> Read<Self> {
        let name = match number {
            0 => return Ok(Self::None),
            1 => return Ok(Self::Snappy),
            2 => return Ok(Self::Gzip),
            6 => return Ok(Self::Zstd),
            3 => "LZO",
            4 => "Brotli",
            5 | 7 => "LZ4",
            _ => return Err(unsound(format!("there is no codec {number}"))),
        };
        Err(unsupported(format!("pages that are packed with {name} instead of Snappy, gzip or zstd")))
    }

    /// Unpacks a page to `size` bytes.
    pub(super) fn unpack<'a>(self, packed: &'a [u8], size: usize, budget: &'a Budget) -> Read<Unpacked<'a>> {
        if self == Self::None || packed.is_empty() {
            check_size(packed.len(), size)?;
            return Ok(Unpacked { bytes: packed.into(), _loan: None });
        }
        let most = match self {
            Self::Snappy => packed.len().saturating_mul(SNAPPY_RATIO),
            Self::Gzip => packed.len().saturating_mul(GZIP_RATIO).saturating_add(GZIP_RATIO),
            _ => usize::MAX,
        };
        if size > most {
            return Err(unsound(format!("a page of {} bytes cannot unpack to {size}", packed.len())));
        }
        budget.count(size)?;
        let loan = budget.lend(size)?;
        let bytes = match self {
            Self::None => packed.into(),
            Self::Snappy => {
                let stated = snap::raw::decompress_len(packed).map_err(|error| broken("Snappy", &error.to_string()))?;
                check_size(stated, size)?;
                let mut bytes = vec![0; size];
                let written = snap::raw::Decoder::new().decompress(packed, &mut bytes);
                check_size(written.map_err(|error| broken("Snappy", &error.to_string()))?, size)?;
                bytes
            }
            Self::Gzip => all(MultiGzDecoder::new(packed), size, "gzip")?,
            Self::Zstd => {
                // The decoder keeps its window in a buffer that doubles, beside what has left it.
                let window = size.max(ZSTD_WINDOW);
                let _buffers = budget.lend(window.saturating_mul(3))?;
                let unpacked = guarded(|| {
                    let mut rest = packed;
                    let decoder = StreamingDecoder::new_with_max_window_size(&mut rest, window as u64);
                    let bytes = all(decoder.map_err(|error| broken("zstd", &error.to_string()))?, size, "zstd")?;
                    if rest.is_empty() { Ok(bytes) } else { Err(broken("zstd", "other bytes follow its end")) }
                });
                unpacked.map_err(|_| broken("zstd", "its parts contradict each other"))??
            }
        };
        Ok(Unpacked { bytes: bytes.into(), _loan: Some(loan) })
    }
}

/// All that a decoder has, which is `size` bytes.
fn all(decoder: impl std::io::Read, size: usize, name: &str) -> Read<Vec<u8>> {
    let mut bytes = Vec::with_capacity(size);
    let read = decoder.take(size as u64 + 1).read_to_end(&mut bytes);
    check_size(read.map_err(|error| broken(name, &error.to_string()))?, size)?;
    Ok(bytes)
}

fn broken(name: &str, reason: &str) -> super::fault::Fault {
    unsound(format!("a page is broken {name} data: {reason}"))
}

fn check_size(found: usize, size: usize) -> Read<()> {
    match found == size {
        true => Ok(()),
        false if found > size => Err(unsound(format!("a page unpacks to more than the {size} bytes of its header"))),
        false => Err(unsound(format!("a page unpacks to {found} bytes, its header says {size}"))),
    }
}
