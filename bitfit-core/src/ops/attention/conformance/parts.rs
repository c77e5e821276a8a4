//! The checks of passes over parts of a batch.

use super::{Case, Values, agree, found, ranges};
use crate::{
    Backend, BatchOffset,
    backend::conformance::support::{assert_same_bits, types},
};

/// In every kernel that draws, at places near the beginning of a batch and far behind it.
pub(super) fn a_part_of_a_batch_draws_the_masks_of_its_sequences<D: Backend>(device: &D) {
    for (dim, keys, reach) in [
        (1, vec![2, 5], None),
        (32, vec![33, 7, 1], None),
        (64, vec![17, 64], None),
        (64, vec![128, 3], None),
        (32, vec![130, 5], None),
        (128, vec![70, 1], None),
        (32, vec![33, 130], Some(8)),
    ] {
        for dtype in types(device) {
            for queries in [None, Some(vec![1; keys.len()])] {
                let case = Case { dtype, heads: 2, dim, keys: keys.clone(), queries, p: 0.25, reach };
                for sequences in [1, 6, (1 << 31) - 4] {
                    let offset = BatchOffset { tokens: 1000, sequences, outputs: 1001 };
                    agree(device, &case, &Values { offset, ..case.values() });
                }
            }
        }
    }
}

/// With sequences whose longest is in both, so that a device uses the same kernel for the part and the whole.
pub(super) fn a_part_of_a_batch_has_the_bits_of_its_rows<D: Backend>(device: &D) {
    for keys in [vec![33, 5, 1, 17, 33], vec![130, 3, 64, 130]] {
        for dtype in types(device) {
            for queries in [None, Some(vec![1; keys.len()])] {
                let case = Case { dtype, heads: 2, dim: 32, keys: keys.clone(), queries, p: 0.25, reach: None };
                let (values, width) = (case.values(), case.width());
                let whole = found(device, &case, &values, 1);
                let [query_rows, key_rows] = case.lengths().map(ranges);
                for parts in [0..2, 2..keys.len()] {
                    let rows = |ranges: &[std::ops::Range<usize>]| ranges[parts.start].start..ranges[parts.end - 1].end;
                    let (queries, keys) = (rows(&query_rows), rows(&key_rows));
                    let cut = |matrix: &[f32], rows: &std::ops::Range<usize>, cols: usize| {
                        matrix[rows.start * cols..rows.end * cols].to_vec()
                    };
                    let offset = BatchOffset { tokens: 1000, sequences: parts.start as u64, outputs: 1001 };
                    let part_values = Values {
                        q: cut(&values.q, &queries, width),
                        kv: cut(&values.kv, &keys, 2 * width),
                        dy: cut(&values.dy, &queries, width),
                        offset,
                    };
                    let part_case = Case {
                        keys: case.keys[parts.clone()].to_vec(),
                        queries: case.queries.as_ref().map(|queries| queries[parts.clone()].to_vec()),
                        ..case
                    };
                    let part = found(device, &part_case, &part_values, 1);
                    let of = [&queries, &queries, &keys, &keys];
                    for (index, what) in ["o", "dq", "dk", "dv"].into_iter().enumerate() {
                        let what = format!("{what} of {}", part_case.what());
                        assert_same_bits(&what, &part[index], &cut(&whole[index], of[index], width));
                    }
                }
            }
        }
    }
}
