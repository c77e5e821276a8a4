//! [`ArenaOptimizer`]: clipping and AdamW as one op on the device of the arena.

use super::{AdamW, Group, Optimizer, OptimizerState, adamw::check_state, group::check_rates, on_arena::OnArena};
use crate::{
    Arena, Device, Entry, Gradient, Result,
    backend::SliceMut,
    ops::adamw::{AdamWStep, RateRun, Update},
};

#[cfg(doc)]
use crate::Error;

/// The optimizer of an [`Arena`], with the moments of all trainable values on the arena's device.
#[derive(Debug)]
pub struct ArenaOptimizer<D: Device> {
    on: OnArena<D>,
    hyper: AdamW,
    m: D::Buffer,
    v: D::Buffer,
}

impl<D: AdamWStep> ArenaOptimizer<D> {
    /// An optimizer for `arena`, before its first step.
    ///
    /// # Errors
    /// [`Error::Invalid`] as for [`AdamW::validate`]; [`Error::Device`] if the device is out of memory.
    pub fn new(arena: &Arena<D>, hyper: AdamW) -> Result<Self> {
        hyper.validate()?;
        let on = OnArena::new("adamw", arena)?;
        let (m, v) = (on.zeros()?, on.zeros()?);
        Ok(Self { on, hyper, m, v })
    }

    /// The same optimizer with the group that `group` gives to each entry of the arena: a factor of the learning rate,
    /// and a weight decay. The gradient is clipped as a whole, whatever the groups.
    ///
    /// # Errors
    /// [`Error::Foreign`] if the optimizer belongs to another arena; [`Error::Invalid`] for a factor or a weight decay
    /// that is negative or not finite.
    pub fn with_groups(mut self, arena: &Arena<D>, group: impl FnMut(&Entry) -> Group) -> Result<Self> {
        self.on.set_groups(arena, group)?;
        Ok(self)
    }

    /// Updates `arena` by one step with `gradient`, clipped to the norm `max_norm` if it is given; see
    /// [`crate::ops::adamw`]. The gradient is not modified.
    ///
    /// A gradient whose norm is not finite changes neither the arena nor the moments. The host does not wait for the
    /// norm, so the step is counted nevertheless; [`ArenaOptimizer::norm`] returns it.
    ///
    /// # Errors
    /// [`Error::Foreign`] if the optimizer or the gradient belongs to another arena; [`Error::Invalid`] for a learning
    /// rate that is negative or not finite, or a `max_norm` that is negative or NaN; [`Error::Device`] if the
    /// device fails.
    pub fn step(&mut self, arena: &mut Arena<D>, gradient: &Gradient<D>, lr: f32, max_norm: Option<f32>) -> Result<()> {
        self.step_in_runs(arena, gradient, |_| lr, max_norm)
    }

    /// As [`ArenaOptimizer::step`], with a learning rate for each entry of the arena's table, before the factor of the
    /// entry's [`Group`]. The gradient is clipped as a whole. With one rate for all entries, the result has the same
    /// bits.
    ///
    /// # Errors
    /// As [`ArenaOptimizer::step`]; [`Error::Shape`] if there is not one rate for each entry.
    pub fn step_by_entry(
        &mut self,
        arena: &mut Arena<D>,
        gradient: &Gradient<D>,
        rates: &[f32],
        max_norm: Option<f32>,
    ) -> Result<()> {
        check_rates("adamw", arena.entries(), rates)?;
        self.step_in_runs(arena, gradient, |entry| rates[entry], max_norm)
    }

    fn step_in_runs(
        &mut self,
        arena: &mut Arena<D>,
        gradient: &Gradient<D>,
        rates: impl Fn(usize) -> f32,
        max_norm: Option<f32>,
    ) -> Result<()> {
        let runs = self.on.groups.runs(arena.entries(), rates);
        match runs[..] {
            [] => self.step_by(arena, gradient, 0.0, max_norm, D::adamw),
            [RateRun { lr, weight_decay: None, .. }] => self.step_by(arena, gradient, lr, max_norm, D::adamw),
            _ => self.step_by(arena, gradient, 0.0, max_norm, |device, update| device.adamw_in_runs(update, &runs)),
        }
    }

    fn step_by(
        &mut self,
        arena: &mut Arena<D>,
        gradient: &Gradient<D>,
        lr: f32,
        max_norm: Option<f32>,
        run: impl FnOnce(&D, Update<'_, D>) -> Result<()>,
    ) -> Result<()> {
        self.on.check(arena, gradient)?;
        let Self { on, hyper, m, v } = self;
        arena.update(|device, params| {
            let update = Update {
                params,
                grads: gradient.slice(),
                m: SliceMut::new(m, 0, on.len),
                v: SliceMut::new(v, 0, on.len),
                hyper: *hyper,
                lr,
                step: on.step + 1,
                max_norm,
                norm: on.norm_mut(),
            };
            run(device, update)
        })?;
        on.step += 1;
        Ok(())
    }

    /// The norm of the gradient of the last step before clipping; 0 before the first step. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Device`] if work that was queued earlier failed.
    pub fn norm(&self) -> Result<f32> {
        self.on.norm()
    }

    /// The hyper-parameters of the optimizer.
    pub fn hyper(&self) -> &AdamW {
        &self.hyper
    }

    /// The number of steps so far.
    pub fn steps(&self) -> u64 {
        self.on.step
    }

    /// Copies the state to the host: the first moment, the second moment, and the number of steps. A checkpoint has to
    /// save it besides [`Arena::read`].
    ///
    /// # Errors
    /// [`Error::Device`] if work that was queued earlier failed.
    pub fn state(&self) -> Result<(Vec<f32>, Vec<f32>, u64)> {
        Ok((self.on.read(&self.m)?, self.on.read(&self.v)?, self.on.step))
    }

    /// Restores the state that [`ArenaOptimizer::state`] returned.
    ///
    /// # Errors
    /// [`Error::Shape`] if a moment does not have the arena's length; [`Error::Invalid`] for moments that cannot result
    /// from a step (not finite, or a negative second moment), and for `u64::MAX` steps. On an error nothing is changed.
    pub fn restore(&mut self, m: &[f32], v: &[f32], step: u64) -> Result<()> {
        check_state(self.on.len, m, v, step)?;
        self.on.write(m, &mut self.m)?;
        self.on.write(v, &mut self.v)?;
        self.on.step = step;
        Ok(())
    }
}

impl<D: AdamWStep> Optimizer<D> for ArenaOptimizer<D> {
    fn step(&mut self, arena: &mut Arena<D>, gradient: &Gradient<D>, lr: f32, max_norm: Option<f32>) -> Result<()> {
        Self::step(self, arena, gradient, lr, max_norm)
    }

    fn norm(&self) -> Result<f32> {
        Self::norm(self)
    }

    fn save(&self) -> Result<OptimizerState> {
        let (m, v, steps) = self.state()?;
        Ok(OptimizerState::new("adamw", steps, vec![("m".into(), m), ("v".into(), v)]))
    }

    fn load(&mut self, state: &OptimizerState) -> Result<()> {
        let [m, v] = state.moments("adamw", ["m", "v"])?;
        self.restore(m, v, state.steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ArenaBuilder, Cpu, Error, HostTensor, Mask, Trainable,
        backend::conformance::support::random,
        optim::{ArenaSgd, Sgd, SparseAdamW, clip_grad_norm},
    };

    /// A bias of 7 and two of five rows of 3: 13 scalars.
    fn arena() -> (Arena<Cpu>, Trainable) {
        let mut builder = ArenaBuilder::new(Cpu::default());
        builder.train("bias", HostTensor::new([7], random(1, 7)).unwrap(), Mask::All).unwrap();
        let rows = HostTensor::new([5, 3], random(2, 15)).unwrap();
        let rows = builder.train("rows", rows, Mask::Rows(vec![1, 3])).unwrap();
        (builder.build().unwrap(), rows)
    }

    fn gradient(arena: &Arena<Cpu>, seed: u64) -> (Gradient<Cpu>, Vec<f32>) {
        let values = random(seed, arena.len());
        let mut gradient = arena.gradient().unwrap();
        arena.device().write(&values, gradient.slice_mut()).unwrap();
        (gradient, values)
    }

    #[test]
    fn steps_of_an_arena_are_those_of_bare_slices() {
        let (mut arena, rows) = arena();
        let hyper = AdamW { weight_decay: 0.05, ..AdamW::default() };
        let mut on_arena = ArenaOptimizer::new(&arena, hyper).unwrap();
        let mut on_slices = SparseAdamW::new(13, hyper).unwrap();
        let mut params = arena.read().unwrap();
        for t in 0..5 {
            let (gradient, mut grads) = gradient(&arena, t + 3);
            on_arena.step(&mut arena, &gradient, 1e-2, Some(0.5)).unwrap();
            let norm = clip_grad_norm(&mut grads, 0.5);
            on_slices.step(1e-2, &mut params, &grads).unwrap();
            assert_eq!(on_arena.norm().unwrap(), norm);
            assert_eq!(arena.read().unwrap(), params);
        }
        let (m, v, step) = on_arena.state().unwrap();
        assert_eq!((&*m, &*v, step), on_slices.state());
        // The working copy of the partly trainable matrix has the new values, and its frozen rows have not changed.
        let mut whole = [0.0; 15];
        arena.device().read(arena.value(&rows).unwrap(), &mut whole).unwrap();
        assert_eq!((&whole[3..6], &whole[9..12]), (&params[7..10], &params[10..13]));
        assert_eq!((&whole[..3], &whole[12..]), (&random(2, 15)[..3], &random(2, 15)[12..]));
    }

    #[test]
    fn each_entry_has_the_step_of_its_rate() {
        let hyper = AdamW { weight_decay: 0.05, ..AdamW::default() };
        let steps = |rates: Option<&[f32]>, rate: f32| {
            let (mut arena, rows) = arena();
            let mut optimizer = ArenaOptimizer::new(&arena, hyper).unwrap();
            for t in 0..4 {
                let (gradient, _) = gradient(&arena, t + 3);
                match rates {
                    Some(rates) => optimizer.step_by_entry(&mut arena, &gradient, rates, Some(0.5)).unwrap(),
                    None => optimizer.step(&mut arena, &gradient, rate, Some(0.5)).unwrap(),
                }
            }
            let mut whole = [0.0; 15];
            arena.device().read(arena.value(&rows).unwrap(), &mut whole).unwrap();
            (arena.read().unwrap(), whole, optimizer.steps())
        };
        let (slow, quick) = (steps(None, 1e-3), steps(None, 2e-2));
        let (values, whole, count) = steps(Some(&[1e-3, 2e-2]), 0.0);
        assert_eq!((&values[..7], &values[7..]), (&slow.0[..7], &quick.0[7..]));
        assert_eq!((whole, count), (quick.1, 4), "the working copy has the new values");
        assert_eq!(steps(Some(&[2e-2, 2e-2]), 0.0), quick, "one rate for all");
        let (mut arena, _) = arena();
        let (gradient, _) = gradient(&arena, 3);
        let mut optimizer = ArenaOptimizer::new(&arena, hyper).unwrap();
        let message = optimizer.step_by_entry(&mut arena, &gradient, &[1e-3], None).unwrap_err().to_string();
        assert_eq!(message, "adamw: the list of rates has shape [1], expected [2]");
        assert_eq!(optimizer.steps(), 0);
    }

    #[test]
    fn a_group_has_the_step_of_its_rate_and_decay_and_clipping_is_over_all() {
        let decay = |weight_decay| AdamW { weight_decay, ..AdamW::default() };
        let steps = |hyper, lr, groups: Option<fn(&Entry) -> Group>| {
            let (mut arena, _) = arena();
            let mut optimizer = ArenaOptimizer::new(&arena, hyper).unwrap();
            if let Some(groups) = groups {
                optimizer = optimizer.with_groups(&arena, groups).unwrap();
            }
            for seed in 3..6 {
                let (gradient, _) = gradient(&arena, seed);
                optimizer.step(&mut arena, &gradient, lr, Some(0.5)).unwrap();
            }
            arena.read().unwrap()
        };
        let found = steps(
            decay(0.1),
            1e-2,
            Some(|entry| match entry.name.as_str() {
                "bias" => Group::default().with_weight_decay(0.0),
                _ => Group::default().with_rate(4.0),
            }),
        );
        let (bias, rows) = (steps(decay(0.0), 1e-2, None), steps(decay(0.1), 1e-2 * 4.0, None));
        assert_eq!((&found[..7], &found[7..]), (&bias[..7], &rows[7..]));
        let plain = steps(decay(0.1), 1e-2, None);
        assert_eq!(steps(decay(0.1), 1e-2, Some(|_| Group::default())), plain);

        let (arena, _) = arena();
        let (other, _) = self::arena();
        let optimizer = || ArenaOptimizer::new(&arena, AdamW::default()).unwrap();
        let message = |rate| {
            let group = Group::default().with_rate(rate);
            optimizer().with_groups(&arena, |_| group).unwrap_err().to_string()
        };
        assert_eq!(message(-1.0), "adamw: the rate of bias is -1, expected a finite value that is not negative");
        let error = optimizer().with_groups(&other, |_| Group::default()).unwrap_err();
        assert!(matches!(error, Error::Foreign { owner: "arena", .. }), "{error}");
    }

    #[test]
    fn a_saved_optimizer_is_loaded_by_one_of_its_kind_only() {
        let (mut arena, _) = arena();
        let (gradient, _) = gradient(&arena, 3);
        let mut optimizer = ArenaOptimizer::new(&arena, AdamW::default()).unwrap();
        Optimizer::step(&mut optimizer, &mut arena, &gradient, 1e-2, None).unwrap();
        let state = optimizer.save().unwrap();
        let mut again = ArenaOptimizer::new(&arena, AdamW::default()).unwrap();
        again.load(&state).unwrap();
        assert_eq!(again.state().unwrap(), optimizer.state().unwrap());
        let mut sgd = ArenaSgd::new(&arena, Sgd::default().with_momentum(0.9)).unwrap();
        let message = sgd.load(&state).unwrap_err().to_string();
        assert_eq!(message, "sgd: the state is of an optimizer of kind adamw");
    }

    #[test]
    fn a_restored_optimizer_goes_on_with_the_same_bits() {
        let (mut arena, _) = arena();
        let mut optimizer = ArenaOptimizer::new(&arena, AdamW::default()).unwrap();
        let (first, _) = gradient(&arena, 3);
        optimizer.step(&mut arena, &first, 1e-2, None).unwrap();
        let (m, v, step) = optimizer.state().unwrap();
        let values = arena.read().unwrap();

        let (mut again, _) = self::arena();
        again.write(&values).unwrap();
        let mut restored = ArenaOptimizer::new(&again, AdamW::default()).unwrap();
        restored.restore(&m, &v, step).unwrap();
        for (optimizer, arena) in [(&mut optimizer, &mut arena), (&mut restored, &mut again)] {
            let (second, _) = gradient(arena, 4);
            optimizer.step(arena, &second, 1e-2, Some(1.0)).unwrap();
        }
        assert_eq!(again.read().unwrap(), arena.read().unwrap());
        assert_eq!(restored.state().unwrap(), optimizer.state().unwrap());
        assert_eq!(restored.steps(), 2);
    }

    #[test]
    fn a_gradient_that_is_not_finite_is_seen_in_the_norm_and_moves_nothing() {
        let (mut arena, _) = arena();
        let mut optimizer = ArenaOptimizer::new(&arena, AdamW { weight_decay: 0.1, ..AdamW::default() }).unwrap();
        assert_eq!(optimizer.norm().unwrap(), 0.0);
        let before = arena.read().unwrap();
        let mut broken = arena.gradient().unwrap();
        arena.device().fill(f32::NAN, broken.slice_mut()).unwrap();
        optimizer.step(&mut arena, &broken, 1e-2, Some(1.0)).unwrap();
        assert!(optimizer.norm().unwrap().is_nan());
        assert_eq!(arena.read().unwrap(), before);
        assert_eq!(optimizer.state().unwrap(), (vec![0.0; 13], vec![0.0; 13], 1));
    }

    #[test]
    fn what_belongs_to_another_arena_is_refused_and_changes_nothing() {
        let (mut arena, _) = arena();
        let (mut other, _) = self::arena();
        let mut optimizer = ArenaOptimizer::new(&arena, AdamW::default()).unwrap();
        let (mine, theirs) = (gradient(&arena, 3).0, gradient(&other, 3).0);
        assert!(matches!(optimizer.step(&mut other, &theirs, 1e-3, None), Err(Error::Foreign { .. })));
        assert!(matches!(optimizer.step(&mut arena, &theirs, 1e-3, None), Err(Error::Foreign { .. })));
        assert!(matches!(optimizer.step(&mut arena, &mine, -1.0, None), Err(Error::Invalid { .. })));
        assert!(matches!(optimizer.step(&mut arena, &mine, 1e-3, Some(f32::NAN)), Err(Error::Invalid { .. })));
        assert!(matches!(optimizer.restore(&[0.0; 13], &[0.0; 2], 1), Err(Error::Shape { .. })));
        assert!(matches!(optimizer.restore(&[0.0; 13], &[-1.0; 13], 1), Err(Error::Invalid { .. })));
        assert_eq!(optimizer.state().unwrap(), (vec![0.0; 13], vec![0.0; 13], 0));
    }
}
