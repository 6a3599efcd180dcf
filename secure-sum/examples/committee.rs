//! What the committee of a round costs each party; writes `key=value` lines that `benches/secure-sum` reads.
//!
//! Up to [`SAMPLE`] distinct clients deal to all k members, and their sum is opened and checked. A figure for one
//! dealing is the fastest of these; a figure for the round is n times that, since every step takes dealings one by
//! one. Run it with `RAYON_NUM_THREADS=1` for figures of one core.

mod bench;

use std::error::Error;
use std::time::Instant;

use bench::fastest;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use secure_sum::{
    Accumulator, Commitments, Committee, Dealing, KeyShare, Layout, MaskSeed, OneTimeKey, SealingKey, ShareSum, Values,
    combine, deal, encrypt, open, seal_with, unseal,
};

/// Clients n and members k.
const ROUNDS: [(usize, u8); 5] = [(10, 10), (50, 50), (100, 100), (1_000, 100), (10_000, 100)];

/// The most clients that really deal.
const SAMPLE: usize = 20;

const SEED: MaskSeed = MaskSeed([1; 32]);
const INFO: &[u8] = b"benchmark of the committee";

fn main() -> Result<(), Box<dyn Error>> {
    for (clients, members) in ROUNDS {
        measure(clients, Committee::new(members, 2 * members / 3 + 1)?)?;
    }
    Ok(())
}

/// Seconds for one dealing; the fastest seen.
struct Seconds {
    deal: f64,
    seal: f64,
    commitments: f64,
    degree: f64,
    unseal: f64,
    check: f64,
}

fn measure(clients: usize, committee: Committee) -> Result<(), Box<dyn Error>> {
    let layout = Layout::derive(clients, Values { count: 7 << 18, clamp: 32_767, noise_deviation: 0.0 })?;
    let sample = clients.min(if bench::is_quick() { 4 } else { SAMPLE });
    let mut round = Round::new(&layout, committee);
    let mut best = Seconds {
        deal: f64::INFINITY,
        seal: f64::INFINITY,
        commitments: f64::INFINITY,
        degree: f64::INFINITY,
        unseal: f64::INFINITY,
        check: f64::INFINITY,
    };
    for client in 0..sample {
        round.client(client, &mut best)?;
    }
    let combine_s = round.open(sample)?;

    let (k, t, n) = (usize::from(committee.members()), committee.threshold(), clients as f64);
    println!("row=n={clients}, k={k}, t={t}\nkind=committee");
    println!("clients={clients}\nmembers={k}\nthreshold={t}\ndealings={sample}\nset={}", layout.set());
    println!("share_bytes={}\ncommitments_bytes={}", round.share_bytes, round.commitments_bytes);
    let dealing_bytes = round.commitments_bytes + k * round.sealed_bytes;
    println!("client_bytes={dealing_bytes}");
    println!("client_deal_s={:.6}\nclient_commitments_s={:.6}", best.deal, best.commitments);
    println!("client_seal_s={:.6}\nclient_s={:.6}", best.seal, best.deal + best.seal);
    println!("aggregator_bytes={}", dealing_bytes * clients);
    println!("aggregator_dealing_s={:.6}\naggregator_s={:.3}", best.degree, n * best.degree);
    println!("member_bytes={}", clients * (round.sealed_bytes + round.commitments_bytes));
    println!("member_unseal_s={:.6}\nmember_check_s={:.6}", best.unseal, best.check);
    println!("member_s={:.3}", n * (best.unseal + best.degree + best.check));
    println!("answer_bytes={}\ncombine_s={combine_s:.6}", round.share_bytes);
    Ok(())
}

/// The sums of a round in the making.
struct Round<'a> {
    layout: &'a Layout,
    committee: Committee,
    rng: ChaCha20Rng,
    keys: Vec<SealingKey>,
    expected: Vec<i64>,
    sum: Accumulator,
    commitments: Commitments,
    answers: Vec<(u8, ShareSum)>,
    share_bytes: usize,
    sealed_bytes: usize,
    commitments_bytes: usize,
}

impl<'a> Round<'a> {
    fn new(layout: &'a Layout, committee: Committee) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        Self {
            layout,
            committee,
            keys: committee.indices().map(|_| SealingKey::generate(&mut rng)).collect(),
            rng,
            expected: vec![0; layout.values().count],
            sum: Accumulator::new(layout),
            commitments: Commitments::zero(layout, &committee),
            answers: (1..=committee.threshold()).map(|index| (index, ShareSum::new(layout))).collect(),
            share_bytes: 0,
            sealed_bytes: 0,
            commitments_bytes: 0,
        }
    }

    /// One client from its key to the members' sums.
    fn client(&mut self, client: usize, best: &mut Seconds) -> Result<(), Box<dyn Error>> {
        let Values { count, clamp, .. } = self.layout.values();
        let values = bench::values(client, count, clamp);
        self.expected.iter_mut().zip(&values).for_each(|(sum, value)| *sum += value);
        let key = OneTimeKey::generate(self.layout, &mut self.rng);
        let start = Instant::now();
        let dealing = deal(&key, self.layout, &self.committee, &mut self.rng)?;
        let encoded = dealing.commitments.to_bytes();
        keep(&mut best.deal, start);
        self.commitments_bytes = encoded.len();

        // Checking a share computes its commitment as dealing did, so this is dealing's part for commitments.
        let start = Instant::now();
        for (index, share) in self.committee.indices().zip(&dealing.shares) {
            share.check(&dealing.commitments, index)?;
        }
        keep(&mut best.commitments, start);

        let start = Instant::now();
        let sealed = self.seal(&dealing)?;
        keep(&mut best.seal, start);
        self.sum.add(&encrypt(self.layout, &SEED, key, &values, &mut self.rng)?)?;
        self.aggregator(&encoded, best)?;
        self.member(&encoded, &sealed, best)?;
        for ((_, answer), share) in self.answers.iter_mut().zip(&dealing.shares).skip(1) {
            answer.add(share)?;
        }
        Ok(())
    }

    fn seal(&mut self, dealing: &Dealing) -> Result<Vec<u8>, Box<dyn Error>> {
        let mut first = Vec::new();
        for (key, share) in self.keys.iter().zip(&dealing.shares) {
            let bytes = share.to_bytes();
            self.share_bytes = bytes.len();
            let sealed = seal_with(&key.public(), INFO, &[], &bytes, &mut self.rng)?;
            self.sealed_bytes = sealed.len();
            if first.is_empty() {
                first = sealed;
            }
        }
        Ok(first)
    }

    fn aggregator(&mut self, encoded: &[u8], best: &mut Seconds) -> Result<(), Box<dyn Error>> {
        let start = Instant::now();
        let commitments = Commitments::from_bytes(self.layout, &self.committee, encoded)?;
        commitments.check_degree(&self.committee)?;
        self.commitments.add(&commitments)?;
        keep(&mut best.degree, start);
        Ok(())
    }

    /// The first member; it tests the degree itself too, which costs what it costs the aggregator.
    fn member(&mut self, encoded: &[u8], sealed: &[u8], best: &mut Seconds) -> Result<(), Box<dyn Error>> {
        let commitments = Commitments::from_bytes(self.layout, &self.committee, encoded)?;
        let start = Instant::now();
        let share = KeyShare::from_bytes(self.layout, &unseal(&self.keys[0], INFO, &[], sealed)?)?;
        keep(&mut best.unseal, start);
        let start = Instant::now();
        share.check(&commitments, 1)?;
        self.answers[0].1.add(&share)?;
        keep(&mut best.check, start);
        Ok(())
    }

    /// Combines, opens and compares; seconds of combining.
    fn open(&self, cohort: usize) -> Result<f64, Box<dyn Error>> {
        let combine = || combine(self.layout, &self.committee, &self.commitments, &self.answers, cohort);
        if open(self.layout, &SEED, &self.sum, &combine()?, cohort)? != self.expected {
            return Err("the opened sum is not the sum of the inputs".into());
        }
        Ok(fastest(|| combine().map(drop))?)
    }
}

fn keep(best: &mut f64, start: Instant) {
    *best = best.min(start.elapsed().as_secs_f64());
}
