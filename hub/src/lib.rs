//! Where a base model comes from: a folder, the Hugging Face cache, or the Hugging Face hub.
//!
//! The way through it:
//!
//! 1. [`Model`] is what a person wrote: a folder, or an [`Id`] such as `HuggingFaceTB/SmolLM2-135M-Instruct@main`. A folder that exists wins.
//! 2. [`Hub::from_env`] reads the variables that Python's `huggingface_hub` reads.
//! 3. [`Hub::folder`] gives the folder with the model's files: the one that was written, or a snapshot in the cache, which Python's library
//!    shares. What the cache lacks is fetched first, unless `HF_HUB_OFFLINE` is set.
//!
//! Only configurations, tokenizers, chat templates and safetensors are fetched: never code, never pickles. Nothing that is fetched is trusted:
//! the charter pins the weights by digest, and whoever loads a model checks the rest.

mod cache;
mod download;
mod error;
mod files;
mod hub;
mod model;
mod settings;
mod wire;

pub use error::HubError;
pub use hub::Hub;
pub use model::{Id, Model};
pub use settings::Settings;
