//! Who may join, and who has.

use protocol::HouseName;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use super::certificates::note_certificate;
use super::transition::Transition;
use super::{Setting, Store, StoreError, fixed, from_column, to_column};

/// Somebody with a certificate of the federation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledMember {
    /// Its name; the charter knows its role.
    pub name: HouseName,
    /// Ed25519 key of its messages.
    pub signing_key: [u8; 32],
    /// X25519 key to which opened answers are sealed.
    pub mailbox_key: [u8; 32],
    /// Its certificate, PEM.
    pub certificate: String,
    /// SHA-256 of its certificate's DER.
    pub certificate_digest: [u8; 32],
    /// When it joined, in milliseconds since 1970.
    pub joined_at_ms: u64,
}

/// Somebody about to join.
pub type NewMember = EnrolledMember;

/// Why nobody was enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// No invitation has this token for this name.
    #[error("no invitation for {name} has this token; ask the model builder for a new one")]
    UnknownToken {
        /// The name asked for.
        name: HouseName,
    },
    /// The invitation was used before, by other keys.
    #[error("the invitation for {name} has been used; ask the model builder for a new one")]
    Used {
        /// The name asked for.
        name: HouseName,
    },
    /// The invitation is too old.
    #[error("the invitation for {name} has expired; ask the model builder for a new one")]
    Expired {
        /// The name asked for.
        name: HouseName,
    },
    /// Another member has this name or key.
    #[error(
        "{name}, or somebody with one of its keys, has joined before. With the keys that it joined with, it comes back after `revoke` and `invite`; with others before the roster is complete only, else in another federation"
    )]
    Taken {
        /// The name asked for.
        name: HouseName,
    },
    /// Our failure.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for EnrolError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Notes an invitation by the SHA-256 of its token.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn invite(&self, token_digest: [u8; 32], name: &HouseName, expires_at_ms: u64) -> Result<(), StoreError> {
        let mut change = self.change(Transition::Invite).await?;
        sqlx::query("INSERT INTO invitations (token_digest, name, expires_at_ms) VALUES ($1, $2, $3)")
            .bind(token_digest.as_slice())
            .bind(name.as_str())
            .bind(to_column(expires_at_ms, "time")?)
            .execute(&mut *change)
            .await?;
        change.commit().await?;
        Ok(())
    }

    /// Whether there is an invitation with this token for `name`, used or not.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn is_invited(&self, token_digest: [u8; 32], name: &HouseName) -> Result<bool, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM invitations WHERE token_digest = $1 AND name = $2")
            .bind(token_digest.as_slice())
            .bind(name.as_str())
            .fetch_one(&self.pool)
            .await?;
        Ok(count > 0)
    }

    /// Uses an invitation up and enrols `new`, both or neither. When the same keys joined with it before (their
    /// answer was lost), the member as enrolled then comes back and nothing changes.
    ///
    /// # Errors
    /// [`EnrolError`]: the caller's fault, but for [`EnrolError::Store`].
    pub async fn enrol(&self, token_digest: [u8; 32], new: &NewMember) -> Result<EnrolledMember, EnrolError> {
        let name = || new.name.clone();
        let mut change = self.change(Transition::Enrol).await?;
        let row =
            sqlx::query("SELECT expires_at_ms, used_at_ms FROM invitations WHERE token_digest = $1 AND name = $2")
                .bind(token_digest.as_slice())
                .bind(new.name.as_str())
                .fetch_optional(&mut *change)
                .await?
                .ok_or_else(|| EnrolError::UnknownToken { name: name() })?;
        if row.try_get::<Option<i64>, _>("used_at_ms")?.is_some() {
            let before = sqlx::query("SELECT * FROM members WHERE name = $1 AND signing_key = $2 AND mailbox_key = $3")
                .bind(new.name.as_str())
                .bind(new.signing_key.as_slice())
                .bind(new.mailbox_key.as_slice())
                .fetch_optional(&mut *change)
                .await?;
            let before =
                before.map(|row| member(&row)).transpose()?.ok_or_else(|| EnrolError::Used { name: name() })?;
            let stands: i64 =
                sqlx::query_scalar("SELECT COUNT(*) FROM certificates WHERE digest = $1 AND revoked_at_ms IS NULL")
                    .bind(before.certificate_digest.as_slice())
                    .fetch_one(&mut *change)
                    .await?;
            return if stands == 1 { Ok(before) } else { Err(EnrolError::Used { name: name() }) };
        }
        if from_column::<u64>(row.try_get("expires_at_ms")?, "invitation")? <= new.joined_at_ms {
            return Err(EnrolError::Expired { name: name() });
        }
        if !takes_back(&mut change, new).await?
            && !takes_place(&mut change, new).await?
            && !insert(&mut change, new).await?
        {
            return Err(EnrolError::Taken { name: name() });
        }
        use_up(&mut change, token_digest, new).await?;
        change.commit().await?;
        Ok(new.clone())
    }

    /// Who has joined under this name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn member(&self, name: &HouseName) -> Result<Option<EnrolledMember>, StoreError> {
        let row = sqlx::query("SELECT * FROM members WHERE name = $1").bind(name.as_str());
        row.fetch_optional(&self.pool).await?.as_ref().map(member).transpose()
    }

    /// Everybody who has joined, by name.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn members(&self) -> Result<Vec<EnrolledMember>, StoreError> {
        sqlx::query("SELECT * FROM members ORDER BY name").fetch_all(&self.pool).await?.iter().map(member).collect()
    }
}

/// A member whose certificates are all revoked comes back with the keys that the roster pins: it gets another certificate.
async fn takes_back(connection: &mut SqliteConnection, new: &NewMember) -> Result<bool, StoreError> {
    let changed = sqlx::query(
        "UPDATE members SET certificate = $1, certificate_digest = $2
         WHERE name = $3 AND signing_key = $4 AND mailbox_key = $5
         AND name NOT IN (SELECT member FROM certificates WHERE revoked_at_ms IS NULL)",
    )
    .bind(&new.certificate)
    .bind(new.certificate_digest.as_slice())
    .bind(new.name.as_str())
    .bind(new.signing_key.as_slice())
    .bind(new.mailbox_key.as_slice())
    .execute(connection)
    .await?;
    Ok(changed.rows_affected() == 1)
}

/// A member whose certificates are all revoked joins with other keys while no roster pins those that it had: nothing was ever sealed to them.
async fn takes_place(connection: &mut SqliteConnection, new: &NewMember) -> Result<bool, StoreError> {
    let changed = sqlx::query(
        "UPDATE members SET signing_key = $1, mailbox_key = $2, certificate = $3, certificate_digest = $4, joined_at_ms = $5
         WHERE name = $6 AND name NOT IN (SELECT member FROM certificates WHERE revoked_at_ms IS NULL)
         AND NOT EXISTS (SELECT 1 FROM members AS other WHERE other.name <> $6 AND (other.signing_key = $1 OR other.mailbox_key = $2))
         AND NOT EXISTS (SELECT 1 FROM settings WHERE name = $7)",
    )
    .bind(new.signing_key.as_slice())
    .bind(new.mailbox_key.as_slice())
    .bind(&new.certificate)
    .bind(new.certificate_digest.as_slice())
    .bind(to_column(new.joined_at_ms, "time")?)
    .bind(new.name.as_str())
    .bind(Setting::Roster.name())
    .execute(&mut *connection)
    .await?;
    if changed.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query("DELETE FROM one_time_keys WHERE member = $1").bind(new.name.as_str()).execute(connection).await?;
    Ok(true)
}

/// A new member; `false` where another has its name or a key.
async fn insert(connection: &mut SqliteConnection, new: &NewMember) -> Result<bool, StoreError> {
    let inserted = sqlx::query(
        "INSERT INTO members (name, signing_key, mailbox_key, certificate, certificate_digest, joined_at_ms)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(new.name.as_str())
    .bind(new.signing_key.as_slice())
    .bind(new.mailbox_key.as_slice())
    .bind(&new.certificate)
    .bind(new.certificate_digest.as_slice())
    .bind(to_column(new.joined_at_ms, "time")?)
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// The invitation is used, and the certificate counts.
async fn use_up(connection: &mut SqliteConnection, token_digest: [u8; 32], new: &NewMember) -> Result<(), StoreError> {
    let now = to_column(new.joined_at_ms, "time")?;
    sqlx::query("UPDATE invitations SET used_at_ms = $1 WHERE token_digest = $2")
        .bind(now)
        .bind(token_digest.as_slice())
        .execute(&mut *connection)
        .await?;
    note_certificate(connection, new.certificate_digest, new.name.as_str(), now).await
}

pub(super) fn house(name: &str) -> Result<HouseName, StoreError> {
    HouseName::new(name).map_err(|_| StoreError::Damaged { what: "a member's name" })
}

fn member(row: &SqliteRow) -> Result<EnrolledMember, StoreError> {
    Ok(EnrolledMember {
        name: house(row.try_get("name")?)?,
        signing_key: fixed(row.try_get("signing_key")?, "a member's signing key")?,
        mailbox_key: fixed(row.try_get("mailbox_key")?, "a member's mailbox key")?,
        certificate: row.try_get("certificate")?,
        certificate_digest: fixed(row.try_get("certificate_digest")?, "a member's certificate")?,
        joined_at_ms: from_column(row.try_get("joined_at_ms")?, "a member's time")?,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::store::Write;

    fn new(name: &str, byte: u8, joined_at_ms: u64) -> NewMember {
        NewMember {
            name: HouseName::new(name).unwrap(),
            signing_key: [byte; 32],
            mailbox_key: [byte; 32],
            certificate: "pem".into(),
            certificate_digest: [byte; 32],
            joined_at_ms,
        }
    }

    #[tokio::test]
    async fn an_invitation_enrols_its_name_once_and_only_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), true).await.unwrap();
        let anna = HouseName::new("anna").unwrap();
        store.invite([1; 32], &anna, 100).await.unwrap();
        store.invite([2; 32], &anna, 100).await.unwrap();

        let wrong = store.enrol([9; 32], &new("anna", 1, 50)).await;
        assert!(matches!(wrong, Err(EnrolError::UnknownToken { .. })), "{wrong:?}");
        let others = store.enrol([1; 32], &new("berta", 1, 50)).await;
        assert!(matches!(others, Err(EnrolError::UnknownToken { .. })), "{others:?}");
        let late = store.enrol([1; 32], &new("anna", 1, 100)).await;
        assert!(matches!(late, Err(EnrolError::Expired { .. })), "{late:?}");
        assert!(store.members().await.unwrap().is_empty());

        let enrolled = store.enrol([1; 32], &new("anna", 1, 99)).await.unwrap();
        let mut again = new("anna", 1, 99);
        again.certificate_digest = [7; 32];
        assert_eq!(store.enrol([1; 32], &again).await.unwrap(), enrolled, "a lost answer is given again");
        let used = store.enrol([1; 32], &new("anna", 3, 99)).await;
        assert!(matches!(used, Err(EnrolError::Used { .. })), "{used:?}");
        let taken = store.enrol([2; 32], &new("anna", 3, 99)).await;
        assert!(matches!(taken, Err(EnrolError::Taken { .. })), "{taken:?}");
        let berta = HouseName::new("berta").unwrap();
        store.invite([3; 32], &berta, 100).await.unwrap();
        let same_mailbox = NewMember { mailbox_key: [1; 32], ..new("berta", 4, 99) };
        let taken = store.enrol([3; 32], &same_mailbox).await;
        assert!(matches!(taken, Err(EnrolError::Taken { .. })), "no roster has one mailbox twice: {taken:?}");
        assert!(store.is_invited([3; 32], &berta).await.unwrap() && !store.is_invited([3; 32], &anna).await.unwrap());
        let found = store.certificate([1; 32]).await.unwrap().unwrap();
        assert_eq!((found.member, found.revoked), (anna, false));
        assert_eq!(store.certificate([7; 32]).await.unwrap(), None);
    }
    #[tokio::test]
    async fn a_revoked_member_joins_with_other_keys_until_a_roster_pins_those_that_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), true).await.unwrap();
        let [anna, berta] = ["anna", "berta"].map(|name| HouseName::new(name).unwrap());
        for (token, name) in [(1, &anna), (2, &anna), (5, &berta)] {
            store.invite([token; 32], name, 100).await.unwrap();
        }
        store.enrol([1; 32], &new("anna", 1, 50)).await.unwrap();
        store.enrol([5; 32], &new("berta", 5, 50)).await.unwrap();
        let others = store.enrol([2; 32], &new("anna", 2, 60)).await;
        assert!(matches!(others, Err(EnrolError::Taken { .. })), "its certificate stands: {others:?}");
        store.revoke(&anna, 70).await.unwrap();
        store.invite([6; 32], &anna, 100).await.unwrap();
        let stolen = NewMember { mailbox_key: [5; 32], ..new("anna", 6, 80) };
        let taken = store.enrol([6; 32], &stolen).await;
        assert!(matches!(taken, Err(EnrolError::Taken { .. })), "berta has that mailbox: {taken:?}");
        store.enrol([6; 32], &new("anna", 6, 80)).await.unwrap();
        let members = store.members().await.unwrap();
        let keys: Vec<_> = members.iter().map(|member| (member.name.as_str(), member.signing_key[0])).collect();
        assert_eq!(keys, [("anna", 6), ("berta", 5)]);
        assert!(store.revoked().await.unwrap().is_empty());

        store.commit(&[Write::Set(Setting::Roster, vec![1])]).await.unwrap();
        store.revoke(&anna, 90).await.unwrap();
        store.invite([8; 32], &anna, 100).await.unwrap();
        let pinned = store.enrol([8; 32], &new("anna", 8, 95)).await;
        assert!(matches!(pinned, Err(EnrolError::Taken { .. })), "{pinned:?}");
        let again = NewMember { certificate_digest: [9; 32], ..new("anna", 6, 95) };
        store.enrol([8; 32], &again).await.unwrap();
    }
}
