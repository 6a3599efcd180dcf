//! What a charter and an announcement say about one house's part in a round.

use privacy::{Entry, Kind, NoiseShare};
use protocol::charter::{House, PrivacyMode};
use protocol::{Announcement, Attempt, Charter, HouseName, Message as _, RoundNumber};
use terms::{Norms, RoundShape};

use crate::TrainError;

/// One attempt at a round, as one house sees it.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The contract.
    pub charter: &'a Charter,
    /// This house.
    pub house: &'a HouseName,
    /// Which round.
    pub number: RoundNumber,
    /// Which attempt at it.
    pub attempt: Attempt,
    /// |E|: the houses expected in it.
    pub expected: usize,
    /// d: how many of them may vanish.
    pub may_vanish: u32,
    /// The announcement's digest: public, and nobody chooses it.
    pub seed: [u8; 32],
}

impl<'a> Part<'a> {
    /// The round that a checked announcement opens.
    pub fn announced(charter: &'a Charter, house: &'a HouseName, announcement: &Announcement) -> Self {
        Self {
            charter,
            house,
            number: announcement.round,
            attempt: announcement.attempt,
            expected: announcement.expected.len(),
            may_vanish: announcement.may_vanish,
            seed: *announcement.digest().as_bytes(),
        }
    }

    /// An attempt as it would be if all houses of the largest cohort came: what is checked before saying ready.
    pub fn ahead(charter: &'a Charter, house: &'a HouseName, number: RoundNumber, attempt: Attempt) -> Self {
        Self {
            charter,
            house,
            number,
            attempt,
            expected: charter.rounds.max_cohort as usize,
            may_vanish: charter.rounds.may_vanish,
            seed: [0; 32],
        }
    }

    /// This house's share of the noise; `None` under mode `none`.
    ///
    /// # Errors
    /// [`TrainError::Noise`] when too few honest houses remain or a share is too narrow.
    pub fn noise_share(&self) -> Result<Option<NoiseShare>, TrainError> {
        let privacy = &self.charter.privacy;
        let (z, norm) = (privacy.noise_multiplier, privacy.integer_norm);
        let (vanish, colluders) = (self.may_vanish as usize, privacy.colluders as usize);
        Ok(match privacy.mode {
            PrivacyMode::None => None,
            PrivacyMode::RecordLocal => Some(NoiseShare::local(z, norm)?),
            PrivacyMode::RecordShared | PrivacyMode::Client => {
                Some(NoiseShare::new(z, norm, self.expected, vanish, colluders)?)
            }
        })
    }

    /// The charter's sampling rate for this house.
    ///
    /// # Errors
    /// [`TrainError::NotAHouse`].
    pub fn sampling_rate(&self) -> Result<f64, TrainError> {
        Ok(self.house()?.sampling_rate)
    }

    /// The charter's batch size for this house: public, never counted.
    ///
    /// # Errors
    /// [`TrainError::NotAHouse`].
    pub fn nominal_batch(&self) -> Result<f64, TrainError> {
        Ok(f64::from(self.house()?.nominal_batch))
    }

    fn house(&self) -> Result<&'a House, TrainError> {
        self.charter.house(self.house).ok_or_else(|| TrainError::NotAHouse(self.house.clone()))
    }

    /// The lines that this attempt takes in the house's ledger, for `count` trained weights; none under mode `none`.
    ///
    /// # Errors
    /// As [`Part::noise_share`], and [`TrainError::NotAHouse`].
    pub fn ledger_entries(&self, count: usize) -> Result<Vec<Entry>, TrainError> {
        let Some(share) = self.noise_share()? else { return Ok(Vec::new()) };
        let privacy = &self.charter.privacy;
        let grid = share.grid(RoundShape::of(self.charter, self.number, count).len() as u64);
        let training = Entry {
            federation: *self.charter.digest().as_bytes(),
            house: self.house.as_str().to_owned(),
            round: u64::from(self.number.get()),
            attempt: self.attempt.get(),
            kind: Kind::Training,
            rate: self.sampling_rate()?,
            noise_multiplier: privacy.noise_multiplier,
            steps: u64::from(self.charter.noised_steps()),
            dimension: grid.dimension,
            integer_norm: grid.integer_norm,
            shares: grid.shares,
            share_deviation: grid.deviation,
        };
        // Under `client` the house's metrics are part of the one vector that the first line is for.
        let evaluation = self.charter.evaluation.as_ref().filter(|_| privacy.mode != PrivacyMode::Client);
        let evaluation = evaluation.filter(|_| self.charter.is_evaluated(self.number)).map(|evaluation| Entry {
            kind: Kind::Evaluation,
            rate: 1.0,
            noise_multiplier: evaluation.noise_multiplier,
            steps: 1,
            integer_norm: Norms::of(self.charter, self.number).metrics,
            ..training.clone()
        });
        Ok(std::iter::once(training).chain(evaluation).collect())
    }
}
