//! What a fine-tuned checkpoint changed of its base, and the method whose task file holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bitfit_core::{Backend, HostTensor, Mask};
use half::{bf16, f16};
use safetensors::Dtype;

use crate::arch::{Part, Role};
use crate::heads::Pooling;
use crate::methods::{BiasKind, BiasSelection, MaskFile, Method};
use crate::model::Base;
use crate::{Checkpoint, Result};

/// A tensor of the encoder that differs from the base's.
#[derive(Clone, Debug)]
pub struct MovedTensor {
    /// The parameter name.
    pub name: String,
    /// The number of its scalars that differ.
    pub moved: usize,
    /// The number of its scalars.
    pub scalars: usize,
    /// The mean absolute difference over all its scalars.
    pub mean_absolute: f64,
    pub(super) role: Role,
}

/// Compares a tensor of a checkpoint with the base's; `None` where it is the same. Where the checkpoint's type is
/// narrower than that of the base, values that differ by the rounding alone are the same.
pub(super) fn compare<D: Backend>(base: &Base<D>, tuned: &Checkpoint, role: Role) -> Result<Option<MovedTensor>> {
    let (own, other) = (base.checkpoint().tensor(role)?, tuned.tensor(role)?);
    let moved = differing(&own, &other, tuned.dtype(role)).count();
    let sum: f64 = own.data().iter().zip(other.data()).map(|(own, other)| f64::from(own - other).abs()).sum();
    base.checkpoint().release(role);
    tuned.release(role);
    let scalars = own.len();
    let name = base.architecture().parameter_name(role);
    Ok((moved > 0).then(|| MovedTensor { name, moved, scalars, mean_absolute: sum / scalars as f64, role }))
}

/// The places of the scalars that differ.
pub(super) fn differing(base: &HostTensor, tuned: &HostTensor, stored: Option<Dtype>) -> impl Iterator<Item = usize> {
    let rounded = move |value: f32| match stored {
        Some(Dtype::F16) => f16::from_f32(value).to_f32(),
        Some(Dtype::BF16) => bf16::from_f32(value).to_f32(),
        _ => value,
    };
    let pairs = base.data().iter().zip(tuned.data()).enumerate();
    pairs.filter(move |(_, (own, other))| rounded(**own).to_bits() != other.to_bits()).map(|(place, _)| place)
}

/// The method that trains everything that moved, and as little else as its form allows: biases, LayerNorms or both,
/// every parameter where most of them moved, and otherwise the rows, columns, elements or whole tensors that did.
pub(super) fn method<D: Backend>(
    base: &Base<D>,
    tuned: &Checkpoint,
    moved: &[MovedTensor],
    pooling: Pooling,
) -> Result<Method> {
    let roles = || moved.iter().map(|tensor| tensor.role);
    let biases: Vec<Role> = roles().filter(|role| role.part == Part::Bias).collect();
    let outside_norms: Vec<Role> = biases.iter().copied().filter(|role| !role.module.is_norm()).collect();
    if moved.is_empty() {
        return Ok(Method::Frozen);
    }
    if biases.len() == moved.len() {
        return Ok(Method::BitFit(selection(base, &biases, pooling)));
    }
    if roles().all(|role| role.part == Part::Bias || role.module.is_norm()) {
        return Ok(match outside_norms.is_empty() {
            true => Method::LayerNorm,
            false => Method::Union(vec![Method::BitFit(selection(base, &outside_norms, pooling)), Method::LayerNorm]),
        });
    }
    let tensors = base.tensors(pooling);
    let all: usize = tensors.roles().map(|role| tensors.shape(role).iter().product::<usize>()).sum();
    if moved.iter().map(|tensor| tensor.moved).sum::<usize>() > all / 2 {
        return Ok(Method::Full);
    }
    let mask = |tensor: &MovedTensor| {
        let (own, other) = (base.checkpoint().tensor(tensor.role)?, tuned.tensor(tensor.role)?);
        let places = differing(&own, &other, tuned.dtype(tensor.role)).map(|place| place as u32);
        Ok((tensor.name.clone(), smallest(places.collect(), own.shape())))
    };
    let masks: BTreeMap<_, _> = moved.iter().map(mask).collect::<Result<_>>()?;
    Ok(Method::Mask(Some(Arc::new(MaskFile::new(tuned.path().into(), masks)))))
}

/// The smallest choice of biases that has all of these.
fn selection<D: Backend>(base: &Base<D>, moved: &[Role], pooling: Pooling) -> BiasSelection {
    let (architecture, config) = (base.architecture(), base.config());
    let is_bias = |role: &Role| BiasKind::of(*role).is_some() && !architecture.is_inert(*role, pooling, config);
    if base.tensors(pooling).roles().filter(is_bias).all(|role| moved.contains(&role)) {
        return BiasSelection::all();
    }
    let named: Vec<(BiasKind, usize)> =
        moved.iter().filter_map(|role| Some((BiasKind::of(*role)?, role.layer))).collect();
    let kinds = BiasSelection::of(named.iter().map(|(kind, _)| *kind));
    let layers: BTreeSet<usize> =
        moved.iter().filter(|role| role.module.is_in_layers()).map(|role| role.layer).collect();
    let (Some(&first), Some(&last)) = (layers.first(), layers.last()) else { return kinds };
    if (first, last) == (0, config.num_hidden_layers - 1) {
        return kinds;
    }
    let in_layers = kinds.clone().in_layers(first..=last);
    // A choice of layers may leave out what is below them.
    if named.iter().all(|&(kind, layer)| in_layers.contains(kind, layer)) { in_layers } else { kinds }
}

/// The mask that takes the fewest numbers in a file for these elements of a tensor.
fn smallest(elements: Vec<u32>, shape: &[usize]) -> Mask {
    let all: usize = shape.iter().product();
    let mut found = (all, Mask::All);
    if let [rows, cols] = *shape {
        let distinct = |place: fn(usize, usize) -> usize| {
            elements.iter().map(|&at| place(at as usize, cols) as u32).collect::<BTreeSet<u32>>()
        };
        let (in_rows, in_cols) = (distinct(|at, cols| at / cols), distinct(|at, cols| at % cols));
        for (size, mask) in [
            (in_rows.len() * (cols + 1), Mask::Rows(in_rows.into_iter().collect())),
            (in_cols.len() * (rows + 1), Mask::Columns(in_cols.into_iter().collect())),
        ] {
            if size < found.0 {
                found = (size, mask);
            }
        }
    }
    if 2 * elements.len() < found.0 { Mask::Elements(elements) } else { found.1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_mask_of_a_tensor_is_found() {
        assert_eq!(smallest(vec![4, 5, 6, 7], &[5, 4]), Mask::Rows(vec![1]));
        assert_eq!(smallest(vec![1, 5, 9, 13, 17], &[5, 4]), Mask::Columns(vec![1]));
        assert_eq!(smallest(vec![0, 6], &[5, 4]), Mask::Elements(vec![0, 6]));
        assert_eq!(smallest((0..20).collect(), &[5, 4]), Mask::All);
        assert_eq!(smallest(vec![3], &[8]), Mask::Elements(vec![3]));
        assert_eq!(smallest(vec![0, 1, 2, 3], &[8]), Mask::All);
    }
}
