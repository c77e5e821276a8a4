//! What every command does before it computes: threads, the device, and the search for the base model of a task file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::{env, fs, io};

use anyhow::{Result, anyhow, bail};
use bitfit_bert::model::Base;
use bitfit_bert::presets::GlueTask;
use bitfit_bert::run::TASK_FILE;
use bitfit_bert::{Error, Predictor, TaskFile, hub};
use bitfit_core::{Backend, Cpu, cpu::Isa};
use bitfit_cuda::Cuda;

use crate::args::{self, Device, MachineArgs, Precision, unreadable};
use crate::{ranks, threads};

/// The variable from which rayon takes the number of threads.
const THREADS_VARIABLE: &str = "RAYON_NUM_THREADS";

/// A command, ready to run on a device of any kind.
pub trait Job {
    /// Runs the command.
    fn run<D: Backend>(self, device: &D) -> Result<ExitCode>;

    /// Makes what the command needs of a GPU beside the arithmetic, before it runs.
    #[cfg(feature = "nccl")]
    fn use_gpu(&self, _device: &Cuda) -> Result<()> {
        Ok(())
    }
}

/// Runs a command on the device that the user chose. No other function distinguishes devices.
pub fn on_device(machine: &MachineArgs, job: impl Job) -> Result<ExitCode> {
    Isa::from_env()?;
    start_threads(machine.threads)?;
    match machine.device {
        Device::Cpu => job.run(&cpu(machine.precision())?),
        Device::Cuda(ordinal) => {
            let device = cuda(ordinal, machine)?;
            #[cfg(feature = "nccl")]
            job.use_gpu(&device)?;
            job.run(&device)
        }
    }
}

/// Starts the threads of a command that computes little, and returns the CPU.
pub fn on_cpu(threads: Option<usize>) -> Result<Cpu> {
    Isa::from_env()?;
    start_threads(threads)?;
    Ok(Cpu::default())
}

/// Starts the threads that compute: the number of `--threads`, otherwise of `RAYON_NUM_THREADS`, otherwise one for each
/// core; of several ranks of a run on this machine each has its share of the cores.
fn start_threads(flag: Option<usize>) -> Result<()> {
    let count = match (flag, env::var_os(THREADS_VARIABLE).filter(|value| !value.is_empty())) {
        (Some(threads), _) => threads,
        (None, Some(value)) => {
            let value = value.to_string_lossy();
            args::threads(&value).map_err(|reason| anyhow!("{THREADS_VARIABLE}={value}: {reason}"))?
        }
        (None, None) => {
            let available = thread::available_parallelism().map_or(1, |cores| cores.get().min(args::MAX_THREADS));
            ranks::share_of_threads(available)
        }
    };
    threads::start_pool(count)
        .map_err(|error| anyhow!("cannot start {count} threads ({error}); choose fewer with --threads"))
}

/// Refuses a file that does not exist and a directory. A file is not opened: a named pipe can be opened only once.
pub fn check_input(path: &Path) -> Result<()> {
    let refuse = |source| Error::Io { path: path.into(), source };
    if path == Path::new("-") && !path.exists() {
        return Err(unreadable(anyhow!("-: stdin is not read here; give the name of a file")));
    }
    if fs::metadata(path).map_err(refuse)?.is_dir() {
        return Err(refuse(io::ErrorKind::IsADirectory.into()).into());
    }
    Ok(())
}

/// As [`check_input`], for a task file: in place of the directory of a run, the file in it is named.
pub fn check_task_file(path: &Path) -> Result<()> {
    let inner = path.join(TASK_FILE);
    if inner.is_file() {
        bail!("{}: is a directory; its task file is {}", path.display(), inner.display());
    }
    check_input(path)
}

/// As [`check_input`], for the file of a flag that is not one of data. Some of them take words too, and what is not
/// there may be one that is misspelt.
pub fn check_input_of(flag: &str, path: &Path) -> Result<()> {
    let expected = match flag {
        "--init-head" => "expected probe, random or a file",
        "--class-weight" => "expected balanced or a file",
        _ => "expected a file",
    };
    if !path.exists() {
        bail!("{flag} {}: {expected}, and no file has this name", path.display());
    }
    check_input(path).map_err(|error| anyhow!("{flag} {error}"))
}

fn cpu(precision: Precision) -> Result<Cpu> {
    let precision = match precision {
        Precision::F32 => bitfit_core::Precision::F32,
        Precision::Bf16 => bitfit_core::Precision::Bf16,
        Precision::Int8 => bitfit_core::Precision::Int8,
        Precision::Tf32 => {
            let reason = "only a GPU supports it; use f32, bf16 or int8, or add --device cuda";
            return Err(unreadable(anyhow!("--precision tf32: {reason}")));
        }
    };
    Ok(Cpu::default().with_precision(precision))
}

/// Opens a GPU, on whose compute capability `--precision auto` depends.
fn cuda(ordinal: usize, machine: &MachineArgs) -> Result<Cuda> {
    if machine.precision() == Precision::Int8 {
        let reason = "only a CPU supports it; use f32, tf32 or bf16, or leave out --device";
        return Err(unreadable(anyhow!("--precision int8: {reason}")));
    }
    let device = Cuda::new(ordinal).map_err(|error| anyhow!("--device {}: {error}", Device::Cuda(ordinal)))?;
    _ = machine.capability.set(device.capability());
    Ok(match machine.precision() {
        Precision::Tf32 => device.with_tf32(),
        Precision::Bf16 => device.with_precision(bitfit_core::Precision::Bf16),
        Precision::F32 | Precision::Int8 => device,
    })
}

/// A task file that was read, and the directory of its base model, which is not opened yet.
pub struct FoundTask {
    /// The task file.
    pub file: TaskFile,
    /// The name of the base model as given by the user, otherwise by the task file.
    pub model: String,
    /// The directory of its files.
    pub dir: PathBuf,
}

impl FoundTask {
    /// Reads a task file, and finds the base model that the user named, otherwise the one that the file names: in the
    /// recorded directory if it still exists, otherwise as a directory or hub id of that name.
    pub fn find(model: Option<&str>, task_file: &Path, quiet: bool) -> Result<Self> {
        let file = TaskFile::read(task_file)?;
        if let Some(model) = model {
            return Ok(Self { file, model: model.to_owned(), dir: hub::resolve(model, quiet)? });
        }
        let model = file.info.base.clone();
        let recorded = file.info.base_path.clone();
        if let Some(dir) = recorded.clone().filter(|dir| dir.is_dir()) {
            return Ok(Self { file, model, dir });
        }
        let dir = hub::resolve(&model, quiet).map_err(|error| {
            let path = task_file.display();
            match recorded {
                Some(dir) => anyhow!(
                    "{path}: its base model {model:?} is no longer in {}; give its directory with --model: {error}",
                    dir.display()
                ),
                None => anyhow!("{path}: its base model is not found; give its directory with --model: {error}"),
            }
        })?;
        Ok(Self { file, model, dir })
    }
}

/// A task over its base model, ready to predict.
pub struct Loaded<D: Backend> {
    /// The name of the base model.
    pub model: String,
    /// The task.
    pub predictor: Predictor<D>,
}

impl<D: Backend> Loaded<D> {
    /// Opens the task over a base model; `max_length` replaces that of the training run.
    pub fn open(device: &D, task: FoundTask, task_file: &Path, max_length: Option<usize>) -> Result<Self> {
        let FoundTask { file, model, dir } = task;
        let predictor = Predictor::new(&Base::open(device, &dir)?, task_file, file)?;
        let predictor = match max_length {
            Some(max_length) => predictor.with_max_length(max_length)?,
            None => predictor,
        };
        Ok(Self { model, predictor })
    }

    /// The preset by which data is read: the one of `--task`, which must be of the task's kind, otherwise that with
    /// which the task was trained, if any.
    pub fn preset(&self, given: Option<GlueTask>, task_file: &Path) -> Result<Option<GlueTask>> {
        let info = self.predictor.info();
        let Some(task) = given else {
            return Ok(info.hyperparameters.task.as_ref().and_then(|task| task.parse().ok()));
        };
        let (wanted, kind) = (task.preset().kind, info.kind);
        if wanted != kind {
            bail!("--task {task} is of kind {wanted}, but {} is of kind {kind}", task_file.display());
        }
        Ok(given)
    }
}
