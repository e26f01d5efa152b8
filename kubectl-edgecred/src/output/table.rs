//! Tables as kubectl prints them: columns with three spaces between them.

use std::io::{self, Write};

use tabwriter::TabWriter;

/// How far columns are apart, as with kubectl.
const PADDING: usize = 3;

/// A table: a heading for each column, and rows of as many cells.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The names of the columns, in capital letters.
    pub head: Vec<&'static str>,
    /// The cells, which may have colours.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Writes the table; without its headings where `no_headers`.
    pub fn write(&self, out: &mut dyn Write, no_headers: bool) -> io::Result<()> {
        let mut columns = TabWriter::new(Vec::new()).padding(PADDING).ansi(true);
        if !no_headers {
            writeln!(columns, "{}", self.head.join("\t"))?;
        }
        for row in &self.rows {
            writeln!(columns, "{}", row.join("\t"))?;
        }
        let text = columns
            .into_inner()
            .map_err(|error| io::Error::other(error.to_string()))?;
        // An empty last cell leaves spaces behind.
        for line in String::from_utf8_lossy(&text).lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::style::{BAD, styled};

    fn text(table: &Table, no_headers: bool) -> String {
        let mut out = Vec::new();
        table.write(&mut out, no_headers).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn table() -> Table {
        Table {
            head: vec!["NAME", "STATE", "WHY"],
            rows: vec![
                vec!["edge-admin".into(), styled(BAD, "Stalled"), "x".into()],
                vec!["a".into(), "Ready".into(), String::new()],
            ],
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_text_whatever_its_colour() {
        let plain = anstream::adapter::strip_str(&text(&table(), false)).to_string();
        assert_eq!(
            plain,
            "NAME         STATE     WHY\nedge-admin   Stalled   x\na            Ready\n"
        );
    }

    #[test]
    fn headings_can_be_left_out() {
        assert!(!text(&table(), true).contains("NAME"));
        assert_eq!(text(&table(), true).lines().count(), 2);
    }
}
