//! The notes of a plan, each one line with what to do.

use bitfit_bert::infer::Cut;
use bitfit_bert::run::{Occurrence, Plan, PlanNote, Scaling};

use super::{grouped, labels::short};

/// So many labels are named in a note.
const MOST_NAMED: usize = 5;

/// A note as a line.
pub fn text(note: &PlanNote, plan: &Plan) -> String {
    match note {
        PlanNote::Standardized(Scaling { mean, deviation }) => format!(
            "scores are standardised in training, by their mean {mean:.4} and their deviation {deviation:.4}; answers are in \
             their own units"
        ),
        PlanNote::FirstRowMayBeHeader { line, text } => header_text(*line, "trained on", text),
        PlanNote::HeaderAmongRows(label) => format!(
            "line {} may be a header among the rows: its label is {:?}, the name of the column ({})",
            label.line,
            short(&label.name),
            rows_text(label.rows)
        ),
        PlanNote::MayBeMissing(label) => format!("{} may stand for a missing label", occurrence(label)),
        PlanNote::DifferInCase(labels) => format!("{} differ only in the case of letters", named(labels)),
        PlanNote::OneNumber(labels) => format!("{} are one number, written differently", named(labels)),
        PlanNote::OneScore(score) => format!("every score is {score}, so that there is nothing to learn"),
        PlanNote::SingleRows(labels) if labels.len() == 1 => {
            format!("only one row has the label {}", place(&labels[0]))
        }
        PlanNote::SingleRows(labels) => {
            format!("{} labels have a single row each: {}", grouped(labels.len()), places(labels))
        }
        PlanNote::MayBeScores(classes) => format!(
            "all {} classes are numbers: if they are scores, choose --kind regress, otherwise --kind classify",
            grouped(*classes)
        ),
        PlanNote::OneLabelATextAtMost => {
            "no text has more than one label; for one class a text choose --kind classify".into()
        }
        PlanNote::LostAnswers { questions, of } => format!(
            "{} of {} answers are in no sequence as a whole, and are trained on as if there were none; a greater --stride \
             or --max-length may find them",
            grouped(*questions),
            grouped(*of)
        ),
        PlanNote::BeyondSentenceEncoder { texts, of, length, path } => format!(
            "{} of {} texts are read beyond {length} tokens, where sentence-transformers cuts them ({}); --max-length \
             {length} cuts them there too",
            grouped(*texts),
            grouped(*of),
            path.display()
        ),
        PlanNote::EvaluatedOnTrained { texts, of } => format!(
            "{} of {} evaluation texts are also trained on, so that their scores say little of other texts",
            grouped(*texts),
            grouped(*of)
        ),
        PlanNote::WithoutRows(names) => format!(
            "{} have no row to train on: {}",
            if names.len() == 1 { "1 class".into() } else { format!("{} classes", grouped(names.len())) },
            listed(names, |name| format!("{:?}", short(name)), ", ")
        ),
        PlanNote::SeveralSequences { texts, of, sequences } => format!(
            "{} of {} texts are longer than {} tokens and are read in several sequences, so that nothing is left out: {} \
             sequences in all",
            grouped(*texts),
            grouped(*of),
            plan.max_length,
            grouped(*sequences)
        ),
        PlanNote::NothingToMask(texts) => {
            format!("no token of {} can be masked: empty, or unknown to the tokenizer", rows_text(*texts))
        }
        PlanNote::OtherTokenizer { tokens, embeddings } => format!(
            "the tokenizer has {} tokens, and the model embeddings of {}: with the files of another model's tokenizer it \
             learns and answers other texts than it is given",
            grouped(*tokens),
            grouped(*embeddings)
        ),
        PlanNote::Cut(cut) => {
            let most = plan.config.max_length();
            let longer = if plan.max_length < most {
                format!("; --max-length {most} is the most that the model reads")
            } else {
                ", the most that the model reads".into()
            };
            format!("{}{longer}", cut_text(cut, plan.max_length))
        }
    }
}

/// A first row that may be a header, and what is done with it.
pub fn header_text(line: usize, done: &str, text: &str) -> String {
    format!(
        "line {line} is {done}, but its text {:?} is unlike those of all other rows: if the line names the columns, add \
         --header, otherwise --no-header",
        short(text)
    )
}

/// The texts that are cut at a maximum length.
pub fn cut_text(cut: &Cut, max_length: usize) -> String {
    format!(
        "{} of {} texts are longer than {max_length} tokens and are cut, which loses {} of their tokens",
        grouped(cut.texts),
        grouped(cut.of),
        share(cut.left_out, cut.tokens)
    )
}

/// A number of rows, with its noun.
pub fn rows_text(rows: usize) -> String {
    if rows == 1 { "1 row".into() } else { format!("{} rows", grouped(rows)) }
}

/// A share in percent: at least 1, because there is one, and at most 99.
fn share(part: usize, whole: usize) -> String {
    let percent = (100.0 * part as f64 / whole.max(1) as f64).round();
    format!("{} %", percent.clamp(1.0, 99.0))
}

fn occurrence(label: &Occurrence) -> String {
    let first = if label.rows == 1 { "line" } else { "first in line" };
    format!("{:?} ({}, {first} {})", short(&label.name), rows_text(label.rows), label.line)
}

fn place(label: &Occurrence) -> String {
    format!("{:?} (line {})", short(&label.name), label.line)
}

fn named(labels: &[Occurrence]) -> String {
    listed(labels, occurrence, " and ")
}

fn places(labels: &[Occurrence]) -> String {
    listed(labels, place, ", ")
}

/// The first labels, then how many more.
fn listed<T>(labels: &[T], one: impl Fn(&T) -> String, between: &str) -> String {
    let shown: Vec<String> = labels.iter().take(MOST_NAMED).map(&one).collect();
    let more = labels.len() - shown.len();
    let more = if more > 0 { format!("{between}{} more", grouped(more)) } else { String::new() };
    format!("{}{more}", shown.join(between))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_that_is_there_is_never_none_and_never_all() {
        assert_eq!([share(1, 1_000), share(1, 3), share(999, 1_000)], ["1 %", "33 %", "99 %"]);
    }

    #[test]
    fn of_many_labels_the_first_are_named() {
        let label = |i: usize| Occurrence { name: format!("c{i}"), rows: 1, line: i };
        let labels: Vec<_> = (0..7).map(label).collect();
        assert!(places(&labels).ends_with("\"c4\" (line 4), 2 more"), "{}", places(&labels));
        assert_eq!(named(&labels[..2]), "\"c0\" (1 row, line 0) and \"c1\" (1 row, line 1)");
    }
}
