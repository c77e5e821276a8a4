//! [`State`]: the values of an arena and the state of its optimizer by name, as a checkpoint holds them.

#[cfg(feature = "safetensors")]
mod file;

use std::{collections::HashMap, ops::Range};

use crate::{Arena, Device, Error, Mask, Result, optim::OptimizerState};

/// The values of an arena by name, each with the shape and the mask of its tensor, and the state of an optimizer if it
/// was saved too.
///
/// A state is loaded only where it fits: the arena has the same names, and under each the same shape and the same mask.
/// Two masks that choose equally many entries are not taken for one another.
///
/// ```
/// use bitfit_core::{Arena, ArenaBuilder, Cpu, HostTensor, Mask, Result, optim::*};
///
/// fn arena(rows: Vec<u32>) -> Result<Arena<Cpu>> {
///     let mut builder = ArenaBuilder::new(Cpu::default());
///     builder.weight("head", HostTensor::new([4, 2], vec![0.5; 8])?, Mask::Rows(rows))?;
///     builder.build()
/// }
///
/// let (trained, mut again, mut other) = (arena(vec![0, 2])?, arena(vec![0, 2])?, arena(vec![1, 3])?);
/// let optimizer = ArenaOptimizer::new(&trained, AdamW::default())?;
/// let state = trained.state()?.with_optimizer(&optimizer)?;
///
/// again.load(&state)?;
/// ArenaOptimizer::new(&again, AdamW::default())?.load(&state.optimizer_for(&again)?)?;
/// let error = other.load(&state).unwrap_err();
/// assert_eq!(error.to_string(), "state: head was saved under another mask: rows [0, 2], expected rows [1, 3]");
/// # Ok::<(), bitfit_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    tensors: Vec<SavedTensor>,
    optimizer: Option<OptimizerState>,
}

/// The trainable values of one tensor.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SavedTensor {
    /// The name that it was registered with.
    pub name: String,
    /// The shape of the whole tensor.
    pub shape: Vec<usize>,
    /// The mask that chooses the trainable entries.
    pub mask: Mask,
    /// The entries that the mask chooses, in its order.
    pub values: Vec<f32>,
}

impl State {
    /// The tensors, in the order of the arena or of the file.
    pub fn tensors(&self) -> &[SavedTensor] {
        &self.tensors
    }

    /// The state of the optimizer, in the order of the arena, for
    /// [`Optimizer::load`](crate::optim::Optimizer::load).
    ///
    /// # Errors
    /// [`Error::Invalid`] if the state does not fit the arena, as for [`Arena::load`], or has no optimizer.
    pub fn optimizer_for<D: Device>(&self, arena: &Arena<D>) -> Result<OptimizerState> {
        let Some(saved) = &self.optimizer else {
            return Err(Error::invalid("optimizer_for", "the state has no optimizer: `with_optimizer` saves one"));
        };
        let ranges = self.ranges_for(arena)?;
        let ordered = |(name, values): &(String, Vec<f32>)| {
            (name.clone(), ranges.iter().flat_map(|range| &values[range.clone()]).copied().collect())
        };
        Ok(OptimizerState::new(saved.kind.clone(), saved.steps, saved.moments.iter().map(ordered).collect()))
    }

    /// For each entry of the arena, where its values stand in a vector over all tensors of the state.
    ///
    /// # Errors
    /// As for [`Arena::load`].
    fn ranges_for<D: Device>(&self, arena: &Arena<D>) -> Result<Vec<Range<usize>>> {
        let invalid = |reason| Err(Error::invalid("state", reason));
        let (mut places, mut end) = (HashMap::with_capacity(self.tensors.len()), 0);
        for tensor in &self.tensors {
            end += tensor.values.len();
            if places.insert(tensor.name.as_str(), (tensor, end - tensor.values.len()..end)).is_some() {
                return invalid(format!("{} occurs twice", tensor.name));
            }
        }
        let mut ranges = Vec::with_capacity(arena.entries().len());
        for entry in arena.entries() {
            let Some((saved, range)) = places.remove(entry.name.as_str()) else {
                return invalid(format!("the state has no tensor {}", entry.name));
            };
            if saved.shape != *entry.shape {
                return invalid(format!("{} has shape {:?}, expected {:?}", entry.name, saved.shape, entry.shape));
            }
            if saved.mask != *entry.mask || range.len() != entry.len {
                let [found, expected] = [&saved.mask, &*entry.mask].map(in_words);
                return invalid(format!("{} was saved under another mask: {found}, expected {expected}", entry.name));
            }
            ranges.push(range);
        }
        match self.tensors.iter().find(|tensor| places.contains_key(tensor.name.as_str())) {
            Some(tensor) => invalid(format!("the arena has no trainable parameter {}", tensor.name)),
            None => Ok(ranges),
        }
    }

    /// The same state with that of the optimizer.
    ///
    /// # Errors
    /// [`Error::Device`] if work that was queued earlier failed; [`Error::Shape`] if the optimizer is of an arena of
    /// another length.
    pub fn with_optimizer<D: Device>(self, optimizer: &impl crate::optim::Optimizer<D>) -> Result<Self> {
        let optimizer = optimizer.save()?;
        let len = self.tensors.iter().map(|tensor| tensor.values.len()).sum();
        for (name, values) in &optimizer.moments {
            if values.len() != len {
                return Err(Error::shape("state", format!("the vector {name}"), &[len], &[values.len()]));
            }
        }
        Ok(Self { optimizer: Some(optimizer), ..self })
    }
}

impl<D: Device> Arena<D> {
    /// Copies the values to the host, by name.
    ///
    /// # Errors
    /// [`Error::Device`] if work that was queued earlier failed.
    pub fn state(&self) -> Result<State> {
        let values = self.read()?;
        let saved = |entry: &crate::Entry| SavedTensor {
            name: entry.name.clone(),
            shape: entry.shape.to_vec(),
            mask: (*entry.mask).clone(),
            values: values[entry.range()].to_vec(),
        };
        Ok(State { tensors: self.entries().iter().map(saved).collect(), optimizer: None })
    }

    /// Replaces all values by those of a state, whatever the order of its tensors. The optimizer loads its own part,
    /// [`State::optimizer_for`].
    ///
    /// # Errors
    /// [`Error::Invalid`] if a name is missing or unexpected, or a tensor was saved with another shape or under another
    /// mask, in which case nothing is changed; [`Error::Device`] if the device fails.
    pub fn load(&mut self, state: &State) -> Result<()> {
        let all: Vec<f32> = state.tensors.iter().flat_map(|tensor| &tensor.values).copied().collect();
        let ranges = state.ranges_for(self)?;
        let values: Vec<f32> = ranges.into_iter().flat_map(|range| &all[range]).copied().collect();
        self.write(&values)
    }
}

/// A mask for a message: its kind, and its first indices.
fn in_words(mask: &Mask) -> String {
    let (kind, indices) = match mask {
        Mask::None => return "no entry".into(),
        Mask::All => return "every entry".into(),
        Mask::Rows(indices) => ("rows", indices),
        Mask::Columns(indices) => ("columns", indices),
        Mask::Elements(indices) => ("elements", indices),
    };
    match indices.get(..4) {
        Some(first) if indices.len() > 4 => format!("{} {kind}, the first {first:?}", indices.len()),
        _ => format!("{kind} {indices:?}"),
    }
}

#[cfg(test)]
mod tests;
