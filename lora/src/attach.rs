//! An [`Adapter`] on a device: its tensors fitted to the base model, and where each trained one lies in the flat gradient.

use std::collections::{BTreeMap, HashSet};

use adapter::{Adapter, HeadLayer, Site};
use burn::tensor::{Device, Tensor, TensorData};

use crate::LoraError;
use crate::checkpoint::transpose;
use crate::linear::{Branch, Down, Up};
use crate::spec::Spec;
use crate::transformer::LayerBranches;

/// What PEFT puts before every name of the base model.
const PREFIX: &str = "base_model.model.";

/// An adapter's tensors on a device.
pub(crate) struct Attached {
    /// The branches and their trained part, by layer and site; nothing where the adapter has none.
    pub(crate) sites: Vec<[Option<SiteTensors>; Site::COUNT]>,
    /// The layers of the head over labels, from the hidden states on; none of a language model.
    pub(crate) head: Vec<HeadTensors>,
    /// Share of a site's inputs that a training step hides.
    pub(crate) dropout: f64,
    /// Length of a flat gradient.
    pub(crate) width: usize,
}

/// One LoRA branch.
pub(crate) struct SiteTensors {
    /// The branch for evaluation, with one shared Bᵀ.
    pub(crate) shared: Branch,
    /// B as PEFT stores it, `[outputs, r]`, where it is trained.
    pub(crate) up: Option<Factor>,
    /// A as PEFT stores it, `[r, inputs]`, where it is trained.
    pub(crate) down: Option<Factor>,
    /// The bias beside B, `[1, outputs]`, where there is one and it is trained.
    pub(crate) bias: Option<Factor>,
}

/// A trained tensor.
pub(crate) struct Factor {
    pub(crate) values: Tensor<2>,
    /// Where its gradient starts in the flat gradient.
    pub(crate) offset: usize,
}

/// A layer of the head.
pub(crate) struct HeadTensors {
    /// `[outputs, inputs]`.
    pub(crate) weight: Factor,
    /// `[outputs, 1]`.
    pub(crate) bias: Factor,
}

impl Attached {
    /// Fits `adapter` to a base model and a head of `labels` labels, where there is one.
    pub(crate) fn new(
        adapter: &Adapter,
        spec: &Spec,
        labels: Option<usize>,
        device: &Device,
    ) -> Result<Self, LoraError> {
        let places = adapter.trainable().into_iter().map(|slot| (slot.name, slot.offset)).collect();
        let reader = Reader { adapter, places, device };
        reader.check_all_placed(spec, labels.is_some())?;
        let head = labels.map_or(Ok(Vec::new()), |labels| reader.head(labels, spec.hidden_size))?;
        if labels.is_some() && head.is_empty() {
            let reason = "is missing: this adapter is a language model's".to_owned();
            return Err(LoraError::Adapter { name: "classifier".to_owned(), reason });
        }
        let mut sites = Vec::with_capacity(spec.num_layers);
        for layer in 0..spec.num_layers {
            let mut row = [const { None }; Site::COUNT];
            for site in Site::ALL {
                row[site as usize] = reader.site(layer, site, spec)?;
            }
            sites.push(row);
        }
        Ok(Self { sites, head, dropout: adapter.config().lora_dropout, width: adapter.trainable_len() })
    }

    /// The branches for evaluation.
    pub(crate) fn shared_branches(&self) -> Vec<LayerBranches> {
        let branch = |site: &Option<SiteTensors>| site.as_ref().map(|site| site.shared.clone());
        self.sites.iter().map(|row| row.each_ref().map(branch)).collect()
    }
}

/// Reads tensors of an adapter by their PEFT names.
struct Reader<'a> {
    adapter: &'a Adapter,
    /// Where each trained tensor lies in the flat gradient.
    places: BTreeMap<String, usize>,
    device: &'a Device,
}

impl Reader<'_> {
    fn head(&self, labels: usize, hidden: usize) -> Result<Vec<HeadTensors>, LoraError> {
        let layers = self.adapter.model().head_layers();
        let last = layers.len().saturating_sub(1);
        let layer = |(place, layer): (usize, &HeadLayer)| {
            let outputs = if place == last { labels } else { hidden };
            let factor = |part: &str, shape: &[usize], columns: usize| {
                let name = head_tensor(layer.name, part);
                let missing = || LoraError::Adapter { name: name.clone(), reason: "is not trained".to_owned() };
                self.factor(&name, &self.read(&name, shape)?, [outputs, columns]).ok_or_else(missing)
            };
            Ok(HeadTensors {
                weight: factor("weight", &[outputs, hidden], hidden)?,
                bias: factor("bias", &[outputs], 1)?,
            })
        };
        layers.iter().enumerate().map(layer).collect()
    }

    fn site(&self, layer: usize, site: Site, spec: &Spec) -> Result<Option<SiteTensors>, LoraError> {
        let Some(site_name) = spec.names.linear.of(layer, site) else { return Ok(None) };
        let name = |part: &str| factor_tensor(&site_name, part);
        let config = self.adapter.config();
        let (inputs, outputs) = spec.shape(site);
        if self.adapter.get(&name("lora_A")).is_none() && self.adapter.get(&name("lora_B")).is_none() {
            return Ok(None);
        }
        let r = config.r as usize;
        let down = self.read(&name("lora_A"), &[r, inputs])?;
        let up = self.read(&name("lora_B"), &[outputs, r])?;
        let bias_name = bias_tensor(&site_name);
        let bias = config.lora_bias.then(|| self.read(&bias_name, &[outputs])).transpose()?;
        Ok(Some(SiteTensors {
            shared: Branch {
                down: Down::Shared(self.matrix(transpose(&down, r, inputs), [inputs, r])),
                up: Up::Shared(self.matrix(transpose(&up, outputs, r), [r, outputs])),
                bias: bias.clone().map(|bias| self.matrix(bias, [1, outputs]).unsqueeze()),
                dropout: None,
                scaling: config.scaling(),
            },
            up: self.factor(&name("lora_B"), &up, [outputs, r]),
            down: self.factor(&name("lora_A"), &down, [r, inputs]),
            bias: bias.and_then(|bias| self.factor(&bias_name, &bias, [1, outputs])),
        }))
    }

    fn matrix(&self, values: Vec<f32>, shape: [usize; 2]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values, shape), self.device)
    }

    /// A tensor with its place in the flat gradient, where it is trained.
    fn factor(&self, name: &str, values: &[f32], shape: [usize; 2]) -> Option<Factor> {
        self.places.get(name).map(|offset| Factor { values: self.matrix(values.to_vec(), shape), offset: *offset })
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoraError> {
        let refuse = |reason: String| LoraError::Adapter { name: name.to_owned(), reason };
        let tensor = self.adapter.get(name).ok_or_else(|| refuse("is missing".to_owned()))?;
        if tensor.shape != shape {
            return Err(refuse(format!("has shape {:?}, the model calls for {shape:?}", tensor.shape)));
        }
        Ok(tensor.data.clone())
    }

    /// Every trained tensor must have a place in the model: one without would keep a zero gradient unnoticed.
    fn check_all_placed(&self, spec: &Spec, head: bool) -> Result<(), LoraError> {
        let sites = (0..spec.num_layers).flat_map(|layer| Site::ALL.map(|site| spec.names.linear.of(layer, site)));
        let tensors =
            |site: String| [factor_tensor(&site, "lora_A"), factor_tensor(&site, "lora_B"), bias_tensor(&site)];
        let layers = self.adapter.model().head_layers();
        let layers = layers.iter().filter(|_| head);
        let heads = layers.flat_map(|layer| HEAD.map(|part| head_tensor(layer.name, part)));
        let known: HashSet<String> = sites.flatten().flat_map(tensors).chain(heads).collect();
        match self.places.keys().find(|name| !known.contains(*name)) {
            None => Ok(()),
            Some(name) => {
                Err(LoraError::Adapter { name: name.clone(), reason: "has no place in the model".to_owned() })
            }
        }
    }
}

/// The tensors of a head's layer.
const HEAD: [&str; 2] = ["weight", "bias"];

fn head_tensor(layer: &str, part: &str) -> String {
    format!("{PREFIX}{layer}.{part}")
}

fn bias_tensor(site: &str) -> String {
    format!("{PREFIX}{site}.lora_B.bias")
}

fn factor_tensor(site: &str, part: &str) -> String {
    format!("{PREFIX}{site}.{part}.weight")
}
