//! Pages that are shown once, or anew every few seconds.

use std::io::IsTerminal;
use std::time::Duration;

use super::Failure;
use super::output::{WIPE, print};
use super::settings::{OPTIONS, Setting};

pub(super) const WATCH: Setting =
    Setting::switch().flag_only().called("watch", OPTIONS, "Go on, anew every 5 s");

/// The pause between two pages.
const AGAIN: Duration = Duration::from_secs(5);

/// How many pages there are, and of what kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pages {
    pub(super) watch: bool,
    pub(super) json: bool,
}

impl Pages {
    /// Makes one, or one after the other for ever.
    pub(super) fn each(self, mut show: impl FnMut(Page) -> Result<(), Failure>) -> Result<(), Failure> {
        loop {
            show(if self.json { Page::Json } else { Page::Table { clear: self.watch } })?;
            if !self.watch {
                return Ok(());
            }
            std::thread::sleep(AGAIN);
        }
    }
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) enum Page {
    Json,
    Table {
        /// Whether each page takes the place of the one before, where it is a terminal.
        clear: bool,
    },
}

/// Wipes the terminal, if `clear` and there is one.
pub(super) fn wipe(clear: bool) -> Result<(), Failure> {
    if clear && std::io::stdout().is_terminal() { print(WIPE) } else { Ok(()) }
}
