//! What several task files differ in: their headers, their tensors, and the directions in which they changed the base.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bitfit_core::Backend;
use serde_json::{Map, Value};

use super::contents::{architecture, change, names};
use crate::arch::Role;
use crate::model::Base;
use crate::{Result, TaskFile};

/// What task files differ in.
#[derive(Clone, Debug)]
pub struct Differences {
    /// The fields of the headers that are not the same everywhere.
    pub fields: Vec<FieldDifference>,
    /// The tensors that some of the files hold and others do not, or of which they hold other entries.
    pub not_shared: Vec<String>,
    /// The cosine of the changes of each two files over the tensors of the encoder that all files hold, or, without a
    /// base, of the values; `None` where one of them is zero.
    pub encoder: Vec<Vec<Option<f64>>>,
    /// The cosine of the heads' tensors that all files hold.
    pub head: Vec<Vec<Option<f64>>>,
}

/// A field of the headers.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldDifference {
    /// Its name; that of a part of a field behind a dot.
    pub field: String,
    /// Its value in each file; null where it has none.
    pub values: Vec<Value>,
}

impl Differences {
    /// Compares task files.
    ///
    /// # Errors
    /// As [`Contents::of`](super::Contents::of).
    pub fn of<D: Backend>(files: &[(PathBuf, TaskFile)], base: Option<&Base<D>>) -> Result<Self> {
        let mut sums = [Products::new(files.len()), Products::new(files.len())];
        let mut not_shared = Vec::new();
        for (role, name) in all_names(files)? {
            if !is_shared(files, &name) {
                not_shared.push(name);
                continue;
            }
            let values: Vec<Vec<f32>> = files
                .iter()
                .map(|(path, task)| change(task, base, architecture(task, path)?, role, &name))
                .collect::<Result<_>>()?;
            sums[usize::from(role.is_none())].add(&values);
        }
        let [encoder, head] = sums.map(Products::cosines);
        Ok(Self { fields: field_differences(files), not_shared, encoder, head })
    }
}

/// The names of the tensors of all files.
fn all_names(files: &[(PathBuf, TaskFile)]) -> Result<BTreeSet<(Option<Role>, String)>> {
    let mut all = BTreeSet::new();
    for (path, task) in files {
        all.extend(names(task, architecture(task, path)?));
    }
    Ok(all)
}

/// Whether all files hold the same entries of a tensor.
pub(super) fn is_shared(files: &[(PathBuf, TaskFile)], name: &str) -> bool {
    let entries = |task: &TaskFile| {
        let whole = task.tensors.whole.get(name).map(|whole| whole.shape().to_vec());
        (whole, task.tensors.partial.get(name).map(|partial| (partial.mask.clone(), partial.values.shape().to_vec())))
    };
    let Some(((_, first), others)) = files.split_first() else { return true };
    let first = entries(first);
    others.iter().all(|(_, other)| entries(other) == first)
}

/// The fields of the headers that differ.
pub(super) fn field_differences(files: &[(PathBuf, TaskFile)]) -> Vec<FieldDifference> {
    let fields: Vec<Map<String, Value>> = files.iter().map(|(_, task)| fields(task)).collect();
    let names: BTreeSet<&String> = fields.iter().flat_map(Map::keys).collect();
    let difference = |name: &String| {
        let values: Vec<Value> = fields.iter().map(|fields| fields.get(name).cloned().unwrap_or_default()).collect();
        let differs = values.iter().any(|value| *value != values[0]);
        differs.then(|| FieldDifference { field: name.clone(), values })
    };
    names.into_iter().filter_map(difference).collect()
}

/// The fields of a header, those of its parts by a name with a dot.
fn fields(task: &TaskFile) -> Map<String, Value> {
    let mut flat = Map::new();
    let Ok(fields) = task.info.fields() else { return flat };
    for (name, value) in fields {
        match value {
            Value::Object(parts) => {
                flat.extend(parts.into_iter().map(|(part, value)| (format!("{name}.{part}"), value)));
            }
            value => _ = flat.insert(name, value),
        }
    }
    flat
}

/// The products of each two of several vectors, which come in parts.
struct Products(Vec<Vec<f64>>);

impl Products {
    fn new(count: usize) -> Self {
        Self(vec![vec![0.0; count]; count])
    }

    fn add(&mut self, parts: &[Vec<f32>]) {
        for (row, a) in parts.iter().enumerate() {
            for (column, b) in parts.iter().enumerate().skip(row) {
                let product: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                self.0[row][column] += product;
            }
        }
    }

    fn cosines(self) -> Vec<Vec<Option<f64>>> {
        let products = self.0;
        let count = products.len();
        let product = |row: usize, column: usize| products[row.min(column)][row.max(column)];
        let cosine = |row: usize, column: usize| {
            let length = (product(row, row) * product(column, column)).sqrt();
            (length > 0.0).then(|| product(row, column) / length)
        };
        (0..count).map(|row| (0..count).map(|column| cosine(row, column)).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use bitfit_core::{Cpu, HostTensor};

    use super::*;
    use crate::artefacts::testing::Trained;

    #[test]
    fn files_are_compared_by_header_tensors_and_direction() {
        let trained = Trained::new("classify", "bitfit:query");
        let name = "bert.encoder.layer.0.attention.self.query.bias";
        let (one, mut other) = (trained.task.clone(), trained.task.clone());
        other.info.seed = 4;
        other.info.hyperparameters.epochs = 9;
        other.tensors.whole.remove("bert.encoder.layer.1.attention.self.query.bias");
        let base = trained.base.checkpoint().tensor(trained.base.architecture().role(name).unwrap()).unwrap();
        let mirrored = base.data().iter().zip(one.tensors.whole[name].data()).map(|(base, value)| 2.0 * base - value);
        other.tensors.whole.insert(name.into(), HostTensor::new([8], mirrored.collect()).unwrap());
        let files = [("a".into(), one), ("b".into(), other)];
        let found = Differences::of(&files, Some(&trained.base)).unwrap();
        let fields: Vec<&str> = found.fields.iter().map(|field| field.field.as_str()).collect();
        assert_eq!(fields, ["hyperparameters.epochs", "seed"]);
        assert_eq!(found.fields[1].values, [3, 4]);
        assert_eq!(found.not_shared, ["bert.encoder.layer.1.attention.self.query.bias"]);
        let is = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-5;
        assert!(is(found.encoder[0][1], -1.0) && is(found.encoder[1][1], 1.0), "{found:?}");
        assert!(is(found.head[0][1], 1.0), "{found:?}");
        let values = Differences::of(&files, None::<&Base<Cpu>>).unwrap();
        assert!(!is(values.encoder[0][1], -1.0));
    }
}
