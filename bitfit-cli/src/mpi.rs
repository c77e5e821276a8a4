//! Ranks that are processes of MPI, on one machine or several.

use anyhow::{Result, bail};
use bitfit_core::optim::{Collective, check_lengths};
use mpi::datatype::PartitionMut;
use mpi::environment::Universe as Environment;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives};
use mpi::{Count, Threading};

/// The most words that one call gathers: MPI counts in 32 bits.
const MOST_WORDS: usize = 1 << 28;

/// MPI while it is in use. Dropping it waits for all ranks.
pub struct Universe(#[expect(dead_code, reason = "it is dropped")] Environment);

/// A rank of all that were started.
#[derive(Debug)]
pub struct MpiRank {
    rank: usize,
    size: usize,
}

/// Begins to use MPI.
///
/// # Errors
/// Where it is in use already, and where it cannot be called from the thread that trains.
pub fn join() -> Result<(Universe, MpiRank)> {
    let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Serialized) else {
        bail!("MPI is in use already");
    };
    if threading < Threading::Serialized {
        bail!("this MPI can be called from one thread alone: choose one that was built for threads");
    }
    let world = universe.world();
    let rank = MpiRank { rank: world.rank() as usize, size: world.size() as usize };
    Ok((Universe(universe), rank))
}

/// Ends all ranks.
pub fn abort() -> ! {
    SimpleCommunicator::world().abort(1)
}

impl Collective for MpiRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_gather(&self, mine: &[u32], lengths: &[usize], all: &mut Vec<u32>) -> bitfit_core::Result<()> {
        check_lengths(self, mine, lengths)?;
        all.clear();
        all.resize(lengths.iter().sum(), 0);
        if all.len() <= MOST_WORDS {
            gather(mine, lengths, all);
            return Ok(());
        }
        // A part of each message at a time.
        let (most, longest) = (MOST_WORDS / self.size, lengths.iter().copied().max().unwrap_or(0));
        let mut parts = Vec::new();
        for first in (0..longest).step_by(most) {
            let range = |length: usize| first.min(length)..(first + most).min(length);
            let counts: Vec<usize> = lengths.iter().map(|&length| range(length).len()).collect();
            parts.clear();
            parts.resize(counts.iter().sum(), 0);
            gather(&mine[range(mine.len())], &counts, &mut parts);
            let (mut begin, mut rest) = (0, &parts[..]);
            for (&length, count) in lengths.iter().zip(counts) {
                let (part, behind) = rest.split_at(count);
                all[begin..][range(length)].copy_from_slice(part);
                (begin, rest) = (begin + length, behind);
            }
        }
        Ok(())
    }
}

/// Gathers messages whose lengths add up to that of `all`, which is at most [`MOST_WORDS`]. An error of MPI ends the
/// program.
fn gather(mine: &[u32], lengths: &[usize], all: &mut [u32]) {
    let counts: Vec<Count> = lengths.iter().map(|&length| length as Count).collect();
    let ends = counts.iter().scan(0, |end, count| {
        let begin = *end;
        *end += count;
        Some(begin)
    });
    let begins: Vec<Count> = ends.collect();
    SimpleCommunicator::world().all_gather_varcount_into(mine, &mut PartitionMut::new(all, counts, begins));
}
