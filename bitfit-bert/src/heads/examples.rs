//! Tokenised texts with their targets: what training and evaluation read.
//!
//! A text is one sequence, but for a text whose tokens are read and that is longer than a sequence may be: it is
//! several, and each of its words is read in one of them.

use std::ops::Range;

use bitfit_core::Backend;

use super::Targets;
use crate::model::{Batch, Model};
use crate::settings::Setting;
use crate::tokenize::Encoding;
use crate::{Error, Result};

/// Tokenised texts with the target of each.
#[derive(Clone, Debug)]
pub struct Examples {
    /// The sequences of the texts, in the order of the texts.
    pub encodings: Vec<Encoding>,
    /// The number of the text, from 0, that each sequence is of.
    pub texts: Vec<usize>,
    /// One target for each text.
    pub targets: Targets,
}

impl Examples {
    /// Texts of one sequence each.
    pub fn new(encodings: Vec<Encoding>, targets: Targets) -> Self {
        Self { texts: (0..encodings.len()).collect(), encodings, targets }
    }

    /// Some of the texts, in this order.
    ///
    /// # Panics
    /// When a text is out of range, or targets are drawn for each epoch.
    #[must_use]
    pub fn of_texts(&self, texts: &[usize]) -> Self {
        let sequences: Vec<Range<usize>> = by_text(&self.texts, self.targets.len()).collect();
        let (mut encodings, mut of) = (Vec::new(), Vec::new());
        for (place, &text) in texts.iter().enumerate() {
            encodings.extend_from_slice(&self.encodings[sequences[text].clone()]);
            of.extend(std::iter::repeat_n(place, sequences[text].len()));
        }
        Self { encodings, texts: of, targets: self.targets.select(texts) }
    }

    /// The number of sequences.
    pub fn len(&self) -> usize {
        self.encodings.len()
    }

    /// Whether there is no sequence.
    pub fn is_empty(&self) -> bool {
        self.encodings.is_empty()
    }

    /// The number of tokens of each sequence.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        self.encodings.iter().map(|encoding| encoding.ids.len())
    }

    /// Some of the sequences with their targets, on the model's device.
    ///
    /// # Errors
    /// As [`Batch::new`].
    pub fn batch<D: Backend>(&self, model: &Model<D>, rows: &[usize]) -> Result<Batch<D>> {
        let batch = model.batch(rows.iter().map(|&row| &self.encodings[row]))?;
        Ok(batch.with_targets(self.targets(rows)))
    }

    /// The targets of some of the sequences, one for each row that the head reads of them.
    ///
    /// # Panics
    /// When a sequence is out of range.
    pub fn targets(&self, rows: &[usize]) -> Targets {
        self.targets.of(rows.iter().map(|&row| (self.texts[row], &self.encodings[row])))
    }

    /// The words that are read, in the order of the rows of outputs: the number of the text, and that of the word.
    pub fn words(&self) -> impl Iterator<Item = (usize, usize)> {
        let sequences = self.texts.iter().zip(&self.encodings);
        sequences.flat_map(|(&text, encoding)| encoding.read.iter().map(move |read| (text, read.word)))
    }

    /// The class of each row that a head which chooses one of several reads of some of the sequences; none for other
    /// targets.
    ///
    /// # Panics
    /// When a sequence is out of range.
    pub fn classes(&self, rows: &[usize]) -> Vec<usize> {
        match self.targets(rows) {
            Targets::Classes(classes) => classes,
            _ => Vec::new(),
        }
    }

    /// Some of the sequences as a step of this epoch, from 1, reads them, where they are drawn for each: then they are
    /// all that the result has. `None` for sequences that are the same in every epoch.
    ///
    /// # Panics
    /// When a sequence is out of range.
    pub fn drawn(&self, epoch: usize, rows: &[usize]) -> Option<Self> {
        let Targets::Masked(masking) = &self.targets else { return None };
        Some(masking.mask(epoch, rows.iter().map(|&row| (row, &self.encodings[row]))))
    }

    /// The same sequences as a run of another seed draws them; `None` for sequences that are not drawn.
    pub(crate) fn with_seed(&self, seed: u64) -> Option<Self> {
        let Targets::Masked(masking) = &self.targets else { return None };
        Some(masking.with_seed(seed).anew(self.encodings.clone()))
    }

    /// Whether the sequences are drawn for each epoch.
    pub fn are_drawn(&self) -> bool {
        matches!(self.targets, Targets::Masked(_))
    }

    /// Refuses examples that cannot be trained on.
    pub(crate) fn validate(&self) -> Result<()> {
        let refuse = |value, reason: &'static str| {
            Err(Error::Setting { setting: Setting::TrainingSet, value, reason: reason.into() })
        };
        match (self.len(), self.texts.last().map_or(0, |last| last + 1), self.targets.len()) {
            (0, ..) => refuse("empty".into(), "there must be at least one text"),
            (_, texts, targets) if texts > targets && !self.are_drawn() => {
                refuse(format!("{texts} texts and {targets} targets"), "each text needs one target")
            }
            (sequences, ..) if sequences != self.texts.len() => {
                let value = format!("{sequences} sequences, and the texts of {}", self.texts.len());
                refuse(value, "each sequence is of one text")
            }
            _ => Ok(()),
        }
    }
}

/// The sequences of texts, without targets.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    /// The sequences, in the order of the texts.
    pub encodings: Vec<Encoding>,
    /// The number of the text, from 0, that each sequence is of.
    pub texts: Vec<usize>,
}

impl Encoded {
    /// The sequences of texts, of each as many as it has.
    ///
    /// # Errors
    /// The first of theirs.
    pub(crate) fn of_texts(texts: Vec<Result<Vec<Encoding>>>) -> Result<Self> {
        let mut encoded = Self::default();
        for (text, encodings) in texts.into_iter().enumerate() {
            let encodings = encodings?;
            encoded.texts.extend(std::iter::repeat_n(text, encodings.len()));
            encoded.encodings.extend(encodings);
        }
        Ok(encoded)
    }

    /// The sequences of each of `texts` texts.
    pub fn by_text(&self, texts: usize) -> impl Iterator<Item = Range<usize>> {
        by_text(&self.texts, texts)
    }
}

/// The sequences of each of `count` texts, of which `texts` has the number of the text of each sequence.
pub(super) fn by_text(texts: &[usize], count: usize) -> impl Iterator<Item = Range<usize>> {
    let mut first = 0;
    (0..count).map(move |text| {
        let count = texts[first..].iter().take_while(|&&of| of == text).count();
        first += count;
        first - count..first
    })
}
