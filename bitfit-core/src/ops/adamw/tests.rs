//! The CPU's step against the reference and PyTorch, under every instruction set; threads; and arguments that cannot be.

use super::{
    cpu::{Elements, norm, step},
    reference::State,
    *,
};
use crate::{Cpu, ops::testing::*, simd::Level};

/// Buffers on a device, as an optimizer holds them.
struct Buffers {
    device: Cpu,
    params: <Cpu as Device>::Buffer,
    grads: <Cpu as Device>::Buffer,
    m: <Cpu as Device>::Buffer,
    v: <Cpu as Device>::Buffer,
    norm: <Cpu as Device>::Buffer,
    len: usize,
}

impl Buffers {
    fn new(device: &Cpu, params: &[f32]) -> Self {
        let len = params.len();
        let zeros = vec![0.0; len];
        let buffer = |values: &[f32]| {
            let mut buffer = device.allocate(values.len()).unwrap();
            device.write(values, SliceMut::new(&mut buffer, 0, values.len())).unwrap();
            buffer
        };
        let [grads, m, v] = [(); 3].map(|()| buffer(&zeros));
        Self { device: device.clone(), params: buffer(params), grads, m, v, norm: buffer(&[-1.0]), len }
    }

    fn step(&mut self, grads: &[f32], lr: f32, step: u64, max_norm: Option<f32>, hyper: AdamW) -> Result<f32> {
        let len = self.len;
        self.device.write(grads, SliceMut::new(&mut self.grads, 0, len))?;
        self.device.adamw(Update {
            params: SliceMut::new(&mut self.params, 0, len),
            grads: Slice::new(&self.grads, 0, len),
            m: SliceMut::new(&mut self.m, 0, len),
            v: SliceMut::new(&mut self.v, 0, len),
            hyper,
            lr,
            step,
            max_norm,
            norm: SliceMut::new(&mut self.norm, 0, 1),
        })?;
        let mut norm = [0.0];
        self.device.read(Slice::new(&self.norm, 0, 1), &mut norm)?;
        Ok(norm[0])
    }

    /// Parameters, first and second moment.
    fn read(&self) -> [Vec<f32>; 3] {
        [&self.params, &self.m, &self.v].map(|buffer| {
            let mut values = vec![0.0; self.len];
            self.device.read(Slice::new(buffer, 0, self.len), &mut values).unwrap();
            values
        })
    }
}

/// A gradient whose elements differ in size by up to eight orders of magnitude.
fn gradient(seed: u64, len: usize) -> Vec<f32> {
    random(seed, len).iter().enumerate().map(|(i, x)| x * 10_f32.powi(i as i32 % 9 - 6)).collect()
}

#[test]
fn every_instruction_set_agrees_with_the_reference() {
    let decaying = AdamW { weight_decay: 0.1, ..AdamW::default() };
    let quick = AdamW { beta1: 0.3, beta2: 0.9, eps: 1e-4, weight_decay: 0.01 };
    for device in cpus() {
        for len in (0..=33).chain([768, (1 << 16) + 7]) {
            for hyper in [AdamW::default(), decaying, quick] {
                for max_norm in [None, Some(0.5), Some(1e9)] {
                    agrees(&device, len, hyper, max_norm);
                }
            }
        }
    }
}

fn agrees(device: &Cpu, len: usize, hyper: AdamW, max_norm: Option<f32>) {
    let what = format!("{device:?}, {len}, {hyper:?}, {max_norm:?}");
    let params = random(1, len);
    let zeros = vec![0.0; len];
    let mut state = State { params: widen(&params), m: zeros.clone(), v: zeros };
    let mut fast = Buffers::new(device, &params);
    // The largest clipped gradient of each element: the measure its first moment's rounding has, as terms may cancel.
    let mut largest = vec![0.0_f64; len];
    for t in 1..=5 {
        let grads = widen(&gradient(t + 1, len));
        let expected = reference::adamw(&mut state, &grads, &hyper, f64::from(1e-2_f32), t, max_norm.map(f64::from));
        let norm = fast.step(&gradient(t + 1, len), 1e-2, t, max_norm, hyper).unwrap();
        assert!((f64::from(norm) - expected).abs() <= 1e-7 * expected, "{what}: norm {norm} instead of {expected}");
        let factor = max_norm.map_or(1.0, |max_norm| (f64::from(max_norm) / expected).min(1.0));
        largest.iter_mut().zip(&grads).for_each(|(largest, g)| *largest = largest.max(g.abs() * factor));
    }
    let [params, m, v] = fast.read();
    for i in 0..len {
        let near = |part: &str, found: f32, expected: f64, tolerance: f64| {
            let error = (f64::from(found) - expected).abs();
            assert!(error <= tolerance, "{what}: {part}[{i}] is {found} instead of {expected}");
        };
        near("params", params[i], state.params[i], 5e-7);
        near("m", m[i], state.m[i], 5e-7 * largest[i]);
        near("v", v[i], state.v[i], 1e-6 * state.v[i]);
    }
}

/// Five steps of torch 2.15 in float32 (CPU with FMA):
///
/// ```python
/// p = torch.nn.Parameter(torch.tensor([0.5, -1.25, 2.0, 0.0, -0.03125]))
/// opt = torch.optim.AdamW([p], lr=1e-3, weight_decay=0.01)
/// for k in range(5):
///     p.grad = torch.tensor([0.3, -0.7, 1e-6, 0.0, 40.0]) * (k + 1) * torch.tensor([1.0, -1.0])[k % 2]
///     opt.step()
/// print(p, opt.state[p]["exp_avg"], opt.state[p]["exp_avg_sq"])
/// ```
#[test]
fn five_steps_are_pytorchs() {
    let params = [0.499_007_55, -1.248_97, 1.998_941_4, 0.0, -0.032_215_822];
    let m = [0.090_842_99, -0.211_966_98, 3.028_099_8e-7, 0.0, 12.112_401];
    let v = [0.004_945_502_6, 0.026_925_514, 5.495_003e-14, 0.0, 87.920_05];
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    for device in cpus() {
        let mut buffers = Buffers::new(&device, &[0.5, -1.25, 2.0, 0.0, -0.031_25]);
        for k in 0..5 {
            let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
            let grads = [0.3, -0.7, 1e-6, 0.0, 40.0].map(|g: f32| g * (k + 1) as f32 * sign);
            buffers.step(&grads, 1e-3, k + 1, None, AdamW { weight_decay: 0.01, ..AdamW::default() }).unwrap();
        }
        let found = buffers.read();
        for (found, expected) in found[0].iter().zip(params) {
            assert!((found - expected).abs() <= 2e-7 * expected.abs(), "{device:?}: {found} instead of {expected}");
        }
        if device.level() == Level::Portable {
            // No fused multiply-add: the last bit may differ.
            assert_close("m", &found[1], &m.map(f64::from), 1e-7);
            assert_close("v", &found[2], &v.map(f64::from), 1e-7);
        } else {
            assert_eq!((bits(&found[1]), bits(&found[2])), (bits(&m), bits(&v)), "{device:?}");
        }
    }
}

/// The same for gradients that are clipped, now without decay:
///
/// ```python
/// for k in range(5):
///     p.grad = torch.tensor([0.3, -0.7, 1e-6, 0.0, 0.25]) * (k + 1) * torch.tensor([1.0, -1.0])[k % 2]
///     print(torch.nn.utils.clip_grad_norm_([p], 1.0)); opt.step()
/// ```
#[test]
fn five_clipped_steps_are_pytorchs() {
    let norms = [0.801_560_94, 1.603_121_9, 2.404_682_9, 3.206_243_8, 4.007_805];
    let params = [0.498_787_34, -1.248_787_2, 1.998_798_8, 0.0, -0.032_462_68];
    let m = [0.026_457_284, -0.061_733_663, 8.819_095e-8, 0.0, 0.022_047_741];
    let v = [6.491_116e-4, 3.534_051_6e-3, 7.212_35e-15, 0.0, 4.507_719e-4];
    for device in cpus() {
        let mut buffers = Buffers::new(&device, &[0.5, -1.25, 2.0, 0.0, -0.031_25]);
        for (k, norm) in norms.into_iter().enumerate() {
            let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
            let grads = [0.3, -0.7, 1e-6, 0.0, 0.25].map(|g: f32| g * (k + 1) as f32 * sign);
            let found = buffers.step(&grads, 1e-3, k as u64 + 1, Some(1.0), AdamW::default()).unwrap();
            assert!((found - norm).abs() <= 2e-7 * norm, "{found} instead of {norm}");
        }
        for (found, expected) in buffers.read().iter().zip([params, m, v]) {
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{device:?}: {found} instead of {expected}");
            }
        }
    }
}

#[test]
fn a_norm_that_is_not_finite_is_reported_and_changes_nothing() {
    for device in cpus() {
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            for max_norm in [None, Some(1.0)] {
                let mut buffers = Buffers::new(&device, &random(1, 37));
                buffers.step(&random(2, 37), 1e-3, 1, max_norm, AdamW::default()).unwrap();
                let before = buffers.read();
                let mut grads = random(3, 37);
                // Twice, so that the norm of two finite f32 overflows f32.
                grads[20] = poison;
                grads[36] = poison;
                assert!(!buffers.step(&grads, 1e-3, 2, max_norm, AdamW::default()).unwrap().is_finite());
                assert_eq!(buffers.read(), before);
            }
        }
    }
}

#[test]
fn squares_neither_overflow_nor_vanish() {
    for device in cpus() {
        let huge = norm(device.level(), &[3e30, -4e30]);
        let tiny = norm(device.level(), &[3e-30, -4e-30]);
        assert!((huge / 5e30 - 1.0).abs() < 1e-7 && (tiny / 5e-30 - 1.0).abs() < 1e-7, "{huge} {tiny}");
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let len = 5 * (1 << 14) + 321;
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut buffers = Buffers::new(&Cpu::default(), &random(1, len));
            let norms: Vec<_> = (1..=3)
                .map(|t| buffers.step(&gradient(t + 1, len), 1e-3, t, Some(1.0), AdamW::default()).unwrap().to_bits())
                .collect();
            (norms, buffers.read().map(|values| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>()))
        })
    };
    let one = run(1);
    assert!(run(2) == one && run(3) == one && run(7) == one);
}

#[test]
fn the_norm_has_the_same_bits_under_every_instruction_set() {
    let grads = gradient(9, 70_001);
    let norms: Vec<_> = cpus().map(|device| norm(device.level(), &grads).to_bits()).collect();
    assert!(norms.windows(2).all(|pair| pair[0] == pair[1]), "{norms:?}");
}

#[test]
fn a_gradient_far_below_a_forgotten_first_moment_is_not_rounded_away() {
    let coefficients = AdamW { beta1: 0.0, ..AdamW::default() }.coefficients(0.0, 2).unwrap();
    for device in cpus() {
        let (mut params, mut m, mut v) = ([0.0], [1e10], [0.0]);
        let elements = Elements { params: &mut params, grads: &[1.0], m: &mut m, v: &mut v };
        step(device.level(), elements, 1.0, coefficients);
        assert_eq!(m, [1.0]);
    }
}

#[test]
fn impossible_arguments_are_refused_by_name_and_value() {
    let base = AdamW::default();
    let refused = |hyper: AdamW, lr: f32, step: u64, max_norm: Option<f32>, part: &str| {
        let mut buffers = Buffers::new(&Cpu::default(), &[1.0, 2.0]);
        let message = buffers.step(&[1.0, 1.0], lr, step, max_norm, hyper).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
        assert_eq!(buffers.read()[0], [1.0, 2.0]);
    };
    refused(AdamW { beta1: 1.0, ..base }, 1e-3, 1, None, "beta1 is 1,");
    refused(AdamW { beta2: -0.1, ..base }, 1e-3, 1, None, "beta2 is -0.1,");
    refused(AdamW { eps: f64::NAN, ..base }, 1e-3, 1, None, "eps is NaN,");
    refused(AdamW { weight_decay: f64::INFINITY, ..base }, 1e-3, 1, None, "weight_decay is inf,");
    refused(base, f32::NAN, 1, None, "lr is NaN,");
    refused(base, -1.0, 1, None, "lr is -1,");
    refused(base, 1e-3, 0, None, "step is 0,");
    refused(base, 1e-3, 1, Some(-1.0), "max_norm is -1,");
    refused(base, 1e-3, 1, Some(f32::NAN), "max_norm is NaN,");
}

#[test]
fn windows_of_other_lengths_are_refused() {
    for wrong in 0..4 {
        let Buffers { device, mut params, grads, mut m, mut v, mut norm, .. } =
            Buffers::new(&Cpu::default(), &[1.0; 3]);
        let len = |window| if window == wrong { 2 } else { 3 };
        let update = Update {
            params: SliceMut::new(&mut params, 0, 3),
            grads: Slice::new(&grads, 0, len(0)),
            m: SliceMut::new(&mut m, 0, len(1)),
            v: SliceMut::new(&mut v, 0, len(2)),
            hyper: AdamW::default(),
            lr: 1e-3,
            step: 1,
            max_norm: None,
            norm: SliceMut::new(&mut norm, 0, if wrong == 3 { 0 } else { 1 }),
        };
        assert!(matches!(device.adamw(update), Err(Error::Shape { op: "adamw", .. })), "{wrong}");
    }
}
