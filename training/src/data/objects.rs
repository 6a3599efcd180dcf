//! JSONL: one object a line.

use std::fmt;
use std::io::{BufRead, BufReader, Read};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use super::reading::{Fields, Reading, Said};
use super::{BUFFER, LONGEST, conversation};
use crate::{At, DataError};

/// Windows' programs begin files with it.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

pub(super) fn read(reading: &mut Reading<'_>, file: impl Read) -> Result<(), DataError> {
    let mut reader = BufReader::with_capacity(BUFFER, file);
    let (mut line, mut fields) = (Vec::new(), None);
    for number in 1u64.. {
        let at = At::Line(number);
        line.clear();
        let read = reader.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', &mut line);
        if read.map_err(|e| reading.unreadable(e))? == 0 {
            break;
        }
        let result = if line.pop_if(|last| *last == b'\n').is_none() && line.len() > LONGEST {
            reader.skip_until(b'\n').map_err(|e| reading.unreadable(e))?;
            Err(reading.too_long(at))
        } else {
            let bytes = line.as_slice();
            let bytes = if number == 1 { bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes) } else { bytes };
            object(reading, at, bytes, &mut fields)
        };
        if !reading.note(result)? {
            break;
        }
    }
    Ok(())
}

/// One line; the first object says which fields are read.
fn object<'a>(
    reading: &mut Reading<'a>,
    at: At,
    bytes: &[u8],
    fields: &mut Option<Fields<'a>>,
) -> Result<(), DataError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DataError::NotUtf8 { file: reading.file.to_owned(), at })?;
    if text.trim().is_empty() {
        return Ok(());
    }
    let fields = match *fields {
        Some(fields) => fields,
        None => {
            let names = names(reading, at, text)?;
            *fields.insert(reading.fields(|name| names.iter().any(|found| found == name)))
        }
    };
    let columns = reading.columns;
    let (first, second) = match fields {
        Fields::Pair => (columns.text, Some(columns.answer)),
        Fields::Messages(field) => (field, None),
    };
    let wanted: Vec<&str> = [Some(first), second, columns.unit].into_iter().flatten().collect();
    let object = Object { at, text, values: values(reading, at, text, &wanted)? };
    let unit = columns.unit.map(|unit| object.string(reading, unit)).transpose()?;
    match fields {
        Fields::Pair => {
            let (text, answer) = (object.string(reading, columns.text)?, object.string(reading, columns.answer)?);
            reading.push(at, Said::Pair(&text, &answer), unit.as_deref())
        }
        Fields::Messages(field) => {
            let messages = conversation::of_json(object.value(reading, field)?);
            let messages = messages.map_err(|reason| reading.malformed(at, format!("'{field}' {reason}")))?;
            reading.push(at, Said::Messages(field, messages), unit.as_deref())
        }
    }
}

/// A line, and the values of the fields that are read.
struct Object<'t> {
    at: At,
    text: &'t str,
    values: Vec<(String, Value)>,
}

impl Object<'_> {
    fn value(&self, reading: &Reading<'_>, column: &str) -> Result<&Value, DataError> {
        match self.values.iter().find(|(name, _)| name == column) {
            Some((_, value)) => Ok(value),
            None => Err(reading.missing(self.at, column, &names(reading, self.at, self.text)?)),
        }
    }

    /// Numbers count as their decimal text, so that patient numbers need no quotes.
    fn string(&self, reading: &Reading<'_>, column: &str) -> Result<String, DataError> {
        match self.value(reading, column)? {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Null => Err(reading.malformed(self.at, format!("'{column}' is null"))),
            _ => Err(reading.malformed(self.at, format!("'{column}' is neither a string nor a number"))),
        }
    }
}

/// The names of an object's fields.
fn names(reading: &Reading<'_>, at: At, text: &str) -> Result<Vec<String>, DataError> {
    let found: Result<serde_json::Map<String, Value>, _> = serde_json::from_str(text);
    Ok(found.map_err(|e| not_an_object(reading, at, &e))?.into_iter().map(|(name, _)| name).collect())
}

/// The values of the fields in `wanted`, as far as they are there.
fn values(reading: &Reading<'_>, at: At, text: &str, wanted: &[&str]) -> Result<Vec<(String, Value)>, DataError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = Wanted(wanted).deserialize(&mut reader).and_then(|found| reader.end().map(|()| found));
    match found.map_err(|e| not_an_object(reading, at, &e))? {
        Picked { twice: Some(name), .. } => Err(reading.twice(at, &name)),
        Picked { values, .. } => Ok(values),
    }
}

fn not_an_object(reading: &Reading<'_>, at: At, error: &serde_json::Error) -> DataError {
    reading.malformed(at, format!("not a JSON object: {error}"))
}

/// Reads these fields of an object, and skips the others without keeping them.
struct Wanted<'a>(&'a [&'a str]);

#[derive(Default)]
struct Picked {
    values: Vec<(String, Value)>,
    /// A field that is there twice: which of them is meant is anybody's guess.
    twice: Option<String>,
}

impl<'de> DeserializeSeed<'de> for Wanted<'_> {
    type Value = Picked;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Picked, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Wanted<'_> {
    type Value = Picked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Picked, M::Error> {
        let mut picked = Picked::default();
        while let Some(name) = map.next_key::<String>()? {
            if !self.0.contains(&name.as_str()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value()?;
            if picked.values.iter().any(|(other, _)| *other == name) {
                picked.twice = Some(name.clone());
            }
            picked.values.push((name, value));
        }
        Ok(picked)
    }
}
