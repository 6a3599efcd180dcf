//! Settings from the environment: `PLAINCHANT_SECTION_KEY` goes before `key` of `[section]` in a file.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

const PREFIX: &str = "PLAINCHANT_";

/// Variables that stand for keys of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overrides(Vec<(String, String, Value)>);

/// A variable that cannot stand for a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverrideError {
    /// Of a section, or a key, that is the file's alone.
    #[error("{variable}: `{what}` is not taken from the environment; write it into the file")]
    FileOnly {
        /// The variable.
        variable: String,
        /// The section, or `section.key`.
        what: &'static str,
    },
    /// The file has something else where the section would be.
    #[error("{variable}: `{section}` is no section in the file")]
    NoSection {
        /// The variable.
        variable: String,
        /// The section.
        section: String,
    },
}

/// A file, or what goes before it, is not as it must be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// The file, or a key of either.
    #[error(transparent)]
    File(#[from] toml::de::Error),
    /// A variable.
    #[error(transparent)]
    Variable(#[from] OverrideError),
}

impl Overrides {
    /// Of `variables`, those for keys of `sections`. One for `file_only`, sections and single keys (`section.key`), is refused: whoever wrote it believes that it holds.
    ///
    /// A value is read as TOML has it, and as text where it is none: `2`, `true`, `["a", "b"]`, `cuda`, `/data/rows.tsv`, `"2"`.
    ///
    /// # Errors
    /// [`OverrideError::FileOnly`].
    pub fn of(
        variables: impl IntoIterator<Item = (String, String)>,
        sections: &[&'static str],
        file_only: &[&'static str],
    ) -> Result<Self, OverrideError> {
        let mut found = Vec::new();
        for (variable, text) in variables {
            let Some(name) = variable.strip_prefix(PREFIX) else { continue };
            let key = |section: &str| {
                let rest = name.strip_prefix(&section.to_ascii_uppercase())?;
                rest.strip_prefix('_').filter(|key| !key.is_empty()).map(str::to_ascii_lowercase)
            };
            let alone = |what: &&&str| match what.split_once('.') {
                Some((section, only)) => key(section).is_some_and(|key| key == only),
                None => key(what).is_some() || name.eq_ignore_ascii_case(what),
            };
            if let Some(what) = file_only.iter().find(alone) {
                return Err(OverrideError::FileOnly { variable, what });
            }
            for section in sections {
                if let Some(key) = key(section) {
                    found.push(((*section).to_owned(), key, value(&text)));
                }
            }
        }
        Ok(Self(found))
    }

    /// As [`Overrides::of`], of this process's environment; variables that are no text are none of ours.
    ///
    /// # Errors
    /// [`OverrideError::FileOnly`].
    pub fn read(sections: &[&'static str], file_only: &[&'static str]) -> Result<Self, OverrideError> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self::of(std::env::vars_os().filter_map(text), sections, file_only)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys, as `section.key`.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(section, key, _)| format!("{section}.{key}"))
    }

    /// Reads a file with these before it.
    ///
    /// # Errors
    /// [`ReadError`]; without overrides from the text, so that it has the line.
    pub fn parse<T: DeserializeOwned>(&self, text: &str) -> Result<T, ReadError> {
        if self.is_empty() {
            return Ok(toml::from_str(text)?);
        }
        let mut file = toml::from_str(text)?;
        self.apply(&mut file)?;
        Ok(file.try_into()?)
    }

    /// Lays them over a file's keys.
    ///
    /// # Errors
    /// [`OverrideError::NoSection`].
    fn apply(&self, file: &mut Table) -> Result<(), OverrideError> {
        for (section, key, value) in &self.0 {
            let table = file.entry(section.clone()).or_insert_with(|| Value::Table(Table::new()));
            let Some(table) = table.as_table_mut() else {
                let variable = format!("{PREFIX}{}_{}", section.to_ascii_uppercase(), key.to_ascii_uppercase());
                return Err(OverrideError::NoSection { variable, section: section.clone() });
            };
            table.insert(key.clone(), value.clone());
        }
        Ok(())
    }
}

fn value(text: &str) -> Value {
    let read = toml::from_str::<Table>(&format!("value = {text}")).ok();
    // A text with a line break could hold more than one key.
    let read = read.filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    read.unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn over(file: &str, variables: &[(&str, &str)]) -> Result<Table, OverrideError> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut table = file.parse().unwrap();
        Overrides::of(variables, &["data", "training"], &["policy", "data.ledger"])?.apply(&mut table)?;
        Ok(table)
    }

    #[test]
    fn a_variable_goes_before_its_key_with_the_kind_that_toml_gives_it() {
        let file = "[data]\nfile = \"a.tsv\"\nunit_column = \"ward\"\n";
        let found = over(
            file,
            &[
                ("PLAINCHANT_DATA_FILE", "/data/rows.tsv"),
                ("PLAINCHANT_DATA_UNIT_COLUMN", "\"2\""),
                ("PLAINCHANT_TRAINING_THREADS", "2"),
                ("PLAINCHANT_TRAINING_DEVICE", "cuda\nthreads = 3"),
                ("PLAINCHANT_LISTEN", "127.0.0.1:1"),
                ("PLAINCHANT_DATA_", "1"),
                ("plainchant_data_file", "b"),
                ("DATA_FILE", "b"),
            ],
        );
        let expected = "[data]\nfile = \"/data/rows.tsv\"\nunit_column = \"2\"\n[training]\nthreads = 2\ndevice = \"cuda\\nthreads = 3\"\n";
        assert_eq!(found.unwrap(), expected.parse().unwrap());
        assert_eq!(over(file, &[]).unwrap(), file.parse().unwrap());
    }

    #[test]
    fn what_is_the_files_alone_is_refused_and_so_is_a_section_that_is_none() {
        for (variable, what) in [
            ("PLAINCHANT_POLICY_EPSILON_CEILING", "policy"),
            ("PLAINCHANT_POLICY", "policy"),
            ("PLAINCHANT_DATA_LEDGER", "data.ledger"),
        ] {
            let found = over("", &[(variable, "100")]);
            assert_eq!(found, Err(OverrideError::FileOnly { variable: variable.to_owned(), what }));
        }
        assert!(over("", &[("PLAINCHANT_DATA_LEDGERS", "1")]).is_ok());
        let (variable, section) = ("PLAINCHANT_DATA_FILE".to_owned(), "data".to_owned());
        assert_eq!(over("data = 1\n", &[(&variable, "x")]), Err(OverrideError::NoSection { variable, section }));
    }
}
