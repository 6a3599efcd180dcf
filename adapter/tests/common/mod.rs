//! What several tests start from.

use adapter::{Adapter, Architecture, LoraConfig, Model};

/// The model of tests/fixtures/peft.
pub(crate) fn tiny_model() -> Model {
    Model {
        architecture: Architecture::Bert,
        num_hidden_layers: 2,
        hidden_size: 8,
        intermediate_size: 12,
        num_labels: 3,
        head: Default::default(),
        attention: None,
    }
}

/// An adapter of it on query and value, with every trained weight different.
pub(crate) fn tiny_adapter() -> Adapter {
    let config = LoraConfig::new(2, 6, &["query", "value"]);
    let adapter = Adapter::initial(&tiny_model(), &config, 3).unwrap();
    let flat: Vec<f32> = (0..adapter.trainable_len()).map(|i| (i as f32 - 20.0) / 7.0).collect();
    adapter.with_flat(&flat).unwrap()
}
