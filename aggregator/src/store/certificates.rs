//! Whose certificate it is, and whether it still opens anything.

use protocol::HouseName;
use sqlx::Row as _;

use super::members::house;
use super::transition::{Moment, Transition};
use super::{Store, StoreError, to_column};

/// A certificate that a member was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCertificate {
    /// Whose.
    pub member: HouseName,
    /// Whether the operator revoked it.
    pub revoked: bool,
}

impl Store {
    /// The certificate with this SHA-256 of its DER.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn certificate(&self, digest: [u8; 32]) -> Result<Option<StoredCertificate>, StoreError> {
        let row = sqlx::query("SELECT member, revoked_at_ms FROM certificates WHERE digest = $1")
            .bind(digest.as_slice())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| {
            let revoked = row.try_get::<Option<i64>, _>("revoked_at_ms")?.is_some();
            Ok(StoredCertificate { member: house(row.try_get("member")?)?, revoked })
        })
        .transpose()
    }

    /// Notes a certificate that renews another of the same member.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn renew(&self, member: &HouseName, digest: [u8; 32], now_ms: u64) -> Result<(), StoreError> {
        self.at(Transition::Renew, Moment::Before);
        let mut transaction = self.pool.begin().await?;
        sqlx::query(
            "INSERT INTO certificates (digest, member, issued_at_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(digest.as_slice())
        .bind(member.as_str())
        .bind(to_column(now_ms, "time")?)
        .execute(&mut *transaction)
        .await?;
        self.at(Transition::Renew, Moment::Uncommitted);
        transaction.commit().await?;
        self.at(Transition::Renew, Moment::After);
        Ok(())
    }

    /// Revokes all certificates of a member; gives how many still stood.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn revoke(&self, member: &HouseName, now_ms: u64) -> Result<u64, StoreError> {
        self.at(Transition::Revoke, Moment::Before);
        let mut transaction = self.pool.begin().await?;
        let revoked =
            sqlx::query("UPDATE certificates SET revoked_at_ms = $1 WHERE member = $2 AND revoked_at_ms IS NULL")
                .bind(to_column(now_ms, "time")?)
                .bind(member.as_str())
                .execute(&mut *transaction)
                .await?;
        self.at(Transition::Revoke, Moment::Uncommitted);
        transaction.commit().await?;
        self.at(Transition::Revoke, Moment::After);
        Ok(revoked.rows_affected())
    }

    /// Members of whose certificates none stands any more.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn revoked(&self) -> Result<Vec<HouseName>, StoreError> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM members WHERE name NOT IN (SELECT member FROM certificates WHERE revoked_at_ms IS NULL)
             ORDER BY name",
        )
        .fetch_all(&self.pool)
        .await?;
        names.iter().map(|name| house(name)).collect()
    }
}
