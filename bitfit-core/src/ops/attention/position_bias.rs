//! [`PositionBias`]: a number for each head and distance, added to the scores (Raffel et al., arXiv 1910.10683, section
//! 2.1; MPNet, arXiv 2004.09297).

use crate::{DType, Device, Error, Result, Var, backend::Slice};

/// A table `[2R + 1, N]` of what each head adds to a score by how far the key is behind the query: row `R + d` for a
/// distance of d tokens, and the first and last row for all distances beyond R. Query i of a sequence stands at the
/// position of its key i.
#[derive(Debug)]
pub struct PositionBias<'a, D: Device> {
    /// The table, row-major, in f32.
    pub table: Slice<'a, D>,
    /// N: the number of heads.
    pub heads: usize,
}

impl<'a, D: Device> PositionBias<'a, D> {
    /// The table that a variable holds, for so many heads.
    pub(super) fn new(table: &'a Var<D>, heads: usize) -> Result<Self> {
        let [rows, columns] = table.tensor().shape();
        if columns != heads || rows % 2 == 0 {
            return Err(Error::shape("attention", "the position bias", &[rows / 2 * 2 + 1, heads], &[rows, columns]));
        }
        if table.dtype() != DType::F32 {
            return Err(Error::invalid("attention", "the position bias is not f32"));
        }
        Ok(Self { table: table.tensor().slice(), heads })
    }

    /// The number of rows of the table, `2R + 1`.
    pub fn rows(&self) -> usize {
        self.table.len / self.heads
    }

    /// R: the greatest distance with a row of its own.
    pub fn reach(&self) -> usize {
        self.rows() / 2
    }
}

impl<D: Device> Clone for PositionBias<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Device> Copy for PositionBias<'_, D> {}

/// The row of a distance of `key - query` in a table that reaches `reach` far.
pub fn row(query: usize, key: usize, reach: usize) -> usize {
    (key + reach).saturating_sub(query).min(2 * reach)
}
