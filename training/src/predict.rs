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
        terms::check_base_model(charter, source.folder)?;
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

    /// What it says of each text: a label, or what the assistant answers to a user who says it, in at most `most` tokens; or why the model does not take
    /// that text, which leaves the others theirs.
    ///
    /// # Errors
    /// [`TrainError::Model`] for a failure of the device.
    pub fn predict(&self, texts: &[String], most: usize) -> Result<Vec<Result<Prediction, TrainError>>, TrainError> {
        let mut encoded: Vec<Result<Encoded, TrainError>> = texts.iter().map(|text| self.encode(text)).collect();
        let taken: Vec<Encoded> =
            encoded.iter_mut().filter_map(|text| text.as_mut().ok().map(std::mem::take)).collect();
        let said: Vec<Prediction> = match &self.kind {
            Kind::Labels(model, labels) => {
                model.logits(&taken)?.iter().map(|logits| prediction(labels, logits)).collect()
            }
            Kind::Words(words) => {
                let (model, _, stops) = words.as_ref();
                let said = model.say_each(&taken, most, stops, |_| ())?;
                let text = |ids: &Vec<u32>| Ok(Prediction::Completion { completion: self.tokenizer.decode(ids)? });
                said.iter().map(text).collect::<Result<_, TrainError>>()?
            }
        };
        let mut said = said.into_iter();
        Ok(encoded.into_iter().map(|text| text.and_then(|_| said.next().ok_or(TrainError::NoRow(0)))).collect())
    }

    /// A text's tokens, which the model takes.
    fn encode(&self, text: &str) -> Result<Encoded, TrainError> {
        match &self.kind {
            Kind::Labels(model, _) => {
                let text = self.tokenizer.encode(text, self.max_tokens)?;
                model.check(std::slice::from_ref(&text))?;
                Ok(text)
            }
            Kind::Words(words) => {
                let (model, template, _) = words.as_ref();
                let prompt = self.tokenizer.encode_plain(&template.render(&[Message::new("user", text)], true)?)?;
                model.check_prompts(std::slice::from_ref(&prompt))?;
                Ok(prompt)
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
