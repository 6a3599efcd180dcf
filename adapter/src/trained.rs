//! What an adapter of one configuration trains, under names that somebody who allows it can write down.

use crate::biases::in_checkpoint;
use crate::targets::{ALL_LINEAR, matches};
use crate::{AdapterError, LoraConfig, Model};

/// A part of a model that is trained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trained {
    /// The adapter of the linear layer of this full name, with the bias beside B where there is one.
    Layer(String),
    /// A module of the head, trained whole, as `modules_to_save` names it.
    Head(String),
    /// A bias of the base model, by its full name in a checkpoint, which ends with `.bias`.
    Bias(String),
}

impl Trained {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Layer(name) | Self::Head(name) | Self::Bias(name) => name,
        }
    }

    /// Whether `target` names it by PEFT's rule for `target_modules`: the whole name, or its end after a dot; or "all-linear" for every adapted layer.
    #[must_use]
    pub fn is_named_by(&self, target: &str) -> bool {
        (target == ALL_LINEAR && matches!(self, Self::Layer(_))) || matches(target, self.name())
    }
}

impl Model {
    /// All that `config` trains, in some round at least: adapted layers in the model's order, then the head's modules, then biases.
    ///
    /// # Errors
    /// As [`Model::targets`], and [`AdapterError::Invalid`] where `bias` names none.
    pub fn trained(&self, config: &LoraConfig) -> Result<Vec<Trained>, AdapterError> {
        let targets = self.targets(config)?;
        let biases = self.biases(config, &targets)?;
        let layers = targets.into_iter().map(|layer| Trained::Layer(layer.name));
        let head = self.head_modules().iter().map(|&module| Trained::Head(module.to_owned()));
        let biases = biases.iter().filter_map(|(name, _)| in_checkpoint(name)).map(Trained::Bias);
        Ok(layers.chain(head).chain(biases).collect())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::{Adapter, Bias, Head, Targets, Train};

    fn model(model_type: &str, head: Head, labels: u32) -> Model {
        let json = format!(
            r#"{{"model_type": "{model_type}", "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 30, "hidden_act": "gelu", "activation": "gelu"}}"#
        );
        Model { head, ..Model::from_hf_config(&json, labels).unwrap() }
    }

    /// Which of `parts` the trained tensor of this name is a part of, by the tensor's name alone.
    fn owners<'a>(parts: &'a [Trained], tensor: &str) -> Vec<&'a Trained> {
        let name = tensor.strip_prefix("base_model.model.").unwrap();
        let owns = |part: &&Trained| match part {
            Trained::Layer(layer) => name.starts_with(&format!("{layer}.lora_")),
            Trained::Head(module) => name.starts_with(&format!("{module}.")),
            Trained::Bias(bias) => name.replace(".base_layer.bias", ".bias") == *bias,
        };
        parts.iter().filter(owns).collect()
    }

    #[test]
    fn every_trained_tensor_belongs_to_one_part_and_every_part_has_one() {
        let mean = |family| model(family, Head::Mean, 3);
        let own = |family| model(family, Head::SequenceClassification, 3);
        let words = model("qwen2", Head::Mean, 0);
        let models =
            [mean("bert"), own("bert"), mean("roberta"), own("roberta"), mean("distilbert"), own("distilbert"), words];
        let mut looked = 0;
        for model in models {
            let first = model.linear_layers().remove(0).name;
            let name = first.rsplit('.').next().unwrap();
            for targets in
                [Targets::names(&[name]), Targets::Pattern("all-linear".to_owned()), Targets::names(&[&first])]
            {
                for (bias, lora_bias) in [(Bias::None, true), (Bias::LoraOnly, false), (Bias::All, false)] {
                    let config = LoraConfig {
                        target_modules: targets.clone(),
                        modules_to_save: model.head_modules().iter().map(|&module| module.to_owned()).collect(),
                        bias,
                        lora_bias,
                        train: Train::AB,
                        ..LoraConfig::new(2, 4, &["query"])
                    };
                    let parts = model.trained(&config).unwrap();
                    let tensors = Adapter::initial(&model, &config, 1).unwrap().trainable();
                    let mut owning: Vec<&Trained> = Vec::new();
                    for tensor in &tensors {
                        let owners = owners(&parts, &tensor.name);
                        assert_eq!(owners.len(), 1, "{} of {config:?}: {owners:?}", tensor.name);
                        owning.extend(owners);
                    }
                    assert!(parts.iter().all(|part| owning.contains(&part)), "{parts:?}");
                    looked += parts.len();
                }
            }
        }
        assert!(looked > 200, "{looked}");
    }

    #[test]
    fn a_layer_is_named_by_its_end_or_by_all_linear_and_a_head_or_a_bias_by_itself_only() {
        let layer = Trained::Layer("bert.encoder.layer.0.attention.self.query".to_owned());
        let bias = Trained::Bias("bert.encoder.layer.0.attention.self.query.bias".to_owned());
        let head = Trained::Head("pre_classifier".to_owned());
        for (part, target, named) in [
            (&layer, "query", true),
            (&layer, "self.query", true),
            (&layer, "all-linear", true),
            (&layer, "uery", false),
            (&layer, "bias", false),
            (&bias, "query", false),
            (&bias, "all-linear", false),
            (&bias, "bias", true),
            (&bias, "query.bias", true),
            (&bias, "key.bias", false),
            (&head, "pre_classifier", true),
            (&head, "classifier", false),
            (&head, "all-linear", false),
        ] {
            assert_eq!(part.is_named_by(target), named, "{part:?} {target}");
        }
    }
}
