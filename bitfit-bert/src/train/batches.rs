//! The order of the rows, and their split into batches.

use bitfit_core::Random;

use super::{BatchSize, TrainOptions};

/// Streams of the seed; stream 0 draws the head's first weights.
const SUBSET_STREAM: u32 = 1;
const EPOCH_STREAM: u32 = 2;

/// The batches of a run. The same lengths and options give the same batches.
#[derive(Clone, Debug)]
pub struct Batches {
    /// The rows that are trained on, with the number of tokens of each.
    rows: Vec<(usize, usize)>,
    size: BatchSize,
    group_by_length: bool,
    shuffle: bool,
    seed: u64,
}

impl Batches {
    /// The batches of a training set, from the number of tokens of each row.
    pub fn new(lengths: impl IntoIterator<Item = usize>, options: &TrainOptions) -> Self {
        let mut rows: Vec<(usize, usize)> = lengths.into_iter().enumerate().collect();
        if let Some(limit) = options.limit.filter(|&limit| limit < rows.len()) {
            if options.shuffle {
                Random::new(options.seed, SUBSET_STREAM).shuffle(&mut rows);
            }
            rows.truncate(limit);
        }
        let TrainOptions { batch_size: size, group_by_length, shuffle, seed, .. } = *options;
        Self { rows, size, group_by_length, shuffle, seed }
    }

    /// The number of steps in `epochs` epochs. With a batch size in tokens, the number may differ between epochs.
    pub fn steps(&self, epochs: usize) -> usize {
        match self.size {
            BatchSize::Sequences(size) => self.rows.len().div_ceil(size) * epochs,
            BatchSize::Tokens(_) => (1..=epochs).map(|epoch| self.epoch(epoch).len()).sum(),
        }
    }

    /// The number of rows in an epoch.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The numbers of the rows that are trained on.
    pub fn row_numbers(&self) -> Vec<usize> {
        self.rows.iter().map(|&(row, _)| row).collect()
    }

    /// The number of tokens in an epoch.
    pub fn tokens(&self) -> usize {
        self.lengths().sum()
    }

    /// The number of tokens of each row that is trained on.
    pub fn lengths(&self) -> impl Iterator<Item = usize> {
        self.rows.iter().map(|&(_, tokens)| tokens)
    }

    /// Those of a training set's texts that are trained on.
    pub fn of<'a, T>(&self, texts: &'a [T]) -> impl Iterator<Item = &'a T> {
        self.rows.iter().map(|&(row, _)| &texts[row])
    }

    /// The first batch of the first epoch.
    pub fn first(&self) -> Vec<usize> {
        self.epoch(1).swap_remove(0)
    }

    /// The batches of an epoch, counted from 1.
    pub fn epoch(&self, epoch: usize) -> Vec<Vec<usize>> {
        let mut rows = self.rows.clone();
        let mut random = Random::new(self.seed, EPOCH_STREAM + epoch as u32);
        if self.shuffle {
            random.shuffle(&mut rows);
        }
        if self.group_by_length {
            // Stable, so rows of one length stay in the epoch's order.
            rows.sort_by_key(|&(_, tokens)| tokens);
        }
        let mut batches = self.cut(&rows);
        if self.group_by_length && self.shuffle {
            random.shuffle(&mut batches);
        }
        batches
    }

    fn cut(&self, rows: &[(usize, usize)]) -> Vec<Vec<usize>> {
        let numbers = |rows: &[(usize, usize)]| rows.iter().map(|&(row, _)| row).collect();
        match self.size {
            BatchSize::Sequences(size) => rows.chunks(size).map(numbers).collect(),
            BatchSize::Tokens(budget) => {
                let mut left = 0;
                rows.iter().fold(Vec::new(), |mut batches: Vec<Vec<usize>>, &(row, tokens)| {
                    match batches.last_mut().filter(|_| tokens <= left) {
                        Some(batch) => {
                            batch.push(row);
                            left -= tokens;
                        }
                        None => {
                            batches.push(vec![row]);
                            left = budget.saturating_sub(tokens);
                        }
                    }
                    batches
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 37 rows of 1 to 9 tokens.
    fn lengths() -> Vec<usize> {
        (0..37).map(|row| row * 7 % 9 + 1).collect()
    }

    fn rows(batches: &Batches, epoch: usize) -> Vec<usize> {
        batches.epoch(epoch).into_iter().flatten().collect()
    }

    #[test]
    fn every_row_is_seen_once_an_epoch_in_another_order_each_time() {
        for (size, group_by_length) in
            [(BatchSize::Sequences(5), false), (BatchSize::Sequences(5), true), (BatchSize::Tokens(20), false)]
        {
            let options = TrainOptions { batch_size: size, group_by_length, ..TrainOptions::default() };
            let batches = Batches::new(lengths(), &options);
            assert_ne!(rows(&batches, 1), rows(&batches, 2));
            let mut sorted = rows(&batches, 3);
            sorted.sort_unstable();
            assert_eq!(sorted, (0..37).collect::<Vec<_>>());
            let steps: usize = (1..=3).map(|epoch| batches.epoch(epoch).len()).sum();
            assert_eq!(batches.steps(3), steps);
        }
    }

    #[test]
    fn without_shuffling_the_order_is_the_files_and_a_limit_takes_its_first_rows() {
        let batch_size = BatchSize::Sequences(4);
        let options = TrainOptions { shuffle: false, limit: Some(6), batch_size, ..TrainOptions::default() };
        let batches = Batches::new(lengths(), &options);
        assert_eq!(batches.epoch(2), [vec![0, 1, 2, 3], vec![4, 5]]);
    }

    #[test]
    fn a_limit_chooses_the_same_rows_in_every_epoch() {
        let batches = Batches::new(vec![3; 1000], &TrainOptions { limit: Some(20), ..TrainOptions::default() });
        let sorted = |epoch| {
            let mut rows = rows(&batches, epoch);
            rows.sort_unstable();
            rows
        };
        assert_eq!(sorted(1), sorted(2));
        assert_ne!(sorted(1), (0..20).collect::<Vec<_>>());
        assert_eq!((batches.rows(), batches.tokens()), (20, 60));
    }

    #[test]
    fn a_budget_of_tokens_is_kept_but_for_a_row_that_is_longer() {
        let options = TrainOptions { batch_size: BatchSize::Tokens(10), shuffle: false, ..TrainOptions::default() };
        let batches = Batches::new([4, 6, 1, 12, 3, 7, 1], &options);
        assert_eq!(batches.epoch(1), [vec![0, 1], vec![2], vec![3], vec![4, 5], vec![6]]);
    }

    #[test]
    fn grouped_rows_of_a_batch_have_like_lengths() {
        let options =
            TrainOptions { batch_size: BatchSize::Sequences(4), group_by_length: true, ..TrainOptions::default() };
        let all = lengths();
        for batch in Batches::new(all.clone(), &options).epoch(1) {
            let of = |row: &usize| all[*row];
            assert!(batch.iter().map(of).max().unwrap() - batch.iter().map(of).min().unwrap() <= 1);
        }
    }
}
