//! An inverted index list: for each row, the positions in the list at which it occurs.
//!
//! Splitting a scatter-add over threads by the list would let two threads write the same row. Split by rows, each task
//! adds up its own rows in the list's order, and the sums are bit-identical for any number of threads.

/// For each row of a table, the positions at which an index list contains it.
pub(crate) struct Positions {
    /// The positions of row r are `order[starts[r]..starts[r + 1]]`.
    starts: Vec<u32>,
    order: Vec<u32>,
}

impl Positions {
    /// Inverts a list of rows, each below `rows`, by a counting sort.
    pub(crate) fn new(at: &[u32], rows: usize) -> Self {
        let mut starts = vec![0; rows + 1];
        for &row in at {
            starts[row as usize + 1] += 1;
        }
        for row in 0..rows {
            starts[row + 1] += starts[row];
        }
        let mut next = starts.clone();
        let mut order = vec![0; at.len()];
        for (place, &row) in at.iter().enumerate() {
            let next = &mut next[row as usize];
            order[*next as usize] = place as u32;
            *next += 1;
        }
        Self { starts, order }
    }

    /// The positions at which `row` occurs, in increasing order.
    pub(crate) fn of(&self, row: usize) -> impl Iterator<Item = usize> + '_ {
        self.order[self.starts[row] as usize..self.starts[row + 1] as usize].iter().map(|&place| place as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_found_under_its_row_in_order() {
        let positions = Positions::new(&[3, 0, 3, 2, 0, 3], 5);
        let rows: Vec<Vec<usize>> = (0..5).map(|row| positions.of(row).collect()).collect();
        assert_eq!(rows, [vec![1, 4], vec![], vec![3], vec![0, 2, 5], vec![]]);
        assert_eq!(Positions::new(&[], 2).of(1).count(), 0);
    }
}
