//! Encrypt, add and open on the calling thread's pool; writes `key=value` lines that `benches/secure-sum` reads.
//!
//! Run it with `RAYON_NUM_THREADS=1` for figures of one core.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use secure_sum::{
    Accumulator, Commitments, Committee, Layout, MaskSeed, OneTimeKey, ShareSum, Values, combine, deal, encrypt, open,
};

/// Each step repeats at least this long; the fastest repetition counts.
const MEASURE: Duration = Duration::from_millis(700);

/// Name, clients, clamp: 16- and 8-bit values.
const CASES: [(&str, usize, u64); 3] =
    [("16-bit, 10 clients", 10, 32_767), ("8-bit, 10 clients", 10, 127), ("16-bit, 1000 clients", 1_000, 32_767)];

fn main() -> Result<(), Box<dyn Error>> {
    for (name, clients, clamp) in CASES {
        case(name, clients, clamp)?;
    }
    println!("memcpy_bytes_per_s={:.0}", memcpy());
    Ok(())
}

fn case(name: &str, clients: usize, clamp: u64) -> Result<(), Box<dyn Error>> {
    let values = Values { count: 7 << 18, clamp, noise_deviation: 0.0 };
    let layout = Layout::derive(clients, values)?;
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let seed = MaskSeed([1; 32]);
    let committee = Committee::new(4, 3)?;
    let span = 2 * clamp as i64 + 1;
    let inputs: Vec<i64> = (0..values.count as i64).map(|i| i * 7919 % span - clamp as i64).collect();

    // A cohort of three opens under any layout; adding and opening cost the same for every cohort.
    let mut sum = Accumulator::new(&layout);
    let mut commitments = Commitments::zero(&layout, &committee);
    let mut answers: Vec<_> = (1..=3).map(|i| (i, ShareSum::new(&layout))).collect();
    let mut contribution = Vec::new();
    let mut deal_s = 0.0;
    for _ in 0..3 {
        let key = OneTimeKey::generate(&layout, &mut rng);
        let start = Instant::now();
        let dealing = deal(&key, &layout, &committee, &mut rng)?;
        deal_s = start.elapsed().as_secs_f64();
        contribution = encrypt(&layout, &seed, key, &inputs, &mut rng)?;
        sum.add(&contribution)?;
        commitments.add(&dealing.commitments)?;
        for ((_, answer), share) in answers.iter_mut().zip(&dealing.shares) {
            answer.add(share)?;
        }
    }
    let start = Instant::now();
    let key_sum = combine(&layout, &committee, &commitments, &answers, 3)?;
    let combine_s = start.elapsed().as_secs_f64();

    let encrypt_s = fastest(|| {
        let key = OneTimeKey::generate(&layout, &mut rng);
        encrypt(&layout, &seed, key, &inputs, &mut rng).map(drop)
    })?;
    let open_s = fastest(|| {
        let opened = open(&layout, &seed, &sum, &key_sum, 3)?;
        debug_assert_eq!(opened[1], 3 * inputs[1]);
        black_box(opened);
        Ok::<_, secure_sum::OpenError>(())
    })?;
    let add_s = fastest(|| {
        contribution.chunks(layout.chunk_bytes()).enumerate().try_for_each(|(index, chunk)| sum.add_chunk(index, chunk))
    })?;

    let count = values.count as f64;
    let coefficients = (layout.chunk_count() * layout.set().ring_degree()) as f64;
    println!("case={name}");
    println!("set={}", layout.set());
    println!("fields_per_coefficient={}", layout.fields_per_coefficient());
    println!("failure_log2={:.1}", layout.failure_log2());
    println!("bytes_per_value={:.4}", contribution.len() as f64 / count);
    for (step, seconds) in [("encrypt", encrypt_s), ("add", add_s), ("open", open_s)] {
        println!("{step}_values_per_s={:.0}", count / seconds);
        println!("{step}_coefficients_per_s={:.0}", coefficients / seconds);
    }
    println!("deal_ms={:.2}", deal_s * 1e3);
    println!("combine_ms={:.2}", combine_s * 1e3);
    Ok(())
}

/// Seconds of the fastest of several repetitions.
fn fastest<E>(mut step: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let (start, mut best) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < MEASURE {
        let one = Instant::now();
        step()?;
        best = best.min(one.elapsed().as_secs_f64());
    }
    Ok(best)
}

/// Bytes copied a second between two buffers far larger than the caches.
fn memcpy() -> f64 {
    let source = vec![1_u8; 256 << 20];
    let mut target = vec![0_u8; 256 << 20];
    let copy = || {
        target.copy_from_slice(black_box(&source));
        black_box(&mut target);
        Ok::<_, std::convert::Infallible>(())
    };
    match fastest(copy) {
        Ok(seconds) => source.len() as f64 / seconds,
        Err(never) => match never {},
    }
}
