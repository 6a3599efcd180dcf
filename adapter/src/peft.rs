//! `adapter_config.json`, PEFT's form of a [`LoraConfig`].
//!
//! PEFT adds keys with every version. Those that only steer training or bookkeeping are ignored; a key that changes what
//! the adapted model computes must have the value that switches it off.

use serde_json::{Map, Value, json};

use crate::config::{BEFORE_HEAD, HEAD};
use crate::{AdapterError, Bias, LoraConfig, Model, Targets};

/// Keys that must be absent, null, false or empty.
const MUST_BE_OFF: [&str; 18] = [
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "exclude_modules",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "layers_pattern",
    "megatron_config",
    "monteclora_config",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
    "lora_ga_config",
];

/// Initialisations of A and B that leave the base model's weights as they are.
const INITIALISATIONS: [&str; 3] = ["gaussian", "orthogonal", "eva"];

impl LoraConfig {
    /// The content of `adapter_config.json`, readable by PEFT.
    ///
    /// # Errors
    /// [`AdapterError::Json`] if the writer fails.
    pub fn to_peft_json(&self) -> Result<String, AdapterError> {
        let value = json!({
            "alpha_pattern": {},
            "auto_mapping": null,
            "base_model_name_or_path": self.base_model_name_or_path,
            "bias": self.bias.as_str(),
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": self.layers_to_transform,
            "lora_alpha": self.lora_alpha,
            "lora_bias": self.lora_bias,
            "lora_dropout": self.lora_dropout,
            "modules_to_save": self.modules_to_save,
            "peft_type": "LORA",
            "r": self.r,
            "rank_pattern": {},
            "revision": null,
            "target_modules": self.target_modules,
            "task_type": if self.modules_to_save.is_empty() { "CAUSAL_LM" } else { "SEQ_CLS" },
            "use_dora": false,
            "use_rslora": self.use_rslora,
        });
        Ok(serde_json::to_string_pretty(&value)? + "\n")
    }

    /// Reads the content of `adapter_config.json`.
    ///
    /// # Errors
    /// [`AdapterError::Json`], [`AdapterError::Unsupported`] or [`AdapterError::Invalid`] naming the key.
    pub fn from_peft_json(json: &str) -> Result<Self, AdapterError> {
        Self::from_peft_value(&serde_json::from_str(json)?)
    }

    pub(crate) fn from_peft_value(keys: &Map<String, Value>) -> Result<Self, AdapterError> {
        let get = |key: &str| keys.get(key).unwrap_or(&Value::Null);
        for key in MUST_BE_OFF {
            require(key, get(key), is_off(get(key)), "null, false or nothing in it")?;
        }
        let one_of =
            |key: &'static str, allowed: &[Value], rule| require(key, get(key), allowed.contains(get(key)), rule);
        one_of("peft_type", &[json!("LORA")], "\"LORA\"")?;
        let tasks = [Value::Null, json!("SEQ_CLS"), json!("CAUSAL_LM")];
        one_of("task_type", &tasks, "\"SEQ_CLS\" or \"CAUSAL_LM\"")?;
        let initialisation = get("init_lora_weights");
        let harmless = initialisation.is_null()
            || initialisation.is_boolean()
            || initialisation.as_str().is_some_and(|name| INITIALISATIONS.contains(&name));
        let rule = "true, false, \"gaussian\", \"orthogonal\" or \"eva\"";
        require("init_lora_weights", initialisation, harmless, rule)?;
        let dropout = get("lora_dropout");
        require("lora_dropout", dropout, dropout.is_null() || dropout.is_number(), "a number")?;
        let flag = |key: &'static str| {
            let value = get(key);
            require(key, value, value.is_null() || value.is_boolean(), "true or false")?;
            Ok::<_, AdapterError>(value == &Value::Bool(true))
        };
        let base = get("base_model_name_or_path");
        require("base_model_name_or_path", base, base.is_null() || base.is_string(), "a name or null")?;
        let config = Self {
            r: integer("r", get("r"))?,
            lora_alpha: integer("lora_alpha", get("lora_alpha"))?,
            target_modules: targets(get("target_modules"))?,
            layers_to_transform: layers(get("layers_to_transform"))?,
            modules_to_save: saved(get("task_type"), get("modules_to_save"))?,
            use_rslora: flag("use_rslora")?,
            lora_dropout: dropout.as_f64().unwrap_or_default(),
            lora_bias: flag("lora_bias")?,
            bias: bias(get("bias"))?,
            train: crate::Train::B,
            base_model_name_or_path: base.as_str().map(str::to_owned),
        };
        config.validate()?;
        Ok(config)
    }
}

impl LoraConfig {
    /// Names all modules that PEFT saves when `classifier` is named.
    pub(crate) fn fit_head(&mut self, model: &Model) {
        if self.modules_to_save == [HEAD] {
            self.modules_to_save = model.head_modules().iter().map(|name| (*name).to_owned()).collect();
        }
    }
}

fn require(key: &'static str, found: &Value, holds: bool, supported: &'static str) -> Result<(), AdapterError> {
    match holds {
        true => Ok(()),
        false => Err(AdapterError::Unsupported { key, found: found.to_string(), supported }),
    }
}

fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(keys) => keys.is_empty(),
        _ => false,
    }
}

/// PEFT writes 16 or 16.0, as its user did.
fn integer(key: &'static str, value: &Value) -> Result<u32, AdapterError> {
    let whole = value.as_f64().filter(|x| x.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(x));
    require(key, value, whole.is_some(), "a whole number")?;
    Ok(whole.unwrap_or_default() as u32)
}

fn names(key: &'static str, value: &Value) -> Result<Vec<String>, AdapterError> {
    let names: Option<Vec<String>> =
        value.as_array().and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
    require(key, value, names.is_some(), "a list of names")?;
    Ok(names.unwrap_or_default())
}

fn targets(value: &Value) -> Result<Targets, AdapterError> {
    match value.as_str() {
        Some(pattern) => Ok(Targets::Pattern(pattern.to_owned())),
        None => names("target_modules", value).map(Targets::Names),
    }
}

fn bias(value: &Value) -> Result<Bias, AdapterError> {
    let known = [Bias::None, Bias::LoraOnly, Bias::All].into_iter().find(|bias| value == bias.as_str());
    let bias = if value.is_null() { Some(Bias::None) } else { known };
    require("bias", value, bias.is_some(), "\"none\", \"lora_only\" or \"all\"")?;
    Ok(bias.unwrap_or_default())
}

/// PEFT takes one number for a list of one.
fn layers(value: &Value) -> Result<Option<Vec<u32>>, AdapterError> {
    let one = |value: &Value| integer("layers_to_transform", value);
    match value {
        Value::Null => Ok(None),
        Value::Array(items) if items.is_empty() => Ok(None),
        Value::Array(items) => items.iter().map(one).collect::<Result<_, _>>().map(Some),
        number => one(number).map(|number| Some(vec![number])),
    }
}

/// For sequence classification PEFT appends `classifier` and `score`, whether or not the model has such layers. It takes all modules whose names end so, and
/// with `classifier` DistilBERT's `pre_classifier` too: what a model has of these is [`LoraConfig::fit_head`]'s to say.
fn saved(task: &Value, value: &Value) -> Result<Vec<String>, AdapterError> {
    if task == "CAUSAL_LM" {
        require("modules_to_save", value, is_off(value), "null or nothing in it, for a language model")?;
        return Ok(Vec::new());
    }
    let mut listed = names("modules_to_save", value)?;
    let known = listed.iter().all(|name| [HEAD, BEFORE_HEAD, "score"].contains(&&**name));
    require("modules_to_save", value, known, "the head: [\"classifier\"], for DistilBERT with \"pre_classifier\"")?;
    listed.retain(|name| name != "score");
    listed.sort_unstable();
    listed.dedup();
    Ok(listed)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn with(key: &str, value: Value) -> Result<LoraConfig, AdapterError> {
        let mut keys: Map<String, Value> =
            serde_json::from_str(&LoraConfig::new(8, 16, &["query"]).to_peft_json().unwrap()).unwrap();
        keys.insert(key.to_owned(), value);
        LoraConfig::from_peft_json(&Value::Object(keys).to_string())
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut config = LoraConfig::new(4, 32, &["query", "output.dense"]);
        config.use_rslora = true;
        config.base_model_name_or_path = Some("sentence-transformers/all-MiniLM-L6-v2".into());
        assert_eq!(LoraConfig::from_peft_json(&config.to_peft_json().unwrap()).unwrap(), config);
        config.layers_to_transform = Some(vec![0, 3]);
        assert_eq!(LoraConfig::from_peft_json(&config.to_peft_json().unwrap()).unwrap(), config);
        config.layers_to_transform = None;
        config.target_modules = Targets::Pattern(r".*\.query".to_owned());
        assert_eq!(LoraConfig::from_peft_json(&config.to_peft_json().unwrap()).unwrap(), config);
        (config.lora_bias, config.lora_dropout) = (true, 0.1);
        assert_eq!(LoraConfig::from_peft_json(&config.to_peft_json().unwrap()).unwrap(), config);
        for bias in [Bias::LoraOnly, Bias::All] {
            config.bias = bias;
            assert_eq!(LoraConfig::from_peft_json(&config.to_peft_json().unwrap()).unwrap(), config);
        }
        assert_eq!(with("layers_to_transform", json!(3)).unwrap().layers_to_transform, Some(vec![3]));
    }

    #[test]
    fn a_language_models_configuration_names_its_task_and_saves_no_module() {
        let config = LoraConfig::for_language_model(4, 8, &["q_proj", "down_proj"]);
        let json = config.to_peft_json().unwrap();
        assert!(json.contains("\"CAUSAL_LM\""));
        assert_eq!(LoraConfig::from_peft_json(&json).unwrap(), config);
        let with_head = json.replace("\"modules_to_save\": []", "\"modules_to_save\": [\"lm_head\"]");
        assert!(matches!(
            LoraConfig::from_peft_json(&with_head),
            Err(AdapterError::Unsupported { key: "modules_to_save", .. })
        ));
    }

    #[test]
    fn keys_that_do_not_change_the_numbers_are_ignored() {
        for (key, value) in [
            ("peft_version", json!("0.99")),
            ("inference_mode", json!(false)),
            ("a_key_of_next_year", json!({"x": 1})),
            ("eva_config", json!(null)),
            ("lora_alpha", json!(16.0)),
            ("modules_to_save", json!(["classifier", "classifier", "score"])),
        ] {
            assert_eq!(with(key, value).unwrap(), LoraConfig::new(8, 16, &["query"]), "{key}");
        }
    }

    #[test]
    fn keys_that_change_the_numbers_are_refused_by_name() {
        let switched_on = MUST_BE_OFF.map(|key| (key, json!(true)));
        let others = [
            ("alpha_pattern", json!({"query": 4})),
            ("exclude_modules", json!("value")),
            ("peft_type", json!("IA3")),
            ("task_type", json!("SEQ_2_SEQ_LM")),
            ("bias", json!("norm_only")),
            ("init_lora_weights", json!("pissa")),
            ("lora_dropout", json!("0.1")),
            ("lora_bias", json!(1)),
            ("use_rslora", json!("yes")),
            ("base_model_name_or_path", json!(3)),
            ("r", json!(8.5)),
            ("r", json!(-1)),
            ("lora_alpha", json!("16")),
            ("target_modules", json!(null)),
            ("layers_to_transform", json!("first")),
            ("layers_to_transform", json!([0.5])),
            ("target_modules", json!(["query", 3])),
            ("modules_to_save", json!(["pooler"])),
        ];
        for (wanted, value) in switched_on.into_iter().chain(others) {
            let error = with(wanted, value).unwrap_err();
            assert!(matches!(&error, AdapterError::Unsupported { key, .. } if *key == wanted), "{wanted}: {error}");
        }
        assert!(matches!(with("r", json!(0)), Err(AdapterError::Invalid { key: "r", .. })));
        assert!(matches!(LoraConfig::from_peft_json("[]"), Err(AdapterError::Json(_))));
    }
}
