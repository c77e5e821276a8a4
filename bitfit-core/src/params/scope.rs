//! [`Scope`]: registers parameters under a common prefix.

use super::{ArenaBuilder, Mask, Param, Trainable, Weight};
use crate::{Device, HostTensor, Result};

/// A view of an [`ArenaBuilder`] that puts a prefix before every name; see [`ArenaBuilder::scope`].
///
/// ```
/// use bitfit_core::{ArenaBuilder, Cpu, HostTensor, Mask};
///
/// let mut builder = ArenaBuilder::new(Cpu::default());
/// for layer in 0..2 {
///     let mut layer = builder.scope(format!("layer.{layer}"));
///     layer.weight("up.weight", HostTensor::new([4, 2], vec![0.5; 8])?, Mask::None)?;
///     layer.scope("norm").add("bias", HostTensor::new([2], vec![0.0; 2])?, Mask::All)?;
/// }
/// let arena = builder.build()?;
/// assert_eq!(arena.find("layer.1.norm.bias").unwrap().shape[..], [2]);
/// assert_eq!(arena.frozen(), ["layer.0.up.weight", "layer.1.up.weight"]);
/// # Ok::<(), bitfit_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Scope<'a, D: Device> {
    builder: &'a mut ArenaBuilder<D>,
    prefix: String,
}

impl<'a, D: Device> Scope<'a, D> {
    pub(super) fn new(builder: &'a mut ArenaBuilder<D>, prefix: String) -> Self {
        Self { builder, prefix }
    }

    /// The whole name of `name` in this scope.
    pub fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// The device of the arena.
    pub fn device(&self) -> &D {
        self.builder.device()
    }

    /// A scope within this one.
    pub fn scope(&mut self, prefix: &str) -> Scope<'_, D> {
        let prefix = self.name(prefix);
        Scope::new(&mut *self.builder, prefix)
    }

    /// As [`ArenaBuilder::weight`].
    ///
    /// # Errors
    /// As for [`ArenaBuilder::weight`].
    pub fn weight(&mut self, name: &str, tensor: HostTensor, mask: Mask) -> Result<Weight<D>> {
        self.builder.weight(self.name(name), tensor, mask)
    }

    /// As [`ArenaBuilder::add`].
    ///
    /// # Errors
    /// As for [`ArenaBuilder::add`].
    pub fn add(&mut self, name: &str, tensor: HostTensor, mask: Mask) -> Result<Param<D>> {
        self.builder.add(self.name(name), tensor, mask)
    }

    /// As [`ArenaBuilder::train`].
    ///
    /// # Errors
    /// As for [`ArenaBuilder::train`].
    pub fn train(&mut self, name: &str, tensor: HostTensor, mask: Mask) -> Result<Trainable> {
        self.builder.train(self.name(name), tensor, mask)
    }
}
