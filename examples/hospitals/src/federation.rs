//! The hospitals' federation: this example's charter and rows, run by [`common::Federation`].

use std::path::Path;

use adapter::Adapter;
use common::progress::Ui;
use common::rows::{self, Row};
use common::{Federation, House, Outcome, training_section};
use protocol::charter::{Local, Strategy};

use crate::charter::{self, Setting};
use crate::clear::Point;
use crate::options::Options;
use crate::plan::{Plan, SHOWN_EVERY};
use crate::task::{LEARNING_RATE, MOMENTUM, Task};

/// Runs the federation in `options.out`: `split` says which of the task's rows each house holds. Gives the curve on public rows as well.
///
/// # Errors
/// Whatever ends it: a step that fails, a process that dies (with the end of its log), rounds that do not go on.
pub fn run(
    task: &mut Task,
    plan: &Plan,
    split: &[Vec<usize>],
    folder: &Path,
    options: &Options,
    ui: Ui,
) -> anyhow::Result<(Outcome, Vec<Point>)> {
    let names = charter::house_names(split.len());
    let sizes: Vec<(String, usize)> = names.iter().cloned().zip(split.iter().map(Vec::len)).collect();
    let setting = Setting {
        aggregator_key: "",
        model: &task.model,
        labels: &task.labels,
        houses: &sizes,
        rate: task.rate(),
        seed: options.seed,
        strategy: Strategy::FfaLora,
        initial_head: None,
        local: Local::default(),
        privacy: charter::privacy(plan, options),
        learning_rate: LEARNING_RATE,
        momentum: MOMENTUM,
        rounds: plan.rounds,
        may_vanish: u32::from(options.may_vanish),
        submit_at_ms: plan.submit_at.as_millis() as u64,
        release: options.policy.release(),
    };
    let charter = setting.contract()?.text()?;
    let data = "[data]\nfile = \"rows.tsv\"\ntext_column = \"text\"\nlabel_column = \"label\"\n";
    let config = format!("{data}\n{}", training_section(folder, plan.threads)?);
    let mut houses = Vec::new();
    for (name, part) in names.into_iter().zip(split) {
        let own: Vec<&Row> = part.iter().filter_map(|i| task.rows.get(*i)).collect();
        houses.push(House { name, file: "rows.tsv", rows: rows::table(&own)?, config: config.clone() });
    }
    let model = task.model.clone();
    let federation = Federation { charter: &charter, houses: &houses, model: &model, out: &options.out };
    let mut curve = Vec::<Point>::new();
    task.learner.classifier.set_threads(1);
    let outcome = federation.run(ui, |round, newest| {
        if round % SHOWN_EVERY == 0 || round == plan.rounds || round == 1 {
            let found = task.evaluate_public(&Adapter::load_dir(newest, &model)?)?;
            curve.push(Point { round, loss: found.loss, plain: found.plain });
        }
        Ok(curve.last().map_or_else(String::new, |point| {
            format!("loss {:.3} on public rows (round {}), ", point.loss, point.round)
        }))
    })?;
    Ok((outcome, curve))
}
