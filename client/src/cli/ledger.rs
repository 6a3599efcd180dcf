//! `ledger`.

use std::path::Path;

use comfy_table::{Table, presets};
use privacy::{Ledger, accountant};
use serde_json::json;

use super::Failure;
use crate::identity::Identity;
use crate::round::RunError;
use crate::store;

pub(super) fn run(dir: &Path, as_json: bool) -> Result<(), Failure> {
    let identity = Identity::load(dir).map_err(RunError::from)?;
    let delta = identity.charter.privacy.delta;
    let Some(ledger) = open_copy(dir)? else {
        println!("{}", if as_json { "[]" } else { "nothing was spent yet" });
        return Ok(());
    };
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["round", "attempt", "rate", "noise multiplier", "submitted", "epsilon so far"]);
    let (mut lines, mut so_far) = (Vec::new(), Vec::new());
    for entry in ledger.entries() {
        so_far.push(entry.rounds());
        let epsilon = accountant::epsilon(&so_far, delta).map_err(Failure::failed)?.epsilon;
        let submitted = ledger.is_confirmed(entry);
        lines.push(json!({
            "round": entry.round,
            "attempt": entry.attempt,
            "rate": entry.rate,
            "noise_multiplier": entry.noise_multiplier,
            "submitted": submitted,
            "epsilon": epsilon,
        }));
        table.add_row([
            entry.round.to_string(),
            entry.attempt.to_string(),
            entry.rate.to_string(),
            entry.noise_multiplier.to_string(),
            if submitted { "yes" } else { "no, counts all the same" }.to_owned(),
            format!("{epsilon:.4}"),
        ]);
    }
    if as_json {
        println!("{}", serde_json::Value::Array(lines));
    } else {
        println!("{table}\n\nepsilon is stated at delta {delta:e}");
    }
    Ok(())
}

/// Epsilon that the ledger has charged; `None` when there is nothing in it.
pub(super) fn spent(dir: &Path, delta: f64) -> Result<Option<f64>, Failure> {
    let Some(ledger) = open_copy(dir)?.filter(|ledger| !ledger.entries().is_empty()) else { return Ok(None) };
    Ok(Some(ledger.epsilon(delta).map_err(Failure::failed)?.epsilon))
}

/// The ledger as it is now; a copy, so that a running client keeps its lock.
fn open_copy(dir: &Path) -> Result<Option<Ledger>, Failure> {
    let Some(bytes) = store::peek_ledger(dir).map_err(RunError::from)? else { return Ok(None) };
    let copy = dir.join("state").join(format!("ledger-copy-{}", std::process::id()));
    crate::files::write(&copy, &bytes).map_err(Failure::failed)?;
    let ledger = Ledger::open(&copy);
    // A copy that stays is only untidy.
    let _ = std::fs::remove_file(&copy);
    ledger.map(Some).map_err(Failure::failed)
}
