//! How many rounds, how long each, how much noise: worked out once, from public rows and public numbers.

use std::time::{Duration, Instant};

use common::noise::{Budget, DELTA, Speed};
use privacy::NoiseShare;
use privacy::accountant::{Rounds, epsilon};

use crate::options::Options;
use crate::task::{BATCH, INTEGER_NORM, Task};

/// Rounds between two evaluations.
pub const SHOWN_EVERY: u32 = 5;

/// What the rounds may take together.
const BUDGET: Duration = Duration::from_secs(265);
const FEWEST_ROUNDS: u32 = 30;
const MOST_ROUNDS: u32 = 60;
/// For other programs on the machine.
const TIME_MARGIN: f64 = 1.3;
/// Samples of discrete Gaussian noise a second and core, a cautious figure.
const NOISE_PER_SECOND: f64 = 150_000.0;
/// What a round takes after the submissions left (upload, cohort, answers, opening, outcome) and until the next is
/// announced: 0.05 s measured on two idle cores, and room.
const AFTER_SUBMIT: Duration = Duration::from_millis(250);

/// The public numbers of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Rounds.
    pub rounds: u32,
    /// What the whole run may spend.
    pub epsilon: f64,
    /// Deviation of the noise that is counted on, over the clipping norm.
    pub noise_multiplier: f64,
    /// Cores of this machine.
    pub cores: usize,
    /// Threads of each house.
    pub threads: usize,
    /// When a submission leaves, after the announcement.
    pub submit_at: Duration,
    /// Seconds for the gradients of a mean batch over all houses on all cores, as measured on public rows.
    pub batch_seconds: f64,
    /// The noise of one house.
    pub share: NoiseShare,
}

/// Times the gradients of one batch of public rows and plans the run.
///
/// # Errors
/// The epsilon cannot be reached, or a failure of the model.
pub fn plan(task: &mut Task, options: &Options, parts: &[usize]) -> anyhow::Result<Plan> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = (cores / parts.len().max(1)).max(1);
    let batch_seconds = time_batch(task, cores)?;
    let width = task.initial().trainable_len();
    let train = Speed { batch: BATCH, batch_seconds, cores, threads }.train_seconds(parts, task.rate());
    let shown = batch_seconds * task.public.len() as f64 / BATCH / 3.0;
    let noise_seconds = width as f64 * parts.len() as f64 / (NOISE_PER_SECOND * cores.min(parts.len()) as f64);
    let submit_at = Duration::from_secs_f64((train + shown + noise_seconds) * TIME_MARGIN + 0.2);
    let fit = BUDGET.as_secs_f64() / (submit_at + AFTER_SUBMIT).as_secs_f64();
    let rounds = options.rounds.unwrap_or((fit as u32).clamp(FEWEST_ROUNDS, MOST_ROUNDS));
    let budget = Budget {
        epsilon: options.epsilon,
        houses: parts.len(),
        may_vanish: usize::from(options.may_vanish),
        rate: task.rate(),
        rounds,
        weights: width,
        integer_norm: INTEGER_NORM,
    };
    let (noise_multiplier, share) = budget.noise()?;
    let epsilon = options.epsilon;
    Ok(Plan { rounds, epsilon, noise_multiplier, cores, threads, submit_at, batch_seconds, share })
}

fn time_batch(task: &mut Task, cores: usize) -> anyhow::Result<f64> {
    let rows = task.public.pick(0..BATCH as usize);
    task.learner.classifier.set_adapter(&task.initial().clone())?;
    task.learner.classifier.set_threads(cores);
    let warm = rows.pick(0..32);
    task.learner.classifier.for_each_gradient(&warm.texts, &warm.labels, |_, _, _| ())?;
    let start = Instant::now();
    task.learner.classifier.for_each_gradient(&rows.texts, &rows.labels, |_, _, _| ())?;
    Ok(start.elapsed().as_secs_f64() * BATCH / rows.len().max(1) as f64)
}

/// What `rounds` rounds of `plan` cost.
///
/// # Errors
/// A number out of range.
pub fn spent(plan: &Plan, rate: f64, rounds: u32, width: usize) -> anyhow::Result<f64> {
    if rounds == 0 {
        return Ok(0.0);
    }
    let spent = Rounds::new(rate, plan.noise_multiplier, u64::from(rounds)).on_grid(plan.share.grid(width as u64));
    Ok(epsilon(&[spent], DELTA)?.epsilon)
}
