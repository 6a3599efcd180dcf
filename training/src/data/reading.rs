//! What is done with each row, whatever the file's format.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use lora::Message;
use sha2::{Digest as _, Sha256};

use super::{Columns, Content, DataSource, Dataset, Each, Row, conversation};
use crate::{At, DataError, Units};

/// Separates this hash from every other use of a text.
const HELD_OUT_LABEL: &[u8] = b"plainchant held-out v1\0";
/// So many bad rows are enough to be told of.
const MOST_PROBLEMS: usize = 200;
/// Letters of a label that a message shows: the wrong column may hold whole letters.
const SHOWN: usize = 60;

/// A file while it is read.
pub(super) struct Reading<'a> {
    pub(super) file: &'a Path,
    pub(super) columns: Columns<'a>,
    answers: Answers<'a>,
    each: &'a mut Each<'a>,
    rows: usize,
    /// One for each unit.
    places: Vec<u64>,
    /// With named units: each row's, and each name's.
    unit_of: Vec<usize>,
    names: HashMap<String, usize>,
    /// What is wrong with rows so far.
    problems: Vec<DataError>,
}

/// What the answers of rows are.
enum Answers<'a> {
    /// Labels of the charter, with their positions.
    Labels(HashMap<&'a str, usize>),
    /// What is to be said after a prompt.
    Completions,
    /// Labels that are only looked for.
    Found(BTreeSet<String>),
}

/// Which fields of a file are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fields<'a> {
    /// Those of text and answer.
    Pair,
    /// One of messages.
    Messages(&'a str),
}

/// A row that is not checked yet.
pub(super) enum Said<'a> {
    Pair(&'a str, &'a str),
    Messages(&'a str, Vec<Message>),
}

impl<'a> Reading<'a> {
    pub(super) fn new(source: &DataSource<'a>, labels: &'a [String], each: &'a mut Each<'a>) -> Self {
        let positions = labels.iter().enumerate().map(|(i, label)| (label.as_str(), i)).collect();
        let answers = if labels.is_empty() { Answers::Completions } else { Answers::Labels(positions) };
        Self::of(source, answers, each)
    }

    pub(super) fn of_labels(source: &DataSource<'a>, each: &'a mut Each<'a>) -> Self {
        Self::of(source, Answers::Found(BTreeSet::new()), each)
    }

    fn of(source: &DataSource<'a>, answers: Answers<'a>, each: &'a mut Each<'a>) -> Self {
        Self {
            file: source.file,
            columns: source.columns,
            answers,
            each,
            rows: 0,
            places: Vec::new(),
            unit_of: Vec::new(),
            names: HashMap::new(),
            problems: Vec::new(),
        }
    }

    /// Which fields to read of a file whose first row has those that `has` says.
    pub(super) fn fields(&self, has: impl Fn(&str) -> bool) -> Fields<'a> {
        let Columns { text, answer, messages, .. } = self.columns;
        match (&self.answers, messages) {
            (Answers::Completions, Some(field)) => Fields::Messages(field),
            (Answers::Completions, None) if !has(text) && !has(answer) && has(conversation::FIELD) => {
                Fields::Messages(conversation::FIELD)
            }
            _ => Fields::Pair,
        }
    }

    /// Notes what became of a row; whether to go on.
    ///
    /// # Errors
    /// One that is no row's.
    pub(super) fn note(&mut self, result: Result<(), DataError>) -> Result<bool, DataError> {
        match result {
            Ok(()) => Ok(true),
            Err(error) if error.at().is_some() => {
                self.problems.push(error);
                Ok(self.problems.len() < MOST_PROBLEMS)
            }
            Err(error) => Err(error),
        }
    }

    /// Checks a row and hands it on.
    ///
    /// # Errors
    /// What is wrong with it, or an error of who takes it.
    pub(super) fn push(&mut self, at: At, said: Said<'_>, unit: Option<&str>) -> Result<(), DataError> {
        if let (Some(column), Some(unit)) = (self.columns.unit, unit) {
            self.filled(at, column, unit)?;
        }
        let key = match said {
            Said::Pair(text, answer) => {
                self.filled(at, self.columns.text, text)?;
                self.filled(at, self.columns.answer, answer)?;
                self.pair(at, text, answer)?
            }
            Said::Messages(column, messages) => {
                let wrong = conversation::check(&messages).err();
                let wrong = wrong.or_else(|| {
                    messages
                        .iter()
                        .any(|message| message.content.contains('\0'))
                        .then(|| "holds a NUL character".to_owned())
                });
                if let Some(reason) = wrong {
                    return Err(self.malformed(at, format!("'{column}' {reason}")));
                }
                let key = conversation::key(&messages);
                (self.each)(Row { file: self.file, at, content: Content::Conversation(messages) })?;
                key
            }
        };
        self.place(&key, unit);
        Ok(())
    }

    /// Hands on a text with its answer; gives what its place in a split follows from.
    fn pair(&mut self, at: At, text: &str, answer: &str) -> Result<String, DataError> {
        let (content, key) = match &mut self.answers {
            Answers::Found(found) => {
                if !found.contains(answer) {
                    found.insert(answer.to_owned());
                }
                return Ok(String::new());
            }
            Answers::Completions => {
                let messages = [(conversation::USER, text), (conversation::ASSISTANT, answer)];
                let messages: Vec<Message> = messages.map(|(role, content)| Message::new(role, content)).into();
                // A prompt may have several completions; they are different units.
                let key = conversation::key(&messages);
                (Content::Conversation(messages), key)
            }
            Answers::Labels(labels) => {
                let Some(label) = labels.get(answer).copied() else {
                    let label = answer.chars().take(SHOWN).collect();
                    return Err(DataError::UnknownLabel { file: self.file.to_owned(), at, label });
                };
                (Content::Labelled { text: text.to_owned(), label }, text.trim().to_owned())
            }
        };
        (self.each)(Row { file: self.file, at, content })?;
        Ok(key)
    }

    /// Puts the next row into its unit.
    fn place(&mut self, key: &str, unit: Option<&str>) {
        self.rows += 1;
        let Some(name) = unit else {
            self.places.push(place(key));
            return;
        };
        // Blanks around a name make no other patient.
        let (name, next) = (name.trim(), self.places.len());
        let unit = self.names.get(name).copied().unwrap_or_else(|| {
            self.names.insert(name.to_owned(), next);
            self.places.push(place(name));
            next
        });
        self.unit_of.push(unit);
    }

    fn filled(&self, at: At, column: &str, value: &str) -> Result<(), DataError> {
        if value.trim().is_empty() {
            return Err(DataError::EmptyField { file: self.file.to_owned(), at, column: column.to_owned() });
        }
        if value.contains('\0') {
            return Err(self.malformed(at, format!("'{column}' holds a NUL character")));
        }
        Ok(())
    }

    /// Everything that is wrong with rows.
    fn verdict(&mut self) -> Result<(), DataError> {
        let more = self.problems.len() >= MOST_PROBLEMS;
        let mut problems = std::mem::take(&mut self.problems);
        match (problems.pop(), problems.is_empty()) {
            (None, _) => Ok(()),
            (Some(only), true) => Err(only),
            (Some(last), false) => {
                problems.push(last);
                Err(DataError::Several { file: self.file.to_owned(), problems, more })
            }
        }
    }

    pub(super) fn found(mut self) -> Result<Vec<String>, DataError> {
        self.verdict()?;
        match self.answers {
            Answers::Found(found) => Ok(found.into_iter().collect()),
            Answers::Labels(_) | Answers::Completions => Ok(Vec::new()),
        }
    }

    pub(super) fn finish(mut self) -> Result<Dataset, DataError> {
        self.verdict()?;
        if self.rows == 0 {
            return Err(DataError::Empty { file: self.file.to_owned() });
        }
        let named_units = self.columns.unit.is_some();
        let units =
            if named_units { Units::grouped(&self.unit_of, self.places.len()) } else { Units::alone(self.rows) };
        Ok(Dataset { units, places: self.places, named_units })
    }

    pub(super) fn malformed(&self, at: At, reason: String) -> DataError {
        DataError::Malformed { file: self.file.to_owned(), at, reason }
    }

    pub(super) fn missing(&self, at: At, column: &str, found: &[impl AsRef<str>]) -> DataError {
        let found = found.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
        DataError::MissingColumn { file: self.file.to_owned(), at, column: column.to_owned(), found }
    }

    pub(super) fn twice(&self, at: At, column: &str) -> DataError {
        DataError::DuplicateColumn { file: self.file.to_owned(), at, column: column.to_owned() }
    }

    pub(super) fn too_long(&self, at: At) -> DataError {
        DataError::TooLong { file: self.file.to_owned(), at, most: super::LONGEST }
    }

    pub(super) fn unreadable(&self, source: std::io::Error) -> DataError {
        DataError::Read { file: self.file.to_owned(), source }
    }
}

/// Where a unit stands between 0 and 2^64, evenly spread: the first eight bytes of a labelled SHA-256.
fn place(key: &str) -> u64 {
    let hash: [u8; 32] = Sha256::new_with_prefix(HELD_OUT_LABEL).chain_update(key).finalize().into();
    hash.iter().take(8).fold(0, |place, byte| place << 8 | u64::from(*byte))
}
