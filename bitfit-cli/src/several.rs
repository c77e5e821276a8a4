//! What several seeds and several folds show alike: a table with the scores of each run and their means, and how to go
//! on.

use bitfit_bert::run::{Finished, MeanScore, RUN_RECORD, Table, can_resume};
use bitfit_bert::train::StopReason;

use crate::args::FinetuneArgs;
use crate::report;

/// A run as a row of the table.
pub struct Row<'a> {
    /// The number of the seed or of the fold.
    pub number: u64,
    /// What it reached.
    pub run: &'a Finished,
    /// The field behind its scores and its best epoch.
    pub further: String,
    /// Whether it is the best of all.
    pub is_best: bool,
}

/// Says how runs that were stopped go on, where the state of one of them or what one reached was saved.
pub fn say_how_to_go_on(args: &FinetuneArgs) {
    if args.directories().iter().any(|dir| can_resume(dir) || dir.join(RUN_RECORD).exists()) {
        report::say(format_args!("go on with: bitfit-cli finetune --resume {}", args.out().display()));
    }
}

/// The table: what a run is one of, its scores, its best epoch, a further field and how it ended.
pub fn table<'a>(of: &str, further: &str, rows: impl Iterator<Item = Row<'a>>, means: &[MeanScore]) -> Table {
    let metrics = means.iter().map(|mean| mean.metric.to_string());
    let columns = [of.to_owned()].into_iter().chain(metrics).chain(["epoch".into(), further.into(), "".into()]);
    let mut table = Table { columns: columns.collect(), rows: rows.map(|row| row.fields(means)).collect() };
    if !means.is_empty() {
        let scores = means.iter().map(MeanScore::to_string);
        table.rows.push(["mean".to_owned()].into_iter().chain(scores).chain([const { String::new() }; 3]).collect());
    }
    table
}

impl Row<'_> {
    fn fields(self, means: &[MeanScore]) -> Vec<String> {
        let report = &self.run.report;
        let best = report.state.best.as_ref();
        let score = |mean: &MeanScore| {
            let score = best.and_then(|best| best.scores.iter().find(|score| score.metric == mean.metric));
            score.map_or_else(|| "-".to_owned(), |score| format!("{:.4}", score.value))
        };
        let note = match &report.stop {
            stop if self.is_best && stop.is_end() => "best",
            StopReason::Finished => "",
            stop => report::end(stop),
        };
        let epoch = best.map_or_else(|| "-".to_owned(), |best| best.epoch.to_string());
        let scores = means.iter().map(score);
        [self.number.to_string()].into_iter().chain(scores).chain([epoch, self.further, note.into()]).collect()
    }
}
