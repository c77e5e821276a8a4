//! Recognises a process on another machine that is dead by the file that it makes longer with each heartbeat.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The number of looks after the first that find a file as it was before its process counts as dead.
pub(super) const LOOKS: u32 = 4;

/// What was seen of the files of other processes.
#[derive(Debug, Default)]
pub(super) struct Silence(HashMap<PathBuf, Seen>);

/// The last change of a file that was seen.
#[derive(Debug)]
struct Seen {
    length: u64,
    /// The looks since then that count.
    looks: u32,
    /// The time of the last one.
    at: Instant,
}

impl Silence {
    /// Whether the process of a file that is now of this length is dead. A look that comes less than a heartbeat after
    /// the one before does not count.
    pub(super) fn is_dead(&mut self, file: &Path, length: u64, heartbeat: Duration, now: Instant) -> bool {
        let Some(seen) = self.0.get_mut(file).filter(|seen| seen.length == length) else {
            self.0.insert(file.into(), Seen { length, looks: 0, at: now });
            return false;
        };
        if now.saturating_duration_since(seen.at) >= heartbeat {
            (seen.looks, seen.at) = (seen.looks + 1, now);
        }
        seen.looks >= LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_dead_after_four_looks_a_heartbeat_apart() {
        let (file, heartbeat, begin) = (Path::new("worker"), Duration::from_secs(15), Instant::now());
        let mut silence = Silence::default();
        let mut look = |length, seconds| silence.is_dead(file, length, heartbeat, begin + Duration::from_secs(seconds));
        // Looks that come too soon do not count, however many.
        assert!((0..15).all(|second| !look(100, second)));
        assert!(!look(100, 15) && !look(100, 30) && !look(100, 45));
        // It was only slow.
        assert!(!look(101, 60) && !look(101, 75) && !look(101, 90) && !look(101, 105));
        assert!(look(101, 120) && look(101, 121));
        // One long pause, of the process that looks or of the file system, is one look.
        assert!(!look(102, 130) && !look(102, 10_000) && !look(102, 10_001));
    }
}
