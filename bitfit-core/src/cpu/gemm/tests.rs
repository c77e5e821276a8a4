//! Every instruction set of this CPU compared with plain loops in double precision, for odd shapes and typical ones.

use std::sync::Mutex;

use bytemuck::Zeroable;
use half::bf16;

use super::*;
use crate::cpu::{
    Float,
    simd::{self, Isa},
};

/// `y = x · Wᵀ`, or `y += x · Wᵀ` if `accumulate`; x `[T, in]` and y `[T, out]`, contiguous.
fn forward<T: Float>(
    isa: Isa,
    x: &[T],
    w: &PackedWeight<T>,
    y: &mut [f32],
    accumulate: bool,
    epilogue: &impl Epilogue,
) {
    super::forward(isa, MatRef::new(x, w.in_features()), w, output(y, w.out_features(), accumulate), epilogue);
}

/// `dx = dy · W`, or `dx += dy · W` if `accumulate`; dy `[T, out]` and dx `[T, in]`, contiguous.
fn input_gradient<T: Float>(
    isa: Isa,
    dy: &[T],
    w: &PackedWeight<T>,
    dx: &mut [f32],
    accumulate: bool,
    epilogue: &impl Epilogue,
) {
    super::input_gradient(isa, MatRef::new(dy, w.out_features()), w, output(dx, w.in_features(), accumulate), epilogue);
}

fn output(y: &mut [f32], cols: usize, accumulate: bool) -> Output<'_> {
    let y = MatMut::new(y, cols);
    if accumulate { Output::Accumulate(y) } else { Output::Write(y) }
}

/// Pseudorandom values in -1..1.
fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// `x · wᵀ` and, for the error bound, the product of the absolute values.
fn reference(x: &[f32], w: &[f32], k: usize, n: usize) -> Vec<(f64, f64)> {
    let rows = x.len().checked_div(k).unwrap_or(0);
    let mut y = Vec::with_capacity(rows * n);
    for x in x.chunks_exact(k.max(1)).take(rows) {
        for w in w.chunks_exact(k) {
            let terms = || x.iter().zip(w).map(|(&x, &w)| f64::from(x) * f64::from(w));
            y.push((terms().sum(), terms().map(f64::abs).sum()));
        }
    }
    y
}

fn transpose(w: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    (0..rows * cols).map(|i| w[i % rows * cols + i / rows]).collect()
}

/// Asserts that sums of k terms in single precision are within about k rounding errors of the exact ones.
fn assert_close(got: &[f32], want: impl IntoIterator<Item = (f64, f64)>, k: usize, what: &str) {
    let want: Vec<_> = want.into_iter().collect();
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (&got, (want, size))) in got.iter().zip(want).enumerate() {
        let bound = (k as f64 + 8.0) * 6e-8 * size + 1e-12;
        assert!((f64::from(got) - want).abs() <= bound, "{what}: element {i} is {got}, not {want}");
    }
}

/// Rows, input features and output features: small sizes near the bounds of tiles and vectors, and those of models.
fn shapes() -> Vec<[usize; 3]> {
    let small = [1, 2, 3, 5, 7, 8, 9, 13, 15, 16, 17, 24, 31, 32, 33];
    let mut shapes = Vec::new();
    for (i, &m) in small.iter().enumerate() {
        for (j, &k) in small.iter().enumerate() {
            shapes.push([m, k, small[(i * 7 + j * 4) % small.len()]]);
        }
    }
    shapes.extend([[97, 384, 50], [100, 1000, 193], [200, 130, 400], [17, 768, 768], [130, 1536, 384], [33, 2304, 65]]);
    // An f32 weight of more than 2²⁰ elements is packed in one orientation only. It is turned as a whole for many rows,
    // by parts for few, and not at all where few rows fill vectors.
    shapes.extend([[3, 1031, 1033], [7, 1031, 1033], [16, 1031, 1033], [30, 1031, 1033], [97, 1031, 1033]]);
    shapes
}

#[test]
fn both_products_agree_with_plain_loops_by_every_instruction_set() {
    for [m, k, n] in shapes() {
        let (x, w, dy) = (values(m * k, 1), values(n * k, 2), values(m * n, 3));
        let (start_y, start_dx) = (values(m * n, 4), values(m * k, 5));
        let (y_want, dx_want) = (reference(&x, &w, k, n), reference(&dy, &transpose(&w, n, k), n, k));
        let (above, below) = w.split_at(n / 3 * k);
        for isa in Isa::supported() {
            let packed = PackedWeight::new(isa, &[above, below], n, k);
            let what = format!("{isa} [{m}, {k}] x [{k}, {n}]");
            let (mut y, mut dx) = (vec![f32::NAN; m * n], vec![f32::NAN; m * k]);
            forward(isa, &x, &packed, &mut y, false, &NoEpilogue);
            assert_close(&y, y_want.iter().copied(), k, &what);
            input_gradient(isa, &dy, &packed, &mut dx, false, &NoEpilogue);
            assert_close(&dx, dx_want.iter().copied(), n, &what);

            let added = |want: &[(f64, f64)], start: &[f32]| -> Vec<(f64, f64)> {
                let start = start.iter().map(|&v| f64::from(v));
                want.iter().zip(start).map(|(&(want, size), start)| (want + start, size + start.abs())).collect()
            };
            let (mut y, mut dx) = (start_y.clone(), start_dx.clone());
            forward(isa, &x, &packed, &mut y, true, &NoEpilogue);
            assert_close(&y, added(&y_want, &start_y), k, &what);
            input_gradient(isa, &dy, &packed, &mut dx, true, &NoEpilogue);
            assert_close(&dx, added(&dx_want, &start_dx), n, &what);
        }
    }
}

#[test]
fn products_may_have_no_rows_no_inputs_or_no_outputs() {
    for isa in Isa::supported() {
        let packed = PackedWeight::<f32>::new(isa, &[&[1.0; 6]], 2, 3);
        forward(isa, &[], &packed, &mut [], false, &Bias(&[1.0, 1.0]));
        input_gradient(isa, &[], &packed, &mut [], true, &NoEpilogue);
        // An empty sum is zero, and a product without outputs writes nothing.
        let mut y = [7.0; 4];
        let empty: MatRef<'_> = MatRef::strided(&[], [2, 0], [0, 1]);
        let none = PackedWeight::new(isa, &[], 0, 0);
        super::forward(isa, empty, &none, Output::Write(MatMut::strided(&mut y, [2, 0], 2)), &NoEpilogue);
        assert_eq!(y, [7.0; 4]);
        gemm(isa, 1.0, empty, MatRef::strided(&[], [0, 2], [2, 1]), Output::Write(MatMut::new(&mut y, 2)));
        assert_eq!(y, [0.0; 4]);
    }
}

#[test]
fn strides_are_kept_and_nothing_outside_is_written() {
    let (m, k, n) = (29, 37, 53);
    let (x, w) = (values(m * 50, 1), values(n * k, 2));
    let dense: Vec<f32> = x.chunks_exact(50).flat_map(|row| &row[5..5 + k]).copied().collect();
    let want = reference(&dense, &w, k, n);
    for isa in Isa::supported() {
        let packed = PackedWeight::new(isa, &[&w], n, k);
        let mut y = vec![f32::NAN; m * 60];
        let views = MatRef::strided(&x[5..], [m, k], [50, 1]);
        super::forward(isa, views, &packed, Output::Write(MatMut::strided(&mut y[3..], [m, n], 60)), &NoEpilogue);
        let inside: Vec<f32> = y.chunks_exact(60).flat_map(|row| &row[3..3 + n]).copied().collect();
        assert_close(&inside, want.iter().copied(), k, isa.name());
        assert_eq!(y.iter().filter(|v| v.is_nan()).count(), m * (60 - n), "{isa}");

        // Columns of x that are not contiguous.
        let columns = transpose(&dense, m, k);
        let mut y = vec![0.0; m * n];
        let views = MatRef::strided(&columns, [m, k], [1, m]);
        super::forward(isa, views, &packed, Output::Write(MatMut::new(&mut y, n)), &NoEpilogue);
        assert_close(&y, want.iter().copied(), k, isa.name());
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let (m, k, n) = (250, 900, 500);
    let (x, w, dy, bias) = (values(m * k, 1), values(n * k, 2), values(m * n, 3), values(n, 4));
    for isa in Isa::supported() {
        let packed = PackedWeight::new(isa, &[&w], n, k);
        let run = |threads: usize| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let (mut y, mut slope, mut dx) = (vec![0.0; m * n], vec![0.0; m * n], vec![0.0; m * k]);
                forward(isa, &x, &packed, &mut y, false, &BiasGelu::new(&bias, Some(&mut slope)));
                let epilogue = MulColumnSum::new(&x, k);
                input_gradient(isa, &dy, &packed, &mut dx, false, &epilogue);
                let mut sums = vec![0.0; k];
                epilogue.add_to(&mut sums);
                [y, slope, dx, sums].map(|v| v.into_iter().map(f32::to_bits).collect::<Vec<_>>())
            })
        };
        let one = run(1);
        assert!(run(2) == one, "{isa}: two threads");
        assert!(run(4) == one, "{isa}: four threads");
    }
}

#[test]
fn a_row_does_not_depend_on_the_others() {
    let (m, k, n) = (103, 800, 100);
    let (x, w) = (values(m * k, 1), values(n * k, 2));
    for isa in Isa::supported() {
        let packed = PackedWeight::new(isa, &[&w], n, k);
        let mut all = vec![0.0; m * n];
        forward(isa, &x, &packed, &mut all, false, &NoEpilogue);
        for i in [0, 7, 95, 96, 102] {
            let mut alone = vec![0.0; n];
            forward(isa, &x[i * k..][..k], &packed, &mut alone, false, &NoEpilogue);
            assert_eq!(alone, all[i * n..][..n], "{isa}: row {i}");
        }
    }
    // Through panels of a large weight that are made for all rows, or by the blocks of a few, or without any.
    let (k, n) = (1031, 1033);
    let (w, dy) = (values(n * k, 2), values(m * n, 3));
    for isa in Isa::supported() {
        let packed = PackedWeight::new(isa, &[&w], n, k);
        let mut all = vec![0.0; m * k];
        input_gradient(isa, &dy, &packed, &mut all, false, &NoEpilogue);
        for rows in [0..1, 2..18, 7..40, 50..72, 70..100, 96..103] {
            let mut few = vec![0.0; rows.len() * k];
            input_gradient(isa, &dy[rows.start * n..rows.end * n], &packed, &mut few, false, &NoEpilogue);
            assert_eq!(few, all[rows.start * k..rows.end * k], "{isa}: rows {rows:?}");
        }
    }
}

/// Few rows and an f32 weight so large that the product is computed as its transpose.
#[test]
fn a_transposed_product_keeps_strides_and_has_its_epilogue() {
    let (m, k, n, stride) = (16, 1031, 1033, 1040);
    let (w, dy, factor, start) = (values(n * k, 2), values(m * n, 3), values(m * k, 4), values(m * stride, 5));
    let inside =
        |rows: &[f32]| -> Vec<f32> { rows.chunks_exact(stride).flat_map(|row| &row[3..3 + k]).copied().collect() };
    for isa in Isa::supported() {
        assert!(transposed::TransposedProduct::pays(isa, m), "{isa}");
        let packed = PackedWeight::new(isa, &[&w], n, k);
        for accumulate in [false, true] {
            let (mut dense, mut dx) = (inside(&start), start.clone());
            input_gradient(isa, &dy, &packed, &mut dense, accumulate, &NoEpilogue);
            let to = MatMut::strided(&mut dx[3..], [m, k], stride);
            let to = if accumulate { Output::Accumulate(to) } else { Output::Write(to) };
            super::input_gradient(isa, MatRef::new(&dy, n), &packed, to, &NoEpilogue);
            assert!(inside(&dx) == dense, "{isa}, accumulate: {accumulate}");
            let is_inside = |i: usize| (3..3 + k).contains(&(i % stride));
            assert!((0..m * stride).all(|i| is_inside(i) || dx[i] == start[i]), "{isa}: wrote outside");
        }

        let (mut plain, mut dx, mut sums) = (vec![f32::NAN; m * k], vec![f32::NAN; m * k], vec![0.0; k]);
        input_gradient(isa, &dy, &packed, &mut plain, false, &NoEpilogue);
        let epilogue = MulColumnSum::new(&factor, k);
        input_gradient(isa, &dy, &packed, &mut dx, false, &epilogue);
        epilogue.add_to(&mut sums);
        let want: Vec<f32> = plain.iter().zip(&factor).map(|(plain, factor)| plain * factor).collect();
        assert!(dx == want, "{isa}");
        let mut sums_want = vec![0.0_f32; k];
        for row in want.chunks_exact(k) {
            sums_want.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        assert!(sums == sums_want, "{isa}");
    }
}

#[test]
fn epilogues_do_what_they_say() {
    for [m, k, n] in [[1, 5, 1], [100, 20, 70], [97, 64, 400]] {
        let (x, w, bias) = (values(m * k, 1), values(n * k, 2), values(n, 3));
        for isa in Isa::supported() {
            let packed = PackedWeight::new(isa, &[&w], n, k);
            let mut plain = vec![0.0; m * n];
            forward(isa, &x, &packed, &mut plain, false, &NoEpilogue);

            let mut y = vec![0.0; m * n];
            forward(isa, &x, &packed, &mut y, false, &Bias(&bias));
            let z: Vec<f32> = plain.iter().enumerate().map(|(i, y)| y + bias[i % n]).collect();
            assert_eq!(y, z, "{isa}");

            let (mut y, mut slope) = (vec![0.0; m * n], vec![0.0; m * n]);
            forward(isa, &x, &packed, &mut y, false, &BiasGelu::new(&bias, Some(&mut slope)));
            let (mut value_want, mut slope_want) = (vec![0.0; m * n], vec![0.0; m * n]);
            simd::gelu_slice(isa, &z, &mut value_want, Some(&mut slope_want));
            assert_eq!((&y, &slope), (&value_want, &slope_want), "{isa}");
            let mut y = vec![0.0; m * n];
            forward(isa, &x, &packed, &mut y, false, &BiasGelu::<f32>::new(&bias, None));
            assert_eq!(y, value_want, "{isa}");

            let epilogue = MulColumnSum::new(&slope, n);
            forward(isa, &x, &packed, &mut y, false, &epilogue);
            let want: Vec<f32> = plain.iter().zip(&slope).map(|(y, f)| y * f).collect();
            assert_eq!(y, want, "{isa}");
            let mut sums = vec![1.0; n];
            epilogue.add_to(&mut sums);
            for (j, sum) in sums.iter().enumerate() {
                let column = || want.iter().skip(j).step_by(n).map(|&v| f64::from(v));
                let bound = 1e-6 * (1.0 + column().map(f64::abs).sum::<f64>());
                assert!((f64::from(*sum) - 1.0 - column().sum::<f64>()).abs() <= bound, "{isa}: column {j}");
            }
        }
    }
}

#[test]
fn general_products_agree_with_plain_loops_whatever_the_strides() {
    let mut shapes = shapes();
    shapes.extend([[64, 64, 128], [64, 128, 64], [66, 32, 77], [700, 300, 200], [8, 700, 256]]);
    for [m, k, n] in shapes {
        let (a, b, start) = (values(m * k, 1), values(n * k, 2), values(m * n, 3));
        let want = reference(&a, &b, k, n);
        let (a_t, b_t) = (transpose(&a, m, k), transpose(&b, n, k));
        // Every other element of a matrix with twice as many.
        let sparse: Vec<f32> = b.iter().flat_map(|&v| [v, f32::NAN]).collect();
        let lefts = [MatRef::new(&a, k), MatRef::new(&a_t, m).t()];
        let rights = [MatRef::new(&b, k).t(), MatRef::new(&b_t, n), MatRef::strided(&sparse, [n, k], [2 * k, 2]).t()];
        for isa in Isa::supported() {
            for (i, left) in lefts.into_iter().enumerate() {
                for (j, right) in rights.into_iter().enumerate() {
                    let what = format!("{isa} [{m}, {k}] x [{k}, {n}], left {i}, right {j}");
                    let mut y = vec![f32::NAN; m * n];
                    gemm(isa, 0.5, left, right, Output::Write(MatMut::new(&mut y, n)));
                    assert_close(&y, want.iter().map(|&(v, size)| (0.5 * v, size)), k, &what);
                    let mut y = start.clone();
                    gemm(isa, -1.0, left, right, Output::Accumulate(MatMut::new(&mut y, n)));
                    let sum = |(&(v, size), &start): (&(f64, f64), &f32)| (f64::from(start) - v, size + 1.0);
                    assert_close(&y, want.iter().zip(&start).map(sum), k, &what);
                }
            }
        }
    }
}

#[test]
fn a_right_operand_serves_one_matrix_after_another() {
    for isa in Isa::supported() {
        let mut right = PackedMatrix::new();
        for [m, k, n] in [[9, 200, 300], [5, 7, 3], [4, 0, 5], [70, 64, 90]] {
            let (a, b) = (values(m * k, 1), values(n * k, 2));
            right.pack(isa, MatRef::strided(&b, [n, k], [k, 1]).t());
            let mut y = vec![f32::NAN; m * n];
            let left = MatRef::strided(&a, [m, k], [k, 1]);
            multiply(isa, 1.0, left, &right, Output::Write(MatMut::new(&mut y, n)), &NoEpilogue);
            let want = if k == 0 { vec![(0.0, 0.0); m * n] } else { reference(&a, &b, k, n) };
            assert_close(&y, want, k, isa.name());
        }
    }
}

fn narrow(values: &[f32]) -> Vec<bf16> {
    values.iter().map(|&v| bf16::from_f32(v)).collect()
}

fn widen(values: &[bf16]) -> Vec<f32> {
    values.iter().map(|v| v.to_f32()).collect()
}

#[test]
fn bfloat16_products_agree_with_plain_loops_by_every_instruction_set() {
    for [m, k, n] in shapes() {
        let (x, w, dy) = (narrow(&values(m * k, 1)), values(n * k, 2), narrow(&values(m * n, 3)));
        let rounded = widen(&narrow(&w));
        let y_want = reference(&widen(&x), &rounded, k, n);
        let dx_want = reference(&widen(&dy), &transpose(&rounded, n, k), n, k);
        for isa in Isa::supported() {
            let packed = PackedWeight::new(isa, &[&w], n, k);
            let what = format!("{isa} bf16 [{m}, {k}] x [{k}, {n}]");
            let (mut y, mut dx) = (vec![f32::NAN; m * n], vec![1.0; m * k]);
            forward(isa, &x, &packed, &mut y, false, &NoEpilogue);
            assert_close(&y, y_want.iter().copied(), k, &what);
            input_gradient(isa, &dy, &packed, &mut dx, true, &NoEpilogue);
            assert_close(&dx, dx_want.iter().map(|&(want, size)| (want + 1.0, size + 1.0)), n, &what);
        }
    }
}

/// Rows are read in place if their layout allows it, and copied otherwise; results must depend on neither the layout
/// nor the neighbouring memory.
#[test]
fn a_bfloat16_row_has_the_same_sums_wherever_it_lies() {
    // [rows, k, row stride]: whole tile registers and one more row, k in parts, incomplete rounds, few rows.
    for [m, k, stride] in [[225, 64, 96], [81, 2560, 2560], [50, 72, 80], [7, 32, 32], [33, 40, 64]] {
        let n = 50;
        let (w, start) = (values(n * k, 2), values(m * n, 3));
        let rows = narrow(&values(m * stride + 128, 1));
        for isa in Isa::supported() {
            let packed = PackedWeight::new(isa, &[&w], n, k);
            let product = |x: &[bf16], rows: usize, start: &[f32]| {
                let mut y = start.to_vec();
                let x = MatRef::strided(x, [rows, k], [stride, 1]);
                super::forward(isa, x, &packed, Output::Accumulate(MatMut::new(&mut y, n)), &NoEpilogue);
                y
            };
            // At the beginning of a cache line, and one element after it.
            let first = rows.as_ptr().align_offset(64);
            let mut moved = rows.clone();
            let second = moved.as_ptr().align_offset(64) + 1;
            moved[second..][..m * stride].copy_from_slice(&rows[first..][..m * stride]);
            let y = product(&rows[first..], m, &start);
            assert_eq!(product(&moved[second..], m, &start), y, "{isa} [{m}, {k}]: elsewhere");
            for i in [0, m / 2, m - 1] {
                let alone = product(&rows[first + i * stride..], 1, &start[i * n..][..n]);
                assert_eq!(alone, y[i * n..][..n], "{isa} [{m}, {k}]: row {i} alone");
            }
            let dense: Vec<bf16> = rows[first..].chunks(stride).take(m).flat_map(|row| &row[..k]).copied().collect();
            let want = reference(&widen(&dense), &widen(&narrow(&w)), k, n);
            let want = want.into_iter().zip(&start).map(|((y, size), &c)| (y + f64::from(c), size + 1.0));
            assert_close(&y, want, k, &format!("{isa} [{m}, {k}]"));
        }
    }
}

#[test]
fn strides_of_empty_and_single_rows_are_not_used() {
    let (k, n) = (32, 5);
    let (x, w) = (narrow(&values(k + 64, 1)), values(n * k, 2));
    let x = &x[x.as_ptr().align_offset(64)..][..k];
    let want = reference(&widen(x), &widen(&narrow(&w)), k, n);
    for isa in Isa::supported() {
        let packed = PackedWeight::new(isa, &[&w], n, k);
        for stride in [0, 1, k, 1 << 40, 1 << 62, 1 << 63, usize::MAX] {
            let mut y = vec![f32::NAN; n];
            let view = MatRef::strided(x, [1, k], [stride, 1]);
            super::forward(isa, view, &packed, Output::Write(MatMut::new(&mut y, n)), &NoEpilogue);
            assert_close(&y, want.iter().copied(), k, &format!("{isa}, {stride}"));
        }
        // Rows without elements.
        let none = PackedWeight::<bf16>::new(isa, &[], 2, 0);
        let mut y = [7.0; 40];
        let view = MatRef::strided(&x[..0], [20, 0], [32, 1]);
        super::forward(isa, view, &none, Output::Write(MatMut::new(&mut y, 2)), &NoEpilogue);
        assert_eq!(y, [0.0; 40], "{isa}");
    }
}

#[test]
fn pairs_agree_with_plain_loops_whatever_the_strides() {
    // Rows, columns, and elements that are summed: two to a pair.
    for [m, n, k] in [[1, 1, 2], [16, 32, 32], [37, 50, 66], [64, 128, 64], [128, 64, 30], [200, 33, 128]] {
        let (a, b, start) = (values(m * k, 1), values(n * k, 2), values(m * n, 3));
        let pairs = |values: &[f32]| bytemuck::cast_slice::<bf16, Pair>(&narrow(values)).to_vec();
        let (a_rows, b_rows) = (pairs(&a), pairs(&b));
        let transposed = |rows: &[Pair], count: usize| -> Vec<Pair> {
            (0..rows.len()).map(|i| rows[i % count * (k / 2) + i / count]).collect()
        };
        let (a_columns, b_columns) = (transposed(&a_rows, m), transposed(&b_rows, n));
        let want = reference(&widen(&narrow(&a)), &widen(&narrow(&b)), k, n);
        for isa in Isa::supported() {
            for (i, left) in [MatRef::new(&a_rows, k / 2), MatRef::new(&a_columns, m).t()].into_iter().enumerate() {
                for (j, right) in [MatRef::new(&b_rows, k / 2).t(), MatRef::new(&b_columns, n)].into_iter().enumerate()
                {
                    for (scale, accumulate) in [(1.0, false), (1.0, true), (0.5, false), (-2.0, true)] {
                        let what = format!("{isa} {m} {n} {k}, left {i}, right {j}, {scale}, {accumulate}");
                        let mut y = if accumulate { start.clone() } else { vec![f32::NAN; m * n] };
                        let to = MatMut::new(&mut y, n);
                        let to = if accumulate { Output::Accumulate(to) } else { Output::Write(to) };
                        gemm(isa, scale, left, right, to);
                        let want = want.iter().zip(&start).map(|(&(y, size), &c)| {
                            let (scale, c) = (f64::from(scale), if accumulate { f64::from(c) } else { 0.0 });
                            (scale * y + c, scale.abs() * size + c.abs())
                        });
                        assert_close(&y, want, k, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn a_bfloat16_chain_stores_only_rounded_results() {
    let (m, k, n) = (111, 75, 210);
    let (x, w, bias) = (narrow(&values(m * k, 1)), values(n * k, 2), values(n, 3));
    for isa in Isa::supported() {
        let packed = PackedWeight::new(isa, &[&w], n, k);
        let (mut y, mut slope) = (vec![0.0; m * n], vec![0.0; m * n]);
        forward(isa, &x, &packed, &mut y, false, &BiasGelu::new(&bias, Some(&mut slope)));

        let (mut y16, mut codes) = (vec![bf16::ZERO; m * n], vec![SlopeCode::zeroed(); m * n]);
        let epilogue = BiasGelu::new(&bias, Some(&mut codes));
        super::forward(isa, MatRef::new(&x, k), &packed, Output::Round(MatMut::new(&mut y16, n)), &epilogue);
        let want: Vec<i8> = slope.iter().map(|slope| (slope * 200.0 - 100.0).round_ties_even() as i8).collect();
        assert_eq!((&y16, bytemuck::cast_slice::<_, i8>(&codes)), (&narrow(&y), &want[..]), "{isa}");

        let mut dz = vec![bf16::ZERO; m * n];
        let epilogue = MulColumnSum::new(&codes, n);
        super::forward(isa, MatRef::new(&x, k), &packed, Output::Round(MatMut::new(&mut dz, n)), &epilogue);
        let mut sums = vec![0.0; n];
        epilogue.add_to(&mut sums);
        let epilogue = MulColumnSum::new(&codes, n);
        forward(isa, &x, &packed, &mut y, false, &epilogue);
        let mut want = vec![0.0; n];
        epilogue.add_to(&mut want);
        assert_eq!((dz, sums), (narrow(&y), want), "{isa}");

        forward(isa, &x, &packed, &mut y, false, &Bias(&bias));
        super::forward(isa, MatRef::new(&x, k), &packed, Output::Round(MatMut::new(&mut y16, n)), &Bias(&bias));
        assert_eq!(y16, narrow(&y), "{isa}");
        forward(isa, &x, &packed, &mut y, false, &NoEpilogue);
        super::forward(isa, MatRef::new(&x, k), &packed, Output::Round(MatMut::new(&mut y16, n)), &NoEpilogue);
        assert_eq!(y16, narrow(&y), "{isa}");
    }
}

/// Records the blocks that it receives.
#[derive(Default)]
struct Cover(Mutex<Vec<(std::ops::Range<usize>, std::ops::Range<usize>)>>);
impl Epilogue for Cover {
    fn apply(&self, block: &mut Block<'_>) {
        assert!(block.rows().start.is_multiple_of(MC) && block.rows().len() <= MC && block.cols().len() <= NC);
        self.0.lock().unwrap().push((block.rows(), block.cols()));
    }
}

#[test]
fn an_epilogue_sees_every_element_once() {
    for [m, k, n] in [[1, 3, 1], [300, 8, 500], [96, 8, 192], [97, 8, 193], [1000, 8, 1000]] {
        let (x, w) = (values(m * k, 1), values(n * k, 2));
        for isa in Isa::supported() {
            let (packed, cover) = (PackedWeight::new(isa, &[&w], n, k), Cover::default());
            let mut y = vec![0.0; m * n];
            forward(isa, &x, &packed, &mut y, false, &cover);
            let mut seen = vec![0; m * n];
            for (rows, cols) in cover.0.into_inner().unwrap() {
                rows.for_each(|i| cols.clone().for_each(|j| seen[i * n + j] += 1));
            }
            assert!(seen.iter().all(|&times| times == 1), "{isa} [{m}, {n}]");
        }
    }
}

#[test]
#[should_panic = "an auxiliary matrix belongs to one product"]
fn an_auxiliary_matrix_refuses_a_second_product() {
    let isa = Isa::selected();
    let packed = PackedWeight::new(isa, &[&[1.0; 4]], 2, 2);
    let (mut y, mut slope) = ([0.0; 2], [0.0; 2]);
    let epilogue = BiasGelu::new(&[0.0; 2], Some(&mut slope));
    for _ in 0..2 {
        forward(isa, &[1.0; 2], &packed, &mut y, false, &epilogue);
    }
}
