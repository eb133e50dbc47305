//! A table of measurements, as text and as Markdown.

use std::time::Duration;

use super::chart::Chart;

/// Rows of cells under a title, with notes below.
#[derive(Debug)]
pub(crate) struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
    chart: Option<Chart>,
}

impl Table {
    pub(crate) fn new(title: &str, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Self { title: title.to_owned(), columns, rows: Vec::new(), notes: Vec::new(), chart: None }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let row: Vec<String> = cells.into_iter().collect();
        assert_eq!(row.len(), self.columns.len(), "a cell for every column");
        self.rows.push(row);
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Adds a picture of the same figures.
    pub(crate) fn chart(&mut self, chart: Chart) {
        self.chart = Some(chart);
    }

    /// The picture, if there is one.
    pub(crate) fn into_chart(self) -> Option<Chart> {
        self.chart
    }

    /// Aligned columns for a terminal.
    pub(crate) fn text(&self) -> String {
        let width = |index: usize| {
            let cells = self.rows.iter().map(|row| &row[index]).chain([&self.columns[index]]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = format!("{}\n", self.title);
        for row in std::iter::once(&self.columns).chain(&self.rows) {
            for (cell, width) in row.iter().zip(&widths) {
                text.push_str(&format!("  {cell:<width$}"));
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        for note in &self.notes {
            text.push_str(&format!("  ({note})\n"));
        }
        text
    }

    /// A Markdown section.
    pub(crate) fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule = vec!["---".to_owned(); self.columns.len()];
        let mut text = format!("\n## {}\n\n{}{}", self.title, line(&self.columns), line(&rule));
        for row in &self.rows {
            text.push_str(&line(row));
        }
        for note in &self.notes {
            text.push_str(&format!("\n{note}\n"));
        }
        if let Some(chart) = &self.chart {
            text.push_str(&format!("\n![{}]({})\n", self.title, chart.path()));
        }
        text
    }
}

/// `12.3 ms` or `4.56 s`.
pub(crate) fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 { format!("{:.2} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

/// `12.3 MiB`.
pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// `x 1.23`, or nothing where there is no base.
pub(crate) fn ratio(value: Duration, base: Duration) -> String {
    if base.is_zero() {
        String::new()
    } else {
        format!("x {:.2}", value.as_secs_f64() / base.as_secs_f64())
    }
}

/// The value in the middle.
pub(crate) fn median(values: &mut [Duration]) -> Duration {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}
