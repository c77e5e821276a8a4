//! Embedding lookup: `y[t] = E[at[t]]`; E `[V, H]`, at `[T]`, y `[T, H]`. The rows of several tables can be summed,
//! such as BERT's word, position and token type embeddings (Devlin et al., arXiv 1810.04805, figure 2).
//!
//! Backward computes `dE[at[t]] += dy[t]` for the entries that the table's mask chooses and no others: a table with ten
//! trainable rows has a gradient of ten rows. Saved: the index list, which is shared. The lookup in a frozen table
//! saves nothing and records no node.

mod cpu;
pub mod reference;

use crate::{
    Backend, Device, Error, Indices, Mask, Param, Result, Tape, Tensor, Trainable, Var,
    backend::{Slice, SliceMut},
    memory::Scratch,
    params::{matrix, named, of},
    tape::{Backward, Grads},
};

/// A table `[V, H]` and the index of one of its rows for each token.
#[derive(Debug)]
pub struct Lookup<'a, D: Device> {
    /// The row index of each token.
    pub at: &'a D::Indices,
    /// The elements of the table, row-major.
    pub table: Slice<'a, D>,
}

/// The device's part of the embedding lookup.
pub trait Embedding: Device {
    /// `y[t] = Σ table[at[t]]`, summed over the lookups, of which there is at least one; rows have `cols` elements.
    fn embedding(&self, lookups: &[Lookup<'_, Self>], cols: usize, y: SliceMut<'_, Self>) -> Result<()>;

    /// Adds to `dtable` the entries chosen by `mask`, in the mask's order, of the gradient of a table of `shape`. The
    /// gradients of tokens that share a row are added in the order of the tokens.
    fn embedding_backward(
        &self,
        dy: Slice<'_, Self>,
        at: &Self::Indices,
        shape: [usize; 2],
        mask: &Mask,
        dtable: SliceMut<'_, Self>,
    ) -> Result<()>;
}

impl<D: Backend> Tape<'_, D> {
    /// The rows of `table` `[V, H]` at the indices `at` `[T]`, as a matrix `[T, H]`. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Invalid`] if an index is out of range.
    pub fn embedding(&mut self, at: &Indices<D>, table: &Param<D>) -> Result<Var<D>> {
        self.embedding_sum(&[(at, table)])
    }

    /// The sum over several tables of the rows at the given indices, `[T, H]`. See the [module](self).
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no table or an index is out of range; [`Error::Shape`] if the lists differ in
    /// length or the tables in width.
    pub fn embedding_sum(&mut self, lookups: &[(&Indices<D>, &Param<D>)]) -> Result<Var<D>> {
        let Some((first, table)) = lookups.first() else {
            return Err(Error::invalid("embedding", "no table to look up"));
        };
        let (tokens, cols) = (first.len(), matrix(table.shape()).1);
        for (at, table) in lookups {
            if check(at, table)? != cols {
                let what = named("the table", table.name());
                return Err(Error::shape("embedding", what, &[matrix(table.shape()).0, cols], table.shape()));
            }
            if at.len() != tokens {
                return Err(Error::shape("embedding", of("the list of indices", table.name()), &[tokens], &[at.len()]));
            }
        }
        let mut y = self.scratch(tokens * cols)?;
        let mut tables = Vec::with_capacity(lookups.len());
        for (at, table) in lookups {
            tables.push(Lookup { at: at.data(), table: self.value(table)? });
        }
        self.device().embedding(&tables, cols, y.as_mut())?;
        let y = Tensor::new(y, tokens, cols)?;
        let trainable = |(at, table): &(&Indices<D>, &Param<D>)| Some(((*at).clone(), self.trains(table)?.clone()));
        let tables: Vec<_> = lookups.iter().filter_map(trainable).collect();
        Ok(if tables.is_empty() { self.constant(y) } else { self.record(y, Node { tables }) })
    }
}

/// The number of columns of a table; an error if an index in `at` is out of range.
fn check<D: Device>(at: &Indices<D>, table: &Param<D>) -> Result<usize> {
    let (rows, cols) = matrix(table.shape());
    if at.bound() > rows {
        let (index, table) = (at.bound() - 1, named("the table", table.name()));
        let reason = format!("index {index} is out of range for {table}, which has {rows} rows");
        return Err(Error::invalid("embedding", reason));
    }
    Ok(cols)
}

/// The tables that train, and the rows of them that were read.
struct Node<D: Device> {
    tables: Vec<(Indices<D>, Trainable)>,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let device = grads.device();
        for (at, table) in &self.tables {
            let (rows, cols) = matrix(table.shape());
            device.embedding_backward(dy.as_ref(), at.data(), [rows, cols], table.mask(), grads.masked(table)?)?;
        }
        Ok(())
    }
}

#[cfg(any(test, feature = "conformance"))]
pub(crate) mod conformance;
#[cfg(test)]
mod tests;
