//! The adapter and how it is trained together: the section `[lora]`.

use serde::{Deserialize, Serialize};

/// The adapter, in PEFT's words.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// The rank.
    pub r: u32,
    /// The scale is `lora_alpha / r`.
    pub lora_alpha: f64,
    /// Linear layers that get an adapter.
    pub target_modules: TargetModules,
    /// Of the layers that a list of names matches, only those with these numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers_to_transform: Option<Vec<u32>>,
    /// The scale is `lora_alpha / sqrt(r)` instead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub use_rslora: bool,
    /// Share of each adapted layer's inputs that training hides from A.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lora_dropout: f64,
    /// A bias beside each B is trained with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lora_bias: bool,
    /// Which of the base model's own biases are trained; none where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<Bias>,
    /// Modules that are trained whole: those of the head.
    pub modules_to_save: Vec<String>,
    /// Seeds the A matrices.
    pub seed: u64,
    /// What the houses train and add up, beside the head.
    #[serde(default)]
    pub strategy: Strategy,
    /// The head to start from, trained on public rows: base64 (standard alphabet) of 32-bit floats, little-endian, the weight row by row, then the bias.
    /// Zero when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_head: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

/// Which of the base model's biases are trained, as PEFT's `bias`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bias {
    /// None.
    None,
    /// Those of the adapted layers.
    LoraOnly,
    /// All: of linear layers, of norms, of a pooler that the head uses.
    All,
}

/// Linear layers, as PEFT names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetModules {
    /// Names, or ends of names after a dot.
    Names(Vec<String>),
    /// "all-linear", or a regular expression over whole names.
    Pattern(String),
}

/// How a federation trains the low-rank products. Those that need single updates are known, so that a charter that names one is refused
/// with the reason: an aggregator that opens nothing but sums cannot run them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// FFA-LoRA (Sun, Li, Li, Ding 2024, arXiv 2403.12313): B is trained, A stays as the seed gives it.
    #[default]
    FfaLora,
    /// FedIT (Zhang et al. 2023, arXiv 2305.05644): A and B are trained and averaged, each by itself.
    #[serde(rename = "fedit")]
    FedIt,
    /// RoLoRA (Chen et al. 2024, arXiv 2409.02346): B and A are trained by turns, one a round.
    #[serde(rename = "rolora")]
    RoLora,
    /// FLoRA (Wang et al. 2024, arXiv 2409.05976): stacks every house's A and B. Refused.
    Flora,
    /// FedEx-LoRA (Singhal, Ponkshe, Vepakomma 2024, arXiv 2410.09432): adds what the mean of the products has beside the product of the means. Refused.
    FedexLora,
    /// LoRA-FAIR (Bian et al. 2024, arXiv 2411.14961): corrects the mean of B by the mean of the products. Refused.
    LoraFair,
    /// FlexLoRA (Bai et al. 2024, arXiv 2402.11505): decomposes the sum of the products, of different ranks. Refused.
    FlexLora,
}

impl Strategy {
    /// Its name in the charter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FfaLora => "ffa-lora",
            Self::FedIt => "fedit",
            Self::RoLora => "rolora",
            Self::Flora => "flora",
            Self::FedexLora => "fedex-lora",
            Self::LoraFair => "lora-fair",
            Self::FlexLora => "flex-lora",
        }
    }
}
