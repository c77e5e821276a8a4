//! What is in a task file: its tensors with their kinds, layers and sizes, beside the base's values if they are given.

use std::path::Path;

use bitfit_core::{Backend, HostTensor, Mask};

use super::heat_map::{HeatMap, HeatRow};
use crate::arch::{Architecture, MaskedLmTensor, Module, Part, Role};
use crate::methods::BiasKind;
use crate::model::{Base, PartialTensor};
use crate::{Error, Result, TaskFile};

/// What is in a task file.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The tensors, in the order of the network, the head last.
    pub tensors: Vec<TensorSummary>,
    /// Whether the figures are of the changes from the base's values, and not of the values. Those of a head that the
    /// base does not have are always of its values.
    pub is_change: bool,
    layers: usize,
}

/// A tensor of a task file.
#[derive(Clone, Debug)]
pub struct TensorSummary {
    /// The parameter name.
    pub name: String,
    /// What it is: the kind of a bias, the module of a weight, or `head`.
    pub kind: String,
    /// Its layer; `None` outside of the layers.
    pub layer: Option<usize>,
    /// Whether it belongs to the head.
    pub is_head: bool,
    /// The shape of what the file holds.
    pub shape: Vec<usize>,
    /// Which part of the tensor the file holds.
    pub part: &'static str,
    /// The number of the scalars that the file holds.
    pub scalars: usize,
    /// Their Euclidean norm, or that of their changes.
    pub norm: f64,
    /// Their mean absolute value, or the mean absolute change: of a bias, the measure of figure 2 of the paper (arXiv
    /// 2106.10199), `(1/dim) · ‖b₀ − b‖₁`.
    pub mean_absolute: f64,
}

impl Contents {
    /// The contents of a task file, beside the values of its base if that is given. `path` is the task file, for
    /// messages.
    ///
    /// # Errors
    /// [`Error::TaskFile`] for an architecture that is not known; those of [`TaskFile::check_base`] and of reading the
    /// base's tensors.
    pub fn of<D: Backend>(task: &TaskFile, path: &Path, base: Option<&Base<D>>) -> Result<Self> {
        if let Some(base) = base {
            task.check_base(path, base)?;
        }
        let architecture = architecture(task, path)?;
        let names = names(task, architecture);
        let summary = |(role, name): (Option<Role>, String)| {
            let values = change(task, base, architecture, role, &name)?;
            let (shape, part) = match task.tensors.partial.get(&name) {
                Some(PartialTensor { mask, values }) => (values.shape().to_vec(), part(mask)),
                None => (task.tensors.whole[&name].shape().to_vec(), "all"),
            };
            let sum = |f: fn(f64) -> f64| values.iter().map(|&value| f(f64::from(value))).sum::<f64>();
            Ok(TensorSummary {
                kind: role.map_or_else(|| "head".into(), kind),
                layer: role.filter(|role| role.module.is_in_layers()).map(|role| role.layer),
                is_head: role.is_none(),
                norm: sum(|value| value * value).sqrt(),
                mean_absolute: sum(f64::abs) / values.len().max(1) as f64,
                scalars: values.len(),
                name,
                shape,
                part,
            })
        };
        let tensors = names.into_iter().map(summary).collect::<Result<_>>()?;
        Ok(Self { tensors, is_change: base.is_some(), layers: task.info.config.num_hidden_layers })
    }

    /// The Euclidean norm over all tensors of the encoder, or of the head.
    pub fn norm(&self, of_head: bool) -> f64 {
        let tensors = self.tensors.iter().filter(|tensor| tensor.is_head == of_head);
        // The sum of no floats is -0.
        (tensors.map(|tensor| tensor.norm * tensor.norm).sum::<f64>() + 0.0).sqrt()
    }

    /// The number of scalars of the encoder, or of the head.
    pub fn scalars(&self, of_head: bool) -> usize {
        self.tensors.iter().filter(|tensor| tensor.is_head == of_head).map(|tensor| tensor.scalars).sum()
    }

    /// The mean absolute values or changes by kind and layer; those outside of the layers are not in it.
    pub fn heat_map(&self, title: String) -> HeatMap {
        let mut rows: Vec<HeatRow> = Vec::new();
        for tensor in &self.tensors {
            let Some(layer) = tensor.layer.filter(|layer| *layer < self.layers) else { continue };
            let place = rows.iter().position(|row| row.label == tensor.kind).unwrap_or_else(|| {
                rows.push(HeatRow { label: tensor.kind.clone(), cells: vec![None; self.layers] });
                rows.len() - 1
            });
            rows[place].cells[layer] = Some(tensor.mean_absolute);
        }
        HeatMap { title, rows }
    }
}

/// The architecture of a task's base.
pub(super) fn architecture(task: &TaskFile, path: &Path) -> Result<&'static Architecture> {
    let name = &task.info.config.model_type;
    let unknown = || Error::TaskFile { path: path.into(), reason: format!("the model type {name:?} is not known") };
    Architecture::named(name).ok_or_else(unknown)
}

/// The tensors of a task with their roles, in the order of the network, the head last.
pub(super) fn names(task: &TaskFile, architecture: &Architecture) -> Vec<(Option<Role>, String)> {
    let role = |name: &String| architecture.role(name).filter(|role| architecture.parameter_name(*role) == *name);
    let mut names: Vec<_> = task.tensors.names().map(|name| (role(name), name.clone())).collect();
    let is_pooler = |role: Option<Role>| role.is_some_and(|role| role.module == Module::Pooler);
    names.sort_by_cached_key(|(role, name)| (role.is_none(), is_pooler(*role), *role, name.clone()));
    names
}

/// The change of what a task holds of a tensor from the base's values; without a base, and of a head that it does not
/// have, the values.
pub(super) fn change<D: Backend>(
    task: &TaskFile,
    base: Option<&Base<D>>,
    architecture: &Architecture,
    role: Option<Role>,
    name: &str,
) -> Result<Vec<f32>> {
    let own = |base: &Base<D>| -> Result<Option<HostTensor>> {
        let checkpoint = base.checkpoint();
        match (role, architecture.masked_lm_tensor(name)) {
            (Some(role), _) if checkpoint.dtype(role).is_some() => checkpoint.tensor(role).map(Some),
            (None, Some(tensor)) if tensor != MaskedLmTensor::Decoder(Part::Weight) => {
                checkpoint.masked_lm_tensor(tensor).map(Some)
            }
            _ => Ok(None),
        }
    };
    let own = base.map(own).transpose()?.flatten();
    let (values, own) = match task.tensors.partial.get(name) {
        Some(PartialTensor { mask, values }) => {
            let own = own.map(|own| PartialTensor::of(mask, &own)).transpose()?;
            (values, own.map(|own| own.values))
        }
        None => (&task.tensors.whole[name], own),
    };
    Ok(match own {
        Some(own) if own.len() == values.len() => values.data().iter().zip(own.data()).map(|(a, b)| a - b).collect(),
        _ => values.data().to_vec(),
    })
}

/// What a tensor of the encoder is, in words.
fn kind(role: Role) -> String {
    BiasKind::of(role).map_or_else(|| format!("{} weight", role.module), |kind| kind.name().into())
}

/// Which part of a tensor a mask chooses.
fn part(mask: &Mask) -> &'static str {
    match mask {
        Mask::None => "none",
        Mask::All => "all",
        Mask::Rows(_) => "rows",
        Mask::Columns(_) => "columns",
        Mask::Elements(_) => "elements",
    }
}

#[cfg(test)]
mod tests {
    use bitfit_core::Cpu;

    use super::*;
    use crate::artefacts::testing::Trained;

    #[test]
    fn figures_are_of_the_change_where_the_base_is_given() {
        let mut trained = Trained::new("classify", "bitfit:query+pooler");
        let name = "bert.encoder.layer.1.attention.self.query.bias";
        let own = trained.base.checkpoint().tensor(trained.base.architecture().role(name).unwrap()).unwrap();
        let shifted = own.data().iter().enumerate().map(|(i, value)| value + if i % 2 == 0 { 0.5 } else { -0.5 });
        let shifted = HostTensor::new([8], shifted.collect()).unwrap();
        trained.task.tensors.whole.insert(name.into(), shifted);
        let contents = Contents::of(&trained.task, "t".as_ref(), Some(&trained.base)).unwrap();
        let names: Vec<&str> = contents.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "bert.encoder.layer.0.attention.self.query.bias",
                name,
                "bert.pooler.dense.bias",
                "classifier.bias",
                "classifier.weight"
            ]
        );
        let query = &contents.tensors[1];
        assert_eq!((query.kind.as_str(), query.layer, query.scalars), ("query", Some(1), 8));
        assert!((query.mean_absolute - 0.5).abs() < 1e-6 && (query.norm - 2f64.sqrt()).abs() < 1e-6, "{query:?}");
        let map = contents.heat_map("changes".into());
        assert_eq!((map.rows.len(), map.rows[0].cells.len()), (1, 2));
        assert_eq!(map.rows[0].cells[1], Some(query.mean_absolute));
        assert_eq!((contents.scalars(false), contents.scalars(true)), (24, 18));
        let values = Contents::of(&trained.task, "t".as_ref(), None::<&Base<Cpu>>).unwrap();
        assert!(!values.is_change && (values.tensors[1].norm - query.norm).abs() > 1e-3);
    }

    #[test]
    fn another_base_is_refused() {
        let (one, other) =
            (Trained::new("classify", "bitfit"), Trained::of(&crate::arch::ELECTRA, "tag", "bitfit", None));
        assert!(Contents::of(&one.task, "t".as_ref(), Some(&other.base)).is_err());
    }
}
