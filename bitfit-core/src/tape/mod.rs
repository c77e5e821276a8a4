//! [`Tape`]: runs a network forward and records what backward needs; for authors of ops, [`Backward`] and [`Grads`].

mod grads;
mod parts;
mod var;

use std::sync::atomic::{AtomicU64, Ordering};

pub use grads::{ColumnSums, Grads, Target};
pub use parts::Parts;
pub use var::{Slot, Var};

use crate::{
    Arena, DType, Device, Error, Gradient, Param, Result, Seed, Tensor, Trainable, Workspace,
    backend::Slice,
    memory::Scratch,
    rng::{BatchOffset, Dropout, RowsOf},
};

/// The backward of an op. It holds what forward saved, and is consumed, so that this memory is free as soon as it has
/// run.
pub trait Backward<D: Device>: Send {
    /// The name of the op, for error messages.
    fn name(&self) -> &'static str;

    /// Computes the gradients of the op's inputs and parameters from `dy`, the gradient of its output.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails or is out of memory.
    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()>;
}

struct Node<D: Device> {
    output: Slot,
    op: Box<dyn Backward<D>>,
}

/// One pass through a network: runs the ops forward and records what their backward needs.
///
/// Whether an op is recorded is decided before it runs: only if it reads a trainable parameter, or a matrix that
/// depends on one. Layers below the lowest trainable parameter therefore record no node and hold no buffer, and
/// [`Tape::backward`] does not visit them. In inference nothing is recorded.
///
/// Gradients of parameters are added to the arena's gradient, which the trainer clears before each step. The gradient
/// of a matrix is written by the first op that reaches it and added to by the others.
///
/// The ops are methods of the tape, each defined in its own module under [`crate::ops`]. The crate's documentation has
/// an example.
pub struct Tape<'a, D: Device> {
    /// The number of the tape, which distinguishes its matrices from those of others.
    id: u64,
    workspace: &'a Workspace<D>,
    arena: &'a Arena<D>,
    /// `None` in inference.
    seed: Option<Seed>,
    /// Where the pass stands in its batch.
    offset: BatchOffset,
    nodes: Vec<Node<D>>,
    slots: usize,
    sites: u32,
}

impl<'a, D: Device> Tape<'a, D> {
    /// A training pass: ops are recorded for [`Tape::backward`], and dropout uses `seed`.
    pub fn train(workspace: &'a Workspace<D>, arena: &'a Arena<D>, seed: Seed) -> Self {
        Self::new(workspace, arena, Some(seed))
    }

    /// An inference pass: nothing is recorded, and there is no dropout.
    pub fn infer(workspace: &'a Workspace<D>, arena: &'a Arena<D>) -> Self {
        Self::new(workspace, arena, None)
    }

    fn new(workspace: &'a Workspace<D>, arena: &'a Arena<D>, seed: Option<Seed>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        workspace.begin_pass();
        let (id, offset) = (NEXT.fetch_add(1, Ordering::Relaxed), BatchOffset::default());
        Self { id, workspace, arena, seed, offset, nodes: Vec::new(), slots: 0, sites: 0 }
    }

    /// The pass as one over a part of a batch, which stands there: its dropout masks are those that a pass over the
    /// whole batch draws for these rows. To be called before the first op.
    #[must_use]
    pub fn at(self, offset: BatchOffset) -> Self {
        Self { offset, ..self }
    }

    /// The device that the ops run on.
    pub fn device(&self) -> &'a D {
        self.workspace.device()
    }

    /// The workspace that provides the buffers.
    pub fn workspace(&self) -> &'a Workspace<D> {
        self.workspace
    }

    /// A matrix that depends on no trainable parameter.
    pub fn constant(&self, tensor: Tensor<D>) -> Var<D> {
        Var { tensor, rounded: None, slot: None }
    }

    /// A matrix `[rows, cols]` with a copy of `values`, row-major, that depends on no trainable parameter: the input of
    /// a network.
    ///
    /// # Errors
    /// As for [`Workspace::matrix`].
    pub fn input(&self, rows: usize, cols: usize, values: &[f32]) -> Result<Var<D>> {
        Ok(self.constant(self.workspace.matrix(rows, cols, values)?))
    }

    /// Checks that a matrix is of this tape or depends on no trainable parameter. Every op of this crate does so; an op
    /// of another crate need not, but then learns of the mistake in its backward.
    ///
    /// # Errors
    /// [`Error::Foreign`] if the matrix belongs to another tape.
    pub fn check(&self, op: &'static str, x: &Var<D>) -> Result<()> {
        match x.slot {
            Some(slot) if slot.tape != self.id => {
                Err(Error::foreign(op, format!("a matrix of shape {:?}", x.tensor.shape()), "tape"))
            }
            _ => Ok(()),
        }
    }

    /// The current value of the whole tensor of a parameter.
    ///
    /// # Errors
    /// As for [`Arena::value`].
    pub fn value<'b>(&'b self, param: &'b Param<D>) -> Result<Slice<'b, D>> {
        match param {
            Param::Frozen(frozen) => Ok(frozen.slice()),
            Param::Trainable(trainable) => self.arena.value(trainable),
        }
    }

    /// The handle of a parameter that needs a gradient; `None` if it is frozen, and in inference.
    pub fn trains<'b>(&self, param: &'b Param<D>) -> Option<&'b Trainable> {
        self.seed.and(param.trainable())
    }

    /// The mask of the next dropout site, over `rows` rows of this kind with `row_elements` elements each; `None` in
    /// inference and if `p` is zero. Sites are numbered in the order of the calls, which is that of the network, so
    /// every run of the same network has the same masks.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `0 <= p < 1`, if the number of an element in its batch exceeds 64 bits, and in a step
    /// whose number exceeds 32 bits.
    pub fn dropout_site(&mut self, p: f32, of: RowsOf, rows: usize, row_elements: u64) -> Result<Option<Dropout>> {
        if !(0.0..1.0).contains(&p) {
            return Err(Error::invalid("dropout", format!("the probability is {p}, expected a value in [0, 1)")));
        }
        if let Some(Seed { step, .. }) = self.seed.filter(|seed| p > 0.0 && seed.step > u64::from(u32::MAX)) {
            let reason =
                format!("the step is {step}, expected less than 2^32: go on from 0 with the seed of another run");
            return Err(Error::invalid("dropout", reason));
        }
        let site = self.sites;
        self.sites += 1;
        let Some(dropout) = self.seed.and_then(|seed| Dropout::new(seed, site, p)) else { return Ok(None) };
        let end = (u128::from(self.offset.rows(of)) + rows as u128) * u128::from(row_elements);
        if end > 1 << 64 {
            return Err(Error::invalid("dropout", "the elements of the batch exceed what 64 bits count"));
        }
        Ok(Some(dropout.in_batch(self.offset, of, row_elements)))
    }

    /// The arena of the trainable parameters.
    pub fn arena(&self) -> &'a Arena<D> {
        self.arena
    }

    /// Whether this is a training pass.
    pub fn is_training(&self) -> bool {
        self.seed.is_some()
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

    /// Records an op that has run, with its output and its backward. Call it only if one of the op's inputs or
    /// parameters needs a gradient; otherwise the output is a [`Tape::constant`].
    pub fn record(&mut self, output: Tensor<D>, op: impl Backward<D> + 'static) -> Var<D> {
        let slot = Slot { tape: self.id, index: self.slots, len: output.rows() * output.cols(), dtype: output.dtype() };
        self.slots += 1;
        self.nodes.push(Node { output: slot, op: Box::new(op) });
        Var { tensor: output, rounded: None, slot: Some(slot) }
    }

    /// The number of recorded ops.
    pub fn recorded(&self) -> usize {
        self.nodes.len()
    }

    /// Adds the gradient of `loss`, a `[1, 1]` matrix, to `gradient`. It visits only the ops on paths from trainable
    /// parameters to the loss, and frees what each op saved.
    ///
    /// # Errors
    /// [`Error::Shape`] if `loss` is not `[1, 1]`; [`Error::Invalid`] if it depends on no trainable parameter; the
    /// error of an op's backward, with the name of the op.
    pub fn backward(self, loss: &Var<D>, gradient: &mut Gradient<D>) -> Result<()> {
        self.backward_scaled(loss, 1.0, gradient)
    }

    /// As [`Tape::backward`], of `factor` times the loss: with a factor of the micro-batch's share of the rows, the
    /// gradients of micro-batches add up to that of the whole batch.
    ///
    /// # Errors
    /// As for [`Tape::backward`]; [`Error::Invalid`] if the factor is not finite.
    pub fn backward_scaled(self, loss: &Var<D>, factor: f32, gradient: &mut Gradient<D>) -> Result<()> {
        if !factor.is_finite() {
            return Err(Error::invalid("backward", format!("the factor is {factor}, expected a finite number")));
        }
        let dy = self.gradient_of_loss(loss, factor)?;
        self.backward_from(loss, dy, gradient)
    }

    /// The gradient of `factor` times a loss with respect to the loss.
    fn gradient_of_loss(&self, loss: &Var<D>, factor: f32) -> Result<Scratch<D>> {
        if loss.tensor.shape() != [1, 1] {
            return Err(Error::shape("backward", "the loss", &[1, 1], &loss.tensor.shape()));
        }
        if loss.dtype() != DType::F32 {
            return Err(Error::invalid("backward", "the loss is bfloat16, expected f32"));
        }
        let mut dy = self.scratch(1)?;
        self.device().fill(factor, dy.as_mut())?;
        Ok(dy)
    }

    /// As [`Tape::backward`], for a pass over several parts of a batch: adds the gradient of each part's loss to the
    /// gradient of that part. The loss of a part may depend on the rows of that part alone. A part without a loss adds
    /// zeros to its gradient, or NaN where its forward is not finite.
    ///
    /// Ops outside this crate need [`Grads::by_part`] for it, and of this crate's, the embedding and whatever reads a
    /// parameter as a matrix have no gradient for each part.
    ///
    /// # Errors
    /// As for [`Tape::backward`]; [`Error::Shape`] unless there are as many losses and gradients as parts;
    /// [`Error::Invalid`] if no part has a loss, or a parameter trains for which the op has no gradient for each part.
    pub fn backward_in_parts(
        self,
        parts: &Parts,
        losses: &[Option<Var<D>>],
        gradients: &mut [Gradient<D>],
    ) -> Result<()> {
        for (what, count) in [("the list of losses", losses.len()), ("the list of gradients", gradients.len())] {
            if count != parts.count() {
                return Err(Error::shape("backward", what, &[parts.count()], &[count]));
            }
        }
        let start = |loss| Ok((loss, self.gradient_of_loss(loss, 1.0)?));
        let starts = losses.iter().flatten().map(start).collect::<Result<Vec<_>>>()?;
        if starts.is_empty() {
            return Err(Error::invalid("backward", "no part has a loss"));
        }
        self.run_backward(starts, (Some(parts), gradients))
    }

    /// As [`Tape::backward`], from any matrix `y` and the gradient `dy` of a loss with respect to it.
    ///
    /// # Errors
    /// [`Error::Shape`] if `dy` does not have the size of y; [`Error::Invalid`] if it does not have its element type,
    /// or y depends on no trainable parameter; [`Error::Foreign`] if y or `gradient` belongs to another tape or arena;
    /// the error of an op's backward, with the name of the op.
    pub fn backward_from(self, y: &Var<D>, dy: Scratch<D>, gradient: &mut Gradient<D>) -> Result<()> {
        if dy.len() != y.rows() * y.cols() {
            return Err(Error::shape("backward", "the gradient", &y.tensor.shape(), &[dy.len()]));
        }
        if dy.dtype() != y.dtype() {
            return Err(Error::invalid(
                "backward",
                format!("the gradient is {:?}, expected {:?}", dy.dtype(), y.dtype()),
            ));
        }
        self.run_backward(vec![(y, dy)], (None, std::slice::from_mut(gradient)))
    }

    /// Runs backward from matrices, each with the gradient of a loss with respect to it. The gradients of parameters
    /// are added to the one gradient, or with `parts` to that of the part whose rows they come from.
    fn run_backward(
        self,
        starts: Vec<(&Var<D>, Scratch<D>)>,
        (parts, gradients): (Option<&Parts>, &mut [Gradient<D>]),
    ) -> Result<()> {
        for gradient in gradients.iter() {
            self.arena.check_gradient("backward", gradient)?;
        }
        let mut grads = Grads::new(self.workspace, self.arena, (parts, gradients), self.id, self.slots);
        for (y, dy) in starts {
            let reason =
                "the loss depends on no parameter that trains: the tape is for inference, or an op recorded no node";
            let slot = y.slot.ok_or_else(|| Error::invalid("backward", reason))?;
            if slot.tape != self.id {
                return Err(Error::foreign("backward", "the loss", "tape"));
            }
            grads.add(slot, dy)?;
        }
        for node in self.nodes.into_iter().rev() {
            // An op whose output did not reach the loss has no gradient and is skipped.
            if let Some(dy) = grads.take(node.output)? {
                let name = node.op.name();
                let run = node.op.backward(dy, &mut grads).and_then(|()| grads.finish_op());
                run.map_err(|error| error.in_backward(name))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
