//! What every command does before it computes: the device, threads, and where the base model of a task file is.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use bitfit_bert::model::Base;
use bitfit_bert::presets::GlueTask;
use bitfit_bert::{Predictor, TaskFile, hub};
use bitfit_core::{Backend, Cpu, cpu::Isa};
use bitfit_cuda::Cuda;

use crate::args::{Device, MachineArgs, Precision};

/// What a command does once it has its device, whichever that is.
pub trait Job {
    /// Does it.
    fn run<D: Backend>(self, device: &D) -> Result<ExitCode>;
}

/// Runs a command on the device that was asked for: the one place where devices are told apart.
pub fn on_device(machine: &MachineArgs, job: impl Job) -> Result<ExitCode> {
    Isa::from_env()?;
    if let Some(threads) = machine.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.map_err(|error| anyhow!("--threads {threads}: {error}"))?;
    }
    match machine.device {
        Device::Cpu => job.run(&cpu(machine.precision)?),
        Device::Cuda(ordinal) => job.run(&cuda(ordinal, machine.precision)?),
    }
}

fn cpu(precision: Precision) -> Result<Cpu> {
    let precision = match precision {
        Precision::F32 => bitfit_core::Precision::F32,
        Precision::Bf16 => bitfit_core::Precision::Bf16,
        Precision::Tf32 => bail!("--precision tf32: only a GPU has it; take --device cuda, or f32 or bf16"),
    };
    Ok(Cpu::default().with_precision(precision))
}

fn cuda(ordinal: usize, precision: Precision) -> Result<Cuda> {
    let device = Cuda::new(ordinal).map_err(|error| anyhow!("--device {}: {error}", Device::Cuda(ordinal)))?;
    Ok(match precision {
        Precision::F32 => device,
        Precision::Tf32 => device.with_tf32(),
        Precision::Bf16 => device.with_precision(bitfit_core::Precision::Bf16),
    })
}

/// A task over its base model, ready to predict.
pub struct Loaded<D: Backend> {
    /// The base model as the user, or else the task file, named it.
    pub model: String,
    /// The task.
    pub predictor: Predictor<D>,
}

impl<D: Backend> Loaded<D> {
    /// Opens the task over the base model `model`, or over the one that the task file names.
    pub fn open(
        device: &D,
        model: Option<&str>,
        task_file: &Path,
        max_length: Option<usize>,
        quiet: bool,
    ) -> Result<Self> {
        let (model, dir) = match model {
            Some(model) => (model.to_owned(), hub::resolve(model, quiet)?),
            None => base(task_file, quiet)?,
        };
        let predictor = Predictor::open(&Base::open(device, &dir)?, task_file)?;
        let predictor = match max_length {
            Some(max_length) => predictor.with_max_length(max_length)?,
            None => predictor,
        };
        Ok(Self { model, predictor })
    }

    /// The preset the task was trained with, if any.
    pub fn preset(&self) -> Option<GlueTask> {
        self.predictor.info().hyperparameters.task.as_ref()?.parse().ok()
    }
}

/// The base model that a task file names, and its directory: the recorded one where it is still there, otherwise what
/// the name resolves to here.
fn base(task_file: &Path, quiet: bool) -> Result<(String, PathBuf)> {
    let info = TaskFile::read(task_file)?.info;
    let recorded = info.base_path.filter(|_| !info.base.is_empty());
    if let Some(dir) = recorded.as_ref().filter(|dir| dir.is_dir()) {
        return Ok((info.base, dir.clone()));
    }
    let dir = hub::resolve(&info.base, quiet).map_err(|error| {
        let file = task_file.display();
        match recorded {
            Some(dir) => {
                anyhow!("{file}: its base model is no longer in {}: say where it is with --model", dir.display())
            }
            None => anyhow!("{file}: its base model is not found, say where it is with --model: {error}"),
        }
    })?;
    Ok((info.base, dir))
}
