//! What an adapter needs to know about its base model: the linear layers and their shapes.

use serde::{Deserialize, Serialize};

use crate::config::LoraConfig;
use crate::{AdapterError, config};

/// A base model's kind. Its Hugging Face name is the serde form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// BERT's encoder (`model_type` "bert"), all-MiniLM-L6-v2 among them.
    Bert,
}

/// The base model's kind and sizes, in the spelling of Hugging Face's `config.json`, and the number of labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The kind of model.
    pub architecture: Architecture,
    /// Encoder layers.
    pub num_hidden_layers: u32,
    /// Width of the hidden states.
    pub hidden_size: u32,
    /// Width between the two linear layers of a feed-forward block.
    pub intermediate_size: u32,
    /// Rows of the classifier.
    pub num_labels: u32,
}

/// A linear layer of the base model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linear {
    /// Full name, as PEFT sees it: `bert.encoder.layer.0.attention.self.query`.
    pub name: String,
    /// Width of its input.
    pub inputs: usize,
    /// Width of its output.
    pub outputs: usize,
}

/// The linear layers of one BERT encoder layer: name, and whether input and output have the intermediate width.
const BERT_LAYER: [(&str, bool, bool); 6] = [
    ("attention.self.query", false, false),
    ("attention.self.key", false, false),
    ("attention.self.value", false, false),
    ("attention.output.dense", false, false),
    ("intermediate.dense", false, true),
    ("output.dense", true, false),
];

/// The largest count for which 32-bit arithmetic on sizes and a client's memory are out of danger.
const MAX_PARAMETERS: u64 = 1 << 30;

impl Model {
    /// Reads the sizes from the `config.json` of a Hugging Face model; keys that play no part are ignored.
    ///
    /// # Errors
    /// [`AdapterError::Json`], [`AdapterError::UnknownArchitecture`] (lists the known ones), [`AdapterError::Invalid`].
    pub fn from_hf_config(json: &str, num_labels: u32) -> Result<Self, AdapterError> {
        #[derive(Deserialize)]
        struct Kind {
            model_type: String,
        }
        #[derive(Deserialize)]
        struct Sizes {
            num_hidden_layers: u32,
            hidden_size: u32,
            intermediate_size: u32,
        }
        let Kind { model_type } = serde_json::from_str(json)?;
        let architecture = Architecture::from_model_type(&model_type)?;
        let Sizes { num_hidden_layers, hidden_size, intermediate_size } = serde_json::from_str(json)?;
        let model = Self { architecture, num_hidden_layers, hidden_size, intermediate_size, num_labels };
        model.validate()?;
        Ok(model)
    }

    /// Checks every size.
    ///
    /// # Errors
    /// [`AdapterError::Invalid`] naming the key.
    pub fn validate(&self) -> Result<(), AdapterError> {
        let sizes = [
            ("num_hidden_layers", self.num_hidden_layers, 1, 1 << 10, "from 1 to 1024"),
            ("hidden_size", self.hidden_size, 1, 1 << 16, "from 1 to 65536"),
            ("intermediate_size", self.intermediate_size, 1, 1 << 18, "from 1 to 262144"),
            ("num_labels", self.num_labels, 2, 1 << 16, "from 2 to 65536"),
        ];
        match sizes.into_iter().find(|&(_, size, least, most, _)| !(least..=most).contains(&size)) {
            Some((key, size, .., rule)) => Err(AdapterError::Invalid { key, found: size.to_string(), rule }),
            None => Ok(()),
        }
    }

    /// All linear layers that can get an adapter, in the model's order.
    #[must_use]
    pub fn linear_layers(&self) -> Vec<Linear> {
        let Architecture::Bert = self.architecture;
        let width = |wide| if wide { self.intermediate_size } else { self.hidden_size } as usize;
        (0..self.num_hidden_layers)
            .flat_map(|layer| {
                BERT_LAYER.map(|(name, wide_input, wide_output)| Linear {
                    name: format!("bert.encoder.layer.{layer}.{name}"),
                    inputs: width(wide_input),
                    outputs: width(wide_output),
                })
            })
            .collect()
    }

    /// The linear layers that `config` gives an adapter, in the model's order.
    ///
    /// # Errors
    /// [`AdapterError::NoSuchTarget`] for an entry of `target_modules` that matches none, [`AdapterError::Invalid`] for a
    /// size or a setting out of range.
    pub fn targets(&self, config: &LoraConfig) -> Result<Vec<Linear>, AdapterError> {
        self.validate()?;
        config.validate()?;
        let layers = self.linear_layers();
        for target in &config.target_modules {
            if !layers.iter().any(|layer| LoraConfig::matches(target, &layer.name)) {
                let available = BERT_LAYER.map(|(name, ..)| name).join(", ");
                return Err(AdapterError::NoSuchTarget { target: target.clone(), available });
            }
        }
        let chosen = |layer: &Linear| config.target_modules.iter().any(|t| LoraConfig::matches(t, &layer.name));
        Ok(layers.into_iter().filter(chosen).collect())
    }

    /// Name and shape of every tensor of an adapter, in no particular order; their sizes are bounded together.
    pub(crate) fn tensors(&self, config: &LoraConfig) -> Result<Vec<(String, Vec<usize>)>, AdapterError> {
        let r = config.r as usize;
        let (labels, hidden) = (self.num_labels as usize, self.hidden_size as usize);
        let mut tensors = vec![
            (format!("base_model.model.{}.weight", config::HEAD), vec![labels, hidden]),
            (format!("base_model.model.{}.bias", config::HEAD), vec![labels]),
        ];
        for Linear { name, inputs, outputs } in self.targets(config)? {
            tensors.push((format!("base_model.model.{name}.lora_A.weight"), vec![r, inputs]));
            tensors.push((format!("base_model.model.{name}.lora_B.weight"), vec![outputs, r]));
        }
        let size = |(_, shape): &(String, Vec<usize>)| shape.iter().map(|&n| n as u64).product::<u64>();
        let total: u64 = tensors.iter().map(size).sum();
        if total > MAX_PARAMETERS {
            let rule = "at most 1073741824 in all";
            return Err(AdapterError::Invalid { key: "adapter weights", found: total.to_string(), rule });
        }
        Ok(tensors)
    }
}

impl Architecture {
    /// Name in `config.json` of every architecture built here.
    const KNOWN: [(&'static str, Self); 1] = [("bert", Self::Bert)];

    fn from_model_type(found: &str) -> Result<Self, AdapterError> {
        match Self::KNOWN.iter().find(|(name, _)| *name == found) {
            Some((_, architecture)) => Ok(*architecture),
            None => Err(AdapterError::UnknownArchitecture {
                found: found.to_owned(),
                known: Self::KNOWN.map(|(name, _)| name).join(", "),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn mini_lm() -> Model {
        let json = r#"{"model_type": "bert", "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6,
            "vocab_size": 30522, "hidden_act": "gelu"}"#;
        Model::from_hf_config(json, 21).unwrap()
    }

    #[test]
    fn mini_lm_has_six_linear_layers_a_layer_with_the_checkpoints_shapes() {
        let layers = mini_lm().linear_layers();
        assert_eq!(layers.len(), 36);
        let shape = |name: &str| layers.iter().find(|l| l.name == name).map(|l| (l.outputs, l.inputs));
        assert_eq!(shape("bert.encoder.layer.5.attention.self.key"), Some((384, 384)));
        assert_eq!(shape("bert.encoder.layer.0.intermediate.dense"), Some((1536, 384)));
        assert_eq!(shape("bert.encoder.layer.0.output.dense"), Some((384, 1536)));
        assert_eq!(shape("bert.encoder.layer.6.output.dense"), None);
    }

    #[test]
    fn targets_are_chosen_by_suffix_and_an_unmatched_one_is_named() {
        let count = |targets: &[&str]| mini_lm().targets(&LoraConfig::new(8, 16, targets)).unwrap().len();
        assert_eq!(count(&["query", "value"]), 12);
        assert_eq!(count(&["dense"]), 18);
        assert_eq!(count(&["output.dense"]), 12);
        assert_eq!(count(&["bert.encoder.layer.3.attention.self.query"]), 1);
        let error = mini_lm().targets(&LoraConfig::new(8, 16, &["query", "q_proj"])).unwrap_err();
        assert!(matches!(&error, AdapterError::NoSuchTarget { target, .. } if target == "q_proj"), "{error}");
    }

    #[test]
    fn another_architecture_is_refused_with_the_known_ones() {
        let error = Model::from_hf_config(r#"{"model_type": "llama", "n": 1}"#, 2).unwrap_err();
        assert_eq!(error.to_string(), "unknown architecture `llama`; known: bert");
    }

    #[test]
    fn sizes_out_of_range_are_named_before_anything_is_allocated() {
        let big = Model { hidden_size: u32::MAX, ..mini_lm() };
        assert!(matches!(big.validate(), Err(AdapterError::Invalid { key: "hidden_size", .. })));
        let wide = Model { hidden_size: 1 << 16, num_hidden_layers: 1024, ..mini_lm() };
        let error = wide.tensors(&LoraConfig::new(4096, 1, &["query"])).unwrap_err();
        assert!(matches!(error, AdapterError::Invalid { key: "adapter weights", .. }), "{error}");
        assert!(matches!(Model::from_hf_config("{", 2), Err(AdapterError::Json(_))));
        assert!(matches!(
            Model::from_hf_config(r#"{"model_type": "bert", "hidden_size": -3}"#, 2),
            Err(AdapterError::Json(_))
        ));
    }

    #[test]
    fn a_charter_holds_a_model_and_refuses_unknown_keys() {
        let text = toml::to_string(&mini_lm()).unwrap();
        assert_eq!(toml::from_str::<Model>(&text).unwrap(), mini_lm());
        assert!(toml::from_str::<Model>(&format!("{text}vocab_size = 3\n")).is_err());
        assert!(toml::from_str::<Model>(&text.replace("bert", "gpt")).is_err());
    }
}
