//! What an adapter needs to know about its base model: the linear layers and their shapes.

use serde::{Deserialize, Serialize};

use crate::architecture::{Architecture, Site};
use crate::config::{BEFORE_HEAD, HEAD, LoraConfig};
use crate::{AdapterError, Targets};

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
    /// Rows of the classifier; 0 of a language model, which has none.
    pub num_labels: u32,
    /// What stands on the hidden states of a classifier.
    #[serde(default, skip_serializing_if = "Head::is_mean")]
    pub head: Head,
    /// The heads' sizes, where queries, keys and values are not all as wide as the hidden states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention: Option<AttentionSizes>,
}

/// What stands between a classifier's last hidden states and its labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// The mean over a text's tokens, divided by its norm, and one linear layer: for encoders that were trained as sentence embeddings, with which it learns from few rows.
    #[default]
    Mean,
    /// The head of the family's `...ForSequenceClassification` in transformers, over the first token: what PEFT finds when it loads the adapter. BERT's
    /// pooler stays as the checkpoint has it; RoBERTa's and DistilBERT's first layer, which a checkpoint without this head lacks, is trained.
    SequenceClassification,
}

impl Head {
    fn is_mean(&self) -> bool {
        *self == Self::Mean
    }
}

/// Sizes of grouped-query attention, in the spelling of Hugging Face's `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttentionSizes {
    /// Heads of the queries.
    pub num_attention_heads: u32,
    /// Heads of keys and values.
    pub num_key_value_heads: u32,
    /// Width of a head.
    pub head_dim: u32,
}

/// A linear layer of the base model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linear {
    /// Full name, as PEFT sees it: `bert.encoder.layer.0.attention.self.query`.
    pub name: String,
    /// Number of its transformer layer, from 0.
    pub layer: u32,
    /// Width of its input.
    pub inputs: usize,
    /// Width of its output.
    pub outputs: usize,
    /// Whether it has a bias in every checkpoint of the family.
    pub bias: bool,
}

/// A trained layer of a head, with a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadLayer {
    /// Full name, as PEFT sees it.
    pub name: &'static str,
    /// Width of its input.
    pub inputs: usize,
    /// Width of its output.
    pub outputs: usize,
}

/// The largest count for which 32-bit arithmetic on sizes and a client's memory are out of danger.
const MAX_PARAMETERS: u64 = 1 << 30;

impl Model {
    /// Reads the sizes from the `config.json` of a Hugging Face model; keys that play no part are ignored. `num_labels` is 0 for a
    /// language model.
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
            #[serde(alias = "n_layers")]
            num_hidden_layers: u32,
            #[serde(alias = "dim")]
            hidden_size: u32,
            #[serde(alias = "hidden_dim")]
            intermediate_size: u32,
            #[serde(alias = "n_heads")]
            num_attention_heads: Option<u32>,
            num_key_value_heads: Option<u32>,
            head_dim: Option<u32>,
        }
        let Kind { model_type } = serde_json::from_str(json)?;
        let architecture = Architecture::from_model_type(&model_type)?;
        let sizes: Sizes = serde_json::from_str(json)?;
        let heads = sizes.num_attention_heads.filter(|_| architecture.is_language_model());
        let attention = heads.map(|num_attention_heads| AttentionSizes {
            num_attention_heads,
            num_key_value_heads: sizes.num_key_value_heads.unwrap_or(num_attention_heads),
            head_dim: sizes.head_dim.unwrap_or(sizes.hidden_size / num_attention_heads.max(1)),
        });
        let Sizes { num_hidden_layers, hidden_size, intermediate_size, .. } = sizes;
        let head = Head::default();
        let model =
            Self { architecture, num_hidden_layers, hidden_size, intermediate_size, num_labels, head, attention };
        model.validate()?;
        Ok(model)
    }

    /// Checks every size.
    ///
    /// # Errors
    /// [`AdapterError::Invalid`] naming the key.
    pub fn validate(&self) -> Result<(), AdapterError> {
        let labels = if self.architecture.is_language_model() {
            (0, 0, "0 for a language model")
        } else {
            (2, 1 << 16, "from 2 to 65536")
        };
        let size = |size: fn(&AttentionSizes) -> u32| self.attention.as_ref().map_or(1, size);
        let sizes = [
            ("num_hidden_layers", self.num_hidden_layers, 1, 1 << 10, "from 1 to 1024"),
            ("hidden_size", self.hidden_size, 1, 1 << 16, "from 1 to 65536"),
            ("intermediate_size", self.intermediate_size, 1, 1 << 18, "from 1 to 262144"),
            ("num_labels", self.num_labels, labels.0, labels.1, labels.2),
            ("num_attention_heads", size(|sizes| sizes.num_attention_heads), 1, 1 << 10, "from 1 to 1024"),
            ("num_key_value_heads", size(|sizes| sizes.num_key_value_heads), 1, 1 << 10, "from 1 to 1024"),
            ("head_dim", size(|sizes| sizes.head_dim), 1, 1 << 10, "from 1 to 1024"),
        ];
        if self.num_labels == 0 && self.head != Head::default() {
            let found = format!("{:?}", self.head);
            return Err(AdapterError::Invalid { key: "head", found, rule: "left out for a language model" });
        }
        match sizes.into_iter().find(|&(_, size, least, most, _)| !(least..=most).contains(&size)) {
            Some((key, size, .., rule)) => Err(AdapterError::Invalid { key, found: size.to_string(), rule }),
            None => Ok(()),
        }
    }

    /// All linear layers that can get an adapter, in the model's order.
    #[must_use]
    pub fn linear_layers(&self) -> Vec<Linear> {
        let names = self.architecture.layer_names();
        let widths = self.widths();
        let biases = self.architecture.biases();
        let linear = |layer: u32, site: Site| {
            let (inputs, outputs) = widths.shape(site);
            let bias = biases[site as usize];
            names.of(layer as usize, site).map(|name| Linear { name, layer, inputs, outputs, bias })
        };
        let layers = 0..self.num_hidden_layers;
        layers.flat_map(|layer| Site::ALL.into_iter().filter_map(move |site| linear(layer, site))).collect()
    }

    /// The layers of the head that are trained, from the hidden states to the labels; none of a language model.
    #[must_use]
    pub fn head_layers(&self) -> Vec<HeadLayer> {
        let (labels, hidden) = (self.num_labels as usize, self.hidden_size as usize);
        let names: &[&'static str] = match (labels, self.head, self.architecture) {
            (0, ..) => &[],
            (_, Head::SequenceClassification, Architecture::Roberta) => &["classifier.dense", "classifier.out_proj"],
            (_, Head::SequenceClassification, Architecture::DistilBert) => &[BEFORE_HEAD, HEAD],
            _ => &[HEAD],
        };
        let last = names.len().saturating_sub(1);
        let outputs = |place| if place == last { labels } else { hidden };
        let layer = |(place, name): (usize, &&'static str)| HeadLayer { name, inputs: hidden, outputs: outputs(place) };
        names.iter().enumerate().map(layer).collect()
    }

    /// What `modules_to_save` names: the modules that hold [`head_layers`](Self::head_layers), in alphabetical order.
    #[must_use]
    pub fn head_modules(&self) -> &'static [&'static str] {
        match (self.num_labels, self.head, self.architecture) {
            (0, ..) => &[],
            (_, Head::SequenceClassification, Architecture::DistilBert) => &[HEAD, BEFORE_HEAD],
            _ => &[HEAD],
        }
    }

    /// The linear layers that `config` gives an adapter, in the model's order.
    ///
    /// # Errors
    /// [`AdapterError::NoSuchTarget`] for an entry of `target_modules` that matches none, [`AdapterError::Invalid`] for a
    /// size or a setting out of range.
    pub fn targets(&self, config: &LoraConfig) -> Result<Vec<Linear>, AdapterError> {
        self.validate()?;
        config.validate()?;
        let mut saved: Vec<&str> = config.modules_to_save.iter().map(String::as_str).collect();
        saved.sort_unstable();
        if saved != self.head_modules() {
            let rule = match self.head_modules() {
                [] => "[]: a language model has no head of its own",
                [HEAD] => "[\"classifier\"], the head",
                _ => "[\"classifier\", \"pre_classifier\"], the head",
            };
            let found = format!("{:?}", config.modules_to_save);
            return Err(AdapterError::Invalid { key: "modules_to_save", found, rule });
        }
        config.target_modules.choose(self.linear_layers(), config.layers_to_transform.as_deref())
    }

    /// What stands before all names of the base model in a checkpoint with a head, and may be missing in one without.
    pub(crate) fn stem(&self) -> &'static str {
        self.architecture.layer_names().prefix
    }

    /// The settings for PEFT, which looks at every linear layer of the model: where it would adapt BERT's pooler too, which here is as the checkpoint has it but
    /// for its bias, the layers are named in full.
    pub(crate) fn for_peft(&self, config: &LoraConfig) -> Result<LoraConfig, AdapterError> {
        let mut config = config.clone();
        let layers = config.layers_to_transform.as_deref();
        if self.pooler().is_some_and(|pooler| config.target_modules.take(&format!("{}{pooler}", self.stem()), layers)) {
            let names = self.targets(&config)?.into_iter().map(|layer| layer.name);
            (config.target_modules, config.layers_to_transform) = (Targets::Names(names.collect()), None);
        }
        Ok(config)
    }

    /// Name and shape of every tensor of an adapter, in no particular order; their sizes are bounded together.
    pub(crate) fn tensors(&self, config: &LoraConfig) -> Result<Vec<(String, Vec<usize>)>, AdapterError> {
        let r = config.r as usize;
        let mut tensors = Vec::new();
        for HeadLayer { name, inputs, outputs } in self.head_layers() {
            tensors.push((format!("base_model.model.{name}.weight"), vec![outputs, inputs]));
            tensors.push((format!("base_model.model.{name}.bias"), vec![outputs]));
        }
        let targets = self.targets(config)?;
        for (name, width) in self.biases(config, &targets)? {
            tensors.push((format!("base_model.model.{name}"), vec![width]));
        }
        for Linear { name, inputs, outputs, .. } in targets {
            tensors.push((format!("base_model.model.{name}.lora_A.weight"), vec![r, inputs]));
            tensors.push((format!("base_model.model.{name}.lora_B.weight"), vec![outputs, r]));
            if config.lora_bias {
                tensors.push((format!("base_model.model.{name}.lora_B.bias"), vec![outputs]));
            }
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

    /// PEFT's rules, as `check_target_module_exists` of peft 0.21.2 has them.
    #[test]
    fn a_pattern_matches_whole_names_and_layers_narrow_a_list() {
        let with = |targets, layers: Option<&[u32]>| {
            let layers_to_transform = layers.map(<[u32]>::to_vec);
            mini_lm().targets(&LoraConfig {
                target_modules: targets,
                layers_to_transform,
                ..LoraConfig::new(8, 16, &["query"])
            })
        };
        let pattern = |text: &str| Targets::Pattern(text.to_owned());
        let count = |targets, layers| with(targets, layers).unwrap().len();
        assert_eq!(count(pattern("all-linear"), None), 36);
        assert_eq!(count(pattern(r".*\.(query|value)"), None), 12);
        assert_eq!(count(pattern(r"bert\.encoder\.layer\.[0-2]\..*dense"), None), 9);
        assert!(matches!(with(pattern("query|value"), None), Err(AdapterError::NoSuchTarget { .. })));
        assert_eq!(count(Targets::names(&["query", "value"]), Some(&[0, 5])), 4);
        // A full name counts whatever the layers are.
        assert_eq!(count(Targets::names(&["value", "bert.encoder.layer.3.attention.self.query"]), Some(&[0])), 2);
        assert!(matches!(with(Targets::names(&["query"]), Some(&[6])), Err(AdapterError::NoSuchTarget { .. })));
        let both = with(pattern("all-linear"), Some(&[1]));
        assert!(matches!(both, Err(AdapterError::Invalid { key: "layers_to_transform", .. })));
        let error = with(pattern("x.*"), None).unwrap_err().to_string();
        assert!(error.ends_with("attention.self.query, attention.self.key, attention.self.value, attention.output.dense, intermediate.dense, output.dense"), "{error}");
    }

    /// With transformers' own head, BERT's pooler is a linear layer that PEFT would adapt.
    #[test]
    fn layers_are_named_in_full_for_peft_where_their_names_would_match_the_pooler_too() {
        let own = Model { head: Head::SequenceClassification, ..mini_lm() };
        let written = |model: &Model, config: &LoraConfig| model.for_peft(config).unwrap();
        let pattern = |text: &str| {
            let target_modules = Targets::Pattern(text.to_owned());
            LoraConfig { target_modules, ..LoraConfig::new(8, 16, &["query"]) }
        };
        for config in [pattern("all-linear"), pattern(".*dense"), LoraConfig::new(8, 16, &["query", "dense"])] {
            let found = written(&own, &config);
            let Targets::Names(names) = &found.target_modules else { panic!("{found:?}") };
            assert!(names.iter().all(|name| name.starts_with("bert.encoder.layer.")), "{names:?}");
            assert_eq!(own.targets(&found).unwrap(), own.targets(&config).unwrap());
            assert_eq!(written(&mini_lm(), &config), config, "without that head there is no pooler");
        }
        let some = LoraConfig { layers_to_transform: Some(vec![0, 2]), ..LoraConfig::new(8, 16, &["dense"]) };
        for config in [pattern(r".*\.(query|value)"), LoraConfig::new(8, 16, &["output.dense"]), some] {
            assert_eq!(written(&own, &config), config);
        }
    }

    #[test]
    fn another_architecture_is_refused_with_the_known_ones() {
        let error = Model::from_hf_config(r#"{"model_type": "t5", "n": 1}"#, 2).unwrap_err();
        let known = "bert, roberta, distilbert, llama, mistral, qwen2, qwen3";
        assert_eq!(error.to_string(), format!("unknown architecture `t5`; known: {known}"));
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

    /// SmolLM2-135M's sizes: nine heads, three of keys and values.
    #[test]
    fn a_language_model_has_the_shapes_of_its_heads_and_no_head_of_labels() {
        let json = r#"{"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
            "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152}"#;
        let model = Model::from_hf_config(json, 0).unwrap();
        let layers = model.linear_layers();
        assert_eq!(layers.len(), 210);
        let shape = |name: &str| layers.iter().find(|l| l.name == name).map(|l| (l.outputs, l.inputs));
        assert_eq!(shape("model.layers.29.self_attn.k_proj"), Some((192, 576)));
        assert_eq!(shape("model.layers.0.self_attn.o_proj"), Some((576, 576)));
        assert_eq!(shape("model.layers.7.mlp.down_proj"), Some((576, 1536)));
        let config = LoraConfig::for_language_model(8, 16, &["q_proj", "v_proj"]);
        let adapter = crate::Adapter::initial(&model, &config, 1).unwrap();
        assert_eq!(adapter.trainable_len(), 30 * 8 * (576 + 192));
        assert!(adapter.tensors().all(|(name, _)| !name.contains("classifier")));
        assert_eq!(toml::from_str::<Model>(&toml::to_string(&model).unwrap()).unwrap(), model);
        // Labels belong to a head, and a head to labels.
        assert!(matches!(Model::from_hf_config(json, 3), Err(AdapterError::Invalid { key: "num_labels", .. })));
        let with_head = LoraConfig::new(8, 16, &["q_proj"]);
        assert!(matches!(model.targets(&with_head), Err(AdapterError::Invalid { key: "modules_to_save", .. })));
        let without = LoraConfig::for_language_model(8, 16, &["query"]);
        assert!(matches!(mini_lm().targets(&without), Err(AdapterError::Invalid { key: "modules_to_save", .. })));
    }
}
