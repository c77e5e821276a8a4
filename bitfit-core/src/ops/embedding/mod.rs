//! Rows of a table: `y[t] = E[at[t]]`; E `[V, H]`, at `[T]`, y `[T, H]`. Several tables may be summed: BERT's words,
//! positions and token types (Devlin et al., arXiv 1810.04805, figure 2).
//!
//! Backward adds `dE[at[t]] += dy[t]`, for the entries that the table's mask chooses and no others: a table of which ten
//! rows train has a gradient of ten rows. Kept: the list, which is shared. A frozen table keeps nothing and is no node.

mod cpu;
pub mod reference;

use crate::{
    Backend, Backward, Device, Error, Frozen, Grads, Indices, Mask, Param, Result, Scratch, Slice, SliceMut, Tape,
    Tensor, Trained, Var, params::matrix,
};

/// A table `[V, H]` and the rows of it that are asked for, one a token.
#[derive(Debug)]
pub struct Lookup<'a, D: Device> {
    /// The row for each token.
    pub at: &'a D::Indices,
    /// The elements, row-major.
    pub table: Slice<'a, D>,
}

/// The device's half of the op.
pub trait Embedding: Device {
    /// `y[t] = Σ table[at[t]]` over the lookups, of which there is at least one; rows of `cols` elements.
    fn embedding(&self, lookups: &[Lookup<'_, Self>], cols: usize, y: SliceMut<'_, Self>) -> Result<()>;

    /// `dtable += ` the entries that `mask` chooses, in its order, of the gradient of a table of `shape`. Tokens that share
    /// a row are added in their order.
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
    /// The rows of `table` that `at` names; see the [module](self).
    ///
    /// # Errors
    /// [`Error::Invalid`] when `at` names a row that the table has not.
    pub fn embedding(&mut self, at: &Indices<D>, table: &Param<D>) -> Result<Var<D>> {
        let cols = check(at, table.shape())?;
        let mut y = self.scratch(at.len() * cols)?;
        let lookup = Lookup { at: at.data(), table: self.value(table) };
        self.device().embedding(&[lookup], cols, y.as_mut())?;
        let y = Tensor::new(y, at.len(), cols);
        Ok(match self.trains(table).cloned() {
            Some(table) => self.record(y, Node { at: at.clone(), table }),
            None => self.constant(y),
        })
    }

    /// The sum of rows of several frozen tables, a constant; see the [module](self).
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no table, or a list names a row that its table has not; [`Error::Shape`] when the
    /// lists are not of one length or the tables not of one width.
    pub fn embedding_sum(&mut self, lookups: &[(&Indices<D>, &Frozen<D>)]) -> Result<Var<D>> {
        let Some((first, table)) = lookups.first() else {
            return Err(Error::invalid("embedding", "no table to look up"));
        };
        let (tokens, cols) = (first.len(), matrix(table.shape()).1);
        for (at, table) in lookups {
            if check(at, table.shape())? != cols {
                return Err(Error::shape("embedding", "a table", &[matrix(table.shape()).0, cols], table.shape()));
            }
            if at.len() != tokens {
                return Err(Error::shape("embedding", "a list of indices", &[tokens], &[at.len()]));
            }
        }
        let mut y = self.scratch(tokens * cols)?;
        let lookups: Vec<_> =
            lookups.iter().map(|(at, table)| Lookup { at: at.data(), table: table.slice() }).collect();
        self.device().embedding(&lookups, cols, y.as_mut())?;
        Ok(self.constant(Tensor::new(y, tokens, cols)))
    }
}

/// The table's columns, if it has the rows that `at` names.
fn check<D: Device>(at: &Indices<D>, shape: &[usize]) -> Result<usize> {
    let (rows, cols) = matrix(shape);
    if at.bound() > rows {
        let reason = format!("index {} into a table of {rows} rows", at.bound() - 1);
        return Err(Error::invalid("embedding", reason));
    }
    Ok(cols)
}

struct Node<D: Device> {
    at: Indices<D>,
    table: Trained,
}

impl<D: Backend> Backward<D> for Node<D> {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let (rows, cols) = matrix(self.table.shape());
        let device = grads.device();
        let to = grads.masked(&self.table);
        device.embedding_backward(dy.as_ref(), self.at.data(), [rows, cols], self.table.mask(), to)
    }
}

#[cfg(any(test, feature = "suite"))]
pub(crate) mod suite;
#[cfg(test)]
mod tests;
