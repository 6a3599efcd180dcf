//! What a ledger's line says.

use crate::accountant::{Grid, Rounds};
use serde::{Deserialize, Serialize};

/// What a round does with the data; each kind samples and is charged at its own rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Gradients of training rows.
    Training,
    /// Noised metrics of training or held-out rows.
    Evaluation,
}

/// What a ledger protects: what it says is spent holds for neighbours that differ in one of these. Charges for different
/// ones do not add up, so a ledger keeps to one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProtectedUnit {
    /// One row.
    Row,
    /// All rows with the same value in this column.
    Column(String),
    /// The whole house, against its contribution being zero.
    House,
}

impl std::fmt::Display for ProtectedUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Row => write!(f, "one row"),
            Self::Column(column) => write!(f, "all rows with one `{column}`"),
            Self::House => write!(f, "the whole house"),
        }
    }
}

/// One round's privacy cost, as reserved before the data is touched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Digest of the federation's charter.
    #[serde(with = "digest")]
    pub federation: [u8; 32],
    /// The house that is charged: where several keep one ledger over the same data, each is charged.
    pub house: String,
    /// Round number.
    pub round: u64,
    /// Attempt at that round: a new attempt samples and draws afresh, so it is an entry of its own.
    pub attempt: u32,
    /// What the round does.
    pub kind: Kind,
    /// Sampling rate, in (0, 1].
    #[serde(with = "exact")]
    pub rate: f64,
    /// Noise multiplier that the honest shares alone carry.
    #[serde(with = "exact")]
    pub noise_multiplier: f64,
    /// Local steps within the round: 1, but for mode `record-local`.
    pub steps: u64,
    /// Coordinates of the summed vector.
    pub dimension: u64,
    /// Sensitivity in grid units.
    pub integer_norm: u64,
    /// Noise shares that the guarantee counts on.
    pub shares: u64,
    /// Standard deviation of one share, in grid units.
    #[serde(with = "exact")]
    pub share_deviation: f64,
}

/// What names a reservation.
pub(crate) type Name = ([u8; 32], String, u64, u32, Kind);

impl Entry {
    /// The entry as the accountant takes it.
    pub fn rounds(&self) -> Rounds {
        let grid = Grid {
            dimension: self.dimension,
            integer_norm: self.integer_norm,
            shares: self.shares,
            deviation: self.share_deviation,
        };
        Rounds::new(self.rate, self.noise_multiplier, self.steps).on_grid(grid)
    }

    pub(crate) fn name(&self) -> Name {
        (self.federation, self.house.clone(), self.round, self.attempt, self.kind)
    }
}

/// A line's content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Event {
    /// The first line of a ledger that spends. The salt hides everything about the lines from whoever sees a later
    /// digest: each digest is over the one before.
    Opened {
        limit: super::Limit,
        unit: ProtectedUnit,
        #[serde(with = "digest")]
        salt: [u8; 32],
    },
    Reserved(Entry),
    Confirmed {
        #[serde(with = "digest")]
        federation: [u8; 32],
        house: String,
        round: u64,
        attempt: u32,
        kind: Kind,
        /// Digest of what leaves.
        #[serde(with = "digest")]
        contribution: [u8; 32],
    },
    /// From here on rows of this data leave in sums without noise: nothing is promised for them any more.
    Unprotected {
        #[serde(with = "digest")]
        federation: [u8; 32],
        house: String,
    },
}

/// 32 bytes as hexadecimal digits.
pub(super) mod digest {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::ledger) fn serialize<S: Serializer>(value: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(value))
    }

    pub(in crate::ledger) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let mut value = [0; 32];
        hex::decode_to_slice(String::deserialize(deserializer)?, &mut value).map_err(D::Error::custom)?;
        Ok(value)
    }
}

/// `f64` as the shortest decimal string that reads back to the same bits.
pub(super) mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::ledger) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(in crate::ledger) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<f64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
