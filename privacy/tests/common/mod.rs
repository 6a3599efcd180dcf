//! What Google's dp-accounting gives, as `scripts/dp_accounting_grid.py` wrote it down.
#![allow(dead_code, reason = "each test binary uses a part of this")]
#![expect(clippy::unwrap_used, reason = "tests")]

use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Fixture {
    pub(crate) version: String,
    pub(crate) settings: Vec<Setting>,
    pub(crate) mixed: Mixed,
}

#[derive(Deserialize, Debug)]
pub(crate) struct Setting {
    pub(crate) rate: f64,
    pub(crate) noise: f64,
    pub(crate) steps: u64,
    pub(crate) delta: f64,
    /// RdpAccountant's.
    pub(crate) epsilon: f64,
    /// The same orders and conversion, the divergences by numerical integration.
    pub(crate) integrated: f64,
    /// By privacy-loss distributions, on a fine grid.
    pub(crate) pld: f64,
}

#[derive(Deserialize)]
pub(crate) struct Mixed {
    pub(crate) delta: f64,
    pub(crate) epsilon: f64,
}

pub(crate) fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/dp_accounting.json")).unwrap()
}
