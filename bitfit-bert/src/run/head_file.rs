//! The first values of a head, from a safetensors file: a task file, or the weights of a fine-tuned model.
//!
//! A fine-tuned model orders its classes by the `id2label` of its configuration, which is seldom alphabetical. The rows
//! of the head are therefore reordered to the training set's labels before training.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use bitfit_core::HostTensor;

use super::plan::InitialHead;
use crate::arch::{Module, Part};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::mapped::MappedFile;
use crate::checkpoint::safetensors;
use crate::data::Labels;
use crate::heads::TaskSpec;
use crate::model::TensorFile;
use crate::task_file::TaskInfo;
use crate::{Error, Result, config};

/// A head from a file for a task over this base, its rows in the order of the task's labels.
///
/// It is the head's layers, and a pooler where the head reads one, the checkpoint has none and the file has one.
/// Nothing else is read, since the file may be a whole model.
pub(super) fn read(path: &Path, base: &Checkpoint, task: &TaskSpec) -> Result<(TensorFile, InitialHead)> {
    let (architecture, pooling, labels) = (base.architecture(), task.pooling, task.labels.as_ref());
    let lacks_pooler = architecture.reads_pooler(pooling) && !base.has_pooler();
    let refuse = |reason: String| Error::Weights { path: path.into(), reason };
    let file = MappedFile::open(path)?;
    let (entries, metadata) = safetensors::read(&file)?;
    let parts = [Part::Weight, Part::Bias];
    let head = parts.map(|part| architecture.classifier_name(pooling, part));
    let dense: Vec<String> = parts.into_iter().filter_map(|part| architecture.head_dense_name(pooling, part)).collect();
    let layers = || head.iter().chain(&dense);
    let mut tensors = HashMap::new();
    for entry in entries {
        let name = entry.name.as_str();
        let pooler = architecture.role(name).filter(|role| lacks_pooler && role.module == Module::Pooler);
        let name = match pooler {
            Some(role) => architecture.parameter_name(role),
            None if layers().any(|known| known == name) => name.to_owned(),
            None => continue,
        };
        let Some(values) = entry.to_f32() else {
            return Err(Error::Dtype { path: path.into(), tensor: name, dtype: entry.dtype.to_string() });
        };
        tensors.insert(name, HostTensor::new(entry.shape, values)?);
    }
    for name in layers() {
        if !tensors.contains_key(name) {
            return Err(Error::MissingTensor { path: path.into(), name: name.clone() });
        }
    }
    let mut has_labels = false;
    if let Some(labels) = labels
        && let Some(order) = label_order(path, &metadata)?
        && head.iter().all(|name| tensors[name].shape().first() == Some(&order.len()))
    {
        has_labels = true;
        let rows = rows_of(labels, &order).map_err(refuse)?;
        for name in &head {
            let tensor = take_rows(&tensors[name], &rows)?;
            tensors.insert(name.clone(), tensor);
        }
    }
    let initial = InitialHead::File { path: path.into(), has_labels: has_labels || labels.is_none() };
    Ok((TensorFile { path: path.into(), tensors: tensors.into() }, initial))
}

/// The labels of a head's rows: those of a task file, or of the `id2label` in the configuration beside the weights;
/// `None` where neither names them.
fn label_order(path: &Path, metadata: &HashMap<String, String>) -> Result<Option<Vec<String>>> {
    if TaskInfo::is_in(metadata) {
        let refuse = |reason| Error::TaskFile { path: path.into(), reason };
        let info = TaskInfo::from_metadata(metadata).map_err(refuse)?;
        return Ok(info.labels.map(|labels| labels.names().to_vec()));
    }
    let config = path.with_file_name(config::FILE_NAME);
    if !config.exists() {
        return Ok(None);
    }
    let refuse = |reason: String| Error::Config { path: config.clone(), reason };
    let json = config::read_json(&config)?;
    let Some(labels) = json.get("id2label").filter(|labels| !labels.is_null()) else { return Ok(None) };
    let wrong = || refuse("\"id2label\" must map the numbers from 0 to names".into());
    let mut names = BTreeMap::new();
    for (id, name) in labels.as_object().ok_or_else(wrong)? {
        let name = name.as_str().map_or_else(|| name.to_string(), str::to_owned);
        names.insert(id.parse::<usize>().map_err(|_| wrong())?, name);
    }
    if !names.keys().copied().eq(0..names.len()) {
        return Err(wrong());
    }
    // The names that transformers gives to unnamed classes.
    let is_unnamed = names.iter().all(|(id, name)| *name == format!("LABEL_{id}"));
    Ok((!is_unnamed).then(|| names.into_values().collect()))
}

/// For each label, the index of its row in a head whose rows have the order `order`.
fn rows_of(labels: &Labels, order: &[String]) -> Result<Vec<usize>, String> {
    let find = |label: &String| {
        let exact = order.iter().position(|name| name == label);
        let folded = label.to_lowercase();
        let mut alike = (0..order.len()).filter(|&row| order[row].to_lowercase() == folded);
        exact.or_else(|| alike.next().filter(|_| alike.next().is_none()))
    };
    let rows: Option<Vec<usize>> = labels.names().iter().map(find).collect();
    let is_permutation = |rows: &Vec<usize>| (0..order.len()).all(|row| rows.contains(&row));
    rows.filter(is_permutation).ok_or_else(|| {
        format!(
            "the head's classes are {}, but the training set's are {}: rename the labels or give another head",
            order.join(", "),
            labels.names().join(", ")
        )
    })
}

/// The rows of a tensor of one or two dimensions, in this order.
fn take_rows(tensor: &HostTensor, rows: &[usize]) -> Result<HostTensor> {
    let width = tensor.len() / tensor.shape().first().copied().unwrap_or(1).max(1);
    let data = rows.iter().flat_map(|row| tensor.data().iter().skip(row * width).take(width)).copied().collect();
    Ok(HostTensor::new(tensor.shape(), data)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ::safetensors::Dtype;
    use ::safetensors::tensor::TensorView;
    use half::f16;
    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;
    use crate::fixture::Tiny;

    const H: usize = 2;

    /// A directory with a head of `classes` rows, each filled with its number, and a configuration beside it if given.
    fn model(classes: usize, config: Option<Value>, dtype: Dtype) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let bytes = |values: &[f32]| -> Vec<u8> {
            match dtype {
                Dtype::F16 => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
                _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            }
        };
        let weight: Vec<f32> = (0..classes * H).map(|i| (i / H) as f32).collect();
        let bias: Vec<f32> = (0..classes).map(|class| class as f32).collect();
        let (weight, bias) = (bytes(&weight), bytes(&bias));
        let tensors = [
            ("classifier.weight", TensorView::new(dtype, vec![classes, H], &weight).unwrap()),
            ("classifier.bias", TensorView::new(dtype, vec![classes], &bias).unwrap()),
            ("bert.pooler.dense.bias", TensorView::new(dtype, vec![classes], &bias).unwrap()),
        ];
        fs::write(dir.path().join("model.safetensors"), ::safetensors::serialize(tensors, None).unwrap()).unwrap();
        if let Some(config) = config {
            fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        }
        dir
    }

    fn labels(names: &[&str]) -> Labels {
        Labels::from_names(names.iter().map(|&name| name.to_owned()).collect()).unwrap()
    }

    fn read_head(dir: &TempDir, names: &[&str]) -> Result<(TensorFile, InitialHead)> {
        let labels = Some(labels(names));
        let spec = TaskSpec { labels, ..crate::train::tests::two_classes() };
        read(&dir.path().join("model.safetensors"), &Tiny::new().open(), &spec)
    }

    #[test]
    fn rows_go_to_the_classes_that_the_configuration_names() {
        for dtype in [Dtype::F32, Dtype::F16] {
            let config = json!({"id2label": {"0": "neutral", "2": "negative", "1": "Positive"}});
            let dir = model(3, Some(config), dtype);
            let (file, initial) = read_head(&dir, &["negative", "neutral", "positive"]).unwrap();
            assert_eq!(file.tensors.whole["classifier.weight"].data(), [2.0, 2.0, 0.0, 0.0, 1.0, 1.0]);
            assert_eq!(file.tensors.whole["classifier.bias"].data(), [2.0, 0.0, 1.0]);
            assert!(matches!(initial, InitialHead::File { has_labels: true, .. }));
            assert!(!file.tensors.whole.contains_key("bert.pooler.dense.bias"), "the base has a pooler");
        }
    }

    #[test]
    fn without_names_the_rows_keep_their_order_and_that_is_said() {
        let unnamed = json!({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}});
        for config in [None, Some(json!({})), Some(json!({"id2label": null})), Some(unnamed)] {
            let (file, initial) = read_head(&model(2, config, Dtype::F32), &["no", "yes"]).unwrap();
            assert_eq!(file.tensors.whole["classifier.bias"].data(), [0.0, 1.0]);
            assert!(matches!(initial, InitialHead::File { has_labels: false, .. }));
        }
    }

    #[test]
    fn other_classes_and_malformed_names_are_refused() {
        for (id2label, word) in [
            (json!({"0": "good", "1": "bad"}), "the head's classes are good, bad"),
            (json!({"0": "yes", "1": "yes"}), "the head's classes"),
            (json!({"0": "no", "2": "yes"}), "id2label"),
            (json!({"a": "no"}), "id2label"),
            (json!(["no", "yes"]), "id2label"),
        ] {
            let dir = model(2, Some(json!({"id2label": id2label})), Dtype::F32);
            let message = read_head(&dir, &["no", "yes"]).unwrap_err().to_string();
            assert!(message.contains(word) && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn a_head_of_another_size_is_left_for_the_model_to_refuse() {
        let dir = model(3, Some(json!({"id2label": {"0": "a", "1": "b"}})), Dtype::F32);
        let (file, _) = read_head(&dir, &["no", "yes"]).unwrap();
        assert_eq!(file.tensors.whole["classifier.bias"].data(), [0.0, 1.0, 2.0]);
    }

    #[test]
    fn a_weight_of_other_rows_than_the_bias_is_left_for_the_model_to_refuse() {
        for shape in [vec![4, 1], vec![4], vec![], vec![0, 9]] {
            let dir = model(2, Some(json!({"id2label": {"0": "yes", "1": "no"}})), Dtype::F32);
            let weight = vec![0; shape.iter().product::<usize>() * 4];
            let tensors = [
                ("classifier.weight", TensorView::new(Dtype::F32, shape.clone(), &weight).unwrap()),
                ("classifier.bias", TensorView::new(Dtype::F32, vec![2], &[0; 8]).unwrap()),
            ];
            fs::write(dir.path().join("model.safetensors"), ::safetensors::serialize(tensors, None).unwrap()).unwrap();
            let (file, _) = read_head(&dir, &["no", "yes"]).unwrap();
            assert_eq!(file.tensors.whole["classifier.weight"].shape(), shape);
        }
    }
}
