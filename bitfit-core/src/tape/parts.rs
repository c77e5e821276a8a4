//! [`Parts`]: the parts of a batch that one pass computes, each with a gradient of its own.

use std::ops::Range;

use crate::{
    Error, Result,
    rng::{BatchOffset, RowsOf},
};

/// Where the parts of a pass begin and end in its matrices. A matrix has rows of one of several kinds, and is
/// recognised by how many there are.
///
/// The gradients of the parts are those of a pass over each: an op sums over the rows of one part at a time
/// ([`Grads::by_part`](super::Grads::by_part)). Products of activations and weights are computed for all rows at once,
/// which is faster for parts of few rows. On a device for which a row's result does not depend on other rows
/// ([`Device::computes_rows_independently`](crate::Device::computes_rows_independently)), the bits are the same however
/// a batch's parts are shared out among passes.
#[derive(Clone, Debug)]
pub struct Parts {
    count: usize,
    /// For each kind of rows, where the first part begins and where each ends.
    bounds: Vec<(RowsOf, Vec<usize>)>,
}

impl Parts {
    /// The parts between places in a batch, of which there is one more than parts: part i is from `places[i]` to
    /// `places[i + 1]`, and the first begins with the pass. `kinds` are those of which the network has matrices.
    ///
    /// # Panics
    /// If the places descend, or there are fewer than two.
    pub fn new(places: &[BatchOffset], kinds: &[RowsOf]) -> Self {
        assert!(places.len() > 1, "{} places of parts", places.len());
        let bounds_of = |&of: &RowsOf| {
            assert!(places.is_sorted_by_key(|place| place.rows(of)), "{of:?} of parts: {places:?}");
            (of, places.iter().map(|place| (place.rows(of) - places[0].rows(of)) as usize).collect())
        };
        Self { count: places.len() - 1, bounds: kinds.iter().map(bounds_of).collect() }
    }

    /// The number of parts.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The rows of each part in a matrix with this many rows.
    ///
    /// # Errors
    /// [`Error::Invalid`] if no kind has as many, or two that differ in their parts do.
    pub(super) fn of(&self, rows: usize) -> Result<Vec<Range<usize>>> {
        if self.count == 1 {
            return Ok(std::iter::once(0..rows).collect());
        }
        let mut found = self.bounds.iter().filter(|(_, bounds)| bounds.last() == Some(&rows));
        let Some((first, bounds)) = found.next() else {
            let counts = self.bounds.iter().map(|(of, bounds)| format!("{} of {of:?}", bounds[self.count]));
            let counts = counts.collect::<Vec<_>>().join(", ");
            let reason = format!("a matrix has {rows} rows, expected those of one kind of the parts: {counts}");
            return Err(Error::invalid("backward", reason));
        };
        if let Some((other, _)) = found.find(|(_, other)| other != bounds) {
            let reason = format!(
                "a matrix of {rows} rows may be one of {first:?} or of {other:?}, of which the parts have different \
                 ones: give the kinds alone that the network has"
            );
            return Err(Error::invalid("backward", reason));
        }
        Ok(bounds.windows(2).map(|pair| pair[0]..pair[1]).collect())
    }
}

#[cfg(test)]
mod tests;
