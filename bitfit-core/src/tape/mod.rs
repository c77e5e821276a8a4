//! The tape: runs a network forward, and remembers of each op exactly what its backward will read.
//!
//! Whether an op is recorded at all is decided before it runs: only when something it reads trains, or depends on
//! something that does. What lies below the lowest trained parameter therefore leaves no node, keeps no buffer and is never
//! visited by [`Tape::backward`]. In inference nothing trains, and the same code keeps nothing.
//!
//! Ops are methods of [`Tape`], each defined in its own folder under [`crate::ops`].

mod grads;

use std::sync::atomic::{AtomicU64, Ordering};

pub use grads::{ColumnSums, Grads, Target};

use crate::{
    Arena, DType, Device, Error, Gradient, Param, Result, Seed, Tensor, Trainable, Workspace, backend::Slice,
    memory::Scratch, rng::Dropout,
};

/// Where the gradient of a [`Var`] is collected during backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The tape that made it.
    tape: u64,
    index: usize,
    /// Elements of the matrix.
    len: usize,
    /// A gradient is of the type of what it is the gradient of.
    dtype: DType,
}

/// A matrix on the tape. Cloning shares it; dropping the last clone frees the buffer unless a node keeps it.
#[derive(Debug)]
pub struct Var<D: Device> {
    tensor: Tensor<D>,
    /// The same in bfloat16, where whoever made it wrote that too.
    rounded: Option<Tensor<D>>,
    slot: Option<Slot>,
}

impl<D: Device> Var<D> {
    /// Its value.
    pub fn tensor(&self) -> &Tensor<D> {
        &self.tensor
    }

    /// Rows: tokens or sequences.
    pub fn rows(&self) -> usize {
        self.tensor.rows()
    }

    /// Columns: features or classes.
    pub fn cols(&self) -> usize {
        self.tensor.cols()
    }

    /// The elements' type.
    pub fn dtype(&self) -> DType {
        self.tensor.dtype()
    }

    /// The elements, row by row.
    pub fn slice(&self) -> Slice<'_, D> {
        self.tensor.slice()
    }

    /// The elements rounded to bfloat16, where they are there so and `dtype` asks for it; otherwise as they are, of the matrix's
    /// own type.
    pub(crate) fn slice_in(&self, dtype: DType) -> Slice<'_, D> {
        match (&self.rounded, dtype) {
            (Some(rounded), DType::Bf16) => rounded.slice(),
            _ => self.slice(),
        }
    }

    /// The same matrix with its elements in bfloat16 beside them.
    ///
    /// # Panics
    /// When they are not of the matrix's shape, or of another type.
    #[must_use]
    pub(crate) fn with_rounded(self, rounded: Tensor<D>) -> Self {
        assert_eq!((rounded.shape(), rounded.dtype()), (self.tensor.shape(), DType::Bf16), "a matrix, rounded");
        Self { rounded: Some(rounded), ..self }
    }

    /// Where its gradient goes; `None` when nothing it depends on trains.
    pub fn slot(&self) -> Option<Slot> {
        self.slot
    }
}

impl<D: Device> Clone for Var<D> {
    fn clone(&self) -> Self {
        Self { tensor: self.tensor.clone(), rounded: self.rounded.clone(), slot: self.slot }
    }
}

/// The backward half of an op: holds what forward kept, and is consumed, so that what it kept is free as soon as it has run.
pub trait Backward<D: Device>: Send {
    /// The op's name, for errors.
    fn name(&self) -> &'static str;

    /// Turns the gradient of the op's output into gradients of its inputs and parameters.
    ///
    /// # Errors
    /// [`Error::Device`] when a launch failed or memory ran out.
    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()>;
}

struct Node<D: Device> {
    output: Slot,
    op: Box<dyn Backward<D>>,
}

/// One pass through a network. See the module's documentation.
pub struct Tape<'a, D: Device> {
    /// Tells its matrices from those of another.
    id: u64,
    workspace: &'a Workspace<D>,
    arena: &'a Arena<D>,
    /// `None` in inference.
    seed: Option<Seed>,
    nodes: Vec<Node<D>>,
    slots: usize,
    sites: u32,
}

impl<'a, D: Device> Tape<'a, D> {
    /// A pass whose gradient will be asked for; dropout draws from `seed`.
    pub fn train(workspace: &'a Workspace<D>, arena: &'a Arena<D>, seed: Seed) -> Self {
        Self::new(workspace, arena, Some(seed))
    }

    /// A pass that keeps nothing and drops nothing.
    pub fn infer(workspace: &'a Workspace<D>, arena: &'a Arena<D>) -> Self {
        Self::new(workspace, arena, None)
    }

    fn new(workspace: &'a Workspace<D>, arena: &'a Arena<D>, seed: Option<Seed>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        workspace.begin_pass();
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), workspace, arena, seed, nodes: Vec::new(), slots: 0, sites: 0 }
    }

    /// The device it runs on.
    pub fn device(&self) -> &'a D {
        self.workspace.device()
    }

    /// The workspace it borrows buffers from.
    pub fn workspace(&self) -> &'a Workspace<D> {
        self.workspace
    }

    /// A matrix that nothing trained went into.
    pub fn constant(&self, tensor: Tensor<D>) -> Var<D> {
        Var { tensor, rounded: None, slot: None }
    }

    /// A parameter's whole tensor as it stands now.
    pub fn value<'b>(&'b self, param: &'b Param<D>) -> Slice<'b, D> {
        match param {
            Param::Frozen(frozen) => frozen.slice(),
            Param::Trainable(trainable) => self.arena.value(trainable),
        }
    }

    /// The trained part of a parameter: `None` where it is frozen, and in inference.
    pub fn trains<'b>(&self, param: &'b Param<D>) -> Option<&'b Trainable> {
        self.seed.and(param.trainable())
    }

    /// The next dropout site: `None` in inference or when `p` is zero. Sites are numbered in the order of the calls, which
    /// is the order of the network, so that every run of the same network draws the same masks.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `0 <= p < 1`.
    pub fn dropout_site(&mut self, p: f32) -> Result<Option<Dropout>> {
        if !(0.0..1.0).contains(&p) {
            return Err(Error::invalid(
                "dropout",
                format!("the probability is {p}; it must be at least 0 and below 1"),
            ));
        }
        let site = self.sites;
        self.sites += 1;
        Ok(self.seed.and_then(|seed| Dropout::new(seed, site, p)))
    }

    /// What trains.
    pub fn arena(&self) -> &'a Arena<D> {
        self.arena
    }

    /// Whether a gradient will be asked for.
    pub fn is_training(&self) -> bool {
        self.seed.is_some()
    }

    /// Lends a buffer of `len` f32 with unspecified contents.
    ///
    /// # Errors
    /// [`Error::Device`] when the device is out of memory.
    pub fn scratch(&self, len: usize) -> Result<Scratch<D>> {
        self.workspace.scratch(len)
    }

    /// Lends a buffer of `len` elements of a type with unspecified contents.
    ///
    /// # Errors
    /// [`Error::Device`] when the device is out of memory.
    pub fn scratch_of(&self, dtype: DType, len: usize) -> Result<Scratch<D>> {
        self.workspace.scratch_of(dtype, len)
    }

    /// Records an op that has run: its output, and the half that runs backward. To be called only when a gradient of one
    /// of the op's inputs or parameters is needed; otherwise its output is a [`Tape::constant`].
    pub fn record(&mut self, output: Tensor<D>, op: impl Backward<D> + 'static) -> Var<D> {
        let slot = Slot { tape: self.id, index: self.slots, len: output.rows() * output.cols(), dtype: output.dtype() };
        self.slots += 1;
        self.nodes.push(Node { output: slot, op: Box::new(op) });
        Var { tensor: output, rounded: None, slot: Some(slot) }
    }

    /// How many ops backward may visit.
    pub fn recorded(&self) -> usize {
        self.nodes.len()
    }

    /// Adds the gradient of `loss`, a `[1, 1]` matrix, to `gradient`. Visits only ops on a path from something that trains
    /// to the loss, and frees what each kept as it goes.
    ///
    /// # Errors
    /// [`Error::Shape`] when `loss` is no scalar; [`Error::Invalid`] when nothing it depends on trains; what an op's
    /// backward returns, with the op's name.
    pub fn backward(self, loss: &Var<D>, gradient: &mut Gradient<D>) -> Result<()> {
        if loss.tensor.shape() != [1, 1] {
            return Err(Error::shape("backward", "the loss", &[1, 1], &loss.tensor.shape()));
        }
        if loss.dtype() != DType::F32 {
            return Err(Error::invalid("backward", "the loss is not f32"));
        }
        let mut dy = self.scratch(1)?;
        self.device().fill(1.0, dy.as_mut())?;
        self.backward_from(loss, dy, gradient)
    }

    /// As [`Tape::backward`], from any matrix and the gradient of some loss with respect to it.
    ///
    /// # Errors
    /// [`Error::Shape`] when `dy` is not of y's size; [`Error::Invalid`] when it is not of y's type, nothing y
    /// depends on trains, or y or `gradient` belongs to another tape or arena; what an op's backward returns, with the op's name.
    pub fn backward_from(self, y: &Var<D>, dy: Scratch<D>, gradient: &mut Gradient<D>) -> Result<()> {
        if dy.len() != y.rows() * y.cols() {
            return Err(Error::shape("backward", "the gradient", &y.tensor.shape(), &[dy.len()]));
        }
        if dy.dtype() != y.dtype() {
            return Err(Error::invalid("backward", format!("a {:?} gradient of a {:?} matrix", dy.dtype(), y.dtype())));
        }
        let slot = y.slot.ok_or_else(|| Error::invalid("backward", "the loss depends on nothing that trains"))?;
        self.arena.check_gradient(gradient)?;
        if slot.tape != self.id {
            return Err(Error::invalid("backward", "the loss is of another tape"));
        }
        let mut grads = Grads::new(self.workspace, self.arena, gradient, self.id, self.slots);
        grads.add(slot, dy)?;
        for node in self.nodes.into_iter().rev() {
            // A recorded op whose output did not reach the loss has no gradient and is passed over.
            if let Some(dy) = grads.take(node.output) {
                let name = node.op.name();
                node.op.backward(dy, &mut grads).map_err(|error| error.in_backward(name))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
