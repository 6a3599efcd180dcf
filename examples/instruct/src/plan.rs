//! How long a round takes, how much noise, and the charter: worked out once, from public rows and public numbers.

use std::path::Path;
use std::time::{Duration, Instant};

use adapter::{Adapter, LoraConfig, Model, Targets, settings_digest, weights_digest};
use anyhow::Context as _;
use common::Contract;
use common::noise::{Budget, Speed, record_shared};
use common::progress::Ui;
use privacy::NoiseShare;
use protocol::Digest;
use protocol::charter::{
    AttentionSizes, Bias, Decay, Head, Local, Lora, Optimizer, ReleasePolicy, Schedule, Strategy, TargetModules,
};

use crate::judge::Judge;
use crate::model::NAME;
use crate::options::Options;

/// Longer conversations are cut to this many tokens; few are.
const MAX_TOKENS: u32 = 128;
/// Rank of the adapter.
const R: u32 = 4;
/// Its scale is `LORA_ALPHA / R`.
const LORA_ALPHA: u32 = 8;
/// The adapted layers, in the last [`LAYERS`] of the model: fewer weights under the same noise, and a shorter way back.
const TARGETS: [&str; 2] = ["q_proj", "v_proj"];
const LAYERS: u32 = 10;
/// Rows of a batch over all companies, in the mean.
const BATCH: f64 = 128.0;
/// Clipping norm of one row's gradient.
const CLIPPING_NORM: f64 = 1.0;
/// The clipping norm in grid units.
const INTEGER_NORM: u64 = 4096;
/// The step size of the first round; it goes to zero on a line. Large, since noise is most of what a step is made of, and what it moves at random is made good
/// by the smaller ones that follow.
const LEARNING_RATE: f64 = 0.3;
/// For other programs on the machine.
const TIME_MARGIN: f64 = 1.3;
/// Rows whose gradients are timed.
const TIMED_ROWS: usize = 24;

/// The base model as the charter knows it.
#[derive(Debug, Clone)]
pub struct Base {
    /// What the adapter's shapes follow from.
    pub shape: Model,
    lora: LoraConfig,
    weights: Digest,
    settings: Digest,
}

impl Base {
    /// Reads shapes and weights of the model in `folder`.
    ///
    /// # Errors
    /// A file that is missing, or is none.
    pub fn load(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("config.json");
        let json = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let shape = Model::from_hf_config(&json, 0)?;
        let mut lora = LoraConfig::for_language_model(R, LORA_ALPHA, &TARGETS);
        let layers = shape.num_hidden_layers;
        lora.layers_to_transform = Some((layers.saturating_sub(LAYERS)..layers).collect());
        lora.base_model_name_or_path = Some(NAME.to_owned());
        let [weights, settings] = [weights_digest(folder)?, settings_digest(folder)?].map(Digest::from_bytes);
        Ok(Self { shape, lora, weights, settings })
    }

    /// The adapter before the first round.
    ///
    /// # Errors
    /// A model that is too small for the adapter.
    pub fn initial(&self, seed: u64) -> anyhow::Result<Adapter> {
        Ok(Adapter::initial(&self.shape, &self.lora, seed)?)
    }
}

/// The public numbers of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The companies and their numbers of rows.
    pub houses: Vec<(String, usize)>,
    /// Chance of each row to be in a round's batch.
    pub rate: f64,
    /// Deviation of the noise that is counted on, over the clipping norm.
    pub noise_multiplier: f64,
    /// Cores of this machine.
    pub cores: usize,
    /// Threads of each company.
    pub threads: usize,
    /// When a submission leaves, after the announcement.
    pub submit_at: Duration,
    /// Seconds for the gradients of a mean batch on all cores, as measured on public rows.
    pub batch_seconds: f64,
    /// The noise of one company.
    pub share: NoiseShare,
    rounds: u32,
}

impl Plan {
    /// Times gradients and plans the run of companies that hold `parts`.
    ///
    /// # Errors
    /// The epsilon cannot be reached, or a failure of the model.
    pub fn new(judge: &Judge, options: &Options, base: &Base, parts: &[Vec<usize>]) -> anyhow::Result<Self> {
        let sizes: Vec<usize> = parts.iter().map(Vec::len).collect();
        let rows: usize = sizes.iter().sum();
        let rate = (BATCH / rows as f64).min(1.0);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (cores / parts.len().max(1)).max(1);
        judge.gradients(TIMED_ROWS / 4)?;
        let start = Instant::now();
        let timed = judge.gradients(TIMED_ROWS)?;
        let batch_seconds = start.elapsed().as_secs_f64() * BATCH / timed.max(1) as f64;
        let train = Speed { batch: BATCH, batch_seconds, cores, threads }.train_seconds(&sizes, rate);
        let budget = Budget {
            epsilon: options.epsilon,
            houses: parts.len(),
            may_vanish: 0,
            rate,
            rounds: options.rounds,
            weights: base.initial(options.seed)?.trainable_len(),
            integer_norm: INTEGER_NORM,
        };
        let (noise_multiplier, share) = budget.noise()?;
        let names = common::house_names(&["north-coding", "medidoc", "charterhouse"], parts.len());
        Ok(Self {
            houses: names.into_iter().zip(sizes).collect(),
            rate,
            noise_multiplier,
            cores,
            threads,
            submit_at: Duration::from_secs_f64(train * TIME_MARGIN + 1.0),
            batch_seconds,
            share,
            rounds: options.rounds,
        })
    }

    /// The charter, still without the aggregator's key.
    ///
    /// # Errors
    /// A name that is none.
    pub fn charter(&self, base: &Base, options: &Options) -> anyhow::Result<String> {
        let Base { shape, lora, weights, settings } = base;
        let contract = Contract {
            name: "icd10-companies",
            aggregator_key: "",
            model: protocol::charter::Model {
                name: NAME.to_owned(),
                sha256: *weights,
                settings_sha256: Some(*settings),
                architecture: "llama".to_owned(),
                num_hidden_layers: shape.num_hidden_layers,
                hidden_size: shape.hidden_size,
                intermediate_size: shape.intermediate_size,
                labels: Vec::new(),
                head: Head::default(),
                max_tokens: MAX_TOKENS,
                attention: shape.attention.map(|sizes| AttentionSizes {
                    num_attention_heads: sizes.num_attention_heads,
                    num_key_value_heads: sizes.num_key_value_heads,
                    head_dim: sizes.head_dim,
                }),
            },
            lora: Lora {
                r: lora.r,
                lora_alpha: f64::from(lora.lora_alpha),
                target_modules: match &lora.target_modules {
                    Targets::Names(names) => TargetModules::Names(names.clone()),
                    Targets::Pattern(pattern) => TargetModules::Pattern(pattern.clone()),
                },
                layers_to_transform: lora.layers_to_transform.clone(),
                use_rslora: lora.use_rslora,
                lora_dropout: lora.lora_dropout,
                lora_bias: lora.lora_bias,
                bias: match lora.bias {
                    adapter::Bias::None => None,
                    adapter::Bias::LoraOnly => Some(Bias::LoraOnly),
                    adapter::Bias::All => Some(Bias::All),
                },
                modules_to_save: Vec::new(),
                seed: options.seed,
                strategy: Strategy::FfaLora,
                initial_head: None,
            },
            houses: &self.houses,
            rate: self.rate,
            local: Local::default(),
            privacy: record_shared(options.epsilon, self.noise_multiplier, CLIPPING_NORM, INTEGER_NORM),
            optimizer: Optimizer::Adam {
                learning_rate: LEARNING_RATE,
                beta1: 0.9,
                beta2: 0.99,
                epsilon: 1e-8,
                schedule: Some(Schedule { warmup_rounds: 0, decay: Decay::Linear, final_fraction: 0.0 }),
            },
            rounds: options.rounds,
            may_vanish: 0,
            submit_at_ms: self.submit_at.as_millis() as u64,
            release: ReleasePolicy::Clients,
        };
        contract.text()
    }

    /// Says what is about to happen.
    pub fn say(&self, parts: &[Vec<usize>], ui: Ui) {
        let rows: Vec<String> = self.houses.iter().map(|(name, rows)| format!("{name} {rows}")).collect();
        ui.say(&format!("instructions: {}", rows.join(", ")));
        ui.say(&format!(
            "{} rounds of {:.0} s, {BATCH} rows each: a batch takes {:.0} s on {} cores; noise multiplier {:.3}, {:.2} times that in the sum",
            self.rounds,
            self.submit_at.as_secs_f64(),
            self.batch_seconds,
            self.cores,
            self.noise_multiplier,
            self.share.factor(parts.len()),
        ));
    }
}
