//! The parameter sets: the only place where ring degree, primes and sigma are written down.

use std::fmt;
use std::str::FromStr;

/// Standard deviation parameter of every secret and every error (weight `exp(-x^2 / (2 sigma^2))`).
pub(crate) const SIGMA: f64 = 6.4;

/// The classical security floor in bits that every set must keep, after its round was opened, in the lattice
/// estimator's default cost model: 2^128 gates by the attack that is best there (MATZOV's count of sieving).
/// Core-SVP, which counts a sieve of block size b as 2^(0.292 b) and nothing else, gives lower figures for the same
/// attacks; docs/security.md has both.
pub const SECURITY_FLOOR_BITS: u32 = 128;

/// Bits of one residue on the wire; every prime lies just under two to this power.
pub(crate) const RESIDUE_BITS: u32 = 50;

/// The largest prime below 2^50 that is 1 modulo 8192 (and so modulo 4096): 2^50 - 16,383.
const Q1: u64 = 0x3_ffff_ffff_c001;

/// The second largest prime below 2^50 that is 1 modulo 8192: 2^50 - 212,991.
const Q2: u64 = 0x3_ffff_fffc_c001;

/// A named set of ring-LWE parameters. There are no free numbers: a [`Layout`](crate::Layout) picks a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParameterSet {
    /// N = 2048, one 50-bit prime, sigma 6.4.
    P50,
    /// N = 4096, two 50-bit primes in residue form, sigma 6.4.
    P100,
}

impl ParameterSet {
    /// Every set, in the order in which a layout prefers them at equal size.
    pub const ALL: [Self; 2] = [Self::P50, Self::P100];

    /// The degree N of the ring Z_q\[X\]/(X^N + 1): coefficients of a chunk, and of a one-time key.
    #[must_use]
    pub const fn ring_degree(self) -> usize {
        match self {
            Self::P50 => 2048,
            Self::P100 => 4096,
        }
    }

    /// The primes whose product is q; each is 1 modulo 2N and just under 2^50.
    #[must_use]
    pub const fn moduli(self) -> &'static [u64] {
        match self {
            Self::P50 => &[Q1],
            Self::P100 => &[Q1, Q2],
        }
    }

    /// The parameter sigma of the discrete Gaussian that secrets and errors are drawn from.
    #[must_use]
    pub const fn sigma(self) -> f64 {
        SIGMA
    }

    /// Bits of one coefficient on the wire: 50 a prime.
    #[must_use]
    pub const fn bits_per_coefficient(self) -> u32 {
        RESIDUE_BITS * self.moduli().len() as u32
    }

    /// Classical security in bits of a contribution that was not opened: log2 of the cheapest attack of
    /// `scripts/estimate.txt`, rounded down; unbounded samples, secrets and errors Gaussian with sigma 6.4.
    #[must_use]
    pub const fn estimated_bits(self) -> u32 {
        match self {
            Self::P50 => 149,
            Self::P100 => 143,
        }
    }

    /// The same for a contribution whose round was opened with one other honest client: the opened sums of keys and
    /// errors leave half the variance (Hint-LWE), so secrets and errors have sigma / sqrt(2). More honest clients
    /// leave more.
    #[must_use]
    pub const fn bits_after_opening(self) -> u32 {
        match self {
            Self::P50 => 146,
            Self::P100 => 141,
        }
    }

    /// The same for the plain ring-LWE problem that the proof in docs/security.md reduces an opened round to:
    /// secrets and errors around zero with sigma / 2. No attack is known that is as cheap on the round itself.
    #[must_use]
    pub const fn bits_of_reduction(self) -> u32 {
        match self {
            Self::P50 => 143,
            Self::P100 => 140,
        }
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::P50 => 1,
            Self::P100 => 2,
        }
    }

    /// Residues of one chunk, prime after prime: N for each prime.
    pub(crate) const fn residues(self) -> usize {
        self.ring_degree() * self.moduli().len()
    }

    /// q as one number; at most 100 bits.
    pub(crate) const fn modulus(self) -> u128 {
        match self {
            Self::P50 => Q1 as u128,
            Self::P100 => Q1 as u128 * Q2 as u128,
        }
    }
}

/// A set below the floor, or one whose primes have no transform of its degree, does not compile.
const _: () = {
    let mut at = 0;
    while at < ParameterSet::ALL.len() {
        let set = ParameterSet::ALL[at];
        assert!(set.bits_of_reduction() >= SECURITY_FLOOR_BITS);
        assert!(set.bits_after_opening() >= set.bits_of_reduction());
        assert!(set.estimated_bits() >= set.bits_after_opening());
        let mut prime = 0;
        while prime < set.moduli().len() {
            assert!(set.moduli()[prime] >> RESIDUE_BITS == 0);
            assert!(set.moduli()[prime] % (2 * set.ring_degree() as u64) == 1);
            prime += 1;
        }
        at += 1;
    }
};

impl fmt::Display for ParameterSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P50 => "P50",
            Self::P100 => "P100",
        })
    }
}

/// The name given is not a parameter set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a parameter set; use P50 or P100")]
pub struct UnknownParameterSet(pub String);

impl FromStr for ParameterSet {
    type Err = UnknownParameterSet;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|set| set.to_string() == name).ok_or_else(|| UnknownParameterSet(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::f64::consts::{LOG2_E, PI};

    use super::*;

    /// What the lattice estimator said.
    const ESTIMATE: &str = include_str!("../scripts/estimate.txt");

    struct Row<'a> {
        set: &'a str,
        case: &'a str,
        sigma: f64,
        model: &'a str,
        attack: &'a str,
        log2: f64,
    }

    fn rows() -> Vec<Row<'static>> {
        let lines = ESTIMATE.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| {
                let words: Vec<_> = line.split_whitespace().collect();
                let number = |at: usize| words[at].parse().unwrap();
                Row {
                    set: words[0],
                    case: words[1],
                    sigma: number(2),
                    model: words[3],
                    attack: words[4],
                    log2: number(5),
                }
            })
            .collect()
    }

    #[test]
    fn bits_are_the_least_of_the_committed_estimate_rounded_down() {
        let rows = rows();
        for set in ParameterSet::ALL {
            let cases = [
                ("fresh", SIGMA, set.estimated_bits()),
                ("opened", SIGMA / 2_f64.sqrt(), set.bits_after_opening()),
                ("proved", SIGMA / 2.0, set.bits_of_reduction()),
            ];
            for (case, sigma, bits) in cases {
                let ours: Vec<_> = rows.iter().filter(|r| r.set == set.to_string() && r.case == case).collect();
                assert!(ours.iter().all(|r| (r.sigma - sigma).abs() < 1e-3), "{set} {case} at another width");
                let default: Vec<_> = ours.iter().filter(|r| r.model == "MATZOV").collect();
                let attacks: Vec<_> = default.iter().map(|r| r.attack).collect();
                assert_eq!(attacks, ["usvp", "bdd", "dual", "dual_hybrid", "bdd_hybrid"], "{set} {case}");
                let least = default.iter().map(|r| r.log2).fold(f64::INFINITY, f64::min);
                assert_eq!(least.floor() as u32, bits, "{set} {case}");
            }
        }
    }

    /// The figures that the estimator's documentation gives for Kyber-512, as run with its own doctests.
    #[test]
    fn the_committed_run_agrees_with_the_estimators_documentation() {
        let documented = [("usvp", 143.8), ("bdd", 140.2), ("dual", 149.9), ("dual_hybrid", 139.7)];
        let rows = rows();
        for (attack, log2) in documented {
            let row = rows.iter().find(|r| r.set == "Kyber" && r.model == "MATZOV" && r.attack == attack);
            assert_eq!(row.unwrap().log2, log2, "{attack}");
        }
    }

    /// The reduction adds to a Gaussian with sigma / 2 another one around half an opened sum. That this gives the law
    /// left by an opening needs Z to be smooth at sigma / (2 sqrt 2): with s = sqrt(2 pi) times that,
    /// 2 exp(-pi s^2) = 2 exp(-pi^2 sigma^2 / 4) is what a coordinate may be off.
    #[test]
    fn half_of_sigma_is_smooth_enough_for_the_reduction() {
        let off = 1.0 - PI * PI * SIGMA * SIGMA / 4.0 * LOG2_E;
        assert!(off < -144.0, "2^{off}");
    }

    fn power(base: u64, mut exponent: u64, modulus: u64) -> u64 {
        let (mut result, mut base) = (1_u128, u128::from(base));
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = result * base % u128::from(modulus);
            }
            base = base * base % u128::from(modulus);
            exponent >>= 1;
        }
        result as u64
    }

    /// Miller-Rabin with the first twelve primes as bases decides every number below 3.3e24
    /// (Sorenson and Webster, "Strong pseudoprimes to twelve prime bases").
    fn is_prime(n: u64) -> bool {
        let (mut odd, mut twos) = (n - 1, 0);
        while odd.is_multiple_of(2) {
            odd /= 2;
            twos += 1;
        }
        [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37].into_iter().all(|base| {
            let mut x = power(base, odd, n);
            if x == 1 || x == n - 1 {
                return true;
            }
            for _ in 1..twos {
                x = (u128::from(x) * u128::from(x) % u128::from(n)) as u64;
                if x == n - 1 {
                    return true;
                }
            }
            false
        })
    }

    #[test]
    fn moduli_are_the_largest_ntt_primes_below_two_to_the_fifty() {
        let mut candidate = (1_u64 << RESIDUE_BITS) - 8192 + 1;
        let mut primes = Vec::new();
        while primes.len() < 2 {
            if is_prime(candidate) {
                primes.push(candidate);
            }
            candidate -= 8192;
        }
        assert_eq!(ParameterSet::P100.moduli(), primes);
        assert_eq!(ParameterSet::P50.moduli(), &primes[..1]);
    }

    #[test]
    fn names_round_trip_and_others_are_refused() {
        for set in ParameterSet::ALL {
            assert_eq!(set.to_string().parse(), Ok(set));
        }
        assert_eq!("p50".parse::<ParameterSet>(), Err(UnknownParameterSet("p50".to_owned())));
    }
}
