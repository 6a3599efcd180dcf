//! Whose certificate it is, and whether it still opens anything.

use protocol::HouseName;
use sqlx::{Row as _, SqliteConnection};

use super::members::house;
use super::transition::Transition;
use super::{Store, StoreError, fixed, from_column, to_column};
use crate::identity::MEMBER_MS;

/// A certificate that a member was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCertificate {
    /// Whose.
    pub member: HouseName,
    /// When it was signed, in milliseconds since 1970.
    pub issued_at_ms: u64,
    /// Whether the operator revoked it.
    pub revoked: bool,
}

/// The certificate that a member was given last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewestCertificate {
    /// The certificate, PEM.
    pub pem: String,
    /// SHA-256 of its DER.
    pub digest: [u8; 32],
    /// When it was signed, in milliseconds since 1970.
    pub issued_at_ms: u64,
}

/// Certificates of one member that may stand at a time: renewals make no more.
const MAX_STANDING: i64 = 8;

/// What came of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// The new certificate counts.
    Noted,
    /// The one that asked does not stand any more.
    Revoked,
    /// As many stand as may.
    TooMany,
}

impl Store {
    /// The certificate with this SHA-256 of its DER.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn certificate(&self, digest: [u8; 32]) -> Result<Option<StoredCertificate>, StoreError> {
        let row = sqlx::query("SELECT member, issued_at_ms, revoked_at_ms FROM certificates WHERE digest = $1")
            .bind(digest.as_slice())
            .fetch_optional(&self.pool)
            .await?;
        row.map(|row| {
            let revoked = row.try_get::<Option<i64>, _>("revoked_at_ms")?.is_some();
            let issued_at_ms = from_column(row.try_get("issued_at_ms")?, "a certificate")?;
            Ok(StoredCertificate { member: house(row.try_get("member")?)?, issued_at_ms, revoked })
        })
        .transpose()
    }

    /// How many certificates have been revoked so far.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn revocations(&self) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM certificates WHERE revoked_at_ms IS NOT NULL")
            .fetch_one(&self.pool)
            .await?;
        from_column(count, "a count of certificates")
    }

    /// Notes a certificate that renews `old`, which must stand still: a revocation that came first holds.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn renew(
        &self,
        old: [u8; 32],
        renewed: [u8; 32],
        certificate_pem: &str,
        now_ms: u64,
    ) -> Result<Renewal, StoreError> {
        let mut change = self.change(Transition::Renew).await?;
        let member: Option<String> =
            sqlx::query_scalar("SELECT member FROM certificates WHERE digest = $1 AND revoked_at_ms IS NULL")
                .bind(old.as_slice())
                .fetch_optional(&mut *change)
                .await?;
        let Some(member) = member else { return Ok(Renewal::Revoked) };
        let standing: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM certificates WHERE member = $1 AND revoked_at_ms IS NULL AND issued_at_ms > $2",
        )
        .bind(&member)
        .bind(to_column(now_ms.saturating_sub(MEMBER_MS), "time")?)
        .fetch_one(&mut *change)
        .await?;
        if standing >= MAX_STANDING {
            return Ok(Renewal::TooMany);
        }
        note_certificate(&mut change, renewed, &member, to_column(now_ms, "time")?).await?;
        // What a lost answer to the invitation is given again as.
        sqlx::query("UPDATE members SET certificate = $1, certificate_digest = $2 WHERE name = $3")
            .bind(certificate_pem)
            .bind(renewed.as_slice())
            .bind(&member)
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok(Renewal::Noted)
    }

    /// The newest certificate of a member, where it stands.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn newest_certificate(&self, member: &HouseName) -> Result<Option<NewestCertificate>, StoreError> {
        let row = sqlx::query(
            "SELECT members.certificate, certificates.digest, certificates.issued_at_ms FROM members
             JOIN certificates ON certificates.digest = members.certificate_digest
             WHERE members.name = $1 AND certificates.revoked_at_ms IS NULL",
        )
        .bind(member.as_str())
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            Ok(NewestCertificate {
                pem: row.try_get("certificate")?,
                digest: fixed(row.try_get("digest")?, "a certificate")?,
                issued_at_ms: from_column(row.try_get("issued_at_ms")?, "a certificate")?,
            })
        })
        .transpose()
    }

    /// Revokes all certificates of a member, and its invitations that were not used: an older one must not let it in again. Gives how
    /// many certificates and invitations still stood.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn revoke(&self, member: &HouseName, now_ms: u64) -> Result<(u64, u64), StoreError> {
        let mut change = self.change(Transition::Revoke).await?;
        let revoked =
            sqlx::query("UPDATE certificates SET revoked_at_ms = $1 WHERE member = $2 AND revoked_at_ms IS NULL")
                .bind(to_column(now_ms, "time")?)
                .bind(member.as_str())
                .execute(&mut *change)
                .await?;
        let withdrawn = sqlx::query("UPDATE invitations SET used_at_ms = $1 WHERE name = $2 AND used_at_ms IS NULL")
            .bind(to_column(now_ms, "time")?)
            .bind(member.as_str())
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok((revoked.rows_affected(), withdrawn.rows_affected()))
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

/// A certificate that was issued to `member` counts from now on.
pub(super) async fn note_certificate(
    connection: &mut SqliteConnection,
    digest: [u8; 32],
    member: &str,
    now: i64,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO certificates (digest, member, issued_at_ms) VALUES ($1, $2, $3)")
        .bind(digest.as_slice())
        .bind(member)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}
