//! DP-SGD in one process, on the same crates as the federation: what the comparisons are made with.

use adapter::{Adapter, ServerOptimizer, State};
use privacy::{Clip, NoiseShare, poisson_sample};
use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;

use crate::progress::Steps;
use crate::task::{CLIPPING_NORM, Examples, INTEGER_NORM, Task};

/// What a run in one process does.
#[derive(Debug)]
pub struct Recipe {
    /// Chance of each row to be in a batch.
    pub rate: f64,
    /// Steps.
    pub rounds: u32,
    /// The public batch size that divides the sum.
    pub nominal_batch: f64,
    /// How a sum moves the adapter.
    pub optimizer: ServerOptimizer,
    /// Clipping, and the grid of integers.
    pub clip: Clip,
    /// Noise shares, each drawn and added by itself: none, one, or one a hospital.
    pub noise: Vec<NoiseShare>,
    /// Seeds the batches (never the noise).
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

/// The clipping of the federation.
///
/// # Errors
/// Never with the constants of [`crate::task`].
pub fn clip() -> anyhow::Result<Clip> {
    Ok(Clip::new(CLIPPING_NORM, INTEGER_NORM)?)
}

/// A clipping norm that no gradient here reaches, on a grid far below their smallest coordinate that matters.
///
/// # Errors
/// Never.
pub fn no_clip() -> anyhow::Result<Clip> {
    Ok(Clip::new(1024.0, 1 << 36)?)
}

/// Trains on `rows` from the task's initial adapter. Gives the adapter and its curve on the public rows back.
///
/// # Errors
/// A failure of the model, the sampler or the optimizer.
pub fn train(
    task: &mut Task,
    rows: &Examples,
    recipe: &Recipe,
    steps: &Steps,
) -> anyhow::Result<(Adapter, Vec<Point>)> {
    let mut state = State::new(task.initial().clone(), recipe.optimizer.clone())?;
    let mut rng = ChaCha20Rng::seed_from_u64(recipe.seed);
    let public = task.public.clone();
    let mut curve = Vec::new();
    for round in 1..=recipe.rounds {
        step(task, &mut state, rows, recipe, &mut rng)?;
        if round % recipe.evaluate_every == 0 || round == recipe.rounds {
            let found = task.evaluate(state.adapter(), &public)?;
            curve.push(Point { round, loss: found.loss, plain: found.plain });
            steps.at(u64::from(round), &format!("loss {:.3} on public rows", found.loss));
        }
    }
    Ok((state.adapter().clone(), curve))
}

fn step(
    task: &mut Task,
    state: &mut State,
    rows: &Examples,
    recipe: &Recipe,
    rng: &mut ChaCha20Rng,
) -> anyhow::Result<()> {
    task.classifier.set_adapter(state.adapter())?;
    let batch = rows.pick(poisson_sample(rows.len(), recipe.rate, rng)?);
    let mut sum = vec![0i64; state.adapter().trainable_len()];
    let mut refused = None;
    task.classifier.for_each_gradient(&batch.texts, &batch.labels, |_, _, gradient| {
        if let Err(error) = recipe.clip.add_clipped(gradient, &mut sum) {
            refused = Some(error);
        }
    })?;
    if let Some(error) = refused {
        return Err(error.into());
    }
    for share in &recipe.noise {
        let noise = share.draw(sum.len())?;
        sum.iter_mut().zip(noise.iter()).for_each(|(total, noise)| *total += noise);
    }
    Ok(state.apply(&sum, recipe.clip.unit(), recipe.nominal_batch)?)
}
