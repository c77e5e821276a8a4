//! A fine-tuning run: files in, task file out. [`Finetune::prepare`] reads and checks everything, so that errors are
//! reported before the first step; [`Finetune::plan`] returns the plan of the run, and [`Finetune::run`] executes it.

use std::fs;

use bitfit_core::Backend;

use crate::data::{Contents, Dataset, Example, Kind, Labels, Question, check_pairs};
use crate::heads::{self, DEFAULT_STRIDE, Encoded, Masking, PairEncoding, Pooling, SpanSettings, TaskSpec};
use crate::methods::{BiasKind, Method};
use crate::model::{Base, InitialValues, Model, ModelOptions};
use crate::settings::{Setting, check, check_max_length};
use crate::train::{
    Batches, BestEpoch, Evaluation, Events, Examples, ProbeReport, State, StopReason, TrainReport, Trainer,
};
use crate::{Error, Result};

use super::base_dir::{check_new, write_base};
use super::head_file;
use super::log::{METRICS_LOG, MetricsLog};
use super::notes;
use super::options::{FinetuneOptions, HeadStart};
use super::plan::{InitialHead, Plan};
use super::probe::{self, ProbeUse};
use super::save::{Saving, TaskWriter, WrittenTask};

/// The default maximum length in tokens, if the model has as many positions.
const DEFAULT_MAX_LENGTH: usize = 128;
/// The same for a question with its context, as in the paper of BERT and in the examples of transformers.
const DEFAULT_WINDOW: usize = 384;

/// A run that is ready to start: everything is read, but nothing is written yet.
#[derive(Debug)]
pub struct Finetune<D: Backend> {
    options: FinetuneOptions,
    model: Model<D>,
    train: Examples,
    eval: Option<Examples>,
    plan: Plan,
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

impl<D: Backend> Finetune<D> {
    /// Reads the data and makes a model over `base`.
    ///
    /// # Errors
    /// Every error of reading the base's tokenizer and weights and the data; [`Error::Setting`] for impossible options.
    pub fn prepare(base: &Base<D>, mut options: FinetuneOptions) -> Result<Self> {
        options.validate()?;
        options.method = options.method.seeded(options.training.seed);
        let config = base.config();
        let usual = if options.kind == Kind::Span { DEFAULT_WINDOW } else { DEFAULT_MAX_LENGTH };
        let max_length = options.max_length.unwrap_or(config.max_length().min(usual));
        if options.kind == Kind::Span {
            let reason =
                "it must be less than the maximum length, so that a sequence goes on where the one before ends";
            options.stride.map_or(Ok(()), |stride| check(Setting::Stride, stride, stride < max_length, reason))?;
        }
        if let Some(layers) = options.method.biases().layers() {
            let value = format!("{}-{}", layers.start(), layers.end());
            let is_inside = *layers.end() < config.num_hidden_layers;
            check(Setting::Layers, value, is_inside, "the model has fewer layers; they are counted from 0")?;
        }
        let (pooling, pooling_source) = options.pooling(base)?;
        check_kinds(base, &options.method, pooling)?;
        let begins_with_probe = options.begins_with_probe(pooling);
        if begins_with_probe || options.probe == ProbeUse::Result {
            let reason = "a probe is one layer over rows of the base, but this head has another layer of its own: choose cls or mean";
            check(Setting::Pooling, pooling, probe::is_linear(base, pooling), reason)?;
        }
        let tokenizer = base.tokenizer()?;
        options.read.contents = Contents::of(options.kind);
        if options.kind == Kind::MaskedLm {
            base.checkpoint().check_masked_lm()?;
            options.read.require_labels = false;
        }
        let mut training_set = Dataset::read(&options.train, &options.read)?;
        let pairs = options.kind != Kind::MaskedLm && training_set.is_paired();
        check_pairs(&training_set.path, &training_set.examples, pairs)?;
        let labels = match options.kind {
            Kind::Classify => Some(Labels::of_training_set(&training_set)?),
            Kind::Tag => Some(Labels::of_words(&training_set)?),
            Kind::Regress | Kind::Span | Kind::MaskedLm => None,
            Kind::MultiLabel => {
                let (labels, separator) = Labels::of_several(&training_set)?;
                training_set.label_separator = separator;
                Some(labels)
            }
        };
        if options.metrics.is_empty() {
            options.metrics = heads::default_metrics(options.kind, labels.as_ref());
        }
        let metrics = options.metrics.clone();
        let span = (options.kind == Kind::Span).then(|| {
            let has_answer = |example: &Example| example.question.as_ref().is_some_and(Question::has_answer);
            let stride = options.stride.unwrap_or(DEFAULT_STRIDE.min(max_length / 3));
            SpanSettings { stride, unanswerable: !training_set.examples.iter().all(has_answer) }
        });
        let spec =
            TaskSpec { kind: options.kind, labels, pairs, pair: options.pair, span, pooling, max_length, metrics };
        check_max_length(max_length, config.max_length(), spec.special_tokens(tokenizer))?;
        check_pair(base, &spec)?;
        let eval_set = options.eval.as_ref().map(|path| Dataset::read(path, &options.read)).transpose()?;
        if let Some(eval_set) = &eval_set {
            check_pairs(&eval_set.path, &eval_set.examples, pairs)?;
        }
        let head = spec.head::<D>();
        let seed = options.training.seed;
        let encode = |dataset: &Dataset| {
            let encoded = spec.encode_labelled(tokenizer, &dataset.examples, max_length)?;
            if spec.kind == Kind::MaskedLm && encoded.encodings.is_empty() {
                let reason =
                    "none of its texts has a token that can be masked: to the tokenizer they are empty or unknown";
                return Err(Error::DataFile { path: dataset.path.clone(), reason: reason.into() });
            }
            Ok(encoded)
        };
        let (train, eval, masked) = if spec.kind == Kind::MaskedLm {
            let (options, vocabulary) = (options.masking, tokenizer.mask_vocabulary()?);
            let Encoded { encodings, texts } = encode(&training_set)?;
            let eval = eval_set.as_ref().map(&encode).transpose()?;
            let once = Masking::of_evaluation(options, vocabulary.clone());
            let eval = eval.map(|eval| once.once(&eval.encodings, 0));
            let masked = notes::masked(training_set.examples.len(), &texts);
            (Masking::of_training(options, vocabulary, seed).anew(encodings), eval, masked)
        } else {
            let examples = |dataset: &Dataset| -> Result<Examples> {
                let targets = head.targets(dataset)?;
                let Encoded { encodings, texts } = encode(dataset)?;
                Ok(Examples { encodings, texts, targets })
            };
            (examples(&training_set)?, eval_set.as_ref().map(examples).transpose()?, Vec::new())
        };

        let (initial, initial_head) = match &options.head {
            HeadStart::File(path) => {
                let (file, initial_head) = head_file::read(path, base.checkpoint(), &spec)?;
                (InitialValues::HeadFile { file, seed }, initial_head)
            }
            _ if begins_with_probe => (InitialValues::Drawn { seed }, InitialHead::Probe),
            _ => (InitialValues::Drawn { seed }, InitialHead::Drawn),
        };
        let model_options = ModelOptions { spec, method: options.method.clone(), initial, dropout: options.dropout };
        let model = Model::new(base, &model_options)?;
        let datasets: Vec<&Dataset> = [Some(&training_set), eval_set.as_ref()].into_iter().flatten().collect();
        let plan = Plan::new(&options, &model, &train, eval.as_ref(), &datasets);
        let mut plan = Plan { initial_head, pooling_source, ..plan };
        plan.notes.extend(masked);
        Ok(Self { options, model, train, eval, plan })
    }

    /// The plan of the run.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Fits a probe where the options ask for one, trains, and writes `task.safetensors` and `metrics.jsonl` into the
    /// output directory.
    ///
    /// The task file is written after every epoch that is the best so far, or, without an evaluation set, after every
    /// epoch, so that it exists however the run ends, even after a power cut. A run that ends normally, by its events
    /// or by a loss that is NaN or infinite leaves the best epoch so far; see [`TrainReport::stop`]. A run that ends
    /// before its first step writes nothing.
    ///
    /// # Errors
    /// [`Error::Io`] when the output directory cannot be written, and every error of [`Trainer::run`]; those of
    /// [`write_base`], of which an existing directory is refused before the first step.
    pub fn run(self, events: &mut dyn Events) -> Result<Finished> {
        let Self { options, mut model, train, eval, plan } = self;
        let evaluation = eval.as_ref().map(|examples| Evaluation { examples, metrics: &options.metrics });
        let mut probe = None;
        let wants_probe = match options.probe {
            _ if plan.initial_head == InitialHead::Probe => true,
            ProbeUse::Off => false,
            _ if matches!(options.kind, Kind::Span | Kind::MaskedLm) => false,
            ProbeUse::Baseline => evaluation.is_some(),
            ProbeUse::Result => true,
        };
        if wants_probe {
            let rows = Batches::new(train.lengths(), &options.training).row_numbers();
            let (watched, over, texts) = (&mut *events, &model, &train);
            let fit = move || probe::fit(&|| watched.should_stop(), over, texts, &rows, evaluation);
            let Some(fitted) = model.base().device().install(fit)? else {
                let report = TrainReport { stop: StopReason::Stopped, state: State::default() };
                return Ok(Finished { probe: None, report, task: None });
            };
            events.probe(&fitted.report);
            if options.probe == ProbeUse::Result || plan.initial_head == InitialHead::Probe {
                model.set_values(&fitted.tensors)?;
            }
            probe = Some(fitted.report);
        }
        let writer = TaskWriter::new(&options, &model)?;
        fs::create_dir_all(&options.out).map_err(Error::io(&options.out))?;
        options.save_base.as_deref().map_or(Ok(()), check_new)?;
        if let (ProbeUse::Result, Some(probe)) = (options.probe, &probe) {
            let best = (!probe.scores.is_empty()).then(|| BestEpoch { epoch: 0, scores: probe.scores.clone() });
            let state = State { last: probe.scores.clone(), best, ..State::default() };
            let task = Some(writer.write(&state, &model.arena().read()?)?);
            let report = TrainReport { stop: StopReason::Finished, state };
            return Ok(Finished { probe: Some(probe.clone()), report, task });
        }
        let mut log = MetricsLog::new(&options.out.join(METRICS_LOG), options.log_every, events);
        let mut saving = Saving { writer: &writer, inner: &mut log };
        let report = Trainer::new(&mut model, &train, evaluation, &options.training)?.run(&mut saving)?;
        let written = report.state.steps > 0;
        let task = written.then(|| writer.write(&report.state, &model.arena().read()?)).transpose()?;
        if let Some(dir) = options.save_base.as_ref().filter(|_| written) {
            write_base(model.base(), &model.values()?, dir)?;
        }
        log.finish().map(|()| Finished { probe, report, task })
    }
}

/// Refuses a kind of bias that was chosen by name and that the model does not have, or that the head does not read.
fn check_kinds<D: Backend>(base: &Base<D>, method: &Method, pooling: Pooling) -> Result<()> {
    let biases = method.biases();
    if biases.is_every_kind() {
        return Ok(());
    }
    let has = |kind: BiasKind| match kind {
        BiasKind::Pooler => base.architecture().reads_pooler(pooling) && base.checkpoint().has_pooler(),
        kind => base.architecture().required(base.config()).any(|role| role.module == kind.module()),
    };
    match biases.kinds().find(|&kind| !has(kind)) {
        None => Ok(()),
        Some(kind) => {
            let reason = "the model has no such bias below this head";
            Err(Error::Setting { setting: Setting::Biases, value: kind.to_string(), reason })
        }
    }
}

/// Refuses to encode apart what is no pair, and pairs below a head whose first layer reads a single text.
fn check_pair<D: Backend>(base: &Base<D>, spec: &TaskSpec) -> Result<()> {
    if spec.pair == PairEncoding::Joint {
        return Ok(());
    }
    let reason = "the training set has single texts, which there is no second one for";
    check(Setting::Pair, spec.pair, spec.pairs, reason)?;
    let reason = "this head has another layer of its own, which reads single texts: choose cls or mean";
    check(Setting::Pooling, spec.pooling, probe::is_linear(base, spec.pooling), reason)
}
