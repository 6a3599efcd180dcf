//! The same task without a federation, on the same split: what privacy and what keeping apart cost.

use std::path::Path;

use anyhow::Context as _;
use comfy_table::Table;
use common::progress::Ui;
use protocol::charter::{Local, PrivacyMode, Strategy};
use serde::Serialize;

use crate::clear::{Point, Recipe, train};
use crate::plan::{Plan, SHOWN_EVERY};
use crate::plot;
use crate::results::{Score, percent};
use crate::task::{BATCH, CLIPPING_NORM, LEARNING_RATE_WITHOUT_PRIVACY, MOMENTUM, Task, learning_rate};

/// One way of training, and how it did.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// What was done.
    pub name: &'static str,
    /// On rows of unseen categories; the mean over the hospitals where each trained alone.
    pub after: Score,
    /// Noise in a step's mean gradient, central DP-SGD's being 1.
    pub noise: f64,
    /// On public rows.
    pub curve: Vec<Point>,
}

/// Trains all four and adds the federation's own result.
///
/// # Errors
/// A failure of a run, or a file that cannot be written.
pub fn compare(
    task: &mut Task,
    plan: &Plan,
    split: &[Vec<usize>],
    seed: u64,
    federation: Comparison,
    out: &Path,
    ui: Ui,
) -> anyhow::Result<Vec<Comparison>> {
    let rate = task.rate();
    let pooled = [split.iter().flatten().copied().collect::<Vec<_>>()];
    let recipe = |mode, factor: f64| Recipe {
        strategy: Strategy::FfaLora,
        warm_up: false,
        local: Local::default(),
        mode,
        noise_multiplier: plan.noise_multiplier,
        epsilon: plan.epsilon,
        rate,
        rounds: plan.rounds,
        learning_rate: learning_rate(factor),
        momentum: MOMENTUM,
        clipping_norm: CLIPPING_NORM,
        seed,
        evaluate_every: SHOWN_EVERY,
    };
    let open = Recipe {
        noise_multiplier: 0.0,
        epsilon: 0.0,
        learning_rate: LEARNING_RATE_WITHOUT_PRIVACY,
        ..recipe(PrivacyMode::None, 1.0)
    };
    let mut rows = vec![one(task, "pooled, no privacy", 0.0, &pooled, &open, ui)?];
    rows.push(one(task, "pooled, central DP-SGD", 1.0, &pooled, &recipe(PrivacyMode::RecordLocal, 1.0), ui)?);
    rows.push(federation);
    let factor = (split.len() as f64).sqrt();
    let name = "federation, all noise in each hospital";
    rows.push(one(task, name, factor, split, &recipe(PrivacyMode::RecordLocal, factor), ui)?);
    // A house's batch is as much smaller as there are houses, in the mean.
    rows.push(alone(task, split, &recipe(PrivacyMode::RecordLocal, split.len() as f64), ui)?);
    let path = out.join("compare.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&rows)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    plot::curves(&out.join("compare.svg"), &rows)?;
    Ok(rows)
}

/// The comparison as a table.
pub fn table(rows: &[Comparison]) -> Table {
    let mut table = Table::new();
    table.set_header(["training", "plain", "macro", "noise"]);
    for row in rows {
        table.add_row([
            row.name.to_owned(),
            percent(row.after.plain),
            percent(row.after.macro_),
            format!("{:.2}", row.noise),
        ]);
    }
    table
}

fn one(
    task: &mut Task,
    name: &'static str,
    noise: f64,
    parts: &[Vec<usize>],
    recipe: &Recipe,
    ui: Ui,
) -> anyhow::Result<Comparison> {
    let (adapter, curve) = train(task, parts, recipe, &ui.steps(name, u64::from(recipe.rounds)))?;
    Ok(Comparison { name, after: Score::from(task.evaluate_test(&adapter)?), noise, curve })
}

/// Each hospital by itself at the federation's rate, rounds and epsilon; the means over the hospitals.
fn alone(task: &mut Task, split: &[Vec<usize>], recipe: &Recipe, ui: Ui) -> anyhow::Result<Comparison> {
    let name = "each hospital alone (mean)";
    let (mut runs, houses) = (Vec::new(), split.len() as f64);
    for part in split {
        let batch = part.len() as f64 * recipe.rate;
        runs.push(one(task, name, BATCH / batch, std::slice::from_ref(part), recipe, ui)?);
    }
    let mean = |of: &dyn Fn(&Comparison) -> f64| runs.iter().map(of).sum::<f64>() / houses;
    let point = |i: usize, round: u32| Point {
        round,
        loss: mean(&|run| run.curve.get(i).map_or(f64::NAN, |point| point.loss)),
        plain: mean(&|run| run.curve.get(i).map_or(f64::NAN, |point| point.plain)),
    };
    let curve = runs.first().map(|run| run.curve.iter().enumerate().map(|(i, p)| point(i, p.round)).collect());
    Ok(Comparison {
        name,
        after: Score { plain: mean(&|run| run.after.plain), macro_: mean(&|run| run.after.macro_) },
        noise: mean(&|run| run.noise),
        curve: curve.unwrap_or_default(),
    })
}
