//! [`Arena`]: all trainable values in one flat f32 buffer with a table. Clipping, the optimizer step and saving are
//! each one pass over one slice.

use std::sync::Arc;

use super::{Gradient, Mask, Snapshot, Trainable, Weight, named, weight::LaidOut};
use crate::{
    Device, Error, Result,
    backend::{Slice, SliceMut},
};

/// A row of the arena's table: one trainable parameter.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// The name that it was registered with.
    pub name: String,
    /// The shape of the whole tensor.
    pub shape: Arc<[usize]>,
    /// The mask that chooses the trainable entries.
    pub mask: Arc<Mask>,
    /// The index of its first element in the arena.
    pub offset: usize,
    /// The number of its elements in the arena, which is the count of the mask.
    pub len: usize,
}

impl Entry {
    /// The row of a parameter whose first element has the index `offset`.
    pub fn new(name: impl Into<String>, shape: &[usize], mask: Mask, offset: usize) -> Self {
        let (shape, len) = (shape.into(), mask.count(shape));
        Self { name: name.into(), shape, mask: Arc::new(mask), offset, len }
    }

    /// The range of its elements in the arena.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len
    }
}

/// All trainable values: one flat buffer, and a table of the parameters in it.
///
/// The ops read whole tensors. A parameter with a partial mask therefore has a working copy of the whole tensor, into
/// which [`Arena::update`] scatters the trainable entries after each change; a weight is in the layout of its products,
/// of which `update` writes what has changed.
#[derive(Debug)]
pub struct Arena<D: Device> {
    pub(super) device: D,
    pub(super) id: u64,
    pub(super) entries: Vec<Entry>,
    /// The names of the frozen tensors.
    pub(super) frozen: Vec<String>,
    pub(super) values: D::Buffer,
    pub(super) len: usize,
    /// For an entry with a partial mask: the whole tensor as the ops read it, and the indices of the trainable entries.
    pub(super) partial: Vec<Option<Partial<D>>>,
    pub(super) matrices: Vec<LaidOut<D>>,
}

#[derive(Debug)]
pub(super) struct Partial<D: Device> {
    /// `None` if only a laid-out weight reads the tensor.
    pub(super) working: Option<D::Buffer>,
    pub(super) indices: D::Indices,
}

impl<D: Device> Arena<D> {
    /// The table, in the order of the buffer.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The row of the table with this name; `None` if no trainable parameter has it.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// A handle to the trainable parameter with this name, for [`Tape::parameter`](crate::Tape::parameter) and the ops
    /// that take a [`Param`](super::Param).
    pub fn trainable(&self, name: &str) -> Option<Trainable> {
        let index = self.entries.iter().position(|entry| entry.name == name)?;
        let Entry { name, shape, mask, .. } = &self.entries[index];
        let (name, shape, mask) = (name.as_str().into(), Arc::clone(shape), Arc::clone(mask));
        Some(Trainable { arena: self.id, entry: index, name, shape, mask })
    }

    /// The names of the frozen tensors that were registered with one, in the order of registration.
    pub fn frozen(&self) -> &[String] {
        &self.frozen
    }

    /// The number of trainable values.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no trainable values.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The device of the arena.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The row of the table of a parameter.
    ///
    /// # Errors
    /// [`Error::Foreign`] if the parameter belongs to another arena.
    pub fn entry(&self, trainable: &Trainable) -> Result<&Entry> {
        if trainable.arena != self.id {
            return Err(Error::foreign("arena", named("the parameter", Some(&trainable.name)), "arena"));
        }
        Ok(&self.entries[trainable.entry])
    }

    /// The current value of the whole tensor of a parameter.
    ///
    /// # Errors
    /// [`Error::Foreign`] if the parameter belongs to another arena; [`Error::Invalid`] if it has a partial mask and
    /// was registered as a weight, of which only the laid-out form exists.
    pub fn value(&self, trainable: &Trainable) -> Result<Slice<'_, D>> {
        let entry = self.entry(trainable)?;
        Ok(match &self.partial[trainable.entry] {
            None => Slice::new(&self.values, entry.offset, entry.len),
            Some(Partial { working: Some(working), .. }) => Slice::new(working, 0, entry.shape.iter().product()),
            Some(Partial { working: None, .. }) => {
                let reason = format!(
                    "{} was registered as a weight and exists in the layout of its products only; register a tensor \
                     that other ops read with `train` and tie the weight to it (`WeightPart::Tied`)",
                    entry.name
                );
                return Err(Error::invalid("arena", reason));
            }
        })
    }

    /// A weight in the layout of its products.
    ///
    /// # Errors
    /// [`Error::Foreign`] if the weight belongs to another arena.
    pub fn matrix<'a>(&'a self, weight: &'a Weight<D>) -> Result<&'a D::Matrix> {
        match weight {
            Weight::Frozen(weight) => Ok(weight.matrix()),
            Weight::Trainable(trainable) if trainable.arena == self.id => Ok(&self.matrices[trainable.index].matrix),
            Weight::Trainable(weight) => Err(Error::foreign("arena", named("the weight", Some(&weight.name)), "arena")),
        }
    }

    /// Calls `update` to change the values in place, then updates what the ops read: the working copies of parameters
    /// with partial masks, and the layouts of weights.
    ///
    /// # Errors
    /// The error of `update`; [`Error::Device`] if the device fails.
    pub fn update(&mut self, update: impl FnOnce(&D, SliceMut<'_, D>) -> Result<()>) -> Result<()> {
        update(&self.device, SliceMut::new(&mut self.values, 0, self.len))?;
        for (entry, partial) in self.entries.iter().zip(&mut self.partial) {
            if let Some(Partial { working: Some(working), indices }) = partial {
                let from = Slice::new(&self.values, entry.offset, entry.len);
                let len = entry.shape.iter().product();
                self.device.scatter(from, indices, SliceMut::new(working, 0, len))?;
            }
        }
        for LaidOut { matrix, parts } in &mut self.matrices {
            for &(first_row, entry) in &*parts {
                let from = Slice::new(&self.values, self.entries[entry].offset, self.entries[entry].len);
                match &self.partial[entry] {
                    None => self.device.write_rows(from, matrix, first_row)?,
                    Some(partial) => self.device.write_elements(from, &partial.indices, matrix, first_row)?,
                }
            }
        }
        Ok(())
    }

    /// Copies the values to the host, in the order of the table.
    ///
    /// # Errors
    /// [`Error::Device`] if work that was queued earlier failed.
    pub fn read(&self) -> Result<Vec<f32>> {
        let mut values = vec![0.0; self.len];
        self.device.read(Slice::new(&self.values, 0, self.len), &mut values)?;
        Ok(values)
    }

    /// Replaces the values by `values`, in the order of the table.
    ///
    /// # Errors
    /// [`Error::Shape`] if `values` does not have the length of the arena.
    pub fn write(&mut self, values: &[f32]) -> Result<()> {
        if values.len() != self.len {
            return Err(Error::shape("arena", "the data", &[self.len], &[values.len()]));
        }
        self.update(|device, to| device.write(values, to))
    }

    /// Copies the current values, on the device, to be restored later.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is out of memory.
    pub fn snapshot(&self) -> Result<Snapshot<D>> {
        let mut snapshot = Snapshot { arena: self.id, buffer: self.device.allocate(self.len)?, len: self.len };
        self.save(&mut snapshot)?;
        Ok(snapshot)
    }

    /// Overwrites a snapshot with the current values.
    ///
    /// # Errors
    /// [`Error::Foreign`] if the snapshot belongs to another arena; [`Error::Device`] if the device fails.
    pub fn save(&self, to: &mut Snapshot<D>) -> Result<()> {
        self.check_snapshot(to)?;
        self.device.copy(Slice::new(&self.values, 0, self.len), SliceMut::new(&mut to.buffer, 0, self.len))
    }

    /// Restores the values of a snapshot.
    ///
    /// # Errors
    /// As for [`Arena::save`].
    pub fn restore(&mut self, from: &Snapshot<D>) -> Result<()> {
        self.check_snapshot(from)?;
        self.update(|device, to| device.copy(Slice::new(&from.buffer, 0, from.len), to))
    }

    /// Copies the values of a snapshot to the host, in the order of the table.
    ///
    /// # Errors
    /// As for [`Arena::save`].
    pub fn read_snapshot(&self, from: &Snapshot<D>) -> Result<Vec<f32>> {
        self.check_snapshot(from)?;
        let mut values = vec![0.0; self.len];
        self.device.read(Slice::new(&from.buffer, 0, from.len), &mut values)?;
        Ok(values)
    }

    fn check_snapshot(&self, snapshot: &Snapshot<D>) -> Result<()> {
        if snapshot.arena == self.id { Ok(()) } else { Err(Error::foreign("arena", "the snapshot", "arena")) }
    }

    /// Makes a gradient of the arena's length, all zero.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is out of memory.
    pub fn gradient(&self) -> Result<Gradient<D>> {
        let mut buffer = self.device.allocate(self.len)?;
        self.device.fill(0.0, SliceMut::new(&mut buffer, 0, self.len))?;
        Ok(Gradient { arena: self.id, buffer, len: self.len })
    }

    /// Checks that a gradient belongs to this arena.
    pub(crate) fn check_gradient(&self, op: &'static str, gradient: &Gradient<D>) -> Result<()> {
        if gradient.arena == self.id { Ok(()) } else { Err(Error::foreign(op, "the gradient", "arena")) }
    }

    /// The number of the arena, which distinguishes it from all others of the process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The indices of the trainable entries in the whole tensor; `None` if all are trainable.
    pub(crate) fn indices(&self, trainable: &Trainable) -> Result<Option<&D::Indices>> {
        self.entry(trainable)?;
        Ok(self.partial[trainable.entry].as_ref().map(|partial| &partial.indices))
    }

    /// Checks the gradient after one backward: that of every parameter has to be finite and not zero everywhere.
    ///
    /// If some op of a network cuts the path of the gradient, the parameters above the cut still train and the loss
    /// still falls; this check finds the mistake before the training starts. A gradient can also be zero for a reason:
    /// if the last weight of a network begins at zero, as heads often do, nothing below it has a gradient in the first
    /// step. Such a network is checked after its second step, or with a head that is drawn.
    ///
    /// # Errors
    /// [`Error::NoGradient`] with the names of the parameters that fail the check; [`Error::Foreign`] if the gradient
    /// belongs to another arena.
    pub fn check_gradients_reach(&self, gradient: &Gradient<D>) -> Result<()> {
        self.check_gradient("check_gradients_reach", gradient)?;
        let values = gradient.read(&self.device)?;
        let failing = |test: fn(&f32) -> bool, all: bool| -> Vec<String> {
            let fails = |entry: &&Entry| {
                let mut part = values[entry.range()].iter();
                if all { part.all(test) } else { part.any(test) }
            };
            self.entries.iter().filter(fails).map(|entry| entry.name.clone()).collect()
        };
        let broken = failing(|g| !g.is_finite(), false);
        if !broken.is_empty() {
            return Err(Error::NoGradient { names: broken, reason: "it is not finite" });
        }
        let cut = failing(|g| *g == 0.0, true);
        if !cut.is_empty() {
            return Err(Error::NoGradient { names: cut, reason: "it is zero everywhere" });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ArenaBuilder, Cpu, HostTensor};

    fn tensor(shape: &[usize]) -> HostTensor {
        let len: usize = shape.iter().product();
        HostTensor::new(shape.to_vec(), (0..len).map(|i| i as f32).collect()).unwrap()
    }

    #[test]
    fn gradient_and_arena_have_the_masks_size_and_frozen_tensors_none() {
        let mut builder = ArenaBuilder::new(Cpu::default());
        assert!(builder.add("frozen", tensor(&[100, 100]), Mask::None).unwrap().trainable().is_none());
        builder.add("bias", tensor(&[7]), Mask::All).unwrap();
        builder.add("rows", tensor(&[5, 3]), Mask::Rows(vec![4, 1])).unwrap();
        let arena = builder.build().unwrap();
        assert_eq!(arena.len(), 7 + 6);
        assert_eq!(arena.gradient().unwrap().read(arena.device()).unwrap(), vec![0.0; 13]);
        assert_eq!(arena.read().unwrap()[7..], [12.0, 13.0, 14.0, 3.0, 4.0, 5.0]);
    }

    #[test]
    fn an_update_reaches_the_masked_entries_of_the_tensor_the_ops_read() {
        let mut builder = ArenaBuilder::new(Cpu::default());
        let param = builder.train("w", tensor(&[3, 2]), Mask::Columns(vec![1])).unwrap();
        let mut arena = builder.build().unwrap();
        arena.write(&[-1.0, -2.0, -3.0]).unwrap();
        let mut whole = [0.0; 6];
        arena.device().read(arena.value(&param).unwrap(), &mut whole).unwrap();
        assert_eq!(whole, [0.0, -1.0, 2.0, -2.0, 4.0, -3.0]);
    }

    #[test]
    fn a_restored_snapshot_reaches_the_working_copies_of_the_ops() {
        let mut builder = ArenaBuilder::new(Cpu::default());
        let param = builder.train("w", tensor(&[3, 2]), Mask::Columns(vec![1])).unwrap();
        let mut arena = builder.build().unwrap();
        let mut snapshot = arena.snapshot().unwrap();
        arena.write(&[-1.0, -2.0, -3.0]).unwrap();
        arena.restore(&snapshot).unwrap();
        let mut whole = [0.0; 6];
        arena.device().read(arena.value(&param).unwrap(), &mut whole).unwrap();
        assert_eq!((arena.read().unwrap(), whole), (vec![1.0, 3.0, 5.0], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
        arena.write(&[7.0, 8.0, 9.0]).unwrap();
        arena.save(&mut snapshot).unwrap();
        arena.write(&[0.0; 3]).unwrap();
        arena.restore(&snapshot).unwrap();
        assert_eq!(arena.read().unwrap(), [7.0, 8.0, 9.0]);

        let mut builder = ArenaBuilder::new(Cpu::default());
        builder.add("b", tensor(&[2]), Mask::All).unwrap();
        let mut other = builder.build().unwrap();
        assert!(matches!(other.restore(&snapshot), Err(Error::Foreign { .. })));
    }

    #[test]
    fn what_belongs_to_another_arena_of_the_same_length_is_refused_and_changes_nothing() {
        let arena = |name| {
            let mut builder = ArenaBuilder::new(Cpu::default());
            let param = builder.train(name, tensor(&[3, 2]), Mask::Columns(vec![1])).unwrap();
            let weight = builder.weight("w", tensor(&[2, 2]), Mask::All).unwrap();
            (builder.build().unwrap(), param, weight)
        };
        let ((mut mine, ..), (theirs, their_param, their_weight)) = (arena("a"), arena("b"));
        let (before, snapshot, gradient) =
            (mine.read().unwrap(), theirs.snapshot().unwrap(), theirs.gradient().unwrap());
        let mut other = theirs.snapshot().unwrap();
        for error in [
            mine.restore(&snapshot).unwrap_err(),
            mine.save(&mut other).unwrap_err(),
            mine.read_snapshot(&snapshot).unwrap_err(),
            mine.check_gradients_reach(&gradient).unwrap_err(),
            mine.entry(&their_param).map(|_| ()).unwrap_err(),
            mine.value(&their_param).map(|_| ()).unwrap_err(),
            mine.matrix(&their_weight).map(|_| ()).unwrap_err(),
            mine.gradient().unwrap().add(theirs.device(), &gradient).unwrap_err(),
        ] {
            assert!(matches!(error, Error::Foreign { owner: "arena", .. }), "{error}");
        }
        assert_eq!(mine.read().unwrap(), before);
        let message = mine.value(&their_param).map(|_| ()).unwrap_err().to_string();
        assert_eq!(message, "arena: the parameter b belongs to another arena");
    }

    #[test]
    fn a_parameter_that_is_laid_out_only_is_refused_where_its_value_is_read() {
        let mut builder = ArenaBuilder::new(Cpu::default());
        let weight = builder.weight("w", tensor(&[2, 2]), Mask::Rows(vec![1])).unwrap();
        let arena = builder.build().unwrap();
        let (_, trainable) = weight.trainable().next().unwrap();
        let message = arena.value(trainable).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("w was registered as a weight"), "{message}");
    }

    #[test]
    fn a_name_registered_twice_is_refused() {
        let mut builder = ArenaBuilder::new(Cpu::default());
        builder.add("b", tensor(&[2]), Mask::All).unwrap();
        builder.add("frozen", tensor(&[2]), Mask::None).unwrap();
        builder.weight("w", tensor(&[2, 2]), Mask::None).unwrap();
        for (name, mask) in [("b", Mask::All), ("b", Mask::None), ("frozen", Mask::All), ("frozen", Mask::None)] {
            let message = builder.add(name, tensor(&[2]), mask).unwrap_err().to_string();
            assert_eq!(message, format!("arena: {name} is registered twice"));
        }
        for mask in [Mask::None, Mask::All] {
            assert!(builder.weight("w", tensor(&[2, 2]), mask).is_err());
        }
        let arena = builder.build().unwrap();
        assert_eq!(arena.frozen(), ["frozen", "w"]);
    }

    #[test]
    fn the_gradient_check_names_parameters_without_a_valid_gradient() {
        let mut builder = ArenaBuilder::new(Cpu::default());
        builder.add("reached", tensor(&[2]), Mask::All).unwrap();
        builder.add("cut", tensor(&[2]), Mask::All).unwrap();
        let arena = builder.build().unwrap();
        let mut gradient = arena.gradient().unwrap();
        let mut set = |values: &[f32; 4]| {
            arena.device().write(values, gradient.slice_mut()).map(|()| arena.check_gradients_reach(&gradient))
        };
        let message = set(&[0.0, 1.0, 0.0, 0.0]).unwrap().unwrap_err().to_string();
        assert!(message.contains("reached cut") && message.contains("zero"), "{message}");
        let message = set(&[f32::NAN, 1.0, 2.0, 0.0]).unwrap().unwrap_err().to_string();
        assert!(message.contains("reached reached") && message.contains("finite"), "{message}");
        assert!(set(&[0.0, 1.0, 2.0, 0.0]).unwrap().is_ok());
    }
}
