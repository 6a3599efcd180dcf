//! The data holder's policy against a charter, before anything is trained: what the house did not agree to is refused.

use adapter::Trained;
use protocol::charter::{PrivacyMode, ReleasePolicy};
use protocol::{Charter, Digest};
use terms::TermsError;

use crate::config::{Policy, Release};

/// A term of the charter that this house's policy refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The house has approved no charter yet.
    #[error(
        "policy.approve is empty, so that no charter is approved yet; read it, then `plainchant-client charter approve DIR {found}`"
    )]
    NothingApproved {
        /// The charter's digest.
        found: Digest,
    },
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
    /// A base model that the house does not list.
    #[error("the charter's base model is `{name}`, of weights {sha256}; policy.models has neither: {allowed:?}")]
    Model {
        /// What the charter calls it.
        name: String,
        /// Its weights' digest.
        sha256: String,
        /// The policy's.
        allowed: Vec<String>,
    },
    /// Something is trained that the house does not list.
    #[error("the charter trains {found}, which policy.targets does not list: {allowed:?}")]
    Target {
        /// The first such part, and how many others there are.
        found: String,
        /// The policy's.
        allowed: Vec<String>,
    },
    /// More bytes than the house sends.
    #[error(
        "a house sends up to {found} bytes for an attempt of this charter; policy.max_bytes_per_attempt is {allowed}"
    )]
    Bytes {
        /// The charter's.
        found: u64,
        /// The policy's.
        allowed: u64,
    },
    /// What the charter trains or sends does not follow from it.
    #[error(transparent)]
    Terms(#[from] TermsError),
}

impl Policy {
    /// The delta at which this house's epsilon is stated: its own, else the charter's.
    pub(crate) fn delta_of(&self, charter: &Charter) -> f64 {
        self.delta.unwrap_or(charter.privacy.delta)
    }

    /// Refuses values that make no sense under any charter, by key.
    pub(crate) fn check_values(&self) -> Result<(), (&'static str, &'static str)> {
        if !(self.epsilon_ceiling.is_finite() && self.epsilon_ceiling > 0.0) {
            return Err(("policy.epsilon_ceiling", "must be a positive number"));
        }
        if self.delta.is_some_and(|delta| !(delta > 0.0 && delta < 1.0)) {
            return Err(("policy.delta", "must lie between 0 and 1"));
        }
        if self.min_cohort < 2 {
            return Err(("policy.min_cohort", "must be at least 2: a sum over one house is that house's update"));
        }
        let agreed = |value: &str| value.is_empty() || value == "any" || is_digest(value);
        if !agreed(&self.approve) {
            let rule = "must be the charter's digest (64 hexadecimal digits), \"\" for none yet, or \"any\"";
            return Err(("policy.approve", rule));
        }
        if !agreed(&self.roster) {
            let rule = "must be the roster's digest (64 hexadecimal digits), \"\" for none yet, or \"any\"";
            return Err(("policy.roster", rule));
        }
        for (key, list) in [("policy.models", &self.models), ("policy.targets", &self.targets)] {
            if list.as_ref().is_some_and(|list| list.is_empty() || list.iter().any(String::is_empty)) {
                return Err((key, "must name something in each entry; leave it out to allow anything"));
            }
        }
        if self.max_bytes_per_attempt == Some(0) {
            return Err(("policy.max_bytes_per_attempt", "must be at least 1; leave it out for any number"));
        }
        Ok(())
    }

    /// Checks `charter` against this policy.
    ///
    /// # Errors
    /// The first term that is refused.
    pub fn check(&self, charter: &Charter) -> Result<(), PolicyError> {
        if self.approve.is_empty() {
            return Err(PolicyError::NothingApproved { found: charter.digest() });
        }
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
        self.check_trained(charter)?;
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

    /// Checks which model is trained, what of it, and how much is sent.
    fn check_trained(&self, charter: &Charter) -> Result<(), PolicyError> {
        if let Some(models) = &self.models {
            let (name, sha256) = (&charter.model.name, charter.model.sha256.to_string());
            // A name that looks like a digest could be any charter's: it counts as a digest.
            let is_it = |one: &String| if is_digest(one) { one.eq_ignore_ascii_case(&sha256) } else { one == name };
            if !models.iter().any(is_it) {
                return Err(PolicyError::Model { name: name.clone(), sha256, allowed: models.clone() });
            }
        }
        if let Some(targets) = &self.targets {
            let listed = |part: &Trained| targets.iter().any(|target| part.is_named_by(target));
            let trained = terms::trained(charter)?;
            let mut others = trained.iter().filter(|part| !listed(part));
            if let Some(first) = others.next() {
                let found = match others.count() {
                    0 => describe(first),
                    more => format!("{} and {more} more", describe(first)),
                };
                return Err(PolicyError::Target { found, allowed: targets.clone() });
            }
        }
        let Some(allowed) = self.max_bytes_per_attempt else { return Ok(()) };
        let found = terms::most_sent_bytes(charter)?;
        if found <= allowed { Ok(()) } else { Err(PolicyError::Bytes { found, allowed }) }
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && hex::decode(text).is_ok()
}

/// What is trained, in words.
fn describe(part: &Trained) -> String {
    match part {
        Trained::Layer(name) => format!("an adapter of the layer `{name}`"),
        Trained::Head(name) => format!("the head's `{name}`"),
        Trained::Bias(name) => format!("the base model's bias `{name}`"),
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
        let mut policy = Config::parse(SAMPLE, Path::new("client.toml")).unwrap().policy;
        let refused = policy.check(&charter).unwrap_err();
        assert!(matches!(refused, PolicyError::NothingApproved { found } if found == charter.digest()), "{refused}");
        policy.approve = "any".to_owned();
        policy.check(&charter).unwrap();
        let with = |change: &dyn Fn(&mut Policy)| {
            let mut policy = policy.clone();
            change(&mut policy);
            policy.check(&charter).unwrap_err()
        };
        assert!(matches!(with(&|p| p.approve = "0".repeat(64)), PolicyError::NotApproved { .. }));
        let refused = with(&|p| p.min_colluding_members = 2);
        assert!(matches!(refused, PolicyError::Colluders { found: 1, needed: 2 }), "{refused}");
        let refused = with(&|p| p.min_cohort = 4);
        assert!(matches!(refused, PolicyError::Cohort { found: 3, needed: 4 }), "{refused}");
        let refused = with(&|p| p.release = vec![Release::Clients]);
        assert!(matches!(refused, PolicyError::Release("aggregator")), "{refused}");
        let refused = with(&|p| p.delta = Some(1e-6));
        assert!(matches!(refused, PolicyError::Delta { found: 1e-5, allowed: 1e-6 }), "{refused}");
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
        let sample = SAMPLE.replace("approve = \"\"", "approve = \"any\"");
        let mut policy = Config::parse(&sample, Path::new("client.toml")).unwrap().policy;
        assert!(matches!(policy.check(&charter), Err(PolicyError::NoPrivacy)));
        policy.allow_no_privacy = true;
        policy.check(&charter).unwrap();
        // Consent to that is none to another model.
        policy.models = Some(vec!["another".to_owned()]);
        assert!(matches!(policy.check(&charter), Err(PolicyError::Model { .. })));
    }

    fn allowing(charter: &str, change: impl Fn(&mut Policy)) -> Result<(), PolicyError> {
        let sample = SAMPLE.replace("approve = \"\"", "approve = \"any\"");
        let mut policy = Config::parse(&sample, Path::new("client.toml")).unwrap().policy;
        change(&mut policy);
        policy.check(&Charter::parse(charter).unwrap())
    }

    fn list(names: &[&str]) -> Option<Vec<String>> {
        Some(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn a_model_is_allowed_by_its_weights_or_by_the_charters_name_and_a_digest_is_no_name() {
        let sample = protocol::charter::SAMPLE;
        let (name, digest) =
            ("sentence-transformers/all-MiniLM-L6-v2", Charter::parse(sample).unwrap().model.sha256.to_string());
        let other = "0".repeat(64);
        for listed in [&[name][..], &[&digest], &[&digest.to_uppercase()], &["another", name], &[&other, &digest]] {
            allowing(sample, |policy| policy.models = list(listed)).unwrap();
        }
        for listed in [&["another"][..], &["all-MiniLM-L6-v2"], &[&other], &[&digest[..63]]] {
            let refused = allowing(sample, |policy| policy.models = list(listed)).unwrap_err();
            let PolicyError::Model { name: found, sha256, allowed } = &refused else { panic!("{refused}") };
            assert_eq!((found.as_str(), sha256, Some(allowed.clone())), (name, &digest, list(listed)));
            assert!(
                refused.to_string().contains("policy.models") && refused.to_string().contains(listed[0]),
                "{refused}"
            );
        }
        // A charter can call other weights by that digest; it is allowed by its own weights' only.
        let disguised = sample.replace(name, &other);
        assert!(matches!(allowing(&disguised, |p| p.models = list(&[&other])), Err(PolicyError::Model { .. })));
    }

    #[test]
    fn everything_that_is_really_trained_must_be_listed_layers_head_and_biases_however_the_charter_chose_them() {
        let sample = protocol::charter::SAMPLE;
        let chosen = |targets: &str| {
            sample.replace("target_modules = [\"query\", \"value\"]", &format!("target_modules = {targets}"))
        };
        let (all, pattern) = (chosen("\"all-linear\""), chosen("\".*layer\\\\.[01]\\\\..*key\""));
        let biases = |which: &str| sample.replace("# bias = \"lora_only\"", &format!("bias = \"{which}\""));
        let every: &[&str] = &["query", "key", "value", "dense", "classifier"];
        for (charter, listed, refused) in [
            (sample, &["query", "value", "classifier"][..], None),
            (sample, &["self.query", "self.value", "classifier", "unused"], None),
            (sample, &["all-linear", "classifier"], None),
            (sample, &["query", "classifier"], Some("layer.0.attention.self.value` and 5 more")),
            (sample, &["query", "value"], Some("the head's `classifier`,")),
            (sample, &["all-linear"], Some("the head's `classifier`,")),
            (&all, &["all-linear", "classifier"], None),
            (&all, every, None),
            (&all, &every[1..], Some("layer.0.attention.self.query` and 5 more")),
            (&pattern, &["key", "classifier"], None),
            (&pattern, &["query", "value", "classifier"], Some("layer.0.attention.self.key` and 1 more")),
            (&biases("lora_only"), &["query", "value", "classifier", "bias"], None),
            (&biases("lora_only"), &["query", "value", "classifier", "query.bias", "value.bias"], None),
            (
                &biases("lora_only"),
                &["query", "value", "classifier"],
                Some("bias `bert.encoder.layer.0.attention.self.query.bias` and 11 more"),
            ),
            (&biases("all"), &["query", "value", "classifier", "query.bias", "value.bias"], Some("key.bias` and ")),
        ] {
            match (allowing(charter, |policy| policy.targets = list(listed)), refused) {
                (Ok(()), None) => {}
                (Err(PolicyError::Target { found, allowed }), Some(named)) => {
                    assert!(format!("{found},").contains(named), "{listed:?}: {found}");
                    assert_eq!(Some(allowed), list(listed));
                }
                other => panic!("{listed:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_charter_that_may_need_more_bytes_than_the_house_sends_is_refused_with_both_numbers() {
        let sample = protocol::charter::SAMPLE;
        let most = terms::most_sent_bytes(&Charter::parse(sample).unwrap()).unwrap();
        allowing(sample, |policy| policy.max_bytes_per_attempt = Some(most)).unwrap();
        let refused = allowing(sample, |policy| policy.max_bytes_per_attempt = Some(most - 1)).unwrap_err();
        assert!(
            matches!(refused, PolicyError::Bytes { found, allowed } if (found, allowed) == (most, most - 1)),
            "{refused}"
        );
    }
}
