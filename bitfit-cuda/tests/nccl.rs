//! Ranks with a GPU each gather messages through NCCL. They are threads; on the emulated device, whose NCCL is emulated
//! too, all of them have the same GPU.

use std::env;
use std::process::Command;
use std::sync::Arc;
use std::thread;

use bitfit_core::optim::{Collective, ThreadRank};
use bitfit_core::{Precision, Random};
use bitfit_cuda::{Cuda, Error, NcclRank};

mod common;

/// What each of `size` ranks returns; `None`, and a line that says so, without as many GPUs or without NCCL.
fn each<R: Send>(size: usize, work: impl Fn(NcclRank) -> R + Sync) -> Option<Vec<R>> {
    let first = common::device(Precision::F32)?;
    let is_emulated = common::is_emulated(&first);
    let count = Cuda::count().unwrap();
    if !is_emulated && count < size {
        common::skip("GPUS", &format!("{size} ranks need a GPU each, and there are {count}"));
        return None;
    }
    thread::scope(|scope| {
        let work = &work;
        let start = |rank: ThreadRank| {
            scope.spawn(move || {
                let device = Cuda::new(if is_emulated { 0 } else { rank.rank() }).unwrap();
                match NcclRank::new(&device, Arc::new(rank)) {
                    Ok(rank) => Some(work(rank)),
                    Err(error @ Error::NoNccl { .. }) => {
                        common::skip("NCCL", &error.to_string());
                        None
                    }
                    Err(error) => panic!("{error}"),
                }
            })
        };
        let threads: Vec<_> = ThreadRank::group(size).into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The message of a rank in a round.
fn message(rank: usize, round: usize, length: usize) -> Vec<u32> {
    let mut random = Random::new(round as u64, rank as u32);
    (0..length).map(|_| random.normal().to_bits() as u32).collect()
}

/// Whether a rank gathers the messages of these lengths in the order of the ranks.
fn gathers(rank: &NcclRank, round: usize, lengths: &[usize], all: &mut Vec<u32>) -> bool {
    rank.all_gather(&message(rank.rank(), round, lengths[rank.rank()]), lengths, all).unwrap();
    *all == (0..lengths.len()).flat_map(|other| message(other, round, lengths[other])).collect::<Vec<_>>()
}

#[test]
fn every_rank_gets_the_messages_of_all_in_their_order() {
    for size in [1, 2, 4] {
        let gathered = each(size, |rank| {
            let mut all = Vec::new();
            for round in 0..60 {
                // Of one length, of others, of which some are zero, and all zero; longer and shorter than before.
                let length = |other: usize| match round % 4 {
                    0 => 26_498 / (1 + round),
                    1 => (other + round) % 3 * round,
                    2 => 1 + 1000 * other,
                    _ => 0,
                };
                let lengths: Vec<usize> = (0..size).map(length).collect();
                assert!(gathers(&rank, round, &lengths, &mut all), "round {round} of {size} ranks, {lengths:?}");
            }
            (rank.rank(), rank.size())
        });
        let Some(gathered) = gathered else { return };
        assert_eq!(gathered, (0..size).map(|rank| (rank, size)).collect::<Vec<_>>());
    }
}

#[test]
fn long_messages_do_not_go_through_pinned_memory() {
    let lengths = [2 << 20, (2 << 20) + 3];
    each(2, |rank| {
        let mut all = Vec::new();
        for (round, lengths) in [&lengths, &[5, 7], &lengths].into_iter().enumerate() {
            assert!(gathers(&rank, round, lengths, &mut all), "round {round}");
        }
    });
}

#[test]
fn a_threads_first_call_may_be_a_message() {
    each(2, |rank| {
        for (round, lengths) in [[3, 4], [5, 6], [2 << 20, 3 << 20]].iter().enumerate() {
            let gathers = || gathers(&rank, round, lengths, &mut Vec::new());
            assert!(thread::scope(|scope| scope.spawn(gathers).join()).unwrap(), "round {round}");
        }
    });
}

#[test]
fn a_message_of_another_length_is_refused() {
    each(1, |rank| {
        for (mine, lengths) in [(&[1, 2][..], &[1][..]), (&[1], &[1, 1])] {
            let refused = rank.all_gather(mine, lengths, &mut Vec::new());
            assert!(matches!(refused, Err(bitfit_core::Error::Shape { .. })), "{refused:?}");
        }
        assert!(gathers(&rank, 0, &[3], &mut Vec::new()));
    });
}

/// Prints how each of three ranks ends that gather three times, what a fourth time gives, and whether another is lost.
#[test]
#[ignore = "the other tests run it, with failures that the emulator is told"]
fn three_ranks() {
    let ended = each(3, |rank| {
        let mut all = Vec::new();
        let mut gather = |round| rank.all_gather(&message(rank.rank(), round, 5), &[5; 3], &mut all);
        let ended = (0..3).try_for_each(&mut gather);
        ended.map_err(|error| (error.to_string(), gather(3).unwrap_err().to_string(), rank.has_lost_another()))
    });
    for (rank, ended) in ended.into_iter().flatten().enumerate() {
        println!("\nrank {rank}: {ended:?}");
    }
}

/// How each of three ranks ends where the emulator fails a call.
fn ends(failure: &str) -> Option<Vec<String>> {
    if !common::is_emulated(&common::device(Precision::F32)?) {
        common::skip("emulator", "NCCL fails on demand there alone");
        return None;
    }
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["three_ranks", "--exact", "--ignored", "--nocapture"]).env("BITFIT_EMULATOR_NCCL", failure);
    let output = child.output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    Some(stdout.lines().filter(|line| line.starts_with("rank ")).map(str::to_owned).collect())
}

const HINT: &str = "(with NCCL_DEBUG=WARN in the environment NCCL prints more)";
/// The error of a rank that sees that another has one.
fn remote(call: &str) -> String {
    let library = "remote process exited or there was a network error";
    format!("device cuda:0: {call} failed, because another rank has ended or is not reached: {library}")
}

const AFTER: &str = "device cuda:0: an exchange through NCCL failed before: start the ranks again";

#[test]
fn a_call_that_fails_ends_its_rank_with_its_name_and_the_others_with_what_they_see() {
    let failed = |call: &str, rank: usize| {
        format!("device cuda:0: {call} failed: unhandled system error: {call} of rank {rank} has to fail {HINT}")
    };
    for (failure, call, rank) in [
        ("ncclCommInitRank:1:1", "ncclCommInitRank", 1),
        ("ncclAllGather:0:1", "ncclAllGather", 0),
        ("ncclAllGather:2:3", "ncclAllGather", 2),
    ] {
        let Some(lines) = ends(failure) else { return };
        let line = |other| {
            let error = if other == rank { failed(call, rank) } else { remote(call) };
            format!("rank {other}: {:?}", Err::<(), _>((error, AFTER, other != rank)))
        };
        assert_eq!(lines, (0..3).map(line).collect::<Vec<_>>(), "{failure}");
    }
}

#[test]
fn a_rank_0_without_an_id_is_gone_for_the_others() {
    let Some(lines) = ends("ncclGetUniqueId:0:1") else { return };
    let first = "device cuda:0: ncclGetUniqueId failed: unhandled system error: ncclGetUniqueId of rank 0 has to fail";
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].contains(first), "{lines:?}");
    assert!(lines[1..].iter().all(|line| line.contains("rank 0: it takes no part any more")), "{lines:?}");
}

#[test]
fn a_rank_that_is_gone_ends_the_others() {
    if !common::device(Precision::F32).is_some_and(|device| common::is_emulated(&device)) {
        return common::skip("emulator", "a rank waits for the others when it is dropped, as the library may");
    }
    for length in [1, 2 << 20] {
        let ended = each(3, |rank| {
            let mut all = Vec::new();
            assert!(gathers(&rank, 0, &[4; 3], &mut all));
            let mine = vec![1; length];
            (rank.rank() != 1).then(|| rank.all_gather(&mine, &[length; 3], &mut all).unwrap_err().to_string())
        });
        let remote = Some(remote("ncclAllGather"));
        assert_eq!(ended.unwrap(), [remote.clone(), None, remote], "{length} words");
    }
}
