//! [`Collective`]: what the processes of a data-parallel run exchange. Each computes the gradients of some parts of a
//! batch, and gets those of all others.
//!
//! There is one operation, to gather a message of every rank, rather than a sum: a library's sum adds in an order that
//! depends on the number of ranks, and so do the last bits. Who gathers the parts can add them in an order that does
//! not.

use std::fmt::Debug;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::{Error, Result};

/// A group of ranks, processes or threads, all of which call the same operations in the same order.
pub trait Collective: Debug + Send + Sync {
    /// The number of this rank, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks, at least 1.
    fn size(&self) -> usize;

    /// Gathers a message of each rank: `all` becomes those of all ranks in the order of the ranks, one behind the
    /// other. `lengths` has the number of words of each, which every rank has to know.
    ///
    /// # Errors
    /// [`Error::Rank`] when a rank takes no part any more, as far as the implementation can tell;
    /// [`Error::Shape`] when `mine` does not have the length of this rank's message.
    fn all_gather(&self, mine: &[u32], lengths: &[usize], all: &mut Vec<u32>) -> Result<()>;
}

/// The group of a single process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn all_gather(&self, mine: &[u32], lengths: &[usize], all: &mut Vec<u32>) -> Result<()> {
        check_lengths(self, mine, lengths)?;
        all.clear();
        all.extend_from_slice(mine);
        Ok(())
    }
}

/// Refuses a message that does not have the length that the others expect.
///
/// # Errors
/// [`Error::Shape`].
pub fn check_lengths(group: &(impl Collective + ?Sized), mine: &[u32], lengths: &[usize]) -> Result<()> {
    if lengths.len() != group.size() {
        return Err(Error::shape("all_gather", "the list of lengths", &[group.size()], &[lengths.len()]));
    }
    let expected = lengths[group.rank()];
    if mine.len() == expected {
        Ok(())
    } else {
        Err(Error::shape("all_gather", "the message", &[expected], &[mine.len()]))
    }
}

/// A rank of a group of threads in one process. Dropping one tells the others that it takes no part any more.
///
/// A rank that waits for the others blocks its thread. Ranks that compute through `Cpu` therefore need a
/// pool of rayon's each, as processes have: threads of one pool could all be waiting.
#[derive(Debug)]
pub struct ThreadRank {
    rank: usize,
    group: Arc<ThreadGroup>,
}

#[derive(Debug)]
struct ThreadGroup {
    round: Mutex<Round>,
    changed: Condvar,
}

/// A gathering under way.
#[derive(Debug)]
struct Round {
    /// The messages that are there.
    messages: Vec<Option<Vec<u32>>>,
    /// How many ranks have read all of them.
    readers: usize,
    /// The first rank that was dropped.
    gone: Option<usize>,
}

impl ThreadRank {
    /// The ranks of a group of `size` threads.
    pub fn group(size: usize) -> Vec<Self> {
        let round = Round { messages: vec![None; size], readers: 0, gone: None };
        let group = Arc::new(ThreadGroup { round: Mutex::new(round), changed: Condvar::new() });
        (0..size).map(|rank| Self { rank, group: Arc::clone(&group) }).collect()
    }
}

impl ThreadGroup {
    fn lock(&self) -> MutexGuard<'_, Round> {
        // A panic between two changes leaves nothing half done.
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `is_over`; an error when a rank is gone before.
    fn wait<'a>(
        &self,
        mut round: MutexGuard<'a, Round>,
        is_over: impl Fn(&Round) -> bool,
    ) -> Result<MutexGuard<'a, Round>> {
        while !is_over(&round) {
            if let Some(rank) = round.gone {
                return Err(Error::Rank { rank, reason: "it takes no part any more".into() });
            }
            round = self.changed.wait(round).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(round)
    }
}

impl Collective for ThreadRank {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.group.lock().messages.len()
    }

    fn all_gather(&self, mine: &[u32], lengths: &[usize], all: &mut Vec<u32>) -> Result<()> {
        check_lengths(self, mine, lengths)?;
        let group = &self.group;
        // This rank may be back before the others have read its last message.
        let mut round = group.wait(group.lock(), |round| round.messages[self.rank].is_none())?;
        round.messages[self.rank] = Some(mine.to_vec());
        group.changed.notify_all();
        let mut round = group.wait(round, |round| round.messages.iter().all(Option::is_some))?;
        all.clear();
        for (message, &length) in round.messages.iter().flatten().zip(lengths) {
            if message.len() != length {
                return Err(Error::shape("all_gather", "another rank's message", &[length], &[message.len()]));
            }
            all.extend_from_slice(message);
        }
        round.readers += 1;
        if round.readers == round.messages.len() {
            round.readers = 0;
            round.messages.iter_mut().for_each(|message| *message = None);
            group.changed.notify_all();
        }
        Ok(())
    }
}

impl Drop for ThreadRank {
    fn drop(&mut self) {
        self.group.lock().gone.get_or_insert(self.rank);
        self.group.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// What each of `size` threads returns.
    fn each<R: Send>(size: usize, work: impl Fn(ThreadRank) -> R + Sync) -> Vec<R> {
        thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = ThreadRank::group(size).into_iter().map(|r| scope.spawn(move || work(r))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn every_rank_gets_the_messages_of_all_in_their_order() {
        for size in 1..=5 {
            let lengths: Vec<usize> = (0..size).map(|rank| rank % 3).collect();
            let found = each(size, |rank| {
                let mut all = Vec::new();
                let rounds = (0..50).map(|round| {
                    let mine = vec![round * 10 + rank.rank() as u32; lengths[rank.rank()]];
                    rank.all_gather(&mine, &lengths, &mut all).unwrap();
                    all.clone()
                });
                rounds.collect::<Vec<_>>()
            });
            for rounds in found {
                for (round, all) in rounds.into_iter().enumerate() {
                    let expected = (0..size).flat_map(|rank| vec![(round * 10 + rank) as u32; rank % 3]);
                    assert_eq!(all, expected.collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn a_rank_that_is_gone_is_named_to_all_others_after_the_last_round_that_it_took_part_in() {
        let found = each(4, |rank| {
            let mut all = Vec::new();
            rank.all_gather(&[7], &[1; 4], &mut all).unwrap();
            if rank.rank() == 2 { None } else { rank.all_gather(&[8], &[1; 4], &mut all).err() }
        });
        // The others end in their turn, but the first that was gone is named.
        for (rank, error) in found.into_iter().enumerate().filter(|(rank, _)| *rank != 2) {
            assert_eq!(error.unwrap().to_string(), "rank 2: it takes no part any more", "rank {rank}");
        }
    }

    #[test]
    fn a_message_of_another_length_is_refused() {
        let mut all = Vec::new();
        assert!(Alone.all_gather(&[1, 2], &[2], &mut all).is_ok());
        assert_eq!(all, [1, 2]);
        for (mine, lengths) in [(&[1, 2][..], &[1][..]), (&[1], &[1, 1])] {
            assert!(matches!(Alone.all_gather(mine, lengths, &mut all), Err(Error::Shape { .. })));
        }
    }
}
