//! Learning-rate schedules: constant, linear or cosine after a linear warm-up, as
//! `get_{constant,linear,cosine}_schedule_with_warmup` of transformers.

use std::{fmt, str::FromStr};

use crate::{Error, Result};

/// The course of the learning rate after warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Schedule {
    /// Constant at the peak, as used by the authors of BitFit.
    #[default]
    Constant,
    /// Linear decay to 0 at the end of the run, and 0 after it.
    Linear,
    /// Half a cosine to 0 at the end of the run. After it the cosine rises again, as in transformers.
    Cosine,
}

impl Schedule {
    /// Every schedule.
    pub const ALL: [Self; 3] = [Self::Constant, Self::Linear, Self::Cosine];

    /// The name, as [`FromStr`] accepts it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Linear => "linear",
            Self::Cosine => "cosine",
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|schedule| schedule.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::invalid("schedule", format!("unknown schedule {name:?}: expected one of {names}"))
        })
    }
}

/// The learning rate as a function of the step.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct LearningRate {
    /// The largest rate, reached at the end of warm-up.
    pub peak: f32,
    /// The course after warm-up.
    pub schedule: Schedule,
    /// The number of steps over which the rate rises from 0 to the peak.
    pub warmup_steps: u64,
    /// The number of steps of the run, including warm-up.
    pub total_steps: u64,
}

impl LearningRate {
    /// A rate that begins at `peak` and takes the course `schedule` over a run of `total_steps`.
    pub fn new(peak: f32, schedule: Schedule, total_steps: u64) -> Self {
        Self { peak, schedule, warmup_steps: 0, total_steps }
    }

    /// The same with a rise from 0 to the peak over the first `warmup_steps`.
    #[must_use]
    pub fn with_warmup(self, warmup_steps: u64) -> Self {
        Self { warmup_steps, ..self }
    }

    /// The same course with another peak.
    #[must_use]
    pub fn with_peak(self, peak: f32) -> Self {
        Self { peak, ..self }
    }

    /// A rate of `peak` at every step.
    pub fn constant(peak: f32) -> Self {
        Self { peak, schedule: Schedule::Constant, warmup_steps: 0, total_steps: 0 }
    }

    /// The rate of step `step`, counted from 0.
    ///
    /// These are exactly the rates of transformers: with warm-up the rate of the first step is `at(0) = 0`, so it
    /// changes only the moments, and that of the last is `at(total_steps - 1)`, one step before 0.
    pub fn at(&self, step: u64) -> f32 {
        let (t, warmup, total) = (step as f64, self.warmup_steps as f64, self.total_steps as f64);
        let factor = if step < self.warmup_steps {
            t / warmup
        } else {
            // If warm-up is at least as long as the run, transformers assumes one step after it.
            let after = (total - warmup).max(1.0);
            match self.schedule {
                Schedule::Constant => 1.0,
                Schedule::Linear => ((total - t) / after).max(0.0),
                Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * (t - warmup) / after).cos()),
            }
        };
        (f64::from(self.peak) * factor) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// From transformers 5.23:
    ///
    /// ```python
    /// opt = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
    /// schedule = transformers.get_cosine_schedule_with_warmup(opt, warmup, total)   # constant: without total
    /// for _ in range(12):
    ///     print(schedule.get_last_lr()[0]); opt.step(); schedule.step()
    /// ```
    #[test]
    fn rates_are_those_of_transformers() {
        #[rustfmt::skip]
        let cases = [
            (Schedule::Constant, 0, 10, vec![0.001; 12]),
            (Schedule::Constant, 4, 10,
                vec![0.0, 0.00025, 0.0005, 0.00075, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001, 0.001]),
            (Schedule::Linear, 0, 10,
                vec![0.001, 0.0009, 0.0008, 0.0007, 0.0006, 0.0005, 0.0004, 0.0003, 0.0002, 0.0001, 0.0, 0.0]),
            (Schedule::Linear, 4, 10,
                vec![0.0, 0.00025, 0.0005, 0.00075, 0.001, 0.00083333333, 0.00066666667, 0.0005, 0.00033333333,
                    0.00016666667, 0.0, 0.0]),
            (Schedule::Cosine, 0, 10,
                vec![0.001, 0.00097552826, 0.0009045085, 0.00079389263, 0.0006545085, 0.0005, 0.0003454915,
                    0.00020610737, 9.5491503e-05, 2.4471742e-05, 0.0, 2.4471742e-05]),
            (Schedule::Cosine, 4, 10,
                vec![0.0, 0.00025, 0.0005, 0.00075, 0.001, 0.0009330127, 0.00075, 0.0005, 0.00025, 6.6987298e-05, 0.0,
                    6.6987298e-05]),
            // Warm-up longer than the run.
            (Schedule::Linear, 5, 3, vec![0.0, 0.0002, 0.0004, 0.0006, 0.0008, 0.0, 0.0]),
            (Schedule::Cosine, 5, 3, vec![0.0, 0.0002, 0.0004, 0.0006, 0.0008, 0.001, 0.0, 0.001]),
        ];
        for (schedule, warmup_steps, total_steps, expected) in cases {
            let rate = LearningRate { peak: 1e-3, schedule, warmup_steps, total_steps };
            for (step, expected) in expected.into_iter().enumerate() {
                let found = f64::from(rate.at(step as u64));
                assert!((found - expected).abs() <= 1e-7 * expected + 1e-12, "{rate:?} at {step}: {found}, {expected}");
            }
        }
    }

    #[test]
    fn names_are_read_as_they_are_written_and_others_refused() {
        for schedule in Schedule::ALL {
            assert_eq!(schedule.to_string().parse::<Schedule>().unwrap(), schedule);
        }
        let message = "Linear".parse::<Schedule>().unwrap_err().to_string();
        assert_eq!(message, "schedule: unknown schedule \"Linear\": expected one of constant, linear, cosine");
    }

    proptest! {
        #[test]
        fn a_rate_is_never_negative_nor_above_its_peak(
            kind in 0_usize..3, warmup_steps in any::<u64>(), total_steps in any::<u64>(), step in any::<u64>(),
        ) {
            let rate = LearningRate { peak: 0.5, schedule: Schedule::ALL[kind], warmup_steps, total_steps };
            prop_assert!((0.0..=0.5).contains(&rate.at(step)), "{}", rate.at(step));
        }
    }
}
