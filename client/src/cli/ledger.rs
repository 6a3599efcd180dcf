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
    let delta = identity.charter.privacy.delta;
    let Some(ledger) = open(dir)? else {
        println!("{}", if as_json { "[]" } else { "nothing was spent yet" });
        return Ok(());
    };
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "federation",
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
    println!("{table}\n\nepsilon is stated at delta {delta:e}");
    match ledger.limit() {
        Some(Limit::Filter(filter)) => {
            println!("ceiling {}, counted at Renyi order {}", filter.ceiling(), filter.order());
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

/// Epsilon that the ledger has charged; `None` when there is nothing in it.
pub(super) fn spent(dir: &Path, delta: f64) -> Result<Option<f64>, Failure> {
    let Some(ledger) = open(dir)?.filter(|ledger| !ledger.entries().is_empty()) else { return Ok(None) };
    Ok(Some(ledger.epsilon(delta).map_err(Failure::failed)?.epsilon))
}

/// The ledger, whether a client runs or not; `None` where there is none yet.
fn open(dir: &Path) -> Result<Option<Ledger>, Failure> {
    let path = Config::load(dir).map_err(Failure::usage)?.ledger_path(&dir.join("state"));
    if path.exists() { Ledger::open(&path).map(Some).map_err(Failure::failed) } else { Ok(None) }
}
