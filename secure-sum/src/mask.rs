//! The common mask: a uniform ring element a chunk, the same for every client of a round.
//!
//! It is sampled in transformed form, where a uniform element is uniform too, so no transform of it is needed.
//! A prime's stream is AES-128-CTR under the first half of SHA-256(label, seed, chunk index, prime index) from
//! the second half as the first counter; each little-endian word gives the low 50 bits as a candidate and
//! candidates not below q are skipped.

use aes::Aes128;
use aes::cipher::{KeyIvInit, StreamCipher};
use sha2::{Digest, Sha256};

use crate::params::RESIDUE_BITS;

const LABEL: &[u8] = b"plainchant/secure-sum/mask/v1";
const CANDIDATE: u64 = (1 << RESIDUE_BITS) - 1;

/// The public seed of a round's mask: a hash over the round's announcement, chosen by nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaskSeed(pub [u8; 32]);

impl MaskSeed {
    /// Fills `values` with this chunk's mask modulo q, transformed; `scratch` has the same length.
    pub(crate) fn expand(&self, chunk: usize, prime: usize, q: u64, values: &mut [u64], scratch: &mut [u8]) {
        let mut stream = self.stream(chunk, prime);
        scratch.fill(0);
        stream.apply_keystream(scratch);
        let fits = pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                let mut largest = 0;
                for (value, word) in values.iter_mut().zip(scratch.as_chunks::<8>().0) {
                    *value = u64::from_le_bytes(*word) & CANDIDATE;
                    largest = largest.max(*value);
                }
                largest < q
            },
        );
        if !fits {
            skip_candidates(values, q, &mut stream);
        }
    }

    fn stream(&self, chunk: usize, prime: usize) -> ctr::Ctr128BE<Aes128> {
        let digest = Sha256::new()
            .chain_update(LABEL)
            .chain_update(self.0)
            .chain_update((chunk as u64).to_le_bytes())
            .chain_update([prime as u8])
            .finalize();
        let (mut key, mut counter) = ([0; 16], [0; 16]);
        key.copy_from_slice(&digest[..16]);
        counter.copy_from_slice(&digest[16..]);
        ctr::Ctr128BE::<Aes128>::new(&key.into(), &counter.into())
    }
}

/// Moves the candidates below q together and draws what is missing; about one chunk in four million needs it.
fn skip_candidates(values: &mut [u64], q: u64, stream: &mut ctr::Ctr128BE<Aes128>) {
    let mut kept = 0;
    for at in 0..values.len() {
        if values[at] < q {
            values[kept] = values[at];
            kept += 1;
        }
    }
    while kept < values.len() {
        let mut word = [0; 8];
        stream.apply_keystream(&mut word);
        let candidate = u64::from_le_bytes(word) & CANDIDATE;
        if candidate < q {
            values[kept] = candidate;
            kept += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::ParameterSet;

    fn expand(chunk: usize, prime: usize, q: u64) -> Vec<u64> {
        let n = 2048;
        let (mut values, mut scratch) = (vec![0; n], vec![0; 8 * n]);
        MaskSeed([7; 32]).expand(chunk, prime, q, &mut values, &mut scratch);
        values
    }

    /// With a small modulus most candidates are skipped; the plain definition gives the same values.
    #[test]
    fn skipping_keeps_the_order_of_the_stream() {
        let q = 1 << 47;
        let mut stream = MaskSeed([7; 32]).stream(3, 1);
        let mut expected = Vec::new();
        while expected.len() < 2048 {
            let mut word = [0; 8];
            stream.apply_keystream(&mut word);
            let candidate = u64::from_le_bytes(word) & CANDIDATE;
            if candidate < q {
                expected.push(candidate);
            }
        }
        assert_eq!(expand(3, 1, q), expected);
    }

    #[test]
    fn chunks_and_primes_have_streams_of_their_own() {
        let q = ParameterSet::P50.moduli()[0];
        let masks = [expand(0, 0, q), expand(1, 0, q), expand(0, 1, q)];
        assert!(masks[0] != masks[1] && masks[0] != masks[2] && masks[1] != masks[2]);
        assert_eq!(masks[0], expand(0, 0, q));
        // 16 buckets of 2,048 uniform values: 128 each, 15 degrees of freedom; 45 has probability 8e-5.
        let mut buckets = [0_i32; 16];
        for value in &masks[0] {
            buckets[(u128::from(*value) * 16 / u128::from(q)) as usize] += 1;
        }
        let chi: f64 = buckets.iter().map(|&b| f64::from(b - 128).powi(2) / 128.0).sum();
        assert!(chi < 45.0, "{chi}");
    }
}
