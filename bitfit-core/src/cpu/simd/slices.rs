//! The vector functions applied to whole slices.

use half::bf16;

use super::{Isa, Kernel, Simd, dispatch, math};

/// An element-wise function, written once for every instruction set.
pub trait Map {
    /// Applies the function to a vector. Must be `#[inline(always)]`.
    fn map<S: Simd>(&self, simd: S, x: S::F32) -> S::F32;
}

struct MapSlice<'a, F>(F, &'a [f32], &'a mut [f32]);

impl<F: Map> Kernel for MapSlice<'_, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let MapSlice(f, from, to) = self;
        let (whole_from, tail_from) = from.split_at(from.len() / S::LANES * S::LANES);
        let (whole_to, tail_to) = to.split_at_mut(whole_from.len());
        for (from, to) in whole_from.chunks_exact(S::LANES).zip(whole_to.chunks_exact_mut(S::LANES)) {
            s.store(to, f.map(s, s.load(from)));
        }
        if !tail_to.is_empty() {
            s.store_partial(tail_to, f.map(s, s.load_partial(tail_from)));
        }
    }
}

/// Writes `f(from)` to `to`, element by element. Panics if the lengths differ.
pub fn map_slice(isa: Isa, f: impl Map, from: &[f32], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "map_slice: lengths differ");
    dispatch(isa, MapSlice(f, from, to));
}

struct Exp;
impl Map for Exp {
    #[inline(always)]
    fn map<S: Simd>(&self, s: S, x: S::F32) -> S::F32 {
        math::exp(s, x)
    }
}

struct Tanh;
impl Map for Tanh {
    #[inline(always)]
    fn map<S: Simd>(&self, s: S, x: S::F32) -> S::F32 {
        math::tanh(s, x)
    }
}

/// Writes `e^from` to `to`, with the accuracy of [`math::exp`]. Panics if the lengths differ.
pub fn exp_slice(isa: Isa, from: &[f32], to: &mut [f32]) {
    map_slice(isa, Exp, from, to);
}

/// Writes `tanh(from)` to `to`, with the accuracy of [`math::tanh`]. Panics if the lengths differ.
pub fn tanh_slice(isa: Isa, from: &[f32], to: &mut [f32]) {
    map_slice(isa, Tanh, from, to);
}

struct Gelu<'a>(&'a [f32], &'a mut [f32], Option<&'a mut [f32]>);

impl Kernel for Gelu<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Gelu(z, out, derivative) = self;
        let chunks = z.chunks(S::LANES).zip(out.chunks_mut(S::LANES));
        match derivative {
            Some(derivative) => {
                for ((z, out), slope) in chunks.zip(derivative.chunks_mut(S::LANES)) {
                    let (value, rate) = math::gelu(s, s.load_partial(z));
                    s.store_partial(out, value);
                    s.store_partial(slope, rate);
                }
            }
            None => {
                for (z, out) in chunks {
                    s.store_partial(out, math::gelu(s, s.load_partial(z)).0);
                }
            }
        }
    }
}

/// Writes `gelu(z)` to `out`, and `gelu'(z)` to `derivative` if it is given, with the accuracy of [`math::gelu`].
/// Panics if the lengths differ.
pub fn gelu_slice(isa: Isa, z: &[f32], out: &mut [f32], derivative: Option<&mut [f32]>) {
    assert_eq!(z.len(), out.len(), "gelu_slice: lengths differ");
    assert!(derivative.as_ref().is_none_or(|d| d.len() == z.len()), "gelu_slice: lengths differ");
    dispatch(isa, Gelu(z, out, derivative));
}

struct ToBf16<'a>(&'a [f32], &'a mut [bf16]);
impl Kernel for ToBf16<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (from, to) in self.0.chunks(S::LANES).zip(self.1.chunks_mut(S::LANES)) {
            s.store_bf16(to, s.load_partial(from));
        }
    }
}

struct FromBf16<'a>(&'a [bf16], &'a mut [f32]);
impl Kernel for FromBf16<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (from, to) in self.0.chunks(S::LANES).zip(self.1.chunks_mut(S::LANES)) {
            s.store_partial(to, s.load_bf16(from));
        }
    }
}

/// Converts f32 to bfloat16, rounding to nearest even. Panics if the lengths differ.
pub fn to_bf16_slice(isa: Isa, from: &[f32], to: &mut [bf16]) {
    assert_eq!(from.len(), to.len(), "to_bf16_slice: lengths differ");
    dispatch(isa, ToBf16(from, to));
}

/// Converts bfloat16 to f32, exactly. Panics if the lengths differ.
pub fn from_bf16_slice(isa: Isa, from: &[bf16], to: &mut [f32]) {
    assert_eq!(from.len(), to.len(), "from_bf16_slice: lengths differ");
    dispatch(isa, FromBf16(from, to));
}
