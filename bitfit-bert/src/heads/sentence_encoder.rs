//! What a sentence encoder does with a text beside reading its tokens, as its directory says: sentence-transformers can
//! lower-case it first, whatever the tokenizer does, and cuts it at a length of the encoder's own.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::tokenize::Tokenizer;
use crate::{Error, Result, config};

/// The files that may say it, of which the first that is there does. sentence-transformers writes the first; old
/// versions named the file after the architecture.
pub(crate) const SENTENCE_CONFIGS: [&str; 5] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_xlm-roberta_config.json",
];

/// The name of a switch in these files.
const LOWER_CASE: &str = "do_lower_case";

/// What a sentence encoder does with its texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SentenceConfig {
    /// The file that says it.
    pub path: PathBuf,
    lower_cases: bool,
    /// The length in tokens, special tokens included, at which texts are cut; `None` for that of the model.
    pub max_length: Option<usize>,
}

impl SentenceConfig {
    /// What the file of a directory says; `None` where there is none.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Config`] for a file that cannot be read or is malformed.
    pub fn of_directory(dir: &Path) -> Result<Option<Self>> {
        let Some(path) = SENTENCE_CONFIGS.iter().map(|name| dir.join(name)).find(|path| path.exists()) else {
            return Ok(None);
        };
        let wrong = |reason: String| Err(Error::Config { path: path.clone(), reason });
        let json = config::read_json(&path)?;
        let Some(keys) = json.as_object() else { return wrong("expected a JSON object".into()) };
        let lower_cases = match keys.get(LOWER_CASE) {
            None | Some(Value::Null) => false,
            Some(Value::Bool(lower_cases)) => *lower_cases,
            Some(_) => return wrong(format!("{LOWER_CASE:?} must be true or false")),
        };
        let max_length = match keys.get("max_seq_length") {
            None | Some(Value::Null) => None,
            Some(length) => match length.as_u64().and_then(|length| usize::try_from(length).ok()) {
                Some(length) if length > 0 => Some(length),
                _ => return wrong("\"max_seq_length\" must be a whole number above 0".into()),
            },
        };
        Ok(Some(Self { path, lower_cases, max_length }))
    }

    /// Refuses an encoder whose texts are lower-cased before a tokenizer that would not do it.
    ///
    /// # Errors
    /// [`Error::Unsupported`].
    pub fn check_case(&self, tokenizer: &Tokenizer) -> Result<()> {
        if !self.lower_cases || tokenizer.lower_cases() {
            return Ok(());
        }
        let advice = "the tokenizer keeps capitals: lower-case the texts, and set it to false".to_owned();
        Err(Error::Unsupported { path: self.path.clone(), feature: format!("{LOWER_CASE:?}: true"), advice })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::tokenize::Limits;

    #[test]
    fn the_first_of_its_files_says_what_is_done_with_a_text() {
        let dir = tempfile::tempdir().unwrap();
        let found = || SentenceConfig::of_directory(dir.path());
        assert_eq!(found().unwrap(), None);
        for (name, json, expected) in [
            ("sentence_xlm-roberta_config.json", r#"{"max_seq_length": 64}"#, (false, Some(64))),
            ("sentence_bert_config.json", r#"{"max_seq_length": null, "do_lower_case": true}"#, (true, None)),
        ] {
            fs::write(dir.path().join(name), json).unwrap();
            let found = found().unwrap().unwrap();
            assert_eq!((found.lower_cases, found.max_length), expected);
            assert!(found.path.ends_with(name));
        }
        for (json, word) in [
            ("[]", "expected a JSON object"),
            (r#"{"do_lower_case": "yes"}"#, "\"do_lower_case\" must be true or false"),
            (r#"{"max_seq_length": 0}"#, "\"max_seq_length\" must be a whole number"),
            (r#"{"max_seq_length": 1.5}"#, "\"max_seq_length\" must be a whole number"),
        ] {
            fs::write(dir.path().join("sentence_bert_config.json"), json).unwrap();
            let message = found().unwrap_err().to_string();
            assert!(message.contains("sentence_bert_config.json: ") && message.contains(word), "{message}");
        }
    }

    #[test]
    fn texts_that_only_the_encoder_lower_cases_are_refused() {
        for (class, lower_cases, is_taken) in
            [("true", true, true), ("true", false, true), ("false", true, false), ("false", false, true)]
        {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nA").unwrap();
            let settings = format!(r#"{{"tokenizer_class": "BertTokenizer", "do_lower_case": {class}}}"#);
            fs::write(dir.path().join("tokenizer_config.json"), settings).unwrap();
            let limits = Limits { vocab_size: 7, token_types: Some(2), max_length: 8 };
            let tokenizer = Tokenizer::open(dir.path(), limits).unwrap();
            let json = format!(r#"{{"do_lower_case": {lower_cases}}}"#);
            fs::write(dir.path().join("sentence_bert_config.json"), json).unwrap();
            let config = SentenceConfig::of_directory(dir.path()).unwrap().unwrap();
            let checked = config.check_case(&tokenizer).map_err(|error| error.to_string());
            assert_eq!(checked.is_ok(), is_taken, "{class} {lower_cases}");
            let names_it =
                |message: &String| message.contains("sentence_bert_config.json: \"do_lower_case\": true is not");
            assert!(checked.as_ref().err().is_none_or(names_it), "{checked:?}");
        }
    }
}
