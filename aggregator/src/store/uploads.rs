//! What is kept of contributions that are still under way.

use protocol::{Digest, HouseName};
use sqlx::Row as _;

use super::transition::Transition;
use super::{Store, StoreError, fixed, from_column, to_column};

/// A contribution under way: whose, to which attempt, and which one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Digest of the announcement.
    pub announcement: Digest,
    /// Whose.
    pub member: HouseName,
    /// Digest of its signed manifest.
    pub manifest: Digest,
}

/// A run of its chunks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRun {
    /// The blob that holds it.
    pub blob: Digest,
    /// How many chunks it has.
    pub chunks: usize,
}

impl Store {
    /// The runs that are kept of exactly this contribution, in order.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn kept_runs(&self, upload: &Upload) -> Result<Vec<KeptRun>, StoreError> {
        let rows = sqlx::query(
            "SELECT blob, chunks FROM uploads WHERE announcement = $1 AND member = $2 AND manifest = $3
             ORDER BY position",
        )
        .bind(upload.announcement.as_bytes().as_slice())
        .bind(upload.member.as_str())
        .bind(upload.manifest.as_bytes().as_slice())
        .fetch_all(&self.pool)
        .await?;
        let run = |row: &sqlx::sqlite::SqliteRow| {
            let blob = Digest::from_bytes(fixed(row.try_get("blob")?, "an upload")?);
            Ok(KeptRun { blob, chunks: from_column(row.try_get("chunks")?, "an upload")? })
        };
        rows.iter().map(run).collect()
    }

    /// Notes that one more run is kept, after `position` others; what was noted from there on is forgotten, and so is whatever
    /// else this member began to send to this attempt.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn keep_run(&self, upload: &Upload, position: usize, run: &KeptRun) -> Result<(), StoreError> {
        let position = to_column(position as u64, "upload")?;
        let mut change = self.change(Transition::Upload).await?;
        sqlx::query(
            "DELETE FROM uploads WHERE announcement = $1 AND member = $2 AND (position >= $3 OR manifest <> $4)",
        )
        .bind(upload.announcement.as_bytes().as_slice())
        .bind(upload.member.as_str())
        .bind(position)
        .bind(upload.manifest.as_bytes().as_slice())
        .execute(&mut *change)
        .await?;
        sqlx::query(
            "INSERT INTO uploads (announcement, member, position, manifest, blob, chunks)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(upload.announcement.as_bytes().as_slice())
        .bind(upload.member.as_str())
        .bind(position)
        .bind(upload.manifest.as_bytes().as_slice())
        .bind(run.blob.as_bytes().as_slice())
        .bind(to_column(run.chunks as u64, "upload")?)
        .execute(&mut *change)
        .await?;
        change.commit().await?;
        Ok(())
    }

    /// Forgets what is kept of a contribution: it turned out not to be what its house signed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn forget_upload(&self, upload: &Upload) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM uploads WHERE announcement = $1 AND member = $2")
            .bind(upload.announcement.as_bytes().as_slice())
            .bind(upload.member.as_str())
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
