//! Which rows make up which batch.

use bitfit_core::Random;

use super::TrainOptions;

/// Streams of the seed: 0 draws the head's first weights.
const SUBSET_STREAM: u32 = 1;
const EPOCH_STREAM: u32 = 2;

/// The batches of a run. The same options give the same batches.
#[derive(Clone, Debug)]
pub struct Batches {
    /// The rows that are trained on.
    rows: Vec<usize>,
    batch_size: usize,
    shuffle: bool,
    seed: u64,
}

impl Batches {
    /// The batches of `rows` rows.
    pub fn new(rows: usize, options: &TrainOptions) -> Self {
        let mut all: Vec<usize> = (0..rows).collect();
        if let Some(limit) = options.limit.filter(|&limit| limit < rows) {
            if options.shuffle {
                Random::new(options.seed, SUBSET_STREAM).shuffle(&mut all);
            }
            all.truncate(limit);
        }
        Self { rows: all, batch_size: options.batch_size, shuffle: options.shuffle, seed: options.seed }
    }

    /// Steps of an epoch.
    pub fn per_epoch(&self) -> usize {
        self.rows.len().div_ceil(self.batch_size)
    }

    /// Rows of an epoch.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The first batch of the first epoch.
    pub fn first(&self) -> Vec<usize> {
        self.epoch(1).next().unwrap_or_default()
    }

    /// The batches of an epoch, counted from 1.
    pub fn epoch(&self, epoch: usize) -> impl Iterator<Item = Vec<usize>> + use<> {
        let mut rows = self.rows.clone();
        if self.shuffle {
            Random::new(self.seed, EPOCH_STREAM + epoch as u32).shuffle(&mut rows);
        }
        let size = self.batch_size;
        (0..rows.len()).step_by(size).map(move |first| rows[first..rows.len().min(first + size)].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(batches: &Batches, epoch: usize) -> Vec<usize> {
        batches.epoch(epoch).flatten().collect()
    }

    #[test]
    fn every_row_is_seen_once_an_epoch_in_another_order_each_time() {
        let batches = Batches::new(37, &TrainOptions { batch_size: 5, ..TrainOptions::default() });
        assert_eq!((batches.per_epoch(), batches.epoch(1).count()), (8, 8));
        assert_ne!(rows(&batches, 1), rows(&batches, 2));
        let mut sorted = rows(&batches, 3);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..37).collect::<Vec<_>>());
    }

    #[test]
    fn without_shuffling_the_order_is_the_files_and_a_limit_takes_its_first_rows() {
        let options = TrainOptions { shuffle: false, limit: Some(6), batch_size: 4, ..TrainOptions::default() };
        let batches = Batches::new(10, &options);
        assert_eq!(batches.epoch(2).collect::<Vec<_>>(), [vec![0, 1, 2, 3], vec![4, 5]]);
    }

    #[test]
    fn a_limit_chooses_the_same_rows_in_every_epoch() {
        let batches = Batches::new(1000, &TrainOptions { limit: Some(20), ..TrainOptions::default() });
        let sorted = |epoch| {
            let mut rows = rows(&batches, epoch);
            rows.sort_unstable();
            rows
        };
        assert_eq!(sorted(1), sorted(2));
        assert_ne!(sorted(1), (0..20).collect::<Vec<_>>());
    }
}
