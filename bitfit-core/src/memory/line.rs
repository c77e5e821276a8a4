//! Memory in units of cache lines. In a buffer that starts at one, no vector straddles two.

use bytemuck::{Pod, Zeroable};

/// A cache line of f32.
#[derive(Clone, Copy, Debug, Zeroable, Pod)]
#[repr(C, align(64))]
pub(crate) struct Line([f32; Line::LEN]);

impl Line {
    /// The number of f32 in a line.
    pub const LEN: usize = 16;
    /// A line of zeros.
    pub const ZERO: Self = Self([0.0; Self::LEN]);
}
