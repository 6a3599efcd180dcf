//! How a house's rows become the integers that it adds to the sum.

use std::time::Duration;

use adapter::{Adapter, State};
use privacy::Entry;
use protocol::Charter;
use protocol::charter::PrivacyMode;
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::{ClientUpdate, DpSgd, House, Learner, Noise, Part, TrainError};

/// A house's contribution before encryption, and what it cost to make.
pub struct Trained {
    /// One integer in grid units for each coordinate of the round's vector, noise included. Wiped on drop.
    pub values: Zeroizing<Vec<i64>>,
    /// Mean loss of the batch; for the house's own log only.
    pub loss: Option<f64>,
    /// Time for gradients, clipping and summing.
    pub train: Duration,
    /// Time that the caller waited for noise; what was drawn beside the gradients, or before, does not count.
    pub noise: Duration,
}

/// What a mechanism works with.
pub struct Tools<'a> {
    /// The model over the house's rows.
    pub learner: &'a mut dyn Learner,
    /// Its noise.
    pub noise: &'a mut dyn Noise,
    /// Who is sampled. Privacy amplification rests on it: seeded by the operating system outside of tests.
    pub rng: &'a mut dyn CryptoRng,
}

impl Tools<'_> {
    /// Makes the learner ready for one step's gradients by what `adapter` trains: what dropout hides in it is this step's alone.
    ///
    /// # Errors
    /// An adapter of another shape.
    pub fn begin_step(&mut self, adapter: &Adapter) -> Result<(), TrainError> {
        self.learner.set_adapter(adapter)?;
        if adapter.config().lora_dropout > 0.0 {
            self.learner.set_dropout_seed(self.rng.next_u64());
        }
        Ok(())
    }
}

/// A way of turning rows into a private contribution.
pub trait Mechanism: Send + Sync {
    /// The integers that `house` adds to the sum, starting from `state`; called after the ledger was charged with
    /// [`Mechanism::costs`], once an attempt.
    ///
    /// # Errors
    /// [`TrainError`]; the house is then absent from the attempt.
    fn contribute(
        &self,
        part: &Part<'_>,
        state: &State,
        house: &House,
        tools: &mut Tools<'_>,
    ) -> Result<Trained, TrainError>;

    /// The ledger's lines for this attempt, for an adapter of `count` trained weights; none where nothing is protected.
    ///
    /// # Errors
    /// The charter's values break a rule.
    fn costs(&self, part: &Part<'_>, count: usize) -> Result<Vec<Entry>, TrainError> {
        part.ledger_entries(count)
    }
}

/// The charter's mechanism.
///
/// # Errors
/// [`TrainError::Clip`] for clipping norms that are none.
pub fn mechanism(charter: &Charter) -> Result<Box<dyn Mechanism>, TrainError> {
    match charter.privacy.mode {
        PrivacyMode::RecordShared | PrivacyMode::RecordLocal | PrivacyMode::None => Ok(Box::new(DpSgd::new(charter)?)),
        PrivacyMode::Client => Ok(Box::new(ClientUpdate::new(charter))),
    }
}
