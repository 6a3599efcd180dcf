//! What may stand in a cell.

use serde_json::{Map, Value};

use super::TableError;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 64-bit floating point; what is unknown is not a number.
    Float,
    /// Signed 64-bit integers.
    Signed,
    /// Unsigned 64-bit integers.
    Unsigned,
    /// Words.
    Text,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// A number, or none (NaN).
    Float(f64),
    /// A signed integer.
    Signed(i64),
    /// An unsigned integer.
    Unsigned(u64),
    /// Words.
    Text(String),
}

/// A type that a row's field can have.
pub trait CellType: Sized {
    /// The column's kind.
    const KIND: Kind;
    /// The value in a cell.
    fn to_cell(&self) -> Cell;
    /// The value under this name.
    ///
    /// # Errors
    /// The column that is missing or of another kind.
    fn from_object(object: &Map<String, Value>, column: &'static str) -> Result<Self, TableError>;
}

impl CellType for f64 {
    const KIND: Kind = Kind::Float;

    fn to_cell(&self) -> Cell {
        Cell::Float(*self)
    }

    fn from_object(object: &Map<String, Value>, column: &'static str) -> Result<Self, TableError> {
        let number = |value: &Value| if value.is_null() { Some(Self::NAN) } else { value.as_f64() };
        object.get(column).and_then(number).ok_or(TableError::Column { column, wanted: "number" })
    }
}

impl CellType for u64 {
    const KIND: Kind = Kind::Unsigned;

    fn to_cell(&self) -> Cell {
        Cell::Unsigned(*self)
    }

    fn from_object(object: &Map<String, Value>, column: &'static str) -> Result<Self, TableError> {
        let found = object.get(column).and_then(Value::as_u64);
        found.ok_or(TableError::Column { column, wanted: "whole number of 0 or more" })
    }
}

impl CellType for i64 {
    const KIND: Kind = Kind::Signed;

    fn to_cell(&self) -> Cell {
        Cell::Signed(*self)
    }

    fn from_object(object: &Map<String, Value>, column: &'static str) -> Result<Self, TableError> {
        object.get(column).and_then(Value::as_i64).ok_or(TableError::Column { column, wanted: "whole number" })
    }
}

impl CellType for String {
    const KIND: Kind = Kind::Text;

    fn to_cell(&self) -> Cell {
        Cell::Text(self.clone())
    }

    fn from_object(object: &Map<String, Value>, column: &'static str) -> Result<Self, TableError> {
        let found = object.get(column).and_then(Value::as_str);
        found.map(str::to_owned).ok_or(TableError::Column { column, wanted: "text" })
    }
}
