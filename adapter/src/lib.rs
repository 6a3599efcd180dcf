//! LoRA adapters without a tensor library: PEFT in and out, applying a sum, server optimizers.
//!
//! The way through it:
//!
//! 1. [`Model`] says which linear layers a base model has ([`Model::from_hf_config`] reads Hugging Face's `config.json`),
//!    [`LoraConfig`] which of them get an adapter. Both stand in the charter.
//! 2. [`Adapter`] holds the named tensors. [`Adapter::initial`] makes the first one from a seed, [`Adapter::flat`] lays
//!    the trained part out as the one vector that clients send gradients of, [`Adapter::save_dir`] writes what PEFT loads.
//! 3. [`State`] is an adapter with its [`ServerOptimizer`]'s memory and its [`Schedule`]. [`State::apply`] turns an opened sum of integers
//!    into the next adapter.
//!
//! Every house computes the same adapter from the same sum and signs its digest, so the arithmetic here is additions,
//! multiplications, divisions and square roots of IEEE 754 numbers in a fixed order and nothing else: no fused
//! multiply-add, no reordered sums, no library functions whose last bit depends on the platform
//! (the cosine of a schedule is `libm`'s, written in Rust).

mod adapter;
mod architecture;
mod biases;
mod codec;
mod config;
mod directory;
mod error;
mod initial;
mod merge;
mod model;
mod optimizer;
mod peft;
mod schedule;
mod state;
mod targets;
mod trained;
mod weights;

pub use crate::adapter::{Adapter, Tensor, Trainable};
pub use crate::architecture::{Architecture, LayerNames, LayerWidths, Site};
pub use crate::biases::BaseBiases;
pub use crate::config::{Bias, LoraConfig, Train};
pub use crate::error::{AdapterError, ApplyError, DecodeError};
pub use crate::merge::Merge;
pub use crate::model::{AttentionSizes, Head, HeadLayer, Linear, Model};
pub use crate::optimizer::ServerOptimizer;
pub use crate::schedule::{Decay, Schedule};
pub use crate::state::{BestLoss, State};
pub use crate::targets::Targets;
pub use crate::trained::Trained;
pub use crate::weights::{
    BASE_INDEX, BASE_WEIGHTS, SETTINGS, indexed_files, settings_digest, weight_files, weights_digest,
};
