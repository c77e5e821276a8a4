//! One text of a data set with its label, its words or its answers.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::split_words;

/// A label as in the file, without leading and trailing blanks; never empty, unless a text may have several labels.
/// Clones share its memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    pub(super) text: Arc<str>,
    /// The labels of a list, where a text may have several.
    pub(super) list: Option<Arc<[String]>>,
}

impl Label {
    /// The label of a field; `None` if it contains only blanks.
    pub fn new(field: &str) -> Option<Self> {
        let field = field.trim();
        (!field.is_empty()).then(|| Self::of_text(field.into()))
    }

    pub(super) fn of_text(text: Arc<str>) -> Self {
        Self { text, list: None }
    }

    /// The label's text; a list is written as JSON.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One text, or a pair of texts, with its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The text, exactly as in the file.
    pub text: String,
    /// The second text of a pair. Questions about one paragraph share the memory of their context.
    pub pair: Option<Arc<str>>,
    /// The label; `None` where the file has none.
    pub label: Option<Label>,
    /// The words of a text whose words are tagged, in their order; empty for any other.
    pub words: Vec<Word>,
    /// What is known of a question whose answer is a span of its context; `None` for any other text. The question is
    /// the text, and the context is the second text.
    pub question: Option<Question>,
    /// The line of the file that the example begins on, from 1.
    pub line: usize,
}

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Its bytes in the text.
    pub range: Range<usize>,
    /// Its tag; `None` where the file has none.
    pub tag: Option<Label>,
    /// The line of the file that it stands on, from 1.
    pub line: usize,
}

/// What is known of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Its name, which no other question of the file has.
    pub id: String,
    /// The bytes of the context that are right answers, in the order of the file, which may be none; `None` where the
    /// file has no answers.
    pub answers: Option<Vec<Range<usize>>>,
}

impl Question {
    /// Whether it has a right answer in its context.
    pub fn has_answer(&self) -> bool {
        self.answers.as_ref().is_some_and(|answers| !answers.is_empty())
    }
}

impl Example {
    /// The words as texts, in their order; of a text that is no words yet, those of [`split_words`].
    pub fn words(&self) -> Vec<&str> {
        match self.words.is_empty() {
            true => split_words(&self.text).into_iter().map(|range| &self.text[range]).collect(),
            false => self.words.iter().map(|word| &self.text[word.range.clone()]).collect(),
        }
    }
}

/// The texts or pairs of examples, in their order, in the form that a tokenizer takes.
pub fn texts(examples: &[Example]) -> Vec<(&str, Option<&str>)> {
    examples.iter().map(|example| (example.text.as_str(), example.pair.as_deref())).collect()
}
