//! [`Group`]: a learning rate and a weight decay of their own for some entries of an arena.

use crate::{
    Arena, Device, Entry, Error, Result,
    ops::adamw::{RateRun, not_negative},
};

/// What an entry of the arena has of its own: a factor of the learning rate, and a weight decay. The default is the
/// optimizer's rate and decay.
///
/// An optimizer takes a function from entries to groups, so that groups can follow names, shapes or layers:
///
/// ```
/// use bitfit_core::{ArenaBuilder, Cpu, HostTensor, Mask, optim::{AdamW, ArenaOptimizer, Group}};
///
/// let mut builder = ArenaBuilder::new(Cpu::default());
/// builder.add("layer.0.bias", HostTensor::new([2], vec![0.0; 2])?, Mask::All)?;
/// builder.weight("head.weight", HostTensor::new([2, 2], vec![0.5; 4])?, Mask::All)?;
/// let arena = builder.build()?;
///
/// let hyper = AdamW::default().with_weight_decay(0.01);
/// let optimizer = ArenaOptimizer::new(&arena, hyper)?.with_groups(&arena, |entry| match entry.name.as_str() {
///     name if name.ends_with("bias") => Group::default().with_weight_decay(0.0),
///     name if name.starts_with("head") => Group::default().with_rate(10.0),
///     _ => Group::default(),
/// })?;
/// # Ok::<(), bitfit_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Group {
    /// The factor of the learning rate. Default 1.
    pub rate: f32,
    /// The weight decay λ; `None`, the default, for that of the optimizer.
    pub weight_decay: Option<f64>,
}

impl Default for Group {
    fn default() -> Self {
        Self { rate: 1.0, weight_decay: None }
    }
}

impl Group {
    /// The same with another factor of the learning rate.
    #[must_use]
    pub fn with_rate(self, rate: f32) -> Self {
        Self { rate, ..self }
    }

    /// The same with another weight decay λ.
    #[must_use]
    pub fn with_weight_decay(self, weight_decay: f64) -> Self {
        Self { weight_decay: Some(weight_decay), ..self }
    }
}

/// The groups of all entries; empty if every entry has the default.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups(Vec<Group>);

impl Groups {
    /// The group of each entry of `arena`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a factor or a weight decay that is negative or not finite, with the name of the entry.
    pub fn of<D: Device>(op: &'static str, arena: &Arena<D>, mut group: impl FnMut(&Entry) -> Group) -> Result<Self> {
        let mut groups = Vec::with_capacity(arena.entries().len());
        for entry in arena.entries() {
            let group = group(entry);
            not_negative(op, &format!("the rate of {}", entry.name), group.rate)?;
            not_negative(op, &format!("the weight decay of {}", entry.name), group.weight_decay.unwrap_or(0.0))?;
            groups.push(group);
        }
        Ok(Self(groups))
    }

    /// The runs of neighbouring entries with one rate and one weight decay, if entry `i` has the rate `rates(i)` before
    /// the factor of its group.
    pub fn runs(&self, entries: &[Entry], rates: impl Fn(usize) -> f32) -> Vec<RateRun> {
        let mut runs: Vec<RateRun> = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let Group { rate, weight_decay } = self.0.get(index).copied().unwrap_or_default();
            // The same bits as without a group if the factor is 1.
            let lr = rates(index) * rate;
            match runs.last_mut().filter(|run| run.lr == lr && run.weight_decay == weight_decay) {
                Some(run) => run.len += entry.len,
                None => runs.push(RateRun { len: entry.len, lr, weight_decay }),
            }
        }
        runs
    }
}

/// Checks that there is one rate for each entry.
pub(super) fn check_rates(op: &'static str, entries: &[Entry], rates: &[f32]) -> Result<()> {
    if rates.len() == entries.len() {
        return Ok(());
    }
    Err(Error::shape(op, "the list of rates", &[entries.len()], &[rates.len()]))
}
