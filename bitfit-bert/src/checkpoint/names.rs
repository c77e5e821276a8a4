//! The names of a BERT's tensors: the one canonical form, the variants found in files, and which tensors a model needs.

use std::borrow::Cow;

use crate::config::BertConfig;

/// The parts of the base model. Everything else in a file (`cls.*`, `classifier.*`) is the head of some task.
const PARTS: [&str; 3] = ["embeddings.", "encoder.", "pooler."];

/// The pooler's two tensors. A checkpoint has both or neither.
pub(super) const POOLER: [&str; 2] = ["pooler.dense.weight", "pooler.dense.bias"];

/// What precedes the number of a layer.
const LAYER: &str = "encoder.layer.";

/// The canonical name of a tensor of the base model, `None` for everything else.
///
/// Canonical is what `transformers.BertModel` calls it today: without the `bert.` of the models that have a head, and with
/// a layer norm's `gamma` and `beta` (TensorFlow's words, kept by early conversions) as `weight` and `bias`.
pub(super) fn canonical(name: &str) -> Option<Cow<'_, str>> {
    let name = name.strip_prefix("bert.").unwrap_or(name);
    // A buffer that counts 0, 1, 2…, saved by some versions.
    if !PARTS.iter().any(|part| name.starts_with(part)) || name == "embeddings.position_ids" {
        return None;
    }
    Some(if let Some(stem) = name.strip_suffix("LayerNorm.gamma") {
        format!("{stem}LayerNorm.weight").into()
    } else if let Some(stem) = name.strip_suffix("LayerNorm.beta") {
        format!("{stem}LayerNorm.bias").into()
    } else {
        name.into()
    })
}

/// The name that the tensor `canonical` has in a `BertForSequenceClassification` (or any other model with a head), and so
/// in a task file: with the `bert.` prefix if it belongs to the base model, unchanged if it belongs to a head.
pub fn hf_name(canonical: &str) -> String {
    let prefix = if PARTS.iter().any(|part| canonical.starts_with(part)) { "bert." } else { "" };
    format!("{prefix}{canonical}")
}

/// The number of the layer that a canonical name belongs to.
pub(super) fn layer_number(canonical: &str) -> Option<usize> {
    canonical.strip_prefix(LAYER)?.split('.').next()?.parse().ok()
}

/// The tensors that the configuration implies, with their shapes, without the pooler's: first the embeddings, then layer
/// by layer. The matrices of dense layers are `[out, in]`.
///
/// Lazy, because `config` may claim a thousand million layers and the first one that is missing ends the walk.
pub(super) fn required(config: &BertConfig) -> impl Iterator<Item = (String, Vec<usize>)> {
    let (h, f) = (config.hidden_size, config.intermediate_size);
    let embeddings = [
        ("word_embeddings.weight", vec![config.vocab_size, h]),
        ("position_embeddings.weight", vec![config.max_position_embeddings, h]),
        ("token_type_embeddings.weight", vec![config.type_vocab_size, h]),
        ("LayerNorm.weight", vec![h]),
        ("LayerNorm.bias", vec![h]),
    ]
    .map(|(name, shape)| (format!("embeddings.{name}"), shape));
    let layers = (0..config.num_hidden_layers).flat_map(move |layer| {
        [
            ("attention.self.query.weight", vec![h, h]),
            ("attention.self.query.bias", vec![h]),
            ("attention.self.key.weight", vec![h, h]),
            ("attention.self.key.bias", vec![h]),
            ("attention.self.value.weight", vec![h, h]),
            ("attention.self.value.bias", vec![h]),
            ("attention.output.dense.weight", vec![h, h]),
            ("attention.output.dense.bias", vec![h]),
            ("attention.output.LayerNorm.weight", vec![h]),
            ("attention.output.LayerNorm.bias", vec![h]),
            ("intermediate.dense.weight", vec![f, h]),
            ("intermediate.dense.bias", vec![f]),
            ("output.dense.weight", vec![h, f]),
            ("output.dense.bias", vec![h]),
            ("output.LayerNorm.weight", vec![h]),
            ("output.LayerNorm.bias", vec![h]),
        ]
        .map(|(name, shape)| (format!("{LAYER}{layer}.{name}"), shape))
    });
    embeddings.into_iter().chain(layers)
}

/// [`POOLER`] with its shapes.
pub(super) fn required_pooler(config: &BertConfig) -> impl Iterator<Item = (String, Vec<usize>)> {
    let h = config.hidden_size;
    POOLER.into_iter().map(str::to_owned).zip([vec![h, h], vec![h]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_has_one_canonical_name() {
        for (name, expected) in [
            ("embeddings.word_embeddings.weight", Some("embeddings.word_embeddings.weight")),
            ("bert.embeddings.word_embeddings.weight", Some("embeddings.word_embeddings.weight")),
            ("bert.encoder.layer.3.output.LayerNorm.beta", Some("encoder.layer.3.output.LayerNorm.bias")),
            ("embeddings.LayerNorm.gamma", Some("embeddings.LayerNorm.weight")),
            ("bert.pooler.dense.bias", Some("pooler.dense.bias")),
            ("bert.embeddings.position_ids", None),
            ("cls.predictions.transform.LayerNorm.gamma", None),
            ("cls.seq_relationship.weight", None),
            ("classifier.weight", None),
            ("bert", None),
            ("", None),
        ] {
            assert_eq!(canonical(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn hugging_face_names_have_the_prefix_only_inside_the_base() {
        assert_eq!(
            hf_name("encoder.layer.0.attention.self.query.bias"),
            "bert.encoder.layer.0.attention.self.query.bias"
        );
        assert_eq!(hf_name("pooler.dense.weight"), "bert.pooler.dense.weight");
        assert_eq!(hf_name("classifier.bias"), "classifier.bias");
    }

    #[test]
    fn layers_are_numbered() {
        assert_eq!(layer_number("encoder.layer.11.output.dense.bias"), Some(11));
        assert_eq!(layer_number("encoder.layer.x.output.dense.bias"), None);
        assert_eq!(layer_number("embeddings.LayerNorm.bias"), None);
    }
}
