//! From valid files to files that are nearly valid. The extension of a file says what is known of its structure.

use bitfit_core::rng::Random;

use crate::json::Tree;
use crate::runner::Files;
use crate::{safetensors_file, text};

/// The largest file of a case. Mutations that repeat what they made would otherwise fill the memory themselves. Parsed
/// JSON takes up to 150 times its size (of lists in lists): 75 MiB, for which the bounds of targets leave room.
const LARGEST: usize = 512 << 10;

/// The files of a case: the first cases are the seeds as they are, the others mutations of one or two.
pub fn case(seeds: &[Files], number: u32, random: &mut Random) -> Files {
    if let Some(seed) = seeds.get(number as usize) {
        return seed.clone();
    }
    let mut files = any(seeds, random).clone();
    let other = any(seeds, random);
    let at = below(files.len(), random);
    match random.below(40) {
        0 => _ = files.remove(at),
        1 => files[at].1.clear(),
        2 => {
            let (name, bytes) = any(other, random).clone();
            files.retain(|(file, _)| *file != name);
            files.push((name, bytes));
        }
        _ => {}
    }
    for at in 0..files.len() {
        // All files, or one: what two files say of each other is read as well.
        if files.len() > 1 && random.below(files.len() as u32) > 0 && random.below(4) > 0 {
            continue;
        }
        let (name, bytes) = &mut files[at];
        let other = other.iter().find(|(file, _)| file == name).or_else(|| other.first());
        for _ in 0..*any(&[1, 1, 1, 2, 3, 5], random) {
            mutate(name, bytes, other.map_or(&[], |(_, bytes)| bytes), random);
            bytes.truncate(LARGEST);
        }
    }
    files
}

fn mutate(name: &str, bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let is_structured = random.below(8) > 0;
    let done = match extension {
        "json" if is_structured => mutate_json(bytes, other, random),
        "safetensors" if is_structured => safetensors_file::mutate(bytes, other, random),
        "tsv" | "csv" | "txt" | "data" | "jsonl" if is_structured => {
            text::mutate_lines(extension, bytes, other, random);
            true
        }
        _ => false,
    };
    if !done {
        mutate_bytes(bytes, other, random);
    }
}

/// Mutates JSON; false where it is none.
pub fn mutate_json(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) -> bool {
    let Some(mut tree) = Tree::parse(bytes) else { return false };
    let other = Tree::parse(other).unwrap_or_else(|| tree.clone());
    tree.mutate(&other, random);
    *bytes = tree.to_string().into_bytes();
    true
}

/// Mutates bytes of no known structure.
pub fn mutate_bytes(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = below(bytes.len() + 1, random);
    let len = below((bytes.len() - at).min(1 << random.below(12)) + 1, random);
    match random.below(8) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => bytes.insert(at, random.bits() as u8),
        2 => _ = bytes.drain(at..at + len),
        3 => {
            let part = bytes[at..at + len].to_vec();
            bytes.splice(at..at, part);
        }
        4 => bytes.truncate(at),
        5 => {
            let from = below(other.len() + 1, random);
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
        6 => {
            // An interesting number in the place of what is there.
            let number = *any(&NUMBERS, random);
            let number = number.wrapping_add(u64::from(random.below(3))).wrapping_sub(1).to_le_bytes();
            let size = 1 << random.below(4);
            for (byte, new) in bytes[at..].iter_mut().zip(&number[..size]) {
                *byte = *new;
            }
        }
        _ => {
            let piece = text::piece(random);
            bytes.splice(at..at, piece.into_bytes());
        }
    }
}

/// Where ranges of numbers end.
const NUMBERS: [u64; 12] =
    [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 53, i64::MAX as u64, u64::MAX, 100_000_000];

/// A number below `bound`; 0 for 0.
pub fn below(bound: usize, random: &mut Random) -> usize {
    if bound == 0 { 0 } else { random.below(bound as u32) as usize }
}

/// One of several.
pub fn any<'a, T>(several: &'a [T], random: &mut Random) -> &'a T {
    &several[below(several.len(), random)]
}
