//! What a person sees meanwhile: progress bars on a terminal, plain lines otherwise. All of it goes to standard error.

use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// Where messages and bars go.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ui;

impl Ui {
    /// Says one line.
    pub fn say(self, line: &str) {
        eprintln!("{line}");
    }

    /// A bar for a download of `length` bytes; nothing without a terminal.
    pub fn bytes(self, name: &str, length: u64) -> ProgressBar {
        let bar = ProgressBar::new(length).with_message(name.to_owned());
        bar.with_style(style("{msg} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec}"))
    }

    /// A bar for `total` steps.
    pub fn steps(self, name: &str, total: u64) -> Steps {
        let bar = ProgressBar::new(total).with_style(style("{prefix} [{wide_bar}] {pos}/{len} {msg}"));
        bar.set_prefix(name.to_owned());
        Steps { bar, name: name.to_owned(), total, start: Instant::now() }
    }
}

/// Progress through rounds or steps.
#[derive(Debug)]
pub struct Steps {
    bar: ProgressBar,
    name: String,
    total: u64,
    start: Instant,
}

impl Steps {
    /// Shows that `done` steps are done, with the figures in `what` and the time left.
    pub fn at(&self, done: u64, what: &str) {
        let left = match done {
            0 => String::new(),
            done => {
                let seconds = self.start.elapsed().as_secs_f64() / done as f64 * self.total.saturating_sub(done) as f64;
                format!(", {} left", HumanDuration(Duration::from_secs(seconds as u64)))
            }
        };
        if self.bar.is_hidden() {
            eprintln!("{} {done}/{}: {what}{left}", self.name, self.total);
        } else {
            self.bar.set_position(done);
            self.bar.set_message(format!("{what}{left}"));
        }
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
