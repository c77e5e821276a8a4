//! What every command does before it computes: instruction set, threads, and where the base model of a task file is.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use bitfit_bert::task::Task;
use bitfit_bert::{TaskFile, data, hub};
use bitfit_core::{Cpu, simd};

use crate::args::MachineArgs;

/// The device, with its threads started.
pub fn device(machine: &MachineArgs) -> Result<Cpu> {
    simd::init()?;
    if let Some(threads) = machine.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.map_err(|error| anyhow!("--threads {threads}: {error}"))?;
    }
    Ok(Cpu::default().with_precision(machine.precision))
}

/// A task file on its base model, ready to answer.
pub struct Loaded {
    /// The base model as it was named.
    pub model: String,
    /// The task.
    pub task: Task<Cpu>,
}

impl Loaded {
    /// Loads the task onto the base model `model`, or onto the one that the task file names.
    pub fn open(device: &Cpu, model: Option<&str>, task_file: &Path, max_length: Option<usize>) -> Result<Self> {
        let (model, dir) = match model {
            Some(model) => (model.to_owned(), hub::resolve(model)?),
            None => base(task_file)?,
        };
        let task = Task::load(device, &dir, task_file)?;
        let task = match max_length {
            Some(max_length) => task.with_max_length(max_length)?,
            None => task,
        };
        Ok(Self { model, task })
    }

    /// The preset the task was trained with, if any.
    pub fn preset(&self) -> Option<data::Task> {
        self.task.file().hyperparameters.get("task")?.as_str()?.parse().ok()
    }
}

/// The base model that a task file names, and its directory.
fn base(task_file: &Path) -> Result<(String, PathBuf)> {
    let base = TaskFile::read(task_file)?.base;
    let dir = hub::resolve(&base).map_err(|error| {
        anyhow!("{}: its base model is not found, say where it is with --model: {error}", task_file.display())
    })?;
    Ok((base, dir))
}
