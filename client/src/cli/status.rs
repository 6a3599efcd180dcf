//! `status`, and the charter in a few lines.

use std::fmt::Write as _;
use std::path::Path;

use protocol::charter::{PrivacyMode, ReleasePolicy};
use protocol::{Charter, HouseName};
use serde_json::json;
use terms::MetricsRelease;

use super::{Failure, ledger};
use crate::config::Config;
use crate::hours::{Hours, OutsideHours, WallTime};
use crate::identity::Identity;
use crate::round::RunError;
use crate::standing::Standing;
use crate::store;

pub(super) fn run(dir: &Path, as_json: bool) -> Result<(), Failure> {
    let identity = Identity::load(dir).map_err(RunError::from)?;
    let memory = store::peek_memory(dir).map_err(RunError::from)?;
    let next_round = memory.as_ref().map(|memory| memory.next_round);
    let (charter, name) = (&identity.charter, identity.name());
    let (done, over) =
        (next_round.map_or(0, |round| round.get() - 1), memory.as_ref().is_some_and(|memory| memory.over));
    let spent = ledger::spent(dir, &identity)?;
    // It is there to be looked at: all else is said without it.
    let metrics = match next_round {
        Some(round) => store::peek_metrics(dir, round).map_err(|error| error.to_string()),
        None => Ok(Vec::new()),
    };
    let standing = Standing::read(&dir.join("state")).map_err(RunError::from)?;
    // A client.toml that can not be read is `doctor`'s to say.
    let kept_hours = Config::load(dir).ok().and_then(|config| config.policy.hours);
    if as_json {
        let value = json!({
            "name": name.as_str(),
            "federation": charter.name.as_str(),
            "charter": charter.digest().to_string(),
            "rounds_applied": done,
            "rounds": charter.rounds.count,
            "ended_early": over,
            "standing": standing.name(),
            "within_hours": kept_hours.as_ref().map(|hours| hours.have(WallTime::now().minute)),
            "epsilon_spent": spent.map(|(epsilon, _)| epsilon),
            "epsilon_spent_delta": spent.map(|(_, delta)| delta),
            "epsilon": charter.privacy.epsilon,
            "delta": charter.privacy.delta,
            "metrics": metrics.ok(),
        });
        println!("{value}");
        return Ok(());
    }
    println!("{}", summary(charter, name));
    let end = if over { ", and over: no lower loss for as long as the charter's patience" } else { "" };
    println!("\nrounds applied   {done} of {}{end}", charter.rounds.count);
    println!("this house       {}", standing.name());
    if let Some(hours) = &kept_hours {
        println!("hours            {}", self::hours(hours));
    }
    if let Some((spent, delta)) = spent {
        println!(
            "epsilon so far   {spent:.3} at delta {delta:e}; whatever is decided from results, `ledger` says what holds"
        );
    }
    match (metrics, MetricsRelease::of(charter)) {
        (_, MetricsRelease::Nobody) => println!("metrics          the charter has no evaluations"),
        (Err(error), _) => println!("metrics          {error}"),
        (Ok(points), _) if charter.house(name).is_none() && points.is_empty() => {
            println!("metrics          houses open sums; this member does not");
        }
        (Ok(points), _) if points.is_empty() => println!("metrics          no round with an evaluation is applied yet"),
        (Ok(points), _) => {
            println!(
                "\nmetrics of held-out units, as the sums that this house opened say: noisy estimates, \"noise\" is one standard deviation"
            );
            points.iter().for_each(|point| println!("  {point}"));
        }
    }
    Ok(())
}

/// Whether the policy in `client.toml` takes a charter.
pub(super) fn policy(dir: &Path, charter: &Charter) -> String {
    match Config::load(dir) {
        Err(error) => format!("NOT KNOWN: {error}"),
        Ok(config) => match config.policy.check(charter) {
            Ok(()) => "takes this charter".to_owned(),
            Err(refused) => format!("REFUSES this charter: {refused}"),
        },
    }
}

/// Whether a house with these hours trains now, in words.
pub(super) fn hours(hours: &Hours) -> String {
    let now = WallTime::now();
    match hours.check(now) {
        Ok(()) => format!("{hours}, and it is {now}: within them"),
        Err(OutsideHours { next, .. }) => format!("{hours}, and it is {now}: outside of them until {next}"),
    }
}

/// The terms of a charter, as its members need to know them.
pub(super) fn summary(charter: &Charter, name: &HouseName) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{key:<16} {value}");
    };
    let house = charter.house(name);
    line(
        "member",
        format!("{name} ({})", if house.is_some() { "house" } else { "trustee: holds key shares, no data" }),
    );
    line("federation", charter.name.to_string());
    line("charter", charter.digest().to_string());
    line("model", format!("{}, LoRA rank {}", charter.model.name, charter.lora.r));
    line("weights", format!("SHA-256 {}", charter.model.sha256));
    line("privacy", privacy(charter));
    if let Some(house) = house {
        line("sampling rate", format!("{} of this house's units a round", house.sampling_rate));
    }
    line("unit", "one row, not one patient, unless client.toml names a unit_column".to_owned());
    let rounds = &charter.rounds;
    line(
        "rounds",
        format!(
            "{} of {} to {} houses; {} may vanish",
            rounds.count, rounds.min_cohort, rounds.max_cohort, rounds.may_vanish
        ),
    );
    let (k, t, c) = (charter.committee_size(), charter.committee.threshold, charter.colluding_members_tolerated());
    line(
        "committee",
        format!("k = {k} members hold key shares, t = {t} open a sum, c = {c} may collude with the aggregator"),
    );
    line("colluders", format!("m = {} houses of a cohort may collude", charter.privacy.colluders));
    line(
        "release",
        match charter.release.policy {
            ReleasePolicy::Aggregator => "the model builder opens each round's noised sum".to_owned(),
            ReleasePolicy::Clients => "only the houses open sums".to_owned(),
        },
    );
    text.trim_end().to_owned()
}

fn privacy(charter: &Charter) -> String {
    let privacy = &charter.privacy;
    let (expected, vanish) = (charter.rounds.max_cohort, charter.rounds.may_vanish);
    match privacy.mode {
        PrivacyMode::None => "NONE: updates are encrypted, but nothing hides one record in the sum".to_owned(),
        mode => format!(
            "{}: epsilon {} at delta {:e}; noise {:.2} times central DP-SGD's",
            mode.as_str(),
            privacy.epsilon,
            privacy.delta,
            charter.noise_factor(expected, vanish)
        ),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_summary_names_epsilon_committee_colluders_and_noise() {
        let charter = Charter::parse(protocol::charter::SAMPLE).unwrap();
        let text = summary(&charter, &HouseName::new("lakeside").unwrap());
        for part in
            ["epsilon 3 at delta 1e-5", "1.41 times", "k = 4", "t = 3", "c = 1", "m = 1", "one row, not one patient"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
