//! The classes or labels of a plan, with the number of rows of each; or what is masked.

use bitfit_bert::data::Kind;
use bitfit_bert::run::Plan;

use super::{grouped, notes::rows_text};

/// So many classes are named; of more the most and the least frequent.
const MOST_NAMED: usize = 8;

/// What is predicted: `2 classes (blame 32, praise 32)`.
pub fn text(plan: &Plan) -> String {
    if let Some(masking) = plan.masking {
        let what = if masking.whole_words { "words" } else { "tokens" };
        return format!("{} % of the {what} are masked", (masking.probability * 1e4).round() / 1e2);
    }
    let Some(names) = &plan.labels else {
        return match plan.kind {
            Kind::Span => format!("answers in a context; {} without one", rows_text(plan.unlabelled_rows)),
            _ => "scores".into(),
        };
    };
    let counted: Vec<(&str, usize)> = names.iter().map(String::as_str).zip(plan.label_rows.iter().copied()).collect();
    let what = match plan.kind {
        Kind::MultiLabel => "labels",
        Kind::Tag => "tags",
        Kind::Classify | Kind::Regress | Kind::Span | Kind::MaskedLm => "classes",
    };
    let mut text = format!("{} {what}", grouped(names.len()));
    if let Some(separator) = plan.label_separator {
        text += &format!(" separated by {separator:?}");
    }
    text += &counts(&counted);
    if plan.kind == Kind::MultiLabel {
        text += &format!("; {} without any", rows_text(plan.unlabelled_rows));
    }
    text
}

/// What follows the number of labels: the rows of each, or of the most and the least frequent.
fn counts(labels: &[(&str, usize)]) -> String {
    let one = |(name, rows): &(&str, usize)| format!("{} {}", short(name), grouped(*rows));
    if labels.len() <= MOST_NAMED {
        return format!(": {}", labels.iter().map(one).collect::<Vec<_>>().join(", "));
    }
    if labels.iter().all(|(_, rows)| *rows == labels[0].1) {
        return format!(" of {} each", rows_text(labels[0].1));
    }
    // Of equal counts, the first.
    let most = labels.iter().rev().max_by_key(|(_, rows)| *rows).map(one).unwrap_or_default();
    let least = labels.iter().min_by_key(|(_, rows)| *rows).map(one).unwrap_or_default();
    format!(": most rows {most}, fewest rows {least}")
}

/// A name without its end if it is long.
pub fn short(name: &str) -> String {
    let mut characters = name.chars();
    let start: String = characters.by_ref().take(32).collect();
    if characters.next().is_some() { format!("{start}…") } else { start }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_named_and_of_many_the_ends() {
        assert_eq!(counts(&[("blame", 32), ("praise", 1_000)]), ": blame 32, praise 1,000");
        let many: Vec<String> = (0..9).map(|i| format!("class-{i}")).collect();
        let rows = [5, 9, 3, 9, 3, 5, 5, 5, 5];
        let counted: Vec<_> = many.iter().map(String::as_str).zip(rows).collect();
        assert_eq!(counts(&counted), ": most rows class-1 9, fewest rows class-2 3");
        let equal: Vec<_> = many.iter().map(|name| (name.as_str(), 45)).collect();
        assert_eq!(counts(&equal), " of 45 rows each");
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(short(&"é".repeat(32)), "é".repeat(32));
        assert_eq!(short(&"é".repeat(33)), format!("{}…", "é".repeat(32)));
    }
}
