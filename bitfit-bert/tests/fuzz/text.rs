//! Texts that readers, terminals and tokenizers stumble over.

use bitfit_core::rng::Random;

use crate::mutate::{any, below, mutate_bytes, mutate_json};

/// Short texts: characters with a meaning to formats and terminals, words of the tests' vocabularies, special tokens,
/// marks, scripts, regexes.
const PIECES: [&str; 112] = [
    "",
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\r",
    "\0",
    "\u{1b}[31m",
    "\u{7f}",
    "\u{85}",
    "\u{9b}2J",
    "\u{2028}",
    "\u{2029}",
    "\u{202e}",
    "\u{2066}",
    "\u{feff}",
    "\u{fffd}",
    "\u{200b}",
    "\u{200d}",
    "\u{ad}",
    "\u{a0}",
    "\u{3000}",
    "\"",
    "\"\"",
    "'",
    "\\",
    "\\u0000",
    "/",
    "..",
    "../x",
    ",",
    ";",
    ":",
    "-",
    "_",
    ".",
    "!",
    "$",
    "#",
    "{",
    "}",
    "[",
    "]",
    "(",
    "0",
    "1",
    "-1",
    "00",
    "1.5",
    "1e5",
    "1e999",
    "nan",
    "inf",
    "2147483648",
    "a",
    "b",
    "c",
    "ab",
    "abab",
    "hello",
    "Hello",
    "world",
    "##a",
    "##",
    "un",
    "able",
    "x",
    "label",
    "text",
    "sentence1",
    "sentence2",
    "good",
    "bad",
    "yes",
    "no",
    "[CLS]",
    "[SEP]",
    "[UNK]",
    "[MASK]",
    "[PAD]",
    "<s>",
    "</s>",
    "<unk>",
    "<mask>",
    "<0x00>",
    "▁",
    "▁a",
    "Ġ",
    "Ċ",
    "é",
    "e\u{301}",
    "\u{301}",
    "\u{323}",
    "\u{345}",
    "İ",
    "ß",
    "ﬁ",
    "Σ",
    "中",
    "国",
    "\u{20000}",
    "각",
    "\u{1100}\u{1161}",
    "🙂",
    "👩\u{200d}🚀",
    "שלום",
    "(a+)+$",
    "(?i)",
    "\\p{L}+",
    "x{1000}{1000}",
    "$A:0 $B:1",
];

/// A short text, rarely one of many kilobytes.
pub fn piece(random: &mut Random) -> String {
    let piece = *any(&PIECES, random);
    match random.below(200) {
        0 => piece.repeat(*any(&[10, 300, 5_000], random)),
        1 => "x".repeat(*any(&[100, 101, 1_000, 65_536, 300_000], random)),
        2..10 => char::from_u32(random.below(0x11_0000)).unwrap_or('\u{d7ff}').into(),
        _ => piece.into(),
    }
}

/// A text of several pieces, with and without spaces between them; one in many is long.
pub fn text(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.below(20) {
        text += &piece(random);
        if random.below(2) == 0 {
            text.push(' ');
        }
    }
    if random.below(50) == 0 {
        text = text.repeat(1 + below((200_000 / (text.len() + 1)).min(20_000), random));
    }
    text.truncate(text.floor_char_boundary(400_000));
    text
}

/// Mutates a file of lines with fields.
pub fn mutate_lines(extension: &str, bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let mut lines: Vec<Vec<u8>> = bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    let other: Vec<&[u8]> = other.split_inclusive(|&byte| byte == b'\n').collect();
    if lines.is_empty() {
        lines.push(Vec::new());
    }
    let (at, from) = (below(lines.len(), random), below(other.len(), random));
    let others = other.get(from).copied().unwrap_or_default().to_vec();
    let separator = if extension == "csv" { b',' } else { b'\t' };
    match random.below(12) {
        0 => _ = lines.remove(at),
        1 => lines.insert(at, lines[at].clone()),
        2 => lines.insert(at, others),
        3 => {
            let last = lines.len() - 1;
            lines.swap(at, last);
        }
        4 => lines.insert(at, any(&[&b"\n"[..], b"\r\n", b" \n", b"\t\n", b"\"\n", b"\xff\n"], random).to_vec()),
        5 => {
            // A field more, less, or another one.
            let mut fields: Vec<Vec<u8>> = lines[at].split(|&byte| byte == separator).map(<[u8]>::to_vec).collect();
            let field = below(fields.len(), random);
            match random.below(3) {
                0 => _ = fields.remove(field),
                1 => fields.insert(field, text(random).into_bytes()),
                _ => fields[field] = piece(random).into_bytes(),
            }
            lines[at] = fields.join(&separator);
        }
        6 => {
            let line = lines[at].clone();
            lines.extend(std::iter::repeat_n(line, *any(&[2, 100, 2_000], random)));
        }
        7 => lines.iter_mut().for_each(|line| {
            if line.ends_with(b"\n") {
                line.splice(line.len() - 1.., *b"\r\n");
            }
        }),
        8 => {
            let mut end = b"\n".to_vec();
            if lines[at].ends_with(b"\n") {
                lines[at].pop();
            }
            if !mutate_json(&mut lines[at], &others, random) {
                mutate_bytes(&mut lines[at], &others, random);
            }
            lines[at].append(&mut end);
        }
        _ => mutate_bytes(&mut lines[at], &others, random),
    }
    *bytes = lines.concat();
}
