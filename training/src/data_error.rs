//! Why a data file cannot be used.

use std::path::PathBuf;

/// Why a data file cannot be used; names the file and, where there is one, the line and the field.
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
    #[error("{}: the format is not clear from the name; set `format` to \"tsv\", \"csv\" or \"jsonl\"", file.display())]
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
    #[error("{} has no column '{column}' in line {line}; it has: {found}", file.display())]
    MissingColumn {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: u64,
        /// The column that was looked for.
        column: String,
        /// The columns that are there.
        found: String,
    },
    /// The bytes of a line are not UTF-8.
    #[error("{}: line {line} is not valid UTF-8", file.display())]
    NotUtf8 {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: u64,
    },
    /// A line does not follow the format.
    #[error("{}: line {line}: {reason}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A field is blank.
    #[error("{}: column '{column}' is empty in line {line}", file.display())]
    EmptyField {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: u64,
        /// The blank column.
        column: String,
    },
    /// Several rows at fault.
    #[error("{}: {} rows are at fault{}:\n  {}", file.display(), problems.len(), if *more { ", and more" } else { "" }, all_of(problems))]
    Several {
        /// The file.
        file: PathBuf,
        /// What is wrong, in the order of the lines.
        problems: Vec<DataError>,
        /// Whether reading was given up after so many.
        more: bool,
    },
    /// A label that the charter does not list.
    #[error("{}: label '{label}' in line {line} is not one of the charter's", file.display())]
    UnknownLabel {
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: u64,
        /// The label as read.
        label: String,
    },
}

fn all_of(problems: &[DataError]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ")
}
