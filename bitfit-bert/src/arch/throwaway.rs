//! An architecture for tests only: BERT's arithmetic with other names, without token types, with positions from 2, and
//! with DistilBERT's and RoBERTa's names for the rest. It shows what a second architecture takes: this file and one
//! line in [`super::ALL`].

use bitfit_core::ops::activation::Activation;

use super::{Architecture, ConfigKeys, Module, OwnHead, Positions};

pub static THROWAWAY: Architecture = Architecture {
    model_type: "throwaway",
    name: "Throwaway",
    class: "Throwaway",
    prefix: "trunk.",
    modules: &[
        (Module::WordEmbeddings, "words"),
        (Module::PositionEmbeddings, "places"),
        (Module::EmbeddingsLayerNorm, "norm"),
        (Module::Query, "blocks.{}.q_lin"),
        (Module::Key, "blocks.{}.k_lin"),
        (Module::Value, "blocks.{}.v_lin"),
        (Module::AttentionOutput, "blocks.{}.out_lin"),
        (Module::AttentionLayerNorm, "blocks.{}.sa_layer_norm"),
        (Module::Intermediate, "blocks.{}.ffn.lin1"),
        (Module::Output, "blocks.{}.ffn.lin2"),
        (Module::OutputLayerNorm, "blocks.{}.output_layer_norm"),
        (Module::Pooler, "pre_classifier"),
    ],
    head: OwnHead { dense: None, activation: Activation::Tanh, has_dropout_before_dense: false, classifier: "head" },
    masked_lm: None,
    aliases: &[],
    keys: ConfigKeys {
        hidden_size: "dim",
        num_hidden_layers: "n_layers",
        num_attention_heads: "n_heads",
        intermediate_size: "hidden_dim",
        hidden_act: "activation",
        hidden_dropout: "dropout",
        attention_dropout: "attention_dropout",
        head_dropout: Some(("seq_classif_dropout", None)),
        ..ConfigKeys::BERT
    },
    positions: Positions::AfterPadding(Some(1)),
    is_key_bias_inert: true,
};
