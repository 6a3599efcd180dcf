//! What makes this house's contributions.

use std::path::{Path, PathBuf};

use adapter::{BaseBiases, State};
use hub::Hub;
use privacy::SelfTest;
use privacy::accountant::{AccountantError, group_epsilon};
use protocol::{Attempt, Charter, HouseName, RoundNumber};
use training::{FreshNoise, House, Learner, Loaded, Mechanism, Part, Tools, TrainError, Trained, mechanism};

use crate::config::{DataConfig, TrainingConfig};
use crate::round::RunError;
use terms::Terms;

/// Makes a house's contribution to a round.
pub trait Trainer: Send {
    /// The integers that this house adds to the sum, starting from `state`. Called after the ledger was charged, once an
    /// attempt.
    ///
    /// # Errors
    /// [`TrainError`]; the house is then absent from the attempt.
    fn contribution(&mut self, part: &Part<'_>, state: &State) -> Result<Trained, TrainError>;

    /// The base model's biases, which stand in an adapter's files where they are trained.
    fn base_biases(&self) -> Option<&BaseBiases> {
        None
    }
}

/// The charter's mechanism on the house's own rows.
pub struct HouseTrainer {
    mechanism: Box<dyn Mechanism>,
    learner: Box<dyn Learner + Send>,
    house: House,
    noise: FreshNoise,
    base_biases: BaseBiases,
}

impl HouseTrainer {
    /// Finds the model, fetches it if need be, reads it and the rows, and checks both against the charter. Blocks. Tokens that do not fit
    /// into memory lie in a file without a name in `scratch`.
    ///
    /// # Errors
    /// [`RunError::Model`], or [`RunError::Train`] naming the file, line or field at fault.
    pub fn load(
        charter: &Charter,
        data: &DataConfig,
        training: &TrainingConfig,
        scratch: &Path,
    ) -> Result<Self, RunError> {
        let (Loaded { learner, house, .. }, folder) = load(charter, data, training, scratch)?;
        let terms = Terms::of(charter)?;
        let base_biases = BaseBiases::read(&terms.model, &terms.lora, &folder).map_err(TrainError::from)?;
        Ok(Self { mechanism: mechanism(charter)?, learner, house, noise: FreshNoise::stocked(), base_biases })
    }

    /// Tests the noise that contributions to this charter's rounds will get; nothing is spent. `None` under mode `none`, which adds none.
    ///
    /// # Errors
    /// [`TrainError::NoiseFault`]: nothing may be trained with it.
    pub fn test_noise(&mut self, charter: &Charter, house: &HouseName) -> Result<Option<SelfTest>, TrainError> {
        let part = Part::ahead(charter, house, RoundNumber::FIRST, Attempt::FIRST);
        let Some(share) = part.noise_share()? else { return Ok(None) };
        training::self_test(&mut self.noise, &share).map(Some)
    }
}

/// The house's rows and the model over them, and the base model's folder.
pub(crate) fn load(
    charter: &Charter,
    data: &DataConfig,
    training: &TrainingConfig,
    scratch: &Path,
) -> Result<(Loaded, PathBuf), RunError> {
    let folder = Hub::from_env().folder(&training.model)?;
    let rows = data.source(terms::is_language_model(charter));
    Ok((training::load(charter, &rows, &training.source(&folder), scratch)?, folder))
}

/// Group sizes for which [`group_epsilons`] says what the run costs.
const GROUPS: [u64; 4] = [1, 2, 4, 8];

/// Rows of one person where a row is the unit, and the epsilon that all charged rounds give that person, at the charter's
/// delta. Empty under mode `none`. It tells about the data holder's own data only what the charter says.
///
/// # Errors
/// The charter's values break a rule.
pub fn group_epsilons(charter: &Charter, house: &HouseName, count: usize) -> Result<Vec<(u64, f64)>, TrainError> {
    let rate = charter.house(house).ok_or_else(|| TrainError::NotAHouse(house.clone()))?.sampling_rate;
    let rounds = terms::whole_run(charter, rate, charter.rounds.max_cohort, count);
    if rounds.is_empty() {
        return Ok(Vec::new());
    }
    let epsilon = |size| Ok((size, group_epsilon(&rounds, charter.privacy.delta, size)?.epsilon));
    GROUPS.into_iter().map(epsilon).collect::<Result<_, AccountantError>>().map_err(TrainError::from)
}

impl Trainer for HouseTrainer {
    fn contribution(&mut self, part: &Part<'_>, state: &State) -> Result<Trained, TrainError> {
        let mut rng = rand::rng();
        let mut tools = Tools { learner: self.learner.as_mut(), noise: &mut self.noise, rng: &mut rng };
        self.mechanism.contribute(part, state, &self.house, &mut tools)
    }

    fn base_biases(&self) -> Option<&BaseBiases> {
        Some(&self.base_biases)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_group_of_one_costs_what_the_charter_states_and_larger_ones_more_than_in_proportion() {
        let charter = Charter::parse(protocol::charter::SAMPLE).unwrap();
        let count = 1000;
        let found = group_epsilons(&charter, &HouseName::new("lakeside").unwrap(), count).unwrap();
        assert_eq!(found.iter().map(|(size, _)| *size).collect::<Vec<_>>(), [1, 2, 4, 8]);
        let one = terms::epsilon(&charter, 0.02, count).unwrap();
        assert!((found[0].1 / one - 1.0).abs() < 1e-9, "{found:?} {one}");
        assert!(found.iter().skip(1).all(|(size, epsilon)| *epsilon > *size as f64 * one), "{found:?}");
    }
}
