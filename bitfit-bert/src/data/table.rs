//! Conversion of rows of fields, from TSV or CSV, to examples: the first row determines the columns and the width of
//! all others.

use std::path::Path;

use super::columns::{self, Plan};
use super::line_reader::blank;
use super::several::Place;
use super::{Dataset, Example, Header, Label, ReadOptions, means_none};
use crate::presets::{GlueTask, Preset};
use crate::{Error, Result};

/// The examples so far, and how to read the next row.
pub(super) struct Table<'a> {
    path: &'a Path,
    options: &'a ReadOptions,
    preset: Option<&'static Preset>,
    plan: Option<(Plan, usize)>,
    examples: Vec<Example>,
    skipped: Vec<usize>,
}

impl<'a> Table<'a> {
    pub(super) fn new(path: &'a Path, options: &'a ReadOptions) -> Self {
        let preset = options.task.map(GlueTask::preset);
        Self { path, options, preset, plan: None, examples: Vec::new(), skipped: Vec::new() }
    }

    /// A blank line that other rows follow.
    pub(super) fn blank(&mut self, line: usize) -> Result<()> {
        self.malformed(line, || blank(self.path, line))
    }

    /// The next row, which begins on `line`.
    pub(super) fn row(&mut self, line: usize, cells: &[&str]) -> Result<()> {
        if self.plan.is_none() {
            let plan = columns::resolve(self.path, cells, false, self.options)?;
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
                let reason = format!("expected {} as in the first row, found {}", columns(width), columns(cells.len()));
                Error::DataRow { path: self.path.into(), line, reason }
            });
        }
        let mut label = match plan.label {
            Some(label) if self.options.several.is_some() => {
                let place = Place { path: self.path, line, plan, is_first: self.examples.is_empty() };
                Some(place.of_cells(cells, label, self.options)?)
            }
            label => label.and_then(|position| Label::new(cells[position])),
        };
        if means_none(self.preset, label.as_ref()) {
            if self.options.require_labels {
                self.skipped.push(line);
                return Ok(());
            }
            label = None;
        }
        if label.is_none() && self.options.require_labels {
            let column = plan.label_name.clone().unwrap_or_default();
            return Err(Error::DataField { path: self.path.into(), line, column, reason: "the label is empty".into() });
        }
        let text = cells[plan.text[0]].to_owned();
        let pair = plan.text.get(1).map(|&position| cells[position].to_owned());
        self.examples.push(Example { text, pair, label, words: Vec::new(), line });
        Ok(())
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
        let (header, text, label, indicators) = match self.plan {
            Some((plan, _)) => (plan.header, plan.text_names, plan.label_name, plan.indicators),
            None => (true, Vec::new(), None, Vec::new()),
        };
        let is_unsure = !header && self.options.columns.header == Header::Auto;
        let set = Dataset::assemble(self.path, self.examples, is_unsure, text, label, self.skipped)?;
        Ok(Dataset { indicators: indicators.into_iter().map(|(_, name)| name).collect(), ..set })
    }
}
