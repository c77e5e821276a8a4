//! The parts of an architecture's table beside the names of its modules: its heads, how it numbers positions, and its
//! configuration's words.

use bitfit_core::ops::activation::Activation;

use super::Part;
use crate::config::ModelConfig;
use crate::methods::Method;

/// The head that an architecture's `ForSequenceClassification` of transformers has: a dense layer over the first token,
/// its activation, and the classifier, with dropout before the classifier and, in some, before the dense layer too.
#[derive(Debug)]
pub struct OwnHead {
    /// The name of the dense layer `[H, H]`; `None` where it is the encoder's pooler, which comes pre-trained and stays
    /// frozen but for its bias. Everywhere else it is new with every task, and trains whole.
    pub dense: Option<&'static str>,
    /// The activation of the dense layer.
    pub activation: Activation,
    /// Whether there is dropout before the dense layer.
    pub has_dropout_before_dense: bool,
    /// The name of the last layer `[C, H]`.
    pub classifier: &'static str,
}

/// The names of the head for masked language modelling that an architecture's `ForMaskedLM` of transformers has: a
/// dense layer `[E, H]`, GELU, a LayerNorm, and a product with the word embeddings `[V, E]`, to which a bias `[V]` is
/// added.
#[derive(Debug)]
pub struct MaskedLmNames {
    /// The dense layer.
    pub dense: &'static str,
    /// The LayerNorm.
    pub norm: &'static str,
    /// The module of the product, whose weight a file need not hold, because it is the table of word pieces.
    pub decoder: &'static str,
    /// The names that the bias of the product has in files; the first is that of transformers' parameter.
    pub decoder_bias: &'static [&'static str],
}

/// A tensor of a head for masked language modelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MaskedLmTensor {
    /// The weight `[E, H]` or the bias `[E]` of the dense layer.
    Dense(Part),
    /// The scale or the shift `[E]` of the LayerNorm.
    Norm(Part),
    /// The weight `[V, E]` or the bias `[V]` of the product with the word embeddings.
    Decoder(Part),
}

impl MaskedLmTensor {
    /// What every such head has but the weight of the last product, in the order of the network.
    pub const ALL: [Self; 5] = [
        Self::Dense(Part::Weight),
        Self::Dense(Part::Bias),
        Self::Norm(Part::Weight),
        Self::Norm(Part::Bias),
        Self::Decoder(Part::Bias),
    ];

    /// What trains: the biases, and the weights below the last where a method trains every parameter. The last weight
    /// is the table of word embeddings, which the method trains as a part of the encoder.
    pub fn trained(method: &Method) -> impl Iterator<Item = Self> {
        let weights = [Self::Dense(Part::Weight), Self::Norm(Part::Weight)].into_iter();
        let biases = [Self::Dense(Part::Bias), Self::Norm(Part::Bias), Self::Decoder(Part::Bias)];
        weights.filter(|_| method.trains_everything()).chain(biases)
    }

    /// The extents in a model of this configuration.
    pub fn shape(self, config: &ModelConfig) -> Vec<usize> {
        let (h, e, v) = (config.hidden_size, config.embedding_size, config.vocab_size);
        match self {
            Self::Dense(Part::Weight) => vec![e, h],
            Self::Decoder(Part::Weight) => vec![v, e],
            Self::Decoder(Part::Bias) => vec![v],
            Self::Dense(Part::Bias) | Self::Norm(_) => vec![e],
        }
    }
}

impl MaskedLmNames {
    /// The name of a tensor in transformers.
    pub fn name(&self, tensor: MaskedLmTensor) -> String {
        match tensor {
            MaskedLmTensor::Dense(part) => format!("{}.{}", self.dense, part.suffix()),
            MaskedLmTensor::Norm(part) => format!("{}.{}", self.norm, part.suffix()),
            MaskedLmTensor::Decoder(Part::Weight) => format!("{}.{}", self.decoder, Part::Weight.suffix()),
            MaskedLmTensor::Decoder(Part::Bias) => self.decoder_bias[0].into(),
        }
    }

    /// The tensor of this name; `None` for every other name.
    pub(super) fn tensor(&self, name: &str) -> Option<MaskedLmTensor> {
        if self.decoder_bias.contains(&name) {
            return Some(MaskedLmTensor::Decoder(Part::Bias));
        }
        let named = MaskedLmTensor::ALL.into_iter().chain([MaskedLmTensor::Decoder(Part::Weight)]);
        named.into_iter().find(|&tensor| self.name(tensor) == name)
    }
}

/// How tokens are numbered for the table of positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions {
    /// From 0.
    FromZero,
    /// From the padding's id plus one. A padding token inside of a text has the padding's id for its position and is
    /// not counted, as in fairseq, where these models come from. The id is the configuration's, or always this one.
    AfterPadding(Option<u32>),
}

/// What a `config.json` calls the extents and the dropout probabilities of an encoder.
#[derive(Debug)]
pub struct ConfigKeys {
    /// The key of H, the hidden size.
    pub hidden_size: &'static str,
    /// The key of L, the number of layers.
    pub num_hidden_layers: &'static str,
    /// The key of N, the number of attention heads.
    pub num_attention_heads: &'static str,
    /// The key of F, the width of the feed-forward.
    pub intermediate_size: &'static str,
    /// The key of the activation of the feed-forward.
    pub hidden_act: &'static str,
    /// The key of dropout after the embeddings and after each dense layer that is followed by a LayerNorm.
    pub hidden_dropout: &'static str,
    /// The key of dropout of the attention probabilities.
    pub attention_dropout: &'static str,
    /// Dropout before the classifier, and what it is where the key is absent: `None` for the hidden dropout. Some
    /// architectures have no such key.
    pub head_dropout: Option<(&'static str, Option<f32>)>,
    /// Dropout before a span head, and what it is where the key is absent; `None` where there is none.
    pub span_dropout: Option<(&'static str, f32)>,
    /// The ε of every LayerNorm; `None` where it is always 1e-12.
    pub layer_norm_eps: Option<&'static str>,
    /// E, and what it is where the key is absent; `None` where it is always H.
    pub embedding_size: Option<(&'static str, usize)>,
    /// The number of buckets of the position bias, and the only one that it may be; `None` without such a bias.
    pub position_buckets: Option<(&'static str, usize)>,
}

impl ConfigKeys {
    /// The words of BERT, which most of its family share.
    pub const BERT: Self = Self {
        hidden_size: "hidden_size",
        num_hidden_layers: "num_hidden_layers",
        num_attention_heads: "num_attention_heads",
        intermediate_size: "intermediate_size",
        hidden_act: "hidden_act",
        hidden_dropout: "hidden_dropout_prob",
        attention_dropout: "attention_probs_dropout_prob",
        head_dropout: Some(("classifier_dropout", None)),
        span_dropout: None,
        layer_norm_eps: Some("layer_norm_eps"),
        embedding_size: None,
        position_buckets: None,
    };
}

/// The names of RoBERTa's head for masked language modelling, which several of its relatives have.
pub(super) const LM_HEAD: MaskedLmNames = MaskedLmNames {
    dense: "lm_head.dense",
    norm: "lm_head.layer_norm",
    decoder: "lm_head.decoder",
    decoder_bias: &["lm_head.bias", "lm_head.decoder.bias"],
};

/// TensorFlow's words for the two vectors of a LayerNorm, which early conversions kept.
pub(super) const TENSORFLOW_ALIASES: &[(&str, &str)] =
    &[("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")];
