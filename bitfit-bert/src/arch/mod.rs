//! Architectures as data: the name and shape of each tensor of an encoder, and the few facts by which one member of the
//! BERT family differs from another.
//!
//! An [`Architecture`] is one table in one file. The checkpoint, the network, the methods, the plan, the benches and
//! the tests read it, so each name is written once. A second architecture of the same arithmetic is one more file and
//! one more line in `ALL`.

mod bert;
mod distilbert;
mod electra;
mod mpnet;
mod roberta;
mod table;
#[cfg(test)]
mod throwaway;

use std::borrow::Cow;
use std::fmt;

use strum::{Display, EnumIter, IntoEnumIterator};

pub use bert::BERT;
pub use distilbert::DISTILBERT;
pub use electra::ELECTRA;
pub use mpnet::MPNET;
pub use roberta::{CAMEMBERT, ROBERTA, XLM_ROBERTA};
pub use table::{ConfigKeys, MaskedLmNames, MaskedLmTensor, OwnHead, Positions};
use table::{LM_HEAD, TENSORFLOW_ALIASES};

use crate::config::ModelConfig;
use crate::heads::Pooling;

/// The architectures that can be loaded, in the order in which a configuration without a name tries them.
static ALL: &[&Architecture] = &[
    &BERT,
    &ROBERTA,
    &XLM_ROBERTA,
    &CAMEMBERT,
    &DISTILBERT,
    &ELECTRA,
    &MPNET,
    #[cfg(test)]
    &throwaway::THROWAWAY,
];

/// A module of the encoder that has tensors, which exists once in each layer or once in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Display, EnumIter)]
#[strum(serialize_all = "kebab-case")]
pub enum Module {
    /// The table of word pieces `[V, E]`.
    WordEmbeddings,
    /// The table of positions `[P, E]`.
    PositionEmbeddings,
    /// The table of token types, also called segments.
    TokenTypeEmbeddings,
    /// The LayerNorm over the sum of the embeddings.
    EmbeddingsLayerNorm,
    /// The projection `[H, E]` of the embeddings to the width of the layers, where that is another.
    EmbeddingsProjection,
    /// What attention adds to the scores by the distance of two tokens: a table `[buckets, N]`, which all layers share.
    PositionBias,
    /// The query projection `[H, H]` of a layer.
    Query,
    /// The key projection `[H, H]` of a layer.
    Key,
    /// The value projection `[H, H]` of a layer.
    Value,
    /// The projection `[H, H]` of the concatenated outputs of a layer's heads.
    AttentionOutput,
    /// The LayerNorm after the attention of a layer.
    AttentionLayerNorm,
    /// The first matrix `[F, H]` of a layer's feed-forward.
    Intermediate,
    /// The second matrix `[H, F]` of a layer's feed-forward.
    Output,
    /// The LayerNorm after the feed-forward of a layer.
    OutputLayerNorm,
    /// The dense layer `[H, H]` over the first token, below the head.
    Pooler,
}

impl Module {
    /// Whether every layer has this module.
    pub fn is_in_layers(self) -> bool {
        !matches!(
            self,
            Self::WordEmbeddings
                | Self::PositionEmbeddings
                | Self::TokenTypeEmbeddings
                | Self::EmbeddingsLayerNorm
                | Self::EmbeddingsProjection
                | Self::PositionBias
                | Self::Pooler
        )
    }

    /// Whether it is a LayerNorm.
    pub fn is_norm(self) -> bool {
        matches!(self, Self::EmbeddingsLayerNorm | Self::AttentionLayerNorm | Self::OutputLayerNorm)
    }

    /// Whether it has a bias; a table has none.
    pub fn has_bias(self) -> bool {
        !matches!(
            self,
            Self::WordEmbeddings | Self::PositionEmbeddings | Self::TokenTypeEmbeddings | Self::PositionBias
        )
    }

    /// Whether a model of this configuration has it, where its architecture does.
    fn is_in(self, config: &ModelConfig) -> bool {
        self != Self::EmbeddingsProjection || config.embedding_size != config.hidden_size
    }

    /// The shape of the module's weight or bias.
    fn shape(self, part: Part, config: &ModelConfig) -> Vec<usize> {
        let (h, f, e) = (config.hidden_size, config.intermediate_size, config.embedding_size);
        let [out, input] = match self {
            Self::WordEmbeddings => [config.vocab_size, e],
            Self::PositionEmbeddings => [config.max_position_embeddings, e],
            Self::TokenTypeEmbeddings => [config.type_vocab_size, e],
            Self::EmbeddingsProjection => [h, e],
            Self::PositionBias => [config.position_buckets.unwrap_or(0), config.num_attention_heads],
            Self::Intermediate => [f, h],
            Self::Output => [h, f],
            Self::EmbeddingsLayerNorm => return vec![e],
            Self::AttentionLayerNorm | Self::OutputLayerNorm => return vec![h],
            Self::Query | Self::Key | Self::Value | Self::AttentionOutput | Self::Pooler => [h, h],
        };
        match part {
            Part::Weight => vec![out, input],
            Part::Bias => vec![out],
        }
    }
}

/// Which tensor of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// A matrix `[out, in]`, an embedding table, or the scale of a LayerNorm.
    Weight,
    /// A bias, or the shift of a LayerNorm.
    Bias,
}

impl Part {
    /// The last component of a parameter's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Bias => "bias",
        }
    }
}

/// The purpose of a tensor of the encoder, independent of its name in an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role {
    /// The layer, counted from 0; 0 for the modules outside the layers.
    pub layer: usize,
    /// The module.
    pub module: Module,
    /// Which tensor of the module.
    pub part: Part,
}

impl Role {
    /// The weight of a module; `layer` is 0 for the modules outside the layers.
    pub fn weight(module: Module, layer: usize) -> Self {
        Self { layer, module, part: Part::Weight }
    }

    /// The bias of a module; `layer` is 0 for the modules outside the layers.
    pub fn bias(module: Module, layer: usize) -> Self {
        Self { layer, module, part: Part::Bias }
    }
}

/// One member of the BERT family: its tensors' names and the facts by which its arithmetic differs.
#[derive(Debug)]
pub struct Architecture {
    /// The value of `model_type` in a configuration.
    pub model_type: &'static str,
    /// The name in messages.
    pub name: &'static str,
    /// The beginning of the names of its classes in transformers: `Bert` of `BertForSequenceClassification`.
    pub class: &'static str,
    /// The prefix of the encoder's names in a model with a head.
    pub prefix: &'static str,
    /// The name of each module; `{}` stands for the number of the layer. The architecture does not have modules that
    /// are not listed.
    pub modules: &'static [(Module, &'static str)],
    /// The head of its own class for the classification of texts.
    pub head: OwnHead,
    /// The head of its own class for masked language modelling; `None` where it has no such class.
    pub masked_lm: Option<MaskedLmNames>,
    /// Endings of names in early conversions, and what transformers calls them today.
    pub aliases: &'static [(&'static str, &'static str)],
    /// The names of the extents in its configuration.
    pub keys: ConfigKeys,
    /// How tokens are numbered for the table of positions.
    pub positions: Positions,
    /// Whether the gradient of the key bias is exactly zero, as it is where attention is the softmax of `q · k` alone:
    /// the bias adds the same number to a whole row of scores, and softmax ignores that.
    pub is_key_bias_inert: bool,
}

impl Architecture {
    /// The architectures that can be loaded.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        ALL.iter().copied()
    }

    /// The architecture that a configuration names by its `model_type` or by one of its classes in transformers.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::all().find(|architecture| {
            let class = name.strip_prefix(architecture.class);
            // The names of another architecture's classes (BertGeneration) may begin with the same letters.
            name == architecture.model_type
                || class.is_some_and(|rest| rest.is_empty() || rest == "Model" || rest.starts_with("For"))
        })
    }

    /// Whether the architecture has a module.
    pub fn has(&self, module: Module) -> bool {
        self.modules.iter().any(|(listed, _)| *listed == module)
    }

    /// The canonical name of a tensor: its name in transformers in the encoder without a head.
    ///
    /// # Panics
    /// When the architecture does not have the module.
    pub fn name(&self, role: Role) -> String {
        let pattern = self.modules.iter().find(|(module, _)| *module == role.module).map(|(_, pattern)| *pattern);
        let pattern = pattern.unwrap_or_else(|| panic!("{} has no {:?}", self.name, role.module));
        format!("{}.{}", pattern.replacen("{}", &role.layer.to_string(), 1), role.part.suffix())
    }

    /// The name of a tensor in a model with a head, and so in a task file.
    ///
    /// # Panics
    /// When the architecture does not have the module.
    pub fn parameter_name(&self, role: Role) -> String {
        format!("{}{}", self.prefix, self.name(role))
    }

    /// The name of a tensor of the last layer of a head over this read-out.
    pub fn classifier_name(&self, pooling: Pooling, part: Part) -> String {
        // Over rows that transformers has no class for, a head is one layer, under the name that most classes use.
        let layer = match pooling {
            Pooling::Pooler => self.head.classifier,
            Pooling::EveryToken => "qa_outputs",
            _ => "classifier",
        };
        format!("{layer}.{}", part.suffix())
    }

    /// The name of a tensor of the dense layer that a head over this read-out has below the last and that is not the
    /// encoder's; `None` where there is no such layer.
    pub fn head_dense_name(&self, pooling: Pooling, part: Part) -> Option<String> {
        let dense = self.head.dense.filter(|_| pooling == Pooling::Pooler)?;
        Some(format!("{dense}.{}", part.suffix()))
    }

    /// Whether a head over this read-out reads the encoder's pooler.
    pub fn reads_pooler(&self, pooling: Pooling) -> bool {
        pooling == Pooling::Pooler && self.head.dense.is_none()
    }

    /// The extents of a tensor in a model of this configuration.
    pub fn shape(&self, role: Role, config: &ModelConfig) -> Vec<usize> {
        role.module.shape(role.part, config)
    }

    /// The role of a tensor by its name in a file: canonical or with the prefix of a model with a head, with today's
    /// endings or those of early conversions. `None` for heads, buffers and everything else that is not part of the
    /// encoder.
    pub fn role(&self, name: &str) -> Option<Role> {
        let name = self.today(name.strip_prefix(self.prefix).unwrap_or(name));
        let (path, suffix) = name.rsplit_once('.')?;
        let part = [Part::Weight, Part::Bias].into_iter().find(|part| part.suffix() == suffix)?;
        self.modules.iter().filter(|(module, _)| part == Part::Weight || module.has_bias()).find_map(
            |&(module, pattern)| {
                let layer = match pattern.split_once("{}") {
                    Some((before, after)) => layer_number(path.strip_prefix(before)?.strip_suffix(after)?)?,
                    None => (path == pattern).then_some(0)?,
                };
                Some(Role { layer, module, part })
            },
        )
    }

    /// The tensor of the head for masked language modelling that a file has under this name; `None` for all others.
    pub fn masked_lm_tensor(&self, name: &str) -> Option<MaskedLmTensor> {
        self.masked_lm.as_ref()?.tensor(&self.today(name))
    }

    /// A name with the endings of today.
    fn today<'a>(&self, name: &'a str) -> Cow<'a, str> {
        let alias = self.aliases.iter().find_map(|(old, new)| Some(format!("{}{new}", name.strip_suffix(old)?)));
        alias.map_or(Cow::Borrowed(name), Cow::Owned)
    }

    /// The tensors that a configuration implies, except the pooler's: the embeddings first, then layer by layer.
    ///
    /// The iterator is lazy, because a configuration may claim a billion layers and the first missing tensor ends the
    /// search.
    pub fn required(&self, config: &ModelConfig) -> impl Iterator<Item = Role> {
        let outside = self.roles(false, 0).filter(|role| role.module != Module::Pooler && role.module.is_in(config));
        outside.chain((0..config.num_hidden_layers).flat_map(|layer| self.roles(true, layer)))
    }

    /// The pooler's tensors; none in an architecture without a pooler. A checkpoint has all of them or none.
    pub fn pooler(&self) -> impl Iterator<Item = Role> {
        self.roles(false, 0).filter(|role| role.module == Module::Pooler)
    }

    /// Whether a tensor's gradient below a head over this read-out is exactly zero, so that it counts as trained and
    /// never moves: a key bias, and the last bias of the encoder where a softmax over the tokens follows
    /// ([`Pooling::ignores_a_shift`]).
    pub fn is_inert(&self, role: Role, pooling: Pooling, config: &ModelConfig) -> bool {
        let is = |module| role == Role::bias(module, role.layer);
        let is_last = role.layer + 1 == config.num_hidden_layers;
        (self.is_key_bias_inert && is(Module::Key))
            || (pooling.ignores_a_shift() && is_last && is(Module::OutputLayerNorm))
    }

    /// The tensors of one layer, or those outside the layers, in the order of the network.
    fn roles(&self, is_in_layers: bool, layer: usize) -> impl Iterator<Item = Role> {
        let modules = Module::iter().filter(move |module| module.is_in_layers() == is_in_layers && self.has(*module));
        modules.flat_map(move |module| {
            let bias = module.has_bias().then(|| Role::bias(module, layer));
            std::iter::once(Role::weight(module, layer)).chain(bias)
        })
    }
}

/// There is one static table for each model type.
impl PartialEq for Architecture {
    fn eq(&self, other: &Self) -> bool {
        self.model_type == other.model_type
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The number of a layer in a name, without leading zeros, so that each tensor has one canonical name.
fn layer_number(digits: &str) -> Option<usize> {
    let number: usize = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_of_a_name_has_one_role() {
        for (name, expected) in [
            ("embeddings.word_embeddings.weight", Some(Role::weight(Module::WordEmbeddings, 0))),
            ("bert.embeddings.word_embeddings.weight", Some(Role::weight(Module::WordEmbeddings, 0))),
            ("bert.encoder.layer.3.output.LayerNorm.beta", Some(Role::bias(Module::OutputLayerNorm, 3))),
            ("embeddings.LayerNorm.gamma", Some(Role::weight(Module::EmbeddingsLayerNorm, 0))),
            ("bert.pooler.dense.bias", Some(Role::bias(Module::Pooler, 0))),
            ("encoder.layer.11.output.dense.bias", Some(Role::bias(Module::Output, 11))),
            ("encoder.layer.03.output.dense.bias", None),
            ("encoder.layer.x.output.dense.bias", None),
            ("encoder.layer.0.output.adapters.a.down.weight", None),
            ("embeddings.word_embeddings.bias", None),
            ("bert.embeddings.position_ids", None),
            ("cls.predictions.transform.LayerNorm.gamma", None),
            ("cls.seq_relationship.weight", None),
            ("classifier.weight", None),
            ("bert", None),
            ("", None),
        ] {
            assert_eq!(BERT.role(name), expected, "{name}");
        }
    }

    #[test]
    fn a_role_and_its_names_lead_to_each_other() {
        let config = crate::fixture::Tiny::new().config();
        for architecture in Architecture::all() {
            for role in architecture.required(&config).chain(architecture.pooler()) {
                for name in [architecture.name(role), architecture.parameter_name(role)] {
                    assert_eq!(architecture.role(&name), Some(role), "{name}");
                }
            }
        }
        let query = Role::bias(Module::Query, 0);
        assert_eq!(BERT.parameter_name(query), "bert.encoder.layer.0.attention.self.query.bias");
        assert_eq!(BERT.classifier_name(Pooling::Pooler, Part::Bias), "classifier.bias");
    }

    #[test]
    fn a_head_for_masked_language_modelling_is_found_by_each_of_its_names() {
        use MaskedLmTensor::{Decoder, Dense, Norm};
        for (architecture, name, expected) in [
            (&BERT, "cls.predictions.transform.dense.weight", Some(Dense(Part::Weight))),
            (&BERT, "cls.predictions.transform.LayerNorm.gamma", Some(Norm(Part::Weight))),
            (&BERT, "cls.predictions.transform.LayerNorm.bias", Some(Norm(Part::Bias))),
            (&BERT, "cls.predictions.bias", Some(Decoder(Part::Bias))),
            (&BERT, "cls.predictions.decoder.bias", Some(Decoder(Part::Bias))),
            (&BERT, "cls.predictions.decoder.weight", Some(Decoder(Part::Weight))),
            (&BERT, "cls.seq_relationship.weight", None),
            (&BERT, "lm_head.bias", None),
            (&XLM_ROBERTA, "lm_head.bias", Some(Decoder(Part::Bias))),
            (&MPNET, "lm_head.layer_norm.weight", Some(Norm(Part::Weight))),
            (&DISTILBERT, "vocab_projector.weight", Some(Decoder(Part::Weight))),
            (&ELECTRA, "generator_lm_head.bias", Some(Decoder(Part::Bias))),
            (&ELECTRA, "discriminator_predictions.dense.weight", None),
            (&throwaway::THROWAWAY, "cls.predictions.bias", None),
        ] {
            assert_eq!(architecture.masked_lm_tensor(name), expected, "{name}");
        }
    }

    #[test]
    fn an_architecture_is_found_by_its_model_type_or_a_class() {
        for name in ["bert", "Bert", "BertModel", "BertForMaskedLM"] {
            assert_eq!(Architecture::named(name), Some(&BERT), "{name}");
        }
        for (name, model_type) in [
            ("roberta", "roberta"),
            ("RobertaForMaskedLM", "roberta"),
            ("XLMRobertaModel", "xlm-roberta"),
            ("CamembertForMaskedLM", "camembert"),
            ("DistilBertForMaskedLM", "distilbert"),
            ("ElectraForPreTraining", "electra"),
            ("MPNetForMaskedLM", "mpnet"),
        ] {
            assert_eq!(Architecture::named(name).unwrap().model_type, model_type, "{name}");
        }
        for name in ["BertGeneration", "bert-generation", "RobertaPreLayerNormModel", "deberta", ""] {
            assert_eq!(Architecture::named(name), None, "{name}");
        }
    }
}
