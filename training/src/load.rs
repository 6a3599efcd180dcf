//! A data file and a model folder, checked against the charter.

use std::path::Path;
use std::sync::Arc;

use adapter::Adapter;
use lora::{ChatTemplate, Classifier, LanguageModel, Sizes, Tokenizer};
use protocol::Charter;
use terms::Terms;

use crate::{Content, Corpus, DataSource, Dataset, House, Learner, PromptLearner, TextLearner, Texts, TrainError};

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
    /// Rows that lost their end, since they have more tokens than the charter takes.
    pub cut_rows: usize,
}

/// Tokens that lie in memory, in bytes; the others lie in a temporary file.
const ROOM: usize = 256 << 20;

/// Reads rows and model, and checks both against the charter. Tokens that are more than 256 MiB lie in a file without a name in the folder `scratch`.
///
/// # Errors
/// [`TrainError`] naming the file, line or field at fault.
pub fn load(
    charter: &Charter,
    data: &DataSource<'_>,
    model: &ModelSource<'_>,
    scratch: &Path,
) -> Result<Loaded, TrainError> {
    let tokens = Tokens::read(charter, data, model, scratch)?;
    terms::check_base_model(charter, model.folder)?;
    let (rows, cut_rows) = (tokens.texts.len(), tokens.cut_rows);
    if cut_rows > 0 {
        let max_tokens = charter.model.max_tokens;
        tracing::warn!("{cut_rows} of {rows} rows are cut to the charter's {max_tokens} tokens (model.max_tokens)");
    }
    let (dataset, _, model) = tokens.model(charter, model)?;
    Ok(Loaded {
        learner: model.boxed(),
        house: dataset.house(charter.evaluation.as_ref().map_or(0.0, |evaluation| evaluation.held_out)),
        named_units: dataset.has_named_units(),
        cut_rows,
    })
}

/// The rows as tokens.
pub(crate) struct Tokens {
    dataset: Dataset,
    tokenizer: Tokenizer,
    texts: Texts,
    /// Of each text its label; for a language model, how many of its tokens are given.
    marks: Vec<usize>,
    pub(crate) cut_rows: usize,
}

impl Tokens {
    pub(crate) fn read(
        charter: &Charter,
        data: &DataSource<'_>,
        model: &ModelSource<'_>,
        scratch: &Path,
    ) -> Result<Self, TrainError> {
        let max_tokens = charter.model.max_tokens as usize;
        let tokenizer = Tokenizer::from_file(&model.folder.join("tokenizer.json"))?;
        // What refuses the empty text refuses all: it is the charter's fault, and no row's.
        tokenizer.encode("", max_tokens)?;
        let template = match terms::is_language_model(charter) {
            true => Some(template(model.folder)?),
            false => None,
        };
        let (mut texts, mut marks, mut cut_rows) = (Texts::within(ROOM, scratch), Vec::new(), 0);
        let dataset = Dataset::read(data, &charter.model.labels, &mut |row| {
            let refuse = |error: lora::LoraError| row.unfit(error.to_string());
            let (text, mark, cut) = match (&row.content, &template) {
                (Content::Labelled { text, label }, _) => {
                    let (text, cut) = tokenizer.encode_within(text, max_tokens).map_err(refuse)?;
                    (text, *label, cut)
                }
                (Content::Conversation(messages), Some(template)) => {
                    let (mut text, prompt) = template.encode(&tokenizer, messages).map_err(refuse)?;
                    let cut = text.ids.len().saturating_sub(max_tokens);
                    text.ids.truncate(max_tokens);
                    if prompt >= text.ids.len() {
                        return Err(row.unfit(format!("what comes before the answer fills all of the charter's {max_tokens} tokens (model.max_tokens), so nothing is left to learn; shorten it, or leave the row out")));
                    }
                    (text, prompt, cut)
                }
                (Content::Conversation(_), None) => {
                    return Err(row.unfit("the charter's model has labels, and no conversations".to_owned()));
                }
            };
            if text.ids.is_empty() {
                return Err(row.unfit("the text has no tokens".to_owned()));
            }
            texts.push(&text)?;
            marks.push(mark);
            cut_rows += usize::from(cut > 0);
            Ok(())
        })?;
        Ok(Self { dataset, tokenizer, texts, marks, cut_rows })
    }

    /// The charter's model over them.
    pub(crate) fn model(
        self,
        charter: &Charter,
        source: &ModelSource<'_>,
    ) -> Result<(Dataset, Tokenizer, Model), TrainError> {
        let first = Terms::of(charter)?.first_state()?;
        let Self { dataset, tokenizer, texts, marks, .. } = self;
        if terms::is_language_model(charter) {
            let model = language_model(charter, first.adapter(), source, &tokenizer)?;
            return Ok((dataset, tokenizer, Model::Words(Box::new(PromptLearner::new(model, texts, marks)?))));
        }
        let classifier = classifier(charter, first.adapter(), source, &tokenizer)?;
        let learner = TextLearner::new(classifier, Arc::new(Corpus { texts, labels: marks }));
        learner.check()?;
        Ok((dataset, tokenizer, Model::Labels(Box::new(learner))))
    }
}

/// A charter's model over rows.
pub(crate) enum Model {
    Labels(Box<TextLearner>),
    Words(Box<PromptLearner>),
}

impl Model {
    pub(crate) fn learner(&mut self) -> &mut dyn Learner {
        match self {
            Self::Labels(learner) => learner.as_mut(),
            Self::Words(learner) => learner.as_mut(),
        }
    }

    fn boxed(self) -> Box<dyn Learner + Send> {
        match self {
            Self::Labels(learner) => learner,
            Self::Words(learner) => learner,
        }
    }
}

/// The charter's classifier with `adapter`, where charter, tokenizer and model fit.
pub(crate) fn classifier(
    charter: &Charter,
    adapter: &Adapter,
    source: &ModelSource<'_>,
    tokenizer: &Tokenizer,
) -> Result<Classifier, TrainError> {
    let device = device(source.device)?;
    let mut model = Classifier::load(source.folder, adapter, charter.model.labels.len(), &device)?;
    if let Some(threads) = source.threads {
        model.set_threads(threads);
    }
    check_tokenizer(charter, tokenizer, source.folder, model.sizes())?;
    Ok(model)
}

/// The charter's language model with `adapter`, where charter, tokenizer and model fit.
pub(crate) fn language_model(
    charter: &Charter,
    adapter: &Adapter,
    source: &ModelSource<'_>,
    tokenizer: &Tokenizer,
) -> Result<LanguageModel, TrainError> {
    let mut model = LanguageModel::load(source.folder, adapter, &device(source.device)?)?;
    if let Some(threads) = source.threads {
        model.set_threads(threads);
    }
    check_tokenizer(charter, tokenizer, source.folder, model.sizes())?;
    Ok(model)
}

/// What a device name comes to on this machine, for people.
///
/// # Errors
/// [`TrainError::Model`] for one that is not known, not built or not there.
pub fn describe_device(name: &str) -> Result<String, TrainError> {
    Ok(lora::describe_device(&lora::device(name)?))
}

/// The device of that name; the log says what it is, since `auto` leaves it open.
fn device(name: &str) -> Result<lora::Device, TrainError> {
    let device = lora::device(name)?;
    tracing::info!(asked = name, "the model is on {}", lora::describe_device(&device));
    Ok(device)
}

/// The folder's chat template.
pub(crate) fn template(folder: &Path) -> Result<ChatTemplate, TrainError> {
    ChatTemplate::from_dir(folder)?.ok_or_else(|| TrainError::NoChatTemplate(folder.to_owned()))
}

/// Whether charter, tokenizer and model fit. Were a row refused only in the rounds that it is drawn for, the house would be missing in these, for all to see.
fn check_tokenizer(charter: &Charter, tokenizer: &Tokenizer, folder: &Path, sizes: Sizes) -> Result<(), TrainError> {
    let max_tokens = charter.model.max_tokens;
    if max_tokens as usize > sizes.max_tokens {
        let positions = sizes.max_tokens;
        return Err(TrainError::Positions { max_tokens, positions, path: folder.join("config.json") });
    }
    match tokenizer.largest_id().filter(|id| *id as usize >= sizes.vocab_size) {
        Some(largest) => {
            let path = folder.join("tokenizer.json");
            Err(TrainError::Vocabulary { path, largest, vocabulary: sizes.vocab_size })
        }
        None => Ok(()),
    }
}
