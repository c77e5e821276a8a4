//! What a person should see before a run starts: labels that look like slips, texts that are cut, a first row that may
//! be a header. Nothing of it is an error, and a clean data set has none of it.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use crate::data::{Dataset, Example, Kind, Labels};
use crate::heads::sentence_encoder::SentenceConfig;
use crate::heads::{NO_ANSWER, Targets};
use crate::infer::Cut;
use crate::tokenize::Encoding;
use crate::train::Examples;

use super::scaling::Scaling;

/// So many embeddings without a token are more than padding. The vocabularies of BERT, cased and uncased, differ by
/// 1,526.
const MORE_THAN_PADDING: usize = 1_000;

/// The names that programs write for a value that is missing, in lower case.
const MISSING: [&str; 11] = ["nan", "none", "null", "nil", "na", "n/a", "#n/a", "<na>", "-", "?", "undefined"];

/// A label, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// The label.
    pub name: String,
    /// The number of rows that have it.
    pub rows: usize,
    /// The line of the first of them.
    pub line: usize,
}

/// Something that a person should see before a run starts.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanNote {
    /// The scores are standardised for the training.
    Standardized(Scaling),
    /// The first row was read as an example, but is unlike all others, as a header is.
    FirstRowMayBeHeader {
        /// Its line.
        line: usize,
        /// Its text.
        text: String,
    },
    /// A row has the label column's name for a label, as the header of a file that was appended to another has.
    HeaderAmongRows(Occurrence),
    /// A label that programs write for a missing value.
    MayBeMissing(Occurrence),
    /// Labels that differ in the case of letters alone.
    DifferInCase(Vec<Occurrence>),
    /// Labels that are one whole number, written in several ways, as by two programs: 1 and 1.0.
    OneNumber(Vec<Occurrence>),
    /// Labels of one row each, where others have more.
    SingleRows(Vec<Occurrence>),
    /// All scores are this one, so that there is nothing to learn.
    OneScore(f64),
    /// So many classes, and all are numbers: they may be scores.
    MayBeScores(usize),
    /// No text has more than one label, although it may.
    OneLabelATextAtMost,
    /// Answers that no sequence of their context has whole, because they are longer than what two of them have in
    /// common, or are cut by a token.
    LostAnswers {
        /// The number of their questions, which are trained on as if they had no answer.
        questions: usize,
        /// The number of questions that have an answer.
        of: usize,
    },
    /// Texts of the evaluation set that are trained on too, so that their scores say little.
    EvaluatedOnTrained {
        /// The number of them.
        texts: usize,
        /// The number of texts in the evaluation set.
        of: usize,
    },
    /// Classes or labels that no row has which is trained on, by their names.
    WithoutRows(Vec<String>),
    /// The tokenizer has far fewer tokens than the model has embeddings, as that of another model may.
    OtherTokenizer {
        /// The number of its tokens.
        tokens: usize,
        /// The number of the model's embeddings.
        embeddings: usize,
    },
    /// Texts that are longer than the maximum length, among the rows that are trained on.
    Cut(Cut),
    /// Texts that are read beyond the length at which the sentence encoder's own program cuts them.
    BeyondSentenceEncoder {
        /// The number of them.
        texts: usize,
        /// The number of all texts.
        of: usize,
        /// That length in tokens.
        length: usize,
        /// The file that says it.
        path: PathBuf,
    },
    /// Texts that are longer than the maximum length and are read in several sequences, where nothing is left out.
    SeveralSequences {
        /// The number of them.
        texts: usize,
        /// The number of all texts.
        of: usize,
        /// The number of sequences of all texts.
        sequences: usize,
    },
    /// So many texts have no token that can be masked, and are left out.
    NothingToMask(usize),
}

/// The notes on a training set of which these rows are trained on.
pub(super) fn notes<'a>(
    kind: Kind,
    dataset: &Dataset,
    trained_on: impl IntoIterator<Item = &'a Encoding>,
) -> Vec<PlanNote> {
    let mut notes = Vec::new();
    if let Some(first) = dataset.possible_header() {
        notes.push(PlanNote::FirstRowMayBeHeader { line: first.line, text: first.text.clone() });
    }
    match kind {
        Kind::Classify | Kind::MultiLabel => notes.extend(of_labels(kind, dataset)),
        Kind::Regress => notes.extend(one_score(dataset)),
        Kind::Tag | Kind::Span | Kind::MaskedLm => {}
    }
    notes.extend(cut(trained_on));
    notes
}

/// The note on answers that no sequence has whole.
pub(super) fn lost_answers(train: &Examples) -> Option<PlanNote> {
    let Targets::Answers(answers) = &train.targets else { return None };
    let Targets::Spans(spans) = train.targets(&(0..train.len()).collect::<Vec<_>>()) else { return None };
    let mut is_found = vec![false; answers.len()];
    for (&text, span) in train.texts.iter().zip(spans) {
        is_found[text] |= span != NO_ANSWER;
    }
    let has_answer = |text: &usize| !answers[*text].ranges.is_empty();
    let of = (0..answers.len()).filter(has_answer).count();
    let questions = (0..answers.len()).filter(has_answer).filter(|&text| !is_found[text]).count();
    (questions > 0).then_some(PlanNote::LostAnswers { questions, of })
}

/// The note on texts of the evaluation set that are among those which are trained on, by their numbers.
pub(super) fn evaluated_on_trained(
    training_set: &Dataset,
    trained_on: impl IntoIterator<Item = usize>,
    eval_set: &Dataset,
) -> Option<PlanNote> {
    fn text(example: &Example) -> (&str, Option<&str>) {
        (&example.text, example.pair.as_deref())
    }
    let trained: HashSet<_> = trained_on.into_iter().map(|number| text(&training_set.examples[number])).collect();
    let texts = eval_set.examples.iter().filter(|example| trained.contains(&text(example))).count();
    (texts > 0).then_some(PlanNote::EvaluatedOnTrained { texts, of: eval_set.examples.len() })
}

/// The note on classes or labels without a row, by how many rows that are trained on have each.
pub(super) fn without_rows(labels: &Labels, rows: &[usize]) -> Option<PlanNote> {
    let without = labels.names().iter().zip(rows).filter(|(_, rows)| **rows == 0);
    let names: Vec<String> = without.map(|(name, _)| name.clone()).collect();
    (!names.is_empty()).then_some(PlanNote::WithoutRows(names))
}

/// The notes on classes or on several labels.
fn of_labels(kind: Kind, dataset: &Dataset) -> Vec<PlanNote> {
    let mut counts: BTreeMap<&str, Occurrence> = BTreeMap::new();
    let mut most_of_a_text = 0;
    for example in &dataset.examples {
        let labels = dataset.names_of(example);
        most_of_a_text = most_of_a_text.max(labels.len());
        for name in labels {
            let new = || Occurrence { name: name.to_owned(), rows: 0, line: example.line };
            counts.entry(name).or_insert_with(new).rows += 1;
        }
    }
    let labels: Vec<&Occurrence> = counts.values().collect();
    let header = header_among(dataset);
    let is_header = |label: &Occurrence| header.as_ref() == Some(label);
    let is_missing = |label: &Occurrence| MISSING.contains(&label.name.to_lowercase().as_str());
    let mut notes: Vec<PlanNote> = Vec::new();
    notes.extend(header.clone().map(PlanNote::HeaderAmongRows));
    notes.extend(labels.iter().filter(|label| is_missing(label)).map(|&label| PlanNote::MayBeMissing(label.clone())));
    notes.extend(alike(&labels, |name| Some(name.to_lowercase())).map(PlanNote::DifferInCase));
    notes.extend(alike(&labels, whole_number).map(PlanNote::OneNumber));
    let numbers: Option<Vec<f64>> =
        labels.iter().map(|label| label.name.parse().ok().filter(|x: &f64| x.is_finite())).collect();
    if kind == Kind::Classify && numbers.is_some_and(|numbers| are_scores(&numbers)) {
        notes.push(PlanNote::MayBeScores(labels.len()));
    }
    let single: Vec<Occurrence> = labels
        .iter()
        .filter(|label| label.rows == 1 && !is_header(label) && !is_missing(label))
        .map(|label| (*label).clone())
        .collect();
    if !single.is_empty() && labels.iter().any(|label| label.rows > 1) {
        notes.push(PlanNote::SingleRows(single));
    }
    if kind == Kind::MultiLabel && most_of_a_text < 2 {
        notes.push(PlanNote::OneLabelATextAtMost);
    }
    notes
}

/// The labels that have the same key as another, by their keys.
fn alike<K: Ord>(labels: &[&Occurrence], key: impl Fn(&str) -> Option<K>) -> impl Iterator<Item = Vec<Occurrence>> {
    let mut alike: BTreeMap<K, Vec<Occurrence>> = BTreeMap::new();
    for &label in labels {
        if let Some(key) = key(&label.name) {
            alike.entry(key).or_default().push(label.clone());
        }
    }
    alike.into_values().filter(|alike| alike.len() > 1)
}

/// The whole number that a label is. One with a fraction is none, since 1.1 and 1.10 may be the numbers of sections.
fn whole_number(label: &str) -> Option<i64> {
    let number: f64 = label.parse().ok()?;
    // From here on, f64 no longer has every whole number.
    (number.fract() == 0.0 && number.abs() < 2.0_f64.powi(53)).then_some(number as i64)
}

/// The note on scores that are all the same.
fn one_score(dataset: &Dataset) -> Option<PlanNote> {
    let mut scores = dataset.examples.iter().map(|example| example.label.as_ref()?.as_str().parse().ok());
    let first: f64 = scores.next()??;
    scores.all(|score| score == Some(first)).then_some(PlanNote::OneScore(first))
}

/// The rows that hold the names of their columns; a label alone may well be its column's name, such as `spam`.
fn header_among(dataset: &Dataset) -> Option<Occurrence> {
    let (text, column) = (dataset.text_columns.first()?, dataset.label_column.as_ref()?);
    let is_header = |example: &&Example| {
        let label = example.label.as_ref().is_some_and(|label| label.as_str().eq_ignore_ascii_case(column));
        label && example.text.trim().eq_ignore_ascii_case(text)
    };
    // Without a header, the columns have numbers for names, and the first row is on the first line.
    let mut rows = dataset.examples.iter().filter(|example| example.line > 1).filter(is_header);
    let first = rows.next()?;
    let name = first.label.as_ref()?.as_str().to_owned();
    Some(Occurrence { name, rows: 1 + rows.count(), line: first.line })
}

/// Whether numbers are more likely scores than the numbers of classes: more than three of which some have a fraction,
/// or more than ten.
fn are_scores(numbers: &[f64]) -> bool {
    numbers.len() > if numbers.iter().any(|number| number.fract() != 0.0) { 3 } else { 10 }
}

/// The texts that are longer than the maximum length.
fn cut<'a>(encodings: impl IntoIterator<Item = &'a Encoding>) -> Option<PlanNote> {
    let mut cut = Cut::default();
    cut.add(encodings);
    (cut.texts > 0).then_some(PlanNote::Cut(cut))
}

/// The note on a tokenizer that may be another model's. One with more tokens than there are embeddings is refused.
pub(super) fn other_tokenizer(tokens: usize, embeddings: usize) -> Option<PlanNote> {
    (tokens + MORE_THAN_PADDING <= embeddings).then_some(PlanNote::OtherTokenizer { tokens, embeddings })
}

/// The note on texts that are read farther than a sentence encoder reads them.
pub(super) fn beyond_encoder(encoder: &SentenceConfig, encodings: &[Encoding]) -> Option<PlanNote> {
    let length = encoder.max_length?;
    let texts = encodings.iter().filter(|encoding| encoding.lengths().any(|tokens| tokens > length)).count();
    let (of, path) = (encodings.len(), encoder.path.clone());
    (texts > 0).then_some(PlanNote::BeyondSentenceEncoder { texts, of, length, path })
}

/// The notes on texts whose tokens are masked, from the text that each sequence is of.
pub(super) fn masked(texts: usize, of: &[usize]) -> Vec<PlanNote> {
    let several = of.chunk_by(|a, b| a == b).filter(|sequences| sequences.len() > 1).count();
    let none = texts - of.chunk_by(|a, b| a == b).count();
    let long = (several > 0).then_some(PlanNote::SeveralSequences { texts: several, of: texts, sequences: of.len() });
    long.into_iter().chain((none > 0).then_some(PlanNote::NothingToMask(none))).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::data::{Columns, Header, ReadOptions, SeveralLabels};

    fn read(file: &str, options: &ReadOptions) -> Dataset {
        Dataset::from_reader(file.as_bytes(), Path::new("train.csv"), options).unwrap()
    }

    fn of_classes(labels: &[&str]) -> Vec<PlanNote> {
        let rows: String = labels.iter().map(|label| format!("some text,{label}\n")).collect();
        notes(Kind::Classify, &read(&format!("text,label\n{rows}"), &ReadOptions::default()), [])
    }

    fn label(name: &str, rows: usize, line: usize) -> Occurrence {
        Occurrence { name: name.into(), rows, line }
    }

    #[test]
    fn classes_of_a_clean_set_have_no_notes() {
        assert_eq!(of_classes(&["pos", "neg", "pos", "neg"]), []);
        assert_eq!(of_classes(&["a", "b", "c"]), [], "one row each");
        assert_eq!(of_classes(&["1", "2", "3", "4", "5", "1", "2", "3", "4", "5"]), [], "stars");
    }

    #[test]
    fn stray_classes_are_found_with_their_lines() {
        use PlanNote::*;
        assert_eq!(of_classes(&["a", "b", "a", "b", "c"]), [SingleRows(vec![label("c", 1, 6)])]);
        assert_eq!(
            of_classes(&["Good", "bad", "good", "bad", "good"])[0],
            DifferInCase(vec![label("Good", 1, 2), label("good", 2, 4)])
        );
        assert_eq!(
            of_classes(&["1.0", "0", "1", "0", "1"])[0],
            OneNumber(vec![label("1", 2, 4), label("1.0", 1, 2)]),
            "of two programs"
        );
        assert_eq!(of_classes(&["1.1", "1.10", "1.1", "1.10"]), [], "numbers of sections");
        assert_eq!(of_classes(&["a", "b", "NaN", "a", "b", "NaN"]), [MayBeMissing(label("NaN", 2, 4))]);
        assert_eq!(of_classes(&["a", "b", "none", "a", "b"]), [MayBeMissing(label("none", 1, 4))], "said once");
        let of = |file: &str| notes(Kind::Classify, &read(file, &ReadOptions::default()), []);
        let headed = "text,label\nx,a\ny,b\nText,Label\nx,a\ny,b\n";
        assert_eq!(of(headed), [HeaderAmongRows(label("Label", 1, 4))]);
        assert_eq!(of("text,label\nx,label\ny,no\nz,label\nv,no\n"), [], "the name of a class too");
    }

    #[test]
    fn scores_that_are_all_the_same_are_told() {
        let of = |scores: &str| notes(Kind::Regress, &read(scores, &ReadOptions::default()), []);
        assert_eq!(of("text,score\nx,2.5\ny,2.50\n"), [PlanNote::OneScore(2.5)]);
        assert_eq!(of("text,score\nx,2.5\ny,2.6\n"), []);
    }

    #[test]
    fn many_numbers_may_be_scores() {
        let numbers = |count: usize, step: f64| (0..count).map(|i| (i as f64 * step).to_string()).collect::<Vec<_>>();
        let of = |count, step| of_classes(&numbers(count, step).iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(of(4, 0.5), [PlanNote::MayBeScores(4)]);
        assert_eq!(of(11, 1.0), [PlanNote::MayBeScores(11)]);
        assert_eq!((of(3, 0.5), of(10, 1.0)), (vec![], vec![]));
    }

    #[test]
    fn several_labels_are_counted_each() {
        let several = Some(SeveralLabels::default());
        let options = ReadOptions { several, ..ReadOptions::default() };
        let of = |file: &str| {
            let mut set = read(file, &options);
            set.label_separator = Labels::of_several(&set).unwrap().1;
            notes(Kind::MultiLabel, &set, [])
        };
        assert_eq!(of("text,labels\nx,a;b\nx,b\nx,a;c\n"), [PlanNote::SingleRows(vec![label("c", 1, 4)])]);
        assert_eq!(of("text,labels\nx,a\nx,b\nx,a\nx,b\n"), [PlanNote::OneLabelATextAtMost]);
    }

    #[test]
    fn a_first_row_unlike_all_others_may_be_a_header() {
        let of = |file: &str, header| {
            let columns = Columns { text: vec!["0".into()], label: Some("1".into()), header };
            notes(Kind::Classify, &read(file, &ReadOptions { columns, ..ReadOptions::default() }), [])
        };
        let is_header = |note: &PlanNote| matches!(note, PlanNote::FirstRowMayBeHeader { line: 1, .. });
        let headed = "body,1\na b,1\nc d,0\ne f,1\ng h,0\n";
        let found = of(headed, Header::Auto);
        assert!(found.len() == 1 && is_header(&found[0]), "{found:?}");
        assert_eq!(of(headed, Header::No), []);
        assert_eq!(of("0,1\na b,1\nc d,0\ne f,1\ng h,0\n", Header::Auto), [], "a header, which numbers the columns");
        assert!(!of("word,1\na b,1\nother,0\ne f,1\n", Header::Auto).iter().any(is_header));
    }

    #[test]
    fn texts_that_are_cut_are_counted_with_what_is_lost() {
        let text = |kept: usize, left_out| Encoding { ids: vec![7; kept], left_out, ..Encoding::default() };
        assert_eq!(cut(&[text(10, 0), text(3, 0)]), None);
        let expected = PlanNote::Cut(Cut { texts: 2, of: 3, left_out: 40, tokens: 60 });
        assert_eq!(cut(&[text(10, 30), text(3, 0), text(10, 10)]), Some(expected));
    }

    #[test]
    fn texts_that_are_trained_on_and_evaluated_are_counted() {
        let train = read("sentence1,sentence2,label\na,b,x\nb,a,y\na,b,y\nc,d,x\n", &ReadOptions::default());
        let eval = read("sentence1,sentence2,label\na,b,x\na,b,x\na,c,x\nc,d,x\n", &ReadOptions::default());
        let note = |texts| Some(PlanNote::EvaluatedOnTrained { texts, of: 4 });
        assert_eq!(evaluated_on_trained(&train, 0..4, &eval), note(3));
        assert_eq!(evaluated_on_trained(&train, 0..3, &eval), note(2));
        assert_eq!(evaluated_on_trained(&train, [1], &eval), None);
    }

    #[test]
    fn classes_without_rows_are_named() {
        let labels = Labels::from_names(["a", "b", "c"].map(str::to_owned).to_vec()).unwrap();
        assert_eq!(without_rows(&labels, &[1, 4, 2]), None);
        assert_eq!(without_rows(&labels, &[0, 4, 0]), Some(PlanNote::WithoutRows(vec!["a".into(), "c".into()])));
    }

    #[test]
    fn a_tokenizer_with_far_fewer_tokens_than_embeddings_may_be_another_models() {
        for (tokens, embeddings) in [(25, 32), (30_522, 30_528), (250_002, 250_037)] {
            assert_eq!(other_tokenizer(tokens, embeddings), None);
        }
        let cased_over_uncased = PlanNote::OtherTokenizer { tokens: 28_996, embeddings: 30_522 };
        assert_eq!(other_tokenizer(28_996, 30_522), Some(cased_over_uncased));
    }

    #[test]
    fn texts_that_a_sentence_encoder_would_cut_are_counted() {
        let text = |tokens: usize, second| Encoding { ids: vec![7; tokens], second, ..Encoding::default() };
        let encodings = [text(8, None), text(9, None), text(16, Some(8)), text(16, Some(7))];
        let of = |max_length| {
            let dir = tempfile::tempdir().unwrap();
            let json = serde_json::json!({"max_seq_length": max_length}).to_string();
            std::fs::write(dir.path().join("sentence_bert_config.json"), json).unwrap();
            let encoder = SentenceConfig::of_directory(dir.path()).unwrap().unwrap();
            beyond_encoder(&encoder, &encodings)
        };
        assert_eq!((of(None), of(Some(16))), (None, None));
        let note = of(Some(8)).unwrap();
        assert!(matches!(note, PlanNote::BeyondSentenceEncoder { texts: 2, of: 4, length: 8, .. }), "{note:?}");
    }

    #[test]
    fn texts_of_several_sequences_and_of_none_are_counted() {
        assert_eq!(masked(3, &[0, 1, 2]), []);
        let several = PlanNote::SeveralSequences { texts: 2, of: 4, sequences: 7 };
        assert_eq!(masked(4, &[0, 1, 1, 3, 3, 3, 3]), [several, PlanNote::NothingToMask(1)]);
    }
}
