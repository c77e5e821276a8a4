//! The training loop: batches in, arena out. It decides what a step, an epoch and "the best so far" are; what to show and
//! when to stop early is the [`Observer`]'s.

mod check;
mod evaluate;
mod options;
mod order;
mod reuse;

use std::time::{Duration, Instant};

use bitfit_core::optim::{AdamW, ArenaOptimizer, LearningRate};
use bitfit_core::{Arena, Backend, Gradient, Indices, Seed, Snapshot, Tape, Var, Workspace};
use ndarray::Array2;

pub use check::check_gradients;
pub(crate) use evaluate::argmax;
use evaluate::evaluate_unless;
pub use evaluate::{Score, evaluate, outputs};
pub use options::{BatchSize, TrainOptions};
pub use order::Batches;

use crate::metrics::Metric;
use crate::model::{Batch, Bert};
use crate::tokenize::Encoding;
use crate::{Error, Result};
use reuse::Reuse;
pub use reuse::reuse_bytes;

/// Tokenised texts with what is to be predicted for each.
#[derive(Clone, Debug)]
pub struct Examples {
    /// The texts.
    pub encodings: Vec<Encoding>,
    /// One for each text.
    pub targets: Targets,
}

/// What is to be predicted.
#[derive(Clone, Debug)]
pub enum Targets {
    /// A class each.
    Classes(Vec<usize>),
    /// A score each.
    Scores(Vec<f32>),
}

/// One optimizer step, as it is logged.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// From 1, over all epochs.
    pub step: usize,
    /// From 1.
    pub epoch: usize,
    /// The batch's mean loss.
    pub loss: f32,
    /// The learning rate of this step.
    pub learning_rate: f32,
    /// The gradient's norm before clipping.
    pub grad_norm: f32,
    /// Tokens of this batch; none is padding.
    pub tokens: usize,
    /// The time this step took.
    pub seconds: f64,
}

/// An evaluation at the end of an epoch.
#[derive(Clone, Debug)]
pub struct EpochReport {
    /// From 1.
    pub epoch: usize,
    /// The mean loss over the epoch's steps.
    pub mean_loss: f64,
    /// The scores, the one that chooses the best epoch first; none where there is no evaluation set.
    pub scores: Vec<Score>,
    /// Whether the first score is better than in every epoch before.
    pub is_best: bool,
}

/// Watches a run, from the thread that trains. Every method has a default that does nothing.
pub trait Observer: Send {
    /// After every step.
    ///
    /// # Errors
    /// Whatever keeps the observer from recording it; the run ends with it.
    fn step(&mut self, _report: &StepReport) -> Result<()> {
        Ok(())
    }

    /// After the last step of an epoch, where an evaluation follows.
    fn evaluating(&mut self, _epoch: usize) {}

    /// After every epoch.
    ///
    /// # Errors
    /// Whatever keeps the observer from recording it; the run ends with it.
    fn epoch(&mut self, _report: &EpochReport) -> Result<()> {
        Ok(())
    }

    /// When there is something new to keep, before [`Observer::epoch`]: after every epoch that is the best so far, or after
    /// every epoch where there is no evaluation set. `values` is the whole arena; `outcome` is what the run reached with it.
    ///
    /// # Errors
    /// Whatever keeps the observer from saving it; the run ends with it.
    fn keep(&mut self, _outcome: &Outcome, _values: &[f32]) -> Result<()> {
        Ok(())
    }

    /// Asked before every step: whether to end the run with what was reached.
    fn should_stop(&self) -> bool {
        false
    }
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// After the last epoch.
    Finished,
    /// The observer asked for it.
    Stopped,
    /// The loss or the gradient was no number any more.
    Diverged {
        /// The step that showed it, from 1.
        step: usize,
        /// Which, and its value.
        what: String,
    },
}

/// The epoch that is kept.
#[derive(Clone, Debug)]
pub struct Best {
    /// From 1.
    pub epoch: usize,
    /// Its scores; the first chose it.
    pub scores: Vec<Score>,
}

impl Default for Outcome {
    /// Nothing done yet.
    fn default() -> Self {
        Self {
            end: End::Finished,
            steps: 0,
            epochs: 0,
            tokens: 0,
            training: Duration::ZERO,
            best: None,
            last: Vec::new(),
        }
    }
}

/// What a run reached. The arena holds the best epoch's values; without an evaluation, the last good ones.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Optimizer steps taken.
    pub steps: usize,
    /// Epochs finished.
    pub epochs: usize,
    /// Tokens trained on; none is padding.
    pub tokens: usize,
    /// Time spent in steps alone.
    pub training: Duration,
    /// The epoch that was kept, where one was evaluated.
    pub best: Option<Best>,
    /// The last epoch's scores, the metrics of the evaluation in their order.
    pub last: Vec<Score>,
}

/// What [`train`] trains.
pub struct Trainee<'a, D: Backend> {
    /// The network.
    pub model: &'a Bert<D>,
    /// What trains of it.
    pub arena: &'a mut Arena<D>,
    /// The device and its buffers.
    pub workspace: &'a Workspace<D>,
}

/// Trains: proves first that every trained tensor has a gradient, then steps through the epochs, evaluating after each.
///
/// # Errors
/// [`crate::Error::Core`] when the gradient check fails or the device does; [`crate::Error::Setting`] for options that cannot be;
/// whatever the observer returns. A loss that is no number is no error but an [`End`], with the last good values kept.
pub fn train<D: Backend>(
    trainee: Trainee<'_, D>,
    examples: &Examples,
    evaluation: Option<(&Examples, &[Metric])>,
    options: &TrainOptions,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    options.validate()?;
    examples.validate()?;
    let device = trainee.workspace.device();
    device.install(|| train_installed(trainee, examples, evaluation, options, observer))
}

fn train_installed<D: Backend>(
    trainee: Trainee<'_, D>,
    examples: &Examples,
    evaluation: Option<(&Examples, &[Metric])>,
    options: &TrainOptions,
    observer: &mut dyn Observer,
) -> Result<Outcome> {
    let batches = Batches::new(examples.lengths(), options);
    check_gradients(trainee.model, trainee.arena, trainee.workspace, examples, &batches.first(), options.seed)?;
    let mut run = Run::new(trainee, examples, options, batches.steps(options.epochs))?;
    let mut budget = options.reuse_bytes;
    if !options.frozen_dropout {
        run.reuse = Reuse::new(run.model, examples.len(), budget);
        budget = budget.saturating_sub(reuse_bytes(run.model, batches.lengths()));
    }
    let mut evaluation_reuse = evaluation.and_then(|(examples, _)| Reuse::new(run.model, examples.len(), budget));
    let mut outcome = Outcome::default();
    let mut kept = None;
    for epoch in 1..=options.epochs {
        let mean_loss = run.epoch(epoch, &batches, &mut outcome, observer)?;
        if outcome.end != End::Finished {
            break;
        }
        outcome.epochs = epoch;
        let scores = match evaluation {
            Some((examples, metrics)) => {
                observer.evaluating(epoch);
                run.evaluate(examples, metrics, evaluation_reuse.as_mut(), &mut outcome, observer)?
            }
            None => Vec::new(),
        };
        if outcome.end != End::Finished {
            break;
        }
        let is_best = scores
            .first()
            .is_some_and(|score| outcome.best.as_ref().is_none_or(|best| score.value > best.scores[0].value));
        if is_best {
            outcome.best = Some(Best { epoch, scores: scores.clone() });
        }
        outcome.last.clone_from(&scores);
        if is_best || evaluation.is_none() {
            let values = run.arena.read()?;
            observer.keep(&outcome, &values)?;
            if is_best {
                kept = Some(values);
            }
        }
        observer.epoch(&EpochReport { epoch, mean_loss, scores, is_best })?;
    }
    if let Some(kept) = kept {
        run.arena.write(&kept)?;
    }
    Ok(outcome)
}

/// What stays the same, and what is carried from step to step.
struct Run<'a, D: Backend> {
    model: &'a Bert<D>,
    arena: &'a mut Arena<D>,
    workspace: &'a Workspace<D>,
    examples: &'a Examples,
    optimizer: ArenaOptimizer<D>,
    gradient: Gradient<D>,
    rate: LearningRate,
    max_grad_norm: Option<f32>,
    seed: u64,
    /// Of the frozen stages, where there are some and they drop nothing.
    reuse: Option<Reuse>,
    /// The values that last gave a loss; the first ones before any has.
    good: Snapshot<D>,
    /// The values before the step under way.
    before: Snapshot<D>,
}

impl<'a, D: Backend> Run<'a, D> {
    fn new(
        trainee: Trainee<'a, D>,
        examples: &'a Examples,
        options: &TrainOptions,
        total_steps: usize,
    ) -> Result<Self> {
        let Trainee { model, arena, workspace } = trainee;
        let rate = LearningRate {
            peak: options.learning_rate,
            schedule: options.schedule,
            warmup_steps: options.warmup_steps(total_steps) as u64,
            total_steps: total_steps as u64,
        };
        let hyper = AdamW { weight_decay: options.weight_decay, ..AdamW::default() };
        Ok(Self {
            optimizer: ArenaOptimizer::new(arena, hyper)?,
            gradient: arena.gradient()?,
            good: arena.snapshot()?,
            before: arena.snapshot()?,
            model,
            arena,
            workspace,
            examples,
            rate,
            max_grad_norm: options.max_grad_norm,
            seed: options.seed,
            reuse: None,
        })
    }

    /// Steps through an epoch; returns the mean loss of its steps.
    fn epoch(
        &mut self,
        epoch: usize,
        batches: &Batches,
        outcome: &mut Outcome,
        observer: &mut dyn Observer,
    ) -> Result<f64> {
        let mut losses = Vec::new();
        for batch in batches.epoch(epoch) {
            if observer.should_stop() {
                outcome.end = End::Stopped;
                break;
            }
            let start = Instant::now();
            let step = outcome.steps + 1;
            let learning_rate = self.rate.at(outcome.steps as u64);
            let (loss, tokens) = self.backward(&batch, outcome.steps as u32)?;
            // The whole step is queued before the first number is waited for; a step that should not have been is undone.
            self.arena.save(&mut self.before)?;
            self.optimizer.step(self.arena, &self.gradient, learning_rate, self.max_grad_norm)?;
            let loss = loss.tensor().to_array()?[[0, 0]];
            if !loss.is_finite() {
                outcome.end = End::Diverged { step, what: format!("the loss is {loss}") };
                self.arena.restore(&self.good)?;
                break;
            }
            std::mem::swap(&mut self.good, &mut self.before);
            let grad_norm = self.optimizer.norm()?;
            if !grad_norm.is_finite() {
                outcome.end = End::Diverged { step, what: format!("the gradient's norm is {grad_norm}") };
                break;
            }
            let elapsed = start.elapsed();
            outcome.steps = step;
            outcome.tokens += tokens;
            outcome.training += elapsed;
            losses.push(f64::from(loss));
            let seconds = elapsed.as_secs_f64();
            observer.step(&StepReport { step, epoch, loss, learning_rate, grad_norm, tokens, seconds })?;
        }
        // A step's loss tells of the values before it; those after the last one are looked at themselves.
        if outcome.end == End::Finished && self.arena.read()?.iter().any(|value| !value.is_finite()) {
            self.diverge(outcome, "what trains is no number any more".into())?;
        }
        Ok(losses.iter().sum::<f64>() / losses.len().max(1) as f64)
    }

    /// The scores after an epoch; none where the observer ends the run meanwhile, or the model's answers are no numbers.
    fn evaluate(
        &mut self,
        examples: &Examples,
        metrics: &[Metric],
        reuse: Option<&mut Reuse>,
        outcome: &mut Outcome,
        observer: &dyn Observer,
    ) -> Result<Vec<Score>> {
        let stop = || observer.should_stop();
        match evaluate_unless(&stop, self.model, self.arena, self.workspace, examples, metrics, reuse) {
            Ok(Some(scores)) => return Ok(scores),
            Ok(None) => outcome.end = End::Stopped,
            Err(Error::NotANumber { .. }) => self.diverge(outcome, "the model's answers are no numbers".into())?,
            Err(error) => return Err(error),
        }
        Ok(Vec::new())
    }

    /// Ends the run at the last step, with the values that last gave a loss.
    fn diverge(&mut self, outcome: &mut Outcome, what: String) -> Result<()> {
        outcome.end = End::Diverged { step: outcome.steps, what };
        Ok(self.arena.restore(&self.good)?)
    }

    /// Loss and gradient of a batch; returns the loss, which may still be under way, and the batch's tokens.
    fn backward(&mut self, rows: &[usize], step: u32) -> Result<(Var<D>, usize)> {
        self.gradient.clear(self.arena.device())?;
        let mut tape = Tape::train(self.workspace, self.arena, Seed { run: self.seed, step });
        let batch = self.examples.batch(self.arena.device(), rows)?;
        let logits = match &mut self.reuse {
            Some(reuse) => reuse.forward(self.model, &mut tape, &batch, &self.examples.encodings, rows)?,
            None => self.model.forward(&mut tape, &batch)?,
        };
        let loss = self.examples.loss(&mut tape, &logits, rows)?;
        tape.backward(&loss, &mut self.gradient)?;
        Ok((loss, batch.tokens()))
    }
}

impl Examples {
    /// The number of texts.
    pub fn len(&self) -> usize {
        self.encodings.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.encodings.is_empty()
    }

    /// The tokens of each.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        self.encodings.iter().map(|encoding| encoding.ids.len())
    }

    /// Refuses what cannot be trained on.
    fn validate(&self) -> Result<()> {
        let targets = match &self.targets {
            Targets::Classes(classes) => classes.len(),
            Targets::Scores(scores) => scores.len(),
        };
        let refuse = |value, reason| Err(Error::Setting { name: "the training set", value, reason });
        match self.len() {
            0 => refuse("empty".into(), "there must be at least one text"),
            texts if texts != targets => {
                refuse(format!("{texts} texts and {targets} targets"), "each text needs one target")
            }
            _ => Ok(()),
        }
    }

    /// The texts of these rows, on the device.
    fn batch<D: Backend>(&self, device: &D, rows: &[usize]) -> Result<Batch<D>> {
        Ok(Batch::new(device, rows.iter().map(|&row| &self.encodings[row]))?)
    }

    /// The mean loss over these rows: cross-entropy, or the squared error.
    ///
    /// # Errors
    /// [`crate::Error::Core`] when the outputs have not a row for each, or the device fails.
    pub fn loss<D: Backend>(&self, tape: &mut Tape<'_, D>, outputs: &Var<D>, rows: &[usize]) -> Result<Var<D>> {
        match &self.targets {
            Targets::Classes(classes) => {
                let classes: Vec<u32> = rows.iter().map(|&row| classes[row] as u32).collect();
                let classes = Indices::new(tape.device(), &classes)?;
                Ok(tape.cross_entropy(outputs, &classes)?)
            }
            Targets::Scores(scores) => {
                let scores = Array2::from_shape_fn((rows.len(), 1), |(i, _)| scores[rows[i]]);
                let scores = tape.workspace().tensor(scores.view())?;
                Ok(tape.mse(outputs, &scores)?)
            }
        }
    }
}
