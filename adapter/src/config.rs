//! The LoRA settings of a federation.

use serde::{Deserialize, Serialize};

use crate::{AdapterError, Targets};

/// Which factors of the low-rank products are trained; the head is in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Train {
    /// B alone, A stays as it was drawn (FFA-LoRA, arXiv 2403.12313): noise enters linearly, and the mean of several B's is the mean of
    /// the updates.
    #[default]
    B,
    /// A and B.
    AB,
    /// A alone: what a round of [`Alternating`](Self::Alternating) may train.
    A,
    /// B and A by turns, beginning with B (RoLoRA, arXiv 2409.02346): see [`State::round_adapter`](crate::State::round_adapter).
    Alternating,
}

impl Train {
    /// Whether the tensor of this name is trained, in some round at least.
    pub(crate) fn trains(self, name: &str) -> bool {
        match self {
            Self::AB | Self::Alternating => true,
            Self::B => !is_a(name),
            Self::A => !is_b(name),
        }
    }

    /// One number for each, for digests.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::B => 0,
            Self::AB => 1,
            Self::A => 2,
            Self::Alternating => 3,
        }
    }
}

/// Which biases of the base model are trained with the adapter, as PEFT's `bias`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bias {
    /// None.
    #[default]
    None,
    /// Those of the adapted layers.
    LoraOnly,
    /// All that the model has: of linear layers, of norms, of a pooler that the head uses.
    All,
}

impl Bias {
    /// Its name in PEFT's configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::LoraOnly => "lora_only",
            Self::All => "all",
        }
    }
}

/// Which linear layers get a LoRA adapter and how strong it is, in PEFT's spelling.
///
/// The serde form is the charter's: these keys and no others. The form of PEFT's `adapter_config.json` is written by
/// [`LoraConfig::to_peft_json`] and read by [`LoraConfig::from_peft_json`].
///
/// A layer `y = W x` becomes `y = W x + scaling * (B A x + b)` with `A` of shape `[r, in]`, `B` of shape `[out, r]`, and `b` of shape `[out]` with
/// [`lora_bias`](Self::lora_bias), else without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank: rows of A, columns of B.
    pub r: u32,
    /// Numerator of [`scaling`](Self::scaling).
    pub lora_alpha: u32,
    /// Which linear layers.
    pub target_modules: Targets,
    /// Of the layers that a list of names matches, only those with these numbers, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers_to_transform: Option<Vec<u32>>,
    /// Layers that are trained and stored whole: those of the head ([`Model::head_modules`](crate::Model::head_modules)); none of a language model.
    #[serde(default = "head_only")]
    pub modules_to_save: Vec<String>,
    /// Divide alpha by the root of the rank instead of by the rank (rsLoRA, arXiv 2312.03732).
    #[serde(default)]
    pub use_rslora: bool,
    /// Share of each adapted layer's inputs that a training step hides from A; the others are divided by what is left. Changes nothing outside of training.
    #[serde(default)]
    pub lora_dropout: f64,
    /// Train a bias beside each B, with B: what PEFT's `lora_bias` is.
    #[serde(default)]
    pub lora_bias: bool,
    /// Which of the base model's own biases are trained. An [`Adapter`](crate::Adapter) holds what comes to them, so that nobody needs the base model to know
    /// what is trained; a PEFT directory holds the sums ([`BaseBiases`](crate::BaseBiases)).
    #[serde(default)]
    pub bias: Bias,
    /// Which factors are trained. PEFT's configuration has no such key: what is read from one trains B.
    #[serde(default)]
    pub train: Train,
    /// The base model's name or directory, for whoever loads the adapter; nothing here opens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_model_name_or_path: Option<String>,
}

/// The layer over labels, or what holds it.
pub(crate) const HEAD: &str = "classifier";
/// What stands before it in DistilBERT's own head.
pub(crate) const BEFORE_HEAD: &str = "pre_classifier";

/// The largest rank accepted; larger ones are no low-rank adapters, and sizes stay far from overflow.
const MAX_RANK: u32 = 4096;

fn head_only() -> Vec<String> {
    vec![HEAD.to_owned()]
}

impl LoraConfig {
    /// A configuration with the head as the only layer trained whole, plain LoRA scaling and no base model's name.
    #[must_use]
    pub fn new(r: u32, lora_alpha: u32, target_modules: &[&str]) -> Self {
        Self {
            r,
            lora_alpha,
            target_modules: Targets::names(target_modules),
            layers_to_transform: None,
            modules_to_save: head_only(),
            use_rslora: false,
            lora_dropout: 0.0,
            lora_bias: false,
            bias: Bias::None,
            train: Train::B,
            base_model_name_or_path: None,
        }
    }

    /// The same for a language model, which has no head of its own.
    #[must_use]
    pub fn for_language_model(r: u32, lora_alpha: u32, target_modules: &[&str]) -> Self {
        Self { modules_to_save: Vec::new(), ..Self::new(r, lora_alpha, target_modules) }
    }

    /// What `B A x` (and the bias beside B) is multiplied by: `lora_alpha / r`, or `lora_alpha / sqrt(r)` with `use_rslora`.
    #[must_use]
    pub fn scaling(&self) -> f32 {
        let (alpha, r) = (f64::from(self.lora_alpha), f64::from(self.r));
        (if self.use_rslora { alpha / r.sqrt() } else { alpha / r }) as f32
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`AdapterError::Invalid`] naming the key.
    pub fn validate(&self) -> Result<(), AdapterError> {
        let invalid = |key, found: String, rule| Err(AdapterError::Invalid { key, found, rule });
        if !(1..=MAX_RANK).contains(&self.r) {
            return invalid("r", self.r.to_string(), "from 1 to 4096");
        }
        if !(1..=1 << 20).contains(&self.lora_alpha) {
            return invalid("lora_alpha", self.lora_alpha.to_string(), "from 1 to 1048576");
        }
        self.target_modules.validate()?;
        self.validate_layers()?;
        if !(0.0..1.0).contains(&self.lora_dropout) {
            return invalid("lora_dropout", self.lora_dropout.to_string(), "at least 0 and below 1");
        }
        if !self.modules_to_save.iter().all(|name| [HEAD, BEFORE_HEAD].contains(&&**name)) {
            let rule = "the head's layers, or [] for a language model";
            return invalid("modules_to_save", format!("{:?}", self.modules_to_save), rule);
        }
        Ok(())
    }

    /// Whether the tensor of this name is trained.
    pub(crate) fn trains(&self, name: &str) -> bool {
        self.train.trains(name)
    }
}

/// Whether a tensor is an A.
pub(crate) fn is_a(name: &str) -> bool {
    name.ends_with(".lora_A.weight")
}

/// Whether it is a B, or the bias beside one.
pub(crate) fn is_b(name: &str) -> bool {
    name.ends_with(".lora_B.weight") || name.ends_with(".lora_B.bias")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn scaling_is_alpha_over_rank_or_over_its_root() {
        let mut config = LoraConfig::new(16, 24, &["query"]);
        assert_eq!(config.scaling(), 1.5);
        config.use_rslora = true;
        assert_eq!(config.scaling(), 6.0);
    }

    #[test]
    fn a_charter_may_leave_out_what_has_a_default_and_may_not_add_keys() {
        let short = "r = 8\nlora_alpha = 16\ntarget_modules = ['query', 'value']";
        assert_eq!(toml::from_str::<LoraConfig>(short).unwrap(), LoraConfig::new(8, 16, &["query", "value"]));
        let error = toml::from_str::<LoraConfig>(&format!("{short}\nuse_dora = true")).unwrap_err();
        assert!(error.to_string().contains("use_dora"), "{error}");
    }

    #[test]
    fn each_value_out_of_range_is_named() {
        let good = LoraConfig::new(8, 16, &["query"]);
        good.validate().unwrap();
        let named = |change: fn(&mut LoraConfig)| {
            let mut config = good.clone();
            change(&mut config);
            match config.validate() {
                Err(AdapterError::Invalid { key, .. }) => key,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(named(|c| c.r = 0), "r");
        assert_eq!(named(|c| c.r = 5000), "r");
        assert_eq!(named(|c| c.lora_alpha = 0), "lora_alpha");
        for bad in [Targets::names(&[]), Targets::names(&["query", "query"]), Targets::names(&[""])] {
            assert!(matches!(bad.validate(), Err(AdapterError::Invalid { key: "target_modules", .. })));
        }
        assert_eq!(named(|c| c.target_modules = Targets::Pattern("(".into())), "target_modules");
        assert_eq!(named(|c| c.layers_to_transform = Some(vec![])), "layers_to_transform");
        assert_eq!(named(|c| c.layers_to_transform = Some(vec![1, 1])), "layers_to_transform");
        assert_eq!(named(|c| c.modules_to_save.push("pooler".into())), "modules_to_save");
        for bad in [-0.1, 1.0, f64::NAN] {
            let config = LoraConfig { lora_dropout: bad, ..good.clone() };
            assert!(matches!(config.validate(), Err(AdapterError::Invalid { key: "lora_dropout", .. })), "{bad}");
        }
    }
}
