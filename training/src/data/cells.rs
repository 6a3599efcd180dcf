//! Values of Parquet's columns, put together from their levels.
//!
//! A *definition level* says how much of a value's path is there, a *repetition level* of 0 that a row begins (Dremel's encoding,
//! <https://parquet.apache.org/docs/file-format/nestedencoding/>).

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Bytes(ByteArray),
    /// An integer, in decimals.
    Number(String),
    List(Vec<Cell>),
}

/// One column of a row group.
pub(super) struct Column {
    values: Values,
    /// The definition level of a value that is there.
    full: i16,
    /// Of a list: the definition level of one without elements; below it, the list is null.
    empty: Option<i16>,
}

enum Values {
    Bytes(ColumnReaderImpl<ByteArrayType>),
    Int32(ColumnReaderImpl<Int32Type>, bool),
    Int64(ColumnReaderImpl<Int64Type>, bool),
}

impl Column {
    /// `full` is the definition level of a value that is there, `empty` that of a list without elements, where it is one; integers may be `unsigned`.
    pub(super) fn new(
        reader: ColumnReader,
        full: i16,
        empty: Option<i16>,
        unsigned: bool,
    ) -> Result<Self, ParquetError> {
        let values = match reader {
            ColumnReader::ByteArrayColumnReader(reader) => Values::Bytes(reader),
            ColumnReader::Int32ColumnReader(reader) => Values::Int32(reader, unsigned),
            ColumnReader::Int64ColumnReader(reader) => Values::Int64(reader, unsigned),
            _ => return Err(corrupt("a column of another type than the schema says")),
        };
        Ok(Self { values, full, empty })
    }

    /// The next `rows`, or as many as are left.
    pub(super) fn read(&mut self, rows: usize) -> Result<Vec<Cell>, ParquetError> {
        let (full, empty) = (self.full, self.empty);
        match &mut self.values {
            Values::Bytes(reader) => Levels::read(reader, rows)?.cells(full, empty, Cell::Bytes),
            Values::Int32(reader, false) => Levels::read(reader, rows)?.cells(full, empty, number),
            Values::Int32(reader, true) => {
                Levels::read(reader, rows)?.cells(full, empty, |n| number(n.cast_unsigned()))
            }
            Values::Int64(reader, false) => Levels::read(reader, rows)?.cells(full, empty, number),
            Values::Int64(reader, true) => {
                Levels::read(reader, rows)?.cells(full, empty, |n| number(n.cast_unsigned()))
            }
        }
    }
}

fn number(number: impl ToString) -> Cell {
    Cell::Number(number.to_string())
}

fn corrupt(reason: &str) -> ParquetError {
    ParquetError::General(reason.to_owned())
}

/// Some rows of a column as they are stored: the values that are there, and levels where the schema has any.
struct Levels<T> {
    rows: usize,
    definition: Vec<i16>,
    repetition: Vec<i16>,
    values: Vec<T>,
}

impl<T> Levels<T> {
    fn read<D: DataType<T = T>>(reader: &mut ColumnReaderImpl<D>, rows: usize) -> Result<Self, ParquetError> {
        let (mut definition, mut repetition, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let (rows, ..) = reader.read_records(rows, Some(&mut definition), Some(&mut repetition), &mut values)?;
        Ok(Self { rows, definition, repetition, values })
    }

    fn cells(self, full: i16, empty: Option<i16>, cell: impl Fn(T) -> Cell) -> Result<Vec<Cell>, ParquetError> {
        let mut values = self.values.into_iter();
        let mut next = |level: i16| match level < full {
            true => Ok(Cell::Null),
            false => values.next().map(&cell).ok_or_else(|| corrupt("a column with fewer values than its levels say")),
        };
        let Some(empty) = empty else {
            return (0..self.rows).map(|row| next(self.definition.get(row).copied().unwrap_or(full))).collect();
        };
        let mut lists = Vec::with_capacity(self.rows);
        for (level, repetition) in self.definition.iter().zip(&self.repetition) {
            if *repetition == 0 {
                lists.push(if *level < empty { Cell::Null } else { Cell::List(Vec::new()) });
            }
            if *level <= empty {
                continue;
            }
            match lists.last_mut() {
                Some(Cell::List(list)) => list.push(next(*level)?),
                _ => return Err(corrupt("a list that begins in the middle")),
            }
        }
        Ok(lists)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Levels by hand, of an optional list of optional structs with an optional field: null, [], [a, null struct, null field], [b].
    #[test]
    fn lists_follow_from_levels() {
        let levels = Levels {
            rows: 4,
            definition: vec![0, 1, 4, 2, 3, 4],
            repetition: vec![0, 0, 0, 1, 1, 0],
            values: vec!["a", "b"],
        };
        let text = |text: &str| Cell::Bytes(text.into());
        let wanted = [
            Cell::Null,
            Cell::List(Vec::new()),
            Cell::List(vec![text("a"), Cell::Null, Cell::Null]),
            Cell::List(vec![text("b")]),
        ];
        assert_eq!(levels.cells(4, Some(1), text).unwrap(), wanted);
        let torn = Levels { rows: 0, definition: vec![4], repetition: vec![1], values: vec!["a"] };
        assert!(torn.cells(4, Some(1), text).is_err());
        let short = Levels { rows: 1, definition: vec![1], repetition: Vec::new(), values: Vec::<&str>::new() };
        assert!(short.cells(1, None, text).is_err());
    }
}
