//! Runs: a mode and a seed of a plan, from the first round, or from where it was stopped.

use std::path::{Path, PathBuf};
use std::time::Instant;

use adapter::{Adapter, LoraConfig, State};
use protocol::charter::PrivacyMode;
use protocol::{Charter, RoundNumber};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha20Rng;
use terms::{Estimate, Metrics, Terms};
use training::{FreshNoise, House, Mechanism, Noise, Tools, mechanism};

use super::SimulateError;
use super::federation::{World, aggregator};
use super::files::Kept;
use super::plan::{NoiseSource, Plan};
use super::settings::spent;
use super::split::deal;
use crate::rows::{ClientRow, CurveRow, RunRow};
use crate::table;
use crate::task::{Score, Task};

/// How far a simulation is.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The run.
    pub run: String,
    /// Rounds done.
    pub round: u32,
    /// Rounds in all.
    pub rounds: u32,
    /// Runs before this one, of all of the plan.
    pub done: usize,
    /// Runs of the plan.
    pub runs: usize,
    /// The latest accuracy on the test rows.
    pub plain: Option<f64>,
}

/// What the runs of a plan came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Finished {
    /// One a run.
    pub runs: Vec<RunRow>,
    /// One a scored round.
    pub curve: Vec<CurveRow>,
    /// One a client and run.
    pub clients: Vec<ClientRow>,
}

/// Makes a mechanism for a charter.
pub type MakeMechanism<'a> = dyn Fn(&Charter) -> Result<Box<dyn Mechanism>, SimulateError> + 'a;

/// Runs every mode and seed of `plan`; what is in `folder` already is not run again, and what was stopped goes on.
///
/// # Errors
/// [`SimulateError`].
pub fn run(plan: &Plan, folder: &Path, progress: &mut dyn FnMut(&Step)) -> Result<Finished, SimulateError> {
    run_with(plan, folder, &|charter| Ok(mechanism(charter)?), progress)
}

/// The same with a mechanism of one's own in place of the charter's. What it costs is accounted for as the charter says: whoever changes noise or
/// sampling must change the claim.
///
/// # Errors
/// [`SimulateError`].
pub fn run_with(
    plan: &Plan,
    folder: &Path,
    make: &MakeMechanism<'_>,
    progress: &mut dyn FnMut(&Step),
) -> Result<Finished, SimulateError> {
    plan.check()?;
    let mut task = Task::load(&plan.task, &lora(plan)?, None)?;
    run_on(plan, &mut task, folder, make, progress)
}

/// The same on rows and a model that are loaded already.
///
/// # Errors
/// [`SimulateError`].
pub fn run_on(
    plan: &Plan,
    task: &mut Task,
    folder: &Path,
    make: &MakeMechanism<'_>,
    progress: &mut dyn FnMut(&Step),
) -> Result<Finished, SimulateError> {
    plan.check()?;
    let mut all = Finished::default();
    let runs: Vec<(PrivacyMode, u64)> =
        plan.privacy.modes.iter().flat_map(|mode| plan.training.seeds.iter().map(|seed| (*mode, *seed))).collect();
    for (done, (mode, seed)) in runs.iter().enumerate() {
        let name = format!("{}-seed-{seed}", mode.as_str());
        let mut tell = |round: u32, plain: Option<f64>| {
            progress(&Step { run: name.clone(), round, rounds: plan.training.rounds, done, runs: runs.len(), plain });
        };
        let one = Run { plan, mode: *mode, seed: *seed, name: &name, folder: folder.join(&name) };
        let finished = one.play(task, make, &mut tell)?;
        all.runs.extend(finished.runs);
        all.curve.extend(finished.curve);
        all.clients.extend(finished.clients);
    }
    table::write(folder, "runs", &all.runs)?;
    table::write(folder, "curve", &all.curve)?;
    table::write(folder, "clients", &all.clients)?;
    Ok(all)
}

/// One mode and seed.
pub(super) struct Run<'a> {
    pub(super) plan: &'a Plan,
    pub(super) mode: PrivacyMode,
    pub(super) seed: u64,
    pub(super) name: &'a str,
    pub(super) folder: PathBuf,
}

impl Run<'_> {
    fn play(
        &self,
        task: &mut Task,
        make: &MakeMechanism<'_>,
        tell: &mut dyn FnMut(u32, Option<f64>),
    ) -> Result<Finished, SimulateError> {
        if let Some(finished) = self.finished()? {
            return Ok(finished);
        }
        let parts = self.parts(task);
        let rng = &mut rand::rng();
        let key = aggregator(rng)?;
        let charter = self.charter(task, &parts, &hex::encode(key.public_key().as_bytes()))?;
        let terms = Terms::of(&charter)?;
        let first = terms.first_state()?;
        let plan = self.digest()?;
        let mut kept = self.kept(&plan)?.unwrap_or_else(|| Kept {
            plan,
            round: 0,
            state: hex::encode(first.to_bytes()),
            bytes_up: 0,
            seconds: 0.0,
        });
        let mut curve =
            if kept.round == 0 { Vec::new() } else { table::read::<CurveRow>(&self.folder.join("curve.json"))? };
        let bytes = hex::decode(&kept.state).map_err(|_| self.foreign())?;
        let state = terms.read_state(&bytes).map_err(|_| self.foreign())?;
        let next = RoundNumber::new(kept.round + 1).map_err(SimulateError::internal)?;
        let mut world = World::new(&charter, key, state, next, rng)?;
        let mechanism = make(&charter)?;
        let mut noise: Box<dyn Noise> = match self.plan.privacy.noise {
            NoiseSource::Shares => Box::new(FreshNoise::stocked()),
            NoiseSource::Pooled => Box::new(Pooled),
        };
        let pooled = self.plan.privacy.noise == NoiseSource::Pooled;
        let rounds = self.plan.training.rounds;
        for number in kept.round + 1..=rounds {
            if terms::is_over(&charter, &world.state) {
                break;
            }
            let start = Instant::now();
            // Another stream for each round, so that a run that goes on samples what it would have sampled.
            let mut batches = ChaCha20Rng::seed_from_u64(self.seed);
            batches.set_stream(u64::from(number));
            let absent = self.absent(&mut batches);
            let round = RoundNumber::new(number).map_err(SimulateError::internal)?;
            let played = world.play(round, &absent, pooled, &mut |part, client, state| {
                let mut tools = Tools { learner: &mut task.learner, noise: noise.as_mut(), rng: &mut batches };
                Ok(mechanism.contribute(part, state, &parts[client], &mut tools)?.values)
            })?;
            kept.bytes_up += played.bytes_up;
            kept.seconds += start.elapsed().as_secs_f64();
            kept.round = number;
            kept.state = hex::encode(world.state.to_bytes());
            let mut plain = None;
            let is_last = number == rounds || terms::is_over(&charter, &world.state);
            if is_last || number % self.plan.training.evaluate_every == 0 {
                let mut row = self.point(task, &charter, world.state.adapter(), number)?;
                let noised = |of: fn(&Metrics) -> Option<Estimate>| {
                    played.metrics.as_ref().and_then(of).map_or(f64::NAN, |estimate| estimate.value)
                };
                row.noised_plain = noised(|metrics| metrics.accuracy);
                row.noised_macro_f1 = noised(|metrics| metrics.macro_f1);
                plain = Some(row.plain);
                curve.push(row);
            }
            self.keep(&kept, &curve)?;
            tell(number, plain);
        }
        self.finish(task, &charter, &world.state, &parts, &kept, curve)
    }

    /// Each client's units: those that it trains on and those that it does not.
    fn parts(&self, task: &Task) -> Vec<House> {
        let labels: Vec<usize> = task.units.iter().map(|unit| task.label_of(unit)).collect();
        let dealt = deal(self.plan.clients.split, &labels, self.plan.clients.count, self.seed);
        let share = self.plan.clients.held_out;
        dealt
            .into_iter()
            .map(|units| {
                // The units are in random order already.
                let held = ((units.len() as f64 * share) as usize).min(units.len().saturating_sub(1));
                let (held, trained) = units.split_at(held);
                let of = |units: &[usize]| units.iter().map(|unit| task.units[*unit].clone()).collect();
                House { units: of(trained), held_out: of(held) }
            })
            .collect()
    }

    /// Who vanishes: each with the plan's chance, but no more than may.
    fn absent(&self, rng: &mut ChaCha20Rng) -> Vec<bool> {
        let (count, most) = (self.plan.clients.count, self.plan.clients.may_vanish as usize);
        let mut absent: Vec<bool> = (0..count).map(|_| rng.random_bool(self.plan.clients.dropout)).collect();
        // The committee opens the sum: its members stay, which the plan's threshold could let go too.
        absent.iter_mut().take(self.plan.clients.committee).for_each(|absent| *absent = false);
        let mut left = most;
        for absent in absent.iter_mut().filter(|absent| **absent) {
            *absent = left > 0;
            left = left.saturating_sub(1);
        }
        absent
    }

    fn point(
        &self,
        task: &mut Task,
        charter: &Charter,
        adapter: &Adapter,
        round: u32,
    ) -> Result<CurveRow, SimulateError> {
        let test = task.test.clone();
        let score = task.score(adapter, &test)?;
        Ok(CurveRow {
            run: self.name.to_owned(),
            round: u64::from(round),
            loss: score.loss,
            plain: score.plain,
            macro_: score.macro_,
            macro_f1: score.macro_f1,
            epsilon: spent(charter, round, adapter.update_len())?,
            noised_plain: f64::NAN,
            noised_macro_f1: f64::NAN,
        })
    }

    fn finish(
        &self,
        task: &mut Task,
        charter: &Charter,
        state: &State,
        parts: &[House],
        kept: &Kept,
        curve: Vec<CurveRow>,
    ) -> Result<Finished, SimulateError> {
        let mut clients = Vec::with_capacity(parts.len());
        let rows: Vec<usize> = parts.iter().flat_map(|part| part.held_out.rows().iter().copied()).collect();
        let answers = task.answers(state.adapter(), &rows)?;
        let mut rest = answers.as_slice();
        for (client, part) in parts.iter().enumerate() {
            let (own, others) = rest.split_at(part.held_out.rows().len());
            rest = others;
            if own.is_empty() {
                continue;
            }
            let score = Score::of(own);
            clients.push(ClientRow {
                run: self.name.to_owned(),
                client: client as u64,
                rows: part.rows() as u64,
                plain: score.plain,
                macro_: score.macro_,
                macro_f1: score.macro_f1,
            });
        }
        let worst = clients.iter().map(|client| client.plain).fold(f64::NAN, f64::min);
        let mean = clients.iter().map(|client| client.plain).sum::<f64>() / clients.len() as f64;
        let spread =
            (clients.iter().map(|client| (client.plain - mean).powi(2)).sum::<f64>() / clients.len() as f64).sqrt();
        let last = curve.last().ok_or_else(|| SimulateError::internal("no round was scored"))?;
        let plan = self.plan;
        let run = RunRow {
            run: self.name.to_owned(),
            mode: self.mode.as_str().to_owned(),
            epsilon: if self.mode == PrivacyMode::None { f64::INFINITY } else { plan.privacy.epsilon },
            delta: charter.privacy.delta,
            accountant: "rdp".to_owned(),
            noise_multiplier: charter.privacy.noise_multiplier,
            rounds: u64::from(kept.round),
            clients: plan.clients.count as u64,
            clipping_norm: charter.privacy.clipping_norm,
            rank: u64::from(plan.training.rank),
            learning_rate: plan.training.learning_rate,
            seed: self.seed,
            plain: last.plain,
            macro_: last.macro_,
            macro_f1: last.macro_f1,
            loss: last.loss,
            worst_client: worst,
            client_spread: spread,
            seconds: kept.seconds,
            bytes_up: kept.bytes_up,
            noise: plan.privacy.noise.as_str().to_owned(),
        };
        let finished = Finished { runs: vec![run], curve, clients };
        table::write(&self.folder, "curve", &finished.curve)?;
        table::write(&self.folder, "clients", &finished.clients)?;
        state.adapter().save_dir(&self.folder.join("adapter")).map_err(SimulateError::internal)?;
        self.name_plan(&kept.plan)?;
        // Last: a folder with this file is whole.
        table::write(&self.folder, "run", &finished.runs)?;
        let _ = std::fs::remove_file(self.state_file());
        Ok(finished)
    }
}

/// Clients that add no noise: it is added to the sum.
struct Pooled;

impl Noise for Pooled {
    fn begin(&mut self, _: &privacy::NoiseShare, _: usize) {}

    fn add(&mut self, _: &privacy::NoiseShare, _: &mut [i64]) -> Result<std::time::Duration, training::TrainError> {
        Ok(std::time::Duration::ZERO)
    }
}

/// The adapter's settings.
pub(crate) fn lora(plan: &Plan) -> Result<LoraConfig, SimulateError> {
    let targets: Vec<&str> = plan.training.target_modules.iter().map(String::as_str).collect();
    let mut lora = LoraConfig::new(plan.training.rank, plan.training.lora_alpha, &targets);
    lora.train = terms::strategy(plan.training.strategy)?.trains();
    Ok(lora)
}
