//! The files of tasks in a data directory, by the names under which they are distributed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::data::Kind;
use crate::metrics::Metric;
use crate::presets::GlueTask;
use crate::{Error, Result};

use super::grid::{GridTask, ScoredSet, SetSource};

/// A task or a set that is left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// The files that were looked for and are missing, or another reason.
    pub reason: String,
}

/// A task of GLUE as the paper's tables have it.
struct Glue {
    task: GlueTask,
    title: &'static str,
    /// The directory of its files in GLUE's download.
    directory: &'static str,
    /// The metrics, first that of the paper's tables.
    metrics: &'static [Metric],
}

const fn glue(task: GlueTask, title: &'static str, metrics: &'static [Metric]) -> Glue {
    Glue { task, title, directory: title, metrics }
}

/// The tasks in the order of the paper's table, which leaves out WNLI.
const GLUE: [Glue; 8] = [
    glue(GlueTask::Qnli, "QNLI", &[Metric::Accuracy]),
    glue(GlueTask::Sst2, "SST-2", &[Metric::Accuracy]),
    Glue { task: GlueTask::Mnli, title: "MNLI-m", directory: "MNLI", metrics: &[Metric::Accuracy] },
    glue(GlueTask::Cola, "CoLA", &[Metric::Matthews]),
    glue(GlueTask::Mrpc, "MRPC", &[Metric::F1, Metric::Accuracy]),
    glue(GlueTask::Stsb, "STS-B", &[Metric::Spearman, Metric::Pearson]),
    glue(GlueTask::Rte, "RTE", &[Metric::Accuracy]),
    glue(GlueTask::Qqp, "QQP", &[Metric::F1, Metric::Accuracy]),
];

/// The number of tasks over which the paper's average is.
pub(super) const GLUE_TASKS: usize = GLUE.len();

/// Whether the paper's tables have a task.
pub(super) fn is_in_paper(task: GlueTask) -> bool {
    GLUE.iter().any(|glue| glue.task == task)
}

/// The tasks of GLUE whose files are in a directory, as GLUE distributes them, and those that are left out. Only those
/// of `chosen` are looked for, or all where none is.
///
/// # Errors
/// [`Error::DataFile`] where none is there, with all that was looked for.
pub(super) fn glue_tasks(data: &Path, chosen: &[GlueTask]) -> Result<(Vec<GridTask>, Vec<LeftOut>)> {
    let (mut tasks, mut left_out) = (Vec::new(), Vec::new());
    for Glue { task, title, directory, metrics } in GLUE {
        if !chosen.is_empty() && !chosen.contains(&task) {
            continue;
        }
        let is_mnli = task == GlueTask::Mnli;
        let [train, eval] = ["train.tsv", if is_mnli { "dev_matched.tsv" } else { "dev.tsv" }]
            .map(|file| data.join(directory).join(file));
        let missing: Vec<String> =
            [&train, &eval].into_iter().filter(|path| !path.is_file()).map(named(data)).collect();
        if !missing.is_empty() {
            let reason =
                format!("{} {} not there", missing.join(" and "), if missing.len() == 1 { "is" } else { "are" });
            left_out.push(LeftOut { name: task.name().into(), reason });
            continue;
        }
        let set = |name: &str, title: &str, source| ScoredSet { name: name.into(), title: title.into(), source };
        let mut sets = vec![set(task.name(), title, SetSource::Evaluation)];
        let mismatched = data.join(directory).join("dev_mismatched.tsv");
        if is_mnli && mismatched.is_file() {
            sets.push(set("mnli-mm", "MNLI-mm", SetSource::File(mismatched)));
        } else if is_mnli {
            let reason = format!("{} is not there", named(data)(&mismatched));
            left_out.push(LeftOut { name: "mnli-mm".into(), reason });
        }
        tasks.push(GridTask {
            name: task.name().into(),
            kind: task.preset().kind,
            glue: Some(task),
            train,
            eval: Some(eval),
            sets,
            metrics: metrics.to_vec(),
            texts: None,
        });
    }
    if tasks.is_empty() {
        let looked_for: Vec<&str> = left_out.iter().map(|left_out| left_out.reason.as_str()).collect();
        return Err(none(data, &format!("none of its tasks is there: {}", looked_for.join("; "))));
    }
    Ok((tasks, left_out))
}

/// The title of a task of GLUE as a whole.
pub(super) fn glue_title(task: GlueTask) -> &'static str {
    GLUE.iter().find(|glue| glue.task == task).map_or(task.name(), |glue| glue.directory)
}

/// The tagging of words whose files are in a directory: one for training and one for development, in CoNLL-U or in
/// columns.
///
/// # Errors
/// [`Error::DataFile`] where one of the two is missing or not the only one.
pub(super) fn tagging_task(data: &Path) -> Result<GridTask> {
    let entries = fs::read_dir(data).map_err(Error::io(data))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    let the_only = |part: &str, what: &str| -> Result<PathBuf> {
        let is_of_part = |path: &&PathBuf| {
            let of = |text: Option<&std::ffi::OsStr>| text.unwrap_or_default().to_string_lossy().into_owned();
            let (stem, extension) = (of(path.file_stem()), of(path.extension()));
            // As in en_ewt-ud-train.conllu.
            let is_named = stem == part || stem.ends_with(&format!("-{part}"));
            is_named && ["conllu", "conll"].contains(&extension.as_str())
        };
        let found: Vec<&PathBuf> = paths.iter().filter(is_of_part).collect();
        match found[..] {
            [path] => Ok(path.clone()),
            [] => {
                let forms = format!("{part}.conllu, NAME-{part}.conllu, {part}.conll and NAME-{part}.conll");
                Err(none(data, &format!("no {what} file of tagged words is there: looked for {forms}")))
            }
            [..] => {
                let names: Vec<String> = found.into_iter().map(named(data)).collect();
                Err(none(data, &format!("{} are there, of which one is expected", names.join(" and "))))
            }
        }
    };
    let (train, eval) = (the_only("train", "training")?, the_only("dev", "development")?);
    Ok(GridTask {
        name: "tagging".into(),
        kind: Kind::Tag,
        glue: None,
        train,
        eval: Some(eval),
        sets: vec![ScoredSet { name: "tagging".into(), title: "tagging".into(), source: SetSource::Evaluation }],
        metrics: vec![Metric::Accuracy],
        texts: None,
    })
}

/// The answering of questions whose files are in a directory under the names of SQuAD 1.1, with the whole training set.
///
/// # Errors
/// [`Error::DataFile`] where one of the two is missing.
pub(super) fn squad_task(data: &Path) -> Result<GridTask> {
    let [train, eval] = ["train-v1.1.json", "dev-v1.1.json"].map(|file| data.join(file));
    let missing: Vec<String> = [&train, &eval].into_iter().filter(|path| !path.is_file()).map(named(data)).collect();
    if !missing.is_empty() {
        let missing = if missing.len() == 1 { format!("{} is", missing[0]) } else { "both are".into() };
        let reason = "SQuAD is read from train-v1.1.json and dev-v1.1.json, but";
        return Err(none(data, &format!("{reason} {missing} not there")));
    }
    Ok(GridTask {
        name: "squad".into(),
        kind: Kind::Span,
        glue: None,
        train,
        // A small training set has many epochs, each of which would be followed by an evaluation of ten thousand
        // questions: a run is scored once, at its end.
        eval: None,
        sets: vec![ScoredSet { name: "squad".into(), title: "SQuAD".into(), source: SetSource::File(eval) }],
        metrics: vec![Metric::AnswerF1, Metric::ExactMatch],
        texts: None,
    })
}

/// The path of a file within the data directory.
fn named(data: &Path) -> impl Fn(&PathBuf) -> String {
    move |path| path.strip_prefix(data).unwrap_or(path).display().to_string()
}

fn none(data: &Path, reason: &str) -> Error {
    Error::DataFile { path: data.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        dir
    }

    #[test]
    fn tasks_are_found_by_the_names_of_glue_and_the_others_are_named() {
        let files =
            ["MNLI/train.tsv", "MNLI/dev_matched.tsv", "MNLI/dev_mismatched.tsv", "RTE/train.tsv", "RTE/dev.tsv"];
        let dir = directory(&[&files[..], &["CoLA/train.tsv"]].concat());
        let (tasks, left_out) = glue_tasks(dir.path(), &[]).unwrap();
        assert_eq!(tasks.iter().map(|task| task.name.as_str()).collect::<Vec<_>>(), ["mnli", "rte"]);
        assert_eq!(tasks[0].sets.iter().map(|set| set.name.as_str()).collect::<Vec<_>>(), ["mnli", "mnli-mm"]);
        assert_eq!(left_out.len(), 6);
        let cola = left_out.iter().find(|left_out| left_out.name == "cola").unwrap();
        assert_eq!(cola.reason, "CoLA/dev.tsv is not there");
        assert!(left_out.iter().any(|left_out| left_out.reason == "QQP/train.tsv and QQP/dev.tsv are not there"));

        let (tasks, left_out) = glue_tasks(dir.path(), &[GlueTask::Rte]).unwrap();
        assert_eq!((tasks.len(), left_out.len()), (1, 0), "what was not chosen is not looked for");
        fs::remove_file(dir.path().join("MNLI/dev_mismatched.tsv")).unwrap();
        let (tasks, left_out) = glue_tasks(dir.path(), &[GlueTask::Mnli]).unwrap();
        assert_eq!((tasks[0].sets.len(), left_out[0].name.as_str()), (1, "mnli-mm"));
    }

    #[test]
    fn a_directory_without_a_task_is_refused_with_what_was_looked_for() {
        let dir = directory(&[]);
        let message = glue_tasks(dir.path(), &[]).unwrap_err().to_string();
        for file in ["QNLI/train.tsv", "MNLI/dev_matched.tsv", "STS-B/dev.tsv"] {
            assert!(message.contains(file), "{file}: {message}");
        }
        let message = tagging_task(dir.path()).unwrap_err().to_string();
        assert!(message.contains("no training file") && message.contains("NAME-train.conllu"), "{message}");
        let message = squad_task(dir.path()).unwrap_err().to_string();
        assert!(message.contains("train-v1.1.json and dev-v1.1.json, but both are not there"), "{message}");
    }

    #[test]
    fn words_are_read_from_the_only_file_of_each_part() {
        let dir = directory(&["en_ewt-ud-train.conllu", "en_ewt-ud-dev.conllu", "retrain.conllu", "LICENSE.txt"]);
        let task = tagging_task(dir.path()).unwrap();
        assert!(task.train.ends_with("en_ewt-ud-train.conllu") && task.eval.unwrap().ends_with("en_ewt-ud-dev.conllu"));
        fs::write(dir.path().join("dev.conll"), "").unwrap();
        let message = tagging_task(dir.path()).unwrap_err().to_string();
        assert!(message.contains("dev.conll and en_ewt-ud-dev.conllu are there, of which one"), "{message}");
        fs::remove_file(dir.path().join("dev.conll")).unwrap();
        fs::remove_file(dir.path().join("en_ewt-ud-dev.conllu")).unwrap();
        let message = tagging_task(dir.path()).unwrap_err().to_string();
        assert!(message.contains("no development file of tagged words is there"), "{message}");
    }
}
