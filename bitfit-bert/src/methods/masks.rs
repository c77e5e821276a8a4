//! [`Masks`]: which entries of each tensor of an encoder a method trains.

use std::collections::{BTreeMap, HashSet};

use bitfit_core::{Mask, Random};

use super::{BiasKind, Method};
use crate::arch::{Architecture, Module, Part, Role};
use crate::config::ModelConfig;
use crate::{Error, Result};

/// The stream of a seed that chooses what trains.
const STREAM: u32 = 0x6d61_736b;

/// The tensors of an encoder below a head, in the order of the network.
#[derive(Clone, Copy, Debug)]
pub struct EncoderTensors<'a> {
    /// The architecture.
    pub architecture: &'static Architecture,
    /// Its extents.
    pub config: &'a ModelConfig,
    /// Whether the head reads the checkpoint's pooler.
    pub has_pooler: bool,
}

impl<'a> EncoderTensors<'a> {
    /// The roles of the tensors.
    pub fn roles(self) -> impl Iterator<Item = Role> + 'a {
        let pooler = self.architecture.pooler().filter(move |_| self.has_pooler);
        self.architecture.required(self.config).chain(pooler)
    }

    /// The shape of a tensor.
    pub fn shape(self, role: Role) -> Vec<usize> {
        self.architecture.shape(role, self.config)
    }

    /// The matrices over which sparse methods spread: those of the layers, and the pooler.
    fn matrices(self) -> impl Iterator<Item = (Role, [usize; 2])> + 'a {
        let is_matrix = |role: &Role| {
            let is_inside = role.module.is_in_layers() || role.module == Module::Pooler;
            role.part == Part::Weight && is_inside && !role.module.is_norm()
        };
        self.roles().filter(is_matrix).map(move |role| match *self.shape(role) {
            [rows, cols] => (role, [rows, cols]),
            _ => unreachable!("a matrix has two extents"),
        })
    }
}

/// Which entries of each tensor of an encoder train. A tensor that is not named is frozen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Masks(BTreeMap<Role, Mask>);

impl Masks {
    /// The masks of a method.
    ///
    /// # Errors
    /// [`Error::Method`] for a method that asks for more rows, columns or entries than a matrix has;
    /// [`Error::MaskFile`] for a mask file of another model.
    pub fn new(method: &Method, tensors: EncoderTensors<'_>) -> Result<Self> {
        Ok(match method {
            Method::Frozen | Method::Probe | Method::Mask(None) => Self::default(),
            Method::BitFit(biases) => {
                Self::all(tensors, |role| BiasKind::of(role).is_some_and(|kind| biases.contains(kind, role.layer)))
            }
            Method::Full => Self::all(tensors, |_| true),
            Method::LayerNorm => Self::all(tensors, |role| role.module.is_norm()),
            Method::RandomUniform(seed) => random_uniform(tensors, seed.unwrap_or_default())?,
            Method::RandomRowCol(seed) => random_row_col(tensors, seed.unwrap_or_default()),
            Method::Columns(count) => Self::first(tensors, method, *count, |[_, cols]| cols, Mask::Columns)?,
            Method::Rows(count) => Self::first(tensors, method, *count, |[rows, _]| rows, Mask::Rows)?,
            Method::Mask(Some(file)) => file.masks(tensors)?,
            Method::Union(methods) => {
                let mut union = Self::default();
                for method in methods {
                    union.add(Self::new(method, tensors)?, tensors);
                }
                union
            }
        })
    }

    /// Which entries of a tensor train.
    pub fn of(&self, role: Role) -> &Mask {
        self.0.get(&role).unwrap_or(&Mask::None)
    }

    /// Whether nothing trains.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, role: Role, mask: Mask) {
        self.0.insert(role, mask);
    }

    /// The whole tensors of the chosen roles.
    fn all(tensors: EncoderTensors<'_>, chosen: impl Fn(Role) -> bool) -> Self {
        Self(tensors.roles().filter(|&role| chosen(role)).map(|role| (role, Mask::All)).collect())
    }

    /// The first rows or columns of each matrix, of which it has `extent`.
    fn first(
        tensors: EncoderTensors<'_>,
        method: &Method,
        count: usize,
        extent: impl Fn([usize; 2]) -> usize,
        mask: impl Fn(Vec<u32>) -> Mask,
    ) -> Result<Self> {
        if let Some((role, shape)) = tensors.matrices().find(|(_, shape)| extent(*shape) < count) {
            let name = tensors.architecture.parameter_name(role);
            let reason = format!("{name} is of shape {shape:?}: choose at most {}", extent(shape));
            return Err(Error::Method { method: method.to_string(), reason });
        }
        Ok(Self(tensors.matrices().map(|(role, _)| (role, mask((0..count as u32).collect()))).collect()))
    }

    /// Adds what other masks choose.
    fn add(&mut self, other: Self, tensors: EncoderTensors<'_>) {
        for (role, mask) in other.0 {
            let mask = match self.0.remove(&role) {
                None => mask,
                Some(own) => union(own, mask, &tensors.shape(role)),
            };
            self.0.insert(role, mask);
        }
    }
}

/// What either of two masks chooses of a tensor.
fn union(first: Mask, second: Mask, shape: &[usize]) -> Mask {
    let merged = |first: Vec<u32>, second: Vec<u32>| {
        let mut all = [first, second].concat();
        all.sort_unstable();
        all.dedup();
        all
    };
    match (first, second) {
        (Mask::None, mask) | (mask, Mask::None) => mask,
        (Mask::All, _) | (_, Mask::All) => Mask::All,
        (Mask::Rows(first), Mask::Rows(second)) => Mask::Rows(merged(first, second)),
        (Mask::Columns(first), Mask::Columns(second)) => Mask::Columns(merged(first, second)),
        (first, second) => Mask::Elements(merged(first.indices(shape), second.indices(shape))),
    }
}

/// As many entries of the matrices as there are scalars in the biases, without replacement.
fn random_uniform(tensors: EncoderTensors<'_>, seed: u64) -> Result<Masks> {
    let size = |role: Role| tensors.shape(role).iter().product::<usize>();
    let biases: usize = tensors.roles().filter(|&role| BiasKind::of(role).is_some()).map(size).sum();
    let matrices: Vec<(Role, [usize; 2])> = tensors.matrices().collect();
    let all: usize = matrices.iter().map(|(_, [rows, cols])| rows * cols).sum();
    if biases > all || u32::try_from(all).is_err() {
        let reason =
            format!("the matrices have {all} entries, and the biases {biases}: it chooses from at most 2^32 - 1");
        return Err(Error::Method { method: "random-uniform".into(), reason });
    }
    // Floyd's method (Bentley and Floyd, CACM 30:9, 1987): each set of this size is as likely as any other.
    let mut random = Random::new(seed, STREAM);
    let mut chosen = HashSet::with_capacity(biases);
    for last in all - biases..all {
        let drawn = random.below(last as u32 + 1) as usize;
        chosen.insert(if chosen.contains(&drawn) { last } else { drawn });
    }
    let mut chosen: Vec<usize> = chosen.into_iter().collect();
    chosen.sort_unstable();
    let (mut masks, mut first, mut rest) = (Masks::default(), 0, &chosen[..]);
    for (role, [rows, cols]) in matrices {
        let (own, after) = rest.split_at(rest.partition_point(|&entry| entry < first + rows * cols));
        if !own.is_empty() {
            masks.insert(role, Mask::Elements(own.iter().map(|entry| (entry - first) as u32).collect()));
        }
        (first, rest) = (first + rows * cols, after);
    }
    Ok(masks)
}

/// A row or a column of each matrix, and the scale of every LayerNorm.
fn random_row_col(tensors: EncoderTensors<'_>, seed: u64) -> Masks {
    let mut random = Random::new(seed, STREAM);
    let mut masks = Masks::all(tensors, |role| role.module.is_norm() && role.part == Part::Weight);
    for (role, [rows, cols]) in tensors.matrices() {
        let mask = match random.below(2) {
            0 => Mask::Rows(vec![random.below(rows as u32)]),
            _ => Mask::Columns(vec![random.below(cols as u32)]),
        };
        masks.insert(role, mask);
    }
    masks
}
