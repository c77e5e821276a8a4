//! [`Mask`]: which entries of a tensor are trainable. The arena, the gradient and the optimizer's moments hold these
//! entries and no others.

use std::collections::HashSet;

use crate::{Error, Result};

/// Which entries of a parameter are trainable.
///
/// A tensor is seen as a matrix: its rows are the first dimension, its columns all others flattened. A vector is one
/// row, whose entries are chosen by `Columns` or `Elements`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mask {
    /// No entry: the parameter is frozen.
    None,
    /// Every entry.
    All,
    /// The entries of these rows, in this order.
    Rows(Vec<u32>),
    /// The entries of these columns, in this order; stored as `[rows, chosen]`.
    Columns(Vec<u32>),
    /// The entries with these flat row-major indices, in this order.
    Elements(Vec<u32>),
}

impl Mask {
    /// The number of trainable entries of a tensor of `shape`.
    pub fn count(&self, shape: &[usize]) -> usize {
        let (rows, cols) = matrix(shape);
        match self {
            Self::None => 0,
            Self::All => rows * cols,
            Self::Rows(chosen) => chosen.len() * cols,
            Self::Columns(chosen) => rows * chosen.len(),
            Self::Elements(chosen) => chosen.len(),
        }
    }

    /// The flat row-major indices of the trainable entries, in the order of the arena. The mask has to be valid for
    /// `shape`; see [`Mask::validate`].
    pub fn indices(&self, shape: &[usize]) -> Vec<u32> {
        let (rows, cols) = matrix(shape);
        match self {
            Self::None => Vec::new(),
            Self::All => (0..(rows * cols) as u32).collect(),
            Self::Rows(chosen) => {
                chosen.iter().flat_map(|&row| (0..cols as u32).map(move |col| row * cols as u32 + col)).collect()
            }
            Self::Columns(chosen) => {
                (0..rows as u32).flat_map(|row| chosen.iter().map(move |&col| row * cols as u32 + col)).collect()
            }
            Self::Elements(chosen) => chosen.clone(),
        }
    }

    /// Checks that the mask is valid for the tensor `name` of `shape`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an index is out of range or occurs twice, if the mask is empty but not [`Mask::None`], or
    /// if the tensor has more elements than 32 bits can index.
    pub fn validate(&self, name: &str, shape: &[usize]) -> Result<()> {
        if *self == Self::None {
            return Ok(());
        }
        let elements = shape.iter().try_fold(1usize, |elements, &len| elements.checked_mul(len));
        if elements.is_none_or(|elements| u32::try_from(elements).is_err()) {
            let reason = format!("{name}: a tensor of shape {shape:?} is too large to train: indices have 32 bits");
            return Err(Error::invalid("mask", reason));
        }
        let (rows, cols) = matrix(shape);
        let (what, chosen, limit) = match self {
            Self::None | Self::All => return Ok(()),
            Self::Rows(chosen) => ("row", chosen, rows),
            Self::Columns(chosen) => ("column", chosen, cols),
            Self::Elements(chosen) => ("element", chosen, rows * cols),
        };
        if chosen.is_empty() {
            return Err(Error::invalid(
                "mask",
                format!("{name}: the mask has no {what}; use Mask::None to freeze the parameter"),
            ));
        }
        if let Some(index) = chosen.iter().find(|&&index| index as usize >= limit) {
            return Err(Error::invalid(
                "mask",
                format!("{name}: {what} {index} is out of range for a tensor of shape {shape:?}"),
            ));
        }
        let mut seen = HashSet::with_capacity(chosen.len());
        match chosen.iter().find(|index| !seen.insert(**index)) {
            Some(index) => Err(Error::invalid("mask", format!("{name}: {what} {index} occurs twice in the mask"))),
            None => Ok(()),
        }
    }
}

/// A shape as a matrix: the first dimension, and the product of all others.
pub(crate) fn matrix(shape: &[usize]) -> (usize, usize) {
    match shape {
        [] => (1, 1),
        [len] => (1, *len),
        [rows, rest @ ..] => (*rows, rest.iter().product()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arena_holds_as_many_entries_as_the_mask_names() {
        for mask in
            [Mask::None, Mask::All, Mask::Rows(vec![2, 0]), Mask::Columns(vec![3, 1]), Mask::Elements(vec![11, 0, 5])]
        {
            assert_eq!(mask.count(&[3, 4]), mask.indices(&[3, 4]).len(), "{mask:?}");
            assert!(mask.validate("w", &[3, 4]).is_ok());
        }
        assert_eq!(Mask::Rows(vec![2, 0]).indices(&[3, 2]), [4, 5, 0, 1]);
        assert_eq!(Mask::Columns(vec![1]).indices(&[3, 2]), [1, 3, 5]);
    }

    #[test]
    fn a_tensor_with_more_than_32_bits_of_indices_can_only_be_frozen() {
        let rows = 1 << 16;
        for mask in [Mask::All, Mask::Rows(vec![1]), Mask::Columns(vec![1]), Mask::Elements(vec![1])] {
            assert!(mask.validate("w", &[rows, rows - 1]).is_ok(), "{mask:?}");
            for shape in [&[rows, rows][..], &[rows, 2, rows], &[usize::MAX, 2]] {
                let error = mask.validate("w", shape).unwrap_err();
                assert!(matches!(error, Error::Invalid { op: "mask", .. }), "{mask:?} {shape:?}: {error}");
            }
        }
        assert!(Mask::None.validate("w", &[rows, rows]).is_ok());
    }

    #[test]
    fn a_mask_outside_the_tensor_or_with_a_double_is_refused_by_name() {
        for (mask, word) in [
            (Mask::Rows(vec![3]), "row 3"),
            (Mask::Columns(vec![1, 1]), "column 1 occurs twice"),
            (Mask::Elements(vec![12]), "element 12"),
            (Mask::Rows(vec![]), "has no row"),
        ] {
            let message = mask.validate("query.weight", &[3, 4]).unwrap_err().to_string();
            assert!(message.contains("query.weight") && message.contains(word), "{message}");
        }
    }
}
