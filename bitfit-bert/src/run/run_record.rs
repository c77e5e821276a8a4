//! The record of a finished run, one of several seeds or of a comparison: what it was made from, and what it reached.
//! The same runs, made again, find it beside the task file, and skip the run if it was made from the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::path::Path;

use bitfit_core::Backend;
use blake3::Hasher;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::data::Kind;
use crate::files::{AtomicFile, MAX_CONFIG, parse_json, read_bounded};
use crate::heads::Examples;
use crate::metrics::Metric;
use crate::model::{Base, Model, TensorFile};
use crate::tokenize::Encoding;
use crate::train::{BatchSize, ProbeReport, Score, State, StopReason};
use crate::{Error, Result};

use super::finetune::Finished;
use super::options::FinetuneOptions;
use super::plan::Plan;
use super::state_file::RunCommand;
use super::task_data::TaskData;

/// The name of the record in the directory of a run.
pub const RUN_RECORD: &str = "result.json";

/// The characters of a value that a message quotes.
const LONGEST_VALUE: usize = 100;

/// The version of the record.
const VERSION: u32 = 1;

/// What a run was made from: names with values that are compared as they are.
pub(super) type Origin = BTreeMap<String, String>;

/// The record of a run: of one of a comparison its [`RunResult`], of one of several seeds its [`EndedRun`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunRecord<R> {
    version: u32,
    /// What the run was made from.
    pub(super) origin: Origin,
    /// The command of all of the runs, if they can be resumed with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) command: Option<RunCommand>,
    /// What it reached.
    pub(super) result: R,
}

/// How one of several runs ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndedRun {
    pub(super) stop: StopReason,
    pub(super) state: State,
    pub(super) probe: Option<ProbeReport>,
    /// The size of the task file; `None` where there is none.
    pub(super) task_bytes: Option<u64>,
}

/// What a run of a comparison reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunResult {
    /// The seed.
    pub seed: u64,
    /// Whether the loss became NaN or infinite before the end.
    pub diverged: bool,
    /// The epoch that the task file holds; 0 for a probe.
    pub epoch: Option<usize>,
    /// Its scores by metric, the first of which chose it; none where no epoch was scored.
    #[serde(with = "exact_scores")]
    pub scores: Vec<(String, f64)>,
    /// The number of scalars that train, the head's included.
    pub trainable: usize,
    /// The number of parameters of the whole model.
    pub total: usize,
    /// The time spent in training steps; for a probe the time of its fit.
    pub seconds: f64,
    /// The size of the task file; `None` where there is none.
    pub task_bytes: Option<u64>,
    /// The peak of the process's resident memory; `None` where the system does not report it.
    pub peak_memory_bytes: Option<u64>,
    /// Whether that is the peak of this run alone, and not of the process since its start.
    pub peak_is_of_run: bool,
}

impl RunResult {
    /// What a run of a seed reached, with the peak of the memory and whether it is of the run alone.
    pub(super) fn of(seed: u64, plan: &Plan, finished: &Finished, peak: (Option<u64>, bool)) -> Self {
        let Finished { probe, report, task } = finished;
        let best = report.state.best.as_ref();
        let scores = best.map_or(&[][..], |best| &best.scores).iter();
        let seconds = match probe {
            // The probe is the result.
            Some(probe) if best.is_some_and(|best| best.epoch == 0) => probe.seconds,
            _ => report.state.training.as_secs_f64(),
        };
        Self {
            seed,
            diverged: matches!(report.stop, StopReason::Diverged { .. }),
            epoch: best.map(|best| best.epoch),
            scores: scores.map(|score| (score.metric.name().to_owned(), score.value)).collect(),
            trainable: plan.trainable,
            total: plan.total,
            seconds,
            task_bytes: task.as_ref().map(|task| task.bytes),
            peak_memory_bytes: peak.0,
            peak_is_of_run: peak.1,
        }
    }

    /// The scores, of metrics that are known.
    pub fn scores(&self) -> Vec<Score> {
        let known = |(metric, value): &(String, f64)| metric.parse::<Metric>().ok().map(|metric| (metric, *value));
        self.scores.iter().filter_map(known).map(|(metric, value)| Score { metric, value }).collect()
    }
}

impl<R: Serialize + DeserializeOwned> RunRecord<R> {
    pub(super) fn new(origin: Origin, command: Option<RunCommand>, result: R) -> Self {
        Self { version: VERSION, origin, command, result }
    }

    /// Writes the record into the directory of a run.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn write(&self, directory: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self).expect("a record is made of strings and numbers");
        let mut file = AtomicFile::create(&directory.join(RUN_RECORD))?;
        file.write(format!("{json}\n").as_bytes())?;
        file.finish()
    }

    /// What the run in a directory reached, if there is a record of one; it must have been made from `origin`.
    ///
    /// # Errors
    /// [`Error::RunRecord`] for a record that cannot be read, and for one of a run that was made from something else,
    /// with the first difference; [`Error::Io`].
    pub(super) fn find(directory: &Path, origin: &Origin) -> Result<Option<R>> {
        let Some(record) = Self::read(directory)? else { return Ok(None) };
        match difference(&record.origin, origin) {
            None => Ok(Some(record.result)),
            Some(difference) => {
                let reason = format!("the run there was made with another setting: {difference}");
                Err(Error::RunRecord { path: directory.join(RUN_RECORD), reason })
            }
        }
    }

    /// The record in a directory, if there is one.
    ///
    /// # Errors
    /// [`Error::RunRecord`] for one that cannot be read; [`Error::Io`].
    pub(super) fn read(directory: &Path) -> Result<Option<Self>> {
        let path = directory.join(RUN_RECORD);
        if !path.exists() {
            return Ok(None);
        }
        let refuse = |reason: String| Error::RunRecord { path: path.clone(), reason };
        let bytes = read_bounded(&path, MAX_CONFIG)?;
        let record: Self = parse_json(&bytes).map_err(|error| refuse(format!("not a record: {error}")))?;
        if record.version != VERSION {
            return Err(refuse(format!("a record of version {}, expected {VERSION}", record.version)));
        }
        Ok(Some(record))
    }
}

/// The first difference between what was recorded and what is asked for, as a message.
pub(super) fn difference(recorded: &Origin, asked: &Origin) -> Option<String> {
    let Difference { name, values: [recorded, asked] } = Difference::find(recorded, asked)?;
    Some(format!("{name} is {recorded} there and {asked} here"))
}

/// Something from which two runs were not made alike.
pub(super) struct Difference<'o> {
    pub(super) name: &'o str,
    /// Its values as a message quotes them, that of the first run and that of the second.
    pub(super) values: [String; 2],
}

impl<'o> Difference<'o> {
    /// The first by its name.
    pub(super) fn find(one: &'o Origin, other: &'o Origin) -> Option<Self> {
        let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
        let name = names.into_iter().find(|name| one.get(*name) != other.get(*name))?;
        let shortened = |value: &String| match value.char_indices().nth(LONGEST_VALUE) {
            Some((end, _)) => format!("{} …", &value[..end]),
            None => value.clone(),
        };
        let value = |origin: &Origin| origin.get(name).map_or_else(|| "nothing".to_owned(), shortened);
        Some(Self { name, values: [one, other].map(value) })
    }
}

/// What runs over this base and data are made from, whatever the method and the seed.
///
/// # Errors
/// As [`origin_of_base`].
pub(super) fn origin_of_data<D: Backend>(base: &Base<D>, data: &TaskData) -> Result<Origin> {
    let spec = &data.spec;
    let labels = spec.labels.as_ref().map(|labels| labels.names().to_vec());
    let none = || "none".to_owned();
    let mut origin = origin_of_base(base, spec.kind)?;
    let of_data = [
        ("read-out", spec.pooling.to_string()),
        ("maximum length", spec.max_length.to_string()),
        ("stride", spec.span.map_or_else(none, |span| span.stride.to_string())),
        ("training set", fingerprint(&data.train)),
        ("evaluation set", data.eval.as_ref().map_or_else(none, fingerprint)),
        ("labels", labels.map_or_else(none, |labels| format!("{labels:?}"))),
    ];
    origin.extend(of_data.map(|(name, value)| (name.to_owned(), value)));
    Ok(origin)
}

/// What runs of a kind of task over this base are made from.
///
/// # Errors
/// Those of reading the base's weights, tokenizer and configuration.
pub(super) fn origin_of_base<D: Backend>(base: &Base<D>, kind: Kind) -> Result<Origin> {
    // All of it: of what is no part of an answer, such as dropout, training depends on some.
    let config = read_bounded(&base.checkpoint().dir().join("config.json"), MAX_CONFIG)?;
    let of_base = [
        ("base model", base.fingerprint_for(kind)?.to_owned()),
        ("config.json", blake3::hash(&config).to_hex().to_string()),
        ("tokenizer", base.tokenizer()?.fingerprint()),
    ];
    Ok(of_base.map(|(name, value)| (name.to_owned(), value)).into())
}

/// What a run of these options is made from beside its data.
pub(super) fn origin_of_options(method: &str, options: &FinetuneOptions) -> Origin {
    let training = &options.training;
    let text = |value: Option<&dyn fmt::Display>| value.map_or_else(|| "default".into(), ToString::to_string);
    let batch = match training.batch_size {
        BatchSize::Sequences(size) => format!("{size} texts"),
        BatchSize::Tokens(size) => format!("{size} tokens"),
    };
    let groups: Vec<String> = training.rates.groups.iter().map(|(group, rate)| format!("{group}={rate}")).collect();
    let metrics: Vec<&str> = options.metrics.iter().map(Metric::name).collect();
    let loss = &options.loss;
    // Only what is not as usual, so that the records of runs before there was a choice are those of the same runs.
    let chosen = [
        ("micro-batch", training.micro_batch.map(|size| format!("{size} texts"))),
        ("weights of classes", loss.class_weights.origin()),
        ("label smoothing", Some(loss.label_smoothing).filter(|share| *share > 0.0).map(|share| share.to_string())),
        ("focal exponent", Some(loss.focal_gamma).filter(|gamma| *gamma > 0.0).map(|gamma| gamma.to_string())),
        ("steps between evaluations", training.eval_every.map(|steps| steps.to_string())),
        ("patience", training.patience.map(|count| count.to_string())),
    ];
    let chosen = chosen.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let usual = [
        ("method", method.to_owned()),
        ("kind", options.kind.to_string()),
        ("metrics", metrics.join(",")),
        ("pair", options.pair.to_string()),
        ("masking", format!("{} {}", options.masking.probability, options.masking.whole_words)),
        ("learning rate", training.learning_rate.to_string()),
        ("rates of groups", groups.join(",")),
        ("layer decay", training.rates.layer_decay.to_string()),
        ("epochs", training.epochs.to_string()),
        ("batch", batch),
        ("group by length", training.group_by_length.to_string()),
        ("schedule", training.schedule.to_string()),
        ("warm-up", training.warmup.to_string()),
        ("weight decay", training.weight_decay.to_string()),
        ("clipping", training.max_grad_norm.map_or_else(|| "none".into(), |norm| norm.to_string())),
        ("dropout", text(options.dropout.as_ref().map(|dropout| dropout as _))),
        ("frozen dropout", training.frozen_dropout.to_string()),
        ("shuffle", training.shuffle.to_string()),
        ("limit", text(training.limit.as_ref().map(|limit| limit as _))),
        ("device", options.device.clone()),
        ("precision", options.precision.clone()),
    ];
    usual.map(|(name, value)| (name.to_owned(), value)).into_iter().chain(chosen).collect()
}

/// What a single run is made from; `trained` is [`origin_of_arena`] of its model.
///
/// # Errors
/// As [`origin_of_data`].
pub(super) fn origin_of_run<D: Backend>(
    base: &Base<D>,
    data: &TaskData,
    options: &FinetuneOptions,
    trained: &str,
) -> Result<Origin> {
    let mut origin = origin_of_data(base, data)?;
    origin.extend(origin_of_options(&options.method.to_string(), options));
    let further = [
        ("bitfit's version", env!("CARGO_PKG_VERSION").to_owned()),
        ("arithmetic", base.device().arithmetic()),
        ("what trains", trained.to_owned()),
        ("beginning of the head", options.head.name()),
        ("probe", format!("{:?}", options.probe).to_lowercase()),
        ("seed", options.training.seed.to_string()),
    ];
    origin.extend(further.map(|(name, value)| (name.to_owned(), value)));
    // A file may have been replaced since.
    if let Some((file, _)) = &data.head {
        origin.insert("first values of the head".into(), hash_of_tensors(file));
    }
    Ok(origin)
}

/// A hash over the tensors of a file.
fn hash_of_tensors(file: &TensorFile) -> String {
    let mut hasher = Text(Hasher::new());
    for (name, tensor) in file.tensors.whole.iter().collect::<BTreeMap<_, _>>() {
        _ = write!(hasher, "{name} {:?}", tensor.shape());
        hasher.0.update(bytemuck::cast_slice(tensor.data()));
    }
    hasher.0.finalize().to_hex().to_string()
}

/// A hash over the names, shapes and masks of all that trains.
pub(super) fn origin_of_arena<D: Backend>(model: &Model<D>) -> String {
    let mut hasher = Text(Hasher::new());
    _ = write!(hasher, "{:?}", model.arena().entries());
    hasher.0.finalize().to_hex().to_string()
}

/// A hash over text that is formatted into it.
struct Text(Hasher);

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

/// A hash over the sequences and targets of a set. It is compared with hashes of the same build alone, so what goes
/// into it may be the debug format, which has every field.
fn fingerprint(examples: &Examples) -> String {
    let mut hasher = Text(Hasher::new());
    let Examples { encodings, texts, targets } = examples;
    for (text, encoding) in texts.iter().zip(encodings) {
        let Encoding { ids, type_ids, second, read, window, left_out } = encoding;
        _ = writeln!(hasher, "{text} {} {} {second:?} {read:?} {window:?} {left_out}", ids.len(), type_ids.len());
        // Formatted, they would take most of the time.
        hasher.0.update(bytemuck::cast_slice(ids)).update(bytemuck::cast_slice(type_ids));
    }
    _ = write!(hasher, "{targets:?}");
    hasher.0.finalize().to_hex().to_string()
}

/// Scores by metric as text, which keeps all bits of a float: read back, a number of JSON may be another one in its
/// last bit, and a table would depend on which process made a run. Records from before have numbers.
pub(super) mod exact_scores {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Number(f64),
    }

    pub fn serialize<S: Serializer>(scores: &[(String, f64)], serializer: S) -> Result<S::Ok, S::Error> {
        let texts = scores.iter().map(|(metric, value)| (metric, value.to_string()));
        texts.collect::<Vec<_>>().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, f64)>, D::Error> {
        let written = Vec::<(String, Written)>::deserialize(deserializer)?;
        let read = |(metric, value)| match value {
            Written::Text(text) => Ok((metric, text.parse().map_err(D::Error::custom)?)),
            Written::Number(value) => Ok((metric, value)),
        };
        written.into_iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::tests::classification;

    fn result() -> RunResult {
        RunResult {
            seed: 3,
            diverged: false,
            epoch: Some(2),
            scores: vec![("accuracy".into(), 0.1 + 0.2)],
            trainable: 10,
            total: 100,
            seconds: 1.5,
            task_bytes: Some(7),
            peak_memory_bytes: None,
            peak_is_of_run: true,
        }
    }

    fn origin(epochs: &str) -> Origin {
        [("epochs", epochs), ("method", "bitfit")].map(|(name, value)| (name.into(), value.into())).into()
    }

    #[test]
    fn a_record_is_found_and_one_of_other_settings_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(RunRecord::<RunResult>::find(dir.path(), &origin("3")).unwrap(), None);
        RunRecord::new(origin("3"), None, result()).write(dir.path()).unwrap();
        assert_eq!(RunRecord::find(dir.path(), &origin("3")).unwrap(), Some(result()));
        let message = RunRecord::<RunResult>::find(dir.path(), &origin("5")).unwrap_err().to_string();
        assert!(message.contains("result.json: ") && message.contains("epochs is 3 there and 5 here"), "{message}");
        let mut more = origin("3");
        more.insert("limit".into(), "9".into());
        let message = RunRecord::<RunResult>::find(dir.path(), &more).unwrap_err().to_string();
        assert!(message.contains("limit is nothing there and 9 here"), "{message}");
    }

    #[test]
    fn a_score_keeps_every_bit_and_a_number_of_an_older_record_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut random = bitfit_core::Random::new(1, 0);
        for _ in 0..300 {
            let mut exact = result();
            exact.scores[0].1 = random.uniform() / 3.0;
            RunRecord::new(origin("3"), None, exact.clone()).write(dir.path()).unwrap();
            assert_eq!(RunRecord::find(dir.path(), &origin("3")).unwrap(), Some(exact));
        }
        let path = dir.path().join(RUN_RECORD);
        let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        json["result"]["scores"][0][1] = 0.75.into();
        std::fs::write(&path, json.to_string()).unwrap();
        let read = RunRecord::<RunResult>::find(dir.path(), &origin("3")).unwrap().unwrap();
        assert_eq!(read.scores[0].1, 0.75);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = |text: &str| {
            std::fs::write(dir.path().join(RUN_RECORD), text).unwrap();
            RunRecord::<RunResult>::find(dir.path(), &origin("3")).unwrap_err().to_string()
        };
        assert!(refused("{").contains("not a record"));
        let record = serde_json::to_string(&RunRecord::new(origin("3"), None, result())).unwrap();
        assert!(refused(&record.replace("\"version\":1", "\"version\":2")).contains("version 2, expected 1"));
        assert!(refused(&record.replace("\"epoch\"", "\"epcoh\"")).contains("epcoh"));
    }

    #[test]
    fn the_fingerprint_is_that_of_sequences_and_targets() {
        let of = |texts: &[&[u32]], classes: &[usize]| fingerprint(&classification(texts, classes));
        let all = [of(&[&[1, 2]], &[0]), of(&[&[1, 3]], &[0]), of(&[&[1, 2]], &[1]), of(&[&[1], &[2]], &[0, 0])];
        for (place, one) in all.iter().enumerate() {
            assert!(!all[..place].contains(one), "{place}");
        }
        assert_eq!(of(&[&[1, 2]], &[0]), all[0]);
    }
}
