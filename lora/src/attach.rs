//! An [`Adapter`] on a device: its tensors fitted to the base model, and where each trained one lies in the flat gradient.

use std::collections::HashSet;

use adapter::{Adapter, Site, Train};
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
    /// The head over labels; none of a language model.
    pub(crate) head: Option<HeadTensors>,
    /// Length of a flat gradient.
    pub(crate) width: usize,
}

/// One LoRA branch.
pub(crate) struct SiteTensors {
    /// The branch for evaluation, with one shared Bᵀ.
    pub(crate) shared: Branch,
    /// B as PEFT stores it, `[outputs, r]`.
    pub(crate) up: Factor,
    /// A as PEFT stores it, `[r, inputs]`, where it is trained.
    pub(crate) down: Option<Factor>,
}

/// A trained factor of a branch.
pub(crate) struct Factor {
    pub(crate) values: Tensor<2>,
    /// Where its gradient starts in the flat gradient.
    pub(crate) offset: usize,
}

/// The head over labels, and where its gradients start in the flat gradient.
pub(crate) struct HeadTensors {
    /// `[labels, hidden]`.
    pub(crate) weight: Tensor<2>,
    /// `[labels]`.
    pub(crate) bias: Tensor<1>,
    pub(crate) labels: usize,
    pub(crate) weight_offset: usize,
    pub(crate) bias_offset: usize,
}

impl Attached {
    /// Fits `adapter` to a base model and a head of `labels` labels, where there is one.
    pub(crate) fn new(
        adapter: &Adapter,
        spec: &Spec,
        labels: Option<usize>,
        device: &Device,
    ) -> Result<Self, LoraError> {
        let reader = Reader { adapter, device };
        reader.check_all_placed(spec, labels.is_some())?;
        let head = labels.map(|labels| reader.head(labels, spec.hidden_size)).transpose()?;
        let mut sites = Vec::with_capacity(spec.num_layers);
        for layer in 0..spec.num_layers {
            let mut row = [const { None }; Site::COUNT];
            for site in Site::ALL {
                row[site as usize] = reader.site(layer, site, spec)?;
            }
            sites.push(row);
        }
        Ok(Self { sites, head, width: adapter.trainable_len() })
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
    device: &'a Device,
}

impl Reader<'_> {
    fn head(&self, labels: usize, hidden: usize) -> Result<HeadTensors, LoraError> {
        let [weight, bias] = HEAD.map(head_tensor);
        let values = self.read(&weight, &[labels, hidden])?;
        Ok(HeadTensors {
            weight: Tensor::from_data(TensorData::new(values, [labels, hidden]), self.device),
            bias: Tensor::from_data(TensorData::new(self.read(&bias, &[labels])?, [labels]), self.device),
            labels,
            weight_offset: self.offset(&weight)?,
            bias_offset: self.offset(&bias)?,
        })
    }

    fn site(&self, layer: usize, site: Site, spec: &Spec) -> Result<Option<SiteTensors>, LoraError> {
        let Some(site_name) = spec.names.linear.of(layer, site) else { return Ok(None) };
        let name = |part: &str| factor_tensor(&site_name, part);
        let (inputs, outputs) = spec.shape(site);
        if self.adapter.get(&name("lora_A")).is_none() && self.adapter.get(&name("lora_B")).is_none() {
            return Ok(None);
        }
        let r = self.adapter.config().r as usize;
        let down = self.read(&name("lora_A"), &[r, inputs])?;
        let up = self.read(&name("lora_B"), &[outputs, r])?;
        let matrix = |values, shape: [usize; 2]| Tensor::from_data(TensorData::new(values, shape), self.device);
        Ok(Some(SiteTensors {
            shared: Branch {
                down: Down::Shared(matrix(transpose(&down, r, inputs), [inputs, r])),
                up: Up::Shared(matrix(transpose(&up, outputs, r), [r, outputs])),
                scaling: self.adapter.config().scaling(),
            },
            up: Factor { values: matrix(up, [outputs, r]), offset: self.offset(&name("lora_B"))? },
            down: match self.adapter.config().train {
                Train::B => None,
                Train::AB => Some(Factor { values: matrix(down, [r, inputs]), offset: self.offset(&name("lora_A"))? }),
            },
        }))
    }

    fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoraError> {
        let refuse = |reason: String| LoraError::Adapter { name: name.to_owned(), reason };
        let tensor = self.adapter.get(name).ok_or_else(|| refuse("is missing".to_owned()))?;
        if tensor.shape != shape {
            return Err(refuse(format!("has shape {:?}, the model calls for {shape:?}", tensor.shape)));
        }
        Ok(tensor.data.clone())
    }

    fn offset(&self, name: &str) -> Result<usize, LoraError> {
        let trained = self.adapter.trainable();
        let slot = trained.iter().find(|slot| slot.name == name);
        let missing = || LoraError::Adapter { name: name.to_owned(), reason: "is not trainable".to_owned() };
        slot.map(|slot| slot.offset).ok_or_else(missing)
    }

    /// Every trained tensor must have a place in the model: one without would keep a zero gradient unnoticed.
    fn check_all_placed(&self, spec: &Spec, head: bool) -> Result<(), LoraError> {
        let sites = (0..spec.num_layers).flat_map(|layer| Site::ALL.map(|site| spec.names.linear.of(layer, site)));
        let factors = sites.flatten().flat_map(|site| ["lora_A", "lora_B"].map(|part| factor_tensor(&site, part)));
        let places: HashSet<String> = factors.chain(HEAD.map(head_tensor).into_iter().filter(|_| head)).collect();
        match self.adapter.trainable().into_iter().find(|slot| !places.contains(&slot.name)) {
            None => Ok(()),
            Some(slot) => Err(LoraError::Adapter { name: slot.name, reason: "has no place in the model".to_owned() }),
        }
    }
}

/// The head's tensors.
const HEAD: [&str; 2] = ["weight", "bias"];

fn head_tensor(part: &str) -> String {
    format!("{PREFIX}classifier.{part}")
}

fn factor_tensor(site: &str, part: &str) -> String {
    format!("{PREFIX}{site}.{part}.weight")
}
