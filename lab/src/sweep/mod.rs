//! Sweeps: a plan over grids of epsilon, clipping norm, rank, learning rate and number of clients, several runs at a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use crate::rows::{ClientRow, CurveRow, RunRow};
use crate::simulate::{self, Finished, Plan, PlanError, SimulateError};
use crate::table;
use crate::task::Task;

/// A sweep that explains every key.
pub const SAMPLE: &str = include_str!("sweep.sample.toml");

/// The most settings of one sweep.
const MOST_SETTINGS: usize = 10_000;

/// A sweep, as a TOML file says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// The plan's file: what the grids do not say.
    pub plan: PathBuf,
    /// Values to try; what is left out stays as in the plan.
    #[serde(default)]
    pub grid: Grid,
}

/// Values to try, each with each.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Grid {
    /// What a run spends.
    pub epsilon: Vec<f64>,
    /// Clipping norms.
    pub clipping_norm: Vec<f64>,
    /// Ranks of the adapter.
    pub rank: Vec<u32>,
    /// Step sizes of the server.
    pub learning_rate: Vec<f64>,
    /// Numbers of clients.
    pub clients: Vec<usize>,
}

/// One point of the grids.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Its name, which is its folder's.
    pub name: String,
    /// Its plan.
    pub plan: Plan,
}

impl Sweep {
    /// Reads a sweep and its plan; paths start at each file's folder.
    ///
    /// # Errors
    /// [`PlanError`] naming the file and key at fault.
    pub fn load(path: &Path) -> Result<(Self, Plan), PlanError> {
        let text = std::fs::read_to_string(path).map_err(|source| PlanError::Read { path: path.to_owned(), source })?;
        let sweep: Self = toml::from_str(&text).map_err(|error| PlanError::Parse {
            path: path.to_owned(),
            reason: error.to_string().trim_end().to_owned(),
        })?;
        let plan = Plan::load(&path.parent().unwrap_or(Path::new("")).join(&sweep.plan))?;
        Ok((sweep, plan))
    }

    /// Every setting of the grids over `plan`.
    ///
    /// # Errors
    /// [`PlanError::Value`]: a setting that is no plan, or too many.
    pub fn settings(&self, plan: &Plan) -> Result<Vec<Setting>, PlanError> {
        let grid = &self.grid;
        let or = |values: &[f64], plain: f64| if values.is_empty() { vec![plain] } else { values.to_vec() };
        let ranks = if grid.rank.is_empty() { vec![plan.training.rank] } else { grid.rank.clone() };
        let clients = if grid.clients.is_empty() { vec![plan.clients.count] } else { grid.clients.clone() };
        let norms = or(&grid.clipping_norm, plan.privacy.clipping_norm);
        let (epsilons, rates) =
            (or(&grid.epsilon, plan.privacy.epsilon), or(&grid.learning_rate, plan.training.learning_rate));
        if epsilons.len() * norms.len() * ranks.len() * rates.len() * clients.len() > MOST_SETTINGS {
            return Err(PlanError::Value { key: "grid", rule: format!("has more than {MOST_SETTINGS} settings") });
        }
        let mut settings = Vec::new();
        for epsilon in &epsilons {
            for norm in &norms {
                for rank in &ranks {
                    for rate in &rates {
                        for count in &clients {
                            let mut plan = plan.clone();
                            (plan.privacy.epsilon, plan.privacy.clipping_norm) = (*epsilon, *norm);
                            (plan.training.rank, plan.training.learning_rate) = (*rank, *rate);
                            plan.clients.count = *count;
                            plan.check()?;
                            let name = format!("epsilon-{epsilon}-norm-{norm}-rank-{rank}-rate-{rate}-clients-{count}");
                            settings.push(Setting { name, plan });
                        }
                    }
                }
            }
        }
        Ok(settings)
    }
}

/// Runs all settings, `jobs` at a time on the machine's cores, each in a folder of its own within `folder`; what is there is not run again.
/// `progress` hears of every finished setting.
///
/// # Errors
/// The first failure; settings that are done stay done.
pub fn run(
    settings: &[Setting],
    folder: &Path,
    jobs: usize,
    progress: &(dyn Fn(&Setting, &Finished) + Sync),
) -> Result<Finished, SimulateError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = jobs.clamp(1, settings.len().max(1));
    let threads = (cores / jobs).max(1);
    let next = AtomicUsize::new(0);
    let done: Mutex<BTreeMap<usize, Finished>> = Mutex::default();
    let worker = || -> Result<(), SimulateError> {
        let mut task = None;
        while let Some((at, setting)) = take(settings, &next) {
            // One model a worker, whatever the rank: what is attached changes from run to run.
            let task = match &mut task {
                Some(task) => task,
                empty => empty.insert(Task::load(&setting.plan.task, &simulate::lora(&setting.plan)?, Some(threads))?),
            };
            let make = |charter: &protocol::Charter| Ok(training::mechanism(charter)?);
            let out = folder.join(&setting.name);
            let finished = simulate::run_on(&setting.plan, task, &out, &make, &mut |_| ())?;
            progress(setting, &finished);
            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(at, finished);
        }
        Ok(())
    };
    let results: Vec<Result<(), SimulateError>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
        let ended = |worker: std::thread::ScopedJoinHandle<'_, _>| {
            worker.join().unwrap_or_else(|_| Err(SimulateError::Internal("a worker ended without a result".to_owned())))
        };
        workers.into_iter().map(ended).collect()
    });
    results.into_iter().collect::<Result<(), _>>()?;
    let done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let all = together(settings, done);
    table::write(folder, "runs", &all.runs)?;
    table::write(folder, "curve", &all.curve)?;
    table::write(folder, "clients", &all.clients)?;
    Ok(all)
}

fn take<'a>(settings: &'a [Setting], next: &AtomicUsize) -> Option<(usize, &'a Setting)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    settings.get(at).map(|setting| (at, setting))
}

/// All rows, under names that are unique over the settings.
fn together(settings: &[Setting], done: BTreeMap<usize, Finished>) -> Finished {
    let mut all = Finished::default();
    for (at, finished) in done {
        let Some(setting) = settings.get(at) else { continue };
        let name = |run: &str| format!("{}/{run}", setting.name);
        all.runs.extend(finished.runs.into_iter().map(|row| RunRow { run: name(&row.run), ..row }));
        all.curve.extend(finished.curve.into_iter().map(|row| CurveRow { run: name(&row.run), ..row }));
        all.clients.extend(finished.clients.into_iter().map(|row| ClientRow { run: name(&row.run), ..row }));
    }
    all
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_sample_is_a_sweep_and_its_settings_are_every_combination_once() {
        let sweep: Sweep = toml::from_str(SAMPLE).unwrap();
        let plan: Plan = toml::from_str(simulate::SAMPLE).unwrap();
        let settings = sweep.settings(&plan).unwrap();
        assert_eq!(settings.len(), 3 * 2);
        let names: std::collections::BTreeSet<&str> = settings.iter().map(|setting| setting.name.as_str()).collect();
        assert_eq!(names.len(), settings.len());
        assert!(toml::from_str::<Sweep>(&SAMPLE.replace("epsilon =", "epsilons =")).is_err());
        let none = Sweep { plan: PathBuf::new(), grid: Grid::default() };
        assert_eq!(none.settings(&plan).unwrap()[0].plan, plan);
        let wrong = Sweep { grid: Grid { clients: vec![1], ..Grid::default() }, ..none };
        assert!(matches!(wrong.settings(&plan), Err(PlanError::Value { key: "clients.count", .. })));
    }
}
