//! Tensors out of a Hugging Face checkpoint, each checked for its name, type, shape and values: `model.safetensors`, or the files
//! that `model.safetensors.index.json` names.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::LoraError;

/// A checkpoint's files.
pub(crate) struct CheckpointFiles {
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl CheckpointFiles {
    /// Reads the checkpoint of the directory `dir`.
    pub(crate) fn read(dir: &Path) -> Result<Self, LoraError> {
        let names = adapter::weight_files(dir)
            .map_err(|e| LoraError::Checkpoint { path: dir.to_owned(), reason: e.to_string() })?;
        let file = |name: &PathBuf| {
            let path = dir.join(name);
            match std::fs::read(&path) {
                Ok(bytes) => Ok((path, bytes)),
                Err(source) => Err(LoraError::Read { path, source }),
            }
        };
        Ok(Self { files: names.iter().map(file).collect::<Result<_, _>>()? })
    }

    /// The tensors; names of the base model are looked for with `prefix` before them, or without in a checkpoint of the base model alone.
    pub(crate) fn tensors<'a>(&'a self, prefix: &'static str, device: &'a Device) -> Result<Tensors<'a>, LoraError> {
        let open = |(path, bytes): &'a (PathBuf, Vec<u8>)| match SafeTensors::deserialize(bytes) {
            Ok(file) => Ok((path.as_path(), file)),
            Err(e) => Err(LoraError::Checkpoint { path: path.clone(), reason: e.to_string() }),
        };
        let files: Vec<_> = self.files.iter().map(open).collect::<Result<_, _>>()?;
        let prefixed = files.iter().any(|(_, file)| file.names().iter().any(|name| name.starts_with(prefix)));
        Ok(Tensors { files, prefix: if prefixed { prefix } else { "" }, device })
    }
}

/// The tensors of one checkpoint, read by name into f32 on one device.
pub(crate) struct Tensors<'a> {
    files: Vec<(&'a Path, SafeTensors<'a>)>,
    prefix: &'static str,
    device: &'a Device,
}

impl Tensors<'_> {
    /// The full name of a tensor of the base model.
    pub(crate) fn base(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// A vector of `len` values.
    pub(crate) fn vector(&self, name: &str, len: usize) -> Result<Tensor<1>, LoraError> {
        let values = self.values(name, &[len])?;
        Ok(Tensor::from_data(TensorData::new(values, [len]), self.device))
    }

    /// The first row of a matrix of any number of rows.
    pub(crate) fn first_row(&self, name: &str, columns: usize) -> Result<Tensor<1>, LoraError> {
        let rows = self.rows(name)?;
        Ok(self.matrix(name, [rows, columns])?.narrow(0, 0, 1).reshape([columns]))
    }

    /// How many rows a tensor has, at least one.
    pub(crate) fn rows(&self, name: &str) -> Result<usize, LoraError> {
        let view = self.view(name).ok_or_else(|| self.missing(name))?.1;
        Ok(view.shape().first().copied().unwrap_or(0).max(1))
    }

    /// A matrix as it lies in the file, `[rows, columns]`.
    pub(crate) fn matrix(&self, name: &str, shape: [usize; 2]) -> Result<Tensor<2>, LoraError> {
        let values = self.values(name, &shape)?;
        Ok(Tensor::from_data(TensorData::new(values, shape), self.device))
    }

    /// Where tensors are made.
    pub(crate) fn device(&self) -> &Device {
        self.device
    }

    fn missing(&self, name: &str) -> LoraError {
        let path = self.files.first().map(|(path, _)| path.to_path_buf()).unwrap_or_default();
        LoraError::MissingTensor { path, name: name.to_owned() }
    }

    fn view(&self, name: &str) -> Option<(&Path, TensorView<'_>)> {
        self.files.iter().find_map(|(path, file)| file.tensor(name).ok().map(|view| (*path, view)))
    }

    /// A tensor's values as they lie in the file.
    pub(crate) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoraError> {
        let (path, view) = self.view(name).ok_or_else(|| self.missing(name))?;
        let (path, name) = (path.to_owned(), name.to_owned());
        if view.shape() != shape {
            let (expected, found) = (shape.to_vec(), view.shape().to_vec());
            return Err(LoraError::TensorShape { path, name, expected, found });
        }
        let Some(values) = to_f32(view.dtype(), view.data()) else {
            return Err(LoraError::TensorType { path, name, found: format!("{:?}", view.dtype()) });
        };
        if values.iter().any(|x| !x.is_finite()) {
            return Err(LoraError::NotFinite { path, name });
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
