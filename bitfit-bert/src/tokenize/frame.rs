//! Where the special tokens go: the tokenizers crate's post-processor, tried out when a tokenizer is opened.
//!
//! The crate trusts its post-processors: a pair's `$B` in the template of a single text, a special token that is not
//! declared, or two templates in a sequence end in a panic or in a text that is left out. So each is run once on marked
//! texts, and is refused unless both come out whole, once, with as many tokens beside them as it announces.

use serde_json::{Value, json};
use tokenizers::processors::bert::BertProcessing;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{Encoding, PostProcessor, PostProcessorWrapper};

use super::class::Class;
use super::guarded;

/// A post-processor that is known to work; none leaves the texts as they are.
pub(super) struct Frame {
    processor: Option<PostProcessorWrapper>,
    /// What it made of the marked texts: a single one, and a pair.
    trial: [Encoding; 2],
}

/// The ids of the two texts that a post-processor is tried on. No vocabulary reaches so far (`check::MAX_ID`).
const MARKS: [&[u32]; 2] = [&[u32::MAX - 1, u32::MAX - 2], &[u32::MAX - 3]];

impl Frame {
    /// Tries a post-processor.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn new(processor: Option<PostProcessorWrapper>) -> Result<Self, String> {
        let mut frame = Self { processor, trial: Default::default() };
        let [a, b] = MARKS;
        let single = frame.attempt(a, None)?;
        let pair = frame.attempt(a, Some(b))?;
        frame.attempt(&[], Some(&[]))?;
        frame.attempt(&[], None)?;
        for (trial, texts, what) in [(&single, [1, 0], "a single text"), (&pair, [1, 1], "a pair of texts")] {
            let ids = trial.get_ids();
            let whole = |mark: &[u32], times| {
                ids.windows(mark.len()).filter(|window| *window == mark).count() == times
                    && ids.iter().filter(|id| mark.contains(id)).count() == times * mark.len()
            };
            if !whole(a, texts[0]) || !whole(b, texts[1]) {
                return Err(format!("for {what}, each text must occur exactly once"));
            }
            let special = ids.len() - texts[0] * a.len() - texts[1] * b.len();
            let announced = frame.special_tokens(texts[1] == 1);
            if special != announced {
                return Err(format!("for {what}, {announced} special tokens are announced but {special} are put in"));
            }
        }
        frame.trial = [single, pair];
        Ok(frame)
    }

    /// The post-processor of a class, with the tokens that it puts before and behind a text; `None` for a class that
    /// has none.
    pub fn of_class(class: Class, first: (String, u32), last: (String, u32)) -> Option<PostProcessorWrapper> {
        match class {
            Class::File => None,
            Class::Bert | Class::ConvBert | Class::Albert | Class::DebertaV2 => Some(Self::bert(first, last)),
            Class::MPNet | Class::Roberta | Class::Deberta | Class::XlmRoberta | Class::Camembert => {
                Some(Self::roberta(first, last))
            }
            Class::Funnel => Self::funnel(first, last),
        }
    }

    /// `[CLS] A [SEP]` and `[CLS] A [SEP] B [SEP]`, the second text and its separator of type 1.
    fn bert(cls: (String, u32), sep: (String, u32)) -> PostProcessorWrapper {
        BertProcessing::new(sep, cls).into()
    }

    /// `<s> A </s>` and `<s> A </s></s> B </s>`, everything of type 0.
    fn roberta(cls: (String, u32), sep: (String, u32)) -> PostProcessorWrapper {
        RobertaProcessing::new(sep, cls).trim_offsets(true).add_prefix_space(false).into()
    }

    /// BERT's, with `<cls>` of type 2.
    fn funnel(cls: (String, u32), sep: (String, u32)) -> Option<PostProcessorWrapper> {
        let special =
            |token: &(String, u32), type_id: u32| json!({"SpecialToken": {"id": token.0, "type_id": type_id}});
        let text = |id: &str, type_id: u32| json!({"Sequence": {"id": id, "type_id": type_id}});
        let tokens =
            [&cls, &sep].map(|(token, id)| (token.clone(), json!({"id": token, "ids": [id], "tokens": [token]})));
        let template = json!({
            "type": "TemplateProcessing",
            "single": [special(&cls, 2), text("A", 0), special(&sep, 0)],
            "pair": [special(&cls, 2), text("A", 0), special(&sep, 0), text("B", 1), special(&sep, 1)],
            "special_tokens": serde_json::Map::from_iter(tokens),
        });
        serde_json::from_value(template).ok()
    }

    /// Reads the `post_processor` of a `tokenizer.json`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn read(json: &Value) -> Result<Option<PostProcessorWrapper>, String> {
        if json.is_null() {
            return Ok(None);
        }
        let processor: PostProcessorWrapper = guarded(|| serde_json::from_value(json.clone()))?
            .map_err(|error| format!("expected a post-processor that the tokenizers library knows: {error}"))?;
        check_types(json, &processor)?;
        Ok(Some(processor))
    }

    /// How many special tokens are put around a text, or around the two of a pair.
    pub fn special_tokens(&self, is_pair: bool) -> usize {
        self.processor.as_ref().map_or(0, |processor| processor.added_tokens(is_pair))
    }

    /// How many special tokens are put before a single text.
    pub fn before(&self) -> usize {
        self.trial[0].get_ids().iter().take_while(|&&id| id != MARKS[0][0]).count()
    }

    /// How many special tokens are put before the second text of a pair, those before the first included.
    pub fn before_second(&self) -> usize {
        let [first, second] = MARKS;
        self.trial[1].get_ids().iter().take_while(|&&id| id != second[0]).filter(|id| !first.contains(id)).count()
    }

    /// Whether this frame does what the other one does.
    pub fn same_as(&self, other: &Self) -> bool {
        let parts = |frame: &Self| {
            frame.trial.each_ref().map(|trial| (trial.get_ids().to_vec(), trial.get_type_ids().to_vec()))
        };
        parts(self) == parts(other)
    }

    /// What the frame makes of a single text and of a pair, for a fingerprint: two that agree here agree everywhere.
    pub fn trial(&self) -> &[Encoding; 2] {
        &self.trial
    }

    /// Puts the special tokens around one text or two.
    pub fn apply(&self, first: Encoding, second: Option<Encoding>) -> tokenizers::Result<Encoding> {
        match &self.processor {
            Some(processor) => processor.process(first, second, true),
            None => {
                let second = second.map(|mut second| {
                    second.set_type_ids(vec![1; second.len()]);
                    second
                });
                Ok(Encoding::merge([Some(first), second].into_iter().flatten(), false))
            }
        }
    }

    fn attempt(&self, first: &[u32], second: Option<&[u32]>) -> Result<Encoding, String> {
        let encoding = |ids: &[u32]| {
            let token = |&id| tokenizers::Token::new(id, String::new(), (0, 0));
            Encoding::from_tokens(ids.iter().map(token).collect(), 0)
        };
        guarded(|| self.apply(encoding(first), second.map(encoding)))?.map_err(|error| error.to_string())
    }
}

/// Refuses a processor whose fields are those of another type than the one it names, because the crate takes it by its
/// fields, and a template with a special token that it does not declare.
fn check_types(json: &Value, processor: &PostProcessorWrapper) -> Result<(), String> {
    let read = match processor {
        PostProcessorWrapper::Bert(_) => "BertProcessing",
        PostProcessorWrapper::Roberta(_) => "RobertaProcessing",
        PostProcessorWrapper::ByteLevel(_) => "ByteLevel",
        PostProcessorWrapper::Template(_) => {
            let pieces = ["single", "pair"].into_iter().filter_map(|key| json[key].as_array()).flatten();
            for id in pieces.filter_map(|piece| piece["SpecialToken"]["id"].as_str()) {
                if json["special_tokens"].get(id).is_none() {
                    return Err(format!("the special token {id:?} is not among its special_tokens"));
                }
            }
            "TemplateProcessing"
        }
        PostProcessorWrapper::Sequence(sequence) => {
            let parts = json["processors"].as_array().map(Vec::as_slice).unwrap_or_default();
            parts.iter().zip(sequence.as_ref()).try_for_each(|(json, part)| check_types(json, part))?;
            "Sequence"
        }
    };
    match json["type"].as_str() {
        Some(named) if named == read => Ok(()),
        named => Err(format!("expected the fields of {:?}, found those of {read}", named.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> Value {
        let special = |id: &str, type_id: u32| json!({"SpecialToken": {"id": id, "type_id": type_id}});
        let text = |id: &str, type_id: u32| json!({"Sequence": {"id": id, "type_id": type_id}});
        json!({
            "type": "TemplateProcessing",
            "single": [special("[CLS]", 0), text("A", 0), special("[SEP]", 0)],
            "pair": [special("[CLS]", 0), text("A", 0), special("[SEP]", 0), text("B", 1), special("[SEP]", 1)],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]},
            },
        })
    }

    fn frame(json: &Value) -> Result<Frame, String> {
        Frame::new(Frame::read(json)?)
    }

    fn apply(frame: &Frame, first: &[u32], second: Option<&[u32]>) -> (Vec<u32>, Vec<u32>) {
        let encoding = frame.attempt(first, second).unwrap();
        (encoding.get_ids().to_vec(), encoding.get_type_ids().to_vec())
    }

    #[test]
    fn the_published_template_is_the_one_of_bert() {
        let bert = json!({"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]});
        let byte_level =
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
        let one = json!({"type": "Sequence", "processors": [template()]});
        let two = json!({"type": "Sequence", "processors": [byte_level, bert.clone()]});
        let own = Frame::new(Some(Frame::bert(("[CLS]".into(), 2), ("[SEP]".into(), 3)))).unwrap();
        for frame in
            [own, frame(&template()).unwrap(), frame(&bert).unwrap(), frame(&one).unwrap(), frame(&two).unwrap()]
        {
            assert_eq!(apply(&frame, &[7, 8], None), (vec![2, 7, 8, 3], vec![0; 4]));
            assert_eq!(apply(&frame, &[7, 8], Some(&[9])), (vec![2, 7, 8, 3, 9, 3], vec![0, 0, 0, 0, 1, 1]));
            assert_eq!(apply(&frame, &[], Some(&[])), (vec![2, 3, 3], vec![0, 0, 1]));
            assert_eq!((frame.special_tokens(false), frame.special_tokens(true)), (2, 3));
        }
    }

    #[test]
    fn the_frame_of_roberta_has_two_separators_and_one_type() {
        let roberta = json!({
            "type": "RobertaProcessing", "cls": ["<s>", 0], "sep": ["</s>", 2],
            "trim_offsets": true, "add_prefix_space": false,
        });
        let own = Frame::new(Some(Frame::roberta(("<s>".into(), 0), ("</s>".into(), 2)))).unwrap();
        for frame in [own, frame(&roberta).unwrap()] {
            assert_eq!(apply(&frame, &[7, 8], Some(&[9])), (vec![0, 7, 8, 2, 2, 9, 2], vec![0; 7]));
            assert_eq!((frame.special_tokens(false), frame.special_tokens(true)), (2, 4));
        }
    }

    #[test]
    fn without_a_processor_the_texts_stay_bare() {
        assert!(Frame::read(&Value::Null).unwrap().is_none());
        let bare = Frame::new(None).unwrap();
        assert_eq!(apply(&bare, &[7], Some(&[9, 9])), (vec![7, 9, 9], vec![0, 1, 1]));
        assert_eq!(apply(&bare, &[7], None), (vec![7], vec![0]));
        assert_eq!(bare.special_tokens(true), 0);
    }

    #[test]
    fn hostile_templates_are_refused() {
        let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
        for (path, value) in [
            ("/single", json!([text("A"), text("B")])),
            ("/single", json!([text("B")])),
            ("/single", json!([])),
            ("/single", json!("$A")),
            ("/single", json!([text("A"), text("A")])),
            ("/pair", json!([text("A")])),
            ("/pair", json!([text("A"), text("A"), text("B")])),
            ("/pair/0/SpecialToken/id", json!("[GONE]")),
            ("/pair/0/SpecialToken/type_id", json!(-1)),
            ("/pair/0", json!({})),
            ("/special_tokens/[CLS]/ids/0", json!(4_294_967_296_u64)),
            ("/special_tokens/[CLS]/ids/0", json!(MARKS[1][0])),
            ("/special_tokens", Value::Null),
            ("/type", json!("RobertaProcessing")),
            ("/type", json!("Unheard")),
            ("/type", json!(3)),
        ] {
            let mut hostile = template();
            *hostile.pointer_mut(path).unwrap() = value;
            assert!(frame(&hostile).is_err(), "{path}");
            assert!(frame(&json!({"type": "Sequence", "processors": [hostile]})).is_err(), "{path} in a sequence");
        }
        // The second template sees five parts where it expects one text or two.
        assert!(frame(&json!({"type": "Sequence", "processors": [template(), template()]})).is_err());
    }
}
