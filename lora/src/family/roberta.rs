//! RoBERTa (Liu et al. 2019): BERT's encoder, with positions that begin after the padding token's.

use adapter::Architecture;
use serde_json::Value;

use super::{bert, keys};
use crate::spec::{DenseActivation, HeadKind, Spec};

/// Its padding token, where the configuration names none.
const PADDING: usize = 1;

pub(super) fn read(config: Value) -> Result<Spec, String> {
    let config: bert::Config = keys(config)?;
    let mut spec = bert::encoder(&config)?;
    let unused = config.pad_token_id.unwrap_or(PADDING).saturating_add(1);
    spec.max_tokens = spec.max_tokens.saturating_sub(unused);
    spec.names.linear = Architecture::Roberta.layer_names();
    spec.names.positions = Some(("embeddings.position_embeddings", unused));
    spec.head =
        HeadKind::Sequence { dense: "classifier.dense", activation: DenseActivation::Tanh, out: "classifier.out_proj" };
    Ok(spec)
}
