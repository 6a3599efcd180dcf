//! What a run ends with: results.json, logits.json and a table.

use std::path::Path;

use adapter::Adapter;
use client::progress::Seconds;
use comfy_table::Table;
use common::rows::Row;
use common::save_json;
use lora::Evaluation;
use serde::Serialize;

use crate::task::{MAX_TOKENS, Task};

/// Rows whose logits are written down, for a check against another implementation.
pub const LOGIT_ROWS: usize = 32;

/// Accuracies on rows of unseen categories.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// Share of the rows that are right.
    pub plain: f64,
    /// Mean over the chapters of the share that is right.
    #[serde(rename = "macro")]
    pub macro_: f64,
}

impl From<Evaluation> for Score {
    fn from(found: Evaluation) -> Self {
        Self { plain: found.plain, macro_: found.macro_ }
    }
}

/// The whole result.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    /// Before the first round.
    pub before: Score,
    /// After the last.
    pub after: Score,
    /// Spent at `delta`, as the hospitals' accountant counts it.
    pub epsilon: f64,
    /// The delta of it.
    pub delta: f64,
    /// Rounds that were applied.
    pub rounds: u32,
    /// Hospitals.
    pub hospitals: usize,
    /// Bytes that a hospital uploads in a round: ciphertext, sealed shares, commitments.
    pub bytes_up_per_client_round: u64,
    /// Means over rounds and hospitals, as the hospitals' programs measure them; `total` runs from one round's end to the
    /// next, the wait for the fixed time of submission included.
    pub seconds_per_round: Seconds,
    /// Noise in the sum, central DP-SGD's being 1.
    pub noise_factor: f64,
    /// The whole run, from the first process to the adapter taken home.
    pub seconds: f64,
    /// Noise multiplier that the accountant counts on.
    pub noise_multiplier: f64,
    /// How many hospitals of a round might have vanished.
    pub may_vanish: u8,
    /// Who opened the rounds' sums.
    pub policy: &'static str,
    /// What one privacy unit is.
    pub protects: &'static str,
    /// The seed of the split and of A.
    pub seed: u64,
}

/// ICD-10 rows name no patient.
pub const PROTECTS: &str = "one row, not one patient: ICD-10 rows have no patient id";

impl Results {
    /// The table a person reads.
    pub fn table(&self) -> Table {
        let seconds = self.seconds_per_round;
        let mut table = Table::new();
        table.set_header(["unseen categories", "plain", "macro"]);
        table.add_row(["before", &percent(self.before.plain), &percent(self.before.macro_)]);
        table.add_row(["after", &percent(self.after.plain), &percent(self.after.macro_)]);
        table.add_row(["epsilon", &format!("{:.2} at delta {:e}", self.epsilon, self.delta), ""]);
        table.add_row(["rounds", &self.rounds.to_string(), &format!("{} hospitals", self.hospitals)]);
        table.add_row(["bytes up", &self.bytes_up_per_client_round.to_string(), "a hospital and round"]);
        for (name, value) in [
            ("train", seconds.train),
            ("noise", seconds.noise),
            ("encrypt", seconds.encrypt),
            ("network", seconds.network),
            ("check", seconds.check),
            ("open", seconds.open),
            ("whole round", seconds.total),
        ] {
            table.add_row([name, &format!("{value:.3} s"), "a hospital and round"]);
        }
        table.add_row(["whole run", &format!("{:.0} s", self.seconds), ""]);
        table
    }

    /// Writes results.json.
    ///
    /// # Errors
    /// The file that cannot be written.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        save_json(path, self)
    }
}

/// Writes the logits of the first rows of the test file, for the script that compares them with PEFT's.
///
/// # Errors
/// A failure of the model, or a file that cannot be written.
pub fn save_logits(task: &mut Task, adapter: &Adapter, rows: &[Row], path: &Path) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Logits<'a> {
        max_tokens: u32,
        labels: &'a [String],
        texts: Vec<&'a str>,
        logits: Vec<Vec<f32>>,
    }
    task.learner.classifier.set_adapter(adapter)?;
    let count = LOGIT_ROWS.min(rows.len()).min(task.test.len());
    let logits = task.learner.classifier.logits(&task.test.pick(0..count).texts)?;
    let texts = rows.iter().take(count).map(|row| row.text.as_str()).collect();
    save_json(path, &Logits { max_tokens: MAX_TOKENS, labels: &task.labels, texts, logits })
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}
