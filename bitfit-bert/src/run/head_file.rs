//! The first values of a head, from a safetensors file: a task file, or the weights of a fine-tuned model.
//!
//! A fine-tuned model orders its classes by the `id2label` of its configuration, which is seldom the alphabet's order.
//! So the rows of the head are put in the order of the training set's labels before anything trains.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use bitfit_core::HostTensor;
use safetensors::SafeTensors;
use serde_json::Value;

use super::plan::InitialHead;
use crate::arch::{Architecture, Module, Part};
use crate::checkpoint::to_f32::{is_supported, to_f32};
use crate::data::Labels;
use crate::model::TensorFile;
use crate::{Error, Result, TaskFile, config};

/// A head from a file, its rows in the order of `labels`.
///
/// It is the classifier's weight and bias, and a pooler where the checkpoint has none (`has_pooler`) and the file has
/// one. Nothing else is read, since the file may be a whole model.
pub(super) fn read(
    path: &Path,
    architecture: &'static Architecture,
    has_pooler: bool,
    labels: Option<&Labels>,
) -> Result<(TensorFile, InitialHead)> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let refuse = |reason: String| Error::Weights { path: path.into(), reason };
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|error| refuse(format!("not a complete safetensors file: {error}")))?;
    let head = [Part::Weight, Part::Bias].map(|part| architecture.head_name(part));
    let mut tensors = HashMap::new();
    for (name, view) in file.iter() {
        let pooler = architecture.role(name).filter(|role| !has_pooler && role.module == Module::Pooler);
        let name = match pooler {
            Some(role) => architecture.parameter_name(role),
            None if head.iter().any(|known| known == name) => name.to_owned(),
            None => continue,
        };
        if !is_supported(view.dtype()) {
            return Err(Error::Dtype { path: path.into(), tensor: name, dtype: view.dtype().to_string() });
        }
        tensors.insert(name, HostTensor::new(view.shape(), to_f32(view.dtype(), view.data()))?);
    }
    for name in &head {
        if !tensors.contains_key(name) {
            return Err(Error::MissingTensor { path: path.into(), name: name.clone() });
        }
    }
    let mut has_labels = false;
    if let Some(labels) = labels
        && let Some(order) = label_order(path)?
        && tensors[&head[1]].len() == order.len()
    {
        has_labels = true;
        let rows = rows_of(labels, &order).map_err(refuse)?;
        for name in &head {
            let tensor = take_rows(&tensors[name], &rows)?;
            tensors.insert(name.clone(), tensor);
        }
    }
    let initial = InitialHead { path: path.into(), has_labels: has_labels || labels.is_none() };
    Ok((TensorFile { path: path.into(), tensors }, initial))
}

/// The labels of a head's rows: those of a task file, or of the `id2label` in the configuration beside the weights;
/// `None` where neither names them.
fn label_order(path: &Path) -> Result<Option<Vec<String>>> {
    if let Ok(task) = TaskFile::read(path) {
        return Ok(task.info.labels.map(|labels| labels.names().to_vec()));
    }
    let config = path.with_file_name(config::FILE_NAME);
    let Ok(json) = fs::read(&config) else { return Ok(None) };
    let refuse = |reason: String| Error::Config { path: config.clone(), reason };
    let json: Value = serde_json::from_slice(&json).map_err(|error| refuse(format!("not JSON: {error}")))?;
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
    // Transformers' own names for classes that were never named.
    let is_unnamed = names.iter().all(|(id, name)| *name == format!("LABEL_{id}"));
    Ok((!is_unnamed).then(|| names.into_values().collect()))
}

/// For each label its row in a head whose rows are for `order`.
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
