//! A table as a JSON array, one object a line.

use serde_json::Value;

use super::{Cell, Row};

pub(super) fn encode<R: Row>(rows: &[R]) -> String {
    let columns = R::columns();
    let line = |row: &R| {
        let cells = row.cells();
        let members = columns.iter().zip(&cells).map(|((name, _), cell)| format!("{}: {}", quoted(name), text(cell)));
        format!("  {{{}}}", members.collect::<Vec<_>>().join(", "))
    };
    let lines: Vec<String> = rows.iter().map(line).collect();
    if lines.is_empty() { "[]\n".to_owned() } else { format!("[\n{}\n]\n", lines.join(",\n")) }
}

pub(super) fn decode<R: Row>(text: &str) -> Result<Vec<R>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Value::Array(lines) = value else { return Err("there is no array".to_owned()) };
    let row = |(i, line): (usize, &Value)| {
        let object = line.as_object().ok_or_else(|| format!("row {} is no object", i + 1))?;
        R::from_object(object).map_err(|error| format!("row {}: {error}", i + 1))
    };
    lines.iter().enumerate().map(row).collect()
}

/// JSON has no NaN and no infinity: both are null.
fn text(cell: &Cell) -> String {
    match cell {
        Cell::Float(value) => serde_json::Number::from_f64(*value).map_or_else(|| "null".to_owned(), |n| n.to_string()),
        Cell::Signed(value) => value.to_string(),
        Cell::Unsigned(value) => value.to_string(),
        Cell::Text(value) => quoted(value),
    }
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}
