//! Multi-head scaled dot-product attention over sequences of any length, without padding (Vaswani et al., arXiv
//! 1706.03762, section 3.2.1):
//!
//! ```text
//! s = q · kᵀ / √D        p = softmax(s)        o = (m ∘ p) · v          m: dropout, 0 or 1/(1-p)
//! ```
//!
//! per sequence and head: q `[queries, D]`, k and v `[keys, D]`. The sequences lie one behind the other in `[T, H]`, their
//! bounds in a list of `B + 1` offsets. Queries, keys and values come from one packed projection `[T, 3H]`, or, where only
//! some rows ask (`[CLS]` in the last layer), from a projection of those rows `[Tq, H]` and one of all rows `[T, 2H]`.
//!
//! Backward computes p again from the scores and the row's log-sum-exp L, the way of FlashAttention (Dao et al., arXiv
//! 2205.14135, section 3.1): what is kept is q, k, v and one scalar a row and head, and no matrix of scores ever exists
//! beyond a tile.
//!
//! ```text
//! p = exp(s - L)      dv = (m ∘ p)ᵀ · do      dp = m ∘ (do · vᵀ)      ds = p ∘ (dp - Σⱼ p dp)
//! dq = ds · k / √D    dk = dsᵀ · q / √D
//! ```
//!
//! A bias on k adds the same amount to a whole row of s, so that p does not change: its gradient is zero. Nothing here or
//! above computes it.

mod columns;
mod cpu;
mod form;
pub mod reference;
mod sequences;
mod softmax;

pub use sequences::Sequences;

use crate::{
    Backend, Backward, DType, Device, Dropout, Error, Grads, Result, Scratch, Slice, SliceMut, Slot, Tape, Tensor, Var,
};

/// The device's half of the op.
pub trait Attention: Device {
    /// See the [module](self): o `[Tq, H]`, and per query row and head the log-sum-exp of its scores `[Tq, N]`, where
    /// backward will need it.
    fn attention(
        &self,
        input: &Input<'_, Self>,
        o: SliceMut<'_, Self>,
        log_sums: Option<SliceMut<'_, Self>>,
    ) -> Result<()>;

    /// See the [module](self): writes the gradient of the projections, in their own layout.
    fn attention_backward(
        &self,
        input: &Input<'_, Self>,
        log_sums: Slice<'_, Self>,
        dy: Slice<'_, Self>,
        gradient: Projections<SliceMut<'_, Self>>,
    ) -> Result<()>;
}

/// Where queries, keys and values lie side by side, H columns each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projections<T> {
    /// Query, key, value: `[T, 3H]`.
    Packed(T),
    /// Queries of some rows, keys and values of all.
    Split {
        /// `[Tq, H]`.
        query: T,
        /// Key, value: `[T, 2H]`.
        key_value: T,
    },
}

/// What the op reads.
#[derive(Debug)]
pub struct Input<'a, D: Device> {
    /// The projections.
    pub projections: Projections<Slice<'a, D>>,
    /// Heads, N.
    pub heads: usize,
    /// Columns of a head, D; `H = N · D`.
    pub head_dim: usize,
    /// The bounds of the sequences of queries.
    pub queries: &'a Sequences<D>,
    /// The bounds of the sequences of keys; as many.
    pub keys: &'a Sequences<D>,
    /// Of p; see [`dropout_element`].
    pub dropout: Option<Dropout>,
}

impl<D: Device> Input<'_, D> {
    /// The projections' type.
    pub fn dtype(&self) -> DType {
        match &self.projections {
            Projections::Packed(qkv) => qkv.dtype,
            Projections::Split { query, .. } => query.dtype,
        }
    }

    /// H.
    pub fn width(&self) -> usize {
        self.heads * self.head_dim
    }
}

/// The dropout's number of p's element at a query and key 0 of a sequence and head; the query counts within its sequence.
/// The rows of one matrix p follow each other, each padded to a multiple of 16 keys, so that short ones share a draw. Matrices
/// lie 2³² apart: a larger one would draw what the next one draws.
pub fn dropout_element(sequence: usize, heads: usize, head: usize, query: usize, keys: usize) -> u64 {
    (((sequence * heads + head) as u64) << 32) + (query * keys.next_multiple_of(16)) as u64
}

/// The shape of [`Tape::attention`] beside its inputs.
#[derive(Debug)]
pub struct AttentionArgs<'a, D: Device> {
    /// Heads, N; must divide H.
    pub heads: usize,
    /// The bounds of the sequences of queries.
    pub queries: &'a Sequences<D>,
    /// The bounds of the sequences of keys and values; the same as the queries' for packed projections.
    pub keys: &'a Sequences<D>,
    /// The probability of dropping an element of p.
    pub dropout: f32,
}

impl<D: Backend> Tape<'_, D> {
    /// Attention; see the [module](self). Makes `[Tq, H]`.
    ///
    /// # Errors
    /// [`Error::Shape`] when rows and sequences do not fit; [`Error::Invalid`] when the heads do not divide the columns, for
    /// packed projections whose queries and keys are of different sequences, for projections of different types, for a
    /// dropout probability outside `[0, 1)`, and for dropout in a sequence with more than 2³² scores a head.
    pub fn attention(&mut self, projections: Projections<&Var<D>>, args: &AttentionArgs<'_, D>) -> Result<Var<D>> {
        let width = match projections {
            Projections::Packed(qkv) => qkv.cols() / 3,
            Projections::Split { query, .. } => query.cols(),
        };
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
                    let reason = "packed projections, but the sequences of queries and keys have different bounds";
                    return Err(Error::invalid("attention", reason));
                }
            }
            Projections::Split { query, key_value } => {
                if query.dtype() != key_value.dtype() {
                    return Err(Error::invalid("attention", "the projections are of different types"));
                }
                check("the projection of the queries", query, args.queries.tokens(), width)?;
                check("the projection of the keys", key_value, args.keys.tokens(), 2 * width)?;
            }
        }

        let scores = |i| args.queries.range(i).len() as u64 * args.keys.range(i).len().next_multiple_of(16) as u64;
        if args.dropout > 0.0 && (0..args.keys.count()).any(|i| scores(i) > 1 << 32) {
            return Err(Error::invalid("attention", "dropout in a sequence with more than 2^32 scores a head"));
        }

        let mut node = Node {
            slots: projections.map(|var| var.slot()),
            tensors: projections.map(|var| var.tensor().clone()),
            heads: args.heads,
            head_dim: width / args.heads,
            queries: args.queries.clone(),
            keys: args.keys.clone(),
            dropout: self.dropout_site(args.dropout)?,
            log_sums: None,
        };
        let needs = node.slots.any(Option::is_some);
        let rows = args.queries.tokens();
        let mut o = self.scratch_of(node.input().dtype(), rows * width)?;
        let mut log_sums = needs.then(|| self.scratch(rows * args.heads)).transpose()?;
        self.device().attention(&node.input(), o.as_mut(), log_sums.as_mut().map(Scratch::as_mut))?;
        node.log_sums = log_sums;
        let o = Tensor::new(o, rows, width);
        Ok(if needs { self.record(o, node) } else { self.constant(o) })
    }
}

impl<T> Projections<T> {
    /// The same layout of something else.
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
    dropout: Option<Dropout>,
    log_sums: Option<Scratch<D>>,
}

impl<D: Device> Node<D> {
    /// The type of the projections, and so of o and of all gradients.
    fn input(&self) -> Input<'_, D> {
        Input {
            projections: self.tensors.map(Tensor::slice),
            heads: self.heads,
            head_dim: self.head_dim,
            queries: &self.queries,
            keys: &self.keys,
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
        let log_sums = self.log_sums.as_ref().map(Scratch::as_ref).expect("kept by every recorded attention");
        let output = match &mut gradients {
            Projections::Packed(qkv) => Projections::Packed(qkv.as_mut()),
            Projections::Split { query, key_value } => {
                Projections::Split { query: query.as_mut(), key_value: key_value.as_mut() }
            }
        };
        grads.device().attention_backward(&self.input(), log_sums, dy.as_ref(), output)?;
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

#[cfg(any(test, feature = "suite"))]
pub(crate) mod suite;
#[cfg(test)]
mod tests;
