//! More calls than the aggregator can answer: what it answers meanwhile, how fast, and how soon it is itself again.
//!
//! Each call offers a one-time key, which is a signature to check and a row on the disk before the answer: the dearest that a member can ask for again and
//! again. It leaves at its time whether or not others have been answered, and its time until the answer counts from then.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use client::identity::Identity;
use client::version::Speaking;
use protocol::{OneTimeKeyOffer, Signed};
use protos::convert::to_wire;
use protos::v1;
use protos::v1::federation_client::FederationClient;
use serde_json::json;
use tokio::task::JoinSet;
use tonic::Code;

use crate::houses::charter;
use crate::site::Site;
use crate::{Overload, Round};

/// Calls under way while the capacity is measured.
const CALLERS: usize = 32;
/// How long that takes.
const MEASURE: Duration = Duration::from_secs(10);
/// Calls leave in batches of so long.
const BATCH: Duration = Duration::from_millis(10);
/// Afterwards somebody else calls so often.
const PROBE: Duration = Duration::from_millis(50);
/// All is normal once so many calls in a row were answered.
const IN_A_ROW: u32 = 10;
/// Each within so long.
const NORMAL: Duration = Duration::from_millis(250);
/// When that is given up.
const GIVEN_UP: Duration = Duration::from_secs(60);

/// A member that calls.
struct Caller {
    client: FederationClient<Speaking>,
    identity: Identity,
    sequence: AtomicU64,
    /// The same in all of its offers, which the aggregator does not ask about.
    key: [u8; 32],
}

impl Caller {
    fn new(site: &Site, house: usize) -> anyhow::Result<Self> {
        let identity = Identity::load(&site.house(house))?;
        let client = client::connection::impatient(&identity, &client::proxy::Network::default())?;
        // A version comes before a key.
        let key = secure_sum::SealingKey::generate(&mut rand::rng()).public().to_bytes();
        let (_, key) = key.split_last_chunk().context("a key has 32 bytes")?;
        Ok(Self { client, identity, sequence: AtomicU64::new(1), key: *key })
    }

    /// Offers the next key.
    async fn call(&self) -> Result<(), tonic::Status> {
        let offer = OneTimeKeyOffer {
            charter: self.identity.charter.digest(),
            member: self.identity.name().clone(),
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed),
            key: self.key,
        };
        let offers = vec![to_wire(&Signed::sign(&offer, &self.identity.signer))];
        self.client.clone().offer_keys(v1::OfferKeysRequest { offers }).await.map(drop)
    }
}

/// What became of calls.
#[derive(Default)]
struct Answers {
    /// Seconds until each that was accepted.
    accepted: Vec<f64>,
    /// How many ended otherwise, by code.
    refused: BTreeMap<String, u64>,
}

impl Answers {
    fn note(&mut self, answer: Result<(), tonic::Status>, took: Duration) {
        match answer {
            Ok(()) => self.accepted.push(took.as_secs_f64()),
            Err(status) => *self.refused.entry(format!("{:?}", status.code())).or_default() += 1,
        }
    }

    fn percentile(&mut self, share: f64) -> f64 {
        self.accepted.sort_by(f64::total_cmp);
        let at = (self.accepted.len() as f64 * share) as usize;
        self.accepted.get(at.min(self.accepted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    }
}

/// Offers too much, and prints what came of it.
pub(crate) async fn overload(args: &Overload) -> anyhow::Result<()> {
    ensure!(args.members >= 3, "at least 3 members");
    let shape = Round::none(args.dir.clone(), args.aggregator.clone(), args.members + 1);
    let site = Site::start(&args.dir, &args.aggregator, &charter(&shape, args.members + 1), args.members + 1).await?;
    let callers: Vec<_> =
        (0..args.members).map(|house| Caller::new(&site, house).map(Arc::new)).collect::<Result<_, _>>()?;
    let other = Caller::new(&site, args.members)?;
    // Connections are there before anything is measured.
    for caller in callers.iter().map(AsRef::as_ref).chain([&other]) {
        caller.call().await.context("a call that nothing is in the way of")?;
    }
    let (mut alone, seconds) = closed(&callers).await?;
    ensure!(alone.refused.is_empty(), "refused without any overload: {:?}", alone.refused);
    let capacity = alone.accepted.len() as f64 / seconds;
    let Offered { mut tasks, answers, calls, seconds } =
        open(&callers, capacity * args.times, Duration::from_secs(args.seconds)).await?;
    let in_time = lock(&answers).accepted.len();
    let normal_again = normal(&other, Instant::now()).await;
    while tasks.join_next().await.is_some() {}
    let mut answers = std::mem::take(&mut *lock(&answers));
    let accepted = in_time as f64 / seconds;
    println!(
        "{}",
        json!({
            "members": args.members, "capacity_per_s": capacity,
            "alone_p50_s": alone.percentile(0.5), "alone_p99_s": alone.percentile(0.99),
            "offered_per_s": calls as f64 / seconds, "seconds": seconds, "accepted_per_s": accepted,
            "share_of_capacity": accepted / capacity, "accepted_p50_s": answers.percentile(0.5),
            "accepted_p99_s": answers.percentile(0.99), "refused": answers.refused,
            "normal_again_s": normal_again, "rss_peak_mib": site.server.figures().mib("VmHWM")?,
        })
    );
    let shed = format!("{:?}", Code::ResourceExhausted);
    ensure!(answers.refused.keys().all(|code| *code == shed), "refused otherwise: {:?}", answers.refused);
    Ok(())
}

/// Each of a few callers calls as soon as its last call was answered. Gives the seconds that it took.
async fn closed(callers: &[Arc<Caller>]) -> anyhow::Result<(Answers, f64)> {
    let (began, mut tasks) = (Instant::now(), JoinSet::new());
    for caller in callers.iter().cycle().take(CALLERS) {
        let caller = Arc::clone(caller);
        tasks.spawn(async move {
            let mut answers = Answers::default();
            while began.elapsed() < MEASURE {
                let start = Instant::now();
                answers.note(caller.call().await, start.elapsed());
            }
            answers
        });
    }
    let mut all = Answers::default();
    while let Some(answers) = tasks.join_next().await {
        all.accepted.extend(answers?.accepted);
    }
    Ok((all, began.elapsed().as_secs_f64()))
}

/// Calls that have left.
struct Offered {
    /// Those that are under way.
    tasks: JoinSet<()>,
    answers: Arc<Mutex<Answers>>,
    calls: u64,
    /// In which they left.
    seconds: f64,
}

fn lock(answers: &Mutex<Answers>) -> MutexGuard<'_, Answers> {
    answers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many calls a second, whatever becomes of them.
async fn open(callers: &[Arc<Caller>], a_second: f64, time: Duration) -> anyhow::Result<Offered> {
    let answers = Arc::new(Mutex::new(Answers::default()));
    let (began, mut calls, mut tasks) = (Instant::now(), 0_u64, JoinSet::new());
    let mut batches = tokio::time::interval(BATCH);
    while began.elapsed() < time {
        batches.tick().await;
        let due = (began.elapsed().as_secs_f64() * a_second) as u64;
        for number in calls..due {
            let caller = callers.get((number % callers.len() as u64) as usize).context("no caller")?;
            let (caller, answers, start) = (Arc::clone(caller), Arc::clone(&answers), Instant::now());
            tasks.spawn(async move {
                let answer = caller.call().await;
                lock(&answers).note(answer, start.elapsed());
            });
        }
        calls = due;
        while tasks.try_join_next().is_some() {}
    }
    Ok(Offered { tasks, answers, calls, seconds: began.elapsed().as_secs_f64() })
}

/// Seconds until calls of somebody else are answered as if nothing had been.
async fn normal(caller: &Caller, since: Instant) -> Option<f64> {
    let (mut first, mut in_a_row) = (Instant::now(), 0);
    while since.elapsed() < GIVEN_UP {
        let start = Instant::now();
        let answered = caller.call().await.is_ok() && start.elapsed() < NORMAL;
        if in_a_row == 0 {
            first = start;
        }
        in_a_row = if answered { in_a_row + 1 } else { 0 };
        if in_a_row == IN_A_ROW {
            return Some((first - since).as_secs_f64());
        }
        tokio::time::sleep(PROBE).await;
    }
    None
}
