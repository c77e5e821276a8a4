//! Tests of what the conformance tests do not cover: the errors if there is no device, and properties of this device.

use bitfit_core::ops::{
    activation::{Activation, Activations, reference},
    adamw::{AdamW, AdamWStep, Update},
    dropout::DropoutMask,
    linear::{Linear, WeightGradient},
    matmul::Matmul,
};
use bitfit_core::{
    BatchOffset, DType, Device, Mask, Precision, Random, Seed,
    backend::{Slice, SliceMut},
    rng::{Dropout, RowsOf},
};
use bitfit_cuda::{Buffer, Cuda, Error};

mod common;

fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut random = Random::new(seed, 0);
    (0..len).map(|_| random.normal() as f32).collect()
}

fn upload(device: &Cuda, data: &[f32]) -> Buffer {
    let mut buffer = device.allocate(data.len()).unwrap();
    device.write(data, SliceMut::new(&mut buffer, 0, data.len())).unwrap();
    buffer
}

fn read(device: &Cuda, buffer: &Buffer, len: usize) -> Vec<f32> {
    let mut data = vec![0.0; len];
    device.read(Slice::new(buffer, 0, len), &mut data).unwrap();
    data
}

#[test]
fn what_is_missing_is_an_error_that_names_it() {
    match Cuda::new(usize::MAX).unwrap_err() {
        Error::NoDevice { ordinal, count } => assert!(ordinal == usize::MAX && Cuda::count() == Ok(count)),
        error @ Error::NoDriver => assert!(error.to_string().contains("libcuda")),
        error @ Error::NoCompiler => assert!(error.to_string().contains("libnvrtc")),
        error @ Error::NoProducts => assert!(error.to_string().contains("libcublasLt")),
        error => panic!("{error}"),
    }
}

#[test]
fn the_name_says_which_gpu_and_which_precision() {
    let [Some(f32), Some(bf16)] = [Precision::F32, Precision::Bf16].map(common::device) else { return };
    for (device, precision) in [(f32.clone().with_tf32(), "tf32"), (f32, "f32"), (bf16, "bf16")] {
        let name = device.name();
        assert!(name.starts_with("cuda:0 (") && name.ends_with(&format!(", {precision})")), "{name}");
    }
}

#[test]
fn a_buffer_of_another_device_is_refused() {
    let Some(device) = common::device(Precision::F32) else { return };
    let other = Cuda::new(0).unwrap();
    let (mine, mut theirs) = (upload(&device, &[1.0; 4]), upload(&other, &[2.0; 4]));
    let at = other.indices(&[0, 1, 2, 3]).unwrap();
    let mut to = upload(&device, &[0.0; 4]);
    let from = || Slice::new(&mine, 0, 4);
    for result in [
        device.copy(from(), SliceMut::new(&mut theirs, 0, 4)),
        device.copy(Slice::new(&theirs, 0, 4), SliceMut::new(&mut to, 0, 4)),
        device.scatter(from(), &at, SliceMut::new(&mut to, 0, 4)),
        device.read(Slice::new(&theirs, 0, 4), &mut [0.0; 4]),
        device.write(&[3.0; 4], SliceMut::new(&mut theirs, 0, 4)),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, bitfit_core::Error::Foreign { owner: "device", .. }), "{error}");
    }
    assert_eq!((read(&device, &to, 4), read(&other, &theirs, 4)), (vec![0.0; 4], vec![2.0; 4]));
}

#[test]
fn the_peak_of_memory_is_what_was_allocated() {
    let Some(device) = common::device(Precision::F32) else { return };
    let Some(before) = device.peak_memory().unwrap() else { return };
    // Larger than all allocations of the other tests at a time.
    let buffer = device.allocate(1 << 26).unwrap();
    let after = device.peak_memory().unwrap().unwrap();
    assert!(after >= 1 << 28 && after >= before, "{before} bytes, then {after}");
    drop(buffer);
    assert!(device.peak_memory().unwrap().unwrap() >= after);
}

#[test]
fn a_threads_first_call_may_be_a_kernel() {
    let Some(device) = common::device(Precision::F32) else { return };
    let mut buffer = upload(&device, &[0.0; 8]);
    // Loads the source of the fill kernels, but not yet the function that fills bfloat16.
    device.fill(1.0, SliceMut::new(&mut buffer, 0, 8)).unwrap();
    let narrow = SliceMut { buffer: &mut buffer, offset: 0, len: 8, dtype: DType::Bf16 };
    std::thread::scope(|scope| scope.spawn(|| device.fill(-2.0, narrow)).join()).unwrap().unwrap();
    let pair = f32::from_bits(0xc000_c000); // twice -2 in bfloat16
    assert_eq!(read(&device, &buffer, 8), [[pair; 4], [1.0; 4]].concat());
}

#[test]
fn a_threads_first_call_may_be_a_long_copy() {
    let Some(device) = common::device(Precision::F32) else { return };
    let long = random(3, 1 << 19);
    let buffer = upload(&device, &long);
    // Nothing waits in the queue.
    let mut back = vec![0.0; long.len()];
    let copy = || device.read(Slice::new(&buffer, 0, long.len()), &mut back);
    std::thread::scope(|scope| scope.spawn(copy).join()).unwrap().unwrap();
    assert_eq!(back, long);
    let mut other = device.allocate(long.len()).unwrap();
    let copy = || device.write(&long, SliceMut::new(&mut other, 0, long.len()));
    std::thread::scope(|scope| scope.spawn(copy).join()).unwrap().unwrap();
    assert_eq!(read(&device, &other, long.len()), long);
}

#[test]
fn many_copies_under_way_do_not_meet() {
    let Some(device) = common::device(Precision::F32) else { return };
    // More copies than there are blocks of pinned memory, of lengths that make the blocks grow, without waits in
    // between. A block that is written or freed before its copy is complete is always detected on the emulator with
    // BITFIT_EMULATOR_CHECK=lazy, and on a GPU by chance.
    let data: Vec<_> = (0..100).map(|i| random(i, 1 + (i as usize * 997) % 5000)).collect();
    let buffers: Vec<_> = data.iter().map(|data| upload(&device, data)).collect();
    for (data, buffer) in data.iter().zip(&buffers) {
        assert_eq!(&read(&device, buffer, data.len()), data);
    }
}

#[test]
fn a_long_copy_is_done_when_it_returns() {
    let Some(device) = common::device(Precision::F32) else { return };
    // Long enough not to go through pinned memory.
    let long = random(7, (1 << 20) + 3);
    let mut copied = long.clone();
    let buffer = upload(&device, &copied);
    copied.fill(-1.0);
    assert_eq!(read(&device, &buffer, long.len()), long);
}

/// The value of a buffer after `steps` sums of `x + 1`, with a copy to the device, an allocation or a release between
/// some of them, which end the graph of kernels that is being captured.
fn counted(device: &Cuda, steps: usize, interrupted_at: &[usize]) -> Vec<f32> {
    let mut sum = upload(device, &[0.0; 5]);
    let ones = upload(device, &[1.0; 5]);
    let mut spare = Vec::new();
    for step in 0..steps {
        match interrupted_at.contains(&step).then_some(step % 3) {
            Some(0) => drop(spare.pop()),
            Some(1) => spare.push(device.allocate(1000).unwrap()),
            Some(_) => spare.push(upload(device, &[0.5; 9])),
            None => {}
        }
        device.accumulate(Slice::new(&ones, 0, 5), SliceMut::new(&mut sum, 0, 5)).unwrap();
    }
    read(device, &sum, 5)
}

#[test]
fn kernels_in_graphs_are_executed_once_and_in_order() {
    let Some(device) = common::device(Precision::F32) else { return };
    // Fewer than a chunk, a chunk, several chunks; each three times, so that chunks are captured and graphs launched.
    for steps in [1, 8, 9, 32, 33, 56, 200, 2000] {
        for interrupted_at in [&[][..], &[3, 10], &[9, 10, 11, 12, 13], &[40, 41, 100, 150, 199]] {
            for _ in 0..3 {
                assert_eq!(counted(&device, steps, interrupted_at), [steps as f32; 5], "{steps} {interrupted_at:?}");
            }
        }
    }
    // What is queued is not lost with the buffer of another task, and threads share the queue.
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                scope.spawn({
                    let device = device.clone();
                    move || counted(&device, 300 + thread, &[20, 21, 22, 100])
                })
            })
            .collect();
        for (thread, counted) in threads.into_iter().enumerate() {
            assert_eq!(counted.join().unwrap(), [300.0 + thread as f32; 5]);
        }
    });
}

#[test]
fn a_graph_that_cannot_be_made_is_done_without() {
    const VARIABLE: &str = "BITFIT_EMULATOR_GRAPHS";
    let Some(device) = common::device(Precision::F32) else { return };
    if !common::is_emulated(&device) {
        // A real driver cannot be told to refuse one.
        return;
    }
    if std::env::var_os(VARIABLE).is_some() {
        for _ in 0..4 {
            assert_eq!(counted(&device, 100, &[]), [100.0; 5]);
        }
        return assert_eq!(device.graphs_launched(), 0);
    }
    // The emulator reads its environment once, so this test runs again, in a process of its own.
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "a_graph_that_cannot_be_made_is_done_without"]).env(VARIABLE, "refuses");
    let output = again.output().unwrap();
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
}

#[test]
fn graphs_in_use_outlast_others() {
    let Some(device) = common::device(Precision::F32) else { return };
    let chunks = 1500;
    let ones = upload(&device, &vec![1.0; chunks]);
    let mut sum = upload(&device, &[0.0]);
    // A chunk of three kernels of its own for each word; whether it was launched as a graph.
    let mut launch = |word: usize| {
        let before = device.graphs_launched();
        for _ in 0..3 {
            device.accumulate(Slice::new(&ones, word, 1), SliceMut::new(&mut sum, 0, 1)).unwrap();
        }
        read(&device, &sum, 1); // submits them
        device.graphs_launched() > before
    };
    for _ in 0..3 {
        launch(0);
    }
    let mut launches = 3;
    for word in 1..chunks {
        assert!(!launch(word) && launch(word) && launch(0), "word {word}");
        launches += 3;
    }
    // The last ones are still there, the first ones were forgotten.
    assert!((chunks - 500..chunks).all(&mut launch));
    assert!(!launch(1));
    launches += 501;
    assert_eq!(read(&device, &sum, 1), [3.0 * launches as f32]);
}

#[test]
fn a_graph_draws_the_mask_of_the_pass_in_which_it_is_launched() {
    let Some(device) = common::device(Precision::F32) else { return };
    let (cols, len) = (24, 240);
    let x = upload(&device, &vec![1.0; len]);
    let mut y = upload(&device, &vec![0.0; len]);
    let start = BatchOffset::default();
    let passes = [(0, start), (1, start), (1, start.after(10, 1, 1)), (7, start.after(3, 1, 1))];
    for pass in [0, 1, 0, 2, 0, 2, 3, 1, 3] {
        let (step, offset) = passes[pass];
        // Several chunks, each with masks and with sums of them.
        let dropouts = (0..40).map(|site| {
            let dropout = Dropout::new(Seed { run: 5, step }, site, 0.25).unwrap();
            dropout.in_batch(offset, RowsOf::Tokens, cols)
        });
        let mut expected = vec![0.0; len];
        device.fill(0.0, SliceMut::new(&mut y, 0, len)).unwrap();
        for dropout in dropouts {
            device.dropout(dropout, Slice::new(&x, 0, len), SliceMut::new(&mut y, 0, len), true).unwrap();
            for (element, expected) in (0..).zip(&mut expected) {
                *expected += dropout.factor(element);
            }
        }
        assert_eq!(read(&device, &y, len), expected, "pass {pass}");
    }
    assert!(device.graphs_launched() > 0);
}

#[test]
fn a_sum_does_not_reach_memory_that_was_given_back() {
    let Some(device) = common::device(Precision::F32) else { return };
    let (rows, cols) = (64, 8);
    let dy = upload(&device, &vec![1.0; rows * cols]);
    // The first sum loads the kernel, and is executed at once; the others wait for their results to be used.
    for _ in 0..3 {
        let mut results = upload(&device, &[0.0; 24]);
        device.column_sum(Slice::new(&dy, 0, rows * cols), cols, 0, SliceMut::new(&mut results, 8, cols)).unwrap();
        drop(results);
        let mut other = device.allocate(24).unwrap();
        device.fill(5.0, SliceMut::new(&mut other, 0, 24)).unwrap();
        assert_eq!(read(&device, &other, 24), [5.0; 24]);
    }
    let mut results = upload(&device, &[0.0; 24]);
    for _ in 0..2 {
        device.column_sum(Slice::new(&dy, 0, rows * cols), cols, 0, SliceMut::new(&mut results, 8, cols)).unwrap();
    }
    assert_eq!(read(&device, &results, 24), [[0.0; 8], [2.0 * rows as f32; 8], [0.0; 8]].concat());
}

#[test]
fn a_masks_list_is_the_one_it_holds_now() {
    let Some(device) = common::device(Precision::F32) else { return };
    let (rows, out, inner) = (5, 3, 4);
    let (dy, x) = (random(1, rows * out), random(2, rows * inner));
    let (dy_there, x_there) = (upload(&device, &dy), upload(&device, &x));
    let mut mask = Mask::Elements(vec![0, 7]);
    for chosen in [[0, 7], [11, 5]] {
        // Changed in place: the list has the address of the previous one.
        if let Mask::Elements(list) = &mut mask {
            list.copy_from_slice(&chosen);
        }
        let mut dw = upload(&device, &[0.0; 2]);
        let [dy_slice, x_slice] = [Slice::new(&dy_there, 0, dy.len()), Slice::new(&x_there, 0, x.len())];
        let input = WeightGradient {
            dy: dy_slice,
            dy_cols: out,
            first: 0,
            x: x_slice,
            shape: [out, inner],
            mask: &mask,
            precision: Precision::F32,
        };
        device.weight_gradient(input, SliceMut::new(&mut dw, 0, 2)).unwrap();
        for (found, element) in read(&device, &dw, 2).into_iter().zip(chosen) {
            let (o, i) = (element as usize / inner, element as usize % inner);
            let expected: f32 = (0..rows).map(|row| dy[row * out + o] * x[row * inner + i]).sum();
            assert!((found - expected).abs() < 1e-5, "{element}: {found} instead of {expected}");
        }
    }
}

#[test]
fn tf32_is_near_f32_and_is_not_f32() {
    let Some(exact) = common::device(Precision::F32) else { return };
    let rounded = exact.clone().with_tf32();
    let size = 64;
    let [a, b] = [1, 2].map(|seed| random(seed, size * size));
    let product = |device: &Cuda| {
        let (a, b, mut y) = (upload(device, &a), upload(device, &b), device.allocate(size * size).unwrap());
        let whole = |buffer| Slice::new(buffer, 0, size * size);
        device.matmul([size; 3], whole(&a), whole(&b), SliceMut::new(&mut y, 0, size * size)).unwrap();
        read(device, &y, size * size)
    };
    let (exact, rounded) = (product(&exact), product(&rounded));
    let scale = exact.iter().fold(0.0f32, |max, value| max.max(value.abs()));
    let error = exact.iter().zip(&rounded).fold(0.0f32, |max, (exact, rounded)| max.max((exact - rounded).abs()));
    assert!(error < 2e-3 * scale, "{error} of {scale}");
    // With ten bits of mantissa instead of 23, the error is a hundred times that of another order of f32 sums.
    let least = 1e-5 * scale;
    if common::device(Precision::F32).is_some_and(|device| device.name().contains("sm_75")) {
        assert!(error < least, "Turing has no TF32, but the error {error} at scale {scale} is above f32's");
    } else {
        assert!(error > least, "the error {error} at scale {scale} is that of f32");
    }
}

#[test]
fn the_gelu_keeps_the_bounds_that_its_source_states() {
    let Some(device) = common::device(Precision::F32) else { return };
    let z: Vec<f32> = (-10_000..=10_000).map(|i| i as f32 / 500.0).chain([1e30, -1e30, f32::INFINITY]).collect();
    let len = z.len();
    let (z_there, mut y, mut slope) = (upload(&device, &z), upload(&device, &z), upload(&device, &z));
    let whole = |buffer| SliceMut::new(buffer, 0, len);
    let of = Slice::new(&z_there, 0, len);
    device.activate(Activation::Gelu, of, whole(&mut y), Some(whole(&mut slope))).unwrap();
    let (y, slope) = (read(&device, &y, len), read(&device, &slope, len));
    assert_eq!(y[len - 3..], [1e30, 0.0, f32::INFINITY]);
    assert_eq!(slope[len - 3..], [1.0, 0.0, 1.0]);
    let exact: Vec<f64> = z[..len - 3].iter().map(|&z| f64::from(z)).collect();
    let exact_y = reference::forward(Activation::Gelu, &exact);
    let exact_slope = reference::backward(Activation::Gelu, &exact, &vec![1.0; exact.len()]);
    for (i, z) in exact.iter().enumerate() {
        let of = z.abs().max(1.0);
        assert!((f64::from(y[i]) - exact_y[i]).abs() <= 3e-7 * of, "gelu {z}: {} instead of {}", y[i], exact_y[i]);
        let error = (f64::from(slope[i]) - exact_slope[i]).abs();
        assert!(error <= 4e-7 * of, "the derivative at {z}: {} instead of {}", slope[i], exact_slope[i]);
    }
}

#[test]
fn the_optimizers_step_rounds_where_the_cpus_does() {
    let Some(device) = common::device(Precision::F32) else { return };
    let (len, lr, max_norm) = (5000, 1e-2, 1.5);
    // β₁ above and below 0.5, for which the first moment is computed and rounded in different ways.
    for hyper in [AdamW::default().with_weight_decay(0.1), AdamW::default().with_betas(0.3, 0.999)] {
        let (mut p, mut m, mut v) = (random(1, len), vec![0.0f32; len], vec![0.0f32; len]);
        let [mut p_there, mut m_there, mut v_there] = [&p, &m, &v].map(|values| upload(&device, values));
        let mut norm = upload(&device, &[0.0]);
        for step in 1..=4 {
            let g = random(1 + step, len);
            let g_there = upload(&device, &g);
            let update = Update {
                params: SliceMut::new(&mut p_there, 0, len),
                grads: Slice::new(&g_there, 0, len),
                m: SliceMut::new(&mut m_there, 0, len),
                v: SliceMut::new(&mut v_there, 0, len),
                hyper,
                lr,
                step,
                max_norm: Some(max_norm),
                norm: SliceMut::new(&mut norm, 0, 1),
            };
            device.adamw(update).unwrap();
            // The norm of the device, because its sum may have another order.
            let factor = (max_norm / (read(&device, &norm, 1)[0] + 1e-6)).min(1.0);
            assert!(factor < 1.0, "nothing is clipped");
            let c = hyper.coefficients(lr, step).unwrap();
            for i in 0..len {
                let g = g[i] * factor;
                let kept = c.one_minus_beta1 < 0.5;
                let towards_g = if kept { c.one_minus_beta1 } else { c.one_minus_beta1 - 1.0 };
                m[i] = towards_g.mul_add(g - m[i], if kept { m[i] } else { g });
                v[i] = (c.one_minus_beta2 * g).mul_add(g, v[i] * c.beta2);
                p[i] = p[i] * c.keep - c.step_size * m[i] / (v[i].sqrt() / c.root + c.eps);
            }
            assert_eq!(read(&device, &m_there, len), m, "the first moment of step {step}");
            assert_eq!(read(&device, &v_there, len), v, "the second moment of step {step}");
            assert_eq!(read(&device, &p_there, len), p, "the parameters of step {step}");
        }
    }
}
