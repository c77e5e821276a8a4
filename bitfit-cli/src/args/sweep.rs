//! The arguments of commands whose runs several processes can work through.

use std::time::Duration;

use anyhow::{Result, bail};
use bitfit_bert::run::{Shard, SweepOptions};
use clap::Args;

use super::values;

/// The number of a task in a job array of Slurm.
const TASK: &str = "SLURM_ARRAY_TASK_ID";

/// The flags of a sweep.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Make only the runs of shard I of N, counted from 1, or all [default: in a Slurm job array the shard of its task,
    /// elsewhere all]
    ///
    /// The runs are dealt out in turn: of four shards the second has the runs 2, 6, 10 and so on. With all, each
    /// process makes the next run that no other process has, which suits runs of different lengths. In a job array
    /// whose numbers are not a range, as when some tasks are submitted again, each task makes what is left of all runs.
    #[arg(long, value_name = "I/N|all", value_parser = values::shard, help_heading = "Several processes")]
    pub shard: Option<Shard>,

    /// End when the runs that are left are being made by other processes
    ///
    /// Otherwise the command waits for them, makes those of a process that dies, and then shows the table. It never
    /// waits for runs of other shards.
    #[arg(long, help_heading = "Several processes")]
    pub no_wait: bool,

    /// Time between two heartbeats of this process, such as 15s or 1m
    ///
    /// A process on another machine takes over a run when it has found the heartbeat unchanged four times, each time
    /// that long apart. Choose more where the file system shows changes late.
    #[arg(
        long, value_name = "TIME", default_value = "15s", value_parser = values::time, allow_hyphen_values = true,
        help_heading = "Several processes"
    )]
    pub heartbeat: Duration,
}

/// The part that a process has in a sweep.
#[derive(Clone, Debug)]
pub struct Part {
    pub options: SweepOptions,
    /// What chose the shard, where it was not a flag.
    chosen_by: &'static str,
}

impl SweepArgs {
    /// The library's options. `variable` reads a variable of the environment.
    ///
    /// # Errors
    /// For variables of Slurm that are not numbers.
    pub fn part(&self, variable: impl Fn(&str) -> Option<String>) -> Result<Part> {
        let (shard, chosen_by) = match self.shard {
            Some(shard) => (shard, ""),
            None => of_array(&variable)?,
        };
        let job = match (variable("SLURM_ARRAY_JOB_ID"), variable(TASK)) {
            (Some(job), Some(task)) => Some(format!("{job}_{task}")),
            _ => variable("SLURM_JOB_ID"),
        };
        let options = SweepOptions { shard, wait: !self.no_wait, heartbeat: self.heartbeat, job };
        Ok(Part { options, chosen_by })
    }
}

impl Part {
    /// The line of the plan, if it is not all runs of a process outside of an array.
    pub fn line(&self, runs: usize) -> Option<String> {
        let shard = self.options.shard;
        if shard == Shard::ALL && self.chosen_by.is_empty() {
            return None;
        }
        let shard_text = if shard == Shard::ALL { "all".into() } else { shard.to_string() };
        Some(format!("shard     {shard_text}{}: {} of {runs} runs", self.chosen_by, shard.places(runs).len()))
    }
}

/// The shard of a task of a job array, and how it was chosen.
fn of_array(variable: impl Fn(&str) -> Option<String>) -> Result<(Shard, &'static str)> {
    let number = |name: &str| match variable(name).map(|value| (value.parse::<usize>(), value)) {
        None => Ok(None),
        Some((Ok(number), _)) => Ok(Some(number)),
        Some((Err(_), value)) => bail!("{name} is {value}: expected a number; give --shard"),
    };
    let Some(task) = number(TASK)? else { return Ok((Shard::ALL, "")) };
    let name = |end: &str| format!("SLURM_ARRAY_TASK_{end}");
    let (least, most, step) =
        (number(&name("MIN"))?, number(&name("MAX"))?, number(&name("STEP"))?.unwrap_or(1).max(1));
    let (Some(least), Some(most)) = (least, most) else {
        bail!("{TASK} is {task}, but {} and {} are missing: give --shard", name("MIN"), name("MAX"));
    };
    if !(least..=most).contains(&task) {
        bail!("{TASK} is {task}, which is not from {least} to {most}: give --shard");
    }
    let of = (most - least) / step + 1;
    // A list of numbers has no step, and another count.
    let is_range = (task - least).is_multiple_of(step) && number(&name("COUNT"))?.is_none_or(|count| count == of);
    Ok(match is_range {
        true => (Shard { index: (task - least) / step + 1, of }, ", by SLURM_ARRAY_TASK_ID"),
        false => (Shard::ALL, ", because the numbers of the job array are not a range"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(flags: Option<Shard>, variables: &[(&str, &str)]) -> Result<Part> {
        let args = SweepArgs { shard: flags, no_wait: false, heartbeat: Duration::from_secs(15) };
        args.part(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    /// The variables of a task in an array.
    fn array(task: &'static str, [least, most, step, count]: [&'static str; 4]) -> [(&'static str, &'static str); 6] {
        [
            ("SLURM_ARRAY_JOB_ID", "71"),
            ("SLURM_ARRAY_TASK_ID", task),
            ("SLURM_ARRAY_TASK_MIN", least),
            ("SLURM_ARRAY_TASK_MAX", most),
            ("SLURM_ARRAY_TASK_STEP", step),
            ("SLURM_ARRAY_TASK_COUNT", count),
        ]
    }

    #[test]
    fn a_task_of_a_job_array_has_the_shard_of_its_place() {
        for (task, range, index, of) in [
            ("0", ["0", "5", "1", "6"], 1, 6),
            ("5", ["0", "5", "1", "6"], 6, 6),
            ("7", ["1", "9", "2", "5"], 4, 5),
            ("8", ["8", "8", "1", "1"], 1, 1),
        ] {
            let part = part(None, &array(task, range)).unwrap();
            assert_eq!(part.options.shard, Shard { index, of }, "{task} of {range:?}");
            assert_eq!(part.options.job, Some(format!("71_{task}")));
        }
        let line = part(None, &array("1", ["0", "5", "1", "6"])).unwrap().line(12);
        assert_eq!(line.unwrap(), "shard     2/6, by SLURM_ARRAY_TASK_ID: 2 of 12 runs");
    }

    #[test]
    fn a_flag_is_above_the_array_and_a_list_of_tasks_shares_all_runs() {
        let regular = array("1", ["0", "5", "1", "6"]);
        let flag = part(Some(Shard { index: 2, of: 3 }), &regular).unwrap();
        assert_eq!(flag.line(12).unwrap(), "shard     2/3: 4 of 12 runs");
        assert_eq!(part(Some(Shard::ALL), &regular).unwrap().line(12), None);
        assert_eq!(part(None, &[]).unwrap().line(12), None);
        let list = part(None, &array("3", ["3", "5", "1", "2"])).unwrap();
        assert_eq!(list.options.shard, Shard::ALL);
        assert!(list.line(12).unwrap().contains("all, because the numbers of the job array are not a range: 12 of 12"));
    }

    #[test]
    fn variables_that_are_not_numbers_are_refused_by_name() {
        let message = part(None, &array("x", ["0", "5", "1", "6"])).unwrap_err().to_string();
        assert_eq!(message, "SLURM_ARRAY_TASK_ID is x: expected a number; give --shard");
        let message = part(None, &array("9", ["0", "5", "1", "6"])).unwrap_err().to_string();
        assert!(message.contains("which is not from 0 to 5"), "{message}");
        let message = part(None, &[("SLURM_ARRAY_TASK_ID", "1")]).unwrap_err().to_string();
        assert!(message.contains("SLURM_ARRAY_TASK_MIN and SLURM_ARRAY_TASK_MAX are missing"), "{message}");
    }
}
