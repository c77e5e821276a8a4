//! Runs a target: cases for as long as the settings say, each in a directory of its own, with the findings at the end.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Seek as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, process, thread};

use bitfit_bert::Error;
use bitfit_core::rng::Random;

use crate::{memory, mutate};

/// The time that a case may take. One takes milliseconds.
const LONGEST: Duration = Duration::from_secs(10);
/// Findings of different kinds after which a target ends.
const FINDINGS: usize = 10;

/// The files of a case, by their names in its directory.
pub type Files = Vec<(String, Vec<u8>)>;

/// What a target does with the directory of a case; the random numbers are for its choices. Returns whether the files
/// were accepted, and panics where something does not hold.
pub type Check = dyn FnMut(&Path, &mut Random) -> bool + Send;

/// A reader under test.
pub struct Target {
    pub name: &'static str,
    /// The bytes that one case may have in use at a time.
    pub memory: usize,
    /// Valid files, which are mutated.
    pub seeds: Vec<Files>,
    /// Files beside them that stay as they are.
    pub fixed: Files,
    pub check: Box<Check>,
}

/// What the environment asks for.
struct Settings {
    seconds: f64,
    seed: u64,
    case: Option<u32>,
    /// Whether the environment asks for anything; then the count of cases goes to the terminal.
    is_asked: bool,
}

impl Settings {
    fn from_env() -> Self {
        let number = |name: &str| {
            let text = env::var(name).ok()?;
            Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text}: expected a whole number")))
        };
        let seconds = number("BITFIT_FUZZ_SECONDS");
        let case = number("BITFIT_FUZZ_CASE").map(|case| u32::try_from(case).expect("the number of a case"));
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let seed = number("BITFIT_FUZZ_SEED").unwrap_or_else(|| seconds.map_or(0, |_| clock()));
        Self { seconds: seconds.map_or(2.0, |n| n as f64), seed, case, is_asked: seconds.is_some() || case.is_some() }
    }
}

/// Runs a target on a thread of its own.
///
/// # Panics
/// When there are findings, with how to repeat each.
pub fn run(target: Target) {
    let settings = Settings::from_env();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).thread_name(|_| "fuzz".into()).build().unwrap();
    let name = target.name;
    let (summary, findings) = pool.install(|| Run::new(target, &settings).cases());
    if settings.is_asked {
        _ = writeln!(std::io::stderr(), "{summary}");
    }
    let mut report = String::new();
    for (number, what) in findings.values() {
        _ = write!(report, "\n\nBITFIT_FUZZ_SEED={} BITFIT_FUZZ_CASE={number} ({name}): {what}", settings.seed);
    }
    assert!(findings.is_empty(), "{summary}{report}\n\nthe files of each are in {}", places().join("found").display());
}

/// The directory of all cases, which outlives a process that aborts.
fn places() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz")
}

struct Run<'a> {
    target: Target,
    settings: &'a Settings,
    place: Place,
    watch: Arc<Watch>,
    /// By their messages without numbers: the case and the message.
    findings: BTreeMap<String, (u32, String)>,
    accepted: u64,
    peak: (usize, u32),
    slowest: (Duration, u32),
}

impl<'a> Run<'a> {
    fn new(target: Target, settings: &'a Settings) -> Self {
        let place = Place::new(target.name, &target.fixed);
        let watch = Watch::start(target.name, settings.seed, place.dir.clone());
        let (peak, slowest) = ((0, 0), (Duration::ZERO, 0));
        Self { target, settings, place, watch, findings: BTreeMap::new(), accepted: 0, peak, slowest }
    }

    /// A line about the run, and the findings.
    fn cases(mut self) -> (String, BTreeMap<String, (u32, String)>) {
        let (seconds, seed) = (self.settings.seconds, self.settings.seed);
        let (start, mut cases) = (Instant::now(), 0_u32);
        if let Some(case) = self.settings.case {
            self.case(case);
            cases = 1;
        } else {
            while start.elapsed().as_secs_f64() < seconds && self.findings.len() < FINDINGS {
                self.case(cases);
                cases += 1;
            }
        }
        self.watch.stop();
        let summary = format!(
            "fuzz {}: {cases} cases in {:.0} s from seed {seed}, {} accepted, at most {:.1} MiB (case {}) and {:.2} s \
             (case {})",
            self.target.name,
            start.elapsed().as_secs_f64(),
            self.accepted,
            self.peak.0 as f64 / f64::from(1 << 20),
            self.peak.1,
            self.slowest.0.as_secs_f64(),
            self.slowest.1
        );
        (summary, self.findings)
    }

    fn case(&mut self, number: u32) {
        // Each target has numbers of its own.
        let name = self.target.name.bytes().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        let mut random = Random::new(self.settings.seed ^ name << 32, number);
        let files = mutate::case(&self.target.seeds, number, &mut random);
        self.place.put(&files, self.settings.seed, number);
        self.watch.begin(number);
        let (start, before) = (Instant::now(), memory::live());
        memory::start(4 * self.target.memory);
        let check = &mut self.target.check;
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&self.place.dir, &mut random)));
        let peak = memory::stop(before);
        self.watch.end();
        self.slowest = self.slowest.max((start.elapsed(), number));
        self.peak = self.peak.max((peak, number));
        match outcome {
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                self.found(number, text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic"));
            }
            Ok(_) if peak > self.target.memory => {
                self.found(number, &format!("memory: {peak} bytes in use, the bound is {}", self.target.memory));
            }
            Ok(is_accepted) => self.accepted += u64::from(is_accepted),
        }
    }

    fn found(&mut self, number: u32, message: &str) {
        let kind = message.chars().filter(char::is_ascii_alphabetic).take(40).collect();
        if !self.findings.contains_key(&kind) {
            self.place.keep(&format!("{}-{}-{number}", self.target.name, self.settings.seed));
            self.findings.insert(kind, (number, message.chars().take(1_000).collect()));
        }
    }
}

/// The directory of a target's cases, in which only what changed is written.
struct Place {
    dir: PathBuf,
    /// Says which case is under way, for a process that ends in the middle of it.
    case: File,
    written: HashMap<String, Vec<u8>>,
}

impl Place {
    fn new(name: &str, fixed: &Files) -> Self {
        let dir = places().join(format!("{name}-{}", process::id()));
        fs::create_dir_all(&dir).unwrap();
        for (file, bytes) in fixed {
            fs::write(dir.join(file), bytes).unwrap();
        }
        let case = File::create(dir.join("case")).unwrap();
        Self { dir, case, written: HashMap::new() }
    }

    fn put(&mut self, files: &Files, seed: u64, number: u32) {
        // In place, and files by new ones: file systems wait for the disk where a file is truncated and written again.
        self.case.rewind().unwrap();
        writeln!(self.case, "BITFIT_FUZZ_SEED={seed} BITFIT_FUZZ_CASE={number}").unwrap();
        let dir = &self.dir;
        self.written.retain(|name, _| {
            let stays = files.iter().any(|(file, _)| file == name);
            if !stays {
                fs::remove_file(dir.join(name)).unwrap();
            }
            stays
        });
        for (name, bytes) in files {
            let path = self.dir.join(name);
            match self.written.get(name) {
                Some(same) if same == bytes => continue,
                Some(_) => fs::remove_file(&path).unwrap(),
                None => {}
            }
            fs::write(&path, bytes).unwrap();
            self.written.insert(name.clone(), bytes.clone());
        }
    }

    /// Copies the files of the case.
    fn keep(&self, name: &str) {
        let kept = places().join("found").join(name);
        fs::create_dir_all(&kept).unwrap();
        for entry in fs::read_dir(&self.dir).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), kept.join(entry.file_name())).unwrap();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.dir);
    }
}

/// Ends the process when a case takes too long.
struct Watch {
    start: Instant,
    /// When the case began, in milliseconds since `start`, plus one; 0 between cases.
    began: AtomicU64,
    number: AtomicU64,
}

impl Watch {
    /// Between cases, and for good.
    const ENDED: u64 = u64::MAX;

    fn start(name: &'static str, seed: u64, dir: PathBuf) -> Arc<Self> {
        let watch = Arc::new(Self { start: Instant::now(), began: 0.into(), number: 0.into() });
        let watched = Arc::clone(&watch);
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_millis(100));
                let began = watched.began.load(Relaxed);
                if began == Self::ENDED {
                    return;
                }
                let now = watched.start.elapsed().as_millis() as u64;
                if began > 0 && now.saturating_sub(began) > LONGEST.as_millis() as u64 {
                    let number = watched.number.load(Relaxed);
                    _ = writeln!(
                        std::io::stderr(),
                        "fuzz {name}: BITFIT_FUZZ_SEED={seed} BITFIT_FUZZ_CASE={number} takes more than {LONGEST:?}; its \
                         files are in {}",
                        dir.display()
                    );
                    process::abort();
                }
            }
        });
        watch
    }

    fn begin(&self, number: u32) {
        self.number.store(number.into(), Relaxed);
        self.began.store(self.start.elapsed().as_millis() as u64 + 1, Relaxed);
    }

    fn end(&self) {
        self.began.store(0, Relaxed);
    }

    fn stop(&self) {
        self.began.store(Self::ENDED, Relaxed);
    }
}

/// Holds an error to its promise: one line, safe on a terminal, that names one of these.
///
/// # Panics
/// When it does not.
#[track_caller]
pub fn check_error(error: &Error, names: &[&str]) {
    let message = error.to_string();
    let is_unsafe = |c: char| {
        c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!message.contains(is_unsafe), "an error with control characters: {message:?}");
    assert!(names.iter().any(|name| message.contains(name)), "an error that names none of {names:?}: {message:?}");
}
