//! Several labels a text: how they are written, and the labels of a training set.
//!
//! | the label column holds | its labels |
//! |---|---|
//! | a JSON list (in JSON, in an export of a labelling tool, or as a field of a table) | the elements |
//! | a field with a separator | what is between the separators, without blanks around it |
//! | 0 or 1, where several columns are chosen | the names of the columns with 1 |
//!
//! A text without any label is valid: an empty list, an empty field, zeros.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use serde_json::{Map, Value};

use super::columns::Plan;
use super::labels::sorted;
use super::quoted::Cells;
use super::{ColumnRef, Dataset, Example, Header, Label, Labels, ReadOptions};
use crate::{Error, Result, Setting};

/// The separators that are looked for.
const SEPARATORS: [char; 3] = [';', ',', '|'];

/// How the several labels of a text are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SeveralLabels {
    /// What separates the labels of a field; by default found by looking at all fields.
    pub separator: Option<char>,
    /// Where each label has a column of 0 and 1: the label columns after the first, which is
    /// [`Columns::label`](super::Columns::label).
    pub further_columns: Vec<ColumnRef>,
}

/// The labels of one text: those of a list, or a field that may have to be separated.
#[derive(Debug, Clone, Copy)]
enum Written<'a> {
    List(&'a [String]),
    Field(&'a str),
}

impl Labels {
    /// The labels of a training set of several labels a text, and the separator of its fields, where one was given or
    /// found. They are in the order of the columns, or sorted as classes are.
    ///
    /// A separator is found if it is the only one that takes a field apart into labels of which one occurs in a
    /// different field too.
    ///
    /// # Errors
    /// [`Error::DataColumn`] where it is not certain what separates labels; [`Error::DataField`] for an empty label
    /// between separators and for a list that is not JSON; [`Error::DataFile`] if there are fewer than two labels;
    /// [`Error::UnsureHeader`] for a first row that may be a header.
    pub fn of_several(dataset: &Dataset) -> Result<(Self, Option<char>)> {
        if !dataset.indicators.is_empty() {
            let labels = Self::from_names(dataset.indicators.clone());
            let twice = || dataset.file_error("two of the label columns have one name".into());
            return Ok((labels.ok_or_else(twice)?, None));
        }
        let separator = match dataset.label_separator {
            Some(separator) => Some(separator),
            None => dataset.find_separator()?,
        };
        let sets = dataset.label_sets(separator)?;
        let mut distinct: BTreeSet<&str> = sets.iter().flatten().map(String::as_str).collect();
        if let ([first, ..], [labels, others @ ..]) = (&dataset.examples[..], &sets[..])
            && dataset.may_be_header(first)
            && !labels.is_empty()
            && !others.iter().flatten().any(|label| labels.contains(label))
        {
            return Err(dataset.header_error(first, format!("no other row has a label of {:?}", labels.join(", "))));
        }
        if distinct.len() < 2 {
            let only = distinct.pop_first();
            let found =
                only.map_or_else(|| "no text in it has a label".into(), |only| format!("its only label is {only:?}"));
            return Err(dataset.file_error(format!("{found}; a task of several labels needs two")));
        }
        Ok((Self::indexed(sorted(distinct.into_iter().map(str::to_owned).collect())), separator))
    }

    /// The indices of the labels of every example, ascending. Where no separator was given, the fields are taken apart
    /// by the one under which every label is one of these.
    ///
    /// # Errors
    /// [`Error::UnknownLabel`] with the line of the first label that is not among these; [`Error::DataFile`] for
    /// columns of labels among which one of these is missing; otherwise as [`Labels::of_several`].
    pub fn encode_several(&self, dataset: &Dataset) -> Result<Vec<Vec<usize>>> {
        if !dataset.indicators.is_empty() {
            let is_column = |name: &&String| dataset.indicators.contains(name);
            if let Some(missing) = self.names().iter().find(|name| !is_column(name)) {
                let reason = format!("there is no label column for {missing:?}, which is a label of the training set");
                return Err(dataset.file_error(reason));
            }
            if let Some(unknown) = dataset.indicators.iter().find(|name| self.index(name).is_none()) {
                return Err(self.unknown(dataset, 1, unknown));
            }
        }
        let separators = match dataset.label_separator {
            Some(separator) => vec![Some(separator)],
            // A character of a label's own name cannot separate labels.
            None => {
                let free = SEPARATORS.into_iter().filter(|&s| !self.names().iter().any(|name| name.contains(s)));
                std::iter::once(None).chain(free.map(Some)).collect()
            }
        };
        let encoded = |separator| -> Result<Vec<Vec<usize>>> {
            let sets = dataset.label_sets(separator)?;
            dataset
                .examples
                .iter()
                .zip(&sets)
                .map(|(example, labels)| self.indices(dataset, example.line, labels))
                .collect()
        };
        let mut failed = None;
        for separator in separators {
            match encoded(separator) {
                Ok(found) => return Ok(found),
                // The separator that gets furthest says what is unknown.
                Err(error) if failed.as_ref().is_none_or(|before| line_of(before) < line_of(&error)) => {
                    failed = Some(error);
                }
                // Of separators that get as far, the one that is in the field.
                Err(error @ Error::UnknownLabel { .. })
                    if failed.as_ref().is_some_and(|before| is_part_of(&error, before)) =>
                {
                    failed = Some(error);
                }
                Err(_) => {}
            }
        }
        Err(failed.expect("there is a separator to try"))
    }

    /// The indices of labels, ascending and each once.
    fn indices(&self, dataset: &Dataset, line: usize, labels: &[String]) -> Result<Vec<usize>> {
        let index = |label: &String| self.index(label).ok_or_else(|| self.unknown(dataset, line, label));
        let indices: Result<BTreeSet<usize>> = labels.iter().map(index).collect();
        Ok(indices?.into_iter().collect())
    }

    fn unknown(&self, dataset: &Dataset, line: usize, label: &str) -> Error {
        Error::UnknownLabel { path: dataset.path.clone(), line, label: label.into(), known: self.names().to_vec() }
    }
}

/// The line that an error names.
fn line_of(error: &Error) -> usize {
    match error {
        Error::UnknownLabel { line, .. } | Error::DataField { line, .. } => *line,
        _ => 0,
    }
}

/// Whether the unknown label of an error is a part of that of another in the same line.
fn is_part_of(error: &Error, other: &Error) -> bool {
    let (Error::UnknownLabel { line, label, .. }, Error::UnknownLabel { line: other_line, label: whole, .. }) =
        (error, other)
    else {
        return false;
    };
    line == other_line && label.len() < whole.len() && whole.contains(label.as_str())
}

impl Dataset {
    /// The labels of every example, each set as it is written.
    ///
    /// # Errors
    /// [`Error::DataField`] for an example without a label field, and for an empty label between separators.
    fn label_sets(&self, separator: Option<char>) -> Result<Vec<Vec<String>>> {
        let labels = |example| -> Result<Vec<String>> {
            let label = self.label(example)?;
            let parts = label.parts(separator);
            if parts.contains(&"") {
                return Err(
                    self.label_error(example, format!("an empty label between separators in {:?}", label.as_str()))
                );
            }
            Ok(parts.into_iter().map(str::to_owned).collect())
        };
        self.examples.iter().map(labels).collect()
    }

    /// What separates the labels of a field; `None` if no field has any of the separators.
    fn find_separator(&self) -> Result<Option<char>> {
        let mut fields = BTreeSet::new();
        for example in &self.examples {
            if let Written::Field(field) = self.label(example)?.written() {
                fields.insert(field);
            }
        }
        let found: Vec<char> =
            SEPARATORS.into_iter().filter(|&s| fields.iter().any(|field| field.contains(s))).collect();
        let Some(&first) = found.first() else { return Ok(None) };
        let separates: Vec<char> = found.iter().copied().filter(|&separator| recurs(&fields, separator)).collect();
        if let [separator] = separates[..] {
            return Ok(Some(separator));
        }
        let example = fields.iter().find(|field| field.contains(first)).copied().unwrap_or_default();
        let reason = match found.len() {
            1 => format!("it is not certain that {first:?} separates labels"),
            _ => "it is not certain what separates labels".into(),
        };
        Err(Error::DataColumn {
            path: self.path.clone(),
            reason,
            found: format!("a label field is {example:?}"),
            advice: "give the separator, or another character where labels are not separated".into(),
            settings: &[Setting::LabelSeparator],
        })
    }

    /// Refuses a separator of labels that is the table's own and that no label field has: without quotes, it parts
    /// columns.
    ///
    /// # Errors
    /// [`Error::DataColumn`].
    pub(super) fn check_separators(&self, of_table: char, options: &ReadOptions) -> Result<()> {
        let is_same = options.several.as_ref().is_some_and(|several| several.separator == Some(of_table));
        let has_it = |example: &Example| example.label.as_ref().is_some_and(|label| label.as_str().contains(of_table));
        if !is_same || self.examples.iter().any(has_it) {
            return Ok(());
        }
        Err(Error::DataColumn {
            path: self.path.clone(),
            reason: format!("{of_table:?} separates the columns, and no label field holds it"),
            found: format!("the labels are in the column {}", self.label_name()),
            advice: "put label fields in quotes, or give one of the two separators".into(),
            settings: &[Setting::Delimiter, Setting::LabelSeparator],
        })
    }

    fn file_error(&self, reason: String) -> Error {
        Error::DataFile { path: self.path.clone(), reason }
    }
}

/// Whether a label of a field that the separator takes apart occurs in a different field too.
fn recurs(fields: &BTreeSet<&str>, separator: char) -> bool {
    let mut fields_of: HashMap<&str, usize> = HashMap::new();
    for field in fields {
        for part in field.split(separator).map(str::trim).collect::<HashSet<_>>() {
            *fields_of.entry(part).or_default() += 1;
        }
    }
    let parts = fields.iter().filter(|field| field.contains(separator)).flat_map(|field| field.split(separator));
    parts.map(str::trim).any(|part| fields_of[part] > 1)
}

impl Label {
    fn written(&self) -> Written<'_> {
        self.list.as_deref().map_or_else(|| Written::Field(&self.text), Written::List)
    }

    /// The labels of a list or of a field with a separator; otherwise the label itself, or none if it is empty.
    pub(super) fn names(&self, separator: Option<char>) -> Vec<&str> {
        self.parts(separator).into_iter().filter(|part| !part.is_empty()).collect()
    }

    /// As [`Label::names`], with an empty one for nothing between separators.
    fn parts(&self, separator: Option<char>) -> Vec<&str> {
        match (self.written(), separator) {
            (Written::List(labels), _) => labels.iter().map(String::as_str).collect(),
            (Written::Field(""), _) => Vec::new(),
            (Written::Field(field), Some(separator)) => field.split(separator).map(str::trim).collect(),
            (Written::Field(field), None) => vec![field.trim()],
        }
    }

    /// The labels of a list, none of them empty.
    pub(super) fn of_list(labels: Vec<String>) -> Self {
        let list = Some(labels.as_slice().into());
        Self { text: Value::from(labels).to_string().into(), list }
    }

    /// The labels of a field of a table, or of a JSON string; an error for a list that is not JSON.
    fn of_field(field: &str, has_separator: bool) -> Result<Self, String> {
        let field = field.trim();
        if has_separator || !(field.starts_with('[') && field.ends_with(']')) {
            return Ok(Self::of_text(field.into()));
        }
        match serde_json::from_str(field) {
            Ok(Value::Array(values)) => of_values(&values),
            _ => Err(format!(
                "{field:?} looks like a list, but is not one in JSON, such as [\"a\", \"b\"]; write JSON, or put a \
                 separator between labels"
            )),
        }
    }
}

/// The labels that one annotator gave, in an order of their own, so that those of two are compared; `None` for no
/// answer.
pub(super) fn of_answer(answer: &Value) -> Result<Option<Label>, String> {
    let label = match answer {
        Value::Null => return Ok(None),
        Value::Array(values) => of_values(values)?,
        Value::Object(_) => return Err("expected labels, found an object".into()),
        value => of_values(std::slice::from_ref(value))?,
    };
    let labels: BTreeSet<String> = label.list.iter().flat_map(|list| list.iter().cloned()).collect();
    Ok(Some(Label::of_list(labels.into_iter().collect())))
}

/// The labels of a JSON list.
fn of_values(values: &[Value]) -> Result<Label, String> {
    let label = |value: &Value| match value {
        Value::String(text) if text.trim().is_empty() => Err("an empty label in the list".to_owned()),
        Value::String(text) => Ok(text.trim().to_owned()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        _ => Err("expected a list of strings, numbers or booleans".to_owned()),
    };
    values.iter().map(label).collect::<Result<_, _>>().map(Label::of_list)
}

/// Where a row is that is read.
pub(super) struct Place<'a> {
    pub(super) path: &'a Path,
    pub(super) line: usize,
    pub(super) plan: &'a Plan,
    /// Whether no row was read before.
    pub(super) is_first: bool,
}

impl Place<'_> {
    /// The labels of a row of a table.
    pub(super) fn of_cells(&self, cells: Cells<'_>, label: usize, options: &ReadOptions) -> Result<Label> {
        let plan = self.plan;
        if plan.indicators.is_empty() {
            let has_separator = options.several.as_ref().is_some_and(|several| several.separator.is_some());
            let name = plan.label_name.as_deref().unwrap_or("label");
            return Label::of_field(cells.get(label), has_separator).map_err(|reason| self.error(name, reason));
        }
        let is_unsure = self.is_first && !plan.header && options.columns.header == Header::Auto;
        let mut labels = Vec::new();
        for (position, name) in &plan.indicators {
            let cell = cells.get(*position).trim();
            let Some(is_set) = indicator(cell) else {
                let reason = format!("expected 0 or 1, found {cell:?}");
                return Err(match is_unsure {
                    true => {
                        Error::UnsureHeader { path: self.path.into(), line: self.line, column: name.clone(), reason }
                    }
                    false => self.error(name, reason),
                });
            };
            labels.extend(is_set.then(|| name.clone()));
        }
        Ok(Label::of_list(labels))
    }

    /// The labels of a JSON object.
    pub(super) fn of_object(&self, object: &Map<String, Value>, key: &str, options: &ReadOptions) -> Result<Label> {
        let has_separator = options.several.as_ref().is_some_and(|several| several.separator.is_some());
        let get =
            |key: &str| object.get(key).ok_or_else(|| self.error(key, "the object does not have this key".into()));
        if self.plan.indicators.is_empty() {
            let label = match get(key)? {
                Value::Array(values) => of_values(values),
                Value::String(text) => Label::of_field(text, has_separator),
                Value::Null => Err("the labels are null; write [] for a text without any".to_owned()),
                Value::Object(_) => Err("expected a list of labels, found an object".to_owned()),
                value => Ok(Label::of_text(value.to_string().into())),
            };
            return label.map_err(|reason| self.error(key, reason));
        }
        let mut labels = Vec::new();
        for (_, name) in &self.plan.indicators {
            let text = match get(name)? {
                Value::String(text) => text.trim().to_owned(),
                value => value.to_string(),
            };
            let is_set = indicator(&text).ok_or_else(|| self.error(name, format!("expected 0 or 1, found {text}")))?;
            labels.extend(is_set.then(|| name.trim().to_owned()));
        }
        Ok(Label::of_list(labels))
    }

    fn error(&self, column: &str, reason: String) -> Error {
        Error::DataField { path: self.path.into(), line: self.line, column: column.into(), reason }
    }
}

/// What a field of a label's own column says.
fn indicator(text: &str) -> Option<bool> {
    match text {
        "1" | "1.0" => Some(true),
        "0" | "0.0" => Some(false),
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
