//! The common mask: a uniform ring element a chunk, the same for every client of a round.
//!
//! It is sampled in transformed form, where a uniform element is uniform too, so no transform of it is needed.
//! A prime's stream is AES-128-CTR under the first half of SHA-256(label, seed, chunk index, prime index) from
//! the second half as the first counter; each little-endian word gives the low 50 bits as a candidate and
//! candidates not below q are skipped.

use std::iter;

use aes::Aes128;
use aes::cipher::KeyInit;
use pulp::bytemuck;
use sha2::{Digest, Sha256};

use crate::keystream::Keystream;
use crate::params::RESIDUE_BITS;

const LABEL: &[u8] = b"plainchant/secure-sum/mask/v1";
const CANDIDATE: u64 = (1 << RESIDUE_BITS) - 1;

/// The public seed of a round's mask: a hash over the round's announcement, chosen by nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaskSeed(pub [u8; 32]);

impl MaskSeed {
    /// Fills `values` with this chunk's mask modulo q, transformed.
    pub(crate) fn expand(&self, chunk: usize, prime: usize, q: u64, values: &mut [u64]) {
        let mut stream = self.stream(chunk, prime);
        // A block is two words; the second one of a last block that is half needed comes first when some are skipped.
        let (blocks, last) = values.as_chunks_mut::<2>();
        stream.fill(bytemuck::cast_slice_mut(blocks));
        let mut spare = None;
        if let [last] = last {
            let [first, second] = next_words(&mut stream);
            (*last, spare) = (first, Some(second));
        }
        if !read_candidates(values, q) {
            skip_candidates(values, q, spare, &mut stream);
        }
    }

    fn stream(&self, chunk: usize, prime: usize) -> Keystream<Aes128> {
        let (key, counter) = self.key(chunk, prime);
        Keystream::new(Aes128::new(&key.into()), u128::from_be_bytes(counter))
    }

    /// Key and first counter of a stream.
    fn key(&self, chunk: usize, prime: usize) -> ([u8; 16], [u8; 16]) {
        let digest = Sha256::new()
            .chain_update(LABEL)
            .chain_update(self.0)
            .chain_update((chunk as u64).to_le_bytes())
            .chain_update([prime as u8])
            .finalize();
        let (mut key, mut counter) = ([0; 16], [0; 16]);
        key.copy_from_slice(&digest[..16]);
        counter.copy_from_slice(&digest[16..]);
        (key, counter)
    }
}

/// Words of the stream to candidates; true when all are below q.
fn read_candidates(values: &mut [u64], q: u64) -> bool {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            let mut largest = 0;
            for value in values {
                *value = u64::from_le(*value) & CANDIDATE;
                largest = largest.max(*value);
            }
            largest < q
        },
    )
}

/// Moves the candidates below q together and draws what is missing; one chunk in 34 million needs it with P50, one in 1.2 million with
/// P100.
fn skip_candidates(values: &mut [u64], q: u64, spare: Option<u64>, stream: &mut Keystream<Aes128>) {
    let mut kept = 0;
    for at in 0..values.len() {
        if values[at] < q {
            values[kept] = values[at];
            kept += 1;
        }
    }
    let words = spare.into_iter().chain(iter::repeat_with(|| next_words(stream)).flatten());
    let more = words.map(|word| u64::from_le(word) & CANDIDATE).filter(|&candidate| candidate < q);
    values[kept..].iter_mut().zip(more).for_each(|(value, candidate)| *value = candidate);
}

fn next_words(stream: &mut Keystream<Aes128>) -> [u64; 2] {
    let mut words = [0; 2];
    stream.fill(bytemuck::cast_slice_mut(&mut words));
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::ParameterSet;
    use aes::cipher::{KeyIvInit, StreamCipher};

    fn expand(chunk: usize, prime: usize, q: u64) -> Vec<u64> {
        expand_some(2048, chunk, prime, q)
    }

    fn expand_some(n: usize, chunk: usize, prime: usize, q: u64) -> Vec<u64> {
        let mut values = vec![0; n];
        MaskSeed([7; 32]).expand(chunk, prime, q, &mut values);
        values
    }

    /// With a small modulus most candidates are skipped; the plain definition gives the same values.
    #[test]
    fn skipping_keeps_the_order_of_the_stream() {
        let q = 1 << 47;
        let (key, counter) = MaskSeed([7; 32]).key(3, 1);
        let mut stream = ctr::Ctr128BE::<Aes128>::new(&key.into(), &counter.into());
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
        for n in [1, 2, 3, 2047] {
            assert_eq!(expand_some(n, 3, 1, q), expected[..n]);
        }
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
