//! Which columns of a file hold the text and the label: named by the caller, expected by a preset, or recognised.
//!
//! The candidates, in order, are the preset's layouts and then the common column names; a column that the caller gives
//! replaces that field of every candidate. The first candidate that matches the file's first row is the plan. Common
//! names that allow of several plans are refused, unless one has all the columns of the other.
//! Candidates with a label are tried before those without, and a plan without a label is made only if labels are not
//! required.

mod common;

use std::path::Path;

pub(super) use common::are_names;

use super::ReadOptions;
use crate::presets::Col;
use crate::{Error, Result, Setting};

/// One column of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ColumnRef {
    /// By its name in the header, or the key of a JSON object; case matters only if two names differ in nothing else.
    Name(String),
    /// By its number, from 0.
    Index(usize),
}

impl From<&str> for ColumnRef {
    /// Digits are a number, everything else is a name.
    fn from(text: &str) -> Self {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(index) if digits => Self::Index(index),
            _ => Self::Name(text.to_owned()),
        }
    }
}

/// Whether the first row names the columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Header {
    /// The first row is a header if columns are chosen by name, if it has one of the common names in a column chosen by
    /// number, or if it numbers the columns from 0, as pandas does where they have no names.
    #[default]
    Auto,
    /// The first row is a header.
    Yes,
    /// The first row is the first example.
    No,
}

/// The columns to read. By default the preset or recognition chooses them; columns that are given override both.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Columns {
    /// One column, or the two of a pair; none to recognise them.
    pub text: Vec<ColumnRef>,
    /// The label's column; `None` to recognise it.
    pub label: Option<ColumnRef>,
    /// Whether there is a header.
    pub header: Header,
}

/// What to read from each row, determined by the first.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Whether the first row is a header.
    pub(super) header: bool,
    /// Whether it is one because it numbers the columns.
    pub(super) is_numbered: bool,
    /// The positions of one or two text columns.
    pub(super) text: Vec<usize>,
    /// The position of the label.
    pub(super) label: Option<usize>,
    /// The columns' names, or their numbers where there is no header.
    pub(super) text_names: Vec<String>,
    pub(super) label_name: Option<String>,
    /// The positions and names of the columns of 0 and 1, where each label has one; empty otherwise.
    pub(super) indicators: Vec<(usize, String)>,
    /// Whether its text columns and its label column were recognised by common names.
    pub(super) recognised: [bool; 2],
    /// Whether the file has columns that are not read.
    pub(super) leaves_some: bool,
}

/// Columns that a file may have.
struct Candidate {
    columns: Columns,
    /// The number of columns that the file must have.
    width: Option<usize>,
    /// Whether its texts and its label are by common names.
    recognised: [bool; 2],
}

/// A file's first row, in which columns are searched.
struct FirstRow<'a> {
    path: &'a Path,
    cells: &'a [&'a str],
    /// Whether the cells are the keys of a JSON object, which are always names and never an example.
    keyed: bool,
}

/// The plan for a file whose first row, or whose first object's keys, are `cells`.
///
/// # Errors
/// [`Error::DataColumn`] where there is none, or more than one.
pub(super) fn resolve(path: &Path, cells: &[&str], keyed: bool, options: &ReadOptions) -> Result<Plan> {
    let mut plan = find(path, cells, keyed, options)?;
    let row = FirstRow { path, cells, keyed };
    let several = |columns: &[String]| format!("its columns {} may each be read", columns.join(" or "));
    let texts: Vec<String> = common::texts(cells).iter().map(|names| names.join(" with ")).collect();
    if plan.recognised[0] && texts.len() > 1 {
        return Err(row.error(several(&texts), Setting::TextColumn));
    }
    let labels: Vec<String> = common::labels(cells).map(str::to_owned).collect();
    if plan.recognised[1] && plan.label.is_some() && labels.len() > 1 {
        if !options.labels_are_optional() {
            return Err(row.error(several(&labels), Setting::LabelColumn));
        }
        (plan.label, plan.label_name) = (None, None);
    }
    Ok(plan)
}

/// As [`resolve`], with one of several plans.
pub(super) fn find(path: &Path, cells: &[&str], keyed: bool, options: &ReadOptions) -> Result<Plan> {
    let given = &options.columns;
    if given.text.len() > 2 {
        let reason = format!("{} text columns are given; a text is one column, a pair is two", given.text.len());
        return Err(Error::DataFile { path: path.into(), reason });
    }
    let row = FirstRow { path, cells, keyed };
    let candidates = candidates(&row, options);
    for labelled in [true, false] {
        if !labelled && (options.require_labels || given.label.is_some()) {
            break;
        }
        for candidate in &candidates {
            match row.fit(candidate, labelled) {
                Ok(Some(plan)) => return row.with_indicators(plan, options),
                Ok(None) => {}
                // If it is the text column that is ambiguous, the second round reports it.
                Err(_) if labelled && options.labels_are_optional() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Err(row.refusal(&candidates, options))
}

fn candidates(row: &FirstRow, options: &ReadOptions) -> Vec<Candidate> {
    let layouts = options.task.map(|task| task.preset().layouts).unwrap_or_default();
    let from_col = |col: &Col| match *col {
        Col::Name(name) => ColumnRef::Name(name.to_owned()),
        Col::Index(index) => ColumnRef::Index(index),
    };
    let expected = layouts.iter().map(|layout| Candidate {
        columns: Columns {
            text: layout.text.iter().map(from_col).collect(),
            label: layout.label.as_ref().map(from_col),
            header: Header::Auto,
        },
        width: layout.width,
        recognised: [false; 2],
    });
    let by_name = |name: &&str| ColumnRef::Name((*name).to_owned());
    let texts = common::texts(row.cells);
    let (text, label) = (texts.first(), common::labels(row.cells).next());
    let recognised = Candidate {
        columns: Columns {
            text: text.map(|names| names.iter().map(by_name).collect()).unwrap_or_default(),
            label: label.as_ref().map(by_name),
            header: Header::Auto,
        },
        width: None,
        recognised: [true; 2],
    };
    let given = &options.columns;
    expected
        .chain([recognised])
        .map(|mut candidate| {
            let columns = &mut candidate.columns;
            columns.header = given.header;
            if !given.text.is_empty() {
                columns.text.clone_from(&given.text);
                candidate.recognised[0] = false;
            }
            if given.label.is_some() {
                columns.label.clone_from(&given.label);
                candidate.recognised[1] = false;
            }
            candidate
        })
        .collect()
}

impl FirstRow<'_> {
    /// The plan for these columns; `None` if the row does not have them.
    fn fit(&self, candidate: &Candidate, labelled: bool) -> Result<Option<Plan>> {
        let Candidate { columns: Columns { text, label, header }, width, recognised } = candidate;
        let label = label.as_ref().filter(|_| labelled);
        if text.is_empty() || labelled != label.is_some() || width.is_some_and(|width| width != self.cells.len()) {
            return Ok(None);
        }
        let chosen = || text.iter().chain(label);
        let named = chosen().any(|column| matches!(column, ColumnRef::Name(_)));
        let is_numbered = !self.keyed && !named && *header == Header::Auto && self.is_numbered()?;
        let header = match header {
            _ if self.keyed => true,
            Header::Yes => true,
            Header::No if named => return Ok(None),
            Header::No => false,
            Header::Auto => named || is_numbered || chosen().any(|column| self.looks_like_a_name(column)),
        };
        let mut positions = Vec::new();
        for column in chosen() {
            match self.position(column)? {
                Some(position) => positions.push(position),
                None => return Ok(None),
            }
        }
        let leaves_some = positions.len() < self.cells.len();
        let mut names: Vec<String> = positions.iter().map(|&position| self.name(position, header)).collect();
        let label = if labelled { positions.pop() } else { None };
        let label_name = if labelled { names.pop() } else { None };
        self.refuse_twice(&positions, label, header)?;
        Ok(Some(Plan {
            header,
            is_numbered,
            text: positions,
            label,
            text_names: names,
            label_name,
            indicators: Vec::new(),
            recognised: *recognised,
            leaves_some,
        }))
    }

    /// Refuses a column that would be read twice: as the label it tells the answer to the text, and as both texts of a
    /// pair it tells nothing.
    fn refuse_twice(&self, text: &[usize], label: Option<usize>, header: bool) -> Result<()> {
        let both: &[Setting] = &[Setting::TextColumn, Setting::LabelColumn];
        let (position, what, settings) = match (text, label) {
            (text, Some(label)) if text.contains(&label) => (label, "a text and the label", both),
            (&[first, second], _) if first == second => (first, "both texts of a pair", &both[..1]),
            _ => return Ok(()),
        };
        let reason = format!("its column {:?} would be {what}", self.name(position, header));
        let advice = "choose another column for one of them".into();
        Err(Error::DataColumn { path: self.path.into(), reason, found: self.found(), advice, settings })
    }

    /// The name of a column: its number where there is no header. A key is found again by all of its characters.
    fn name(&self, position: usize, header: bool) -> String {
        match header {
            true if self.keyed => self.cells[position].to_owned(),
            true => self.cells[position].trim().to_owned(),
            false => position.to_string(),
        }
    }

    /// The plan with the label columns after the first, where there are some.
    fn with_indicators(&self, mut plan: Plan, options: &ReadOptions) -> Result<Plan> {
        let further = options.several.iter().flat_map(|several| &several.further_columns);
        let (Some(first), Some(name)) = (plan.label, &plan.label_name) else { return Ok(plan) };
        let mut indicators = vec![(first, name.clone())];
        for column in further {
            let found = match column {
                ColumnRef::Name(_) if !plan.header => None,
                column => self.position(column)?,
            };
            let Some(position) = found else {
                let reason = match column {
                    ColumnRef::Name(name) if !plan.header => format!("without a header there is no column {name:?}"),
                    ColumnRef::Name(name) => format!("there is no column {name:?}"),
                    ColumnRef::Index(index) => format!("there is no column number {index}"),
                };
                return Err(self.error(reason, Setting::LabelColumn));
            };
            indicators.push((position, self.name(position, plan.header)));
        }
        if indicators.len() > 1 {
            plan.indicators = indicators;
        }
        Ok(plan)
    }

    /// The position of a column; `None` if the row does not have it.
    fn position(&self, column: &ColumnRef) -> Result<Option<usize>> {
        let name = match column {
            ColumnRef::Index(index) if !self.keyed => return Ok((*index < self.cells.len()).then_some(*index)),
            ColumnRef::Index(index) => index.to_string(),
            ColumnRef::Name(name) => name.trim().to_owned(),
        };
        let find = |same: &dyn Fn(&str) -> bool| -> Vec<usize> {
            (0..self.cells.len()).filter(|&i| same(self.cells[i].trim())).collect()
        };
        let mut found = find(&|cell| cell == name);
        if found.is_empty() {
            found = find(&|cell| cell.eq_ignore_ascii_case(&name));
        }
        match found.as_slice() {
            [] => Ok(None),
            [position] => Ok(Some(*position)),
            several => Err(Error::DataColumn {
                path: self.path.into(),
                reason: format!("{} columns are called {name:?}", several.len()),
                found: self.found(),
                advice: "choose by number, from 0".into(),
                settings: &[Setting::TextColumn, Setting::LabelColumn],
            }),
        }
    }

    /// Whether the column, chosen by number, begins with a name instead of a value.
    fn looks_like_a_name(&self, column: &ColumnRef) -> bool {
        let ColumnRef::Index(index) = column else { return false };
        let Some(cell) = self.cells.get(*index).map(|cell| cell.trim()) else { return false };
        common::is_known(cell)
    }

    /// Whether the cells are 0, 1 and so on, which is a header of pandas. An error if they are so from the second on:
    /// the first column is then pandas' index, and a number may mean a column's name or its position.
    fn is_numbered(&self) -> Result<bool> {
        let counts = |cells: &[&str]| {
            cells.len() > 1 && cells.iter().enumerate().all(|(number, cell)| cell.trim() == number.to_string())
        };
        match self.cells {
            cells if counts(cells) => Ok(true),
            ["", rest @ ..] if counts(rest) => Err(Error::DataColumn {
                path: self.path.into(),
                reason:
                    "the first row numbers the columns from the second on, so a number may mean a name or a position"
                        .into(),
                found: self.found(),
                advice: "say whether it is a header, and choose columns by position".into(),
                settings: &[Setting::Header],
            }),
            _ => Ok(false),
        }
    }

    /// Why no candidate fits: the first of the reasons that a user can act on.
    fn refusal(&self, candidates: &[Candidate], options: &ReadOptions) -> Error {
        let given = &options.columns;
        let missing = |column: &ColumnRef| !matches!(self.position(column), Ok(Some(_)));
        let text = given.text.iter().map(|column| (column, Setting::TextColumn));
        let chosen = text.chain(given.label.iter().map(|column| (column, Setting::LabelColumn)));
        let nameless = given.header == Header::No && !self.keyed;
        for (column, setting) in chosen {
            let reason = match column {
                ColumnRef::Name(name) if nameless => format!("without a header there is no column {name:?}"),
                ColumnRef::Name(name) if missing(column) => format!("there is no column {name:?}"),
                ColumnRef::Index(index) if missing(column) => format!("there is no column number {index}"),
                _ => continue,
            };
            return self.error(reason, setting);
        }
        let text_is_there =
            candidates.iter().any(|c| !c.columns.text.is_empty() && !c.columns.text.iter().any(missing));
        let (what, setting) =
            if text_is_there { ("label", Setting::LabelColumn) } else { ("text", Setting::TextColumn) };
        let reason = match options.task {
            Some(task) => format!("this is not a layout of the task {task}: no {what} column is found"),
            None => format!("no {what} column is recognised"),
        };
        self.error(reason, setting)
    }

    fn error(&self, reason: String, setting: Setting) -> Error {
        let advice = match self.keyed {
            true => "name the key of",
            false => "choose by its name or its number from 0",
        };
        let advice = format!("{advice} {setting}");
        let settings = match setting {
            Setting::LabelColumn => &[Setting::LabelColumn],
            _ => &[Setting::TextColumn],
        };
        Error::DataColumn { path: self.path.into(), reason, found: self.found(), advice, settings }
    }

    /// The columns for a message: each number with the content of the first row.
    fn found(&self) -> String {
        let show = |(i, cell): (usize, &&str)| {
            let short: String = cell.trim().chars().take(32).collect();
            if self.keyed { format!("{short:?}") } else { format!("{i} {short:?}") }
        };
        let shown: Vec<String> = self.cells.iter().enumerate().take(24).map(show).collect();
        let more = self.cells.len() - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let what = if self.keyed { "the keys of the first object are" } else { "the first row has" };
        format!("{what} {}{more}", shown.join(", "))
    }
}

#[cfg(test)]
mod tests;
