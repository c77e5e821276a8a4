//! A submission to GLUE's server: a zip archive with a table of predictions for each test set, under the server's
//! names and with its labels (gluebenchmark.com/submit; `run_glue.py` of transformers writes the same tables).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use rawzip::{CompressionMethod, ZipArchive, ZipArchiveWriter};

use super::GlueTask;
use crate::data::Labels;
use crate::files::{AtomicFile, Lock, read_bounded};
use crate::heads::Prediction;
use crate::{Error, Result};

/// The largest archive that is added to: one of all test sets has 15 MB.
const MAX_BYTES: u64 = 256 << 20;

/// A test set of GLUE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestSet {
    /// The name of its table in a submission.
    pub file: &'static str,
    /// Its number of rows.
    pub rows: usize,
    /// What the server calls the classes; none for scores.
    labels: &'static [&'static str],
}

const BINARY: &[&str] = &["0", "1"];
const PAIRS: &[&str] = &["entailment", "not_entailment"];
const INFERENCE: &[&str] = &["contradiction", "entailment", "neutral"];

/// Every test set, in the order of the server's description.
pub const TEST_SETS: [TestSet; 11] = [
    TestSet { file: "CoLA.tsv", rows: 1_063, labels: BINARY },
    TestSet { file: "SST-2.tsv", rows: 1_821, labels: BINARY },
    TestSet { file: "MRPC.tsv", rows: 1_725, labels: BINARY },
    TestSet { file: "STS-B.tsv", rows: 1_379, labels: &[] },
    TestSet { file: "QQP.tsv", rows: 390_965, labels: BINARY },
    TestSet { file: "MNLI-m.tsv", rows: 9_796, labels: INFERENCE },
    TestSet { file: "MNLI-mm.tsv", rows: 9_847, labels: INFERENCE },
    TestSet { file: "QNLI.tsv", rows: 5_463, labels: PAIRS },
    TestSet { file: "RTE.tsv", rows: 3_000, labels: PAIRS },
    TestSet { file: "WNLI.tsv", rows: 146, labels: BINARY },
    TestSet { file: "AX.tsv", rows: 1_104, labels: INFERENCE },
];

impl TestSet {
    /// The test set that a file holds: that of the task, or for MNLI the one that the file's name says.
    ///
    /// # Errors
    /// [`Error::DataFile`] for a file of MNLI whose name does not say which of its three it is.
    pub fn of(task: GlueTask, path: &Path) -> Result<&'static Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let file = match task {
            GlueTask::Cola => "CoLA.tsv",
            GlueTask::Sst2 => "SST-2.tsv",
            GlueTask::Mrpc => "MRPC.tsv",
            GlueTask::Stsb => "STS-B.tsv",
            GlueTask::Qqp => "QQP.tsv",
            GlueTask::Qnli => "QNLI.tsv",
            GlueTask::Rte => "RTE.tsv",
            GlueTask::Wnli => "WNLI.tsv",
            GlueTask::Mnli if name.contains("mismatched") => "MNLI-mm.tsv",
            GlueTask::Mnli if name.contains("matched") => "MNLI-m.tsv",
            GlueTask::Mnli if name.contains("diagnostic") => "AX.tsv",
            GlueTask::Mnli => {
                let reason = "its name does not say which test set of MNLI it is: expected test_matched.tsv, \
                              test_mismatched.tsv or diagnostic.tsv";
                return Err(Error::DataFile { path: path.into(), reason: reason.into() });
            }
        };
        Ok(TEST_SETS.iter().find(|set| set.file == file).expect("every task has a test set"))
    }

    /// Refuses a task whose classes are not those of the server, which would count every answer as wrong.
    ///
    /// # Errors
    /// [`Error::TaskFile`] with the classes of both.
    pub fn check_labels(&self, task_file: &Path, labels: Option<&Labels>) -> Result<()> {
        let names: Vec<&str> = labels.iter().flat_map(|labels| labels.names()).map(String::as_str).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        if sorted == self.labels {
            return Ok(());
        }
        let list = |names: &[&str]| if names.is_empty() { "scores".to_owned() } else { names.join(", ") };
        let reason = format!(
            "it predicts {}, but GLUE's server expects {} in {}: train on GLUE's own files",
            list(&names),
            list(self.labels),
            self.file
        );
        Err(Error::TaskFile { path: task_file.into(), reason })
    }

    /// The table of predictions, a row for each text in the order of the test set. Scores are kept within 0 to 5.
    pub fn table(&self, labels: Option<&Labels>, predictions: &[Prediction]) -> String {
        let mut table = "index\tprediction\n".to_owned();
        for (index, prediction) in predictions.iter().enumerate() {
            let answer = match prediction {
                Prediction::Class { class, .. } => {
                    labels.and_then(|labels| labels.name(*class)).unwrap_or_default().to_owned()
                }
                Prediction::Score(score) => format!("{:.3}", score.clamp(0.0, 5.0)),
                _ => unreachable!("no task of GLUE"),
            };
            writeln!(table, "{index}\t{answer}").expect("a string takes everything");
        }
        table
    }
}

/// The tables of a submission by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submission(BTreeMap<String, Vec<u8>>);

impl Submission {
    /// The tables of an archive; none where the file does not exist yet.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read; [`Error::DataFile`] for one that is no submission: not a zip
    /// archive, packed, or with other files in it.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let refuse = |reason: String| Error::DataFile { path: path.into(), reason };
        let broken = |error: rawzip::Error| refuse(format!("not a complete zip archive: {error}"));
        let bytes = read_bounded(path, MAX_BYTES)?;
        let archive = ZipArchive::from_slice(&bytes).map_err(broken)?;
        let mut tables = BTreeMap::new();
        for header in archive.entries() {
            let header = header.map_err(broken)?;
            let name = String::from_utf8_lossy(header.file_path().as_ref()).into_owned();
            if !TEST_SETS.iter().any(|set| set.file == name) {
                return Err(refuse(format!(
                    "it has a file {name:?}, so it is no submission to GLUE: choose another file"
                )));
            }
            if header.compression_method() != CompressionMethod::STORE {
                return Err(refuse(format!("{name} in it is packed, so it was not written here: choose another file")));
            }
            let entry = archive.get_entry(header.wayfinder()).map_err(broken)?;
            tables.insert(name, entry.data().to_vec());
        }
        Ok(Self(tables))
    }

    /// Adds the table of a test set to the archive, or replaces it there, and returns all of its tables. Several
    /// processes may add tables to one archive at the same time.
    ///
    /// # Errors
    /// As [`Submission::open`].
    pub fn add(path: &Path, set: &TestSet, table: String) -> Result<Self> {
        let _lock = Lock::on(path).map_err(Error::io(path))?;
        let mut submission = Self::open(path)?;
        submission.put(set, table);
        submission.write(path)?;
        Ok(submission)
    }

    /// Adds the table of a test set, or replaces it.
    fn put(&mut self, set: &TestSet, table: String) {
        self.0.insert(set.file.to_owned(), table.into_bytes());
    }

    /// The test sets whose tables are not in it.
    pub fn missing(&self) -> impl Iterator<Item = &'static TestSet> {
        TEST_SETS.iter().filter(|set| !self.0.contains_key(set.file))
    }

    /// Writes the archive, which replaces an earlier one when it is complete. The tables are stored as they are.
    ///
    /// # Errors
    /// [`Error::Io`] with the path.
    fn write(&self, path: &Path) -> Result<()> {
        let mut file = AtomicFile::create(path)?;
        file.write(&self.zip().map_err(|error| Error::DataFile { path: path.into(), reason: error.to_string() })?)?;
        file.finish()
    }

    fn zip(&self) -> std::result::Result<Vec<u8>, rawzip::Error> {
        let mut archive = ZipArchiveWriter::new(Vec::new());
        for (name, table) in &self.0 {
            let (mut entry, config) = archive.new_file(name.as_str()).start()?;
            let mut writer = config.wrap(&mut entry);
            writer.write_all(table)?;
            let (_, descriptor) = writer.finish()?;
            entry.finish(descriptor)?;
        }
        archive.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[&str]) -> Labels {
        Labels::from_names(names.iter().map(|&name| name.to_owned()).collect()).unwrap()
    }

    fn class(class: usize) -> Prediction {
        Prediction::Class { class, probabilities: Vec::new(), is_rejected: false }
    }

    #[test]
    fn every_task_has_a_test_set_and_mnli_has_three() {
        for (task, name, file) in [
            (GlueTask::Mnli, "test_matched.tsv", "MNLI-m.tsv"),
            (GlueTask::Mnli, "MNLI/test_mismatched.tsv", "MNLI-mm.tsv"),
            (GlueTask::Mnli, "diagnostic.tsv", "AX.tsv"),
            (GlueTask::Stsb, "anything", "STS-B.tsv"),
        ] {
            assert_eq!(TestSet::of(task, Path::new(name)).unwrap().file, file);
        }
        for &task in GlueTask::ALL {
            assert!(TestSet::of(task, Path::new("test_matched.tsv")).is_ok(), "{task}");
        }
        let message = TestSet::of(GlueTask::Mnli, Path::new("test.tsv")).unwrap_err().to_string();
        assert!(message.starts_with("test.tsv: ") && message.contains("test_mismatched.tsv"), "{message}");
    }

    #[test]
    fn a_table_has_the_servers_labels_or_is_refused() {
        let rte = TestSet::of(GlueTask::Rte, Path::new("test.tsv")).unwrap();
        let known = labels(&["entailment", "not_entailment"]);
        rte.check_labels(Path::new("task"), Some(&known)).unwrap();
        let table = rte.table(Some(&known), &[class(1), class(0)]);
        assert_eq!(table, "index\tprediction\n0\tnot_entailment\n1\tentailment\n");
        let message = rte.check_labels(Path::new("task"), Some(&labels(&["0", "1"]))).unwrap_err().to_string();
        assert_eq!(
            message,
            "task: it predicts 0, 1, but GLUE's server expects entailment, not_entailment in RTE.tsv: train on GLUE's \
             own files"
        );
        let stsb = TestSet::of(GlueTask::Stsb, Path::new("test.tsv")).unwrap();
        stsb.check_labels(Path::new("task"), None).unwrap();
        let scores = [-0.5, 2.34567, 7.0].map(Prediction::Score);
        assert_eq!(stsb.table(None, &scores), "index\tprediction\n0\t0.000\n1\t2.346\n2\t5.000\n");
        assert!(stsb.check_labels(Path::new("task"), Some(&known)).is_err());
    }

    #[test]
    fn an_archive_keeps_its_other_tables() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("glue.zip");
        let mut submission = Submission::open(&path).unwrap();
        assert_eq!(submission.missing().count(), TEST_SETS.len());
        for (set, table) in TEST_SETS[..2].iter().zip(["one", "two"]) {
            submission.put(set, table.into());
            submission.write(&path).unwrap();
            submission = Submission::open(&path).unwrap();
        }
        assert_eq!(submission.0.values().map(Vec::as_slice).collect::<Vec<_>>(), [b"one", b"two"]);
        submission.put(&TEST_SETS[0], "three".into());
        submission.write(&path).unwrap();
        let again = Submission::open(&path).unwrap();
        assert_eq!(again, submission);
        assert_eq!(again.missing().next().unwrap().file, "MRPC.tsv");
    }

    #[test]
    fn tables_that_are_added_at_the_same_time_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("glue.zip");
        std::thread::scope(|scope| {
            for set in &TEST_SETS {
                scope.spawn(|| Submission::add(&path, set, set.file.to_owned()).unwrap());
            }
        });
        let all = Submission::open(&path).unwrap();
        assert_eq!(all.missing().count(), 0);
        assert!(all.0.iter().all(|(name, table)| name.as_bytes() == table));
        if cfg!(unix) {
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "the lock is gone");
        }
    }

    #[test]
    fn what_is_no_submission_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("glue.zip");
        let other = Submission([("model.bin".to_owned(), vec![1])].into());
        for (bytes, word) in
            [(b"text".to_vec(), "not a complete zip archive"), (other.zip().unwrap(), "it has a file \"model.bin\"")]
        {
            std::fs::write(&path, bytes).unwrap();
            let message = Submission::open(&path).unwrap_err().to_string();
            assert!(message.contains(word) && message.contains("glue.zip: ") && !message.contains('\n'), "{message}");
        }
    }
}
