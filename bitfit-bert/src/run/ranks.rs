//! The ranks of a data-parallel run, before its first step: each tells the others what its run is made from, or why it
//! cannot begin, so that all of them begin the same run or all end with the same line.

use std::env;
use std::fs::File;

use bitfit_core::Error as CoreError;
use bitfit_core::optim::Collective;
use blake3::Hasher;
use serde::{Deserialize, Serialize};

use crate::train::SavedState;
use crate::{Error, Result};

use super::run_record::{Difference, Origin};

/// What a rank tells the others.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Told {
    /// What its run is made from.
    Ready(Origin),
    /// Why there is none.
    Failed(String),
}

/// Begins a run that is made from `origin` on all ranks.
///
/// # Errors
/// That of `origin`; [`CoreError::Rank`] with the first rank that cannot begin the run, or whose run is made from
/// something else than that of rank 0; those of [`Collective::all_gather`].
pub(super) fn meet(ranks: &dyn Collective, origin: impl FnOnce() -> Result<Origin>) -> Result<()> {
    if ranks.size() == 1 {
        return Ok(());
    }
    let told = match origin() {
        Ok(origin) => Told::Ready(origin),
        Err(error) => Told::Failed(error.to_string()),
    };
    verdict(&exchange(ranks, &told)?)
}

/// Tells the other ranks, which are about to begin a run ([`Finetune::run`](super::Finetune::run)), that this one
/// cannot. Returns the error of all ranks, which names the first that cannot; `None` where all of them have the same
/// reason.
pub fn withdraw(ranks: &dyn Collective, reason: &str) -> Option<Error> {
    if ranks.size() == 1 {
        return None;
    }
    let told = match exchange(ranks, &Told::Failed(reason.to_owned())) {
        Ok(told) => told,
        Err(error) => return Some(error),
    };
    let is_same = |told: &Told| matches!(told, Told::Failed(other) if other == reason);
    if told.iter().all(is_same) { None } else { verdict(&told).err() }
}

/// Refuses to begin unless all ranks are ready for the same run.
fn verdict(told: &[Told]) -> Result<()> {
    let refuse = |rank, reason| Err(CoreError::Rank { rank, reason }.into());
    for (rank, told) in told.iter().enumerate() {
        if let Told::Failed(reason) = told {
            return refuse(rank, reason.clone());
        }
    }
    let Some(Told::Ready(first)) = told.first() else { return Ok(()) };
    for (rank, told) in told.iter().enumerate() {
        if let Told::Ready(origin) = told
            && let Some(reason) = difference(first, origin)
        {
            return refuse(rank, reason);
        }
    }
    Ok(())
}

/// The first of what the run of a rank is made from that differs from that of rank 0.
fn difference(first: &Origin, other: &Origin) -> Option<String> {
    let Difference { name, values: [first, other] } = Difference::find(first, other)?;
    Some(format!("it has another {name} than rank 0: {other}, not {first}"))
}

/// What every rank tells, in their order.
fn exchange(ranks: &dyn Collective, told: &Told) -> Result<Vec<Told>> {
    let text = serde_json::to_string(told).expect("texts alone");
    let mut bytes = text.into_bytes();
    let count = bytes.len();
    bytes.resize(count.next_multiple_of(size_of::<u32>()), 0);
    let words: Vec<u32> = bytes.chunks_exact(size_of::<u32>()).map(bytemuck::pod_read_unaligned).collect();
    let mut counts = Vec::new();
    ranks.all_gather(&[count as u32], &vec![1; ranks.size()], &mut counts)?;
    let lengths: Vec<usize> = counts.iter().map(|&count| (count as usize).div_ceil(size_of::<u32>())).collect();
    let mut all = Vec::new();
    ranks.all_gather(&words, &lengths, &mut all)?;
    let mut rest: &[u8] = bytemuck::cast_slice(&all);
    let mut told = Vec::new();
    for (rank, (&count, length)) in counts.iter().zip(lengths).enumerate() {
        let (text, behind) = rest.split_at(length * size_of::<u32>());
        rest = behind;
        let refuse = |_| CoreError::Rank { rank, reason: "it is of another program or version".into() };
        told.push(serde_json::from_slice(&text[..count as usize]).map_err(refuse)?);
    }
    Ok(told)
}

/// A hash of the program that runs.
///
/// # Errors
/// [`Error::Io`] where it cannot be read.
pub(super) fn program() -> Result<String> {
    let path = env::current_exe().map_err(Error::io("the running program".as_ref()))?;
    let mut hasher = Hasher::new();
    hasher.update_reader(File::open(&path).map_err(Error::io(&path))?).map_err(Error::io(&path))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// What distinguishes the state with which a run goes on from others.
pub(super) fn state_origin(saved: &SavedState) -> String {
    let SavedState { counters, place, values, good, moments: [first, second], kept } = saved;
    let mut hasher = Hasher::new();
    for tensor in [Some(values), Some(good), Some(first), Some(second), kept.as_ref()] {
        hasher.update(tensor.map_or(&[], |tensor| bytemuck::cast_slice(tensor)));
    }
    format!("epoch {}, step {}, {}", place.epoch, counters.steps, hasher.finalize().to_hex())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use bitfit_core::optim::{Alone, ThreadRank};

    use super::*;

    /// The messages of the ranks, each of which is ready with a training set of this name, or has failed for a reason.
    fn met(told: &[Result<&str, &str>]) -> Vec<Option<String>> {
        let ready = |set: &str| Origin::from([("seed".into(), "3".into()), ("training set".into(), set.into())]);
        thread::scope(|scope| {
            let start = |(rank, told): (ThreadRank, &Result<&str, &str>)| {
                let told = told.map(str::to_owned).map_err(str::to_owned);
                scope.spawn(move || match told {
                    Ok(set) => meet(&rank, || Ok(ready(&set))).err().map(|error| error.to_string()),
                    Err(reason) => Some(withdraw(&rank, &reason).map_or(reason, |error| error.to_string())),
                })
            };
            let threads: Vec<_> = ThreadRank::group(told.len()).into_iter().zip(told).map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn all_ranks_begin_or_all_name_the_first_that_cannot_and_why() {
        assert_eq!(met(&[Ok("a"); 3]), [None, None, None]);
        let all = |message: &str| vec![Some(message.to_owned()); 3];
        assert_eq!(met(&[Ok("a"), Ok("a"), Ok("b")]), all("rank 2: it has another training set than rank 0: b, not a"));
        assert_eq!(met(&[Ok("a"), Err("it is lost"), Ok("b")]), all("rank 1: it is lost"));
        assert_eq!(met(&[Err("it is lost"), Err("it is ill"), Ok("b")]), all("rank 0: it is lost"));
        assert_eq!(met(&[Err("it is lost"); 3]), all("it is lost"));
    }

    #[test]
    fn a_single_rank_has_nobody_to_meet() {
        assert!(meet(&Alone, || unreachable!("it is not computed")).is_ok());
        assert!(withdraw(&Alone, "it is lost").is_none());
    }

    #[test]
    fn what_only_one_of_two_ranks_has_is_a_difference() {
        let origin = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "1".to_owned())).collect::<Origin>();
        let (one, two) = (origin(&["a"]), origin(&["a", "b"]));
        assert_eq!(difference(&one, &two).unwrap(), "it has another b than rank 0: 1, not nothing");
        assert_eq!(difference(&two, &one).unwrap(), "it has another b than rank 0: nothing, not 1");
        assert_eq!(difference(&two, &two), None);
        let long = |end: &str| Origin::from([("a".to_owned(), "x".repeat(100) + end)]);
        let message = difference(&long("y"), &long("z")).unwrap();
        assert!(message.ends_with("x …"), "it shows that it was cut: {message}");
    }
}
