//! Gradients while backward runs: of matrices, in slots that are freed as soon as they are read; of parameters, straight
//! into the arena's gradient. The rule everywhere: a parameter's gradient is added to, a matrix's is written by the first
//! op that reaches it and added to by the next.

use super::Slot;
use crate::{
    Arena, DType, Device, Gradient, Param, Result, Trainable, Workspace,
    backend::{Slice, SliceMut},
    memory::Scratch,
};

/// The gradients under way in one backward pass.
pub struct Grads<'a, D: Device> {
    workspace: &'a Workspace<D>,
    arena: &'a Arena<D>,
    gradient: &'a mut Gradient<D>,
    tape: u64,
    slots: Vec<Option<Scratch<D>>>,
}

/// Where an op puts the gradient of one of its inputs.
pub struct Target<D: Device> {
    /// The buffer to fill; give it back by [`Grads::put`].
    pub scratch: Scratch<D>,
    /// Whether another op has been there: add to the buffer then, write it otherwise.
    pub accumulate: bool,
    slot: Slot,
}

/// Where an op's column sums go, the gradients of its vector parameters: a buffer to add to, and for each parameter the
/// first element of its sum, or `None` where it does not train.
pub struct ColumnSums<'a, D: Device, const N: usize> {
    /// The buffer that holds all of them.
    pub buffer: SliceMut<'a, D>,
    /// Each parameter's first element in it. No two sums overlap.
    pub at: [Option<usize>; N],
}

impl<D: Device, const N: usize> ColumnSums<'_, D, N> {
    /// The `len` elements to which the sum of parameter `index` is to be added; `None` where it does not train.
    pub fn part(&mut self, index: usize, len: usize) -> Option<SliceMut<'_, D>> {
        let offset = self.buffer.offset + self.at[index]?;
        Some(SliceMut::new(&mut *self.buffer.buffer, offset, len))
    }
}

impl<'a, D: Device> Grads<'a, D> {
    pub(super) fn new(
        workspace: &'a Workspace<D>,
        arena: &'a Arena<D>,
        gradient: &'a mut Gradient<D>,
        tape: u64,
        slots: usize,
    ) -> Self {
        Self { workspace, arena, gradient, tape, slots: (0..slots).map(|_| None).collect() }
    }

    /// The device.
    pub fn device(&self) -> &'a D {
        self.workspace.device()
    }

    /// Lends a buffer of `len` f32 with unspecified contents.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device is out of memory.
    pub fn scratch(&self, len: usize) -> Result<Scratch<D>> {
        self.workspace.scratch(len)
    }

    /// Lends a buffer of `len` elements of a type with unspecified contents.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device is out of memory.
    pub fn scratch_of(&self, dtype: DType, len: usize) -> Result<Scratch<D>> {
        self.workspace.scratch_of(dtype, len)
    }

    /// Lends a buffer for the gradient of a matrix: of its type.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device is out of memory.
    pub fn scratch_for(&self, slot: Slot, len: usize) -> Result<Scratch<D>> {
        self.workspace.scratch_of(slot.dtype, len)
    }

    /// A parameter's whole tensor as it stood in forward.
    pub fn value<'b>(&self, param: &'b Param<D>) -> Slice<'b, D>
    where
        'a: 'b,
    {
        match param {
            Param::Frozen(frozen) => frozen.slice(),
            Param::Trainable(trainable) => self.arena.value(trainable),
        }
    }

    /// A trained parameter's whole tensor as it stood in forward.
    pub fn trainable_value(&self, trainable: &Trainable) -> Slice<'a, D> {
        self.arena.value(trainable)
    }

    pub(super) fn take(&mut self, slot: Slot) -> Option<Scratch<D>> {
        self.at(slot).take()
    }

    /// What has been collected of a gradient.
    fn at(&mut self, slot: Slot) -> &mut Option<Scratch<D>> {
        assert_eq!(slot.tape, self.tape, "a matrix of another tape");
        &mut self.slots[slot.index]
    }

    /// The buffer for an input's gradient of `len` elements, for an op that can write it or add to it.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device is out of memory.
    pub fn target(&mut self, slot: Slot, len: usize) -> Result<Target<D>> {
        Ok(match self.take(slot) {
            Some(scratch) => Target { scratch, accumulate: true, slot },
            None => Target { scratch: self.workspace.scratch_of(slot.dtype, len)?, accumulate: false, slot },
        })
    }

    /// A buffer of its own for an input's gradient, whether or not another op has been there; give it to
    /// [`Grads::merge`].
    ///
    /// # Errors
    /// [`crate::Error::Device`] when the device is out of memory.
    pub fn fresh_target(&mut self, slot: Slot, len: usize) -> Result<Target<D>> {
        Ok(Target { scratch: self.scratch_for(slot, len)?, accumulate: false, slot })
    }

    /// Gives a filled target back, adding to what may be there.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when a launch failed.
    pub fn merge(&mut self, target: Target<D>) -> Result<()> {
        self.add(target.slot, target.scratch)
    }

    /// Gives a filled target back.
    pub fn put(&mut self, target: Target<D>) {
        *self.at(target.slot) = Some(target.scratch);
    }

    /// Adds a finished gradient to an input's, or makes it the input's if it is the first.
    ///
    /// # Panics
    /// When it is not of the input's size.
    ///
    /// # Errors
    /// [`crate::Error::Device`] when a launch failed.
    pub fn add(&mut self, slot: Slot, gradient: Scratch<D>) -> Result<()> {
        assert_eq!(gradient.len(), slot.len, "elements of a matrix and of its gradient");
        let device = self.workspace.device();
        match self.at(slot) {
            Some(sum) => device.accumulate(gradient.as_ref(), sum.as_mut()),
            empty => {
                *empty = Some(gradient);
                Ok(())
            }
        }
    }

    /// The part of the arena's gradient that belongs to a parameter: as many elements as its mask chooses. Add to it.
    pub fn masked(&mut self, trainable: &Trainable) -> SliceMut<'_, D> {
        self.gradient.entry_mut(self.arena.entry(trainable))
    }

    /// Lets `sum` add the gradients of up to `N` parameters at once. Where all of them train whole, it adds straight to the
    /// arena's gradient; where only a part of one trains, to a buffer of the parameters' size whose chosen elements are
    /// then added to the arena's, and so where one is named twice. `sum` is called in any case: where nothing trains, no
    /// parameter has a place.
    ///
    /// # Errors
    /// Whatever `sum` returns; [`crate::Error::Device`] when the device is out of memory.
    pub fn column_sums<const N: usize>(
        &mut self,
        params: [Option<&Trainable>; N],
        sum: impl FnOnce(&D, ColumnSums<'_, D, N>) -> Result<()>,
    ) -> Result<()> {
        let device = self.workspace.device();
        let at = params.map(|param| param.map(|trainable| self.arena.entry(trainable).offset));
        // A parameter that is named twice has one place in the arena, and two in a buffer.
        let is_repeated = (1..N).any(|index| at[index].is_some() && at[..index].contains(&at[index]));
        if !is_repeated && params.iter().flatten().all(|trainable| self.arena.indices(trainable).is_none()) {
            return sum(device, ColumnSums { buffer: self.gradient.slice_mut(), at });
        }
        let mut len = 0;
        let at = params.map(|param| {
            param.map(|trainable| {
                len += trainable.shape().iter().product::<usize>();
                len - trainable.shape().iter().product::<usize>()
            })
        });
        let mut dense = self.workspace.scratch(len)?;
        device.fill(0.0, dense.as_mut())?;
        sum(device, ColumnSums { buffer: dense.as_mut(), at })?;
        for (trainable, at) in params.iter().zip(at).filter_map(|(param, at)| param.zip(at)) {
            let from = Slice::new(dense.as_ref().buffer, at, trainable.shape().iter().product::<usize>());
            let to = self.gradient.entry_mut(self.arena.entry(trainable));
            match self.arena.indices(trainable) {
                Some(indices) => device.gather_accumulate(from, indices, to)?,
                None => device.accumulate(from, to)?,
            }
        }
        Ok(())
    }
}
