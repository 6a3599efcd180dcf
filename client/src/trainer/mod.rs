//! Local training: what a house's rows become before anything leaves, one integer for each trained weight.

mod record;

use std::time::Duration;

use adapter::State;
use privacy::{ClipError, Entry, Kind, NoiseError, NoiseShare, SampleError};
use protocol::charter::PrivacyMode;
use protocol::{Announcement, Attempt, Charter, HouseName, RoundNumber};
use zeroize::Zeroizing;

pub use record::RecordTrainer;

use crate::data::DataError;

/// A round as a trainer sees it.
#[derive(Debug, Clone, Copy)]
pub struct RoundContext<'a> {
    /// The contract.
    pub charter: &'a Charter,
    /// The announcement, checked.
    pub announcement: &'a Announcement,
    /// This house.
    pub house: &'a HouseName,
}

/// A house's contribution before encryption, and what it cost to make.
pub struct Trained {
    /// One integer in grid units for each trained weight, noise included. Wiped on drop.
    pub values: Zeroizing<Vec<i64>>,
    /// Mean loss of the batch; for the house's own log only.
    pub loss: Option<f64>,
    /// Time for gradients, clipping and summing.
    pub train: Duration,
    /// Time for drawing the noise, on a thread of its own beside the gradients.
    pub noise: Duration,
}

/// Makes a house's contribution to a round.
pub trait Trainer: Send {
    /// The integers that this house adds to the sum, starting from `state`. Called after the ledger was charged, once an
    /// attempt.
    ///
    /// # Errors
    /// [`TrainError`]; the house is then absent from the attempt.
    fn contribution(&mut self, round: &RoundContext<'_>, state: &State) -> Result<Trained, TrainError>;
}

/// Why a contribution could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The data file.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model, its files, or the device.
    #[error(transparent)]
    Model(#[from] lora::LoraError),
    /// The model's weights are not the charter's.
    #[error("{}: SHA-256 {found}, but the charter's model has {expected}", path.display())]
    OtherModel {
        /// The file.
        path: std::path::PathBuf,
        /// The charter's.
        expected: protocol::Digest,
        /// The file's.
        found: protocol::Digest,
    },
    /// A file of the model cannot be read.
    #[error(transparent)]
    File(#[from] crate::files::FileError),
    /// The charter cannot be run here.
    #[error(transparent)]
    Terms(#[from] terms::TermsError),
    /// Clipping.
    #[error("clipping: {0}")]
    Clip(#[from] ClipError),
    /// Sampling.
    #[error("sampling: {0}")]
    Sample(#[from] SampleError),
    /// Noise.
    #[error("noise: {0}")]
    Noise(#[from] NoiseError),
    /// Encryption, dealing or sealing.
    #[error("encryption: {0}")]
    Encrypt(String),
    /// This house is not in the charter.
    #[error("the charter does not name the house `{0}`")]
    NotAHouse(HouseName),
    /// A privacy mode that this version cannot train under.
    #[error("privacy mode `{0}` is not built")]
    Mode(&'static str),
    /// A thread ended without a result.
    #[error("a worker thread of the trainer ended without a result")]
    Worker,
}

impl RoundContext<'_> {
    /// This house's share of the noise; `None` under mode `none`.
    ///
    /// # Errors
    /// [`TrainError::Noise`] when too few honest houses remain or a share is too narrow, [`TrainError::Mode`].
    pub fn noise_share(&self) -> Result<Option<NoiseShare>, TrainError> {
        noise_share(self.charter, self.announcement.expected.len(), self.announcement.may_vanish as usize)
    }

    /// The charter's sampling rate for this house.
    ///
    /// # Errors
    /// [`TrainError::NotAHouse`].
    pub fn sampling_rate(&self) -> Result<f64, TrainError> {
        sampling_rate(self.charter, self.house)
    }

    /// The line that this attempt takes in the house's ledger, for `count` trained weights; `None` under mode `none`.
    ///
    /// # Errors
    /// As [`RoundContext::noise_share`], and [`TrainError::NotAHouse`].
    pub fn ledger_entry(&self, count: usize) -> Result<Option<Entry>, TrainError> {
        let round = (self.announcement.round, self.announcement.attempt);
        ledger_entry(self.charter, self.house, round, self.noise_share()?, count)
    }
}

/// The line that an attempt would take if all houses of the largest cohort came: what is checked before saying ready.
///
/// # Errors
/// As [`RoundContext::ledger_entry`].
pub(crate) fn entry_ahead(
    charter: &Charter,
    house: &HouseName,
    round: (RoundNumber, Attempt),
    count: usize,
) -> Result<Option<Entry>, TrainError> {
    let share = noise_share(charter, charter.rounds.max_cohort as usize, charter.rounds.may_vanish as usize)?;
    ledger_entry(charter, house, round, share, count)
}

fn noise_share(charter: &Charter, expected: usize, may_vanish: usize) -> Result<Option<NoiseShare>, TrainError> {
    let privacy = &charter.privacy;
    let (z, norm) = (privacy.noise_multiplier, privacy.integer_norm);
    match privacy.mode {
        PrivacyMode::None => Ok(None),
        PrivacyMode::RecordLocal => Ok(Some(NoiseShare::local(z, norm)?)),
        PrivacyMode::RecordShared => {
            Ok(Some(NoiseShare::new(z, norm, expected, may_vanish, privacy.colluders as usize)?))
        }
        mode @ PrivacyMode::Client => Err(TrainError::Mode(mode.as_str())),
    }
}

fn ledger_entry(
    charter: &Charter,
    house: &HouseName,
    (round, attempt): (RoundNumber, Attempt),
    share: Option<NoiseShare>,
    count: usize,
) -> Result<Option<Entry>, TrainError> {
    let Some(share) = share else { return Ok(None) };
    let grid = share.grid(count as u64);
    Ok(Some(Entry {
        federation: *charter.digest().as_bytes(),
        round: u64::from(round.get()),
        attempt: attempt.get(),
        kind: Kind::Training,
        rate: sampling_rate(charter, house)?,
        noise_multiplier: charter.privacy.noise_multiplier,
        steps: 1,
        dimension: grid.dimension,
        integer_norm: grid.integer_norm,
        shares: grid.shares,
        share_deviation: grid.deviation,
    }))
}

fn sampling_rate(charter: &Charter, house: &HouseName) -> Result<f64, TrainError> {
    charter.house(house).map(|house| house.sampling_rate).ok_or_else(|| TrainError::NotAHouse(house.clone()))
}
