//! An [`Adapter`] on a device: its tensors fitted to the base model, and where each trained one lies in the flat gradient.

use std::collections::{BTreeMap, HashSet};

use adapter::{Adapter, Bias, HeadLayer, LayerNames, Site};
use burn::tensor::{Device, Tensor, TensorData};

use crate::LoraError;
use crate::checkpoint::transpose;
use crate::linear::{Added, Branch, Down, Up};
use crate::spec::{HeadKind, Spec};
use crate::transformer::{Additions, LayerAdditions};

/// What PEFT puts before every name of the base model.
const PREFIX: &str = "base_model.model.";

/// An adapter's tensors on a device.
pub(crate) struct Attached {
    /// The branches and their trained part, by layer and site; nothing where the adapter has none.
    pub(crate) sites: Vec<[Option<SiteTensors>; Site::COUNT]>,
    /// What comes to the base model's biases, by layer.
    biases: Vec<LayerBiases>,
    /// To the bias of the embeddings' norm.
    embedding_norm: Option<Factor>,
    /// To the bias of the pooler before the head.
    pub(crate) pooler: Option<Factor>,
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

/// What comes to the biases of one layer, where it is trained, `[1, width]` each.
struct LayerBiases {
    /// Indexed as [`Site::ALL`].
    linears: [Option<Factor>; Site::COUNT],
    /// Of the norms at the attention block and at the feed-forward block.
    norms: [Option<Factor>; 2],
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
        let biases = (0..spec.num_layers).map(|layer| reader.biases(layer, spec)).collect::<Result<_, _>>()?;
        let embedding_norm = reader.bias(embedding_norm_tensor(spec), spec.hidden_size)?;
        let pooler = reader.bias(pooler_tensor(spec), spec.hidden_size)?;
        Ok(Self {
            sites,
            biases,
            embedding_norm,
            pooler,
            head,
            dropout: adapter.config().lora_dropout,
            width: adapter.trainable_len(),
        })
    }

    /// What the adapter adds, for evaluation.
    pub(crate) fn shared(&self) -> Additions {
        self.additions(|_, site| site.shared.clone(), |bias| bias.values.clone().unsqueeze())
    }

    /// What the adapter adds, of what `branch` makes of the branch at a layer and site and `bias` of what comes to a bias.
    pub(crate) fn additions(
        &self,
        branch: impl Fn((usize, Site), &SiteTensors) -> Branch,
        bias: impl Fn(&Factor) -> Tensor<3>,
    ) -> Additions {
        let layers = self.sites.iter().zip(&self.biases).enumerate().map(|(layer, (sites, biases))| LayerAdditions {
            linears: Site::ALL.map(|site| Added {
                branch: sites[site as usize].as_ref().map(|tensors| branch((layer, site), tensors)),
                bias: biases.linears[site as usize].as_ref().map(&bias),
            }),
            norms: biases.norms.each_ref().map(|factor| factor.as_ref().map(&bias)),
        });
        Additions { layers: layers.collect(), embedding_norm: self.embedding_norm.as_ref().map(&bias) }
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
        let of_family = self.adapter.model().architecture.biases()[site as usize];
        if self.adapter.config().bias != Bias::None && spec.biases[site as usize] != of_family {
            let reason = if of_family {
                "is missing in the checkpoint, which others of its family have: with bias = \"none\" it is not needed"
            } else {
                "is the checkpoint's alone, others of its family have none: train biases beside B (lora_bias = true), with bias = \"none\""
            };
            return Err(LoraError::Adapter { name: format!("{site_name}.bias"), reason: reason.to_owned() });
        }
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

    fn biases(&self, layer: usize, spec: &Spec) -> Result<LayerBiases, LoraError> {
        let mut linears = [const { None }; Site::COUNT];
        for site in Site::ALL {
            if let Some(name) = spec.names.linear.of(layer, site) {
                linears[site as usize] = self.bias(base_bias_tensors(&name), spec.shape(site).1)?;
            }
        }
        let [attention, feed_forward] = norm_tensors(spec, layer).map(|name| self.bias([name], spec.hidden_size));
        Ok(LayerBiases { linears, norms: [attention?, feed_forward?] })
    }

    /// What comes to a bias, if it is trained under one of these names.
    fn bias(&self, names: impl IntoIterator<Item = String>, width: usize) -> Result<Option<Factor>, LoraError> {
        match names.into_iter().find(|name| self.adapter.get(name).is_some()) {
            None => Ok(None),
            Some(name) => Ok(self.factor(&name, &self.read(&name, &[width])?, [1, width])),
        }
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
        let tensors = |site: String| {
            let factors = [factor_tensor(&site, "lora_A"), factor_tensor(&site, "lora_B"), bias_tensor(&site)];
            factors.into_iter().chain(base_bias_tensors(&site))
        };
        let layers = self.adapter.model().head_layers();
        let layers = layers.iter().filter(|_| head);
        let heads = layers.flat_map(|layer| HEAD.map(|part| head_tensor(layer.name, part)));
        let norms = (0..spec.num_layers).flat_map(|layer| norm_tensors(spec, layer));
        let others = norms.chain(embedding_norm_tensor(spec)).chain(pooler_tensor(spec));
        let known: HashSet<String> = sites.flatten().flat_map(tensors).chain(heads).chain(others).collect();
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

/// What comes to the base model's own bias: of an adapted layer, and of another.
fn base_bias_tensors(site: &str) -> [String; 2] {
    [format!("{PREFIX}{site}.base_layer.bias"), format!("{PREFIX}{site}.bias")]
}

fn norm_tensors(spec: &Spec, layer: usize) -> [String; 2] {
    let LayerNames { prefix, layers, attention_norm, feed_forward_norm, .. } = spec.names.linear;
    [attention_norm, feed_forward_norm].map(|norm| format!("{PREFIX}{prefix}{layers}{layer}.{norm}.bias"))
}

fn embedding_norm_tensor(spec: &Spec) -> Option<String> {
    let LayerNames { prefix, embedding_norm, .. } = spec.names.linear;
    embedding_norm.map(|norm| format!("{PREFIX}{prefix}{norm}.bias"))
}

/// Of the frozen layer before the head, where it belongs to the base model.
fn pooler_tensor(spec: &Spec) -> Option<String> {
    match spec.head {
        HeadKind::Sequence { dense, .. } if dense.starts_with(spec.names.linear.prefix) => {
            Some(format!("{PREFIX}{dense}.bias"))
        }
        _ => None,
    }
}

fn factor_tensor(site: &str, part: &str) -> String {
    format!("{PREFIX}{site}.{part}.weight")
}
