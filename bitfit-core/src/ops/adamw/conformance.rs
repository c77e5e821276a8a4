//! The conformance checks of the optimizer step.

use super::{AdamW, RateRun, Update, reference};
use crate::{
    Backend, Device, Error, Result,
    backend::{
        Slice, SliceMut,
        conformance::{Check, list, support::*},
    },
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["adamw":
        agrees_with_the_reference,
        five_steps_are_pytorchs,
        five_clipped_steps_are_pytorchs,
        a_norm_that_is_not_finite_is_reported_and_changes_nothing,
        squares_neither_overflow_nor_vanish,
        a_gradient_far_below_a_forgotten_first_moment_is_not_rounded_away,
        bits_come_again,
        impossible_arguments_are_refused_and_change_nothing,
        windows_of_other_lengths_are_refused,
        each_run_has_the_step_of_its_rate,
        runs_with_a_norm_that_is_not_finite_change_nothing,
        runs_that_do_not_cover_the_parameters_are_refused,
    ]
}

/// Buffers on a device, as an optimizer holds them; each window starts after other elements of its buffer.
pub(super) struct Buffers<D: Device> {
    device: D,
    params: D::Buffer,
    grads: D::Buffer,
    m: D::Buffer,
    v: D::Buffer,
    norm: D::Buffer,
    len: usize,
}

/// The offset of the windows, which makes them unaligned.
const OFFSET: usize = 1;

impl<D: Backend> Buffers<D> {
    pub(super) fn new(device: &D, params: &[f32]) -> Self {
        let len = params.len();
        let zeros = vec![0.0; len];
        let buffer = |values: &[f32]| {
            let mut buffer = device.allocate(OFFSET + values.len()).unwrap();
            device.write(values, SliceMut::new(&mut buffer, OFFSET, values.len())).unwrap();
            buffer
        };
        let [grads, m, v] = [(); 3].map(|()| buffer(&zeros));
        Self { device: device.clone(), params: buffer(params), grads, m, v, norm: buffer(&[-1.0]), len }
    }

    pub(super) fn step(
        &mut self,
        grads: &[f32],
        lr: f32,
        step: u64,
        max_norm: Option<f32>,
        hyper: AdamW,
    ) -> Result<f32> {
        self.step_by(grads, lr, step, max_norm, hyper, D::adamw)
    }

    /// A step in runs.
    pub(super) fn step_in_runs(
        &mut self,
        grads: &[f32],
        runs: &[RateRun],
        step: u64,
        max_norm: Option<f32>,
        hyper: AdamW,
    ) -> Result<f32> {
        self.step_by(grads, 0.0, step, max_norm, hyper, |device, update| device.adamw_in_runs(update, runs))
    }

    pub(super) fn step_by(
        &mut self,
        grads: &[f32],
        lr: f32,
        step: u64,
        max_norm: Option<f32>,
        hyper: AdamW,
        run: impl FnOnce(&D, Update<'_, D>) -> Result<()>,
    ) -> Result<f32> {
        let len = self.len;
        self.device.write(grads, SliceMut::new(&mut self.grads, OFFSET, len))?;
        let update = Update {
            params: SliceMut::new(&mut self.params, OFFSET, len),
            grads: Slice::new(&self.grads, OFFSET, len),
            m: SliceMut::new(&mut self.m, OFFSET, len),
            v: SliceMut::new(&mut self.v, OFFSET, len),
            hyper,
            lr,
            step,
            max_norm,
            norm: SliceMut::new(&mut self.norm, OFFSET, 1),
        };
        run(&self.device, update)?;
        let mut norm = [0.0];
        self.device.read(Slice::new(&self.norm, OFFSET, 1), &mut norm)?;
        Ok(norm[0])
    }

    /// Parameters, first and second moment.
    pub(super) fn read(&self) -> [Vec<f32>; 3] {
        [&self.params, &self.m, &self.v].map(|buffer| {
            let mut values = vec![0.0; self.len];
            self.device.read(Slice::new(buffer, OFFSET, self.len), &mut values).unwrap();
            values
        })
    }
}

/// A gradient whose elements differ in size by up to eight orders of magnitude.
pub(super) fn gradient(seed: u64, len: usize) -> Vec<f32> {
    random(seed, len).iter().enumerate().map(|(i, x)| x * 10_f32.powi(i as i32 % 9 - 6)).collect()
}

fn agrees_with_the_reference<D: Backend>(device: &D) {
    let decaying = AdamW { weight_decay: 0.1, ..AdamW::default() };
    let quick = AdamW { beta1: 0.3, beta2: 0.9, eps: 1e-4, weight_decay: 0.01 };
    for len in (0..=33).chain([768, (1 << 16) + 7]) {
        for hyper in [AdamW::default(), decaying, quick] {
            for max_norm in [None, Some(0.5), Some(1e9)] {
                agrees(device, len, hyper, max_norm);
            }
        }
    }
}

fn agrees<D: Backend>(device: &D, len: usize, hyper: AdamW, max_norm: Option<f32>) {
    let what = format!("{len}, {hyper:?}, {max_norm:?}");
    let params = random(1, len);
    let zeros = vec![0.0; len];
    let mut state = reference::State { params: widen(&params), m: zeros.clone(), v: zeros };
    let mut fast = Buffers::new(device, &params);
    // The largest clipped gradient of each element, to which the rounding errors of the first moment are relative,
    // because its terms may cancel.
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
///
/// The parameters, and the two moments.
pub(super) const FIVE_STEPS: [[f32; 5]; 3] = [
    [0.499_007_55, -1.248_97, 1.998_941_4, 0.0, -0.032_215_822],
    [0.090_842_99, -0.211_966_98, 3.028_099_8e-7, 0.0, 12.112_401],
    [0.004_945_502_6, 0.026_925_514, 5.495_003e-14, 0.0, 87.920_05],
];

/// The device's parameters and moments after the steps of [`FIVE_STEPS`].
pub(super) fn five_steps<D: Backend>(device: &D) -> [Vec<f32>; 3] {
    let mut buffers = Buffers::new(device, &[0.5, -1.25, 2.0, 0.0, -0.031_25]);
    for k in 0..5 {
        let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
        let grads = [0.3, -0.7, 1e-6, 0.0, 40.0].map(|g: f32| g * (k + 1) as f32 * sign);
        buffers.step(&grads, 1e-3, k + 1, None, AdamW { weight_decay: 0.01, ..AdamW::default() }).unwrap();
    }
    buffers.read()
}

fn five_steps_are_pytorchs<D: Backend>(device: &D) {
    let found = five_steps(device);
    for (found, expected) in found[0].iter().zip(FIVE_STEPS[0]) {
        assert!((found - expected).abs() <= 2e-7 * expected.abs(), "{found} instead of {expected}");
    }
    // Without fused multiply-add, the last bit may differ.
    assert_close("m", &found[1], &FIVE_STEPS[1].map(f64::from), 1e-7);
    assert_close("v", &found[2], &FIVE_STEPS[2].map(f64::from), 1e-7);
}

/// Five steps with clipped gradients and without weight decay, as in torch 2.15:
///
/// ```python
/// for k in range(5):
///     p.grad = torch.tensor([0.3, -0.7, 1e-6, 0.0, 0.25]) * (k + 1) * torch.tensor([1.0, -1.0])[k % 2]
///     print(torch.nn.utils.clip_grad_norm_([p], 1.0)); opt.step()
/// ```
fn five_clipped_steps_are_pytorchs<D: Backend>(device: &D) {
    let norms = [0.801_560_94, 1.603_121_9, 2.404_682_9, 3.206_243_8, 4.007_805];
    let params = [0.498_787_34, -1.248_787_2, 1.998_798_8, 0.0, -0.032_462_68];
    let m = [0.026_457_284, -0.061_733_663, 8.819_095e-8, 0.0, 0.022_047_741];
    let v = [6.491_116e-4, 3.534_051_6e-3, 7.212_35e-15, 0.0, 4.507_719e-4];
    let mut buffers = Buffers::new(device, &[0.5, -1.25, 2.0, 0.0, -0.031_25]);
    for (k, norm) in norms.into_iter().enumerate() {
        let sign = if k % 2 == 0 { 1.0 } else { -1.0 };
        let grads = [0.3, -0.7, 1e-6, 0.0, 0.25].map(|g: f32| g * (k + 1) as f32 * sign);
        let found = buffers.step(&grads, 1e-3, k as u64 + 1, Some(1.0), AdamW::default()).unwrap();
        assert!((found - norm).abs() <= 2e-7 * norm, "{found} instead of {norm}");
    }
    for (found, expected) in buffers.read().iter().zip([params, m, v]) {
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{found} instead of {expected}");
        }
    }
}

fn a_norm_that_is_not_finite_is_reported_and_changes_nothing<D: Backend>(device: &D) {
    for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        for max_norm in [None, Some(1.0)] {
            let mut buffers = Buffers::new(device, &random(1, 37));
            buffers.step(&random(2, 37), 1e-3, 1, max_norm, AdamW::default()).unwrap();
            let before = buffers.read();
            let mut grads = random(3, 37);
            // Two of them, so that the norm of finite f32 overflows f32.
            grads[20] = poison;
            grads[36] = poison;
            assert!(!buffers.step(&grads, 1e-3, 2, max_norm, AdamW::default()).unwrap().is_finite());
            assert_eq!(buffers.read(), before);
        }
    }
}

fn squares_neither_overflow_nor_vanish<D: Backend>(device: &D) {
    for size in [1e30, 1e-30] {
        let grads = [3.0 * size, -4.0 * size];
        let norm = Buffers::new(device, &[0.0; 2]).step(&grads, 0.0, 1, None, AdamW::default()).unwrap();
        assert!((norm / (5.0 * size) - 1.0).abs() < 1e-6, "{norm}");
    }
}

fn a_gradient_far_below_a_forgotten_first_moment_is_not_rounded_away<D: Backend>(device: &D) {
    let hyper = AdamW { beta1: 0.0, ..AdamW::default() };
    let mut buffers = Buffers::new(device, &[0.0]);
    buffers.step(&[1e10], 0.0, 1, None, hyper).unwrap();
    assert_eq!(buffers.read()[1], [1e10]);
    buffers.step(&[1.0], 0.0, 2, None, hyper).unwrap();
    assert_eq!(buffers.read()[1], [1.0]);
}

fn bits_come_again<D: Backend>(device: &D) {
    let len = 5 * (1 << 14) + 321;
    let run = || {
        let mut buffers = Buffers::new(device, &random(1, len));
        let step = |t: u64| buffers.step(&gradient(t + 1, len), 1e-3, t, Some(1.0), AdamW::default()).unwrap();
        let norms: Vec<f32> = (1..=3).map(step).collect();
        (norms, buffers.read())
    };
    let (once, again) = (run(), run());
    assert_same_bits("the norms", &again.0, &once.0);
    for (again, once) in again.1.iter().zip(&once.1) {
        assert_same_bits("parameters and moments", again, once);
    }
}

fn impossible_arguments_are_refused_and_change_nothing<D: Backend>(device: &D) {
    let base = AdamW::default();
    let refused = |hyper: AdamW, lr: f32, step: u64, max_norm: Option<f32>, part: &str| {
        let mut buffers = Buffers::new(device, &[1.0, 2.0]);
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
    refused(base, 1e-3, 0, None, "step is 0;");
    refused(base, 1e-3, 1, Some(-1.0), "max_norm is -1,");
    refused(base, 1e-3, 1, Some(f32::NAN), "max_norm is NaN,");
}

fn windows_of_other_lengths_are_refused<D: Backend>(device: &D) {
    for wrong in 0..4 {
        let Buffers { device, mut params, grads, mut m, mut v, mut norm, .. } = Buffers::new(device, &[1.0; 3]);
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

/// Runs over `lengths` with the rates 10⁻³, 2·10⁻³, …
pub(super) fn runs(lengths: &[usize]) -> Vec<RateRun> {
    (1..).zip(lengths).map(|(number, &len)| RateRun { len, lr: 1e-3 * number as f32, weight_decay: None }).collect()
}

fn each_run_has_the_step_of_its_rate<D: Backend>(device: &D) {
    let hyper = AdamW { weight_decay: 0.1, ..AdamW::default() };
    for (lengths, max_norm) in [(&[5, 1, 31][..], Some(0.5)), (&[0, 37], None), (&[16, 0, 21], Some(1e9))] {
        let (len, runs) = (lengths.iter().sum(), runs(lengths));
        let mut in_runs = Buffers::new(device, &random(1, len));
        let mut norms = Vec::new();
        for t in 1..=3 {
            norms.push(in_runs.step_in_runs(&gradient(t + 1, len), &runs, t, max_norm, hyper).unwrap());
        }
        let found = in_runs.read();
        let mut first = 0;
        for run in runs {
            // The same steps of all elements at the run's rate: the gradient is the same, and so are norm and clipping.
            let mut whole = Buffers::new(device, &random(1, len));
            for t in 1..=3 {
                let norm = whole.step(&gradient(t + 1, len), run.lr, t, max_norm, hyper).unwrap();
                assert!((norm - norms[t as usize - 1]).abs() <= 2e-7 * norm, "{norms:?}");
            }
            for (found, expected) in found.iter().zip(whole.read()) {
                let part = first..first + run.len;
                assert_close("a run", &found[part.clone()], &widen(&expected[part]), 5e-7);
            }
            first += run.len;
        }
    }
}

fn runs_with_a_norm_that_is_not_finite_change_nothing<D: Backend>(device: &D) {
    let mut buffers = Buffers::new(device, &random(1, 9));
    let before = buffers.read();
    let mut grads = random(2, 9);
    grads[8] = f32::NAN;
    assert!(buffers.step_in_runs(&grads, &runs(&[4, 5]), 1, Some(1.0), AdamW::default()).unwrap().is_nan());
    assert_eq!(buffers.read(), before);
}

fn runs_that_do_not_cover_the_parameters_are_refused<D: Backend>(device: &D) {
    let mut buffers = Buffers::new(device, &random(1, 9));
    let before = buffers.read();
    let step = |buffers: &mut Buffers<D>, runs: &[RateRun]| {
        buffers.step_in_runs(&random(2, 9), runs, 1, None, AdamW::default()).unwrap_err()
    };
    let message = step(&mut buffers, &runs(&[4, 4])).to_string();
    assert_eq!(message, "adamw: the sum of the runs has shape [8], expected [9]");
    let negative = [RateRun { len: 9, lr: -1.0, weight_decay: None }];
    assert!(matches!(step(&mut buffers, &negative), Error::Invalid { .. }));
    assert_eq!(buffers.read(), before);
}
