//! What a value of a charter must be, and the error that says so.

use std::collections::BTreeSet;

use super::error::CharterError;

pub(super) fn broken(key: &'static str, rule: impl ToString, instead: impl ToString) -> CharterError {
    CharterError::Rule { key, rule: rule.to_string(), instead: instead.to_string() }
}

pub(super) fn rule(holds: bool, key: &'static str, why: impl FnOnce() -> (String, String)) -> Result<(), CharterError> {
    if holds {
        return Ok(());
    }
    let (rule, instead) = why();
    Err(broken(key, rule, instead))
}

pub(super) fn range<T: Into<u64>>(key: &'static str, value: T, least: u64, most: u64) -> Result<(), CharterError> {
    let value = value.into();
    rule((least..=most).contains(&value), key, || {
        (format!("{value} is out of range"), format!("write {least} to {most}"))
    })
}

pub(super) fn positive(key: &'static str, value: f64) -> Result<(), CharterError> {
    rule(value.is_finite() && value > 0.0, key, || {
        (format!("{value} is not a positive number"), "write one above 0".to_owned())
    })
}

pub(super) fn fraction(key: &'static str, value: f64) -> Result<(), CharterError> {
    rule((0.0..1.0).contains(&value), key, || {
        (format!("{value} is out of range"), "write at least 0 and below 1".to_owned())
    })
}

pub(super) fn text(key: &'static str, value: &str) -> Result<(), CharterError> {
    let fits = (1..=256).contains(&value.len()) && !value.chars().any(char::is_control);
    rule(fits, key, || {
        ("is empty, longer than 256 bytes or has a control character".to_owned(), "write a short name".to_owned())
    })
}

pub(super) fn texts(key: &'static str, values: &[String], least: usize, most: usize) -> Result<(), CharterError> {
    rule((least..=most).contains(&values.len()), key, || {
        (format!("has {} entries", values.len()), format!("name {least} to {most}"))
    })?;
    let mut seen = BTreeSet::new();
    for value in values {
        text(key, value)?;
        rule(seen.insert(value), key, || (format!("`{value}` is there twice"), "name each once".to_owned()))?;
    }
    Ok(())
}
