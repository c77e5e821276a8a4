//! A part of the runs of a grid that is chosen before anything is made.

use std::fmt;

/// The runs whose place among all, divided by the number of shards, leaves one remainder: with the seeds as the
/// innermost loop of a grid, each shard has some of every method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which of the shards it is, from 1.
    pub index: usize,
    /// The number of shards.
    pub of: usize,
}

impl Shard {
    /// All runs.
    pub const ALL: Self = Self { index: 1, of: 1 };

    /// The places of its runs among so many.
    pub fn places(self, runs: usize) -> Vec<usize> {
        (self.index.saturating_sub(1)..runs).step_by(self.of.max(1)).collect()
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_have_every_run_once() {
        let shard = |index, of| Shard { index, of }.places(7);
        assert_eq!((shard(1, 3), shard(2, 3), shard(3, 3)), (vec![0, 3, 6], vec![1, 4], vec![2, 5]));
        assert_eq!(Shard::ALL.places(3), [0, 1, 2]);
        assert!(shard(9, 9).is_empty());
    }
}
