//! Results as flat tables: a Parquet file for pandas, a JSON file for everything else, both whole or absent.
//!
//! A row is a struct declared with [`row!`](crate::row): its fields are the columns, in their order. A field named after
//! a Rust keyword ends in an underscore, which the column's name leaves out.

mod cell;
mod file;
mod json;
mod parquet;

pub use cell::{Cell, CellType, Kind};

use std::path::{Path, PathBuf};

/// One line of a table.
pub trait Row: Sized {
    /// Names and kinds of the columns.
    fn columns() -> Vec<(&'static str, Kind)>;
    /// The values, one for each column.
    fn cells(&self) -> Vec<Cell>;
    /// The row in a JSON object.
    ///
    /// # Errors
    /// The column that is missing or of another kind.
    fn from_object(object: &serde_json::Map<String, serde_json::Value>) -> Result<Self, TableError>;
}

/// A table that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The file system.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The Parquet writer.
    #[error("cannot write {}: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: ::parquet::errors::ParquetError,
    },
    /// Not a JSON array of objects.
    #[error("{} is not a table: {why}; it must be a JSON array with one object a row", path.display())]
    NotATable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A row without one of its columns, or with something else in it.
    #[error("column `{column}` is missing or holds no {wanted}")]
    Column {
        /// The column.
        column: &'static str,
        /// What it must hold.
        wanted: &'static str,
    },
}

/// Writes `name`.parquet and `name`.json into `folder`, which is made if need be. A file that exists is replaced at once.
///
/// # Errors
/// The file that cannot be written.
pub fn write<R: Row>(folder: &Path, name: &str, rows: &[R]) -> Result<(), TableError> {
    let failed = |source| TableError::File { doing: "make the folder", path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let path = folder.join(format!("{name}.parquet"));
    let bytes = parquet::encode(rows).map_err(|source| TableError::Parquet { path: path.clone(), source })?;
    file::replace(&path, &bytes)?;
    file::replace(&folder.join(format!("{name}.json")), json::encode(rows).as_bytes())
}

/// The rows as the JSON that [`write()`] writes.
#[must_use]
pub fn to_json<R: Row>(rows: &[R]) -> String {
    json::encode(rows)
}

/// Reads a table's JSON file back.
///
/// # Errors
/// The file, or the row and column, that is not as [`write()`] writes it.
pub fn read<R: Row>(path: &Path) -> Result<Vec<R>, TableError> {
    let failed = |source| TableError::File { doing: "read", path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(failed)?;
    json::decode(&text).map_err(|why| TableError::NotATable { path: path.to_owned(), why })
}

/// Writes a file of any kind as tables are written: a reader sees the old one or the new one, never half of it.
///
/// # Errors
/// The file that cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), TableError> {
    file::replace(path, bytes)
}

/// Declares a struct whose fields are the columns of a [`Row`].
#[macro_export]
macro_rules! row {
    ($(#[$about:meta])* pub struct $name:ident { $($(#[$doc:meta])* pub $field:ident: $type:ty,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $($(#[$doc])* pub $field: $type,)+ }

        impl $crate::table::Row for $name {
            fn columns() -> Vec<(&'static str, $crate::table::Kind)> {
                vec![$((stringify!($field).trim_end_matches('_'), <$type as $crate::table::CellType>::KIND)),+]
            }

            fn cells(&self) -> Vec<$crate::table::Cell> {
                vec![$($crate::table::CellType::to_cell(&self.$field)),+]
            }

            fn from_object(
                object: &serde_json::Map<String, serde_json::Value>,
            ) -> Result<Self, $crate::table::TableError> {
                Ok(Self { $($field: $crate::table::CellType::from_object(
                    object,
                    stringify!($field).trim_end_matches('_'),
                )?),+ })
            }
        }
    };
}
