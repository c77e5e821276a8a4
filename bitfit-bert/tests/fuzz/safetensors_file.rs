//! Mutations of safetensors: `[length of the header: u64] [header: JSON] [data]`.

use bitfit_core::rng::Random;

use crate::json::Tree;
use crate::mutate::{any, below, mutate_bytes};

/// Types of elements with their bits.
const DTYPES: [(&str, usize); 12] = [
    ("F32", 32),
    ("F16", 16),
    ("BF16", 16),
    ("F64", 64),
    ("I64", 64),
    ("U8", 8),
    ("BOOL", 8),
    ("F8_E5M2", 8),
    ("F4", 4),
    ("F6_E2M3", 6),
    ("C64", 64),
    ("E8M0", 8),
];

/// Values of f32 that are no numbers, or barely.
const FLOATS: [u32; 6] = [0x7fc0_0000, 0x7f80_0000, 0xff80_0000, 1, 0x7f7f_ffff, 0x8000_0000];

/// Mutates a file; false where it has no header of JSON.
pub fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) -> bool {
    let Some((mut header, data)) = split(bytes) else { return false };
    let mut data = data.to_vec();
    let (other_header, other_data) = split(other).unwrap_or_else(|| (header.clone(), &[]));
    match random.below(8) {
        0 => mutate_data(&mut data, other_data, random),
        1 | 2 => mutate_metadata(&mut header, &other_header, random),
        3 => mutate_tensor(&mut header, random),
        _ => header.mutate(&other_header, random),
    }
    // Where places fit the shapes, what a reader checks after the format is reached.
    if random.below(3) > 0 {
        lay_out(&mut header, &mut data);
    }
    let text = header.to_string();
    let padding = if random.below(8) > 0 { text.len().next_multiple_of(8) - text.len() } else { 0 };
    let text = text + &" ".repeat(padding);
    let length = match random.below(16) {
        0 => *any(&[0, 1, text.len() as u64 - 1, text.len() as u64 + 1, 99_999_999, 100_000_001, u64::MAX], random),
        _ => text.len() as u64,
    };
    *bytes = [&length.to_le_bytes()[..], text.as_bytes(), &data].concat();
    true
}

fn split(bytes: &[u8]) -> Option<(Tree, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (header, data) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    Some((Tree::parse(header)?, data))
}

fn mutate_data(data: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = below(data.len() / 4, random) * 4;
    match random.below(3) {
        0 => mutate_bytes(data, other, random),
        _ => {
            if let Some(place) = data.get_mut(at..at + 4) {
                place.copy_from_slice(&any(&FLOATS, random).to_le_bytes());
            }
        }
    }
}

/// Mutates a value of the metadata. They are texts, and many of them hold JSON.
fn mutate_metadata(header: &mut Tree, other: &Tree, random: &mut Random) {
    let Some(Tree::Object(fields)) = header.get_mut("__metadata__") else { return header.mutate(other, random) };
    if fields.is_empty() {
        return header.mutate(other, random);
    }
    let at = below(fields.len(), random);
    let value = &mut fields[at].1;
    let inner = value.as_text().and_then(|text| Tree::parse(text.as_bytes()));
    match inner {
        Some(mut inner) => {
            inner.mutate(&inner.clone(), random);
            *value = Tree::text(&inner.to_string());
        }
        None => value.mutate(other, random),
    }
}

/// Changes what the header says of one tensor.
fn mutate_tensor(header: &mut Tree, random: &mut Random) {
    let Tree::Object(fields) = header else { return };
    if fields.is_empty() {
        return;
    }
    let at = below(fields.len(), random);
    let tensor = &mut fields[at].1;
    let extent = |random: &mut Random| Tree::Leaf((*any(&["0", "1", "2", "3", "8", "4294967296"], random)).into());
    match random.below(4) {
        0 => {
            if let Some(dtype) = tensor.get_mut("dtype") {
                *dtype = Tree::text(any(&DTYPES, random).0);
            }
        }
        1 => {
            if let Some(Tree::Array(shape)) = tensor.get_mut("shape") {
                let at = below(shape.len() + 1, random);
                shape.insert(at, extent(random));
            }
        }
        2 => {
            if let Some(Tree::Array(shape)) = tensor.get_mut("shape") {
                shape.reverse();
            }
        }
        _ => {
            if let Some(Tree::Array(shape)) = tensor.get_mut("shape")
                && !shape.is_empty()
            {
                let at = below(shape.len(), random);
                shape[at] = extent(random);
            }
        }
    }
}

/// Places the tensors one behind the other, as far as their types and shapes can be read and are small.
fn lay_out(header: &mut Tree, data: &mut Vec<u8>) {
    let Tree::Object(fields) = header else { return };
    let mut end = 0_usize;
    for (_, tensor) in fields {
        let dtype = tensor.get_mut("dtype").and_then(|dtype| dtype.as_text());
        let bits = DTYPES.iter().find(|(name, _)| Some(*name) == dtype.as_deref()).map(|(_, bits)| bits);
        let Some(Tree::Array(shape)) = tensor.get_mut("shape") else { continue };
        let mut extents = shape.iter().map(|extent| extent.to_string().parse::<usize>().ok());
        let elements = extents.try_fold(1_usize, |all, extent| all.checked_mul(extent?));
        let (Some(bits), Some(elements)) = (bits, elements.filter(|elements| *elements < 1 << 20)) else { continue };
        let start = end;
        end += elements * bits / 8;
        if let Some(offsets) = tensor.get_mut("data_offsets") {
            *offsets = Tree::Array([start, end].map(|at| Tree::Leaf(at.to_string())).into());
        }
    }
    data.resize(end, 0);
}
