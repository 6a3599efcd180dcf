//! AES in counter mode, blocks at a time: the counters are written into the buffer and encrypted there.
//!
//! Crate ctr gives the same bytes (a test shows it) but makes and adds its blocks a few at a time, at half the speed.

use aes::Block;
use aes::cipher::consts::U16;
use aes::cipher::{BlockCipherEncrypt, BlockSizeUser};

/// Blocks of one step, few enough for the fastest cache.
const STEP: usize = 64;

const BLOCK_BYTES: usize = 16;

/// A stream of blocks: the encrypted counters, big-endian.
pub(crate) struct Keystream<C> {
    cipher: C,
    counter: u128,
}

impl<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>> Keystream<C> {
    pub(crate) fn new(cipher: C, counter: u128) -> Self {
        Self { cipher, counter }
    }

    /// Fills whole blocks; bytes behind the last whole block stay as they are.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for blocks in bytes.as_chunks_mut::<BLOCK_BYTES>().0.chunks_mut(STEP) {
            write_counters(self.counter, blocks);
            self.cipher.encrypt_blocks(Block::cast_slice_from_core_mut(blocks));
            self.counter = self.counter.wrapping_add(blocks.len() as u128);
        }
    }
}

fn write_counters(counter: u128, blocks: &mut [[u8; BLOCK_BYTES]]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        move || {
            let (high, low) = ((counter >> 64) as u64, counter as u64);
            for (block, at) in blocks.iter_mut().zip(0_u64..) {
                let next = low.wrapping_add(at);
                let carry = u64::from(next < low);
                block[..8].copy_from_slice(&high.wrapping_add(carry).to_be_bytes());
                block[8..].copy_from_slice(&next.to_be_bytes());
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use aes::cipher::{KeyInit, KeyIvInit, StreamCipher};
    use aes::{Aes128, Aes256};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_are_those_of_crate_ctr(
            key in any::<[u8; 32]>(),
            counter in prop_oneof![any::<u128>(), (0..300_u128).prop_map(|x| u128::MAX - x),
                (0..300_u128).prop_map(|x| (7 << 64) - x)],
            lengths in prop::collection::vec(0..200_usize, 1..4),
        ) {
            let mut long = Keystream::new(Aes256::new(&key.into()), counter);
            let mut expected_long = ctr::Ctr128BE::<Aes256>::new(&key.into(), &counter.to_be_bytes().into());
            let short = [key[0]; BLOCK_BYTES];
            let mut other = Keystream::new(Aes128::new(&short.into()), counter);
            let mut expected_other = ctr::Ctr128BE::<Aes128>::new(&short.into(), &counter.to_be_bytes().into());
            for length in lengths {
                let (mut bytes, mut expected) = (vec![1; BLOCK_BYTES * length], vec![0; BLOCK_BYTES * length]);
                long.fill(&mut bytes);
                expected_long.apply_keystream(&mut expected);
                prop_assert_eq!(&bytes, &expected);
                other.fill(&mut bytes);
                expected.fill(0);
                expected_other.apply_keystream(&mut expected);
                prop_assert_eq!(&bytes, &expected);
            }
        }
    }
}
