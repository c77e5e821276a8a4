//! Which format the sentences of a file are in, by its first lines.

use std::path::Path;

use crate::data::format::extension;
use crate::data::{Format, columns};
use crate::{Error, Result, Setting};

use super::{conll, conllu};

/// Extensions of files that are no plain lines.
const EXTENSIONS: [&str; 5] = ["conll", "bio", "iob", "iob2", "bioes"];

/// The format of a file that begins with `start`. Without tags, it may be plain lines.
///
/// # Errors
/// [`Error::DataColumn`] where tags are required and the lines are of no format that has them, and where the lines are
/// those of a table of texts.
pub(super) fn format(start: &[u8], path: &Path, requires_tags: bool) -> Result<Format> {
    let text = String::from_utf8_lossy(start);
    // The last line may be cut.
    let whole = text.rfind('\n').map_or(&*text, |end| &text[..=end]);
    let lines: Vec<&str> = whole.lines().collect();
    let is_row = |line: &&&str| !line.trim().is_empty() && !line.starts_with('#');
    let rows: Vec<&str> = lines.iter().filter(is_row).copied().collect();
    let Some(first) = rows.first() else {
        return Ok(if requires_tags { Format::Conll } else { Format::Lines });
    };
    if first.starts_with(['{', '[']) {
        return Ok(Format::Jsonl);
    }
    if conllu::is_row(first) {
        return Ok(Format::Conllu);
    }
    let width = conll::fields(first).len();
    let odd = rows.iter().find(|row| conll::fields(row).len() != width && !row.starts_with(conll::DOCUMENT));
    let is_table = odd.is_none() && width > 1;
    let is_conll = EXTENSIONS.contains(&extension(path).as_str());
    if is_table && first.contains('\t') {
        refuse_texts(&lines, first, path, requires_tags)?;
    }
    let has_sentences = is_conll || lines.iter().any(|line| line.trim().is_empty()) || first.contains('\t');
    match (requires_tags, odd) {
        (true, None) if is_table => Ok(Format::Conll),
        // Lines of as many words each would look like columns, but no blank line parts them.
        (false, None) if has_sentences && (is_table || width == 1) => Ok(Format::Conll),
        (false, _) => Ok(Format::Lines),
        (true, odd) => {
            let found = match odd {
                Some(row) => format!("a line of {width} and one of {} fields were found", conll::fields(row).len()),
                None => "the first line has one field".into(),
            };
            Err(Error::DataColumn {
                path: path.into(),
                reason: "no words with tags are recognised".into(),
                found,
                advice:
                    "give a word and its tag a line, with a blank line behind each sentence (conll), CoNLL-U, JSON \
                         lines with a list of words and one of tags, or an export of a labelling tool with spans"
                        .into(),
                settings: &[Setting::Format],
            })
        }
    }
}

/// Refuses rows between tabs that are texts with a label each: below a header of such columns, or with blanks in the
/// words and without a blank line between sentences.
fn refuse_texts(lines: &[&str], first: &str, path: &Path, requires_tags: bool) -> Result<()> {
    let has_blanks = |line: &&&str| conll::fields(line).iter().any(|field| field.contains(char::is_whitespace));
    let found = if columns::are_names(&conll::fields(first)) {
        format!("the first row, {first:?}, names the columns of texts")
    } else if let Some(row) = lines.iter().find(has_blanks).filter(|_| lines.iter().all(|line| !line.trim().is_empty()))
    {
        let start: String = row.chars().take(32).collect();
        format!("no blank line is between sentences, and fields such as those of {start:?} hold several words")
    } else {
        return Ok(());
    };
    let (advice, settings): (_, &[Setting]) = match requires_tags {
        true => ("the kind classify is for labels of texts, and the format conll", &[Setting::Kind, Setting::Format]),
        false => ("give the texts alone, one a line, or choose the format conll", &[Setting::Format]),
    };
    Err(Error::DataColumn {
        path: path.into(),
        reason: "it looks like a table of texts with a label each".into(),
        found,
        advice: format!("{advice} where each row is a word"),
        settings,
    })
}
