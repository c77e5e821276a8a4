//! Use cases: whole runs, from files to files.

mod base_dir;
mod finetune;
mod head_file;
mod log;
mod notes;
mod options;
mod plan;
mod probe;
mod save;

pub use base_dir::write_base;
pub use finetune::{Finetune, Finished};
pub use log::{METRICS_LOG, scores_as_json};
pub use notes::{Occurrence, PlanNote};
pub use options::{FinetuneOptions, HeadStart};
pub use plan::{CachedPrefix, InitialHead, Plan, PlanPart};
pub use probe::ProbeUse;
pub use save::{TASK_FILE, WrittenTask};
