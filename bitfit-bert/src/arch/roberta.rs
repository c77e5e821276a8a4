//! RoBERTa and its relatives by other data: XLM-RoBERTa and CamemBERT. BERT's arithmetic and names; positions begin
//! behind the padding's id, and the head has a dense layer of its own in the place of a pooler.
//!
//! Papers: Liu et al., arXiv 1907.11692; Conneau et al., arXiv 1911.02116; Martin et al., arXiv 1911.03894. Reference
//! implementation: `RobertaModel` and `RobertaForSequenceClassification` in `models/roberta/modeling_roberta.py` of
//! Hugging Face transformers, and their copies in `models/xlm_roberta` and `models/camembert`.

use bitfit_core::ops::activation::Activation;

use super::bert::MODULES;
use super::{Architecture, ConfigKeys, LM_HEAD, Module, OwnHead, Positions, TENSORFLOW_ALIASES};

/// `model_type` "roberta".
pub static ROBERTA: Architecture = relative("roberta", "RoBERTa", "Roberta");
/// `model_type` "xlm-roberta": RoBERTa over a hundred languages.
pub static XLM_ROBERTA: Architecture = relative("xlm-roberta", "XLM-RoBERTa", "XLMRoberta");
/// `model_type` "camembert": RoBERTa for French.
pub static CAMEMBERT: Architecture = relative("camembert", "CamemBERT", "Camembert");

const fn relative(model_type: &'static str, name: &'static str, class: &'static str) -> Architecture {
    Architecture {
        model_type,
        name,
        class,
        prefix: "roberta.",
        // A pooler that a checkpoint may have belongs to none of the classes that are fine-tuned.
        modules: without_pooler(),
        head: OwnHead {
            dense: Some("classifier.dense"),
            activation: Activation::Tanh,
            has_dropout_before_dense: true,
            classifier: "classifier.out_proj",
        },
        masked_lm: Some(LM_HEAD),
        aliases: TENSORFLOW_ALIASES,
        keys: ConfigKeys::BERT,
        positions: Positions::AfterPadding(None),
        is_key_bias_inert: true,
    }
}

/// BERT's modules but for the last, its pooler.
const fn without_pooler() -> &'static [(Module, &'static str)] {
    let (modules, pooler) = MODULES.split_at(MODULES.len() - 1);
    assert!(matches!(pooler[0].0, Module::Pooler));
    modules
}
