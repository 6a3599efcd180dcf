//! Hospitals fine-tune one language model together: the main job, and a way into Plainchant.
//!
//! The way through it:
//!
//! 1. [`model`] finds the base model, [`task`] reads the ICD-10 rows of `data/`.
//! 2. [`common::split`] gives every hospital its own mix of chapters.
//! 3. [`plan`] times a batch of public rows and works out rounds, deadlines and noise; [`charter`] writes them down.
//! 4. [`federation`] has the aggregator and the hospitals run as processes ([`common::Federation`]).
//! 5. [`results`] writes what came out; [`compare`] trains without a federation ([`clear`]) for comparison.

pub mod charter;
pub mod clear;
pub mod compare;
pub mod federation;
pub mod model;
pub mod options;
pub mod plan;
mod plot;
pub mod results;
pub mod task;

use std::time::Instant;

use anyhow::{Context as _, ensure};
use common::noise::{COLLUDERS, DELTA};
use common::progress::Ui;
use common::{Outcome, rows, split};

use crate::compare::Comparison;
use crate::options::Options;
use crate::plan::Plan;
use crate::results::{PROTECTS, Results, Score};
use crate::task::{LORA_ALPHA, R, Task};

/// Runs the whole example.
///
/// # Errors
/// Whatever ends it, in words for the person who started it.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let ui = Ui;
    let (houses, may_vanish) = (usize::from(options.hospitals), usize::from(options.may_vanish));
    let least = may_vanish + COLLUDERS + 2;
    ensure!(houses >= least, "with --may-vanish {may_vanish} at least {least} hospitals are needed: see --hospitals");
    let folder = model::find(options.model.as_deref(), ui)?;
    let data = rows::folder();
    let mut task = Task::load(&folder, &data, options.seed)?;
    let split = split::by_chapter(&task.rows, houses, options.seed);
    let parts: Vec<usize> = split.iter().map(Vec::len).collect();
    let plan = plan::plan(&mut task, options, &parts)?;
    let factor = plan.share.factor(houses);
    say_plan(&task, &plan, &parts, factor, ui);
    let initial = task.initial().clone();
    let before = Score::from(task.evaluate_test(&initial)?);
    let start = Instant::now();
    let (Outcome { adapter, watched }, curve) = federation::run(&mut task, &plan, &split, &folder, options, ui)?;
    let seconds = start.elapsed().as_secs_f64();
    task.learner.classifier.set_threads(plan.cores);
    let after = Score::from(task.evaluate_test(&adapter)?);
    let results = Results {
        before,
        after,
        epsilon: watched.epsilon,
        delta: DELTA,
        rounds: watched.rounds,
        hospitals: houses,
        bytes_up_per_client_round: watched.bytes_up,
        seconds_per_round: watched.seconds,
        seconds,
        noise_factor: factor,
        noise_multiplier: plan.noise_multiplier,
        may_vanish: options.may_vanish,
        policy: options.policy.as_str(),
        protects: PROTECTS,
        seed: options.seed,
    };
    let path = options.out.join("results.json");
    results.save(&path)?;
    let rows = rows::load(&data.join("test.tsv"))?;
    results::save_logits(&mut task, &adapter, &rows, &options.out.join("logits.json"))?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    } else {
        println!("{}", results.table());
    }
    ui.say(&format!(
        "noise in the sum: {factor:.2} times central DP-SGD's at d = {may_vanish}\nprotects {PROTECTS}\n\
         results: {}\nadapter (PEFT): {}",
        path.display(),
        options.out.join("adapter").display()
    ));
    if options.compare {
        let own = Comparison { name: "federation", after, noise: factor, curve };
        let rows = compare::compare(&mut task, &plan, &split, options.seed, own, &options.out, ui)
            .context("the comparison")?;
        if !options.json {
            println!("{}", compare::table(&rows));
        }
        ui.say(&format!("comparison: {0}/compare.json, {0}/compare.svg", options.out.display()));
    }
    Ok(())
}

fn say_plan(task: &Task, plan: &Plan, parts: &[usize], factor: f64, ui: Ui) {
    let weights = task.initial().trainable_len();
    ui.say(&format!(
        "{} training rows over {} hospitals ({}), {weights} trained weights (LoRA r = {R}, lora_alpha = {LORA_ALPHA}, and the head)",
        task.rows.len(),
        parts.len(),
        parts.iter().map(usize::to_string).collect::<Vec<_>>().join(", "),
    ));
    ui.say(&format!(
        "{} rounds of {:.1} s: a batch takes {:.2} s on {} cores; noise multiplier {:.3}, {factor:.2} times that in the sum",
        plan.rounds,
        plan.submit_at.as_secs_f64(),
        plan.batch_seconds,
        plan.cores,
        plan.noise_multiplier,
    ));
}
