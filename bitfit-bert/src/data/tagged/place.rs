//! From labelled spans of characters to the words of a text: which words a span touches, and which spans cannot be tags
//! of words.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;

use serde_json::Value;

use crate::data::table::kind;

/// A labelled span as an export gives it. Spans of the same characters and label are equal, whether or not their texts
/// are repeated.
#[derive(Debug, Clone)]
pub(super) struct Span {
    /// The offset of its first character, and of the one behind its last.
    start: u64,
    end: u64,
    pub(super) label: String,
    /// Its own text, where the export repeats it.
    text: Option<String>,
}

impl Ord for Span {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.start, self.end, &self.label).cmp(&(other.start, other.end, &other.label))
    }
}

impl PartialOrd for Span {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Span {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Span {}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} from character {} to {}", self.label, self.start, self.end)
    }
}

impl Span {
    /// The span of a JSON object, or of an array, whose label is the last item or the first.
    pub(super) fn parse(value: &Value, is_label_first: bool) -> Result<Self, String> {
        const SHAPE: &str = "expected [start, end, label], or an object of start, end and label";
        let (start, end, label, text) = match value {
            Value::Array(items) => match (&items[..], is_label_first) {
                ([label, start, end], true) | ([start, end, label], false) => (start, end, Some(label), None),
                _ => return Err(format!("a span is an array of {} items; {SHAPE}", items.len())),
            },
            Value::Object(span) => {
                if span.get("answer").is_some_and(|answer| answer != "accept") {
                    return Err("a span that was not accepted; export accepted ones alone, or remove it".into());
                }
                let get = |name: &str| span.get(name).or_else(|| span.get(&format!("{name}_offset")));
                let (Some(start), Some(end)) = (get("start"), get("end")) else {
                    return Err(format!("a span lacks its start or its end; {SHAPE}"));
                };
                (start, end, span.get("label").or_else(|| span.get("labels")), span.get("text"))
            }
            other => return Err(format!("{} is no span of characters; {SHAPE}", kind(other))),
        };
        let (Some(start), Some(end)) = (start.as_u64(), end.as_u64()) else {
            return Err(format!(
                "a span from {start} to {end}: its ends must be whole numbers of characters from 0 on"
            ));
        };
        let named = |label: Option<&Value>| match label {
            Some(Value::String(label)) if !label.trim().is_empty() => Ok(label.trim().to_owned()),
            Some(Value::Number(label)) => Ok(label.to_string()),
            None | Some(Value::Null | Value::String(_)) => Err("has no label; give it one, or remove it".to_owned()),
            Some(other) => Err(format!("has {} for a label; expected a text", kind(other))),
        };
        let label = match label {
            Some(Value::Array(labels)) if labels.len() > 1 => {
                Err(format!("has {} labels; a word has one tag, so keep one of them", labels.len()))
            }
            Some(Value::Array(labels)) => named(labels.first()),
            label => named(label),
        };
        let label = label.map_err(|reason| format!("the span from character {start} to {end} {reason}"))?;
        Ok(Self { start, end, label, text: text.and_then(Value::as_str).map(str::to_owned) })
    }
}

/// The words of a text with the spans that touch them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tagged {
    /// For each word, the number of its span and whether the word is the first of it.
    pub(super) words: Vec<Option<(usize, bool)>>,
    /// The number of spans that begin or end inside of a word.
    pub(super) partial: usize,
    /// Whether offsets count units of UTF-16, and it matters.
    pub(super) is_utf16: bool,
}

/// Finds the words that spans touch; `words` are those of the text, in their order.
///
/// Offsets are code points. Where every span has its own text and one of them is not there, but all are at units of
/// UTF-16, as JavaScript counts, it is these. A tool whose unit is not known (`is_unit_known`) may count either: where
/// a span without a text of its own makes a difference, it is refused.
pub(super) fn place(text: &str, words: &[Range<usize>], spans: &[Span], is_unit_known: bool) -> Result<Tagged, String> {
    // Behind the first of these characters, the two units differ.
    let differs_at = text.chars().position(|character| character.len_utf16() > 1).filter(|_| !is_unit_known);
    let is_unclear = |span: &&Span| span.text.is_none() && differs_at.is_some_and(|at| span.end > at as u64);
    if let Some(span) = spans.iter().find(is_unclear) {
        return Err(format!(
            "the span {span} has no text of its own, and before its end is a character that the tool may count once or \
             twice (beyond U+FFFF, as emoji are); give each span its text, under the key \"text\""
        ));
    }
    let mut tagged = Tagged { words: vec![None; words.len()], ..Tagged::default() };
    let ranges = match ranges(text, spans, |_| 1) {
        Ok(ranges) => ranges,
        Err(reason) => {
            let has_texts = spans.iter().all(|span| span.text.is_some());
            tagged.is_utf16 = true;
            has_texts.then(|| ranges(text, spans, char::len_utf16).ok()).flatten().ok_or(reason)?
        }
    };
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|&span| ranges[span].start);
    if let Some(pair) = order.windows(2).find(|pair| ranges[pair[1]].start < ranges[pair[0]].end) {
        let [first, second] = [&spans[pair[0]], &spans[pair[1]]];
        return Err(format!("the spans {first} and {second} overlap; a word has one tag, so keep one of them"));
    }
    for span in order {
        let range = &ranges[span];
        let first = words.partition_point(|word| word.end <= range.start);
        let touched = first..first + words[first..].partition_point(|word| word.start < range.end);
        for word in touched.clone() {
            if let Some((other, _)) = tagged.words[word].replace((span, word == first)) {
                let (other, span, word) = (&spans[other], &spans[span], &text[words[word].clone()]);
                return Err(format!(
                    "the spans {other} and {span} touch one word, {word:?}, which has one tag; keep one of them"
                ));
            }
        }
        let is_cut = |word: usize| words[word].start < range.start || words[word].end > range.end;
        tagged.partial += usize::from(is_cut(touched.start) || is_cut(touched.end - 1));
    }
    Ok(tagged)
}

/// The bytes of spans, without blanks at the ends, where offsets count units of `width`; none of them is empty.
fn ranges(text: &str, spans: &[Span], width: fn(char) -> usize) -> Result<Vec<Range<usize>>, String> {
    let wanted: HashSet<u64> = spans.iter().flat_map(|span| [span.start, span.end]).collect();
    let (mut bytes, mut length) = (HashMap::new(), 0);
    for (byte, c) in text.char_indices() {
        if wanted.contains(&length) {
            bytes.insert(length, byte);
        }
        length += width(c) as u64;
    }
    bytes.insert(length, text.len());
    let range = |span: &Span| {
        if span.start >= span.end {
            return Err(format!("the span {span} is empty; remove it"));
        }
        let (Some(&start), Some(&end)) = (bytes.get(&span.start), bytes.get(&span.end)) else {
            return Err(format!(
                "the span {span} is outside of its text, which has {length} characters; offsets count them from 0, the \
                 end behind the last"
            ));
        };
        let there = &text[start..end];
        // Label Studio writes the end of a line as a backslash and an n.
        let is = |own: &String| own == there || *own == there.replace('\n', "\\n");
        if let Some(own) = span.text.as_ref().filter(|own| !is(own)) {
            let (there, own) = (shortened(there), shortened(own));
            return Err(format!(
                "the span {span} is {there:?} in the text, but {own:?} by the export; export it with the text that was \
                 labelled"
            ));
        }
        let start = start + (there.len() - there.trim_start().len());
        match there.trim().len() {
            0 => Err(format!("the span {span} has nothing but blanks; remove it")),
            length => Ok(start..start + length),
        }
    };
    spans.iter().map(range).collect()
}

/// The beginning of a text that may be long.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}
