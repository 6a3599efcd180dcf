//! The adapter that a federation starts from.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

use crate::config::is_a;
use crate::{Adapter, AdapterError, LoraConfig, Model};

impl Adapter {
    /// The first adapter: A uniform in (-1, 1) / sqrt(in) (the bound of PEFT's Kaiming-uniform default), B and the head
    /// zero, so the adapted model starts as the base model. In a head of two layers the first one's weight is drawn like an A (which is what PyTorch gives a new linear layer).
    ///
    /// Each A comes from its own ChaCha20 stream, whose key is the SHA-256 digest of a label, the seed (little-endian)
    /// and the tensor's name. The upper 24 bits k of each 32-bit word give `(k + 1/2 - 2^23) / 2^23`, exact up to the
    /// last addition, divided by `sqrt(in)`; all in 32-bit floats.
    ///
    /// # Errors
    /// [`AdapterError::Invalid`] and [`AdapterError::NoSuchTarget`] for a model or configuration out of range.
    pub fn initial(model: &Model, config: &LoraConfig, seed: u64) -> Result<Self, AdapterError> {
        let layers = model.head_layers();
        let inner: Vec<String> =
            layers.iter().rev().skip(1).map(|layer| format!("base_model.model.{}.weight", layer.name)).collect();
        Self::build(model, config, |name, shape| {
            let size = shape.iter().product();
            Ok(match (is_a(name) || inner.iter().any(|inner| inner == name), shape) {
                (true, &[_, inputs]) => uniform(seed, name, inputs, size),
                _ => vec![0.0; size],
            })
        })
    }
}

const LABEL: &[u8] = b"plainchant adapter initial A v1\0";

fn uniform(seed: u64, name: &str, inputs: usize, size: usize) -> Vec<f32> {
    let key = Sha256::new().chain_update(LABEL).chain_update(seed.to_le_bytes()).chain_update(name).finalize();
    let mut stream = ChaCha20Rng::from_seed(key.into());
    let half = (1u32 << 23) as f32;
    let root = (inputs as f32).sqrt();
    (0..size).map(|_| ((stream.next_u32() >> 8) as f32 - half + 0.5) / half / root).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::Architecture;

    fn adapter(seed: u64, targets: &[&str]) -> Adapter {
        let model = Model {
            architecture: Architecture::Bert,
            num_hidden_layers: 2,
            hidden_size: 64,
            intermediate_size: 128,
            num_labels: 3,
            head: Default::default(),
            attention: None,
        };
        Adapter::initial(&model, &LoraConfig::new(16, 16, targets), seed).unwrap()
    }

    #[test]
    fn a_is_uniform_below_one_over_the_root_of_its_inputs_and_the_rest_is_zero() {
        let adapter = adapter(1, &["query", "output.dense"]);
        for (name, tensor) in adapter.tensors() {
            if !name.contains("lora_A") {
                assert!(tensor.data.iter().all(|&x| x.to_bits() == 0), "{name}");
                continue;
            }
            let bound = 1.0 / (tensor.shape[1] as f64).sqrt();
            let (n, data) = (tensor.data.len() as f64, tensor.data.iter().map(|&x| f64::from(x)));
            assert!(data.clone().all(|x| x.abs() < bound), "{name}");
            let (mean, square) = (data.clone().sum::<f64>() / n, data.map(|x| x * x).sum::<f64>() / n);
            // Five standard deviations of the mean and of the mean square of a uniform variable.
            assert!(mean.abs() < 5.0 * bound / (3.0 * n).sqrt(), "{name}: {mean}");
            let deviation = bound * bound * (4.0 / 45.0 / n).sqrt();
            assert!((square - bound * bound / 3.0).abs() < 5.0 * deviation, "{name}: {square}");
        }
    }

    #[test]
    fn a_depends_on_the_seed_and_its_own_name_and_not_on_the_other_targets() {
        let a = |adapter: &Adapter, layer: &str| {
            adapter.get(&format!("base_model.model.bert.encoder.layer.{layer}.lora_A.weight")).unwrap().data.clone()
        };
        let (both, one, other) = (adapter(1, &["query", "value"]), adapter(1, &["value"]), adapter(2, &["value"]));
        let (value, query) = ("1.attention.self.value", "1.attention.self.query");
        assert_eq!(a(&both, value), a(&one, value));
        assert_ne!(a(&one, value), a(&other, value));
        assert_ne!(a(&both, value), a(&both, query));
    }
}
