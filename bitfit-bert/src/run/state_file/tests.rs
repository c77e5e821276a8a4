use super::*;
use crate::metrics::Metric;
use crate::train::{BestEpoch, Score};

fn state(steps: usize) -> RunState {
    let values = |first: f32| vec![first, 0.1, f32::MIN_POSITIVE];
    let best = BestEpoch { epoch: 1, step: 4, scores: vec![Score { metric: Metric::Accuracy, value: 0.1 + 0.2 }] };
    let counters = State { steps, epochs: 1, best: Some(best), ..State::default() };
    let place = Place { epoch: 2, steps: 3, loss: f64::NAN };
    let command = Some(RunCommand { directory: "/tmp".into(), arguments: vec!["--lr".into(), "\"".into()] });
    let origin = Origin::from([("seed".to_owned(), "7".to_owned())]);
    RunState {
        about: About { origin, command, probe: None, log: LogPlace::default() },
        saved: SavedState {
            counters,
            place,
            values: values(1.0),
            good: values(2.0),
            moments: [values(3.0), values(4.0)],
            kept: Some(values(5.0)),
        },
    }
}

/// The bits of a state, since NaN is not equal to itself.
fn text(state: &RunState) -> String {
    format!("{state:?}")
}

fn refused(out: &Path) -> String {
    RunState::read(out).unwrap_err().to_string()
}

#[test]
fn a_state_is_read_as_it_was_written_and_the_one_before_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path();
    assert!(refused(out).ends_with("no run has saved a state in it"));
    state(1).write(out).unwrap();
    assert_eq!(text(&RunState::read(out).unwrap().1), text(&state(1)));
    state(2).write(out).unwrap();
    state(3).write(out).unwrap();
    assert_eq!(text(&RunState::read(out).unwrap().1), text(&state(3)));
    assert_eq!(saved_command(out).unwrap(), state(1).about.command);
    // A process that was killed between the two steps of a write leaves the state before.
    fs::remove_file(out.join(STATE_FILE)).unwrap();
    assert_eq!(text(&RunState::read(out).unwrap().1), text(&state(2)));
    let mut first = state(4);
    first.saved.kept = None;
    first.write(out).unwrap();
    assert_eq!(text(&RunState::read(out).unwrap().1), text(&first));
    RunState::remove(out).unwrap();
    assert_eq!(fs::read_dir(out).unwrap().count(), 0);
    RunState::remove(out).unwrap();
}

#[test]
fn the_file_is_safetensors() {
    let dir = tempfile::tempdir().unwrap();
    state(1).write(dir.path()).unwrap();
    let bytes = fs::read(dir.path().join(STATE_FILE)).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let moment: Vec<f32> = bytemuck::pod_collect_to_vec(tensors.tensor("second_moment").unwrap().data());
    assert_eq!(moment, state(1).saved.moments[1]);
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path();
    state(1).write(out).unwrap();
    let path = out.join(STATE_FILE);
    let bytes = fs::read(&path).unwrap();
    for place in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << (place % 8);
        fs::write(&path, flipped).unwrap();
        assert!(RunState::read(out).is_err(), "byte {place}");
        fs::write(&path, &bytes[..place]).unwrap();
        assert!(RunState::read(out).is_err(), "{place} bytes");
    }
    fs::write(&path, [&bytes[..], b"x"].concat()).unwrap();
    assert!(refused(out).ends_with("it is damaged: there are bytes behind its tensors; begin the run anew"));
}

#[test]
fn what_is_not_whole_is_named_with_the_state_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path();
    state(1).write(out).unwrap();
    state(2).write(out).unwrap();
    let path = out.join(STATE_FILE);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(refused(out).ends_with(
        "state.safetensors: it is cut short; remove it to go on from the state before, state.earlier.safetensors"
    ));
    let version: &[u8] = b"\"version\":\"1";
    let place = bytes.windows(version.len()).position(|found| found == version).unwrap() + version.len() - 1;
    let mut other = bytes.clone();
    other[place] = b'9';
    fs::write(&path, other).unwrap();
    assert!(refused(out).contains("a state of version \"9\", expected \"1\": use the bitfit that wrote it; remove it"));
    fs::write(&path, "not at all, but long enough for the length of a header").unwrap();
    assert!(refused(out).contains("not a state file; remove it"));
    fs::remove_file(&path).unwrap();
    assert_eq!(text(&RunState::read(out).unwrap().1), text(&state(1)));
}

#[test]
fn a_header_that_claims_more_than_the_file_has_takes_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    state(1).write(dir.path()).unwrap();
    let path = dir.path().join(STATE_FILE);
    let bytes = fs::read(&path).unwrap();
    let (length, rest) = bytes.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let header = String::from_utf8(header.to_vec()).unwrap();
    let huge =
        header.replace("[3],\"data_offsets\":[0,12]", "[3000000000000000],\"data_offsets\":[0,12000000000000000]");
    let bytes = [&(huge.len() as u64).to_le_bytes(), huge.as_bytes(), data].concat();
    assert_ne!(huge, header);
    fs::write(&path, bytes).unwrap();
    assert!(refused(dir.path()).contains("it is cut short"));
}

#[test]
fn the_state_of_another_run_is_refused_by_what_differs() {
    let dir = tempfile::tempdir().unwrap();
    state(1).write(dir.path()).unwrap();
    assert!(RunState::find(dir.path(), &state(1).about.origin).is_ok());
    let other = Origin::from([("seed".to_owned(), "8".to_owned())]);
    let message = RunState::find(dir.path(), &other).unwrap_err().to_string();
    assert!(message.ends_with(
        "state.safetensors: the run there was begun with another setting: seed is 7 there and 8 here; give the same, or \
         choose another directory for a new run"
    ));
}

#[cfg(unix)]
#[test]
fn a_directory_that_takes_no_files_keeps_the_state_it_has() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path();
    state(1).write(out).unwrap();
    fs::set_permissions(out, fs::Permissions::from_mode(0o500)).unwrap();
    // Some users, and some file systems, write nevertheless.
    if File::create(out.join("probe")).is_err() {
        let message = state(2).write(out).unwrap_err().to_string();
        assert!(message.ends_with("; the state before it is kept there"), "{message}");
        assert_eq!(text(&RunState::read(out).unwrap().1), text(&state(1)));
    }
    fs::set_permissions(out, fs::Permissions::from_mode(0o700)).unwrap();
}
