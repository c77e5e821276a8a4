//! The answers of a cross-validation, to each row by the model of its fold, and the rows whose label is likely wrong.

use std::path::{Path, PathBuf};

use bitfit_core::Backend;
use serde::Serialize;

use crate::calibrate::{OutOfFoldRow, OutOfFoldWriter};
use crate::data::{Example, Label};
use crate::files::{AtomicFile, remove};
use crate::heads::{Prediction, Targets};
use crate::infer::Predictor;
use crate::model::Base;
use crate::text::field;
use crate::{Error, Result};

use super::folds::FoldRun;

/// The answers of a cross-validation, to each row by a model that has not seen it.
pub const OUT_OF_FOLD: &str = "out_of_fold.jsonl";
/// The rows whose label is likely to be wrong.
pub const SUSPECTS: &str = "suspects.tsv";

/// The texts that are answered at once.
const BATCH: usize = 256;

/// The fields that every line of [`OUT_OF_FOLD`] begins with.
#[derive(Debug, Serialize)]
pub struct OutOfFoldFields<'a> {
    fold: usize,
    line: usize,
    /// What a calibration reads.
    #[serde(flatten)]
    row: OutOfFoldRow<'a>,
}

/// The answer to a row by the model of its fold.
#[derive(Debug)]
pub struct OutOfFoldAnswer<'a, D: Backend> {
    /// The first fields of its line.
    pub fields: OutOfFoldFields<'a>,
    /// The model.
    pub predictor: &'a Predictor<D>,
    /// The row.
    pub example: &'a Example,
    /// What the model says.
    pub prediction: &'a Prediction,
}

/// What makes the line of an answer, without its end.
pub(super) type LineOf<'a, D, E> = &'a dyn Fn(&OutOfFoldAnswer<'_, D>) -> std::result::Result<String, E>;

/// The files that were written.
#[derive(Debug)]
pub(super) struct OutOfFoldFiles {
    pub(super) answers: PathBuf,
    /// `None` where no label is likely to be wrong.
    pub(super) suspects: Option<PathBuf>,
}

/// A row whose label its model thinks unlikely.
struct Suspect {
    /// The probability of the label.
    probability: f32,
    line: String,
}

/// Answers the rows of each fold by its model, and writes the answers in the order of the file, each as the line that
/// `line` makes of it; `None`, and nothing is written, where `stop` says so between two batches.
pub(super) fn answer<D: Backend, E: From<Error>>(
    out: &Path,
    base: &Base<D>,
    runs: &[FoldRun],
    (examples, targets): (&[Example], &Targets),
    (stop, line): (&dyn Fn() -> bool, LineOf<'_, D, E>),
) -> std::result::Result<Option<OutOfFoldFiles>, E> {
    let mut lines: Vec<Option<String>> = vec![None; examples.len()];
    let mut suspects = Vec::new();
    for FoldRun { fold, rows, finished: run } in runs {
        let Some(task) = &run.task else { continue };
        let predictor = Predictor::open(base, &task.path)?;
        let writer = OutOfFoldWriter::new(predictor.info(), targets, examples.len());
        for rows in rows.chunks(BATCH) {
            if stop() {
                return Ok(None);
            }
            let batch: Vec<Example> = rows.iter().map(|&row| examples[row].clone()).collect();
            let predictions = predictor.predict_with_outputs(&batch)?;
            for ((&row, example), (prediction, outputs)) in rows.iter().zip(&batch).zip(&predictions) {
                suspects.extend(suspect(&predictor, example, prediction));
                let calibrated = writer.row(row, example, outputs.view());
                let fields = OutOfFoldFields { fold: *fold, line: example.line, row: calibrated };
                let answer = OutOfFoldAnswer { fields, predictor: &predictor, example, prediction };
                lines[row] = Some(line(&answer)?);
            }
        }
    }
    let has_pairs = examples.iter().any(|example| example.pair.is_some());
    Ok(Some(write(out, lines.into_iter().flatten(), suspects, has_pairs)?))
}

/// Writes both files, the second with a column more for pairs. Where there are no suspects, their file is not written,
/// and that of an earlier call is removed.
fn write(
    out: &Path,
    lines: impl Iterator<Item = String>,
    mut suspects: Vec<Suspect>,
    has_pairs: bool,
) -> Result<OutOfFoldFiles> {
    let (answers, path) = (out.join(OUT_OF_FOLD), out.join(SUSPECTS));
    let mut file = AtomicFile::create(&answers)?;
    for line in lines {
        file.write(format!("{line}\n").as_bytes())?;
    }
    file.finish()?;
    if suspects.is_empty() {
        remove(&path)?;
        return Ok(OutOfFoldFiles { answers, suspects: None });
    }
    suspects.sort_by(|one, other| one.probability.total_cmp(&other.probability));
    let mut file = AtomicFile::create(&path)?;
    let pair = if has_pairs { "\tpair" } else { "" };
    file.write(format!("line\tlabel\tprobability\tanswered\tprobability of the answer\ttext{pair}\n").as_bytes())?;
    suspects.iter().try_for_each(|suspect| file.write(suspect.line.as_bytes()))?;
    file.finish()?;
    Ok(OutOfFoldFiles { answers, suspects: Some(path) })
}

/// A row of one class whose model gives it another.
fn suspect<D: Backend>(predictor: &Predictor<D>, example: &Example, prediction: &Prediction) -> Option<Suspect> {
    let Prediction::Class { class, probabilities, .. } = prediction else { return None };
    let (names, expected) = (predictor.labels()?.names(), example.label.as_ref().map(Label::as_str));
    let label = names.iter().position(|name| Some(name.as_str()) == expected)?;
    (label != *class).then(|| {
        let probability = probabilities[label];
        let texts: Vec<String> = std::iter::once(&*example.text).chain(example.pair.as_deref()).map(field).collect();
        let line = format!(
            "{}\t{}\t{probability:.4}\t{}\t{:.4}\t{}\n",
            example.line,
            field(&names[label]),
            field(&names[*class]),
            probabilities[*class],
            texts.join("\t")
        );
        Suspect { probability, line }
    })
}
