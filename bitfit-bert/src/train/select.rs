//! Which of a method's candidates train: chosen by a short run over the first batches, within a budget of scalars.
//!
//! The candidates and the head train for [`STEPS`] steps of AdamW. A scalar's score is the sum of its squared
//! gradients, which is its empirical Fisher information up to a factor (FISH mask: Sung, Nair, Raffel, arXiv
//! 2111.09839), or how far it has moved, as the BitFit paper measures biases (section 4). Of biases and other vectors,
//! whole tensors are taken in the order of their mean score, as many as the budget holds; of matrices, the best
//! entries.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitfit_core::optim::{AdamW, Alone, ArenaOptimizer};
use bitfit_core::{Backend, Entry, Mask, Seed};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use super::batch_pass::BatchPass;
use super::shards::Shards;
use super::{Batches, Examples, TrainOptions};
use crate::Result;
use crate::model::Model;
use crate::settings::{Setting, check};

/// The most steps of the short run.
pub const STEPS: usize = 64;

/// By what candidates are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Ranking {
    /// How far a scalar moves.
    Magnitude,
    /// The sum of its squared gradients.
    Fisher,
}

/// What is chosen of a method's candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Select {
    /// By what the candidates are ranked.
    pub by: Ranking,
    /// The most scalars, those of the head not counted.
    pub budget: usize,
}

/// The masks that a short run of `model`, whose method trains all candidates, chooses by parameter name. The model's
/// values change. Each of several ranks makes all of the run.
///
/// # Errors
/// [`crate::Error::Setting`] for a budget above what the method trains, or below its smallest tensor;
/// [`crate::Error::Core`] when the device fails.
pub fn select<D: Backend>(
    model: &mut Model<D>,
    examples: &Examples,
    options: &TrainOptions,
    select: Select,
) -> Result<BTreeMap<String, Mask>> {
    let device = model.base().device().clone();
    let scores = device.install(|| scores(model, examples, options, select.by))?;
    let candidates: Vec<(&Entry, &[f32])> = model
        .arena()
        .entries()
        .iter()
        .filter(|entry| model.base_role(&entry.name).is_some())
        .map(|e| (e, &scores[e.range()]))
        .collect();
    let all: usize = candidates.iter().map(|(entry, _)| entry.len).sum();
    let reason = "it is more than the method trains besides the head";
    check(Setting::Budget, select.budget, select.budget <= all, reason)?;
    let is_vector = |entry: &Entry| entry.shape.len() == 1 && *entry.mask == Mask::All;
    if candidates.iter().all(|(entry, _)| is_vector(entry)) {
        tensors(candidates, select.budget)
    } else {
        Ok(entries(&candidates, select.budget))
    }
}

/// The score of every value of the arena.
fn scores<D: Backend>(
    model: &mut Model<D>,
    examples: &Examples,
    options: &TrainOptions,
    by: Ranking,
) -> Result<Vec<f32>> {
    let hyper = AdamW::default().with_weight_decay(options.weight_decay);
    let mut optimizer = ArenaOptimizer::new(model.arena(), hyper)?;
    let mut gradient = model.arena().gradient()?;
    let before = model.arena().read()?;
    let mut squares = vec![0.0; before.len()];
    let batches = Batches::new(examples.lengths(), options).epoch(1);
    let shards = Shards::new(options, Arc::new(Alone))?;
    for (step, rows) in batches.iter().take(STEPS).enumerate() {
        gradient.clear(model.base().device())?;
        let seed = Seed { run: options.seed, step: step as u64 };
        let (weighting, micro_batch) = (options.weighting.as_ref(), options.micro_batch);
        let pass = BatchPass { examples, rows, epoch: 1, seed, weighting, micro_batch };
        shards.add_gradient(pass, model, None, false, &mut gradient)?;
        if by == Ranking::Fisher {
            let gradient = gradient.read(model.base().device())?;
            squares.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g * g);
        }
        optimizer.step(model.arena_mut(), &gradient, options.learning_rate, options.max_grad_norm)?;
    }
    Ok(match by {
        Ranking::Fisher => squares,
        Ranking::Magnitude => {
            let after = model.arena().read()?;
            before.iter().zip(after).map(|(before, after)| (after - before).abs()).collect()
        }
    })
}

/// Whole tensors in the order of their mean score, as many as the budget holds.
fn tensors(candidates: Vec<(&Entry, &[f32])>, budget: usize) -> Result<BTreeMap<String, Mask>> {
    let smallest = candidates.iter().map(|(entry, _)| entry.len).min().unwrap_or(0);
    check(Setting::Budget, budget, budget >= smallest.max(1), "it holds none of the method's tensors")?;
    let mean = |scores: &[f32]| scores.iter().map(|&score| f64::from(score)).sum::<f64>() / scores.len() as f64;
    let mut ranked: Vec<(f64, &Entry)> = candidates.into_iter().map(|(entry, scores)| (mean(scores), entry)).collect();
    // The order of the network decides between equals, as the sort is stable.
    ranked.sort_by(|(first, _), (second, _)| second.total_cmp(first));
    let mut rest = budget;
    let fits = |(_, entry): &(f64, &Entry)| {
        let fits = entry.len <= rest;
        rest -= if fits { entry.len } else { 0 };
        fits
    };
    Ok(ranked.into_iter().filter(fits).map(|(_, entry)| (entry.name.clone(), Mask::All)).collect())
}

/// The best entries of all tensors.
fn entries(candidates: &[(&Entry, &[f32])], budget: usize) -> BTreeMap<String, Mask> {
    let mut ranked: Vec<(f32, usize, u32)> = Vec::new();
    for (tensor, (entry, scores)) in candidates.iter().enumerate() {
        let indices = entry.mask.indices(&entry.shape);
        ranked.extend(scores.iter().zip(indices).map(|(&score, index)| (score, tensor, index)));
    }
    // The order of the network decides between equals.
    let order = |a: &(f32, usize, u32), b: &(f32, usize, u32)| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2)));
    if budget < ranked.len() {
        ranked.select_nth_unstable_by(budget, order);
        ranked.truncate(budget);
    }
    let mut chosen: Vec<Vec<u32>> = vec![Vec::new(); candidates.len()];
    ranked.into_iter().for_each(|(_, tensor, index)| chosen[tensor].push(index));
    let mask = |(mut indices, (entry, _)): (Vec<u32>, &(&Entry, &[f32]))| {
        indices.sort_unstable();
        (!indices.is_empty()).then(|| (entry.name.clone(), Mask::Elements(indices)))
    };
    chosen.into_iter().zip(candidates).filter_map(mask).collect()
}

impl Ranking {
    /// Every ranking.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The name, as a user writes it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn entry(name: &str, shape: &[usize], mask: Mask) -> Entry {
        Entry::new(name, shape, mask, 0)
    }

    #[test]
    fn whole_tensors_are_taken_by_their_mean_while_they_fit() {
        let all = ["a", "b", "c", "d"].map(|name| entry(name, &[if name == "b" { 5 } else { 2 }], Mask::All));
        let scores: [&[f32]; 4] = [&[1.0, 1.0], &[9.0; 5], &[3.0, 5.0], &[2.0, 2.0]];
        let chosen = |budget| {
            let candidates = all.iter().zip(scores).collect();
            tensors(candidates, budget).map(|masks| masks.into_keys().collect::<Vec<_>>())
        };
        assert_eq!(chosen(11).unwrap(), ["a", "b", "c", "d"]);
        assert_eq!(chosen(8).unwrap(), ["b", "c"]);
        assert_eq!(chosen(4).unwrap(), ["c", "d"], "the best one is too large");
        assert!(matches!(chosen(1), Err(Error::Setting { setting: Setting::Budget, .. })));
    }

    #[test]
    fn the_best_entries_of_all_tensors_are_taken() {
        let first = entry("first", &[2, 3], Mask::Columns(vec![2, 0]));
        let second = entry("second", &[3], Mask::All);
        // Columns 2 and 0 of two rows are the elements 2, 0, 5, 3.
        let candidates = [(&first, &[0.1, 0.9, 0.5, 0.5][..]), (&second, &[0.0, 0.7, 0.5])];
        let masks = entries(&candidates, 4);
        assert_eq!(masks["first"], Mask::Elements(vec![0, 3, 5]));
        assert_eq!(masks["second"], Mask::Elements(vec![1]));
        assert_eq!(entries(&candidates, 1).len(), 1);
    }
}
