//! The page: the same as the JSON, to read. No script, nothing from elsewhere, every value escaped.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use super::facts::{DataSet, Evidence, Own};

const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
<meta name=\"viewport\" content=\"width=device-width\">\n";
const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}\
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.5rem}table{border-collapse:collapse;width:100%;font-size:.9rem}\
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #ddd}\
td{overflow-wrap:anywhere;min-width:4rem}th{font-weight:600;background:#f5f5f5;white-space:nowrap}.note{color:#555}.alarm{color:#a00;font-weight:600}\
@media print{body{margin:0}h2{break-after:avoid}}";

/// The page as one text.
pub(super) fn page(evidence: &Evidence) -> String {
    let Evidence { house, federation, .. } = evidence;
    let mut page = Page::default();
    let title = format!("Evidence of {} in {federation}", house.name);
    let _ = write!(page.text, "{HEAD}<title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n", escape(&title));
    let _ = writeln!(page.text, "<h1>{}</h1>", escape(&title));
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
    page.text.push_str("</body>\n</html>\n");
    page.text
}

fn contract(page: &mut Page, evidence: &Evidence) {
    let (policy, terms, software) = (&evidence.policy, &evidence.terms, &evidence.software);
    let pinned = |approved, taken: &str| match (approved, taken) {
        (true, _) => "approved in client.toml",
        (false, "any") => "client.toml takes any",
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

/// The page so far. Writing to a string can not fail.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn heading(&mut self, text: &str) {
        let _ = writeln!(self.text, "<h2>{}</h2>", escape(text));
    }

    fn note(&mut self, text: &str) {
        let _ = writeln!(self.text, "<p class=\"note\">{}</p>", escape(text));
    }

    fn alarm(&mut self, text: &str) {
        let _ = writeln!(self.text, "<p class=\"alarm\">{}</p>", escape(text));
    }

    fn facts(&mut self, facts: &[(&str, String)]) {
        self.text.push_str("<table>\n");
        for (name, value) in facts {
            let _ = writeln!(self.text, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", escape(name), escape(value));
        }
        self.text.push_str("</table>\n");
    }

    fn table(&mut self, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
        self.text.push_str("<table>\n<tr>");
        for name in head {
            let _ = write!(self.text, "<th>{}</th>", escape(name));
        }
        self.text.push_str("</tr>\n");
        for row in rows {
            self.text.push_str("<tr>");
            for value in row {
                let _ = write!(self.text, "<td>{}</td>", escape(&value));
            }
            self.text.push_str("</tr>\n");
        }
        self.text.push_str("</table>\n");
    }
}

/// A value between tags or in a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

fn date(unix_ms: u64) -> String {
    // The format ends with the year 9999.
    const LAST_S: u64 = 253_402_300_799;
    let seconds = unix_ms / 1_000;
    if seconds > LAST_S {
        return format!("{unix_ms} ms after 1970");
    }
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_browser_would_obey_is_escaped_and_no_date_is_too_late() {
        assert_eq!(escape("<b a='1' b=\"2\">&amp;"), "&lt;b a=&#39;1&#39; b=&quot;2&quot;&gt;&amp;amp;");
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert!(date(u64::MAX).ends_with("after 1970"));
    }
}
