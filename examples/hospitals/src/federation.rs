//! The federation itself: an aggregator and the hospitals as processes on loopback, from `init` to the adapter taken home.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use adapter::Adapter;
use anyhow::{Context as _, bail, ensure};
use protocol::charter::{Local, Train};
use sha2::{Digest as _, Sha256};

use crate::charter::{self, Contract, threshold};
use crate::children::{AGGREGATOR, CLIENT, Children, call, tail};
use crate::clear::Point;
use crate::options::Options;
use crate::plan::{DELTA, Plan};
use crate::progress::Ui;
use crate::rows::{self, Row};
use crate::task::{LEARNING_RATE, MOMENTUM, Task};
use crate::watch::{Watch, Watched};

/// What an earlier run may have left in the run's folder.
const OURS: [&str; 4] = ["aggregator", "houses", "logs", "adapter"];
/// How long the server may take to listen.
const START: Duration = Duration::from_secs(20);
/// How long the final adapter may take from the last round to the model builder.
const HAND_OVER: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The adapter that the model builder took home.
    pub adapter: Adapter,
    /// What the hospitals' own progress files say.
    pub watched: Watched,
    /// On public rows.
    pub curve: Vec<Point>,
}

/// Where things are.
#[derive(Debug)]
struct Places {
    out: PathBuf,
}

/// Runs the federation in `options.out`: `split` says which of the task's rows each house holds.
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
) -> anyhow::Result<Outcome> {
    let places = prepare(&options.out)?;
    let names = charter::house_names(split.len());
    let houses: Vec<(String, usize)> = names.iter().cloned().zip(split.iter().map(Vec::len)).collect();
    let aggregator = places.path(&["aggregator"]);
    found(task, plan, &houses, options, &places)?;
    let mut children = Children::default();
    let url = serve(&aggregator, &places, &mut children)?;
    ui.say(&format!("aggregator listens on {url}; {} hospitals join", houses.len()));
    for ((name, _), part) in houses.iter().zip(split) {
        let rows: Vec<&Row> = part.iter().filter_map(|i| task.rows.get(*i)).collect();
        invite(name, &url, &places)?;
        join(name, &rows, plan, folder, options, &places).with_context(|| format!("{name} cannot join"))?;
    }
    let mut watch = Watch::default();
    for (name, _) in &houses {
        let (dir, progress) = (places.house(name), places.out.join("logs").join(format!("{name}.jsonl")));
        let arguments = ["run", &dir, "--progress", &text(&progress)];
        children.start(name, CLIENT, &arguments, &places.log(name))?;
        watch.follow(name, progress);
    }
    let adapters = places.out.join("houses");
    let curve = watch.until_completed(task, plan, &adapters, &mut children, ui)?;
    let watched = watch.finish();
    let adapter = take_home(task, &aggregator, &places, &mut children)?;
    for (name, _) in &houses {
        let own = Adapter::load_dir(&adapters.join(name).join("adapter"), &task.model)?;
        ensure!(
            own.digest() == adapter.digest(),
            "the adapter of {name} is not the one that the model builder took home"
        );
    }
    Ok(Outcome { adapter, watched, curve })
}

/// A run folder without what an earlier run left in it.
fn prepare(out: &Path) -> anyhow::Result<Places> {
    for name in OURS {
        let path = out.join(name);
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    fs::create_dir_all(out.join("logs")).with_context(|| format!("cannot make {}", out.display()))?;
    Ok(Places { out: fs::canonicalize(out)? })
}

/// The model builder writes a charter and makes the aggregator, which puts its key into it.
fn found(
    task: &Task,
    plan: &Plan,
    houses: &[(String, usize)],
    options: &Options,
    places: &Places,
) -> anyhow::Result<()> {
    let contract = Contract {
        aggregator_key: "",
        model: &task.model,
        labels: &task.labels,
        houses,
        rate: task.rate(),
        seed: options.seed,
        train: Train::B,
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
    let template = places.out.join("charter.toml");
    fs::write(&template, contract.text()?)?;
    call(AGGREGATOR, &["init", &places.path(&["aggregator"]), "--charter", &text(&template)])?;
    Ok(())
}

/// Starts the server on a free port. Gives its address back.
fn serve(aggregator: &str, places: &Places, children: &mut Children) -> anyhow::Result<String> {
    let (port, log) = (places.out.join("logs").join("port"), places.log("aggregator"));
    let arguments = ["serve", aggregator, "--listen", "127.0.0.1:0", "--port-file", &text(&port)];
    children.start("aggregator", AGGREGATOR, &arguments, &log)?;
    let start = Instant::now();
    loop {
        children.check()?;
        if let Ok(port) = fs::read_to_string(&port) {
            return Ok(format!("https://127.0.0.1:{}", port.trim()));
        }
        if start.elapsed() > START {
            bail!("the aggregator does not listen; {} ends with:\n{}", log.display(), tail(&log));
        }
        thread::sleep(POLL);
    }
}

/// The model builder writes an invitation, which reaches the house as a file.
fn invite(name: &str, url: &str, places: &Places) -> anyhow::Result<()> {
    let invitation = call(AGGREGATOR, &["invite", &places.path(&["aggregator"]), name, "--url", url])?;
    fs::create_dir_all(places.house(name))?;
    Ok(fs::write(places.out.join("houses").join(name).join("invitation.txt"), invitation.trim())?)
}

/// A house joins, approves this charter and no other, and writes down its limits.
fn join(
    name: &str,
    rows: &[&Row],
    plan: &Plan,
    folder: &Path,
    options: &Options,
    places: &Places,
) -> anyhow::Result<()> {
    let dir = places.house(name);
    let path = PathBuf::from(&dir);
    call(CLIENT, &["join", &dir, "--invitation-file", &text(&path.join("invitation.txt"))])?;
    let data = path.join("rows.tsv");
    rows::save(&data, rows)?;
    let charter = fs::read(places.out.join("aggregator").join("charter.toml"))?;
    let houses = usize::from(options.hospitals);
    let config = format!(
        "\
[data]
file = {file}
text_column = \"text\"
label_column = \"label\"

[training]
model = {model}
device = \"cpu\"
threads = {threads}

[policy]
approve = \"{approve}\"
epsilon_ceiling = {ceiling:?}
delta = {DELTA:e}
min_cohort = {min_cohort}
min_colluding_members = {colluding}
release = [\"{release}\"]
hand_over = true
",
        file = toml::Value::from(text(&data)),
        model = toml::Value::from(text(&fs::canonicalize(folder)?)),
        threads = plan.threads,
        approve = hex::encode(Sha256::digest(&charter)),
        ceiling = options.epsilon,
        min_cohort = houses - usize::from(options.may_vanish),
        colluding = (2 * threshold(houses)).saturating_sub(houses + 1),
        release = options.policy.as_str(),
    );
    fs::write(path.join("client.toml"), config)?;
    Ok(())
}

/// The model builder takes the final adapter home, once the hospitals have handed it over.
fn take_home(task: &Task, aggregator: &str, places: &Places, children: &mut Children) -> anyhow::Result<Adapter> {
    let folder = places.out.join("adapter");
    let start = Instant::now();
    loop {
        match call(AGGREGATOR, &["export", aggregator, &text(&folder)]) {
            Ok(_) => return Ok(Adapter::load_dir(&folder, &task.model)?),
            Err(error) if start.elapsed() > HAND_OVER => return Err(error),
            Err(_) => children.check()?,
        }
        thread::sleep(Duration::from_millis(300));
    }
}

impl Places {
    fn path(&self, parts: &[&str]) -> String {
        text(&parts.iter().fold(self.out.clone(), |path, part| path.join(part)))
    }

    fn house(&self, name: &str) -> String {
        self.path(&["houses", name])
    }

    fn log(&self, name: &str) -> PathBuf {
        self.out.join("logs").join(format!("{name}.log"))
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
