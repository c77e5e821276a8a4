//! One answer of `predict`, as a line of text and as JSON.

use anyhow::{Result, anyhow};
use bitfit_bert::Predictor;
use bitfit_bert::data::{Example, Labels};
use bitfit_bert::heads::{Candidate, Prediction, WordTag};
use bitfit_bert::metrics::entity_f1;
use bitfit_core::Backend;
use serde::{Serialize, Serializer};
use serde_json::json;

use crate::text;

/// The tag of a word outside of every entity.
const OUTSIDE: &str = "O";

/// What stands between the labels of a text, and between their probabilities.
const SEPARATOR: &str = ";";

/// One line of output; its serialisation is the JSON that `--help` describes.
#[derive(Serialize)]
pub struct Answer<'a> {
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pair: Option<&'a str>,
    #[serde(flatten)]
    verdict: Verdict<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Verdict<'a> {
    Class {
        /// `None` for a text that is rejected.
        label: Option<&'a str>,
        probability: f32,
        #[serde(serialize_with = "as_object")]
        probabilities: Vec<(&'a str, f32)>,
    },
    Score {
        score: f32,
    },
    Labels {
        labels: Vec<&'a str>,
        #[serde(serialize_with = "as_object")]
        probabilities: Vec<(&'a str, f32)>,
    },
    Answer {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        answer: Option<&'a str>,
        /// The first character of the answer in its context, from 0, and the one behind its last.
        start: Option<usize>,
        end: Option<usize>,
        probability: f32,
    },
    Tags {
        words: Vec<&'a str>,
        tags: Vec<&'a str>,
        probabilities: Vec<f32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        entities: Option<Vec<Entity<'a>>>,
    },
    Masks {
        masks: Vec<Vec<Fill>>,
    },
}

/// A token that may stand in the place of a mask.
#[derive(Serialize)]
struct Fill {
    token: String,
    probability: f32,
}

/// An entity of a text.
#[derive(Serialize)]
struct Entity<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    /// Its first character in the text, from 0, and the one behind its last; a character is a code point.
    start: usize,
    end: usize,
    text: &'a str,
}

impl<'a> Answer<'a> {
    /// The answer for an example.
    pub fn new<D: Backend>(predictor: &'a Predictor<D>, example: &'a Example, prediction: &Prediction) -> Result<Self> {
        let named = |probabilities: &[f32]| -> Vec<(&'a str, f32)> {
            let names = predictor.labels().map(Labels::names).unwrap_or_default();
            names.iter().map(String::as_str).zip(probabilities.iter().copied()).collect()
        };
        let verdict = match prediction {
            Prediction::Class { class, probabilities, is_rejected } => {
                let probabilities = named(probabilities);
                let &(label, probability) =
                    probabilities.get(*class).ok_or_else(|| anyhow!("class {class} has no name"))?;
                Verdict::Class { label: (!is_rejected).then_some(label), probability, probabilities }
            }
            Prediction::Score(score) => Verdict::Score { score: *score },
            Prediction::Tags(found) => tags(predictor, example, found),
            Prediction::Masks(masks) => Verdict::Masks { masks: fills(predictor, masks)? },
            Prediction::Answer { range, probability } => {
                let context = example.pair.as_deref().unwrap_or_default();
                let character = |byte: usize| context[..byte].chars().count();
                let range = range.clone();
                Verdict::Answer {
                    id: example.question.as_ref().map(|question| &*question.id),
                    start: range.as_ref().map(|range| character(range.start)),
                    end: range.as_ref().map(|range| character(range.end)),
                    answer: range.map(|range| &context[range]),
                    probability: *probability,
                }
            }
            Prediction::Labels { labels, probabilities } => {
                let probabilities = named(probabilities);
                let labels = labels.iter().filter_map(|&label| Some(probabilities.get(label)?.0)).collect();
                Verdict::Labels { labels, probabilities }
            }
        };
        Ok(Self { text: &example.text, pair: example.pair.as_deref(), verdict })
    }

    /// The answer to a question by the question's id, as `"id": "answer"`; `None` for any other.
    pub fn to_squad(&self) -> Option<String> {
        match &self.verdict {
            Verdict::Answer { id: Some(id), answer, .. } => {
                Some(format!("{}: {}", json!(id), json!(answer.unwrap_or_default())))
            }
            _ => None,
        }
    }

    /// The answer as a line, or, of tags, as lines, without the last end of line.
    pub fn to_text(&self) -> String {
        let mut fields = match &self.verdict {
            Verdict::Class { label, probability, .. } => {
                vec![text::field(label.unwrap_or_default()), format!("{probability:.4}")]
            }
            Verdict::Score { score } => vec![format!("{score:.4}")],
            Verdict::Labels { labels, probabilities } => {
                let given = probabilities.iter().filter(|(name, _)| labels.contains(name));
                let (labels, probabilities): (Vec<_>, Vec<_>) =
                    given.map(|(name, p)| (text::field(name), format!("{p:.4}"))).unzip();
                vec![labels.join(SEPARATOR), probabilities.join(SEPARATOR)]
            }
            Verdict::Answer { answer, probability, .. } => {
                let answer = text::field(answer.unwrap_or_default());
                return [answer, format!("{probability:.4}"), text::field(self.text)].join("\t");
            }
            Verdict::Tags { words, tags, .. } => {
                let line = |(word, tag): (&&str, &&str)| format!("{}\t{}\n", text::field(word), text::field(tag));
                return words.iter().zip(tags).map(line).collect();
            }
            Verdict::Masks { masks } => {
                let field = |fill: &Fill| format!("{}\t{:.4}", text::field(&fill.token), fill.probability);
                let line = |fills: &Vec<Fill>| fills.iter().map(field).collect::<Vec<_>>().join("\t") + "\n";
                return masks.iter().map(line).collect();
            }
        };
        fields.extend([Some(self.text), self.pair].into_iter().flatten().map(text::field));
        fields.join("\t")
    }
}

/// The most probable tokens for each mask of a text.
fn fills<D: Backend>(predictor: &Predictor<D>, masks: &[Vec<Candidate>]) -> Result<Vec<Vec<Fill>>> {
    let fill = |candidate: &Candidate| {
        Ok(Fill { token: predictor.token(candidate.token)?, probability: candidate.probability })
    };
    masks.iter().map(|candidates| candidates.iter().map(fill).collect()).collect()
}

/// The tags of all words of a text. A word that the tokenizer makes nothing of has the tag of a word outside of every
/// entity, or none (`_`), and the probability 0.
fn tags<'a, D: Backend>(predictor: &'a Predictor<D>, example: &'a Example, found: &[WordTag]) -> Verdict<'a> {
    let names = predictor.labels().map(Labels::names).unwrap_or_default();
    let none = if names.iter().any(|name| name == OUTSIDE) { OUTSIDE } else { "_" };
    let words = example.words();
    let (mut tags, mut probabilities) = (vec![none; words.len()], vec![0.0; words.len()]);
    for word in found {
        tags[word.word] = &names[word.tag];
        probabilities[word.word] = word.probability;
    }
    let mark_entities = entity_f1::mark_entities(names.iter().map(String::as_str));
    let entities = mark_entities.then(|| {
        entity_f1::entities(&tags)
            .into_iter()
            .map(|found| {
                let bytes = |word: usize| words[word].as_ptr() as usize - example.text.as_ptr() as usize;
                let (first, last) = (bytes(found.first), bytes(found.last) + words[found.last].len());
                let characters = |bytes: usize| example.text[..bytes].chars().count();
                Entity {
                    kind: found.kind,
                    start: characters(first),
                    end: characters(last),
                    text: &example.text[first..last],
                }
            })
            .collect()
    });
    Verdict::Tags { words, tags, probabilities, entities }
}

/// Serialises pairs as an object, in their order.
fn as_object<S: Serializer>(pairs: &[(&str, f32)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().copied())
}
