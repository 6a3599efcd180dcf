//! Rejections (a peer broke a rule) and abandonments (a round ends without a result). Our own failures are neither.

use std::fmt;

use crate::encoding::EncodingError;
use crate::ids::{Attempt, Digest, HouseName, RosterPosition, RoundNumber};
use crate::signed::AGGREGATOR;

/// Who broke a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Party {
    /// The aggregator.
    Aggregator,
    /// A member, or somebody who uses its name.
    Member(HouseName),
}

impl Party {
    /// The party with this signer name.
    pub fn named(name: &HouseName) -> Self {
        if name.as_str() == AGGREGATOR { Self::Aggregator } else { Self::Member(name.clone()) }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aggregator => f.write_str("the aggregator"),
            Self::Member(name) => write!(f, "member `{name}`"),
        }
    }
}

/// A message was refused: the rule, and who broke it. The state it was offered to stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are named after what they hold; each variant says its rule")]
pub enum Rejection {
    /// Bytes that are no message of the kind they claim to be.
    #[error("{who} sent malformed bytes: {error}")]
    Malformed { who: Party, error: EncodingError },
    /// A name that is not in the roster.
    #[error("`{name}` is not in the roster")]
    UnknownMember { name: HouseName },
    /// A signature that does not hold.
    #[error("the signature of {who} over `{label}` does not hold")]
    BadSignature { who: Party, label: &'static str },
    /// Signed by one, spoken for another.
    #[error("{who} signed a statement of `{speaker}`")]
    WrongSpeaker { who: Party, speaker: String },
    /// A message that only a house may send, from a trustee.
    #[error("{who} is a trustee; only houses may do this")]
    NotAHouse { who: Party },
    /// A message that only members with key shares may send, from a house that the committee does not have.
    #[error("`{name}` is not of the committee; only its members may do this")]
    NoSeat { name: HouseName },
    /// Another protocol version.
    #[error("{who} speaks protocol version {found}, not {expected}")]
    WrongVersion { who: Party, expected: u32, found: u32 },
    /// Another charter than the pinned one.
    #[error("{who} is bound to charter {found}, not to the pinned {expected}")]
    WrongCharter { who: Party, expected: Digest, found: Digest },
    /// Another roster than the pinned one.
    #[error("{who} is bound to roster {found}, not to the pinned {expected}")]
    WrongRoster { who: Party, expected: Digest, found: Digest },
    /// Another round than the current or next one.
    #[error("{who} speaks of round {found}; it is round {expected}")]
    WrongRound { who: Party, expected: RoundNumber, found: RoundNumber },
    /// A round after t houses signed that the run is over.
    #[error("{who} speaks of round {found}; t houses signed that the run ended before it")]
    RunOver { who: Party, found: RoundNumber },
    /// Another attempt than the current one, or one not greater than every attempt seen.
    #[error("{who} speaks of attempt {found}; expected attempt {expected} (or, of an announcement, a later one)")]
    WrongAttempt { who: Party, expected: Attempt, found: Attempt },
    /// Another announcement than this round's.
    #[error("{who} is bound to announcement {found}, not to this round's {expected}")]
    WrongAnnouncement { who: Party, expected: Digest, found: Digest },
    /// Another cohort list than this round's.
    #[error("{who} is bound to cohort list {found}, not to this round's {expected}")]
    WrongCohort { who: Party, expected: Digest, found: Digest },
    /// Another adapter state than the one the federation agreed on.
    #[error("{who} announced adapter state {found}; here it is {expected}")]
    WrongAdapter { who: Party, expected: Digest, found: Digest },
    /// The record's head went back, or changed without growing.
    #[error("{who} showed a record of size {found}; size {seen} was seen before")]
    RecordWentBack { who: Party, seen: u64, found: u64 },
    /// A grown record without a proof that it continues the one seen before.
    #[error("{who} showed a record of size {found} that is not proven to continue the one of size {seen}")]
    RecordForked { who: Party, seen: u64, found: u64 },
    /// A one-time key that was, or could have been, used before.
    #[error("the aggregator announced one-time key {sequence} of this member; only {next} and later may be used")]
    OneTimeKeyReused { sequence: u64, next: u64 },
    /// Another record head than the server's.
    #[error("{who} showed another head of the record than this round's")]
    WrongRecord { who: Party },
    /// Deadlines or committee that are not the charter's and roster's.
    #[error("{who} announced `{field}` against the charter or roster: {rule}")]
    BadAnnouncement { who: Party, field: &'static str, rule: String },
    /// The announced set is smaller than charter or policy allow.
    #[error("{who} announced {expected} houses of which {may_vanish} may vanish; at least {min_cohort} must remain")]
    SmallExpectedSet { who: Party, expected: usize, may_vanish: usize, min_cohort: usize },
    /// A term that this member's own policy refuses.
    #[error("this member's policy refuses {who}'s `{field}`: {rule}")]
    AgainstPolicy { who: Party, field: &'static str, rule: String },
    /// A house that is not in the round's expected set.
    #[error("`{name}` is not in this round's expected set; it may say ready for the next attempt")]
    NotExpected { name: HouseName },
    /// A message for a state that the round is not in.
    #[error("{who} sent `{input}` while the round is `{state}`")]
    WrongState { who: Party, input: &'static str, state: &'static str },
    /// A message after its deadline.
    #[error("{who} sent `{input}` at {at_ms} ms, after the deadline at {deadline_ms} ms")]
    Late { who: Party, input: &'static str, at_ms: u64, deadline_ms: u64 },
    /// A manifest that does not fit the committee.
    #[error("{who} sent a contribution with `{field}` that does not fit: {rule}")]
    BadContribution { who: Party, field: &'static str, rule: String },
    /// A second, different announcement for one attempt.
    #[error("the aggregator announced round {round} attempt {attempt} twice: {first}, then {second}")]
    SecondAnnouncement { round: RoundNumber, attempt: Attempt, first: Digest, second: Digest },
    /// A second, different contribution to one round.
    #[error("member `{name}` submitted two contributions: {first}, then {second}")]
    SecondContribution { name: HouseName, first: Digest, second: Digest },
    /// A second, different ready for one attempt.
    #[error("member `{name}` said ready twice, differently")]
    SecondReady { name: HouseName },
    /// A second, different set was presented for opening.
    #[error("the aggregator asked to open a second set: {first} was answered, then {second} was asked")]
    SecondOpening { first: Digest, second: Digest },
    /// Another claimed sum than this cohort's.
    #[error("{who} is bound to the sum {found}, not to the claimed {expected}")]
    WrongSum { who: Party, expected: Digest, found: Digest },
    /// A second, different sum was claimed for one cohort.
    #[error("the aggregator claimed two sums of one cohort: {first}, then {second}")]
    SecondClaim { first: Digest, second: Digest },
    /// A second checksum of one body by one member.
    #[error("member `{name}` said the checksum of the body of `{house}` twice")]
    SecondChecksum { name: HouseName, house: HouseName },
    /// A checksum or complaint about a house that is not in the cohort.
    #[error("{who} speaks of `{house}`, which is not in the cohort")]
    NotInCohort { who: Party, house: HouseName },
    /// A checksum of another house's body by a member that was not drawn to check it.
    #[error("member `{name}` was not drawn to check the body of `{house}`")]
    NotDrawn { name: HouseName, house: HouseName },
    /// A checksum whose value `secure-sum` does not read.
    #[error("{who} said a checksum that is none: {rule}")]
    BadChecksum { who: Party, rule: String },
    /// A complaint that does not fit the dealer's manifest.
    #[error("{who} sent a complaint with `{field}` that does not fit: {rule}")]
    BadComplaint { who: Party, field: &'static str, rule: String },
    /// A complaint whose proof does not hold, or about a share that is right (`secure-sum` says so).
    #[error("{who} complained of `{dealer}` without ground: {rule}")]
    FalseComplaint { who: Party, dealer: HouseName, rule: String },
    /// A second, different answer of one member.
    #[error("member `{name}` answered twice, differently")]
    SecondAnswer { name: HouseName },
    /// A second, different outcome of one house.
    #[error("member `{name}` signed two outcomes of one round")]
    SecondOutcome { name: HouseName },
    /// A house twice in one cohort list.
    #[error("the cohort list has `{name}` twice or out of roster order")]
    DuplicateInCohort { name: HouseName },
    /// A cohort list below the announced floor.
    #[error("the cohort list has {found} contributions; at least {needed} are needed")]
    SmallCohort { needed: usize, found: usize },
    /// This member is listed with a contribution that it did not make.
    #[error("the cohort list has a contribution {found} in this member's name that it did not make")]
    NotMyContribution { found: Digest },
    /// An answer whose index is not its member's.
    #[error("member `{name}` answered with share index {found}; its own is {expected}")]
    WrongIndex { name: HouseName, expected: u8, found: u8 },
    /// An answer that is open under `clients`, sealed under `aggregator`, or sealed to the wrong houses.
    #[error("the answer of member `{name}` does not fit the release policy: {rule}")]
    WrongRelease { name: HouseName, rule: &'static str },
    /// An outcome that t other houses contradict.
    #[error("{who} signed an outcome other than the one that counts")]
    OutcomeDisagrees { who: Party },
    /// Fewer outcomes than the threshold agree.
    #[error("{found} houses signed this outcome; {needed} are needed")]
    TooFewOutcomes { needed: usize, found: usize },
    /// A caller names a false answer that nobody gave.
    #[error("no answer with index {index} is held")]
    NoSuchAnswer { index: u8 },
}

impl Rejection {
    /// A stable name of the rule, for logs, metrics and clients.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::UnknownMember { .. } => "unknown-member",
            Self::BadSignature { .. } => "bad-signature",
            Self::WrongSpeaker { .. } => "wrong-speaker",
            Self::NotAHouse { .. } => "not-a-house",
            Self::NoSeat { .. } => "no-seat",
            Self::WrongVersion { .. } => "wrong-version",
            Self::WrongCharter { .. } => "wrong-charter",
            Self::WrongRoster { .. } => "wrong-roster",
            Self::WrongRound { .. } => "wrong-round",
            Self::RunOver { .. } => "run-over",
            Self::WrongAttempt { .. } => "wrong-attempt",
            Self::WrongAnnouncement { .. } => "wrong-announcement",
            Self::WrongCohort { .. } => "wrong-cohort",
            Self::WrongAdapter { .. } => "wrong-adapter",
            Self::RecordWentBack { .. } => "record-went-back",
            Self::RecordForked { .. } => "record-forked",
            Self::OneTimeKeyReused { .. } => "one-time-key-reused",
            Self::WrongRecord { .. } => "wrong-record",
            Self::BadAnnouncement { .. } => "bad-announcement",
            Self::SmallExpectedSet { .. } => "small-expected-set",
            Self::AgainstPolicy { .. } => "against-policy",
            Self::NotExpected { .. } => "not-expected",
            Self::WrongState { .. } => "wrong-state",
            Self::Late { .. } => "late",
            Self::BadContribution { .. } => "bad-contribution",
            Self::SecondAnnouncement { .. } => "second-announcement",
            Self::SecondContribution { .. } => "second-contribution",
            Self::SecondReady { .. } => "second-ready",
            Self::SecondOpening { .. } => "second-opening",
            Self::WrongSum { .. } => "wrong-sum",
            Self::SecondClaim { .. } => "second-claim",
            Self::SecondChecksum { .. } => "second-checksum",
            Self::NotInCohort { .. } => "not-in-cohort",
            Self::NotDrawn { .. } => "not-drawn",
            Self::BadChecksum { .. } => "bad-checksum",
            Self::BadComplaint { .. } => "bad-complaint",
            Self::FalseComplaint { .. } => "false-complaint",
            Self::SecondAnswer { .. } => "second-answer",
            Self::SecondOutcome { .. } => "second-outcome",
            Self::DuplicateInCohort { .. } => "duplicate-in-cohort",
            Self::SmallCohort { .. } => "small-cohort",
            Self::NotMyContribution { .. } => "not-my-contribution",
            Self::WrongIndex { .. } => "wrong-index",
            Self::WrongRelease { .. } => "wrong-release",
            Self::OutcomeDisagrees { .. } => "outcome-disagrees",
            Self::TooFewOutcomes { .. } => "too-few-outcomes",
            Self::NoSuchAnswer { .. } => "no-such-answer",
        }
    }
}

/// Why a round ended without a result. Nothing of it was opened, or nobody could agree on what was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Abandonment {
    /// Fewer contributions at the close than announced and chartered.
    #[error("{found} contributions at the close; {needed} were needed")]
    CohortTooSmall {
        /// max(|E| - d, min_cohort).
        needed: u32,
        /// |U|.
        found: u32,
    },
    /// Fewer true answers than the threshold at the opening's deadline.
    #[error("{found} answers at the deadline; {needed} were needed")]
    TooFewAnswers {
        /// The threshold t.
        needed: u32,
        /// Answers held.
        found: u32,
    },
    /// No outcome can reach t signatures any more.
    #[error("the houses signed different outcomes")]
    OutcomesSplit,
    /// A member proved that a house of the cohort sealed it a wrong share.
    #[error("house number {dealer} of the roster sealed a wrong share, and its receiver proved it")]
    WrongEnvelope {
        /// Where the house stands in the roster.
        dealer: RosterPosition,
    },
    /// The operator stopped it.
    #[error("the operator stopped the round")]
    Stopped,
}

impl Abandonment {
    /// A stable name of the reason.
    pub fn code(&self) -> &'static str {
        match self {
            Self::CohortTooSmall { .. } => "cohort-too-small",
            Self::TooFewAnswers { .. } => "too-few-answers",
            Self::OutcomesSplit => "outcomes-split",
            Self::WrongEnvelope { .. } => "wrong-envelope",
            Self::Stopped => "stopped",
        }
    }

    /// Writes it.
    pub(crate) fn write(&self, writer: &mut crate::Writer) {
        let (kind, needed, found) = match *self {
            Self::CohortTooSmall { needed, found } => (1, needed, found),
            Self::TooFewAnswers { needed, found } => (2, needed, found),
            Self::OutcomesSplit => (3, 0, 0),
            Self::Stopped => (4, 0, 0),
            Self::WrongEnvelope { dealer } => (5, dealer.get(), 0),
        };
        writer.u8(kind);
        writer.u32(needed);
        writer.u32(found);
    }

    /// Reads it.
    pub(crate) fn read(reader: &mut crate::Reader<'_>) -> Result<Self, EncodingError> {
        let kind = reader.u8("abandonment")?;
        let (needed, found) = (reader.u32("needed")?, reader.u32("found")?);
        match (kind, needed, found) {
            (1, ..) => Ok(Self::CohortTooSmall { needed, found }),
            (2, ..) => Ok(Self::TooFewAnswers { needed, found }),
            (3, 0, 0) => Ok(Self::OutcomesSplit),
            (4, 0, 0) => Ok(Self::Stopped),
            (5, _, 0) => RosterPosition::new(needed)
                .map(|dealer| Self::WrongEnvelope { dealer })
                .map_err(|error| EncodingError::invalid("dealer", error)),
            _ => Err(EncodingError::invalid("abandonment", "is not a known reason")),
        }
    }
}
