use super::*;

/// Numbers of shards, of which some are no powers of two.
const COUNTS: [usize; 8] = [1, 2, 3, 6, 7, 16, 17, 100];

#[test]
fn shards_are_contiguous_and_have_about_as_many_tokens_each() {
    for count in COUNTS {
        for rows in [0, 1, 5, 16, 40, 200] {
            let tokens: Vec<usize> = (0..rows).map(|row| 2 + row * 31 % 127).collect();
            let shards = cut(tokens.iter().copied(), count);
            assert_eq!((shards.len(), shards[0].start, shards[count - 1].end), (count, 0, rows));
            assert!(shards.windows(2).all(|pair| pair[0].end == pair[1].start), "{shards:?}");
            let (all, most): (usize, usize) = (tokens.iter().sum(), tokens.iter().copied().max().unwrap_or(0));
            for shard in shards {
                let own: usize = tokens[shard].iter().sum();
                let even = all as f64 / count as f64;
                assert!((own as f64 - even).abs() <= most as f64 + 1.0, "{own} of {all} in {count} shards");
            }
        }
    }
    // As many rows as shards, all of one length: a row each.
    assert_eq!(cut([7; 4].into_iter(), 4), [0..1, 1..2, 2..3, 3..4]);
    assert_eq!(cut([0; 3].into_iter(), 2), [0..3, 3..3], "rows without tokens are in one of them");
}

/// Gradients of one value, of which sums in another order round differently.
fn leaves(count: usize) -> Vec<[f32; 1]> {
    (0..count).map(|shard| [if shard % 5 == 0 { 1e8 } else { 1.0 + shard as f32 }]).collect()
}

/// The subtrees of all ranks are those of the tree over all shards, and every one is as large as it can be.
#[test]
fn every_shard_is_of_one_rank_and_the_sum_does_not_depend_on_how_many_there_are() {
    for count in COUNTS {
        let leaves = leaves(count);
        let single = |range: &Range<usize>| {
            let found: Vec<_> = leaves.iter().enumerate().map(|(at, leaf)| (at..at + 1, Some(&leaf[..]))).collect();
            sum_of(range, &found).unwrap()[0]
        };
        for size in 1..=count.min(9) {
            let all: Vec<Range<usize>> =
                (0..size).flat_map(|rank| roots(&(0..count), &own(count, rank, size))).collect();
            assert!(all.iter().zip(&all[1..]).all(|(one, next)| one.end == next.start), "{all:?}");
            assert_eq!((all[0].start, all[all.len() - 1].end), (0, count));
            let sums: Vec<[f32; 1]> = all.iter().map(|root| [single(root)]).collect();
            let found: Vec<_> = all.iter().cloned().zip(sums.iter().map(|sum| Some(&sum[..]))).collect();
            let sum = sum_of(&(0..count), &found).unwrap()[0];
            assert_eq!(sum.to_bits(), single(&(0..count)).to_bits(), "{count} shards, {size} ranks");
        }
    }
    assert_eq!(roots(&(0..16), &own(16, 1, 3)), [5..6, 6..8, 8..10]);
    assert_eq!(roots(&(0..16), &own(16, 0, 2)), vec![0..8; 1]);
}

#[test]
fn the_order_of_the_sum_can_be_seen_in_the_bits() {
    let leaves = leaves(16);
    let in_order = leaves.iter().map(|leaf| leaf[0]).sum::<f32>();
    let found: Vec<_> = leaves.iter().enumerate().map(|(at, leaf)| (at..at + 1, Some(&leaf[..]))).collect();
    assert_ne!(sum_of(&(0..16), &found).unwrap()[0], in_order);
}

#[test]
fn a_shard_that_is_empty_adds_nothing() {
    let (a, b) = ([1.5_f32, -0.0], [2.0, -0.0]);
    let found = [(0..1, None), (1..2, Some(&a[..])), (2..3, None), (3..4, Some(&b[..]))];
    assert_eq!(*sum_of(&(0..4), &found).unwrap(), [3.5, 0.0]);
    assert_eq!(*sum_of(&(0..2), &found).unwrap(), a);
    assert!(sum_of(&(2..3), &found).is_none());
}

#[test]
fn several_ranks_need_as_many_shards() {
    use bitfit_core::Cpu;
    use bitfit_core::optim::{Alone, ThreadRank};

    let of = |shards, size| -> Result<Shards<Cpu>> {
        let ranks: Arc<dyn Collective> = match size {
            1 => Arc::new(Alone),
            _ => Arc::new(ThreadRank::group(size).swap_remove(1)),
        };
        Shards::new(&TrainOptions { shards, ..TrainOptions::default() }, ranks)
    };
    assert!(of(None, 1).is_ok() && of(Some(1), 1).is_ok() && of(Some(3), 3).is_ok());
    let message = |shards, size| of(shards, size).unwrap_err().to_string();
    assert!(message(None, 2).starts_with("the number of logical shards is not set: "));
    assert!(message(Some(2), 3).starts_with("the number of logical shards is 2: "));
}
