//! What a command tells: lines for people on stderr, and the result as one JSON object on stdout.

use std::fmt;
use std::io::{self, Write};

use anyhow::Result;
use bitfit_bert::data::Dataset;
use bitfit_bert::train::Score;
use serde::Serialize;
use serde_json::Value;

use crate::output;
use crate::plan::grouped;

/// The result of `finetune`.
#[derive(Debug, Serialize)]
pub struct FinetuneReport<'a> {
    pub command: &'static str,
    pub model: &'a str,
    pub task: Option<&'static str>,
    pub method: &'static str,
    /// Scalars that train, the head's included.
    pub trainable: usize,
    /// Scalars of them that are biases of the base model.
    pub biases: usize,
    /// Parameters of the whole model.
    pub total: usize,
    /// Epochs finished.
    pub epochs: usize,
    pub steps: usize,
    pub tokens: usize,
    /// The epoch that the task file holds, by the metric that chose it.
    pub best: Option<BestReport>,
    /// All scores of that epoch.
    pub metrics: Value,
    /// Of training alone.
    pub seconds: f64,
    pub tokens_per_s: f64,
    pub peak_rss_bytes: Option<u64>,
    /// As `--device` and `--precision` have them.
    pub device: String,
    pub precision: &'static str,
    /// Null where the run ended before its first step.
    pub task_file: Option<String>,
    pub task_bytes: Option<u64>,
    /// `finished`, `stopped` or `diverged`.
    pub end: &'static str,
}

/// The best epoch.
#[derive(Debug, Serialize)]
pub struct BestReport {
    pub epoch: usize,
    pub metric: &'static str,
    pub value: f64,
}

/// The result of `eval`.
#[derive(Debug, Serialize)]
pub struct EvalReport<'a> {
    pub command: &'static str,
    pub model: &'a str,
    pub task_file: String,
    pub data: String,
    pub kind: &'static str,
    pub rows: usize,
    pub tokens: usize,
    pub metrics: Value,
    pub seconds: f64,
    pub tokens_per_s: f64,
    pub peak_rss_bytes: Option<u64>,
    /// As `--device` and `--precision` have them.
    pub device: String,
    pub precision: &'static str,
}

/// A line on stderr. Where nobody reads it, the work goes on.
pub fn say(line: fmt::Arguments<'_>) {
    _ = writeln!(io::stderr(), "{line}");
}

/// Prints a result as the last line on stdout.
pub fn print(report: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string(report)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{json}").and_then(|()| stdout.flush()).map_err(output::stdout_error)
}

/// Tells of rows that a preset left out.
pub fn say_skipped(dataset: &Dataset) {
    if let [first, ..] = dataset.skipped[..] {
        let lines = dataset.skipped.len();
        say(format_args!(
            "{}: left out {} broken or labelled with no class, the first on line {first}",
            dataset.path.display(),
            if lines == 1 { "one line that is".into() } else { format!("{} lines that are", grouped(lines)) }
        ));
    }
}

/// Scores as words: `accuracy 0.9123  f1 0.9011`.
pub fn scores(scores: &[Score]) -> String {
    scores.iter().map(|score| format!("{} {:.4}", score.metric, score.value)).collect::<Vec<_>>().join("  ")
}

/// Tokens a second; 0 before any time has passed, because JSON has no infinity.
pub fn rate(tokens: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { rounded(tokens / seconds, 1) } else { 0.0 }
}

/// To so many places: a clock's further digits are noise.
pub fn rounded(value: f64, places: i32) -> f64 {
    let scale = 10f64.powi(places);
    (value * scale).round() / scale
}

/// A message on one line, whatever names are in it.
pub fn one_line(message: &str) -> String {
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The most memory this process has had resident, in bytes; `None` where the system does not tell.
#[cfg(unix)]
pub fn peak_rss_bytes() -> Option<u64> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is a writable `rusage`, and getrusage writes nothing else.
    let failed = unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) } != 0;
    // SAFETY: an `rusage` is integers only, so all zeros is one, whether or not the call has filled it.
    let peak = unsafe { usage.assume_init() }.ru_maxrss;
    let unit = if cfg!(any(target_os = "macos", target_os = "ios")) { 1 } else { 1024 };
    u64::try_from(peak).ok().filter(|peak| !failed && *peak > 0).map(|peak| peak * unit)
}

/// The most memory this process has had resident, in bytes; `None` where the system does not tell.
#[cfg(not(unix))]
pub fn peak_rss_bytes() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(one_line("a file\n  called so\r\n"), "a file called so");
    }

    #[test]
    fn a_rate_is_always_a_number() {
        assert_eq!((rate(10.0, 4.0), rate(10.0, 0.0)), (2.5, 0.0));
    }

    #[cfg(unix)]
    #[test]
    fn the_peak_covers_what_was_touched() {
        let memory = vec![1u8; 64 << 20];
        assert!(peak_rss_bytes().is_some_and(|peak| peak > 64 << 20), "{}", memory.len());
    }
}
