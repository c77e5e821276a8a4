//! From rows to examples: the first row, or the keys of the first object, determine which columns are read.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::columns::{self, Plan};
use super::line_reader::blank;
use super::quoted::Cells;
use super::several::Place;
use super::{Dataset, Example, Header, Label, ReadOptions};
use crate::presets::{GlueTask, Preset};
use crate::{Error, Result};

/// The largest number of labels that are kept to be shared by rows that have them again.
const SHARED_LABELS: usize = 4096;

/// What a row has for a label.
pub(super) enum Found<'a> {
    /// A text, which is no label if it is blank.
    Text(Cow<'a, str>),
    /// Nothing, for this reason.
    Missing(&'static str),
    /// Nothing, because it was not annotated, or was rejected: the row is skipped where labels are required.
    Unlabelled,
    /// The labels of a text that may have several.
    Several(Label),
    /// Several labels, of which there should be one; for this reason.
    TooMany(String),
    /// Something else than labels, for this reason.
    Unusable(String),
}

/// How many rows a table has and has skipped.
pub(super) struct Count {
    pub(super) examples: usize,
    skipped: usize,
}

/// The examples so far, and how to read the next row.
#[derive(Clone)]
pub(super) struct Table<'a> {
    path: &'a Path,
    options: &'a ReadOptions,
    preset: Option<&'static Preset>,
    plan: Option<(Plan, usize)>,
    examples: Vec<Example>,
    skipped: Vec<usize>,
    /// The texts of labels that rows may share.
    labels: HashSet<Arc<str>>,
    /// Whether rows of another table come before its own.
    is_continued: bool,
}

impl<'a> Table<'a> {
    pub(super) fn new(path: &'a Path, options: &'a ReadOptions) -> Self {
        let preset = options.task.map(GlueTask::preset);
        let (examples, skipped, labels) = (Vec::new(), Vec::new(), HashSet::new());
        Self { path, options, preset, plan: None, examples, skipped, labels, is_continued: false }
    }

    /// Whether it has not seen a row yet.
    pub(super) fn is_new(&self) -> bool {
        self.plan.is_none()
    }

    /// The number of its rows.
    pub(super) fn count(&self) -> Count {
        Count { examples: self.examples.len(), skipped: self.skipped.len() }
    }

    /// A table that goes on from here without the rows so far.
    pub(super) fn fork(&self) -> Self {
        let is_continued = self.is_continued || !self.examples.is_empty();
        let (plan, labels) = (self.plan.clone(), self.labels.clone());
        Self { plan, labels, is_continued, ..Self::new(self.path, self.options) }
    }

    /// Forgets the rows after the first `count`.
    pub(super) fn truncate(&mut self, count: &Count) {
        self.examples.truncate(count.examples);
        self.skipped.truncate(count.skipped);
    }

    /// Whether the rows after the first `count` are those of a table that was forked there.
    pub(super) fn is_same_since(&self, count: &Count, fork: &Self) -> bool {
        self.examples[count.examples..] == fork.examples && self.skipped[count.skipped..] == fork.skipped
    }

    /// A forked table with the rows before the fork.
    pub(super) fn after(mut self, mut trunk: Self, count: &Count) -> Self {
        trunk.truncate(count);
        trunk.examples.append(&mut self.examples);
        trunk.skipped.append(&mut self.skipped);
        Self { examples: trunk.examples, skipped: trunk.skipped, ..self }
    }

    /// Blank lines that a row follows.
    pub(super) fn blanks(&mut self, lines: Range<usize>) -> Result<()> {
        lines.into_iter().try_for_each(|line| self.malformed(line, || blank(self.path, line)))
    }

    /// The next row of fields, which begins on `line`.
    pub(super) fn row(&mut self, line: usize, cells: Cells<'_>) -> Result<()> {
        if self.plan.is_none() {
            let plan = columns::resolve(self.path, &cells.to_vec(), false, self.options)?;
            let header = plan.header;
            self.plan = Some((plan, cells.len()));
            if header {
                return Ok(());
            }
        }
        let Some((plan, width)) = &self.plan else { return Ok(()) };
        // A row that is too long is as broken as one that is too short: a stray separator in a text would move the
        // label.
        if cells.len() != *width {
            let width = *width;
            return self.malformed(line, || {
                let columns = |count| if count == 1 { "1 column".into() } else { format!("{count} columns") };
                let mut reason =
                    format!("expected {} as in the first row, found {}", columns(width), columns(cells.len()));
                if self.options.several.is_some() && cells.len() > width {
                    reason += "; labels with the separator of the table between them must be in quotes";
                }
                Error::DataRow { path: self.path.into(), line, reason }
            });
        }
        let label = match plan.label {
            Some(position) if self.options.several.is_some() => {
                Found::Several(self.place(line, plan).of_cells(cells, position, self.options)?)
            }
            Some(position) => Found::Text(cells.get(position).into()),
            None => Found::Missing(""),
        };
        let text = cells.get(plan.text[0]).to_owned();
        let pair = plan.text.get(1).map(|&position| cells.get(position).to_owned());
        self.example(line, text, pair, label)
    }

    /// The next object, which begins on `line`. The keys of the first determine which keys are read; their order and
    /// other keys do not matter.
    pub(super) fn object(&mut self, line: usize, object: &Map<String, Value>) -> Result<()> {
        if self.plan.is_none() {
            self.choose(object, self.options)?;
        }
        let Some((plan, _)) = &self.plan else { return Ok(()) };
        let label = match &plan.label_name {
            Some(key) if self.options.several.is_some() => {
                Found::Several(self.place(line, plan).of_object(object, key, self.options)?)
            }
            Some(key) => label_of(object.get(key)),
            None => Found::Missing(""),
        };
        self.texts(line, object, label)
    }

    fn place<'b>(&self, line: usize, plan: &'b Plan) -> Place<'b>
    where
        'a: 'b,
    {
        Place { path: self.path, line, plan, is_first: self.examples.is_empty() && !self.is_continued }
    }

    /// Chooses the columns by the keys of an object.
    pub(super) fn choose(&mut self, object: &Map<String, Value>, options: &ReadOptions) -> Result<()> {
        let keys: Vec<&str> = object.keys().map(String::as_str).collect();
        self.plan = Some((columns::resolve(self.path, &keys, true, options)?, 0));
        Ok(())
    }

    /// Makes room for that many examples.
    #[cfg(feature = "parquet")]
    pub(super) fn reserve(&mut self, count: usize) {
        self.examples.reserve_exact(count);
    }

    /// The names of the columns of the texts and of the labels.
    #[cfg(feature = "parquet")]
    pub(super) fn columns(&self) -> (&[String], Vec<&String>) {
        let Some((plan, _)) = &self.plan else { return (&[], Vec::new()) };
        let labels = match plan.indicators.as_slice() {
            [] => plan.label_name.iter().collect(),
            indicators => indicators.iter().map(|(_, name)| name).collect(),
        };
        (&plan.text_names, labels)
    }

    /// Names the column of labels that were found elsewhere than in a column.
    pub(super) fn name_label(&mut self, name: &str) {
        if let Some((plan, _)) = &mut self.plan {
            plan.label_name = Some(name.into());
            // What else a record has are no columns.
            plan.leaves_some = false;
        }
    }

    /// The texts of an object with a label.
    pub(super) fn texts(&mut self, line: usize, object: &Map<String, Value>, label: Found<'_>) -> Result<()> {
        let Some((plan, _)) = &self.plan else { return Ok(()) };
        let text = |key: &String| match object.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(other) => Err(self.field_error(line, key, format!("expected a string, found {}", kind(other)))),
            None => Err(self.field_error(line, key, "the object does not have this key".into())),
        };
        let (first, pair) = (text(&plan.text_names[0])?, plan.text_names.get(1).map(text).transpose()?);
        self.example(line, first, pair, label)
    }

    fn example(&mut self, line: usize, text: String, pair: Option<String>, label: Found<'_>) -> Result<()> {
        let mut absence = "the label is empty";
        let mut label = match label {
            Found::Text(text) => self.shared(&text),
            Found::Missing(reason) => {
                absence = reason;
                None
            }
            Found::Unlabelled if self.options.require_labels => {
                self.skipped.push(line);
                return Ok(());
            }
            Found::Several(label) => Some(label),
            Found::Unusable(reason) if !self.options.labels_are_optional() => {
                return Err(self.label_error(line, reason));
            }
            Found::TooMany(reason) if !self.options.labels_are_optional() => {
                let column = self.label_name();
                return Err(Error::SeveralLabels { path: self.path.into(), line, column, reason });
            }
            Found::Unlabelled | Found::Unusable(_) | Found::TooMany(_) => None,
        };
        let means_none = |label: &Label| self.preset.is_some_and(|preset| preset.skip_labels.contains(&label.as_str()));
        if label.as_ref().is_some_and(means_none) {
            if self.options.require_labels {
                self.skipped.push(line);
                return Ok(());
            }
            label = None;
        }
        if label.is_none() && self.options.require_labels {
            return Err(self.label_error(line, absence.into()));
        }
        let pair = pair.map(Into::into);
        self.examples.push(Example { text, pair, label, words: Vec::new(), question: None, line });
        Ok(())
    }

    /// The label of a field, with the memory of an equal one.
    fn shared(&mut self, field: &str) -> Option<Label> {
        if let Some(text) = self.labels.get(field.trim()) {
            return Some(Label::of_text(text.clone()));
        }
        let label = Label::new(field)?;
        if self.labels.len() < SHARED_LABELS {
            self.labels.insert(label.text.clone());
        }
        Some(label)
    }

    fn label_error(&self, line: usize, reason: String) -> Error {
        self.field_error(line, &self.label_name(), reason)
    }

    fn label_name(&self) -> String {
        self.plan.as_ref().and_then(|(plan, _)| plan.label_name.clone()).unwrap_or_default()
    }

    fn field_error(&self, line: usize, column: &str, reason: String) -> Error {
        Error::DataField { path: self.path.into(), line, column: column.into(), reason }
    }

    /// Skips the line if the preset says so and labels are required; otherwise refuses it, because every row needs a
    /// prediction.
    fn malformed(&mut self, line: usize, error: impl FnOnce() -> Error) -> Result<()> {
        if !self.options.require_labels || self.preset.is_none_or(|preset| !preset.skip_malformed) {
            return Err(error());
        }
        self.skipped.push(line);
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Dataset> {
        let Self { path, options, plan, mut examples, skipped, .. } = self;
        examples.shrink_to_fit();
        let is_unsure = plan.as_ref().is_some_and(|(plan, _)| !plan.header) && options.columns.header == Header::Auto;
        let numbered = plan.as_ref().and_then(|(plan, _)| plan.is_numbered.then(|| NUMBERED.to_owned()));
        let is_part = |plan: &Plan| plan.recognised[0] && plan.leaves_some && plan.indicators.is_empty();
        let chosen = plan.as_ref().filter(|(plan, _)| is_part(plan)).map(|(plan, _)| {
            let names = plan.text_names.iter().chain(&plan.label_name).map(|name| format!("{name:?}"));
            format!("of its columns {} are read", names.collect::<Vec<_>>().join(" and "))
        });
        let (text, label, indicators) =
            plan.map(|(plan, _)| (plan.text_names, plan.label_name, plan.indicators)).unwrap_or_default();
        let mut set = Dataset::assemble(path, examples, is_unsure, text, label, skipped)?;
        set.found.extend(numbered.or(chosen));
        set.indicators = indicators.into_iter().map(|(_, name)| name.trim().to_owned()).collect();
        Ok(set)
    }
}

/// What is said of a header such as `0,1`.
const NUMBERED: &str = "the first row numbers the columns and is read as a header";

/// The label in a value of JSON. An array of one label is that label, as labelling tools write it.
pub(super) fn label_of(value: Option<&Value>) -> Found<'_> {
    match value {
        Some(Value::String(text)) => Found::Text(text.into()),
        Some(Value::Number(number)) => Found::Text(number.to_string().into()),
        Some(Value::Bool(value)) => Found::Text(value.to_string().into()),
        Some(Value::Null) => Found::Missing("the label is null"),
        None => Found::Missing("the object does not have this key"),
        Some(Value::Array(items)) => match items.as_slice() {
            [] => Found::Unlabelled,
            [one @ (Value::String(_) | Value::Number(_) | Value::Bool(_))] => label_of(Some(one)),
            [Value::Array(_) | Value::Object(_), ..] => {
                Found::Unusable("an array of spans, which label parts of the text; expected one label for it".into())
            }
            several => Found::TooMany(format!("an array of {} labels", several.len())),
        },
        Some(other) => Found::Unusable(format!("expected a string, a number or a boolean, found {}", kind(other))),
    }
}

/// The type of a value of JSON, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
