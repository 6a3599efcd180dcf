//! What a model with an adapter says of texts.

use std::collections::BTreeMap;

use adapter::Adapter;
use lora::{ChatTemplate, Classifier, Encoded, LanguageModel, Message, Tokenizer};
use protocol::Charter;
use serde::Serialize;

use crate::learner::{Outcome, likeliest};
use crate::load::{classifier, language_model, template};
use crate::{ModelSource, TrainError};

/// A model with an adapter, to be asked.
pub struct Predictor {
    tokenizer: Tokenizer,
    max_tokens: usize,
    kind: Kind,
}

enum Kind {
    Labels(Box<Classifier>, Vec<String>),
    Words(Box<(LanguageModel, ChatTemplate, Vec<u32>)>),
}

/// What was said of one text.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Prediction {
    /// A classifier's.
    Label {
        /// The likeliest label.
        label: String,
        /// How likely it is.
        probability: f64,
        /// How likely each label is.
        probabilities: BTreeMap<String, f64>,
    },
    /// A language model's.
    Completion {
        /// What the assistant says.
        completion: String,
    },
}

impl Predictor {
    /// The charter's base model in `source` with `adapter`.
    ///
    /// # Errors
    /// [`TrainError`] naming the file or tensor at fault.
    pub fn load(charter: &Charter, adapter: &Adapter, source: &ModelSource<'_>) -> Result<Self, TrainError> {
        terms::check_weights(charter, source.folder)?;
        let tokenizer = Tokenizer::from_file(&source.folder.join("tokenizer.json"))?;
        let kind = if terms::is_language_model(charter) {
            let model = language_model(charter, adapter, source, &tokenizer)?;
            let template = template(source.folder)?;
            let stops = lora::stop_tokens(source.folder, &template, &tokenizer)?;
            Kind::Words(Box::new((model, template, stops)))
        } else {
            let model = classifier(charter, adapter, source, &tokenizer)?;
            Kind::Labels(Box::new(model), charter.model.labels.clone())
        };
        Ok(Self { tokenizer, max_tokens: charter.model.max_tokens as usize, kind })
    }

    /// What it says of each text: a label, or what the assistant answers to a user who says it, in at most `most` tokens.
    ///
    /// # Errors
    /// [`TrainError::Model`] for a text that the model does not take.
    pub fn predict(&self, texts: &[String], most: usize) -> Result<Vec<Prediction>, TrainError> {
        match &self.kind {
            Kind::Labels(model, labels) => {
                let encode = |text: &String| self.tokenizer.encode(text, self.max_tokens);
                let encoded = texts.iter().map(encode).collect::<Result<Vec<Encoded>, _>>()?;
                Ok(model.logits(&encoded)?.iter().map(|logits| prediction(labels, logits)).collect())
            }
            Kind::Words(words) => {
                let (model, template, stops) = words.as_ref();
                let encode =
                    |text: &String| self.tokenizer.encode_plain(&template.render(&[Message::new("user", text)], true)?);
                let prompts = texts.iter().map(encode).collect::<Result<Vec<Encoded>, _>>()?;
                let said = model.say_each(&prompts, most, stops, |_| ())?;
                let text = |ids: &Vec<u32>| Ok(Prediction::Completion { completion: self.tokenizer.decode(ids)? });
                said.iter().map(text).collect()
            }
        }
    }
}

fn prediction(labels: &[String], logits: &[f32]) -> Prediction {
    let probabilities = match Outcome::of_logits(0, logits) {
        Outcome::Label { probabilities, .. } => probabilities,
        Outcome::Text { .. } => Vec::new(),
    };
    let best = likeliest(&probabilities);
    Prediction::Label {
        label: labels.get(best).cloned().unwrap_or_default(),
        probability: probabilities.get(best).copied().unwrap_or_default(),
        probabilities: labels.iter().cloned().zip(probabilities).collect(),
    }
}
