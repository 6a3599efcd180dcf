//! A charter for federations that live in one process: real terms, with a key that nobody's server holds.

use adapter::Model as Shapes;
use protocol::charter::{
    Accountant, AdaptiveClipping, Clipping, Committee, Evaluation, Head, House, Local, Lora, Model, Optimizer, Privacy,
    PrivacyMode, Release, ReleasePolicy, Rounds, Strategy, TargetModules, Terms,
};
use protocol::{Charter, HouseName};

/// No checkpoint has this digest: only the programs of one process go without the check.
const NO_WEIGHTS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A key of RFC 8032's test vectors (section 7.1, test 1), for charters under which nothing is signed.
pub const UNUSED_KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

/// What a charter for one process says.
#[derive(Debug, Clone)]
pub struct Contract {
    /// The aggregator's public key, in hexadecimal.
    pub aggregator_key: String,
    /// The base model's shapes.
    pub model: Shapes,
    /// The classes.
    pub labels: Vec<String>,
    /// Longer texts are cut to this many tokens.
    pub max_tokens: u32,
    /// Rank of the adapter.
    pub rank: u32,
    /// Its alpha.
    pub lora_alpha: u32,
    /// The adapted layers.
    pub targets: Vec<String>,
    /// Which factors are trained.
    pub strategy: Strategy,
    /// Seeds the A matrices.
    pub seed: u64,
    /// How a sum is applied.
    pub optimizer: Optimizer,
    /// Who is protected, and how.
    pub privacy: Privacy,
    /// Each client's sampling rate and nominal batch.
    pub clients: Vec<(f64, u32)>,
    /// Clients of the committee, from the first on, and how many of them open.
    pub committee: (usize, u8),
    /// Rounds.
    pub rounds: u32,
    /// d: how many may vanish.
    pub may_vanish: u32,
    /// What a client does on its own.
    pub local: Local,
    /// A clipping norm that follows the updates.
    pub adaptive_clipping: Option<AdaptiveClipping>,
    /// Noised metrics of held-out units.
    pub evaluation: Option<Evaluation>,
}

/// What a charter of mode `none` says of privacy: no noise, a grid of 2^-26, and a clipping norm far above those of gradients.
#[must_use]
pub fn unprotected(colluders: u32) -> Privacy {
    Privacy {
        mode: PrivacyMode::None,
        accountant: Accountant::Rdp,
        epsilon: 0.0,
        delta: 0.0,
        clipping_norm: 1024.0,
        clipping: Clipping::Flat,
        integer_norm: 1 << 36,
        clamp: 1 << 40,
        noise_multiplier: 0.0,
        colluders,
    }
}

/// The name of a client.
///
/// # Errors
/// Never for a number; the type says so.
pub fn client_name(number: usize) -> Result<HouseName, protocol::IdError> {
    HouseName::new(&format!("client-{number:05}"))
}

impl Contract {
    /// The charter that says this.
    ///
    /// # Errors
    /// [`ContractError`] naming the key at fault.
    pub fn charter(&self) -> Result<Charter, ContractError> {
        let count = u32::try_from(self.clients.len()).unwrap_or(u32::MAX);
        let house = |(number, (sampling_rate, nominal_batch)): (usize, &(f64, u32))| {
            Ok(House { name: client_name(number)?, sampling_rate: *sampling_rate, nominal_batch: *nominal_batch })
        };
        let houses = self.clients.iter().enumerate().map(house).collect::<Result<Vec<_>, protocol::IdError>>()?;
        let (members, threshold) = self.committee;
        let committee = houses.iter().take(members).map(|house| house.name.clone()).collect();
        let terms = Terms {
            name: HouseName::new("laboratory")?,
            protocol_version: protocol::PROTOCOL_VERSION,
            aggregator_key: self.aggregator_key.clone(),
            model: Model {
                name: "a model of this process".to_owned(),
                sha256: NO_WEIGHTS.parse()?,
                settings_sha256: None,
                architecture: "bert".to_owned(),
                num_hidden_layers: self.model.num_hidden_layers,
                hidden_size: self.model.hidden_size,
                intermediate_size: self.model.intermediate_size,
                labels: self.labels.clone(),
                head: Head::default(),
                max_tokens: self.max_tokens,
                attention: None,
            },
            lora: Lora {
                r: self.rank,
                lora_alpha: f64::from(self.lora_alpha),
                target_modules: TargetModules::Names(self.targets.clone()),
                layers_to_transform: None,
                use_rslora: false,
                lora_dropout: 0.0,
                lora_bias: false,
                bias: None,
                modules_to_save: vec!["classifier".to_owned()],
                seed: self.seed,
                strategy: self.strategy,
                initial_head: None,
            },
            optimizer: self.optimizer.clone(),
            privacy: self.privacy.clone(),
            rounds: Rounds {
                count: self.rounds,
                charged: None,
                min_cohort: count.saturating_sub(self.may_vanish),
                max_cohort: count,
                may_vanish: self.may_vanish,
                submit_at_ms: 1000,
                close_ms: 2000,
                open_ms: 3000,
                max_attempts: 3,
            },
            committee: Committee { threshold, houses: Some(committee) },
            release: Release { policy: ReleasePolicy::Aggregator },
            local: self.local.clone(),
            adaptive_clipping: self.adaptive_clipping.clone(),
            evaluation: self.evaluation.clone(),
            houses,
            trustees: Vec::new(),
        };
        Ok(Charter::of(&terms)?)
    }
}

/// Terms that make no charter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContractError {
    /// A name or a digest.
    #[error(transparent)]
    Id(#[from] protocol::IdError),
    /// The charter's rules.
    #[error(transparent)]
    Charter(#[from] protocol::charter::CharterError),
}
