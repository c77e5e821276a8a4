//! The legacy format of `torch.save`, the one before PyTorch 1.6: five pickles, one behind the other, and the storages.
//!
//! ```text
//! pickle   the magic number              pickle   the state dict
//! pickle   the version, 1001             pickle   the list of the storages' keys
//! pickle   of the machine: its byte      and for each key: the number of elements as a
//!          order and sizes of types      little-endian i64, the elements
//! ```

use std::collections::HashMap;

use super::pickle::{self, Pickle};
use super::tensors::Contents;
use super::values::Value;

/// The magic number's pickle: what is behind the opcode and the number of the protocol.
const MAGIC: [u8; 13] = *b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// Where the next pickle begins.
const AFTER_MAGIC: usize = 2 + MAGIC.len();
/// The one version there ever was.
const VERSION: i64 = 1001;

/// Whether this is the start of a file in the legacy format.
pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x80) && bytes.get(2..AFTER_MAGIC) == Some(&MAGIC)
}

/// Reads the pickles of a file, and finds its storages.
pub(super) fn read(bytes: &[u8]) -> Result<Contents<'_>, String> {
    let read = |start| pickle::read(bytes, start).map_err(|refusal| refusal.to_string());
    let version = read(AFTER_MAGIC)?;
    if version.root != Value::Int(VERSION) {
        return Err(format!("a file of torch.save in another version than {VERSION}"));
    }
    let machine = read(version.end)?;
    match item(&machine, "little_endian") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Err("the byte order is big, and only little is read".into()),
        _ => return Err("a file of torch.save that does not say its byte order".into()),
    }
    let pickle = read(machine.end)?;
    let keys = read(pickle.end)?;
    let Value::List(list) = keys.root else {
        return Err(format!("{} in the place of the list of storages", keys.root.kind()));
    };
    let known: HashMap<&str, _> = pickle.objects.storages.iter().map(|storage| (storage.key, storage)).collect();
    let mut storages = HashMap::new();
    let mut position = keys.end;
    for key in &keys.objects.sequences[list] {
        let Value::Str(key) = *key else { return Err(format!("{} in the place of a storage's key", key.kind())) };
        let storage = known.get(key).ok_or_else(|| format!("the storage {key:?} is not part of the pickle"))?;
        let cut = || format!("the file ends inside of storage {key:?}: fetch it again if the download was cut short");
        let len = bytes.get(position..).and_then(<[u8]>::first_chunk).copied().map(i64::from_le_bytes);
        let len = len.ok_or_else(cut)?;
        let start = position + size_of::<i64>();
        // A length that does not fit is beyond the end of the file.
        let size = usize::try_from(len).ok().and_then(|len| len.checked_mul(storage.dtype.bitsize() / 8));
        position = size.and_then(|size| start.checked_add(size)).filter(|&end| end <= bytes.len()).ok_or_else(cut)?;
        if storages.insert(key.to_owned(), start..position).is_some() {
            return Err(format!("the storage {key:?} is there twice"));
        }
    }
    Ok(Contents { pickle, storages })
}

/// The value of a key of a pickle that is a dict.
fn item<'a>(pickle: &Pickle<'a>, key: &str) -> Option<Value<'a>> {
    let Value::Dict(id) = pickle.root else { return None };
    let found = pickle.objects.dicts[id].iter().rev().find(|(other, _)| *other == Value::Str(key));
    found.map(|(_, value)| *value)
}
