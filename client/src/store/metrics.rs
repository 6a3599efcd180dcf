//! What opened sums said of held-out units: for people, nothing follows from it.

use std::path::Path;

use protocol::RoundNumber;
use terms::CurvePoint;

use super::{Store, StoreError, malformed, whole};
use crate::crash::Kept;

const FILE: &str = "metrics";

impl Store {
    /// Keeps what the opened sum of a round says, with what those of earlier rounds said. A later attempt at the round replaces it. A file that a
    /// disk has changed is begun anew.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_metrics(&self, point: CurvePoint) -> Result<(), StoreError> {
        let mut points = match read(&self.dir) {
            Err(damaged @ StoreError::Malformed { .. }) => {
                tracing::warn!(path = %self.dir.join(FILE).display(), "the metrics of earlier rounds are lost: {damaged}");
                Vec::new()
            }
            points => points?,
        };
        points.retain(|earlier| earlier.round < point.round);
        points.push(point);
        let bytes = serde_json::to_vec(&points).map_err(|error| malformed(&self.dir.join(FILE), error))?;
        self.put_whole(Kept::Metrics, FILE, &bytes)
    }
}

/// What the sums of applied rounds, those before `next_round`, said to the client in `dir`, whether it runs or not.
///
/// # Errors
/// [`StoreError`].
pub fn peek_metrics(dir: &Path, next_round: RoundNumber) -> Result<Vec<CurvePoint>, StoreError> {
    let mut points = read(&dir.join("state"))?;
    // The last may be of an attempt that was opened here and came to nothing.
    points.retain(|point| point.round < next_round.get());
    Ok(points)
}

fn read(state: &Path) -> Result<Vec<CurvePoint>, StoreError> {
    let path = state.join(FILE);
    let Some(bytes) = whole(&path)? else { return Ok(Vec::new()) };
    serde_json::from_slice(&bytes).map_err(|error| malformed(&path, error))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn point(round: u32, houses: usize) -> CurvePoint {
        serde_json::from_value(serde_json::json!({ "round": round, "houses": houses })).unwrap()
    }

    #[test]
    fn a_later_attempt_replaces_its_round_what_is_not_applied_is_not_shown_and_a_damaged_file_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let shown = |next| peek_metrics(dir.path(), RoundNumber::new(next).unwrap());
        assert_eq!(shown(9).unwrap(), []);
        for (round, houses) in [(1, 4), (2, 4), (2, 3)] {
            store.put_metrics(point(round, houses)).unwrap();
        }
        assert_eq!(shown(3).unwrap(), [point(1, 4), point(2, 3)]);
        assert_eq!(shown(2).unwrap(), [point(1, 4)], "round 2 is not applied");
        let path = store.dir().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[9] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(shown(3), Err(StoreError::Malformed { .. })));
        store.put_metrics(point(3, 4)).unwrap();
        assert_eq!(shown(4).unwrap(), [point(3, 4)]);
    }
}
