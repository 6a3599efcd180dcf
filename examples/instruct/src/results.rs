//! What a run ends with: results.json, said.json and a table.

use client::progress::Seconds;
use comfy_table::Table;
use serde::Serialize;

use crate::judge::{Said, Score};

/// Answers that are shown.
const SAMPLES: usize = 5;

/// The whole result.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    /// Before the first round.
    pub before: Score,
    /// After the last.
    pub after: Score,
    /// Rows of unseen categories that were asked.
    pub asked: usize,
    /// Spent at `delta`, as the companies' accountant counts it.
    pub epsilon: f64,
    /// The delta of it.
    pub delta: f64,
    /// Rounds that were applied.
    pub rounds: u32,
    /// Companies.
    pub companies: usize,
    /// Weights that were trained.
    pub trained_weights: usize,
    /// Bytes that a company uploads in a round: ciphertext, sealed shares, commitments.
    pub bytes_up_per_client_round: u64,
    /// Means over rounds and companies; `total` runs from one round's end to the next.
    pub seconds_per_round: Seconds,
    /// The whole run, from the first process to the adapter taken home.
    pub seconds: f64,
    /// Noise in the sum, central DP-SGD's being 1.
    pub noise_factor: f64,
    /// Noise multiplier that the accountant counts on.
    pub noise_multiplier: f64,
    /// What one privacy unit is.
    pub protects: &'static str,
    /// The seed of the split and of A.
    pub seed: u64,
}

/// All answers, for a check against another implementation.
#[derive(Debug, Serialize)]
pub struct Sayings<'a> {
    /// Before the first round.
    pub before: &'a [Said],
    /// After the last.
    pub after: &'a [Said],
}

impl Results {
    /// The table a person reads.
    #[must_use]
    pub fn table(&self) -> Table {
        let seconds = self.seconds_per_round;
        let mut table = Table::new();
        table.set_header([&format!("{} rows of unseen categories", self.asked), "perplexity", "exact match"]);
        for (name, score) in [("before", self.before), ("after", self.after)] {
            table.add_row([name, &format!("{:.2}", score.perplexity), &format!("{:.1}%", score.exact * 100.0)]);
        }
        table.add_row(["epsilon", &format!("{:.2} at delta {:e}", self.epsilon, self.delta), ""]);
        table.add_row(["rounds", &self.rounds.to_string(), &format!("{} companies", self.companies)]);
        table.add_row(["trained weights", &self.trained_weights.to_string(), ""]);
        table.add_row(["bytes up", &self.bytes_up_per_client_round.to_string(), "a company and round"]);
        for (name, value) in [("train", seconds.train), ("encrypt", seconds.encrypt), ("whole round", seconds.total)] {
            table.add_row([name, &format!("{value:.2} s"), "a company and round"]);
        }
        table.add_row(["whole run", &format!("{:.0} s", self.seconds), ""]);
        table
    }
}

/// A few answers, before and after.
#[must_use]
pub fn samples(before: &[Said], after: &[Said]) -> Table {
    let mut table = Table::new();
    table.set_header(["asked", "before", "after", ""]);
    for i in 0..SAMPLES.min(before.len()) {
        let index = i * before.len() / SAMPLES;
        if let (Some(first), Some(last)) = (before.get(index), after.get(index)) {
            let short: String = first.said.chars().take(60).collect();
            let verdict = if last.is_exact() { "right" } else { "wrong" };
            table.add_row([first.prompt.as_str(), &short, &last.said, verdict]);
        }
    }
    table
}
