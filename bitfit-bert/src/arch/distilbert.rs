//! DistilBERT: BERT with half of the layers, without token types and without a pooler.
//!
//! Paper: Sanh et al., arXiv 1910.01108. Reference implementation: `DistilBertModel` and
//! `DistilBertForSequenceClassification` in `models/distilbert/modeling_distilbert.py` of Hugging Face transformers.

use bitfit_core::ops::activation::Activation;

use super::{Architecture, ConfigKeys, MaskedLmNames, Module, OwnHead, Positions, TENSORFLOW_ALIASES};

/// `model_type` "distilbert".
pub static DISTILBERT: Architecture = Architecture {
    model_type: "distilbert",
    name: "DistilBERT",
    class: "DistilBert",
    prefix: "distilbert.",
    modules: &[
        (Module::WordEmbeddings, "embeddings.word_embeddings"),
        (Module::PositionEmbeddings, "embeddings.position_embeddings"),
        (Module::EmbeddingsLayerNorm, "embeddings.LayerNorm"),
        (Module::Query, "transformer.layer.{}.attention.q_lin"),
        (Module::Key, "transformer.layer.{}.attention.k_lin"),
        (Module::Value, "transformer.layer.{}.attention.v_lin"),
        (Module::AttentionOutput, "transformer.layer.{}.attention.out_lin"),
        (Module::AttentionLayerNorm, "transformer.layer.{}.sa_layer_norm"),
        (Module::Intermediate, "transformer.layer.{}.ffn.lin1"),
        (Module::Output, "transformer.layer.{}.ffn.lin2"),
        (Module::OutputLayerNorm, "transformer.layer.{}.output_layer_norm"),
    ],
    head: OwnHead {
        dense: Some("pre_classifier"),
        activation: Activation::Relu,
        has_dropout_before_dense: false,
        classifier: "classifier",
    },
    masked_lm: Some(MaskedLmNames {
        dense: "vocab_transform",
        norm: "vocab_layer_norm",
        decoder: "vocab_projector",
        decoder_bias: &["vocab_projector.bias"],
    }),
    aliases: TENSORFLOW_ALIASES,
    keys: ConfigKeys {
        hidden_size: "dim",
        num_hidden_layers: "n_layers",
        num_attention_heads: "n_heads",
        intermediate_size: "hidden_dim",
        hidden_act: "activation",
        hidden_dropout: "dropout",
        attention_dropout: "attention_dropout",
        head_dropout: Some(("seq_classif_dropout", Some(0.2))),
        span_dropout: Some(("qa_dropout", 0.1)),
        layer_norm_eps: None,
        ..ConfigKeys::BERT
    },
    positions: Positions::FromZero,
    is_key_bias_inert: true,
};
