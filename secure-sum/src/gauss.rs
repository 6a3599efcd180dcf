//! Discrete Gaussian samples with sigma 6.4, in constant time, from a table.
//!
//! A sample takes 96 random bits: 95 are compared with every entry of the table, the magnitude is the number of
//! entries above them, and the last bit is the sign. Every entry is visited for every sample and comparisons
//! compile to masks, so the time depends on no secret. Entries are kept in 32-bit limbs; whole runs of entries
//! share leading zero limbs, so their comparison starts further down.
//!
//! The bits come from AES-256-CTR under a key that the caller's generator gives: the processor's AES gives 12
//! bytes in a quarter of the time that ChaCha20 takes for them.

mod table;

use aes::Aes256;
use aes::cipher::{KeyIvInit, StreamCipher};
use rand::CryptoRng;
use zeroize::Zeroizing;

use table::TAILS;

/// The largest magnitude that the table gives.
pub(crate) const LARGEST: i32 = TAILS.len() as i32;

/// Bytes of randomness for one sample.
const SAMPLE_BYTES: usize = 12;

/// Samples compared side by side.
const LANES: usize = 16;

type Limbs = [u32; 3];

/// Entries with three, two and one limbs that are not zero.
const SPLIT: [Limbs; TAILS.len()] = split();
const THREE: usize = count_from(1 << 63);
const TWO: usize = count_from(1 << 31);

/// A secret seed from which every chunk's sampler is derived.
pub(crate) struct Seed(Zeroizing<[u8; 32]>);

impl Seed {
    pub(crate) fn draw<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        Self(seed)
    }

    /// The sampler of stream `index`; streams of one seed lie 2^64 blocks apart.
    pub(crate) fn sampler(&self, index: usize) -> Sampler {
        let mut counter = [0; 16];
        counter[..8].copy_from_slice(&(index as u64).to_be_bytes());
        let key: &[u8; 32] = &self.0;
        Sampler(ctr::Ctr128BE::<Aes256>::new(key.into(), &counter.into()))
    }
}

/// A stream of samples.
pub(crate) struct Sampler(ctr::Ctr128BE<Aes256>);

impl Sampler {
    /// Bytes of scratch space for `samples` samples.
    pub(crate) const fn scratch_bytes(samples: usize) -> usize {
        samples * SAMPLE_BYTES
    }

    /// Fills `samples`, a multiple of 16 long; the caller wipes `scratch`.
    pub(crate) fn fill(&mut self, samples: &mut [i32], scratch: &mut [u8]) {
        scratch.fill(0);
        self.0.apply_keystream(scratch);
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let (out, _) = samples.as_chunks_mut::<LANES>();
                let (random, _) = scratch.as_chunks::<{ LANES * SAMPLE_BYTES }>();
                for (out, random) in out.iter_mut().zip(random) {
                    *out = sixteen(random);
                }
            },
        );
    }
}

/// Sixteen samples: the first 64 bytes are high limbs, then middle and low ones.
#[inline(always)]
fn sixteen(random: &[u8; LANES * SAMPLE_BYTES]) -> [i32; LANES] {
    let limb = |at: usize| -> [u32; LANES] {
        std::array::from_fn(|i| {
            let at = 4 * (at * LANES + i);
            u32::from_le_bytes([random[at], random[at + 1], random[at + 2], random[at + 3]])
        })
    };
    let (high, middle, low) = (limb(0), limb(1), limb(2));
    let mut count = [0_u32; LANES];
    for entry in &SPLIT[..THREE] {
        for i in 0..LANES {
            let below = u32::from(low[i] >> 1 < entry[2]);
            let below = u32::from(middle[i] < entry[1]) | (u32::from(middle[i] == entry[1]) & below);
            count[i] += u32::from(high[i] < entry[0]) | (u32::from(high[i] == entry[0]) & below);
        }
    }
    let no_high: [u32; LANES] = std::array::from_fn(|i| u32::from(high[i] == 0));
    for entry in &SPLIT[THREE..TWO] {
        for i in 0..LANES {
            let below = u32::from(low[i] >> 1 < entry[2]);
            let below = u32::from(middle[i] < entry[1]) | (u32::from(middle[i] == entry[1]) & below);
            count[i] += below & no_high[i];
        }
    }
    let only_low: [u32; LANES] = std::array::from_fn(|i| no_high[i] & u32::from(middle[i] == 0));
    for entry in &SPLIT[TWO..] {
        for i in 0..LANES {
            count[i] += u32::from(low[i] >> 1 < entry[2]) & only_low[i];
        }
    }
    std::array::from_fn(|i| {
        let sign = (low[i] & 1).wrapping_neg() as i32;
        (count[i] as i32 ^ sign) - sign
    })
}

const fn split() -> [Limbs; TAILS.len()] {
    let mut limbs = [[0; 3]; TAILS.len()];
    let mut k = 0;
    while k < TAILS.len() {
        limbs[k] = [(TAILS[k] >> 63) as u32, (TAILS[k] >> 31) as u32, (TAILS[k] & 0x7fff_ffff) as u32];
        k += 1;
    }
    limbs
}

/// Entries that are at least `bound`; the table decreases.
const fn count_from(bound: u128) -> usize {
    let mut k = 0;
    while k < TAILS.len() && TAILS[k] >= bound {
        k += 1;
    }
    k
}

/// The table's law on -LARGEST..=LARGEST.
#[cfg(test)]
pub(crate) fn law() -> Vec<f64> {
    let magnitude = |k: usize| {
        let above = if k == 0 { 1 << 95 } else { TAILS[k - 1] };
        let below = TAILS.get(k).copied().unwrap_or(0);
        (above - below) as f64 / 2_f64.powi(95)
    };
    (-LARGEST..=LARGEST)
        .map(|x| match x {
            0 => magnitude(0),
            _ => magnitude(x.unsigned_abs() as usize) / 2.0,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    fn draw(count: usize) -> Vec<i32> {
        let seed = Seed::draw(&mut ChaCha20Rng::seed_from_u64(41));
        let mut samples = vec![0; count];
        let mut scratch = vec![0; Sampler::scratch_bytes(count)];
        seed.sampler(5).fill(&mut samples, &mut scratch);
        samples
    }

    /// 10^6 draws against exp(-x^2 / (2 sigma^2)), summed here in f64, not against the table.
    #[test]
    fn a_million_draws_follow_the_exact_law() {
        const DRAWS: usize = 1_000_000;
        let weight = |x: i32| (-f64::from(x * x) / (2.0 * 6.4 * 6.4)).exp();
        let total: f64 = (-400..=400).map(weight).sum();
        let samples = draw(DRAWS);
        let mut chi = 0.0;
        // |x| <= 30 one by one (at least 6 expected draws each), both tails as one cell each.
        for x in -30..=30 {
            let expected = DRAWS as f64 * weight(x) / total;
            let found = samples.iter().filter(|&&s| s == x).count() as f64;
            chi += (found - expected).powi(2) / expected;
        }
        for sign in [-1, 1] {
            let expected: f64 = (31..400).map(|x| DRAWS as f64 * weight(sign * x) / total).sum();
            let found = samples.iter().filter(|&&s| sign * s > 30).count() as f64;
            chi += (found - expected).powi(2) / expected;
        }
        // 62 degrees of freedom: 112 is exceeded with probability 1e-4, 25 undercut with less.
        assert!(chi > 25.0 && chi < 112.0, "chi-square {chi}");
    }

    /// The definition, one sample at a time with 128-bit comparisons, against the sixteen lanes. Limbs near the
    /// entries themselves are fed in, where a wrong tie would show.
    #[test]
    fn lanes_compare_exactly_also_at_ties() {
        let mut values: Vec<u128> = Vec::new();
        for entry in TAILS {
            values.extend([entry.saturating_sub(1), entry, entry + 1, entry ^ (1 << 31)]);
        }
        values.extend([0, (1 << 95) - 1]);
        for group in values.chunks(LANES) {
            let mut random = [0; LANES * SAMPLE_BYTES];
            for (i, &value) in group.iter().enumerate() {
                let sign = (i & 1) as u32;
                let limbs = [(value >> 63) as u32, (value >> 31) as u32, (value as u32 & 0x7fff_ffff) << 1 | sign];
                for (limb, word) in limbs.iter().enumerate() {
                    let at = 4 * (limb * LANES + i);
                    random[at..at + 4].copy_from_slice(&word.to_le_bytes());
                }
            }
            let found = sixteen(&random);
            for (i, &value) in group.iter().enumerate() {
                let magnitude = TAILS.iter().filter(|&&t| value < t).count() as i32;
                assert_eq!(found[i], if i & 1 == 1 { -magnitude } else { magnitude });
            }
        }
    }

    #[test]
    fn table_decreases_and_has_the_variance_of_sigma() {
        assert!(TAILS.is_sorted_by(|a, b| a > b));
        let variance: f64 = law().iter().zip(-LARGEST..).map(|(p, x)| p * f64::from(x * x)).sum();
        assert!((variance - 6.4 * 6.4).abs() < 1e-9);
    }

    #[test]
    fn streams_of_a_seed_differ() {
        let seed = Seed::draw(&mut ChaCha20Rng::seed_from_u64(1));
        let mut drawn = [vec![0; 64], vec![0; 64]];
        for (index, samples) in drawn.iter_mut().enumerate() {
            let mut scratch = vec![0; Sampler::scratch_bytes(64)];
            seed.sampler(index).fill(samples, &mut scratch);
        }
        assert_ne!(drawn[0], drawn[1]);
    }
}
