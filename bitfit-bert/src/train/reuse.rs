//! The outputs of the frozen stages, kept: where nothing up to some layer trains, what it makes of a row is the same in every
//! epoch, as long as nothing is dropped there.
//!
//! So the frozen stages run as in inference, once for each row, and their outputs stay in the host's memory as far as they
//! fit a budget; a row that does not fit is computed anew each time. What the CPU makes of a row does not depend on the rows
//! beside it, so neither does a result depend on what was kept.

use bitfit_core::{Arena, Backend, Tape, Tensor, Var, Workspace};
use ndarray::ArrayView2;

use crate::Result;
use crate::model::{Batch, Bert};
use crate::tokenize::Encoding;

/// What the frozen stages made of the rows of one set.
pub(super) struct Reuse {
    stages: usize,
    rows: Vec<Option<Box<[f32]>>>,
    /// Elements that may still be kept.
    left: usize,
    /// The rows of a batch side by side.
    batch: Vec<f32>,
}

impl Reuse {
    /// For so many rows, with so many bytes to keep; `None` where no stage is frozen.
    pub fn new<D: Backend>(model: &Bert<D>, rows: usize, budget: usize) -> Option<Self> {
        let stages = model.frozen_stages();
        (stages > 0).then(|| Self {
            stages,
            rows: vec![None; rows],
            left: budget / size_of::<f32>(),
            batch: Vec::new(),
        })
    }

    /// The head's outputs `[B, C]` for a batch that holds `rows` of `encodings`, on a tape that has recorded nothing yet.
    pub fn forward<D: Backend>(
        &mut self,
        model: &Bert<D>,
        tape: &mut Tape<'_, D>,
        batch: &Batch<D>,
        encodings: &[Encoding],
        rows: &[usize],
    ) -> Result<Var<D>> {
        let x = self.outputs(model, tape.arena(), tape.workspace(), encodings, rows)?;
        let x = tape.constant(x);
        Ok(model.above(tape, batch, x, self.stages)?)
    }

    /// What the frozen stages make of some rows, kept or computed.
    fn outputs<D: Backend>(
        &mut self,
        model: &Bert<D>,
        arena: &Arena<D>,
        workspace: &Workspace<D>,
        encodings: &[Encoding],
        rows: &[usize],
    ) -> Result<Tensor<D>> {
        let mut missing = rows.iter().filter(|&&row| self.rows[row].is_none()).map(|&row| &encodings[row]).peekable();
        let computed = if missing.peek().is_none() {
            Vec::new()
        } else {
            let batch = Batch::new(arena.device(), missing)?;
            let x = model.below(&mut Tape::infer(workspace, arena), &batch, self.stages)?;
            x.tensor().to_array()?.into_raw_vec_and_offset().0
        };
        let mut computed = computed.as_slice();
        self.batch.clear();
        for &row in rows {
            if let Some(kept) = &self.rows[row] {
                self.batch.extend_from_slice(kept);
                continue;
            }
            let elements = model.stage_elements(self.stages, encodings[row].ids.len());
            let (own, rest) = computed.split_at(elements);
            computed = rest;
            self.batch.extend_from_slice(own);
            if elements <= self.left {
                self.left -= elements;
                self.rows[row] = Some(own.into());
            }
        }
        let cols = model.hidden();
        let x = ArrayView2::from_shape((self.batch.len() / cols, cols), &self.batch).expect("whole rows");
        Ok(workspace.tensor(x)?)
    }
}

/// Bytes that the outputs of a model's frozen stages take for rows of so many tokens each.
pub fn reuse_bytes<D: Backend>(model: &Bert<D>, lengths: impl IntoIterator<Item = usize>) -> usize {
    match model.frozen_stages() {
        0 => 0,
        stages => lengths.into_iter().map(|tokens| model.stage_elements(stages, tokens) * size_of::<f32>()).sum(),
    }
}

#[cfg(test)]
mod tests {
    use bitfit_core::Cpu;

    use super::*;
    use crate::bias::{BiasKind, Selection};
    use crate::checkpoint::testing::Tiny;
    use crate::metrics::Metric;
    use crate::model::{Head, HeadWeights, ModelOptions};
    use crate::train::{BatchSize, Examples, Targets, TrainOptions, Trainee, Unobserved, train};

    fn build(selection: Selection, dropout: f32) -> (Bert<Cpu>, Arena<Cpu>) {
        let options = ModelOptions {
            head: Head::Classify { classes: 2 },
            head_weights: HeadWeights::Fresh { seed: 1 },
            selection,
            dropout: Some(dropout),
        };
        Bert::build(&Cpu::default(), &Tiny::new().open(), &options).unwrap()
    }

    fn examples() -> Examples {
        let encoding = |ids: &[u32]| Encoding { ids: ids.to_vec(), type_ids: vec![0; ids.len()] };
        let texts: [&[u32]; 5] = [&[1, 5, 2], &[1, 7, 9, 3, 2], &[1, 2], &[1, 4, 4, 4, 6, 2], &[1, 10, 2]];
        Examples {
            encodings: texts.iter().map(|ids| encoding(ids)).collect(),
            targets: Targets::Classes(vec![0, 1, 1, 0, 1]),
        }
    }

    /// What trains after three epochs, and the scores of the last, as bits.
    fn run(selection: Selection, dropout: f32, options: TrainOptions) -> (Vec<u32>, Vec<u64>) {
        let (model, mut arena) = build(selection, dropout);
        let workspace = Workspace::new(Cpu::default());
        let trainee = Trainee { model: &model, arena: &mut arena, workspace: &workspace };
        let options = TrainOptions { batch_size: BatchSize::Sequences(2), ..options };
        let evaluation = examples();
        let outcome =
            train(trainee, &examples(), Some((&evaluation, &[Metric::Accuracy])), &options, &mut Unobserved).unwrap();
        let values = arena.read().unwrap().into_iter().map(f32::to_bits).collect();
        (values, outcome.last.iter().map(|score| score.value.to_bits()).collect())
    }

    #[test]
    fn what_is_kept_changes_no_bit_and_without_dropout_nor_does_reuse_at_all() {
        for selection in [Selection::none(), Selection::all().in_layers(1..=1), Selection::of([BiasKind::Pooler])] {
            let with = |dropout, reuse_bytes, frozen_dropout| {
                run(selection.clone(), dropout, TrainOptions { reuse_bytes, frozen_dropout, ..TrainOptions::default() })
            };
            let all_kept = with(0.0, usize::MAX, false);
            for (some, frozen_dropout) in [(0, false), (100, false), (300, false), (0, true)] {
                assert_eq!(with(0.0, some, frozen_dropout), all_kept, "{selection}, {some} bytes");
            }
            assert_eq!(with(0.3, 0, false), with(0.3, usize::MAX, false), "{selection}, dropout above");
            assert_ne!(with(0.3, 0, false).0, with(0.3, 0, true).0, "{selection}, dropout below");
        }
    }

    #[test]
    fn with_no_layer_frozen_the_embeddings_drop_as_ever() {
        let with = |frozen_dropout| {
            run(Selection::of([BiasKind::Query]), 0.3, TrainOptions { frozen_dropout, ..TrainOptions::default() })
        };
        assert_eq!(with(false), with(true));
    }

    #[test]
    fn the_frozen_stages_end_below_the_lowest_one_that_trains() {
        let stages = |selection| build(selection, 0.0).0.frozen_stages();
        assert_eq!(stages(Selection::all()), 0);
        assert_eq!(stages(Selection::of([BiasKind::Query])), 0, "the embeddings are not worth it");
        assert_eq!(stages(Selection::of([BiasKind::Value]).in_layers(1..=1)), 2, "the embeddings and layer 0");
        assert_eq!(stages(Selection::of([BiasKind::Pooler])), 3, "both layers");
        assert_eq!(stages(Selection::none()), 4, "and the pooler");
        // A key bias trains in name only, so that nothing depends on the stage that has it.
        assert_eq!(stages(Selection::of([BiasKind::Key])), 4);
    }

    #[test]
    fn no_more_is_kept_than_fits() {
        let (model, arena) = build(Selection::all().in_layers(1..=1), 0.0);
        let (workspace, examples) = (Workspace::new(Cpu::default()), examples());
        let needed = reuse_bytes(&model, examples.lengths());
        assert_eq!(needed, (3 + 5 + 2 + 6 + 3) * 8 * size_of::<f32>());
        for (budget, kept) in [(0, 0), (needed - 1, 4), (needed, 5)] {
            let mut reuse = Reuse::new(&model, 5, budget).unwrap();
            for _ in 0..2 {
                reuse.outputs(&model, &arena, &workspace, &examples.encodings, &[0, 1, 2, 3, 4]).unwrap();
                assert_eq!(reuse.rows.iter().flatten().count(), kept, "{budget} bytes");
            }
        }
    }
}
