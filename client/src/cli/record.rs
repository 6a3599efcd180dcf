//! `verify` and `evidence`: the federation's record, checked, and what this house can show of its part.

use std::path::Path;

use protocol::log::file::MAX_FILE_BYTES;

use super::{Failure, runtime};
use crate::evidence::{self, EvidenceError};
use crate::files;
use crate::record::{self, Kept, RecordError};
use crate::round::now_ms;

/// Checks a record's file, by itself or against the folder of a house.
pub(super) fn verify(file: &Path, dir: Option<&Path>) -> Result<(), Failure> {
    let bytes = read(file)?;
    let audited = match dir {
        None => record::alone(&bytes)?,
        Some(dir) => Kept::load(dir)?.check(&bytes)?,
    };
    println!("{audited}");
    println!(
        "{}",
        match dir {
            None =>
                "it holds, if charter and roster are those that you know; --dir compares it with what a house keeps",
            Some(_) => "it holds, and is the record that this house took part in",
        }
    );
    Ok(())
}

/// Writes the folder of evidence.
pub(super) fn evidence(dir: &Path, out: &Path, file: Option<&Path>) -> Result<(), Failure> {
    if out.exists() {
        return Err(EvidenceError::Exists(out.to_owned()).into());
    }
    let kept = Kept::load(dir)?;
    let bytes = match file {
        Some(file) => read(file)?,
        None => fetched(&kept)?,
    };
    let audited = kept.check(&bytes)?;
    let evidence = evidence::write(&kept, (&bytes, &audited), out, now_ms())?;
    let own = evidence.record.attempts.iter().filter(|attempt| attempt.own.is_some()).count();
    println!(
        "{}: {} entries of the record, {own} with a contribution of `{}`; begin with README.md",
        out.display(),
        evidence.record.attempts.len(),
        evidence.house.name
    );
    Ok(())
}

fn fetched(kept: &Kept) -> Result<Vec<u8>, Failure> {
    let Some(roster) = &kept.roster else {
        return Err(Failure::usage("no roster is pinned yet: there is no record before the first `run`"));
    };
    Ok(runtime()?.block_on(record::fetch(&kept.identity, &kept.config, roster))?)
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let none = || Failure::usage(format!("{}: there is no such file", file.display()));
    files::read(file, MAX_FILE_BYTES).map_err(Failure::usage)?.ok_or_else(none)
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        Self::failed(error)
    }
}

impl From<EvidenceError> for Failure {
    fn from(error: EvidenceError) -> Self {
        match error {
            EvidenceError::Exists(_) => Self::usage(error),
            _ => Self::failed(error),
        }
    }
}
