//! Three companies fine-tune one language model on their own instructions together.
//!
//! The way through it:
//!
//! 1. [`model`] finds SmolLM2-135M-Instruct, or makes its folder; [`task`] makes instructions of ICD-10 rows.
//! 2. [`common::split`] gives every company its own mix of chapters.
//! 3. [`plan`] times gradients of public rows and writes the charter: rounds, deadlines and noise.
//! 4. [`common::Federation`] runs the aggregator and the companies as processes.
//! 5. [`judge`] asks the model about categories that no company had, before and after; [`results`] writes it down.

pub mod judge;
pub mod model;
pub mod options;
pub mod plan;
pub mod results;
pub mod task;

use std::path::Path;
use std::time::Instant;

use adapter::Adapter;
use anyhow::ensure;
use common::noise::{COLLUDERS, DELTA};
use common::progress::Ui;
use common::rows::{self, Row};
use common::{Federation, House, Outcome, save_json, split, training_section};

use crate::judge::Judge;
use crate::options::Options;
use crate::plan::{Base, Plan};
use crate::results::Results;
use crate::task::Instruction;

/// Public rows whose loss is shown meanwhile.
const SHOWN_ROWS: usize = 48;
/// Rounds between two looks at them.
const SHOWN_EVERY: u32 = 5;

/// Runs the whole example.
///
/// # Errors
/// Whatever ends it, in words for the person who started it.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let (ui, companies) = (Ui, usize::from(options.companies));
    ensure!(companies >= COLLUDERS + 2, "at least {} companies are needed: see --companies", COLLUDERS + 2);
    let folder = model::find(options.model.as_deref(), ui)?;
    let data = rows::folder();
    let train = rows::load(&data.join("train.tsv"))?;
    let test = spread(&rows::load(&data.join("test.tsv"))?, options.test_rows as usize)?;
    let public = spread(&rows::load(&data.join("public.tsv"))?, SHOWN_ROWS)?;
    let parts = split::by_chapter(&train, companies, options.seed);
    let base = Base::load(&folder)?;
    let initial = base.initial(options.seed)?;
    let mut judge = Judge::new(&folder, &initial, &test, &public)?;
    let plan = Plan::new(&judge, options, &base, &parts)?;
    plan.say(&parts, ui);
    let (before, said_before) = judge.ask(&initial, "before", ui)?;
    let charter = plan.charter(&base, options)?;
    let houses = houses(&train, &parts, &plan.houses, &folder, plan.threads)?;
    let start = Instant::now();
    let mut loss = f64::NAN;
    judge.model.set_threads(1);
    let federation = Federation { charter: &charter, houses: &houses, model: &base.shape, out: &options.out };
    let Outcome { adapter, watched } = federation.run(ui, |round, newest| {
        if round % SHOWN_EVERY == 0 || round == 1 || round == options.rounds {
            loss = judge.public_loss(&Adapter::load_dir(newest, &base.shape)?)?;
        }
        Ok(format!("loss {loss:.3} on public rows, "))
    })?;
    let seconds = start.elapsed().as_secs_f64();
    judge.model.set_threads(plan.cores);
    let (after, said_after) = judge.ask(&adapter, "after", ui)?;
    let results = Results {
        before,
        after,
        asked: test.len(),
        epsilon: watched.epsilon,
        delta: DELTA,
        rounds: watched.rounds,
        companies,
        trained_weights: initial.trainable_len(),
        bytes_up_per_client_round: watched.bytes_up,
        seconds_per_round: watched.seconds,
        seconds,
        noise_factor: plan.share.factor(companies),
        noise_multiplier: plan.noise_multiplier,
        protects: "one row, not one patient: ICD-10 rows have no patient id",
        seed: options.seed,
    };
    save_json(&options.out.join("results.json"), &results)?;
    save_json(&options.out.join("said.json"), &results::Sayings { before: &said_before, after: &said_after })?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    } else {
        println!("{}\n\n{}", results.table(), results::samples(&said_before, &said_after));
    }
    ui.say(&format!("protects {}", results.protects));
    ui.say(&format!(
        "results, answers, adapter (PEFT): {0}/results.json, {0}/said.json, {0}/adapter",
        options.out.display()
    ));
    Ok(())
}

/// `count` instructions, spread evenly over the rows.
fn spread(rows: &[Row], count: usize) -> anyhow::Result<Vec<Instruction>> {
    let count = count.min(rows.len());
    (0..count).filter_map(|i| rows.get(i * rows.len() / count)).map(Instruction::of).collect()
}

/// Each company's rows, and what its `client.toml` says of them and of its machine.
fn houses(
    train: &[Row],
    parts: &[Vec<usize>],
    names: &[(String, usize)],
    folder: &Path,
    threads: usize,
) -> anyhow::Result<Vec<House>> {
    let data =
        "[data]\nfile = \"instructions.jsonl\"\nprompt_column = \"prompt\"\ncompletion_column = \"completion\"\n";
    let config = format!("{data}\n{}", training_section(folder, threads)?);
    let mut houses = Vec::new();
    for (part, (name, _)) in parts.iter().zip(names) {
        let own = part.iter().filter_map(|i| train.get(*i)).map(Instruction::of);
        let rows = task::lines(&own.collect::<anyhow::Result<Vec<_>>>()?)?;
        houses.push(House { name: name.clone(), file: "instructions.jsonl", rows, config: config.clone() });
    }
    Ok(houses)
}
