//! A batch of tokenised texts, packed without padding between them: everything that a step reads of them. A text, or a
//! pair that is encoded jointly, is one sequence; the texts of a pair that is encoded apart are two that follow each
//! other.

use std::sync::Arc;

use bitfit_core::ops::weighted_cross_entropy::ClassWeighting;
use bitfit_core::{Device, Indices, Result, Sequences};

use crate::heads::Targets;
use crate::tokenize::Encoding;

/// Concatenated sequences on the device: T tokens, B sequences. Some devices have rows of padding behind them, which
/// make up a sequence of their own in attention and are read by no head.
#[derive(Debug)]
pub struct Batch<D: Device> {
    ids: Indices<D>,
    token_types: Indices<D>,
    positions: Indices<D>,
    sequences: Sequences<D>,
    /// The sequences, and the padding as one more if there is any.
    attended: Sequences<D>,
    /// The rows of the sequences among those of all that are attended to; `None` where there is no padding.
    unpadded: Option<Indices<D>>,
    first_tokens: Indices<D>,
    first_token_sequences: Sequences<D>,
    /// The tokens that a head over tokens reads; `None` where there are none.
    read: Option<Indices<D>>,
    /// The targets of the sequences, on the host; `None` in prediction.
    targets: Option<Targets>,
    /// How classes count in the loss, if not all alike.
    weighting: Option<Arc<ClassWeighting>>,
    /// What the loss is divided by, if this is a part of a batch.
    loss_total: Option<f64>,
}

impl<D: Device> Batch<D> {
    /// Packs the encodings in their order. Positions begin at 0, or behind the padding's id
    /// ([`crate::config::ModelConfig::padding`]). With `pads`, there may be rows of padding behind them.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Invalid`] when there is none, or one is empty; [`bitfit_core::Error::Device`] when the
    /// device is out of memory.
    pub fn new<'a>(
        device: &D,
        encodings: impl IntoIterator<Item = &'a Encoding> + Clone,
        padding: Option<u32>,
        pads: bool,
    ) -> Result<Self> {
        let all = || encodings.clone().into_iter();
        let mut ids: Vec<u32> = all().flat_map(|encoding| &encoding.ids).copied().collect();
        let mut token_types: Vec<u32> = all().flat_map(|encoding| &encoding.type_ids).copied().collect();
        let parts = all().flat_map(|encoding| {
            let (first, second) = encoding.ids.split_at(encoding.second.unwrap_or(encoding.ids.len()));
            std::iter::once(first).chain(encoding.second.map(|_| second))
        });
        let mut positions: Vec<u32> = parts.flat_map(|ids| positions(ids, padding)).collect();
        let offsets = Sequences::<D>::offsets_of(all().flat_map(Encoding::lengths))?;
        let starts = &offsets[..offsets.len() - 1];
        let mut of_first_tokens = Sequences::<D>::offsets_of(starts.iter().map(|_| 1))?;
        let mut attended = offsets.clone();
        let rows = if pads { device.padded_rows(ids.len()) } else { ids.len() };
        let mut unpadded = Vec::new();
        if rows > ids.len() {
            unpadded.extend(0..starts.len() as u32);
            attended.push(rows as u32);
            of_first_tokens.push(starts.len() as u32);
            // Any token serves.
            [&mut ids, &mut token_types, &mut positions].into_iter().for_each(|list| list.resize(rows, 0));
        }
        let mut first = 0;
        let mut read = Vec::new();
        for encoding in all() {
            read.extend(encoding.read.iter().map(|read| first + read.token as u32));
            first += encoding.ids.len() as u32;
        }
        let lists =
            [&ids, &token_types, &positions, &offsets, &attended, starts, &of_first_tokens, &read, &unpadded[..]];
        let [ids, token_types, positions, there, attended_there, first_tokens, first_there, read, unpadded] =
            Indices::several(device, lists)?;
        Ok(Self {
            ids,
            token_types,
            positions,
            first_tokens,
            first_token_sequences: Sequences::from_offsets(of_first_tokens, first_there),
            sequences: Sequences::from_offsets(offsets, there),
            attended: Sequences::from_offsets(attended, attended_there),
            unpadded: (!unpadded.is_empty()).then_some(unpadded),
            read: (!read.is_empty()).then_some(read),
            targets: None,
            weighting: None,
            loss_total: None,
        })
    }

    /// The batch with the targets of its sequences.
    #[must_use]
    pub fn with_targets(self, targets: Targets) -> Self {
        Self { targets: Some(targets), ..self }
    }

    /// The batch with classes that do not all count alike in the loss.
    #[must_use]
    pub fn with_weighting(self, weighting: Option<Arc<ClassWeighting>>) -> Self {
        Self { weighting, ..self }
    }

    /// The batch as a part of another, whose loss is a mean over `loss_total` ([`Targets::loss_total`]): its loss is a
    /// share of that. `None` for a batch by itself.
    #[must_use]
    pub fn with_loss_total(self, loss_total: Option<f64>) -> Self {
        Self { loss_total, ..self }
    }

    /// What the loss of the whole batch is a mean over, if this is a part of one.
    pub fn loss_total(&self) -> Option<f64> {
        self.loss_total
    }

    /// How classes count in the loss; `None` where all count alike.
    pub fn weighting(&self) -> Option<&ClassWeighting> {
        self.weighting.as_deref()
    }

    /// The targets of the sequences; `None` in prediction.
    pub fn targets(&self) -> Option<&Targets> {
        self.targets.as_ref()
    }

    /// T: the number of tokens of all sequences; none is padding.
    pub fn tokens(&self) -> usize {
        self.sequences.tokens()
    }

    /// The number of rows of the encoder's matrices: T, and the padding.
    pub fn rows(&self) -> usize {
        self.attended.tokens()
    }

    /// B: the number of sequences.
    pub fn count(&self) -> usize {
        self.sequences.count()
    }

    /// The word pieces `[rows]`.
    pub fn ids(&self) -> &Indices<D> {
        &self.ids
    }

    /// The token types `[rows]`: 0 for the first text of a pair, 1 for the second.
    pub fn token_types(&self) -> &Indices<D> {
        &self.token_types
    }

    /// The positions `[rows]` of the tokens in their sequences.
    pub fn positions(&self) -> &Indices<D> {
        &self.positions
    }

    /// The bounds of the sequences.
    pub fn sequences(&self) -> &Sequences<D> {
        &self.sequences
    }

    /// The bounds of the sequences, and of the padding as one more.
    pub fn attended(&self) -> &Sequences<D> {
        &self.attended
    }

    /// The rows `[B]` of the sequences in a matrix that has one for each of [`Batch::attended`]; `None` where these are
    /// all.
    pub fn unpadded(&self) -> Option<&Indices<D>> {
        self.unpadded.as_ref()
    }

    /// The rows `[B]` of the sequences' first tokens, `[CLS]`.
    pub fn first_tokens(&self) -> &Indices<D> {
        &self.first_tokens
    }

    /// The rows `[R]` of the tokens that a head over tokens reads; `None` where there are none.
    pub fn read_tokens(&self) -> Option<&Indices<D>> {
        self.read.as_ref()
    }

    /// The bounds of the first tokens as B sequences of one token, and of the padding's none.
    pub fn first_token_sequences(&self) -> &Sequences<D> {
        &self.first_token_sequences
    }
}

/// The positions of a sequence's tokens. A token that is the padding is not counted, and stands at the padding's id.
fn positions(ids: &[u32], padding: Option<u32>) -> impl Iterator<Item = u32> {
    let mut next = padding.map_or(0, |padding| padding + 1);
    ids.iter().map(move |&id| {
        if padding == Some(id) {
            return id;
        }
        next += 1;
        next - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_begin_behind_the_padding_and_pass_over_it() {
        let at = |ids: &[u32], padding| positions(ids, padding).collect::<Vec<_>>();
        assert_eq!(at(&[5, 1, 1, 7], None), [0, 1, 2, 3]);
        assert_eq!(at(&[0, 5, 1, 7, 2], Some(1)), [2, 3, 1, 4, 5]);
    }
}
