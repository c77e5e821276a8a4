//! Where the special tokens go: a tokenizer's post-processor, reduced to what a packed batch needs.
//!
//! The post-processors of the tokenizers crate carry strings, offsets and overflows through every insertion, and trust
//! their templates (a pair's `$B` in the template of a single text is an index out of range). This one is two lists of
//! ids, checked when the tokenizer is opened.

use serde_json::Value;

use super::Encoding;

/// The arrangement of a single text and of a pair.
pub(super) struct Template {
    single: Vec<Piece>,
    pair: Vec<Piece>,
}

enum Piece {
    /// The tokens of text 0 or 1.
    Text {
        index: usize,
        type_id: u32,
    },
    Special {
        ids: Vec<u32>,
        type_id: u32,
    },
}

impl Template {
    /// `[CLS] A [SEP]` and `[CLS] A [SEP] B [SEP]`, the second text and its separator of type 1.
    pub fn bert(cls: u32, sep: u32) -> Self {
        let special = |id, type_id| Piece::Special { ids: vec![id], type_id };
        let first = || vec![special(cls, 0), Piece::Text { index: 0, type_id: 0 }, special(sep, 0)];
        let mut pair = first();
        pair.extend([Piece::Text { index: 1, type_id: 1 }, special(sep, 1)]);
        Self { single: first(), pair }
    }

    /// The texts alone, as a tokenizer without a post-processor leaves them.
    pub fn bare() -> Self {
        let text = |index| Piece::Text { index, type_id: index as u32 };
        Self { single: vec![text(0)], pair: vec![text(0), text(1)] }
    }

    /// Reads the `post_processor` of a tokenizer.json: `TemplateProcessing`, `BertProcessing`, or none.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it or not supported.
    pub fn from_json(processor: &Value) -> Result<Option<Self>, String> {
        match processor["type"].as_str() {
            None if processor.is_null() => Ok(None),
            Some("TemplateProcessing") => {
                let specials = &processor["special_tokens"];
                let single = pieces(&processor["single"], specials, 1)
                    .ok_or("the post-processor's template for a single text is malformed")?;
                let pair = pieces(&processor["pair"], specials, 2)
                    .ok_or("the post-processor's template for a pair of texts is malformed")?;
                Ok(Some(Self { single, pair }))
            }
            Some("BertProcessing") => {
                let id = |key: &str| u32::try_from(processor[key][1].as_u64()?).ok();
                let ids = id("cls").zip(id("sep")).ok_or("the post-processor lacks the ids of cls and sep")?;
                Ok(Some(Self::bert(ids.0, ids.1)))
            }
            other => Err(format!("the post-processor {} is not supported", other.unwrap_or("without a type"))),
        }
    }

    /// How many special tokens join one text, or two.
    pub fn special_count(&self, is_pair: bool) -> usize {
        let count = |piece: &Piece| if let Piece::Special { ids, .. } = piece { ids.len() } else { 0 };
        self.pieces(is_pair).iter().map(count).sum()
    }

    /// Puts the special tokens around the ids of one text or two.
    pub fn assemble(&self, first: &[u32], second: Option<&[u32]>) -> Encoding {
        let texts = [first, second.unwrap_or_default()];
        let mut encoding = Encoding::default();
        for piece in self.pieces(second.is_some()) {
            let (ids, type_id) = match piece {
                Piece::Text { index, type_id } => (texts[*index], *type_id),
                Piece::Special { ids, type_id } => (&ids[..], *type_id),
            };
            encoding.ids.extend_from_slice(ids);
            encoding.type_ids.resize(encoding.ids.len(), type_id);
        }
        encoding
    }

    fn pieces(&self, is_pair: bool) -> &[Piece] {
        if is_pair { &self.pair } else { &self.single }
    }
}

/// The pieces of one template, in which each of the `texts` texts occurs once.
fn pieces(template: &Value, specials: &Value, texts: usize) -> Option<Vec<Piece>> {
    let number = |value: &Value| u32::try_from(value.as_u64()?).ok();
    let piece = |piece: &Value| {
        let (kind, value) = piece.as_object()?.iter().next()?;
        let type_id = number(&value["type_id"])?;
        match (kind.as_str(), value["id"].as_str()?) {
            ("Sequence", "A") => Some(Piece::Text { index: 0, type_id }),
            ("Sequence", "B") => Some(Piece::Text { index: 1, type_id }),
            ("SpecialToken", token) => {
                let ids = specials.get(token)?.get("ids")?.as_array()?.iter().map(number).collect::<Option<_>>()?;
                Some(Piece::Special { ids, type_id })
            }
            _ => None,
        }
    };
    let pieces: Vec<Piece> = template.as_array()?.iter().map(piece).collect::<Option<_>>()?;
    let occurrences =
        |text: usize| pieces.iter().filter(|p| matches!(p, Piece::Text { index, .. } if *index == text)).count();
    (0..2).all(|text| occurrences(text) == usize::from(text < texts)).then_some(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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

    #[test]
    fn the_published_template_is_the_one_of_bert() {
        let bert = json!({"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]});
        let read = |json| Template::from_json(json).unwrap().unwrap();
        for template in [Template::bert(2, 3), read(&template()), read(&bert)] {
            let single = template.assemble(&[7, 8], None);
            assert_eq!((single.ids, single.type_ids), (vec![2, 7, 8, 3], vec![0; 4]));
            let pair = template.assemble(&[7, 8], Some(&[9]));
            assert_eq!((pair.ids, pair.type_ids), (vec![2, 7, 8, 3, 9, 3], vec![0, 0, 0, 0, 1, 1]));
            assert_eq!((template.special_count(false), template.special_count(true)), (2, 3));
            assert_eq!(template.assemble(&[], Some(&[])).ids, [2, 3, 3]);
        }
    }

    #[test]
    fn without_a_processor_the_texts_stay_bare() {
        assert!(Template::from_json(&Value::Null).unwrap().is_none());
        let bare = Template::bare().assemble(&[7], Some(&[9, 9]));
        assert_eq!((bare.ids, bare.type_ids), (vec![7, 9, 9], vec![0, 1, 1]));
    }

    #[test]
    fn hostile_templates_are_refused() {
        let text = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
        for (path, value) in [
            ("/single", json!([text("A"), text("B")])),
            ("/single", json!([text("B")])),
            ("/single", json!([])),
            ("/single", json!("$A")),
            ("/pair", json!([text("A")])),
            ("/pair", json!([text("A"), text("A"), text("B")])),
            ("/pair/0/SpecialToken/id", json!("[GONE]")),
            ("/pair/0/SpecialToken/type_id", json!(-1)),
            ("/pair/0", json!({})),
            ("/special_tokens/[CLS]/ids/0", json!(4_294_967_296_u64)),
            ("/special_tokens", Value::Null),
            ("/type", json!("RobertaProcessing")),
            ("/type", json!(3)),
        ] {
            let mut hostile = template();
            *hostile.pointer_mut(path).unwrap() = value;
            assert!(Template::from_json(&hostile).is_err(), "{path}");
        }
    }
}
