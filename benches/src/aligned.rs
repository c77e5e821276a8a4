//! Memory for a bench's matrices that lies as the engine's own buffers do.

/// Values from the beginning of a cache line on, as the engine's own buffers are.
pub struct Aligned<T> {
    memory: Vec<T>,
    len: usize,
}

impl<T: Copy> Aligned<T> {
    /// Those of an iterator that has any.
    pub fn new(values: impl Iterator<Item = T> + Clone) -> Self {
        let len = values.clone().count();
        let first = values.clone().next().expect("a matrix has elements");
        let mut aligned = Self { memory: vec![first; len + 64], len };
        aligned.values().iter_mut().zip(values).for_each(|(to, value)| *to = value);
        aligned
    }

    /// All of them.
    pub fn values(&mut self) -> &mut [T] {
        let start = self.memory.as_ptr().align_offset(64);
        &mut self.memory[start..start + self.len]
    }
}
