//! BERT: a bidirectional transformer encoder with post-LayerNorm, learned positions and token types.
//!
//! Paper: Devlin et al., arXiv 1810.04805. Reference implementation: `BertModel` and `BertForSequenceClassification` in
//! `models/bert/modeling_bert.py` of Hugging Face transformers.

use super::{Architecture, ConfigKeys, Module};

/// `model_type` "bert": bert-base-uncased, all-MiniLM-L6-v2 and similar models.
pub static BERT: Architecture = Architecture {
    model_type: "bert",
    name: "BERT",
    class: "Bert",
    prefix: "bert.",
    modules: &[
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
    ],
    classifier: "classifier",
    // TensorFlow's names of the two vectors of a LayerNorm, which early conversions kept.
    aliases: &[("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")],
    keys: ConfigKeys {
        hidden_size: "hidden_size",
        num_hidden_layers: "num_hidden_layers",
        num_attention_heads: "num_attention_heads",
        intermediate_size: "intermediate_size",
        hidden_act: "hidden_act",
        hidden_dropout: "hidden_dropout_prob",
        attention_dropout: "attention_probs_dropout_prob",
        head_dropout: "classifier_dropout",
    },
    position_offset: 0,
    is_key_bias_inert: true,
};
