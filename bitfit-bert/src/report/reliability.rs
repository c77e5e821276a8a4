//! The reliability diagram: for each bin of probabilities the share that is right, beside the diagonal on which both
//! are equal.

use std::fmt::Write as _;

use crate::calibrate::{BINS, Reliability};

const SIDE: f64 = 240.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 36.0;

/// The diagram as SVG, with the titles of its axes.
pub(super) fn diagram(reliability: &Reliability, x_title: &str, y_title: &str) -> String {
    let (width, height) = (LEFT + SIDE + 16.0, TOP + SIDE + BOTTOM);
    let (x, y) = (|share: f64| LEFT + SIDE * share, |share: f64| TOP + SIDE * (1.0 - share));
    let mut svg = format!(
        "<svg class=\"square\" viewBox=\"0 0 {width} {height}\" role=\"img\"><title>reliability diagram</title>\n"
    );
    let most = reliability.bins.iter().map(|bin| bin.rows).max().unwrap_or(0).max(1) as f64;
    for share in [0.0, 0.5, 1.0] {
        let (across, up) = (x(share), y(share));
        _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{up:.1}\" y2=\"{up:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{share}</text>\
             <text class=\"tick\" x=\"{across:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{share}</text>",
            LEFT + SIDE,
            LEFT - 8.0,
            up + 4.0,
            TOP + SIDE + 16.0
        );
    }
    for (place, bin) in reliability.bins.iter().enumerate().filter(|(_, bin)| bin.rows > 0) {
        let (left, top, bar) = (x(place as f64 / BINS as f64) + 1.0, y(bin.right), SIDE / BINS as f64 - 2.0);
        // The more rows, the stronger: a bin of few says little.
        let opacity = 0.25 + 0.75 * (bin.rows as f64 / most).sqrt();
        _ = writeln!(
            svg,
            "<rect class=\"bin\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{bar:.1}\" height=\"{:.1}\" \
             fill-opacity=\"{opacity:.2}\"><title>{} answers of a mean probability of {:.3}, {:.3} of them right</title>\
             </rect>",
            TOP + SIDE - top,
            bin.rows,
            bin.probability,
            bin.right
        );
    }
    let (start, end) = ((x(0.0), y(0.0)), (x(1.0), y(1.0)));
    _ = writeln!(
        svg,
        "<line class=\"diagonal\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>\
         <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x_title}</text>\
         <text class=\"tick\" transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{y_title}</text>\n</svg>",
        start.0,
        start.1,
        end.0,
        end.1,
        LEFT + SIDE / 2.0,
        height - 4.0,
        TOP + SIDE / 2.0
    );
    svg
}
