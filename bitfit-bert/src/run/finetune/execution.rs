//! The execution of a run that is ready: the probe, the steps and the files; or the part in it of a rank that does not
//! write.

use bitfit_core::Backend;

use super::{Finetune, Finished, HandedOn, MASK_FILE, origin};
use crate::Result;
use crate::data::Kind;
use crate::files::remove;
use crate::methods::Method;
use crate::run::base_dir::{check_new, write_base};
use crate::run::log::{METRICS_LOG, MetricsLog};
use crate::run::options::{EarlierRun, FinetuneOptions};
use crate::run::output_dir::OutputDir;
use crate::run::plan::{InitialHead, Plan};
use crate::run::probe::{self, ProbeUse};
use crate::run::ranks;
use crate::run::run_record::origin_of_arena;
use crate::run::save::{Saving, TaskWriter};
use crate::run::state_file::RunState;
use crate::run::state_saver::StateSaver;
use crate::run::sweep::Claim;
use crate::run::task_data::TaskData;
use crate::train::{
    Batches, BestEpoch, Evaluation, Events, Examples, ProbeReport, Sharing, State, StopReason, TrainReport, Trainer,
};

impl<D: Backend> Finetune<D> {
    /// As [`Finetune::run_with`], for a run of a sweep.
    ///
    /// # Errors
    /// As [`Finetune::run`]; [`crate::Error::TakenOver`] where another process has taken the run over. Nothing is
    /// written from then on.
    pub(in crate::run) fn run_under(
        mut self,
        claim: Option<&Claim>,
        handed_on: &mut HandedOn,
        events: &mut dyn Events,
    ) -> Result<Finished> {
        ranks::meet(&*self.ranks, || self.origin_of_rank())?;
        let writes = self.exchange.rank() == 0;
        let claimed = || OutputDir::claim_under(claim, &self.options.out, self.options.earlier);
        let _claimed = writes.then(claimed).transpose()?;
        let rows = Batches::new(self.training_set().lengths(), &self.options.training).row_numbers();
        if handed_on.rows != rows {
            *handed_on = HandedOn { rows, ..HandedOn::default() };
        }
        let probe = match self.begin(handed_on, events)? {
            Ok(probe) => probe,
            Err(stop) => {
                let report = TrainReport { stop, state: State::default() };
                return Ok(Finished { probe: None, report, task: None });
            }
        };
        if !writes {
            return self.follow(probe, handed_on, events);
        }
        let writer = TaskWriter::new(&self.options, &self.model, self.data.scaling)?;
        match &self.chosen {
            Some(file) => file.write()?,
            // That of a run that is replaced would be taken for what this one trains.
            None if self.options.earlier == EarlierRun::Replace => remove(&self.options.out.join(MASK_FILE))?,
            None => {}
        }
        self.options.save_base.as_deref().map_or(Ok(()), check_new)?;
        match (&self.options.method, probe) {
            (Method::Probe, Some(probe)) => self.write_probe(probe, &writer, claim),
            (_, probe) => self.train(probe, &writer, claim, handed_on, events),
        }
    }

    /// Fits the run's probe, unless one was handed on, and takes its values where the head begins with them or they are
    /// the result. Returns what it reached, which of a resumed run is in its state, and `None` where no probe is made;
    /// or how the run ended before.
    fn begin(
        &mut self,
        handed_on: &mut HandedOn,
        events: &mut dyn Events,
    ) -> Result<Result<Option<ProbeReport>, StopReason>> {
        if let Some(saved) = &self.saved {
            return Ok(Ok(saved.about.probe.clone()));
        }
        if !wants_probe(&self.options, &self.plan, self.data.eval.is_some()) {
            return Ok(Ok(None));
        }
        if handed_on.probe.is_none() {
            let (train, evaluation) = (self.training_set(), evaluation(&self.data, &self.options));
            let (watched, over, rows, ranks) = (&mut *events, &self.model, &handed_on.rows, &*self.exchange);
            let fit = move || {
                let how = Sharing { stop: &|| watched.should_stop(), ranks };
                probe::fit(how, over, train, rows, evaluation)
            };
            handed_on.probe = self.model.base().device().install(fit)?;
            if let Some(fitted) = &handed_on.probe {
                events.probe(&fitted.report);
            }
        }
        let Some(fitted) = &handed_on.probe else { return Ok(Err(StopReason::Stopped)) };
        if self.options.method == Method::Probe || self.plan.initial_head == InitialHead::Probe {
            self.model.set_values(&fitted.tensors)?;
        }
        Ok(Ok(Some(fitted.report.clone())))
    }

    /// The part of a rank that does not write.
    fn follow(self, probe: Option<ProbeReport>, handed_on: &mut HandedOn, events: &mut dyn Events) -> Result<Finished> {
        let Self { options, mut model, data, masked_anew, saved, exchange, .. } = self;
        if options.method == Method::Probe && probe.is_some() {
            let report = TrainReport { stop: StopReason::Finished, state: State::default() };
            return Ok(Finished { probe, report, task: None });
        }
        let train = masked_anew.as_ref().unwrap_or(&data.train);
        let trainer = Trainer::new(&mut model, train, evaluation(&data, &options), &options.training)?;
        let mut trainer = trainer.with_ranks(exchange)?;
        saved.map_or(Ok(()), |saved| trainer.resume(saved.saved))?;
        let report = trainer.run_with(&mut handed_on.caches, events)?;
        Ok(Finished { probe, report, task: None })
    }

    /// Writes the probe as the result.
    fn write_probe(self, probe: ProbeReport, writer: &TaskWriter<D>, claim: Option<&Claim>) -> Result<Finished> {
        // A probe has no steps, and the log of an earlier run would be taken for its own.
        remove(&self.options.out.join(METRICS_LOG))?;
        let best = (!probe.scores.is_empty()).then(|| BestEpoch { epoch: 0, step: 0, scores: probe.scores.clone() });
        let state = State { last: probe.scores.clone(), best, ..State::default() };
        check_held(claim)?;
        let task = Some(writer.write(&state, &self.model.arena().read()?)?);
        let report = TrainReport { stop: StopReason::Finished, state };
        Ok(Finished { probe: Some(probe), report, task })
    }

    /// Trains, and writes what the run leaves in its directory.
    fn train(
        self,
        probe: Option<ProbeReport>,
        writer: &TaskWriter<D>,
        claim: Option<&Claim>,
        handed_on: &mut HandedOn,
        events: &mut dyn Events,
    ) -> Result<Finished> {
        let Self { options, mut model, data, masked_anew, saved, exchange, .. } = self;
        let (base, trained) = (model.base().clone(), origin_of_arena(&model));
        let origin = || origin(&base, &data, &options, &trained);
        let path = options.out.join(METRICS_LOG);
        let mut log = match &saved {
            None => MetricsLog::new(&path, options.log_every, events),
            Some(saved) => MetricsLog::resume(&path, options.log_every, saved.about.log, events)?,
        };
        if options.tensorboard {
            log = log.with_tensorboard(&options.out);
        }
        let state = StateSaver::new(options.out.clone(), options.save_every, &origin);
        let state = state.of(options.command.clone(), probe.clone()).under(claim);
        let mut saving = Saving { writer, state, claim, inner: &mut log };
        let train = masked_anew.as_ref().unwrap_or(&data.train);
        let trainer = Trainer::new(&mut model, train, evaluation(&data, &options), &options.training)?;
        let mut trainer = trainer.with_ranks(exchange)?;
        if let Some(saved) = saved {
            saving.resumed(&saved.saved.counters, saved.saved.place);
            trainer.resume(saved.saved)?;
        }
        let report = trainer.run_with(&mut handed_on.caches, &mut saving)?;
        let saved = saving.state.finish();
        check_held(claim)?;
        let written = report.state.steps > 0;
        let task = written.then(|| writer.write(&report.state, &model.arena().read()?)).transpose()?;
        // A run that was stopped may be resumed, and then writes the base at its end.
        let is_over = written && report.stop != StopReason::Stopped;
        if let Some(dir) = options.save_base.as_ref().filter(|_| is_over) {
            write_base(model.base(), &model.values()?, dir)?;
        }
        log.finish()?;
        saved?;
        if report.stop != StopReason::Stopped {
            RunState::remove(&options.out)?;
        }
        Ok(Finished { probe, report, task })
    }

    /// The training set.
    fn training_set(&self) -> &Examples {
        self.masked_anew.as_ref().unwrap_or(&self.data.train)
    }
}

/// The evaluation set with the metrics of the run.
fn evaluation<'a>(data: &'a TaskData, options: &'a FinetuneOptions) -> Option<Evaluation<'a>> {
    data.eval.as_ref().map(|examples| Evaluation { examples, metrics: &options.metrics })
}

/// Refuses to write for a run that another process has taken over.
fn check_held(claim: Option<&Claim>) -> Result<()> {
    claim.map_or(Ok(()), Claim::check)
}

/// Whether a run fits a probe.
fn wants_probe(options: &FinetuneOptions, plan: &Plan, evaluates: bool) -> bool {
    match options.probe {
        _ if options.method == Method::Probe || plan.initial_head == InitialHead::Probe => true,
        ProbeUse::Off => false,
        ProbeUse::Baseline => evaluates && !matches!(options.kind, Kind::Span | Kind::MaskedLm),
    }
}
