//! Tensors out of a `model.safetensors`, each checked for its name, type, shape and values.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use crate::LoraError;

/// A checkpoint's bytes and where they came from.
pub(crate) struct CheckpointFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl CheckpointFile {
    pub(crate) fn read(path: &Path) -> Result<Self, LoraError> {
        let bytes = std::fs::read(path).map_err(|source| LoraError::Read { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), bytes })
    }

    /// The tensors of a BERT encoder, under `bert.` or without a prefix.
    pub(crate) fn tensors<'a>(&'a self, device: &'a Device) -> Result<Tensors<'a>, LoraError> {
        let file = SafeTensors::deserialize(&self.bytes)
            .map_err(|e| LoraError::Checkpoint { path: self.path.clone(), reason: e.to_string() })?;
        let prefixed = file.tensor("bert.embeddings.word_embeddings.weight").is_ok();
        Ok(Tensors { path: &self.path, file, prefix: if prefixed { "bert." } else { "" }, device })
    }
}

/// The tensors of one checkpoint, read by name into f32 on one device.
pub(crate) struct Tensors<'a> {
    path: &'a Path,
    file: SafeTensors<'a>,
    prefix: &'static str,
    device: &'a Device,
}

impl Tensors<'_> {
    /// A vector of `len` values.
    pub(crate) fn vector(&self, name: &str, len: usize) -> Result<Tensor<1>, LoraError> {
        let values = self.values(name, &[len])?;
        Ok(Tensor::from_data(TensorData::new(values, [len]), self.device))
    }

    /// A matrix as it lies in the file, `[rows, columns]`.
    pub(crate) fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<Tensor<2>, LoraError> {
        let values = self.values(name, &shape)?;
        Ok(Tensor::from_data(TensorData::new(values, shape), self.device))
    }

    /// A linear layer's weight: `[outputs, inputs]` in the file, laid out `[inputs, outputs]` for `x · W`.
    pub(crate) fn transposed(&self, name: &str, inputs: usize, outputs: usize) -> Result<Tensor<2>, LoraError> {
        let values = transpose(&self.values(name, &[outputs, inputs])?, outputs, inputs);
        Ok(Tensor::from_data(TensorData::new(values, [inputs, outputs]), self.device))
    }

    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoraError> {
        let path = || self.path.to_owned();
        let full = format!("{}{name}", self.prefix);
        let view =
            self.file.tensor(&full).map_err(|_| LoraError::MissingTensor { path: path(), name: name.to_owned() })?;
        if view.shape() != shape {
            let (expected, found) = (shape.to_vec(), view.shape().to_vec());
            return Err(LoraError::TensorShape { path: path(), name: full, expected, found });
        }
        let Some(values) = to_f32(view.dtype(), view.data()) else {
            return Err(LoraError::TensorType { path: path(), name: full, found: format!("{:?}", view.dtype()) });
        };
        if values.iter().any(|x| !x.is_finite()) {
            return Err(LoraError::NotFinite { path: path(), name: full });
        }
        Ok(values)
    }
}

/// The values of a little-endian tensor, none for a type that is not a float of 16 or 32 bits.
fn to_f32(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let pairs = || bytes.as_chunks::<2>().0.iter();
    Some(match dtype {
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => pairs().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => pairs().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        _ => return None,
    })
}

/// The transpose of a row-major matrix.
pub(crate) fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for column in 0..columns {
        out.extend((0..rows).map(|row| values[row * columns + column]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_type_is_read_and_others_are_refused() {
        assert_eq!(to_f32(Dtype::F32, &1.5f32.to_le_bytes()), Some(vec![1.5]));
        assert_eq!(to_f32(Dtype::F16, &f16::from_f32(-2.5).to_le_bytes()), Some(vec![-2.5]));
        assert_eq!(to_f32(Dtype::BF16, &bf16::from_f32(0.375).to_le_bytes()), Some(vec![0.375]));
        assert_eq!(to_f32(Dtype::I64, &[0; 8]), None);
    }

    #[test]
    fn a_transpose_swaps_rows_and_columns() {
        assert_eq!(transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }
}
