//! Key coefficients as balanced digits of scalars: d_0 + d_1 2^b + d_2 2^2b + ..., each digit in
//! [-2^(b-1), 2^(b-1)). A scalar is linear in its digits, so a sum of scalars holds the sums of the digits.

use curve25519_dalek::Scalar;
use zeroize::Zeroizing;

use crate::layout::Layout;

/// Digits of a layout: b bits each, several in a scalar below 2^252.
#[derive(Clone, Copy)]
pub(crate) struct Digits {
    bits: usize,
    per_scalar: usize,
}

impl Digits {
    pub(crate) fn of(layout: &Layout) -> Self {
        Self { bits: layout.digit_bits() as usize, per_scalar: layout.digits_per_scalar() }
    }

    /// Packs coefficients below 2^(b-1) in size, in constant time.
    pub(crate) fn pack(self, coefficients: &[i32]) -> Zeroizing<Vec<Scalar>> {
        let offset = self.offset();
        let scalars = coefficients.chunks(self.per_scalar).map(|digits| {
            let mut words = Zeroizing::new([0_u64; 4]);
            for j in 0..self.per_scalar {
                let digit = digits.get(j).copied().unwrap_or(0);
                put(&mut words, self.bits * j, self.shifted(i64::from(digit)));
            }
            Scalar::from_bytes_mod_order(bytes(&words)) - offset
        });
        Zeroizing::new(scalars.collect())
    }

    /// The digits of `count` coefficients, or none when a scalar is not a combination of balanced digits.
    pub(crate) fn unpack(self, scalars: &[Scalar], count: usize) -> Option<Zeroizing<Vec<i32>>> {
        let offset = self.offset();
        let mut coefficients = Zeroizing::new(Vec::with_capacity(count));
        for scalar in scalars {
            let words = words(&(scalar + offset).to_bytes());
            for j in 0..self.per_scalar {
                let digit = get(&words, self.bits * j, self.bits) as i64 - self.half();
                if coefficients.len() < count {
                    coefficients.push(i32::try_from(digit).ok()?);
                } else if digit != 0 {
                    return None;
                }
            }
            let used = self.bits * self.per_scalar;
            if get(&words, used, 256 - used) != 0 {
                return None;
            }
        }
        (coefficients.len() == count).then_some(coefficients)
    }

    /// Half the base in every digit: adding it makes all digits non-negative.
    fn offset(self) -> Scalar {
        let mut words = [0; 4];
        for j in 0..self.per_scalar {
            put(&mut words, self.bits * j, self.shifted(0));
        }
        Scalar::from_bytes_mod_order(bytes(&words))
    }

    fn half(self) -> i64 {
        1 << (self.bits - 1)
    }

    fn shifted(self, digit: i64) -> u64 {
        (digit + self.half()) as u64
    }
}

/// Sets bits from position `at` on; a digit has at most 32 bits and ends below bit 252.
fn put(words: &mut [u64; 4], at: usize, digit: u64) {
    let shifted = u128::from(digit) << (at % 64);
    words[at / 64] |= shifted as u64;
    if let Some(next) = words.get_mut(at / 64 + 1) {
        *next |= (shifted >> 64) as u64;
    }
}

/// Reads up to 32 bits from position `at` on.
fn get(words: &[u64; 4], at: usize, bits: usize) -> u64 {
    let next = words.get(at / 64 + 1).copied().unwrap_or(0);
    let both = u128::from(words[at / 64]) | u128::from(next) << 64;
    (both >> (at % 64)) as u64 & ((1 << bits) - 1)
}

fn bytes(words: &[u64; 4]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    bytes
}

fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let chunks = bytes.as_chunks::<8>().0;
    std::array::from_fn(|i| u64::from_le_bytes(chunks[i]))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sums_of_scalars_hold_sums_of_digits(
            bits in 9..=14_usize,
            a in prop::collection::vec(-128..128_i32, 1..100),
            seed in any::<u32>(),
        ) {
            let digits = Digits { bits, per_scalar: 252 / bits };
            let b: Vec<i32> = a.iter().map(|x| (x.wrapping_mul(seed as i32)) % 128).collect();
            let sum: Vec<Scalar> = digits.pack(&a).iter().zip(digits.pack(&b).iter()).map(|(x, y)| x + y).collect();
            let expected: Vec<i32> = a.iter().zip(&b).map(|(x, y)| x + y).collect();
            prop_assert_eq!(&*digits.unpack(&sum, a.len()).unwrap(), &expected);
        }
    }

    #[test]
    fn scalars_that_hold_no_digits_are_refused() {
        let digits = Digits { bits: 9, per_scalar: 28 };
        // 28 digits of 9 bits reach all of 252 bits, so only what lies between 2^252 and the group order is none.
        let mut beyond = [0; 32];
        beyond[31] = 0x10;
        let beyond = Scalar::from_bytes_mod_order(beyond) - digits.offset();
        assert!(digits.unpack(&[beyond], 28).is_none());
        assert!(digits.unpack(&[beyond - Scalar::ONE], 28).is_some());
        let behind = digits.pack(&[1, 2, 3]);
        assert!(digits.unpack(&behind, 2).is_none());
        assert!(digits.unpack(&behind, 3).is_some());
    }
}
