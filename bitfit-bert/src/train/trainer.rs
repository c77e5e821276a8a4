//! The training loop.

use std::sync::Arc;
use std::time::Instant;

use bitfit_core::optim::{AdamW, Alone, ArenaOptimizer, Collective, LearningRate};
use bitfit_core::{Backend, Error as CoreError, Gradient, Seed, Snapshot};

use super::batch_loss::BatchLoss;
use super::batch_pass::BatchPass;
use super::check::check_gradients_by;
use super::evaluate::{Sharing, evaluate_unless};
use super::rates::peak_rates;
use super::shards::Shards;
use super::{
    Batches, BestEpoch, EpochReport, Evaluation, Events, Examples, Place, PrefixCaches, SavedState, Score, State,
    StepReport, StopReason, TrainOptions, TrainReport,
};
use crate::model::Model;
use crate::{Error, Result};

/// A run over a model: [`Trainer::run`] steps through the epochs, evaluating after each.
pub struct Trainer<'a, D: Backend> {
    model: &'a mut Model<D>,
    examples: &'a Examples,
    evaluation: Option<Evaluation<'a>>,
    options: &'a TrainOptions,
    batches: Batches,
    optimizer: ArenaOptimizer<D>,
    gradient: Gradient<D>,
    rate: LearningRate,
    /// The peak rate of each entry of the arena, where they differ from that of the options.
    peaks: Option<Vec<f32>>,
    caches: PrefixCaches,
    shards: Shards<D>,
    /// Whether one of several ranks is to stop.
    stops: bool,
    /// The last values with a finite loss; the initial ones before the first step.
    good: Snapshot<D>,
    /// The values before the current step.
    before: Snapshot<D>,
    state: State,
    place: Place,
    /// The values of the best epoch.
    kept: Option<Vec<f32>>,
}

impl<'a, D: Backend> Trainer<'a, D> {
    /// A run before its first step.
    ///
    /// # Errors
    /// [`Error::Setting`] for invalid options or for a training set that is empty or lacks targets; [`Error::Core`]
    /// when the device is out of memory.
    pub fn new(
        model: &'a mut Model<D>,
        examples: &'a Examples,
        evaluation: Option<Evaluation<'a>>,
        options: &'a TrainOptions,
    ) -> Result<Self> {
        options.validate()?;
        examples.validate()?;
        let batches = Batches::new(examples.lengths(), options);
        let total_steps = batches.steps(options.epochs);
        let rate = LearningRate::new(options.learning_rate, options.schedule, total_steps as u64)
            .with_warmup(options.warmup_steps(total_steps) as u64);
        let peaks = peak_rates(model, options)?;
        let caches = PrefixCaches::new(model, examples, &batches, evaluation, options);
        let hyper = AdamW::default().with_weight_decay(options.weight_decay);
        let arena = model.arena();
        Ok(Self {
            optimizer: ArenaOptimizer::new(arena, hyper)?,
            gradient: arena.gradient()?,
            good: arena.snapshot()?,
            before: arena.snapshot()?,
            model,
            examples,
            evaluation,
            options,
            batches,
            rate,
            peaks,
            caches,
            shards: Shards::new(options, Arc::new(Alone))?,
            stops: false,
            state: State::default(),
            place: Place::default(),
            kept: None,
        })
    }

    /// With several ranks, each of which has a trainer of the same model, examples and options, and calls the same
    /// functions. Each computes some of a batch's shards, and all take the same step.
    ///
    /// # Errors
    /// [`Error::Setting`] for more ranks than [`TrainOptions::shards`].
    pub fn with_ranks(self, ranks: Arc<dyn Collective>) -> Result<Self> {
        Ok(Self { shards: Shards::new(self.options, ranks)?, ..self })
    }

    /// Puts the run at the point where another of the same model, examples and options was when it saved `saved`
    /// ([`Events::pause`]). It goes on from there with the same bits.
    ///
    /// # Errors
    /// [`Error::Core`] for a state of another number of trainable scalars, or moments that no step has; nothing that
    /// trains has changed then.
    pub fn resume(&mut self, saved: SavedState) -> Result<()> {
        let SavedState { counters, place, values, good, moments: [first, second], kept } = saved;
        self.optimizer.restore(&first, &second, counters.steps as u64)?;
        let arena = self.model.arena_mut();
        arena.write(&good)?;
        arena.save(&mut self.good)?;
        arena.write(&values)?;
        (self.state, self.place, self.kept) = (counters, place, kept);
        Ok(())
    }

    /// All that the run needs to go on from here.
    fn saved(&self) -> Result<SavedState> {
        let arena = self.model.arena();
        let (first, second, _) = self.optimizer.state()?;
        Ok(SavedState {
            counters: self.state.clone(),
            place: self.place,
            values: arena.read()?,
            good: arena.read_snapshot(&self.good)?,
            moments: [first, second],
            kept: self.kept.clone(),
        })
    }

    /// Trains: first checks that every trainable tensor has a gradient, then steps through the epochs.
    ///
    /// # Errors
    /// [`Error::Core`] when the gradient check or the device fails; every error of the events. A loss that is NaN or
    /// infinite is not an error but a [`StopReason`], with the last good values kept.
    pub fn run(self, events: &mut dyn Events) -> Result<TrainReport> {
        self.run_with(&mut PrefixCaches::default(), events)
    }

    /// As [`Trainer::run`], with the caches of an earlier run over the same base and sets, and for a later one. Those
    /// of other frozen stages are replaced.
    ///
    /// # Errors
    /// As [`Trainer::run`].
    pub fn run_with(mut self, caches: &mut PrefixCaches, events: &mut dyn Events) -> Result<TrainReport> {
        let device = self.model.base().device().clone();
        if caches.are_like(&self.caches) {
            std::mem::swap(caches, &mut self.caches);
        }
        *caches = PrefixCaches::default();
        let report = device.install(|| self.run_installed(events));
        *caches = self.caches;
        report
    }

    fn run_installed(&mut self, events: &mut dyn Events) -> Result<TrainReport> {
        // What goes on was checked when it began.
        if self.state.steps == 0 {
            let Self { model, examples, batches, options, shards, .. } = self;
            check_gradients_by(model, examples, &batches.first(), options, shards)?;
        }
        let mut stop = StopReason::Finished;
        while stop == StopReason::Finished && self.place.epoch <= self.options.epochs {
            stop = self.epoch(events)?;
        }
        if stop == StopReason::Stopped && self.state.steps > 0 {
            events.pause(true, &|| self.saved())?;
        }
        if let Some(kept) = &self.kept {
            self.model.arena_mut().write(kept)?;
        }
        Ok(TrainReport { stop, state: std::mem::take(&mut self.state) })
    }

    /// What is left of an epoch, with its evaluation.
    fn epoch(&mut self, events: &mut dyn Events) -> Result<StopReason> {
        // A run that is resumed may have been interrupted behind its last evaluation.
        if self.is_out_of_patience() {
            return Ok(StopReason::NoImprovement);
        }
        let epoch = self.place.epoch;
        match self.steps(epoch, events)? {
            StopReason::Finished => {}
            stop => return Ok(stop),
        }
        self.state.epochs = epoch;
        self.check_ranks()?;
        match self.score(true, events)? {
            StopReason::Finished => {}
            stop => return Ok(stop),
        }
        events.pause(false, &|| self.saved())?;
        Ok(if self.is_out_of_patience() { StopReason::NoImprovement } else { StopReason::Finished })
    }

    /// Refuses to go on where a rank has values of other bits than the first one.
    fn check_ranks(&self) -> Result<()> {
        if !self.shards.are_shared() {
            return Ok(());
        }
        let hash = blake3::hash(bytemuck::cast_slice(&self.model.arena().read()?));
        let mine: Vec<u32> = hash.as_bytes().chunks_exact(4).map(bytemuck::pod_read_unaligned).collect();
        let (ranks, mut all) = (self.shards.ranks(), Vec::new());
        ranks.all_gather(&mine, &vec![mine.len(); ranks.size()], &mut all)?;
        match all.chunks_exact(mine.len()).position(|hash| *hash != all[..mine.len()]) {
            None => Ok(()),
            Some(rank) => {
                let reason = format!("after epoch {} it has values of other bits than rank 0", self.state.epochs);
                Err(CoreError::Rank { rank, reason }.into())
            }
        }
    }

    /// Whether the run is to stop before the next step. Several ranks stop together, after the step with which they
    /// heard of it.
    fn should_stop(&self, events: &dyn Events) -> bool {
        if self.shards.are_shared() { self.stops } else { events.should_stop() }
    }

    /// Evaluates where there is an evaluation set, and keeps what is the best so far; returns why the run ends, if it
    /// does.
    fn score(&mut self, is_end: bool, events: &mut dyn Events) -> Result<StopReason> {
        let Place { epoch, steps, loss } = self.place;
        let scores = match self.evaluation {
            Some(evaluation) => {
                events.evaluating(epoch);
                match self.evaluate(evaluation, events)? {
                    Ok(scores) => scores,
                    Err(stop) => return Ok(stop),
                }
            }
            None => Vec::new(),
        };
        let step = self.state.steps;
        let best = self.state.best.as_ref().map(|best| best.scores[0].value);
        let is_better = |score: &Score| best.is_none_or(|best| score.metric.is_better(score.value, best));
        let is_best = scores.first().is_some_and(is_better);
        if is_best {
            self.state.best = Some(BestEpoch { epoch, step, scores: scores.clone() });
        }
        self.state.since_best = if is_best { 0 } else { self.state.since_best + 1 };
        self.state.last.clone_from(&scores);
        self.state.evaluated = step;
        if is_best || self.evaluation.is_none() {
            let values = self.model.arena().read()?;
            events.keep(&self.state, &values)?;
            if is_best {
                self.kept = Some(values);
            }
        }
        if is_end {
            self.place = Place::beginning_of(epoch + 1);
        }
        let mean_loss = loss / steps.max(1) as f64;
        events.epoch(&EpochReport { epoch, step, is_end, mean_loss, scores, is_best })?;
        Ok(StopReason::Finished)
    }

    /// Whether the score has not become better for too long.
    fn is_out_of_patience(&self) -> bool {
        self.evaluation.is_some() && self.options.patience.is_some_and(|patience| self.state.since_best >= patience)
    }

    /// Whether the step that was taken last is to be evaluated, as one within an epoch.
    fn is_evaluated_here(&self) -> bool {
        let Self { evaluation, options, state, place, .. } = self;
        let is_due = options.eval_every.is_some_and(|every| state.steps.is_multiple_of(every));
        evaluation.is_some() && is_due && place.steps > 0 && state.evaluated != state.steps
    }

    /// Takes the steps that are left of an epoch; returns why they ended.
    fn steps(&mut self, epoch: usize, events: &mut dyn Events) -> Result<StopReason> {
        for rows in self.batches.epoch(epoch).into_iter().skip(self.place.steps) {
            if self.should_stop(events) {
                return Ok(StopReason::Stopped);
            }
            if self.is_evaluated_here() {
                match self.score(false, events)? {
                    StopReason::Finished if self.is_out_of_patience() => return Ok(StopReason::NoImprovement),
                    StopReason::Finished => {}
                    stop => return Ok(stop),
                }
            }
            let start = Instant::now();
            let step = self.state.steps + 1;
            let learning_rate = self.rate.at(self.state.steps as u64);
            let loss = self.backward(epoch, &rows, self.state.steps as u64, events.should_stop())?;
            self.stops = loss.stops;
            let tokens = loss.tokens;
            // The whole step is queued before the host waits for the loss; a step that diverged is undone.
            let Self { model, optimizer, gradient, before, options, rate, peaks, state, .. } = self;
            model.arena().save(before)?;
            match peaks {
                None => optimizer.step(model.arena_mut(), gradient, learning_rate, options.max_grad_norm)?,
                Some(peaks) => {
                    let at = |&peak: &f32| rate.with_peak(peak).at(state.steps as u64);
                    let rates: Vec<f32> = peaks.iter().map(at).collect();
                    optimizer.step_by_entry(model.arena_mut(), gradient, &rates, options.max_grad_norm)?;
                }
            }
            let loss = loss.read()?;
            if !loss.is_finite() {
                self.model.arena_mut().restore(&self.good)?;
                return Ok(StopReason::Diverged { step, what: format!("the loss is {loss}") });
            }
            std::mem::swap(&mut self.good, &mut self.before);
            let grad_norm = self.optimizer.norm()?;
            if !grad_norm.is_finite() {
                return Ok(StopReason::Diverged { step, what: format!("the gradient's norm is {grad_norm}") });
            }
            let elapsed = start.elapsed();
            self.state.steps = step;
            self.state.tokens += tokens;
            self.state.training += elapsed;
            self.place.steps += 1;
            self.place.loss += f64::from(loss);
            let seconds = elapsed.as_secs_f64();
            events.step(&StepReport { step, epoch, loss, learning_rate, grad_norm, tokens, seconds })?;
            events.pause(false, &|| self.saved())?;
        }
        // A step's loss is a function of the values before it; those after the last step are checked themselves.
        if self.model.arena().read()?.iter().any(|value| !value.is_finite()) {
            return self.diverge("a trainable value became NaN or infinite");
        }
        Ok(StopReason::Finished)
    }

    /// The scores after an epoch, or why the run ends instead.
    fn evaluate(&mut self, evaluation: Evaluation<'_>, events: &dyn Events) -> Result<Result<Vec<Score>, StopReason>> {
        let how = Sharing { stop: &|| events.should_stop(), ranks: &**self.shards.ranks() };
        match evaluate_unless(how, self.model, evaluation, self.caches.evaluation.as_mut()) {
            Ok(Some(scores)) => Ok(Ok(scores)),
            Ok(None) => Ok(Err(StopReason::Stopped)),
            Err(Error::NotFinite { .. }) => Ok(Err(self.diverge("an output of the model became NaN or infinite")?)),
            Err(error) => Err(error),
        }
    }

    /// Ends the run at the last step, with the values that last gave a finite loss.
    fn diverge(&mut self, what: &str) -> Result<StopReason> {
        self.model.arena_mut().restore(&self.good)?;
        Ok(StopReason::Diverged { step: self.state.steps, what: what.into() })
    }

    /// Computes the loss and gradient of a batch.
    fn backward(&mut self, epoch: usize, rows: &[usize], step: u64, stops: bool) -> Result<BatchLoss<D>> {
        let Self { model, examples, options, gradient, caches, shards, .. } = self;
        gradient.clear(model.base().device())?;
        let TrainOptions { seed: run, micro_batch, ref weighting, .. } = **options;
        let (seed, weighting) = (Seed { run, step }, weighting.as_ref());
        let pass = BatchPass { examples, rows, epoch, seed, weighting, micro_batch };
        shards.add_gradient(pass, model, caches.training.as_mut(), stops, gradient)
    }
}
