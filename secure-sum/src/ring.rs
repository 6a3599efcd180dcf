//! Arithmetic modulo the primes of a set, and negacyclic products by tfhe-ntt.
//!
//! For primes below 2^50 tfhe-ntt takes its IFMA path where the processor has AVX-512 IFMA (52-bit Shoup
//! multiplication), else AVX-512, AVX2 or scalar code with the same outputs. The inverse transform is not
//! normalized: products are multiplied by 1/N in [`Residue::multiply`] before it, not after it.

use std::sync::OnceLock;

use tfhe_ntt::prime64::Plan;

use crate::params::{ParameterSet, RESIDUE_BITS};

/// One prime of a set, with its transform.
pub(crate) struct Residue {
    pub(crate) q: u64,
    /// 2^50 modulo q, which is 2^50 - q.
    fold: u64,
    plan: Plan,
}

/// The primes of a set; built once a process.
pub(crate) struct Ring {
    pub(crate) residues: Vec<Residue>,
    /// N q1^-1 modulo q2, N times, for the Chinese remainder theorem: the products that divide by N take it; empty
    /// with one prime.
    inverses: Vec<u64>,
}

/// The ring of a set.
pub(crate) fn ring(set: ParameterSet) -> &'static Ring {
    static P50: OnceLock<Ring> = OnceLock::new();
    static P100: OnceLock<Ring> = OnceLock::new();
    match set {
        ParameterSet::P50 => P50.get_or_init(|| Ring::new(set)),
        ParameterSet::P100 => P100.get_or_init(|| Ring::new(set)),
    }
}

impl Ring {
    fn new(set: ParameterSet) -> Self {
        let residues: Vec<_> = set.moduli().iter().map(|&q| Residue::new(set.ring_degree(), q)).collect();
        let degree = set.ring_degree();
        let inverses = match set.moduli() {
            [q1, q2] => {
                let inverse = u128::from(power(q1 % q2, q2 - 2, *q2));
                vec![(inverse * degree as u128 % u128::from(*q2)) as u64; degree]
            }
            _ => Vec::new(),
        };
        Self { residues, inverses }
    }

    /// The representatives in (-q/2, q/2) of N numbers with these residues modulo q1 and q2, as `low + 2^50 high` with
    /// low from 0 to 2^50. `second` is of no use afterwards.
    pub(crate) fn center_pairs(&self, first: &[u64], second: &mut [u64], low: &mut [i64], high: &mut [i64]) {
        let [a, b] = self.residues.as_slice() else { return };
        let (q1, q2) = (a.q, b.q);
        let differences = &mut *second;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            move || {
                for (second, &first) in differences.iter_mut().zip(first) {
                    // Both are positive: the first one is at most q1 / 2 after centering.
                    *second = reduce_word(second.wrapping_add(2 * q2).wrapping_sub(center(first, q1) as u64), q2);
                }
            },
        );
        b.plan.mul_assign_normalize(second, &self.inverses);
        let fold = a.fold as i64;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            move || {
                const MASK: i64 = (1 << RESIDUE_BITS) - 1;
                for (((low, high), &first), &digit) in low.iter_mut().zip(high).zip(first).zip(second.iter()) {
                    // first + q1 digit, where q1 = 2^50 - fold, and fold is below 2^14 for q1.
                    let digit = center(digit, q2);
                    let product = digit.wrapping_mul(fold);
                    let rest = center(first, q1).wrapping_sub(product & MASK);
                    *low = rest & MASK;
                    *high = digit.wrapping_sub(product >> RESIDUE_BITS).wrapping_add(rest >> RESIDUE_BITS);
                }
            },
        );
    }
}

impl Residue {
    fn new(degree: usize, q: u64) -> Self {
        let Some(plan) = Plan::try_new(degree, q) else {
            unreachable!("a test shows that q is a prime and 1 modulo 2N, all that a plan needs")
        };
        Self { q, fold: (1 << RESIDUE_BITS) - q, plan }
    }

    /// Coefficients to values at the 2N-th roots, in bit-reversed order, all below q.
    pub(crate) fn forward(&self, polynomial: &mut [u64]) {
        self.plan.fwd(polynomial);
    }

    /// `values` becomes the coefficients of its product with `factor`; both are in transformed form.
    pub(crate) fn multiply(&self, values: &mut [u64], factor: &[u64]) {
        self.plan.mul_assign_normalize(values, factor);
        self.plan.inv(values);
    }

    /// The residue of a signed number below 2^50 - 2^18 in size, in constant time.
    #[inline(always)]
    pub(crate) fn lift(&self, x: i64) -> u64 {
        x.wrapping_add((x >> 63) & self.q as i64) as u64
    }

    /// A number congruent to the signed `low + 2^50 high`, from 0 to 2^55, in constant time, for low from -2^49 to
    /// 2^54 and |high| < 2^50. 2^50 is replaced by 2^50 - q, which is below 2^18: for the low 25 bits of `high`,
    /// then for the bits above them, whose product is split once more.
    #[inline(always)]
    pub(crate) fn lift_pair(&self, low: i64, high: i64) -> u64 {
        const LOW: i64 = (1 << 25) - 1;
        let fold = self.fold as i64;
        let above = (high >> 25).wrapping_mul(fold);
        let sum = low.wrapping_add((high & LOW).wrapping_mul(fold));
        let sum = sum.wrapping_add((above & LOW) << 25).wrapping_add((above >> 25).wrapping_mul(fold));
        sum.wrapping_add(self.q as i64) as u64
    }
}

/// The representative of x < q between -q/2 and q/2.
#[inline(always)]
pub(crate) fn center(x: u64, q: u64) -> i64 {
    (x as i64).wrapping_sub(if x > q / 2 { q as i64 } else { 0 })
}

/// `x` modulo q for x < 2q, in constant time.
#[inline(always)]
pub(crate) fn reduce(x: u64, q: u64) -> u64 {
    x.min(x.wrapping_sub(q))
}

/// `x` modulo q for every x, in constant time: 2^50 is replaced by 2^50 - q, which is below 2^18, so what is left is
/// below 2^50 + 2^32 < 2q.
#[inline(always)]
pub(crate) fn reduce_word(x: u64, q: u64) -> u64 {
    const MASK: u64 = (1 << RESIDUE_BITS) - 1;
    // Both factors fit 32 bits, which the compiler sees here: vectors multiply 32 bits in one instruction.
    let fold = u64::from(((1 << RESIDUE_BITS) - q) as u32);
    reduce((x >> RESIDUE_BITS).wrapping_mul(fold).wrapping_add(x & MASK), q)
}

fn power(base: u64, mut exponent: u64, q: u64) -> u64 {
    let (mut result, mut square) = (1_u128, u128::from(base));
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * square % u128::from(q);
        }
        square = square * square % u128::from(q);
        exponent >>= 1;
    }
    result as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: position i holds the value at w^(2 r + 1), r the bits of i reversed. Any 2N-th root of
    /// unity w would do, but the masks of a round depend on which one it is, so the test pins it by its
    /// definition through the transform of X.
    #[test]
    fn transform_evaluates_at_odd_powers_in_bit_reversed_order() {
        for set in ParameterSet::ALL {
            let n = set.ring_degree();
            for residue in &ring(set).residues {
                let q = residue.q;
                let mut x = vec![0; n];
                x[1] = 1;
                residue.forward(&mut x);
                let w = x[0];
                assert_eq!(power(w, n as u64, q), q - 1, "w is a primitive 2N-th root");
                let bits = n.trailing_zeros();
                for (i, &value) in x.iter().enumerate() {
                    let reversed = i.reverse_bits() >> (usize::BITS - bits);
                    assert_eq!(value, power(w, 2 * reversed as u64 + 1, q));
                }
            }
        }
    }

    #[test]
    fn product_wraps_around_with_a_sign() {
        for set in ParameterSet::ALL {
            let n = set.ring_degree();
            for residue in &ring(set).residues {
                let (mut a, mut b) = (vec![0; n], vec![0; n]);
                a[n - 1] = 3;
                a[0] = 1;
                b[2] = residue.q - 5;
                residue.forward(&mut a);
                residue.forward(&mut b);
                residue.multiply(&mut a, &b);
                let mut expected = vec![0; n];
                expected[1] = 15;
                expected[2] = residue.q - 5;
                assert_eq!(a, expected);
            }
        }
    }

    proptest! {
        #[test]
        fn lifted_pairs_are_congruent(
            low in prop_oneof![-(1_i64 << 49)..1 << 54, Just(-(1 << 49)), Just((1 << 54) - 1)],
            high in prop_oneof![-(1_i64 << 50) + 1..1 << 50, Just(-(1 << 50) + 1), Just((1 << 50) - 1)],
        ) {
            for residue in &ring(ParameterSet::P100).residues {
                let (x, q) = (i128::from(low) + (i128::from(high) << 50), residue.q);
                let lifted = residue.lift_pair(low, high);
                prop_assert!(lifted < 1 << 55);
                prop_assert_eq!(i128::from(reduce_word(lifted, q)), x.rem_euclid(i128::from(q)));
            }
        }

        #[test]
        fn residues_and_centered_pairs_are_inverse(
            numbers in prop::collection::vec((-(1_i64 << 49) + 2..(1 << 49) - 1, any::<u64>()), 40),
        ) {
            let ring = ring(ParameterSet::P100);
            let (a, b) = (&ring.residues[0], &ring.residues[1]);
            let n = ParameterSet::P100.ring_degree();
            let half = (ParameterSet::P100.modulus() / 2) as i128;
            let ends = [half, -half, half - 1, 0, -1, i128::from(a.q / 2), -i128::from(a.q / 2) - 1];
            let mut numbers: Vec<i128> =
                numbers.iter().map(|&(x, y)| i128::from(x) << 50 | i128::from(y >> 14)).chain(ends).collect();
            numbers.retain(|x| x.abs() <= half);
            numbers.resize(n, 0);
            let residues = |r: &Residue| -> Vec<u64> {
                numbers.iter().map(|x| x.rem_euclid(i128::from(r.q)) as u64).collect()
            };
            let (mut low, mut high) = (vec![0; n], vec![0; n]);
            ring.center_pairs(&residues(a), &mut residues(b), &mut low, &mut high);
            for ((x, low), high) in numbers.iter().zip(low).zip(high) {
                prop_assert!((0..1 << 50).contains(&low));
                prop_assert_eq!(*x, i128::from(low) + (i128::from(high) << 50));
            }
        }

        #[test]
        fn lifted_keys_are_congruent(small in -(1_i64 << 48)..1 << 48) {
            for residue in &ring(ParameterSet::P100).residues {
                prop_assert_eq!(
                    i128::from(residue.lift(small)),
                    i128::from(small).rem_euclid(i128::from(residue.q))
                );
            }
        }
    }
}
