//! Membership inference against a released adapter: from its losses, who was trained on?
//!
//! The attack of Carlini et al. 2022 ("Membership Inference Attacks From First Principles", LiRA), offline: a row's score is the target's
//! logit-scaled confidence in the right class, less its mean over shadow models that did not train on the row.
//! It sees the last adapter only. So it finds less than the audit with canaries, and proves no bound.

use adapter::Adapter;
use privacy::accountant::{Accountant, AccountantError};
use protocol::charter::{Accountant as Counted, Clipping, Local, Optimizer, Privacy, PrivacyMode, Strategy};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha20Rng;
use training::{FreshNoise, House, Learner as _, Rehearsal, Tools, TrainError};

use crate::contract::{Contract, ContractError, UNUSED_KEY, client_name, unprotected};
use crate::row;
use crate::task::{Task, log_softmax};

/// How the attacked models are trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Training {
    /// With this epsilon, or without privacy.
    pub epsilon: Option<f64>,
    /// At this delta.
    pub delta: f64,
    /// Rounds.
    pub rounds: u32,
    /// Rows of a batch in the mean.
    pub batch: f64,
    /// Step size.
    pub learning_rate: f64,
    /// Units that take part, of which each model trains on half.
    pub units: usize,
    /// Shadow models.
    pub shadows: u32,
    /// Seeds halves and batches.
    pub seed: u64,
}

row! {
    /// What the attack found.
    pub struct MembershipRow {
        /// The privacy mode of the attacked model.
        pub mode: String,
        /// Its epsilon; infinite without privacy.
        pub epsilon: f64,
        /// Rows that were scored.
        pub rows: u64,
        /// Shadow models.
        pub shadows: u64,
        /// Accuracy of the attacked model on the test rows.
        pub accuracy: f64,
        /// Area under the attack's ROC curve; 0.5 is chance.
        pub auc: f64,
        /// Half of the 95% interval of it.
        pub auc_margin: f64,
        /// True positives where one of a hundred negatives is taken for a member.
        pub tpr_at_1_percent: f64,
        /// Where one of a thousand is.
        pub tpr_at_0_1_percent: f64,
    }
}

/// An attack that cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// The claim.
    #[error(transparent)]
    Accountant(#[from] AccountantError),
    /// The charter.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Too few.
    #[error("{found} units are too few for halves; write at least 200")]
    TooFew {
        /// As many.
        found: usize,
    },
}

/// Trains a target and shadows on random halves of the same units and attacks the target.
///
/// # Errors
/// [`MembershipError`].
pub fn attack(
    task: &mut Task,
    training: &Training,
    mut progress: impl FnMut(u32),
) -> Result<MembershipRow, MembershipError> {
    let count = training.units.min(task.units.len());
    if count < 200 {
        return Err(MembershipError::TooFew { found: count });
    }
    let mut rng = ChaCha20Rng::seed_from_u64(training.seed);
    let mut all: Vec<usize> = (0..task.units.len()).collect();
    all.shuffle(&mut rng);
    all.truncate(count);
    let rows: Vec<usize> = all.iter().map(|unit| task.units[*unit][0]).collect();
    let mut confidences = Vec::new();
    let mut halves = Vec::new();
    let mut accuracy = 0.0;
    for model in 0..=training.shadows {
        let mut member = vec![false; count];
        let mut order: Vec<usize> = (0..count).collect();
        order.shuffle(&mut rng);
        order.iter().take(count / 2).for_each(|place| member[*place] = true);
        let units = (0..count).filter(|place| member[*place]).map(|place| task.units[all[place]].clone()).collect();
        let adapter = train(task, training, units, u64::from(model))?;
        if model == 0 {
            let test = task.test.clone();
            accuracy = task.score(&adapter, &test)?.plain;
        }
        confidences.push(confidence(task, &adapter, &rows)?);
        halves.push(member);
        progress(model + 1);
    }
    let score = |place: usize| {
        let out = (1..halves.len()).filter(|shadow| !halves[*shadow][place]).map(|shadow| confidences[shadow][place]);
        let out: Vec<f64> = out.collect();
        confidences[0][place] - out.iter().sum::<f64>() / out.len().max(1) as f64
    };
    // A row that every shadow trained on has no comparison.
    let compared = |place: &usize| halves.len() == 1 || (1..halves.len()).any(|shadow| !halves[shadow][*place]);
    let places: Vec<usize> = (0..count).filter(compared).collect();
    let of = |is_member: bool| -> Vec<f64> {
        places.iter().filter(|place| halves[0][**place] == is_member).map(|place| score(*place)).collect()
    };
    let (members, others) = (of(true), of(false));
    let (auc, auc_margin) = area(&members, &others);
    Ok(MembershipRow {
        mode: if training.epsilon.is_some() { "record-shared" } else { "none" }.to_owned(),
        epsilon: training.epsilon.unwrap_or(f64::INFINITY),
        rows: places.len() as u64,
        shadows: u64::from(training.shadows),
        accuracy,
        auc,
        auc_margin,
        tpr_at_1_percent: true_positives(&members, &others, 0.01),
        tpr_at_0_1_percent: true_positives(&members, &others, 0.001),
    })
}

/// Trains in the clear as a federation of ten would; nobody is absent.
fn train(task: &mut Task, training: &Training, units: Vec<Vec<usize>>, model: u64) -> Result<Adapter, MembershipError> {
    const HOUSES: usize = 10;
    let rate = (training.batch / units.len() as f64).min(1.0);
    let privacy = match training.epsilon {
        Some(epsilon) => Privacy {
            mode: PrivacyMode::RecordShared,
            accountant: Counted::Rdp,
            epsilon,
            delta: training.delta,
            clipping_norm: 1.0,
            clipping: Clipping::Flat,
            integer_norm: 4096,
            clamp: 1 << 20,
            noise_multiplier: Accountant::Rdp.noise_for(epsilon, training.delta, rate, u64::from(training.rounds))?,
            colluders: 1,
        },
        None => unprotected(1),
    };
    let mut shares: Vec<Vec<Vec<usize>>> = vec![Vec::new(); HOUSES];
    for (place, unit) in units.into_iter().enumerate() {
        shares[place % HOUSES].push(unit);
    }
    let nominal = |units: &Vec<Vec<usize>>| ((units.len() as f64 * rate).round() as u32).max(1);
    let contract = Contract {
        aggregator_key: UNUSED_KEY.to_owned(),
        model: task.model.clone(),
        labels: task.labels.clone(),
        max_tokens: 64,
        rank: 8,
        lora_alpha: 2,
        targets: vec!["query".to_owned(), "value".to_owned()],
        strategy: Strategy::FfaLora,
        seed: training.seed,
        optimizer: Optimizer::Sgd { learning_rate: training.learning_rate, momentum: 0.9, schedule: None },
        privacy,
        clients: shares.iter().map(|units| (rate, nominal(units))).collect(),
        committee: (5, 3),
        rounds: training.rounds,
        may_vanish: 0,
        local: Local::default(),
        adaptive_clipping: None,
        evaluation: None,
    };
    let named = |(house, units): (usize, Vec<Vec<usize>>)| {
        Ok((client_name(house).map_err(ContractError::from)?, House::of_units(units.into())))
    };
    let houses = shares.into_iter().enumerate().map(named).collect::<Result<Vec<_>, MembershipError>>()?;
    let mut rehearsal = Rehearsal::new(&contract.charter()?, houses)?;
    let mut rng = ChaCha20Rng::seed_from_u64(training.seed ^ (model << 32));
    let mut noise = FreshNoise::stocked();
    for _ in 0..training.rounds {
        rehearsal.round(&mut Tools { learner: &mut task.learner, noise: &mut noise, rng: &mut rng })?;
    }
    Ok(rehearsal.state().adapter().clone())
}

/// `ln(p / (1 - p))` of the right class's probability p, of each row.
fn confidence(task: &mut Task, adapter: &Adapter, rows: &[usize]) -> Result<Vec<f64>, TrainError> {
    task.learner.set_adapter(adapter)?;
    let logits = task.learner.logits(rows)?;
    let of = |(row, logits): (&usize, &Vec<f32>)| {
        let log = log_softmax(logits, task.learner.label(*row).ok_or(TrainError::NoRow(*row))?);
        Ok(log - (-log.exp_m1()).max(f64::MIN_POSITIVE).ln())
    };
    rows.iter().zip(&logits).map(of).collect()
}

/// The chance that a member scores above another, and half of its 95% interval (Hanley, McNeil 1982).
fn area(members: &[f64], others: &[f64]) -> (f64, f64) {
    let mut sorted = others.to_vec();
    sorted.sort_by(f64::total_cmp);
    let won: f64 = members
        .iter()
        .map(|score| {
            let below = sorted.partition_point(|other| other < score);
            let ties = sorted.partition_point(|other| other <= score) - below;
            below as f64 + ties as f64 / 2.0
        })
        .sum();
    let (m, n) = (members.len() as f64, others.len() as f64);
    let a = won / (m * n);
    let (q1, q2) = (a / (2.0 - a), 2.0 * a * a / (1.0 + a));
    let variance = (a * (1.0 - a) + (m - 1.0) * (q1 - a * a) + (n - 1.0) * (q2 - a * a)) / (m * n);
    (a, 1.96 * variance.max(0.0).sqrt())
}

/// The share of members above the threshold that `rate` of the others are above.
fn true_positives(members: &[f64], others: &[f64], rate: f64) -> f64 {
    let mut sorted = others.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let Some(threshold) = sorted.get((others.len() as f64 * rate) as usize) else { return 0.0 };
    members.iter().filter(|score| *score > threshold).count() as f64 / members.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_and_rates_are_those_counted_by_hand() {
        let (members, others) = ([3.0, 2.0, 1.0, 0.5], [2.5, 1.0, 0.0, -1.0]);
        // Pairs won: 4, 3, 2.5, 2 of 4 each.
        assert!((area(&members, &others).0 - 11.5 / 16.0).abs() < 1e-12);
        assert_eq!(true_positives(&members, &others, 0.0), 0.25);
        assert_eq!(true_positives(&members, &others, 0.25), 0.5);
        let (chance, margin) = area(&[1.0; 100], &[1.0; 100]);
        assert!(chance == 0.5 && margin > 0.05 && margin < 0.12);
    }
}
