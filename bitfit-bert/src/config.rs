//! `config.json`: the architecture of a checkpoint and its extents, read the way Hugging Face writes it and checked
//! before anything uses it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::arch::{Architecture, BERT, Module, Positions};
use crate::files::{MAX_CONFIG, parse_json, read_bounded};
use crate::heads::Pooling;
use crate::{Error, Result};

/// The file's name inside a model directory.
pub const FILE_NAME: &str = "config.json";

/// The largest extent a checkpoint may declare. Any two extents can be multiplied in a u64, and no encoder comes near.
const MAX_EXTENT: u64 = i32::MAX as u64;

/// The configuration of an encoder: its architecture, and its extents under the names of `transformers.BertConfig`.
///
/// Every extent is at least 1, `num_attention_heads` divides `hidden_size`, there are positions for a token behind
/// those of the padding, and every probability is in `[0, 1)`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ModelConfig {
    /// The member of the BERT family.
    pub architecture: &'static Architecture,
    /// V: the number of rows of the word embedding.
    pub vocab_size: usize,
    /// H: the width of the residual stream.
    pub hidden_size: usize,
    /// E: the width of the embeddings; H but in architectures that project them.
    pub embedding_size: usize,
    /// L: the number of encoder layers.
    pub num_hidden_layers: usize,
    /// N: the number of attention heads, of `hidden_size / num_attention_heads` columns each.
    pub num_attention_heads: usize,
    /// F: the width of the feed-forward layer.
    pub intermediate_size: usize,
    /// P: the number of rows of the position embedding.
    pub max_position_embeddings: usize,
    /// The padding's id, behind which positions begin; `None` where they begin at 0.
    pub padding: Option<u32>,
    /// The number of buckets of the position bias; `None` where there is none.
    pub position_buckets: Option<usize>,
    /// The number of rows of the token type (segment) embedding. 2 where the file does not say.
    pub type_vocab_size: usize,
    /// Added to the variance in every LayerNorm; 1e-12 if the file does not specify it.
    pub layer_norm_eps: f32,
    /// The activation of the feed-forward layer and nothing else; the head's is the architecture's.
    pub hidden_act: Activation,
    /// Dropout after the embeddings and after each dense layer that is followed by a LayerNorm; 0.1 if the file does
    /// not specify it.
    pub hidden_dropout_prob: f32,
    /// Dropout of the attention probabilities; 0.1 if the file does not specify it.
    pub attention_probs_dropout_prob: f32,
    /// Dropout before the head, where it differs from `hidden_dropout_prob`: see [`ModelConfig::head_dropout_prob`].
    pub classifier_dropout: Option<f32>,
    /// Dropout before a span head; 0 in most architectures.
    pub span_dropout: f32,
    /// Whether a head for masked language modelling has the word embeddings for its last matrix; yes unless the file
    /// says no.
    pub tie_word_embeddings: bool,
}

/// An activation function of the feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Activation {
    /// The exact GELU, `x/2 (1 + erf(x/√2))`. Its tanh approximation differs by up to 5e-4 and is another function.
    Gelu,
}

/// The part of a configuration that determines what a model computes in inference: everything but the dropout
/// probabilities. A task file records it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InferenceConfig {
    /// `model_type` of the architecture.
    pub model_type: String,
    /// See [`ModelConfig::vocab_size`].
    pub vocab_size: usize,
    /// See [`ModelConfig::hidden_size`].
    pub hidden_size: usize,
    /// See [`ModelConfig::embedding_size`].
    pub embedding_size: usize,
    /// See [`ModelConfig::num_hidden_layers`].
    pub num_hidden_layers: usize,
    /// See [`ModelConfig::num_attention_heads`].
    pub num_attention_heads: usize,
    /// See [`ModelConfig::intermediate_size`].
    pub intermediate_size: usize,
    /// See [`ModelConfig::max_position_embeddings`].
    pub max_position_embeddings: usize,
    /// See [`ModelConfig::padding`].
    pub padding: Option<u32>,
    /// See [`ModelConfig::position_buckets`].
    pub position_buckets: Option<usize>,
    /// See [`ModelConfig::type_vocab_size`].
    pub type_vocab_size: usize,
    /// See [`ModelConfig::layer_norm_eps`].
    pub layer_norm_eps: f32,
    /// See [`ModelConfig::hidden_act`].
    pub hidden_act: Activation,
}

impl ModelConfig {
    /// Reads and checks `dir/config.json`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, and the errors of [`ModelConfig::from_json`].
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE_NAME);
        Self::from_json(&path, &read_bounded(&path, MAX_CONFIG)?)
    }

    /// Reads and checks the text of a `config.json`; `path` is for the messages. Unknown keys are ignored.
    ///
    /// # Errors
    /// [`Error::Config`] with the key that is missing or has an invalid value, [`Error::Unsupported`] for a valid
    /// configuration that is not implemented, [`Error::NoBiases`] for an architecture without bias terms.
    pub fn from_json(path: &Path, json: &[u8]) -> Result<Self> {
        let keys: Map<String, Value> = parse_json(json)
            .map_err(|error| Error::Config { path: path.into(), reason: format!("not a JSON object: {error}") })?;
        let keys = Keys { path, keys: &keys };
        let architecture = keys.architecture()?;
        let names = &architecture.keys;
        let hidden_size = keys.extent(names.hidden_size, None)?;
        let config = Self {
            architecture,
            vocab_size: keys.extent("vocab_size", None)?,
            hidden_size,
            embedding_size: names
                .embedding_size
                .map_or(Ok(hidden_size), |(key, default)| keys.extent(key, Some(default)))?,
            num_hidden_layers: keys.extent(names.num_hidden_layers, None)?,
            num_attention_heads: keys.extent(names.num_attention_heads, None)?,
            intermediate_size: keys.extent(names.intermediate_size, None)?,
            max_position_embeddings: keys.extent("max_position_embeddings", None)?,
            padding: keys.padding(architecture.positions)?,
            position_buckets: names.position_buckets.map(|(key, only)| keys.buckets(key, only)).transpose()?,
            type_vocab_size: keys.extent("type_vocab_size", Some(2))?,
            layer_norm_eps: names.layer_norm_eps.map_or(Ok(1e-12), |key| keys.epsilon(key, 1e-12))?,
            hidden_act: keys.activation(names.hidden_act)?,
            hidden_dropout_prob: keys.probability(names.hidden_dropout)?.unwrap_or(0.1),
            attention_probs_dropout_prob: keys.probability(names.attention_dropout)?.unwrap_or(0.1),
            classifier_dropout: match names.head_dropout {
                Some((key, default)) => keys.probability(key)?.or(default),
                None => None,
            },
            span_dropout: match names.span_dropout {
                Some((key, default)) => keys.probability(key)?.unwrap_or(default),
                None => 0.0,
            },
            tie_word_embeddings: keys.get("tie_word_embeddings").is_none_or(|tied| *tied != false),
        };
        if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err(keys.invalid(format!(
                "\"{}\" is {}, which \"{}\" {} does not divide",
                names.hidden_size, config.hidden_size, names.num_attention_heads, config.num_attention_heads
            )));
        }
        if config.max_position_embeddings <= config.first_position() {
            return Err(keys.invalid(format!(
                "\"max_position_embeddings\" is {}, but positions begin at {}, behind the padding's id",
                config.max_position_embeddings,
                config.first_position()
            )));
        }
        Ok(config)
    }

    /// The dropout before the head, as the architecture's class for the task chooses it: for the classification of
    /// texts its own where there is one, `hidden_dropout_prob` elsewhere.
    pub fn head_dropout_prob(&self, pooling: Pooling) -> f32 {
        match (pooling, self.architecture.keys.head_dropout) {
            (Pooling::EveryToken, _) => self.span_dropout,
            // The key is for the classification of texts alone where it has a default, as in DistilBERT.
            (Pooling::Tokens, Some((_, Some(_)))) => self.hidden_dropout_prob,
            _ => self.classifier_dropout.unwrap_or(self.hidden_dropout_prob),
        }
    }

    /// The position of a sequence's first token.
    pub fn first_position(&self) -> usize {
        self.padding.map_or(0, |padding| padding as usize + 1)
    }

    /// The longest sequence in tokens, special tokens included.
    pub fn max_length(&self) -> usize {
        self.max_position_embeddings - self.first_position()
    }

    /// The number of token types that a tokenizer may use: 1 in an architecture without token types, where every token
    /// is of type 0.
    pub fn token_types(&self) -> usize {
        if self.architecture.has(Module::TokenTypeEmbeddings) { self.type_vocab_size } else { 1 }
    }

    /// The part of the configuration on which answers depend.
    pub fn inference(&self) -> InferenceConfig {
        InferenceConfig {
            model_type: self.architecture.model_type.into(),
            vocab_size: self.vocab_size,
            hidden_size: self.hidden_size,
            embedding_size: self.embedding_size,
            num_hidden_layers: self.num_hidden_layers,
            num_attention_heads: self.num_attention_heads,
            intermediate_size: self.intermediate_size,
            max_position_embeddings: self.max_position_embeddings,
            padding: self.padding,
            position_buckets: self.position_buckets,
            type_vocab_size: self.type_vocab_size,
            layer_norm_eps: self.layer_norm_eps,
            hidden_act: self.hidden_act,
        }
    }
}

impl InferenceConfig {
    /// The first key by which another configuration differs, with this one's value and the other's.
    pub fn difference(&self, other: &Self) -> Option<(String, Value, Value)> {
        let [own, others] = [self, other].map(|config| serde_json::to_value(config).unwrap_or_default());
        let keys = own.as_object()?.clone();
        keys.into_iter().find(|(key, value)| others[key] != *value).map(|(key, value)| {
            let other = others[&key].clone();
            (key, value, other)
        })
    }
}

/// The JSON of a configuration file of any kind.
///
/// # Errors
/// [`Error::Io`] if it cannot be read or is too large, [`Error::Config`] if it is not JSON.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    let not_json = |error| Error::Config { path: path.into(), reason: format!("not JSON: {error}") };
    parse_json(&read_bounded(path, MAX_CONFIG)?).map_err(not_json)
}

/// The keys of one file. A key that is `null` counts as absent, as it does in Python.
struct Keys<'a> {
    path: &'a Path,
    keys: &'a Map<String, Value>,
}

impl Keys<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.keys.get(key).filter(|value| !value.is_null())
    }

    fn invalid(&self, reason: String) -> Error {
        Error::Config { path: self.path.into(), reason }
    }

    fn must_be(&self, key: &str, what: &str, found: &Value) -> Error {
        // A hostile value can be a megabyte of JSON; its beginning is enough for a message.
        let found: String = found.to_string().chars().take(80).collect();
        self.invalid(format!("\"{key}\" must be {what}, found {found}"))
    }

    fn unsupported(&self, feature: String, advice: &str) -> Error {
        Error::Unsupported { path: self.path.into(), feature, advice: advice.into() }
    }

    fn extent(&self, key: &str, default: Option<usize>) -> Result<usize> {
        match (self.get(key), default) {
            (Some(value), _) => value
                .as_u64()
                .filter(|extent| (1..=MAX_EXTENT).contains(extent))
                .map(|extent| extent as usize)
                .ok_or_else(|| self.must_be(key, &format!("a whole number from 1 to {MAX_EXTENT}"), value)),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(self.invalid(format!("\"{key}\" is missing"))),
        }
    }

    /// The padding's id, for positions that begin behind it. Transformers' default is 1 in every such architecture.
    fn padding(&self, positions: Positions) -> Result<Option<u32>> {
        let key = "pad_token_id";
        match (positions, self.get(key)) {
            (Positions::FromZero, _) => Ok(None),
            (Positions::AfterPadding(Some(id)), _) => Ok(Some(id)),
            (Positions::AfterPadding(None), None) => Ok(Some(1)),
            (Positions::AfterPadding(None), Some(value)) => {
                let id = value.as_u64().and_then(|id| u32::try_from(id).ok()).filter(|&id| u64::from(id) < MAX_EXTENT);
                id.map(Some).ok_or_else(|| self.must_be(key, &format!("a whole number below {MAX_EXTENT}"), value))
            }
        }
    }

    /// The number of buckets of a position bias, of which there is one: transformers assigns distances to that many
    /// buckets, whatever the file says, which has only the rows of the table.
    fn buckets(&self, key: &str, only: usize) -> Result<usize> {
        match self.extent(key, Some(only))? {
            buckets if buckets == only => Ok(only),
            other => Err(self.unsupported(format!("\"{key}\": {other}"), &format!("{only} is"))),
        }
    }

    fn epsilon(&self, key: &str, default: f32) -> Result<f32> {
        let Some(value) = self.get(key) else { return Ok(default) };
        // In f32, the type in which it will be added: 1e-60 would become zero.
        let epsilon = value.as_f64().map(|epsilon| epsilon as f32).filter(|epsilon| *epsilon > 0.0 && *epsilon < 1.0);
        epsilon.ok_or_else(|| self.must_be(key, "a number between 0 and 1, neither included", value))
    }

    fn probability(&self, key: &str) -> Result<Option<f32>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let probability = value.as_f64().map(|p| p as f32).filter(|p| (0.0..1.0).contains(p));
        probability.map(Some).ok_or_else(|| self.must_be(key, "a probability from 0 to below 1", value))
    }

    fn activation(&self, key: &str) -> Result<Activation> {
        match self.get(key) {
            None => Ok(Activation::Gelu),
            Some(Value::String(name)) if name == "gelu" => Ok(Activation::Gelu),
            Some(Value::String(name)) => Err(self.unsupported(
                format!("\"{key}\": {name:?}"),
                "the exact GELU (\"gelu\") is; its tanh approximation is another function",
            )),
            Some(value) => Err(self.must_be(key, "the name of an activation", value)),
        }
    }

    /// The architecture by the first name that the file gives: `model_type`, or the first of `architectures`. Google's
    /// original files have neither and are taken for BERT; the names of the tensors are checked later.
    fn architecture(&self) -> Result<&'static Architecture> {
        let class = || self.get("architectures")?.as_array()?.first();
        let Some(value) = self.get("model_type").or_else(class) else { return self.check_variant().map(|()| &BERT) };
        let Some(name) = value.as_str() else { return Err(self.must_be("model_type", "a string", value)) };
        if name.to_ascii_lowercase().starts_with("modernbert") {
            return Err(Error::NoBiases {
                path: self.path.into(),
                what: "ModernBERT has no bias terms in its layers".into(),
                advice:
                    "take a checkpoint that has them (bert-base-uncased, all-MiniLM-L6-v2), or fine-tune this one by \
                         another method (LoRA, full fine-tuning) elsewhere"
                        .into(),
            });
        }
        let Some(architecture) = Architecture::named(name) else {
            let known = Architecture::all().map(|known| known.name).collect::<Vec<_>>().join(", ");
            let advice = format!("supported are {known} (such as bert-base-uncased or all-MiniLM-L6-v2)");
            return Err(self.unsupported(format!("the model type {name:?}"), &advice));
        };
        self.check_variant().map(|()| architecture)
    }

    /// Refuses options of the encoder that are not implemented.
    fn check_variant(&self) -> Result<()> {
        let key = "position_embedding_type";
        if let Some(value) = self.get(key)
            && value != "absolute"
        {
            return Err(self.unsupported(format!("\"{key}\": {value}"), "\"absolute\" is"));
        }
        if self.get("is_decoder").is_some_and(|value| value != false) {
            return Err(self.unsupported("\"is_decoder\": true".into(), "encoders are, without a causal mask"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// bert-base-uncased, with the keys of `changes` replaced; a null removes the key.
    fn parse(changes: Value) -> Result<ModelConfig> {
        let mut config = json!({
            "architectures": ["BertForMaskedLM"], "attention_probs_dropout_prob": 0.1, "gradient_checkpointing": false,
            "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 768, "initializer_range": 0.02,
            "intermediate_size": 3072, "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "model_type": "bert",
            "num_attention_heads": 12, "num_hidden_layers": 12, "pad_token_id": 0, "position_embedding_type": "absolute",
            "transformers_version": "4.6.0.dev0", "type_vocab_size": 2, "use_cache": true, "vocab_size": 30522
        });
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        ModelConfig::from_json(Path::new("m/config.json"), config.to_string().as_bytes())
    }

    fn message(changes: Value) -> String {
        let message = parse(changes).unwrap_err().to_string();
        assert!(message.starts_with("m/config.json: ") && !message.contains('\n'), "{message}");
        message
    }

    #[test]
    fn bert_base_is_read_as_published() {
        let config = parse(json!({})).unwrap();
        assert_eq!((config.vocab_size, config.hidden_size, config.num_hidden_layers), (30522, 768, 12));
        assert_eq!((config.num_attention_heads, config.intermediate_size), (12, 3072));
        assert_eq!((config.max_position_embeddings, config.type_vocab_size), (512, 2));
        assert_eq!((config.layer_norm_eps, config.hidden_act), (1e-12, Activation::Gelu));
        assert_eq!((config.hidden_dropout_prob, config.attention_probs_dropout_prob), (0.1, 0.1));
        assert_eq!(config.classifier_dropout, None);
    }

    #[test]
    fn what_old_files_leave_out_takes_the_defaults_of_transformers() {
        let config = parse(json!({
            "architectures": null, "model_type": null, "layer_norm_eps": null, "type_vocab_size": null, "hidden_act": null,
            "position_embedding_type": null, "hidden_dropout_prob": null, "attention_probs_dropout_prob": null
        }));
        assert_eq!(config.unwrap(), parse(json!({})).unwrap());
        assert!(parse(json!({"model_type": null})).is_ok(), "the architecture says it is a BERT");
        // Keys that are not used may have any value.
        assert!(parse(json!({"id2label": ["a"], "use_cache": "perhaps"})).is_ok());
    }

    #[test]
    fn the_head_falls_back_to_the_hidden_dropout() {
        assert_eq!(parse(json!({"hidden_dropout_prob": 0.25})).unwrap().head_dropout_prob(Pooling::Mean), 0.25);
        assert_eq!(parse(json!({"classifier_dropout": 0.0})).unwrap().head_dropout_prob(Pooling::Mean), 0.0);
    }

    #[test]
    fn impossible_values_are_refused_by_name() {
        let extents = ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"];
        for key in extents.into_iter().chain(["max_position_embeddings"]) {
            assert!(message(json!({key: null})).ends_with(&format!("\"{key}\" is missing")));
            for value in [json!(0), json!(-5), json!(1e30), json!(u64::MAX), json!(76.8), json!("768"), json!([768])] {
                let message = message(json!({key: value}));
                assert!(message.contains(key) && message.contains("whole number"), "{message}");
            }
        }
        for key in ["hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"] {
            for value in [json!(1), json!(-0.1), json!(1e300), json!("0.1"), json!(0.999_999_999_999)] {
                assert!(message(json!({key: value})).contains(key));
            }
        }
        for value in [json!(0), json!(-1e-12), json!(1e-60), json!(1), json!("1e-12")] {
            assert!(message(json!({"layer_norm_eps": value})).contains("layer_norm_eps"));
        }
        assert!(message(json!({"num_attention_heads": 7})).contains("768, which \"num_attention_heads\" 7"));
        assert!(message(json!({"vocab_size": "x".repeat(1 << 20)})).len() < 300, "a long value is cut");
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        let deep = "[".repeat(100_000);
        for text in ["", "{", "[]", "null", "{\"vocab_size\": NaN}", "{\"a\": 1e}", "\u{feff}{}", &deep, "{\"a\":"] {
            let error = ModelConfig::from_json(Path::new("m/config.json"), text.as_bytes()).unwrap_err();
            assert!(matches!(error, Error::Config { .. }), "{error}");
            assert!(error.to_string().contains("line"), "{error}");
        }
        assert!(ModelConfig::from_json(Path::new("c"), b"{\"\xff\": 1}").is_err());
    }

    #[test]
    fn other_activations_are_named() {
        for name in ["gelu_new", "gelu_pytorch_tanh", "relu", "silu"] {
            let error = parse(json!({"hidden_act": name})).unwrap_err();
            assert!(matches!(&error, Error::Unsupported { .. }) && error.to_string().contains(name), "{error}");
        }
        assert!(message(json!({"hidden_act": {"name": "gelu"}})).contains("hidden_act"));
    }

    #[test]
    fn other_families_are_told_what_is_supported() {
        for name in ["deberta-v2", "bert-generation", "albert", "gpt2"] {
            let error = parse(json!({"model_type": name})).unwrap_err();
            assert!(matches!(&error, Error::Unsupported { .. }), "{error}");
            assert!(error.to_string().contains(name) && error.to_string().contains("bert-base-uncased"), "{error}");
        }
        let by_class = json!({"model_type": null, "architectures": ["AlbertForMaskedLM"]});
        assert!(matches!(parse(by_class), Err(Error::Unsupported { .. })));
        assert!(matches!(parse(json!({"model_type": 3})), Err(Error::Config { .. })));
    }

    #[test]
    fn modernbert_is_told_that_it_has_no_biases() {
        let error = parse(json!({"model_type": "modernbert"})).unwrap_err();
        assert!(matches!(&error, Error::NoBiases { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("ModernBERT has no bias terms") && text.contains("take a checkpoint"), "{text}");
    }

    #[test]
    fn other_attentions_are_refused() {
        assert!(message(json!({"position_embedding_type": "relative_key"})).contains("relative_key"));
        assert!(message(json!({"is_decoder": true})).contains("is_decoder"));
        assert!(parse(json!({"is_decoder": false})).is_ok());
    }

    #[test]
    fn a_position_bias_has_as_many_buckets_as_transformers_computes() {
        let key = "relative_attention_num_buckets";
        let mpnet = |buckets: Value| parse(json!({"model_type": "mpnet", key: buckets}));
        assert_eq!(mpnet(json!(32)).unwrap().position_buckets, Some(32));
        assert_eq!(mpnet(Value::Null).unwrap().position_buckets, Some(32));
        for buckets in [8, 16, 31, 64] {
            let error = mpnet(json!(buckets)).unwrap_err();
            assert!(matches!(error, Error::Unsupported { .. }), "{error}");
            assert!(error.to_string().contains(&format!("\"{key}\": {buckets} is not supported")), "{error}");
        }
        assert_eq!(parse(json!({key: 64})).unwrap().position_buckets, None);
    }
}
