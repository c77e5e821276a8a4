//! Checks of a `tokenizer.json` that the tokenizers crate does not make, before the crate reads it: for content that
//! would cause a panic, an endless loop, unbounded memory or random results.

use std::collections::VecDeque;

use serde_json::Value;
use tokenizers::utils::SysRegex;

use super::config::short;

/// The largest id of a vocabulary, well above any that is in use. It bounds loops over all ids.
pub(super) const MAX_ID: u64 = (1 << 24) - 1;

/// The longest word, in characters, that WordPiece may be told to split. The work grows with its cube; the value of
/// BERT, and of nearly all models, is 100.
const MAX_WORD: u64 = 1_000;

/// The maximum factor by which all normalizers of a file together may lengthen a text.
const MAX_GROWTH: u64 = 10_000;

/// Checks everything but the post-processor, and switches off what is random. Returns how many times longer the
/// normalizers can make a text, beside what Unicode's own forms do.
///
/// A BPE model's `dropout` omits merges at random, so the same text would have different tokens in every run. It is set
/// to none here.
///
/// # Errors
/// A sentence that names the key and says what is wrong with it.
pub(super) fn check(json: &mut Value) -> Result<u64, String> {
    if let Some(model) = json["model"].as_object_mut() {
        model.remove("dropout");
    }
    model(&json["model"])?;
    for (index, token) in json["added_tokens"].as_array().into_iter().flatten().enumerate() {
        check_id(&token["id"]).map_err(|reason| format!("added_tokens[{index}].id: {reason}"))?;
    }
    walk(&json["pre_tokenizer"], "pre_tokenizer", "pretokenizers", &mut pre_tokenizer)?;
    let mut growth: u64 = 1;
    walk(&json["normalizer"], "normalizer", "normalizers", &mut |key, value| {
        growth = growth.saturating_mul(normalizer(key, value)?);
        match growth {
            ..=MAX_GROWTH => Ok(()),
            _ => Err(format!("{key}: with the normalizers before it, it makes a text over {MAX_GROWTH} times longer")),
        }
    })?;
    Ok(growth)
}

fn model(model: &Value) -> Result<(), String> {
    if let Some(longest) = model["max_input_chars_per_word"].as_u64().filter(|longest| *longest > MAX_WORD) {
        return Err(format!("model.max_input_chars_per_word: expected at most {MAX_WORD}, found {longest}"));
    }
    for (token, id) in model["vocab"].as_object().into_iter().flatten() {
        check_id(id).map_err(|reason| format!("model.vocab[{}]: {reason}", short(&token.as_str().into())))?;
    }
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or_default();
    if prefix.is_empty() {
        return Ok(());
    }
    // The crate removes as many bytes from the second half of every merge, whatever they are.
    for (index, merge) in model["merges"].as_array().into_iter().flatten().enumerate() {
        let second = merge[1].as_str().or_else(|| merge.as_str()?.split_once(' ').map(|(_, second)| second));
        if second.is_some_and(|second| !second.starts_with(prefix)) {
            return Err(format!(
                "model.merges[{index}]: expected a second half that begins with the continuing_subword_prefix \
                 {prefix:?}, found {}",
                short(merge)
            ));
        }
    }
    Ok(())
}

/// Refuses an id that is too large. Values that are not numbers are reported by the crate.
fn check_id(id: &Value) -> Result<(), String> {
    match id.as_u64() {
        Some(id) if id > MAX_ID => Err(format!("expected an id of at most {MAX_ID}, found {id}")),
        _ => Ok(()),
    }
}

/// Visits a normalizer or pre-tokenizer and, where it is a sequence, each of its parts, with the key that leads to it.
fn walk(
    value: &Value,
    key: &str,
    parts: &str,
    visit: &mut dyn FnMut(&str, &Value) -> Result<(), String>,
) -> Result<(), String> {
    visit(key, value)?;
    for (index, part) in value[parts].as_array().into_iter().flatten().enumerate() {
        walk(part, &format!("{key}.{parts}[{index}]"), parts, visit)?;
    }
    Ok(())
}

fn pre_tokenizer(key: &str, value: &Value) -> Result<(), String> {
    match value["type"].as_str() {
        Some("FixedLength") if value["length"] == 0 => Err(format!("{key}.length: expected at least 1, found 0")),
        Some("Split") => pattern(key, value),
        _ => Ok(()),
    }
}

/// Checks a normalizer; returns how many times longer it can make a text, at most.
fn normalizer(key: &str, value: &Value) -> Result<u64, String> {
    match value["type"].as_str() {
        Some("Replace") => {
            pattern(key, value)?;
            let content = value["content"].as_str().map_or(0, str::len) as u64;
            Ok(match value["pattern"]["String"].as_str() {
                Some(pattern) => content.div_ceil(pattern.len().max(1) as u64).max(1),
                // At least one character for every match.
                None => content.max(1),
            })
        }
        Some("Prepend") if value["prepend"] == "" => Err(format!("{key}.prepend: expected a text, found an empty one")),
        Some("Prepend") => Ok(1 + value["prepend"].as_str().map_or(0, str::len) as u64),
        Some("Precompiled") => {
            let map = value["precompiled_charsmap"].as_str();
            let map = map.ok_or_else(|| format!("{key}.precompiled_charsmap: expected a string"))?;
            charsmap(map).map_err(|reason| format!("{key}.precompiled_charsmap: {reason}"))
        }
        _ => Ok(1),
    }
}

/// Refuses an empty pattern, which matches everywhere. Replacing empty matches makes the crate panic at the end of the
/// text.
fn pattern(key: &str, value: &Value) -> Result<(), String> {
    let pattern = &value["pattern"];
    match (pattern["String"].as_str(), pattern["Regex"].as_str()) {
        (Some(""), _) | (_, Some("")) => Err(format!("{key}.pattern: expected a pattern, found an empty one")),
        (_, Some(regex)) if value["type"] == "Replace" && matches_nothing(regex) => {
            Err(format!("{key}.pattern: expected a pattern that matches something, found one that matches nothing"))
        }
        _ => Ok(()),
    }
}

/// Whether a regex matches the empty text. An invalid regex is reported by the crate.
fn matches_nothing(regex: &str) -> bool {
    SysRegex::new(regex).is_ok_and(|regex| regex.find_iter("").next().is_some())
}

/// Checks a character map of SentencePiece: `[size of the trie in bytes: u32] [trie: u32…] [texts that end in 0]`, in
/// base64. The crate follows every index in it unchecked. Returns how many times longer than its key a text is, at
/// most.
///
/// The trie is a double array of Darts: unit `i` has the label in its lowest byte, a leaf's mark in bit 8, and the
/// offset to its children; a leaf's unit holds the place of its text.
fn charsmap(map: &str) -> Result<u64, String> {
    let bytes = base64::decode(map).map_err(|error| format!("expected base64: {error}"))?;
    let (size, rest) = bytes.split_first_chunk::<4>().ok_or("expected at least four bytes")?;
    let size = u32::from_le_bytes(*size) as usize / 4 * 4;
    let (trie, texts) = rest.split_at_checked(size).ok_or("it ends within its trie")?;
    let texts = std::str::from_utf8(texts).map_err(|_| "its texts are not UTF-8")?;
    let units: Vec<u32> =
        trie.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]])).collect();
    let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
    let outside = || "its trie leads outside of itself".to_string();

    // Every place that a lookup can reach, as the place that its children are counted from, with the length of the
    // shortest key that leads there.
    let mut seen = vec![false; units.len()];
    let mut open = VecDeque::from([(offset(*units.first().ok_or("its trie is empty")?), 0)]);
    let mut growth = 1;
    while let Some((base, length)) = open.pop_front() {
        let length = length + 1;
        // A lookup reads the child of any byte, whether there is one or not.
        if base | 0xff >= units.len() {
            return Err(outside());
        }
        if std::mem::replace(&mut seen[base], true) {
            continue;
        }
        for label in 1..=0xff {
            let child = base ^ label;
            let unit = units[child];
            if unit & 0x8000_00ff != label as u32 {
                continue;
            }
            let next = child ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let text = (*units.get(next).ok_or_else(outside)? & 0x7fff_ffff) as usize;
                let end =
                    texts.as_bytes().get(text..).map(|rest| text + rest.iter().take_while(|&&byte| byte != 0).count());
                let text = end.and_then(|end| texts.get(text..end)).ok_or("its trie leads outside of its texts")?;
                growth = growth.max((text.len() as u64).div_ceil(length));
            }
            open.push_back((next, length));
        }
    }
    Ok(growth)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A character map in base64.
    fn map(units: &[u32], texts: &[u8]) -> String {
        let mut bytes = (units.len() as u32 * 4).to_le_bytes().to_vec();
        bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend(texts);
        base64::encode(bytes)
    }

    #[test]
    fn character_maps_are_followed_to_their_ends() {
        // The root's children are at 256 ^ label; "a" is a leaf whose text is at 0, found at its own offset of 512.
        let mut units = vec![0_u32; 768];
        let root = 256 << 10;
        let place = 256 ^ usize::from(b'a');
        units[0] = root;
        units[place] = u32::from(b'a') | 1 << 8 | ((place as u32 ^ 512) << 10);
        units[512] = 0x8000_0000;
        assert_eq!(charsmap(&map(&units, b"x\0")), Ok(1));
        assert_eq!(charsmap(&map(&units, &[b"x".repeat(50), vec![0]].concat())), Ok(50));
        let broken = |change: &dyn Fn(&mut Vec<u32>), texts: &[u8]| {
            let mut units = units.clone();
            change(&mut units);
            charsmap(&map(&units, texts)).unwrap_err()
        };
        assert!(broken(&|units| units[0] = 1_000 << 10, b"x\0").contains("outside of itself"));
        assert!(broken(&|units| units[512] = 0x8000_0003, b"x\0").contains("outside of its texts"));
        assert!(broken(&|units| units[512] = 0x8000_0001, "é\0".as_bytes()).contains("outside of its texts"));
        assert!(broken(&|units| units[place] |= 0xffff << 10, b"x\0").contains("outside of itself"));
        assert!(broken(&|units| units.clear(), b"x\0").contains("empty"));
        assert!(broken(&|_| (), b"\xff\0").contains("UTF-8"));
        assert!(charsmap("!").unwrap_err().contains("base64"));
        assert!(charsmap("AAAA").unwrap_err().contains("four bytes"));
        assert!(charsmap(&base64::encode([255, 255, 255, 127, 0])).unwrap_err().contains("within its trie"));
    }

    #[test]
    fn a_child_that_leads_back_ends_the_walk() {
        let mut units = vec![0_u32; 512];
        units[0] = 256 << 10;
        // "a" leads to the root's own children.
        let place = 256 ^ usize::from(b'a');
        units[place] = u32::from(b'a') | ((place as u32 ^ 256) << 10);
        assert_eq!(charsmap(&map(&units, b"")), Ok(1));
    }

    #[test]
    fn the_key_of_what_is_wrong_is_named() {
        let empty = json!({"type": "Replace", "pattern": {"String": ""}, "content": "x"});
        let mut nested = json!({"normalizer": {"type": "Sequence", "normalizers": [
            {"type": "NFC"}, {"type": "Sequence", "normalizers": [empty]},
        ]}});
        let message = check(&mut nested).unwrap_err();
        assert!(
            message.starts_with("normalizer.normalizers[1].normalizers[0].pattern: expected a pattern"),
            "{message}"
        );
        let fixed = json!({"type": "FixedLength", "length": 0});
        let mut nested = json!({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [fixed]}});
        assert!(check(&mut nested).unwrap_err().starts_with("pre_tokenizer.pretokenizers[0].length"));
    }

    #[test]
    fn normalizers_that_double_a_text_again_and_again_are_refused() {
        let sequence = |times, pattern: Value, content: &str| {
            let one = json!({"type": "Replace", "pattern": pattern, "content": content});
            json!({"normalizer": {"type": "Sequence", "normalizers": vec![one; times]}})
        };
        assert!(check(&mut sequence(40, json!({"String": "a"}), "aa")).unwrap_err().contains("times longer"));
        assert!(check(&mut sequence(40, json!({"Regex": "a*"}), "a")).unwrap_err().contains("matches nothing"));
        assert!(check(&mut sequence(40, json!({"Regex": "[a-z]"}), "aa")).unwrap_err().contains("times longer"));
        assert!(check(&mut sequence(1, json!({"Regex": "a"}), &"a".repeat(20_000))).is_err());
        // What tokenizers really do: a space becomes "▁", several punctuation marks one.
        assert_eq!(check(&mut sequence(4, json!({"String": " "}), "▁")), Ok(81));
        assert_eq!(check(&mut sequence(40, json!({"Regex": "[“”]"}), "\"")), Ok(1));
    }
}
