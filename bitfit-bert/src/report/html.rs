//! The page of a report.

use std::fmt::Write as _;

use super::{Report, Series, class_table, curve, reliability, tables};
use crate::artefacts::heat_maps_svg;
use crate::infer::{Analysis, Mistake};
use crate::metrics::class_report::ClassReport;
use crate::run::Table;
use crate::run::chart::escaped;

/// The most classes of which the page has the whole confusion matrix.
const MATRIX: usize = 40;
/// The most confusions that are listed beside it.
const CONFUSIONS: usize = 15;
/// The characters of a text that are shown at once; the rest is behind them.
const TEXT: usize = 280;

const STYLE: &str = "\
:root{color-scheme:light dark;--back:#fff;--ink:#1f2328;--soft:#59636e;--rule:#d1d9e0;--panel:#f6f8fa;--one:#0969da;\
--two:#bc4c00;--three:#1a7f37}
@media (prefers-color-scheme:dark){:root{--back:#0d1117;--ink:#f0f6fc;--soft:#9198a1;--rule:#3d444d;--panel:#151b23;\
--one:#4493f8;--two:#f0883e;--three:#3fb950}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1rem;background:var(--back);color:var(--ink);\
font:16px/1.5 system-ui,-apple-system,\"Segoe UI\",Helvetica,Arial,sans-serif}
h1{font-size:1.6rem;line-height:1.25;overflow-wrap:anywhere}h2{font-size:1.2rem;margin-top:2.2rem;\
border-bottom:1px solid var(--rule);padding-bottom:.3rem}
p.soft,figcaption{color:var(--soft);font-size:.9rem}
.tiles{display:flex;flex-wrap:wrap;gap:.75rem;padding:0;margin:0}
.tile{background:var(--panel);border:1px solid var(--rule);border-radius:.5rem;padding:.6rem 1rem;min-width:8rem}
.tile b{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:.85rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--rule);text-align:right;vertical-align:top}
th:first-child,td:first-child{text-align:left}td:first-child{min-width:9rem;overflow-wrap:break-word}
.facts td:last-child{text-align:left;overflow-wrap:anywhere}.facts td:first-child,.texts td,.texts th{\
text-align:left;white-space:nowrap}.texts td:first-child{min-width:0}.texts td:nth-child(2){white-space:normal;overflow-wrap:anywhere;min-width:16rem}
.matrix td,.matrix th{text-align:center;border:1px solid var(--rule);min-width:2.2rem}\
.matrix td.right{font-weight:700;outline:1px solid var(--ink);outline-offset:-3px}.matrix th{font-weight:500}.matrix th:first-child{text-align:left;white-space:nowrap}
figure svg{width:100%;max-width:44rem;height:auto}figure svg.square{max-width:22rem}\
@media(max-width:40rem){figure svg:not(.square) .tick{font-size:20px}}
.kept{stroke:var(--ink);stroke-dasharray:2 3}.grid{stroke:var(--rule)}.tick{fill:var(--soft);font-size:12px}.diagonal{stroke:var(--soft);stroke-dasharray:4 4}
.line{fill:none;stroke-width:2}.line.one{stroke:var(--one)}.line.two{stroke:var(--two)}.line.three{stroke:var(--three)}
.dot.one,.bin{fill:var(--one)}.dot.two{fill:var(--two)}.dot.three{fill:var(--three)}
.legend{display:flex;gap:1.2rem;margin:.2rem 0;font-size:.9rem}.key::before{content:\"\";display:inline-block;\
width:1.2rem;height:.2rem;margin-right:.4rem;vertical-align:middle}
.key.one::before{background:var(--one)}.key.two::before{background:var(--two)}.key.three::before{background:var(--three)}
figure{margin:1rem 0}details summary{cursor:pointer}";

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let title = escaped(&report.title);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{STYLE}\n</style></head><body>\n<h1>{title}</h1>\n"
    );
    if let Some((file, analysis)) = &report.analysis {
        scores(&mut page, file, analysis);
    }
    section(&mut page, "Data", &facts(&report.data));
    section(&mut page, "Settings", &facts(&report.facts));
    section(&mut page, "Course of the run", &course(report));
    if let Some((_, analysis)) = &report.analysis {
        section(&mut page, "Rejected texts", &rejection(analysis));
        let table = class_table(analysis).map(|table| html_table(&table)).unwrap_or_default();
        section(&mut page, "Classes", &table);
        section(
            &mut page,
            "Confusions",
            &analysis.classes.as_ref().map_or_else(String::new, |report| confusion(report, &analysis.names)),
        );
        section(&mut page, "Calibration", &probabilities(analysis));
        let is_score = analysis.classes.is_none() && analysis.labels.is_empty();
        let weight = if is_score { "distance" } else { "probability" };
        section(&mut page, "Worst mistakes", &mistakes(&analysis.mistakes, weight));
    }
    section(&mut page, "What moved", &movement(report));
    page.push_str("</body></html>\n");
    page
}

/// A section, unless it is empty.
fn section(page: &mut String, title: &str, content: &str) {
    if !content.is_empty() {
        _ = writeln!(page, "<section><h2>{title}</h2>\n{content}</section>");
    }
}

fn scores(page: &mut String, file: &str, analysis: &Analysis) {
    page.push_str("<div class=\"tiles\">\n");
    for score in &analysis.scores {
        let name = score.metric.name();
        _ = writeln!(page, "<div class=\"tile\"><b>{:.4}</b><span>{name}</span></div>", score.value);
    }
    if let Some(answered) = &analysis.answered {
        let share = answered.coverage() * 100.0;
        _ = writeln!(page, "<div class=\"tile\"><b>{share:.1} %</b><span>answered</span></div>");
    }
    let file = escaped(file);
    _ = writeln!(page, "<div class=\"tile\"><b>{}</b><span>texts of {file}</span></div>\n</div>", analysis.rows);
}

fn facts(facts: &[(String, String)]) -> String {
    if facts.is_empty() {
        return String::new();
    }
    let row =
        |(name, value): &(String, String)| format!("<tr><td>{}</td><td>{}</td></tr>\n", escaped(name), escaped(value));
    format!(
        "<div class=\"wide\"><table class=\"facts\">\n{}</table></div>\n",
        facts.iter().map(row).collect::<String>()
    )
}

fn course(report: &Report) -> String {
    let course = &report.course;
    if course.is_empty() {
        return String::new();
    }
    let figure = |caption: &str, drawing: String| match drawing.is_empty() {
        true => String::new(),
        false => format!("<figure>{drawing}<figcaption>{caption}</figcaption></figure>\n"),
    };
    // A constant one is among the settings.
    let changes = course.rate.points.windows(2).any(|pair| pair[0].1 != pair[1].1);
    let curve = |series: &[Series]| curve::curve(series, course.kept);
    let kept = course.kept.map(|step| format!("<p class=\"soft\">What was kept are the values of step {step}.</p>\n"));
    figure("Mean loss of the steps from one point to the next", curve(std::slice::from_ref(&course.loss)))
        + &figure("Scores on the evaluation set", curve(&course.scores))
        + &figure("Learning rate", curve(if changes { std::slice::from_ref(&course.rate) } else { &[] }))
        + &kept.unwrap_or_default()
}

/// The rows of a table, its first column to the left.
fn html_table(table: &Table) -> String {
    let cells = |row: &[String], tag: &str| -> String {
        row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect()
    };
    let rows: String = table.rows.iter().map(|row| format!("<tr>{}</tr>\n", cells(row, "td"))).collect();
    format!("<div class=\"wide\"><table>\n<tr>{}</tr>\n{rows}</table></div>\n", cells(&table.columns, "th"))
}

/// What a task answers that rejects texts.
fn rejection(analysis: &Analysis) -> String {
    let (Some(answered), Some(table)) = (&analysis.answered, tables::answered_table(analysis)) else {
        return String::new();
    };
    format!(
        "<p class=\"soft\">A text whose most probable class is below a probability of {:.4} is rejected: it is given no \
         class. The sections below are of all texts.</p>\n{}",
        answered.reject_below,
        html_table(&table)
    )
}

fn confusion(report: &ClassReport, names: &[String]) -> String {
    let mut content = String::new();
    if names.len() <= MATRIX {
        content.push_str(
            "<p class=\"soft\">Rows are what is right, columns, by their numbers, what was answered. Right answers are on \
             the diagonal, framed, bold and blue; confusions are orange. The stronger the colour, the greater the share \
             of the row.</p>\n",
        );
        content.push_str("<div class=\"wide\"><table class=\"matrix\">\n<tr><th></th>");
        for (number, name) in names.iter().enumerate() {
            _ = write!(content, "<th title=\"{}\">{}</th>", escaped(name), number + 1);
        }
        content.push_str("</tr>\n");
        for (number, (name, row)) in names.iter().zip(report.confusion.rows()).enumerate() {
            _ = write!(content, "<tr><th>{} {}</th>", number + 1, escaped(name));
            let total = row.sum().max(1) as f64;
            for (column, &count) in row.iter().enumerate() {
                let (class, colour) = if column == number { (" class=\"right\"", "--one") } else { ("", "--two") };
                // The share of the class by the strength of the colour, of which text stays readable in front.
                let share = (count as f64 / total * 55.0).round();
                let back = format!("background:color-mix(in srgb,var({colour}) {share}%,transparent)");
                let text = if count > 0 { count.to_string() } else { String::new() };
                _ = write!(content, "<td{class} style=\"{back}\">{text}</td>");
            }
            content.push_str("</tr>\n");
        }
        content.push_str("</table></div>\n");
    }
    let most = tables::confusions(report, names, CONFUSIONS);
    if !most.is_empty() {
        let columns = ["what is right", "what was answered", "texts"].map(str::to_owned).to_vec();
        let rows = most.into_iter().map(|(right, answered, count)| vec![right, answered, count.to_string()]).collect();
        let table = html_table(&Table { columns, rows });
        _ = write!(content, "<details><summary>The most frequent confusions</summary>\n{table}</details>\n");
    }
    content
}

fn probabilities(analysis: &Analysis) -> String {
    let Some(found) = &analysis.reliability else { return String::new() };
    let (what, of, x, y) = match analysis.labels.is_empty() {
        true => (
            "The share of answers that are right, by the probability that was stated",
            "answers",
            "stated probability of the answer",
            "share of answers that are right",
        ),
        false => (
            "The share of labels that are there, by the probability that was stated",
            "labels of texts",
            "stated probability of a label",
            "share of texts that have the label",
        ),
    };
    format!(
        "<figure>{}<figcaption>{what}; where a bar ends above the dashed line, \
         probabilities are too low, below it, too high. The stronger a bar, the more {of} it stands for. Expected calibration error {:.4}, cross-entropy \
         {:.4}.</figcaption></figure>\n",
        reliability::diagram(found, x, y),
        found.ece,
        found.loss
    )
}

fn mistakes(mistakes: &[Mistake], weight: &str) -> String {
    if mistakes.is_empty() {
        return String::new();
    }
    let mut content = String::from(
        "<p class=\"soft\">The answers that are furthest from right, beginning with the worst. The same mistake \
         about the same text is listed once, with its first line.</p>\n\
         <div class=\"wide\"><table class=\"texts\">\n<tr><th>line</th><th>text</th><th>right</th><th>answered</th><th>",
    );
    _ = writeln!(content, "{weight}</th></tr>");
    for mistake in mistakes {
        let texts: Vec<String> = mistake.texts.iter().map(|text| shown(text)).collect();
        let (expected, answered) = (escaped(&mistake.expected), escaped(&mistake.answered));
        let again = if mistake.times > 1 { format!(" (×&#8239;{})", mistake.times) } else { String::new() };
        _ = writeln!(
            content,
            "<tr><td>{}{again}</td><td>{}</td><td>{expected}</td><td>{answered}</td><td>{:.3}</td></tr>",
            mistake.line,
            texts.join("<br>"),
            mistake.weight
        );
    }
    content.push_str("</table></div>\n");
    content
}

/// A text, of which a long one is shown in part.
fn shown(text: &str) -> String {
    match text.char_indices().nth(TEXT) {
        Some((end, _)) => {
            format!("<details><summary>{} …</summary>{}</details>", escaped(&text[..end]), escaped(&text[end..]))
        }
        None => escaped(text),
    }
}

fn movement(report: &Report) -> String {
    match &report.movement {
        Some(map) if !map.rows.is_empty() => {
            format!(
                "<div class=\"wide\">{}</div>\n<p class=\"soft\">Layer 0 is the first. Key biases have a gradient of \
                 exactly zero and stay as they are. What is in no layer, and the head, is not shown.</p>\n",
                heat_maps_svg(std::slice::from_ref(map))
            )
        }
        _ => String::new(),
    }
}
