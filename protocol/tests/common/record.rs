//! A whole record, attempt by attempt, with everything that proves it.

use protocol::log::file::{Entry, RecordWriter};
use protocol::log::{Checkpoint, Log};
use protocol::server::Start;
use protocol::*;

use super::{NOW_MS, World, initial};

/// How an attempt of a made record ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All houses contribute, and it is applied.
    Applied,
    /// The first house vanishes, and it is applied.
    WithoutFirst,
    /// The sum is refused.
    Void,
    /// One house contributes.
    TooSmall,
    /// Nobody answers.
    TooFew,
    /// The second house complains of the first.
    WrongEnvelope,
    /// Before there is a cohort.
    Stopped,
}

/// A made record.
#[derive(Debug, Clone)]
pub struct Made {
    pub entries: Vec<Entry>,
    pub log: Log,
}

impl World {
    /// A record whose attempts end like this.
    pub fn record(&self, ends: &[End]) -> Made {
        let mut made = Made { entries: Vec::new(), log: Log::new() };
        let (mut round, mut attempt, mut adapter) = (RoundNumber::FIRST, Attempt::FIRST, initial());
        for (sequence, end) in (0..).zip(ends) {
            let start = Start { round, attempt, adapter, record: made.log.head() };
            let entry = self.entry(&start, sequence, *end);
            made.log.append(&entry.leaf);
            match entry.leaf.conclusion {
                Conclusion::Settled(Verdict::Applied { state, .. }) => {
                    (round, attempt, adapter) = (round.next().unwrap(), Attempt::FIRST, state);
                }
                _ => attempt = attempt.next().unwrap(),
            }
            made.entries.push(entry);
        }
        made
    }

    /// One attempt from `start`, with the members' one-time keys at `sequence`.
    pub fn entry(&self, start: &Start, sequence: u64, end: End) -> Entry {
        let announcement = self.announcement(start, self.house_names(), sequence, NOW_MS + sequence);
        let announcement = self.sign_announcement(&announcement);
        let digest = announcement.body_digest();
        let cohort = match end {
            End::TooSmall | End::Stopped => None,
            End::WithoutFirst => Some(1..self.house_names().len()),
            _ => Some(0..self.house_names().len()),
        };
        let cohort = cohort.map(|houses| CohortList {
            announcement: digest,
            contributions: houses.map(|house| self.contribution(house, digest, &[house as u8])).collect(),
        });
        let list = cohort.as_ref().map_or(digest, Message::digest);
        let state = Digest::of("state", &start.round.get().to_be_bytes());
        let conclusion = match end {
            End::Applied | End::WithoutFirst => Conclusion::Settled(Verdict::Applied { state, last: false }),
            End::Void => Conclusion::Settled(Verdict::Void { reason: VoidReason::Residual }),
            End::TooSmall => Conclusion::Abandoned(Abandonment::CohortTooSmall { needed: 3, found: 1 }),
            End::TooFew => Conclusion::Abandoned(Abandonment::TooFewAnswers { needed: 3, found: 0 }),
            End::WrongEnvelope => {
                Conclusion::Abandoned(Abandonment::WrongEnvelope { dealer: RosterPosition::new(1).unwrap() })
            }
            End::Stopped => Conclusion::Abandoned(Abandonment::Stopped),
        };
        let outcomes: Vec<Signed<Outcome>> = match conclusion {
            Conclusion::Settled(verdict) => (1..4).map(|house| self.outcome(house, digest, list, verdict)).collect(),
            Conclusion::Abandoned(_) => Vec::new(),
        };
        let leaf = RecordLeaf {
            round: start.round,
            attempt: start.attempt,
            announcement: digest,
            cohort: cohort.as_ref().map(Message::digest),
            houses: cohort.iter().flat_map(CohortList::houses).cloned().collect(),
            conclusion,
            signers: outcomes.iter().map(|outcome| outcome.signer().clone()).collect(),
        };
        let settled = matches!(conclusion, Conclusion::Settled(_));
        Entry {
            leaf,
            announcement,
            claim: settled.then(|| self.sign_claim(&self.claim(digest, list))),
            complaint: (end == End::WrongEnvelope).then(|| self.complaint(1, 0, digest, &[0])),
            cohort,
            outcomes,
        }
    }

    /// The file of these entries, under a checkpoint of `head` that houses 0 and 2 countersign.
    pub fn file(&self, entries: &[Entry], head: RecordHead) -> Vec<u8> {
        let charter = self.federation.charter();
        let mut file = RecordWriter::new(charter.text(), &self.federation.roster().to_bytes());
        entries.iter().for_each(|entry| file.push(entry));
        let checkpoint = Checkpoint::new(charter.name.as_str(), head);
        let note = [&self.aggregator, &self.members[0], &self.members[2]];
        let [signed, first, second] = [
            checkpoint.sign(note[0]),
            checkpoint.cosign(note[1], 1_700_000_000),
            checkpoint.cosign(note[2], 1_700_000_001),
        ];
        file.finish(&format!("{signed}{first}{second}"))
    }

    /// The file of a made record.
    pub fn whole(&self, made: &Made) -> Vec<u8> {
        self.file(&made.entries, made.log.head())
    }
}
