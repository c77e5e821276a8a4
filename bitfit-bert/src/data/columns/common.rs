//! The names of columns by which those of texts and labels are recognised, in any case.

/// Column names that hold texts, pairs first.
const TEXTS: [&[&str]; 7] = [
    &["sentence1", "sentence2"],
    &["question1", "question2"],
    &["premise", "hypothesis"],
    &["question", "sentence"],
    &["question", "context"],
    &["text"],
    &["sentence"],
];

/// Column names that hold labels.
const LABELS: [&str; 7] = ["label", "labels", "gold_label", "intent", "category", "class", "score"];

/// The names of texts among the cells of a first row, without those of which another has all.
pub(super) fn texts(cells: &[&str]) -> Vec<&'static [&'static str]> {
    let found: Vec<_> = TEXTS.into_iter().filter(|names| names.iter().all(|name| has(cells, name))).collect();
    let is_part = |names: &[&str], of: &[&str]| names.len() < of.len() && names.iter().all(|name| of.contains(name));
    found.iter().copied().filter(|names| !found.iter().any(|other| is_part(names, other))).collect()
}

/// The names of labels among the cells of a first row.
pub(super) fn labels(cells: &[&str]) -> impl Iterator<Item = &'static str> {
    LABELS.into_iter().filter(move |name| has(cells, name))
}

/// Whether a cell is one of the names.
pub(super) fn is_known(cell: &str) -> bool {
    TEXTS.into_iter().flatten().chain(&LABELS).any(|name| cell.trim().eq_ignore_ascii_case(name))
}

/// Whether cells, quoted or not, are nothing but names of columns: words without blanks around them, as there are in
/// prose, of which one is known, and of a text where there is one cell.
pub(in crate::data) fn are_names(cells: &[&str]) -> bool {
    let bare: Vec<&str> = cells.iter().map(|cell| cell.trim_matches('"')).collect();
    let are_words = bare.iter().all(|cell| !cell.is_empty() && !cell.contains(char::is_whitespace));
    are_words && if bare.len() == 1 { !texts(&bare).is_empty() } else { bare.iter().any(|cell| is_known(cell)) }
}

fn has(cells: &[&str], name: &str) -> bool {
    cells.iter().any(|cell| cell.trim().eq_ignore_ascii_case(name))
}
