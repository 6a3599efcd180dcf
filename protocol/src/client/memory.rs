//! What a member must never forget: stored durably before the effect that makes it true.

use crate::encoding::{EncodingError, Message, Reader, Writer};
use crate::ids::{Attempt, Digest, RoundNumber};
use crate::message::{Answer, Complaint, Contribution, RecordHead, Verdict};
use crate::signed::Signed;

/// A member's durable memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// The round that comes next: one after the last that t houses signed as applied.
    pub next_round: RoundNumber,
    /// The digest of the adapter state that the next round starts from.
    pub adapter: Digest,
    /// The largest head of the record seen.
    pub record: RecordHead,
    /// The least sequence number of a one-time key that may still be used.
    pub next_sequence: u64,
    /// The latest accepted announcement, and what was promised in it.
    pub seen: Option<Seen>,
    /// Whether t houses signed that the run is over before the charter's last round.
    pub over: bool,
}

/// The latest accepted announcement, and what was promised in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its round.
    pub round: RoundNumber,
    /// Its attempt.
    pub attempt: Attempt,
    /// Its digest.
    pub announcement: Digest,
    /// The one contribution made to it.
    pub contribution: Option<Signed<Contribution>>,
    /// The digest of the one cohort list that this member answers.
    pub cohort: Option<Digest>,
    /// The digest of the one claimed sum of it: checksums are said and the answer is made under this claim only.
    pub body_sum: Option<Digest>,
    /// The complaint about a sealed share, made instead of an answer.
    pub complaint: Option<Signed<Complaint>>,
    /// The answer to it, once made.
    pub answer: Option<Signed<Answer>>,
    /// What the round came to, by this house's own computation.
    pub verdict: Option<Verdict>,
    /// Whether the attempt is over for this member: settled, or said to be abandoned.
    pub ended: bool,
}

impl Memory {
    /// A member that has seen nothing: round 1 comes next, from the initial adapter state; the record is empty.
    pub fn new(initial_adapter: Digest) -> Self {
        // The RFC 6962 root of an empty tree is the hash of nothing.
        let record = RecordHead { size: 0, root: Digest::sha256(b"") };
        Self {
            next_round: RoundNumber::FIRST,
            adapter: initial_adapter,
            record,
            next_sequence: 0,
            seen: None,
            over: false,
        }
    }

    /// The promises of the announcement with this digest.
    pub(super) fn promises(&self, announcement: Digest) -> Option<&Seen> {
        self.seen.as_ref().filter(|seen| seen.announcement == announcement)
    }

    /// Changes the promises of the latest announcement.
    pub(super) fn promise(&mut self, change: impl FnOnce(&mut Seen)) {
        if let Some(seen) = &mut self.seen {
            change(seen);
        }
    }

    /// Goes on after a verdict that t houses signed.
    pub(super) fn settle(&mut self, round: RoundNumber, verdict: Verdict) {
        if let Some(seen) = self.seen.as_mut().filter(|seen| seen.round == round) {
            seen.ended = true;
        }
        if let (Verdict::Applied { state, last }, Some(next)) = (verdict, round.next()) {
            self.next_round = next;
            self.adapter = state;
            self.over = last;
        }
    }
}

impl Message for Memory {
    const LABEL: &'static str = "member-memory";
    /// 2: `body_sum` and `complaint`. 3: `over`.
    const VERSION: u8 = 3;

    fn write(&self, writer: &mut Writer) {
        writer.u32(self.next_round.get());
        writer.digest(&self.adapter);
        self.record.write(writer);
        writer.u64(self.next_sequence);
        writer.option(self.seen.as_ref(), |writer, seen| {
            writer.u32(seen.round.get());
            writer.u32(seen.attempt.get());
            writer.digest(&seen.announcement);
            writer.option(seen.contribution.as_ref(), |writer, signed| signed.write(writer));
            writer.option(seen.cohort.as_ref(), Writer::digest);
            writer.option(seen.body_sum.as_ref(), Writer::digest);
            writer.option(seen.complaint.as_ref(), |writer, signed| signed.write(writer));
            writer.option(seen.answer.as_ref(), |writer, signed| signed.write(writer));
            writer.option(seen.verdict.as_ref(), |writer, verdict| verdict.write(writer));
            writer.u8(u8::from(seen.ended));
        });
        writer.u8(u8::from(self.over));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self {
            next_round: reader.round("next_round")?,
            adapter: reader.digest("adapter")?,
            record: RecordHead::read(reader)?,
            next_sequence: reader.u64("next_sequence")?,
            seen: reader.option("seen", |reader| {
                Ok(Seen {
                    round: reader.round("round")?,
                    attempt: reader.attempt("attempt")?,
                    announcement: reader.digest("announcement")?,
                    contribution: reader.option("contribution", Signed::read)?,
                    cohort: reader.option("cohort", |reader| reader.digest("cohort"))?,
                    body_sum: reader.option("body_sum", |reader| reader.digest("body_sum"))?,
                    complaint: reader.option("complaint", Signed::read)?,
                    answer: reader.option("answer", Signed::read)?,
                    verdict: reader.option("verdict", Verdict::read)?,
                    ended: reader.option("ended", |_| Ok(()))?.is_some(),
                })
            })?,
            over: reader.option("over", |_| Ok(()))?.is_some(),
        })
    }
}
