//! The house's rows: read from TSV, CSV or JSONL, checked against the charter's labels, grouped into privacy units.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{DataError, House};

/// Separates this hash from every other use of a text.
const HELD_OUT_LABEL: &[u8] = b"plainchant held-out v1\0";

/// One text and what belongs to it.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// The text to classify, or the prompt.
    pub text: String,
    /// Position of the row's label in the charter's list; 0 without labels.
    pub label: usize,
    /// Without labels: the completion. Empty with labels.
    pub completion: String,
    /// Line of the file, from 1.
    pub line: u64,
}

/// The rows of a house and how they fall into privacy units.
#[derive(Debug)]
pub struct Dataset {
    rows: Vec<Row>,
    units: Vec<Vec<usize>>,
    /// One for each unit, from its name, or its row's text: which side of a split it is on.
    places: Vec<u64>,
    named_units: bool,
}

/// How a data file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Tab-separated with a header line, without quoting.
    Tsv,
    /// Comma-separated with a header line (RFC 4180 quoting).
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// The names of the fields that hold text, answer and privacy unit.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// Field with the text, or the prompt.
    pub text: &'a str,
    /// Field with the label, or the completion.
    pub answer: &'a str,
    /// Field that names the privacy unit (a patient), where the data has one.
    pub unit: Option<&'a str>,
}

impl Dataset {
    /// Reads `file`; labels are looked up in `labels`, the charter's list. Without any, answers are completions of prompts.
    ///
    /// # Errors
    /// What is wrong with the file; with its rows, all of them ([`DataError::Several`]), by line and field.
    pub fn load(
        file: &Path,
        format: Option<Format>,
        columns: Columns<'_>,
        labels: &[String],
    ) -> Result<Self, DataError> {
        let mut reading = Reading::new(file, columns, labels);
        reading.all(format)?;
        reading.finish()
    }

    /// The labels that occur in `file`, sorted: for who has no charter that lists them.
    ///
    /// # Errors
    /// As [`Dataset::load`].
    pub fn labels(file: &Path, format: Option<Format>, columns: Columns<'_>) -> Result<Vec<String>, DataError> {
        let mut reading = Reading::new(file, columns, &[]);
        reading.found = Some(BTreeSet::new());
        reading.all(format)?;
        Ok(reading.found.into_iter().flatten().collect())
    }

    /// All rows, in the file's order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The privacy units, each the positions of its rows.
    pub fn units(&self) -> &[Vec<usize>] {
        &self.units
    }

    /// The units as a house's, of which about the share `held_out` (0 for none) is only evaluated.
    ///
    /// A unit's side follows from a hash of its name, or without names of its row's text, and from nothing else: it is the same
    /// in every round and every federation, and no other unit's side depends on it.
    pub fn house(&self, held_out: f64) -> House {
        // 2^64 is a power of two, so the product is exact; the cast takes the floor.
        let threshold = (held_out.clamp(0.0, 1.0) * 2f64.powi(64)) as u128;
        let (mut house, mut held) = (Vec::new(), Vec::new());
        for (unit, place) in self.units.iter().zip(&self.places) {
            let side = if u128::from(*place) < threshold { &mut held } else { &mut house };
            side.push(unit.clone());
        }
        House { units: house, held_out: held }
    }

    /// Whether a unit column names the units; without one, each row is its own unit.
    pub fn has_named_units(&self) -> bool {
        self.named_units
    }

    /// Rows of the unit that has the most.
    pub fn largest_unit(&self) -> usize {
        self.units.iter().map(Vec::len).max().unwrap_or(0)
    }
}

impl Format {
    fn of(file: &Path) -> Result<Self, DataError> {
        let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        match extension.as_str() {
            "tsv" | "tab" => Ok(Self::Tsv),
            "csv" => Ok(Self::Csv),
            "jsonl" | "ndjson" => Ok(Self::Jsonl),
            _ => Err(DataError::UnknownFormat { file: file.to_owned() }),
        }
    }
}

/// Where a unit stands between 0 and 2^64, evenly spread: the first eight bytes of a labelled SHA-256.
fn place(key: &str) -> u64 {
    let hash: [u8; 32] = Sha256::new_with_prefix(HELD_OUT_LABEL).chain_update(key).finalize().into();
    hash.iter().take(8).fold(0, |place, byte| place << 8 | u64::from(*byte))
}

/// So many bad rows are enough to be told of.
const MOST_PROBLEMS: usize = 200;

/// A file while it is read.
struct Reading<'a> {
    file: &'a Path,
    columns: Columns<'a>,
    labels: HashMap<&'a str, usize>,
    rows: Vec<Row>,
    units: Vec<Vec<usize>>,
    places: Vec<u64>,
    unit_of: HashMap<String, usize>,
    /// Labels that occur, where they are looked for and nothing else.
    found: Option<BTreeSet<String>>,
    /// What is wrong with rows so far.
    problems: Vec<DataError>,
}

impl<'a> Reading<'a> {
    fn new(file: &'a Path, columns: Columns<'a>, labels: &'a [String]) -> Self {
        let labels = labels.iter().enumerate().map(|(i, label)| (label.as_str(), i)).collect();
        Self {
            file,
            columns,
            labels,
            rows: Vec::new(),
            units: Vec::new(),
            places: Vec::new(),
            unit_of: HashMap::new(),
            found: None,
            problems: Vec::new(),
        }
    }

    fn all(&mut self, format: Option<Format>) -> Result<(), DataError> {
        let file = self.file;
        let format = match format {
            Some(format) => format,
            None => Format::of(file)?,
        };
        let bytes = fs::read(file).map_err(|source| DataError::Read { file: file.to_owned(), source })?;
        match format {
            Format::Tsv => self.separated(&bytes, b'\t', false)?,
            Format::Csv => self.separated(&bytes, b',', true)?,
            Format::Jsonl => self.objects(&bytes),
        }
        let (file, more) = (self.file.to_owned(), self.problems.len() >= MOST_PROBLEMS);
        match (self.problems.pop(), self.problems.is_empty()) {
            (None, _) => Ok(()),
            (Some(only), true) => Err(only),
            (Some(last), false) => {
                self.problems.push(last);
                Err(DataError::Several { file, problems: std::mem::take(&mut self.problems), more })
            }
        }
    }

    /// Notes a row at fault; whether to go on.
    fn note(&mut self, result: Result<(), DataError>) -> bool {
        self.problems.extend(result.err());
        self.problems.len() < MOST_PROBLEMS
    }

    fn separated(&mut self, bytes: &[u8], delimiter: u8, quoting: bool) -> Result<(), DataError> {
        let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).quoting(quoting).from_reader(bytes);
        let header = reader.headers().map_err(|e| self.csv_error(&e, 1))?.clone();
        if header.iter().all(str::is_empty) {
            return Err(DataError::Empty { file: self.file.to_owned() });
        }
        let position = |name: &str| {
            header.iter().position(|column| column == name).ok_or_else(|| DataError::MissingColumn {
                file: self.file.to_owned(),
                line: 1,
                column: name.to_owned(),
                found: header.iter().collect::<Vec<_>>().join(", "),
            })
        };
        let text = position(self.columns.text)?;
        let label = position(self.columns.answer)?;
        let unit = self.columns.unit.map(position).transpose()?;
        let mut record = csv::StringRecord::new();
        loop {
            let line = reader.position().line();
            match reader.read_record(&mut record) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                // Of one record alone: the next may be read.
                Err(error)
                    if matches!(error.kind(), csv::ErrorKind::Utf8 { .. } | csv::ErrorKind::UnequalLengths { .. }) =>
                {
                    let problem = self.csv_error(&error, line);
                    if self.note(Err(problem)) {
                        continue;
                    }
                    return Ok(());
                }
                Err(error) => return Err(self.csv_error(&error, line)),
            }
            let line = record.position().map_or(line, csv::Position::line);
            let field = |i: usize| record.get(i).unwrap_or_default();
            let pushed = self.push(line, field(text), field(label), unit.map(field));
            if !self.note(pushed) {
                return Ok(());
            }
        }
    }

    fn objects(&mut self, bytes: &[u8]) {
        for (line, bytes) in (1u64..).zip(bytes.split(|byte| *byte == b'\n')) {
            let read = self.object(line, bytes);
            if !self.note(read) {
                return;
            }
        }
    }

    fn object(&mut self, line: u64, bytes: &[u8]) -> Result<(), DataError> {
        let text = std::str::from_utf8(bytes).map_err(|_| DataError::NotUtf8 { file: self.file.to_owned(), line })?;
        if text.trim().is_empty() {
            return Ok(());
        }
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|e| self.malformed(line, format!("not a JSON object: {e}")))?;
        let columns = self.columns;
        let text = self.string(&object, columns.text, line)?;
        let label = self.string(&object, columns.answer, line)?;
        let unit = columns.unit.map(|unit| self.string(&object, unit, line)).transpose()?;
        self.push(line, &text, &label, unit.as_deref())
    }

    /// A field of a JSON object; numbers count as their decimal text, so that patient numbers need no quotes.
    fn string(
        &self,
        object: &serde_json::Map<String, serde_json::Value>,
        column: &str,
        line: u64,
    ) -> Result<String, DataError> {
        match object.get(column) {
            Some(serde_json::Value::String(text)) => Ok(text.clone()),
            Some(serde_json::Value::Number(number)) => Ok(number.to_string()),
            Some(_) => Err(self.malformed(line, format!("'{column}' is neither a string nor a number"))),
            None => Err(DataError::MissingColumn {
                file: self.file.to_owned(),
                line,
                column: column.to_owned(),
                found: object.keys().cloned().collect::<Vec<_>>().join(", "),
            }),
        }
    }

    fn push(&mut self, line: u64, text: &str, label: &str, unit: Option<&str>) -> Result<(), DataError> {
        let columns = self.columns;
        let filled =
            [(columns.text, text), (columns.answer, label), (columns.unit.unwrap_or("-"), unit.unwrap_or("-"))];
        if let Some((column, _)) = filled.iter().find(|(_, value)| value.trim().is_empty()) {
            return Err(DataError::EmptyField { file: self.file.to_owned(), line, column: (*column).to_owned() });
        }
        if let Some(found) = &mut self.found {
            found.insert(label.to_owned());
            return Ok(());
        }
        let completion = if self.labels.is_empty() { label.to_owned() } else { String::new() };
        let Some(known) = self.labels.get(label).copied().or(self.labels.is_empty().then_some(0)) else {
            return Err(DataError::UnknownLabel { file: self.file.to_owned(), line, label: label.to_owned() });
        };
        let row = self.rows.len();
        self.rows.push(Row { text: text.to_owned(), label: known, completion, line });
        match unit {
            None => {
                self.units.push(vec![row]);
                // A prompt may have several completions; they are different units.
                self.places.push(if self.labels.is_empty() {
                    place(&format!("{text}\0{label}"))
                } else {
                    place(text.trim())
                });
            }
            Some(name) => {
                // Blanks around a name make no other patient.
                let (name, next) = (name.trim(), self.units.len());
                let unit = *self.unit_of.entry(name.to_owned()).or_insert(next);
                if unit == next {
                    self.units.push(Vec::new());
                    self.places.push(place(name));
                }
                if let Some(rows) = self.units.get_mut(unit) {
                    rows.push(row);
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Dataset, DataError> {
        if self.rows.is_empty() {
            return Err(DataError::Empty { file: self.file.to_owned() });
        }
        let (rows, units, places) = (self.rows, self.units, self.places);
        Ok(Dataset { rows, units, places, named_units: self.columns.unit.is_some() })
    }

    fn malformed(&self, line: u64, reason: String) -> DataError {
        DataError::Malformed { file: self.file.to_owned(), line, reason }
    }

    fn csv_error(&self, error: &csv::Error, line: u64) -> DataError {
        let line = error.position().map_or(line, csv::Position::line).max(1);
        match error.kind() {
            csv::ErrorKind::Utf8 { .. } => DataError::NotUtf8 { file: self.file.to_owned(), line },
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                self.malformed(line, format!("{len} fields where the header has {expected_len}"))
            }
            other => self.malformed(line, format!("{other:?}")),
        }
    }
}
