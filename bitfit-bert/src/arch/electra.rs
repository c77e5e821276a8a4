//! ELECTRA, the discriminator or the generator: BERT with embeddings of another width, projected to that of the layers,
//! and without a pooler. The generator alone has a head for masked language modelling.
//!
//! Paper: Clark et al., arXiv 2003.10555. Reference implementation: `ElectraModel` and
//! `ElectraForSequenceClassification` in `models/electra/modeling_electra.py` of Hugging Face transformers.

use bitfit_core::ops::activation::Activation;

use super::{Architecture, ConfigKeys, MaskedLmNames, Module, OwnHead, Positions, TENSORFLOW_ALIASES};

/// `model_type` "electra".
pub static ELECTRA: Architecture = Architecture {
    model_type: "electra",
    name: "ELECTRA",
    class: "Electra",
    prefix: "electra.",
    modules: &[
        (Module::WordEmbeddings, "embeddings.word_embeddings"),
        (Module::PositionEmbeddings, "embeddings.position_embeddings"),
        (Module::TokenTypeEmbeddings, "embeddings.token_type_embeddings"),
        (Module::EmbeddingsLayerNorm, "embeddings.LayerNorm"),
        (Module::EmbeddingsProjection, "embeddings_project"),
        (Module::Query, "encoder.layer.{}.attention.self.query"),
        (Module::Key, "encoder.layer.{}.attention.self.key"),
        (Module::Value, "encoder.layer.{}.attention.self.value"),
        (Module::AttentionOutput, "encoder.layer.{}.attention.output.dense"),
        (Module::AttentionLayerNorm, "encoder.layer.{}.attention.output.LayerNorm"),
        (Module::Intermediate, "encoder.layer.{}.intermediate.dense"),
        (Module::Output, "encoder.layer.{}.output.dense"),
        (Module::OutputLayerNorm, "encoder.layer.{}.output.LayerNorm"),
    ],
    head: OwnHead {
        dense: Some("classifier.dense"),
        activation: Activation::Gelu,
        has_dropout_before_dense: true,
        classifier: "classifier.out_proj",
    },
    masked_lm: Some(MaskedLmNames {
        dense: "generator_predictions.dense",
        norm: "generator_predictions.LayerNorm",
        decoder: "generator_lm_head",
        decoder_bias: &["generator_lm_head.bias"],
    }),
    aliases: TENSORFLOW_ALIASES,
    keys: ConfigKeys { embedding_size: Some(("embedding_size", 128)), ..ConfigKeys::BERT },
    positions: Positions::FromZero,
    is_key_bias_inert: true,
};
