//! What a person writes for a base model.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

/// A base model as it stands in a configuration or on a command line: a folder, or an id of the hub.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Model {
    text: String,
    base: PathBuf,
}

impl Model {
    /// What was written; a relative folder starts where the program runs.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), base: PathBuf::new() }
    }

    /// The same; a relative folder starts at `base`.
    #[must_use]
    pub fn relative_to(self, base: &Path) -> Self {
        Self { base: base.to_owned(), ..self }
    }

    /// What was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The folder that it names, where it names one.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.base.join(&self.text)
    }
}

impl Model {
    /// Whether the folder is there that the first part of the text would be: then it is meant as a path.
    pub(crate) fn parent_exists(&self) -> bool {
        self.text.split_once('/').is_some_and(|(first, _)| !first.is_empty() && self.base.join(first).exists())
    }
}

impl From<String> for Model {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A model on the hub, `ORG/NAME` or `ORG/NAME@REVISION`; a revision is a branch, a tag or a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id {
    name: Box<str>,
    revision: Box<str>,
}

/// Not an id of the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not ORG/NAME or ORG/NAME@REVISION")]
pub struct NotAnId;

/// The branch that is meant without a revision.
const MAIN: &str = "main";
/// The longest name of an owner, a repository or a revision.
const LONGEST: usize = 96;

impl Id {
    /// `ORG/NAME`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The revision, `main` where none was written.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }
}

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let (name, revision) = text.split_once('@').unwrap_or((text, MAIN));
        let (owner, repository) = name.split_once('/').ok_or(NotAnId)?;
        // The hub's own rules (`huggingface_hub.utils.validate_repo_id`), with an owner, which all models have had for years.
        let parts = [owner, repository].into_iter().chain(revision.split('/'));
        let well_formed = parts.into_iter().all(is_part)
            && ![owner, repository].iter().any(|part| part.contains("--"))
            && !repository.ends_with(".git")
            && revision.len() <= LONGEST;
        if well_formed { Ok(Self { name: name.into(), revision: revision.into() }) } else { Err(NotAnId) }
    }
}

/// Letters, digits, `-`, `_` and `.`, neither first nor last a `-` or `.`: no part of a path leads upwards.
fn is_part(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (1..=LONGEST).contains(&part.len())
        && part.chars().all(plain)
        && !part.starts_with(['-', '.'])
        && !part.ends_with(['-', '.'])
        && !part.contains("..")
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if &*self.revision == MAIN { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn ids_have_an_owner_a_name_and_perhaps_a_revision() {
        let id: Id = "HuggingFaceTB/SmolLM2-135M-Instruct".parse().unwrap();
        assert_eq!((id.name(), id.revision()), ("HuggingFaceTB/SmolLM2-135M-Instruct", "main"));
        let id: Id = "a/b_c.d@refs/pr/1".parse().unwrap();
        assert_eq!((id.name(), id.revision(), &*id.to_string()), ("a/b_c.d", "refs/pr/1", "a/b_c.d@refs/pr/1"));
        assert_eq!("a/b@main".parse::<Id>().unwrap().to_string(), "a/b");
    }

    /// What the hub refuses, and whatever a path on this machine could be.
    #[test]
    fn paths_and_ids_that_the_hub_refuses_are_none() {
        let long = "x".repeat(97);
        let long = format!("a/{long}");
        for bad in [
            "", "a", "/a", "a/", "/a/b", "./a", "../a", "a/b/c", "~/a", "a/..", "a/b@", "a/b@..", "a/b@/c", "a/b@c//d",
            "a--b/c", "a/b--c", "a/.b", "a/b.", "-a/b", "a/b.git", "a b/c", "a/ü", "a\\b/c", "a/b@c@d", "a/b\n", &long,
        ] {
            assert_eq!(bad.parse::<Id>(), Err(NotAnId), "{bad:?}");
        }
    }
}
