//! The baseline instruction set of the target: eight lanes, as two [`quad`]s.

use half::bf16;

use super::{Simd, quad};

/// The baseline instruction set, which every CPU of the target has: SSE2 on x86-64, NEON on aarch64, plain floats
/// elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

type V = [quad::Quad; 2];

#[inline(always)]
fn from_array(v: [f32; 8]) -> V {
    let [a, b, c, d, e, f, g, h] = v;
    [quad::load(&[a, b, c, d]), quad::load(&[e, f, g, h])]
}

#[inline(always)]
fn to_array([low, high]: V) -> [f32; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (quad::store(low), quad::store(high));
    [a, b, c, d, e, f, g, h]
}

/// Defines a method that applies a function of quads to both halves.
macro_rules! lanewise {
    ($($name:ident($($arg:ident),+);)+) => {$(
        #[inline(always)]
        fn $name(self, $($arg: V),+) -> V {
            [quad::$name($($arg[0]),+), quad::$name($($arg[1]),+)]
        }
    )+};
}

impl Simd for Portable {
    type F32 = V;
    type Mask = [quad::Mask; 2];
    type U32 = [u32; 8];
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(self, v: f32) -> V {
        [quad::splat(v); 2]
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> V {
        let (halves, _) = from.as_chunks::<4>();
        [quad::load(&halves[0]), quad::load(&halves[1])]
    }
    #[inline(always)]
    fn store(self, to: &mut [f32], v: V) {
        let (halves, _) = to.as_chunks_mut::<4>();
        (halves[0], halves[1]) = (quad::store(v[0]), quad::store(v[1]));
    }
    #[inline(always)]
    fn load_partial(self, from: &[f32]) -> V {
        if from.len() >= 8 {
            return self.load(from);
        }
        let mut whole = [0.0; 8];
        whole[..from.len()].copy_from_slice(from);
        from_array(whole)
    }
    #[inline(always)]
    fn store_partial(self, to: &mut [f32], v: V) {
        if to.len() >= 8 {
            return self.store(to, v);
        }
        to.copy_from_slice(&to_array(v)[..to.len()]);
    }
    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> V {
        let mut whole = [0.0; 8];
        whole.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_f32());
        from_array(whole)
    }
    #[inline(always)]
    fn store_bf16(self, to: &mut [bf16], v: V) {
        to.iter_mut().zip(to_array(v)).for_each(|(to, v)| *to = bf16::from_f32(v));
    }
    #[inline(always)]
    fn load_i8(self, from: &[i8]) -> V {
        let mut whole = [0.0; 8];
        whole.iter_mut().zip(from).for_each(|(to, &from)| *to = f32::from(from));
        from_array(whole)
    }
    #[inline(always)]
    fn store_i8(self, to: &mut [i8], v: V) {
        to.iter_mut().zip(to_array(self.round(v))).for_each(|(to, v)| *to = v as i8);
    }

    lanewise! {
        add(a, b);
        sub(a, b);
        mul(a, b);
        div(a, b);
        fma(a, b, c);
        neg(a);
        abs(a);
        sqrt(a);
        max(a, b);
        min(a, b);
        copysign(a, sign);
        round(a);
    }

    #[inline(always)]
    fn max_magnitude(self, a: V, b: V) -> V {
        // Of values without a sign, the order of the bits is that of the values, NaN last.
        let (a, b) = (to_array(a), to_array(b));
        from_array(std::array::from_fn(|lane| f32::from_bits(a[lane].to_bits().max(b[lane].to_bits()))))
    }
    #[inline(always)]
    fn fnma(self, a: V, b: V, c: V) -> V {
        self.fma(self.neg(a), b, c)
    }
    #[inline(always)]
    fn scale(self, a: V, n: V) -> V {
        // Two factors, because 2^n itself may overflow or be subnormal.
        let half = self.round(self.mul(n, self.splat(0.5)));
        let power = |n: V| [quad::power_of_two(n[0]), quad::power_of_two(n[1])];
        self.mul(self.mul(a, power(half)), power(self.sub(n, half)))
    }
    #[inline(always)]
    fn dot_bf16(self, a: V, b: V, c: V) -> V {
        let low = |v: V| [quad::low_bf16(v[0]), quad::low_bf16(v[1])];
        let high = |v: V| [quad::high_bf16(v[0]), quad::high_bf16(v[1])];
        self.fma(low(a), low(b), self.fma(high(a), high(b), c))
    }

    #[inline(always)]
    fn pair_bf16(self, low: V, high: V) -> V {
        let (low, high) = (to_array(low), to_array(high));
        let bits = |v: f32| u32::from(bf16::from_f32(v).to_bits());
        from_array(std::array::from_fn(|lane| f32::from_bits(bits(low[lane]) | bits(high[lane]) << 16)))
    }

    #[inline(always)]
    fn lt(self, a: V, b: V) -> [quad::Mask; 2] {
        [quad::lt(a[0], b[0]), quad::lt(a[1], b[1])]
    }
    #[inline(always)]
    fn select(self, mask: [quad::Mask; 2], yes: V, no: V) -> V {
        [quad::select(mask[0], yes[0], no[0]), quad::select(mask[1], yes[1], no[1])]
    }

    #[inline(always)]
    fn splat_u32(self, v: u32) -> [u32; 8] {
        [v; 8]
    }
    #[inline(always)]
    fn count_u32(self, first: u32) -> [u32; 8] {
        std::array::from_fn(|lane| first.wrapping_add(lane as u32))
    }
    #[inline(always)]
    fn xor_u32(self, a: [u32; 8], b: [u32; 8]) -> [u32; 8] {
        std::array::from_fn(|lane| a[lane] ^ b[lane])
    }
    #[inline(always)]
    fn multiply_u32(self, a: [u32; 8], b: [u32; 8]) -> ([u32; 8], [u32; 8]) {
        let product = |lane: usize| u64::from(a[lane]) * u64::from(b[lane]);
        (std::array::from_fn(|lane| (product(lane) >> 32) as u32), std::array::from_fn(|lane| product(lane) as u32))
    }
    #[inline(always)]
    fn halves_u32(self, a: [u32; 8]) -> (V, V) {
        (from_array(a.map(|v| (v >> 16) as f32)), from_array(a.map(|v| (v & 0xffff) as f32)))
    }

    #[inline(always)]
    fn reduce_sum(self, a: V) -> f32 {
        let [a, b, c, d] = quad::store(quad::add(a[0], a[1]));
        (a + c) + (b + d)
    }
    #[inline(always)]
    fn reduce_max(self, a: V) -> f32 {
        let [a, b, c, d] = quad::store(quad::max(a[0], a[1]));
        let greater = |a: f32, b: f32| if a > b { a } else { b };
        greater(greater(a, c), greater(b, d))
    }
}
