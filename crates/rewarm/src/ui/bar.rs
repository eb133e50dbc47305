//! One line at the bottom of a terminal that says how far a step is.
//!
//! A thread of the bar draws it ten times a second, so whoever advances it only adds numbers.
//! Everything that is written to the terminal meanwhile goes through [`Screen::line`], which clears
//! the bar first. The usual crate for this links the mathematical library, and loading that took
//! longer than all the rest of `rewarm run`: see `docs/decisions/0001-start-up.md`.

use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(100);
/// Steps that end sooner are not shown at all.
const PATIENCE: Duration = Duration::from_millis(150);
const WIDTH: usize = 28;

/// The terminal behind standard error.
#[derive(Debug, Clone)]
pub(crate) struct Screen {
    /// Whether bars are drawn at all.
    draws: bool,
    /// Whether a bar stands in the last line now.
    drawn: Arc<Mutex<bool>>,
}

impl Screen {
    pub(crate) fn new(draws: bool) -> Self {
        Self { draws, drawn: Arc::default() }
    }

    /// Writes a line of text. Standard error that cannot be written has nobody to be told to.
    pub(crate) fn line(&self, text: &str) {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        let clear = if *drawn { "\r\x1b[K" } else { "" };
        let _ = writeln!(std::io::stderr().lock(), "{clear}{text}");
        *drawn = false;
    }

    fn draw(&self, text: Option<&str>) {
        let mut drawn = self.drawn.lock().unwrap_or_else(PoisonError::into_inner);
        if text.is_some() || *drawn {
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[K{}", text.unwrap_or_default());
            let _ = stderr.flush();
        }
        *drawn = text.is_some();
    }

    /// Shows a bar until it is dropped.
    pub(crate) fn bar(&self, label: &str, unit: Unit, total: u64) -> Bar {
        let state = Arc::new(State {
            label: label.to_owned(),
            unit,
            started: Instant::now(),
            position: AtomicU64::new(0),
            total: AtomicU64::new(total),
        });
        let painter = self.draws.then(|| paint(self.clone(), Arc::clone(&state)));
        Bar { state, painter }
    }
}

/// What a bar counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Things,
    /// Nothing that is known; only time passes.
    Time,
    /// Modules that a checker is done with.
    Modules,
}

#[derive(Debug)]
struct State {
    label: String,
    unit: Unit,
    started: Instant,
    position: AtomicU64,
    // 0 while it is not known.
    total: AtomicU64,
}

/// A step under way; its line goes when it is dropped.
#[derive(Debug)]
pub(crate) struct Bar {
    state: Arc<State>,
    painter: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Bar {
    /// Moves on by `amount`.
    pub(crate) fn advance(&self, amount: u64) {
        self.state.position.fetch_add(amount, Ordering::Relaxed);
    }

    /// Stands at `position`.
    pub(crate) fn at(&self, position: u64) {
        self.state.position.store(position, Ordering::Relaxed);
    }

    /// Sets the total, which was not known before.
    pub(crate) fn total(&self, total: u64) {
        self.state.total.store(total, Ordering::Relaxed);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.painter.take() {
            drop(stop);
            // The painter has nothing that could panic; if it did, the bar is gone all the same.
            let _ = thread.join();
        }
    }
}

/// Draws until the sender is dropped.
fn paint(screen: Screen, state: Arc<State>) -> (Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = channel::<()>();
    let thread = std::thread::spawn(move || {
        let mut frame = 0;
        let mut wait = PATIENCE;
        while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            let columns = terminal_size::terminal_size_of(std::io::stderr());
            let columns = columns.map_or(80, |(width, _)| usize::from(width.0));
            screen.draw(Some(&render(&state, frame, columns)));
            frame += 1;
            wait = INTERVAL;
        }
        screen.draw(None);
    });
    (stop, thread)
}

fn render(state: &State, frame: usize, columns: usize) -> String {
    let position = state.position.load(Ordering::Relaxed);
    let total = state.total.load(Ordering::Relaxed);
    let elapsed = state.started.elapsed();
    let spinner = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'][frame % 10];
    let label = &state.label;
    let text = match (state.unit, total) {
        (Unit::Time, _) => format!("{spinner} {label} {} s", elapsed.as_secs()),
        (Unit::Modules, total) => {
            let done = match (position, total) {
                (0, _) => String::new(),
                (done, 0) => format!("{done} modules done, "),
                (done, all) => format!("{done} of {} modules done, ", all.max(done)),
            };
            format!("{spinner} {label}: {done}{} s", elapsed.as_secs())
        }
        (Unit::Things, total) => format!("{label} {} {position}/{total}", gauge(position, total)),
        (Unit::Bytes, 0) => {
            format!("{spinner} {label} {} {}", size(position), rate(position, elapsed))
        }
        (Unit::Bytes, total) => {
            let (bar, of) = (gauge(position, total), size(total));
            format!("{label} {bar} {}/{of} {}", size(position), rate(position, elapsed))
        }
    };
    // A line that wraps could not be cleared.
    text.chars().take(columns.saturating_sub(1)).collect()
}

fn gauge(position: u64, total: u64) -> String {
    let filled = position.min(total).saturating_mul(WIDTH as u64).checked_div(total);
    let filled = usize::try_from(filled.unwrap_or_default()).unwrap_or_default();
    format!("{}{}", "━".repeat(filled), "·".repeat(WIDTH - filled))
}

fn rate(bytes: u64, elapsed: Duration) -> String {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    format!("{}/s", size(bytes.saturating_mul(1000) / millis))
}

/// A size for people: `12.3 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_with_one_unit() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(20 << 30), "20.0 GiB");
    }

    #[test]
    fn a_line_says_how_far_and_never_wraps() {
        let state = State {
            label: "Downloading".to_owned(),
            unit: Unit::Bytes,
            started: Instant::now(),
            position: AtomicU64::new(512),
            total: AtomicU64::new(1024),
        };
        let line = render(&state, 0, 200);
        assert!(line.starts_with("Downloading ━━━━━━━━━━━━━━··············"), "{line}");
        assert!(line.contains(" 512 B/1.0 KiB "), "{line}");
        assert_eq!(render(&state, 0, 20).chars().count(), 19);
    }

    #[test]
    fn a_gauge_is_never_longer_than_its_place() {
        for (position, total) in [(0, 0), (5, 0), (9, 3), (u64::MAX, u64::MAX), (1, u64::MAX)] {
            assert_eq!(gauge(position, total).chars().count(), WIDTH, "{position}/{total}");
        }
    }
}
