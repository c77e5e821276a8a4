//! MPNet's position bias: from the table by buckets of distances that a checkpoint holds to one by distance.

use bitfit_core::{Backend, Indices, Param, Result, Tape, Var};

/// The distance from which on all are alike to a position bias.
pub(crate) const GREATEST_DISTANCE: i32 = 128;

/// The bucket of a distance of `key - query`: the first half of the buckets for keys before the query, the second for
/// those behind it. Half of a direction's are for one distance each, the others for ranges that grow as a power
/// (`MPNetEncoder.relative_position_bucket` of transformers, whose f32 arithmetic decides where a range ends).
fn bucket(distance: i32, buckets: usize) -> u32 {
    let buckets = buckets / 2;
    let first = if distance > 0 { buckets } else { 0 };
    let distance = distance.unsigned_abs() as usize;
    let exact = buckets / 2;
    if distance < exact {
        return (first + distance) as u32;
    }
    let octaves = (GREATEST_DISTANCE as f64 / exact as f64).ln() as f32;
    let range = (distance as f32 / exact as f32).ln() / octaves * (buckets - exact) as f32;
    (first + (exact + range as usize).min(buckets - 1)) as u32
}

/// The bucket of each distance, from the farthest before the query to the farthest behind it.
pub(crate) fn buckets_by_distance(buckets: usize) -> impl Iterator<Item = u32> {
    (-GREATEST_DISTANCE..=GREATEST_DISTANCE).map(move |distance| bucket(distance, buckets))
}

/// A table `[buckets, N]` as a file holds it, and how attention reads it.
#[derive(Clone, Debug)]
pub(super) struct PositionBias<D: Backend> {
    pub(super) table: Param<D>,
    /// The bucket of each distance, from the farthest before the query to the farthest behind it.
    buckets: Indices<D>,
}

impl<D: Backend> PositionBias<D> {
    pub(super) fn new(device: &D, table: Param<D>) -> Result<Self> {
        let distances: Vec<u32> = buckets_by_distance(table.shape()[0]).collect();
        Ok(Self { table, buckets: Indices::new(device, &distances)? })
    }

    /// The table by distance, for attention.
    pub(super) fn by_distance(&self, tape: &mut Tape<'_, D>) -> Result<Var<D>> {
        tape.embedding(&self.buckets, &self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_transformers() {
        // MPNetEncoder.relative_position_bucket for 32 buckets.
        for (distance, expected) in [
            (0, 0),
            (-1, 1),
            (-7, 7),
            (-8, 8),
            (-11, 8),
            (-12, 9),
            (-16, 10),
            (-22, 10),
            (-23, 11),
            (-32, 12),
            (-64, 14),
            (-90, 14),
            (-91, 15),
            (-128, 15),
            (-500, 15),
            (1, 17),
            (8, 24),
            (128, 31),
        ] {
            assert_eq!(bucket(distance, 32), expected, "{distance}");
        }
    }
}
