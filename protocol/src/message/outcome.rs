//! What came of a round, as each house signs it, and the approval of the final hand-over.

use crate::encoding::{EncodingError, Message, Reader, Writer};
use crate::ids::{Digest, HouseName};
use crate::signed::Statement;

/// A house's view of a round's end. It counts when t houses sign the same verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The announcement's digest.
    pub announcement: Digest,
    /// The cohort list's digest.
    pub cohort: Digest,
    /// Who says it.
    pub member: HouseName,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of an opened round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The sum was applied; this is the digest of the new adapter state.
    Applied {
        /// The new state's digest.
        state: Digest,
        /// Whether the run ends with this round, before the charter's last: its evaluations have used up the charter's patience.
        last: bool,
    },
    /// The sum was refused; nothing was applied.
    Void {
        /// Why.
        reason: VoidReason,
    },
}

/// Why an opened sum was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum VoidReason {
    /// The combined key is not small: wrong shares.
    #[error("the combined key is not small")]
    KeySum,
    /// A field of the sum is out of range.
    #[error("a field of the sum is out of range")]
    FieldRange,
    /// A chunk's residual is too large: a wrong key or a malformed contribution.
    #[error("a chunk's residual is too large")]
    Residual,
    /// Fewer than t true answers exist.
    #[error("fewer true answers than the threshold")]
    FalseAnswers,
    /// The claimed sum is not the sum of the cohort's bodies, or not what was served.
    #[error("the claimed sum is not the sum of the cohort's contributions")]
    WrongSum,
}

impl VoidReason {
    /// A stable name of the reason.
    pub fn code(self) -> &'static str {
        match self {
            Self::KeySum => "key-sum",
            Self::FieldRange => "field-range",
            Self::Residual => "residual",
            Self::FalseAnswers => "false-answers",
            Self::WrongSum => "wrong-sum",
        }
    }
}

impl Verdict {
    /// Writes it.
    pub(crate) fn write(&self, writer: &mut Writer) {
        match self {
            Self::Applied { state, last } => {
                writer.u8(if *last { 6 } else { 0 });
                writer.digest(state);
            }
            Self::Void { reason } => writer.u8(match reason {
                VoidReason::KeySum => 1,
                VoidReason::FieldRange => 2,
                VoidReason::Residual => 3,
                VoidReason::FalseAnswers => 4,
                VoidReason::WrongSum => 5,
            }),
        }
    }

    /// Reads it.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        let reason = match reader.u8("verdict")? {
            kind @ (0 | 6) => {
                return Ok(Self::Applied { state: reader.digest("state")?, last: kind == 6 });
            }
            1 => VoidReason::KeySum,
            2 => VoidReason::FieldRange,
            3 => VoidReason::Residual,
            4 => VoidReason::FalseAnswers,
            5 => VoidReason::WrongSum,
            _ => return Err(EncodingError::invalid("verdict", "is not a known verdict")),
        };
        Ok(Self::Void { reason })
    }
}

impl Message for Outcome {
    const LABEL: &'static str = "outcome";

    fn write(&self, writer: &mut Writer) {
        writer.digest(&self.announcement);
        writer.digest(&self.cohort);
        writer.name(&self.member);
        self.verdict.write(writer);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self {
            announcement: reader.digest("announcement")?,
            cohort: reader.digest("cohort")?,
            member: reader.name("member")?,
            verdict: Verdict::read(reader)?,
        })
    }
}

impl Statement for Outcome {
    fn speaker(&self) -> &str {
        self.member.as_str()
    }
}

/// A house agrees to hand the final adapter to the aggregator. It is handed over when t houses agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// The charter's digest.
    pub charter: Digest,
    /// Who agrees.
    pub member: HouseName,
    /// The digest of the adapter state to hand over.
    pub state: Digest,
}

impl Message for Approval {
    const LABEL: &'static str = "approval";

    fn write(&self, writer: &mut Writer) {
        writer.digest(&self.charter);
        writer.name(&self.member);
        writer.digest(&self.state);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self { charter: reader.digest("charter")?, member: reader.name("member")?, state: reader.digest("state")? })
    }
}

impl Statement for Approval {
    fn speaker(&self) -> &str {
        self.member.as_str()
    }
}
