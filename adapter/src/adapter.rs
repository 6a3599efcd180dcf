//! The tensors of a LoRA adapter and their trained part as one vector.

use std::collections::BTreeMap;

use crate::config::HEAD;
use crate::merge::PREFIX;
use crate::{AdapterError, LoraConfig, Model, Train};

/// A dense tensor of 32-bit floats in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Length of every axis.
    pub shape: Vec<usize>,
    /// As many values as the product of `shape`.
    pub data: Vec<f32>,
}

/// A LoRA adapter with its classification head, under PEFT's names.
///
/// For every target layer `L` it holds `base_model.model.L.lora_A.weight` of shape `[r, in]` and `...lora_B.weight` of
/// shape `[out, r]` (with `lora_bias` also `...lora_B.bias`), for each bias of the base model that is trained with it ([`Bias`](crate::Bias)) what comes to it, and for each layer of the head (`base_model.model.classifier`) a weight and a bias, over the labels or, of a layer
/// before them, over the hidden width. All values are finite.
///
/// What is trained are the head and what [`Train`](crate::Train) says. In [`flat`](Self::flat) they
/// stand one after the other, sorted by the bytes of their names, each row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    model: Model,
    config: LoraConfig,
    tensors: BTreeMap<String, Tensor>,
}

/// One trained tensor's place in [`Adapter::flat`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trainable {
    /// The tensor's name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Index of its first value in the flat vector.
    pub offset: usize,
}

impl Trainable {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no value; no adapter has such a tensor.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Adapter {
    /// The base model it fits.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Its LoRA settings.
    #[must_use]
    pub fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// The tensor of this full name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// All tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The trained tensors in the order of the flat vector.
    #[must_use]
    pub fn trainable(&self) -> Vec<Trainable> {
        let mut offset = 0;
        self.trained()
            .map(|(name, tensor)| {
                let place = Trainable { name: name.to_owned(), shape: tensor.shape.clone(), offset };
                offset += tensor.data.len();
                place
            })
            .collect()
    }

    /// Where each layer ends in the flat vector. Of what is in no numbered layer the embeddings, the pooler and the head are a layer each; DistilBERT's two of
    /// its own head, whose names stand on both sides of the others', are two.
    #[must_use]
    pub fn layer_ends(&self) -> Vec<usize> {
        let names = self.model.architecture.layer_names();
        let [layers, model] = [names.layers, ""].map(|part| format!("{PREFIX}{}{part}", names.prefix));
        // A number, "embeddings" or "pooler"; none of the head.
        let layer = |name: &str| {
            let rest = name.strip_prefix(&layers).or_else(|| name.strip_prefix(&model))?;
            rest.split('.').next().map(str::to_owned)
        };
        let (mut ends, mut last) = (Vec::new(), None);
        for Trainable { name, shape, offset } in self.trainable() {
            let (layer, end) = (layer(&name), offset + shape.iter().product::<usize>());
            match ends.last_mut() {
                // Tensors are in the order of their names, so those of a layer stand together.
                Some(place) if last == Some(layer.clone()) => *place = end,
                _ => ends.push(end),
            }
            last = Some(layer);
        }
        ends
    }

    /// Number of trained weights.
    #[must_use]
    pub fn trainable_len(&self) -> usize {
        self.trained().map(|(_, tensor)| tensor.data.len()).sum()
    }

    /// Number of weights that one round moves at most: all trained ones, or of [`Train::Alternating`] the larger turn's.
    #[must_use]
    pub fn update_len(&self) -> usize {
        match self.config.train {
            Train::Alternating => {
                let turn = |train: Train| {
                    self.tensors().filter(|(name, _)| train.trains(name)).map(|(_, tensor)| tensor.data.len()).sum()
                };
                usize::max(turn(Train::A), turn(Train::B))
            }
            Train::A | Train::B | Train::AB => self.trainable_len(),
        }
    }

    /// The same adapter, of which another part is trained.
    #[must_use]
    pub fn training(&self, train: Train) -> Self {
        Self { config: LoraConfig { train, ..self.config.clone() }, ..self.clone() }
    }

    /// The trained weights as one vector.
    #[must_use]
    pub fn flat(&self) -> Vec<f32> {
        self.trained().flat_map(|(_, tensor)| &tensor.data).copied().collect()
    }

    /// This adapter with other trained weights; what is not trained stays.
    ///
    /// # Errors
    /// [`AdapterError::WrongLength`], [`AdapterError::NotFinite`] naming the tensor.
    pub fn with_flat(&self, flat: &[f32]) -> Result<Self, AdapterError> {
        let expected = self.trainable_len();
        if flat.len() != expected {
            return Err(AdapterError::WrongLength { found: flat.len(), expected });
        }
        if let Some((tensor, index, value)) = self.not_finite(flat) {
            return Err(AdapterError::NotFinite { tensor, index, value });
        }
        let mut adapter = self.clone();
        adapter.set_flat(flat);
        Ok(adapter)
    }

    /// This adapter with another head: its weight row by row, then its bias. Of a head of one layer.
    ///
    /// # Errors
    /// [`AdapterError::WrongLength`], [`AdapterError::NotFinite`].
    pub fn with_head(&self, head: &[f32]) -> Result<Self, AdapterError> {
        let names = ["weight", "bias"].map(|part| format!("base_model.model.{HEAD}.{part}"));
        let sizes = names.each_ref().map(|name| self.get(name).map_or(0, |tensor| tensor.data.len()));
        let expected = sizes[0] + sizes[1];
        if head.len() != expected {
            return Err(AdapterError::WrongLength { found: head.len(), expected });
        }
        let mut adapter = self.clone();
        let (weight, bias) = head.split_at(sizes[0]);
        for (name, data) in names.iter().zip([weight, bias]) {
            check_finite(name, data)?;
            if let Some(tensor) = adapter.tensors.get_mut(name) {
                tensor.data.copy_from_slice(data);
            }
        }
        Ok(adapter)
    }

    /// The first value of a flat vector that is not finite, with its tensor and its place there.
    pub(crate) fn not_finite(&self, flat: &[f32]) -> Option<(String, usize, f32)> {
        let index = flat.iter().position(|value| !value.is_finite())?;
        let place = self.trainable().into_iter().rfind(|place| place.offset <= index)?;
        Some((place.name, index - place.offset, flat[index]))
    }

    /// Adds `factor * values` to a tensor of it.
    pub(crate) fn add_to(&mut self, name: &str, values: &[f32], factor: f32) -> Result<(), AdapterError> {
        let missing = || AdapterError::MissingTensor { tensor: name.to_owned() };
        let tensor = self.tensors.get_mut(name).ok_or_else(missing)?;
        if tensor.data.len() != values.len() {
            let (found, expected) = (vec![values.len()], tensor.shape.clone());
            return Err(AdapterError::WrongShape { tensor: name.to_owned(), found, expected });
        }
        tensor.data.iter_mut().zip(values).for_each(|(sum, value)| *sum += factor * value);
        check_finite(name, &tensor.data)
    }

    /// Overwrites the trained weights with a vector of their length.
    pub(crate) fn set_flat(&mut self, flat: &[f32]) {
        let trained = self.tensors.iter_mut().filter(|(name, _)| self.config.trains(name));
        for (weight, &value) in trained.flat_map(|(_, tensor)| &mut tensor.data).zip(flat) {
            *weight = value;
        }
    }

    /// An adapter of exactly the tensors that model and configuration call for, each made by `make` from its name and
    /// shape and checked to be finite and full.
    pub(crate) fn build(
        model: &Model,
        config: &LoraConfig,
        mut make: impl FnMut(&str, &[usize]) -> Result<Vec<f32>, AdapterError>,
    ) -> Result<Self, AdapterError> {
        let mut tensors = BTreeMap::new();
        let mut expected = model.tensors(config)?;
        expected.sort();
        for (name, shape) in expected {
            let data = make(&name, &shape)?;
            let size: usize = shape.iter().product();
            if data.len() != size {
                return Err(AdapterError::WrongShape { tensor: name, found: vec![data.len()], expected: shape });
            }
            check_finite(&name, &data)?;
            tensors.insert(name, Tensor { shape, data });
        }
        Ok(Self { model: model.clone(), config: config.clone(), tensors })
    }

    fn trained(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors().filter(|(name, _)| self.config.trains(name))
    }
}

fn check_finite(tensor: &str, data: &[f32]) -> Result<(), AdapterError> {
    match data.iter().enumerate().find(|(_, value)| !value.is_finite()) {
        Some((index, &value)) => Err(AdapterError::NotFinite { tensor: tensor.to_owned(), index, value }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::Architecture;

    fn small() -> Adapter {
        let model = Model {
            architecture: Architecture::Bert,
            num_hidden_layers: 11,
            hidden_size: 3,
            intermediate_size: 5,
            num_labels: 2,
            head: Default::default(),
            attention: None,
        };
        Adapter::initial(&model, &LoraConfig::new(2, 4, &["query", "intermediate.dense"]), 7).unwrap()
    }

    #[test]
    fn trained_tensors_are_the_bs_and_the_head_sorted_by_name_without_gaps() {
        let places = small().trainable();
        assert_eq!(places.len(), 2 * 11 + 2);
        assert!(places.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(places.windows(2).all(|pair| pair[0].offset + pair[0].len() == pair[1].offset));
        assert!(places.iter().all(|place| !place.name.contains("lora_A")));
        let find = |end: &str| places.iter().find(|p| p.name.ends_with(end)).unwrap().shape.clone();
        assert_eq!(find("layer.10.intermediate.dense.lora_B.weight"), [5, 2]);
        assert_eq!(find("layer.2.attention.self.query.lora_B.weight"), [3, 2]);
        assert_eq!(find("classifier.weight"), [2, 3]);
        assert_eq!(find("classifier.bias"), [2]);
        assert_eq!(small().trainable_len(), 11 * (5 * 2 + 3 * 2) + 2 * 3 + 2);
    }

    #[test]
    fn with_a_trained_too_every_tensor_has_a_place() {
        let frozen = small();
        let config = LoraConfig { train: Train::AB, ..frozen.config().clone() };
        let adapter = Adapter::initial(frozen.model(), &config, 7).unwrap();
        assert_eq!(adapter.trainable().len(), adapter.tensors().count());
        assert_eq!(adapter.trainable_len(), frozen.trainable_len() + 2 * 11 * 2 * 3);
        let flat: Vec<f32> = (0..adapter.trainable_len()).map(|i| i as f32).collect();
        assert_eq!(adapter.with_flat(&flat).unwrap().flat(), flat);
        // It starts from the very same weights.
        assert!(adapter.tensors().eq(frozen.tensors()));
    }

    #[test]
    fn a_flat_vector_lands_where_trainable_says_and_leaves_a_alone() {
        let before = small();
        let flat: Vec<f32> = (0..before.trainable_len()).map(|i| i as f32).collect();
        let after = before.with_flat(&flat).unwrap();
        assert_eq!(after.flat(), flat);
        for place in after.trainable() {
            assert_eq!(after.get(&place.name).unwrap().data[0], place.offset as f32);
        }
        for (name, tensor) in before.tensors().filter(|(name, _)| name.contains("lora_A")) {
            assert_eq!(after.get(name).unwrap(), tensor);
        }
        assert_ne!(after.digest(), before.digest());
    }

    #[test]
    fn a_flat_vector_of_another_length_or_with_a_nan_is_refused_with_the_place() {
        let adapter = small();
        let mut flat = adapter.flat();
        let last = flat.len() - 1;
        assert!(matches!(adapter.with_flat(&flat[1..]), Err(AdapterError::WrongLength { .. })));
        flat[last] = f32::NAN;
        let error = adapter.with_flat(&flat).unwrap_err().to_string();
        assert_eq!(error, "tensor `base_model.model.classifier.weight` holds NaN at element 5");
    }
}
