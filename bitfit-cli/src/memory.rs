//! The peak of this process's resident memory: since its start, or on Linux since the last reset.

/// Begins a new measurement of the peak; false where the system or its settings do not allow it.
#[cfg(target_os = "linux")]
pub fn reset_peak() -> bool {
    // proc(5): 5 resets the peak resident set size ("high water mark") to the current one.
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// Begins a new measurement of the peak; false where the system or its settings do not allow it.
#[cfg(not(target_os = "linux"))]
pub fn reset_peak() -> bool {
    false
}

/// The peak in bytes since the last [`reset_peak`], or else since the start of the process; `None` where the system
/// does not report it.
pub fn peak() -> Option<u64> {
    #[cfg(target_os = "linux")]
    if let Some(peak) = std::fs::read_to_string("/proc/self/status").ok().as_deref().and_then(high_water_mark) {
        return Some(peak);
    }
    peak_since_start()
}

/// The mark in Linux's status of a process, in bytes.
#[cfg(target_os = "linux")]
fn high_water_mark(status: &str) -> Option<u64> {
    let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    mark.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

/// The peak since the start of the process, in bytes; `None` where the system does not report it.
#[cfg(unix)]
pub fn peak_since_start() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};

    let peak = getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss();
    let unit = if cfg!(any(target_os = "macos", target_os = "ios")) { 1 } else { 1024 };
    u64::try_from(peak).ok().filter(|peak| *peak > 0).map(|peak| peak * unit)
}

/// The peak since the start of the process, in bytes; `None` where the system does not report it.
#[cfg(not(unix))]
pub fn peak_since_start() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn the_peak_covers_what_was_touched() {
        let memory = vec![1u8; 64 << 20];
        assert!(peak_since_start().is_some_and(|peak| peak > 64 << 20), "{}", memory.len());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_mark_is_read_from_the_status() {
        let status = "Name:\tbitfit-cli\nVmPeak:\t  900000 kB\nVmHWM:\t    4096 kB\nVmRSS:\t    1000 kB\n";
        assert_eq!(high_water_mark(status), Some(4 << 20));
        for unknown in ["", "VmHWM:\n", "VmHWM:\t4096\n", "VmRSS:\t 1000 kB\n"] {
            assert_eq!(high_water_mark(unknown), None, "{unknown:?}");
        }
    }
}
