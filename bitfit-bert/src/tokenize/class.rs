//! Which of transformers' tokenizer classes reads a model directory, and what each of them has by itself: the files it
//! reads, its special tokens, and the post-processor that it makes of them.
//!
//! The class is the one that `tokenizer_config.json` names, or else `config.json`, or else the one that transformers
//! has for the `model_type` of `config.json`. What is not listed here is refused by name.

use std::path::Path;

use serde_json::{Map, Value};

use super::config::{FILE_NAME, object, short};
use super::wrong;
use crate::{Result, config};

/// What a `tokenizer_class` means for the ids. A class is read without its suffix `Fast`, which changes nothing.
///
/// All but [`Class::File`] and [`Class::ConvBert`] take a `tokenizer.json` for its vocabulary, merges and character
/// map, and set up normalizer, pre-tokenizer and post-processor by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// BERT's own class, or one that is the same under another name: WordPiece, with [CLS] and [SEP] around a text.
    Bert,
    /// ConvBERT's: BERT's, but what a `tokenizer.json` says of normalizer and pre-tokenizer stands.
    ConvBert,
    /// Funnel Transformer's: BERT's with other names and a third token type.
    Funnel,
    /// MPNet's: WordPiece, with `<s>` and `</s>` around a text.
    MPNet,
    /// RoBERTa's: BPE at the level of bytes, with `<s>` and `</s>` around a text.
    Roberta,
    /// DeBERTa's: RoBERTa's with the names of BERT.
    Deberta,
    /// XLM-R's: SentencePiece's Unigram.
    XlmRoberta,
    /// CamemBERT's: XLM-R's with more special tokens.
    Camembert,
    /// ALBERT's: Unigram that lower-cases and takes accents off.
    Albert,
    /// DeBERTa-v2's and DeBERTa-v3's: Unigram with a normalizer of its own.
    DebertaV2,
    /// What does everything that `tokenizer.json` says, and has nothing by itself.
    File,
}

/// The files that a class reads where there is no `tokenizer.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Files {
    /// `vocab.txt`
    WordPiece,
    /// `vocab.json` and `merges.txt`
    Bpe,
    /// A model of SentencePiece, by its usual name.
    SentencePiece(&'static str),
    /// None.
    Json,
}

/// A special token of a class: the setting that names it, what it is where the files do not say, and whether it takes
/// the spaces before it.
pub(super) struct Special {
    pub key: &'static str,
    pub default: &'static str,
    pub lstrip: bool,
}

const fn special(key: &'static str, default: &'static str) -> Special {
    Special { key, default, lstrip: false }
}

const fn word(key: &'static str, default: &'static str) -> Special {
    Special { key, default, lstrip: true }
}

/// The settings that name special tokens, in the order in which transformers adds them.
pub(super) const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

const BERT: &[Special] = &[
    special("unk_token", "[UNK]"),
    special("sep_token", "[SEP]"),
    special("pad_token", "[PAD]"),
    special("cls_token", "[CLS]"),
    special("mask_token", "[MASK]"),
];
const DEBERTA: &[Special] = &[
    special("bos_token", "[CLS]"),
    special("eos_token", "[SEP]"),
    special("unk_token", "[UNK]"),
    special("sep_token", "[SEP]"),
    special("pad_token", "[PAD]"),
    special("cls_token", "[CLS]"),
    special("mask_token", "[MASK]"),
];
const FUNNEL: &[Special] = &[
    special("bos_token", "<s>"),
    special("eos_token", "</s>"),
    special("unk_token", "<unk>"),
    special("sep_token", "<sep>"),
    special("pad_token", "<pad>"),
    special("cls_token", "<cls>"),
    special("mask_token", "<mask>"),
];
const MPNET: &[Special] = &[
    special("bos_token", "<s>"),
    special("eos_token", "</s>"),
    special("unk_token", "[UNK]"),
    special("sep_token", "</s>"),
    special("pad_token", "<pad>"),
    special("cls_token", "<s>"),
    word("mask_token", "<mask>"),
];
const ROBERTA: &[Special] = &[
    special("bos_token", "<s>"),
    special("eos_token", "</s>"),
    special("unk_token", "<unk>"),
    special("sep_token", "</s>"),
    special("pad_token", "<pad>"),
    special("cls_token", "<s>"),
    special("mask_token", "<mask>"),
];
const CAMEMBERT: &[Special] = &[
    special("bos_token", "<s>"),
    special("eos_token", "</s>"),
    special("unk_token", "<unk>"),
    special("sep_token", "</s>"),
    special("pad_token", "<pad>"),
    special("cls_token", "<s>"),
    word("mask_token", "<mask>"),
];
const ALBERT: &[Special] = &[
    special("bos_token", "[CLS]"),
    special("eos_token", "[SEP]"),
    special("unk_token", "<unk>"),
    special("sep_token", "[SEP]"),
    special("pad_token", "<pad>"),
    special("cls_token", "[CLS]"),
    special("mask_token", "[MASK]"),
];

/// The class that transformers has for a `model_type` where no file names a class.
const MODEL_TYPES: [(&str, &str); 42] = [
    ("albert", "AlbertTokenizer"),
    ("bart", "RobertaTokenizer"),
    ("bert", "BertTokenizer"),
    ("bert-japanese", "BertJapaneseTokenizer"),
    ("bertweet", "BertweetTokenizer"),
    ("camembert", "CamembertTokenizer"),
    ("canine", "CanineTokenizer"),
    ("convbert", "BertTokenizer"),
    ("data2vec-text", "RobertaTokenizer"),
    ("deberta", "DebertaTokenizer"),
    ("deberta-v2", "DebertaV2Tokenizer"),
    ("distilbert", "BertTokenizer"),
    ("electra", "BertTokenizer"),
    ("ernie", "BertTokenizer"),
    ("esm", "EsmTokenizer"),
    ("flaubert", "FlaubertTokenizer"),
    ("funnel", "FunnelTokenizer"),
    ("gte", "XLMRobertaTokenizer"),
    ("ibert", "RobertaTokenizer"),
    ("jina_embeddings_v3", "XLMRobertaTokenizer"),
    ("layoutlm", "BertTokenizer"),
    ("lilt", "RobertaTokenizer"),
    ("longformer", "RobertaTokenizer"),
    ("lxmert", "LxmertTokenizer"),
    ("megatron-bert", "BertTokenizer"),
    ("mobilebert", "MobileBertTokenizer"),
    ("modernbert", "TokenizersBackend"),
    ("mpnet", "MPNetTokenizer"),
    ("nomic_bert", "BertTokenizer"),
    ("nystromformer", "TokenizersBackend"),
    ("phobert", "PhobertTokenizer"),
    ("roberta", "RobertaTokenizer"),
    ("roberta-prelayernorm", "RobertaTokenizer"),
    ("roc_bert", "RoCBertTokenizer"),
    ("roformer", "RoFormerTokenizer"),
    ("splinter", "SplinterTokenizer"),
    ("squeezebert", "BertTokenizer"),
    ("tapas", "TapasTokenizer"),
    ("xlm-roberta", "XLMRobertaTokenizer"),
    ("xlm-roberta-xl", "TokenizersBackend"),
    ("xmod", "XLMRobertaTokenizer"),
    ("yoso", "AlbertTokenizer"),
];

/// Why a class cannot be had from its files: it does more than the tokenizers library.
const REFUSED: [(&str, &str); 14] = [
    ("BertJapaneseTokenizer", "it finds words with a morphological analyser (MeCab, Sudachi, Juman++)"),
    ("BertweetTokenizer", "it normalizes tweets in Python before it looks tokens up"),
    ("CanineTokenizer", "it takes code points for ids"),
    ("CharacterBertTokenizer", "its model reads characters and has no vocabulary of tokens"),
    ("DPRContextEncoderTokenizer", "it does not read the case switches that its files have"),
    ("DPRQuestionEncoderTokenizer", "it does not read the case switches that its files have"),
    ("EsmTokenizer", "it splits text in Python"),
    ("FlaubertTokenizer", "it splits text in Python, by the rules of Moses"),
    ("PhobertTokenizer", "it splits text in Python, and expects words that another program has segmented"),
    ("RoCBertTokenizer", "it gives each character a shape and a pronunciation as well"),
    ("RoFormerTokenizer", "it finds Chinese words with jieba"),
    ("SplinterTokenizer", "it puts a question token into every pair"),
    ("TapasTokenizer", "it reads tables"),
    ("XLMTokenizer", "it splits text in Python, by the rules of Moses"),
];

impl Class {
    /// The class of a model directory whose `tokenizer_config.json` has these keys. `None` where neither file names a
    /// class and `config.json` has no model type, or where there is no such file.
    pub fn of(dir: &Path, keys: &Map<String, Value>) -> Result<Option<Self>> {
        const KEY: &str = "tokenizer_class";
        let not_null = |value: &Value| !value.is_null();
        // What else is wrong with the model's configuration is not the tokenizer's to say.
        let config_path = dir.join(config::FILE_NAME);
        let model = object(&config_path).ok().flatten().unwrap_or_default();
        let model_type = model.get("model_type").and_then(Value::as_str);
        let listed = MODEL_TYPES.iter().find(|(listed, _)| Some(*listed) == model_type);
        let (path, value) = match (keys.get(KEY).filter(|&value| not_null(value)), model.get(KEY)) {
            (Some(value), _) => (dir.join(FILE_NAME), value),
            (None, Some(value)) if not_null(value) => (config_path, value),
            _ => {
                let Some(model_type) = model_type else { return Ok(None) };
                let Some((_, name)) = listed else {
                    let reason = format!(
                        "no \"tokenizer_class\", and that of the model type {} is not known here; name it in \
                         {FILE_NAME}",
                        short(&model_type.into())
                    );
                    return Err(wrong(&config_path, reason));
                };
                let refused = |reason| {
                    let reason = format!("the model type {model_type:?} has the tokenizer {name}: {reason}");
                    wrong(&config_path, reason)
                };
                return Self::named(name).map(Some).map_err(refused);
            }
        };
        // transformers does not trust the class in the files of these.
        if listed.is_some_and(|(_, class)| *class == "TokenizersBackend") {
            return Ok(Some(Self::File));
        }
        let refused = |reason| {
            let name = short(value);
            wrong(&path, format!("the \"tokenizer_class\" {name} is not supported: {reason}"))
        };
        Self::named(value.as_str().unwrap_or_default()).map(Some).map_err(refused)
    }

    /// The class of a name; the error says why there is none.
    fn named(name: &str) -> Result<Self, String> {
        match name.strip_suffix("Fast").unwrap_or(name) {
            "BertTokenizer"
            | "DistilBertTokenizer"
            | "ElectraTokenizer"
            | "LayoutLMTokenizer"
            | "LxmertTokenizer"
            | "MobileBertTokenizer"
            | "SqueezeBertTokenizer" => Ok(Self::Bert),
            "ConvBertTokenizer" => Ok(Self::ConvBert),
            "FunnelTokenizer" => Ok(Self::Funnel),
            "MPNetTokenizer" => Ok(Self::MPNet),
            "RobertaTokenizer" | "LongformerTokenizer" | "BartTokenizer" | "LEDTokenizer" | "MvpTokenizer" => {
                Ok(Self::Roberta)
            }
            "DebertaTokenizer" => Ok(Self::Deberta),
            "XLMRobertaTokenizer" => Ok(Self::XlmRoberta),
            "CamembertTokenizer" => Ok(Self::Camembert),
            "AlbertTokenizer" => Ok(Self::Albert),
            "DebertaV2Tokenizer" => Ok(Self::DebertaV2),
            "PreTrainedTokenizer" | "TokenizersBackend" => Ok(Self::File),
            bare => Err(match REFUSED.iter().find(|(refused, _)| *refused == bare) {
                Some((_, reason)) => (*reason).to_owned(),
                None => "expected BertTokenizer, MPNetTokenizer, RobertaTokenizer, XLMRobertaTokenizer or another \
                         class of the BERT family, or one that a tokenizer.json describes in full \
                         (PreTrainedTokenizerFast, TokenizersBackend)"
                    .into(),
            }),
        }
    }

    /// The files that the class reads where there is no `tokenizer.json`.
    pub fn files(self) -> Files {
        match self {
            Self::Bert | Self::ConvBert | Self::Funnel | Self::MPNet => Files::WordPiece,
            Self::Roberta | Self::Deberta => Files::Bpe,
            Self::XlmRoberta | Self::Camembert => Files::SentencePiece("sentencepiece.bpe.model"),
            Self::Albert => Files::SentencePiece("spiece.model"),
            Self::DebertaV2 => Files::SentencePiece("spm.model"),
            Self::File => Files::Json,
        }
    }

    /// The special tokens that the class has where its files do not say otherwise, in the order of [`NAMED`].
    pub fn specials(self) -> &'static [Special] {
        match self {
            Self::Bert | Self::ConvBert => BERT,
            Self::Funnel => FUNNEL,
            Self::MPNet => MPNET,
            Self::Roberta | Self::XlmRoberta => ROBERTA,
            Self::Deberta | Self::DebertaV2 => DEBERTA,
            Self::Camembert => CAMEMBERT,
            Self::Albert => ALBERT,
            Self::File => &[],
        }
    }

    /// Further special tokens that the class has where its files name none.
    pub fn extra_specials(self) -> &'static [&'static str] {
        match self {
            Self::Camembert => &["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"],
            _ => &[],
        }
    }

    /// The settings of the tokens that the class puts before and behind a text; `None` if it puts none by itself.
    pub fn frame_keys(self) -> Option<[&'static str; 2]> {
        match self {
            Self::File => None,
            Self::XlmRoberta | Self::Camembert => Some(["bos_token", "eos_token"]),
            _ => Some(["cls_token", "sep_token"]),
        }
    }
}
