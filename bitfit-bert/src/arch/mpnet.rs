//! MPNet: BERT without token types, with a position bias that all layers share; positions begin behind the padding's
//! id.
//!
//! Paper: Song et al., arXiv 2004.09297. Reference implementation: `MPNetModel` and `MPNetForSequenceClassification` in
//! `models/mpnet/modeling_mpnet.py` of Hugging Face transformers.

use bitfit_core::ops::activation::Activation;

use super::{Architecture, ConfigKeys, LM_HEAD, Module, OwnHead, Positions, TENSORFLOW_ALIASES};

/// `model_type` "mpnet": all-mpnet-base-v2 and its like.
pub static MPNET: Architecture = Architecture {
    model_type: "mpnet",
    name: "MPNet",
    class: "MPNet",
    prefix: "mpnet.",
    modules: &[
        (Module::WordEmbeddings, "embeddings.word_embeddings"),
        (Module::PositionEmbeddings, "embeddings.position_embeddings"),
        (Module::EmbeddingsLayerNorm, "embeddings.LayerNorm"),
        (Module::PositionBias, "encoder.relative_attention_bias"),
        (Module::Query, "encoder.layer.{}.attention.attn.q"),
        (Module::Key, "encoder.layer.{}.attention.attn.k"),
        (Module::Value, "encoder.layer.{}.attention.attn.v"),
        (Module::AttentionOutput, "encoder.layer.{}.attention.attn.o"),
        (Module::AttentionLayerNorm, "encoder.layer.{}.attention.LayerNorm"),
        (Module::Intermediate, "encoder.layer.{}.intermediate.dense"),
        (Module::Output, "encoder.layer.{}.output.dense"),
        (Module::OutputLayerNorm, "encoder.layer.{}.output.LayerNorm"),
    ],
    head: OwnHead {
        dense: Some("classifier.dense"),
        activation: Activation::Tanh,
        has_dropout_before_dense: true,
        classifier: "classifier.out_proj",
    },
    masked_lm: Some(LM_HEAD),
    aliases: TENSORFLOW_ALIASES,
    keys: ConfigKeys {
        head_dropout: None,
        position_buckets: Some(("relative_attention_num_buckets", 32)),
        ..ConfigKeys::BERT
    },
    // The model's code has the 1, whatever the configuration says.
    positions: Positions::AfterPadding(Some(1)),
    is_key_bias_inert: true,
};
