//! A cache of the outputs of frozen stages: if nothing up to some layer trains, the output of these stages for a row is
//! the same in every epoch, as long as they have no dropout.
//!
//! The frozen stages therefore run as in inference, once for each row, and their outputs are kept in host memory up to
//! a budget; a row that does not fit is computed again each time. On the CPU a row's output does not depend on the
//! other rows of its batch, so results do not depend on what is cached.

use bitfit_core::{Backend, Tape, Tensor, Var};
use ndarray::ArrayView2;

use super::{Batches, Evaluation, Examples, TrainOptions};
use crate::Result;
use crate::model::{Batch, Model};
use crate::tokenize::Encoding;

/// The cached outputs of frozen stages for a training and an evaluation set. Runs over the same base, sets and frozen
/// stages can hand them on ([`Trainer::run_with`](super::Trainer::run_with)).
///
/// What is kept was computed without dropout from weights that do not train, so it depends on no seed; where frozen
/// stages have dropout in training, nothing of the training set is kept. On the CPU a run with another's caches has the
/// same bits as without. On a GPU it differs within rounding, as the cache of a single run does.
#[derive(Debug, Default)]
pub struct PrefixCaches {
    /// `None` if no stage is frozen, or if the frozen ones have dropout.
    pub(super) training: Option<FrozenPrefixCache>,
    /// `None` if no stage is frozen.
    pub(super) evaluation: Option<FrozenPrefixCache>,
}

impl PrefixCaches {
    /// Empty caches for a run of `model`.
    pub(super) fn new<D: Backend>(
        model: &Model<D>,
        examples: &Examples,
        batches: &Batches,
        evaluation: Option<Evaluation<'_>>,
        options: &TrainOptions,
    ) -> Self {
        let mut budget = options.prefix_cache_bytes;
        let mut training = None;
        if !options.frozen_dropout && examples.are_drawn() {
            // They are others in every epoch, so nothing is kept.
            training = FrozenPrefixCache::new(model, examples.len(), 0);
        } else if !options.frozen_dropout {
            training = FrozenPrefixCache::new(model, examples.len(), budget);
            budget = budget.saturating_sub(prefix_cache_bytes(model, batches.of(&examples.encodings)));
        }
        let evaluation =
            evaluation.and_then(|evaluation| FrozenPrefixCache::new(model, evaluation.examples.len(), budget));
        Self { training, evaluation }
    }

    /// Whether these caches are of as many rows and stages as others.
    pub(super) fn are_like(&self, other: &Self) -> bool {
        let extents = |cache: &Option<FrozenPrefixCache>| cache.as_ref().map(|cache| (cache.stages, cache.rows.len()));
        extents(&self.training) == extents(&other.training) && extents(&self.evaluation) == extents(&other.evaluation)
    }

    /// The number of rows whose outputs are kept.
    pub fn rows(&self) -> usize {
        [&self.training, &self.evaluation].into_iter().flatten().map(|cache| cache.rows.iter().flatten().count()).sum()
    }
}

/// The outputs of the frozen stages for the rows of one set.
#[derive(Debug)]
pub(super) struct FrozenPrefixCache {
    stages: usize,
    rows: Vec<Option<Box<[f32]>>>,
    /// The number of elements that may still be cached.
    left: usize,
    /// The concatenated rows of a batch.
    batch: Vec<f32>,
}

impl FrozenPrefixCache {
    /// An empty cache for `rows` rows and at most `budget` bytes; `None` if no stage is frozen.
    pub fn new<D: Backend>(model: &Model<D>, rows: usize, budget: usize) -> Option<Self> {
        let stages = model.frozen_stages();
        (stages > 0).then(|| Self {
            stages,
            rows: vec![None; rows],
            left: budget / size_of::<f32>(),
            batch: Vec::new(),
        })
    }

    /// The head's outputs `[B, C]` for a batch that holds `rows` of `encodings`, on a tape that has recorded nothing
    /// yet.
    pub fn forward<D: Backend>(
        &mut self,
        model: &Model<D>,
        tape: &mut Tape<'_, D>,
        batch: &Batch<D>,
        encodings: &[Encoding],
        rows: &[usize],
    ) -> Result<Var<D>> {
        let x = self.outputs(model, batch, encodings, rows)?;
        let x = tape.constant(x);
        model.forward_from(tape, batch, x, self.stages)
    }

    /// The frozen stages' outputs for the rows of a batch, from the cache or computed.
    fn outputs<D: Backend>(
        &mut self,
        model: &Model<D>,
        batch: &Batch<D>,
        encodings: &[Encoding],
        rows: &[usize],
    ) -> Result<Tensor<D>> {
        let is_missing =
            |row: &&usize| self.rows[**row].is_none() && model.stage_elements(self.stages, &encodings[**row]) > 0;
        let mut missing = rows.iter().filter(is_missing).map(|&row| &encodings[row]).peekable();
        let computed = if missing.peek().is_none() {
            Vec::new()
        } else {
            let batch = model.batch(missing)?;
            let x = model.forward_prefix(&mut model.inference_tape(), &batch, self.stages)?;
            x.tensor().to_array()?.into_raw_vec_and_offset().0
        };
        let mut computed = computed.as_slice();
        self.batch.clear();
        for &row in rows {
            if let Some(cached) = &self.rows[row] {
                self.batch.extend_from_slice(cached);
                continue;
            }
            let elements = model.stage_elements(self.stages, &encodings[row]);
            let (own, rest) = computed.split_at(elements);
            computed = rest;
            self.batch.extend_from_slice(own);
            if elements <= self.left {
                self.left -= elements;
                self.rows[row] = Some(own.into());
            }
        }
        let cols = model.hidden();
        if !model.is_read_by(self.stages) {
            self.batch.resize(batch.rows() * cols, 0.0);
        }
        let x = ArrayView2::from_shape((self.batch.len() / cols, cols), &self.batch).expect("whole rows");
        Ok(model.workspace().tensor(x)?)
    }
}

/// The size in bytes of the outputs of a model's frozen stages for texts.
pub fn prefix_cache_bytes<'a, D: Backend>(
    model: &Model<D>,
    encodings: impl IntoIterator<Item = &'a Encoding>,
) -> usize {
    match model.frozen_stages() {
        0 => 0,
        stages => encodings.into_iter().map(|text| model.stage_elements(stages, text) * size_of::<f32>()).sum(),
    }
}

#[cfg(test)]
mod tests {
    use bitfit_core::Cpu;

    use super::*;
    use crate::fixture::Tiny;
    use crate::methods::{BiasKind, BiasSelection, Method};
    use crate::metrics::Metric;
    use crate::model::{InitialValues, ModelOptions};
    use crate::train::tests::{classification, two_classes};
    use crate::train::{BatchSize, NoEvents, Trainer};

    fn build(biases: BiasSelection, dropout: f32) -> Model<Cpu> {
        let (initial, method) = (InitialValues::Drawn { seed: 1 }, Method::of_biases(biases));
        let options = ModelOptions { spec: two_classes(), method, initial, dropout: Some(dropout) };
        Model::new(&Tiny::new().base(), &options).unwrap()
    }

    fn examples() -> Examples {
        let texts: [&[u32]; 5] = [&[1, 5, 2], &[1, 7, 9, 3, 2], &[1, 2], &[1, 4, 4, 4, 6, 2], &[1, 10, 2]];
        classification(&texts, &[0, 1, 1, 0, 1])
    }

    /// The trainable values after three epochs, and the scores of the last, as bits.
    fn run(biases: BiasSelection, dropout: f32, options: TrainOptions) -> (Vec<u32>, Vec<u64>) {
        let mut model = build(biases, dropout);
        let options = TrainOptions { batch_size: BatchSize::Sequences(2), ..options };
        let (train, held_out) = (examples(), examples());
        let evaluation = Evaluation { examples: &held_out, metrics: &[Metric::Accuracy] };
        let trainer = Trainer::new(&mut model, &train, Some(evaluation), &options).unwrap();
        let report = trainer.run(&mut NoEvents).unwrap();
        let values = model.arena().read().unwrap().into_iter().map(f32::to_bits).collect();
        (values, report.state.last.iter().map(|score| score.value.to_bits()).collect())
    }

    #[test]
    fn the_cache_changes_no_bit_and_without_dropout_nor_does_its_absence() {
        for selection in
            [BiasSelection::none(), BiasSelection::all().in_layers(1..=1), BiasSelection::of([BiasKind::Pooler])]
        {
            let with = |dropout, prefix_cache_bytes, frozen_dropout| {
                run(
                    selection.clone(),
                    dropout,
                    TrainOptions { prefix_cache_bytes, frozen_dropout, ..TrainOptions::default() },
                )
            };
            let all_kept = with(0.0, usize::MAX, false);
            for (some, frozen_dropout) in [(0, false), (100, false), (300, false), (0, true)] {
                assert_eq!(with(0.0, some, frozen_dropout), all_kept, "{selection:?}, {some} bytes");
            }
            assert_eq!(with(0.3, 0, false), with(0.3, usize::MAX, false), "{selection:?}, dropout above");
            assert_ne!(with(0.3, 0, false).0, with(0.3, 0, true).0, "{selection:?}, dropout below");
        }
    }

    #[test]
    fn a_run_with_the_caches_of_another_seed_has_the_bits_of_one_without() {
        let with = |seed, dropout, frozen_dropout, caches: &mut PrefixCaches| {
            let mut model = build(BiasSelection::all().in_layers(1..=1), dropout);
            let batch_size = BatchSize::Sequences(2);
            let options = TrainOptions { seed, batch_size, frozen_dropout, ..TrainOptions::default() };
            let (train, held_out) = (examples(), examples());
            let evaluation = Evaluation { examples: &held_out, metrics: &[Metric::Accuracy] };
            let trainer = Trainer::new(&mut model, &train, Some(evaluation), &options).unwrap();
            trainer.run_with(caches, &mut NoEvents).unwrap();
            model.arena().read().unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        for (dropout, frozen_dropout, kept) in [(0.0, false, 10), (0.3, false, 10), (0.3, true, 5)] {
            let mut caches = PrefixCaches::default();
            for seed in 0..3 {
                let alone = with(seed, dropout, frozen_dropout, &mut PrefixCaches::default());
                assert_eq!(with(seed, dropout, frozen_dropout, &mut caches), alone, "seed {seed}");
                assert_eq!(caches.rows(), kept, "with dropout below, those of the evaluation set alone");
            }
        }
    }

    #[test]
    fn caches_of_other_stages_are_not_used() {
        let run = |selection, caches: &mut PrefixCaches| {
            let mut model = build(selection, 0.0);
            let (train, options) = (examples(), TrainOptions::default());
            Trainer::new(&mut model, &train, None, &options).unwrap().run_with(caches, &mut NoEvents).unwrap();
            model.arena().read().unwrap()
        };
        let mut caches = PrefixCaches::default();
        run(BiasSelection::of([BiasKind::Pooler]), &mut caches);
        let upper = || BiasSelection::all().in_layers(1..=1);
        assert_eq!(run(upper(), &mut caches), run(upper(), &mut PrefixCaches::default()));
        assert_eq!(caches.rows(), 5);
        run(BiasSelection::all(), &mut caches);
        assert_eq!(caches.rows(), 0, "nothing is frozen");
    }

    #[test]
    fn with_no_layer_frozen_the_embeddings_have_dropout() {
        let with = |frozen_dropout| {
            run(BiasSelection::of([BiasKind::Query]), 0.3, TrainOptions { frozen_dropout, ..TrainOptions::default() })
        };
        assert_eq!(with(false), with(true));
    }

    #[test]
    fn the_frozen_stages_end_below_the_lowest_one_that_trains() {
        let stages = |selection| build(selection, 0.0).frozen_stages();
        assert_eq!(stages(BiasSelection::all()), 0);
        assert_eq!(stages(BiasSelection::of([BiasKind::Query])), 0, "the embeddings are not worth it");
        assert_eq!(stages(BiasSelection::of([BiasKind::Value]).in_layers(1..=1)), 2, "the embeddings and layer 0");
        assert_eq!(stages(BiasSelection::of([BiasKind::Pooler])), 3, "both layers");
        assert_eq!(stages(BiasSelection::none()), 4, "and the pooler");
        // A key bias never changes, so nothing depends on whether its stage is frozen.
        assert_eq!(stages(BiasSelection::of([BiasKind::Key])), 4);
    }

    #[test]
    fn no_more_is_cached_than_fits() {
        let model = build(BiasSelection::all().in_layers(1..=1), 0.0);
        let examples = examples();
        let needed = prefix_cache_bytes(&model, &examples.encodings);
        assert_eq!(needed, (3 + 5 + 2 + 6 + 3) * 8 * size_of::<f32>());
        for (budget, cached) in [(0, 0), (needed - 1, 4), (needed, 5)] {
            let mut cache = FrozenPrefixCache::new(&model, 5, budget).unwrap();
            for _ in 0..2 {
                let batch = model.batch(&examples.encodings).unwrap();
                cache.outputs(&model, &batch, &examples.encodings, &[0, 1, 2, 3, 4]).unwrap();
                assert_eq!(cache.rows.iter().flatten().count(), cached, "{budget} bytes");
            }
        }
    }
}
