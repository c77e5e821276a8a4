//! Memory for the matrices of benches with the alignment of the engine's buffers.

/// Values that start at a cache line, like those of the engine's buffers.
pub struct Aligned<T> {
    memory: Vec<T>,
    len: usize,
}

impl<T: Copy> Aligned<T> {
    /// Collects the values of an iterator, which must not be empty.
    pub fn new(values: impl Iterator<Item = T> + Clone) -> Self {
        let len = values.clone().count();
        let first = values.clone().next().expect("a matrix has elements");
        let mut aligned = Self { memory: vec![first; len + 64], len };
        aligned.values().iter_mut().zip(values).for_each(|(to, value)| *to = value);
        aligned
    }

    /// All values.
    pub fn values(&mut self) -> &mut [T] {
        let start = self.memory.as_ptr().align_offset(64);
        &mut self.memory[start..start + self.len]
    }
}
