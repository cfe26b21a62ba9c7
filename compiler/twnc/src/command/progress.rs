//! Progress: a bar on a terminal, for what takes longer than a second, or whatever a listener makes of it.

use super::host::{Event, Host, Listener};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Counts work; shows itself only when it has lasted a second.
pub struct Progress {
    bar: ProgressBar,
    start: Instant,
    shown: bool,
    what: &'static str,
    listener: Option<Listener>,
}

impl Progress {
    /// Progress of `total` pieces of work.
    pub fn new(listener: Option<Listener>, what: &'static str, total: u64) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
            bar.set_style(style);
        }
        bar.set_message(what);
        // A listener does its own drawing.
        let shown = listener.is_some() || !std::io::stderr().is_terminal();
        let progress = Progress { bar, start: Instant::now(), shown, what, listener };
        progress.tell();
        progress
    }

    /// `n` more pieces are done.
    pub fn advance(&mut self, n: u64) {
        self.reach(self.bar.position().saturating_add(n));
    }

    /// So many pieces are done by now, of those that there are.
    pub fn reach(&mut self, done: u64) {
        if !self.shown && self.start.elapsed() > Duration::from_secs(1) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.shown = true;
        }
        self.bar.set_position(done.min(self.total()));
        self.tell();
    }

    /// The work has come to its end.
    pub fn complete(mut self) {
        self.reach(self.total());
    }

    fn total(&self) -> u64 {
        self.bar.length().unwrap_or(0)
    }

    fn tell(&self) {
        if let Some(listener) = &self.listener {
            let (done, total) = (self.bar.position(), self.total());
            // Work that can stop early asks for it where it can (`Host::interruption`).
            listener(Event::Progress { what: self.what, done, total });
        }
    }
}

impl Host {
    /// Progress of `total` pieces of work, told to the listener, or shown on the terminal.
    pub(super) fn progress(&self, what: &'static str, total: u64) -> Progress {
        Progress::new(self.listener(), what, total)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
