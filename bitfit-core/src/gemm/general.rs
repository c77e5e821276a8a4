//! Products of matrices that are not frozen: a trained weight, attention's tiles, anything small.
//!
//! The left operand is read as it lies, whatever its strides. The right one is too where its rows are whole vectors and
//! it is small, or so few rows meet it that laying it out would cost as much as the product; otherwise it is laid out in
//! panels first, a pass over it.

use std::cell::Cell;

use super::{
    Epilogue, MatRef, NoEpilogue, Output,
    driver::{PanelProduct, Right, run},
    panels::Panels,
    tile::Kernels,
};
use crate::simd::Level;

/// Elements of a right operand that are read as they lie: 128 KiB, which the second cache holds beside the rest.
const SMALL: usize = 1 << 15;

/// The right operand of a product, laid out once for several left ones. Its memory serves the next matrix too.
#[derive(Default)]
pub struct RightOperand {
    level: Option<Level>,
    panels: Panels,
}

impl RightOperand {
    /// One that holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lays out `b` for `level`.
    pub fn pack(&mut self, level: Level, b: MatRef<'_>) {
        let level = level.available();
        self.level = Some(level);
        self.panels.pack_matrix(level, &Kernels::of(level), b);
    }
}

impl std::fmt::Debug for RightOperand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RightOperand").field("level", &self.level).field("shape", &self.panels.shape()).finish()
    }
}

/// `y = scale * a·b`, or `y += scale * a·b`, with a right operand that has been laid out; a `[m, k]`, b `[k, n]`.
///
/// # Panics
/// Where shapes do not fit, or `b` was laid out for another level.
pub fn multiply(level: Level, scale: f32, a: MatRef<'_>, b: &RightOperand, y: Output<'_>, epilogue: &impl Epilogue) {
    let level = level.available();
    let [k, n] = b.panels.shape();
    assert_eq!(b.level, Some(level), "{b:?} used at {level}");
    assert_eq!(a.cols(), k, "columns of a for {b:?}");
    let product = PanelProduct { kernels: Kernels::of(level), a, b: Right::Panels(&b.panels), n, scale };
    run(level, &product, y, epilogue);
}

thread_local! {
    static RIGHT: Cell<Option<RightOperand>> = const { Cell::new(None) };
}

/// `y = scale * a·b`, or `y += scale * a·b`, for matrices of any strides; a `[m, k]`, b `[k, n]`.
///
/// # Panics
/// Where shapes do not fit.
pub fn gemm(level: Level, scale: f32, a: MatRef<'_>, b: MatRef<'_>, y: Output<'_>) {
    let level = level.available();
    assert_eq!(a.cols(), b.rows(), "columns of a and rows of b");
    let whole_vectors = b.strides()[1] == 1 && b.cols().is_multiple_of(level.lanes());
    if whole_vectors && (b.rows().saturating_mul(b.cols()) <= SMALL || a.rows() <= 8) {
        let product = PanelProduct { kernels: Kernels::of(level), a, b: Right::Rows(b), n: b.cols(), scale };
        return run(level, &product, y, &NoEpilogue);
    }
    // Taken out while in use: a thread that waits for others may be handed a product of its own.
    let mut right = RIGHT.take().unwrap_or_default();
    right.pack(level, b);
    multiply(level, scale, a, &right, y, &NoEpilogue);
    RIGHT.set(Some(right));
}
