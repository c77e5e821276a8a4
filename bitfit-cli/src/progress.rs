//! The progress of a run: a bar on a terminal, plain lines elsewhere, nothing with `--quiet`.

use std::io::{self, IsTerminal};

use anyhow::Result;
use bitfit_bert::run::{Plan, RunEvents, RunNumber};
use bitfit_bert::train::{EpochReport, Events, Place, ProbeReport, State, StepReport};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::interrupt::Interrupt;
use crate::plan::grouped;
use crate::report;

/// The weight of the last step in the means that the bar shows.
const SMOOTHING: f64 = 0.05;

/// Shows the progress of a run, and stops the run after a signal.
pub struct Progress {
    view: View,
    /// The number of steps of the whole run.
    steps: usize,
    epochs: usize,
    interrupt: Interrupt,
}

enum View {
    Quiet,
    /// A line for every logged step.
    Lines {
        every: usize,
        since: Interval,
    },
    Bar {
        bar: ProgressBar,
        recent: Recent,
    },
}

/// Sums over the steps since the last line.
#[derive(Default)]
struct Interval {
    steps: usize,
    loss: f64,
    tokens: f64,
    seconds: f64,
}

/// Running means over about the last twenty steps.
#[derive(Default)]
struct Recent {
    /// The sum of all weights so far, by which the other sums are divided.
    weight: f64,
    loss: f64,
    tokens: f64,
    seconds: f64,
}

/// Makes a run of this plan, or several of which each begins with its own; they end at a signal. `how` is the number of
/// steps between two lines, and whether nothing is shown.
pub fn watched<T, E: Into<anyhow::Error>>(
    plan: Option<&Plan>,
    (log_every, quiet): (usize, bool),
    run: impl FnOnce(&mut Progress) -> Result<T, E>,
) -> Result<T> {
    let interrupt = Interrupt::install(quiet)?;
    let mut progress = Progress::new(log_every, quiet, interrupt.clone())?;
    if let Some(plan) = plan {
        progress.set_plan(plan);
    }
    let made = run(&mut progress);
    progress.finish();
    interrupt.end_of_run();
    made.map_err(Into::into)
}

impl Progress {
    fn new(log_every: usize, quiet: bool, interrupt: Interrupt) -> Result<Self> {
        let view = if quiet {
            View::Quiet
        } else if io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
            bar.set_style(
                ProgressStyle::with_template("[{bar:24}] {pos}/{len}  {msg}  {eta} left")?.progress_chars("=> "),
            );
            View::Bar { bar, recent: Recent::default() }
        } else {
            View::Lines { every: log_every, since: Interval::default() }
        };
        Ok(Self { view, steps: 0, epochs: 0, interrupt })
    }

    /// Begins with a run of this plan.
    fn set_plan(&mut self, plan: &Plan) {
        (self.steps, self.epochs) = (plan.steps, plan.training.epochs);
        if let View::Bar { bar, .. } = &self.view {
            bar.set_length(plan.steps as u64);
        }
    }

    /// Shows a line.
    fn line(&self, line: &str) {
        match &self.view {
            View::Quiet => {}
            View::Lines { .. } => report::say(format_args!("{line}")),
            View::Bar { bar, .. } => bar.println(line),
        }
    }

    /// Clears the bar.
    fn finish(&self) {
        if let View::Bar { bar, .. } = &self.view {
            bar.finish_and_clear();
        }
    }
}

impl Events for Progress {
    fn probe(&mut self, probe: &ProbeReport) {
        let scores = report::scores(&probe.scores);
        let what =
            format!("a linear head over the frozen base, {} of its last layer; {:.1} s", probe.pooling, probe.seconds);
        let line = if scores.is_empty() { format!("probe  {what}") } else { format!("probe  {scores}  ({what})") };
        match &self.view {
            View::Quiet => {}
            View::Lines { .. } => report::say(format_args!("{line}")),
            View::Bar { bar, .. } => bar.println(line),
        }
    }

    fn step(&mut self, step: &StepReport) -> bitfit_bert::Result<()> {
        let epoch = format!("epoch {}/{}", step.epoch, self.epochs);
        match &mut self.view {
            View::Quiet => {}
            View::Lines { every, since } => {
                since.add(step);
                if step.step.is_multiple_of(*every) || step.step == 1 {
                    let steps = self.steps;
                    report::say(format_args!(
                        "step {}/{steps}  {epoch}  loss {:.4}  lr {:.1e}  {} tokens/s",
                        step.step,
                        since.loss / since.steps as f64,
                        step.learning_rate,
                        grouped(report::rate(since.tokens, since.seconds) as usize)
                    ));
                    *since = Interval::default();
                }
            }
            View::Bar { bar, recent } => {
                recent.add(step);
                let tokens = grouped(report::rate(recent.tokens, recent.seconds) as usize);
                bar.set_position(step.step as u64);
                bar.set_message(format!("{epoch}  loss {:.4}  {tokens} tokens/s", recent.loss / recent.weight));
            }
        }
        Ok(())
    }

    fn evaluating(&mut self, epoch: usize) {
        if let View::Bar { bar, .. } = &self.view {
            bar.set_message(format!("epoch {epoch}/{}  evaluating", self.epochs));
        }
    }

    fn epoch(&mut self, epoch: &EpochReport) -> bitfit_bert::Result<()> {
        let scores =
            if epoch.scores.is_empty() { String::new() } else { format!("  {}", report::scores(&epoch.scores)) };
        let best = if epoch.is_best { "  (best so far)" } else { "" };
        let step = if epoch.is_end { String::new() } else { format!(", step {}", epoch.step) };
        let (number, loss) = (epoch.epoch, epoch.mean_loss);
        let line = format!("epoch {number}/{}{step}  mean loss {loss:.4}{scores}{best}", self.epochs);
        match &self.view {
            View::Quiet => {}
            View::Lines { .. } => report::say(format_args!("{line}")),
            View::Bar { bar, .. } => bar.println(line),
        }
        Ok(())
    }

    fn resumed(&mut self, state: &State, place: Place) {
        let line = format!("resumed after step {} of {}, in epoch {}", state.steps, self.steps, place.epoch);
        match &self.view {
            View::Quiet => {}
            View::Lines { .. } => report::say(format_args!("{line}")),
            View::Bar { bar, .. } => {
                bar.println(line);
                bar.set_position(state.steps as u64);
            }
        }
    }

    fn should_stop(&self) -> bool {
        self.interrupt.is_set()
    }
}

impl RunEvents for Progress {
    fn waiting(&mut self, runs: usize) {
        let runs = if runs == 1 {
            "a run that another process makes".into()
        } else {
            format!("{runs} runs of other processes")
        };
        self.line(&format!("waiting for {runs}"));
    }

    fn taken_over(&mut self, error: &bitfit_bert::Error) {
        self.line(&error.to_string());
    }

    fn begin(&mut self, run: &RunNumber<'_>, plan: &Plan) {
        self.set_plan(plan);
        let method = run.method.map_or_else(String::new, |method| format!("{method}, "));
        let line = format!("{method}seed {}  (run {} of {})", run.seed, run.number, run.of);
        match &mut self.view {
            View::Quiet => {}
            View::Lines { since, .. } => {
                *since = Interval::default();
                report::say(format_args!("{line}"));
            }
            View::Bar { bar, recent } => {
                *recent = Recent::default();
                bar.reset();
                bar.set_length(plan.steps as u64);
                bar.println(line);
            }
        }
    }
}

impl Interval {
    fn add(&mut self, step: &StepReport) {
        self.steps += 1;
        self.loss += f64::from(step.loss);
        self.tokens += step.tokens as f64;
        self.seconds += step.seconds;
    }
}

impl Recent {
    fn add(&mut self, step: &StepReport) {
        let values = [1.0, f64::from(step.loss), step.tokens as f64, step.seconds];
        let means = [&mut self.weight, &mut self.loss, &mut self.tokens, &mut self.seconds];
        for (mean, value) in means.into_iter().zip(values) {
            *mean += SMOOTHING * (value - *mean);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_mean_of_equal_steps_is_that_step_from_the_first_on() {
        let step =
            StepReport { step: 1, epoch: 1, loss: 0.5, learning_rate: 1e-3, grad_norm: 1.0, tokens: 90, seconds: 3.0 };
        let mut recent = Recent::default();
        for _ in 0..7 {
            recent.add(&step);
            assert!((recent.loss / recent.weight - 0.5).abs() < 1e-12);
            assert!((recent.tokens / recent.seconds - 30.0).abs() < 1e-12);
        }
    }
}
