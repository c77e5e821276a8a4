//! Use cases: whole runs, from files to files.

mod base_dir;
pub(crate) mod chart;
mod class_weights;
mod compare;
mod comparison_report;
mod finetune;
mod folds;
mod head_file;
mod log;
mod method_choice;
mod notes;
mod options;
mod out_of_fold;
mod output_dir;
mod plan;
mod probe;
mod ranks;
mod reproduce;
mod run_record;
mod save;
mod scaling;
mod seeds;
mod several;
mod state_file;
mod state_saver;
mod statistics;
mod sweep;
mod table;
mod task_data;
mod tensorboard;

pub use base_dir::write_base;
pub use class_weights::{ClassWeights, LossOptions};
pub use compare::{Comparison, PeakMemory, check_comparison, method_directory};
pub use comparison_report::{
    COMPARISON_CHART, COMPARISON_COSTS, COMPARISON_CSV, COMPARISON_MARKDOWN, ComparedMethod, FinishedComparison,
};
pub use finetune::{Finetune, Finished, MASK_FILE};
pub use folds::{FinishedFolds, FoldRun, FoldRuns, check_folds, fold_directory};
pub use log::{METRICS_LOG, scores_as_json};
pub use method_choice::MethodChoice;
pub use notes::{Occurrence, PlanNote};
pub use options::{EarlierRun, FinetuneOptions, HeadStart};
pub use out_of_fold::{OUT_OF_FOLD, OutOfFoldAnswer, OutOfFoldFields, SUSPECTS};
pub use output_dir::{RESULTS, ResultsOf, check_output, check_results};
pub use plan::{CachedPrefix, InitialHead, Plan, PlanPart};
pub use probe::ProbeUse;
pub use ranks::withdraw;
pub use reproduce::{
    BITFIT_RATES, Certainty, EPOCHS, Estimate, FIGURES, FULL_RATES, Figure, FigureRow, FinishedReproduction, GridPlan,
    GridRates, LeftOut, Length, PaperTable, PlannedRun, PublishedModel, ReproduceOptions, Reproduction, RunState,
    SQUAD_LENGTH, SQUAD_POINTS, SQUAD_ROWS, Source, SquadPoint, TableReport, differing_versions, figures,
};
pub use run_record::{RUN_RECORD, RunResult};
pub use save::{TASK_FILE, WrittenTask};
pub use scaling::Scaling;
pub use seeds::{FinishedSeeds, RunEvents, RunNumber, SeedRun, SeedRuns, check_seed_runs, seed_directory};
pub use state_file::{EARLIER_STATE_FILE, RunCommand, STATE_FILE, can_resume, saved_command};
pub use state_saver::SaveEvery;
pub use statistics::{MeanScore, mean_scores};
pub use sweep::{SWEEP_DIR, Shard, SweepOptions};
pub use table::Table;
pub use tensorboard::TENSORBOARD_DIR;
