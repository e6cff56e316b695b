//! Columns as wide as what is in them.

use crate::failure::Failure;
use crate::terminal::{Colour, Terminal};

/// One field of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    colour: Colour,
}

impl Cell {
    /// A text in a colour.
    pub(crate) fn painted(colour: Colour, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { text, colour }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::painted(Colour::Plain, text)
    }
}

/// Rows below a heading.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table with these columns.
    pub(crate) fn new(headings: impl IntoIterator<Item = &'static str>) -> Self {
        let heading = |text| Cell::painted(Colour::Bold, text);
        Self {
            rows: vec![headings.into_iter().map(heading).collect()],
        }
    }

    /// Adds a row. An empty text prints as `-`, so that columns can be counted by programs that do anyway.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let filled = cells.into_iter().map(|mut cell| {
            if cell.text.is_empty() {
                "-".clone_into(&mut cell.text);
            }
            cell
        });
        self.rows.push(filled.collect());
    }

    /// Prints it, two spaces between columns, nothing behind the last.
    pub(crate) fn print(&self, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
        let widths = self.widths();
        for row in &self.rows {
            let mut line = String::new();
            for (n, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line.push_str(&terminal.paint(cell.colour, &cell.text));
                if n + 1 < row.len() {
                    let space = width + 2 - cell.text.chars().count();
                    line.extend(std::iter::repeat_n(' ', space));
                }
            }
            writeln!(terminal.out, "{line}")?;
        }
        Ok(())
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.chars().count());
            }
        }
        widths
    }
}
