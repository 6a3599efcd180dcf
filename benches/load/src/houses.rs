//! A federation of many houses for one round.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adapter::State;
use anyhow::{Context as _, bail, ensure};
use client::connection::Backoff;
use client::progress::Progress;
use client::round::{Completed, Home, Options};
use client::trainer::Trainer;
use protocol::{Charter, HouseName};
use serde_json::{Value, json};
use terms::Terms;
use tokio::task::JoinSet;
use training::{Part, TrainError, Trained};
use zeroize::Zeroizing;

use crate::Round;

/// Houses that hold key shares, and how many of them open.
const COMMITTEE: (usize, u8) = (7, 5);
/// Nominal batch of each house: what a sum is divided by, with their number.
const BATCH: u32 = 4;
/// Joins under way at once.
const JOINS: usize = 16;

/// A charter of `houses` houses whose adapter has 16 rows of `8 * width` values, and a head. Sums of its integers are below 2^24: each leads to another state
/// of 32-bit floats, so that the digest of a state says whether a sum is exact.
fn charter(round: &Round) -> String {
    let Round { houses, submit_after, width, .. } = round;
    let committee: Vec<String> = (0..COMMITTEE.0).map(name).collect();
    let threshold = COMMITTEE.1;
    let mut text = format!(
        r#"
name = "load"
protocol_version = 1
aggregator_key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
[model]
name = "wide"
sha256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
architecture = "bert"
num_hidden_layers = 4
hidden_size = 16
intermediate_size = {intermediate}
labels = ["eye", "ear", "nose"]
max_tokens = 16
[lora]
r = 8
lora_alpha = 16.0
target_modules = ["intermediate.dense"]
modules_to_save = ["classifier"]
seed = 1
[optimizer]
kind = "sgd"
learning_rate = 1.0
momentum = 0.0
[privacy]
mode = "record-shared"
epsilon = 1.5
delta = 1e-5
clipping_norm = 1.0
integer_norm = 1024
clamp = 8192
noise_multiplier = 1.0
colluders = 1
[rounds]
count = 1
min_cohort = {houses}
max_cohort = {houses}
may_vanish = 0
submit_at_ms = {submit}
close_ms = {close}
open_ms = 1200000
max_attempts = 1
[committee]
threshold = {threshold}
houses = {committee:?}
[release]
policy = "aggregator"
"#,
        intermediate = width * 4,
        submit = submit_after * 1000,
        close = (submit_after + 600) * 1000,
    );
    for house in 0..*houses {
        text += &format!("[[house]]\nname = {:?}\nsampling_rate = 0.01\nnominal_batch = {BATCH}\n", name(house));
    }
    text
}

const CONFIG: &str = "[data]\nfile = \"none.tsv\"\n[training]\nmodel = \"none\"\n[policy]\napprove = \"any\"\nepsilon_ceiling = 8.0\nmin_cohort = 3\n";

fn name(house: usize) -> String {
    format!("house-{house}")
}

/// What a house gives: different for every house and coordinate, of both signs.
fn integers(house: usize, count: usize) -> Vec<i64> {
    let base = house as i64 * 7_919;
    (0..count as i64).map(|i| (base + i * 613) % 16_001 - 8_000).collect()
}

/// Gives [`integers`].
struct Drawn(usize);

impl Trainer for Drawn {
    fn contribution(&mut self, _: &Part<'_>, state: &State) -> Result<Trained, TrainError> {
        let values = Zeroizing::new(integers(self.0, state.update_len()));
        Ok(Trained { values, loss: None, train: Duration::ZERO, noise: Duration::ZERO })
    }
}

/// The aggregator's program, ended when this is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already when this fails.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(program: &Path, dir: &Path, address: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.arg("serve").arg(dir).args(["--listen", address, "--gather-seconds", "600"]);
        command.stdout(Stdio::null()).stderr(std::fs::File::create(dir.join("serve.log"))?);
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self(child))
    }

    /// A figure of /proc/PID/status, in MiB; `VmHWM` is the most memory that it has held.
    fn mib(&self, key: &str) -> anyhow::Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
        Ok(kib.with_context(|| format!("no {key} in /proc"))? / 1024.0)
    }
}

/// Plays a round and prints what it took.
pub(crate) async fn round(args: &Round) -> anyhow::Result<()> {
    ensure!(args.houses > COMMITTEE.0, "more than {} houses", COMMITTEE.0);
    std::fs::create_dir_all(&args.dir)?;
    let (dir, port) = (args.dir.join("aggregator"), std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?);
    let home = aggregator::setup::init(&dir, Some(&charter(args)), &[], &mut rand::rng()).await?;
    let (charter, url) = (home.charter.clone(), format!("https://{port}"));
    let mut invitations = Vec::with_capacity(args.houses);
    for house in 0..args.houses {
        invitations.push(home.invite(&HouseName::new(&name(house))?, &url, &mut rand::rng()).await?);
    }
    home.store.close().await;
    let server = Server::start(&args.aggregator, &dir, &port.to_string())?;
    for _ in 0..100 {
        if tokio::net::TcpStream::connect(port).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let joined = Instant::now();
    let mut joins = JoinSet::new();
    let house_dir = |house: usize| args.dir.join(name(house));
    for (house, invitation) in invitations.into_iter().enumerate() {
        if joins.len() >= JOINS
            && let Some(done) = joins.join_next().await
        {
            done??;
        }
        joins.spawn(join(house_dir(house), invitation));
    }
    while let Some(done) = joins.join_next().await {
        done??;
    }
    let (joined, idle) = (joined.elapsed().as_secs_f64(), server.mib("VmRSS")?);
    let events = args.dir.join("progress.jsonl");
    let progress = Progress::to_file(&events)?;
    let mut houses = JoinSet::new();
    let started = Instant::now();
    for house in 0..args.houses {
        let options = Options {
            progress: progress.clone(),
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(5)),
            key_stock: 4,
            ..Options::default()
        };
        let home = Home::open(&house_dir(house))?;
        houses.spawn(client::round::run(home, Some(Box::new(Drawn(house))), options));
    }
    let watch = tokio::spawn(intake(events, args.houses, args.submit_after));
    let mut ends: Vec<Completed> = Vec::with_capacity(args.houses);
    while let Some(end) = houses.join_next().await {
        ends.push(end??);
    }
    let total = started.elapsed().as_secs_f64();
    let (took_in, bytes) = watch.await??;
    let expected = expected(&charter, args.houses)?;
    let exact = ends.iter().all(|end| end.rounds == 1 && *end.state.as_bytes() == expected);
    let peak = server.mib("VmHWM")?;
    let values = Terms::of(&charter)?.first_state()?.update_len();
    println!(
        "{}",
        json!({
            "houses": args.houses, "values": values, "exact": exact, "joins_per_s": args.houses as f64 / joined,
            "bytes_each": bytes / args.houses as u64, "intake_seconds": took_in,
            "intake_mib_per_s": bytes as f64 / took_in / f64::from(1 << 20),
            "round_seconds": total, "rss_idle_mib": idle, "rss_peak_mib": peak,
        })
    );
    ensure!(exact, "the opened sum is not that of the integers");
    Ok(())
}

async fn join(dir: PathBuf, invitation: protocol::Invitation) -> anyhow::Result<()> {
    client::join::join(&dir, &invitation).await?;
    Ok(std::fs::write(dir.join("client.toml"), CONFIG)?)
}

/// Follows what the houses report until all contributions are acknowledged. Gives the seconds since they left, and their bytes.
async fn intake(events: PathBuf, houses: usize, submit_after: u64) -> anyhow::Result<(f64, u64)> {
    let mut file = BufReader::new(std::fs::File::open(events)?);
    let (mut announced, mut accepted, mut bytes) = (None, 0, 0);
    let (mut line, mut left) = (String::new(), None);
    loop {
        if file.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        }
        let event: Value = serde_json::from_str(&line).context("a line of the progress file")?;
        line.clear();
        match event["phase"].as_str() {
            Some("announced") => {
                let departure = Instant::now() + Duration::from_secs(submit_after);
                left = Some(*announced.get_or_insert(departure));
            }
            Some("contributed") => {
                accepted += 1;
                bytes += event["bytes_up"].as_u64().unwrap_or(0);
                if accepted == houses {
                    let left = left.context("contributions before an announcement")?;
                    return Ok((left.elapsed().as_secs_f64(), bytes));
                }
            }
            Some("abandoned" | "void" | "refused") => bail!("the round failed: {event}"),
            _ => {}
        }
    }
}

/// The digest of the state that the sum of all integers leads to.
fn expected(charter: &Charter, houses: usize) -> anyhow::Result<[u8; 32]> {
    let mut state = Terms::of(charter)?.first_state()?;
    let count = state.update_len();
    let mut sum = vec![0; count];
    for house in 0..houses {
        sum.iter_mut().zip(integers(house, count)).for_each(|(sum, value)| *sum += value);
    }
    state.apply(&sum, terms::unit(charter), f64::from(BATCH) * houses as f64)?;
    Ok(state.digest())
}
