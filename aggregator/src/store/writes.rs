//! The engine's writes: a batch is one transaction.

use protocol::server::EventKind;
use protocol::{Attempt, Digest, HouseName, Message as _, RoundNumber};
use sqlx::SqliteConnection;
use strum::EnumIter;
use terms::CurvePoint;

use super::transition::Transition;
use super::{Store, StoreError, StoredContribution, to_column};

/// A value that exists once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, EnumIter)]
pub enum Setting {
    /// The frozen roster, canonical bytes.
    Roster,
    /// The state after the last applied round: the digest of its blob.
    State,
    /// The state that was handed over at the end: the digest of its blob.
    FinalState,
    /// Why the federation stopped before its last round.
    Halted,
}

impl Setting {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Roster => "roster",
            Self::State => "state",
            Self::FinalState => "final-state",
            Self::Halted => "halted",
        }
    }
}

/// One row or change.
#[derive(Debug, Clone)]
pub enum Write {
    /// Sets or replaces a value.
    Set(Setting, Vec<u8>),
    /// An accepted input of an attempt.
    Step {
        /// Its round.
        round: RoundNumber,
        /// Its attempt.
        attempt: Attempt,
        /// Its place among the attempt's inputs, from 1.
        sequence: u64,
        /// What it is.
        kind: EventKind,
        /// Its canonical bytes.
        body: Vec<u8>,
    },
    /// Where an accepted contribution's body is.
    Contribution {
        /// Digest of the announcement.
        announcement: Digest,
        /// Where it is.
        stored: StoredContribution,
    },
    /// Something for members to see.
    Event {
        /// Its place in the history, from 1.
        sequence: u64,
        /// Its round.
        round: RoundNumber,
        /// Its attempt.
        attempt: Attempt,
        /// What it is.
        kind: &'static str,
        /// A `plainchant.v1.Event`.
        body: Vec<u8>,
    },
    /// A new attempt with its announcement.
    Attempt {
        /// Its round.
        round: RoundNumber,
        /// Its attempt.
        attempt: Attempt,
        /// Digest of the announcement.
        announcement: Digest,
    },
    /// A one-time key is used up.
    UseKey {
        /// Whose.
        member: HouseName,
        /// Which.
        sequence: u64,
        /// By which round.
        round: RoundNumber,
        /// By which attempt.
        attempt: Attempt,
    },
    /// The cohort is fixed.
    Cohort {
        /// Digest of the announcement.
        announcement: Digest,
        /// The cohort list, canonical bytes.
        body: Vec<u8>,
    },
    /// The summed ciphertext is kept.
    Sum {
        /// Digest of the announcement.
        announcement: Digest,
        /// Digest of the sum's blob.
        sum: Digest,
    },
    /// A leaf of the record.
    Leaf {
        /// Its position, from 0.
        position: u64,
        /// Its bytes.
        body: Vec<u8>,
    },
    /// What an applied round's sum says of held-out units.
    Metrics(CurvePoint),
    /// The operator lets a house take part again that was left out.
    Readmission {
        /// Whom.
        member: HouseName,
        /// Leaves of the record when it was said.
        leaves: u64,
    },
    /// A consent to hand over the final adapter.
    Approval {
        /// Whose.
        member: HouseName,
        /// The signed approval, canonical bytes.
        body: Vec<u8>,
    },
    /// A member's cosignature, in place of its earlier one.
    Cosignature {
        /// Whose.
        member: HouseName,
        /// Leaves of the head that it is over.
        size: u64,
        /// The note's line.
        line: String,
    },
}

impl Store {
    /// Writes a batch: all of it is on the disk when this returns, or none of it.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn commit(&self, writes: &[Write]) -> Result<(), StoreError> {
        let mut change = self.change(Transition::of(writes)).await?;
        for write in writes {
            apply(&mut change, write).await?;
        }
        change.commit().await?;
        Ok(())
    }
}

async fn apply(connection: &mut SqliteConnection, write: &Write) -> Result<(), StoreError> {
    let query = match write {
        Write::Set(setting, value) => sqlx::query(
            "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(setting.name())
        .bind(value),
        Write::Step { round, attempt, sequence, kind, body } => {
            sqlx::query("INSERT INTO steps (round, attempt, sequence, kind, body) VALUES ($1, $2, $3, $4, $5)")
                .bind(i64::from(round.get()))
                .bind(i64::from(attempt.get()))
                .bind(to_column(*sequence, "step")?)
                .bind(<&str>::from(*kind))
                .bind(body)
        }
        Write::Contribution { announcement, stored } => sqlx::query(
            "INSERT INTO contributions (announcement, member, manifest, sealed, runs) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(announcement.as_bytes().as_slice())
        .bind(stored.manifest.signer().as_str())
        .bind(stored.manifest.to_bytes())
        .bind(stored.sealed.as_bytes().as_slice())
        .bind(stored.runs.iter().flat_map(|run| *run.as_bytes()).collect::<Vec<u8>>()),
        Write::Event { sequence, round, attempt, kind, body } => {
            sqlx::query("INSERT INTO events (sequence, round, attempt, kind, body) VALUES ($1, $2, $3, $4, $5)")
                .bind(to_column(*sequence, "event")?)
                .bind(i64::from(round.get()))
                .bind(i64::from(attempt.get()))
                .bind(*kind)
                .bind(body)
        }
        Write::Attempt { round, attempt, announcement } => {
            sqlx::query("INSERT INTO attempts (round, attempt, announcement) VALUES ($1, $2, $3)")
                .bind(i64::from(round.get()))
                .bind(i64::from(attempt.get()))
                .bind(announcement.as_bytes().as_slice())
        }
        Write::UseKey { member, sequence, round, attempt } => sqlx::query(
            "UPDATE one_time_keys SET used_round = $1, used_attempt = $2
             WHERE member = $3 AND sequence = $4 AND used_round IS NULL",
        )
        .bind(i64::from(round.get()))
        .bind(i64::from(attempt.get()))
        .bind(member.as_str())
        .bind(to_column(*sequence, "one-time key")?),
        Write::Cohort { announcement, body } => {
            sqlx::query("UPDATE attempts SET cohort = $1 WHERE announcement = $2 AND cohort IS NULL")
                .bind(body)
                .bind(announcement.as_bytes().as_slice())
        }
        Write::Sum { announcement, sum } => {
            sqlx::query("UPDATE attempts SET sum_digest = $1 WHERE announcement = $2")
                .bind(sum.as_bytes().as_slice())
                .bind(announcement.as_bytes().as_slice())
        }
        Write::Leaf { position, body } => sqlx::query("INSERT INTO leaves (position, body) VALUES ($1, $2)")
            .bind(to_column(*position, "leaf")?)
            .bind(body),
        Write::Metrics(point) => {
            let body = serde_json::to_string(point).map_err(|_| StoreError::Range { what: "a round's metrics" })?;
            sqlx::query("INSERT INTO metrics (round, body) VALUES ($1, $2)").bind(i64::from(point.round)).bind(body)
        }
        Write::Readmission { member, leaves } => {
            sqlx::query("INSERT INTO readmissions (member, leaves) VALUES ($1, $2) ON CONFLICT DO NOTHING")
                .bind(member.as_str())
                .bind(to_column(*leaves, "leaf")?)
        }
        Write::Approval { member, body } => {
            sqlx::query("INSERT INTO approvals (member, body) VALUES ($1, $2) ON CONFLICT (member) DO NOTHING")
                .bind(member.as_str())
                .bind(body)
        }
        Write::Cosignature { member, size, line } => sqlx::query(
            "INSERT INTO cosignatures (member, size, line) VALUES ($1, $2, $3)
             ON CONFLICT (member) DO UPDATE SET size = excluded.size, line = excluded.line",
        )
        .bind(member.as_str())
        .bind(to_column(*size, "cosignature")?)
        .bind(line),
    };
    if let Write::Attempt { announcement, .. } = write {
        // Nothing under way to an earlier attempt can be accepted any more.
        sqlx::query("DELETE FROM uploads WHERE announcement <> $1")
            .bind(announcement.as_bytes().as_slice())
            .execute(&mut *connection)
            .await?;
    }
    let changed = query.execute(&mut *connection).await?.rows_affected();
    let once = matches!(write, Write::UseKey { .. } | Write::Cohort { .. } | Write::Sum { .. });
    if once && changed != 1 {
        // A key used twice or a second cohort would break the protocol: stop before anything is committed.
        return Err(StoreError::Damaged { what: "a row that may be written only once" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::store::{NewMember, StoredKey};

    async fn store(dir: &std::path::Path) -> (Store, HouseName) {
        let store = Store::open(dir, true).await.unwrap();
        let name = HouseName::new("abbey").unwrap();
        store.invite([1; 32], &name, 100).await.unwrap();
        let new = NewMember {
            name: name.clone(),
            signing_key: [1; 32],
            mailbox_key: [2; 32],
            certificate: "pem".into(),
            certificate_digest: [3; 32],
            joined_at_ms: 1,
        };
        store.enrol([1; 32], &new).await.unwrap();
        (store, name)
    }

    fn use_key(member: &HouseName, sequence: u64) -> Write {
        Write::UseKey { member: member.clone(), sequence, round: RoundNumber::FIRST, attempt: Attempt::FIRST }
    }

    fn event(sequence: u64, attempt: u32) -> Write {
        let attempt = Attempt::new(attempt).unwrap();
        Write::Event { sequence, round: RoundNumber::FIRST, attempt, kind: "gathering", body: vec![1] }
    }

    #[tokio::test]
    async fn a_key_is_used_once_and_a_batch_is_written_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (store, name) = store(dir.path()).await;
        let key = |sequence| StoredKey { sequence, body: vec![u8::try_from(sequence).unwrap()] };
        assert_eq!(store.add_keys(&name, &[key(2), key(1)]).await.unwrap(), 2);
        assert_eq!(store.add_keys(&name, &[StoredKey { body: vec![9], ..key(1) }]).await.unwrap(), 2);
        assert_eq!(store.next_key(&name).await.unwrap(), Some(key(1)), "a number keeps its first key");
        store.commit(&[use_key(&name, 1)]).await.unwrap();

        let twice = store.commit(&[event(1, 1), use_key(&name, 2), use_key(&name, 1)]).await;
        assert!(matches!(twice, Err(StoreError::Damaged { .. })), "{twice:?}");
        assert_eq!(store.last_event().await.unwrap(), 0);
        assert_eq!(store.next_key(&name).await.unwrap(), Some(key(2)));
        assert_eq!(store.stock(&name).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn an_event_is_live_until_something_later_happens_to_its_attempt_also_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = store(dir.path()).await;
        store.commit(&[event(1, 1), event(2, 1), event(3, 2)]).await.unwrap();
        assert!(store.commit(&[event(3, 3)]).await.is_err(), "the history has no two events of one number");
        store.close().await;
        let store = Store::open(dir.path(), false).await.unwrap();
        let live: Vec<_> = store.events(0, 10).await.unwrap().iter().map(|event| event.live).collect();
        assert_eq!(live, [false, true, true]);
        assert_eq!(store.events(1, 1).await.unwrap()[0].sequence, 2);
        assert_eq!(store.latest_attempt().await.unwrap(), Some((RoundNumber::FIRST, Attempt::new(2).unwrap())));
    }

    #[tokio::test]
    async fn opening_where_nothing_is_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Store::open(dir.path(), false).await, Err(StoreError::Open { .. })));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
