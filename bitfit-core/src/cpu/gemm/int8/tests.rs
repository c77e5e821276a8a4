//! Products of int8 beside plain loops of integers, by every instruction set and at the bounds of their sums.

use super::{
    super::{MatMut, NoEpilogue},
    kernel::Instructions,
    outliers::Outliers,
    *,
};

/// The instructions of this CPU.
#[cfg(target_arch = "x86_64")]
fn all() -> Vec<Instructions> {
    let has = |isa| Isa::detect() >= isa;
    let all = [
        (Instructions::Portable, true),
        (Instructions::Sse2, true),
        (Instructions::Avx2, has(Isa::Avx2)),
        (Instructions::AvxVnni, is_x86_feature_detected!("avxvnni")),
        (Instructions::Avx512, has(Isa::Avx512)),
        (Instructions::Avx512Vnni, has(Isa::Avx512) && is_x86_feature_detected!("avx512vnni")),
        (Instructions::Amx, has(Isa::Amx)),
    ];
    all.into_iter().filter(|&(_, is_there)| is_there).map(|(instructions, _)| instructions).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn all() -> Vec<Instructions> {
    vec![Instructions::Portable]
}

fn values(len: usize, seed: u32) -> Vec<f32> {
    let mut random = crate::Random::new(3, seed);
    (0..len).map(|_| random.uniform() as f32 - 0.4).collect()
}

/// Rows of values of which up to six are larger than the others, by up to ten thousand times.
fn rows_with_outliers(rows: usize, cols: usize, seed: u32) -> Vec<f32> {
    let mut x = values(rows * cols, seed);
    let mut random = crate::Random::new(4, seed);
    for (i, row) in x.chunks_mut(cols).enumerate() {
        for _ in 0..i % 7 {
            let at = (random.uniform() * cols as f64) as usize;
            row[at] *= 10.0_f32.powf(4.0 * random.uniform() as f32);
        }
    }
    x
}

/// What the largest factor of a row stands for, and which elements are set aside, by a plain loop over the rule.
fn set_aside(row: &[f32]) -> (f32, Vec<usize>) {
    let mut aside: Vec<usize> = Vec::new();
    loop {
        let rest = (0..row.len()).filter(|i| !aside.contains(i));
        let most = rest.map(|i| row[i].abs()).fold(0.0, f32::max);
        let above: Vec<usize> = (0..row.len()).filter(|&i| row[i].abs() > most / 2.0).collect();
        if most == 0.0 || above.len() > 4 {
            let largest = row.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            return (most.max(largest / 128.0), aside);
        }
        aside = above;
    }
}

/// All of the rows of `x`, rounded.
fn quantized(isa: Isa, x: &[f32], cols: usize) -> QuantizedRows {
    Unquantized::new(x, cols).quantize(isa)
}

/// `x · Wᵀ` by the kernels of `instructions`, with a weight of which only the panels for it are used.
fn product(instructions: Instructions, a: Left<'_, f32>, w: &[i8], scales: &[f32], y: &mut [f32], adds: bool) {
    let k = match a {
        Left::Quantized(a) => a.cols(),
        Left::Unquantized(a) => a.cols(),
    };
    let n = scales.len();
    let kernels = Kernels::with(instructions);
    let panels = Panels::pack(kernels, k, n, |at, col| w[col * k + at]);
    let y = MatMut::new(y, n);
    let to = if adds { Output::Accumulate(y) } else { Output::Write(y) };
    Int8Product { isa: Isa::Portable, kernels, a, b: &panels, scales }.run(to, &NoEpilogue);
}

/// The exact sums, multiplied by their scales as the kernels do.
fn reference(x: &QuantizedRows, w: &[i8], scales: &[f32]) -> Vec<f32> {
    let mut y = Vec::new();
    for row in 0..x.rows() {
        for (w, scale) in w.chunks(x.cols().max(1)).zip(scales) {
            let terms = x.factors(row).into_iter().zip(w).map(|(a, &b)| i64::from(a) * i64::from(b));
            y.push(terms.sum::<i64>() as f32 * (x.scales()[row] * scale));
        }
    }
    y
}

#[test]
fn every_instruction_set_computes_the_bits_of_a_plain_loop() {
    let sizes = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 47, 48, 49, 65];
    for (i, &m) in sizes.iter().enumerate() {
        for (j, &k) in sizes.iter().enumerate() {
            let n = sizes[(5 * i + 3 * j) % sizes.len()];
            check(m, k, n);
        }
    }
    // The last one has several blocks of rows in tile registers too, and on two threads of several panels.
    for [m, k, n] in [[97, 384, 200], [130, 1536, 50], [3, 3072, 768], [400, 70, 1700]] {
        check(m, k, n);
    }
}

fn check(m: usize, k: usize, n: usize) {
    let x = rows_with_outliers(m, k, 1);
    let in_tasks = Left::Unquantized(Unquantized::new(&x, k));
    let x = quantized(Isa::Portable, &x, k);
    let w: Vec<i8> = values(n * k, 2).iter().map(|value| (value * 211.0) as i8).collect();
    let (scales, start) = (values(n, 3), values(m * n, 4));
    let want = reference(&x, &w, &scales);
    for instructions in all() {
        for a in [Left::Quantized(&x), in_tasks] {
            let mut y = vec![f32::NAN; m * n];
            product(instructions, a, &w, &scales, &mut y, false);
            assert_eq!(y, want, "{instructions:?} [{m}, {k}, {n}]");
        }
        let mut y = start.clone();
        product(instructions, Left::Quantized(&x), &w, &scales, &mut y, true);
        let added: Vec<f32> = want.iter().zip(&start).map(|(want, start)| want + start).collect();
        assert_eq!(y, added, "{instructions:?} [{m}, {k}, {n}], added");
    }
}

#[test]
fn the_largest_sums_are_exact() {
    let k = MAX_TERMS;
    for (sign, outliers) in [(1.0, 0), (-1.0, 0), (1.0, 4), (-1.0, 4)] {
        let mut row = vec![sign; k];
        row[k / 2..][..outliers].fill(128.0 * sign);
        let x = quantized(Isa::Portable, &row, k);
        assert_eq!(
            [x.factors(0)[0], x.factors(0)[k / 2]],
            [127, if outliers > 0 { 128 * 127 } else { 127 }].map(|f| f * sign as i32)
        );
        for factor in [127, -127] {
            let w = vec![factor; k];
            let full = 127 * k as i64 + outliers as i64 * 127 * 127;
            let want = (i64::from(factor) * sign as i64 * full) as f32 * (x.scales()[0] * 1.0);
            for instructions in all() {
                let mut y = [0.0];
                product(instructions, Left::Quantized(&x), &w, &[1.0], &mut y, false);
                assert_eq!(y, [want], "{instructions:?}");
            }
        }
    }
}

#[test]
fn every_instruction_set_rounds_rows_alike() {
    for cols in [1, 3, 8, 17, 64, 100, 300] {
        let mut x = rows_with_outliers(70, cols, 5);
        x[..cols].fill(0.0);
        let scales = values(cols, 6);
        let first = Unquantized::scaled(&x, &scales).quantize(Isa::Portable);
        assert_eq!((first.scales()[0], first.factors(0)), (0.0, vec![0; cols]));
        for row in 1..70 {
            let values: Vec<f32> = x[row * cols..][..cols].iter().zip(&scales).map(|(x, scale)| x * scale).collect();
            let (largest, aside) = set_aside(&values);
            assert_eq!(first.scales()[row], largest / 127.0);
            let want: Vec<i32> = values.iter().map(|x| (x * (127.0 / largest)).round_ties_even() as i32).collect();
            assert_eq!(first.factors(row), want);
            assert!(want.iter().enumerate().all(|(i, q)| q.abs() <= if aside.contains(&i) { 128 * 127 } else { 127 }));
            assert_eq!(first.starts()[row], -128 * want.iter().sum::<i32>());
        }
        let outliers = |row: &Outliers| row.iter().filter(|outlier| !outlier.is_none()).count();
        assert_eq!(first.outliers().iter().map(outliers).max(), Some(cols.min(4)));
        let of_bf16: Vec<half::bf16> = x.iter().map(|&x| half::bf16::from_f32(x)).collect();
        let widened: Vec<f32> = of_bf16.iter().map(|x| x.to_f32()).collect();
        for isa in Isa::supported() {
            assert_same(&Unquantized::scaled(&x, &scales).quantize(isa), &first);
            let first = Unquantized::scaled(&widened, &scales).quantize(Isa::Portable);
            assert_same(&Unquantized::scaled(&of_bf16, &scales).quantize(isa), &first);
            let first = Unquantized::new(&widened, cols).quantize(Isa::Portable);
            assert_same(&Unquantized::new(&of_bf16, cols).quantize(isa), &first);
        }
    }
}

fn assert_same(got: &QuantizedRows, want: &QuantizedRows) {
    assert_eq!((got.scales(), got.starts(), got.outliers()), (want.scales(), want.starts(), want.outliers()));
    (0..want.rows()).for_each(|row| assert_eq!(got.factors(row), want.factors(row)));
}

/// Rows at the limits of the rule: the large elements of a row of 0.5, what the largest factor then stands for, and how
/// many outliers are listed.
#[test]
fn the_limits_of_what_is_set_aside() {
    let cases: [(&[f32], f32, usize); 9] = [
        (&[], 0.5, 0),
        (&[8.0, 7.0, -6.0, 5.0], 0.5, 4),
        (&[8.0, 7.0, -6.0, 5.0, 4.5], 8.0, 0),
        // Exactly half the largest counts as the rest, of which it is then the largest.
        (&[8.0, 4.0], 0.5, 2),
        (&[8.0, 4.0, 4.0, 4.0, 4.0], 4.0, 1),
        (&[1.0], 0.5, 1),
        (&[0.9], 0.9, 0),
        // The largest takes both digits in full, and the scale follows it; the other one then needs no second digit.
        (&[-4000.0, 10.0], 4000.0 / 128.0, 1),
        (&[100.0, 50.5, 20.0, 9.5, 4.0], 4.0, 4),
    ];
    for (large, largest, listed) in cases {
        let mut row = vec![0.5; 100];
        large.iter().enumerate().for_each(|(i, &large)| row[90 - 13 * i] = large);
        let rows = quantized(Isa::selected(), &row, 100);
        assert_eq!(rows.scales(), [largest / 127.0], "{large:?}");
        assert_eq!(rows.outliers()[0].iter().filter(|outlier| !outlier.is_none()).count(), listed, "{large:?}");
        let w: Vec<i8> = values(300, 2).iter().map(|value| (value * 211.0) as i8).collect();
        let want = reference(&rows, &w, &[1.0; 3]);
        for instructions in all() {
            let mut y = [0.0; 3];
            product(instructions, Left::Quantized(&rows), &w, &[1.0; 3], &mut y, false);
            assert_eq!(y[..], want, "{instructions:?} {large:?}");
        }
    }
    // Next to what counts as zero, and with a rest below the normal numbers.
    for row in [[2e-34, 1e-34, 5e-35, 1e-36], [1e-34, 0.0, 0.0, 0.0], [1.0, 1e-40, -1e-41, 0.0]] {
        let rows = quantized(Isa::selected(), &row, 4);
        assert!(rows.scales()[0] > 0.0 || row[0] == 1e-34, "{row:?}");
        let back = |at: usize| rows.factors(0)[at] as f32 * rows.scales()[0];
        assert!((back(0) - row[0]).abs() <= row[0] / 16_000.0 || row[0] == 1e-34, "{} {}", back(0), row[0]);
    }
}

#[test]
fn elements_far_above_the_rest_do_not_coarsen_it() {
    let mut x = values(100, 9);
    for (at, large) in [(3, 90.0), (40, -35.0), (77, 12.0), (99, -700.0)] {
        x[at] = large;
    }
    let error = |x: &[f32]| {
        let rows = quantized(Isa::selected(), x, 100);
        let error = rows.factors(0).into_iter().zip(x).map(|(q, &x)| (q as f32 * rows.scales()[0] - x).abs());
        error.fold(0.0, f32::max)
    };
    assert!(error(&x) < 0.03, "{}", error(&x));
    // Five alike: the row is rounded as a whole.
    [3, 40, 50, 77, 99].iter().for_each(|&at| x[at] = 90.0);
    assert!(error(&x) > 0.1, "{}", error(&x));
}

#[test]
fn an_element_that_is_not_finite_shows_in_its_row_alone() {
    let w = Int8Weight::new(Isa::selected(), &[&values(5 * 20, 7)], 5, 20);
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut x = values(3 * 20, 8);
        x[33] = wrong;
        let mut y = [0.0; 15];
        w.forward(&x, Output::Write(MatMut::new(&mut y, 5)), &NoEpilogue);
        assert!(y[5..10].iter().all(|y| y.is_nan()), "{y:?}");
        assert!(y[..5].iter().chain(&y[10..]).all(|y| y.is_finite()), "{y:?}");
    }
}

#[test]
fn an_element_of_a_weight_that_is_not_finite_shows_in_its_feature_and_in_every_gradient() {
    for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut w = values(5 * 20, 7);
        w[3 * 20 + 2] = wrong;
        let w = Int8Weight::new(Isa::selected(), &[&w], 5, 20);
        let mut y = [0.0; 15];
        w.forward(&values(3 * 20, 8), Output::Write(MatMut::new(&mut y, 5)), &NoEpilogue);
        assert!(y.iter().enumerate().all(|(i, y)| y.is_nan() == (i % 5 == 3)), "{y:?}");
        let mut dx = [0.0; 60];
        w.input_gradient(&values(3 * 5, 9), Output::Write(MatMut::new(&mut dx, 20)), &NoEpilogue);
        assert!(dx.iter().all(|dx| dx.is_nan()), "{dx:?}");
    }
}

#[test]
fn a_weight_too_small_for_a_scale_counts_as_zero() {
    let w = Int8Weight::new(Isa::selected(), &[&[1e-39, 0.0, 0.5, 1.0]], 2, 2);
    let mut y = [f32::NAN; 2];
    w.forward(&[1.0, 1.0], Output::Write(MatMut::new(&mut y, 2)), &NoEpilogue);
    assert!(y[0] == 0.0 && (y[1] - 1.5).abs() < 0.01, "{y:?}");
}

#[test]
fn both_products_are_those_of_f32_to_the_rounding_of_their_factors() {
    let [m, k, n] = [70, 200, 90];
    let (x, w, dy) = (values(m * k, 1), values(n * k, 2), values(m * n, 3));
    let isa = Isa::selected();
    let weight = Int8Weight::new(isa, &[&w[..30 * k], &w[30 * k..]], n, k);
    let (mut y, mut dx) = (vec![0.0; m * n], vec![0.0; m * k]);
    weight.forward(&x, Output::Write(MatMut::new(&mut y, n)), &NoEpilogue);
    weight.input_gradient(&dy, Output::Write(MatMut::new(&mut dx, k)), &NoEpilogue);
    let distance = |got: &[f32], want: &[f32]| {
        let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        norm(&mut got.iter().zip(want).map(|(got, want)| got - want)) / norm(&mut want.iter().copied())
    };
    let want: Vec<f32> = (0..m * n).map(|i| (0..k).map(|j| x[i / n * k + j] * w[i % n * k + j]).sum()).collect();
    assert!(distance(&y, &want) < 0.01, "{}", distance(&y, &want));
    let want: Vec<f32> = (0..m * k).map(|i| (0..n).map(|j| dy[i / k * n + j] * w[j * k + i % k]).sum()).collect();
    assert!(distance(&dx, &want) < 0.01, "{}", distance(&dx, &want));
}

#[test]
fn a_product_may_have_no_rows() {
    let w = Int8Weight::new(Isa::selected(), &[&[1.0, 2.0]], 1, 2);
    w.forward::<f32>(&[], Output::Write(MatMut::new(&mut [], 1)), &NoEpilogue);
}
