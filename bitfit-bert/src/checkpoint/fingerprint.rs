//! The fingerprint of a base model: one BLAKE3 hash that determines whether a task file was trained on these weights.
//!
//! It depends on what the weights are and not on how they are stored: it is the same for a file with or without
//! prefixes, in one piece or in shards, and for F16 or BF16 as for their exact conversion to F32. The hash is over
//!
//! ```text
//! domain, then for each tensor, sorted by canonical name:
//!     length of the name, name, rank, extents, elements
//! ```
//!
//! with numbers as little-endian u64 and elements as little-endian f32.

use std::borrow::Cow;

use blake3::Hasher;
use safetensors::Dtype;

use super::mapped::Entry;
use super::to_f32::{element_size, to_f32};
use crate::{Error, Result};

/// Elements that are converted and checked at a time: 4 MiB of f32.
const CHUNK: usize = 1 << 20;

/// Distinguishes this hash from every other use of BLAKE3, and from later definitions.
const DOMAIN: &[u8] = b"bitfit base weights, version 2";

/// The fingerprint over `tensors`, which are sorted by their canonical names, as 64 hexadecimal digits.
///
/// Because it reads every weight, it also detects weights that are NaN or infinite.
pub(super) fn fingerprint<'a>(tensors: impl Iterator<Item = (&'a str, &'a Entry)>) -> Result<String> {
    let mut hasher = Hasher::new();
    hasher.update(DOMAIN);
    for (name, entry) in tensors {
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        hasher.update(&(entry.shape.len() as u64).to_le_bytes());
        for &extent in &entry.shape {
            hasher.update(&(extent as u64).to_le_bytes());
        }
        for chunk in entry.bytes[entry.range.clone()].chunks(CHUNK * element_size(entry.dtype)) {
            let floats = little_endian_f32(entry.dtype, chunk);
            if let Some(position) = first_not_finite(&floats) {
                return Err(not_finite(entry, chunk, position));
            }
            hasher.update_rayon(&floats);
        }
        // Hashing must not leave the pages of the whole file in memory.
        entry.release();
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// Elements as the bytes of little-endian f32, which an F32 file holds already, aligned or not.
fn little_endian_f32(dtype: Dtype, chunk: &[u8]) -> Cow<'_, [u8]> {
    match dtype {
        Dtype::F32 => chunk.into(),
        dtype => to_f32(dtype, chunk).iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into(),
    }
}

/// The index of the first of some little-endian f32 that is NaN or infinite, that is, whose exponent is all ones.
fn first_not_finite(floats: &[u8]) -> Option<usize> {
    const EXPONENT: u32 = 0x7f80_0000;
    let is_wrong = |word: &[u8; 4]| u32::from_le_bytes(*word) & EXPONENT == EXPONENT;
    let words = floats.as_chunks::<4>().0;
    // Checks the whole chunk first, without a branch for each element.
    words.iter().fold(false, |any, word| any | is_wrong(word)).then(|| words.iter().position(is_wrong)).flatten()
}

fn not_finite(entry: &Entry, chunk: &[u8], position: usize) -> Error {
    let start = entry.bytes[entry.range.clone()].as_ptr();
    let index = (chunk.as_ptr().addr() - start.addr()) / element_size(entry.dtype) + position;
    let size = element_size(entry.dtype);
    let value = to_f32(entry.dtype, &chunk[position * size..(position + 1) * size])[0];
    let reason = format!("the tensor {} holds {value} at element {index}: its values must be finite", entry.name);
    Error::Weights { path: entry.path.to_path_buf(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Tiny, TinyTensor};

    /// The definition in the documentation of this module, over one contiguous buffer, without chunks, threads or
    /// memory maps.
    fn by_definition(tiny: &Tiny) -> String {
        let number = |n: usize| (n as u64).to_le_bytes().to_vec();
        let tensor = |(name, tensor): (&String, &TinyTensor)| {
            let mut text = [number(name.len()), name.clone().into_bytes(), number(tensor.shape.len())].concat();
            tensor.shape.iter().for_each(|&extent| text.extend(number(extent)));
            tensor.data.iter().for_each(|x| text.extend(x.to_le_bytes()));
            text
        };
        let tensors: Vec<u8> = tiny.tensors.iter().flat_map(tensor).collect();
        blake3::hash(&[b"bitfit base weights, version 2".to_vec(), tensors].concat()).to_hex().to_string()
    }

    #[test]
    fn the_hash_is_the_documented_function() {
        let tiny = Tiny::new();
        assert_eq!(tiny.open().fingerprint().unwrap(), by_definition(&tiny));
    }

    #[test]
    fn a_large_tensor_is_hashed_in_chunks_by_any_number_of_threads() {
        let mut tiny = Tiny::new();
        tiny.config["vocab_size"] = 200_000.into();
        tiny.add("embeddings.word_embeddings.weight", &[200_000, 8], Dtype::F32);
        let expected = by_definition(&tiny);
        assert_eq!(tiny.open().fingerprint().unwrap(), expected);
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one_thread.install(|| tiny.open().fingerprint().unwrap()), expected);
    }

    #[test]
    fn a_value_that_is_not_finite_is_refused_by_file_tensor_and_element() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
            for (value, text) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
                let mut tiny = Tiny::new();
                let name = "encoder.layer.1.output.dense.weight";
                let tensor = tiny.tensors.get_mut(name).unwrap();
                (tensor.dtype, tensor.data[17]) = (dtype, value);
                let message = tiny.open().fingerprint().unwrap_err().to_string();
                let expected = format!("model.safetensors: the tensor {name} holds {text} at element 17");
                assert!(message.contains(&expected), "{message}");
            }
        }
    }
}
