//! What commands print: tables for people, JSON for programs.

use std::io::{ErrorKind, IsTerminal, Write};

use serde::Serialize;

use super::Failure;
use crate::model::{Timestamp, clean};

/// Longest text of one cell that came from outside.
const LONGEST_CELL: usize = 200;

/// Writes `text` to standard output at once.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
        Err(error) => Err(Failure::Failed(format!("standard output: {error}"))),
    }
}

/// Writes a value as JSON, indented for a terminal.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = if std::io::stdout().is_terminal() {
        serde_json::to_string_pretty(value)
    } else {
        serde_json::to_string(value)
    };
    print(&(text.expect("plain data becomes JSON") + "\n"))
}

/// Says on standard error what went wrong.
pub(super) fn complain(failure: &Failure) {
    if !matches!(failure, Failure::OutputClosed) {
        note(&format!("error: {failure}"));
    }
}

/// Says something on standard error, beside the result.
pub(super) fn note(text: &str) {
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A table for people: no lines, no colour; on a terminal it is wrapped to its width.
pub(super) struct Table(comfy_table::Table);

impl Table {
    /// An empty table with these headings.
    pub(super) fn new(headings: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING).set_header(headings.iter().copied());
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        Self(table)
    }

    /// Adds a row; cells are cleaned here.
    pub(super) fn row<I: IntoIterator<Item = String>>(&mut self, cells: I) {
        self.0.add_row(cells.into_iter().map(|cell| clean(&cell, LONGEST_CELL)));
    }

    /// Writes it to standard output.
    pub(super) fn print(&mut self) -> Result<(), Failure> {
        if let Some(width) = terminal_width() {
            self.0.set_width(width).set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
        }
        print(&(self.0.trim_fmt() + "\n"))
    }
}

/// The width of the terminal that standard output is, in columns; `None` when it is none.
fn terminal_width() -> Option<u16> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize to the pointer, which is valid for that.
    let answer = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    (answer == 0 && size.ws_col >= 20).then_some(size.ws_col)
}

/// Wipes a terminal: the cursor home, and what is below it away.
pub(super) const WIPE: &str = "\u{1b}[H\u{1b}[J";

/// What stands for a value nobody knows.
pub(super) const UNKNOWN: &str = "-";

/// A value, or the sign for an unknown one.
pub(super) fn or_unknown<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| value.to_string())
}

/// A time as people read it: local, with its offset.
pub(super) fn time(time: Timestamp) -> String {
    time.local()
}
