//! Parquet, a few rows at a time.
//!
//! The crate answers most damage to a file with an error, and some with a panic: so every call of it goes through [`guard`], which makes an error
//! of a panic. Nothing of the reader is used after one. A damaged page may still claim up to 2 GiB (its size has 31 bits), which is then asked for
//! and given back; dictionaries that claim more than they hold are refused before ([`Plausible`]).

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use lora::Message;
use parquet::column::reader::get_column_reader;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader as _, SerializedFileReader};

use super::LONGEST;
use super::cells::{Cell, Column};
use super::pages::Plausible;
use super::reading::{Reading, Said};
use super::schema::{Source, Wanted};
use crate::{At, DataError};

/// Rows that are held at once.
const BATCH: usize = 256;

type Table = SerializedFileReader<File>;

pub(super) fn read(reading: &mut Reading<'_>, file: File) -> Result<(), DataError> {
    let path = reading.file;
    let table = guard(path, || SerializedFileReader::new(file))?;
    let wanted = guard(path, || Ok(Wanted::find(reading, &table)))??;
    let mut row = 0;
    for group in 0..table.num_row_groups() {
        let mut columns = guard(path, || Ok(Columns::open(reading, &table, group, &wanted)))??;
        loop {
            let [first, second, unit] = guard(path, || columns.next())?;
            if first.is_empty() {
                break;
            }
            let mut units = unit.into_iter();
            for (first, second) in first.into_iter().zip(second) {
                row += 1;
                let cells = Cells { at: At::Row(row), file: path };
                let result = cells.push(reading, &wanted, (first, second, units.next()));
                if !reading.note(result)? {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// Runs a call of the crate; a panic in it is an error of the file.
fn guard<T>(file: &Path, call: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, DataError> {
    let failed = |reason: String| DataError::Parquet { file: file.to_owned(), reason };
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| failed(error.to_string())),
        Err(_) => Err(failed("it is damaged".to_owned())),
    }
}

/// The columns of one row group.
struct Columns {
    first: Column,
    second: Column,
    unit: Option<Column>,
    /// Rows that are still to come.
    left: usize,
}

impl Columns {
    fn open(reading: &Reading<'_>, table: &Table, group: usize, wanted: &Wanted<'_>) -> Result<Self, DataError> {
        let failed =
            |error: ParquetError| DataError::Parquet { file: reading.file.to_owned(), reason: error.to_string() };
        let metadata = table.metadata().row_group(group);
        let rows = table.get_row_group(group).map_err(failed)?;
        let open = |source: &Source<'_>| {
            source.check_codec(reading, metadata)?;
            let pages = Plausible(rows.get_column_page_reader(source.leaf).map_err(failed)?);
            let reader = get_column_reader(metadata.column(source.leaf).column_descr_ptr(), Box::new(pages));
            Column::new(reader, source.full, source.empty, source.unsigned).map_err(failed)
        };
        Ok(Self {
            first: open(&wanted.first)?,
            second: open(&wanted.second)?,
            unit: wanted.unit.as_ref().map(open).transpose()?,
            left: usize::try_from(metadata.num_rows()).unwrap_or(0),
        })
    }

    /// The next rows of first and second column and of the units' (none where there is no such column); no rows at the end.
    fn next(&mut self) -> Result<[Vec<Cell>; 3], ParquetError> {
        let first = self.first.read(BATCH)?;
        let second = self.second.read(BATCH)?;
        let unit = self.unit.as_mut().map(|unit| unit.read(BATCH)).transpose()?;
        let rows = first.len();
        let even = second.len() == rows && unit.as_ref().is_none_or(|unit| unit.len() == rows);
        self.left = match self.left.checked_sub(rows) {
            Some(left) if even && (rows > 0 || left == 0) => left,
            _ => return Err(ParquetError::General("its columns do not have as many rows as it says".to_owned())),
        };
        Ok([first, second, unit.unwrap_or_default()])
    }
}

/// A row's cells become texts.
struct Cells<'a> {
    at: At,
    file: &'a Path,
}

impl Cells<'_> {
    fn push(
        &self,
        reading: &mut Reading<'_>,
        wanted: &Wanted<'_>,
        (first, second, unit): (Cell, Cell, Option<Cell>),
    ) -> Result<(), DataError> {
        let unit = match (&wanted.unit, &unit) {
            (Some(source), Some(cell)) => Some(self.text(source.name, cell)?),
            _ => None,
        };
        match (wanted.messages, first, second) {
            (Some(column), Cell::List(roles), Cell::List(contents)) if roles.len() == contents.len() => {
                let messages = roles.iter().zip(&contents).zip(1..);
                let messages = messages.map(|((role, content), number)| {
                    let part = |name: &str| format!("{column}[{number}].{name}");
                    Ok(Message::new(self.text(&part("role"), role)?, self.text(&part("content"), content)?))
                });
                let messages = messages.collect::<Result<_, DataError>>()?;
                reading.push(self.at, Said::Messages(column, messages), unit)
            }
            (Some(column), Cell::Null, _) => Err(self.unfit(format!("'{column}' is null"))),
            (Some(column), ..) => Err(self.unfit(format!("'{column}' has roles without contents"))),
            (None, first, second) => {
                let (text, answer) = (self.text(wanted.first.name, &first)?, self.text(wanted.second.name, &second)?);
                reading.push(self.at, Said::Pair(text, answer), unit)
            }
        }
    }

    fn text<'c>(&self, name: &str, cell: &'c Cell) -> Result<&'c str, DataError> {
        match cell {
            Cell::Bytes(bytes) if bytes.len() > LONGEST => {
                Err(DataError::TooLong { file: self.file.to_owned(), at: self.at, most: LONGEST })
            }
            Cell::Bytes(bytes) => std::str::from_utf8(bytes.data())
                .map_err(|_| DataError::NotUtf8 { file: self.file.to_owned(), at: self.at }),
            Cell::Number(number) => Ok(number),
            Cell::Null => Err(self.unfit(format!("'{name}' is null"))),
            Cell::List(_) => Err(self.unfit(format!("'{name}' is a list"))),
        }
    }

    fn unfit(&self, reason: String) -> DataError {
        DataError::Malformed { file: self.file.to_owned(), at: self.at, reason }
    }
}
