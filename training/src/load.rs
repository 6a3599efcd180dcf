//! A data file and a model folder, checked against the charter.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use lora::{Classifier, Tokenizer};
use protocol::{Charter, Digest};
use sha2::{Digest as _, Sha256};
use terms::Terms;

use crate::{Columns, Corpus, Dataset, Format, House, TextLearner, TrainError};

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
    pub learner: TextLearner,
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
    check_weights(&model.folder.join("model.safetensors"), charter.model.sha256)?;
    let path = model.folder.join("tokenizer.json");
    let tokenizer = Tokenizer::from_file(&path)?;
    let max_tokens = charter.model.max_tokens as usize;
    let rows = dataset.rows().iter();
    let examples = rows.map(|row| tokenizer.encode(&row.text, max_tokens)).collect::<Result<Vec<_>, _>>()?;
    let labels = dataset.rows().iter().map(|row| row.label).collect();
    let first = Terms::of(charter)?.first_state()?;
    let device = lora::device(model.device)?;
    let mut classifier = Classifier::load(model.folder, first.adapter(), charter.model.labels.len(), &device)?;
    if let Some(threads) = model.threads {
        classifier.set_threads(threads);
    }
    // Were a row refused only in the rounds that it is drawn for, the house would be missing in these, for all to see.
    let sizes = classifier.sizes();
    if max_tokens > sizes.max_tokens {
        let (max_tokens, positions) = (charter.model.max_tokens, sizes.max_tokens);
        return Err(TrainError::Positions { max_tokens, positions, path: model.folder.join("config.json") });
    }
    if let Some(largest) = tokenizer.largest_id().filter(|id| *id as usize >= sizes.vocab_size) {
        return Err(TrainError::Vocabulary { path, largest, vocabulary: sizes.vocab_size });
    }
    classifier.check(&examples)?;
    Ok(Loaded {
        learner: TextLearner::new(classifier, Arc::new(Corpus { examples, labels })),
        house: dataset.house(charter.evaluation.as_ref().map_or(0.0, |evaluation| evaluation.held_out)),
        named_units: dataset.has_named_units(),
    })
}

fn check_weights(path: &Path, expected: Digest) -> Result<(), TrainError> {
    let failed = |source| TrainError::File { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
    }
    let found = Digest::from_bytes(hash.finalize().into());
    if found == expected { Ok(()) } else { Err(TrainError::OtherModel { path: path.to_owned(), expected, found }) }
}
