//! One run with many canaries, and what it proves.

use privacy::accountant::{Accountant, AccountantError};
use protocol::charter::{Accountant as Counted, Clipping, Local, Optimizer, Privacy, PrivacyMode, Strategy};
use protocol::{Attempt, Charter, Digest, HouseName, RoundNumber};
use rand::{CryptoRng, RngExt as _};
use terms::Terms;
use training::{FreshNoise, House, Mechanism, Noise, Part, Tools, TrainError, mechanism};

use super::Guesses;
use super::broken::{Broken, HalfNoise, ReusedNoise, Unclipped};
use super::canaries::Canaries;
use crate::contract::{Contract, ContractError, UNUSED_KEY, client_name};
use crate::row;

/// A canary's gradient is longer than the clipping norm by this: a mechanism that forgets to clip is moved that much further.
const CANARY_NORM: f32 = 8.0;
/// A federation's greatest number of houses here: a charter of more is not made.
const MOST_HOUSES: usize = 10_000;
/// Classes of the audited adapter: its head gives coordinates, nothing is classified.
const LABELS: u32 = 21;

/// What is audited.
#[derive(Debug, Clone)]
pub struct Setting {
    /// What the run claims; noise is calibrated to it by loss distributions.
    pub epsilon: f64,
    /// At this delta.
    pub delta: f64,
    /// Chance of each unit to be in a round.
    pub rate: f64,
    /// Rounds.
    pub rounds: u32,
    /// Houses that share the noise.
    pub houses: usize,
    /// Of these, how many collude with the adversary, which subtracts their parts.
    pub colluders: usize,
    /// Canaries.
    pub canaries: usize,
    /// The share of the canaries that is guessed about, half of them as in and half as out. Fixed before anything is seen.
    pub guessed: f64,
    /// Probability that the bound is wrong: 0.05 for 95% confidence.
    pub error: f64,
    /// A mistake to put in.
    pub broken: Option<Broken>,
}

/// An attack and what it found.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// How canaries are scored.
    pub attack: &'static str,
    /// The guesses.
    pub guesses: Guesses,
    /// The lower bound on epsilon that they prove.
    pub bound: f64,
}

/// What an audit came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Audit {
    /// What is claimed: by loss distributions, for exactly the rounds that ran.
    pub claim: f64,
    /// The same by Renyi divergences.
    pub claim_rdp: f64,
    /// The noise multiplier.
    pub noise_multiplier: f64,
    /// Each attack.
    pub findings: Vec<Finding>,
}

impl Audit {
    /// The best lower bound.
    #[must_use]
    pub fn bound(&self) -> f64 {
        self.findings.iter().map(|finding| finding.bound).fold(0.0, f64::max)
    }

    /// Whether the bound refutes the claim.
    #[must_use]
    pub fn is_violated(&self) -> bool {
        self.bound() > self.claim
    }
}

row! {
    /// An attack of an audit.
    pub struct AuditRow {
        /// `honest`, or the mistake that was put in.
        pub mechanism: String,
        /// The attack.
        pub attack: String,
        /// What was claimed.
        pub claim: f64,
        /// The lower bound.
        pub bound: f64,
        /// At this delta.
        pub delta: f64,
        /// Probability of error of all attacks of the audit together.
        pub error: f64,
        /// Sampling rate.
        pub rate: f64,
        /// Rounds.
        pub rounds: u64,
        /// Noise multiplier.
        pub noise_multiplier: f64,
        /// Canaries.
        pub canaries: u64,
        /// Guesses.
        pub guesses: u64,
        /// Right ones.
        pub right: u64,
    }
}

impl Audit {
    /// Its rows, one an attack.
    #[must_use]
    pub fn rows(&self, setting: &Setting) -> Vec<AuditRow> {
        let name = |broken| clap::ValueEnum::to_possible_value(&broken).map(|value| value.get_name().to_owned());
        let row = |finding: &Finding| AuditRow {
            mechanism: setting.broken.and_then(name).unwrap_or_else(|| "honest".to_owned()),
            attack: finding.attack.to_owned(),
            claim: self.claim,
            bound: finding.bound,
            delta: setting.delta,
            error: setting.error,
            rate: setting.rate,
            rounds: u64::from(setting.rounds),
            noise_multiplier: self.noise_multiplier,
            canaries: finding.guesses.canaries,
            guesses: finding.guesses.guesses,
            right: finding.guesses.right,
        };
        self.findings.iter().map(row).collect()
    }
}

/// An audit that cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// A value outside its rule.
    #[error("{what} {found}: {rule}")]
    Value {
        /// Which.
        what: &'static str,
        /// As it is.
        found: String,
        /// What it must be.
        rule: String,
    },
    /// The claim.
    #[error(transparent)]
    Accountant(#[from] AccountantError),
    /// The charter.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The mechanism.
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// Runs the mechanism of mode `record-shared` with canaries, from `progress` round to round, and bounds its epsilon from below.
///
/// The adversary is the strongest that the claim is made against: it sees every round's opened sum, subtracts the parts of the colluding
/// houses, and knows every canary.
///
/// # Errors
/// [`AuditError`].
pub fn one_run<R: CryptoRng>(
    setting: &Setting,
    rng: &mut R,
    mut progress: impl FnMut(u32),
) -> Result<Audit, AuditError> {
    check(setting)?;
    let noise_multiplier =
        Accountant::Pld.noise_for(setting.epsilon, setting.delta, setting.rate, u64::from(setting.rounds))?;
    let charter = charter(setting, noise_multiplier)?;
    let state = Terms::of(&charter).map_err(TrainError::from)?.first_state().map_err(TrainError::from)?;
    let width = state.adapter().trainable_len();
    if setting.canaries > width {
        let rule = format!("each needs a trained weight of its own, and there are {width}");
        return Err(AuditError::Value { what: "canaries", found: setting.canaries.to_string(), rule });
    }
    let included: Vec<bool> = (0..setting.canaries).map(|_| rng.random()).collect();
    let honest = setting.houses - setting.colluders;
    let houses = deal(&included, honest)?;
    let mut learner = Canaries { width, norm: CANARY_NORM };
    let mechanism: Box<dyn Mechanism> = match setting.broken {
        Some(Broken::NoClipping) => Box::new(Unclipped),
        _ => mechanism(&charter)?,
    };
    let mut noise: Box<dyn Noise> = match setting.broken {
        Some(Broken::NoiseHalf) => Box::new(HalfNoise::default()),
        Some(Broken::SeedReused) => Box::new(ReusedNoise::new(honest)),
        _ => Box::new(FreshNoise::stocked()),
    };
    let mut seen = Seen::new(setting.canaries);
    let mut number = RoundNumber::FIRST;
    for round in 1..=setting.rounds {
        let seed = *Digest::of("audit", &number.get().to_be_bytes()).as_bytes();
        let mut sum = vec![0i64; setting.canaries];
        for (name, house) in &houses {
            let (attempt, expected) = (Attempt::FIRST, setting.houses);
            let part = Part { charter: &charter, house: name, number, attempt, expected, may_vanish: 0, seed };
            let mut tools = Tools { learner: &mut learner, noise: noise.as_mut(), rng };
            let made = mechanism.contribute(&part, &state, house, &mut tools)?;
            sum.iter_mut().zip(made.values.iter()).for_each(|(sum, value)| *sum = sum.saturating_add(*value));
        }
        seen.add(&sum);
        progress(round);
        number = number.next().ok_or(TrainError::Rounds)?;
    }
    let rate = charter.houses.first().map_or(setting.rate, |house| house.sampling_rate);
    let rounds = terms::whole_run(&charter, rate, charter.rounds.max_cohort, width);
    Ok(Audit {
        claim: Accountant::Pld.epsilon(&rounds, setting.delta)?,
        claim_rdp: Accountant::Rdp.epsilon(&rounds, setting.delta)?,
        noise_multiplier,
        findings: seen.findings(setting, &included),
    })
}

fn check(setting: &Setting) -> Result<(), AuditError> {
    let refuse = |what, found: String, rule: &str| Err(AuditError::Value { what, found, rule: rule.to_owned() });
    if setting.canaries < 100 {
        return refuse("canaries", setting.canaries.to_string(), "write at least 100; 10000 or more prove something");
    }
    if !(setting.guessed > 0.0 && setting.guessed <= 1.0) {
        return refuse("guessed", setting.guessed.to_string(), "write a share above 0, at most 1");
    }
    if !(setting.error > 0.0 && setting.error < 1.0) {
        return refuse("error", setting.error.to_string(), "write a probability, say 0.05");
    }
    if !(3..=MOST_HOUSES).contains(&setting.houses) {
        return refuse("houses", setting.houses.to_string(), "write 3 to 10000");
    }
    if setting.colluders == 0 || setting.colluders > setting.houses - 2 {
        return refuse("colluders", setting.colluders.to_string(), "write at least 1, and at least two honest houses");
    }
    if setting.rounds == 0 {
        return refuse("rounds", "0".to_owned(), "write at least 1");
    }
    // Where each unit is in every round, rounds with the same noise are one round, and leak no more than one.
    if setting.broken == Some(Broken::SeedReused) && (setting.rounds == 1 || setting.rate == 1.0) {
        let found = format!("{} at rate {}", setting.rounds, setting.rate);
        return refuse(
            "rounds",
            found,
            "a noise that is used again shows in 2 or more at a rate below 1, say 8 at 0.5",
        );
    }
    Ok(())
}

fn charter(setting: &Setting, noise_multiplier: f64) -> Result<Charter, AuditError> {
    let model = adapter::Model {
        architecture: adapter::Architecture::Bert,
        num_hidden_layers: 6,
        hidden_size: 384,
        intermediate_size: 1536,
        num_labels: LABELS,
        head: Default::default(),
        attention: None,
    };
    let contract = Contract {
        aggregator_key: UNUSED_KEY.to_owned(),
        model,
        labels: (0..LABELS).map(|label| format!("class {label}")).collect(),
        max_tokens: 64,
        rank: 8,
        lora_alpha: 2,
        targets: vec!["query".to_owned(), "value".to_owned()],
        strategy: Strategy::FfaLora,
        seed: 1,
        optimizer: Optimizer::Sgd { learning_rate: 1.0, momentum: 0.0, schedule: None },
        privacy: Privacy {
            mode: PrivacyMode::RecordShared,
            accountant: Counted::Pld,
            epsilon: setting.epsilon,
            delta: setting.delta,
            clipping_norm: 1.0,
            clipping: Clipping::Flat,
            integer_norm: 4096,
            clamp: 1 << 20,
            noise_multiplier,
            colluders: u32::try_from(setting.colluders).unwrap_or(u32::MAX),
        },
        clients: vec![(setting.rate, 64); setting.houses],
        committee: (setting.houses.min(5), u8::try_from(setting.houses.min(5) / 2 + 1).unwrap_or(3)),
        rounds: setting.rounds,
        may_vanish: 0,
        local: Local::default(),
        adaptive_clipping: None,
        evaluation: None,
    };
    Ok(contract.charter()?)
}

/// The included canaries over the honest houses, in turn.
fn deal(included: &[bool], honest: usize) -> Result<Vec<(HouseName, House)>, AuditError> {
    let canaries = |house: usize| {
        let own = included.iter().enumerate().filter(|(canary, is_in)| **is_in && canary % honest == house);
        House::of_units(own.map(|(canary, _)| vec![canary]).collect())
    };
    let named = |house: usize| Ok((client_name(house).map_err(ContractError::from)?, canaries(house)));
    (0..honest).map(named).collect()
}

/// What the adversary keeps of each canary's coordinate.
struct Seen {
    sum: Vec<i64>,
    least: Vec<i64>,
    most: Vec<i64>,
}

impl Seen {
    fn new(canaries: usize) -> Self {
        Self { sum: vec![0; canaries], least: vec![i64::MAX; canaries], most: vec![i64::MIN; canaries] }
    }

    fn add(&mut self, opened: &[i64]) {
        for (i, value) in opened.iter().enumerate() {
            self.sum[i] += value;
            self.least[i] = self.least[i].min(*value);
            self.most[i] = self.most[i].max(*value);
        }
    }

    /// A canary that is in moves the sum of all rounds; and, where it is sampled in some rounds and not in others, it spreads them, which
    /// shows where the same noise is in all of them. A single round has no spread. Which attacks are tried follows from the setting alone,
    /// and each may err with an equal part of the probability.
    fn findings(&self, setting: &Setting, included: &[bool]) -> Vec<Finding> {
        let mut attacks = vec![("sum of the rounds", self.sum.clone())];
        if setting.rounds > 1 {
            let spread = self.most.iter().zip(&self.least).map(|(most, least)| most - least);
            attacks.push(("spread of the rounds", spread.collect()));
        }
        let error = setting.error / attacks.len() as f64;
        let find = |(attack, scores): &(&'static str, Vec<i64>)| {
            let guesses = guess(scores, included, setting.guessed);
            Finding { attack, guesses, bound: guesses.epsilon(setting.delta, error) }
        };
        attacks.iter().map(find).collect()
    }
}

/// The highest scores are guessed to be in, as many of the lowest to be out.
fn guess(scores: &[i64], included: &[bool], share: f64) -> Guesses {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    // Ties by number, which says nothing about the coins.
    order.sort_by_key(|canary| (scores[*canary], *canary));
    let half = (((scores.len() as f64 * share) as usize) / 2).clamp(1, scores.len() / 2);
    let out = order.iter().take(half).filter(|canary| !included[**canary]).count();
    let inside = order.iter().rev().take(half).filter(|canary| included[**canary]).count();
    Guesses { canaries: scores.len() as u64, guesses: 2 * half as u64, right: (out + inside) as u64 }
}
