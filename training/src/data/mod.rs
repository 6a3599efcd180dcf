//! The house's rows: read from TSV, CSV, JSONL or Parquet one by one, checked against the charter's labels, grouped into privacy units.
//!
//! No text is kept: each is handed on as it is read, and what stays of a row is to which unit it belongs.

mod cells;
mod conversation;
mod objects;
mod pages;
mod reading;
mod schema;
mod separated;
mod table;

use std::fs::File;
use std::path::Path;

use lora::Message;
use serde::Deserialize;

use crate::{At, DataError, House, Units};
use reading::Reading;

/// The longest row: bytes of a line, or of a field of Parquet. A file without line ends must not fill the memory.
const LONGEST: usize = 16 << 20;
/// Bytes that are read at once.
const BUFFER: usize = 1 << 16;

/// Where the rows are.
#[derive(Debug, Clone, Copy)]
pub struct DataSource<'a> {
    /// The file.
    pub file: &'a Path,
    /// Its format, when the name does not tell.
    pub format: Option<Format>,
    /// Which fields matter.
    pub columns: Columns<'a>,
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
    /// Apache Parquet: uncompressed, or with snappy, gzip or zstd.
    Parquet,
}

/// The names of the fields that hold text, answer and privacy unit.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    /// Field with the text, or the prompt.
    pub text: &'a str,
    /// Field with the label, or the completion.
    pub answer: &'a str,
    /// Without labels: field with a whole conversation, in place of prompt and completion. `None` takes the field `messages` where
    /// the first row has that and neither prompt nor completion.
    pub messages: Option<&'a str>,
    /// Field that names the privacy unit (a patient), where the data has one.
    pub unit: Option<&'a str>,
}

/// One row as it is read.
#[derive(Debug)]
pub struct Row<'a> {
    /// The file it is in.
    pub file: &'a Path,
    /// Where in the file.
    pub at: At,
    /// What it says.
    pub content: Content,
}

/// What a row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A text to classify.
    Labelled {
        /// The text.
        text: String,
        /// Position of its label in the charter's list.
        label: usize,
    },
    /// A conversation, of which the last message is learnt: a prompt and its completion, or the messages of the row.
    Conversation(Vec<Message>),
}

impl Row<'_> {
    /// The error of a row that cannot be used for `reason`.
    #[must_use]
    pub fn unfit(&self, reason: String) -> DataError {
        DataError::Malformed { file: self.file.to_owned(), at: self.at, reason }
    }
}

/// Takes each row. An error that is [at](DataError::at) a place of the file is gathered with those of other rows; any other ends the reading.
pub type Each<'a> = dyn FnMut(Row<'_>) -> Result<(), DataError> + 'a;

/// How the rows of a file fall into privacy units.
#[derive(Debug)]
pub struct Dataset {
    units: Units,
    /// One for each unit, from its name, or its row's text: which side of a split it is on.
    places: Vec<u64>,
    named_units: bool,
}

impl Dataset {
    /// Reads the rows of `source` in order and hands each to `each`; labels are looked up in `labels`, the charter's list. Without any, rows are
    /// conversations.
    ///
    /// # Errors
    /// What is wrong with the file; with its rows, all of them ([`DataError::Several`]), by line or row and field.
    pub fn read(source: &DataSource<'_>, labels: &[String], each: &mut Each<'_>) -> Result<Self, DataError> {
        let mut reading = Reading::new(source, labels, each);
        source.rows(&mut reading)?;
        reading.finish()
    }

    /// The labels that occur in a file, sorted: for who has no charter that lists them.
    ///
    /// # Errors
    /// As [`Dataset::read`].
    pub fn labels(source: &DataSource<'_>) -> Result<Vec<String>, DataError> {
        let each = &mut |_: Row<'_>| Ok(());
        let mut reading = Reading::of_labels(source, each);
        source.rows(&mut reading)?;
        reading.found()
    }

    /// The privacy units, each the positions of its rows.
    pub fn units(&self) -> &Units {
        &self.units
    }

    /// The units as a house's, of which about the share `held_out` (0 for none) is only evaluated.
    ///
    /// A unit's side follows from a hash of its name, or without names of its row's text, and from nothing else: it is the same
    /// in every round and every federation, and no other unit's side depends on it.
    pub fn house(&self, held_out: f64) -> House {
        // 2^64 is a power of two, so the product is exact; the cast takes the floor.
        let threshold = (held_out.clamp(0.0, 1.0) * 2f64.powi(64)) as u128;
        let mut house = House::default();
        for (unit, place) in self.units.iter().zip(&self.places) {
            let side = if u128::from(*place) < threshold { &mut house.held_out } else { &mut house.units };
            side.push(unit);
        }
        house
    }

    /// Whether a unit column names the units; without one, each row is its own unit.
    pub fn has_named_units(&self) -> bool {
        self.named_units
    }
}

impl DataSource<'_> {
    fn rows(&self, reading: &mut Reading<'_>) -> Result<(), DataError> {
        let format = match self.format {
            Some(format) => format,
            None => Format::of(self.file)?,
        };
        let file = File::open(self.file).map_err(|source| DataError::Read { file: self.file.to_owned(), source })?;
        match format {
            Format::Tsv => separated::read(reading, file, b'\t', false),
            Format::Csv => separated::read(reading, file, b',', true),
            Format::Jsonl => objects::read(reading, file),
            Format::Parquet => table::read(reading, file),
        }
    }
}

impl Format {
    fn of(file: &Path) -> Result<Self, DataError> {
        let extension = file.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
        match extension.as_str() {
            "tsv" | "tab" => Ok(Self::Tsv),
            "csv" => Ok(Self::Csv),
            "jsonl" | "ndjson" => Ok(Self::Jsonl),
            "parquet" => Ok(Self::Parquet),
            _ => Err(DataError::UnknownFormat { file: file.to_owned() }),
        }
    }
}
