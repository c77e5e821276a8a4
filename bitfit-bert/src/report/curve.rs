//! Curves over the steps of a run as SVG, whose colours are those of the page.

use std::fmt::Write as _;

use super::Series;
use crate::run::chart::{Axis, escaped};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 34.0;
/// The most points of a line: more than there are pixels would make the page large.
const POINTS: usize = 800;
/// The classes of the page's style by which lines differ.
const LINES: [&str; 3] = ["one", "two", "three"];

/// A drawing of one or more series over the same steps, with a mark at the step that was kept; nothing where no series
/// has a point.
pub(super) fn curve(series: &[Series], kept: Option<f64>) -> String {
    let all = || series.iter().flat_map(|series| &series.points).filter(|(_, value)| value.is_finite());
    let Some(last) = all().map(|(step, _)| *step).reduce(f64::max) else { return String::new() };
    let axis = Axis::over(all().map(|(_, value)| *value));
    let x = |step: f64| LEFT + (WIDTH - LEFT - RIGHT) * step / last.max(1.0);
    let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - axis.first) / (axis.last - axis.first);
    let names: Vec<&str> = series.iter().map(|series| series.name.as_str()).collect();
    let mut svg =
        format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\"><title>{}</title>\n", escaped(&names.join(", ")));
    for tick in axis.ticks() {
        let at = y(tick);
        _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 8.0,
            at + 4.0,
            axis.label(tick)
        );
    }
    for (step, anchor) in [(0.0, "start"), (last, "end")] {
        let (at, below) = (x(step), HEIGHT - 12.0);
        let label = if step > 0.0 { format!("step {step}") } else { "0".into() };
        _ = writeln!(svg, "<text class=\"tick\" x=\"{at:.1}\" y=\"{below}\" text-anchor=\"{anchor}\">{label}</text>");
    }
    if let Some(at) = kept.filter(|step| *step <= last).map(x) {
        // The word stands above the plot, where no curve crosses it, and within the drawing.
        let (beside, anchor) = if at > WIDTH / 2.0 { (at + 2.0, "end") } else { (at - 2.0, "start") };
        _ = writeln!(
            svg,
            "<line class=\"kept\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{}\"/>\
             <text class=\"tick\" x=\"{beside:.1}\" y=\"{}\" text-anchor=\"{anchor}\">kept</text>",
            HEIGHT - BOTTOM,
            TOP - 2.0
        );
    }
    for (series, class) in series.iter().zip(LINES.into_iter().cycle()) {
        let points: Vec<String> =
            thinned(&series.points).iter().map(|&(step, value)| format!("{:.1},{:.1}", x(step), y(value))).collect();
        match &points[..] {
            [] => {}
            [point] => {
                let (x, y) = point.split_once(',').unwrap_or_default();
                _ = writeln!(svg, "<circle class=\"dot {class}\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>");
            }
            points => _ = writeln!(svg, "<polyline class=\"line {class}\" points=\"{}\"/>", points.join(" ")),
        }
    }
    svg.push_str("</svg>\n");
    if series.len() > 1 {
        let names = names.iter().zip(LINES.into_iter().cycle());
        let legend: String =
            names.map(|(name, class)| format!("<span class=\"key {class}\">{}</span>", escaped(name))).collect();
        _ = writeln!(svg, "<p class=\"legend\">{legend}</p>");
    }
    svg
}

/// At most [`POINTS`] finite points: of as many neighbours each the mean.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let finite: Vec<(f64, f64)> = points.iter().copied().filter(|(_, value)| value.is_finite()).collect();
    let mean = |points: &[(f64, f64)]| {
        let sums = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        (sums.0 / points.len() as f64, sums.1 / points.len() as f64)
    };
    finite.chunks(finite.len().div_ceil(POINTS).max(1)).map(mean).collect()
}
