//! TSV and CSV with a header line.

use std::cell::Cell;
use std::io::{self, Read};

use super::reading::{Fields, Reading, Said};
use super::{BUFFER, LONGEST};
use crate::{At, DataError};

/// The header's line.
const HEADER: At = At::Line(1);

pub(super) fn read(reading: &mut Reading<'_>, file: impl Read, delimiter: u8, quoting: bool) -> Result<(), DataError> {
    let file = Bounded { inner: file, taken: Cell::new(0) };
    let mut options = csv::ReaderBuilder::new();
    let mut reader = options.delimiter(delimiter).quoting(quoting).buffer_capacity(BUFFER).from_reader(file);
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => return Err(problem(reading, error, 1)),
    };
    if header.iter().all(str::is_empty) {
        return Err(DataError::Empty { file: reading.file.to_owned() });
    }
    let names: Vec<&str> = header.iter().collect();
    if let Fields::Messages(column) = reading.fields(|name| names.contains(&name)) {
        return Err(DataError::NoLists { file: reading.file.to_owned(), column: column.to_owned() });
    }
    let position = |reading: &Reading<'_>, name: &str| {
        let mut found = names.iter().enumerate().filter(|(_, column)| **column == name);
        match (found.next(), found.next()) {
            (Some((position, _)), None) => Ok(position),
            (None, _) => Err(reading.missing(HEADER, name, &names)),
            (Some(_), Some(_)) => Err(reading.twice(HEADER, name)),
        }
    };
    let text = position(reading, reading.columns.text)?;
    let answer = position(reading, reading.columns.answer)?;
    let unit = reading.columns.unit.map(|unit| position(reading, unit)).transpose()?;
    let mut record = csv::StringRecord::new();
    loop {
        reader.get_ref().taken.set(0);
        let line = reader.position().line();
        let result = match reader.read_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let at = At::Line(record.position().map_or(line, csv::Position::line));
                let field = |i: usize| record.get(i).unwrap_or_default();
                if record.as_slice().len() > LONGEST {
                    Err(reading.too_long(at))
                } else {
                    reading.push(at, Said::Pair(field(text), field(answer)), unit.map(field))
                }
            }
            Err(error) => {
                // Of one record alone: the next may be read.
                let alone = matches!(error.kind(), csv::ErrorKind::Utf8 { .. } | csv::ErrorKind::UnequalLengths { .. });
                let problem = problem(reading, error, line);
                if !alone {
                    reading.note(Err(problem))?;
                    return Ok(());
                }
                Err(problem)
            }
        };
        if !reading.note(result)? {
            return Ok(());
        }
    }
}

fn problem(reading: &Reading<'_>, error: csv::Error, line: u64) -> DataError {
    let at = At::Line(error.position().map_or(line, csv::Position::line).max(1));
    match error.into_kind() {
        csv::ErrorKind::Utf8 { .. } => DataError::NotUtf8 { file: reading.file.to_owned(), at },
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            reading.malformed(at, format!("{len} fields where the header has {expected_len}"))
        }
        csv::ErrorKind::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<Endless>()) => reading.too_long(at),
        csv::ErrorKind::Io(error) => reading.unreadable(error),
        other => reading.malformed(at, format!("{other:?}")),
    }
}

/// A file of which only so much is read for one record: after a quote that nothing closes, the record would be all the rest.
struct Bounded<R> {
    inner: R,
    /// Bytes read since the last record.
    taken: Cell<usize>,
}

#[derive(Debug, thiserror::Error)]
#[error("a record without an end")]
struct Endless;

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The reader may have begun in the middle of a buffer.
        if self.taken.get() > LONGEST + BUFFER {
            return Err(io::Error::other(Endless));
        }
        let read = self.inner.read(buffer)?;
        self.taken.set(self.taken.get() + read);
        Ok(read)
    }
}
