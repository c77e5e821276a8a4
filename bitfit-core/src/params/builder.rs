//! [`ArenaBuilder`]: registers parameters and lays out weights before an arena is made.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Arena, Entry, Frozen, FrozenMatrix, Mask, MatrixPart, Param, Scope, Trainable, TrainableMatrix, Weight, WeightPart,
    arena::Partial,
    named,
    weight::{LaidOut, stack},
};
use crate::{Device, Error, HostTensor, Precision, Result, backend::SliceMut};

/// Registers parameters; [`ArenaBuilder::build`] then lays the trainable ones out in one buffer.
#[derive(Debug)]
pub struct ArenaBuilder<D: Device> {
    device: D,
    /// The number of the arena, which distinguishes its parameters from those of others.
    id: u64,
    entries: Vec<Entry>,
    tensors: Vec<HostTensor>,
    /// Whether an op reads the whole tensor of an entry, and not only a laid-out weight.
    is_read: Vec<bool>,
    matrices: Vec<LaidOut<D>>,
    /// Every name, of trainable and of frozen tensors.
    names: HashSet<String>,
    /// The names of the frozen tensors, in the order of registration.
    frozen: Vec<String>,
}

impl<D: Device> ArenaBuilder<D> {
    /// A builder of an arena on `device`, with no parameters.
    pub fn new(device: D) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            device,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            entries: Vec::new(),
            tensors: Vec::new(),
            is_read: Vec::new(),
            matrices: Vec::new(),
            names: HashSet::new(),
            frozen: Vec::new(),
        }
    }

    /// The device of the arena.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// A view of the builder that puts `prefix` and a dot before every name, such as those of a layer.
    pub fn scope(&mut self, prefix: impl Into<String>) -> Scope<'_, D> {
        Scope::new(self, prefix.into())
    }

    /// Registers a parameter that ops read as it is, such as a bias, a table of embeddings or the vectors of a
    /// LayerNorm: frozen if the mask is [`Mask::None`], otherwise trainable. For the weight of a linear layer see
    /// [`ArenaBuilder::weight`].
    ///
    /// # Errors
    /// [`Error::Invalid`] if the mask is invalid for the shape or the name is already registered; [`Error::Device`] if
    /// the device is out of memory.
    pub fn add(&mut self, name: impl Into<String>, tensor: HostTensor, mask: Mask) -> Result<Param<D>> {
        if mask == Mask::None {
            let name = name.into();
            let frozen = self.freeze(&tensor)?.named(&name);
            self.register_frozen(name)?;
            Ok(Param::Frozen(frozen))
        } else {
            self.train(name, tensor, mask).map(Param::Trainable)
        }
    }

    /// Copies a frozen tensor to the device, without a name.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is out of memory.
    pub fn freeze(&self, tensor: &HostTensor) -> Result<Frozen<D>> {
        Frozen::new(&self.device, tensor)
    }

    /// Registers a parameter whose trainable entries `mask` chooses.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the mask is invalid for the shape, no entry is trainable, or the name is already
    /// registered.
    pub fn train(&mut self, name: impl Into<String>, tensor: HostTensor, mask: Mask) -> Result<Trainable> {
        self.register(name.into(), tensor, mask, true)
    }

    /// Registers the `[out, in]` weight of a linear layer, and lays it out for products of the device's precision: the
    /// one door for a weight, whatever its mask. It is frozen if the mask is [`Mask::None`].
    ///
    /// # Errors
    /// As for [`ArenaBuilder::weight_of`].
    pub fn weight(&mut self, name: impl Into<String>, tensor: HostTensor, mask: Mask) -> Result<Weight<D>> {
        let precision = self.device.precision();
        self.weight_of(vec![WeightPart::New(name.into(), tensor, mask)], precision)
    }

    /// Lays out the row-wise concatenation of `parts`, each `[out_i, in]`, as a weight for products of the given
    /// precision, or of [`Precision::of_trained_weights`] if something of it trains, and registers those of its tensors
    /// that are new and have trainable entries.
    ///
    /// # Errors
    /// [`Error::Shape`] if a part is not a matrix, the parts differ in their columns, or there are no rows or columns;
    /// [`Error::Invalid`] if a mask is invalid for its shape or a name is already registered; [`Error::Foreign`] if a
    /// tied parameter belongs to another builder; [`Error::Device`] if the device is out of memory.
    pub fn weight_of(&mut self, parts: Vec<WeightPart>, precision: Precision) -> Result<Weight<D>> {
        fn described(part: &WeightPart) -> (&str, &[usize]) {
            match part {
                WeightPart::New(name, tensor, _) => (name, tensor.shape()),
                WeightPart::Tied(trainable) => (trainable.name(), trainable.shape()),
            }
        }
        let (rows, in_features) = stack(parts.iter().map(described).map(|(name, shape)| (Some(name), shape)))?;
        let names: Vec<&str> = parts.iter().map(|part| described(part).0).collect();
        let name: Arc<str> = names.join(", ").into();
        let (mut tensors, mut matrix_parts) = (Vec::new(), Vec::new());
        for (part, rows) in parts.into_iter().zip(rows) {
            let (tensor, trainable) = match part {
                WeightPart::New(name, tensor, Mask::None) => {
                    self.register_frozen(name)?;
                    (tensor, None)
                }
                WeightPart::New(name, tensor, mask) => {
                    (tensor.clone(), Some(self.register(name, tensor, mask, false)?))
                }
                WeightPart::Tied(trainable) => {
                    if trainable.arena != self.id {
                        return Err(Error::foreign(
                            "arena",
                            named("the tied parameter", Some(trainable.name())),
                            "arena",
                        ));
                    }
                    (self.tensors[trainable.entry].clone(), Some(trainable))
                }
            };
            tensors.push(tensor);
            matrix_parts.push(MatrixPart { rows, trainable });
        }
        if matrix_parts.iter().all(|part| part.trainable.is_none()) {
            return Ok(FrozenMatrix::with_precision(&self.device, &tensors, precision)?.named(name).into());
        }
        let precision = precision.of_trained_weights();
        let matrix = self.device.lay_out(&tensors, precision)?;
        let of_entry = |part: &MatrixPart| Some((part.rows.start, part.trainable.as_ref()?.entry));
        self.matrices.push(LaidOut { matrix, parts: matrix_parts.iter().filter_map(of_entry).collect() });
        let index = self.matrices.len() - 1;
        Ok(Weight::Trainable(TrainableMatrix {
            arena: self.id,
            index,
            parts: matrix_parts.into(),
            in_features,
            precision,
            name,
        }))
    }

    fn register(&mut self, name: String, tensor: HostTensor, mask: Mask, is_read: bool) -> Result<Trainable> {
        mask.validate(&name, tensor.shape())?;
        if mask == Mask::None || tensor.data().is_empty() {
            return Err(Error::invalid("arena", format!("{name}: no entry is trainable")));
        }
        self.take_name(&name)?;
        let shape: Arc<[usize]> = tensor.shape().into();
        let mask = Arc::new(mask);
        let offset = self.entries.last().map_or(0, |entry| entry.offset + entry.len);
        let len = mask.count(&shape);
        let (entry, shared) = (self.entries.len(), name.as_str().into());
        self.entries.push(Entry { name, shape: Arc::clone(&shape), mask: Arc::clone(&mask), offset, len });
        self.tensors.push(tensor);
        self.is_read.push(is_read);
        Ok(Trainable { arena: self.id, entry, name: shared, shape, mask })
    }

    fn register_frozen(&mut self, name: String) -> Result<()> {
        self.take_name(&name)?;
        self.frozen.push(name);
        Ok(())
    }

    fn take_name(&mut self, name: &str) -> Result<()> {
        match self.names.insert(name.to_owned()) {
            true => Ok(()),
            false => Err(Error::invalid("arena", format!("{name} is registered twice"))),
        }
    }

    /// Lays the registered parameters out in one buffer.
    ///
    /// # Errors
    /// [`Error::Device`] if the device is out of memory.
    pub fn build(self) -> Result<Arena<D>> {
        let Self { device, id, entries, tensors, is_read, matrices, frozen, .. } = self;
        let len = entries.last().map_or(0, |entry| entry.offset + entry.len);
        let mut values = Vec::with_capacity(len);
        let mut partial = Vec::with_capacity(entries.len());
        for ((entry, tensor), is_read) in entries.iter().zip(tensors).zip(is_read) {
            if *entry.mask == Mask::All {
                values.extend_from_slice(tensor.data());
                partial.push(None);
                continue;
            }
            let indices = entry.mask.indices(&entry.shape);
            values.extend(indices.iter().map(|&index| tensor.data()[index as usize]));
            let working = is_read.then(|| {
                let mut working = device.allocate(tensor.data().len())?;
                device.write(tensor.data(), SliceMut::new(&mut working, 0, tensor.data().len()))?;
                Ok::<_, Error>(working)
            });
            partial.push(Some(Partial { working: working.transpose()?, indices: device.indices(&indices)? }));
        }
        let mut buffer = device.allocate(len)?;
        device.write(&values, SliceMut::new(&mut buffer, 0, len))?;
        Ok(Arena { device, id, entries, frozen, values: buffer, len, partial, matrices })
    }
}
