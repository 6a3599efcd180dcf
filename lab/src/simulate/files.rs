//! A run's folder: what it goes on from, and what it holds when it is whole.

use std::path::PathBuf;

use protocol::Digest;
use serde::{Deserialize, Serialize};

use super::SimulateError;
use super::run::{Finished, Run};
use crate::rows::{CurveRow, RunRow};
use crate::table;

/// The file that says which plan's results a folder holds: its digest.
const PLAN: &str = "plan.sha256";

/// What a stopped run goes on from.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The plan's digest: another plan does not go on here.
    pub(super) plan: String,
    pub(super) round: u32,
    pub(super) state: String,
    pub(super) bytes_up: u64,
    pub(super) seconds: f64,
}

impl Run<'_> {
    /// What a folder holds that is whole already, if it is of this plan.
    pub(super) fn finished(&self) -> Result<Option<Finished>, SimulateError> {
        let file = self.folder.join("run.json");
        if !file.exists() {
            return Ok(None);
        }
        let of = std::fs::read_to_string(self.folder.join(PLAN)).unwrap_or_default();
        if of.trim() != self.digest()? {
            return Err(self.foreign());
        }
        let runs: Vec<RunRow> = table::read(&file)?;
        let curve = table::read(&self.folder.join("curve.json"))?;
        let clients = table::read(&self.folder.join("clients.json"))?;
        Ok(Some(Finished { runs, curve, clients }))
    }

    pub(super) fn state_file(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    pub(super) fn foreign(&self) -> SimulateError {
        SimulateError::Foreign(self.folder.display().to_string())
    }

    /// Of all that the plan says of this run; other modes and seeds beside it change nothing.
    pub(super) fn digest(&self) -> Result<String, SimulateError> {
        let mut own = self.plan.clone();
        (own.privacy.modes, own.training.seeds) = (vec![self.mode], vec![self.seed]);
        Ok(Digest::sha256(&serde_json::to_vec(&own).map_err(SimulateError::internal)?).to_string())
    }

    /// Says whose results the folder holds.
    pub(super) fn name_plan(&self, plan: &str) -> Result<(), SimulateError> {
        Ok(table::write_file(&self.folder.join(PLAN), plan.as_bytes())?)
    }

    pub(super) fn kept(&self, plan: &str) -> Result<Option<Kept>, SimulateError> {
        let Ok(text) = std::fs::read_to_string(self.state_file()) else { return Ok(None) };
        let kept: Kept = serde_json::from_str(&text).map_err(|_| self.foreign())?;
        if kept.plan == plan { Ok(Some(kept)) } else { Err(self.foreign()) }
    }

    pub(super) fn keep(&self, kept: &Kept, curve: &[CurveRow]) -> Result<(), SimulateError> {
        table::write(&self.folder, "curve", curve)?;
        let text = serde_json::to_vec(kept).map_err(SimulateError::internal)?;
        Ok(table::write_file(&self.state_file(), &text)?)
    }
}
