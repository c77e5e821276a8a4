//! Multi-head scaled dot-product attention over sequences of any length, without padding (Vaswani et al., arXiv
//! 1706.03762, section 3.2.1):
//!
//! ```text
//! s = q · kᵀ / √D + b    p = softmax(s)        o = (m ∘ p) · v          m: dropout, 0 or 1/(1-p)
//! ```
//!
//! per sequence and head, b a [`PositionBias`] where there is one: q `[queries, D]`, k and v `[keys, D]`. The
//! sequences are concatenated in `[T, H]`, with their bounds in a list of `B + 1` offsets. Queries, keys and values
//! come from one packed projection `[T, 3H]`; or, if only some rows have queries (`[CLS]` in the last layer), from a
//! projection of those rows `[Tq, H]` and one of all rows `[T, 2H]`.
//!
//! Backward recomputes p from the scores and the row's log-sum-exp L, as in FlashAttention (Dao et al., arXiv
//! 2205.14135, section 3.1): only q, k, v and one scalar per row and head are saved, and no matrix of scores larger
//! than a tile exists.
//!
//! ```text
//! p = exp(s - L)      dv = (m ∘ p)ᵀ · do      dp = m ∘ (do · vᵀ)      ds = p ∘ (dp - Σⱼ p dp)
//! dq = ds · k / √D    dk = dsᵀ · q / √D    db = ds
//! ```
//!
//! A bias on k adds the same amount to a whole row of s, with a position bias too, so that p does not change and the
//! gradient of the bias is zero. It is never computed.

mod columns;
mod cpu;
mod operands;
mod position_bias;
pub mod reference;
mod sequences;
mod softmax;

pub use position_bias::{PositionBias, row as position_bias_row};
pub use sequences::Sequences;

use crate::{
    Backend, DType, Device, Error, Result, Tape, Tensor, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    rng::{Dropout, RowsOf},
    tape::{Backward, Grads, Slot},
};

/// The device's part of attention.
pub trait Attention: Device {
    /// Writes o `[Tq, H]`, and to `lse` `[Tq, N]`, if given, the log-sum-exp of the scores of each query and head. See
    /// the [module](self).
    fn attention(&self, input: &Input<'_, Self>, o: SliceMut<'_, Self>, lse: Option<SliceMut<'_, Self>>) -> Result<()>;

    /// Writes the gradient of the projections, in the layout of the projections, and that of the position bias, if it
    /// is asked for. See the [module](self).
    fn attention_backward(
        &self,
        input: &Input<'_, Self>,
        lse: Slice<'_, Self>,
        dy: Slice<'_, Self>,
        gradient: Projections<SliceMut<'_, Self>>,
        bias_gradient: Option<SliceMut<'_, Self>>,
    ) -> Result<()>;
}

/// The layout of queries, keys and values, H columns each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projections<T> {
    /// Query, key and value side by side: `[T, 3H]`.
    Packed(T),
    /// The queries of some rows, and the keys and values of all.
    Split {
        /// The queries `[Tq, H]`.
        query: T,
        /// Key and value side by side: `[T, 2H]`.
        key_value: T,
    },
}

/// The operands of attention.
#[derive(Debug)]
pub struct Input<'a, D: Device> {
    /// The projections to queries, keys and values.
    pub projections: Projections<Slice<'a, D>>,
    /// The number of heads, N.
    pub heads: usize,
    /// The number of columns of a head, D; `H = N · D`.
    pub head_dim: usize,
    /// The bounds of the sequences of queries.
    pub queries: &'a Sequences<D>,
    /// The bounds of the sequences of keys; as many sequences as of queries.
    pub keys: &'a Sequences<D>,
    /// What is added to the scores by the distance of key and query.
    pub position_bias: Option<PositionBias<'a, D>>,
    /// Dropout of p, its elements numbered by [`dropout_element`].
    pub dropout: Option<Dropout>,
}

impl<D: Device> Input<'_, D> {
    /// The element type of the projections.
    pub fn dtype(&self) -> DType {
        match &self.projections {
            Projections::Packed(qkv) => qkv.dtype,
            Projections::Split { query, .. } => query.dtype,
        }
    }

    /// The number of columns of all heads together, H.
    pub fn width(&self) -> usize {
        self.heads * self.head_dim
    }
}

/// The number, in the dropout mask, of p's element at `query` and key 0; `query` counts within its sequence, and the
/// sequences from the first of the pass.
///
/// The rows of a matrix p are consecutive, each padded to a multiple of 16 keys, so that short rows share a block of
/// the generator. The matrices of two heads are 2³² elements apart; a larger matrix would overlap the next one.
pub fn dropout_element(sequence: usize, heads: usize, head: usize, query: usize, keys: usize) -> u64 {
    sequence as u64 * sequence_elements(heads) + ((head as u64) << 32) + (query * keys.next_multiple_of(16)) as u64
}

/// The number of elements that the dropout mask has for a sequence of this many heads.
pub fn sequence_elements(heads: usize) -> u64 {
    (heads as u64) << 32
}

/// The parameters of [`Tape::attention`] other than the projections.
#[derive(Debug)]
#[non_exhaustive]
pub struct AttentionArgs<'a, D: Device> {
    /// The number of heads, N; must divide H.
    pub heads: usize,
    /// The bounds of the sequences of queries. A sequence may have none: then its keys and values have a gradient of
    /// zero.
    pub queries: &'a Sequences<D>,
    /// The bounds of the sequences of keys and values; equal to those of the queries for packed projections.
    pub keys: &'a Sequences<D>,
    /// The table of a [`PositionBias`] in f32, `[2R + 1, N]`; `None` for nothing.
    pub position_bias: Option<&'a Var<D>>,
    /// The probability of dropping an element of p.
    pub dropout: f32,
}

impl<'a, D: Device> AttentionArgs<'a, D> {
    /// Attention of `heads` heads within `sequences`, without a position bias and without dropout.
    pub fn new(heads: usize, sequences: &'a Sequences<D>) -> Self {
        Self { heads, queries: sequences, keys: sequences, position_bias: None, dropout: 0.0 }
    }

    /// The same with other bounds of the sequences of queries, for [`Projections::Split`].
    #[must_use]
    pub fn with_queries(self, queries: &'a Sequences<D>) -> Self {
        Self { queries, ..self }
    }

    /// The same with a table of what the distance of key and query adds to the scores.
    #[must_use]
    pub fn with_position_bias(self, position_bias: &'a Var<D>) -> Self {
        Self { position_bias: Some(position_bias), ..self }
    }

    /// The same with the probability of dropping an element of p.
    #[must_use]
    pub fn with_dropout(self, dropout: f32) -> Self {
        Self { dropout, ..self }
    }
}

impl<D: Backend> Tape<'_, D> {
    /// Multi-head attention over packed sequences; the result is `[Tq, H]`. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Shape`] if the rows do not match the sequences; [`Error::Invalid`] if the heads do not divide the
    /// columns, the queries and keys of packed projections have different bounds, the projections have different
    /// element types, the dropout probability is outside `[0, 1)`, or there is dropout and a sequence has more than 2³²
    /// scores per head.
    pub fn attention(&mut self, projections: Projections<&Var<D>>, args: &AttentionArgs<'_, D>) -> Result<Var<D>> {
        let width = match projections {
            Projections::Packed(qkv) => qkv.cols() / 3,
            Projections::Split { query, .. } => query.cols(),
        };
        let vars = match projections {
            Projections::Packed(qkv) => [Some(qkv), None],
            Projections::Split { query, key_value } => [Some(query), Some(key_value)],
        };
        for var in vars.into_iter().chain([args.position_bias]).flatten() {
            self.check("attention", var)?;
        }
        let check = |what: &str, var: &Var<D>, rows: usize, cols: usize| match var.tensor().shape() {
            found if found == [rows, cols] => Ok(()),
            found => Err(Error::shape("attention", what, &[rows, cols], &found)),
        };
        if args.heads == 0 || !width.is_multiple_of(args.heads) || width == 0 {
            return Err(Error::invalid("attention", format!("{} heads do not divide {width} columns", args.heads)));
        }
        if args.queries.count() != args.keys.count() {
            return Err(Error::shape(
                "attention",
                "the sequences of keys",
                &[args.queries.count()],
                &[args.keys.count()],
            ));
        }
        match projections {
            Projections::Packed(qkv) => {
                check("the projection of the queries", qkv, args.queries.tokens(), 3 * width)?;
                if args.queries.host() != args.keys.host() {
                    let reason = "queries and keys of packed projections have different sequence bounds";
                    return Err(Error::invalid("attention", reason));
                }
            }
            Projections::Split { query, key_value } => {
                if query.dtype() != key_value.dtype() {
                    return Err(Error::invalid("attention", "the projections have different element types"));
                }
                check("the projection of the queries", query, args.queries.tokens(), width)?;
                check("the projection of the keys", key_value, args.keys.tokens(), 2 * width)?;
            }
        }

        args.position_bias.map(|table| PositionBias::new(table, args.heads)).transpose()?;
        let scores = |i| args.queries.range(i).len() as u64 * args.keys.range(i).len().next_multiple_of(16) as u64;
        if args.dropout > 0.0 && (0..args.keys.count()).any(|i| scores(i) > 1 << 32) {
            return Err(Error::invalid("attention", "dropout in a sequence with more than 2^32 scores per head"));
        }

        let mut node = Node {
            slots: projections.map(|var| var.slot()),
            tensors: projections.map(|var| var.tensor().clone()),
            heads: args.heads,
            head_dim: width / args.heads,
            queries: args.queries.clone(),
            keys: args.keys.clone(),
            position_bias: args.position_bias.map(|table| (table.slot(), table.tensor().clone())),
            dropout: self.dropout_site(
                args.dropout,
                RowsOf::Sequences,
                args.keys.count(),
                sequence_elements(args.heads),
            )?,
            lse: None,
        };
        let needs = node.slots.any(Option::is_some) || args.position_bias.is_some_and(|table| table.slot().is_some());
        let rows = args.queries.tokens();
        let mut o = self.scratch_of(node.input().dtype(), rows * width)?;
        let mut lse = needs.then(|| self.scratch(rows * args.heads)).transpose()?;
        self.device().attention(&node.input(), o.as_mut(), lse.as_mut().map(Scratch::as_mut))?;
        node.lse = lse;
        let o = Tensor::new(o, rows, width)?;
        Ok(if needs { self.record(o, node) } else { self.constant(o) })
    }
}

impl<T> Projections<T> {
    /// Applies `f` to each part, keeping the layout.
    pub fn map<'a, U>(&'a self, mut f: impl FnMut(&'a T) -> U) -> Projections<U> {
        match self {
            Self::Packed(qkv) => Projections::Packed(f(qkv)),
            Self::Split { query, key_value } => Projections::Split { query: f(query), key_value: f(key_value) },
        }
    }

    fn any(&self, f: impl Fn(&T) -> bool) -> bool {
        match self {
            Self::Packed(qkv) => f(qkv),
            Self::Split { query, key_value } => f(query) || f(key_value),
        }
    }
}

struct Node<D: Device> {
    slots: Projections<Option<Slot>>,
    tensors: Projections<Tensor<D>>,
    heads: usize,
    head_dim: usize,
    queries: Sequences<D>,
    keys: Sequences<D>,
    position_bias: Option<(Option<Slot>, Tensor<D>)>,
    dropout: Option<Dropout>,
    lse: Option<Scratch<D>>,
}

impl<D: Device> Node<D> {
    /// The operands, as the device takes them.
    fn input(&self) -> Input<'_, D> {
        Input {
            projections: self.tensors.map(Tensor::slice),
            heads: self.heads,
            head_dim: self.head_dim,
            queries: &self.queries,
            keys: &self.keys,
            position_bias: self
                .position_bias
                .as_ref()
                .map(|(_, table)| PositionBias { table: table.slice(), heads: self.heads }),
            dropout: self.dropout,
        }
    }
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let fresh = |tensor: &Tensor<D>| grads.scratch_of(tensor.dtype(), tensor.rows() * tensor.cols());
        let mut gradients = match &self.tensors {
            Projections::Packed(qkv) => Projections::Packed(fresh(qkv)?),
            Projections::Split { query, key_value } => {
                Projections::Split { query: fresh(query)?, key_value: fresh(key_value)? }
            }
        };
        let lse = self.lse.as_ref().map(Scratch::as_ref).expect("every recorded attention saves its log-sum-exps");
        let output = match &mut gradients {
            Projections::Packed(qkv) => Projections::Packed(qkv.as_mut()),
            Projections::Split { query, key_value } => {
                Projections::Split { query: query.as_mut(), key_value: key_value.as_mut() }
            }
        };
        let trained = self.position_bias.as_ref().and_then(|(slot, table)| Some(((*slot)?, table)));
        let mut bias = trained.map(|(_, table)| grads.scratch(table.rows() * table.cols())).transpose()?;
        let bias_output = bias.as_mut().map(Scratch::as_mut);
        grads.device().attention_backward(&self.input(), lse, dy.as_ref(), output, bias_output)?;
        if let (Some((slot, _)), Some(gradient)) = (trained, bias) {
            grads.add(slot, gradient)?;
        }
        let mut add = |slot: Option<Slot>, gradient| slot.map_or(Ok(()), |slot| grads.add(slot, gradient));
        match (self.slots, gradients) {
            (Projections::Packed(slot), Projections::Packed(gradient)) => add(slot, gradient),
            (Projections::Split { query, key_value }, Projections::Split { query: dq, key_value: dkv }) => {
                add(query, dq)?;
                add(key_value, dkv)
            }
            _ => unreachable!("slots and gradients are laid out as the projections are"),
        }
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
