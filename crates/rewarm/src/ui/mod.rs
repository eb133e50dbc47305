//! Everything that is said on standard error: notes, warnings, errors and progress.
//!
//! Data goes to standard output and is written by the commands themselves. Whether to colour and
//! to draw is decided once, from the arguments, the variables of the ecosystem and the terminal.

mod bar;

use std::io::IsTerminal;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Failure;
pub(crate) use crate::ui::bar::{Bar, size};
use crate::ui::bar::{Screen, Unit};

/// When to colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` says otherwise.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How much to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verbosity {
    /// Errors only.
    Quiet,
    /// One line on what was done and what was reused.
    Normal,
    /// Every step.
    Verbose,
}

/// The voice of the program.
#[derive(Debug)]
pub(crate) struct Ui {
    color: bool,
    verbosity: Verbosity,
    screen: Screen,
    /// Lines that wait for [`Ui::release`]; `None` if lines are written at once.
    held: Mutex<Option<Vec<String>>>,
}

impl Ui {
    /// `color` and `progress` are final decisions; see [`Ui::wants_color`].
    pub(crate) fn new(color: bool, progress: bool, verbosity: Verbosity) -> Self {
        let draws = progress && verbosity != Verbosity::Quiet && std::io::stderr().is_terminal();
        Self { color, verbosity, screen: Screen::new(draws), held: Mutex::default() }
    }

    /// `--color`, then `NO_COLOR`, `CLICOLOR_FORCE`, then whether `terminal` is one.
    pub(crate) fn wants_color(
        choice: ColorChoice,
        no_color: bool,
        force: bool,
        terminal: bool,
    ) -> bool {
        match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => !no_color && (force || terminal),
        }
    }

    /// A quiet line on what was done or reused.
    pub(crate) fn note(&self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            self.line(&self.paint("2", text));
        }
    }

    /// A step, shown with `-v` only.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbosity >= Verbosity::Verbose {
            self.line(&self.paint("2", text));
        }
    }

    /// An answer that was asked for; told even to those who want errors only.
    pub(crate) fn explain(&self, text: &str) {
        self.line(text);
    }

    /// Something the user may want to mend; the command goes on.
    pub(crate) fn warn(&self, text: &str) {
        if self.verbosity >= Verbosity::Normal {
            self.line(&format!("{} {text}", self.paint("1;33", "warning:")));
        }
    }

    /// Why the command failed, and what mends it.
    pub(crate) fn failure(&self, failure: &Failure) {
        let chain = failure.chain();
        let (first, causes) = chain.split_first().expect("a failure has a message");
        self.line(&format!("{} {first}", self.paint("1;31", "error:")));
        for cause in causes {
            self.line(&format!("  caused by: {cause}"));
        }
        for hint in failure.hints() {
            self.line(&format!("{} {hint}", self.paint("1;36", "hint:")));
        }
    }

    /// A bar over `total` bytes; drawn on a terminal only, as all bars.
    pub(crate) fn bytes(&self, label: &str, total: Option<u64>) -> Bar {
        self.screen.bar(label, Unit::Bytes, total.unwrap_or_default())
    }

    /// A bar over `total` things.
    pub(crate) fn count(&self, label: &str, total: usize) -> Bar {
        self.screen.bar(label, Unit::Things, total as u64)
    }

    /// A clock for work whose size is not known.
    pub(crate) fn spinner(&self, label: &str) -> Bar {
        self.screen.bar(label, Unit::Time, 0)
    }

    /// The same where modules are counted as they come.
    pub(crate) fn modules(&self, label: &str) -> Bar {
        self.screen.bar(label, Unit::Modules, 0)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Keeps lines back from now on; bars are drawn all the same.
    pub(crate) fn hold(&self) {
        *self.held() = Some(Vec::new());
    }

    /// Gives the lines that were kept back; later ones are written at once.
    pub(crate) fn release(&self) -> Vec<String> {
        self.held().take().unwrap_or_default()
    }

    fn held(&self) -> MutexGuard<'_, Option<Vec<String>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, text: &str) {
        match &mut *self.held() {
            Some(lines) => lines.push(text.to_owned()),
            None => self.screen.line(text),
        }
    }
}
