//! The page: the same as the JSON, to read.

use super::facts::{DataSet, Evidence, Own};
use crate::html::{Page, date};

/// The page as one text.
pub(super) fn page(evidence: &Evidence) -> String {
    let Evidence { house, federation, .. } = evidence;
    let mut page = Page::new(&format!("Evidence of {} in {federation}", house.name));
    page.note(&format!(
        "Made {} by {}. This page is for reading; evidence.json says the same and is signed by the key with SHA-256 {}. README.md says how to verify it.",
        date(evidence.made_at_ms),
        evidence.software.program,
        house.key_sha256
    ));
    contract(&mut page, evidence);
    spent(&mut page, evidence);
    took_part(&mut page, evidence);
    attempts(&mut page, evidence);
    page.finish()
}

fn contract(page: &mut Page, evidence: &Evidence) {
    let (policy, terms, software) = (&evidence.policy, &evidence.terms, &evidence.software);
    let pinned = |approved, taken: &str| match (approved, taken) {
        (true, _) => "approved in client.toml",
        (false, "any") => "client.toml takes any",
        (false, "") => "client.toml approves none",
        (false, _) => "client.toml names ANOTHER",
    };
    page.heading("Contract in force");
    let (committee, threshold) = (terms.committee, terms.threshold);
    page.facts(&[
        ("charter", format!("{} ({})", evidence.charter.digest, pinned(evidence.charter.approved, &policy.approve))),
        ("roster", format!("{} ({})", evidence.roster.digest, pinned(evidence.roster.approved, &policy.roster))),
        ("base model", format!("{}, weights {}", software.model, software.model_sha256)),
        (
            "privacy",
            format!(
                "{}: epsilon {} at delta {:e} for the whole run, noise multiplier {}, with up to {} colluding houses",
                terms.mode, terms.epsilon, terms.delta, terms.noise_multiplier, terms.colluders
            ),
        ),
        (
            "rounds",
            format!(
                "{} of {} to {} houses; {} may vanish",
                terms.rounds, terms.min_cohort, terms.max_cohort, terms.may_vanish
            ),
        ),
        ("opening", format!("{threshold} of {committee} members; release policy {}", terms.release)),
        ("software", format!("{}, protocol version {}", software.program, software.protocol)),
    ]);
    page.heading("Charters and rosters, the first first");
    let rows = evidence.history.iter();
    let rows = rows.map(|era| vec![era.charter.to_string(), era.roster.to_string(), era.entries.to_string()]);
    page.table(&["charter", "roster", "entries of the record"], rows);
    let listed = |list: &Option<Vec<String>>| list.as_ref().map_or_else(|| "any".to_owned(), |list| list.join(", "));
    page.heading("This house's policy");
    page.facts(&[
        ("epsilon ceiling", format!("{} at delta {:e}", policy.epsilon_ceiling, policy.delta)),
        ("smallest cohort", policy.min_cohort.to_string()),
        ("colluding members withstood", format!("at least {}", policy.min_colluding_members)),
        ("who may open sums", policy.release.join(", ")),
        ("final adapter handed over", yes(policy.hand_over)),
        ("rounds without differential privacy", yes(policy.allow_no_privacy)),
        ("base models, by weights or name", listed(&policy.models)),
        ("what of them is trained", listed(&policy.targets)),
        ("hours of training, by its own clock", listed(&policy.hours)),
        (
            "bytes sent for an attempt",
            policy.max_bytes_per_attempt.map_or_else(|| "any number".to_owned(), |most| format!("at most {most}")),
        ),
        ("charter taken", policy.approve.clone()),
        ("roster taken", policy.roster.clone()),
    ]);
}

fn spent(page: &mut Page, evidence: &Evidence) {
    page.heading("Epsilon spent, by data set");
    if evidence.data_sets.is_empty() {
        page.note("Nothing was spent: this member has no ledger.");
    }
    for set in &evidence.data_sets {
        data_set(page, set);
    }
}

fn data_set(page: &mut Page, set: &DataSet) {
    if set.unprotected {
        page.alarm("Rows of this data left in sums WITHOUT noise (mode none): nothing is promised for them.");
    }
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"));
    page.facts(&[
        ("data set", set.file.clone()),
        ("protected", set.unit.clone().unwrap_or_else(|| "-".to_owned())),
        ("epsilon spent", format!("{} at delta {:e}", number(set.epsilon), set.delta)),
        ("ceiling", number(set.ceiling)),
        ("ledger", format!("{} lines, the last one's digest is {}", set.lines, set.head)),
    ]);
    let rows = set.charges.iter().map(|charge| {
        vec![
            charge.charter.to_string(),
            charge.house.clone(),
            charge.round.to_string(),
            charge.attempt.to_string(),
            charge.kind.to_owned(),
            charge.rate.to_string(),
            charge.noise_multiplier.to_string(),
            charge.contribution.map_or_else(|| "nothing left, counts all the same".to_owned(), |one| one.to_string()),
        ]
    });
    page.table(&["charter", "house", "round", "attempt", "purpose", "rate", "noise multiplier", "contribution"], rows);
}

fn took_part(page: &mut Page, evidence: &Evidence) {
    page.heading("Who took part");
    let rows = evidence.members.iter().map(|member| {
        vec![
            member.house.name.clone(),
            member.house.role.to_owned(),
            member.contributions.to_string(),
            member.verdicts.to_string(),
            member.house.key_sha256.to_string(),
        ]
    });
    page.table(&["member", "role", "contributions in sums", "verdicts signed", "SHA-256 of its key"], rows);
}

fn attempts(page: &mut Page, evidence: &Evidence) {
    let record = &evidence.record;
    page.heading("The record");
    let by = if record.countersigned_by.is_empty() { "nobody".to_owned() } else { record.countersigned_by.join(", ") };
    page.note(&format!("{} entries, root {}, countersigned by {by}", record.attempts.len(), record.root));
    let rows = record.attempts.iter().enumerate().map(|(entry, attempt)| {
        vec![
            entry.to_string(),
            attempt.round.to_string(),
            attempt.attempt.to_string(),
            date(attempt.announced_at_ms),
            format!("{} of {}: {}", attempt.cohort.len(), attempt.expected, attempt.cohort.join(", ")),
            attempt.ended.clone(),
            attempt.signed_by.join(", "),
        ]
    });
    page.table(&["entry", "round", "attempt", "announced", "cohort", "ended", "signed by"], rows);
    page.heading("This house's contributions");
    let own = record.attempts.iter().filter_map(|attempt| attempt.own.as_ref().map(|own| (attempt, own)));
    let rows = own.map(|(attempt, own)| {
        let Own { contribution, ciphertext, chunks, ledger_head } = own;
        vec![
            format!("{}, {}", attempt.round, attempt.attempt),
            contribution.to_string(),
            format!("{ciphertext}, {chunks} chunks"),
            ledger_head.to_string(),
        ]
    });
    page.table(&["round, attempt", "signed contribution", "ciphertext", "ledger then"], rows);
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}
