//! `ledger`.

use std::path::Path;

use comfy_table::{Table, presets};
use privacy::{Kind, Ledger, Limit, accountant};
use protocol::Digest;
use serde_json::json;

use super::Failure;
use crate::config::Config;
use crate::identity::Identity;
use crate::round::RunError;

pub(super) fn run(dir: &Path, as_json: bool) -> Result<(), Failure> {
    let identity = Identity::load(dir).map_err(RunError::from)?;
    let Some(ledger) = open(dir)? else {
        println!("{}", if as_json { "[]" } else { "nothing was spent yet" });
        return Ok(());
    };
    let delta = delta_of(&ledger, &identity);
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "federation",
        "house",
        "round",
        "attempt",
        "for",
        "rate",
        "noise multiplier",
        "submitted",
        "epsilon so far",
    ]);
    let (mut lines, mut so_far) = (Vec::new(), Vec::new());
    for entry in ledger.entries() {
        so_far.push(entry.rounds());
        let epsilon = match ledger.limit() {
            Some(Limit::Plan(plan)) => plan.epsilon(),
            _ => accountant::epsilon(&so_far, delta).map_err(Failure::failed)?.epsilon,
        };
        let submitted = ledger.is_confirmed(entry);
        let (federation, kind) = (Digest::from_bytes(entry.federation).to_string(), kind_name(entry.kind));
        lines.push(json!({
            "federation": federation,
            "house": entry.house,
            "round": entry.round,
            "attempt": entry.attempt,
            "kind": kind,
            "rate": entry.rate,
            "noise_multiplier": entry.noise_multiplier,
            "submitted": submitted,
            "epsilon": epsilon,
        }));
        table.add_row([
            federation.get(..8).unwrap_or_default().to_owned(),
            entry.house.clone(),
            entry.round.to_string(),
            entry.attempt.to_string(),
            kind.to_owned(),
            entry.rate.to_string(),
            entry.noise_multiplier.to_string(),
            if submitted { "yes" } else { "no, counts all the same" }.to_owned(),
            format!("{epsilon:.4}"),
        ]);
    }
    if as_json {
        println!("{}", serde_json::Value::Array(lines));
        return Ok(());
    }
    if ledger.is_unprotected() {
        println!("rows of this data left in sums WITHOUT noise (mode `none`): nothing is promised for them");
        return Ok(());
    }
    println!("{table}\n\nepsilon is stated at delta {delta:e}");
    if let Some(unit) = ledger.unit() {
        println!("it protects {unit}");
    }
    match ledger.limit() {
        Some(Limit::Filter(filter)) => {
            println!(
                "\"epsilon so far\" is that of a run whose length was fixed beforehand; whatever is decided from results, the ceiling of {} holds (counted at Renyi order {})",
                filter.ceiling(),
                filter.order()
            );
        }
        Some(limit @ Limit::Plan(plan)) => {
            println!(
                "only for this charter's rounds, which cost {:.4} all together; ceiling {}",
                plan.epsilon(),
                limit.ceiling()
            );
        }
        None => {}
    }
    let head = ledger.head();
    println!(
        "{} lines, all as they were written; the last one's digest is {}",
        head.lines,
        Digest::from_bytes(head.digest)
    );
    Ok(())
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Training => "training",
        Kind::Evaluation => "evaluation",
    }
}

/// Epsilon that the ledger has charged, and its delta; `None` when there is nothing in it.
pub(super) fn spent(dir: &Path, identity: &Identity) -> Result<Option<(f64, f64)>, Failure> {
    let Some(ledger) = open(dir)?.filter(|ledger| !ledger.entries().is_empty()) else { return Ok(None) };
    let delta = delta_of(&ledger, identity);
    Ok(Some((ledger.epsilon(delta).map_err(Failure::failed)?.epsilon, delta)))
}

/// The delta that the ledger's limit was fixed at.
fn delta_of(ledger: &Ledger, identity: &Identity) -> f64 {
    ledger.limit().map_or(identity.charter.privacy.delta, Limit::delta)
}

/// The ledger, whether a client runs or not; `None` where there is none yet.
fn open(dir: &Path) -> Result<Option<Ledger>, Failure> {
    let path = Config::load(dir).map_err(Failure::usage)?.ledger_path(&dir.join("state"));
    if path.exists() { Ledger::open(&path).map(Some).map_err(Failure::failed) } else { Ok(None) }
}
