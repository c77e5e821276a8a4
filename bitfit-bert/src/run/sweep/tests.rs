use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;

use super::*;
use crate::Error;
use crate::run::plan::Plan;
use crate::run::seeds::{RunEvents, RunNumber};
use crate::train::{Events, StopReason};

thread_local! {
    /// The seconds that have passed by the clock of this test.
    static SECONDS: Cell<u64> = const { Cell::new(0) };
    static BEGIN: Instant = Instant::now();
}

fn now() -> Instant {
    BEGIN.with(|begin| *begin + Duration::from_secs(SECONDS.get()))
}

fn origin(epochs: &str) -> Origin {
    [("epochs", epochs), ("seed", "0, 1")].map(|(name, value)| (name.into(), value.into())).into()
}

fn about(machine: &str, epochs: &str) -> About {
    // So long that no test sees a heartbeat: the clock of the tests is not that of the threads.
    let options = SweepOptions { heartbeat: Duration::from_secs(600), ..SweepOptions::default() };
    About::new(origin(epochs), &options, Machine::named(machine))
}

fn join(out: &Path, machine: &str) -> Sweep {
    Sweep::join_as(out, about(machine, "3"), now).unwrap()
}

/// The names in the directory of the sweep.
fn names(out: &Path) -> Vec<String> {
    let entries = fs::read_dir(out.join(SWEEP_DIR)).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

/// A process that ends without leaving: its lock is gone, its file is not.
fn kill(sweep: Sweep) {
    let path = sweep.worker.path().to_owned();
    let content = fs::read(&path).unwrap();
    // What it has claimed stays.
    drop(sweep);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn a_run_is_claimed_by_one_process_and_is_free_once_it_has_left() {
    let dir = tempfile::tempdir().unwrap();
    let (out, run) = (dir.path(), dir.path().join("bitfit/seed-1"));
    let (mut one, mut two) = (join(out, "a"), join(out, "a"));
    let claim = one.claim(&run).unwrap().unwrap();
    assert!(two.claim(&run).unwrap().is_none());
    assert!(two.claim(&dir.path().join("bitfit/seed-10")).unwrap().is_some());
    claim.check().unwrap();
    assert!(names(out).contains(&"bitfit,seed-1.claim-1".into()), "{:?}", names(out));
    drop(one);
    let taken = two.claim(&run).unwrap().unwrap();
    assert!(taken.is_taken_over());
    let message = claim.check().unwrap_err().to_string();
    assert!(message.contains("seed-1: another process has taken this run over"), "{message}");
    taken.release().unwrap();
    assert_eq!(names(out).iter().filter(|name| name.contains("seed-1.")).count(), 0);
}

#[test]
fn the_last_process_removes_the_directory_and_no_one_takes_a_file_of_another_name_for_a_claim() {
    let dir = tempfile::tempdir().unwrap();
    let (out, run) = (dir.path(), dir.path().join("seed-0"));
    let (mut one, two) = (join(out, "a"), join(out, "a"));
    one.claim(&run).unwrap().unwrap().release().unwrap();
    drop(two);
    assert_eq!(names(out).len(), 1);
    fs::write(out.join(SWEEP_DIR).join("seed-0.claim-4"), "../../etc/passwd\n").unwrap();
    assert!(one.claim(&run).unwrap_err().to_string().contains("seed-0.claim-4 is not a claim on a run"));
    fs::remove_file(out.join(SWEEP_DIR).join("seed-0.claim-4")).unwrap();
    drop(one);
    assert!(!out.join(SWEEP_DIR).exists());
}

#[test]
fn on_one_machine_a_dead_process_is_known_by_its_lock_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (out, run) = (dir.path(), dir.path().join("seed-0"));
    let mut one = join(out, "a");
    one.claim(&run).unwrap().unwrap();
    let mut two = join(out, "a");
    // However long its file stays as it is, a process with its lock is alive.
    for seconds in [0, 1_000, 2_000, 3_000, 4_000, 5_000] {
        SECONDS.set(seconds);
        assert!(two.claim(&run).unwrap().is_none());
    }
    kill(one);
    assert!(two.claim(&run).unwrap().unwrap().is_taken_over());
    assert_eq!(names(out).iter().filter(|name| name.starts_with("worker-")).count(), 1, "the dead one is gone");
}

#[test]
fn on_another_machine_a_process_is_dead_when_its_heartbeat_stands_still() {
    let dir = tempfile::tempdir().unwrap();
    let (out, run) = (dir.path(), dir.path().join("seed-0"));
    let (mut one, mut two) = (join(out, "a"), join(out, "b"));
    let mut claim = one.claim(&run).unwrap().unwrap();
    let mut look = |seconds| {
        SECONDS.set(seconds);
        two.claim(&run).unwrap()
    };
    assert!([0, 600, 1_200, 1_800].into_iter().all(|seconds| look(seconds).is_none()));
    // A heartbeat, just in time.
    fs::OpenOptions::new().append(true).open(one.worker.path()).unwrap().set_len(9_999).unwrap();
    assert!([2_400, 3_000, 3_600, 4_200].into_iter().all(|seconds| look(seconds).is_none()));
    let taken = look(4_800).unwrap();
    // The one that was taken for dead comes back: it neither goes on nor records what it has, and begins anew.
    assert!(matches!(claim.check(), Err(Error::TakenOver { path }) if path == run));
    assert!(matches!(claim.renew(), Err(Error::TakenOver { .. })));
    assert!(!one.worker.is_registered());
    assert!(one.claim(&run).unwrap().is_none());
    assert!(one.worker.is_registered());
    taken.check().unwrap();
}

#[test]
fn of_two_that_take_a_run_over_one_succeeds_and_a_claim_is_renewed_against_a_third() {
    let dir = tempfile::tempdir().unwrap();
    let (out, run) = (dir.path(), dir.path().join("seed-0"));
    let mut one = join(out, "a");
    one.claim(&run).unwrap().unwrap();
    kill(one);
    let (two, three) = (join(out, "a"), join(out, "b"));
    let directory = out.join(SWEEP_DIR);
    // Both have seen the first claim, and that its worker is dead.
    let make = |number, sweep: &Sweep| {
        Claim::make(&directory, &run, claim::name(out, &run), number, sweep.worker.path()).unwrap()
    };
    let mut taken = make(2, &two).unwrap();
    assert!(make(2, &three).is_none());
    taken.renew().unwrap();
    // It acts on what it saw a while ago, and fails too.
    assert!(make(3, &three).is_none());
    taken.check().unwrap();
}

#[test]
fn a_claim_whose_process_died_before_it_wrote_its_name_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let (out, run) = (dir.path(), dir.path().join("seed-0"));
    let mut one = join(out, "a");
    fs::write(out.join(SWEEP_DIR).join("seed-0.claim-1"), "").unwrap();
    let mut look = |seconds| {
        SECONDS.set(seconds);
        one.claim(&run).unwrap()
    };
    assert!([0, 15, 30, 45].into_iter().all(|seconds| look(seconds).is_none()));
    assert!(look(60).is_some());
}

#[test]
fn a_process_with_another_grid_is_refused_while_one_may_be_alive() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path();
    let one = join(out, "a");
    let refused = |machine: &str| {
        let message = Sweep::join_as(out, about(machine, "5"), now).unwrap_err().to_string();
        assert!(message.contains("works through its runs with another setting: epochs is 3 there and 5 here"));
        let file = one.worker.path().display().to_string();
        assert!(message.ends_with(&format!("if that process is gone, remove {file}")), "{message}");
    };
    refused("a");
    refused("b");
    let other = one.worker.path().with_file_name("worker-0123456789ab.json");
    fs::write(&other, "{\"version\":2}\n").unwrap();
    let message = Sweep::join_as(out, about("a", "3"), now).unwrap_err().to_string();
    assert!(message.contains("another version of bitfit works in it; if that process is gone, remove "), "{message}");
    fs::remove_file(other).unwrap();
    assert_eq!(names(out).len(), 1, "those that were refused have left");
    kill(one);
    Sweep::join_as(out, about("a", "5"), now).unwrap();
    assert!(!out.join(SWEEP_DIR).exists(), "the dead one and the other are gone");
}

/// Runs that are done when a file is there.
struct Files {
    out: PathBuf,
    runs: usize,
    made: Vec<usize>,
    written: usize,
}

impl GridRuns for Files {
    fn directories(&self) -> Vec<PathBuf> {
        (0..self.runs).map(|run| self.out.join(format!("run-{run}"))).collect()
    }

    fn is_done(&mut self, place: usize) -> Result<bool> {
        Ok(self.out.join(format!("run-{place}/done")).exists())
    }

    fn make(&mut self, place: usize, claim: &mut Claim, events: &mut dyn RunEvents) -> Result<bool> {
        if events.should_stop() {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(2));
        claim.renew()?;
        fs::create_dir_all(self.out.join(format!("run-{place}"))).unwrap();
        File::create_new(self.out.join(format!("run-{place}/done"))).expect("it is made once");
        self.made.push(place);
        Ok(true)
    }

    fn write(&mut self) -> Result<()> {
        self.written += 1;
        Ok(())
    }
}

struct NoEvents;

impl Events for NoEvents {}

impl RunEvents for NoEvents {
    fn begin(&mut self, _: &RunNumber<'_>, _: &Plan) {}
}

#[test]
fn every_run_is_made_once_by_any_number_of_processes() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path();
    let work = |shard: Shard, wait: bool| {
        let mut files = Files { out: out.into(), runs: 40, made: Vec::new(), written: 0 };
        let options = SweepOptions { shard, wait, heartbeat: Duration::from_millis(50), ..SweepOptions::default() };
        let worked = work_through(&mut files, out, origin("3"), &options, &mut NoEvents).unwrap();
        (files, worked)
    };
    let (files, worked) = work(Shard { index: 2, of: 4 }, true);
    assert_eq!((files.made.len(), files.written, worked.remaining), (10, 0, 30));
    let all = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| work(Shard::ALL, true))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let made: BTreeSet<usize> = all.iter().flat_map(|(files, _)| files.made.iter().copied()).collect();
    assert_eq!(made.len(), 30);
    assert!(made.iter().all(|place| place % 4 != 1));
    for (files, worked) in &all {
        assert_eq!((files.written, worked), (1, &Worked { stop: StopReason::Finished, remaining: 0 }));
    }
    assert!(!out.join(SWEEP_DIR).exists());
}
