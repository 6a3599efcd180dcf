//! Models on burn: load a Hugging Face checkpoint, attach LoRA, train with per-example gradients, evaluate.
//!
//! The way through it:
//!
//! 1. [`device`] turns a name such as `cpu` or `cuda:0` into a burn device.
//! 2. [`Tokenizer`] turns texts into [`Encoded`] token ids, [`ChatTemplate`] conversations.
//! 3. [`Pretrained::load`] reads a checkpoint with its own head: `config.json` into a description of the model (`spec`, a short file for each `family`), the
//!    weights by name (`checkpoint`), one arithmetic for all (`transformer`). [`Classifier::load`] takes an encoder of it and attaches an [`adapter::Adapter`]: a LoRA branch
//!    beside each chosen linear layer (`linear`, `attach`; `dropout` on the way into it) and the head that the adapter's model has ([`adapter::Head`]).
//! 4. [`micro_batches`] buckets examples by padded length, so that shapes depend on an example alone.
//! 5. [`Classifier::for_each_gradient`] gives one gradient an example, without a loop over examples (`gradients`), on several
//!    cores (`parallel`). Whoever wants an ordinary gradient adds them up; whoever wants privacy clips each one first.
//!    [`LanguageModel`] does the same for decoders, where what is learnt is each token after a prompt, and can [say](LanguageModel::say) what comes next, for many prompts at once (`generate`), each seen once (`cache`).
//! 6. [`Classifier::warm_up_head`] trains a head on public rows, to start from. [`Classifier::evaluate`] gives [`Evaluation`]: loss, plain and macro accuracy, predictions.

mod adapted;
mod attach;
mod batch;
mod cache;
mod chat;
mod checkpoint;
mod classifier;
mod device;
mod dropout;
mod error;
mod evaluate;
mod family;
mod generate;
mod gradients;
mod language;
mod linear;
mod parallel;
mod pretrained;
mod rope;
mod spec;
mod tokenizer;
mod transformer;
mod warm_up;

/// What [`device`] gives; a tensor is made on one.
pub use burn::tensor::Device;

pub use crate::batch::{MicroBatch, micro_batches};
pub use crate::chat::{ChatTemplate, Message};
pub use crate::classifier::Classifier;
pub use crate::device::{describe_device, device, device_names};
pub use crate::error::LoraError;
pub use crate::evaluate::Evaluation;
pub use crate::generate::stop_tokens;
pub use crate::gradients::Gradients;
pub use crate::language::{Foreseen, LanguageModel};
pub use crate::pretrained::Pretrained;
pub use crate::spec::Sizes;
pub use crate::tokenizer::{Encoded, Tokenizer};
pub use crate::warm_up::WarmUp;
