//! Why a data file cannot be used.

use std::fmt;
use std::path::PathBuf;

/// A place in a data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// A line, from 1.
    Line(u64),
    /// A row of a Parquet file, from 1.
    Row(u64),
    /// What a Parquet file says of its columns.
    Schema,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, "line {line}"),
            Self::Row(row) => write!(f, "row {row}"),
            Self::Schema => f.write_str("its schema"),
        }
    }
}

/// Why a data file cannot be used; names the file and, where there is one, the line or row and the field.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The extension tells no format.
    #[error("{}: the format is not clear from the name; set `format` to \"tsv\", \"csv\", \"jsonl\" or \"parquet\"", file.display())]
    UnknownFormat {
        /// The file.
        file: PathBuf,
    },
    /// The file has no rows.
    #[error("{} holds no rows", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// A configured column is not in the header or not in an object.
    #[error("{} has no column '{column}' in {at}; it has: {found}", file.display())]
    MissingColumn {
        /// The file.
        file: PathBuf,
        /// Where.
        at: At,
        /// The column that was looked for.
        column: String,
        /// The columns that are there.
        found: String,
    },
    /// A configured column is there twice.
    #[error("{} has the column '{column}' twice in {at}; rename or remove one of them", file.display())]
    DuplicateColumn {
        /// The file.
        file: PathBuf,
        /// Where.
        at: At,
        /// The column.
        column: String,
    },
    /// A column of Parquet whose type is not read.
    #[error("{}: the column '{column}' {reason}", file.display())]
    ColumnType {
        /// The file.
        file: PathBuf,
        /// The column.
        column: String,
        /// What it is, and what it should be.
        reason: String,
    },
    /// A column of Parquet that is compressed by what is not built in.
    #[error("{}: the column '{column}' is compressed with {codec}, which is not built in; write the file with snappy, gzip or zstd, or uncompressed", file.display())]
    Codec {
        /// The file.
        file: PathBuf,
        /// The column.
        column: String,
        /// What it is compressed with.
        codec: String,
    },
    /// Parquet that cannot be read on.
    #[error("{} is no readable Parquet file: {reason}", file.display())]
    Parquet {
        /// The file.
        file: PathBuf,
        /// What the reader said.
        reason: String,
    },
    /// Conversations in TSV or CSV.
    #[error("{}: TSV and CSV hold no lists, so no conversations (column '{column}'); write them as JSONL or Parquet, or prompts and completions in two columns", file.display())]
    NoLists {
        /// The file.
        file: PathBuf,
        /// The column of conversations.
        column: String,
    },
    /// A row that is too large.
    #[error("{}: {at} is longer than {} MiB; shorten it (is a line's end or a quote missing?)", file.display(), most >> 20)]
    TooLong {
        /// The file.
        file: PathBuf,
        /// Where.
        at: At,
        /// The most, in bytes.
        most: usize,
    },
    /// The temporary file of tokens.
    #[error("cannot keep tokens in a temporary file in {}: {source}; is there room on that disk?", folder.display())]
    Scratch {
        /// The folder that it is made in.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes of a row are not UTF-8.
    #[error("{}: {at} is not valid UTF-8", file.display())]
    NotUtf8 {
        /// The file.
        file: PathBuf,
        /// Where.
        at: At,
    },
    /// A row does not follow the format, or cannot be used.
    #[error("{}: {at}: {reason}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Where.
        at: At,
        /// What is wrong with it.
        reason: String,
    },
    /// A field is blank.
    #[error("{}: column '{column}' is empty in {at}", file.display())]
    EmptyField {
        /// The file.
        file: PathBuf,
        /// Where.
        at: At,
        /// The blank column.
        column: String,
    },
    /// Several rows at fault.
    #[error("{}: {} rows are at fault{}:\n  {}", file.display(), problems.len(), if *more { ", and more" } else { "" }, all_of(problems))]
    Several {
        /// The file.
        file: PathBuf,
        /// What is wrong, in the order of the rows.
        problems: Vec<DataError>,
        /// Whether reading was given up after so many.
        more: bool,
    },
    /// A label that the charter does not list.
    #[error("{}: label '{label}' in {at} is not one of the charter's", file.display())]
    UnknownLabel {
        /// The file.
        file: PathBuf,
        /// Where.
        at: At,
        /// The label as read.
        label: String,
    },
}

impl DataError {
    /// The place in the file that is at fault, where it is one place's fault.
    #[must_use]
    pub fn at(&self) -> Option<At> {
        match self {
            Self::MissingColumn { at, .. }
            | Self::DuplicateColumn { at, .. }
            | Self::NotUtf8 { at, .. }
            | Self::Malformed { at, .. }
            | Self::TooLong { at, .. }
            | Self::EmptyField { at, .. }
            | Self::UnknownLabel { at, .. } => Some(*at),
            Self::Read { .. }
            | Self::UnknownFormat { .. }
            | Self::Empty { .. }
            | Self::ColumnType { .. }
            | Self::Codec { .. }
            | Self::Parquet { .. }
            | Self::NoLists { .. }
            | Self::Scratch { .. }
            | Self::Several { .. } => None,
        }
    }
}

fn all_of(problems: &[DataError]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ")
}
