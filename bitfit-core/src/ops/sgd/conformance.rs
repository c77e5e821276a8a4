//! The conformance checks of the step of SGD.

use super::{Sgd, SgdUpdate, reference};
use crate::{
    Backend, Device, Error, Result,
    backend::{
        Slice, SliceMut,
        conformance::{Check, list, support::*},
    },
    ops::adamw::RateRun,
};

pub(crate) fn checks<D: Backend>() -> Vec<Check<D>> {
    list!["sgd":
        agrees_with_the_reference,
        each_run_has_its_rate_and_decay,
        a_norm_that_is_not_finite_is_reported_and_changes_nothing,
        impossible_arguments_are_refused_and_change_nothing,
    ]
}

/// The offset of the slices, which makes them unaligned.
const OFFSET: usize = 1;

/// Buffers on a device, as an optimizer holds them.
struct Buffers<D: Device> {
    device: D,
    params: D::Buffer,
    velocity: D::Buffer,
    norm: D::Buffer,
    len: usize,
}

impl<D: Backend> Buffers<D> {
    fn new(device: &D, params: &[f32]) -> Self {
        let buffer = |values: &[f32]| {
            let mut buffer = device.allocate(OFFSET + values.len()).unwrap();
            device.write(values, SliceMut::new(&mut buffer, OFFSET, values.len())).unwrap();
            buffer
        };
        let (len, velocity) = (params.len(), buffer(&vec![0.0; params.len()]));
        Self { device: device.clone(), params: buffer(params), velocity, norm: buffer(&[-1.0]), len }
    }

    fn step(&mut self, grads: &[f32], hyper: Sgd, runs: &[RateRun], max_norm: Option<f32>) -> Result<f32> {
        let mut there = self.device.allocate(OFFSET + grads.len())?;
        self.device.write(grads, SliceMut::new(&mut there, OFFSET, grads.len()))?;
        let velocity = (hyper.momentum > 0.0).then(|| SliceMut::new(&mut self.velocity, OFFSET, self.len));
        let update = SgdUpdate {
            params: SliceMut::new(&mut self.params, OFFSET, self.len),
            grads: Slice::new(&there, OFFSET, grads.len()),
            velocity,
            hyper,
            max_norm,
            norm: SliceMut::new(&mut self.norm, OFFSET, 1),
        };
        self.device.sgd(update, runs)?;
        let mut norm = [0.0];
        self.device.read(Slice::new(&self.norm, OFFSET, 1), &mut norm)?;
        Ok(norm[0])
    }

    fn read(&self) -> [Vec<f32>; 2] {
        [&self.params, &self.velocity].map(|buffer| {
            let mut values = vec![0.0; self.len];
            self.device.read(Slice::new(buffer, OFFSET, self.len), &mut values).unwrap();
            values
        })
    }
}

fn run(len: usize, lr: f32) -> RateRun {
    RateRun { len, lr, weight_decay: None }
}

/// Plain, with momentum, with Nesterov's, and with weight decay.
const HYPER: [Sgd; 4] = [
    Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 },
    Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 },
    Sgd { momentum: 0.9, nesterov: true, weight_decay: 0.01 },
    Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.1 },
];

fn agrees_with_the_reference<D: Backend>(device: &D) {
    for len in (1..=33).chain([1000, 70_001]) {
        for (hyper, max_norm) in HYPER.into_iter().zip([None, Some(0.5), Some(2.0), Some(0.1)]) {
            let params = random(1, len);
            let mut buffers = Buffers::new(device, &params);
            let (mut p, mut v) = (widen(&params), vec![0.0; len]);
            for step in 0..3 {
                let grads = random(step + 2, len);
                let norm = buffers.step(&grads, hyper, &[run(len, 0.1)], max_norm).unwrap();
                let expected =
                    reference::sgd(&mut p, &mut v, &widen(&grads), &hyper, f64::from(0.1_f32), max_norm.map(f64::from));
                assert_close(&format!("norm of {len}"), &[norm], &[expected], 1e-6);
            }
            let [params, velocity] = buffers.read();
            assert_close(&format!("{len} parameters, {hyper:?}"), &params, &p, 1e-6);
            if hyper.momentum > 0.0 {
                assert_close(&format!("{len} velocities, {hyper:?}"), &velocity, &v, 1e-6);
            }
        }
    }
}

fn each_run_has_its_rate_and_decay<D: Backend>(device: &D) {
    let (params, grads) = (random(1, 50), random(2, 50));
    let hyper = HYPER[2];
    let decayed = RateRun { len: 20, lr: 0.5, weight_decay: Some(0.3) };
    let mut in_runs = Buffers::new(device, &params);
    in_runs.step(&grads, hyper, &[run(30, 0.1), decayed], Some(0.5)).unwrap();
    let whole = |hyper: Sgd, lr| {
        let mut buffers = Buffers::new(device, &params);
        buffers.step(&grads, hyper, &[run(50, lr)], Some(0.5)).unwrap();
        buffers.read()
    };
    let (first, second) = (whole(hyper, 0.1), whole(Sgd { weight_decay: 0.3, ..hyper }, 0.5));
    for (found, (first, second)) in in_runs.read().iter().zip(first.iter().zip(&second)) {
        assert_same_bits("in runs", found, &[&first[..30], &second[30..]].concat());
    }
}

fn a_norm_that_is_not_finite_is_reported_and_changes_nothing<D: Backend>(device: &D) {
    let mut buffers = Buffers::new(device, &random(1, 40));
    buffers.step(&random(2, 40), HYPER[1], &[run(40, 0.1)], None).unwrap();
    let before = buffers.read();
    let mut grads = random(3, 40);
    grads[17] = f32::NAN;
    assert!(buffers.step(&grads, HYPER[1], &[run(40, 0.1)], Some(1.0)).unwrap().is_nan());
    assert_eq!(buffers.read(), before);
}

fn impossible_arguments_are_refused_and_change_nothing<D: Backend>(device: &D) {
    let mut buffers = Buffers::new(device, &random(1, 8));
    let (before, grads) = (buffers.read(), random(2, 8));
    let no_momentum = Sgd { nesterov: true, ..Sgd::default() };
    for (hyper, rate, max_norm, word) in [
        (Sgd { momentum: 1.0, ..Sgd::default() }, run(8, 0.1), None, "momentum is 1"),
        (no_momentum, run(8, 0.1), None, "Nesterov"),
        (Sgd::default(), run(8, -0.1), None, "lr is -0.1"),
        (Sgd::default(), RateRun { len: 8, lr: 0.1, weight_decay: Some(-1.0) }, None, "weight_decay is -1"),
        (Sgd::default(), run(8, 0.1), Some(f32::NAN), "max_norm is NaN"),
    ] {
        let error = buffers.step(&grads, hyper, &[rate], max_norm).unwrap_err();
        assert!(matches!(error, Error::Invalid { op: "sgd", .. }) && error.to_string().contains(word), "{error}");
    }
    for (grads, rate) in [(&grads[..7], run(8, 0.1)), (&grads[..], run(7, 0.1))] {
        let error = buffers.step(grads, Sgd::default(), &[rate], None).unwrap_err();
        assert!(matches!(error, Error::Shape { op: "sgd", .. }), "{error}");
    }
    assert_eq!(buffers.read(), before);
}
