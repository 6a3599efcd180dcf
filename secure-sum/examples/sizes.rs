//! Prints, as Markdown, what contributions and key shares take on the wire: the tables of docs/secure-sum.md.

use std::error::Error;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use secure_sum::{Committee, Layout, OneTimeKey, ParameterSet, SEAL_OVERHEAD, Values, deal};

const COHORTS: [usize; 4] = [10, 100, 1_000, 10_000];
const BITS: [u32; 4] = [8, 12, 16, 20];
const COMMITTEES: [u8; 3] = [4, 20, 100];

/// Values of a contribution: whole chunks of 1, 2, 3, 5 and 7 values a coefficient, so that no padding counts.
const COUNT: usize = 210 << 12;

fn main() -> Result<(), Box<dyn Error>> {
    contributions()?;
    println!();
    key_shares()
}

/// Bytes a value for signed values of so many bits: |x| <= 2^(bits - 1) - 1.
fn contributions() -> Result<(), Box<dyn Error>> {
    println!(
        "| cohort | bits | set | values a coefficient | bytes a value | of the plain bits | of the plain sum's bits | of fp32 | log2 failure |"
    );
    println!("|---:|---:|---|---:|---:|---:|---:|---:|---:|");
    for cohort in COHORTS {
        for bits in BITS {
            let clamp = (1 << (bits - 1)) - 1;
            let layout = Layout::derive(cohort, Values { count: COUNT, clamp, noise_deviation: 0.0 })?;
            let bytes = layout.contribution_bytes() as f64 / COUNT as f64;
            // Two times the largest sum and the zero are the sums that can be.
            let sum_bits = u64::BITS - (2 * cohort as u64 * clamp).leading_zeros();
            println!(
                "| {cohort} | {bits} | {} | {} | {bytes:.3} | {:.2} | {:.2} | {:.2} | {:.0} |",
                layout.set(),
                layout.fields_per_coefficient(),
                8.0 * bytes / f64::from(bits),
                8.0 * bytes / f64::from(sum_bits),
                bytes / 4.0,
                layout.failure_log2(),
            );
        }
    }
    Ok(())
}

/// Bytes that one client sends for its key, whatever the number of its values: sealed shares and commitments.
fn key_shares() -> Result<(), Box<dyn Error>> {
    let columns = COMMITTEES.map(|members| format!(" k = {members} |")).concat();
    println!("| set | cohort | share | sealed share |{columns}");
    println!("|---|---:|---:|---:|{}", "---:|".repeat(COMMITTEES.len()));
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    for set in ParameterSet::ALL {
        for cohort in COHORTS {
            let layout = layout_with(set, cohort)?;
            let key = OneTimeKey::generate(&layout, &mut rng);
            let mut cells = String::new();
            let mut share = 0;
            for members in COMMITTEES {
                let dealing = deal(&key, &layout, &Committee::new(members, members / 2 + 1)?, &mut rng)?;
                share = dealing.shares[0].to_bytes().len();
                let sealed = dealing.shares.len() * (share + SEAL_OVERHEAD);
                cells += &format!(" {} |", sealed + dealing.commitments.to_bytes().len());
            }
            println!("| {set} | {cohort} | {share} | {} |{cells}", share + SEAL_OVERHEAD);
        }
    }
    Ok(())
}

/// Any layout with this set: the size of a share depends on nothing but set and cohort.
fn layout_with(set: ParameterSet, cohort: usize) -> Result<Layout, Box<dyn Error>> {
    for bits in 0..50 {
        let layout = Layout::derive(cohort, Values { count: COUNT, clamp: 1 << bits, noise_deviation: 0.0 })?;
        if layout.set() == set {
            return Ok(layout);
        }
    }
    Err(format!("no layout of {cohort} clients has set {set}").into())
}
