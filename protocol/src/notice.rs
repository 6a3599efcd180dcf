//! What the aggregator tells every member about a round: the body of its event stream.

use crate::encoding::{EncodingError, Message, Reader, Writer};
use crate::ids::{Attempt, Digest, RoundNumber};
use crate::message::{Announcement, Answer, BodyChecksum, CohortList, Complaint, Outcome, SumClaim};
use crate::rejection::Abandonment;
use crate::roster::MAX_ROSTER;
use crate::signed::Signed;

/// One event of a round, for every member. A member believes none of it before its own checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The aggregator gathers ready houses for this attempt.
    Gathering {
        /// The round.
        round: RoundNumber,
        /// The attempt.
        attempt: Attempt,
    },
    /// The round is announced.
    Announced(Signed<Announcement>),
    /// The cohort is fixed; members check their shares.
    Cohort(CohortList),
    /// The aggregator claims the cohort's sum; houses say the checksums of their bodies.
    Claimed(Signed<SumClaim>),
    /// The checking is over; members answer the claimed sum.
    Checked {
        /// The claim.
        claim: Signed<SumClaim>,
        /// What was said of single bodies.
        checksums: Vec<Signed<BodyChecksum>>,
    },
    /// A member proved that a house sealed it a wrong share; the attempt is given up.
    Complained(Signed<Complaint>),
    /// A member answered.
    Answered(Signed<Answer>),
    /// t houses signed the same verdict.
    Settled {
        /// The announcement's digest.
        announcement: Digest,
        /// The cohort list's digest.
        cohort: Digest,
        /// The outcomes that agree.
        outcomes: Vec<Signed<Outcome>>,
    },
    /// The attempt is given up.
    Abandoned {
        /// The round.
        round: RoundNumber,
        /// The attempt.
        attempt: Attempt,
        /// Why.
        reason: Abandonment,
    },
}

impl Notice {
    /// A stable name of the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Gathering { .. } => "gathering",
            Self::Announced(_) => "announced",
            Self::Cohort(_) => "cohort",
            Self::Claimed(_) => "claimed",
            Self::Checked { .. } => "checked",
            Self::Complained(_) => "complained",
            Self::Answered(_) => "answered",
            Self::Settled { .. } => "settled",
            Self::Abandoned { .. } => "abandoned",
        }
    }
}

impl Message for Notice {
    const LABEL: &'static str = "notice";

    fn write(&self, writer: &mut Writer) {
        match self {
            Self::Gathering { round, attempt } => {
                writer.u8(0);
                writer.u32(round.get());
                writer.u32(attempt.get());
            }
            Self::Announced(signed) => {
                writer.u8(1);
                signed.write(writer);
            }
            Self::Cohort(list) => {
                writer.u8(2);
                list.write(writer);
            }
            Self::Answered(signed) => {
                writer.u8(3);
                signed.write(writer);
            }
            Self::Settled { announcement, cohort, outcomes } => {
                writer.u8(4);
                writer.digest(announcement);
                writer.digest(cohort);
                writer.list(outcomes, |writer, signed| signed.write(writer));
            }
            Self::Abandoned { round, attempt, reason } => {
                writer.u8(5);
                writer.u32(round.get());
                writer.u32(attempt.get());
                reason.write(writer);
            }
            Self::Claimed(signed) => {
                writer.u8(6);
                signed.write(writer);
            }
            Self::Checked { claim, checksums } => {
                writer.u8(7);
                claim.write(writer);
                writer.list(checksums, |writer, signed| signed.write(writer));
            }
            Self::Complained(signed) => {
                writer.u8(8);
                signed.write(writer);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        match reader.u8("notice")? {
            0 => Ok(Self::Gathering { round: reader.round("round")?, attempt: reader.attempt("attempt")? }),
            1 => Signed::read(reader).map(Self::Announced),
            2 => CohortList::read(reader).map(Self::Cohort),
            3 => Signed::read(reader).map(Self::Answered),
            4 => Ok(Self::Settled {
                announcement: reader.digest("announcement")?,
                cohort: reader.digest("cohort")?,
                outcomes: reader.list("outcomes", MAX_ROSTER, Signed::read)?,
            }),
            5 => Ok(Self::Abandoned {
                round: reader.round("round")?,
                attempt: reader.attempt("attempt")?,
                reason: Abandonment::read(reader)?,
            }),
            6 => Signed::read(reader).map(Self::Claimed),
            7 => Ok(Self::Checked {
                claim: Signed::read(reader)?,
                // At most its own and one other body a house.
                checksums: reader.list("checksums", 2 * MAX_ROSTER, Signed::read)?,
            }),
            8 => Signed::read(reader).map(Self::Complained),
            _ => Err(EncodingError::invalid("notice", "is not a known kind")),
        }
    }
}
