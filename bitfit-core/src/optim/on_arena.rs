//! What every optimizer of an arena holds beside its moments: which arena it is of, the groups of its entries, the
//! number of steps, and the norm of the last gradient.

use super::{Group, group::Groups};
use crate::{
    Arena, Device, Entry, Error, Gradient, Result,
    backend::{Slice, SliceMut},
};

/// The part of an optimizer that does not depend on its formula.
#[derive(Debug)]
pub(super) struct OnArena<D: Device> {
    /// The name of the optimizer in errors.
    name: &'static str,
    device: D,
    /// The number of the arena.
    arena: u64,
    /// One element: the norm of the last gradient before clipping.
    norm: D::Buffer,
    /// The number of the arena's scalars.
    pub(super) len: usize,
    /// The number of steps so far.
    pub(super) step: u64,
    pub(super) groups: Groups,
}

impl<D: Device> OnArena<D> {
    pub(super) fn new(name: &'static str, arena: &Arena<D>) -> Result<Self> {
        let device = arena.device().clone();
        let norm = zeros(&device, 1)?;
        Ok(Self { name, device, arena: arena.id(), norm, len: arena.len(), step: 0, groups: Groups::default() })
    }

    /// A vector with a zero for each scalar of the arena.
    pub(super) fn zeros(&self) -> Result<D::Buffer> {
        zeros(&self.device, self.len)
    }

    /// Takes the group that `group` gives to each entry of the arena.
    pub(super) fn set_groups(&mut self, arena: &Arena<D>, group: impl FnMut(&Entry) -> Group) -> Result<()> {
        self.check_arena(arena)?;
        self.groups = Groups::of(self.name, arena, group)?;
        Ok(())
    }

    /// Refuses another arena than the optimizer's, and a gradient that is not of it.
    pub(super) fn check(&self, arena: &Arena<D>, gradient: &Gradient<D>) -> Result<()> {
        self.check_arena(arena)?;
        arena.check_gradient(self.name, gradient)
    }

    fn check_arena(&self, arena: &Arena<D>) -> Result<()> {
        if arena.id() == self.arena { Ok(()) } else { Err(Error::foreign(self.name, "the optimizer", "arena")) }
    }

    /// Where a step writes the norm.
    pub(super) fn norm_mut(&mut self) -> SliceMut<'_, D> {
        SliceMut::new(&mut self.norm, 0, 1)
    }

    /// The norm of the gradient of the last step. Waits for the device.
    pub(super) fn norm(&self) -> Result<f32> {
        let mut norm = [0.0];
        self.device.read(Slice::new(&self.norm, 0, 1), &mut norm)?;
        Ok(norm[0])
    }

    /// Copies a vector to the host.
    pub(super) fn read(&self, vector: &D::Buffer) -> Result<Vec<f32>> {
        let mut values = vec![0.0; self.len];
        self.device.read(Slice::new(vector, 0, self.len), &mut values)?;
        Ok(values)
    }

    /// Overwrites a vector.
    pub(super) fn write(&self, values: &[f32], vector: &mut D::Buffer) -> Result<()> {
        self.device.write(values, SliceMut::new(vector, 0, self.len))
    }
}

fn zeros<D: Device>(device: &D, len: usize) -> Result<D::Buffer> {
    let mut buffer = device.allocate(len)?;
    device.fill(0.0, SliceMut::new(&mut buffer, 0, len))?;
    Ok(buffer)
}
