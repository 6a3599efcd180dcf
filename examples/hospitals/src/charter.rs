//! The charter of the example's federation, as the model builder would write it.

use std::fmt::Write as _;

use crate::model;
use crate::options::Options;
use crate::plan::{COLLUDERS, DELTA, Plan};
use crate::task::{CLIPPING_NORM, INTEGER_NORM, LEARNING_RATE, LORA_ALPHA, MAX_TOKENS, MOMENTUM, R, TARGETS};

/// A house's coordinates are clamped to this many grid units before noise: 32 rows that all push one weight as hard as
/// clipping lets them.
pub const CLAMP: u64 = 32 * INTEGER_NORM;

/// Sizes of the base model, labels and houses: what the charter says besides the constants.
#[derive(Debug)]
pub struct Terms<'a> {
    /// The aggregator's public signing key, in hexadecimal.
    pub aggregator_key: &'a str,
    /// Its shape.
    pub model: &'a adapter::Model,
    /// The classes.
    pub labels: &'a [String],
    /// The houses and their numbers of rows.
    pub houses: &'a [(String, usize)],
    /// Every house's sampling rate.
    pub rate: f64,
}

/// The charter's text.
pub fn text(terms: &Terms<'_>, plan: &Plan, options: &Options) -> String {
    let houses = terms.houses.len();
    let submit_at_ms = plan.submit_at.as_millis();
    let (model, labels) = (terms.model, list(terms.labels));
    let mut text = format!(
        "\
# Written by the example `hospitals`. protocol/src/charter/sample.toml explains every key.
name = \"icd10-hospitals\"
protocol_version = 1
aggregator_key = \"{key}\"

[model]
name = \"{name}\"
sha256 = \"{sha256}\"
architecture = \"bert\"
num_hidden_layers = {layers}
hidden_size = {hidden}
intermediate_size = {intermediate}
labels = {labels}
max_tokens = {MAX_TOKENS}

[lora]
r = {R}
lora_alpha = {LORA_ALPHA}.0
target_modules = {targets}
modules_to_save = [\"classifier\"]
seed = {seed}

[optimizer]
kind = \"sgd\"
learning_rate = {LEARNING_RATE:?}
momentum = {MOMENTUM:?}

[privacy]
mode = \"record-shared\"
epsilon = {epsilon:?}
delta = {DELTA:e}
clipping_norm = {CLIPPING_NORM:?}
integer_norm = {INTEGER_NORM}
clamp = {CLAMP}
noise_multiplier = {noise:?}
colluders = {COLLUDERS}

[rounds]
count = {rounds}
min_cohort = {min_cohort}
max_cohort = {houses}
may_vanish = {may_vanish}
submit_at_ms = {submit_at_ms}
close_ms = {close_ms}
open_ms = {open_ms}
max_attempts = 3

[committee]
threshold = {threshold}

[release]
policy = \"{policy}\"
",
        key = terms.aggregator_key,
        name = model::NAME,
        sha256 = model::WEIGHTS_SHA256,
        layers = model.num_hidden_layers,
        hidden = model.hidden_size,
        intermediate = model.intermediate_size,
        targets = list(&TARGETS),
        seed = options.seed,
        epsilon = options.epsilon,
        noise = plan.noise_multiplier,
        rounds = plan.rounds,
        min_cohort = houses - usize::from(options.may_vanish).min(houses),
        may_vanish = options.may_vanish,
        close_ms = submit_at_ms + 20_000,
        open_ms = submit_at_ms + 60_000,
        threshold = threshold(houses),
        policy = options.policy.as_str(),
    );
    for (name, rows) in terms.houses {
        let _infallible = write!(
            text,
            "\n[[house]]\nname = \"{name}\"\nsampling_rate = {:?}\nnominal_batch = {}\n",
            terms.rate,
            ((*rows as f64 * terms.rate).round() as u64).max(1),
        );
    }
    text
}

/// t of k: about two thirds, so that as many members may be gone as may collude. 3 of 4, 7 of 10.
pub fn threshold(members: usize) -> usize {
    (2 * members + 1).div_ceil(3)
}

/// A TOML array of strings.
fn list<T: AsRef<str>>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(|item| toml::Value::from(item.as_ref()).to_string()).collect();
    format!("[{}]", items.join(", "))
}

/// Names of houses.
pub fn house_names(count: usize) -> Vec<String> {
    const NAMES: [&str; 4] = ["st-mary", "north-clinic", "lakeside", "county-general"];
    (0..count).map(|i| NAMES.get(i).map_or_else(|| format!("house-{}", i + 1), |name| (*name).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use clap::Parser as _;
    use privacy::NoiseShare;
    use protocol::charter::Charter;

    use super::*;

    const KEY: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn charter(houses: usize, more: &[&str]) -> Charter {
        let count = houses.to_string();
        let args = ["hospitals", "--hospitals", &count].into_iter().chain(more.iter().copied());
        let options = Options::parse_from(args);
        let share = NoiseShare::new(0.8, INTEGER_NORM, houses, 0, COLLUDERS).unwrap();
        let plan = Plan {
            rounds: 50,
            noise_multiplier: 0.8,
            cores: 2,
            threads: 1,
            submit_at: Duration::from_millis(3500),
            batch_seconds: 2.0,
            share,
        };
        let model = adapter::Model {
            architecture: adapter::Architecture::Bert,
            num_hidden_layers: 6,
            hidden_size: 384,
            intermediate_size: 1536,
            num_labels: 2,
        };
        let houses: Vec<(String, usize)> = house_names(houses).into_iter().map(|name| (name, 3000)).collect();
        let labels = ["a \"quoted\" label".to_owned(), "b".to_owned()];
        let terms = Terms { aggregator_key: KEY, model: &model, labels: &labels, houses: &houses, rate: 0.02 };
        Charter::parse(&text(&terms, &plan, &options)).unwrap()
    }

    #[test]
    fn the_charter_it_writes_is_one_and_says_what_was_asked() {
        let four = charter(4, &["--epsilon", "2.5", "--seed", "7", "--policy", "aggregator"]);
        assert_eq!((four.rounds.min_cohort, four.rounds.may_vanish, four.committee.threshold), (4, 0, 3));
        assert_eq!((four.privacy.epsilon, four.privacy.delta, four.lora.seed), (2.5, 1e-5, 7));
        assert_eq!(four.release.policy, protocol::charter::ReleasePolicy::Aggregator);
        assert_eq!(four.model.labels, ["a \"quoted\" label", "b"]);
        assert_eq!(four.houses.iter().map(|house| house.nominal_batch).sum::<u32>(), 240);
        assert_eq!(four.colluding_members_tolerated(), 1);
    }

    #[test]
    fn it_is_one_for_other_numbers_of_houses_too() {
        assert_eq!(charter(4, &["--may-vanish", "1"]).rounds.min_cohort, 3);
        for (houses, threshold, colluders) in [(3, 3, 2), (10, 7, 3), (16, 11, 5)] {
            let charter = charter(houses, &[]);
            assert_eq!(usize::from(charter.committee.threshold), threshold);
            assert_eq!(charter.colluding_members_tolerated(), colluders);
        }
    }
}
