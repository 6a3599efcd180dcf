//! Dropout on the way into A, as PEFT has it: of each adapted layer's inputs a share is hidden from its branch in a training step, the others are
//! divided by what is left (Srivastava et al. 2014).

use adapter::Site;
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use crate::batch::MicroBatch;

/// What is hidden in one training step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dropout {
    /// The share, at least 0 and below 1; taken to the nearest 65536th.
    pub(crate) share: f64,
    /// Seeds the step.
    pub(crate) seed: u64,
}

impl Dropout {
    /// What each input of a site is multiplied by, `[rows * tokens, inputs]`: 0 or 1 / (1 - share). A row's values follow from the seed, the site and the row's own
    /// tokens, and from nothing else: so a row's gradient does not depend on what else is in the batch, whatever the seed, and the sensitivity of a sum of
    /// clipped gradients is what it is without dropout.
    pub(crate) fn factors(
        self,
        batch: &MicroBatch,
        (layer, site): (usize, Site),
        inputs: usize,
        device: &Device,
    ) -> Tensor<2> {
        let (rows, tokens) = (batch.rows(), batch.padded_tokens());
        let hidden = (self.share * 65536.0).round() as u32;
        let kept = 65536.0 / (65536 - hidden.min(65535)) as f32;
        let mut factors = Vec::with_capacity(rows * tokens * inputs);
        let texts = batch.ids().chunks_exact(tokens).zip(batch.lengths());
        for (ids, length) in texts.take(batch.indices().len()) {
            let text = fnv(&ids[..*length]);
            let mut stream = ChaCha8Rng::from_seed(key([self.seed, layer as u64, site as u64, text]));
            let end = factors.len() + tokens * inputs;
            while factors.len() < end {
                let word = stream.next_u32();
                for part in [word & 0xffff, word >> 16] {
                    factors.push(if part < hidden { 0.0 } else { kept });
                }
            }
            factors.truncate(end);
        }
        factors.resize(rows * tokens * inputs, 1.0);
        Tensor::from_data(TensorData::new(factors, [rows * tokens, inputs]), device)
    }
}

/// FNV-1a over the tokens (Fowler, Noll, Vo; offset and prime of 64 bits): tells texts apart, and no more is asked of it.
fn fnv(ids: &[u32]) -> u64 {
    let bytes = ids.iter().flat_map(|id| id.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn key(numbers: [u64; 4]) -> [u8; 32] {
    let mut key = [0; 32];
    for (part, number) in key.chunks_exact_mut(8).zip(numbers) {
        part.copy_from_slice(&number.to_le_bytes());
    }
    key
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::batch::micro_batches;
    use crate::tokenizer::Encoded;

    const INPUTS: usize = 33;

    fn batches(lengths: &[usize]) -> Vec<MicroBatch> {
        micro_batches(&lengths.iter().map(|length| Encoded { ids: vec![*length as u32; *length] }).collect::<Vec<_>>())
    }

    fn factors(dropout: Dropout, batch: &MicroBatch, site: (usize, Site)) -> Vec<f32> {
        let device = crate::device("cpu").unwrap().without_autodiff();
        dropout.factors(batch, site, INPUTS, &device).into_data().try_to_vec::<f32>().unwrap()
    }

    /// The published values for "" and "a" (FNV's own test vectors, 64 bits); four bytes a token here.
    #[test]
    fn texts_are_told_apart_by_fnv_1a() {
        assert_eq!(fnv(&[]), 0xcbf2_9ce4_8422_2325);
        let by_hand =
            [0x61u64, 0, 0, 0].iter().fold(fnv(&[]), |hash, byte| (hash ^ byte).wrapping_mul(0x0100_0000_01b3));
        assert_eq!((0xcbf2_9ce4_8422_2325u64 ^ 0x61).wrapping_mul(0x0100_0000_01b3), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv(&[0x61]), by_hand);
    }

    /// Five deviations of a binomial share.
    #[test]
    fn the_share_is_hidden_and_the_rest_makes_up_for_it() {
        for share in [0.05, 0.5, 0.9] {
            let batch = &batches(&[190])[0];
            let found = factors(Dropout { share, seed: 3 }, batch, (1, Site::Query));
            let kept = found.iter().copied().fold(0.0, f32::max);
            assert!((f64::from(kept) * (1.0 - share) - 1.0).abs() < 1e-3);
            assert!(found.iter().all(|factor| *factor == 0.0 || *factor == kept));
            let (count, hidden) = (found.len() as f64, found.iter().filter(|factor| **factor == 0.0).count() as f64);
            assert!(
                (hidden / count - share).abs() < 5.0 * (share * (1.0 - share) / count).sqrt(),
                "{share}: {hidden} of {count}"
            );
        }
    }

    #[test]
    fn an_example_has_the_same_factors_beside_any_others_and_other_ones_in_every_site_and_step() {
        let dropout = Dropout { share: 0.5, seed: 9 };
        let alone = factors(dropout, &batches(&[5])[0], (0, Site::Value));
        // In the third row of one batch, and in the first of another.
        let beside = factors(dropout, &batches(&[6, 7, 5])[0], (0, Site::Value));
        assert_eq!(alone[..5 * INPUTS], beside[16 * INPUTS..21 * INPUTS]);
        assert_ne!(beside[..5 * INPUTS], beside[16 * INPUTS..21 * INPUTS]);
        let batch = &batches(&[5])[0];
        for (other, site) in [
            (dropout, (1, Site::Value)),
            (dropout, (0, Site::Key)),
            (Dropout { seed: 10, ..dropout }, (0, Site::Value)),
        ] {
            assert_ne!(factors(other, batch, site)[..5 * INPUTS], alone[..5 * INPUTS]);
        }
    }
}
