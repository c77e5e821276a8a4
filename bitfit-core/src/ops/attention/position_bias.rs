//! [`PositionBias`]: a frozen number for each head and distance, added to the scores (Raffel et al., arXiv 1910.10683,
//! section 2.1; MPNet, arXiv 2004.09297).

use crate::{Device, Error, Frozen, HostTensor, Result, backend::Slice};

/// A table `[N, 2R + 1]` of what each head adds to a score by how far the key is behind the query: column `R + d` for a
/// distance of d tokens, and the first and last column for all distances beyond R. Query i of a sequence stands at the
/// position of its key i. Clones share the table.
#[derive(Debug)]
pub struct PositionBias<D: Device> {
    table: Frozen<D>,
}

impl<D: Device> PositionBias<D> {
    /// Copies a table to the device.
    ///
    /// # Errors
    /// [`Error::Shape`] if it is not a matrix of an odd number of columns; [`Error::Device`] if the device is out of
    /// memory.
    pub fn new(device: &D, table: &HostTensor) -> Result<Self> {
        match table.shape() {
            [_, columns] if columns % 2 == 1 => Ok(Self { table: Frozen::new(device, table)? }),
            found => Err(Error::shape("attention", "the position bias", &[0, 1], found)),
        }
    }

    /// N: the number of heads.
    pub fn heads(&self) -> usize {
        self.table.shape()[0]
    }

    /// R: the greatest distance with a column of its own.
    pub fn reach(&self) -> usize {
        self.table.shape()[1] / 2
    }

    /// The table, row-major.
    pub fn table(&self) -> Slice<'_, D> {
        self.table.slice()
    }
}

impl<D: Device> Clone for PositionBias<D> {
    fn clone(&self) -> Self {
        Self { table: self.table.clone() }
    }
}

/// The column of a distance of `key - query` in a table that reaches `reach` far.
pub fn column(query: usize, key: usize, reach: usize) -> usize {
    (key + reach).saturating_sub(query).min(2 * reach)
}
