//! The options that name rows and a model.

use std::path::PathBuf;

use clap::Args;

use crate::task::Source;

/// Rows and a model.
#[derive(Debug, Args)]
pub(super) struct SourceArguments {
    /// The rows to train on: TSV, CSV or JSONL
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// The rows to test on
    #[arg(long, value_name = "FILE")]
    test: PathBuf,
    /// Hugging Face folder of a BERT model
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Field with the text
    #[arg(long, default_value = "text", value_name = "FIELD")]
    text_column: String,
    /// Field with the label
    #[arg(long, default_value = "label", value_name = "FIELD")]
    label_column: String,
    /// Field that names the privacy unit
    #[arg(long, value_name = "FIELD")]
    unit_column: Option<String>,
    /// Longer texts are cut to this many tokens
    #[arg(long, default_value_t = 64, value_name = "TOKENS")]
    max_tokens: u32,
}

impl SourceArguments {
    pub(super) fn source(&self) -> Source {
        Source {
            data: self.data.clone(),
            test: self.test.clone(),
            model: self.model.clone(),
            text_column: self.text_column.clone(),
            label_column: self.label_column.clone(),
            unit_column: self.unit_column.clone(),
            max_tokens: self.max_tokens,
        }
    }
}
