//! The outputs of a model for texts, and the scores of those outputs.

use std::ops::Range;

use bitfit_core::Backend;
use bitfit_core::optim::{Alone, Collective};
use ndarray::{Array2, ArrayView2, Axis, concatenate};
use serde::{Deserialize, Serialize};

use super::Evaluation;
use super::prefix_cache::FrozenPrefixCache;
use super::shards::cut;
use crate::heads::{Examples, Head};
use crate::metrics::Metric;
use crate::model::Model;
use crate::tokenize::Encoding;
use crate::{Error, Result, as_text};

/// The number of sequences that are evaluated at once. They are packed, so it affects memory and speed but no value.
const BATCH: usize = 64;

/// The most outputs of a batch, 128 MiB: each masked token has tens of thousands.
const MOST_OUTPUTS: usize = 1 << 25;

/// How a pass over texts is shared.
#[derive(Clone, Copy)]
pub(crate) struct Sharing<'a> {
    /// Whether to stop, asked between two batches. One rank that stops stops all.
    pub stop: &'a dyn Fn() -> bool,
    /// The ranks, each of which computes some of the texts; all get the outputs of all.
    pub ranks: &'a dyn Collective,
}

impl Sharing<'_> {
    /// The texts of this rank.
    fn own<'a>(&self, encodings: impl Iterator<Item = &'a Encoding> + Clone) -> Range<usize> {
        cut(encodings.map(|encoding| encoding.ids.len()), self.ranks.size()).swap_remove(self.ranks.rank())
    }

    /// The outputs of all ranks, in their order; `None` when one has stopped.
    fn gather(&self, own: Option<Array2<f32>>) -> Result<Option<Array2<f32>>> {
        let size = self.ranks.size();
        if size == 1 {
            return Ok(own);
        }
        let extents = own.as_ref().map_or([STOPPED; 2], |own| [own.nrows() as u32, own.ncols() as u32]);
        let mut all = Vec::new();
        self.ranks.all_gather(&extents, &vec![2; size], &mut all)?;
        let (Some(own), false) = (own, all.contains(&STOPPED)) else { return Ok(None) };
        let extents: Vec<[usize; 2]> = all.chunks_exact(2).map(|of| [of[0] as usize, of[1] as usize]).collect();
        let lengths: Vec<usize> = extents.iter().map(|[rows, cols]| rows * cols).collect();
        let words = own.as_standard_layout();
        let words = words.as_slice().expect("it is in standard layout");
        self.ranks.all_gather(bytemuck::cast_slice(words), &lengths, &mut all)?;
        let mut rest = bytemuck::cast_slice::<u32, f32>(&all);
        let mut parts = Vec::new();
        for [rows, cols] in extents {
            let (part, behind) = rest.split_at(rows * cols);
            rest = behind;
            // A rank without texts need not know how many outputs others keep.
            if rows > 0 {
                parts.push(ArrayView2::from_shape((rows, cols), part).expect("as many as were sent"));
            }
        }
        if parts.is_empty() {
            return Ok(Some(own));
        }
        Ok(Some(concatenate(Axis(0), &parts).expect("every rank keeps the same outputs of a text")))
    }
}

/// In the place of extents: the rank has stopped.
const STOPPED: u32 = u32::MAX;

/// A metric's value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// The metric.
    #[serde(with = "as_text")]
    pub metric: Metric,
    /// Its value; which of two is better, the metric says.
    #[serde(with = "as_text")]
    pub value: f64,
}

/// What the head keeps of its outputs to predict ([`Head::keep`]), a row for each that it reads of the sequences, in
/// their order.
///
/// # Errors
/// [`Error::NotFinite`] for a model that diverged; [`Error::Core`] when the device fails.
pub fn outputs<D: Backend>(model: &Model<D>, encodings: &[Encoding]) -> Result<Array2<f32>> {
    let work = || outputs_unless(Sharing { stop: &|| false, ranks: &Alone }, model, encodings, None, None);
    let outputs = model.base().device().install(work)?;
    Ok(outputs.expect("nothing stops it"))
}

/// As [`outputs`], what the head keeps to score them.
///
/// # Errors
/// As [`outputs`]; [`Error::Metric`] for targets of another kind than the head's.
pub fn scored_outputs<D: Backend>(model: &Model<D>, examples: &Examples) -> Result<Array2<f32>> {
    let encodings = &examples.encodings;
    let work = || outputs_unless(Sharing { stop: &|| false, ranks: &Alone }, model, encodings, Some(examples), None);
    let outputs = model.base().device().install(work)?;
    Ok(outputs.expect("nothing stops it"))
}

/// What the head reads of texts: a row each, in the order of the texts; `None` when `stop` returns true
/// between two batches.
///
/// # Errors
/// As [`outputs`].
pub(crate) fn pooled_unless<'a, D: Backend>(
    how: Sharing<'_>,
    model: &Model<D>,
    encodings: impl IntoIterator<Item = &'a Encoding>,
) -> Result<Option<Array2<f32>>> {
    let encodings: Vec<&Encoding> = encodings.into_iter().collect();
    let own = &encodings[how.own(encodings.iter().copied())];
    let mut parts = vec![Array2::zeros((0, model.spec().width(model.hidden())))];
    for encodings in own.chunks(BATCH) {
        if (how.stop)() {
            return how.gather(None);
        }
        let mut tape = model.inference_tape();
        let pooled = model.pooled(&mut tape, &model.batch(encodings.iter().copied())?)?;
        parts.push(pooled.tensor().to_array()?);
    }
    how.gather(Some(stacked(&parts)))?.map(all_finite).transpose()
}

/// The scores of a model on labelled texts.
///
/// # Errors
/// As [`outputs`]; [`Error::Metric`] for a metric that does not fit the head.
pub fn evaluate<D: Backend>(model: &Model<D>, evaluation: Evaluation<'_>) -> Result<Vec<Score>> {
    let work = || evaluate_unless(Sharing { stop: &|| false, ranks: &Alone }, model, evaluation, None);
    let scores = model.base().device().install(work)?;
    Ok(scores.expect("nothing stops it"))
}

/// As [`evaluate`], with the cached outputs of the frozen stages; `None` when `stop` returns true between two batches.
pub(super) fn evaluate_unless<D: Backend>(
    how: Sharing<'_>,
    model: &Model<D>,
    Evaluation { examples, metrics }: Evaluation<'_>,
    cache: Option<&mut FrozenPrefixCache>,
) -> Result<Option<Vec<Score>>> {
    let Some(outputs) = outputs_unless(how, model, &examples.encodings, Some(examples), cache)? else {
        return Ok(None);
    };
    scores(model.head(), metrics, &outputs, examples).map(Some)
}

fn outputs_unless<D: Backend>(
    how: Sharing<'_>,
    model: &Model<D>,
    encodings: &[Encoding],
    labelled: Option<&Examples>,
    mut cache: Option<&mut FrozenPrefixCache>,
) -> Result<Option<Array2<f32>>> {
    let mut parts = Vec::new();
    let Range { start: mut first, end } = how.own(encodings.iter());
    while first < end {
        if (how.stop)() {
            return how.gather(None);
        }
        let rows: Vec<usize> = (first..first + fitting(&encodings[first..end], model.width_of_outputs())).collect();
        first += rows.len();
        let mut tape = model.inference_tape();
        let batch = model.batch(rows.iter().map(|&row| &encodings[row]))?;
        let outputs = match cache.as_deref_mut() {
            Some(cache) => cache.forward(model, &mut tape, &batch, encodings, &rows)?,
            None => model.forward(&mut tape, &batch)?,
        };
        let targets = labelled.map(|examples| examples.targets(&rows));
        parts.push(model.head().keep(outputs.tensor().to_array()?, targets.as_ref())?);
    }
    if parts.is_empty() {
        parts.push(Array2::zeros((0, model.outputs())));
    }
    how.gather(Some(stacked(&parts)))?.map(all_finite).transpose()
}

/// How many sequences are the next batch, at least one: [`BATCH`], or fewer where a row has very many outputs.
fn fitting(encodings: &[Encoding], outputs: usize) -> usize {
    let mut rows = 0;
    let fits = |encoding: &&Encoding| {
        rows += encoding.rows();
        rows.saturating_mul(outputs) <= MOST_OUTPUTS
    };
    encodings.iter().take(BATCH).take_while(fits).count().max(encodings.len().min(1))
}

/// Refuses outputs that are not finite: NaN would be ranked like a number by every metric and by the choice of a class.
fn all_finite(outputs: Array2<f32>) -> Result<Array2<f32>> {
    match outputs.rows().into_iter().position(|row| row.iter().any(|value| !value.is_finite())) {
        Some(row) => Err(Error::NotFinite { row: row + 1 }),
        None => Ok(outputs),
    }
}

/// The rows of the parts, one part behind the other.
pub(crate) fn stacked(parts: &[Array2<f32>]) -> Array2<f32> {
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    concatenate(Axis(0), &views).expect("every part has the same columns")
}

/// The value of each metric over a head's outputs `[rows, C]`.
pub(crate) fn scores<D: Backend>(
    head: &dyn Head<D>,
    metrics: &[Metric],
    outputs: &Array2<f32>,
    examples: &Examples,
) -> Result<Vec<Score>> {
    metrics.iter().map(|&metric| Ok(Score { metric, value: head.score(metric, outputs, examples)? })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenize::ReadToken;

    #[test]
    fn a_batch_is_64_sequences_or_as_many_as_their_outputs_let_it() {
        let encodings = vec![Encoding { read: vec![ReadToken { token: 1, word: 0 }; 10], ..Encoding::default() }; 100];
        assert_eq!([3, 1 << 15, 1 << 19, 1 << 25].map(|outputs| fitting(&encodings, outputs)), [64, 64, 6, 1]);
        assert_eq!((fitting(&encodings[..2], 3), fitting(&[], 3)), (2, 0));
    }
}
