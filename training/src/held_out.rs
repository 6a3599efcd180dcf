//! Metrics of a house's held-out units, as integers for the encrypted sum.

use protocol::charter::PrivacyMode;
use terms::{MetricsShape, Norms};
use zeroize::Zeroizing;

use crate::{House, Learner, Part, TrainError};

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
    let rows: Vec<usize> = house.held_out.iter().flatten().copied().collect();
    let mut logits = learner.logits(&rows)?.into_iter();
    for unit in &house.held_out {
        let each = 1.0 / unit.len() as f64;
        for (row, logits) in unit.iter().zip(logits.by_ref()) {
            let label = learner.label(*row).ok_or(TrainError::NoRow(*row))?;
            shape.add_row(label, &softmax(&logits), if whole { each / units } else { each }, &mut mean);
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

fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|logit| f64::from(logit - largest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}
