//! An adapter put into its base model's weights: `W + scaling * B A`, and taken out again.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, View};

use crate::directory::{in_file, io_error, write_atomically};
use crate::{Adapter, AdapterError, weight_files};

/// Before every name of the base model in an adapter.
pub(crate) const PREFIX: &str = "base_model.model.";

/// Whether an adapter goes into the weights or comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// `W + scaling * B A`.
    Into,
    /// `W - scaling * B A`: what was merged before, but for the rounding of the weights' type.
    OutOf,
}

impl Adapter {
    /// Writes the model of the Hugging Face directory `base` with this adapter merged into (or out of) its weights to the directory
    /// `out`: every weight in its own type, everything else, configuration and tokenizer among it, byte for byte. A head
    /// that the adapter trained is not the base model's and stays with the adapter. Gives the number of weights' tensors that
    /// changed.
    ///
    /// # Errors
    /// [`AdapterError::Io`] and [`AdapterError::InFile`] naming the file; a layer of the adapter without a weight in the checkpoint.
    pub fn merge(&self, base: &Path, out: &Path, how: Merge) -> Result<usize, AdapterError> {
        let deltas = self.deltas(how);
        let weights = weight_files(base)?;
        // Before anything is written: a model with some of it merged would load, and be wrong.
        let mut known = BTreeSet::new();
        for name in &weights {
            let path = base.join(name);
            let bytes = fs::read(&path).map_err(|source| io_error(&path, source))?;
            let names = in_file(&path, SafeTensors::deserialize(&bytes).map_err(AdapterError::from))?;
            known.extend(names.names().into_iter().map(|name| full_name(name, self.model().stem())));
        }
        if let Some((missing, _)) = deltas.iter().find(|(name, _)| !known.contains(*name)) {
            return Err(AdapterError::MissingTensor { tensor: missing.clone() });
        }
        fs::create_dir_all(out).map_err(|source| io_error(out, source))?;
        for name in &weights {
            let path = base.join(name);
            let bytes = fs::read(&path).map_err(|source| io_error(&path, source))?;
            let rewritten = in_file(&path, rewrite(&bytes, &deltas, self.model().stem()))?;
            write_atomically(&out.join(name), &rewritten)?;
        }
        for entry in fs::read_dir(base).map_err(|source| io_error(base, source))? {
            let path = entry.map_err(|source| io_error(base, source))?.path();
            let Some(name) = path.file_name().filter(|name| path.is_file() && !weights.iter().any(|w| *w == **name))
            else {
                continue;
            };
            let bytes = fs::read(&path).map_err(|source| io_error(&path, source))?;
            write_atomically(&out.join(name), &bytes)?;
        }
        Ok(deltas.len())
    }

    /// What comes to the weight of every adapted layer, `scaling * B A` (`[outputs, inputs]`), and to a bias, `scaling * b` of one beside B and what is trained
    /// of it; by the tensor's name.
    fn deltas(&self, how: Merge) -> BTreeMap<String, Vec<f32>> {
        let scaling = if how == Merge::Into { self.config().scaling() } else { -self.config().scaling() };
        let sign = if how == Merge::Into { 1.0 } else { -1.0 };
        let mut deltas: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        for (name, tensor) in self.tensors() {
            let beside = name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(".lora_B.bias"));
            let (bias, factor) = match (beside, self.base_bias(name)) {
                (Some(layer), _) => (format!("{layer}.bias"), scaling),
                (None, Some(bias)) => (bias, sign),
                (None, None) => continue,
            };
            let sum = deltas.entry(bias).or_insert_with(|| vec![0.0; tensor.data.len()]);
            sum.iter_mut().zip(&tensor.data).for_each(|(sum, value)| *sum += factor * value);
        }
        for (name, down) in self.tensors() {
            let Some(layer) = name.strip_prefix(PREFIX).and_then(|name| name.strip_suffix(".lora_A.weight")) else {
                continue;
            };
            // An adapter has both or none.
            let Some(up) = self.get(&format!("{PREFIX}{layer}.lora_B.weight")) else { continue };
            let (&[rank, inputs], &[outputs, _]) = (&*down.shape, &*up.shape) else { continue };
            let mut delta = vec![0.0f32; outputs * inputs];
            for (row, delta) in delta.chunks_exact_mut(inputs).enumerate() {
                for (factor, down) in up.data[row * rank..(row + 1) * rank].iter().zip(down.data.chunks_exact(inputs)) {
                    delta.iter_mut().zip(down).for_each(|(sum, value)| *sum += scaling * factor * value);
                }
            }
            deltas.insert(format!("{layer}.weight"), delta);
        }
        deltas
    }
}

/// A tensor's name as in a checkpoint with a head.
pub(crate) fn full_name(name: &str, stem: &str) -> String {
    if name.starts_with(stem) { name.to_owned() } else { format!("{stem}{name}") }
}

/// A tensor of a rewritten file.
struct Raw<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Cow<'a, [u8]>,
}

impl View for &Raw<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }

    fn data_len(&self) -> usize {
        self.data.len()
    }
}

/// The file with the deltas added to the weights that it has.
fn rewrite(bytes: &[u8], deltas: &BTreeMap<String, Vec<f32>>, stem: &str) -> Result<Vec<u8>, AdapterError> {
    let file = SafeTensors::deserialize(bytes)?;
    let mut raw = BTreeMap::new();
    for (name, view) in file.iter() {
        let data = match deltas.get(&full_name(name, stem)) {
            None => Cow::Borrowed(view.data()),
            Some(delta) => Cow::Owned(add(name, view.dtype(), view.data(), delta)?),
        };
        raw.insert(name.to_owned(), Raw { dtype: view.dtype(), shape: view.shape().to_vec(), data });
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(safetensors::serialize(raw.iter().map(|(name, raw)| (name.as_str(), raw)), Some(metadata))?)
}

/// The sum of a tensor's little-endian values and `delta`, in the tensor's type.
fn add(name: &str, dtype: Dtype, data: &[u8], delta: &[f32]) -> Result<Vec<u8>, AdapterError> {
    let pairs = || data.as_chunks::<2>().0.iter().zip(delta);
    let sum: Vec<u8> = match dtype {
        Dtype::F32 => {
            let values = data.as_chunks::<4>().0.iter().zip(delta);
            values.flat_map(|(value, delta)| (f32::from_le_bytes(*value) + delta).to_le_bytes()).collect()
        }
        Dtype::F16 => pairs()
            .flat_map(|(value, delta)| f16::from_f32(f16::from_le_bytes(*value).to_f32() + delta).to_le_bytes())
            .collect(),
        Dtype::BF16 => pairs()
            .flat_map(|(value, delta)| bf16::from_f32(bf16::from_le_bytes(*value).to_f32() + delta).to_le_bytes())
            .collect(),
        other => return Err(AdapterError::WrongType { tensor: name.to_owned(), found: other.to_string() }),
    };
    if sum.len() != data.len() {
        let (found, expected) = (vec![sum.len() / dtype.bitsize().max(8) * 8], vec![delta.len()]);
        return Err(AdapterError::WrongShape { tensor: name.to_owned(), found, expected });
    }
    Ok(sum)
}
