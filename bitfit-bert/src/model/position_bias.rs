//! MPNet's position bias: from the table by buckets of distances that a checkpoint holds to one by distance.

use bitfit_core::ops::attention::PositionBias;
use bitfit_core::{Backend, HostTensor};

use crate::Result;

/// The distance from which on all are alike to a position bias.
const GREATEST_DISTANCE: usize = 128;

/// The bucket of a distance of `key - query`: the first half of the buckets for keys before the query, the second for
/// those behind it. Half of a direction's are for one distance each, the others for ranges that grow as a power
/// (`MPNetEncoder.relative_position_bucket` of transformers, whose f32 arithmetic decides where a range ends).
fn bucket(distance: i32, buckets: usize) -> usize {
    let buckets = buckets / 2;
    let first = if distance > 0 { buckets } else { 0 };
    let distance = distance.unsigned_abs() as usize;
    let exact = buckets / 2;
    if distance < exact {
        return first + distance;
    }
    let octaves = (GREATEST_DISTANCE as f64 / exact as f64).ln() as f32;
    let range = (distance as f32 / exact as f32).ln() / octaves * (buckets - exact) as f32;
    first + (exact + range as usize).min(buckets - 1)
}

/// A table `[buckets, N]` as a file holds it, as one by distance for attention.
pub(super) fn position_bias<D: Backend>(device: &D, table: &HostTensor) -> Result<PositionBias<D>> {
    let (buckets, heads, data) = (table.shape()[0], table.shape()[1], table.data());
    let reach = GREATEST_DISTANCE as i32;
    let row = |head| (-reach..=reach).map(move |distance| data[bucket(distance, buckets) * heads + head]);
    let by_distance = HostTensor::new([heads, 2 * GREATEST_DISTANCE + 1], (0..heads).flat_map(row).collect())?;
    Ok(PositionBias::new(device, &by_distance)?)
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
