//! A round of many houses, some of which may vanish or come late.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use adapter::State;
use anyhow::{Context as _, bail, ensure};
use client::connection::Backoff;
use client::crash::{Crash, Moment, Place};
use client::progress::Progress;
use client::round::{Completed, Home, Options, RunError};
use client::trainer::Trainer;
use protocol::client::EffectKind;
use protocol::{Charter, Conclusion, Message as _, RecordLeaf, Verdict};
use serde_json::{Value, json};
use terms::Terms;
use tokio::task::JoinSet;
use training::{Part, TrainError, Trained};
use zeroize::Zeroizing;

use crate::Round;
use crate::figures::Figures;
use crate::site::{Server, Site, name};

/// Houses that hold key shares, where there are so many; five of seven open.
const COMMITTEE: usize = 7;
/// Nominal batch of each house: what a sum is divided by, with their number.
const BATCH: u32 = 4;
/// Before the departure everybody has encrypted, and what is held then is what is held without any intake.
const BEFORE: Duration = Duration::from_secs(1);

impl Round {
    /// A federation that plays no round.
    pub(crate) fn none(dir: PathBuf, aggregator: PathBuf, houses: usize) -> Self {
        let (submit_after, width, layers, open_for) = (600, 16, 4, 600);
        Self {
            dir,
            aggregator,
            houses,
            submit_after,
            width,
            layers,
            open_for,
            dropouts: 0,
            stragglers: 0,
            intake_only: true,
        }
    }

    /// Stragglers that are back in time.
    fn in_time(&self) -> usize {
        self.stragglers / 2
    }

    /// Houses that may be announced and not count: those that will not, and where some come late a few more.
    fn may_vanish(&self) -> usize {
        let more = if self.stragglers > 0 { self.houses / 20 } else { 0 };
        self.dropouts + self.stragglers - self.in_time() + more
    }

    fn fate(&self, house: usize) -> Fate {
        let (departs, open) = (Duration::from_secs(self.submit_after), Duration::from_secs(self.open_for));
        let steady = self.houses - self.dropouts - self.stragglers;
        match house.checked_sub(steady) {
            None => Fate::Steady,
            Some(late) if late < self.in_time() => {
                Fate::Returns(departs + open.mul_f64(late as f64 / self.stragglers as f64))
            }
            Some(late) if late < self.stragglers => Fate::Returns(departs + open + Duration::from_secs(1)),
            Some(_) => Fate::Vanishes,
        }
    }
}

/// What becomes of a house when it is announced.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Steady,
    /// It crashes when its contribution is to be sent, and runs again after so long.
    Returns(Duration),
    Vanishes,
}

/// A charter of `houses` houses, the first `committee` of which hold key shares, whose adapter has `layers` times 4 rows of `8 * width` values, and a head. Sums of its integers are below 2^24: each leads to another state
/// of 32-bit floats, so that the digest of a state says whether a sum is exact.
pub(crate) fn charter(round: &Round, committee: usize) -> String {
    let Round { houses, submit_after, open_for, width, layers, .. } = round;
    let committee: Vec<String> = (0..committee).map(name).collect();
    let threshold = (committee.len() * 5).div_ceil(7);
    let (vanish, min) = (round.may_vanish(), houses - round.may_vanish());
    let mut text = format!(
        r#"
name = "load"
protocol_version = 1
aggregator_key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
[model]
name = "wide"
sha256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
architecture = "bert"
num_hidden_layers = {layers}
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
min_cohort = {min}
max_cohort = {houses}
may_vanish = {vanish}
submit_at_ms = {submit}
close_ms = {close}
open_ms = {opened}
max_attempts = 1
[committee]
threshold = {threshold}
houses = {committee:?}
[release]
policy = "aggregator"
"#,
        intermediate = width * 4,
        submit = submit_after * 1000,
        close = (submit_after + open_for) * 1000,
        opened = (submit_after + open_for + 600) * 1000,
    );
    for house in 0..*houses {
        text += &format!("[[house]]\nname = {:?}\nsampling_rate = 0.01\nnominal_batch = {BATCH}\n", name(house));
    }
    text
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

/// Plays a round and prints what it took.
pub(crate) async fn round(args: &Round) -> anyhow::Result<()> {
    ensure!(args.houses >= 3, "at least 3 houses");
    let committee = COMMITTEE.min(args.houses);
    ensure!(args.dropouts + args.stragglers + committee <= args.houses, "the committee stays");
    let site = Site::start(&args.dir, &args.aggregator, &charter(args, committee), args.houses).await?;
    let idle = site.server.figures().mib("VmRSS")?;
    let events = args.dir.join("progress.jsonl");
    let progress = Progress::to_file(&events)?;
    let (mut houses, started) = (JoinSet::new(), Instant::now());
    for number in 0..args.houses {
        houses.spawn(house(site.house(number), number, args.fate(number), progress.clone()));
    }
    let steady = args.houses - args.dropouts - args.stragglers;
    let intake = intake(&site.server, events, steady, args.submit_after).await?;
    let mib = intake.bytes as f64 / f64::from(1 << 20);
    let mut found = json!({
        "houses": args.houses, "values": Terms::of(&site.charter)?.first_state()?.update_len(),
        "joins_per_s": site.joins_per_s, "bytes_each": intake.bytes / steady as u64,
        "intake_seconds": intake.seconds,
        "intake_mib_per_s": mib / intake.seconds, "intake_processor_s_per_mib": intake.processor_seconds / mib,
        "rss_idle_mib": idle, "rss_before_intake_mib": intake.aggregator.0, "rss_intake_mib": intake.aggregator.1,
        "houses_rss_before_intake_mib": intake.houses.0, "houses_rss_intake_mib": intake.houses.1,
        "rss_peak_mib": intake.aggregator.1.max(intake.aggregator_most_before),
    });
    if args.intake_only {
        println!("{found}");
        return Ok(());
    }
    let mut ends: Vec<Completed> = Vec::with_capacity(args.houses);
    while let Some(end) = houses.join_next().await {
        ends.extend(end??);
    }
    found["round_seconds"] = started.elapsed().as_secs_f64().into();
    let cohort = cohort(&site).await?;
    let expected = expected(&site.charter, &cohort)?;
    let counted = (0..args.houses).all(|house| match args.fate(house) {
        Fate::Steady => cohort.contains(&house),
        Fate::Returns(_) => true,
        Fate::Vanishes => !cohort.contains(&house),
    });
    let exact = counted
        && ends.len() == args.houses - args.dropouts
        && ends.iter().all(|end| end.rounds == 1 && *end.state.as_bytes() == expected);
    found["exact"] = exact.into();
    found["cohort"] = cohort.len().into();
    let most = site.server.figures().mib("VmHWM")?.max(intake.aggregator_most_before);
    found["rss_peak_mib"] = most.into();
    found["aggregator_processor_seconds"] = site.server.figures().processor_seconds()?.into();
    println!("{found}");
    ensure!(exact, "the opened sum is not that of the integers of the houses that were there");
    Ok(())
}

/// One house's life; nothing of one that vanishes.
async fn house(dir: PathBuf, number: usize, fate: Fate, progress: Progress) -> anyhow::Result<Option<Completed>> {
    let run = |crash: Crash| -> anyhow::Result<_> {
        let options = Options {
            progress: progress.clone(),
            backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(5)),
            key_stock: 4,
            crash,
            ..Options::default()
        };
        Ok(client::round::run(Home::open(&dir)?, Some(Box::new(Drawn(number))), options))
    };
    if fate != Fate::Steady {
        // One that returns has trained: what it kept is what it sends.
        let at = if fate == Fate::Vanishes { EffectKind::Train } else { EffectKind::Submit };
        let crashes = Crash::new(move |place| match place {
            Place::Effect(kind, Moment::Before) if kind == at => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        });
        match run(crashes)?.await {
            Err(RunError::Stopped(_)) => {}
            other => bail!("{} was to crash when it was announced: {other:?}", name(number)),
        }
        let Fate::Returns(after) = fate else { return Ok(None) };
        tokio::time::sleep(after).await;
    }
    Ok(Some(run(Crash::default())?.await?))
}

/// What taking the contributions in took.
struct Intake {
    /// From their departure to the last acknowledgement of a steady house.
    seconds: f64,
    bytes: u64,
    /// Of the aggregator.
    processor_seconds: f64,
    /// The aggregator's memory before, and the most meanwhile, in MiB.
    aggregator: (f64, f64),
    /// The most before that.
    aggregator_most_before: f64,
    /// This process's, which is all houses.
    houses: (f64, f64),
}

/// Follows what the houses report until the contributions of so many are acknowledged.
async fn intake(server: &Server, events: PathBuf, houses: usize, submit_after: u64) -> anyhow::Result<Intake> {
    let mut file = BufReader::new(std::fs::File::open(events)?);
    let (mut departure, mut accepted, mut bytes) = (None, 0, 0);
    let (mut line, mut before) = (String::new(), None);
    let (aggregator, own, mut most) = (server.figures(), Figures::of("self"), (0.0, 0.0));
    loop {
        let due = departure.is_some_and(|departure: Instant| Instant::now() + BEFORE >= departure);
        if due && before.is_none() {
            let most = aggregator.forget_most()?;
            own.forget_most()?;
            before = Some((aggregator.mib("VmRSS")?, own.mib("VmRSS")?, most, aggregator.processor_seconds()?));
        }
        if file.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        }
        let event: Value = serde_json::from_str(&line).context("a line of the progress file")?;
        line.clear();
        match event["phase"].as_str() {
            Some("announced") => {
                departure.get_or_insert_with(|| Instant::now() + Duration::from_secs(submit_after));
            }
            Some("contributed") => {
                accepted += 1;
                if accepted < houses {
                    // Once the last one is in, the sum is made: that is not of the intake.
                    most = (aggregator.mib("VmHWM")?, own.mib("VmHWM")?);
                }
                bytes += event["bytes_up"].as_u64().unwrap_or(0);
                if accepted == houses {
                    let (departure, before) = departure.zip(before).context("contributions before the departure")?;
                    return Ok(Intake {
                        seconds: departure.elapsed().as_secs_f64(),
                        bytes,
                        processor_seconds: aggregator.processor_seconds()? - before.3,
                        aggregator: (before.0, most.0),
                        aggregator_most_before: before.2,
                        houses: (before.1, most.1),
                    });
                }
            }
            Some("abandoned" | "void" | "refused") => bail!("the round failed: {event}"),
            _ => {}
        }
    }
}

/// The houses that the record says are in the sum of the one attempt that there was.
async fn cohort(site: &Site) -> anyhow::Result<BTreeSet<usize>> {
    let home = aggregator::setup::open(&site.aggregator()).await?;
    let leaves = home.store.leaves().await?;
    home.store.close().await;
    ensure!(leaves.len() == 1, "{} attempts", leaves.len());
    let leaf = RecordLeaf::from_bytes(leaves.first().context("no attempt")?)?;
    ensure!(matches!(leaf.conclusion, Conclusion::Settled(Verdict::Applied { .. })), "{:?}", leaf.conclusion);
    let number = |name: &protocol::HouseName| name.as_str().strip_prefix("house-")?.parse().ok();
    leaf.houses.iter().map(number).collect::<Option<_>>().context("a house of another name")
}

/// The digest of the state that the sum of these houses' integers leads to.
fn expected(charter: &Charter, houses: &BTreeSet<usize>) -> anyhow::Result<[u8; 32]> {
    let mut state = Terms::of(charter)?.first_state()?;
    let count = state.update_len();
    let mut sum = vec![0; count];
    for house in houses {
        sum.iter_mut().zip(integers(*house, count)).for_each(|(sum, value)| *sum += value);
    }
    state.apply(&sum, terms::unit(charter), f64::from(BATCH) * houses.len() as f64)?;
    Ok(state.digest())
}
