//! [`Grads`]: the gradients during backward. Those of matrices are in slots, which are freed as soon as they have been
//! read; those of parameters go directly to the arena's gradient.

use std::ops::Range;

use super::{Parts, Slot};
use crate::{
    Arena, DType, Device, Error, Gradient, Param, Result, Trainable, Weight, Workspace,
    backend::{Slice, SliceMut},
    memory::Scratch,
};

/// The gradients during one backward pass.
///
/// The gradient of a parameter is always added to. That of a matrix is written by the first op that reaches it, and
/// added to by the others.
pub struct Grads<'a, D: Device> {
    workspace: &'a Workspace<D>,
    arena: &'a Arena<D>,
    /// The parts of the pass, if they have gradients of their own.
    parts: Option<&'a Parts>,
    /// The gradient of the pass, or of each of its parts.
    gradients: &'a mut [Gradient<D>],
    /// The one that ops add to; `None` with several, while no op says which.
    current: Option<usize>,
    tape: u64,
    slots: Vec<Option<Scratch<D>>>,
    /// Whether a target of another backward pass was put.
    strayed: bool,
}

/// The buffer for the gradient of one input of an op.
pub struct Target<D: Device> {
    /// The buffer to write; return it with [`Grads::put`].
    pub scratch: Scratch<D>,
    /// Whether the buffer already holds a gradient, to which the op has to add.
    pub accumulate: bool,
    slot: Slot,
}

/// The destination of an op's column sums, which are the gradients of its vector parameters. The op adds to them.
pub struct ColumnSums<'a, D: Device, const N: usize> {
    /// The buffer of all sums.
    pub buffer: SliceMut<'a, D>,
    /// The index of the first element of each parameter's sum; `None` for a parameter that does not train. The sums do
    /// not overlap.
    pub at: [Option<usize>; N],
}

impl<D: Device, const N: usize> ColumnSums<'_, D, N> {
    /// The `len` elements of the sum of parameter `index`; `None` if the parameter does not train.
    pub fn part(&mut self, index: usize, len: usize) -> Option<SliceMut<'_, D>> {
        let offset = self.buffer.offset + self.at[index]?;
        Some(SliceMut::new(&mut *self.buffer.buffer, offset, len))
    }
}

impl<'a, D: Device> Grads<'a, D> {
    pub(super) fn new(
        workspace: &'a Workspace<D>,
        arena: &'a Arena<D>,
        (parts, gradients): (Option<&'a Parts>, &'a mut [Gradient<D>]),
        tape: u64,
        slots: usize,
    ) -> Self {
        let current = (gradients.len() == 1).then_some(0);
        let slots = (0..slots).map(|_| None).collect();
        Self { workspace, arena, parts, gradients, current, tape, slots, strayed: false }
    }

    /// The device that backward runs on.
    pub fn device(&self) -> &'a D {
        self.workspace.device()
    }

    /// A buffer of `len` f32 with unspecified contents.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is out of memory.
    pub fn scratch(&self, len: usize) -> Result<Scratch<D>> {
        self.workspace.scratch(len)
    }

    /// A buffer of `len` elements of type `dtype` with unspecified contents.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is out of memory.
    pub fn scratch_of(&self, dtype: DType, len: usize) -> Result<Scratch<D>> {
        self.workspace.scratch_of(dtype, len)
    }

    /// A buffer of `len` elements for the gradient of a matrix, with the element type of the matrix.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is out of memory.
    pub fn scratch_for(&self, slot: Slot, len: usize) -> Result<Scratch<D>> {
        self.workspace.scratch_of(slot.dtype, len)
    }

    /// The value of the whole tensor of a parameter, as in forward.
    ///
    /// # Errors
    /// As for [`Arena::value`].
    pub fn value<'b>(&self, param: &'b Param<D>) -> Result<Slice<'b, D>>
    where
        'a: 'b,
    {
        match param {
            Param::Frozen(frozen) => Ok(frozen.slice()),
            Param::Trainable(trainable) => self.arena.value(trainable),
        }
    }

    /// A weight in the layout of its products, as in forward.
    ///
    /// # Errors
    /// As for [`Arena::matrix`].
    pub fn matrix<'b>(&self, weight: &'b Weight<D>) -> Result<&'b D::Matrix>
    where
        'a: 'b,
    {
        self.arena.matrix(weight)
    }

    pub(super) fn take(&mut self, slot: Slot) -> Result<Option<Scratch<D>>> {
        Ok(self.at(slot)?.take())
    }

    /// The gradient in a slot, if there is one yet.
    fn at(&mut self, slot: Slot) -> Result<&mut Option<Scratch<D>>> {
        if slot.tape != self.tape {
            return Err(Error::foreign("backward", format!("a matrix of {} elements", slot.len), "tape"));
        }
        Ok(&mut self.slots[slot.index])
    }

    /// Checks what an op has done that its calls could not return.
    pub(super) fn finish_op(&mut self) -> Result<()> {
        if self.strayed { Err(Error::foreign("backward", "a gradient that was put", "tape")) } else { Ok(()) }
    }

    /// The buffer for the gradient of an input of `len` elements, for an op that can either write it or add to it.
    ///
    /// # Errors
    /// [`Error::Foreign`] if the input belongs to another tape; [`Error::Shape`] if it does not have `len` elements;
    /// [`Error::Device`] if the device is out of memory.
    pub fn target(&mut self, slot: Slot, len: usize) -> Result<Target<D>> {
        check_len(slot, len)?;
        Ok(match self.take(slot)? {
            Some(scratch) => Target { scratch, accumulate: true, slot },
            None => Target { scratch: self.workspace.scratch_of(slot.dtype, len)?, accumulate: false, slot },
        })
    }

    /// A new buffer for the gradient of an input, for an op that can only write it; pass it to [`Grads::merge`].
    ///
    /// # Errors
    /// [`Error::Device`] if the device is out of memory.
    pub fn fresh_target(&mut self, slot: Slot, len: usize) -> Result<Target<D>> {
        Ok(Target { scratch: self.scratch_for(slot, len)?, accumulate: false, slot })
    }

    /// Adds a written target to the gradient in its slot, if there is one.
    ///
    /// # Errors
    /// As for [`Grads::add`].
    pub fn merge(&mut self, target: Target<D>) -> Result<()> {
        self.add(target.slot, target.scratch)
    }

    /// Returns a written target to its slot. The target of another backward pass makes this one fail when the op is
    /// done.
    pub fn put(&mut self, target: Target<D>) {
        match self.at(target.slot) {
            Ok(place) => *place = Some(target.scratch),
            Err(_) => self.strayed = true,
        }
    }

    /// Adds a gradient to that of an input, or stores it if it is the first.
    ///
    /// # Errors
    /// [`Error::Shape`] if it does not have the size of the input; [`Error::Foreign`] if the input belongs to another
    /// tape; [`Error::Device`] if the device fails.
    pub fn add(&mut self, slot: Slot, gradient: Scratch<D>) -> Result<()> {
        check_len(slot, gradient.len())?;
        let device = self.workspace.device();
        match self.at(slot)? {
            Some(sum) => device.accumulate(gradient.as_ref(), sum.as_mut()),
            empty => {
                *empty = Some(gradient);
                Ok(())
            }
        }
    }

    /// Whether the pass has parts, or one, with gradients of their own; see [`Grads::by_part`].
    pub fn has_parts(&self) -> bool {
        self.parts.is_some()
    }

    /// Calls `add` for the rows of each part of the pass, in a matrix with this many, to add to the gradients of
    /// parameters what these rows give; once with all rows if the pass has no parts. In a pass over several parts,
    /// [`Grads::masked`] and [`Grads::column_sums`] are called in here alone.
    ///
    /// # Errors
    /// Those of `add`; [`Error::Invalid`] if the pass has several parts, and `rows` is the number of no kind of theirs,
    /// or of two kinds that are cut differently.
    pub fn by_part(&mut self, rows: usize, mut add: impl FnMut(&mut Self, Range<usize>) -> Result<()>) -> Result<()> {
        let Some(parts) = self.parts else { return add(self, 0..rows) };
        let outside = self.current;
        let mut there = parts.of(rows)?.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty());
        let done = there.try_for_each(|(part, rows)| {
            self.current = Some(part);
            add(self, rows)
        });
        self.current = outside;
        done
    }

    /// The gradient that ops add to.
    fn gradient(&mut self) -> Result<&mut Gradient<D>> {
        let reason = "a parameter of the op trains, and the op does not compute its gradient part by part";
        let current = self.current.ok_or_else(|| Error::invalid("backward", reason))?;
        Ok(&mut self.gradients[current])
    }

    /// The elements of a parameter in the arena's gradient, as many as its mask chooses. The op adds to them.
    ///
    /// # Errors
    /// [`Error::Foreign`] if the parameter belongs to another arena; [`Error::Invalid`] in a pass over several parts,
    /// outside [`Grads::by_part`].
    pub fn masked(&mut self, trainable: &Trainable) -> Result<SliceMut<'_, D>> {
        let entry = self.arena.entry(trainable)?;
        Ok(self.gradient()?.entry_mut(entry))
    }

    /// Calls `sum` to add the gradients of up to `N` vector parameters at once.
    ///
    /// If all entries of the parameters are trainable, it adds directly to the arena's gradient. If a mask is partial
    /// or a parameter occurs twice, it adds to a buffer of whole vectors, whose chosen elements are then added to the
    /// arena's gradient. `sum` is also called if no parameter trains.
    ///
    /// # Errors
    /// The error of `sum`; [`Error::Foreign`] if a parameter belongs to another arena; [`Error::Invalid`] if one trains
    /// in a pass over several parts, outside [`Grads::by_part`]; [`Error::Device`] if the device is out of memory.
    pub fn column_sums<const N: usize>(
        &mut self,
        params: [Option<&Trainable>; N],
        sum: impl FnOnce(&D, ColumnSums<'_, D, N>) -> Result<()>,
    ) -> Result<()> {
        let (device, arena) = (self.workspace.device(), self.arena);
        let (mut at, mut is_whole) = ([None; N], true);
        for (at, trainable) in at.iter_mut().zip(params) {
            let Some(trainable) = trainable else { continue };
            *at = Some(arena.entry(trainable)?.offset);
            is_whole &= arena.indices(trainable)?.is_none();
        }
        // A parameter that occurs twice has one position in the arena, but two in a buffer.
        let is_repeated = (1..N).any(|index| at[index].is_some() && at[..index].contains(&at[index]));
        if !is_repeated && is_whole {
            // Where nothing trains, nothing is added to any.
            let trains = at.iter().any(Option::is_some);
            let gradient = if trains { self.gradient()? } else { &mut self.gradients[0] };
            return sum(device, ColumnSums { buffer: gradient.slice_mut(), at });
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
            let entry = arena.entry(trainable)?;
            let to = self.gradient()?.entry_mut(entry);
            match arena.indices(trainable)? {
                Some(indices) => device.gather_accumulate(from, indices, to)?,
                None => device.accumulate(from, to)?,
            }
        }
        Ok(())
    }
}

/// Checks that the gradient of a matrix has its number of elements.
fn check_len(slot: Slot, len: usize) -> Result<()> {
    if slot.len == len { Ok(()) } else { Err(Error::shape("backward", "the gradient", &[slot.len], &[len])) }
}
