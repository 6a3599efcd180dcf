//! One-time keys and their sum.

use rand::CryptoRng;
use zeroize::{Zeroize, Zeroizing};

use crate::gauss::{Seed, Words};
use crate::layout::Layout;
use crate::params::ParameterSet;
use crate::ring::Residue;
use crate::wipe;

/// A client's secret of one round: N discrete Gaussian coefficients. It encrypts one contribution and is dealt
/// to the committee; then the caller drops it, which wipes it.
pub struct OneTimeKey {
    set: ParameterSet,
    coefficients: Zeroizing<Vec<i32>>,
}

impl OneTimeKey {
    /// Draws a key for one round with this layout.
    pub fn generate<R: CryptoRng + ?Sized>(layout: &Layout, rng: &mut R) -> Self {
        let degree = layout.set().ring_degree();
        let mut coefficients = Zeroizing::new(vec![0; degree]);
        wipe::after(|| Seed::draw(rng).sampler(0).fill(&mut coefficients, &mut Words::new(degree)));
        Self { set: layout.set(), coefficients }
    }

    /// Whether the key was generated for this layout's parameter set.
    pub(crate) fn serves(&self, layout: &Layout) -> bool {
        self.set == layout.set()
    }

    pub(crate) fn coefficients(&self) -> &[i32] {
        &self.coefficients
    }
}

/// The sum of the cohort's one-time keys, from [`combine`](crate::combine); opens the sum of their contributions.
pub struct KeySum {
    coefficients: Zeroizing<Vec<i32>>,
}

impl KeySum {
    pub(crate) fn new(coefficients: Zeroizing<Vec<i32>>) -> Self {
        Self { coefficients }
    }

    pub(crate) fn coefficients(&self) -> &[i32] {
        &self.coefficients
    }
}

/// A key in transformed form modulo every prime; wiped on drop.
pub(crate) struct Transformed(Vec<Vec<u64>>);

impl Transformed {
    pub(crate) fn new(coefficients: &[i32], residues: &[Residue]) -> Self {
        let one = |residue: &Residue| {
            let mut values: Vec<u64> = coefficients.iter().map(|&c| residue.lift(i64::from(c))).collect();
            residue.forward(&mut values);
            values
        };
        Self(residues.iter().map(one).collect())
    }

    pub(crate) fn modulo(&self, prime: usize) -> &[u64] {
        &self.0[prime]
    }
}

impl Drop for Transformed {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
