//! A fine-tuning run: files in, task file out. [`Finetune::prepare`] reads and checks everything, so that errors are
//! reported before the first step; [`Finetune::plan`] returns the plan of the run, and [`Finetune::run`] executes it.

use std::sync::Arc;

use bitfit_core::Backend;
use bitfit_core::optim::{Alone, Collective};

use crate::data::Dataset;
use crate::heads::Pooling;
use crate::methods::{BiasKind, MaskFile, Method};
use crate::model::{Base, InitialValues, Model, ModelOptions};
use crate::settings::{Setting, check};
use crate::train::{Batches, Events, Examples, PrefixCaches, ProbeReport, TrainReport, rate_summaries, select};
use crate::{Error, Result};

use super::options::{EarlierRun, FinetuneOptions};
use super::output_dir::check_output;
use super::plan::{InitialHead, Plan};
use super::probe::{self, FittedProbe};
use super::ranks;
use super::run_record::{Origin, origin_of_arena, origin_of_run};
use super::save::WrittenTask;
use super::state_file::RunState;
use super::task_data::TaskData;

mod execution;

/// The name of the file in the output directory that has what a short run has chosen.
pub const MASK_FILE: &str = "mask.safetensors";

/// A run that is ready to start: everything is read, but nothing is written yet.
#[derive(Debug)]
pub struct Finetune<D: Backend> {
    options: FinetuneOptions,
    model: Model<D>,
    data: Arc<TaskData>,
    /// The training set where it is another than that of the data.
    masked_anew: Option<Examples>,
    /// What a short run has chosen, which the run writes.
    chosen: Option<Arc<MaskFile>>,
    /// Where the run goes on.
    saved: Option<RunState>,
    plan: Plan,
    /// Those that make the run together.
    ranks: Arc<dyn Collective>,
    /// The same ones, as they exchange gradients and outputs.
    exchange: Arc<dyn Collective>,
}

/// The results of a run.
#[derive(Debug)]
pub struct Finished {
    /// What a probe reached, where one was made.
    pub probe: Option<ProbeReport>,
    /// What was reached.
    pub report: TrainReport,
    /// The task file; `None` where the run ended before its first step.
    pub task: Option<WrittenTask>,
}

/// What runs over the same base and data hand on to the next: a probe, which depends on the rows that are trained on
/// alone, and the outputs of frozen stages.
#[derive(Debug, Default)]
pub(super) struct HandedOn {
    /// The rows of the training set that the rest is of.
    rows: Vec<usize>,
    probe: Option<FittedProbe>,
    pub(super) caches: PrefixCaches,
}

impl<D: Backend> Finetune<D> {
    /// Reads the data and makes a model over `base`.
    ///
    /// # Errors
    /// Every error of reading the base's tokenizer and weights and the data; [`Error::Setting`] for impossible options;
    /// [`Error::Output`] for an output directory with files of an earlier run that must not be replaced, and for one
    /// with nothing to resume; [`Error::StateFile`] for a state that is not whole or is of another run.
    pub fn prepare(base: &Base<D>, options: FinetuneOptions) -> Result<Self> {
        check_options(base, &options)?;
        check_output(&options.out, options.earlier)?;
        let data = TaskData::read(base, &options)?;
        Self::over(base, &Arc::new(data), options)
    }

    /// A run over data that was read. The options must have passed [`check_options`], and agree with those that the
    /// data was read with but for what trains and how.
    pub(super) fn over(base: &Base<D>, data: &Arc<TaskData>, mut options: FinetuneOptions) -> Result<Self> {
        let spec = data.spec.clone();
        options.metrics.clone_from(&spec.metrics);
        let seed = options.training.seed;
        options.method = options.method.seeded(seed);
        let (initial, initial_head) = match &data.head {
            Some((file, initial_head)) => (InitialValues::HeadFile { file: file.clone(), seed }, initial_head.clone()),
            None if options.begins_with_probe(spec.pooling) => (InitialValues::Drawn { seed }, InitialHead::Probe),
            None => (InitialValues::Drawn { seed }, InitialHead::Drawn),
        };
        let mut model_options =
            ModelOptions { spec, method: options.method.clone(), initial, dropout: options.dropout };
        let mut model = Model::new(base, &model_options)?;
        let masked_anew = data.masked_anew(seed);
        let train = masked_anew.as_ref().unwrap_or(&data.train);
        let rows = Batches::new(train.lengths(), &options.training).row_numbers();
        options.training.weighting = options.loss.weighting(data.spec.labels.as_ref(), train, &rows)?;
        let mut chosen = None;
        if let Some(how) = options.select {
            let masks = select(&mut model, train, &options.training, how)?;
            let file = Arc::new(MaskFile::new(options.out.join(MASK_FILE), masks));
            options.method = Method::Mask(Some(Arc::clone(&file)));
            model_options.method = options.method.clone();
            model = Model::new(base, &model_options)?;
            chosen = Some(file);
        }
        let plan = Plan::new(&options, &model, train, data.eval.as_ref(), &data.datasets());
        // A probe is fitted without steps.
        let rates = match options.method {
            Method::Probe => Vec::new(),
            _ => rate_summaries(&model, &options.training)?,
        };
        let mut plan = Plan { initial_head, pooling_source: data.pooling_source.clone(), rates, ..plan };
        plan.notes.extend(data.notes.iter().cloned());
        let data = Arc::clone(data);
        let ranks: Arc<dyn Collective> = Arc::new(Alone);
        let exchange = Arc::clone(&ranks);
        let mut run = Self { options, model, data, masked_anew, chosen, saved: None, plan, ranks, exchange };
        if run.options.earlier == EarlierRun::Resume {
            run.saved = Some(RunState::find(&run.options.out, &run.origin()?)?);
        }
        Ok(run)
    }

    /// The run as one of several ranks that make it together, each of which has the same options and calls
    /// [`Finetune::run`]. The first one writes.
    #[must_use]
    pub fn with_ranks(self, ranks: Arc<dyn Collective>) -> Self {
        Self { exchange: Arc::clone(&ranks), ranks, ..self }
    }

    /// The same ranks ([`Finetune::with_ranks`], before this), with another group for what they exchange once they have
    /// begun the same run: one that is faster, and that only ranks without an error can use.
    #[must_use]
    pub fn with_exchange(self, exchange: Arc<dyn Collective>) -> Self {
        Self { exchange, ..self }
    }

    /// The plan of the run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The evaluation set, as it was read.
    pub fn evaluation_set(&self) -> Option<&Dataset> {
        self.data.eval_set.as_ref()
    }

    /// What the run is made from.
    pub(super) fn origin(&self) -> Result<Origin> {
        origin(self.model.base(), &self.data, &self.options, &origin_of_arena(&self.model))
    }

    /// What the run must be made from on all ranks.
    fn origin_of_rank(&self) -> Result<Origin> {
        let mut origin = self.origin()?;
        origin.insert("program".into(), ranks::program()?);
        if let Some(saved) = &self.saved {
            origin.insert("state".into(), ranks::state_origin(&saved.saved));
        }
        Ok(origin)
    }

    /// Fits a probe where the options ask for one, trains, and writes `task.safetensors` and `metrics.jsonl` into the
    /// output directory; `mask.safetensors` too where a short run has chosen what trains. A run that is resumed goes on
    /// from its state to the same task file.
    ///
    /// The task file is written after every epoch that is the best so far, or, without an evaluation set, after every
    /// epoch, so that it exists however the run ends, even after a power cut. A run that ends normally, by its events
    /// or by a loss that is NaN or infinite leaves the best epoch so far; see [`TrainReport::stop`]. A run that ends
    /// before its first step writes no file.
    ///
    /// Of several ranks ([`Finetune::with_ranks`]) each begins by telling the others what its run is made from. One
    /// that has failed before calls [`withdraw`](super::withdraw) instead of this function.
    ///
    /// # Errors
    /// [`bitfit_core::Error::Rank`] for a rank that cannot begin the run or is about to make another one.
    /// [`Error::Io`] when the output directory cannot be written, [`Error::Output`] when another run is writing into
    /// it, and every error of [`Trainer::run`](crate::train::Trainer::run); those of
    /// [`write_base`](super::write_base), of which an existing directory is refused before the first step.
    pub fn run(self, events: &mut dyn Events) -> Result<Finished> {
        self.run_with(&mut HandedOn::default(), events)
    }

    /// As [`Finetune::run`], with what an earlier run handed on, and for a later one. The result has the same bits as
    /// without, except as [`PrefixCaches`] says.
    pub(super) fn run_with(self, handed_on: &mut HandedOn, events: &mut dyn Events) -> Result<Finished> {
        self.run_under(None, handed_on, events)
    }
}

/// What a run of these options is made from; `trained` is [`origin_of_arena`] of its model. The number of ranks, which
/// changes nothing, is not part of it.
fn origin<D: Backend>(base: &Base<D>, data: &TaskData, options: &FinetuneOptions, trained: &str) -> Result<Origin> {
    let mut origin = origin_of_run(base, data, options, trained)?;
    if let Some(shards) = options.training.shards {
        origin.insert("number of logical shards".into(), shards.to_string());
    }
    Ok(origin)
}

/// Refuses options that are invalid, or that do not suit the base, before data is read.
pub(super) fn check_options<D: Backend>(base: &Base<D>, options: &FinetuneOptions) -> Result<()> {
    options.validate()?;
    if let Some(layers) = options.method.biases().layers() {
        let (first, last, count) = (layers.start(), layers.end(), base.config().num_hidden_layers);
        let value = if first == last { first.to_string() } else { format!("{first}-{last}") };
        let reason = format!("the model has {count} layers, counted from 0 to {}", count.saturating_sub(1));
        check(Setting::Layers, value, *last < count, reason)?;
    }
    let (pooling, _) = options.pooling(base)?;
    check_kinds(base, &options.method, pooling)?;
    if options.begins_with_probe(pooling) || options.method == Method::Probe {
        let reason = "a probe is one layer over rows of the base, but this head has another layer of its own: choose cls or mean";
        check(Setting::Pooling, pooling, probe::is_linear(base, pooling), reason)?;
    }
    Ok(())
}

/// Refuses a kind of bias that was chosen by name and that the model does not have, or that the head does not read.
fn check_kinds<D: Backend>(base: &Base<D>, method: &Method, pooling: Pooling) -> Result<()> {
    let biases = method.biases();
    if biases.is_every_kind() {
        return Ok(());
    }
    let has = |kind: BiasKind| match kind {
        BiasKind::Pooler => base.reads_own_pooler(pooling),
        kind => base.architecture().required(base.config()).any(|role| role.module == kind.module()),
    };
    match biases.kinds().find(|&kind| !has(kind)) {
        None => Ok(()),
        Some(kind) => {
            let reason = "the model has no such bias below this head".into();
            Err(Error::Setting { setting: Setting::Biases, value: kind.to_string(), reason })
        }
    }
}
