//! Which rows of the last layer a head reads, and how they become one row a text; and what a model directory says of
//! it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use crate::data::Kind;
use crate::{Error, Result, UnknownName, config};

/// The read-out of an encoder: from the rows `[tokens, H]` of its last layer to those that the head reads, one `[H]` a
/// text, or one for each token that the task names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "kebab-case", parse_err_ty = UnknownName, parse_err_fn = unknown)]
pub enum Pooling {
    /// What the architecture's own class for the classification of texts reads: the first token, through a dense layer
    /// and its activation. For BERT that layer is the pre-trained pooler.
    Pooler,
    /// The first token.
    Cls,
    /// The mean over all tokens, special tokens included.
    Mean,
    /// The first token, divided by its length.
    ClsNormalized,
    /// The mean over all tokens, divided by its length.
    MeanNormalized,
    /// Each token that the task names, as it is: the read-out of a tagging of words and of masked language
    /// modelling, and of no other.
    Tokens,
    /// Every token of a sequence, as it is: the read-out of a task whose answer is a span of the text, and of no other.
    EveryToken,
}

/// Why a read-out was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolingSource {
    /// By the caller.
    Chosen,
    /// By this file of a model directory, which describes a sentence encoder.
    File(PathBuf),
    /// Because nothing says otherwise.
    Default,
}

impl Pooling {
    /// Every read-out.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The name, as a user writes it.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The one read-out of a kind of task that reads tokens; `None` for a kind that may choose among all others.
    pub fn of_kind(kind: Kind) -> Option<Self> {
        match kind {
            Kind::Tag | Kind::MaskedLm => Some(Self::Tokens),
            Kind::Span => Some(Self::EveryToken),
            Kind::Classify | Kind::Regress | Kind::MultiLabel => None,
        }
    }

    /// Whether a kind of task can be read so.
    pub fn suits(self, kind: Kind) -> bool {
        Self::of_kind(kind).map_or(!matches!(self, Self::Tokens | Self::EveryToken), |only| self == only)
    }

    /// Whether every row of the last layer is read, and not the first token's alone.
    pub fn reads_every_token(self) -> bool {
        matches!(self, Self::Mean | Self::MeanNormalized | Self::Tokens | Self::EveryToken)
    }

    /// Whether the loss stays the same where one vector is added to all rows that are read. It does where the softmax
    /// is over the tokens: the vector adds the same number to all logits. The last bias below the head and the head's
    /// own are such vectors, and have no gradient.
    pub fn ignores_a_shift(self) -> bool {
        self == Self::EveryToken
    }

    /// Whether the row is divided by its length.
    pub fn normalizes(self) -> bool {
        matches!(self, Self::ClsNormalized | Self::MeanNormalized)
    }

    /// The read-out that a model directory asks for. A sentence encoder's `modules.json` names its pooling, as
    /// sentence-transformers writes it; every other model is read through [`Pooling::Pooler`].
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Config`] for files that cannot be read or are malformed; [`Error::Unsupported`] for a
    /// sentence encoder with another pooling or with modules that are not known.
    pub fn of_directory(dir: &Path) -> Result<(Self, PoolingSource)> {
        let path = dir.join(MODULES);
        if !path.exists() {
            return Ok((Self::Pooler, PoolingSource::Default));
        }
        let modules = modules(&path)?;
        let unsupported = |feature: String| {
            let advice = "choose what the head reads: pooler, cls or mean".to_owned();
            Err(Error::Unsupported { path: path.clone(), feature, advice })
        };
        let kinds: Vec<&str> = modules.iter().map(|module| module.kind.as_str()).collect();
        let normalizes = match kinds[..] {
            ["Transformer", "Pooling"] => false,
            ["Transformer", "Pooling", "Normalize"] => true,
            _ => return unsupported(format!("a sentence encoder of the modules {}", kinds.join(", "))),
        };
        let path = dir.join(&modules[1].path).join(config::FILE_NAME);
        let [plain, normalized] = rows(&path)?;
        Ok((if normalizes { normalized } else { plain }, PoolingSource::File(path)))
    }
}

/// The file of a sentence encoder that lists its modules in their order.
pub(crate) const MODULES: &str = "modules.json";

/// One module of a sentence encoder.
pub(crate) struct SentenceModule {
    /// The last part of its type: `Pooling` of `sentence_transformers.models.Pooling`.
    kind: String,
    /// Its directory inside the model's, a plain name; empty for the model's own.
    path: String,
}

impl SentenceModule {
    /// The path of its configuration inside the model directory; `None` for the model's own.
    pub(crate) fn config(&self) -> Option<String> {
        (!self.path.is_empty()).then(|| format!("{}/{}", self.path, config::FILE_NAME))
    }
}

/// The modules that a `modules.json` lists.
pub(crate) fn modules(path: &Path) -> Result<Vec<SentenceModule>> {
    let wrong = |reason: String| Error::Config { path: path.into(), reason };
    let json = config::read_json(path)?;
    let modules = json.as_array().ok_or_else(|| wrong("expected a list of modules".into()))?;
    let module = |(place, module): (usize, &Value)| {
        let text = |key: &str| {
            let text = module[key].as_str();
            text.ok_or_else(|| wrong(format!("module {place}: \"{key}\" is missing or not a string")))
        };
        let (kind, dir) = (text("type")?, text("path")?);
        // A directory beside the file; it must not lead anywhere else.
        if !dir.is_empty() && !is_plain_name(dir) {
            return Err(wrong(format!("module {place}: \"path\" is not the name of a directory")));
        }
        Ok(SentenceModule { kind: kind.rsplit('.').next().unwrap_or(kind).to_owned(), path: dir.to_owned() })
    };
    modules.iter().enumerate().map(module).collect()
}

/// Whether a name has letters, digits, underscores and hyphens only.
fn is_plain_name(name: &str) -> bool {
    name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Reads the configuration of a `Pooling` module, of which exactly one mode must be on: its read-out, and the same
/// divided by its length.
fn rows(path: &Path) -> Result<[Pooling; 2]> {
    const MODE: &str = "pooling_mode";
    let wrong = |reason: String| Error::Config { path: path.into(), reason };
    let json = config::read_json(path)?;
    let keys = json.as_object().ok_or_else(|| wrong("expected a JSON object".into()))?;
    let mut modes = Vec::new();
    for (key, value) in keys.iter().filter(|(key, _)| key.starts_with(MODE)) {
        match value {
            Value::Bool(true) => modes.push(key.trim_start_matches(MODE).trim_start_matches('_')),
            Value::Bool(false) | Value::Null => {}
            // Newer files name the mode.
            Value::String(mode) if key == MODE => modes.push(mode.as_str()),
            other => {
                let found: String = other.to_string().chars().take(80).collect();
                return Err(wrong(format!("\"{key}\" must be true or false, found {found}")));
            }
        }
    }
    match modes[..] {
        ["cls_token" | "cls"] => Ok([Pooling::Cls, Pooling::ClsNormalized]),
        ["mean_tokens" | "mean"] => Ok([Pooling::Mean, Pooling::MeanNormalized]),
        [] => Err(wrong("no \"pooling_mode_…\" is true".into())),
        _ => Err(Error::Unsupported {
            path: path.into(),
            feature: format!("the pooling mode {}", modes.join(" with ")),
            advice: "choose what the head reads: pooler, cls or mean".into(),
        }),
    }
}

fn unknown(name: &str) -> UnknownName {
    let known = Pooling::ALL.iter().map(|pooling| pooling.name()).collect();
    UnknownName { what: "read-out", name: name.into(), known }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    const TYPE: &str = "sentence_transformers.models";

    /// What a directory of these modules and this pooling asks for.
    fn found(modules: &[&str], pooling: &Value) -> Result<(Pooling, PoolingSource)> {
        let dir = tempfile::tempdir().unwrap();
        let module = |(place, kind): (usize, &&str)| {
            let path = if place == 0 { String::new() } else { format!("{place}_{kind}") };
            json!({"idx": place, "name": place.to_string(), "path": path, "type": format!("{TYPE}.{kind}")})
        };
        let modules: Vec<Value> = modules.iter().enumerate().map(module).collect();
        fs::write(dir.path().join("modules.json"), json!(modules).to_string()).unwrap();
        fs::create_dir(dir.path().join("1_Pooling")).unwrap();
        fs::write(dir.path().join("1_Pooling/config.json"), pooling.to_string()).unwrap();
        Pooling::of_directory(dir.path())
    }

    #[test]
    fn a_sentence_encoder_is_read_as_its_modules_say() {
        let old = |mode: &str| {
            let mut pooling = json!({"word_embedding_dimension": 8, "pooling_mode_cls_token": false,
                "pooling_mode_mean_tokens": false, "pooling_mode_max_tokens": false, "include_prompt": true});
            pooling[mode] = true.into();
            pooling
        };
        let (mean, cls) = (old("pooling_mode_mean_tokens"), old("pooling_mode_cls_token"));
        for (modules, pooling, expected) in [
            (&["Transformer", "Pooling"][..], &mean, Pooling::Mean),
            (&["Transformer", "Pooling", "Normalize"], &mean, Pooling::MeanNormalized),
            (&["Transformer", "Pooling"], &cls, Pooling::Cls),
            (&["Transformer", "Pooling", "Normalize"], &cls, Pooling::ClsNormalized),
            (&["Transformer", "Pooling"], &json!({"pooling_mode": "mean"}), Pooling::Mean),
        ] {
            let (pooling, source) = found(modules, pooling).unwrap();
            assert_eq!(pooling, expected);
            assert!(matches!(source, PoolingSource::File(path) if path.ends_with("1_Pooling/config.json")));
        }
    }

    #[test]
    fn every_other_model_is_read_through_its_pooler() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Pooling::of_directory(dir.path()).unwrap(), (Pooling::Pooler, PoolingSource::Default));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let mean = json!({"pooling_mode_mean_tokens": true});
        for (modules, pooling, word) in [
            (&["Transformer", "Pooling", "Dense"][..], mean.clone(), "Dense"),
            (&["Transformer", "WeightedLayerPooling", "Pooling"], mean.clone(), "WeightedLayerPooling"),
            (&["Transformer"], mean.clone(), "Transformer"),
            (&["Transformer", "Pooling"], json!({"pooling_mode_max_tokens": true}), "max_tokens"),
            (&["Transformer", "Pooling"], json!({"pooling_mode": "lasttoken"}), "lasttoken"),
            (
                &["Transformer", "Pooling"],
                json!({"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": true}),
                "mean_tokens with cls_token",
            ),
            (&["Transformer", "Pooling"], json!({}), "pooling_mode"),
            (&["Transformer", "Pooling"], json!({"pooling_mode_mean_tokens": "yes"}), "pooling_mode_mean_tokens"),
            (&["Transformer", "Pooling"], json!([]), "expected a JSON object"),
        ] {
            let message = found(modules, &pooling).unwrap_err().to_string();
            assert!(message.contains(word) && message.contains(".json: ") && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn a_module_cannot_lead_out_of_its_directory() {
        for path in ["../1_Pooling", "/etc", "a/b", "..", "."] {
            let dir = tempfile::tempdir().unwrap();
            let modules = json!([{"type": "Transformer", "path": ""}, {"type": "Pooling", "path": path}]);
            fs::write(dir.path().join("modules.json"), modules.to_string()).unwrap();
            let message = Pooling::of_directory(dir.path()).unwrap_err().to_string();
            assert!(message.contains("module 1: \"path\""), "{message}");
        }
    }

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for &pooling in Pooling::ALL {
            assert_eq!(pooling.name().parse(), Ok(pooling));
        }
        assert!("max".parse::<Pooling>().unwrap_err().to_string().contains("mean-normalized"));
    }
}
