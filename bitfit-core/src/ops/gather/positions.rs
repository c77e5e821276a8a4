//! An index list turned round: for each row, the places in the list that name it.
//!
//! Adding to rows in the list's order can be split over threads only by the list, where two threads may meet in one row. By
//! the rows it can be split freely: each task adds up its own rows, in the list's order, and the sums have the same bits
//! for any number of threads.

/// For each row of a table, where an index list names it.
pub(crate) struct Positions {
    /// Row r owns `order[starts[r]..starts[r + 1]]`.
    starts: Vec<u32>,
    order: Vec<u32>,
}

impl Positions {
    /// Turns round a list of rows, each below `rows`: a counting sort.
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

    /// The places that name `row`, in the list's order.
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
