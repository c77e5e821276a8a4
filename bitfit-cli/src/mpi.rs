//! Ranks that are processes of MPI, on one machine or several.

use anyhow::{Result, bail};
use bitfit_core::optim::{Collective, check_lengths};
use mpi::Threading;
use mpi::environment::Universe as Environment;
use mpi::request::multiple_scope;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, Destination, Source};

/// The most words of a message that is cut into small pieces, and the words of these. MPI sends a piece of 32 KiB at
/// once, but announces a larger one and waits for an answer, which costs twice the latency of the network.
const SMALL: (usize, usize) = (1 << 18, 1 << 13);
/// The most words of a piece: MPI counts in 32 bits.
const LARGE: usize = 1 << 28;

/// The tag of all messages.
const TAG: i32 = 0;

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
        let pieces_of = |length: usize| if length <= SMALL.0 { SMALL.1 } else { LARGE };
        let count = lengths.iter().map(|&length| length.div_ceil(pieces_of(length))).sum::<usize>() * 2;
        let world = SimpleCommunicator::world();
        // Every rank sends to every other one at once, so that a gathering takes one latency of the network, however
        // many ranks there are; MPI's own passes messages on from rank to rank. Pieces between two ranks keep their
        // order.
        multiple_scope(count * self.size, |scope, requests| {
            let mut rest = &mut all[..];
            for (rank, &length) in lengths.iter().enumerate() {
                let (there, behind) = rest.split_at_mut(length);
                rest = behind;
                if rank == self.rank {
                    there.copy_from_slice(mine);
                    continue;
                }
                let other = world.process_at_rank(rank as i32);
                for piece in there.chunks_mut(pieces_of(length)) {
                    requests.add(other.immediate_receive_into_with_tag(scope, piece, TAG));
                }
            }
            for rank in (0..self.size).filter(|&rank| rank != self.rank) {
                let other = world.process_at_rank(rank as i32);
                for piece in mine.chunks(pieces_of(mine.len())) {
                    requests.add(other.immediate_send_with_tag(scope, piece, TAG));
                }
            }
            // An error of MPI ends the program.
            requests.wait_all(&mut Vec::new());
        });
        Ok(())
    }
}
