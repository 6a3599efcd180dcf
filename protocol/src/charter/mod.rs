//! The charter: the contract of one federation, in TOML. Its digest is SHA-256 over its exact bytes and is bound into
//! every message. `sample.toml` (also [`SAMPLE`]) documents every key.

mod error;
mod lora;
mod noise;
mod optimizer;
mod rule;
mod sections;
mod validate;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

pub use error::CharterError;
pub use lora::{Bias, Lora, Strategy, TargetModules};
pub use optimizer::{Decay, Optimizer, Schedule};
pub use sections::{
    Accountant, AdaptiveClipping, AttentionSizes, Clipping, Committee, Evaluation, Head, House, Local, LocalOptimizer,
    Model, Privacy, PrivacyMode, Release, ReleasePolicy, Rounds, Terms, Trustee,
};

use crate::ids::{Digest, HouseName, RoundNumber};
use crate::roster::Role;
use crate::signed::PublicKey;

/// A sample charter that explains every key.
pub const SAMPLE: &str = include_str!("sample.toml");

/// The longest charter, in bytes.
pub const MAX_CHARTER_BYTES: usize = 2 << 20;

/// A charter that passed every check. It reads as its [`Terms`].
#[derive(Debug, Clone)]
pub struct Charter {
    terms: Terms,
    text: String,
    /// Of the text: with thousands of houses, hashing it for every message would be most of the work.
    digest: Digest,
    aggregator_key: PublicKey,
}

impl Charter {
    /// Parses and checks a charter.
    ///
    /// # Errors
    /// [`CharterError`] naming the key, the rule it breaks, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, CharterError> {
        if text.len() > MAX_CHARTER_BYTES {
            return Err(CharterError::TooLong { length: text.len(), limit: MAX_CHARTER_BYTES });
        }
        let terms: Terms = toml::from_str(text).map_err(|error| CharterError::Syntax(error.to_string()))?;
        let aggregator_key = validate::check(&terms)?;
        let digest = Digest::sha256(text.as_bytes());
        Ok(Self { terms, text: text.to_owned(), digest, aggregator_key })
    }

    /// The charter that says these terms, as a program writes one. Its text has no comments.
    ///
    /// # Errors
    /// As [`Charter::parse`].
    pub fn of(terms: &Terms) -> Result<Self, CharterError> {
        Self::parse(&toml::to_string(terms).map_err(|error| CharterError::Syntax(error.to_string()))?)
    }

    /// The exact text that was parsed.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 over the exact text, as `sha256sum` prints it.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The key that signs announcements and checkpoints.
    pub fn aggregator_key(&self) -> &PublicKey {
        &self.aggregator_key
    }

    /// All members in roster order: houses, then trustees.
    pub fn members(&self) -> impl Iterator<Item = (HouseName, Role)> {
        let named: Option<BTreeSet<&HouseName>> =
            self.terms.committee.houses.as_ref().map(|named| named.iter().collect());
        let role = move |name| match &named {
            Some(named) if !named.contains(name) => Role::Contributor,
            _ => Role::House,
        };
        let houses = self.terms.houses.iter().map(move |house| (house.name.clone(), role(&house.name)));
        houses.chain(self.terms.trustees.iter().map(|trustee| (trustee.name.clone(), Role::Trustee)))
    }

    /// The house with this name.
    pub fn house(&self, name: &HouseName) -> Option<&House> {
        self.terms.houses.iter().find(|house| house.name == *name)
    }

    /// Whether `round` carries noised metrics of held-out units.
    pub fn is_evaluated(&self, round: RoundNumber) -> bool {
        self.terms.evaluation.as_ref().is_some_and(|evaluation| round.get().is_multiple_of(evaluation.every))
    }

    /// The public constant that a sum over `cohort` is divided by: the nominal batches of its houses. Unknown names count 0.
    pub fn nominal_batch_of<'a>(&self, cohort: impl IntoIterator<Item = &'a HouseName>) -> u64 {
        let batches: BTreeMap<_, _> =
            self.terms.houses.iter().map(|house| (&house.name, house.nominal_batch)).collect();
        cohort.into_iter().filter_map(|name| batches.get(name)).map(|batch| u64::from(*batch)).sum()
    }
}

impl Deref for Charter {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.terms
    }
}

#[cfg(test)]
mod tests;
