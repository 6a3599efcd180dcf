//! What was found: signed JSON, and a page for somebody who reads no code.

use std::collections::BTreeMap;

use protocol::{Digest, Roster};
use serde::Serialize;

use crate::evidence::{House, digest, digests};
use crate::html::{Page, date};
use crate::identity::Identity;
use crate::sealing;

/// All that `proof.json` says.
#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    /// `plainchant-proof/1`.
    pub format: &'static str,
    /// When it was made, in Unix milliseconds of this house's clock.
    pub made_at_ms: u64,
    /// The program that made it, and its version.
    pub program: &'static str,
    /// The federation's name.
    pub federation: String,
    /// Whose proof it is.
    pub house: House,
    /// The charter that was joined.
    #[serde(serialize_with = "digest")]
    pub charter: Digest,
    /// The one that was rehearsed: the same, with another key for the aggregator.
    #[serde(serialize_with = "digest")]
    pub rehearsed: Digest,
    /// The roster.
    #[serde(serialize_with = "digest")]
    pub roster: Digest,
    /// Whether this house has pinned that roster; else it is the one that the aggregator shows.
    pub roster_pinned: bool,
    /// All sites, and their keys.
    pub members: Vec<Site>,
    /// What the charter promises.
    pub stated: Stated,
    /// What left, part by part.
    pub left: Vec<Left>,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// What an aggregator tried.
    pub refused: Vec<Refused>,
    /// SHA-256 of the files beside this one.
    #[serde(serialize_with = "digests")]
    pub files: BTreeMap<String, Digest>,
    /// Whether every check passed and every attempt was refused.
    pub passed: bool,
}

/// A site and its keys.
#[derive(Debug, Clone, Serialize)]
pub struct Site {
    /// Who, and the key that it signs with.
    #[serde(flatten)]
    pub house: House,
    /// SHA-256 of the key to which answers are sealed.
    #[serde(serialize_with = "digest")]
    pub mailbox_sha256: Digest,
}

impl Site {
    pub(super) fn of(member: &protocol::Member) -> Self {
        Self { house: House::of(member), mailbox_sha256: Digest::sha256(member.mailbox_key()) }
    }

    /// This house, by the keys that it has.
    pub(super) fn own(identity: &Identity, roster: &Roster) -> Self {
        let role = roster.member(identity.name()).map_or("no member", |member| House::of(member).role);
        let key_sha256 = Digest::sha256(identity.signer.public_key().as_bytes());
        let house = House { name: identity.name().to_string(), role, key_sha256 };
        Self { house, mailbox_sha256: Digest::sha256(&sealing::public(&identity.mailbox)) }
    }
}

/// What the charter promises about one round.
#[derive(Debug, Clone, Serialize)]
pub struct Stated {
    /// What is protected.
    pub mode: &'static str,
    /// Of the whole run.
    pub epsilon: f64,
    /// At this delta.
    pub delta: f64,
    /// Noise of the sum that the guarantee counts on, as a multiple of what one unit may weigh.
    pub noise_multiplier: f64,
    /// Standard deviation of this house's own share of it, in grid units.
    pub share_deviation: f64,
    /// Values in a contribution.
    pub values: usize,
    /// Members that hold key shares.
    pub committee: u8,
    /// Of them must answer to open.
    pub threshold: u8,
    /// The smallest cohort that this house lets be opened.
    pub min_cohort: usize,
}

/// A part of what left.
#[derive(Debug, Clone, Serialize)]
pub struct Left {
    /// What it is.
    pub what: &'static str,
    /// How long.
    pub bytes: usize,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Its short name.
    pub name: &'static str,
    /// In words.
    pub question: &'static str,
    /// Whether it is as it should be.
    pub passed: bool,
    /// What was measured.
    pub found: String,
    /// What the same look finds where it must find something, so that it is known to see.
    pub control: Option<String>,
}

/// One attempt to weaken this house's protection.
#[derive(Debug, Clone, Serialize)]
pub struct Refused {
    /// What the aggregator did.
    pub tried: String,
    /// Whether this house refused.
    pub refused: bool,
    /// In its rules' words.
    pub answer: String,
}

/// The page.
pub(super) fn page(proof: &Proof) -> String {
    let Stated { mode, epsilon, delta, noise_multiplier, share_deviation, values, committee, threshold, min_cohort } =
        &proof.stated;
    let mut page = Page::new(&format!("What a contribution of {} shows, in {}", proof.house.name, proof.federation));
    page.note(&format!(
        "Made {} by {}. This page is for reading; proof.json says the same and is signed by the key with SHA-256 {}. README.md says how to verify it.",
        date(proof.made_at_ms),
        proof.program,
        proof.house.key_sha256
    ));
    if proof.passed {
        page.note("Everything is as it should be.");
    } else {
        page.alarm("SOMETHING IS NOT AS IT SHOULD BE; see below. Do not take part before it is explained.");
    }
    page.heading("What was done");
    page.note(
        "A known update, the canary, was put where this house's rows would be trained. The program that takes part in rounds clipped it, added its \
         noise, encrypted it, sealed the key's shares and sent it over the connection that it makes to the aggregator. That connection ended on this \
         machine, where all that came was kept. The keys of the committee and of the aggregator were made for this rehearsal, since nobody here has the \
         real ones, and thrown away; else the charter is the one that was joined. No row was read, no epsilon was spent, and the canary did not leave \
         the machine.",
    );
    page.facts(&[
        ("charter", proof.charter.to_string()),
        ("the same, with the rehearsal's aggregator", proof.rehearsed.to_string()),
        ("protection", format!("{mode}: epsilon {epsilon} at delta {delta:e} for the whole run")),
        (
            "noise",
            format!(
                "{noise_multiplier} times what one unit may weigh, in the sum; this house's share has deviation {share_deviation:.1}"
            ),
        ),
        ("opening", format!("{threshold} of {committee} members, and at least {min_cohort} houses in a sum")),
        ("a contribution", format!("{values} values")),
    ]);
    page.heading("What was found");
    let rows = proof.checks.iter().map(|check| {
        vec![
            verdict(check.passed),
            check.question.to_owned(),
            check.found.clone(),
            check.control.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    page.table(&["", "question", "found", "the same look where it must find something"], rows);
    page.heading("The contribution, part by part");
    let rows = proof.left.iter().map(|part| vec![part.what.to_owned(), part.bytes.to_string()]);
    page.table(&["part", "bytes"], rows);
    page.note(
        "A house also says that it is ready, its one-time keys, a checksum of its contribution, sums of key shares, what a round came to, and fetches \
         what others said. None of it is made from its rows but by way of contributions.",
    );
    page.heading("What an aggregator tried");
    page.note(
        "No message of the protocol turns noise, clipping or encryption off. An announcement says how many houses are expected, and that sizes the share of \
         noise: the most and the fewest that the charter allows were both looked at. The rest was said here, signed with the rehearsed aggregator's \
         key, to the rules that this house's program follows.",
    );
    let rows = proof.refused.iter().map(|one| vec![verdict(one.refused), one.tried.clone(), one.answer.clone()]);
    page.table(&["", "the aggregator", "this house"], rows);
    page.heading("All sites, by their keys");
    let pinned =
        if proof.roster_pinned { "pinned by this house" } else { "as the aggregator shows it; not pinned yet" };
    page.note(&format!("Roster {} ({pinned}). Compare the keys with the other houses by telephone.", proof.roster));
    let rows = proof.members.iter();
    let rows = rows.map(|Site { house, mailbox_sha256 }| {
        vec![house.name.clone(), house.role.to_owned(), house.key_sha256.to_string(), mailbox_sha256.to_string()]
    });
    page.table(
        &["member", "role", "SHA-256 of the key that it signs with", "and of the one that answers are sealed to"],
        rows,
    );
    page.finish()
}

/// In a word.
pub(crate) fn verdict(passed: bool) -> String {
    if passed { "ok" } else { "FAILED" }.to_owned()
}
