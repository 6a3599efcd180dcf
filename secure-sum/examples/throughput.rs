//! Encrypt, add and open whole rounds, each sum checked; writes `key=value` lines that `benches/secure-sum` reads.
//!
//! Run it with `RAYON_NUM_THREADS=1` for figures of one core. `--quick` measures less.

mod bench;

use std::convert::Infallible;
use std::error::Error;
use std::hint::black_box;

use bench::fastest;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use secure_sum::{
    Accumulator, Challenge, Checksum, Commitments, Committee, KeySum, Layout, MaskSeed, OneTimeKey, ShareSum, Values,
    combine, deal, encrypt, open,
};

/// Name, clients that the layout has headroom for, clamp: 16- and 8-bit values.
const CASES: [(&str, usize, u64); 3] =
    [("16-bit, 10 clients", 10, 32_767), ("8-bit, 10 clients", 10, 127), ("16-bit, 1000 clients", 1_000, 32_767)];

/// Values of a case: whole chunks of two and of seven values a coefficient.
const COUNT: usize = 7 << 18;

/// Clients that contribute; what a step costs for one contribution does not depend on their number.
const COHORT: usize = 10;

/// Values of the curve's rounds.
const CURVE: [usize; 7] = [100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000, 10_000_000];

/// Clients of the curve's rounds, so that the largest fits a small machine.
const CURVE_COHORT: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    for (name, clients, clamp) in CASES {
        let layout = Layout::derive(clients, Values { count: COUNT, clamp, noise_deviation: 0.0 })?;
        println!("row={name}\nkind=case");
        measure(&Round::run(layout, COHORT)?)?;
    }
    for count in CURVE {
        let layout = Layout::derive(10, Values { count, clamp: 32_767, noise_deviation: 0.0 })?;
        println!("row={count} values\nkind=curve");
        measure(&Round::run(layout, CURVE_COHORT)?)?;
    }
    println!("row=plain fp32 copy\nkind=memcpy\nbytes_per_s={:.0}", copy(&[vec![1; 256 << 20]]));
    Ok(())
}

/// A whole round whose opened sum was compared with the sum of the inputs.
struct Round {
    layout: Layout,
    inputs: Vec<Vec<i64>>,
    contributions: Vec<Vec<u8>>,
    sum: Accumulator,
    key_sum: KeySum,
}

const SEED: MaskSeed = MaskSeed([1; 32]);

impl Round {
    fn run(layout: Layout, cohort: usize) -> Result<Self, Box<dyn Error>> {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let committee = Committee::new(4, 3)?;
        let (count, clamp) = (layout.values().count, layout.values().clamp);
        let inputs: Vec<_> = (0..cohort).map(|client| bench::values(client, count, clamp)).collect();
        let mut contributions = Vec::new();
        let mut sum = Accumulator::new(&layout);
        let mut commitments = Commitments::zero(&layout, &committee);
        let mut answers: Vec<_> = (1..=3).map(|index| (index, ShareSum::new(&layout))).collect();
        for values in &inputs {
            let key = OneTimeKey::generate(&layout, &mut rng);
            let dealing = deal(&key, &layout, &committee, &mut rng)?;
            contributions.push(encrypt(&layout, &SEED, key, values, &mut rng)?);
            commitments.add(&dealing.commitments)?;
            for ((_, answer), share) in answers.iter_mut().zip(&dealing.shares) {
                answer.add(share)?;
            }
        }
        for contribution in &contributions {
            sum.add(contribution)?;
        }
        let key_sum = combine(&layout, &committee, &commitments, &answers, cohort)?;
        let opened = open(&layout, &SEED, &sum, &key_sum, cohort)?;
        let is_right = |at: usize| inputs.iter().map(|values| values[at]).sum::<i64>() == opened[at];
        if opened.len() == count && (0..count).all(is_right) {
            Ok(Self { layout, inputs, contributions, sum, key_sum })
        } else {
            Err("the opened sum is not the sum of the inputs".into())
        }
    }
}

fn measure(round: &Round) -> Result<(), Box<dyn Error>> {
    let Round { layout, inputs, contributions, sum, key_sum } = round;
    let cohort = contributions.len();
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    let mut turn = inputs.iter().cycle();
    let encrypt_s = fastest(|| {
        let (key, values) = (OneTimeKey::generate(layout, &mut rng), turn.next().ok_or("no client")?);
        black_box(encrypt(layout, &SEED, key, values, &mut rng)?);
        Ok::<_, Box<dyn Error>>(())
    })?;
    let open_s = fastest(|| open(layout, &SEED, sum, key_sum, cohort).map(|opened| drop(black_box(opened))))?;
    let mut target = Accumulator::new(layout);
    let all: Vec<&[u8]> = contributions.iter().map(Vec::as_slice).collect();
    let all_s = fastest(|| target.add_all(&all))?;
    let one_s = fastest(|| all.iter().try_for_each(|contribution| target.add(contribution)))?;
    let chunk_s = fastest(|| {
        all.iter().try_for_each(|contribution| {
            let mut chunks = contribution.chunks(layout.chunk_bytes()).enumerate();
            chunks.try_for_each(|(index, chunk)| target.add_chunk(index, chunk))
        })
    })?;

    let count = layout.values().count as f64;
    let added = count * cohort as f64;
    println!("set={}", layout.set());
    println!("values={count}");
    println!("fields_per_coefficient={}", layout.fields_per_coefficient());
    println!("failure_log2={:.1}", layout.failure_log2());
    println!("bytes_per_value={:.4}", layout.contribution_bytes() as f64 / count);
    println!("encrypt_values_per_s={:.0}", count / encrypt_s);
    println!("add_values_per_s={:.0}", added / all_s);
    println!("add_one_values_per_s={:.0}", added / one_s);
    println!("add_chunk_values_per_s={:.0}", added / chunk_s);
    println!("open_values_per_s={:.0}", count / open_s);
    println!("copy_bytes_per_s={:.0}", copy(contributions));
    checksum(round, encrypt_s)
}

/// What checking a sum costs a client beside encrypting: the checksum of its own contribution, and of the sum.
fn checksum(round: &Round, encrypt_s: f64) -> Result<(), Box<dyn Error>> {
    let Round { layout, contributions, sum, .. } = round;
    let challenge = Challenge([5; 32]);
    let mut total = Checksum::zero(layout);
    for contribution in contributions {
        total.add(&Checksum::of(layout, &challenge, contribution)?)?;
    }
    if total != Checksum::of_sum(layout, &challenge, sum)? {
        return Err("the checksums do not add up".into());
    }
    let of = || Checksum::of(layout, &challenge, black_box(&contributions[0])).map(|value| drop(black_box(value)));
    let of_sum = || Checksum::of_sum(layout, &challenge, black_box(sum)).map(|value| drop(black_box(value)));
    let (of_s, of_sum_s) = (fastest(of)?, fastest(of_sum)?);
    let count = layout.values().count as f64;
    println!("checksum_ns_per_value={:.3}", of_s / count * 1e9);
    println!("checksum_of_sum_ns_per_value={:.3}", of_sum_s / count * 1e9);
    println!("checksum_share_of_encrypt={:.4}", of_s / encrypt_s);
    println!("checksum_bytes={}", total.to_bytes().len());
    Ok(())
}

/// Bytes a second that copying these buffers into others of the same size moves.
fn copy(sources: &[Vec<u8>]) -> f64 {
    let mut targets = sources.to_vec();
    let step = || {
        for (target, source) in targets.iter_mut().zip(sources) {
            target.copy_from_slice(black_box(source));
        }
        black_box(&mut targets);
        Ok::<_, Infallible>(())
    };
    match fastest(step) {
        Ok(seconds) => sources.iter().map(Vec::len).sum::<usize>() as f64 / seconds,
        Err(never) => match never {},
    }
}
