//! The micro-kernels of int8: a tile of 32-bit sums in vector registers, multiplied by its scales when it is stored.
//!
//! The factors of the weight have 128 added to them, so that they are unsigned, as the dot products of VNNI take one of
//! their operands. A sum therefore begins with 128 times the negative sum of its row, and with the products of the
//! second digits of the row's outliers. Instructions without an intermediate sum of 16 bits are used throughout:
//! `vpmaddubsw` would saturate (2 · 127 · 255 > 2¹⁵).

use std::marker::PhantomData;

use super::{PER_WORD, outliers::Outliers};
use crate::cpu::Isa;

/// The most columns of a panel of any instruction set.
const MAX_NR: usize = 48;

/// The arguments of one call: `c = a·b`, or `c += a·b` if `accumulate`, scaled.
pub(super) struct Tile<'a> {
    /// Words of a row of a and of a column of b.
    pub words: usize,
    /// Rows of `words` words, `a_stride` bytes apart.
    pub a: *const i8,
    pub a_stride: usize,
    /// A panel: for each word NR columns.
    pub b: *const u8,
    /// What the sums of each row begin with.
    pub starts: &'a [i32],
    /// The outliers of each row, whose columns are columns of a.
    pub outliers: &'a [Outliers],
    pub row_scales: &'a [f32],
    /// The scales of the columns to write, at most NR.
    pub col_scales: &'a [f32],
    /// Element `(i, j)` of c is at `i * c_stride + j`.
    pub c: *mut f32,
    pub c_stride: usize,
    pub accumulate: bool,
}

/// A micro-kernel for a number of rows.
///
/// # Safety
/// The CPU must support its instructions. a, b and c must be valid as [`Tile`] describes them, and c must not be
/// accessed by anyone else during the call.
type MicroKernel = unsafe fn(&Tile<'_>);

/// The micro-kernels of an instruction set.
#[derive(Clone, Copy)]
pub(super) struct Kernels {
    /// NR: the columns of a panel.
    pub nr: usize,
    /// `table[rows - 1]`.
    pub table: &'static [MicroKernel],
}

/// The instructions that multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instructions {
    Portable,
    /// Products of 16-bit integers.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// Products of 16-bit integers.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
}

impl Kernels {
    /// Those of `isa`, with the dot products of VNNI where the CPU has them.
    pub fn of(isa: Isa) -> Self {
        Self::with(Instructions::of(isa))
    }

    pub fn with(instructions: Instructions) -> Self {
        macro_rules! table {
            ($name:ident, $lanes:literal, $vectors:literal, [$($rows:literal)+]) => {
                Self { nr: $lanes * $vectors, table: &[$($name::<$rows, $vectors>),+] }
            };
        }
        match instructions {
            Instructions::Portable => table!(portable, 8, 1, [1 2 3 4]),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => table!(avx2, 8, 2, [1 2 3 4]),
            #[cfg(target_arch = "x86_64")]
            Instructions::AvxVnni => table!(avx_vnni, 8, 2, [1 2 3 4 5 6]),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => table!(avx512, 16, 3, [1 2 3 4 5 6]),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Vnni => table!(avx512_vnni, 16, 3, [1 2 3 4 5 6 7 8]),
        }
    }
}

impl Instructions {
    /// The best ones of the CPU within an instruction set.
    #[cfg(target_arch = "x86_64")]
    pub fn of(isa: Isa) -> Self {
        match isa.available() {
            Isa::Portable => Self::Portable,
            Isa::Avx2 if is_x86_feature_detected!("avxvnni") => Self::AvxVnni,
            Isa::Avx2 => Self::Avx2,
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx if is_x86_feature_detected!("avx512vnni") => Self::Avx512Vnni,
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => Self::Avx512,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub fn of(_isa: Isa) -> Self {
        Self::Portable
    }
}

/// Vectors of 32-bit integers, each of which is also a word of four factors.
///
/// # Safety
/// Every method may be called only where the CPU has the instructions of the implementing type.
trait Words: Copy {
    type Vector: Copy;
    type Floats: Copy;
    const LANES: usize;

    unsafe fn splat(value: i32) -> Self::Vector;
    /// A whole vector of columns.
    unsafe fn load(from: *const u8) -> Self::Vector;
    /// `sums + Σ a b` over the four factors of each lane, a signed and b unsigned.
    unsafe fn dot(sums: Self::Vector, b: Self::Vector, a: Self::Vector) -> Self::Vector;
    /// `sums + factor b`, b the byte of each word that begins at its bit `shift`.
    unsafe fn add_byte(sums: Self::Vector, words: Self::Vector, shift: i32, factor: i32) -> Self::Vector;
    /// The sums times a scale of the row and those of the columns.
    unsafe fn scaled(sums: Self::Vector, row: f32, columns: *const f32) -> Self::Floats;
    unsafe fn add(a: Self::Floats, from: *const f32) -> Self::Floats;
    unsafe fn store(to: *mut f32, values: Self::Floats);
}

/// # Safety
/// As for [`MicroKernel`].
#[inline(always)]
unsafe fn micro_kernel<W: Words, const MR: usize, const NV: usize>(_words: PhantomData<W>, t: &Tile<'_>) {
    // SAFETY: the CPU has the instructions. Rows below MR and words below t.words are inside a, and b holds NV vectors
    // for each word; the column of an outlier is in one of them.
    let sums = unsafe {
        // Loops, and not `array::from_fn`, which would not be compiled for the instructions where it is not inlined.
        let starts: &[i32; MR] = t.starts.first_chunk().expect("a start for each row");
        let mut sums = [[W::splat(0); NV]; MR];
        for (sums, &start) in sums.iter_mut().zip(starts) {
            *sums = [W::splat(start); NV];
        }
        if t.outliers.iter().any(|of_row| of_row[0].high != 0) {
            // A copy in memory, because registers cannot be indexed at run time; the sums stay in registers.
            let mut in_memory = sums;
            for (sums, outliers) in in_memory.iter_mut().zip(t.outliers) {
                for outlier in outliers.iter().take_while(|outlier| outlier.high != 0) {
                    let (word, byte) = (outlier.column as usize / PER_WORD, outlier.column as usize % PER_WORD);
                    let word = t.b.add(word * NV * W::LANES * PER_WORD);
                    for (j, sum) in sums.iter_mut().enumerate() {
                        let words = W::load(word.add(j * W::LANES * PER_WORD));
                        *sum = W::add_byte(*sum, words, 8 * byte as i32, 128 * outlier.high);
                    }
                }
            }
            sums = in_memory;
        }
        let (mut a, mut b) = (t.a, t.b);
        for _ in 0..t.words {
            let mut right = [W::splat(0); NV];
            for (j, right) in right.iter_mut().enumerate() {
                *right = W::load(b.add(j * W::LANES * PER_WORD));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let left = W::splat(a.add(i * t.a_stride).cast::<i32>().read_unaligned());
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = W::dot(*sum, right, left);
                }
            }
            a = a.add(PER_WORD);
            b = b.add(NV * W::LANES * PER_WORD);
        }
        sums
    };
    let rows: &[f32; MR] = t.row_scales.first_chunk().expect("a scale for each row");
    if t.col_scales.len() == NV * W::LANES {
        // Loops of constant length, so that the sums stay in registers.
        for (i, (sums, &row)) in sums.iter().zip(rows).enumerate() {
            for (j, &sum) in sums.iter().enumerate() {
                let to = t.c.wrapping_add(i * t.c_stride + j * W::LANES);
                // SAFETY: whole vectors of scales and of the row of c are left.
                unsafe {
                    let scaled = W::scaled(sum, row, t.col_scales.as_ptr().add(j * W::LANES));
                    W::store(to, if t.accumulate { W::add(scaled, to) } else { scaled });
                }
            }
        }
        return;
    }
    let mut columns = [0.0; MAX_NR];
    columns[..t.col_scales.len()].copy_from_slice(t.col_scales);
    for (i, (sums, &row)) in sums.into_iter().zip(rows).enumerate() {
        let mut values = [0.0; MAX_NR];
        for (j, sum) in sums.into_iter().enumerate() {
            // SAFETY: NV vectors are no more than MAX_NR columns.
            unsafe {
                let scaled = W::scaled(sum, row, columns.as_ptr().add(j * W::LANES));
                W::store(values.as_mut_ptr().add(j * W::LANES), scaled);
            }
        }
        // SAFETY: as many elements of the row of c are to be written as there are scales, and c is not accessed by
        // anyone else.
        let to = unsafe { std::slice::from_raw_parts_mut(t.c.wrapping_add(i * t.c_stride), t.col_scales.len()) };
        for (to, value) in to.iter_mut().zip(values) {
            *to = if t.accumulate { *to + value } else { value };
        }
    }
}

/// Lanes in an array.
#[derive(Clone, Copy)]
struct Array;

impl Words for Array {
    type Vector = [i32; 8];
    type Floats = [f32; 8];
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: i32) -> [i32; 8] {
        [value; 8]
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> [i32; 8] {
        // SAFETY: the caller guarantees a whole vector.
        unsafe { from.cast::<[i32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn dot(sums: [i32; 8], b: [i32; 8], a: [i32; 8]) -> [i32; 8] {
        std::array::from_fn(|lane| {
            let (a, b) = (a[lane].to_le_bytes(), b[lane].to_le_bytes());
            let products = a.into_iter().zip(b).map(|(a, b)| i32::from(a.cast_signed()) * i32::from(b));
            products.fold(sums[lane], i32::wrapping_add)
        })
    }
    #[inline(always)]
    unsafe fn add_byte(sums: [i32; 8], words: [i32; 8], shift: i32, factor: i32) -> [i32; 8] {
        std::array::from_fn(|lane| sums[lane].wrapping_add((i32::from_le(words[lane]) >> shift & 0xff) * factor))
    }
    #[inline(always)]
    unsafe fn scaled(sums: [i32; 8], row: f32, columns: *const f32) -> [f32; 8] {
        // SAFETY: the caller guarantees a whole vector of scales.
        std::array::from_fn(|lane| sums[lane] as f32 * (row * unsafe { *columns.add(lane) }))
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 8], from: *const f32) -> [f32; 8] {
        // SAFETY: the caller guarantees a whole vector.
        std::array::from_fn(|lane| a[lane] + unsafe { *from.add(lane) })
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, values: [f32; 8]) {
        // SAFETY: the caller guarantees a whole vector.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(values) }
    }
}

/// # Safety
/// As for [`MicroKernel`].
unsafe fn portable<const MR: usize, const NV: usize>(t: &Tile<'_>) {
    // SAFETY: the same contract as this function's.
    unsafe { micro_kernel::<_, MR, NV>(PhantomData::<Array>, t) }
}

#[cfg(target_arch = "x86_64")]
use x86::{avx_vnni, avx2, avx512, avx512_vnni};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{PhantomData, Tile, Words, micro_kernel};

    /// Implements [`Words`] for a type by the intrinsics of its width, and compiles the micro-kernel for its features.
    macro_rules! words {
        ($name:ident of 256 bits; $($rest:tt)*) => {
            words!(
                $name: 8 x __m256i, __m256;
                _mm256_set1_epi32 _mm256_loadu_si256 _mm256_cvtepi32_ps _mm256_set1_ps
                _mm256_mul_ps _mm256_add_ps _mm256_loadu_ps _mm256_storeu_ps
                _mm256_srl_epi32 _mm256_and_si256 _mm256_mullo_epi32 _mm256_add_epi32; $($rest)*
            );
        };
        ($name:ident of 512 bits; $($rest:tt)*) => {
            words!(
                $name: 16 x __m512i, __m512;
                _mm512_set1_epi32 _mm512_loadu_si512 _mm512_cvtepi32_ps _mm512_set1_ps
                _mm512_mul_ps _mm512_add_ps _mm512_loadu_ps _mm512_storeu_ps
                _mm512_srl_epi32 _mm512_and_si512 _mm512_mullo_epi32 _mm512_add_epi32; $($rest)*
            );
        };
        ($name:ident: $lanes:literal x $int:ty, $float:ty; $splat:ident $load:ident $to_float:ident $splat_float:ident
         $mul:ident $add:ident $load_float:ident $store:ident $shift:ident $and:ident $mul_int:ident $add_int:ident;
         dot($sums:ident, $b:ident, $a:ident) = $dot:expr;
         $kernel:ident = $features:literal) => {
            #[derive(Clone, Copy)]
            struct $name;

            impl Words for $name {
                type Vector = $int;
                type Floats = $float;
                const LANES: usize = $lanes;

                #[inline(always)]
                unsafe fn splat(value: i32) -> $int {
                    // SAFETY: the caller guarantees the instructions.
                    unsafe { $splat(value) }
                }
                #[inline(always)]
                unsafe fn load(from: *const u8) -> $int {
                    // SAFETY: the caller guarantees the instructions and a whole vector.
                    unsafe { $load(from.cast()) }
                }
                #[inline(always)]
                unsafe fn dot($sums: $int, $b: $int, $a: $int) -> $int {
                    // SAFETY: the caller guarantees the instructions.
                    unsafe { $dot }
                }
                #[inline(always)]
                unsafe fn add_byte(sums: $int, words: $int, shift: i32, factor: i32) -> $int {
                    // SAFETY: the caller guarantees the instructions.
                    unsafe {
                        let bytes = $and($shift(words, _mm_cvtsi32_si128(shift)), $splat(0xff));
                        $add_int(sums, $mul_int(bytes, $splat(factor)))
                    }
                }
                #[inline(always)]
                unsafe fn scaled(sums: $int, row: f32, columns: *const f32) -> $float {
                    // SAFETY: the caller guarantees the instructions and a whole vector of scales.
                    unsafe { $mul($to_float(sums), $mul($splat_float(row), $load_float(columns))) }
                }
                #[inline(always)]
                unsafe fn add(a: $float, from: *const f32) -> $float {
                    // SAFETY: the caller guarantees the instructions and a whole vector.
                    unsafe { $add(a, $load_float(from)) }
                }
                #[inline(always)]
                unsafe fn store(to: *mut f32, values: $float) {
                    // SAFETY: the caller guarantees the instructions and a whole vector.
                    unsafe { $store(to, values) }
                }
            }

            /// # Safety
            /// As for [`MicroKernel`](super::MicroKernel).
            #[target_feature(enable = $features)]
            pub(super) unsafe fn $kernel<const MR: usize, const NV: usize>(t: &Tile<'_>) {
                // SAFETY: the caller guarantees that the CPU has these features; the rest is the same contract.
                unsafe { micro_kernel::<_, MR, NV>(PhantomData::<$name>, t) }
            }
        };
    }

    words!(
        Vnni256 of 256 bits;
        dot(sums, b, a) = _mm256_dpbusd_avx_epi32(sums, b, a);
        avx_vnni = "avxvnni,avx2,fma"
    );
    words!(
        Vnni512 of 512 bits;
        dot(sums, b, a) = _mm512_dpbusd_epi32(sums, b, a);
        avx512_vnni = "avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"
    );

    // Without VNNI: the even and the odd bytes of a word as 16-bit integers, whose products are added in 32 bits. Of
    // several dot products with one operand, the compiler widens it once.
    words!(
        Pairs256 of 256 bits;
        dot(sums, b, a) = {
            let even = _mm256_and_si256(b, _mm256_set1_epi16(0xff));
            let even = _mm256_madd_epi16(even, _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(a)));
            let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(b), _mm256_srai_epi16::<8>(a));
            _mm256_add_epi32(_mm256_add_epi32(sums, even), odd)
        };
        avx2 = "avx2,fma"
    );
    words!(
        Pairs512 of 512 bits;
        dot(sums, b, a) = {
            let even = _mm512_and_si512(b, _mm512_set1_epi16(0xff));
            let even = _mm512_madd_epi16(even, _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(a)));
            let odd = _mm512_madd_epi16(_mm512_srli_epi16::<8>(b), _mm512_srai_epi16::<8>(a));
            _mm512_add_epi32(_mm512_add_epi32(sums, even), odd)
        };
        avx512 = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"
    );
}
