//! The stock of signed one-time keys for committee duty.

use protocol::HouseName;
use sqlx::Row as _;

use super::transition::Transition;
use super::{Store, StoreError, from_column, to_column};

/// An unused key of a member's stock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// Its number among the member's keys.
    pub sequence: u64,
    /// The signed offer, canonical bytes.
    pub body: Vec<u8>,
}

impl Store {
    /// Adds keys to a member's stock; one with a known number changes nothing. Returns the unused keys after this.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn add_keys(&self, member: &HouseName, keys: &[StoredKey]) -> Result<u64, StoreError> {
        if keys.is_empty() {
            return self.stock(member).await;
        }
        let mut change = self.change(Transition::Keys).await?;
        for key in keys {
            sqlx::query(
                "INSERT INTO one_time_keys (member, sequence, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            )
            .bind(member.as_str())
            .bind(to_column(key.sequence, "one-time key")?)
            .bind(&key.body)
            .execute(&mut *change)
            .await?;
        }
        change.commit().await?;
        self.stock(member).await
    }

    /// The unused keys of a member.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn stock(&self, member: &HouseName) -> Result<u64, StoreError> {
        let stock = sqlx::query_scalar("SELECT COUNT(*) FROM one_time_keys WHERE member = $1 AND used_round IS NULL")
            .bind(member.as_str())
            .fetch_one(&self.pool)
            .await?;
        from_column(stock, "the stock of keys")
    }

    /// A member's next unused key: the one with the smallest number.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn next_key(&self, member: &HouseName) -> Result<Option<StoredKey>, StoreError> {
        let row = sqlx::query(
            "SELECT sequence, body FROM one_time_keys WHERE member = $1 AND used_round IS NULL
             ORDER BY sequence LIMIT 1",
        )
        .bind(member.as_str())
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            Ok(StoredKey {
                sequence: from_column(row.try_get("sequence")?, "a one-time key")?,
                body: row.try_get("body")?,
            })
        })
        .transpose()
    }
}
