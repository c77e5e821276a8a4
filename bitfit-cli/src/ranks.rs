//! The ranks of a run that `mpirun` starts: which of them this process is, how it ends with the others, and its share
//! of the machine's cores.
//!
//! Of all ranks one prints. An error that one of them has before the run begins is told to the others, and one line
//! names the rank. After that, a rank that fails prints its line and aborts the others, which wait for it.

use std::env;
use std::fmt;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use bitfit_bert::run::withdraw;
use bitfit_core::optim::{Alone, Collective};

use crate::{args, report};

/// The variables in which launchers say how many processes they started: Open MPI, and MPICH with its descendants.
const SIZE: [&str; 2] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"];
/// The variables in which they say how many of those are on this machine.
const LOCAL_SIZE: [&str; 2] = ["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"];

/// How long another rank than the first waits with its error, which the first one may have too. A rank whose error is
/// that another has one waits longer, for the cause to be printed.
const PATIENCE: Duration = Duration::from_secs(1);

/// The ranks of this run.
///
/// They have two groups: all of them can use the first from the beginning. The second one, which may be NCCL, is for
/// the run. It lives as long as this, so that it is dropped by all ranks, or by none: where a rank fails by itself, the
/// others are aborted before.
pub struct Ranks {
    #[cfg(feature = "nccl")]
    gpus: std::sync::OnceLock<Arc<bitfit_cuda::NcclRank>>,
    group: Arc<dyn Collective>,
    /// Whether they were started by a launcher, even if there is one.
    are_launched: bool,
    /// Whether the run has begun.
    have_met: AtomicBool,
    /// Ends what the ranks have in common when it is dropped.
    #[cfg(feature = "mpi")]
    _universe: Option<crate::mpi::Universe>,
}

impl Ranks {
    /// Joins the other ranks, where a launcher has started several; they are as many as it says.
    ///
    /// # Errors
    /// For several processes of a program that was built without MPI, each of which would make all of the run.
    #[cfg(not(feature = "mpi"))]
    pub fn join() -> Result<Self> {
        match number(SIZE) {
            Some(size) if size > 1 => bail!(
                "{size} processes of this program were started together, but it was built without MPI: build it with \
                 --features mpi, or start one"
            ),
            _ => Ok(Self::alone()),
        }
    }

    /// Joins the other ranks, where a launcher has started several.
    ///
    /// # Errors
    /// Where MPI cannot be used by several threads.
    #[cfg(feature = "mpi")]
    pub fn join() -> Result<Self> {
        let Some(size) = number(SIZE) else { return Ok(Self::alone()) };
        let (universe, group) = crate::mpi::join()?;
        if group.size() != size {
            bail!("{size} processes were started together, but MPI has {}: it is of another launcher", group.size());
        }
        let group: Arc<dyn Collective> = if size == 1 { Arc::new(Alone) } else { Arc::new(group) };
        Ok(Self { group, are_launched: true, _universe: Some(universe), ..Self::alone() })
    }

    /// A process by itself.
    pub fn alone() -> Self {
        Self {
            #[cfg(feature = "nccl")]
            gpus: std::sync::OnceLock::new(),
            group: Arc::new(Alone),
            are_launched: false,
            have_met: AtomicBool::new(false),
            #[cfg(feature = "mpi")]
            _universe: None,
        }
    }

    /// The group in which the ranks meet.
    pub fn group(&self) -> &Arc<dyn Collective> {
        &self.group
    }

    /// The group in which they exchange gradients.
    pub fn exchange(&self) -> Arc<dyn Collective> {
        #[cfg(feature = "nccl")]
        if let Some(gpus) = self.gpus.get() {
            return Arc::<bitfit_cuda::NcclRank>::clone(gpus);
        }
        Arc::clone(&self.group)
    }

    /// Makes NCCL the group in which several ranks with a GPU each exchange gradients.
    ///
    /// # Errors
    /// Where it is not installed: the program was built for it, and going on without would not be what was asked for.
    #[cfg(feature = "nccl")]
    pub fn use_gpu(&self, device: &bitfit_cuda::Cuda) -> Result<()> {
        if self.are_several() {
            let rank = bitfit_cuda::NcclRank::new(device, Arc::clone(&self.group)).map_err(|error| {
                anyhow::anyhow!("{error}, or build with --features mpi, so that gradients go through MPI")
            })?;
            self.gpus.get_or_init(|| Arc::new(rank));
        }
        Ok(())
    }

    /// Whether this process is one of several.
    pub fn are_several(&self) -> bool {
        self.group.size() > 1
    }

    /// Whether a launcher has started the run, on one rank or several.
    pub fn are_launched(&self) -> bool {
        self.are_launched
    }

    /// Whether this rank is the one that prints and writes.
    pub fn is_first(&self) -> bool {
        self.group.rank() == 0
    }

    /// Refuses a way to run that several ranks cannot share.
    pub fn refuse_several(&self, flag: &str) -> Result<()> {
        if self.are_several() {
            bail!("{flag}: several ranks make one run; start each run by itself, on one rank");
        }
        Ok(())
    }

    /// Says that the run begins, so that an error is no longer told to ranks that are about to begin.
    pub fn meet(&self) {
        self.have_met.store(true, Ordering::Relaxed);
    }

    /// Prints what clap reports, on one rank, and ends all ranks.
    pub fn refuse(&self, error: &clap::Error) -> ExitCode {
        let line = error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        if let Some(error) = error.use_stderr().then(|| withdraw(&*self.group, &line)).flatten() {
            self.say_once(&error.to_string());
        } else if self.is_first() {
            return args::refuse(error);
        }
        ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
    }

    /// Prints an error, and ends all ranks.
    pub fn fail(&self, error: &anyhow::Error, message: &str) -> ExitCode {
        if !self.are_several() {
            report::error(message);
            return args::exit_code(error);
        }
        let is_known_to_all =
            matches!(error.downcast_ref(), Some(bitfit_bert::Error::Core(bitfit_core::Error::Rank { .. })));
        if is_known_to_all {
            self.say_once(message);
        } else if !self.have_met.load(Ordering::Relaxed) {
            let known = withdraw(&*self.group, message);
            self.say_once(&known.map_or_else(|| message.to_owned(), |error| error.to_string()));
        } else {
            if self.have_lost_another() {
                thread::sleep(3 * PATIENCE);
            } else if !self.is_first() {
                thread::sleep(PATIENCE);
            }
            report::error(&format!("rank {}: {message}", self.group.rank()));
            self.abort();
        }
        args::exit_code(error)
    }

    fn say_once(&self, message: &str) {
        if self.is_first() {
            report::error(message);
        }
    }

    #[cfg(feature = "nccl")]
    fn have_lost_another(&self) -> bool {
        self.gpus.get().is_some_and(|gpus| gpus.has_lost_another())
    }

    #[cfg(not(feature = "nccl"))]
    fn have_lost_another(&self) -> bool {
        false
    }

    #[cfg(feature = "mpi")]
    fn abort(&self) {
        crate::mpi::abort();
    }

    #[cfg(not(feature = "mpi"))]
    fn abort(&self) {}
}

/// How many there are, and what they exchange gradients through.
impl fmt::Display for Ranks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if Arc::ptr_eq(&self.exchange(), &self.group) { "MPI" } else { "NCCL" };
        write!(f, "{}, whose gradients are exchanged through {name}", self.group.size())
    }
}

/// The number in the first of these variables that has one.
fn number(variables: [&str; 2]) -> Option<usize> {
    variables.iter().find_map(|variable| env::var(variable).ok()?.parse().ok()).filter(|&number| number > 0)
}

/// The number of threads of one of several processes on this machine, of the `available` ones that the system lets each
/// of them have: its share of the cores, or what it is bound to if that is less.
pub fn share_of_threads(available: usize) -> usize {
    let list = |path: &str, begin: &str| {
        let text = fs::read_to_string(path).ok()?;
        text.lines().find_map(|line| cores(line.strip_prefix(begin)?))
    };
    let Some(processes) = number(LOCAL_SIZE) else { return available };
    let all = list("/sys/devices/system/cpu/online", "");
    let bound = list("/proc/self/status", "Cpus_allowed_list:");
    share(available, processes, all.zip(bound))
}

/// As [`share_of_threads`], where of all cores of the machine the process may use some.
fn share(available: usize, processes: usize, cores: Option<(usize, usize)>) -> usize {
    match cores {
        // A launcher binds each process to cores of its own, or several to the same.
        Some((all, bound)) if bound < all => available.min(all / processes).max(1),
        _ => (available / processes).max(1),
    }
}

/// The number of cores in a list of the system's, such as `0-3,8`.
fn cores(list: &str) -> Option<usize> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        (last.parse::<usize>().ok()? + 1).checked_sub(first.parse().ok()?)
    };
    list.trim().split(',').map(count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_lists_of_cores_are_counted() {
        for (list, count) in [("0", 1), ("0-3", 4), ("\t0-3,8\n", 5), ("0,2-3,5-6", 5)] {
            assert_eq!(cores(list), Some(count), "{list:?}");
        }
        for list in ["", "a", "3-", "5-3"] {
            assert_eq!(cores(list), None, "{list:?}");
        }
    }

    #[test]
    fn each_process_has_its_share_of_the_cores() {
        for (available, processes, cores, threads) in [
            (16, 4, None, 4),
            (16, 4, Some((16, 16)), 4),
            (2, 4, Some((2, 2)), 1),
            // Bound to a core, to four cores of its own, and to a socket of two.
            (1, 2, Some((16, 1)), 1),
            (4, 4, Some((16, 4)), 4),
            (16, 4, Some((32, 16)), 8),
            // A container that may use the time of two of 64 cores.
            (2, 2, Some((64, 64)), 1),
        ] {
            assert_eq!(share(available, processes, cores), threads, "{available} for {processes}, {cores:?}");
        }
    }
}
