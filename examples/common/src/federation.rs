//! The federation itself: an aggregator and the houses as processes on loopback, from `init` to the adapter taken home.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use adapter::{Adapter, Model};
use anyhow::{Context as _, bail, ensure};
use protocol::Charter;
use protocol::charter::ReleasePolicy;

use crate::children::{AGGREGATOR, CLIENT, Children, call, tail};
use crate::progress::Ui;
use crate::watch::{Watch, Watched};

/// What an earlier run may have left in the run's folder.
const OURS: [&str; 4] = ["aggregator", "houses", "logs", "adapter"];
/// How long the server may take to listen.
const START: Duration = Duration::from_secs(20);
/// How long the final adapter may take from the last round to the model builder.
const HAND_OVER: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// A house of the federation.
#[derive(Debug, Clone)]
pub struct House {
    /// Its name in the charter.
    pub name: String,
    /// The name of its data file.
    pub file: &'static str,
    /// What is in it.
    pub rows: Vec<u8>,
    /// What its `client.toml` says before `[policy]`: the sections `[data]`, whose file lies beside it, and `[training]`.
    pub config: String,
}

/// A federation to run.
#[derive(Debug, Clone, Copy)]
pub struct Federation<'a> {
    /// The charter, still without the aggregator's key.
    pub charter: &'a str,
    /// The houses that it names.
    pub houses: &'a [House],
    /// What the adapter belongs to.
    pub model: &'a Model,
    /// Where everything of the run goes.
    pub out: &'a Path,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The adapter that the model builder took home, which every house holds as well.
    pub adapter: Adapter,
    /// What the houses' own progress files say.
    pub watched: Watched,
}

/// Where things are.
#[derive(Debug)]
struct Places {
    out: PathBuf,
}

impl Federation<'_> {
    /// Runs it to its end. `round` is told of each round that all houses have applied, with a house's folder of the newest adapter, and
    /// says what else to show.
    ///
    /// # Errors
    /// Whatever ends it: a step that fails, a process that dies (with the end of its log), rounds that do not go on.
    pub fn run(&self, ui: Ui, mut round: impl FnMut(u32, &Path) -> anyhow::Result<String>) -> anyhow::Result<Outcome> {
        let places = Places::prepare(self.out)?;
        let aggregator = places.path(&["aggregator"]);
        let template = places.out.join("charter.toml");
        fs::write(&template, self.charter)?;
        // The model builder makes the aggregator, which puts its key into the charter.
        call(AGGREGATOR, &["init", &aggregator, "--charter", &text(&template)])?;
        let charter = Charter::parse(&fs::read_to_string(Path::new(&aggregator).join("charter.toml"))?)?;
        let mut children = Children::default();
        let url = serve(&aggregator, &places, &mut children)?;
        ui.say(&format!("aggregator listens on {url}; {} join", names(self.houses)));
        for house in self.houses {
            invite(&house.name, &url, &places)?;
            join(house, &charter, &places).with_context(|| format!("{} cannot join", house.name))?;
        }
        let mut watch = Watch::default();
        for House { name, .. } in self.houses {
            let (dir, progress) = (places.house(name), places.out.join("logs").join(format!("{name}.jsonl")));
            let arguments = ["run", &dir, "--progress", &text(&progress)];
            children.start(name, CLIENT, &arguments, &places.log(name))?;
            watch.follow(name, progress);
        }
        let newest = |name: &str| places.out.join("houses").join(name).join("adapter");
        watch.until_completed(&charter, &mut children, ui, |shown, house| round(shown, &newest(house)))?;
        let watched = watch.finish();
        let adapter = self.take_home(&aggregator, &places, &mut children)?;
        for House { name, .. } in self.houses {
            let own = Adapter::load_dir(&newest(name), self.model)?;
            ensure!(
                own.digest() == adapter.digest(),
                "the adapter of {name} is not the one that the model builder took home"
            );
        }
        Ok(Outcome { adapter, watched })
    }

    /// The model builder takes the final adapter home, once the houses have handed it over.
    fn take_home(&self, aggregator: &str, places: &Places, children: &mut Children) -> anyhow::Result<Adapter> {
        let folder = places.out.join("adapter");
        let start = Instant::now();
        loop {
            match call(AGGREGATOR, &["export", aggregator, &text(&folder)]) {
                Ok(_) => return Ok(Adapter::load_dir(&folder, self.model)?),
                Err(error) if start.elapsed() > HAND_OVER => return Err(error),
                Err(_) => children.check()?,
            }
            thread::sleep(Duration::from_millis(300));
        }
    }
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
fn join(house: &House, charter: &Charter, places: &Places) -> anyhow::Result<()> {
    let dir = places.house(&house.name);
    let path = PathBuf::from(&dir);
    call(CLIENT, &["join", &dir, "--invitation-file", &text(&path.join("invitation.txt"))])?;
    fs::write(path.join(house.file), &house.rows)?;
    Ok(fs::write(path.join("client.toml"), format!("{}\n{}", house.config.trim_end(), policy(charter)))?)
}

/// A house's limits: what this charter says, and no more.
fn policy(charter: &Charter) -> String {
    let members = charter.committee_size();
    format!(
        "
[policy]
approve = \"{approve}\"
epsilon_ceiling = {ceiling:?}
delta = {delta:e}
min_cohort = {min_cohort}
min_colluding_members = {colluding}
release = [\"{release}\"]
hand_over = true
",
        approve = charter.digest(),
        ceiling = charter.privacy.epsilon,
        delta = charter.privacy.delta,
        min_cohort = charter.rounds.min_cohort,
        colluding = (2 * usize::from(charter.committee.threshold)).saturating_sub(members + 1),
        release = match charter.release.policy {
            ReleasePolicy::Clients => "clients",
            ReleasePolicy::Aggregator => "aggregator",
        },
    )
}

/// The section `[training]` of a house that trains the model in `folder` on so many threads of this machine.
///
/// # Errors
/// The folder is not there.
pub fn training_section(folder: &Path, threads: usize) -> anyhow::Result<String> {
    let model = toml::Value::from(text(&fs::canonicalize(folder)?));
    Ok(format!("[training]\nmodel = {model}\ndevice = \"cpu\"\nthreads = {threads}\n"))
}

fn names(houses: &[House]) -> String {
    houses.iter().map(|house| house.name.as_str()).collect::<Vec<_>>().join(", ")
}

impl Places {
    /// A run folder without what an earlier run left in it.
    fn prepare(out: &Path) -> anyhow::Result<Self> {
        for name in OURS {
            let path = out.join(name);
            if path.exists() {
                fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        fs::create_dir_all(out.join("logs")).with_context(|| format!("cannot make {}", out.display()))?;
        Ok(Self { out: fs::canonicalize(out)? })
    }

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
