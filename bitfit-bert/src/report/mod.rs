//! A report of a run or of an evaluation: one HTML page without scripts and without anything from the network, and its
//! tables as text for a terminal.
//!
//! ```text
//! metrics.jsonl -> Course ─┐
//! Predictor::analyse ──────┼─▶ Report ──▶ html: page of sections (curve, bins: drawings)
//! Contents::heat_map ──────┘          └─▶ tables: lines
//! ```

mod course;
mod curve;
mod html;
mod reliability;
mod tables;

use std::path::Path;

pub use course::{Course, Series};
pub use tables::class_table;

use crate::Result;
use crate::artefacts::HeatMap;
use crate::files::AtomicFile;
use crate::infer::Analysis;

/// What a report shows. What is empty is left out.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The title.
    pub title: String,
    /// What it was trained and evaluated on: names with values.
    pub data: Vec<(String, String)>,
    /// How it was trained: names with values.
    pub facts: Vec<(String, String)>,
    /// How the run went.
    pub course: Course,
    /// The texts that were answered, named by their file.
    pub analysis: Option<(String, Analysis)>,
    /// What trained, and how far each kind and layer moved.
    pub movement: Option<HeatMap>,
}

impl Report {
    /// Writes the page, in place of an earlier one.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut file = AtomicFile::create(path)?;
        file.write(html::page(self).as_bytes())?;
        file.finish()
    }
}

#[cfg(test)]
mod tests;
