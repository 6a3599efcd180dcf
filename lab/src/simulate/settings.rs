//! What a plan's mode and seed mean as a charter.

use privacy::accountant::{Accountant, Rounds};
use protocol::Charter;
use protocol::charter::{Accountant as Counted, Clipping, Privacy, PrivacyMode};
use training::House;

use super::run::Run;
use super::{PlanError, SimulateError};
use crate::contract::{Contract, unprotected};
use crate::task::Task;

/// A coordinate is clamped to this many clipping norms before noise.
const CLAMP_NORMS: u64 = 256;

impl Run<'_> {
    pub(super) fn charter(&self, task: &Task, parts: &[House], key: &str) -> Result<Charter, SimulateError> {
        let plan = self.plan;
        let units: usize = parts.iter().map(|part| part.units.len()).sum();
        let client = self.mode == PrivacyMode::Client;
        let rate = if client { 1.0 } else { (plan.training.batch / units.max(1) as f64).min(1.0) };
        let nominal = |part: &House| ((part.units.len() as f64 * rate).round() as u32).max(1);
        let local = plan.local.clone().filter(|_| matches!(self.mode, PrivacyMode::Client | PrivacyMode::RecordLocal));
        let local = local.unwrap_or_default();
        let steps = u64::from(plan.training.rounds)
            * u64::from(if self.mode == PrivacyMode::RecordLocal { local.steps } else { 1 });
        let privacy = if self.mode == PrivacyMode::None {
            unprotected(plan.clients.colluders)
        } else {
            let norm = plan.privacy.integer_norm;
            Privacy {
                mode: self.mode,
                accountant: Counted::Rdp,
                epsilon: plan.privacy.epsilon,
                delta: plan.privacy.delta,
                clipping_norm: plan.privacy.clipping_norm,
                clipping: Clipping::Flat,
                integer_norm: norm,
                // The rotation spreads a client's update over all coordinates.
                clamp: if client { norm } else { norm.saturating_mul(CLAMP_NORMS) },
                noise_multiplier: self.noise(rate, steps)?,
                colluders: plan.clients.colluders,
            }
        };
        let contract = Contract {
            aggregator_key: key.to_owned(),
            model: task.model.clone(),
            labels: task.labels.clone(),
            max_tokens: plan.task.max_tokens,
            rank: plan.training.rank,
            lora_alpha: plan.training.lora_alpha,
            targets: plan.training.target_modules.clone(),
            strategy: plan.training.strategy,
            seed: self.seed,
            optimizer: plan.training.charter_optimizer(),
            privacy,
            clients: parts.iter().map(|part| (rate, nominal(part))).collect(),
            committee: (plan.clients.committee, plan.clients.threshold),
            rounds: plan.training.rounds,
            may_vanish: plan.clients.may_vanish,
            local,
            adaptive_clipping: plan.adaptive_clipping.clone().filter(|_| client),
            evaluation: plan.evaluation.clone(),
        };
        let charter = contract.charter()?;
        terms::check(&charter)?;
        Ok(charter)
    }

    /// Noise for the plan's epsilon, with what evaluations cost taken into account, and a thousandth more for the integer grid.
    fn noise(&self, rate: f64, steps: u64) -> Result<f64, SimulateError> {
        let privacy = &self.plan.privacy;
        let mut noise = Accountant::Rdp.noise_for(privacy.epsilon, privacy.delta, rate, steps)?;
        let evaluation = self.plan.evaluation.as_ref().filter(|_| self.mode != PrivacyMode::Client);
        let times = evaluation.map_or(0, |evaluation| self.plan.training.rounds / evaluation.every.max(1));
        if let (Some(evaluation), true) = (evaluation, times > 0) {
            let evaluations = Rounds::new(1.0, evaluation.noise_multiplier, u64::from(times));
            let gives =
                |noise: f64| Accountant::Rdp.epsilon(&[Rounds::new(rate, noise, steps), evaluations], privacy.delta);
            if Accountant::Rdp.epsilon(&[evaluations], privacy.delta)? >= privacy.epsilon {
                return Err(PlanError::Value {
                    key: "evaluation.noise_multiplier",
                    rule: "spends all of privacy.epsilon; write a larger one".to_owned(),
                }
                .into());
            }
            while gives(noise)? > privacy.epsilon {
                noise *= 1.001;
            }
        }
        Ok(noise * 1.001)
    }
}

/// What a client has spent after so many rounds of an adapter with `count` trained values, by the charter's accountant.
pub(super) fn spent(charter: &Charter, rounds: u32, count: usize) -> Result<f64, SimulateError> {
    if charter.privacy.mode == PrivacyMode::None {
        return Ok(f64::INFINITY);
    }
    let rate = charter.houses.iter().map(|house| house.sampling_rate).fold(0.0, f64::max);
    let whole = terms::whole_run(charter, rate, charter.rounds.max_cohort, count);
    let all = u64::from(charter.charged_rounds());
    let part = whole.iter().map(|one| Rounds { rounds: (one.rounds * u64::from(rounds)).div_ceil(all), ..*one });
    Ok(Accountant::Rdp.epsilon(&part.collect::<Vec<_>>(), charter.privacy.delta)?)
}
