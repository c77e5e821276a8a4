//! [`ArenaSgd`]: clipping and SGD with momentum as one op on the device of the arena.

use super::{Group, Optimizer, OptimizerState, Sgd, group::check_rates, on_arena::OnArena};
use crate::{
    Arena, Device, Entry, Error, Gradient, Result,
    backend::SliceMut,
    ops::sgd::{SgdStep, SgdUpdate},
};

/// SGD over an [`Arena`], with the velocity of all trainable values on the arena's device; without momentum it has no
/// velocity. The formula is in [`crate::ops::sgd`].
#[derive(Debug)]
pub struct ArenaSgd<D: Device> {
    on: OnArena<D>,
    hyper: Sgd,
    velocity: Option<D::Buffer>,
}

impl<D: SgdStep> ArenaSgd<D> {
    /// An optimizer for `arena`, before its first step.
    ///
    /// # Errors
    /// [`Error::Invalid`] as for [`Sgd::validate`]; [`Error::Device`] if the device is out of memory.
    pub fn new(arena: &Arena<D>, hyper: Sgd) -> Result<Self> {
        hyper.validate()?;
        let on = OnArena::new("sgd", arena)?;
        let velocity = (hyper.momentum > 0.0).then(|| on.zeros()).transpose()?;
        Ok(Self { on, hyper, velocity })
    }

    /// The same optimizer with the group that `group` gives to each entry of the arena; see
    /// [`ArenaOptimizer::with_groups`](super::ArenaOptimizer::with_groups).
    ///
    /// # Errors
    /// [`Error::Foreign`] if the optimizer belongs to another arena; [`Error::Invalid`] for a factor or a weight decay
    /// that is negative or not finite.
    pub fn with_groups(mut self, arena: &Arena<D>, group: impl FnMut(&Entry) -> Group) -> Result<Self> {
        self.on.set_groups(arena, group)?;
        Ok(self)
    }

    /// Updates `arena` by one step with `gradient`, with a learning rate for each entry of the arena's table, before
    /// the factor of the entry's [`Group`]; clipped to the norm `max_norm` if it is given.
    ///
    /// A gradient whose norm is not finite changes nothing; the step is counted nevertheless.
    ///
    /// # Errors
    /// As [`Optimizer::step`]; [`Error::Shape`] if there is not one rate for each entry.
    pub fn step_by_entry(
        &mut self,
        arena: &mut Arena<D>,
        gradient: &Gradient<D>,
        rates: &[f32],
        max_norm: Option<f32>,
    ) -> Result<()> {
        check_rates("sgd", arena.entries(), rates)?;
        self.step_in_runs(arena, gradient, |entry| rates[entry], max_norm)
    }

    fn step_in_runs(
        &mut self,
        arena: &mut Arena<D>,
        gradient: &Gradient<D>,
        rates: impl Fn(usize) -> f32,
        max_norm: Option<f32>,
    ) -> Result<()> {
        self.on.check(arena, gradient)?;
        let runs = self.on.groups.runs(arena.entries(), rates);
        let Self { on, hyper, velocity } = self;
        arena.update(|device, params| {
            let update = SgdUpdate {
                params,
                grads: gradient.slice(),
                velocity: velocity.as_mut().map(|velocity| SliceMut::new(velocity, 0, on.len)),
                hyper: *hyper,
                max_norm,
                norm: on.norm_mut(),
            };
            device.sgd(update, &runs)
        })?;
        on.step += 1;
        Ok(())
    }

    /// The hyper-parameters of the optimizer.
    pub fn hyper(&self) -> &Sgd {
        &self.hyper
    }

    /// The number of steps so far.
    pub fn steps(&self) -> u64 {
        self.on.step
    }
}

impl<D: SgdStep> Optimizer<D> for ArenaSgd<D> {
    fn step(&mut self, arena: &mut Arena<D>, gradient: &Gradient<D>, lr: f32, max_norm: Option<f32>) -> Result<()> {
        self.step_in_runs(arena, gradient, |_| lr, max_norm)
    }

    fn norm(&self) -> Result<f32> {
        self.on.norm()
    }

    fn save(&self) -> Result<OptimizerState> {
        let mut moments = Vec::new();
        if let Some(velocity) = &self.velocity {
            moments.push(("velocity".into(), self.on.read(velocity)?));
        }
        Ok(OptimizerState::new("sgd", self.on.step, moments))
    }

    fn load(&mut self, state: &OptimizerState) -> Result<()> {
        match &mut self.velocity {
            None => {
                state.moments("sgd", [])?;
            }
            Some(velocity) => {
                let [values] = state.moments("sgd", ["velocity"])?;
                if values.len() != self.on.len {
                    return Err(Error::shape("sgd", "the velocity", &[self.on.len], &[values.len()]));
                }
                if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                    let reason = format!("the velocity holds {value}, which cannot result from a step");
                    return Err(Error::invalid("sgd", reason));
                }
                self.on.write(values, velocity)?;
            }
        }
        self.on.step = state.steps;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ArenaBuilder, Cpu, HostTensor, Mask, backend::conformance::support::*, ops::sgd::reference};

    /// A bias of 7 and two of five rows of 3: 13 scalars.
    fn arena() -> Arena<Cpu> {
        let mut builder = ArenaBuilder::new(Cpu::default());
        builder.train("bias", HostTensor::new([7], random(1, 7)).unwrap(), Mask::All).unwrap();
        builder.train("rows", HostTensor::new([5, 3], random(2, 15)).unwrap(), Mask::Rows(vec![1, 3])).unwrap();
        builder.build().unwrap()
    }

    fn gradient(arena: &Arena<Cpu>, seed: u64) -> Gradient<Cpu> {
        let mut gradient = arena.gradient().unwrap();
        arena.device().write(&random(seed, arena.len()), gradient.slice_mut()).unwrap();
        gradient
    }

    #[test]
    fn steps_of_an_arena_are_those_of_the_reference_and_go_on_after_a_restart() {
        for hyper in [Sgd::default(), Sgd::default().with_momentum(0.9).with_nesterov().with_weight_decay(0.01)] {
            let mut arena = arena();
            let mut optimizer = ArenaSgd::new(&arena, hyper).unwrap();
            let (mut p, mut v) = (widen(&arena.read().unwrap()), vec![0.0; 13]);
            for seed in 3..7 {
                let (gradient, grads) = (gradient(&arena, seed), widen(&random(seed, 13)));
                optimizer.step(&mut arena, &gradient, 0.1, Some(1.0)).unwrap();
                let norm = reference::sgd(&mut p, &mut v, &grads, &hyper, f64::from(0.1_f32), Some(1.0));
                assert_close("norm", &[optimizer.norm().unwrap()], &[norm], 1e-6);
                assert_close("values", &arena.read().unwrap(), &p, 1e-6);
                let mut again = ArenaSgd::new(&arena, hyper).unwrap();
                again.load(&optimizer.save().unwrap()).unwrap();
                assert_eq!(again.save().unwrap(), optimizer.save().unwrap());
                optimizer = again;
            }
            assert_eq!(optimizer.steps(), 4);
        }
    }

    #[test]
    fn groups_scale_the_rate_of_their_entries() {
        let steps = |lr, rates: Option<&[f32]>, group: fn(&Entry) -> Group| {
            let mut arena = arena();
            let mut optimizer = ArenaSgd::new(&arena, Sgd::default()).unwrap().with_groups(&arena, group).unwrap();
            let gradient = gradient(&arena, 3);
            match rates {
                Some(rates) => optimizer.step_by_entry(&mut arena, &gradient, rates, None).unwrap(),
                None => optimizer.step(&mut arena, &gradient, lr, None).unwrap(),
            }
            arena.read().unwrap()
        };
        let head = |entry: &Entry| Group::default().with_rate(if entry.name == "rows" { 2.0 } else { 1.0 });
        let (found, slow, fast) =
            (steps(0.1, None, head), steps(0.1, None, |_| Group::default()), steps(0.2, None, |_| Group::default()));
        assert_eq!((&found[..7], &found[7..]), (&slow[..7], &fast[7..]));
        assert_eq!(steps(0.0, Some(&[0.1, 0.2]), |_| Group::default()), found);
    }

    #[test]
    fn what_belongs_to_another_arena_and_a_state_that_does_not_fit_are_refused() {
        let (mut mine, mut theirs) = (arena(), arena());
        let mut optimizer = ArenaSgd::new(&mine, Sgd::default().with_momentum(0.9)).unwrap();
        let (right, wrong) = (gradient(&mine, 3), gradient(&theirs, 3));
        let before = (mine.read().unwrap(), theirs.read().unwrap());
        for error in [
            optimizer.step(&mut mine, &wrong, 0.1, None).unwrap_err(),
            optimizer.step(&mut theirs, &right, 0.1, None).unwrap_err(),
        ] {
            assert!(matches!(error, Error::Foreign { owner: "arena", .. }), "{error}");
        }
        let state = |moments| OptimizerState::new("sgd", 1, moments);
        assert!(optimizer.load(&state(vec![])).is_err());
        assert!(matches!(optimizer.load(&state(vec![("velocity".into(), vec![0.0; 2])])), Err(Error::Shape { .. })));
        assert!(optimizer.load(&state(vec![("velocity".into(), vec![f32::NAN; 13])])).is_err());
        assert!(optimizer.step_by_entry(&mut mine, &right, &[0.1], None).is_err());
        assert_eq!((mine.read().unwrap(), theirs.read().unwrap(), optimizer.steps()), (before.0, before.1, 0));
    }
}
