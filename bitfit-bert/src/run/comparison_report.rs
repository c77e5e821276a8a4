//! The result of a comparison: a row for each method, as a table for people, as Markdown, as CSV and as a chart.

use std::path::Path;

use crate::Result;
use crate::files::AtomicFile;
use crate::metrics::Metric;
use crate::train::{Score, StopReason};

use super::chart::{Chart, ChartRow};
use super::run_record::RunResult;
use super::statistics::{MeanScore, mean, mean_scores};
use super::table::Table;

/// The table as Markdown in the output directory.
pub const COMPARISON_MARKDOWN: &str = "comparison.md";
/// The table as CSV, with the numbers as they are. Like the other two it is the same bytes however often the runs were
/// interrupted, and wherever they were made on the same kind of processor.
pub const COMPARISON_CSV: &str = "comparison.csv";
/// Time and memory of the runs as CSV.
pub const COMPARISON_COSTS: &str = "costs.csv";
/// The chart.
pub const COMPARISON_CHART: &str = "comparison.svg";

/// What a comparison found.
#[derive(Clone, Debug)]
pub struct FinishedComparison {
    /// The metrics; the first chose the epoch of each run.
    pub metrics: Vec<Metric>,
    /// The number of seeds.
    pub seeds: usize,
    /// The methods in the order in which they were listed.
    pub methods: Vec<ComparedMethod>,
    /// Whether it came to its end: [`StopReason::Finished`] or [`StopReason::Stopped`].
    pub stop: StopReason,
    /// The number of runs that are not made. While there are any, no file is written unless it was stopped.
    pub remaining: usize,
}

/// The runs of a method.
#[derive(Clone, Debug)]
pub struct ComparedMethod {
    /// Its name.
    pub name: String,
    /// Its learning rate; `None` for a probe, which is fitted without steps.
    pub learning_rate: Option<f32>,
    /// The runs that are made, in the order of the seeds.
    pub runs: Vec<RunResult>,
}

impl ComparedMethod {
    /// The means of the scores over the runs that came to their end.
    pub fn means(&self) -> Vec<MeanScore> {
        let scores: Vec<Vec<Score>> = self.ended().map(RunResult::scores).collect();
        mean_scores(&scores.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    /// The runs that came to their end.
    fn ended(&self) -> impl Iterator<Item = &RunResult> {
        self.runs.iter().filter(|run| !run.diverged)
    }

    /// The number of runs whose loss became NaN or infinite.
    pub fn diverged(&self) -> usize {
        self.runs.len() - self.ended().count()
    }

    /// The number of scalars that train; `None` before the first run.
    pub fn trainable(&self) -> Option<usize> {
        self.runs.first().map(|run| run.trainable)
    }

    /// The mean time of a run in seconds.
    pub fn seconds(&self) -> Option<f64> {
        let seconds: Vec<f64> = self.runs.iter().map(|run| run.seconds).collect();
        (!seconds.is_empty()).then(|| mean(&seconds))
    }

    /// The size of the largest task file.
    pub fn task_bytes(&self) -> Option<u64> {
        self.runs.iter().filter_map(|run| run.task_bytes).max()
    }

    /// The highest peak of the process's memory in a run.
    pub fn peak_memory_bytes(&self) -> Option<u64> {
        self.runs.iter().filter_map(|run| run.peak_memory_bytes).max()
    }
}

impl FinishedComparison {
    /// The table for people, with what the runs cost.
    pub fn table(&self) -> Table {
        let mut table = self.scores();
        table.columns.extend(["seconds", "peak memory"].map(str::to_owned));
        for (row, method) in table.rows.iter_mut().zip(&self.methods) {
            row.push(or_dash(method.seconds().map(|seconds| format!("{seconds:.1}"))));
            row.push(or_dash(method.peak_memory_bytes().map(|bytes| format!("{} MiB", grouped(bytes >> 20)))));
        }
        table
    }

    /// The table without what the runs cost, which is another each time.
    fn scores(&self) -> Table {
        let metrics = self.metrics.iter().map(ToString::to_string);
        let titles = ["scalars trained", "task file"].map(str::to_owned);
        let columns = ["method".to_owned()].into_iter().chain(metrics).chain(titles).collect();
        let row = |method: &ComparedMethod| {
            let means = method.means();
            let scores = self.metrics.iter().map(|metric| {
                let mean = means.iter().find(|mean| mean.metric == *metric);
                or_dash(mean.map(MeanScore::to_string))
            });
            let numbers = [
                or_dash(method.trainable().map(|trainable| grouped(trainable as u64))),
                or_dash(method.task_bytes().map(grouped)),
            ];
            [method.name.clone()].into_iter().chain(scores).chain(numbers).collect()
        };
        Table { columns, rows: self.methods.iter().map(row).collect() }
    }

    /// What the table leaves out, in sentences.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = vec![format!(
            "Scores are means over {} of the best epoch by {} on the evaluation set, ± the standard deviation of the \
             sample; that set chose the epochs, so they are not scores on unseen texts. The size of a task file is in \
             bytes.",
            seeds(self.seeds),
            self.metrics.first().map_or_else(String::new, ToString::to_string),
        )];
        for method in &self.methods {
            let (made, diverged) = (method.runs.len(), method.diverged());
            if made < self.seeds {
                remarks.push(format!("{}: {made} of {} are made.", method.name, seeds(self.seeds)));
            }
            if diverged > 0 {
                let what = "diverged: the loss became NaN or infinite. They are left out of the means";
                remarks.push(format!("{}: of {made} runs {diverged} {what}.", method.name));
            }
        }
        remarks
    }

    /// What the time and the memory of the table are.
    pub fn remark_on_costs(&self) -> String {
        let of_process = self.methods.iter().flat_map(|method| &method.runs).any(|run| !run.peak_is_of_run);
        let memory = match of_process {
            true => "Peak memory is that of the process since its start: this system cannot measure a part of it.",
            false => "Peak memory is the process's highest resident memory while a run of the method was made.",
        };
        format!("Seconds are the mean of a run's training steps, of a probe that of its fit. {memory}")
    }

    /// The table with the numbers as they are.
    fn numbers(&self) -> Table {
        let metrics = self.metrics.iter().flat_map(|metric| [format!("{metric}_mean"), format!("{metric}_deviation")]);
        let before = ["method", "learning_rate", "runs", "diverged"].map(str::to_owned).into_iter();
        let after = ["scalars_trained", "task_bytes"].map(str::to_owned);
        let row = |method: &ComparedMethod| {
            let means = method.means();
            let scores = self.metrics.iter().flat_map(|metric| {
                let mean = means.iter().find(|mean| mean.metric == *metric);
                [or_nothing(mean.map(|mean| mean.mean)), or_nothing(mean.and_then(|mean| mean.deviation))]
            });
            let before = [
                method.name.clone(),
                or_nothing(method.learning_rate),
                method.runs.len().to_string(),
                method.diverged().to_string(),
            ];
            let after = [or_nothing(method.trainable()), or_nothing(method.task_bytes())];
            before.into_iter().chain(scores).chain(after).collect()
        };
        Table { columns: before.chain(metrics).chain(after).collect(), rows: self.methods.iter().map(row).collect() }
    }

    /// Time and memory with the numbers as they are.
    fn costs(&self) -> Table {
        let columns = ["method", "runs", "seconds", "peak_memory_bytes"].map(str::to_owned).to_vec();
        let row = |method: &ComparedMethod| {
            let (runs, seconds) = (method.runs.len().to_string(), or_nothing(method.seconds()));
            vec![method.name.clone(), runs, seconds, or_nothing(method.peak_memory_bytes())]
        };
        Table { columns, rows: self.methods.iter().map(row).collect() }
    }

    /// The chart of the first metric.
    fn chart(&self) -> Chart {
        let metric = self.metrics.first();
        let row = |method: &ComparedMethod| {
            let of_metric = |scores: Vec<Score>| scores.into_iter().find(|score| Some(&score.metric) == metric);
            let means = method.means();
            let mean = means.iter().find(|mean| Some(&mean.metric) == metric);
            let trainable = method.trainable().map(|trainable| format!(", {} scalars", grouped(trainable as u64)));
            let score = mean.map_or_else(|| "no score".into(), |mean| format!("{mean:.3}"));
            ChartRow {
                label: method.name.clone(),
                note: score + &trainable.unwrap_or_default(),
                values: method.ended().filter_map(|run| of_metric(run.scores())).map(|score| score.value).collect(),
                mean: mean.map(|mean| (mean.mean, mean.deviation.unwrap_or(0.0))),
                reference: None,
            }
        };
        let metric = metric.map_or_else(String::new, ToString::to_string);
        let title = format!("{metric}: mean and standard deviation over {}", seeds(self.seeds));
        Chart { title, rows: self.methods.iter().map(row).collect() }
    }

    /// Writes the table, the costs and the chart into a directory; nothing while there is no run.
    pub(super) fn write(&self, out: &Path) -> Result<()> {
        if self.methods.iter().all(|method| method.runs.is_empty()) {
            return Ok(());
        }
        let markdown = format!("{}\n{}\n", self.scores().markdown(), self.remarks().join("\n\n"));
        for (name, text) in [
            (COMPARISON_MARKDOWN, markdown),
            (COMPARISON_CSV, self.numbers().csv()),
            (COMPARISON_COSTS, self.costs().csv()),
            (COMPARISON_CHART, self.chart().svg()),
        ] {
            let mut file = AtomicFile::create(&out.join(name))?;
            file.write(text.as_bytes())?;
            file.finish()?;
        }
        Ok(())
    }
}

fn seeds(count: usize) -> String {
    if count == 1 { "one seed".into() } else { format!("{count} seeds") }
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".into())
}

fn or_nothing(number: Option<impl ToString>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

/// A number with thousands separators.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(|group| String::from_utf8_lossy(group));
    groups.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seed: u64, accuracy: f64, diverged: bool) -> RunResult {
        RunResult {
            seed,
            diverged,
            epoch: Some(1),
            scores: vec![("accuracy".into(), accuracy)],
            trainable: 31_118,
            total: 1_000_000,
            seconds: 2.0 + seed as f64,
            task_bytes: Some(131_408),
            peak_memory_bytes: Some((300 + seed) << 20),
            peak_is_of_run: true,
        }
    }

    fn comparison() -> FinishedComparison {
        let runs = vec![run(0, 0.5, false), run(1, 0.75, false), run(2, 0.1, true)];
        let bitfit = ComparedMethod { name: "bitfit:query+output".into(), learning_rate: Some(1e-3), runs };
        let probe = ComparedMethod { name: "probe".into(), learning_rate: None, runs: Vec::new() };
        let (metrics, methods) = (vec![Metric::Accuracy], vec![bitfit, probe]);
        FinishedComparison { metrics, seeds: 3, methods, stop: StopReason::Stopped, remaining: 3 }
    }

    #[test]
    fn a_row_has_means_and_the_largest_sizes() {
        assert_eq!(
            comparison().table().rows,
            [
                ["bitfit:query+output", "0.6250 ± 0.1768", "31,118", "131,408", "3.0", "302 MiB"],
                ["probe", "-", "-", "-", "-", "-"],
            ]
        );
        assert_eq!(
            comparison().table().columns,
            ["method", "accuracy", "scalars trained", "task file", "seconds", "peak memory"]
        );
    }

    #[test]
    fn csv_has_the_numbers_as_they_are() {
        let expected = "method,learning_rate,runs,diverged,accuracy_mean,accuracy_deviation,scalars_trained,\
                        task_bytes\n\
                        bitfit:query+output,0.001,3,1,0.625,0.1767766952966369,31118,131408\n\
                        probe,,0,0,,,,\n";
        assert_eq!(comparison().numbers().csv(), expected);
        let expected = "method,runs,seconds,peak_memory_bytes\nbitfit:query+output,3,3,316669952\nprobe,0,,\n";
        assert_eq!(comparison().costs().csv(), expected);
    }

    #[test]
    fn what_is_missing_is_said() {
        let remarks = comparison().remarks();
        for part in ["bitfit:query+output: of 3 runs 1 diverged", "probe: 0 of 3 seeds are made."] {
            assert!(remarks.iter().any(|remark| remark.contains(part)), "{part}: {remarks:?}");
        }
        let mut comparison = comparison();
        assert!(comparison.remark_on_costs().contains("while a run"));
        comparison.methods[0].runs[1].peak_is_of_run = false;
        assert!(comparison.remark_on_costs().contains("since its start"));
    }

    #[test]
    fn the_files_are_written_once_there_is_a_run() {
        let dir = tempfile::tempdir().unwrap();
        let mut none = comparison();
        none.methods.remove(0);
        none.write(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        comparison().write(dir.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(read(COMPARISON_MARKDOWN).starts_with("| method | accuracy |"));
        assert!(read(COMPARISON_CSV).starts_with("method,learning_rate"));
        let svg = read(COMPARISON_CHART);
        assert!(svg.contains(">0.625 ± 0.177, 31,118 scalars<") && svg.contains(">no score<"), "{svg}");
        assert_eq!(svg.matches("r=\"3\"").count(), 2, "the run that diverged has no point");
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!([0, 999, 1_000, 109_482_240].map(grouped), ["0", "999", "1,000", "109,482,240"]);
    }
}
