//! The micro-kernels of int8: a tile of 32-bit sums in vector registers, multiplied by its scales when it is stored.
//!
//! The factors of the weight have 128 added to them, so that they are unsigned, as the dot products of VNNI take one of
//! their operands. A sum therefore begins with 128 times the negative sum of its row, and with the products of the
//! second digits of the row's outliers. AVX2 takes the 128 off again: its `vpmaddubsw` adds two products in 16 bits,
//! which would saturate (2 · 127 · 255 > 2¹⁵).

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::_mm512_add_epi32;
use std::marker::PhantomData;

#[cfg(any(test, not(target_arch = "x86_64")))]
use super::words::Array;
#[cfg(target_arch = "x86_64")]
use super::words::x86::{Pairs128, Pairs512, Signs256, Vnni256, Vnni512};
use super::{PER_WORD, outliers::Outliers, words::Words};
use crate::cpu::Isa;
#[cfg(target_arch = "x86_64")]
use crate::cpu::gemm::kernel::tiles;

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
    /// For each row, what its sums begin with.
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
pub(super) type MicroKernel = unsafe fn(&Tile<'_>);

/// The micro-kernels of an instruction set, and the shape of the panels that they read.
#[derive(Clone, Copy)]
pub(super) struct Kernels {
    /// NR: the columns of a panel.
    pub nr: usize,
    /// The number of words of a column in a panel is a multiple of this.
    pub depth_multiple: usize,
    pub kind: KernelKind,
}

/// The registers that hold a tile of the sums.
#[derive(Clone, Copy)]
pub(super) enum KernelKind {
    /// Vector registers; `table[rows - 1]` is the micro-kernel of a tile.
    Vectors(&'static [MicroKernel]),
    /// AMX's tile registers.
    #[cfg(target_arch = "x86_64")]
    Amx,
}

/// The instructions that multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instructions {
    #[cfg(any(test, not(target_arch = "x86_64")))]
    Portable,
    /// Products of 16-bit integers.
    #[cfg(target_arch = "x86_64")]
    Sse2,
    /// Products of 8-bit integers, one of them unsigned, in 16 bits.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    /// Products of 16-bit integers.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    /// Tile registers.
    #[cfg(target_arch = "x86_64")]
    Amx,
}

impl Kernels {
    /// The micro-kernels of `isa`: with the dot products of VNNI where it has no tile registers and the CPU has them.
    pub fn of(isa: Isa) -> Self {
        Self::with(Instructions::of(isa))
    }

    pub fn with(instructions: Instructions) -> Self {
        macro_rules! table {
            ($name:ident, $lanes:literal, $vectors:literal, [$($rows:literal)+]) => {
                Self {
                    nr: $lanes * $vectors,
                    depth_multiple: 1,
                    kind: KernelKind::Vectors(&[$($name::<$rows, $vectors>),+]),
                }
            };
        }
        match instructions {
            #[cfg(any(test, not(target_arch = "x86_64")))]
            Instructions::Portable => table!(portable, 8, 1, [1 2 3 4]),
            #[cfg(target_arch = "x86_64")]
            Instructions::Sse2 => table!(sse2, 4, 2, [1 2 3 4]),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => table!(avx2, 8, 2, [1 2 3 4]),
            #[cfg(target_arch = "x86_64")]
            Instructions::AvxVnni => table!(avx_vnni, 8, 2, [1 2 3 4 5 6]),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => table!(avx512, 16, 3, [1 2 3 4 5 6]),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512Vnni => table!(avx512_vnni, 16, 3, [1 2 3 4 5 6 7 8]),
            #[cfg(target_arch = "x86_64")]
            Instructions::Amx => Self { nr: tiles::NR, depth_multiple: tiles::STEPS, kind: KernelKind::Amx },
        }
    }
}

impl Instructions {
    /// The best ones of the CPU within an instruction set.
    #[cfg(target_arch = "x86_64")]
    pub fn of(isa: Isa) -> Self {
        match isa.available() {
            Isa::Portable => Self::Sse2,
            Isa::Avx2 if is_x86_feature_detected!("avxvnni") => Self::AvxVnni,
            Isa::Avx2 => Self::Avx2,
            Isa::Avx512 | Isa::Avx512Bf16 if is_x86_feature_detected!("avx512vnni") => Self::Avx512Vnni,
            Isa::Avx512 | Isa::Avx512Bf16 => Self::Avx512,
            Isa::Amx => Self::Amx,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub fn of(_isa: Isa) -> Self {
        Self::Portable
    }
}

/// # Safety
/// As for [`MicroKernel`].
#[inline(always)]
unsafe fn micro_kernel<W: Words, const MR: usize, const NV: usize>(_words: PhantomData<W>, t: &Tile<'_>) {
    // SAFETY: the CPU has the instructions. Rows below MR and words below t.words are inside a, and b holds NV vectors
    // for each word.
    unsafe {
        let mut sums = first_sums::<W, MR, NV>(t);
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
        deliver::<W, MR, NV>(t, sums);
    }
}

/// What the sums of the rows begin with: their starts, and the products of the second digits of their outliers.
///
/// # Safety
/// As for [`MicroKernel`], but for a and c.
#[inline(always)]
unsafe fn first_sums<W: Words, const MR: usize, const NV: usize>(t: &Tile<'_>) -> [[W::Vector; NV]; MR] {
    // SAFETY: the CPU has the instructions. b holds NV vectors for each word, and the column of an outlier is in one of
    // them.
    unsafe {
        // Loops, and not `array::from_fn`, which would not be compiled for the instructions where it is not inlined.
        let starts: &[i32; MR] = t.starts.first_chunk().expect("a start for each row");
        let mut sums = [[W::splat(0); NV]; MR];
        for (sums, &start) in sums.iter_mut().zip(starts) {
            *sums = [W::splat(if W::TAKES_128_OFF { 0 } else { start }); NV];
        }
        if t.outliers.iter().any(|of_row| !of_row[0].is_none()) {
            // A copy in memory, because registers cannot be indexed at run time; the sums stay in registers.
            let mut in_memory = sums;
            for (sums, outliers) in in_memory.iter_mut().zip(t.outliers) {
                for outlier in outliers.iter().take_while(|outlier| !outlier.is_none()) {
                    let (word, byte) = (outlier.column as usize / PER_WORD, outlier.column as usize % PER_WORD);
                    let word = t.b.add(word * NV * W::LANES * PER_WORD);
                    for (j, sum) in sums.iter_mut().enumerate() {
                        let words = W::load(word.add(j * W::LANES * PER_WORD));
                        *sum = W::add_byte(*sum, words, 8 * byte as i32, outlier.beyond_factor());
                    }
                }
            }
            sums = in_memory;
        }
        sums
    }
}

/// Writes the sums to c, scaled, or adds them.
///
/// # Safety
/// As for [`MicroKernel`], but for a and b.
#[inline(always)]
unsafe fn deliver<W: Words, const MR: usize, const NV: usize>(t: &Tile<'_>, sums: [[W::Vector; NV]; MR]) {
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

/// # Safety
/// As for [`MicroKernel`].
#[cfg(any(test, not(target_arch = "x86_64")))]
unsafe fn portable<const MR: usize, const NV: usize>(t: &Tile<'_>) {
    // SAFETY: the same contract as this function's.
    unsafe { micro_kernel::<_, MR, NV>(PhantomData::<Array>, t) }
}

/// Defines the micro-kernel compiled for the features of a type of vectors.
#[cfg(target_arch = "x86_64")]
macro_rules! kernel {
    ($name:ident: $words:ty = $features:literal) => {
        /// # Safety
        /// As for [`MicroKernel`].
        #[target_feature(enable = $features)]
        unsafe fn $name<const MR: usize, const NV: usize>(t: &Tile<'_>) {
            // SAFETY: the caller guarantees that the CPU has these features; the rest is the same contract.
            unsafe { micro_kernel::<_, MR, NV>(PhantomData::<$words>, t) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
kernel!(sse2: Pairs128 = "sse2");
#[cfg(target_arch = "x86_64")]
kernel!(avx2: Signs256 = "avx2,fma");
#[cfg(target_arch = "x86_64")]
kernel!(avx_vnni: Vnni256 = "avxvnni,avx2,fma");
#[cfg(target_arch = "x86_64")]
kernel!(avx512: Pairs512 = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");
#[cfg(target_arch = "x86_64")]
kernel!(avx512_vnni: Vnni512 = "avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma");

/// Writes the rows of a tile whose sums of products are in memory, NR of the tile registers a row, scaled, or adds
/// them.
///
/// # Safety
/// As for [`MicroKernel`], but for a; the CPU must have AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn deliver_rows(t: &Tile<'_>, products: &[i32]) {
    type W = Pairs512;
    const NV: usize = tiles::NR / W::LANES;
    for (i, products) in products.chunks_exact(NV * W::LANES).take(t.starts.len()).enumerate() {
        let row = Tile {
            starts: &t.starts[i..=i],
            outliers: &t.outliers[i..=i],
            row_scales: &t.row_scales[i..=i],
            c: t.c.wrapping_add(i * t.c_stride),
            ..*t
        };
        // SAFETY: the caller guarantees the instructions, b and c, and there are as many products as a row has.
        unsafe {
            let [mut sums] = first_sums::<W, 1, NV>(&row);
            for (sum, products) in sums.iter_mut().zip(products.chunks_exact(W::LANES)) {
                *sum = _mm512_add_epi32(*sum, W::load(products.as_ptr().cast()));
            }
            deliver::<W, 1, NV>(&row, [sums]);
        }
    }
}
