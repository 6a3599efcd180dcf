//! Biases of the base model that are trained with an adapter (PEFT's `bias`).
//!
//! An [`Adapter`] holds what comes *to* them, zero at first, so that a federation agrees on a state that follows from its charter alone. PEFT's files hold the
//! biases themselves: writing and reading those takes the base model's, which are [`BaseBiases`].

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
use crate::{Adapter, AdapterError, Architecture, Head, HeadLayer, LoraConfig, Model, weight_files};

/// The biases of a base model that adapters of one configuration train, as its checkpoint has them: none where none is trained.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BaseBiases(BTreeMap<String, Vec<f32>>);

impl BaseBiases {
    /// Reads what adapters of this model and configuration need from the Hugging Face directory `base`, whose weights are opened only if any is trained.
    ///
    /// # Errors
    /// [`AdapterError::Io`] and [`AdapterError::InFile`] naming the file or the tensor that it lacks.
    pub fn read(model: &Model, config: &LoraConfig, base: &Path) -> Result<Self, AdapterError> {
        let mut read = BTreeMap::new();
        if config.bias == Bias::None {
            return Ok(Self(read));
        }
        let stem = model.stem();
        let names = model.biases(config, &model.targets(config)?)?.into_iter();
        // By the checkpoint's name, the adapter's.
        let mut wanted: BTreeMap<String, String> =
            names.filter_map(|(name, _)| Some((in_checkpoint(&name)?, format!("{PREFIX}{name}")))).collect();
        for file in weight_files(base)? {
            if wanted.is_empty() {
                break;
            }
            let path = base.join(file);
            let bytes = fs::read(&path).map_err(|source| io_error(&path, source))?;
            let tensors = in_file(&path, SafeTensors::deserialize(&bytes).map_err(AdapterError::from))?;
            for (name, view) in tensors.iter() {
                let Some(own) = wanted.remove(&full_name(name, stem)) else { continue };
                read.insert(own, in_file(&path, values(name, view.dtype(), view.data()))?);
            }
        }
        match wanted.into_keys().next() {
            Some(tensor) => in_file(base, Err(AdapterError::MissingTensor { tensor })),
            None => Ok(Self(read)),
        }
    }

    /// The name of a bias that the adapter trains and that is not here, if there is one: its files can then not be written.
    #[must_use]
    pub fn missing<'a>(&self, adapter: &'a Adapter) -> Option<&'a str> {
        let mut names = adapter.tensors().map(|(name, _)| name);
        names.find(|name| adapter.base_bias(name).is_some() && !self.0.contains_key(*name))
    }
}

/// What PEFT calls the bias of an adapted layer, after the layer's name.
const ADAPTED: &str = ".base_layer.bias";
/// BERT's, after the model's prefix.
const POOLER: &str = "pooler.dense";

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
            let others = names.embedding_norm.into_iter().chain(self.pooler()).map(str::to_owned);
            biases.extend(others.chain(layers).map(|name| (format!("{prefix}{name}.bias"), hidden)));
        }
        if biases.is_empty() {
            let rule =
                "\"none\": no such layer of this family has a bias (with lora_bias = true, one is trained beside B)";
            return Err(AdapterError::Invalid { key: "bias", found: format!("{:?}", config.bias.as_str()), rule });
        }
        Ok(biases)
    }

    /// The frozen layer between the hidden states and the head, where the head has one.
    pub(crate) fn pooler(&self) -> Option<&'static str> {
        let pooled = self.head == Head::SequenceClassification && self.architecture == Architecture::Bert;
        pooled.then_some(POOLER)
    }

    /// Names, without PEFT's prefix, of biases that PEFT saves where it saves all, and that are none of an adapter's: those of the head a second time, as
    /// trained and as they were, and a pooler's that the head does not use; with each one's width.
    pub(crate) fn biases_beside(&self) -> Vec<(String, usize)> {
        let mut beside = Vec::new();
        for HeadLayer { name, outputs, .. } in self.head_layers() {
            for module in self.head_modules() {
                let Some(rest) = name.strip_prefix(module) else { continue };
                let copies = ["modules_to_save", "modules_to_save.default", "original_module"];
                beside.extend(copies.map(|copy| (format!("{module}.{copy}{rest}.bias"), outputs)));
            }
        }
        if self.architecture == Architecture::Bert && self.pooler().is_none() {
            beside.push((format!("{}{POOLER}.bias", self.stem()), self.hidden_size as usize));
        }
        beside
    }
}

impl Adapter {
    /// Which bias of the base model the tensor of this name comes to, as in a checkpoint with a head; none if it is no such tensor.
    pub(crate) fn base_bias(&self, tensor: &str) -> Option<String> {
        let name = tensor.strip_prefix(PREFIX)?;
        if name.ends_with(".lora_B.bias") || !name.starts_with(self.model().stem()) {
            return None;
        }
        in_checkpoint(name)
    }

    /// The same with `base` added `sign` times to what it has of the base model's biases: 1 for what PEFT's files hold, -1 for what an adapter holds.
    pub(crate) fn with_biases(mut self, base: &BaseBiases, sign: f32) -> Result<Self, AdapterError> {
        if let Some(missing) = base.missing(&self) {
            return Err(AdapterError::MissingTensor { tensor: missing.to_owned() });
        }
        for (name, values) in &base.0 {
            self.add_to(name, values, sign)?;
        }
        Ok(self)
    }
}

/// The name in a checkpoint of the bias that PEFT calls so, without its prefix; none of what is no bias.
pub(crate) fn in_checkpoint(name: &str) -> Option<String> {
    let layer = name.strip_suffix(ADAPTED).or_else(|| name.strip_suffix(".bias"))?;
    Some(format!("{layer}.bias"))
}

/// The values of a tensor of any of the types that weights have.
pub(crate) fn values(name: &str, dtype: Dtype, data: &[u8]) -> Result<Vec<f32>, AdapterError> {
    let halves = data.as_chunks::<2>().0.iter();
    match dtype {
        Dtype::F32 => Ok(floats(data)),
        Dtype::F16 => Ok(halves.map(|bits| f16::from_le_bytes(*bits).to_f32()).collect()),
        Dtype::BF16 => Ok(halves.map(|bits| bf16::from_le_bytes(*bits).to_f32()).collect()),
        other => Err(AdapterError::WrongType { tensor: name.to_owned(), found: other.to_string() }),
    }
}
