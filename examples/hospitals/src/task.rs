//! The model and the rows that every run of the example shares.

use std::path::Path;
use std::sync::Arc;

use adapter::{Adapter, LoraConfig, Model};
use anyhow::Context as _;
use common::rows::{self, Row};
use lora::{Classifier, Encoded, Evaluation, Tokenizer, WarmUp};
use training::{Corpus, TextLearner};

/// Longer descriptions are cut to this many tokens; few are.
pub const MAX_TOKENS: u32 = 64;
/// Rank of the adapter.
pub const R: u32 = 8;
/// Its scale is `LORA_ALPHA / R`. Small, because one optimizer moves head and adapter: see README.
pub const LORA_ALPHA: u32 = 2;
/// The adapted layers.
pub const TARGETS: [&str; 2] = ["query", "value"];
/// Examples of a batch over all hospitals, in the mean.
pub const BATCH: f64 = 256.0;
/// Clipping norm of one row's gradient.
pub const CLIPPING_NORM: f64 = 1.0;
/// The clipping norm in grid units.
pub const INTEGER_NORM: u64 = 4096;
/// The optimizer's step size.
pub const LEARNING_RATE: f64 = 4.0;
/// The same for the comparison without clipping and noise, which bears larger steps.
pub const LEARNING_RATE_WITHOUT_PRIVACY: f64 = 10.0;
/// The optimizer's momentum.
pub const MOMENTUM: f64 = 0.9;

/// Texts as tokens, with their labels' positions.
#[derive(Debug, Clone, Default)]
pub struct Examples {
    /// The texts.
    pub texts: Vec<Encoded>,
    /// Their labels.
    pub labels: Vec<usize>,
}

impl Examples {
    /// Those at `indices`.
    pub fn pick(&self, indices: impl IntoIterator<Item = usize>) -> Self {
        let rows = indices.into_iter().filter_map(|i| Some((self.texts.get(i)?.clone(), *self.labels.get(i)?)));
        let (texts, labels) = rows.unzip();
        Self { texts, labels }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    fn pairs(&self) -> Vec<(Encoded, usize)> {
        self.texts.iter().cloned().zip(self.labels.iter().copied()).collect()
    }
}

/// Rows, model and adapter settings.
pub struct Task {
    /// The training rows, as they lie in the repository.
    pub rows: Vec<Row>,
    /// The classes, in the order of the head's rows.
    pub labels: Vec<String>,
    /// Rows of unseen categories, on which nothing is tuned.
    pub test: Examples,
    /// Public rows: calibration, and the loss that is shown meanwhile.
    pub public: Examples,
    /// What the adapter's shapes follow from.
    pub model: Model,
    /// The adapter's settings.
    pub lora: LoraConfig,
    /// The base model with the adapter set last, over the training rows as tokens; only what runs without a federation
    /// trains with it, the hospitals read their own files.
    pub learner: TextLearner,
    initial: Adapter,
}

impl Task {
    /// Reads the rows in `data` and the base model in `folder`; `seed` makes the frozen A matrices.
    ///
    /// # Errors
    /// The file that cannot be read, or a label of one file that the training rows lack.
    pub fn load(folder: &Path, data: &Path, seed: u64) -> anyhow::Result<Self> {
        let rows = rows::load(&data.join("train.tsv"))?;
        let labels = rows::labels(&rows);
        let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json"))?;
        let encode = |rows: &[Row]| encode(&tokenizer, rows, &labels);
        let Examples { texts, labels: classes } = encode(&rows)?;
        let test = encode(&rows::load(&data.join("test.tsv"))?)?;
        let public = encode(&rows::load(&data.join("public.tsv"))?)?;
        let path = folder.join("config.json");
        let json = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let model = Model::from_hf_config(&json, labels.len() as u32)?;
        let mut lora = LoraConfig::new(R, LORA_ALPHA, &TARGETS);
        lora.base_model_name_or_path = Some(crate::model::NAME.to_owned());
        let initial = Adapter::initial(&model, &lora, seed)?;
        let classifier = Classifier::load(folder, &initial, labels.len(), &lora::device("cpu")?)?;
        let learner = TextLearner::new(classifier, Arc::new(Corpus { texts: texts.into(), labels: classes }));
        Ok(Self { rows, labels, test, public, model, lora, learner, initial })
    }

    /// The adapter before the first round.
    pub fn initial(&self) -> &Adapter {
        &self.initial
    }

    /// How well `adapter` does on the public rows.
    ///
    /// # Errors
    /// An adapter of another shape.
    pub fn evaluate_public(&mut self, adapter: &Adapter) -> anyhow::Result<Evaluation> {
        evaluate(&mut self.learner, adapter, &self.public)
    }

    /// A head trained on the public rows.
    ///
    /// # Errors
    /// A failure of the model.
    pub fn warm_up(&mut self) -> anyhow::Result<Vec<f32>> {
        self.learner.classifier.set_adapter(&self.initial)?;
        Ok(self.learner.classifier.warm_up_head(&self.public.texts, &self.public.labels, &WarmUp::default())?)
    }

    /// How well it does on rows of unseen categories.
    ///
    /// # Errors
    /// An adapter of another shape.
    pub fn evaluate_test(&mut self, adapter: &Adapter) -> anyhow::Result<Evaluation> {
        evaluate(&mut self.learner, adapter, &self.test)
    }

    /// The sampling rate of every hospital, so that a batch over all has [`BATCH`] rows in the mean.
    pub fn rate(&self) -> f64 {
        (BATCH / self.rows.len() as f64).min(1.0)
    }
}

/// The optimizer's step size. `noise` is the noise of its mean gradient, central DP-SGD's being 1: well above that, the
/// steps are as much smaller, which suits such runs better.
pub fn learning_rate(noise: f64) -> f64 {
    let divisor = if noise >= 2.0 { noise } else { 1.0 };
    LEARNING_RATE / divisor
}

fn evaluate(learner: &mut TextLearner, adapter: &Adapter, examples: &Examples) -> anyhow::Result<Evaluation> {
    learner.classifier.set_adapter(adapter)?;
    Ok(learner.classifier.evaluate(&examples.pairs())?)
}

fn encode(tokenizer: &Tokenizer, rows: &[Row], labels: &[String]) -> anyhow::Result<Examples> {
    let mut examples = Examples::default();
    for row in rows {
        let label = labels.binary_search(&row.label);
        examples
            .labels
            .push(label.map_err(|_| anyhow::anyhow!("{}: no training row has the label {}", row.code, row.label))?);
        examples.texts.push(tokenizer.encode(&row.text, MAX_TOKENS as usize)?);
    }
    Ok(examples)
}
