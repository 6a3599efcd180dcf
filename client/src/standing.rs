//! Whether this house takes part: `pause`, `resume` and `leave` write it into `state/standing`, and a running client looks at it before it says that it is
//! ready, before it trains, before it sends, and before it approves a hand-over. The file is replaced whole, so that a reader needs no lock; writers take one.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files::{self, FileError, Named as _};
use crate::hours::OutsideHours;

const FILE: &str = "standing";
const LOCK: &str = "standing-lock";
const MAX_BYTES: usize = 4096;

/// What the house said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "kebab-case")]
pub enum Standing {
    /// It takes part; so does one that said nothing.
    #[default]
    TakesPart,
    /// Nothing of its data is used until it resumes; it answers for the sums of others.
    Paused {
        /// Since when, in milliseconds since 1970.
        since_ms: u64,
    },
    /// It has left for good.
    Left {
        /// Since when, in milliseconds since 1970.
        since_ms: u64,
    },
}

/// Why a house does not begin, or not go on, with what it would else do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Aside {
    /// It paused.
    #[error("this house has paused: `plainchant-client resume` ends that")]
    Paused,
    /// It left.
    #[error("this house has left the federation")]
    Left,
    /// Its training failed, and would be charged and fail again.
    #[error("training failed: {0}; restart the client once this is mended")]
    Failed(String),
    /// It begins nothing at this hour; what it began goes on.
    #[error(transparent)]
    OutsideHours(#[from] OutsideHours),
}

/// Why the standing is not known; a client then takes part in nothing.
#[derive(Debug, thiserror::Error)]
pub enum StandingError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It holds something else.
    #[error("{path}: {source}; say `pause` or `leave` again")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A house that left does not come back.
    #[error(
        "this house has left the federation, for good: its one-time keys are erased; it comes back as a member of another federation only"
    )]
    HasLeft,
}

impl Standing {
    /// The standing of the client whose state is in the folder `state`.
    ///
    /// # Errors
    /// [`StandingError`].
    pub fn read(state: &Path) -> Result<Self, StandingError> {
        let path = state.join(FILE);
        let Some(bytes) = files::read(&path, MAX_BYTES)? else { return Ok(Self::default()) };
        serde_json::from_slice(&bytes)
            .map_err(|source| StandingError::Malformed { path: path.display().to_string(), source })
    }

    /// Makes this the standing. A house that left stays away, and from a file that tells nothing none takes part again.
    ///
    /// # Errors
    /// [`StandingError`].
    pub fn write(self, state: &Path) -> Result<(), StandingError> {
        files::create_dir(state)?;
        let (path, lock) = (state.join(FILE), state.join(LOCK));
        // Held until the end: another writer's word could be lost between reading and writing.
        let held = files::open_lock(&lock)?;
        held.lock().at(&lock)?;
        match (Self::read(state), self) {
            (Ok(Self::Left { .. }), Self::TakesPart | Self::Paused { .. }) => return Err(StandingError::HasLeft),
            (Err(error), Self::TakesPart) => return Err(error),
            _ => {}
        }
        let text = serde_json::to_vec(&self)
            .map_err(|source| StandingError::Malformed { path: path.display().to_string(), source })?;
        Ok(files::write(&path, &text)?)
    }

    /// Why nothing of the house's data is used now; `None` while it takes part.
    #[must_use]
    pub fn aside(self) -> Option<Aside> {
        match self {
            Self::TakesPart => None,
            Self::Paused { .. } => Some(Aside::Paused),
            Self::Left { .. } => Some(Aside::Left),
        }
    }

    /// For people and programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TakesPart => "takes part",
            Self::Paused { .. } => "paused",
            Self::Left { .. } => "left",
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_was_said_last_holds_leaving_holds_for_good_and_an_unreadable_file_is_no_consent() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        assert_eq!(Standing::read(&state).unwrap(), Standing::TakesPart);
        for standing in [Standing::Paused { since_ms: 5 }, Standing::TakesPart, Standing::Left { since_ms: 7 }] {
            standing.write(&state).unwrap();
            assert_eq!(Standing::read(&state).unwrap(), standing);
            assert_eq!(standing.aside().is_none(), standing == Standing::TakesPart);
        }
        for back in [Standing::TakesPart, Standing::Paused { since_ms: 9 }] {
            assert!(matches!(back.write(&state), Err(StandingError::HasLeft)));
        }
        assert_eq!(Standing::read(&state).unwrap(), Standing::Left { since_ms: 7 });
        for text in ["", "{}", "{\"standing\":\"resting\"}", "{\"standing\":\"paused\"}"] {
            std::fs::write(state.join(FILE), text).unwrap();
            assert!(matches!(Standing::read(&state), Err(StandingError::Malformed { .. })), "{text}");
            assert!(matches!(Standing::TakesPart.write(&state), Err(StandingError::Malformed { .. })), "{text}");
        }
    }
}
