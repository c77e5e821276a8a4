//! What a reproduction is going to run: its runs with their states, and how long they may take.

use std::path::PathBuf;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// It is finished and scored.
    Done,
    /// It is finished, and its task is still to be scored on a further set.
    ToScore,
    /// It was interrupted and goes on from its state.
    Begun,
    /// It is to be made.
    ToMake,
}

impl RunState {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::ToScore => "to be scored",
            Self::Begun => "begun",
            Self::ToMake => "to be made",
        }
    }
}

/// A run of a reproduction.
#[derive(Clone, Debug)]
pub struct PlannedRun {
    /// The task.
    pub task: String,
    /// The method.
    pub method: String,
    /// The learning rate.
    pub rate: f32,
    /// The seed.
    pub seed: u64,
    /// Its directory.
    pub directory: PathBuf,
    /// How far it is.
    pub state: RunState,
    /// The number of its steps; of texts that are several sequences, such as long contexts, at least so many.
    pub steps: usize,
    /// How long it took, where it is finished.
    pub seconds: Option<f64>,
}

/// The runs of a reproduction.
#[derive(Clone, Debug, Default)]
pub struct GridPlan {
    /// The runs in the order in which they are made.
    pub runs: Vec<PlannedRun>,
}

/// How long the rest may take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// The time of the runs that are to be made, as far as it can be estimated.
    pub seconds: f64,
    /// The number of these runs.
    pub runs: usize,
    /// The number of runs that are to be made and of which nothing is known.
    pub unknown: usize,
}

impl GridPlan {
    /// The number of runs of a state.
    pub fn count(&self, state: RunState) -> usize {
        self.runs.iter().filter(|run| run.state == state).count()
    }

    /// An estimate from the finished runs of the same method, those on the same task if there are any, by the time of a
    /// step.
    pub fn estimate(&self) -> Estimate {
        let mut estimate = Estimate::default();
        for run in self.runs.iter().filter(|run| matches!(run.state, RunState::Begun | RunState::ToMake)) {
            match self.seconds_of_step(run) {
                Some(seconds) => {
                    estimate.seconds += seconds * run.steps as f64;
                    estimate.runs += 1;
                }
                None => estimate.unknown += 1,
            }
        }
        estimate
    }

    /// The mean time of a step, evaluations included, in finished runs like this one.
    fn seconds_of_step(&self, run: &PlannedRun) -> Option<f64> {
        let mean = |is_alike: &dyn Fn(&PlannedRun) -> bool| {
            let (mut seconds, mut steps) = (0.0, 0);
            for other in self.runs.iter().filter(|other| other.method == run.method && is_alike(other)) {
                if let Some(took) = other.seconds {
                    seconds += took;
                    steps += other.steps;
                }
            }
            (steps > 0).then(|| seconds / steps as f64)
        };
        mean(&|other| other.task == run.task).or_else(|| mean(&|_| true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(task: &str, method: &str, steps: usize, seconds: Option<f64>) -> PlannedRun {
        PlannedRun {
            task: task.into(),
            method: method.into(),
            rate: 1e-3,
            seed: 0,
            directory: PathBuf::new(),
            state: if seconds.is_some() { RunState::Done } else { RunState::ToMake },
            steps,
            seconds,
        }
    }

    #[test]
    fn the_rest_is_estimated_by_the_steps_of_finished_runs() {
        let mut plan = GridPlan { runs: vec![run("rte", "bitfit", 100, None)] };
        assert_eq!(plan.estimate(), Estimate { seconds: 0.0, runs: 0, unknown: 1 });
        plan.runs.push(run("rte", "bitfit", 100, Some(30.0)));
        plan.runs.push(run("rte", "bitfit", 100, Some(50.0)));
        plan.runs.push(run("qqp", "bitfit", 1_000, Some(2_000.0)));
        plan.runs.push(run("cola", "full", 10, None));
        assert_eq!(plan.estimate(), Estimate { seconds: 40.0, runs: 1, unknown: 1 });
        // Of another task the mean over all of the method: 2,080 seconds for 1,200 steps.
        plan.runs.push(run("cola", "bitfit", 600, None));
        assert_eq!(plan.estimate(), Estimate { seconds: 1_080.0, runs: 2, unknown: 1 });
        assert_eq!((plan.count(RunState::Done), plan.count(RunState::ToMake)), (3, 3));
    }
}
