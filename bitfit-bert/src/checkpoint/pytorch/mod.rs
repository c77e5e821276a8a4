//! PyTorch's own weight files, `pytorch_model.bin`: what `torch.save` makes of a state dict, in its zip format (since
//! PyTorch 1.6) and in the legacy format before it. Either is a pickle of the tensors' names, shapes and places, which
//! [`pickle`] reads without running anything, and the bytes of their storages, which stay where they are in the mapped
//! file.
//!
//! The formats are those of `torch/serialization.py`.

mod legacy;
mod opcodes;
mod pickle;
mod tensors;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod values;
mod zip;

use super::mapped::{Entry, MappedFile};
use crate::Result;

pub(super) const SINGLE: &str = "pytorch_model.bin";
pub(super) const INDEX: &str = "pytorch_model.bin.index.json";

/// The tensors of one file in the order in which it has them.
pub(super) fn entries(file: &MappedFile) -> Result<Vec<Entry>> {
    let bytes = &file.bytes[..];
    let read = if zip::is_zip(bytes) {
        zip::read(bytes)
    } else if legacy::is_legacy(bytes) {
        legacy::read(bytes)
    } else {
        Err("not a file of torch.save: neither a zip archive nor its legacy format".into())
    };
    read.and_then(|contents| tensors::entries(file, &contents)).map_err(|reason| file.wrong(reason))
}
