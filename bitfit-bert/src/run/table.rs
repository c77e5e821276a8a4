//! A table of texts, written for a terminal, as Markdown or as CSV.

/// A table whose first column is aligned to the left and whose others are aligned to the right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The titles of the columns.
    pub columns: Vec<String>,
    /// The rows, each of as many fields.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Lines whose columns are aligned, two blanks apart.
    pub fn lines(&self) -> Vec<String> {
        let widths = self.widths();
        let line = |row: &Vec<String>| {
            let fields = row.iter().zip(&widths).enumerate().map(|(column, (field, &width))| match column {
                0 => format!("{field:<width$}"),
                _ => format!("{field:>width$}"),
            });
            fields.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        std::iter::once(&self.columns).chain(&self.rows).map(line).collect()
    }

    /// A table of Markdown.
    pub fn markdown(&self) -> String {
        let line = |row: &Vec<String>| {
            let fields =
                row.iter().map(|field| field.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " "));
            format!("| {} |\n", fields.collect::<Vec<_>>().join(" | "))
        };
        let rules = (0..self.columns.len()).map(|column| if column == 0 { "---" } else { "---:" });
        let rule = format!("| {} |\n", rules.collect::<Vec<_>>().join(" | "));
        let rows = self.rows.iter().map(line).collect::<String>();
        line(&self.columns) + &rule + &rows
    }

    /// CSV as in RFC 4180, but with single line feeds.
    pub fn csv(&self) -> String {
        let field = |field: &String| match field.contains(['"', ',', '\n', '\r']) {
            true => format!("\"{}\"", field.replace('"', "\"\"")),
            false => field.clone(),
        };
        let line = |row: &Vec<String>| row.iter().map(field).collect::<Vec<_>>().join(",") + "\n";
        std::iter::once(&self.columns).chain(&self.rows).map(line).collect()
    }

    /// The width of each column in characters.
    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let rows = std::iter::once(&self.columns).chain(&self.rows);
            rows.map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        (0..self.columns.len()).map(width).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |fields: [&str; 3]| fields.map(str::to_owned).to_vec();
        let rows = vec![row(["bitfit", "0.5 ± 0.1", "12"]), row(["a|b, \"c\"", "1", ""])];
        Table { columns: row(["method", "f1", "n"]), rows }
    }

    #[test]
    fn columns_are_aligned() {
        let expected = ["method           f1   n", "bitfit    0.5 ± 0.1  12", "a|b, \"c\"          1"];
        assert_eq!(table().lines(), expected);
    }

    #[test]
    fn markdown_escapes_what_would_end_a_field() {
        let expected =
            "| method | f1 | n |\n| --- | ---: | ---: |\n| bitfit | 0.5 ± 0.1 | 12 |\n| a\\|b, \"c\" | 1 |  |\n";
        assert_eq!(table().markdown(), expected);
    }

    #[test]
    fn csv_quotes_what_needs_it() {
        assert_eq!(table().csv(), "method,f1,n\nbitfit,0.5 ± 0.1,12\n\"a|b, \"\"c\"\"\",1,\n");
    }
}
