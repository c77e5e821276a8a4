//! The mean of several task files of one task: a model between those that several seeds found.

use std::path::{Path, PathBuf};

use bitfit_core::HostTensor;

use super::differences::{FieldDifference, field_differences, is_shared};
use crate::model::{PartialTensor, TrainedTensors};
use crate::{Error, Result, TaskFile};

/// The fields of the header that may differ, beside those that say how a task was trained. The mean has those of the
/// first file.
const FREE: [&str; 6] = ["base", "base_path", "seed", "best", "best.epoch", "best.scores"];

/// What says how a task was trained.
const TRAINING: &str = "hyperparameters.";

/// What stands among it and decides predictions or scores.
const BOUND: [&str; 3] = ["hyperparameters.max_length", "hyperparameters.metrics", "hyperparameters.masking"];

/// The mean of the values of task files over one base, of one task and one method. Its header is that of the first
/// file, without the scores.
///
/// # Errors
/// [`Error::TaskFile`] with the first file whose header or tensors differ in more than how it was trained, and for
/// fewer than two files.
pub fn average(files: &[(PathBuf, TaskFile)]) -> Result<TaskFile> {
    let Some(((first_path, first), others)) = files.split_first().filter(|(_, others)| !others.is_empty()) else {
        let path = files.first().map_or_else(PathBuf::new, |(path, _)| path.clone());
        return Err(Error::TaskFile { path, reason: "the mean is of two task files or more".into() });
    };
    files.iter().try_for_each(|(path, task)| task.check_uncalibrated(path))?;
    let refuse = |path: &Path, reason: String| Err(Error::TaskFile { path: path.into(), reason });
    for pair in others.iter().map(|other| [(first_path.clone(), first.clone()), other.clone()]) {
        let is_free = |field: &str| FREE.contains(&field) || (field.starts_with(TRAINING) && !BOUND.contains(&field));
        let differences = field_differences(&pair);
        if let Some(FieldDifference { field, values }) = differences.iter().find(|found| !is_free(&found.field)) {
            let [ours, theirs] = [0, 1].map(|file| values[file].to_string().chars().take(80).collect::<String>());
            let first = first_path.display();
            let reason = format!(
                "\"{field}\" is {theirs}, but {ours} in {first}: only task files of one base, one task and one method \
                 have a mean"
            );
            return refuse(&pair[1].0, reason);
        }
        let names = pair[0].1.tensors.names().chain(pair[1].1.tensors.names());
        if let Some(name) = names.filter(|name| !is_shared(&pair, name)).min() {
            let first = first_path.display();
            return refuse(&pair[1].0, format!("it does not hold the same entries of the tensor {name} as {first}"));
        }
    }
    let mean = |values: &dyn Fn(&TaskFile) -> HostTensor| -> Result<HostTensor> {
        let parts: Vec<HostTensor> = files.iter().map(|(_, task)| values(task)).collect();
        let sum = |at: usize| parts.iter().map(|part| f64::from(part.data()[at])).sum::<f64>();
        let data = (0..parts[0].len()).map(|at| (sum(at) / parts.len() as f64) as f32).collect();
        Ok(HostTensor::new(parts[0].shape(), data)?)
    };
    let mut tensors = TrainedTensors::default();
    for name in first.tensors.whole.keys() {
        tensors.whole.insert(name.clone(), mean(&|task| task.tensors.whole[name].clone())?);
    }
    for (name, PartialTensor { mask, .. }) in &first.tensors.partial {
        let values = mean(&|task| task.tensors.partial[name].values.clone())?;
        tensors.partial.insert(name.clone(), PartialTensor { mask: mask.clone(), values });
    }
    let mut info = first.info.clone();
    info.best = None;
    Ok(TaskFile { info, tensors })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artefacts::testing::Trained;
    use crate::data::Labels;

    fn scaled(task: &TaskFile, factor: f32) -> TaskFile {
        let scale = |tensor: &HostTensor| {
            HostTensor::new(tensor.shape(), tensor.data().iter().map(|value| value * factor).collect()).unwrap()
        };
        let mut task = task.clone();
        task.tensors.whole.values_mut().for_each(|tensor| *tensor = scale(tensor));
        task.tensors.partial.values_mut().for_each(|partial| partial.values = scale(&partial.values));
        task
    }

    #[test]
    fn the_mean_is_of_every_value() {
        let task = Trained::new("classify", "bitfit+rows:1").task;
        let mut other = scaled(&task, 2.0);
        (other.info.seed, other.info.hyperparameters.epochs, other.info.best) = (9, 1, None);
        let files = [("a".into(), task.clone()), ("b".into(), other), ("c".into(), scaled(&task, 3.0))];
        let mean = average(&files).unwrap();
        let expected = scaled(&task, 2.0);
        let is_close =
            |a: &HostTensor, b: &HostTensor| a.data().iter().zip(b.data()).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(mean.tensors.whole.iter().all(|(name, tensor)| is_close(tensor, &expected.tensors.whole[name])));
        assert!(!mean.tensors.partial.is_empty());
        for (name, partial) in &mean.tensors.partial {
            assert!(is_close(&partial.values, &expected.tensors.partial[name].values), "{name}");
        }
        assert_eq!((mean.info.seed, &mean.info.best), (3, &None));
    }

    #[test]
    fn files_of_another_task_are_refused_by_field_or_tensor() {
        let task = Trained::new("classify", "bitfit").task;
        let refusal = |change: &dyn Fn(&mut TaskFile)| {
            let mut other = task.clone();
            change(&mut other);
            average(&[("a".into(), task.clone()), ("b".into(), other)]).unwrap_err().to_string()
        };
        for (change, words) in [
            (&|task: &mut TaskFile| task.info.base_fingerprint = "x".into(), "b: \"base_fingerprint\" is \"x\""),
            (
                &|task: &mut TaskFile| task.info.labels = Labels::from_names(vec!["yes".into(), "no".into()]),
                "b: \"labels\" is [\"yes\",\"no\"], but [\"no\",\"yes\"] in a",
            ),
            (&|task: &mut TaskFile| task.info.method = "bitfit:query".parse().unwrap(), "\"method\""),
            (&|task: &mut TaskFile| task.info.hyperparameters.max_length = 5, "\"hyperparameters.max_length\" is 5"),
            (&|task: &mut TaskFile| _ = task.tensors.whole.remove("classifier.bias"), "the tensor classifier.bias"),
        ] as [(&dyn Fn(&mut TaskFile), &str); 5]
        {
            let message = refusal(change);
            assert!(message.contains(words), "{message}");
        }
        assert!(average(&[("a".into(), task.clone())]).unwrap_err().to_string().contains("two task files or more"));
    }
}
