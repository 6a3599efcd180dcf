//! An adapter as a digest and as safetensors bytes.

use std::borrow::Cow;
use std::collections::HashMap;

use safetensors::{Dtype, SafeTensors, View};
use sha2::{Digest, Sha256};

use crate::biases::values;
use crate::merge::PREFIX;
use crate::{Adapter, AdapterError, Bias, LoraConfig, Model, Tensor};

const DIGEST_LABEL: &[u8] = b"plainchant adapter v1\0";

/// What a safetensors header may take for each tensor: the name (below 100 bytes), shape, type and offsets as JSON.
const HEADER_BYTES_A_TENSOR: u64 = 512;

/// What a safetensors header may take besides its tensors: writers add metadata of their own.
const HEADER_BYTES: u64 = 64 << 10;

impl Adapter {
    /// SHA-256 over a versioned label, the number of tensors, and for each tensor in the order of the names: name, shape
    /// and the values' bits, everything little-endian and every text and list with its length before it.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha256::new_with_prefix(DIGEST_LABEL);
        hasher.update((self.tensors().count() as u32).to_le_bytes());
        for (name, tensor) in self.tensors() {
            hash_shape(&mut hasher, name, &tensor.shape);
            hasher.update(little_endian(&tensor.data));
        }
        hasher.finalize().into()
    }

    /// The tensors as a safetensors file; the same adapter gives the same bytes.
    ///
    /// # Errors
    /// [`AdapterError::Safetensors`] if the writer fails.
    pub fn to_bytes(&self) -> Result<Vec<u8>, AdapterError> {
        // Transformers and PEFT ask for this key. One key only: the writer does not sort them.
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        Ok(safetensors::serialize(self.tensors(), Some(metadata))?)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) or PEFT wrote for this model and configuration.
    ///
    /// # Errors
    /// A typed [`AdapterError`] for a malformed file, and one naming the tensor for one that is missing, not called for,
    /// of another shape or type, or not finite.
    pub fn from_bytes(model: &Model, config: &LoraConfig, bytes: &[u8]) -> Result<Self, AdapterError> {
        let (found, limit) = (bytes.len() as u64, size_limit(model, config)?);
        if found > limit {
            return Err(AdapterError::TooLarge { found, limit });
        }
        let file = SafeTensors::deserialize(bytes)?;
        let mut views: HashMap<String, _> = file.tensors().into_iter().collect();
        let adapter = Self::build(model, config, |name, shape| {
            let tensor = || name.to_owned();
            let view = views.remove(name).ok_or_else(|| AdapterError::MissingTensor { tensor: tensor() })?;
            if view.shape() != shape {
                let (found, expected) = (view.shape().to_vec(), shape.to_vec());
                return Err(AdapterError::WrongShape { tensor: tensor(), found, expected });
            }
            // PEFT saves what it trains of a base model in 16 bits, its biases and head among it, in the base model's type.
            values(name, view.dtype(), view.data())
        })?;
        if config.bias == Bias::All {
            for (name, _) in model.biases_beside() {
                views.remove(&format!("{PREFIX}{name}"));
            }
        }
        match views.into_keys().min() {
            Some(tensor) => Err(AdapterError::UnknownTensor { tensor }),
            None => Ok(adapter),
        }
    }
}

/// The most bytes that an adapter of this model and configuration takes as a file.
pub(crate) fn size_limit(model: &Model, config: &LoraConfig) -> Result<u64, AdapterError> {
    let tensors = model.tensors(config)?;
    let weights: u64 = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum();
    let beside = if config.bias == Bias::All { model.biases_beside() } else { Vec::new() };
    let others: usize = beside.iter().map(|(_, width)| width).sum();
    let count = (tensors.len() + beside.len()) as u64;
    Ok(4 * (weights + others as u64) + HEADER_BYTES_A_TENSOR * count + HEADER_BYTES)
}

/// Adds a tensor's name and shape.
pub(crate) fn hash_shape(hasher: &mut Sha256, name: &str, shape: &[usize]) {
    hasher.update((name.len() as u32).to_le_bytes());
    hasher.update(name);
    hasher.update((shape.len() as u32).to_le_bytes());
    for &length in shape {
        hasher.update((length as u64).to_le_bytes());
    }
}

/// The bits of the values, little-endian.
pub(crate) fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The values of little-endian bits; up to three bytes that make no value are left out.
pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&four| f32::from_le_bytes(four)).collect()
}

impl View for &Tensor {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        little_endian(&self.data).into()
    }

    fn data_len(&self) -> usize {
        4 * self.data.len()
    }
}
