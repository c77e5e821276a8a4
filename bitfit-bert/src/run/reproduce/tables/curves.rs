//! Curves over the size of a training set as SVG, on a logarithmic axis.

use std::fmt::Write as _;

use crate::run::chart::{Axis, CHARACTER, STYLE, escaped};

const WIDTH: f64 = 680.0;
const HEIGHT: f64 = 340.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 32.0;
const TOP: f64 = 76.0;
const BOTTOM: f64 = 44.0;
/// The least distance of two labels under the axis.
const LABELS: f64 = 52.0;

/// The colours by which lines differ, for both of the reader's colour schemes.
const COLOURS: &str = ".one{stroke:#0969da;fill:#0969da}.two{stroke:#bc4c00;fill:#bc4c00}\
.three{stroke:#1a7f37;fill:#1a7f37}.four{stroke:#8250df;fill:#8250df}\
@media (prefers-color-scheme:dark){.one{stroke:#4493f8;fill:#4493f8}.two{stroke:#f0883e;fill:#f0883e}\
.three{stroke:#3fb950;fill:#3fb950}.four{stroke:#ab7df8;fill:#ab7df8}}.line{fill:none;stroke-width:2}";
const CLASSES: [&str; 4] = ["one", "two", "three", "four"];

/// A drawing of lines over the same axis.
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) lines: Vec<Line>,
}

/// A line.
pub(super) struct Line {
    pub(super) name: String,
    /// Which of the colours it has; lines of one method have one.
    pub(super) colour: usize,
    /// Whether it was published and not measured here; then it is dashed.
    pub(super) is_published: bool,
    pub(super) points: Vec<Point>,
}

/// A point of a line: the size, and the mean with its standard deviation.
#[derive(Clone, Copy)]
pub(super) struct Point {
    pub(super) size: f64,
    pub(super) mean: f64,
    pub(super) deviation: f64,
}

/// Panels below each other.
pub(super) fn svg(panels: &[Panel]) -> String {
    let height = HEIGHT * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\">\n<style>{STYLE}{COLOURS}</style>\n\
         <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>\n"
    );
    for (place, panel) in panels.iter().enumerate() {
        panel.draw(&mut svg, HEIGHT * place as f64);
    }
    svg.push_str("</svg>\n");
    svg
}

impl Panel {
    fn draw(&self, svg: &mut String, top: f64) {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let mut sizes: Vec<f64> = points().map(|point| point.size).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        let (first, last) = (sizes.first().copied().unwrap_or(1.0).ln(), sizes.last().copied().unwrap_or(1.0).ln());
        let (left, width) = (LEFT, WIDTH - LEFT - RIGHT);
        let x = |size: f64| match last > first {
            true => left + width * (size.ln() - first) / (last - first),
            false => left + width / 2.0,
        };
        let ends = |point: &Point| [point.mean - point.deviation, point.mean + point.deviation];
        let axis = Axis::over(points().flat_map(ends));
        let (upper, lower) = (top + TOP, top + HEIGHT - BOTTOM);
        let y = |value: f64| lower - (lower - upper) * (value - axis.first) / (axis.last - axis.first);
        _ = writeln!(svg, "<text class=\"ink title\" x=\"16\" y=\"{}\">{}</text>", top + 26.0, escaped(&self.title));
        for tick in axis.ticks() {
            let (at, label) = (y(tick), axis.label(tick));
            _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{left}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                left + width,
                left - 8.0,
                at + 4.5
            );
        }
        let mut labelled = f64::NEG_INFINITY;
        for &size in &sizes {
            if x(size) - labelled >= LABELS {
                labelled = x(size);
                let y = lower + 22.0;
                _ = writeln!(
                    svg,
                    "<text class=\"soft\" x=\"{labelled:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{size}</text>"
                );
            }
        }
        let mut legend = 16.0;
        for line in &self.lines {
            line.draw(svg, &x, &y);
            let (class, dashes) = (line.class(), line.dashes());
            let (at, text) = (top + 50.0, legend + 30.0);
            _ = writeln!(
                svg,
                "<path class=\"line {class}\"{dashes} d=\"M{legend:.1} {:.1}H{:.1}\"/>\
                 <text class=\"ink\" x=\"{text:.1}\" y=\"{at:.1}\">{}</text>",
                at - 4.5,
                legend + 24.0,
                escaped(&line.name)
            );
            legend = text + line.name.chars().count() as f64 * CHARACTER + 14.0;
        }
    }
}

impl Line {
    fn class(&self) -> &'static str {
        CLASSES[self.colour % CLASSES.len()]
    }

    fn dashes(&self) -> &'static str {
        if self.is_published { " stroke-dasharray=\"5 4\"" } else { "" }
    }

    fn draw(&self, svg: &mut String, x: &impl Fn(f64) -> f64, y: &impl Fn(f64) -> f64) {
        let class = self.class();
        let place = |(number, point): (usize, &Point)| {
            format!("{}{:.1} {:.1}", if number == 0 { "M" } else { "L" }, x(point.size), y(point.mean))
        };
        let path: String = self.points.iter().enumerate().map(place).collect();
        if self.points.len() > 1 {
            _ = writeln!(svg, "<path class=\"line {class}\"{} d=\"{path}\"/>", self.dashes());
        }
        for point in self.points.iter().filter(|_| !self.is_published) {
            let (at, low, high) = (x(point.size), y(point.mean - point.deviation), y(point.mean + point.deviation));
            if point.deviation > 0.0 {
                _ = writeln!(svg, "<path class=\"line {class}\" d=\"M{at:.1} {low:.1}V{high:.1}\"/>");
            }
            _ = writeln!(svg, "<circle class=\"{class}\" cx=\"{at:.1}\" cy=\"{:.1}\" r=\"3.5\"/>", y(point.mean));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, is_published: bool, points: &[(f64, f64, f64)]) -> Line {
        let point = |&(size, mean, deviation): &(f64, f64, f64)| Point { size, mean, deviation };
        Line { name: name.into(), colour: 0, is_published, points: points.iter().map(point).collect() }
    }

    #[test]
    fn a_line_has_a_mark_for_each_point_and_a_published_one_is_dashed() {
        let ours = line("a<b", false, &[(500.0, 40.0, 1.0), (1_000.0, 50.0, 0.0), (2_000.0, 60.0, 2.0)]);
        let theirs = line("published", true, &[(500.0, 41.0, 0.0), (2_000.0, 61.0, 0.0)]);
        let svg = svg(&[Panel { title: "F1".into(), lines: vec![ours, theirs] }]);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert_eq!(svg.matches("stroke-dasharray").count(), 2, "the line and its legend");
        assert!(svg.contains(">a&lt;b<") && svg.contains(">1000<") && !svg.contains("NaN"), "{svg}");
        // Equal factors are equal distances: 56, 352, 648... in the drawing's units.
        for at in ["cx=\"56.0\"", "cx=\"352.0\"", "cx=\"648.0\""] {
            assert!(svg.contains(at), "{at} {svg}");
        }
        for element in ["svg", "text", "style"] {
            assert_eq!(svg.matches(&format!("<{element}")).count(), svg.matches(&format!("</{element}>")).count());
        }
    }

    #[test]
    fn a_single_point_and_none_are_drawn_too() {
        let alone = svg(&[Panel { title: "F1".into(), lines: vec![line("bitfit", false, &[(500.0, 40.0, 0.0)])] }]);
        assert!(alone.contains("<circle") && !alone.contains("NaN"), "{alone}");
        let none = svg(&[Panel { title: "F1".into(), lines: vec![line("bitfit", false, &[])] }]);
        assert!(!none.contains("<circle") && !none.contains("NaN") && !none.contains("inf"), "{none}");
    }
}
