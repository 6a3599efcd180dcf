//! Metrics of a house's held-out units, as integers for the encrypted sum.

use protocol::charter::PrivacyMode;
use terms::{MetricsShape, Norms};
use zeroize::Zeroizing;

use crate::{House, Learner, Outcome, Part, TrainError};

/// The sums over the held-out units of `house` under the adapter that `learner` holds, in a round with evaluation: each unit's
/// vector of norm at most `Norms::metrics`; under mode `client` one such vector for the whole house, the mean over its units. No noise is in
/// them yet.
pub(crate) fn sums(part: &Part<'_>, house: &House, learner: &dyn Learner) -> Result<Zeroizing<Vec<i64>>, TrainError> {
    let Some(shape) = MetricsShape::of(part.charter) else { return Ok(Zeroizing::new(Vec::new())) };
    let norm = Norms::of(part.charter, part.number).metrics;
    let mut sums = Zeroizing::new(vec![0; shape.len()]);
    let mut mean = Zeroizing::new(vec![0.0; shape.len()]);
    let whole = part.charter.privacy.mode == PrivacyMode::Client;
    let units = house.held_out.len() as f64;
    let mut outcomes = learner.outcomes(house.held_out.rows())?.into_iter();
    for unit in house.held_out.iter() {
        let each = 1.0 / unit.len() as f64;
        let share = if whole { each / units } else { each };
        for outcome in outcomes.by_ref().take(unit.len()) {
            match outcome {
                Outcome::Label { label, probabilities } => shape.add_row(label, &probabilities, share, &mut mean),
                Outcome::Text { loss } => shape.add_text(loss, share, &mut mean),
            }
        }
        if !whole {
            shape.add_unit(&mean, norm, &mut sums);
            mean.fill(0.0);
        }
    }
    if whole {
        shape.add_unit(&mean, norm, &mut sums);
    }
    Ok(sums)
}
