//! The probe of a run: the baseline beside it, its first values, or its result.

use std::collections::HashMap;
use std::time::Instant;

use bitfit_core::{Backend, HostTensor};

use crate::Result;
use crate::arch::Part;
use crate::heads::Pooling;
use crate::methods::Method;
use crate::model::{Base, InitialValues, Model, ModelOptions};
use crate::probe::Probe;
use crate::train::{Evaluation, Examples, ProbeReport, Sharing, pooled_unless, scores};

/// What a run does with a probe that is not its method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeUse {
    /// None is made.
    Off,
    /// It is scored on the evaluation set, where there is one, for comparison.
    Baseline,
}

/// A probe that was fitted, and what it reached.
#[derive(Debug)]
pub(super) struct FittedProbe {
    pub(super) report: ProbeReport,
    /// Its head by the names that the tensors have in the model.
    pub(super) tensors: HashMap<String, HostTensor>,
}

/// Whether a head over this read-out of a base is one linear layer over rows that the base computes, so that a probe
/// can take its place.
pub(super) fn is_linear<D: Backend>(base: &Base<D>, pooling: Pooling) -> bool {
    pooling != Pooling::Pooler || (base.architecture().reads_pooler(pooling) && base.checkpoint().has_pooler())
}

/// Fits a probe to these rows of the training set: over the run's read-out where its head is linear, over the mean of
/// all tokens otherwise. `None` when it is stopped before it is done. Ranks share the pass over the texts, and each
/// fits. To be called on a thread of the device
/// ([`bitfit_core::Device::install`]).
pub(super) fn fit<D: Backend>(
    how: Sharing<'_>,
    model: &Model<D>,
    train: &Examples,
    rows: &[usize],
    evaluation: Option<Evaluation<'_>>,
) -> Result<Option<FittedProbe>> {
    let start = Instant::now();
    let base = model.base();
    let pooling = if is_linear(base, model.spec().pooling) { model.spec().pooling } else { Pooling::Mean };
    let frozen = frozen(base, model, pooling)?;
    let texts = rows.iter().map(|&row| &train.encodings[row]);
    let Some(pooled) = pooled_unless(how, &frozen, texts)? else { return Ok(None) };
    let probe = Probe::fit(pooled.view(), &train.targets(rows), model.outputs());
    let scores = match evaluation {
        Some(Evaluation { examples, metrics }) => {
            let Some(pooled) = pooled_unless(how, &frozen, &examples.encodings)? else { return Ok(None) };
            scores(model.head(), metrics, &probe.outputs(pooled.view()), examples)?
        }
        None => Vec::new(),
    };
    let name = |part| base.architecture().classifier_name(pooling, part);
    let weight = HostTensor::new(probe.weight.shape(), probe.weight.iter().copied().collect())?;
    let bias = HostTensor::new(probe.bias.shape(), probe.bias.to_vec())?;
    let tensors = [(name(Part::Weight), weight), (name(Part::Bias), bias)].into();
    let report = ProbeReport { pooling, scores, seconds: start.elapsed().as_secs_f64() };
    Ok(Some(FittedProbe { report, tensors }))
}

/// The base without anything that trains below this read-out.
fn frozen<D: Backend>(base: &Base<D>, model: &Model<D>, pooling: Pooling) -> Result<Model<D>> {
    let mut spec = model.spec().clone();
    spec.pooling = pooling;
    let initial = InitialValues::Drawn { seed: 0 };
    Model::new(base, &ModelOptions { spec, method: Method::Frozen, initial, dropout: Some(0.0) })
}
