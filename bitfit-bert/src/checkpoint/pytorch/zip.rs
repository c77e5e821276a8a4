//! The zip format of `torch.save`: one folder with the pickle `data.pkl`, a file `data/KEY` for each storage, and the
//! `byteorder` of their elements. The entries are stored as they are, so that a storage can be read in its place.

use std::collections::HashSet;
use std::ops::Range;

use rawzip::{CompressionMethod, ZipArchive, ZipFileHeaderRecord, ZipSliceArchive};

use super::pickle;
use super::tensors::Contents;

/// The largest number of entries: a storage for each tensor that a pickle may have, and as many again.
const MAX_ENTRIES: usize = 2 * pickle::MAX_TENSORS;
/// The largest length of an entry's name in bytes.
const MAX_NAME: usize = 512;

/// Whether this is the start of a zip archive.
pub(super) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// Reads the pickle of an archive, and finds its storages.
pub(super) fn read(bytes: &[u8]) -> Result<Contents<'_>, String> {
    let entries = entries(bytes)?;
    let find = |name: String| entries.iter().find(|entry| entry.name == name).map(|entry| entry.range.clone());
    // All names begin with the same folder, which PyTorch takes from the first.
    let folder = entries.first().and_then(|entry| entry.name.split_once('/')).map_or("", |(folder, _)| folder);
    let pickle = find(format!("{folder}/data.pkl"));
    let pickle = pickle.ok_or("a zip archive without data.pkl, so not a file of torch.save")?;
    if let Some(order) = find(format!("{folder}/byteorder"))
        && bytes[order.clone()] != *b"little"
    {
        let order = &bytes[order.start..order.end.min(order.start + 16)];
        return Err(format!("the byte order is \"{}\", and only little is read", order.escape_ascii()));
    }
    let pickle = pickle::read(&bytes[..pickle.end], pickle.start).map_err(|refusal| refusal.to_string())?;
    let prefix = format!("{folder}/data/");
    let storage = |entry: Entry| Some((entry.name.strip_prefix(&prefix)?.to_owned(), entry.range));
    let storages = entries.into_iter().filter_map(storage).collect();
    Ok(Contents { pickle, storages })
}

/// A file in an archive.
struct Entry {
    name: String,
    range: Range<usize>,
}

/// The files of an archive: stored as they are, one behind the other, and all of different names.
fn entries(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let broken = |reason: String| {
        let len = bytes.len();
        format!("not a complete zip archive ({reason}; {len} bytes): fetch it again if the download was cut short")
    };
    let archive = ZipArchive::from_slice(bytes).map_err(|error| broken(error.to_string()))?;
    let mut entries = Vec::new();
    for header in archive.entries() {
        let header = header.map_err(|error| broken(error.to_string()))?;
        if entries.len() == MAX_ENTRIES {
            return Err(format!("a zip archive of more than {MAX_ENTRIES} entries"));
        }
        entries.push(entry(&archive, &header, broken)?);
    }
    if entries.len() as u64 != archive.entries_hint() {
        return Err(broken(format!("{} entries instead of {}", entries.len(), archive.entries_hint())));
    }
    let mut names = HashSet::new();
    if let Some(twice) = entries.iter().find(|entry| !names.insert(entry.name.as_str())) {
        return Err(format!("the zip archive has two entries called {:?}", twice.name));
    }
    let mut ranges: Vec<_> = entries.iter().map(|entry| (entry.range.start, entry.range.end)).collect();
    ranges.sort_unstable();
    let ends = ranges.iter().map(|range| range.1);
    let starts = ranges.iter().skip(1).map(|range| range.0 as u64).chain([archive.directory_offset()]);
    if ends.zip(starts).any(|(end, next)| end as u64 > next) {
        return Err("a zip archive whose entries overlap".into());
    }
    Ok(entries)
}

/// One file, by its header in the archive's directory.
fn entry(
    archive: &ZipSliceArchive<&[u8]>,
    header: &ZipFileHeaderRecord<'_>,
    broken: impl Fn(String) -> String,
) -> Result<Entry, String> {
    let name = header.file_path().as_bytes();
    if name.len() > MAX_NAME {
        return Err(format!("a zip archive with a name of {} bytes", name.len()));
    }
    let name = str::from_utf8(name).map_err(|_| broken("a name that is not UTF-8".into()))?;
    let (flags, method) = (header.flags(), header.compression_method());
    if flags.is_encrypted() || flags.has_strong_encryption() || flags.is_masked() {
        return Err(format!("the entry {name:?} of the zip archive is encrypted"));
    }
    if method != CompressionMethod::STORE {
        let advice = "torch.save stores its entries as they are, so save the file again";
        return Err(format!(
            "the entry {name:?} of the zip archive is compressed (method {}): {advice}",
            method.as_u16()
        ));
    }
    let (stored, full) = (header.compressed_size_hint(), header.uncompressed_size_hint());
    if stored != full {
        return Err(broken(format!("the entry {name:?} of {full} bytes is stored in {stored}")));
    }
    let found =
        archive.get_entry(header.wayfinder()).map_err(|error| broken(format!("the entry {name:?}: {error}")))?;
    if found.local_header().file_path().as_bytes() != name.as_bytes() {
        return Err(broken(format!("the entry {name:?} has another name in its place")));
    }
    let (start, end) = found.compressed_data_range();
    // They are inside of the file, which is in memory.
    Ok(Entry { name: name.into(), range: start as usize..end as usize })
}
