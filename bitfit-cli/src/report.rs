//! What a command prints: lines for people on stderr, and the result as one JSON object on stdout.

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
    /// Trained scalars, including the head's.
    pub trainable: usize,
    /// Trained scalars that are biases of the base model.
    pub biases: usize,
    /// Parameters of the whole model.
    pub total: usize,
    /// Epochs finished.
    pub epochs: usize,
    pub steps: usize,
    pub tokens: usize,
    /// The epoch that the task file holds, chosen by its metric.
    pub best: Option<BestReport>,
    /// All scores of the best epoch.
    pub metrics: Value,
    /// The duration of training alone.
    pub seconds: f64,
    pub tokens_per_s: f64,
    pub peak_rss_bytes: Option<u64>,
    /// The device and the precision, as `--device` and `--precision` name them.
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
    /// The device and the precision, as `--device` and `--precision` name them.
    pub device: String,
    pub precision: &'static str,
}

/// Prints a line on stderr. A closed stderr does not stop the work.
pub fn say(line: fmt::Arguments<'_>) {
    _ = writeln!(io::stderr(), "{line}");
}

/// Prints a result as the last line on stdout.
pub fn print(report: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string(report)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{json}").and_then(|()| stdout.flush()).map_err(output::stdout_error)
}

/// Reports the rows that a preset left out.
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

/// Scores as text: `accuracy 0.9123  f1 0.9011`.
pub fn scores(scores: &[Score]) -> String {
    scores.iter().map(|score| format!("{} {:.4}", score.metric, score.value)).collect::<Vec<_>>().join("  ")
}

/// Tokens per second; 0 before any time has passed, because JSON has no infinity.
pub fn rate(tokens: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { rounded(tokens / seconds, 1) } else { 0.0 }
}

/// Rounds to a number of decimal places: further digits of a clock are noise.
pub fn rounded(value: f64, places: i32) -> f64 {
    let scale = 10f64.powi(places);
    (value * scale).round() / scale
}

/// Joins the lines of a message into one.
pub fn one_line(message: &str) -> String {
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The peak of this process's resident memory, in bytes; `None` where the system does not report it.
#[cfg(unix)]
pub fn peak_rss_bytes() -> Option<u64> {
    use nix::sys::resource::{UsageWho, getrusage};

    let peak = getrusage(UsageWho::RUSAGE_SELF).ok()?.max_rss();
    let unit = if cfg!(any(target_os = "macos", target_os = "ios")) { 1 } else { 1024 };
    u64::try_from(peak).ok().filter(|peak| *peak > 0).map(|peak| peak * unit)
}

/// The peak of this process's resident memory, in bytes; `None` where the system does not report it.
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
