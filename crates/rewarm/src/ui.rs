//! Everything that is said on standard error: notes, warnings, errors and progress.
//!
//! Data goes to standard output and is written by the commands themselves. Whether to colour and
//! to draw is decided once, from the arguments, the variables of the ecosystem and the terminal.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::Failure;

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
    bars: MultiProgress,
    // The bar of the step under way, so that lines are printed above it.
    step: Mutex<Option<ProgressBar>>,
}

impl Ui {
    /// `color` and `progress` are final decisions; see [`Ui::wants_color`].
    pub(crate) fn new(color: bool, progress: bool, verbosity: Verbosity) -> Self {
        let shown = progress && verbosity != Verbosity::Quiet && std::io::stderr().is_terminal();
        let target =
            if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        Self { color, verbosity, bars, step: Mutex::new(None) }
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

    /// A bar over `total` bytes; drawn on a terminal only.
    pub(crate) fn bytes(&self, label: &str, total: Option<u64>) -> Progress<'_> {
        let bar = match total {
            Some(total) => ProgressBar::new(total)
                .with_style(style("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}")),
            None => ProgressBar::new_spinner()
                .with_style(style("{msg} {spinner} {bytes} {bytes_per_sec}")),
        };
        self.show(bar, label)
    }

    /// A bar over `total` things.
    pub(crate) fn count(&self, label: &str, total: usize) -> Progress<'_> {
        let bar = ProgressBar::new(total as u64).with_style(style("{msg} {bar:30} {pos}/{len}"));
        self.show(bar, label)
    }

    /// A spinner for work whose size is not known.
    pub(crate) fn spinner(&self, label: &str) -> Progress<'_> {
        let bar = ProgressBar::new_spinner().with_style(style("{spinner} {msg} {elapsed}"));
        self.show(bar, label)
    }

    fn show(&self, bar: ProgressBar, label: &str) -> Progress<'_> {
        let bar = self.bars.add(bar.with_message(label.to_owned()));
        if !self.bars.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        *self.step.lock().expect("no thread panics while it holds a bar") = Some(bar.clone());
        Progress { bar, ui: self }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Standard error that cannot be written has nobody to be told to.
    fn line(&self, text: &str) {
        self.bars.suspend(|| {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        });
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("templates are constants").progress_chars("━╸ ")
}

/// A bar that vanishes with its step.
#[derive(Debug)]
pub(crate) struct Progress<'ui> {
    bar: ProgressBar,
    ui: &'ui Ui,
}

impl Progress<'_> {
    /// Moves on by `amount`.
    pub(crate) fn advance(&self, amount: u64) {
        self.bar.inc(amount);
    }

    /// Stands at `position`.
    pub(crate) fn at(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// Changes the total, which was not known before.
    pub(crate) fn total(&self, total: u64) {
        self.bar.set_length(total);
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.ui.step.lock().expect("no thread panics while it holds a bar").take();
    }
}
