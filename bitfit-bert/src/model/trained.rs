//! The values that a task has trained, by parameter name, apart from the device that they were trained on: whole
//! tensors, and the entries that a mask chooses of others.

use std::collections::HashMap;

use bitfit_core::{Entry, HostTensor, Mask};

use super::TrainableTensor;
use crate::Result;

/// Values by parameter name.
#[derive(Clone, Debug, Default)]
pub struct TrainedTensors {
    /// Tensors that trained whole, and those that count as trained and never change.
    pub whole: HashMap<String, HostTensor>,
    /// Tensors of which a mask chose some entries.
    pub partial: HashMap<String, PartialTensor>,
}

impl TrainedTensors {
    /// The names of the parameters, in no particular order.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.whole.keys().chain(self.partial.keys())
    }

    /// The whole tensor of a parameter, with what was trained in the place of the base's.
    ///
    /// # Errors
    /// Those of `base`, and of [`PartialTensor::fill`].
    pub(crate) fn over(&self, name: &str, base: impl FnOnce() -> Result<HostTensor>) -> Result<HostTensor> {
        match (self.whole.get(name), self.partial.get(name)) {
            (Some(whole), _) => Ok(whole.clone()),
            (None, Some(partial)) => partial.fill(&base()?),
            (None, None) => base(),
        }
    }
}

impl From<HashMap<String, HostTensor>> for TrainedTensors {
    fn from(whole: HashMap<String, HostTensor>) -> Self {
        Self { whole, partial: HashMap::new() }
    }
}

/// Some entries of a tensor.
#[derive(Clone, Debug)]
pub struct PartialTensor {
    /// Which entries.
    pub mask: Mask,
    /// Their values: `[rows, cols]` of the chosen rows or columns, or a list of elements.
    pub values: HostTensor,
}

impl PartialTensor {
    /// The shape of the values that a mask chooses of a tensor of `shape`.
    pub fn shape(mask: &Mask, shape: &[usize]) -> Vec<usize> {
        let (rows, cols) = match *shape {
            [rows, cols] => (rows, cols),
            _ => (1, shape.iter().product()),
        };
        match mask {
            Mask::None => vec![0],
            Mask::All => shape.to_vec(),
            Mask::Rows(chosen) => vec![chosen.len(), cols],
            Mask::Columns(chosen) => vec![rows, chosen.len()],
            Mask::Elements(chosen) => vec![chosen.len()],
        }
    }

    /// The entries of a whole tensor that a mask chooses.
    ///
    /// # Errors
    /// [`crate::Error::Core`] when the tensor has no such entries.
    pub(crate) fn of(mask: &Mask, whole: &HostTensor) -> Result<Self> {
        mask.validate("the tensor", whole.shape())?;
        let values = mask.indices(whole.shape()).iter().map(|&at| whole.data()[at as usize]).collect();
        let values = HostTensor::new(Self::shape(mask, whole.shape()), values)?;
        Ok(Self { mask: mask.clone(), values })
    }

    /// The whole tensor: `base` with these entries in the place of its own.
    ///
    /// # Errors
    /// [`crate::Error::Core`] when the entries are not those of a tensor of this shape.
    pub fn fill(&self, base: &HostTensor) -> Result<HostTensor> {
        self.mask.validate("the base's tensor", base.shape())?;
        let mut whole = base.data().to_vec();
        for (&at, &value) in self.mask.indices(base.shape()).iter().zip(self.values.data()) {
            whole[at as usize] = value;
        }
        Ok(HostTensor::new(base.shape(), whole)?)
    }
}

/// Which parameter each value of an arena belongs to; independent of the arena and its device.
#[derive(Clone, Debug)]
pub struct ParameterNames {
    trainable: Vec<TrainableTensor>,
    entries: HashMap<String, Entry>,
}

impl ParameterNames {
    pub(super) fn new(trainable: &[TrainableTensor], entries: &[Entry]) -> Self {
        let entries = entries.iter().map(|entry| (entry.name.clone(), entry.clone())).collect();
        Self { trainable: trainable.to_vec(), entries }
    }

    /// The tensors of all of an arena's values; those that count as trained and never change are among them.
    ///
    /// # Errors
    /// [`crate::Error::Core`] when there are fewer values than the arena has.
    pub fn apply(&self, values: &[f32]) -> Result<TrainedTensors> {
        let mut tensors = TrainedTensors::default();
        for TrainableTensor { name, shape, fixed, .. } in &self.trainable {
            if let Some(fixed) = fixed {
                tensors.whole.insert(name.clone(), fixed.clone());
                continue;
            }
            let entry = self.entries.get(name).expect("what trains is in the arena");
            let values = values.get(entry.range()).unwrap_or_default().to_vec();
            let values = HostTensor::new(PartialTensor::shape(&entry.mask, shape), values)?;
            if *entry.mask == Mask::All {
                tensors.whole.insert(name.clone(), values);
            } else {
                tensors.partial.insert(name.clone(), PartialTensor { mask: (*entry.mask).clone(), values });
            }
        }
        Ok(tensors)
    }
}
