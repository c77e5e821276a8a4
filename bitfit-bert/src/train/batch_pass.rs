//! The loss and the gradient of a batch, in one pass or in several over parts of it.
//!
//! In parts ([`TrainOptions::micro_batch`](super::TrainOptions::micro_batch)) it is the same function of the values:
//! the loss of a part is its share of the batch's mean ([`Model::loss`]), the gradients add up in the arena's gradient,
//! and each pass is told where its part stands in the batch, so that dropout draws what it draws for the whole
//! ([`bitfit_core::BatchOffset`]). Only the order of the sums differs, and what is in memory at a time. Logical shards
//! ([`super::shards`]) are parts with a gradient each, and a pass computes one or several of them.

use std::ops::Range;
use std::sync::Arc;

use bitfit_core::ops::weighted_cross_entropy::ClassWeighting;
use bitfit_core::tape::Parts;
use bitfit_core::{Backend, BatchOffset, Gradient, Indices, RowsOf, Seed, Var};

use super::Examples;
use super::batch_loss::{BatchLoss, Loss, LossShares};
use super::prefix_cache::FrozenPrefixCache;
use crate::Result;
use crate::heads::Pooling;
use crate::model::Model;

/// A batch of a training set, and how its gradient is computed.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchPass<'a> {
    pub examples: &'a Examples,
    /// The numbers of its sequences.
    pub rows: &'a [usize],
    /// The epoch, from 1, for which sequences are drawn where each has its own.
    pub epoch: usize,
    pub seed: Seed,
    pub weighting: Option<&'a Arc<ClassWeighting>>,
    /// The most rows that are computed at a time, if not all.
    pub micro_batch: Option<usize>,
}

/// A part that was computed.
#[derive(Debug)]
pub(super) struct Part<D: Backend> {
    /// Its share of the loss; `None` where the head reads nothing of it.
    pub share: Option<Var<D>>,
    /// The number of its tokens.
    pub tokens: usize,
    /// What the batch has before the next part.
    pub next: BatchOffset,
}

impl BatchPass<'_> {
    /// Computes with the batch as a step of this epoch reads it: where sequences are drawn for each epoch, with those
    /// that were drawn.
    pub fn drawn<T>(self, compute: impl FnOnce(BatchPass<'_>) -> T) -> T {
        let Some(examples) = self.examples.drawn(self.epoch, self.rows) else { return compute(self) };
        let rows: Vec<usize> = (0..examples.len()).collect();
        compute(BatchPass { examples: &examples, rows: &rows, ..self })
    }

    /// Adds the gradient of the batch's loss to `gradient`. Its sequences must be drawn ([`BatchPass::drawn`]).
    ///
    /// # Errors
    /// As [`Model::forward`] and [`Model::loss`].
    pub fn add_gradient<D: Backend>(
        &self,
        model: &Model<D>,
        mut cache: Option<&mut FrozenPrefixCache>,
        gradient: &mut Gradient<D>,
    ) -> Result<BatchLoss<D>> {
        let total = self.micro_batch.filter(|&size| size < self.rows.len()).and_then(|_| self.loss_total());
        let Some((size, total)) = self.micro_batch.zip(total) else {
            let whole = self.add_part(model, cache, self.rows, BatchOffset::default(), None, gradient)?;
            let Some(loss) = whole.share else { unreachable!("a whole batch has a loss, or an error") };
            return Ok(BatchLoss { loss: Loss::Whole(loss), tokens: whole.tokens, stops: false });
        };
        let parts = self.rows.chunks(size);
        let shares = LossShares::new(model, parts.len())?;
        let (mut offset, mut tokens) = (BatchOffset::default(), 0);
        for (number, rows) in parts.enumerate() {
            let part = self.add_part(model, cache.as_deref_mut(), rows, offset, Some(total), gradient)?;
            (offset, tokens) = (part.next, tokens + part.tokens);
            if let Some(share) = part.share {
                shares.put(number, &share)?;
            }
        }
        Ok(BatchLoss { loss: Loss::Parts(shares), tokens, stops: false })
    }

    /// Adds the gradient of the share of some rows, before which the batch has `offset`; `total` is what the loss of
    /// the batch is a mean over, unless these are all of its rows.
    ///
    /// # Errors
    /// As [`BatchPass::add_gradient`].
    pub fn add_part<D: Backend>(
        &self,
        model: &Model<D>,
        cache: Option<&mut FrozenPrefixCache>,
        rows: &[usize],
        offset: BatchOffset,
        total: Option<f64>,
        gradient: &mut Gradient<D>,
    ) -> Result<Part<D>> {
        let mut tape = model.training_tape(self.seed).at(offset);
        let batch = self.examples.batch(model, rows)?.with_weighting(self.weighting.cloned());
        let batch = batch.with_loss_total(total);
        let (tokens, sequences) = (batch.tokens(), batch.count());
        let has_targets = batch.targets().is_some_and(|targets| !targets.is_empty());
        if total.is_some() && !has_targets {
            // No word of the part is read, so it has no share of the loss.
            return Ok(Part { share: None, tokens, next: offset.after(tokens, sequences, 0) });
        }
        let outputs = match cache {
            Some(cache) => cache.forward(model, &mut tape, &batch, &self.examples.encodings, rows)?,
            None => model.forward(&mut tape, &batch)?,
        };
        let next = offset.after(tokens, sequences, outputs.rows());
        let share = model.loss(&mut tape, &outputs, &batch)?;
        tape.backward(&share, gradient)?;
        Ok(Part { share: Some(share), tokens, next })
    }

    /// Adds the gradient of the share of each of some neighbouring parts to the gradient of that part, in one pass over
    /// all of them. `parts` are ranges of [`BatchPass::rows`]; `places` has what the batch has before each, and with
    /// the last. The share of a part of which the head reads nothing is `None`.
    ///
    /// # Panics
    /// If there is no part.
    ///
    /// # Errors
    /// As [`BatchPass::add_gradient`].
    pub fn add_parts<D: Backend>(
        &self,
        model: &Model<D>,
        cache: Option<&mut FrozenPrefixCache>,
        (parts, places): (&[Range<usize>], &[BatchOffset]),
        total: f64,
        gradients: &mut [Gradient<D>],
    ) -> Result<Vec<Option<Var<D>>>> {
        let rows = &self.rows[parts[0].start..parts[parts.len() - 1].end];
        if self.examples.targets(rows).is_empty() {
            return Ok(vec![None; parts.len()]);
        }
        let mut tape = model.training_tape(self.seed).at(places[0]);
        let batch = self.examples.batch(model, rows)?;
        let outputs = match cache {
            Some(cache) => cache.forward(model, &mut tape, &batch, &self.examples.encodings, rows)?,
            None => model.forward(&mut tape, &batch)?,
        };
        let read = places[parts.len()].outputs - places[0].outputs;
        assert_eq!(outputs.rows() as u64, read, "the rows that the head reads of each text are those that it has");
        let mut losses = Vec::with_capacity(parts.len());
        for (part, place) in parts.iter().zip(places.windows(2)) {
            let rows = &self.rows[part.clone()];
            if self.examples.targets(rows).is_empty() {
                losses.push(None);
                continue;
            }
            let batch = self.examples.batch(model, rows)?.with_weighting(self.weighting.cloned());
            let [begin, end] = [place[0], place[1]].map(|place| (place.outputs - places[0].outputs) as u32);
            let own: Vec<u32> = (begin..end).collect();
            let outputs = tape.gather_rows(&outputs, &Indices::new(model.base().device(), &own)?)?;
            losses.push(Some(model.loss(&mut tape, &outputs, &batch.with_loss_total(Some(total)))?));
        }
        // Where the head reads tokens, no matrix has a row for each sequence, and there may be as many sequences as
        // tokens that are read, of other parts.
        let kinds: &[RowsOf] = match model.spec().pooling {
            Pooling::Tokens | Pooling::EveryToken => &[RowsOf::Tokens, RowsOf::Outputs],
            _ => &[RowsOf::Tokens, RowsOf::Sequences, RowsOf::Outputs],
        };
        tape.backward_in_parts(&Parts::new(places, kinds), &losses, gradients)?;
        Ok(losses)
    }

    /// What the loss of the batch is a mean over. `None` for a batch without any target, which cannot be computed in
    /// parts: the error of its one pass says what is missing.
    pub fn loss_total(&self) -> Option<f64> {
        let targets = self.examples.targets(self.rows);
        (!targets.is_empty()).then(|| targets.loss_total(self.weighting.map(|weighting| &**weighting)))
    }
}

#[cfg(test)]
mod tests;
