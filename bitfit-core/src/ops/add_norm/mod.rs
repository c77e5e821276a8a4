//! `y = LN(r + drop(x + b))`: bias, dropout, residual and layer norm after a projection of a post-LN encoder, in one
//! pass.
//!
//! x and the residual r are `[T, H]`; the bias b, γ and β are `[H]`. Each of r, b and dropout is optional; without all
//! three it is layer norm (Ba, Kiros, Hinton: arXiv 1607.06450; the biased variance, as in PyTorch):
//!
//! ```text
//! v = r + m ∘ (x + b)          m: 0 or 1/(1-p), generated again in backward
//! x̂ = (v - mean v) · rstd      rstd = 1 / √(var v + ε)
//! y = γ ∘ x̂ + β
//! ```
//!
//! The bias of the projection belongs to this op, so that one pass of backward computes all gradients of this place:
//!
//! ```text
//! dβ = Σₜ dy        dγ = Σₜ dy ∘ x̂       g = γ ∘ dy
//! dr = rstd · (g - mean g - x̂ · mean(g ∘ x̂))
//! dx = m ∘ dr       db = Σₜ dx
//! ```
//!
//! x may be bfloat16; the sum, its statistics, r and y are f32. If the device's products take bfloat16, y is also
//! written rounded, for the product that follows; the residual stream stays f32. Saved: x̂, in the type of the device's
//! activations, and rstd; and nothing if only β trains.

mod cpu;
pub mod reference;

use crate::{
    Backend, DType, Device, Error, Param, Result, Tape, Tensor, Trainable, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    ops::adamw::not_negative,
    params::{named, of},
    rng::{Dropout, RowsOf},
    tape::{Backward, ColumnSums, Grads, Slot},
};

/// The device's part of the op.
pub trait AddNorm: Device {
    /// Computes y, and what backward needs; see the [module](self).
    fn add_norm(&self, input: Input<'_, Self>, output: Output<'_, Self>) -> Result<()>;

    /// Adds to the column sums, and writes the gradients of the matrices that need one; see the [module](self).
    fn add_norm_backward(&self, input: BackwardInput<'_, Self>, output: BackwardOutput<'_, Self>) -> Result<()>;
}

/// The operands of forward. Matrices are `[T, cols]`, vectors `[cols]`.
#[derive(Debug)]
pub struct Input<'a, D: Device> {
    /// The number of columns, H.
    pub cols: usize,
    /// The input x.
    pub x: Slice<'a, D>,
    /// The bias b of the projection before, added to x.
    pub linear_bias: Option<Slice<'a, D>>,
    /// The residual r, added after dropout.
    pub residual: Option<Slice<'a, D>>,
    /// The scale γ of the layer norm.
    pub gamma: Slice<'a, D>,
    /// The shift β of the layer norm.
    pub beta: Slice<'a, D>,
    /// Dropout of `x + linear_bias`; element `(t, j)` has factor number `t * cols + j`.
    pub dropout: Option<Dropout>,
    /// ε, added to the variance.
    pub eps: f32,
}

/// The results of forward.
#[derive(Debug)]
pub struct Output<'a, D: Device> {
    /// The output y `[T, cols]`.
    pub y: SliceMut<'a, D>,
    /// y rounded to bfloat16, for the product that follows.
    pub rounded: Option<SliceMut<'a, D>>,
    /// What backward reads.
    pub saved: Option<Saved<'a, D>>,
}

/// What forward saves for backward.
#[derive(Debug)]
pub struct Saved<'a, D: Device> {
    /// The normalized matrix x̂ `[T, cols]`.
    pub normalized: SliceMut<'a, D>,
    /// The reciprocal standard deviations rstd `[T]`.
    pub rstd: SliceMut<'a, D>,
}

/// The operands of backward.
#[derive(Debug)]
pub struct BackwardInput<'a, D: Device> {
    /// The number of columns, H.
    pub cols: usize,
    /// The gradient of y, `[T, cols]`.
    pub dy: Slice<'a, D>,
    /// The scale γ.
    pub gamma: Slice<'a, D>,
    /// x̂ and rstd; `None` if only the gradient of β is needed.
    pub saved: Option<(Slice<'a, D>, Slice<'a, D>)>,
    /// The dropout mask of forward.
    pub dropout: Option<Dropout>,
}

/// The results of backward.
pub struct BackwardOutput<'a, D: Device> {
    /// The gradients of β, b and γ, in this order, to add to.
    pub sums: ColumnSums<'a, D, 3>,
    /// The gradient of the residual, if it is needed.
    pub residual: Option<SliceMut<'a, D>>,
    /// The gradient of x, if it is needed.
    pub x: Option<SliceMut<'a, D>>,
}

/// The arguments of [`Tape::add_norm`] other than x.
///
/// ```
/// # use bitfit_core::{Backend, Param, Result, Tape, Var, ops::add_norm::AddNormArgs};
/// # fn layer<D: Backend>(
/// #     tape: &mut Tape<'_, D>, x: &Var<D>, residual: &Var<D>, bias: &Param<D>, [gamma, beta]: [&Param<D>; 2],
/// # ) -> Result<Var<D>> {
/// let args = AddNormArgs::new(gamma, beta).with_residual(residual).with_linear_bias(bias).with_dropout(0.1);
/// tape.add_norm(x, &args)
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct AddNormArgs<'a, D: Device> {
    /// The bias b of the projection before.
    pub linear_bias: Option<&'a Param<D>>,
    /// The residual r.
    pub residual: Option<&'a Var<D>>,
    /// The scale γ of the layer norm.
    pub gamma: &'a Param<D>,
    /// The shift β of the layer norm.
    pub beta: &'a Param<D>,
    /// The probability of dropping an element of `x + b`.
    pub dropout: f32,
    /// What x has rows of, which matters to dropout in a pass over a part of a batch ([`Tape::at`]).
    pub rows: RowsOf,
    /// ε, added to the variance.
    pub eps: f32,
}

impl<'a, D: Device> AddNormArgs<'a, D> {
    /// A layer norm with scale γ and shift β, without residual, linear bias and dropout, and with an ε of 10⁻⁵.
    pub fn new(gamma: &'a Param<D>, beta: &'a Param<D>) -> Self {
        Self { linear_bias: None, residual: None, gamma, beta, dropout: 0.0, rows: RowsOf::Tokens, eps: 1e-5 }
    }

    /// The same with the residual r.
    #[must_use]
    pub fn with_residual(self, residual: &'a Var<D>) -> Self {
        Self { residual: Some(residual), ..self }
    }

    /// The same with the bias b of the projection before.
    #[must_use]
    pub fn with_linear_bias(self, linear_bias: &'a Param<D>) -> Self {
        Self { linear_bias: Some(linear_bias), ..self }
    }

    /// The same with the probability of dropping an element of `x + b`.
    #[must_use]
    pub fn with_dropout(self, dropout: f32) -> Self {
        Self { dropout, ..self }
    }

    /// The same where x has rows of something else than tokens, which matters to dropout in a pass over a part of a
    /// batch.
    #[must_use]
    pub fn with_rows(self, rows: RowsOf) -> Self {
        Self { rows, ..self }
    }

    /// The same with another ε.
    #[must_use]
    pub fn with_eps(self, eps: f32) -> Self {
        Self { eps, ..self }
    }
}

impl<D: Backend> Tape<'_, D> {
    /// `LN(r + drop(x + b))`: x `[T, H]`, the result `[T, H]`; see the [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] if x has no columns, or the residual or a vector does not match x; [`Error::Invalid`] for a
    /// residual that is not f32, for a dropout probability outside `[0, 1)`, and for an ε that is negative or not
    /// finite.
    pub fn add_norm(&mut self, x: &Var<D>, args: &AddNormArgs<'_, D>) -> Result<Var<D>> {
        for var in [Some(x), args.residual].into_iter().flatten() {
            self.check("add_norm", var)?;
        }
        let [rows, cols] = x.tensor().shape();
        if cols == 0 {
            return Err(Error::shape("add_norm", of("the input", args.gamma.name()), &[rows, 1], &[rows, 0]));
        }
        let vectors = [("the linear bias", args.linear_bias), ("gamma", Some(args.gamma)), ("beta", Some(args.beta))];
        for (what, param) in vectors {
            if let Some(param) = param.filter(|param| param.len() != cols) {
                return Err(Error::shape("add_norm", named(what, param.name()), &[cols], param.shape()));
            }
        }
        if let Some(residual) = args.residual.filter(|residual| residual.tensor().shape() != [rows, cols]) {
            let what = of("the residual", args.gamma.name());
            return Err(Error::shape("add_norm", what, &[rows, cols], &residual.tensor().shape()));
        }
        if let Some(residual) = args.residual.filter(|residual| residual.dtype() != DType::F32) {
            let what = of("the residual", args.gamma.name());
            return Err(Error::invalid("add_norm", format!("{what} is {:?}, expected F32", residual.dtype())));
        }
        not_negative("add_norm", "eps", args.eps)?;
        let dropout = self.dropout_site(args.dropout, args.rows, rows, cols as u64)?;

        let residual = args.residual.and_then(Var::slot);
        let trains = |param: Option<&Param<D>>| param.and_then(|param| self.trains(param)).cloned();
        let node = Node {
            x: x.slot(),
            residual,
            shape: [rows, cols],
            vectors: [trains(Some(args.beta)), trains(args.linear_bias), trains(Some(args.gamma))],
            gamma: args.gamma.clone(),
            dropout,
            saved: None,
        };
        let mut y = self.scratch(rows * cols)?;
        let mut saved = match node.needs_saved() {
            true => {
                Some((self.scratch_of(self.device().precision().activation_dtype(), rows * cols)?, self.scratch(rows)?))
            }
            false => None,
        };
        let input = Input {
            cols,
            x: x.slice(),
            linear_bias: args.linear_bias.map(|linear_bias| self.value(linear_bias)).transpose()?,
            residual: args.residual.map(Var::slice),
            gamma: self.value(args.gamma)?,
            beta: self.value(args.beta)?,
            dropout,
            eps: args.eps,
        };
        let mut rounded = match self.device().compute_dtype() {
            DType::F32 => None,
            DType::Bf16 => Some(self.scratch_of(DType::Bf16, rows * cols)?),
        };
        let output = Output {
            y: y.as_mut(),
            rounded: rounded.as_mut().map(Scratch::as_mut),
            saved: saved
                .as_mut()
                .map(|(normalized, rstd)| Saved { normalized: normalized.as_mut(), rstd: rstd.as_mut() }),
        };
        self.device().add_norm(input, output)?;
        let y = Tensor::new(y, rows, cols)?;
        let y = if saved.is_none() && node.vectors[0].is_none() {
            self.constant(y)
        } else {
            self.record(y, Node { saved, ..node })
        };
        Ok(match rounded {
            None => y,
            Some(rounded) => y.with_rounded(Tensor::new(rounded, rows, cols)?),
        })
    }

    /// Layer norm `γ ∘ x̂ + β` of each row of x `[T, H]`; see the [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] if x has no columns, or γ or β does not have H elements; [`Error::Invalid`] for an ε that is
    /// negative or not finite.
    pub fn layer_norm(&mut self, x: &Var<D>, gamma: &Param<D>, beta: &Param<D>, eps: f32) -> Result<Var<D>> {
        let rows = RowsOf::Tokens;
        self.add_norm(x, &AddNormArgs { linear_bias: None, residual: None, gamma, beta, dropout: 0.0, rows, eps })
    }
}

struct Node<D: Device> {
    x: Option<Slot>,
    residual: Option<Slot>,
    shape: [usize; 2],
    /// β, b and γ, if they train.
    vectors: [Option<Trainable>; 3],
    gamma: Param<D>,
    dropout: Option<Dropout>,
    /// x̂ and rstd.
    saved: Option<(Scratch<D>, Scratch<D>)>,
}

impl<D: Device> Node<D> {
    /// Whether a gradient other than that of β is needed: these read x̂.
    fn needs_saved(&self) -> bool {
        self.x.is_some() || self.residual.is_some() || self.vectors[1..].iter().any(Option::is_some)
    }
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "add_norm"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let [rows, cols] = self.shape;
        let fresh = |slot: Option<Slot>| slot.map(|slot| grads.scratch_for(slot, rows * cols)).transpose();
        let (mut dx, mut dr) = (fresh(self.x)?, fresh(self.residual)?);
        let vectors = self.vectors.each_ref().map(Option::as_ref);
        let gamma = grads.value(&self.gamma)?;
        grads.by_part(rows, |grads, rows| {
            let saved = self
                .saved
                .as_ref()
                .map(|(normalized, rstd)| (normalized.as_ref().rows(&rows, cols), rstd.as_ref().rows(&rows, 1)));
            let dropout = self.dropout.map(|dropout| dropout.behind(rows.start));
            let input = BackwardInput { cols, dy: dy.as_ref().rows(&rows, cols), gamma, saved, dropout };
            let [residual, x] = [&mut dr, &mut dx].map(|to| to.as_mut().map(|to| to.as_mut().rows(&rows, cols)));
            grads.column_sums(vectors, |device, sums| {
                device.add_norm_backward(input, BackwardOutput { sums, residual, x })
            })
        })?;
        for (slot, gradient) in [(self.residual, dr), (self.x, dx)] {
            if let Some((slot, gradient)) = slot.zip(gradient) {
                grads.add(slot, gradient)?;
            }
        }
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
