//! What makes this house's contributions.

use adapter::State;
use training::{FreshNoise, House, Loaded, Mechanism, Part, TextLearner, Tools, TrainError, Trained, mechanism};

use crate::config::{DataConfig, TrainingConfig};
use protocol::Charter;

/// Makes a house's contribution to a round.
pub trait Trainer: Send {
    /// The integers that this house adds to the sum, starting from `state`. Called after the ledger was charged, once an
    /// attempt.
    ///
    /// # Errors
    /// [`TrainError`]; the house is then absent from the attempt.
    fn contribution(&mut self, part: &Part<'_>, state: &State) -> Result<Trained, TrainError>;
}

/// The charter's mechanism on the house's own rows.
pub struct HouseTrainer {
    mechanism: Box<dyn Mechanism>,
    learner: TextLearner,
    house: House,
    noise: FreshNoise,
}

impl HouseTrainer {
    /// Reads model and rows, and checks both against the charter.
    ///
    /// # Errors
    /// [`TrainError`] naming the file, line or field at fault.
    pub fn load(charter: &Charter, data: &DataConfig, training: &TrainingConfig) -> Result<Self, TrainError> {
        let Loaded { learner, house, named_units } = training::load(charter, &data.source(), &training.source())?;
        if !named_units {
            tracing::warn!("no unit_column: this protects one row, not one patient");
        }
        Ok(Self { mechanism: mechanism(charter)?, learner, house, noise: FreshNoise::new() })
    }
}

impl Trainer for HouseTrainer {
    fn contribution(&mut self, part: &Part<'_>, state: &State) -> Result<Trained, TrainError> {
        let mut rng = rand::rng();
        let mut tools = Tools { learner: &mut self.learner, noise: &mut self.noise, rng: &mut rng };
        self.mechanism.contribute(part, state, &self.house, &mut tools)
    }
}
