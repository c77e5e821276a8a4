//! The fingerprint of a base model: one SHA-256 that tells whether a task file was trained on these weights.
//!
//! It is a function of what the weights are, not of how they are stored: the same for a file with or without prefixes, in
//! one piece or in shards, and for F16 or BF16 as for their exact widening to F32. A tree of hashes, so that a matrix of a
//! hundred megabytes is hashed by all threads:
//!
//! ```text
//! leaf(chunk)    = SHA-256(up to 2^18 elements as little-endian f32)
//! tensor(t)      = SHA-256(name length, name, rank, extents, leaf, leaf, …)      numbers as little-endian u64
//! fingerprint    = SHA-256(domain, tensor, tensor, …)                            tensors sorted by canonical name
//! ```

use std::borrow::Cow;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::file::Entry;
use super::widen::{element_size, widen};

/// Elements of a leaf: 1 MiB of f32, a few hundred leaves in a BERT-base.
const LEAF: usize = 1 << 18;

/// Sets these hashes apart from every other use of SHA-256, and from any later definition.
const DOMAIN: &[u8] = b"bitfit base weights, version 1";

type Hash = [u8; 32];

/// The fingerprint over `tensors`, which are sorted by their canonical names, as 64 hexadecimal digits.
pub(super) fn fingerprint(tensors: &[(String, &Entry)]) -> String {
    let hashes: Vec<Hash> = tensors.par_iter().map(|(name, entry)| tensor(name, entry)).collect();
    let mut root = Sha256::new_with_prefix(DOMAIN);
    hashes.iter().for_each(|hash| root.update(hash));
    root.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tensor(name: &str, entry: &Entry) -> Hash {
    let bytes = &entry.bytes[entry.range.clone()];
    let leaves: Vec<Hash> =
        bytes.par_chunks(LEAF * element_size(entry.dtype)).map(|chunk| leaf(entry, chunk)).collect();
    let mut hash = Sha256::new();
    hash.update((name.len() as u64).to_le_bytes());
    hash.update(name);
    hash.update((entry.shape.len() as u64).to_le_bytes());
    entry.shape.iter().for_each(|&extent| hash.update((extent as u64).to_le_bytes()));
    leaves.iter().for_each(|leaf| hash.update(leaf));
    // Hashing must not leave a second model's worth of memory behind.
    entry.release();
    hash.finalize().into()
}

fn leaf(entry: &Entry, chunk: &[u8]) -> Hash {
    // A file's f32 are little-endian already, aligned or not.
    let floats: Cow<'_, [u8]> = match entry.dtype {
        safetensors::Dtype::F32 => chunk.into(),
        dtype => widen(dtype, chunk).iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>().into(),
    };
    Sha256::digest(&floats).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::testing::{Tiny, TinyTensor};

    /// The definition at the head of this file, without trees, threads or maps.
    fn by_the_book(tiny: &Tiny) -> String {
        let number = |n: usize| (n as u64).to_le_bytes().to_vec();
        let tensor = |(name, tensor): (&String, &TinyTensor)| {
            let mut text = [number(name.len()), name.clone().into_bytes(), number(tensor.shape.len())].concat();
            tensor.shape.iter().for_each(|&extent| text.extend(number(extent)));
            for leaf in tensor.data.chunks(262_144) {
                text.extend(Sha256::digest(leaf.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>()));
            }
            Sha256::digest(text).to_vec()
        };
        let hashes: Vec<u8> = tiny.tensors.iter().flat_map(tensor).collect();
        let root = Sha256::digest([b"bitfit base weights, version 1".to_vec(), hashes].concat());
        root.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn it_is_the_documented_function() {
        let tiny = Tiny::new();
        assert_eq!(tiny.open().fingerprint(), by_the_book(&tiny));
    }

    #[test]
    fn a_large_tensor_is_a_tree_of_leaves() {
        let mut tiny = Tiny::new();
        tiny.config["vocab_size"] = 40_000.into();
        tiny.add("embeddings.word_embeddings.weight", &[40_000, 8], safetensors::Dtype::F32);
        let expected = by_the_book(&tiny);
        assert_eq!(tiny.open().fingerprint(), expected);
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one_thread.install(|| tiny.open().fingerprint()), expected);
    }
}
