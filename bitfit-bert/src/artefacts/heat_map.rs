//! A map of a figure by kind and layer, for a terminal and as SVG.

use std::fmt::Write as _;

use crate::run::chart::{CHARACTER, STYLE, escaped};

/// A map whose columns are the layers of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// What it shows.
    pub title: String,
    /// The rows.
    pub rows: Vec<HeatRow>,
}

/// The row of a kind of tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatRow {
    /// The kind.
    pub label: String,
    /// The figure of each layer; `None` where there is none.
    pub cells: Vec<Option<f64>>,
}

/// The shades of a terminal, from nothing to the greatest value.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

const CELL: [f64; 2] = [58.0, 26.0];
const MARGIN: f64 = 16.0;
/// The height of a title with the numbers of the layers.
const HEAD: f64 = 56.0;

impl HeatMap {
    /// The greatest value; 0 for an empty map.
    fn greatest(&self) -> f64 {
        self.rows.iter().flat_map(|row| row.cells.iter().flatten()).copied().fold(0.0, f64::max)
    }

    fn columns(&self) -> usize {
        self.rows.iter().map(|row| row.cells.len()).max().unwrap_or(0)
    }

    /// Lines for a terminal: a block of two characters for each layer, darker for greater values, and behind each row
    /// its greatest value. No lines for an empty map.
    pub fn lines(&self) -> Vec<String> {
        let greatest = self.greatest();
        if self.rows.is_empty() {
            return Vec::new();
        }
        let width = self.rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0).max("layer".len());
        let numbers: String = (0..self.columns()).map(|layer| format!("{:>3}", layer % 100)).collect();
        let mut lines = vec![self.title.clone(), format!("{:width$} {numbers}  greatest", "layer")];
        lines.extend(self.rows.iter().map(|row| {
            let cells: String = row.cells.iter().map(|cell| format!(" {}", shade(*cell, greatest))).collect();
            let most = row.cells.iter().flatten().copied().fold(0.0, f64::max);
            format!("{:width$} {cells}  {most:.2e}", row.label)
        }));
        let steps = (1..SHADES.len()).map(|step| {
            let until = greatest * step as f64 / (SHADES.len() - 1) as f64;
            format!("{} to {until:.2e}", SHADES[step].to_string().repeat(2))
        });
        lines.push(format!("{:width$}  {}", "", steps.collect::<Vec<_>>().join("  ")));
        lines
    }

    /// The width and height of its drawing.
    fn extent(&self) -> [f64; 2] {
        let title = MARGIN * 2.0 + self.title.chars().count() as f64 * CHARACTER;
        let width = self.left() + CELL[0] * self.columns() as f64 + MARGIN;
        [width.max(title).ceil(), HEAD + CELL[1] * self.rows.len() as f64 + MARGIN]
    }

    /// Where the first column begins.
    fn left(&self) -> f64 {
        let labels = self.rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0);
        MARGIN + labels as f64 * CHARACTER + 12.0
    }

    /// Draws the map from `top` on.
    fn draw(&self, svg: &mut String, top: f64) {
        let (left, greatest) = (self.left(), self.greatest());
        _ = writeln!(
            svg,
            "<text class=\"ink title\" x=\"{MARGIN}\" y=\"{}\">{}</text>",
            top + 24.0,
            escaped(&self.title)
        );
        for layer in 0..self.columns() {
            let at = left + CELL[0] * (layer as f64 + 0.5);
            _ = writeln!(
                svg,
                "<text class=\"soft\" x=\"{at}\" y=\"{}\" text-anchor=\"middle\">{layer}</text>",
                top + 46.0
            );
        }
        for (place, row) in self.rows.iter().enumerate() {
            let y = top + HEAD + CELL[1] * place as f64;
            let text = y + CELL[1] / 2.0 + 4.5;
            _ = writeln!(
                svg,
                "<text class=\"ink\" x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text>",
                left - 12.0,
                escaped(&row.label)
            );
            for (layer, cell) in row.cells.iter().enumerate() {
                let Some(value) = cell else { continue };
                let x = left + CELL[0] * layer as f64;
                // The darkest cell leaves its number readable in both colour schemes.
                let opacity = if greatest > 0.0 { 0.8 * value / greatest } else { 0.0 };
                _ = writeln!(
                    svg,
                    "<rect class=\"mark\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
                     fill-opacity=\"{opacity:.3}\"/><text class=\"ink\" x=\"{:.1}\" y=\"{text:.1}\" \
                     text-anchor=\"middle\">{value:.1e}</text>",
                    CELL[0] - 1.0,
                    CELL[1] - 1.0,
                    x + CELL[0] / 2.0
                );
            }
        }
    }
}

/// Two characters for a value. What is not zero is never blank.
fn shade(cell: Option<f64>, greatest: f64) -> String {
    let steps = (SHADES.len() - 1) as f64;
    match cell {
        None => "··".into(),
        Some(value) if value <= 0.0 || greatest <= 0.0 => SHADES[0].to_string().repeat(2),
        Some(value) => SHADES[((value / greatest * steps).ceil().clamp(1.0, steps)) as usize].to_string().repeat(2),
    }
}

/// Maps below each other as one SVG.
pub fn heat_maps_svg(maps: &[HeatMap]) -> String {
    let extents: Vec<[f64; 2]> = maps.iter().map(HeatMap::extent).collect();
    let width = extents.iter().map(|[width, _]| *width).fold(2.0 * MARGIN, f64::max);
    let height = extents.iter().map(|[_, height]| *height).sum::<f64>().max(2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\">\n<style>{STYLE}</style>\n\
         <rect class=\"back\" width=\"{width}\" height=\"{height}\"/>\n"
    );
    let mut top = 0.0;
    for (map, [_, height]) in maps.iter().zip(extents) {
        map.draw(&mut svg, top);
        top += height;
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> HeatMap {
        let row = |label: &str, cells: &[Option<f64>]| HeatRow { label: label.into(), cells: cells.to_vec() };
        let rows = vec![row("query", &[Some(0.0), Some(0.004)]), row("a<b", &[None, Some(0.001)])];
        HeatMap { title: "change of task.safetensors".into(), rows }
    }

    #[test]
    fn a_terminal_has_darker_blocks_for_greater_values() {
        let lines = map().lines();
        assert_eq!(lines[0], "change of task.safetensors");
        assert_eq!(lines[1], "layer   0  1  greatest");
        assert_eq!(lines[2], "query     ██  4.00e-3");
        assert_eq!(lines[3], "a<b    ·· ░░  1.00e-3");
        assert!(lines[4].contains("░░ to 1.00e-3") && lines[4].ends_with("██ to 4.00e-3"), "{}", lines[4]);
        assert!(HeatMap { title: "none".into(), rows: Vec::new() }.lines().is_empty());
    }

    #[test]
    fn the_drawing_has_a_cell_for_each_value_and_escapes_names() {
        let svg = heat_maps_svg(&[map(), map()]);
        assert_eq!(svg.matches("class=\"mark\"").count(), 6);
        assert_eq!(svg.matches("a&lt;b").count(), 2);
        assert!(svg.contains("fill-opacity=\"0.800\"") && svg.contains("fill-opacity=\"0.200\""), "{svg}");
        assert!(svg.contains("4.0e-3") && !svg.contains("NaN") && svg.ends_with("</svg>\n"), "{svg}");
        for element in ["svg", "text", "style"] {
            assert_eq!(svg.matches(&format!("<{element}")).count(), svg.matches(&format!("</{element}>")).count());
        }
    }
}
