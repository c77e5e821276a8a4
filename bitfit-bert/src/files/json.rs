//! Parses JSON of a file from a stranger. An empty list takes two bytes of text and up to 150 times as many in memory,
//! so that a file within its bound could take gigabytes; text of real files takes less than ten times its size.

use serde::de::{DeserializeOwned, Error as _};

/// The bytes that one list or object with one value takes.
const CONTAINER: usize = 300;
/// What any JSON may take for its lists and objects, in bytes.
const ALWAYS: usize = 32 << 20;
/// What it may take beyond that, in times of its size.
const TIMES: usize = 32;

/// Parses a JSON text.
///
/// # Errors
/// When it is not JSON or not of this type, or has so many lists and objects that they would take far more memory than
/// the text; the last without a line.
pub(crate) fn parse_json<T: DeserializeOwned>(json: &[u8]) -> serde_json::Result<T> {
    // Small texts cannot take much.
    if json.len() * CONTAINER / 2 > ALWAYS && containers(json) * CONTAINER > ALWAYS + TIMES * json.len() {
        let what =
            format!("{} lists and objects in {} bytes are more than any real file has", containers(json), json.len());
        return Err(serde_json::Error::custom(what));
    }
    serde_json::from_slice(json)
}

/// The number of lists and objects that begin in a text.
fn containers(json: &[u8]) -> usize {
    let (mut count, mut in_string, mut is_escaped) = (0, false, false);
    for &byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn brackets_without_text_are_refused_and_brackets_in_text_are_not() {
        let nested = format!("[{}1]", format!("{}1{},", "[".repeat(100), "]".repeat(100)).repeat(2_400));
        let message = parse_json::<Value>(nested.as_bytes()).unwrap_err().to_string();
        assert_eq!(message, "240001 lists and objects in 484803 bytes are more than any real file has");
        let pairs = format!("[{}1]", "[\"of\", \"the\"],".repeat(100_000));
        assert!(parse_json::<Value>(pairs.as_bytes()).is_ok());
        let text = format!("[\"\\\"{}\"]", "[".repeat(1 << 20));
        assert!(parse_json::<Value>(text.as_bytes()).is_ok());
    }
}
