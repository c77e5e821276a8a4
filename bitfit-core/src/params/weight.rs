//! [`Weight`]: the weight of a linear layer in the layout of its products, with or without trainable entries.

use std::{ops::Range, sync::Arc};

use super::{FrozenMatrix, Mask, Trainable};
use crate::{Device, Error, HostTensor, Precision, Result};

/// The `[out, in]` weight of a linear layer, laid out for its products; it may hold the rows of several tensors, such
/// as those of query, key and value.
///
/// Products read a trainable weight in the same layout, and as fast, as a frozen one. [`Arena::update`] brings the
/// layout up to date: whole tensors are written again, and of others the chosen entries alone.
///
/// [`Arena::update`]: super::Arena::update
#[derive(Debug)]
pub enum Weight<D: Device> {
    /// A weight that never changes and has no gradient. Clones share it.
    Frozen(FrozenMatrix<D>),
    /// A weight with trainable entries.
    Trainable(TrainableMatrix),
}

/// A handle to a laid-out weight of an [`Arena`](super::Arena), of which at least one part has trainable entries.
#[derive(Clone, Debug)]
pub struct TrainableMatrix {
    /// The number of its arena.
    pub(super) arena: u64,
    /// Its index among the arena's matrices.
    pub(super) index: usize,
    pub(super) parts: Arc<[MatrixPart]>,
    pub(super) in_features: usize,
    pub(super) precision: Precision,
    /// The names of the tensors.
    pub(super) name: Arc<str>,
}

/// The rows of a weight that come from one tensor.
#[derive(Clone, Debug)]
pub struct MatrixPart {
    /// The rows in the weight.
    pub rows: Range<usize>,
    /// The tensor's handle; `None` if it is frozen.
    pub trainable: Option<Trainable>,
}

/// A tensor `[rows, in]` of which a weight is made; see [`ArenaBuilder::weight_of`](super::ArenaBuilder::weight_of).
#[derive(Clone, Debug)]
pub enum WeightPart {
    /// A new parameter with its name, and the mask that chooses its trainable entries; [`Mask::None`] freezes it.
    New(String, HostTensor, Mask),
    /// A parameter that the builder has registered before and that something else reads too, such as the table of
    /// embeddings to which a decoder is tied.
    Tied(Trainable),
}

impl TrainableMatrix {
    /// The tensors of the weight, in the order of their rows.
    pub fn parts(&self) -> &[MatrixPart] {
        &self.parts
    }

    fn out_features(&self) -> usize {
        self.parts.last().map_or(0, |part| part.rows.end)
    }
}

impl<D: Device> Weight<D> {
    /// The name under which it was registered with an [`ArenaBuilder`](super::ArenaBuilder), of a weight of several
    /// tensors their names with commas between them; `None` without one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Frozen(weight) => weight.name(),
            Self::Trainable(weight) => Some(&weight.name),
        }
    }

    /// The shape `[out, in]`.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Self::Frozen(weight) => [weight.out_features(), weight.in_features()],
            Self::Trainable(weight) => [weight.out_features(), weight.in_features],
        }
    }

    /// The precision of products with the weight.
    pub fn precision(&self) -> Precision {
        match self {
            Self::Frozen(weight) => weight.precision(),
            Self::Trainable(weight) => weight.precision,
        }
    }

    /// Whether any entry is trainable.
    pub fn trains(&self) -> bool {
        matches!(self, Self::Trainable(_))
    }

    /// The tensors with trainable entries, each with its rows in the weight.
    pub fn trainable(&self) -> impl Iterator<Item = (&Range<usize>, &Trainable)> {
        let parts = match self {
            Self::Frozen(_) => &[][..],
            Self::Trainable(weight) => &weight.parts,
        };
        parts.iter().filter_map(|part| Some((&part.rows, part.trainable.as_ref()?)))
    }
}

impl<D: Device> Clone for Weight<D> {
    fn clone(&self) -> Self {
        match self {
            Self::Frozen(weight) => Self::Frozen(weight.clone()),
            Self::Trainable(weight) => Self::Trainable(weight.clone()),
        }
    }
}

impl<D: Device> From<FrozenMatrix<D>> for Weight<D> {
    fn from(weight: FrozenMatrix<D>) -> Self {
        Self::Frozen(weight)
    }
}

/// The rows of each part of a weight, given by its name and shape, and the number of its columns.
///
/// # Errors
/// [`Error::Shape`] if a part is not a matrix, the parts differ in their columns, or there are no rows or columns.
pub(super) fn stack<'a>(
    tensors: impl Iterator<Item = (Option<&'a str>, &'a [usize])>,
) -> Result<(Vec<Range<usize>>, usize)> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut in_features = None;
    for (name, shape) in tensors {
        let refuse = |rows, cols| {
            let what = name.map_or("a part of the weight".into(), |name| format!("the weight {name}"));
            Err(Error::shape("lay out", what, &[rows, cols], shape))
        };
        let [rows, cols] = *shape else {
            return refuse(shape.first().copied().unwrap_or(1), in_features.unwrap_or(1));
        };
        let in_features = *in_features.get_or_insert(cols);
        if in_features != cols {
            return refuse(rows, in_features);
        }
        let first = parts.last().map_or(0, |part| part.end);
        parts.push(first..first + rows);
    }
    let shape = [parts.last().map_or(0, |part| part.end), in_features.unwrap_or(0)];
    if shape.contains(&0) {
        return Err(Error::shape("lay out", "the weight", &[1, 1], &shape));
    }
    Ok((parts, shape[1]))
}

/// A weight of an arena in the layout of its products, and where its parts come from.
#[derive(Debug)]
pub(super) struct LaidOut<D: Device> {
    pub(super) matrix: D::Matrix,
    /// The first row and the index of the arena's entry of each part that has trainable entries.
    pub(super) parts: Vec<(usize, usize)>,
}
