//! A chart of a comparison as SVG: for each method a row with the score of each run, their mean and the standard
//! deviation around it. Colours follow the reader's dark or light scheme, and fonts are the system's.

use std::fmt::Write as _;

/// A chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// What the axis shows.
    pub(super) title: String,
    pub(super) rows: Vec<ChartRow>,
}

/// The row of a method.
#[derive(Clone, Debug)]
pub(super) struct ChartRow {
    pub(super) label: String,
    /// What stands behind the plot, such as the number of scalars that train.
    pub(super) note: String,
    /// The value of each run.
    pub(super) values: Vec<f64>,
    /// The mean and the standard deviation, 0 for a single run; `None` where there is no value.
    pub(super) mean: Option<(f64, f64)>,
    /// A published value beside them, which is drawn as a diamond.
    pub(super) reference: Option<f64>,
}

/// The width of a character in units of the drawing, generously: the font is not known.
pub(crate) const CHARACTER: f64 = 7.4;
const ROW: f64 = 38.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 40.0;
const MARGIN: f64 = 16.0;
const PLOT: f64 = 420.0;

/// The colours and the font, for both of the reader's colour schemes.
pub(crate) const STYLE: &str = "\
.back{fill:#fff}.ink{fill:#1f2328}.soft{fill:#59636e}.grid{stroke:#d1d9e0}.mark{fill:#0969da}.bar{stroke:#0969da}
@media (prefers-color-scheme:dark){.back{fill:#0d1117}.ink{fill:#f0f6fc}.soft{fill:#9198a1}.grid{stroke:#3d444d}\
.mark{fill:#4493f8}.bar{stroke:#4493f8}}
text{font:13px system-ui,-apple-system,\"Segoe UI\",Helvetica,Arial,sans-serif}text.title{font-weight:600}";

impl Chart {
    /// The SVG.
    pub(super) fn svg(&self) -> String {
        let widest = |field: fn(&ChartRow) -> &str| {
            self.rows.iter().map(|row| field(row).chars().count()).max().unwrap_or(0) as f64 * CHARACTER
        };
        let left = MARGIN + widest(|row| &row.label) + 14.0;
        let notes = left + PLOT + 18.0;
        let title_width = MARGIN * 2.0 + self.title.chars().count() as f64 * CHARACTER;
        let width = (notes + widest(|row| &row.note) + MARGIN).max(title_width).ceil();
        let bottom = TOP + ROW * self.rows.len() as f64;
        let height = bottom + BOTTOM;
        let axis = Axis::over(self.rows.iter().flat_map(ChartRow::extent));
        let x = |value: f64| left + PLOT * (value - axis.first) / (axis.last - axis.first);

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"back\" width=\"{width}\" height=\"{height}\"/>\n\
             <text class=\"ink title\" x=\"{MARGIN}\" y=\"26\">{title}</text>\n",
            title = escaped(&self.title)
        );
        for tick in axis.ticks() {
            let (at, label) = (x(tick), axis.label(tick));
            _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
                 <text class=\"soft\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                bottom + 20.0
            );
        }
        for (place, row) in self.rows.iter().enumerate() {
            let y = TOP + ROW * (place as f64 + 0.5);
            row.draw(&mut svg, y, left, notes, &x);
        }
        svg.push_str("</svg>\n");
        svg
    }
}

impl ChartRow {
    /// The values that the axis must reach.
    fn extent(&self) -> impl Iterator<Item = f64> {
        let ends = self.mean.into_iter().flat_map(|(mean, deviation)| [mean - deviation, mean + deviation]);
        self.values.iter().copied().chain(ends).chain(self.reference)
    }

    fn draw(&self, svg: &mut String, y: f64, left: f64, notes: f64, x: &impl Fn(f64) -> f64) {
        let text = y + 4.5;
        _ = writeln!(
            svg,
            "<text class=\"ink\" x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text>\
             <text class=\"soft\" x=\"{notes:.1}\" y=\"{text:.1}\">{}</text>",
            left - 14.0,
            escaped(&self.label),
            escaped(&self.note)
        );
        for &value in &self.values {
            let at = x(value);
            _ = writeln!(svg, "<circle class=\"mark\" cx=\"{at:.1}\" cy=\"{y:.1}\" r=\"3\" fill-opacity=\"0.35\"/>");
        }
        if let Some(reference) = self.reference {
            let at = x(reference);
            _ = writeln!(
                svg,
                "<path class=\"bar\" stroke-width=\"1.5\" fill=\"none\" \
                 d=\"M{:.1} {y:.1}L{at:.1} {:.1}L{:.1} {y:.1}L{at:.1} {:.1}Z\"/>",
                at - 7.0,
                y - 9.0,
                at + 7.0,
                y + 9.0
            );
        }
        let Some((mean, deviation)) = self.mean else { return };
        let (low, high, at) = (x(mean - deviation), x(mean + deviation), x(mean));
        if deviation > 0.0 {
            let (above, below) = (y - 5.0, y + 5.0);
            _ = writeln!(
                svg,
                "<path class=\"bar\" stroke-width=\"2\" fill=\"none\" \
                 d=\"M{low:.1} {y:.1}H{high:.1}M{low:.1} {above:.1}V{below:.1}M{high:.1} {above:.1}V{below:.1}\"/>"
            );
        }
        _ = writeln!(svg, "<circle class=\"mark\" cx=\"{at:.1}\" cy=\"{y:.1}\" r=\"5.5\"/>");
    }
}

/// The ends of an axis, which are ticks, and the distance of two ticks.
pub(crate) struct Axis {
    pub(crate) first: f64,
    pub(crate) last: f64,
    step: f64,
}

impl Axis {
    /// An axis over values with about five ticks at round numbers.
    pub(crate) fn over(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        // Values that are all alike are in the middle.
        let (low, high) =
            if high - low > 1e-9 * high.abs().max(1e-3) { (low, high) } else { (low - 0.05, high + 0.05) };
        let rough = (high - low) / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|unit| unit * power).into_iter().find(|step| *step >= rough * 0.999);
        let step = step.unwrap_or(power);
        Self { first: (low / step + 1e-6).floor() * step, last: (high / step - 1e-6).ceil() * step, step }
    }

    pub(crate) fn ticks(&self) -> impl Iterator<Item = f64> {
        let count = ((self.last - self.first) / self.step).round() as usize;
        (0..=count).map(|tick| self.first + tick as f64 * self.step)
    }

    /// A tick's value with as many decimals as the step has.
    pub(crate) fn label(&self, tick: f64) -> String {
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        let text = format!("{tick:.decimals$}");
        if text.trim_start_matches('-').chars().all(|c| "0.".contains(c)) { text.replace('-', "") } else { text }
    }
}

/// A text as XML, without the control characters that XML has no place for.
pub(crate) fn escaped(text: &str) -> String {
    let blank = |c: char| if c.is_whitespace() { ' ' } else { c };
    let text: String = text.chars().map(blank).filter(|c| !c.is_control()).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text content of a well-formed document of elements, attributes in double quotes and text.
    fn texts(svg: &str) -> Vec<String> {
        let (mut open, mut rest, mut texts) = (Vec::new(), svg.trim_end(), Vec::new());
        while let Some(start) = rest.find('<') {
            let text = &rest[..start];
            assert!(!text.contains('>') && (text.trim().is_empty() || !open.is_empty()), "{text}");
            let end = start + rest[start..].find('>').expect("a tag ends");
            let tag = &rest[start + 1..end];
            assert!(!tag.contains('<') && tag.matches('"').count() % 2 == 0, "{tag}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name), "elements are closed in their order");
                texts.push(text.to_owned());
            } else if !tag.ends_with('/') {
                open.push(tag.split(' ').next().unwrap());
            }
            for value in tag.split('"').skip(1).step_by(2).filter_map(|value| value.parse::<f64>().ok()) {
                assert!(value.is_finite(), "{tag}");
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty() && rest.is_empty(), "{open:?} {rest:?}");
        for entity in svg.split('&').skip(1) {
            assert!(["amp;", "lt;", "gt;", "quot;"].iter().any(|known| entity.starts_with(known)), "&{entity}");
        }
        texts
    }

    fn row(label: &str, values: &[f64], mean: Option<(f64, f64)>) -> ChartRow {
        ChartRow { label: label.into(), note: "5,390 scalars".into(), values: values.to_vec(), mean, reference: None }
    }

    #[test]
    fn it_is_well_formed_and_escapes_names() {
        let rows = vec![
            row("probe", &[0.79], Some((0.79, 0.0))),
            row("a<b & \"c\"", &[0.8, 0.83], Some((0.815, 0.02))),
            row("diverged", &[], None),
        ];
        let svg = Chart { title: "accuracy > nothing".into(), rows }.svg();
        let texts = texts(&svg);
        for part in ["accuracy &gt; nothing", "a&lt;b &amp; &quot;c&quot;", "5,390 scalars", "0.80", "diverged"] {
            assert!(texts.iter().any(|text| text == part), "{part}\n{svg}");
        }
        assert_eq!(svg.matches("r=\"5.5\"").count(), 2, "a mean each");
        assert_eq!(svg.matches("class=\"bar\"").count(), 1, "a deviation");
        assert!(svg.contains("prefers-color-scheme:dark") && !svg.contains("NaN") && !svg.contains("url("), "{svg}");
    }

    #[test]
    fn a_published_value_is_a_diamond_on_the_axis() {
        let rows = vec![ChartRow { reference: Some(0.9), ..row("bitfit", &[0.79], Some((0.79, 0.0))) }];
        let svg = Chart { title: "accuracy".into(), rows }.svg();
        assert!(texts(&svg).iter().any(|text| text == "0.90"), "the axis reaches it: {svg}");
        assert_eq!(svg.matches("Z\"/>").count(), 1, "{svg}");
    }

    #[test]
    fn ticks_are_round_numbers_around_all_values() {
        let labels = |values: &[f64]| {
            let axis = Axis::over(values.iter().copied());
            axis.ticks().map(|tick| axis.label(tick)).collect::<Vec<_>>()
        };
        assert_eq!(labels(&[0.79, 0.83]), ["0.79", "0.80", "0.81", "0.82", "0.83"]);
        assert_eq!(labels(&[0.0, 1.0]), ["0.0", "0.5", "1.0"]);
        assert_eq!(labels(&[-0.02, 0.31]), ["-0.1", "0.0", "0.1", "0.2", "0.3", "0.4"]);
        assert_eq!(labels(&[12.0, 31.0]), ["10", "15", "20", "25", "30", "35"]);
        assert_eq!(labels(&[0.5, 0.5]), ["0.45", "0.50", "0.55"]);
        assert_eq!(labels(&[]), ["0.0", "0.5", "1.0"]);
    }
}
