//! What this client tells its own house while it runs: one JSON object a line. Nothing of it leaves the house.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::files::{FileError, Named as _};

/// Where reports go; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    file: Option<Arc<Mutex<File>>>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The round.
    pub round: u32,
    /// The attempt.
    pub attempt: u32,
    /// What happened.
    pub phase: Phase,
    /// Seconds spent, for [`Phase::Contributed`] and [`Phase::Applied`].
    pub seconds: Seconds,
    /// Epsilon that the ledger has charged so far; `null` under mode `none`.
    pub epsilon: Option<f64>,
    /// Bytes of this house's contribution; 0 without one.
    pub bytes_up: u64,
    /// Mean loss of this house's batch, before the round's step; `null` without one.
    pub loss: Option<f64>,
    /// What went wrong, and whose fault it is, for [`Phase::Refused`], [`Phase::Accused`], [`Phase::Void`], [`Phase::Abandoned`]
    /// and [`Phase::Waiting`].
    pub reason: Option<String>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Said ready.
    Ready,
    /// The round was announced and training begins.
    Announced,
    /// The contribution was accepted.
    Contributed,
    /// This member's checksums were accepted.
    Attested,
    /// This member's answer was accepted.
    Answered,
    /// The sum was opened and applied.
    Applied,
    /// The sum was refused; nothing was applied.
    Void,
    /// The attempt was given up.
    Abandoned,
    /// This house refuses to take part.
    Refused,
    /// Somebody, named in the reason, was found to have said or sent something false.
    Accused,
    /// The aggregator has forgotten what this member has seen; it waits until a person has put that right.
    Waiting,
    /// The last round is settled.
    Completed,
}

/// Where a round's time went.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Seconds {
    /// Gradients, clipping and summing.
    pub train: f64,
    /// Waiting for noise that was not drawn yet; it is drawn beside `train`, or before.
    pub noise: f64,
    /// Encrypting, dealing and sealing.
    pub encrypt: f64,
    /// Transfers, without waiting for deadlines and others.
    pub network: f64,
    /// Checking that the sum holds exactly the cohort: checksums of this house's own body, of those that it looks at and of
    /// the sum.
    #[serde(default)]
    pub check: f64,
    /// Combining, opening and applying.
    pub open: f64,
    /// From the announcement to the new adapter.
    pub total: f64,
}

impl Progress {
    /// Appends to `path`.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn to_file(path: &Path) -> Result<Self, FileError> {
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        // A batch's loss is not noised: it is for the house's own eyes.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path).at(path)?;
        Ok(Self { file: Some(Arc::new(Mutex::new(file))) })
    }

    /// Writes a line. A failure to report does not stop a round.
    pub fn report(&self, report: &Report) {
        let Some(file) = &self.file else { return };
        let Ok(mut line) = serde_json::to_vec(report) else { return };
        line.push(b'\n');
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(&line) {
            tracing::warn!(%error, "cannot write the progress file");
        }
    }
}

impl Report {
    /// A line about `phase` with nothing measured.
    pub fn new(round: u32, attempt: u32, phase: Phase) -> Self {
        Self {
            round,
            attempt,
            phase,
            seconds: Seconds::default(),
            epsilon: None,
            bytes_up: 0,
            loss: None,
            reason: None,
        }
    }
}

/// What `work` gives and how long it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    #[cfg(unix)]
    #[test]
    fn the_progress_file_is_its_owners_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("progress.jsonl");
        super::Progress::to_file(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
