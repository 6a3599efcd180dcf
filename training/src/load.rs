//! A data file and a model folder, checked against the charter.

use std::path::Path;
use std::sync::Arc;

use lora::{ChatTemplate, Classifier, Encoded, LanguageModel, Message, Sizes, Tokenizer};
use protocol::Charter;
use terms::Terms;

use crate::{Columns, Corpus, Dataset, Format, House, Learner, PromptLearner, Row, TextLearner, TrainError};

/// Where the rows are.
#[derive(Debug, Clone, Copy)]
pub struct DataSource<'a> {
    /// The file.
    pub file: &'a Path,
    /// Its format, when the name does not tell.
    pub format: Option<Format>,
    /// Which fields matter.
    pub columns: Columns<'a>,
}

/// Where the base model is, and what it runs on.
#[derive(Debug, Clone, Copy)]
pub struct ModelSource<'a> {
    /// Hugging Face folder.
    pub folder: &'a Path,
    /// Device name, as `lora::device` takes it.
    pub device: &'a str,
    /// Worker threads; all cores when left out.
    pub threads: Option<usize>,
}

/// A house's rows and the model over them.
pub struct Loaded {
    /// The model over the house's rows.
    pub learner: Box<dyn Learner + Send>,
    /// The house's units.
    pub house: House,
    /// Whether a unit column names the units; without one, each row is its own unit.
    pub named_units: bool,
}

/// Reads model and rows, and checks both against the charter.
///
/// # Errors
/// [`TrainError`] naming the file, line or field at fault.
pub fn load(charter: &Charter, data: &DataSource<'_>, model: &ModelSource<'_>) -> Result<Loaded, TrainError> {
    let dataset = Dataset::load(data.file, data.format, data.columns, &charter.model.labels)?;
    terms::check_weights(charter, model.folder)?;
    let learner: Box<dyn Learner + Send> = if terms::is_language_model(charter) {
        Box::new(prompts(charter, dataset.rows(), data.file, model)?)
    } else {
        Box::new(texts(charter, dataset.rows(), model)?)
    };
    Ok(Loaded {
        learner,
        house: dataset.house(charter.evaluation.as_ref().map_or(0.0, |evaluation| evaluation.held_out)),
        named_units: dataset.has_named_units(),
    })
}

/// A classifier over labelled texts.
fn texts(charter: &Charter, rows: &[Row], model: &ModelSource<'_>) -> Result<TextLearner, TrainError> {
    let first = Terms::of(charter)?.first_state()?;
    let device = device(model.device)?;
    let mut classifier = Classifier::load(model.folder, first.adapter(), charter.model.labels.len(), &device)?;
    if let Some(threads) = model.threads {
        classifier.set_threads(threads);
    }
    let tokenizer = tokenizer(charter, model.folder, classifier.sizes())?;
    let max_tokens = charter.model.max_tokens as usize;
    let examples: Vec<Encoded> =
        rows.iter().map(|row| tokenizer.encode(&row.text, max_tokens)).collect::<Result<_, _>>()?;
    classifier.check(&examples)?;
    let labels = rows.iter().map(|row| row.label).collect();
    Ok(TextLearner::new(classifier, Arc::new(Corpus { examples, labels })))
}

/// A language model over completions of prompts, by its own chat template.
fn prompts(
    charter: &Charter,
    rows: &[Row],
    file: &Path,
    source: &ModelSource<'_>,
) -> Result<PromptLearner, TrainError> {
    let first = Terms::of(charter)?.first_state()?;
    let mut model = LanguageModel::load(source.folder, first.adapter(), &device(source.device)?)?;
    if let Some(threads) = source.threads {
        model.set_threads(threads);
    }
    let tokenizer = tokenizer(charter, source.folder, model.sizes())?;
    let Some(template) = ChatTemplate::from_dir(source.folder)? else {
        return Err(TrainError::NoChatTemplate(source.folder.to_owned()));
    };
    let max_tokens = charter.model.max_tokens as usize;
    let (mut texts, mut given, mut too_long) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows {
        let messages = [Message::new("user", &row.text), Message::new("assistant", &row.completion)];
        let (mut text, prompt) = template.encode(&tokenizer, &messages)?;
        text.ids.truncate(max_tokens);
        if prompt >= text.ids.len() {
            too_long.push(row.line);
        }
        texts.push(text);
        given.push(prompt);
    }
    if !too_long.is_empty() {
        return Err(TrainError::PromptsTooLong { file: file.to_owned(), max_tokens, lines: too_long });
    }
    PromptLearner::new(model, texts, given)
}

/// The device of that name; the log says what it is, since `auto` leaves it open.
fn device(name: &str) -> Result<lora::Device, TrainError> {
    let device = lora::device(name)?;
    tracing::info!(asked = name, "training on {}", lora::describe_device(&device));
    Ok(device)
}

/// The folder's tokenizer. Were a row refused only in the rounds that it is drawn for, the house would be missing in these, for all to see.
fn tokenizer(charter: &Charter, folder: &Path, sizes: Sizes) -> Result<Tokenizer, TrainError> {
    let max_tokens = charter.model.max_tokens;
    if max_tokens as usize > sizes.max_tokens {
        let positions = sizes.max_tokens;
        return Err(TrainError::Positions { max_tokens, positions, path: folder.join("config.json") });
    }
    let path = folder.join("tokenizer.json");
    let tokenizer = Tokenizer::from_file(&path)?;
    match tokenizer.largest_id().filter(|id| *id as usize >= sizes.vocab_size) {
        Some(largest) => Err(TrainError::Vocabulary { path, largest, vocabulary: sizes.vocab_size }),
        None => Ok(tokenizer),
    }
}
