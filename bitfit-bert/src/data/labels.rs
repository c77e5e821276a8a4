//! The classes of a classification: fixed by the training set, in an order that does not depend on the order of its
//! rows.

use std::collections::{BTreeSet, HashMap};

use super::{Dataset, Label, Word};
use crate::{Error, Result};

/// The classes by name; the index of a class is its position in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    names: Vec<String>,
    indices: HashMap<String, usize>,
}

impl Labels {
    /// The classes of a training set: sorted as text, or as numbers where all are integers (so that 10 follows 9).
    ///
    /// # Errors
    /// [`Error::DataField`] for an example without a label, and for a first row that was assumed to be an example and
    /// whose label no other row has: it may be a header. [`Error::DataFile`] if there are fewer than two classes.
    pub fn of_training_set(dataset: &Dataset) -> Result<Self> {
        let mut distinct = BTreeSet::new();
        for example in &dataset.examples {
            distinct.insert(dataset.label(example)?.as_str());
        }
        Self::check_header(dataset)?;
        Self::of_names(dataset, distinct, "label")
    }

    /// The tags of the words of a training set, in the order of [`Labels::of_training_set`].
    ///
    /// # Errors
    /// [`Error::DataField`] for a word without a tag; [`Error::DataFile`] if there are fewer than two tags.
    pub fn of_words(dataset: &Dataset) -> Result<Self> {
        let mut distinct = BTreeSet::new();
        for word in dataset.examples.iter().flat_map(|example| &example.words) {
            distinct.insert(dataset.tag(word)?.as_str());
        }
        Self::of_names(dataset, distinct, "tag")
    }

    /// Refuses a first row that is taken for an example and whose label no other row has.
    fn check_header(dataset: &Dataset) -> Result<()> {
        if let [first, others @ ..] = &dataset.examples[..]
            && dataset.may_be_header(first)
            && !others.is_empty()
            && others.iter().all(|other| other.label != first.label)
        {
            let label = dataset.label(first)?;
            return Err(dataset.header_error(first, format!("no other row has the label {:?}", label.as_str())));
        }
        Ok(())
    }

    /// The classes of these names.
    fn of_names(dataset: &Dataset, distinct: BTreeSet<&str>, what: &str) -> Result<Self> {
        if distinct.len() < 2 {
            let only = distinct.first().unwrap_or(&"");
            let reason = format!("every {what} in it is {only:?}; a classifier needs two classes");
            return Err(Error::DataFile { path: dataset.path.clone(), reason });
        }
        Ok(Self::indexed(sorted(distinct.into_iter().map(str::to_owned).collect())))
    }

    /// Classes in a given order, as a task file has them; `None` if a name is given twice.
    pub fn from_names(names: Vec<String>) -> Option<Self> {
        let labels = Self::indexed(names);
        (labels.indices.len() == labels.names.len()).then_some(labels)
    }

    pub(super) fn indexed(names: Vec<String>) -> Self {
        let indices = names.iter().cloned().enumerate().map(|(index, name)| (name, index)).collect();
        Self { names, indices }
    }

    /// The names in order of their indices.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of classes, C.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The name of a class.
    pub fn name(&self, index: usize) -> Option<&str> {
        self.names.get(index).map(String::as_str)
    }

    /// The index of a class.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.indices.get(name).copied()
    }

    /// The class index of every example.
    ///
    /// # Errors
    /// [`Error::UnknownLabel`] with the line of the first label that is not among these, [`Error::DataField`] for an
    /// example without a label.
    pub fn encode(&self, dataset: &Dataset) -> Result<Vec<usize>> {
        dataset.examples.iter().map(|example| self.required(dataset, dataset.label(example)?, example.line)).collect()
    }

    /// The indices of the tags of every example's words.
    ///
    /// # Errors
    /// As [`Labels::encode`], with the line of the word.
    pub fn encode_words(&self, dataset: &Dataset) -> Result<Vec<Vec<usize>>> {
        let word = |word: &Word| self.required(dataset, dataset.tag(word)?, word.line);
        dataset.examples.iter().map(|example| example.words.iter().map(word).collect()).collect()
    }

    /// The index of a label that must be among these.
    fn required(&self, dataset: &Dataset, label: &Label, line: usize) -> Result<usize> {
        self.index(label.as_str()).ok_or_else(|| Error::UnknownLabel {
            path: dataset.path.clone(),
            line,
            label: label.to_string(),
            known: self.names.clone(),
        })
    }
}

/// Names that are sorted as text; as numbers where all are integers.
pub(super) fn sorted(mut names: Vec<String>) -> Vec<String> {
    let numbers: Option<Vec<i64>> = names.iter().map(|name| name.parse().ok()).collect();
    if numbers.is_some() {
        // The sort is stable, so 01 and 1 are two classes in a fixed order.
        names.sort_by_key(|name| name.parse::<i64>().unwrap_or(0));
    }
    names
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Columns, Header, ReadOptions};
    use super::*;

    fn dataset(labels: &[&str]) -> Dataset {
        let rows: String = labels.iter().map(|label| format!("some text\t{label}\n")).collect();
        let file = format!("text\tlabel\n{rows}");
        let options = ReadOptions { require_labels: false, ..ReadOptions::default() };
        Dataset::from_reader(file.as_bytes(), Path::new("dev.tsv"), &options).unwrap()
    }

    fn names(labels: &[&str]) -> Vec<String> {
        Labels::of_training_set(&dataset(labels)).unwrap().names().to_vec()
    }

    #[test]
    fn classes_are_sorted_whatever_the_order_of_the_rows() {
        assert_eq!(
            names(&["neutral", "entailment", "neutral", "contradiction"]),
            ["contradiction", "entailment", "neutral"]
        );
        assert_eq!(names(&["10", "9", "-1", "0"]), ["-1", "0", "9", "10"]);
        assert_eq!(names(&["10", "9", "x"]), ["10", "9", "x"]);
        assert_eq!(names(&["1", "01", "0"]), ["0", "01", "1"]);
        assert_eq!(names(&["1.5", "10", "9"]), ["1.5", "10", "9"]);
        assert_eq!(names(&["99999999999999999999", "3"]), ["3", "99999999999999999999"]);
    }

    #[test]
    fn names_and_indices_go_both_ways() {
        let labels = Labels::of_training_set(&dataset(&["b", "a", "c"])).unwrap();
        for index in 0..labels.len() {
            assert_eq!(labels.index(labels.name(index).unwrap()), Some(index));
        }
        assert_eq!(labels.encode(&dataset(&["c", "a"])).unwrap(), [2, 0]);
        assert_eq!((labels.name(3), labels.index("d"), labels.is_empty()), (None, None, false));
        assert_eq!(Labels::from_names(labels.names().to_vec()).unwrap(), labels);
        assert_eq!(Labels::from_names(vec!["a".into(), "a".into()]), None);
    }

    #[test]
    fn a_label_that_training_never_saw_is_refused() {
        let labels = Labels::of_training_set(&dataset(&["yes", "no"])).unwrap();
        let error = labels.encode(&dataset(&["yes", "maybe"])).unwrap_err();
        assert!(matches!(&error, Error::UnknownLabel { line: 3, .. }));
        let message = error.to_string();
        assert!(message.starts_with("dev.tsv, line 3") && message.contains("\"maybe\""), "{message}");
        assert!(message.ends_with("\"no\", \"yes\""), "{message}");
    }

    #[test]
    fn many_known_labels_are_cut_in_the_message() {
        let many: Vec<String> = (0..151).map(|i| format!("intent-{i}")).collect();
        let labels = Labels::from_names(many).unwrap();
        let message = labels.encode(&dataset(&["x"])).unwrap_err().to_string();
        assert!(message.ends_with("and 131 more") && message.len() < 600, "{message}");
    }

    #[test]
    fn a_first_row_that_may_be_a_header_is_asked_about() {
        let read = |file: &str, header| {
            let columns = Columns { text: vec!["0".into()], label: Some("1".into()), header };
            let options = ReadOptions { columns, ..ReadOptions::default() };
            Dataset::from_reader(file.as_bytes(), Path::new("train.tsv"), &options).unwrap()
        };
        let headed = "utterance\tmood\na\tx\nb\ty\nc\tx\n";
        let message = Labels::of_training_set(&read(headed, Header::Auto)).unwrap_err().to_string();
        assert!(message.starts_with("train.tsv, line 1, column 1: no other row has the label \"mood\""), "{message}");
        assert!(message.contains("whether this row names the columns"), "{message}");
        assert_eq!(Labels::of_training_set(&read(headed, Header::Yes)).unwrap().names(), ["x", "y"]);
        assert_eq!(Labels::of_training_set(&read(headed, Header::No)).unwrap().names(), ["mood", "x", "y"]);
        let message = read(headed, Header::Auto).scores().unwrap_err().to_string();
        assert!(message.contains("line 1") && message.contains("whether this row names the columns"), "{message}");
        // Another row has the label of the first, or the first row is known to be an example.
        assert_eq!(Labels::of_training_set(&read("a\tx\nb\ty\nc\tx\n", Header::Auto)).unwrap().names(), ["x", "y"]);
        let message = read("a\t1\nb\ty\n", Header::Auto).scores().unwrap_err().to_string();
        assert!(message.contains("line 2") && !message.contains("names the columns"), "{message}");
    }

    #[test]
    fn a_set_with_one_class_or_no_labels_is_no_training_set() {
        assert!(matches!(Labels::of_training_set(&dataset(&["a", "a"])), Err(Error::DataFile { .. })));
        assert!(matches!(Labels::of_training_set(&dataset(&["a", ""])), Err(Error::DataField { line: 3, .. })));
    }
}
