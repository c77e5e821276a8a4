//! BERT: a bidirectional transformer encoder with post-LayerNorm, learned positions and token types.
//!
//! Paper: Devlin et al., arXiv 1810.04805. Reference implementation: `BertModel` and `BertForSequenceClassification` in
//! `models/bert/modeling_bert.py` of Hugging Face transformers.

use bitfit_core::ops::activation::Activation;

use super::{Architecture, ConfigKeys, MaskedLmNames, Module, OwnHead, Positions, TENSORFLOW_ALIASES};

/// BERT's modules, the pooler last.
pub(super) const MODULES: &[(Module, &str)] = &[
    (Module::WordEmbeddings, "embeddings.word_embeddings"),
    (Module::PositionEmbeddings, "embeddings.position_embeddings"),
    (Module::TokenTypeEmbeddings, "embeddings.token_type_embeddings"),
    (Module::EmbeddingsLayerNorm, "embeddings.LayerNorm"),
    (Module::Query, "encoder.layer.{}.attention.self.query"),
    (Module::Key, "encoder.layer.{}.attention.self.key"),
    (Module::Value, "encoder.layer.{}.attention.self.value"),
    (Module::AttentionOutput, "encoder.layer.{}.attention.output.dense"),
    (Module::AttentionLayerNorm, "encoder.layer.{}.attention.output.LayerNorm"),
    (Module::Intermediate, "encoder.layer.{}.intermediate.dense"),
    (Module::Output, "encoder.layer.{}.output.dense"),
    (Module::OutputLayerNorm, "encoder.layer.{}.output.LayerNorm"),
    (Module::Pooler, "pooler.dense"),
];

/// `model_type` "bert": bert-base-uncased, all-MiniLM-L6-v2 and similar models.
pub static BERT: Architecture = Architecture {
    model_type: "bert",
    name: "BERT",
    class: "Bert",
    prefix: "bert.",
    modules: MODULES,
    head: OwnHead {
        dense: None,
        activation: Activation::Tanh,
        has_dropout_before_dense: false,
        classifier: "classifier",
    },
    masked_lm: Some(MaskedLmNames {
        dense: "cls.predictions.transform.dense",
        norm: "cls.predictions.transform.LayerNorm",
        decoder: "cls.predictions.decoder",
        decoder_bias: &["cls.predictions.bias", "cls.predictions.decoder.bias"],
    }),
    aliases: TENSORFLOW_ALIASES,
    keys: ConfigKeys::BERT,
    positions: Positions::FromZero,
    is_key_bias_inert: true,
};
