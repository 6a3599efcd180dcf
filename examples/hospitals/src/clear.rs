//! Rounds in one process, with the mechanism of the federation: what the comparisons and the benchmark of utility train with.

use adapter::Adapter;
use common::noise::record_shared;
use common::progress::Steps;
use protocol::Charter;
use protocol::charter::{Local, Privacy, PrivacyMode, ReleasePolicy, Strategy};
use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;
use training::{FreshNoise, House, Rehearsal, Tools};

use crate::charter::{Setting, house_names};
use crate::task::{INTEGER_NORM, Task};

/// A charter names at least as many houses; where fewer train, the others are names only.
const FEWEST_HOUSES: usize = 3;
/// A key that nobody holds: nothing here is signed.
const NO_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// What a run in one process does.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Who carries which noise. One house alone under `record-local` with everybody's rows is central DP-SGD.
    pub mode: PrivacyMode,
    /// Noise that is counted on, over the clipping norm; 0 under `none`.
    pub noise_multiplier: f64,
    /// What the whole run spends; 0 under `none`.
    pub epsilon: f64,
    /// Chance of each row to be in a batch.
    pub rate: f64,
    /// Steps.
    pub rounds: u32,
    /// Which factors of the adapter are trained.
    pub strategy: Strategy,
    /// Whether the head starts from the public rows.
    pub warm_up: bool,
    /// What a house does before it contributes.
    pub local: Local,
    /// The optimizer's step size.
    pub learning_rate: f64,
    /// Its momentum.
    pub momentum: f64,
    /// Clipping norm of one row's gradient; not used under `none`.
    pub clipping_norm: f64,
    /// Seeds the batches and the frozen half of the adapter (never the noise).
    pub seed: u64,
    /// The public rows are evaluated after every so many steps.
    pub evaluate_every: u32,
}

/// A point of a learning curve.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Point {
    /// Steps done.
    pub round: u32,
    /// Cross-entropy on the public rows.
    pub loss: f64,
    /// Plain accuracy on the public rows.
    pub plain: f64,
}

impl Recipe {
    fn privacy(&self) -> Privacy {
        let Self { mode, epsilon, noise_multiplier, clipping_norm, .. } = *self;
        if mode != PrivacyMode::None {
            return Privacy { mode, ..record_shared(epsilon, noise_multiplier, clipping_norm, INTEGER_NORM) };
        }
        // A norm that no gradient here reaches, on a grid far below any coordinate that matters.
        Privacy { mode, delta: 0.0, clamp: 1 << 40, ..record_shared(epsilon, noise_multiplier, 1024.0, 1 << 36) }
    }

    fn charter(&self, task: &mut Task, parts: &[Vec<usize>]) -> anyhow::Result<Charter> {
        let head = self.warm_up.then(|| task.warm_up()).transpose()?;
        let names = house_names(parts.len().max(FEWEST_HOUSES));
        let rows = parts.iter().map(Vec::len).chain(std::iter::repeat(1));
        let houses: Vec<(String, usize)> = names.into_iter().zip(rows).collect();
        let setting = Setting {
            aggregator_key: NO_KEY,
            model: &task.model,
            labels: &task.labels,
            houses: &houses,
            rate: self.rate,
            seed: self.seed,
            strategy: self.strategy,
            initial_head: head.as_deref(),
            local: self.local.clone(),
            privacy: self.privacy(),
            learning_rate: self.learning_rate,
            momentum: self.momentum,
            rounds: self.rounds,
            may_vanish: 0,
            submit_at_ms: 1000,
            release: ReleasePolicy::Aggregator,
        };
        Ok(Charter::of(&setting.contract()?.terms()?)?)
    }
}

/// Trains with the houses that hold `parts` of the task's rows. Gives the adapter and its curve on the public rows back.
///
/// # Errors
/// A recipe that no charter can say, or a failure of the model, the sampler or the optimizer.
pub fn train(
    task: &mut Task,
    parts: &[Vec<usize>],
    recipe: &Recipe,
    steps: &Steps,
) -> anyhow::Result<(Adapter, Vec<Point>)> {
    let charter = recipe.charter(task, parts)?;
    let names = charter.houses.iter().map(|house| house.name.clone());
    let units = parts.iter().map(|rows| House::of_units(rows.iter().map(|row| vec![*row]).collect()));
    let mut rehearsal = Rehearsal::new(&charter, names.zip(units).collect())?;
    let (mut rng, mut noise) = (ChaCha20Rng::seed_from_u64(recipe.seed), FreshNoise::stocked());
    let mut curve = Vec::new();
    for round in 1..=recipe.rounds {
        rehearsal.round(&mut Tools { learner: &mut task.learner, noise: &mut noise, rng: &mut rng })?;
        if round % recipe.evaluate_every == 0 || round == recipe.rounds {
            let found = task.evaluate_public(rehearsal.state().adapter())?;
            curve.push(Point { round, loss: found.loss, plain: found.plain });
            steps.at(u64::from(round), &format!("loss {:.3} on public rows", found.loss));
        }
    }
    Ok((rehearsal.state().adapter().clone(), curve))
}
