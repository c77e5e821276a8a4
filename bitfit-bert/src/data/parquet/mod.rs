//! Parquet, as pandas and Hugging Face's data sets write it: columns of strings for the texts, and for the label one of
//! strings, integers, floats or booleans. The number of a row stands for its line.
//!
//! ```text
//! file -> columns, row groups (footer, thrift) -> pages of a column (pages) -> bytes (unpack)
//!      -> values, one at a time (column, bits) -> rows -> Table
//! ```
//!
//! What a file states about itself is believed only after its bytes show it, or where it is small: sizes are checked
//! against the file and a budget (`fault`), values are read from the unpacked page one at a time, and no list is made
//! for a count. Columns that are not chosen are not read, and neither are columns in columns, such as lists.

mod bits;
mod column;
mod fault;
mod footer;
mod pages;
mod thrift;
mod unpack;

#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use super::table::Table;
use super::{Dataset, Example, ReadOptions};
use crate::{Error, Result, Setting};
use column::Reader;
use fault::{Budget, Fault};
use footer::{Column, Footer, Values};
use pages::Pages;

/// The largest file that is read; all of it is in memory, because its index is at its end.
const MAX_FILE: u64 = 4 << 30;
/// The memory of an example without its text.
const ROW: u64 = size_of::<Example>() as u64 + 32;

/// Reads the rows of a file.
pub(super) fn read(reader: impl Read, path: &Path, options: &ReadOptions) -> Result<Dataset> {
    let mut file = Vec::new();
    reader.take(MAX_FILE + 1).read_to_end(&mut file).map_err(Error::io(path))?;
    if file.len() as u64 > MAX_FILE {
        let reason = format!("a Parquet file of more than {} GiB, the most that is read", MAX_FILE >> 30);
        return Err(Error::DataFile { path: path.into(), reason });
    }
    let failed = |Fault(reason)| Error::DataFile { path: path.into(), reason };
    let footer = Footer::of(&file).map_err(failed)?;
    let mut table = Table::new(path, options);
    table.choose(&footer.columns.iter().map(|column| (column.name.clone(), Value::Null)).collect(), options)?;
    let chosen = chosen(&footer, &table, path)?;

    let mut room = Room::of(file.len());
    let rows = footer.groups.iter().fold(0, |sum: u64, group| sum.saturating_add(group.rows));
    room.take(rows.saturating_mul(ROW)).map_err(failed)?;
    table.reserve(rows as usize);
    let budget = Budget::of(file.len());
    let mut row = 0;
    let mut values: Map<String, Value> = chosen.iter().map(|field| (field.column.name.clone(), Value::Null)).collect();
    for group in &footer.groups {
        let at = |field: &Field<'_>, row, Fault(reason)| Error::DataFile {
            path: path.into(),
            reason: format!("{reason}; at the column {:?}, row {row}", field.column.name),
        };
        let readers = chosen.iter().map(|field| {
            let pages = group.chunk(field.column, &file, footer.start);
            let pages = pages.and_then(|(chunk, bytes)| Pages::new(&chunk, bytes, &budget));
            let pages = pages.map_err(|fault| at(field, row + 1, fault))?;
            Ok(Reader::new(field.column, pages, group.rows, &budget))
        });
        let mut readers = readers.collect::<Result<Vec<_>>>()?;
        for _ in 0..group.rows {
            row += 1;
            for ((value, reader), field) in values.values_mut().zip(&mut readers).zip(&chosen) {
                *value = reader.next().map_err(|fault| at(field, row, fault))?;
                room.take(field.memory(value, options)).map_err(|fault| at(field, row, fault))?;
            }
            table.object(row, &values)?;
        }
    }
    table.finish()
}

/// A column that is read.
struct Field<'a> {
    column: &'a Column,
    is_label: bool,
}

/// The columns of the texts and labels; an error for one of a type that is not read.
fn chosen<'a>(footer: &'a Footer, table: &Table<'_>, path: &Path) -> Result<Vec<Field<'a>>> {
    let (texts, labels) = table.columns();
    let names = texts.iter().map(|name| (name, false)).chain(labels.into_iter().map(|name| (name, true)));
    let mut chosen: Vec<Field<'a>> = Vec::new();
    for (name, is_label) in names {
        let mut columns = footer.columns.iter().filter(|column| column.name == *name);
        let Some(column) = columns.next() else { continue };
        let (what, settings): (_, &[Setting]) = match is_label {
            true => ("strings, integers, floats or booleans", &[Setting::LabelColumn]),
            false => ("strings", &[Setting::TextColumn]),
        };
        let refused = |reason, found| {
            Err(Error::DataColumn { path: path.into(), reason, found, advice: "choose another".into(), settings })
        };
        if columns.next().is_some() {
            return refused(format!("the column {name:?} is not one"), "several have this name".into());
        }
        if column.values != Values::Text && !(is_label && column.values != Values::Other) {
            let reason = format!("the column {name:?} is not one of {what}");
            return refused(reason, format!("its type is {}", column.found));
        }
        if chosen.iter().all(|field| field.column.leaf != column.leaf) {
            chosen.push(Field { column, is_label });
        }
    }
    Ok(chosen)
}

impl Field<'_> {
    /// A bound on the memory that an example has for a value.
    fn memory(&self, value: &Value, options: &ReadOptions) -> u64 {
        let size = value.as_str().map_or(32, |text| text.len() as u64 + 32);
        match self.is_label && options.several.is_some() {
            // A text for each label, of which a field may have many.
            true => 32 * size + 2 * self.column.name.len() as u64,
            false => size,
        }
    }
}

/// The memory that is left for examples.
struct Room {
    limit: u64,
    left: u64,
}

impl Room {
    /// The memory for the examples of a file of `size` bytes.
    fn of(size: usize) -> Self {
        let limit = (512 << 20) + 32 * size as u64;
        Self { limit, left: limit }
    }

    fn take(&mut self, bytes: u64) -> fault::Read<()> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| {
            Fault(format!(
                "its rows take more than {} MiB of memory, the most for a file of its size; save it as CSV or JSON lines",
                self.limit >> 20
            ))
        })?;
        Ok(())
    }
}
