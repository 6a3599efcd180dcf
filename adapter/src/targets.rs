//! Which linear layers get an adapter: PEFT's `target_modules` and `layers_to_transform`.

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::model::Linear;
use crate::{AdapterError, LoraConfig};

/// Every linear layer of the transformer's layers.
pub(crate) const ALL_LINEAR: &str = "all-linear";
/// A pattern's automaton may take so many bytes.
const LARGEST_PATTERN: usize = 1 << 20;

/// PEFT's `target_modules`: a list of names, or one text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Targets {
    /// A name matches a layer whose full name is it, or ends with a dot and it.
    Names(Vec<String>),
    /// "all-linear", or a regular expression that matches a layer's whole full name.
    Pattern(String),
}

impl Targets {
    /// A list of names.
    #[must_use]
    pub fn names(names: &[&str]) -> Self {
        Self::Names(names.iter().map(|&name| name.to_owned()).collect())
    }

    /// Checks what can be checked without a model.
    pub(crate) fn validate(&self) -> Result<(), AdapterError> {
        let invalid = |found: String, rule| Err(AdapterError::Invalid { key: "target_modules", found, rule });
        match self {
            Self::Names(names) => {
                let twice = |i: usize, name: &String| names.get(..i).is_some_and(|before| before.contains(name));
                if names.is_empty() || names.iter().enumerate().any(|(i, name)| name.is_empty() || twice(i, name)) {
                    return invalid(format!("{names:?}"), "a list of different names, \"all-linear\" or a pattern");
                }
                Ok(())
            }
            Self::Pattern(pattern) => match whole(pattern) {
                Ok(_) => Ok(()),
                Err(_) => invalid(
                    format!("{pattern:?}"),
                    "\"all-linear\", a list of names, or a regular expression (without look-around or back-references)",
                ),
            },
        }
    }

    /// The layers of `all` that it names and `layers` has, in their order.
    pub(crate) fn choose(&self, all: Vec<Linear>, layers: Option<&[u32]>) -> Result<Vec<Linear>, AdapterError> {
        let missing = |target: &str, all: &[Linear]| AdapterError::NoSuchTarget {
            target: target.to_owned(),
            available: available(all),
        };
        // A full name in the list is taken whatever the layers are.
        let within = |layer: &Linear| layers.is_none_or(|layers| layers.contains(&layer.layer));
        match self {
            Self::Names(names) => {
                for name in names {
                    if !all.iter().any(|layer| layer.name == *name || (matches(name, &layer.name) && within(layer))) {
                        return Err(missing(name, &all));
                    }
                }
                let chosen = |layer: &Linear| {
                    names.contains(&layer.name) || names.iter().any(|name| matches(name, &layer.name)) && within(layer)
                };
                Ok(all.into_iter().filter(chosen).collect())
            }
            Self::Pattern(pattern) if pattern == ALL_LINEAR => Ok(all),
            Self::Pattern(pattern) => {
                let matcher = whole(pattern).map_err(|_| missing(pattern, &all))?;
                if !all.iter().any(|layer| matcher.is_match(&layer.name)) {
                    return Err(missing(pattern, &all));
                }
                Ok(all.into_iter().filter(|layer| matcher.is_match(&layer.name)).collect())
            }
        }
    }

    /// Whether PEFT would take a linear layer of this name that is in none of the numbered layers.
    pub(crate) fn take(&self, name: &str, layers: Option<&[u32]>) -> bool {
        match self {
            Self::Names(names) => layers.is_none() && names.iter().any(|target| matches(target, name)),
            Self::Pattern(pattern) => {
                pattern == ALL_LINEAR || whole(pattern).is_ok_and(|matcher| matcher.is_match(name))
            }
        }
    }
}

impl LoraConfig {
    /// Checks `layers_to_transform`.
    pub(crate) fn validate_layers(&self) -> Result<(), AdapterError> {
        let Some(layers) = &self.layers_to_transform else { return Ok(()) };
        let twice = (1..layers.len()).any(|i| layers.get(..i).is_some_and(|before| before.contains(&layers[i])));
        let rule = match self.target_modules {
            Targets::Pattern(_) => "left out where target_modules is a pattern, which can name the layers itself",
            Targets::Names(_) if layers.is_empty() || twice => "a list of different layers, counted from 0",
            Targets::Names(_) => return Ok(()),
        };
        Err(AdapterError::Invalid { key: "layers_to_transform", found: format!("{layers:?}"), rule })
    }
}

/// The pattern over a whole name, as Python's `re.fullmatch` takes it.
fn whole(pattern: &str) -> Result<Regex, regex::Error> {
    regex::RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(LARGEST_PATTERN).build()
}

/// PEFT's rule for lists.
pub(crate) fn matches(target: &str, layer: &str) -> bool {
    layer.strip_suffix(target).is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

/// The last names of the layers, each once.
fn available(all: &[Linear]) -> String {
    let mut paths: Vec<&str> = Vec::new();
    for layer in all.iter().filter(|layer| layer.layer == 0) {
        let path = layer.name.split_once(".0.").map_or(layer.name.as_str(), |(_, path)| path);
        paths.push(path);
    }
    paths.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_matches_whole_names_and_suffixes_after_a_dot_only() {
        assert!(matches("query", "a.self.query"));
        assert!(matches("self.query", "a.self.query"));
        assert!(matches("query", "query"));
        assert!(!matches("uery", "a.self.query"));
        assert!(!matches("query.x", "a.self.query"));
    }
}
