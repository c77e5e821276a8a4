//! The tensors of a state dict: each a name, and a view of a storage whose bytes are somewhere in the file.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::pickle::{MAX_TENSORS, Pickle};
use super::values::{Tensor, Value};
use crate::checkpoint::mapped::{Entry, MappedFile};

/// What a file of either format holds.
pub(super) struct Contents<'a> {
    pub pickle: Pickle<'a>,
    /// The bytes of the storages by their keys; inside of the file.
    pub storages: HashMap<String, Range<usize>>,
}

/// The tensors of a file's state dict.
pub(super) fn entries(file: &MappedFile, contents: &Contents<'_>) -> Result<Vec<Entry>, String> {
    let Contents { pickle, .. } = contents;
    let Value::Dict(root) = pickle.root else {
        return Err(format!("expected a state dict, a dict of tensors, found {}", pickle.root.kind()));
    };
    let items = &pickle.objects.dicts[root];
    if items.len() > MAX_TENSORS {
        return Err(format!("a state dict of more than {MAX_TENSORS} tensors"));
    }
    let mut names = HashSet::new();
    let mut entries = Vec::with_capacity(items.len());
    for &(key, value) in items {
        let Value::Str(name) = key else {
            return Err(format!("expected the name of a tensor as key of the state dict, found {}", key.kind()));
        };
        let Value::Tensor(tensor) = value else { return Err(not_a_tensor(name, value, items)) };
        // Names become part of messages, which are one line.
        if name.contains(char::is_control) {
            return Err(format!("a tensor called {name:?}, with control characters"));
        }
        if !names.insert(name) {
            return Err(format!("the tensor {name:?} is there twice"));
        }
        let entry = contents.entry(file, name, &pickle.objects.tensors[tensor]);
        entries.push(entry.map_err(|reason| format!("the tensor {name:?} {reason}"))?);
    }
    Ok(entries)
}

impl Contents<'_> {
    fn entry(&self, file: &MappedFile, name: &str, tensor: &Tensor) -> Result<Entry, String> {
        let storage = self.pickle.objects.storages[tensor.storage];
        let bytes = self.storages.get(storage.key);
        let bytes = bytes.ok_or_else(|| format!("is in storage {:?}, which is missing", storage.key))?;
        let size = storage.dtype.bitsize() / 8;
        if storage.len.checked_mul(size) != Some(bytes.len()) {
            let (len, found) = (storage.len, bytes.len());
            return Err(format!("is in storage {:?} of {len} elements, which has {found} bytes", storage.key));
        }
        let Extent { span, is_contiguous } = tensor.extent().ok_or("has a shape without bounds")?;
        let end = tensor.offset.checked_add(span).filter(|&end| end <= storage.len);
        let end = end.ok_or_else(|| format!("is not inside of its storage {:?}", storage.key))?;
        Ok(Entry {
            path: file.path.clone(),
            name: name.into(),
            dtype: storage.dtype,
            shape: tensor.shape.clone(),
            strides: (!is_contiguous).then(|| tensor.strides.clone()),
            bytes: file.bytes.clone(),
            // Inside of the storage, so that nothing overflows.
            range: bytes.start + tensor.offset * size..bytes.start + end * size,
        })
    }
}

/// The part of its storage that a tensor covers.
struct Extent {
    /// The number of elements from the tensor's first to its last, both counted.
    span: usize,
    /// Whether these are all of its elements in their order.
    is_contiguous: bool,
}

impl Tensor {
    /// `None` where it is larger than any storage.
    fn extent(&self) -> Option<Extent> {
        let count = self.shape.iter().try_fold(1usize, |count, &extent| count.checked_mul(extent));
        if self.shape.contains(&0) {
            return Some(Extent { span: 0, is_contiguous: true });
        }
        let (count, mut span, mut row) = (count?, 1usize, 1usize);
        let mut is_contiguous = true;
        for (&extent, &stride) in self.shape.iter().zip(&self.strides).rev() {
            span = span.checked_add((extent - 1).checked_mul(stride)?)?;
            is_contiguous &= extent == 1 || stride == row;
            // At most `count`.
            row *= extent;
        }
        debug_assert!(!is_contiguous || span == count);
        Some(Extent { span, is_contiguous })
    }
}

/// The refusal of a value of the state dict, which says what there is instead of tensors.
fn not_a_tensor(name: &str, value: Value<'_>, items: &[(Value<'_>, Value<'_>)]) -> String {
    let keys = items.iter().filter_map(|(key, _)| if let Value::Str(key) = key { Some(*key) } else { None });
    let some: Vec<_> = keys.take(5).map(|key| format!("{key:?}")).collect();
    format!(
        "expected a state dict, a dict of tensors, found {} as {name:?} (it holds {}, …): save the model's state_dict() \
         alone",
        value.kind(),
        some.join(", ")
    )
}
