//! Biases of the base model that are trained with an adapter (PEFT's `bias`).
//!
//! An [`Adapter`] holds what comes *to* them, zero at first, so that a federation agrees on a state that follows from its charter alone. PEFT's files hold the
//! biases themselves: writing and reading those takes the base model.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use crate::codec::floats;
use crate::config::Bias;
use crate::directory::{in_file, io_error};
use crate::merge::{PREFIX, full_name};
use crate::model::Linear;
use crate::{Adapter, AdapterError, Architecture, Head, LoraConfig, Model, weight_files};

/// What PEFT calls the bias of an adapted layer, after the layer's name.
const ADAPTED: &str = ".base_layer.bias";

impl Model {
    /// Name, as PEFT has it without its prefix, and width of every bias that `config` trains; `targets` are the adapted layers.
    pub(crate) fn biases(&self, config: &LoraConfig, targets: &[Linear]) -> Result<Vec<(String, usize)>, AdapterError> {
        let mut biases = Vec::new();
        if config.bias == Bias::None {
            return Ok(biases);
        }
        for layer in self.linear_layers().into_iter().filter(|layer| layer.bias) {
            if targets.contains(&layer) {
                biases.push((format!("{}{ADAPTED}", layer.name), layer.outputs));
            } else if config.bias == Bias::All {
                biases.push((format!("{}.bias", layer.name), layer.outputs));
            }
        }
        // LayerNorm has a bias, RMSNorm has none.
        if config.bias == Bias::All && !self.architecture.is_language_model() {
            let names = self.architecture.layer_names();
            let (prefix, hidden) = (names.prefix, self.hidden_size as usize);
            let layers = (0..self.num_hidden_layers).flat_map(|layer| {
                [names.attention_norm, names.feed_forward_norm].map(|norm| format!("{}{layer}.{norm}", names.layers))
            });
            let norms = names.embedding_norm.map(str::to_owned).into_iter().chain(layers).chain(self.pooler());
            biases.extend(norms.map(|name| (format!("{prefix}{name}.bias"), hidden)));
        }
        if biases.is_empty() {
            let rule =
                "\"none\": no such layer of this family has a bias (with lora_bias = true, one is trained beside B)";
            return Err(AdapterError::Invalid { key: "bias", found: format!("{:?}", config.bias.as_str()), rule });
        }
        Ok(biases)
    }

    /// The frozen layer between the hidden states and the head, where the head has one.
    fn pooler(&self) -> Option<String> {
        let pooled = self.head == Head::SequenceClassification && self.architecture == Architecture::Bert;
        pooled.then(|| "pooler.dense".to_owned())
    }
}

impl Adapter {
    /// Which bias of the base model the tensor of this name comes to, as in a checkpoint with a head; none if it is no such tensor.
    pub(crate) fn base_bias(&self, tensor: &str) -> Option<String> {
        let name = tensor.strip_prefix(PREFIX)?;
        if name.ends_with(".lora_B.bias") || !name.starts_with(self.stem()) {
            return None;
        }
        name.strip_suffix(ADAPTED).or_else(|| name.strip_suffix(".bias")).map(|layer| format!("{layer}.bias"))
    }

    /// The same with the biases of the model in `base` added `sign` times to what it has of them: 1 for what PEFT's files hold, -1 for what an adapter holds.
    pub(crate) fn with_biases_of(&self, base: &Path, sign: f32) -> Result<Self, AdapterError> {
        let of_tensor = |name: &str| self.base_bias(name).map(|bias| (bias, name.to_owned()));
        let mut wanted: BTreeMap<String, String> = self.tensors().filter_map(|(name, _)| of_tensor(name)).collect();
        let mut adapter = self.clone();
        for file in weight_files(base)? {
            if wanted.is_empty() {
                break;
            }
            let path = base.join(file);
            let bytes = fs::read(&path).map_err(|source| io_error(&path, source))?;
            let tensors = in_file(&path, SafeTensors::deserialize(&bytes).map_err(AdapterError::from))?;
            for (name, view) in tensors.iter() {
                let Some(own) = wanted.remove(&full_name(name, self.stem())) else { continue };
                let values = in_file(&path, values(name, view.dtype(), view.data()))?;
                in_file(&path, adapter.add_to(&own, &values, sign))?;
            }
        }
        match wanted.into_keys().next() {
            Some(tensor) => in_file(base, Err(AdapterError::MissingTensor { tensor })),
            None => Ok(adapter),
        }
    }
}

/// The values of a tensor of any of the types that weights have.
fn values(name: &str, dtype: Dtype, data: &[u8]) -> Result<Vec<f32>, AdapterError> {
    let halves = data.as_chunks::<2>().0.iter();
    match dtype {
        Dtype::F32 => Ok(floats(data)),
        Dtype::F16 => Ok(halves.map(|bits| f16::from_le_bytes(*bits).to_f32()).collect()),
        Dtype::BF16 => Ok(halves.map(|bits| bf16::from_le_bytes(*bits).to_f32()).collect()),
        other => Err(AdapterError::WrongType { tensor: name.to_owned(), found: other.to_string() }),
    }
}
