//! Reading back what the engine wrote: steps, attempts, events, leaves and approvals.

use std::collections::BTreeSet;

use protocol::server::EventKind;
use protocol::{Attempt, Contribution, Digest, HouseName, Message as _, RoundNumber, Signed};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use terms::CurvePoint;

use super::members::house;
use super::{Store, StoreError, fixed, from_column, to_column};

/// An accepted input of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredStep {
    /// Its place among the attempt's inputs, from 1.
    pub sequence: u64,
    /// What it is.
    pub kind: String,
    /// Its canonical bytes.
    pub body: Vec<u8>,
}

/// Where the body of an accepted contribution is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredContribution {
    /// The manifest, as its house signed it.
    pub manifest: Signed<Contribution>,
    /// The blob of its sealed shares.
    pub sealed: Digest,
    /// The blobs of its chunks, in order.
    pub runs: Vec<Digest>,
}

/// An attempt, from its announcement on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAttempt {
    /// Its round.
    pub round: RoundNumber,
    /// Its attempt.
    pub attempt: Attempt,
    /// Digest of the announcement.
    pub announcement: Digest,
    /// Digest of the sum's blob, once there.
    pub sum: Option<Digest>,
}

/// An event of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place, from 1.
    pub sequence: u64,
    /// Whether nothing later has happened to its attempt.
    pub live: bool,
    /// A `plainchant.v1.Event`.
    pub body: Vec<u8>,
}

impl Store {
    /// The inputs of an attempt, in order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn steps(&self, round: RoundNumber, attempt: Attempt) -> Result<Vec<StoredStep>, StoreError> {
        let rows = sqlx::query("SELECT * FROM steps WHERE round = $1 AND attempt = $2 ORDER BY sequence")
            .bind(i64::from(round.get()))
            .bind(i64::from(attempt.get()))
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(step).collect()
    }

    /// Those of one kind or another: what a call needs of an attempt does not grow with its houses' contributions.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn steps_of(
        &self,
        (round, attempt): (RoundNumber, Attempt),
        [one, other]: [EventKind; 2],
    ) -> Result<Vec<StoredStep>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM steps WHERE round = $1 AND attempt = $2 AND kind IN ($3, $4) ORDER BY sequence")
                .bind(i64::from(round.get()))
                .bind(i64::from(attempt.get()))
                .bind(<&str>::from(one))
                .bind(<&str>::from(other))
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(step).collect()
    }

    /// The latest attempt that any event speaks of: the current one.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn latest_attempt(&self) -> Result<Option<(RoundNumber, Attempt)>, StoreError> {
        let row = sqlx::query("SELECT round, attempt FROM events ORDER BY round DESC, attempt DESC LIMIT 1")
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| place(&row)).transpose()
    }

    /// Whether an event of this kind has happened to this attempt.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn has_event(&self, round: RoundNumber, attempt: Attempt, kind: &str) -> Result<bool, StoreError> {
        let count: i64 =
            sqlx::query_scalar("SELECT COUNT(*) FROM events WHERE round = $1 AND attempt = $2 AND kind = $3")
                .bind(i64::from(round.get()))
                .bind(i64::from(attempt.get()))
                .bind(kind)
                .fetch_one(&self.pool)
                .await?;
        Ok(count > 0)
    }

    /// The kinds of events that have happened to this attempt.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn event_kinds(&self, round: RoundNumber, attempt: Attempt) -> Result<BTreeSet<String>, StoreError> {
        let kinds: Vec<String> =
            sqlx::query_scalar("SELECT DISTINCT kind FROM events WHERE round = $1 AND attempt = $2")
                .bind(i64::from(round.get()))
                .bind(i64::from(attempt.get()))
                .fetch_all(&self.pool)
                .await?;
        Ok(kinds.into_iter().collect())
    }

    /// The accepted contributions of an attempt, by member.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn contributions(&self, announcement: &Digest) -> Result<Vec<StoredContribution>, StoreError> {
        let rows = sqlx::query("SELECT * FROM contributions WHERE announcement = $1 ORDER BY member")
            .bind(announcement.as_bytes().as_slice())
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(contribution).collect()
    }

    /// Announcements of all attempts so far.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn announcements(&self) -> Result<Vec<Digest>, StoreError> {
        let rows: Vec<Vec<u8>> = sqlx::query_scalar("SELECT announcement FROM attempts ORDER BY round, attempt")
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|bytes| fixed(bytes, "an attempt").map(Digest::from_bytes)).collect()
    }

    /// The round of each announced attempt, in order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn announced_rounds(&self) -> Result<Vec<RoundNumber>, StoreError> {
        let rows =
            sqlx::query("SELECT round, attempt FROM attempts ORDER BY round, attempt").fetch_all(&self.pool).await?;
        rows.iter().map(|row| place(row).map(|(round, _)| round)).collect()
    }

    /// The attempt with this announcement.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn attempt(&self, announcement: &Digest) -> Result<Option<StoredAttempt>, StoreError> {
        let row = sqlx::query("SELECT round, attempt, announcement, sum_digest FROM attempts WHERE announcement = $1")
            .bind(announcement.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (round, attempt) = place(&row)?;
        let digest = |bytes: &[u8]| fixed(bytes, "an attempt").map(Digest::from_bytes);
        Ok(Some(StoredAttempt {
            round,
            attempt,
            announcement: digest(row.try_get("announcement")?)?,
            sum: row.try_get::<Option<&[u8]>, _>("sum_digest")?.map(digest).transpose()?,
        }))
    }

    /// The cohort list of an attempt, once it is fixed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn cohort(&self, announcement: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let cohort = sqlx::query_scalar("SELECT cohort FROM attempts WHERE announcement = $1")
            .bind(announcement.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await?;
        Ok(cohort.flatten())
    }

    /// Up to `limit` events after `after`, in order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn events(&self, after: u64, limit: u32) -> Result<Vec<StoredEvent>, StoreError> {
        let rows = sqlx::query(
            "SELECT sequence, body, (SELECT COUNT(*) FROM events AS later WHERE later.round = events.round
                 AND later.attempt = events.attempt AND later.sequence > events.sequence) AS later
             FROM events WHERE sequence > $1 ORDER BY sequence LIMIT $2",
        )
        .bind(to_column(after, "event")?)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(StoredEvent {
                    sequence: from_column(row.try_get("sequence")?, "an event")?,
                    live: row.try_get::<i64, _>("later")? == 0,
                    body: row.try_get("body")?,
                })
            })
            .collect()
    }

    /// The number of the last event; 0 when nothing has happened.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn last_event(&self) -> Result<u64, StoreError> {
        let last: Option<i64> = sqlx::query_scalar("SELECT MAX(sequence) FROM events").fetch_one(&self.pool).await?;
        from_column(last.unwrap_or(0), "an event")
    }

    /// The leaves of the record, in order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn leaves(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(sqlx::query_scalar("SELECT body FROM leaves ORDER BY position").fetch_all(&self.pool).await?)
    }

    /// What opened sums say of held-out units, in the order of their rounds.
    ///
    /// # Errors
    /// [`StoreError::Database`], [`StoreError::Damaged`].
    pub async fn metrics(&self) -> Result<Vec<CurvePoint>, StoreError> {
        let rows: Vec<String> =
            sqlx::query_scalar("SELECT body FROM metrics ORDER BY round").fetch_all(&self.pool).await?;
        let damaged = |_| StoreError::Damaged { what: "a round's metrics" };
        rows.iter().map(|body| serde_json::from_str(body).map_err(damaged)).collect()
    }

    /// Whom the operator let take part again, and how many leaves the record had then; the earliest first.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn readmissions(&self) -> Result<Vec<(HouseName, u64)>, StoreError> {
        let rows = sqlx::query("SELECT member, leaves FROM readmissions ORDER BY leaves, member")
            .fetch_all(&self.pool)
            .await?;
        rows.iter()
            .map(|row| Ok((house(row.try_get("member")?)?, from_column(row.try_get("leaves")?, "a readmission")?)))
            .collect()
    }

    /// The newest cosignature of each member: of which size of the record, and its line.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn cosignatures(&self) -> Result<Vec<(HouseName, u64, String)>, StoreError> {
        let rows =
            sqlx::query("SELECT member, size, line FROM cosignatures ORDER BY member").fetch_all(&self.pool).await?;
        rows.iter()
            .map(|row| {
                let size = from_column(row.try_get("size")?, "a cosignature")?;
                Ok((house(row.try_get("member")?)?, size, row.try_get("line")?))
            })
            .collect()
    }

    /// Who has approved handing the final state over.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn approved(&self) -> Result<Vec<HouseName>, StoreError> {
        let names: Vec<String> =
            sqlx::query_scalar("SELECT member FROM approvals ORDER BY member").fetch_all(&self.pool).await?;
        names.iter().map(|name| house(name)).collect()
    }

    /// The signed approvals so far.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn approvals(&self) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(sqlx::query_scalar("SELECT body FROM approvals ORDER BY member").fetch_all(&self.pool).await?)
    }
}

fn contribution(row: &SqliteRow) -> Result<StoredContribution, StoreError> {
    let what = "a contribution";
    let digest = |bytes: &[u8]| fixed(bytes, what).map(Digest::from_bytes);
    let runs: &[u8] = row.try_get("runs")?;
    if !runs.len().is_multiple_of(32) {
        return Err(StoreError::Damaged { what });
    }
    Ok(StoredContribution {
        manifest: Signed::from_bytes(row.try_get("manifest")?).map_err(|_| StoreError::Damaged { what })?,
        sealed: digest(row.try_get("sealed")?)?,
        runs: runs.chunks_exact(32).map(digest).collect::<Result<_, _>>()?,
    })
}

fn place(row: &SqliteRow) -> Result<(RoundNumber, Attempt), StoreError> {
    let number = |column: &str| -> Result<u32, StoreError> { from_column(row.try_get(column)?, "an attempt") };
    let damaged = |_| StoreError::Damaged { what: "an attempt" };
    Ok((RoundNumber::new(number("round")?).map_err(damaged)?, Attempt::new(number("attempt")?).map_err(damaged)?))
}

fn step(row: &SqliteRow) -> Result<StoredStep, StoreError> {
    Ok(StoredStep {
        sequence: from_column(row.try_get("sequence")?, "a step")?,
        kind: row.try_get("kind")?,
        body: row.try_get("body")?,
    })
}
