//! The data holder's policy against a charter, before anything is trained: what the house did not agree to is refused.

use protocol::Charter;
use protocol::charter::{PrivacyMode, ReleasePolicy};

use crate::config::{Policy, Release};

/// A term of the charter that this house's policy refuses.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Another charter than the approved one.
    #[error("policy.approve is {approved}, but the charter joined is {found}; read it, then write its digest there")]
    NotApproved {
        /// The digest in `client.toml`.
        approved: String,
        /// The charter's.
        found: String,
    },
    /// Fewer colluding members than asked for.
    #[error("the charter withstands {found} colluding committee members (c); policy.min_colluding_members is {needed}")]
    Colluders {
        /// The charter's c.
        found: usize,
        /// The policy's.
        needed: usize,
    },
    /// Too small a cohort.
    #[error("the charter opens sums over {found} houses; policy.min_cohort is {needed}")]
    Cohort {
        /// The charter's.
        found: usize,
        /// The policy's.
        needed: usize,
    },
    /// A release policy that the house did not accept.
    #[error("the charter's release policy is `{0}`, which policy.release does not list")]
    Release(&'static str),
    /// No privacy, and no consent to that.
    #[error(
        "the charter's privacy mode is `none`: updates are protected by encryption only; set policy.allow_no_privacy to take part all the same"
    )]
    NoPrivacy,
    /// A delta above the house's.
    #[error("the charter's delta is {found:e}; policy.delta is {allowed:e}")]
    Delta {
        /// The charter's.
        found: f64,
        /// The policy's.
        allowed: f64,
    },
}

impl Policy {
    /// Checks `charter` against this policy.
    ///
    /// # Errors
    /// The first term that is refused.
    pub fn check(&self, charter: &Charter) -> Result<(), PolicyError> {
        let digest = charter.digest().to_string();
        if self.approve != "any" && self.approve != digest {
            return Err(PolicyError::NotApproved { approved: self.approve.clone(), found: digest });
        }
        let found = charter.colluding_members_tolerated();
        if found < self.min_colluding_members {
            return Err(PolicyError::Colluders { found, needed: self.min_colluding_members });
        }
        let found = charter.rounds.min_cohort as usize;
        if found < self.min_cohort {
            return Err(PolicyError::Cohort { found, needed: self.min_cohort });
        }
        let (release, name) = match charter.release.policy {
            ReleasePolicy::Aggregator => (Release::Aggregator, "aggregator"),
            ReleasePolicy::Clients => (Release::Clients, "clients"),
        };
        if !self.release.contains(&release) {
            return Err(PolicyError::Release(name));
        }
        if charter.privacy.mode == PrivacyMode::None {
            return if self.allow_no_privacy { Ok(()) } else { Err(PolicyError::NoPrivacy) };
        }
        match self.delta {
            Some(allowed) if charter.privacy.delta > allowed => {
                Err(PolicyError::Delta { found: charter.privacy.delta, allowed })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::path::Path;

    use super::*;
    use crate::config::{Config, SAMPLE};

    #[test]
    fn each_term_that_the_house_did_not_agree_to_is_refused_by_name() {
        let charter = Charter::parse(protocol::charter::SAMPLE).unwrap();
        let policy = Config::parse(SAMPLE, Path::new("client.toml")).unwrap().policy;
        policy.check(&charter).unwrap();
        let with = |change: &dyn Fn(&mut Policy)| {
            let mut policy = policy.clone();
            change(&mut policy);
            policy.check(&charter).unwrap_err()
        };
        assert!(matches!(with(&|p| p.approve = "0".repeat(64)), PolicyError::NotApproved { .. }));
        assert_eq!(with(&|p| p.min_colluding_members = 2), PolicyError::Colluders { found: 1, needed: 2 });
        assert_eq!(with(&|p| p.min_cohort = 4), PolicyError::Cohort { found: 3, needed: 4 });
        assert_eq!(with(&|p| p.release = vec![Release::Clients]), PolicyError::Release("aggregator"));
        assert_eq!(with(&|p| p.delta = Some(1e-6)), PolicyError::Delta { found: 1e-5, allowed: 1e-6 });
        let mut policy = policy.clone();
        policy.approve = charter.digest().to_string();
        policy.check(&charter).unwrap();
    }

    #[test]
    fn no_privacy_needs_the_houses_word() {
        let text = protocol::charter::SAMPLE
            .replace("mode = \"record-shared\"", "mode = \"none\"")
            .replace("epsilon = 3.0", "epsilon = 0.0")
            .replace("delta = 1e-5", "delta = 0.0")
            .replace("noise_multiplier = 0.81", "noise_multiplier = 0.0");
        let charter = Charter::parse(&text).unwrap();
        let mut policy = Config::parse(SAMPLE, Path::new("client.toml")).unwrap().policy;
        assert_eq!(policy.check(&charter), Err(PolicyError::NoPrivacy));
        policy.allow_no_privacy = true;
        policy.check(&charter).unwrap();
    }
}
