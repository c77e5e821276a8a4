//! What a model says of texts, and how good that is.

use bitfit_core::{Arena, Backend, Tape, Workspace};
use ndarray::{Array2, Axis, concatenate};

use super::{Examples, Targets, reuse::Reuse};
use crate::metrics::{Metric, Predictions};
use crate::model::{Batch, Bert};
use crate::tokenize::Encoding;
use crate::{Error, Result};

/// Sequences evaluated at once. They are packed, so the number changes memory and speed but no value.
const BATCH: usize = 64;

/// A metric's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Which.
    pub metric: Metric,
    /// Greater is better.
    pub value: f64,
}

/// The head's outputs `[rows, C]`, in the order of the texts.
///
/// # Errors
/// [`Error::NotANumber`] for a model that diverged; [`Error::Core`] when the device fails.
pub fn outputs<D: Backend>(
    model: &Bert<D>,
    arena: &Arena<D>,
    workspace: &Workspace<D>,
    encodings: &[Encoding],
) -> Result<Array2<f32>> {
    let outputs = arena.device().install(|| outputs_unless(&|| false, model, arena, workspace, encodings, None))?;
    Ok(outputs.expect("nobody stops it"))
}

/// The scores of a model on labelled texts.
///
/// # Errors
/// As [`outputs`]; [`Error::Metric`] for a metric that does not fit the head.
pub fn evaluate<D: Backend>(
    model: &Bert<D>,
    arena: &Arena<D>,
    workspace: &Workspace<D>,
    examples: &Examples,
    metrics: &[Metric],
) -> Result<Vec<Score>> {
    let scores =
        arena.device().install(|| evaluate_unless(&|| false, model, arena, workspace, examples, metrics, None))?;
    Ok(scores.expect("nobody stops it"))
}

/// As [`evaluate`], with what is kept of the frozen stages; `None` when `stop` says so between two batches.
pub(super) fn evaluate_unless<D: Backend>(
    stop: &dyn Fn() -> bool,
    model: &Bert<D>,
    arena: &Arena<D>,
    workspace: &Workspace<D>,
    examples: &Examples,
    metrics: &[Metric],
    reuse: Option<&mut Reuse>,
) -> Result<Option<Vec<Score>>> {
    let Some(outputs) = outputs_unless(stop, model, arena, workspace, &examples.encodings, reuse)? else {
        return Ok(None);
    };
    let classes: Vec<usize> = outputs.rows().into_iter().map(|row| argmax(&row.to_vec())).collect();
    let scores = outputs.column(0).to_vec();
    let predictions = match &examples.targets {
        Targets::Classes(expected) => Predictions::Classes { predicted: &classes, expected, classes: model.outputs() },
        Targets::Scores(expected) => Predictions::Scores { predicted: &scores, expected },
    };
    metrics
        .iter()
        .map(|&metric| Ok(Score { metric, value: metric.compute(&predictions)? }))
        .collect::<Result<_>>()
        .map(Some)
}

fn outputs_unless<D: Backend>(
    stop: &dyn Fn() -> bool,
    model: &Bert<D>,
    arena: &Arena<D>,
    workspace: &Workspace<D>,
    encodings: &[Encoding],
    mut reuse: Option<&mut Reuse>,
) -> Result<Option<Array2<f32>>> {
    let mut parts = vec![Array2::zeros((0, model.outputs()))];
    for first in (0..encodings.len()).step_by(BATCH) {
        if stop() {
            return Ok(None);
        }
        let rows: Vec<usize> = (first..encodings.len().min(first + BATCH)).collect();
        let mut tape = Tape::infer(workspace, arena);
        let batch = Batch::new(arena.device(), rows.iter().map(|&row| &encodings[row]))?;
        let outputs = match reuse.as_deref_mut() {
            Some(reuse) => reuse.forward(model, &mut tape, &batch, encodings, &rows)?,
            None => model.forward(&mut tape, &batch)?,
        };
        parts.push(outputs.tensor().to_array()?);
    }
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    let outputs = concatenate(Axis(0), &views).expect("every part has one column an output");
    // NaN would be ranked like a number by every metric and by the choice of a class.
    match outputs.rows().into_iter().position(|row| row.iter().any(|value| !value.is_finite())) {
        Some(row) => Err(Error::NotANumber { row: row + 1 }),
        None => Ok(Some(outputs)),
    }
}

/// The first greatest.
pub(crate) fn argmax(values: &[f32]) -> usize {
    values.iter().enumerate().fold(0, |best, (i, value)| if *value > values[best] { i } else { best })
}
