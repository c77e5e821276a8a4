//! `finetune --folds`: a run for each fold, the answers of each to the rows that it has not seen, and the rows whose
//! label is likely to be wrong.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use bitfit_bert::Predictor;
use bitfit_bert::calibrate::{OutOfFoldRow, OutOfFoldWriter};
use bitfit_bert::data::Example;
use bitfit_bert::files::AtomicFile;
use bitfit_bert::heads::Prediction;
use bitfit_bert::model::Base;
use bitfit_bert::presets::GlueTask;
use bitfit_bert::run::{FinishedFolds, FoldRun, FoldRuns, MeanScore, Table};
use bitfit_bert::train::StopReason;
use bitfit_core::Backend;
use serde::Serialize;

use crate::STOPPED;
use crate::args::{FinetuneArgs, name_of};
use crate::finetune::say_plan;
use crate::interrupt::Interrupt;
use crate::memory;
use crate::output::{OUT_OF_FOLD, SUSPECTS};
use crate::plan::grouped;
use crate::predict::Answer;
use crate::progress::Progress;
use crate::report::{self, FoldReport, FoldsReport, of_means};
use crate::text;

/// The texts that are answered at once.
const BATCH: usize = 256;

/// A line of the file of answers.
#[derive(Serialize)]
struct Row<'a> {
    fold: usize,
    line: usize,
    /// What `calibrate --out-of-fold` reads.
    #[serde(flatten)]
    row: OutOfFoldRow<'a>,
    #[serde(flatten)]
    answer: Answer<'a>,
}

/// A row whose label its model thinks unlikely.
struct Suspect {
    /// The probability of the label.
    probability: f32,
    line: String,
}

/// Makes the runs and reports them.
pub fn run<D: Backend>(args: &FinetuneArgs, base: &Base<D>, runs: FoldRuns<D>) -> Result<ExitCode> {
    let plan = runs.plan().clone();
    say_plan(args, &plan);
    let quiet = args.run.machine.quiet;
    let interrupt = Interrupt::install(quiet)?;
    let mut progress = Progress::new(&plan, args.run.log_every, quiet, interrupt)?;
    let finished = runs.run(&mut progress);
    progress.finish();
    let finished = finished?;
    let (means, stop) = (finished.means(), finished.stop());
    if stop != StopReason::Stopped {
        answer(args.out(), base, &finished)?;
    }
    if !quiet {
        table(&finished.runs, &means).lines().iter().for_each(|line| report::say(format_args!("{line}")));
        let (dir, end) = (args.out().display(), report::end(&stop));
        match stop {
            StopReason::Stopped => report::say(format_args!("go on with: bitfit-cli finetune --resume {dir}")),
            _ => report::say(format_args!("{end}: {dir}/{OUT_OF_FOLD} has an answer to each row")),
        }
    }
    let is_written = |name: &str| args.out().join(name).exists().then(|| args.out().join(name).display().to_string());
    report::print(&FoldsReport {
        command: "finetune",
        model: &args.data.model,
        task: args.data.task.map(GlueTask::name),
        method: args.method_text()?,
        trainable: plan.trainable,
        total: plan.total,
        rows: finished.examples.len(),
        folds: finished.runs.iter().map(fold_report).collect(),
        metrics: of_means(&means, |mean| Some(mean.mean)),
        deviations: of_means(&means, |mean| mean.deviation),
        answers: is_written(OUT_OF_FOLD),
        suspects: is_written(SUSPECTS),
        peak_rss_bytes: memory::peak_since_start(),
        device: args.run.machine.device.to_string(),
        precision: name_of(args.run.machine.precision()),
        end: report::end(&stop),
    })?;
    match stop {
        StopReason::Finished | StopReason::NoImprovement => Ok(ExitCode::SUCCESS),
        StopReason::Stopped => Ok(ExitCode::from(STOPPED)),
        StopReason::Diverged { .. } => Err(anyhow!("training diverged in a fold; try a lower --lr")),
    }
}

/// Answers the rows of each fold by its model, and writes the answers in the order of the file.
fn answer<D: Backend>(out: &Path, base: &Base<D>, finished: &FinishedFolds) -> Result<()> {
    let mut lines: Vec<Option<String>> = vec![None; finished.examples.len()];
    let mut suspects = Vec::new();
    for FoldRun { fold, rows, finished: run } in &finished.runs {
        let Some(task) = &run.task else { continue };
        let predictor = Predictor::open(base, &task.path)?;
        let writer = OutOfFoldWriter::new(predictor.info(), &finished.targets, finished.examples.len());
        for rows in rows.chunks(BATCH) {
            let examples: Vec<Example> = rows.iter().map(|&row| finished.examples[row].clone()).collect();
            let predictions = predictor.predict_with_outputs(&examples)?;
            for ((&row, example), (prediction, outputs)) in rows.iter().zip(&examples).zip(&predictions) {
                let expected = example.label.as_ref().map(bitfit_bert::data::Label::as_str);
                suspects.extend(suspect(&predictor, example, expected, prediction));
                let answer = Answer::new(&predictor, example, prediction)?;
                let calibrated = writer.row(row, example, outputs.view());
                let line = Row { fold: *fold, line: example.line, row: calibrated, answer };
                lines[row] = Some(serde_json::to_string(&line)?);
            }
        }
    }
    let mut file = AtomicFile::create(&out.join(OUT_OF_FOLD))?;
    lines.iter().flatten().try_for_each(|line| file.write(format!("{line}\n").as_bytes()))?;
    file.finish()?;
    suspects.sort_by(|one: &Suspect, other| one.probability.total_cmp(&other.probability));
    if !suspects.is_empty() {
        let mut file = AtomicFile::create(&out.join(SUSPECTS))?;
        file.write(b"line\tlabel\tprobability\tanswered\tprobability of the answer\ttext\n")?;
        suspects.iter().try_for_each(|suspect| file.write(suspect.line.as_bytes()))?;
        file.finish()?;
    }
    Ok(())
}

/// A row of one class whose model gives it another.
fn suspect<D: Backend>(
    predictor: &Predictor<D>,
    example: &Example,
    expected: Option<&str>,
    prediction: &Prediction,
) -> Option<Suspect> {
    let Prediction::Class { class, probabilities, .. } = prediction else { return None };
    let names = predictor.labels()?.names();
    let label = names.iter().position(|name| Some(name.as_str()) == expected)?;
    (label != *class).then(|| {
        let probability = probabilities[label];
        let texts: Vec<String> =
            std::iter::once(&example.text).chain(&example.pair).map(|text| text::field(text)).collect();
        let line = format!(
            "{}\t{}\t{probability:.4}\t{}\t{:.4}\t{}\n",
            example.line,
            text::field(&names[label]),
            text::field(&names[*class]),
            probabilities[*class],
            texts.join("\t")
        );
        Suspect { probability, line }
    })
}

/// The scores of each fold, and their means.
fn table(runs: &[FoldRun], means: &[MeanScore]) -> Table {
    let metrics = means.iter().map(|mean| mean.metric.to_string());
    let columns = ["fold".to_owned()].into_iter().chain(metrics).chain(["epoch".into(), "rows".into(), "".into()]);
    let row = |run: &FoldRun| {
        let score = |mean: &MeanScore| {
            let scores = run.best().map_or(&[][..], |best| &best.scores);
            let score = scores.iter().find(|score| score.metric == mean.metric);
            score.map_or_else(|| "-".to_owned(), |score| format!("{:.4}", score.value))
        };
        let note = match &run.finished.report.stop {
            StopReason::Finished => "",
            stop => report::end(stop),
        };
        let epoch = run.best().map_or_else(|| "-".to_owned(), |best| best.epoch.to_string());
        let scores = means.iter().map(score);
        [run.fold.to_string()].into_iter().chain(scores).chain([epoch, grouped(run.rows.len()), note.into()]).collect()
    };
    let mut table = Table { columns: columns.collect(), rows: runs.iter().map(row).collect() };
    if !means.is_empty() {
        let scores = means.iter().map(MeanScore::to_string);
        table.rows.push(["mean".to_owned()].into_iter().chain(scores).chain([const { String::new() }; 3]).collect());
    }
    table
}

/// The run of a fold for the result.
fn fold_report(run: &FoldRun) -> FoldReport {
    let (state, task) = (&run.finished.report.state, run.finished.task.as_ref());
    FoldReport {
        fold: run.fold,
        rows: run.rows.len(),
        best: report::best(run.best()),
        metrics: bitfit_bert::run::scores_as_json(run.best().map_or(&state.last, |best| &best.scores)),
        seconds: report::rounded(state.training.as_secs_f64(), 3),
        task_file: task.map(|task| task.path.display().to_string()),
        end: report::end(&run.finished.report.stop),
    }
}
