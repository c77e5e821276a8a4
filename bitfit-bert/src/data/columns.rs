//! Which columns of a file hold the text and the label: named by the caller, expected by a preset, or recognised.
//!
//! The candidates, in order, are the preset's layouts and then the common column names; what the caller gives replaces
//! that field of every candidate. The first candidate that fits the file's first row is the plan. One that finds a label
//! goes before one that does not, and without a label a plan is made only where none is required.

use std::path::Path;

use super::lines::without_bom;
use super::{Col, ReadOptions};
use crate::{Error, Result};

/// Column names that hold texts, pairs first; in this order.
const COMMON_TEXT: [&[&str]; 6] = [
    &["sentence1", "sentence2"],
    &["question1", "question2"],
    &["premise", "hypothesis"],
    &["question", "sentence"],
    &["text"],
    &["sentence"],
];

/// Column names that hold labels, in this order.
const COMMON_LABEL: [&str; 7] = ["label", "labels", "gold_label", "intent", "category", "class", "score"];

/// One column of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ColumnRef {
    /// By its name in the header, or the key of a JSON object; case counts only where two names differ by nothing else.
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
    /// It does if columns are chosen by name, or if a column chosen by number has one of the common names there.
    #[default]
    Auto,
    /// It does.
    Yes,
    /// It is the first example.
    No,
}

/// The columns to read. The default leaves everything to the preset and to recognition; what is given wins over both.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Columns {
    /// One column, or the two of a pair; none to recognise them.
    pub text: Vec<ColumnRef>,
    /// The label's column; `None` to recognise it.
    pub label: Option<ColumnRef>,
    /// Whether there is a header.
    pub header: Header,
}

/// What to read of each row, fixed by the first.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Whether the first row is a header.
    pub(super) header: bool,
    /// The positions of one or two text columns.
    pub(super) text: Vec<usize>,
    /// The position of the label.
    pub(super) label: Option<usize>,
    /// The columns' names, or their numbers where there is no header.
    pub(super) text_names: Vec<String>,
    pub(super) label_name: Option<String>,
}

/// Columns that a file may have.
struct Candidate {
    columns: Columns,
    /// The number of columns that the file must have.
    width: Option<usize>,
}

/// A file's first row, and how to look for columns in it.
struct FirstRow<'a> {
    path: &'a Path,
    cells: &'a [&'a str],
    /// The cells are the keys of a JSON object: always names, never an example.
    keyed: bool,
}

/// The plan for a file whose first row, or whose first object's keys, are `cells`.
pub(super) fn resolve(path: &Path, cells: &[&str], keyed: bool, options: &ReadOptions) -> Result<Plan> {
    let given = &options.columns;
    if given.text.len() > 2 {
        let reason = format!("{} text columns are asked for; a text is one column, a pair is two", given.text.len());
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
                Ok(Some(plan)) => return Ok(plan),
                Ok(None) => {}
                // Where it is the text that cannot be told, the second look says so.
                Err(_) if labelled && options.labels_are_optional() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Err(row.refusal(&candidates, options))
}

/// Whether a file that begins so has nothing that tells its columns: nothing given, and no header that is recognised.
pub(super) fn is_unnamed(start: &[u8], options: &ReadOptions) -> bool {
    if options.columns != Columns::default() || options.task.is_some() {
        return false;
    }
    let line = without_bom(start).split(|&byte| byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let cells: Vec<&str> = line.trim_end_matches('\r').split('\t').collect();
    resolve(Path::new(""), &cells, false, options).is_err()
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
    });
    let by_name = |name: &&str| ColumnRef::Name((*name).to_owned());
    let text = COMMON_TEXT.iter().find(|names| names.iter().all(|name| row.names(name)));
    let label = COMMON_LABEL.iter().find(|name| row.names(name));
    let recognised = Candidate {
        columns: Columns {
            text: text.map(|names| names.iter().map(by_name).collect()).unwrap_or_default(),
            label: label.map(by_name),
            header: Header::Auto,
        },
        width: None,
    };
    let given = &options.columns;
    expected
        .chain([recognised])
        .map(|mut candidate| {
            let columns = &mut candidate.columns;
            columns.header = given.header;
            if !given.text.is_empty() {
                columns.text.clone_from(&given.text);
            }
            if given.label.is_some() {
                columns.label.clone_from(&given.label);
            }
            candidate
        })
        .collect()
}

impl FirstRow<'_> {
    /// The plan for these columns; `None` if the row does not have them.
    fn fit(&self, candidate: &Candidate, labelled: bool) -> Result<Option<Plan>> {
        let Candidate { columns: Columns { text, label, header }, width } = candidate;
        let label = label.as_ref().filter(|_| labelled);
        if text.is_empty() || labelled != label.is_some() || width.is_some_and(|width| width != self.cells.len()) {
            return Ok(None);
        }
        let chosen = || text.iter().chain(label);
        let named = chosen().any(|column| matches!(column, ColumnRef::Name(_)));
        let header = match header {
            _ if self.keyed => true,
            Header::Yes => true,
            Header::No if named => return Ok(None),
            Header::No => false,
            Header::Auto => named || chosen().any(|column| self.looks_like_a_name(column)),
        };
        let mut positions = Vec::new();
        for column in chosen() {
            match self.position(column)? {
                Some(position) => positions.push(position),
                None => return Ok(None),
            }
        }
        let mut names: Vec<String> = positions
            .iter()
            .map(|&position| if header { self.cells[position].trim().to_owned() } else { position.to_string() })
            .collect();
        let label = if labelled { positions.pop() } else { None };
        let label_name = if labelled { names.pop() } else { None };
        Ok(Some(Plan { header, text: positions, label, text_names: names, label_name }))
    }

    /// Where a column is.
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
                advice: "choose by number, from 0, with --text or --label".into(),
            }),
        }
    }

    /// Whether some column has this name.
    fn names(&self, name: &str) -> bool {
        self.cells.iter().any(|cell| cell.trim().eq_ignore_ascii_case(name))
    }

    /// Whether the column, chosen by number, begins with a name instead of a value.
    fn looks_like_a_name(&self, column: &ColumnRef) -> bool {
        let ColumnRef::Index(index) = column else { return false };
        let Some(cell) = self.cells.get(*index).map(|cell| cell.trim()) else { return false };
        COMMON_TEXT.iter().copied().flatten().chain(&COMMON_LABEL).any(|name| cell.eq_ignore_ascii_case(name))
    }

    /// Why no candidate fits: the first reason of those that a person can act on.
    fn refusal(&self, candidates: &[Candidate], options: &ReadOptions) -> Error {
        let given = &options.columns;
        let missing = |column: &ColumnRef| !matches!(self.position(column), Ok(Some(_)));
        let flagged = given.text.iter().map(|c| (c, "--text")).chain(given.label.iter().map(|c| (c, "--label")));
        let nameless = given.header == Header::No && !self.keyed;
        for (column, flag) in flagged {
            let reason = match column {
                ColumnRef::Name(name) if nameless => format!("without a header there is no column {name:?}"),
                ColumnRef::Name(name) if missing(column) => format!("there is no column {name:?}"),
                ColumnRef::Index(index) if missing(column) => format!("there is no column number {index}"),
                _ => continue,
            };
            return self.error(reason, flag);
        }
        let text_is_there =
            candidates.iter().any(|c| !c.columns.text.is_empty() && !c.columns.text.iter().any(missing));
        let (what, flag) = if text_is_there { ("label", "--label") } else { ("text", "--text") };
        let reason = match options.task {
            Some(task) => format!("this is not a layout of the task {task}: no {what} column is found"),
            None => format!("no {what} column is recognised"),
        };
        self.error(reason, flag)
    }

    fn error(&self, reason: String, flag: &str) -> Error {
        let advice = match self.keyed {
            true => format!("name the key with {flag}"),
            false => format!("choose the column with {flag}, by its name or its number from 0"),
        };
        Error::DataColumn { path: self.path.into(), reason, found: self.found(), advice }
    }

    /// The columns for a message, each number beside what the first row has there.
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
mod tests {
    use super::super::Task;
    use super::*;

    fn options(text: &[&str], label: Option<&str>) -> ReadOptions {
        let columns = Columns {
            text: text.iter().map(|&t| t.into()).collect(),
            label: label.map(Into::into),
            header: Header::Auto,
        };
        ReadOptions { columns, ..ReadOptions::default() }
    }

    fn plan(cells: &[&str], options: &ReadOptions) -> Result<Plan> {
        resolve(Path::new("f.tsv"), cells, false, options)
    }

    fn refusal(cells: &[&str], options: &ReadOptions) -> String {
        let error = plan(cells, options).unwrap_err();
        assert!(matches!(error, Error::DataColumn { .. }), "{error}");
        error.to_string()
    }

    #[test]
    fn digits_are_a_number() {
        assert_eq!(ColumnRef::from("3"), ColumnRef::Index(3));
        for name in ["", "text", "3a", "-1", "+1", "99999999999999999999999"] {
            assert_eq!(ColumnRef::from(name), ColumnRef::Name(name.into()));
        }
    }

    #[test]
    fn common_names_are_recognised() {
        let headers: [(&[&str], &[usize], usize); 8] = [
            (&["text", "label"], &[0], 1),
            (&["Id", "Label", "Text"], &[2], 1),
            (&["sentence", "intent"], &[0], 1),
            (&["sentence1", "sentence2", "score"], &[0, 1], 2),
            (&["index", "question", "sentence", "label"], &[1, 2], 3),
            (&["hypothesis", "premise", "gold_label"], &[1, 0], 2),
            (&["question1", "question2", "class"], &[0, 1], 2),
            (&["category", " text "], &[1], 0),
        ];
        for (header, text, label) in headers {
            let plan = plan(header, &ReadOptions::default()).unwrap();
            assert_eq!((plan.text.as_slice(), plan.label, plan.header), (text, Some(label), true), "{header:?}");
        }
    }

    #[test]
    fn an_unknown_header_is_listed_with_the_flag_to_use() {
        let message = refusal(&["utterance", "label"], &ReadOptions::default());
        assert!(message.contains("no text column") && message.contains("0 \"utterance\", 1 \"label\""), "{message}");
        assert!(message.contains("--text"), "{message}");
        let message = refusal(&["text", "topic"], &ReadOptions::default());
        assert!(message.contains("no label column") && message.contains("--label"), "{message}");
        let message = refusal(&["utterance", "topic"], &options(&["utterance"], None));
        assert!(message.contains("no label column"), "{message}");
    }

    #[test]
    fn a_column_that_does_not_exist_is_named() {
        let message = refusal(&["a", "b"], &options(&["a"], Some("c")));
        assert!(message.contains("no column \"c\"") && message.contains("--label"), "{message}");
        let message = refusal(&["a", "b"], &options(&["7"], Some("b")));
        assert!(message.contains("no column number 7") && message.contains("--text"), "{message}");
        let mut nameless = options(&["a"], Some("1"));
        nameless.columns.header = Header::No;
        assert!(refusal(&["a", "b"], &nameless).contains("without a header"));
        // A label column that is named must be there even where none is required.
        let unlabelled = ReadOptions { require_labels: false, ..options(&["a"], Some("c")) };
        assert!(refusal(&["a", "b"], &unlabelled).contains("no column \"c\""));
    }

    #[test]
    fn numbers_do_not_need_a_header_but_see_one() {
        let by_number = options(&["3"], Some("1"));
        let found = plan(&["gj04", "1", "", "The weights."], &by_number).unwrap();
        assert_eq!((found.header, found.text_names, found.label_name), (false, vec!["3".into()], Some("1".into())));
        assert!(plan(&["id", "label", "x", "remark"], &by_number).unwrap().header);
        assert!(plan(&["id", "x", "x", "Sentence"], &by_number).unwrap().header);
        let mut forced = by_number.clone();
        forced.columns.header = Header::Yes;
        assert!(plan(&["a", "b", "c", "d"], &forced).unwrap().header);
        forced.columns.header = Header::No;
        assert!(!plan(&["a", "label", "c", "text"], &forced).unwrap().header);
    }

    #[test]
    fn case_decides_only_between_names_that_differ_by_nothing_else() {
        let found = plan(&["Text", "text", "label"], &options(&["text"], None)).unwrap();
        assert_eq!(found.text, [1]);
        let found = plan(&["TEXT", "label"], &options(&["text"], None)).unwrap();
        assert_eq!(found.text, [0]);
        let message = refusal(&["text", "text", "label"], &ReadOptions::default());
        assert!(message.contains("2 columns are called \"text\"") && message.contains("number"), "{message}");
    }

    #[test]
    fn labels_are_read_where_they_are_but_not_required_to_predict() {
        let unlabelled = ReadOptions { require_labels: false, ..ReadOptions::default() };
        assert_eq!(plan(&["text"], &unlabelled).unwrap().label, None);
        assert_eq!(plan(&["text", "label"], &unlabelled).unwrap().label, Some(1));
        assert_eq!(plan(&["text", "label", "label"], &unlabelled).unwrap().label, None);
        assert!(refusal(&["text", "text", "label"], &unlabelled).contains("2 columns are called \"text\""));
        assert!(plan(&["utterance"], &unlabelled).is_err());
    }

    #[test]
    fn flags_replace_single_fields_of_a_preset() {
        let cells = ["sentence", "label", "human", "translated"];
        let sst2 = |text: &[&str], label| ReadOptions { task: Some(Task::Sst2), ..options(text, label) };
        let found = plan(&cells, &sst2(&["translated"], None)).unwrap();
        assert_eq!((found.text, found.label), (vec![3], Some(1)));
        let found = plan(&cells, &sst2(&[], Some("human"))).unwrap();
        assert_eq!((found.text, found.label), (vec![0], Some(2)));
        let message = refusal(&["text", "x"], &sst2(&[], None));
        assert!(message.contains("task sst2") && message.contains("--label"), "{message}");
    }

    #[test]
    fn three_text_columns_are_too_many() {
        assert!(matches!(plan(&["a", "b", "c"], &options(&["a", "b", "c"], None)), Err(Error::DataFile { .. })));
    }

    #[test]
    fn a_long_header_is_cut_in_the_message() {
        let wide: Vec<String> = (0..1000).map(|i| format!("{i}{}", "x".repeat(10_000))).collect();
        let cells: Vec<&str> = wide.iter().map(String::as_str).collect();
        let message = refusal(&cells, &ReadOptions::default());
        assert!(message.len() < 2000 && message.contains("and 976 more"), "{}", message.len());
    }
}
