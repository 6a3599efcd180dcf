//! Discrete Gaussian samples with sigma 6.4, in constant time, from a table.
//!
//! A sample takes 96 random bits: 95 are compared with every entry of the table, the magnitude is the number of
//! entries above them, and the last bit is the sign. Every entry is visited for every sample and comparisons
//! compile to masks, so the time depends on no secret. Entries are kept in 32-bit limbs; whole runs of entries
//! share leading zero limbs, so their comparison starts further down. With AVX-512 the table lies in registers and
//! is searched there, see `wide`; both ways give the same samples.
//!
//! The bits come from AES-256-CTR under a key that the caller's generator gives: the processor's AES gives 12
//! bytes in a quarter of the time that ChaCha20 takes for them.

mod table;
#[cfg(target_arch = "x86_64")]
mod wide;

use aes::Aes256;
use aes::cipher::KeyInit;
use pulp::{Simd, WithSimd, bytemuck};
use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::keystream::Keystream;
use table::TAILS;

/// The largest magnitude that the table gives.
pub(crate) const LARGEST: i32 = TAILS.len() as i32;

/// The number of samples drawn at once is a multiple of the widest vector's lanes.
const LANES: usize = 16;

/// High 32, middle 32 and low 31 bits.
type Limbs = [u32; 3];

/// The table in limbs; entries before [`THREE`] have all three, those before [`TWO`] no high one, the rest only
/// the low one.
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
        let key: &[u8; 32] = &self.0;
        Sampler(Keystream::new(Aes256::new(key.into()), (index as u128) << 64))
    }
}

/// A stream of samples.
pub(crate) struct Sampler(Keystream<Aes256>);

/// The random words of some samples, wiped on drop: all high limbs, then all middle ones, then the low ones.
pub(crate) struct Words(Zeroizing<Vec<u32>>);

impl Words {
    /// Room for `samples` samples.
    pub(crate) fn new(samples: usize) -> Self {
        Self(Zeroizing::new(vec![0; 3 * samples]))
    }
}

impl Sampler {
    /// Fills `samples`, as many as `words` has room for and a multiple of 16.
    pub(crate) fn fill(&mut self, samples: &mut [i32], words: &mut Words) {
        self.0.fill(bytemuck::cast_slice_mut(&mut words.0));
        let compare = Compare::of(samples, &words.0);
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V4::try_new() {
            return wide::search(simd, compare);
        }
        pulp::Arch::new().dispatch(compare);
    }
}

/// Words to samples, a vector at a time.
struct Compare<'a> {
    limbs: [&'a [u32]; 3],
    /// Two's complement.
    samples: &'a mut [u32],
}

impl<'a> Compare<'a> {
    fn of(samples: &'a mut [i32], words: &'a [u32]) -> Self {
        debug_assert!(samples.len().is_multiple_of(LANES) && words.len() == 3 * samples.len());
        let (high, rest) = words.split_at(samples.len());
        let (middle, low) = rest.split_at(samples.len());
        Self { limbs: [high, middle, low], samples: bytemuck::cast_slice_mut(samples) }
    }
}

impl WithSimd for Compare<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [high, middle, low] = self.limbs.map(|limbs| S::as_simd_u32s(limbs).0);
        let samples = S::as_mut_simd_u32s(self.samples).0;
        let (zero, one) = (simd.splat_u32s(0), simd.splat_u32s(1));
        for (((&high, &middle), &low), out) in high.iter().zip(middle).zip(low).zip(samples) {
            let bits = simd.wrapping_dyn_shr_u32s(low, one);
            let no_high = simd.equal_u32s(high, zero);
            let only_low = simd.and_m32s(no_high, simd.equal_u32s(middle, zero));
            let mut count = zero;
            for (k, entry) in SPLIT.iter().enumerate() {
                let [t_high, t_middle, t_low] = entry.map(|limb| simd.splat_u32s(limb));
                let mut below = simd.less_than_u32s(bits, t_low);
                if k < TWO {
                    let tie = simd.and_m32s(simd.equal_u32s(middle, t_middle), below);
                    below = simd.or_m32s(simd.less_than_u32s(middle, t_middle), tie);
                } else {
                    below = simd.and_m32s(only_low, below);
                }
                if k < THREE {
                    let tie = simd.and_m32s(simd.equal_u32s(high, t_high), below);
                    below = simd.or_m32s(simd.less_than_u32s(high, t_high), tie);
                } else if k < TWO {
                    below = simd.and_m32s(no_high, below);
                }
                count = simd.select_u32s(below, simd.add_u32s(count, one), count);
            }
            let sign = simd.sub_u32s(zero, simd.and_u32s(low, one));
            *out = simd.sub_u32s(simd.xor_u32s(count, sign), sign);
        }
    }
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
        seed.sampler(5).fill(&mut samples, &mut Words::new(count));
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

    /// The definition, one sample at a time with 128-bit comparisons, against the vectors. Limbs near the
    /// entries themselves are fed in, where a wrong tie would show.
    #[test]
    fn lanes_compare_exactly_also_at_ties() {
        let mut values: Vec<u128> = Vec::new();
        for entry in TAILS {
            values.extend([entry.saturating_sub(1), entry, entry + 1]);
            // Every bit changed: every digit of every width is once above, once below and once equal.
            values.extend((0..95).map(|bit| entry ^ (1 << bit)));
        }
        values.extend([0, (1 << 95) - 1]);
        values.resize(values.len().next_multiple_of(LANES), 5);
        let count = values.len();
        let mut words = vec![0; 3 * count];
        for (i, &value) in values.iter().enumerate() {
            words[i] = (value >> 63) as u32;
            words[count + i] = (value >> 31) as u32;
            words[2 * count + i] = (value as u32 & 0x7fff_ffff) << 1 | (i & 1) as u32;
        }
        let check = |way: &str, compare: &dyn Fn(Compare)| {
            let mut samples = vec![0; count];
            compare(Compare::of(&mut samples, &words));
            for (i, (&value, &sample)) in values.iter().zip(&samples).enumerate() {
                let magnitude = TAILS.iter().filter(|&&t| value < t).count() as i32;
                assert_eq!(sample, if i & 1 == 1 { -magnitude } else { magnitude }, "{way}: {value:024x}");
            }
        };
        check("scalar", &|compare| compare.with_simd(pulp::Scalar::new()));
        check("vectors", &|compare| pulp::Arch::new().dispatch(compare));
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V4::try_new() {
            check("registers", &|compare| wide::search(simd, compare));
        }
    }

    /// `a b / 2^shift`, rounded down, for 64 <= shift < 128.
    fn multiply(a: u128, b: u128, shift: u32) -> u128 {
        let halves = |x: u128| (x >> 64, x & u128::from(u64::MAX));
        let ((a1, a0), (b1, b0)) = (halves(a), halves(b));
        let (carry, lowest) = halves(a0 * b0);
        let ((up, left), (down, right)) = (halves(a1 * b0), halves(a0 * b1));
        let middle = carry + left + right;
        let high = a1 * b1 + up + down + (middle >> 64);
        let low = (middle << 64) | lowest;
        (high << (128 - shift)) | (low >> shift)
    }

    /// Every entry against tails summed here with 120 binary digits: w(x) = g^(x^2), g = exp(-25 / 2048), since
    /// 2 * 6.4^2 = 2048 / 25. Nothing of it passes through a float, in which 6.4 is another number.
    #[test]
    fn entries_are_the_tails_to_ninety_binary_digits() {
        const ONE: u128 = 1 << 120;
        let (mut g, mut term) = (ONE, ONE);
        for n in 1..30 {
            term = term * 25 / (2048 * n);
            g = if n % 2 == 1 { g - term } else { g + term };
        }
        let square = multiply(g, g, 120);
        let (mut weights, mut step) = (vec![ONE], g);
        for x in 0..100 {
            weights.push(multiply(weights[x], step, 120));
            step = multiply(step, square, 120);
        }
        let both_sides = |from: usize| weights[from..].iter().map(|w| 2 * w).sum::<u128>();
        let total = ONE + both_sides(1);
        for (k, &entry) in TAILS.iter().enumerate() {
            let difference = multiply(entry, total, 95).abs_diff(both_sides(k + 1));
            assert!(difference <= 1 << 30, "entry {k} is off by {difference} / 2^120");
        }
        assert!(both_sides(TAILS.len() + 1) < 1 << 30);
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
            seed.sampler(index).fill(samples, &mut Words::new(64));
        }
        assert_ne!(drawn[0], drawn[1]);
    }
}
