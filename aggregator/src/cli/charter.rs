//! `charter new` and `charter check`: a contract to begin with, and what one costs before anybody joins.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand, ValueEnum};
use privacy::accountant::{Accountant, group_epsilon};
use protocol::Charter;
use protocol::charter::{PrivacyMode, SAMPLE};
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub(super) enum CharterCommand {
    /// Write a charter in which every key is explained, to be edited.
    New(New),
    /// Say what a charter costs: epsilon, bytes and seconds of a round, who may be absent, how many may collude; and what in it is unwise.
    Check(Check),
}

#[derive(Debug, Args)]
pub(super) struct New {
    /// The file to write; one that is there is refused.
    file: PathBuf,
    /// What the houses' rows are for.
    #[arg(long, value_enum)]
    template: Template,
    /// The base model, a Hugging Face folder or a hub id, which is fetched: its section is filled in. Default for `classification`: all-MiniLM-L6-v2.
    #[arg(long, required_if_eq("template", "instruct"))]
    model: Option<String>,
    /// A house's name; once for each. Default: four to be renamed.
    #[arg(long = "house", value_name = "NAME")]
    houses: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Template {
    /// Labels of texts.
    Classification,
    /// A language model that learns completions of prompts.
    Instruct,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    /// The charter.
    file: PathBuf,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

pub(super) async fn charter(command: CharterCommand) -> anyhow::Result<()> {
    match command {
        CharterCommand::New(args) => new(args).await,
        CharterCommand::Check(args) => tokio::task::spawn_blocking(move || check(&args)).await?,
    }
}

async fn new(args: New) -> anyhow::Result<()> {
    let file = args.file.display();
    ensure!(!args.file.exists(), "{file} is there already; name another file");
    let mut text = SAMPLE.to_owned();
    if let Some(model) = args.model {
        text = put_section(&text, "[model]\n", "[lora]\n", &super::digest::section_of(model).await?)?;
    }
    if matches!(args.template, Template::Instruct) {
        text = replace(&text, "target_modules = [\"query\", \"value\"]", "target_modules = [\"q_proj\", \"v_proj\"]")?;
        text = replace(&text, "modules_to_save = [\"classifier\"]", "modules_to_save = []")?;
    } else {
        text = text.replace("# labels = [\"first\"", "labels = [\"first\"");
    }
    if !args.houses.is_empty() {
        text = with_houses(&text, &args.houses)?;
    }
    let charter = Charter::parse(&text)?;
    terms::check(&charter)?;
    std::fs::write(&args.file, &text).with_context(|| format!("cannot write {file}"))?;
    println!("{file}: edit it, then `plainchant-aggregator charter check {file}`, then `init DIR --charter {file}`");
    Ok(())
}

/// The text between two headings, the first included, is another's.
fn put_section(text: &str, from: &str, to: &str, section: &str) -> anyhow::Result<String> {
    let parts = text.split_once(from).and_then(|(before, rest)| Some((before, rest.split_once(to)?.1)));
    let (before, after) = parts.context("the sample charter has other sections")?;
    Ok(format!("{before}{section}\n{to}{after}"))
}

fn replace(text: &str, from: &str, to: &str) -> anyhow::Result<String> {
    ensure!(text.contains(from), "the sample charter has no `{from}`");
    Ok(text.replace(from, to))
}

/// These houses, of which one may be absent where that leaves enough.
fn with_houses(text: &str, houses: &[String]) -> anyhow::Result<String> {
    let count = houses.len();
    ensure!(count >= 3, "{count} houses are too few to hide one of them: at least 3");
    let absent = usize::from(count > 3);
    let (before, _) = text.split_once("[[house]]").context("the sample charter has no houses")?;
    let after = text.find("# Trustees hold").and_then(|at| text.get(at..)).unwrap_or_default();
    let mut text = before.to_owned();
    for (key, old, new) in [
        // Everybody but who may be absent and who may vanish: more would wait for ever.
        ("min_cohort", 3, 3.max(count - 2 * absent)),
        ("max_cohort", 4, count),
        ("may_vanish", 1, absent),
        ("threshold", 3, (count - absent).max(count / 2 + 1)),
    ] {
        text = replace(&text, &format!("\n{key} = {old}\n"), &format!("\n{key} = {new}\n"))?;
    }
    for house in houses {
        text += &format!("[[house]]\nname = {house:?}\nsampling_rate = 0.02\nnominal_batch = 64\n\n");
    }
    Ok(text + after)
}

fn check(args: &Check) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let charter = Charter::parse(&text)?;
    terms::check(&charter)?;
    let (facts, warnings) = (facts(&charter)?, warnings(&charter));
    if args.json {
        let all: serde_json::Map<String, Value> =
            facts.into_iter().map(|fact| (fact.key.to_owned(), fact.value)).collect();
        println!("{}", json!({ "charter": all, "warnings": warnings }));
        return Ok(());
    }
    for fact in facts {
        println!("{:<22} {}", fact.what, fact.text);
    }
    for warning in warnings {
        println!("warning: {warning}");
    }
    Ok(())
}

/// One line.
struct Fact {
    key: &'static str,
    what: &'static str,
    text: String,
    value: Value,
}

fn fact(key: &'static str, what: &'static str, text: String, value: impl Into<Value>) -> Fact {
    Fact { key, what, text, value: value.into() }
}

fn facts(charter: &Charter) -> anyhow::Result<Vec<Fact>> {
    let (rounds, privacy) = (&charter.rounds, &charter.privacy);
    let count = terms::Terms::of(charter)?.first_state()?.update_len();
    let charged = charter.charged_rounds();
    let (k, t) = (charter.committee_size(), usize::from(charter.committee.threshold));
    let mut facts = vec![
        fact("digest", "digest", charter.digest().to_string(), charter.digest().to_string()),
        fact("values", "values trained", count.to_string(), count as u64),
        fact("rounds", "rounds", format!("{}, and {charged} attempts are charged", rounds.count), rounds.count),
    ];
    match privacy.mode {
        PrivacyMode::None => facts.push(fact("epsilon", "epsilon", "NO PRIVACY: mode `none`".to_owned(), Value::Null)),
        _ => facts.extend(epsilons(charter, count)?),
    }
    let layout =
        terms::layout(charter, terms::fullest_round(charter), rounds.max_cohort as usize, rounds.may_vanish, count)?;
    let (up, sum) = (terms::most_sent_bytes(charter)?, 2 * layout.contribution_bytes() as u64);
    let passing = up.saturating_mul(u64::from(rounds.max_cohort));
    let kept = (sum / 2).saturating_mul(u64::from(rounds.count));
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let absent = rounds.max_cohort - rounds.smallest_expected().min(rounds.max_cohort);
    facts.extend([
        fact(
            "bytes_up",
            "sent by a house",
            format!(
                "at most {:.2} MiB for an attempt of a round: {up} bytes, shares and commitments with them",
                mib(up)
            ),
            up,
        ),
        fact(
            "bytes_down",
            "received by a house",
            format!("at most {:.2} MiB of the sum a round, and the cohort's lists", mib(sum)),
            sum,
        ),
        fact(
            "disk",
            "disk of the aggregator",
            format!(
                "{:.1} MiB while a round runs; after each, {:.2} MiB of its sum stay until the end: {:.1} MiB in all, beside answers and messages",
                mib(passing),
                mib(sum / 2),
                mib(kept)
            ),
            passing.saturating_add(kept),
        ),
        fact(
            "seconds",
            "seconds of a round",
            format!(
                "{:.0} until contributions leave, {:.0} until the cohort is fixed, {:.0} until it is given up",
                seconds(rounds.submit_at_ms),
                seconds(rounds.close_ms),
                seconds(rounds.open_ms)
            ),
            seconds(rounds.close_ms),
        ),
        fact(
            "may_be_absent",
            "houses absent",
            format!(
                "{absent} of {} when a round begins, {} more while it runs; at least {} are in a sum",
                rounds.max_cohort, rounds.may_vanish, rounds.min_cohort
            ),
            absent,
        ),
        fact(
            "committee",
            "committee",
            format!(
                "{t} of {k} open a sum: {} may be missing, {} may collude with the aggregator",
                k - t,
                charter.colluding_members_tolerated()
            ),
            json!({ "members": k, "threshold": t, "may_collude": charter.colluding_members_tolerated() }),
        ),
        fact(
            "colluders",
            "colluding houses",
            format!("{} of a cohort keep the guarantee", privacy.colluders),
            privacy.colluders,
        ),
    ]);
    Ok(facts)
}

/// Epsilon of the whole run, for the house that pays most, as both accountants count it, and for somebody with several units.
fn epsilons(charter: &Charter, count: usize) -> anyhow::Result<Vec<Fact>> {
    let privacy = &charter.privacy;
    let rate = charter.houses.iter().map(|house| house.sampling_rate).fold(0.0, f64::max);
    let given = terms::epsilon(charter, rate, count)?;
    let mut facts = vec![fact(
        "epsilon",
        "epsilon",
        format!(
            "{given:.3} of {} at delta {:e}, for the house that samples most ({rate})",
            privacy.epsilon, privacy.delta
        ),
        given,
    )];
    let smallest = charter.rounds.smallest_expected();
    let run = terms::whole_run(charter, rate, smallest, count);
    for (accountant, key, what) in
        [(Accountant::Rdp, "epsilon_rdp", "  by Renyi"), (Accountant::Pld, "epsilon_pld", "  by loss distributions")]
    {
        // Not every accountant can state every run.
        if let Ok(epsilon) = accountant.epsilon(&run, privacy.delta) {
            facts.push(fact(key, what, format!("{epsilon:.3}"), epsilon));
        }
    }
    for (size, key, what) in
        [(2, "epsilon_of_2", "  of 2 units together"), (8, "epsilon_of_8", "  of 8 units together")]
    {
        if let Ok(group) = group_epsilon(&run, privacy.delta, size) {
            facts.push(fact(key, what, format!("{:.3}", group.epsilon), group.epsilon));
        }
    }
    Ok(facts)
}

/// What works and is not wise, by key.
fn warnings(charter: &Charter) -> Vec<String> {
    let (rounds, privacy) = (&charter.rounds, &charter.privacy);
    let (k, t) = (charter.committee_size(), usize::from(charter.committee.threshold));
    let expected = f64::from(rounds.max_cohort);
    let honest = expected - f64::from(rounds.may_vanish) - f64::from(privacy.colluders);
    let dearer = 100.0 * ((expected / honest.max(1.0)).sqrt() - 1.0);
    let all = [
        (privacy.mode == PrivacyMode::None, "privacy.mode is `none`: nothing protects single rows; for comparisons only".to_owned()),
        (privacy.epsilon > 10.0, format!("privacy.epsilon is {}: above 10 the guarantee says little", privacy.epsilon)),
        (privacy.delta > 1e-4, format!("privacy.delta is {:e}: it should be well below one over the number of units", privacy.delta)),
        (
            privacy.mode == PrivacyMode::RecordShared && dearer > 50.0,
            format!("rounds.may_vanish and privacy.colluders: a full cohort's sum has {dearer:.0}% more noise than central DP-SGD; more houses, or fewer that may vanish, cost less"),
        ),
        (rounds.may_vanish == 0, "rounds.may_vanish is 0: one house that is lost after the announcement ends the attempt, which is charged".to_owned()),
        (
            rounds.smallest_expected() >= rounds.max_cohort,
            "rounds.min_cohort and rounds.may_vanish: no house may be absent when a round begins; one that leaves or is revoked ends the federation".to_owned(),
        ),
        (
            charter.charged_rounds() == rounds.count,
            "rounds.charged is rounds.count: one failed attempt ends the federation a round early".to_owned(),
        ),
        (k == t, format!("committee.threshold is {t} of {t}: one missing member stops every opening; a trustee buys that back")),
        (
            charter.colluding_members_tolerated() == 0,
            "committee.threshold: one member that colludes with the aggregator can open two sets of a round; a higher one tolerates more".to_owned(),
        ),
        (
            rounds.close_ms < rounds.submit_at_ms + 10_000,
            "rounds.close_ms: less than 10 s between the departure of contributions and the close; slow networks will be late".to_owned(),
        ),
    ];
    all.into_iter().filter(|(holds, _)| *holds).map(|(_, text)| text).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_sample_costs_what_its_ledgers_will_hold_and_bytes_are_the_layouts() {
        let charter = Charter::parse(SAMPLE).unwrap();
        let facts = facts(&charter).unwrap();
        let value = |key: &str| facts.iter().find(|fact| fact.key == key).unwrap().value.clone();
        let count = value("values").as_u64().unwrap() as usize;
        assert_eq!(value("epsilon").as_f64().unwrap(), terms::epsilon(&charter, 0.02, count).unwrap());
        assert!(value("epsilon_pld").as_f64().unwrap() < value("epsilon_rdp").as_f64().unwrap());
        assert!(value("epsilon_of_8").as_f64().unwrap() > 8.0 * value("epsilon_of_2").as_f64().unwrap() / 2.0);
        // Two to four bytes a value.
        let bytes = value("bytes_up").as_u64().unwrap() as usize;
        assert!((2 * count..6 * count).contains(&bytes), "{bytes} for {count}");
        // All four, or without one.
        assert_eq!((value("may_be_absent").as_u64(), value("committee")["may_collude"].as_u64()), (Some(0), Some(1)));
    }

    #[test]
    fn what_is_unwise_is_named_by_its_key() {
        let of = |changes: &[(&str, &str)]| {
            let text = changes.iter().fold(SAMPLE.to_owned(), |text, (from, to)| {
                assert!(text.contains(from), "{from}");
                text.replace(from, to)
            });
            warnings(&Charter::parse(&text).unwrap_or_else(|error| panic!("{changes:?}: {error}"))).join("\n")
        };
        assert!(of(&[]).contains("rounds.charged") && !of(&[]).contains("privacy."));
        for (changes, key) in [
            (
                &[
                    ("mode = \"record-shared\"", "mode = \"none\""),
                    ("\nepsilon = 3.0", "\nepsilon = 0.0"),
                    ("delta = 1e-5", "delta = 0.0"),
                    ("noise_multiplier = 0.81", "noise_multiplier = 0.0"),
                ][..],
                "privacy.mode",
            ),
            (&[("\nepsilon = 3.0", "\nepsilon = 30.0")], "privacy.epsilon"),
            (&[("delta = 1e-5", "delta = 1e-3")], "privacy.delta"),
            (&[("may_vanish = 1", "may_vanish = 0")], "rounds.may_vanish is 0"),
            (&[], "no house may be absent"),
            (&[("threshold = 3", "threshold = 4")], "committee.threshold is 4 of 4"),
            (&[("close_ms = 60000", "close_ms = 31000")], "rounds.close_ms"),
        ] {
            assert!(of(changes).contains(key), "{key}: {}", of(changes));
        }
    }

    #[test]
    fn houses_of_ones_own_make_a_charter_that_can_run() {
        for count in 3..9 {
            let houses: Vec<String> = (0..count).map(|i| format!("house-{i}")).collect();
            let charter = Charter::parse(&with_houses(SAMPLE, &houses).unwrap()).unwrap();
            terms::check(&charter).unwrap();
            assert_eq!(charter.houses.len(), count);
            assert_eq!(charter.rounds.max_cohort as usize, count);
            assert!(usize::from(charter.committee.threshold) * 2 > count);
        }
        assert!(with_houses(SAMPLE, &["a".to_owned(), "b".to_owned()]).is_err());
    }
}
