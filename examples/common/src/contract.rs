//! The charter of an example's federation, as the model builder would write it.

use protocol::charter::{
    Committee, House, Local, Lora, Model, Optimizer, Privacy, Release, ReleasePolicy, Rounds, Terms,
};

use crate::noise::SPARE_ATTEMPTS;

/// What differs from one charter of the examples to another.
#[derive(Debug, Clone)]
pub struct Contract<'a> {
    /// The federation's name.
    pub name: &'a str,
    /// The aggregator's public signing key, in hexadecimal; empty in a template that `plainchant-aggregator init` completes.
    pub aggregator_key: &'a str,
    /// The base model.
    pub model: Model,
    /// The adapter.
    pub lora: Lora,
    /// The houses and their numbers of rows.
    pub houses: &'a [(String, usize)],
    /// Every house's sampling rate.
    pub rate: f64,
    /// What a house does before it contributes.
    pub local: Local,
    /// Who is protected, by how much noise, and how gradients are clipped.
    pub privacy: Privacy,
    /// What a sum does to the adapter.
    pub optimizer: Optimizer,
    /// Rounds.
    pub rounds: u32,
    /// How many houses may vanish in a round.
    pub may_vanish: u32,
    /// When a submission leaves, in milliseconds after the announcement.
    pub submit_at_ms: u64,
    /// Who opens a round's sum.
    pub release: ReleasePolicy,
}

impl Contract<'_> {
    /// All that the charter says.
    ///
    /// # Errors
    /// A name that is none.
    pub fn terms(&self) -> anyhow::Result<Terms> {
        let houses = self.houses.len() as u32;
        let house = |(name, rows): &(String, usize)| -> anyhow::Result<House> {
            let nominal_batch = ((*rows as f64 * self.rate).round() as u32).max(1);
            Ok(House { name: name.parse()?, sampling_rate: self.rate, nominal_batch })
        };
        Ok(Terms {
            name: self.name.parse()?,
            protocol_version: protocol::PROTOCOL_VERSION,
            aggregator_key: self.aggregator_key.to_owned(),
            model: self.model.clone(),
            lora: self.lora.clone(),
            optimizer: self.optimizer.clone(),
            privacy: self.privacy.clone(),
            rounds: Rounds {
                count: self.rounds,
                charged: Some(self.rounds.saturating_add(SPARE_ATTEMPTS)),
                min_cohort: houses.saturating_sub(self.may_vanish),
                max_cohort: houses,
                may_vanish: self.may_vanish,
                submit_at_ms: self.submit_at_ms,
                close_ms: self.submit_at_ms + 20_000,
                open_ms: self.submit_at_ms + 60_000,
                max_attempts: 3,
            },
            committee: Committee { threshold: threshold(self.houses.len()) as u8, houses: None },
            release: Release { policy: self.release },
            local: self.local.clone(),
            adaptive_clipping: None,
            evaluation: None,
            houses: self.houses.iter().map(house).collect::<Result<_, _>>()?,
            trustees: Vec::new(),
        })
    }

    /// The charter's text.
    ///
    /// # Errors
    /// As [`Contract::terms`].
    pub fn text(&self) -> anyhow::Result<String> {
        let head = "# Written by an example. protocol/src/charter/sample.toml explains every key.\n";
        Ok(head.to_owned() + &toml::to_string(&self.terms()?)?)
    }
}

/// t of k: about two thirds, so that as many members may be gone as may collude. 3 of 4, 7 of 10.
#[must_use]
pub fn threshold(members: usize) -> usize {
    (2 * members + 1).div_ceil(3)
}

/// `count` names of houses: those of `known`, then numbered ones.
#[must_use]
pub fn house_names(known: &[&str], count: usize) -> Vec<String> {
    (0..count).map(|i| known.get(i).map_or_else(|| format!("house-{}", i + 1), |name| (*name).to_owned())).collect()
}
