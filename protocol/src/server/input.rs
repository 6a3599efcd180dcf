//! What can happen to a round, as it is stored: one row an accepted input.

use strum::{EnumDiscriminants, EnumIter, IntoStaticStr};

use crate::encoding::{EncodingError, Message, Reader, Writer};
use crate::ids::MemberIndex;
use crate::message::{Announcement, Answer, BodyChecksum, Complaint, Contribution, Outcome, Ready, SumClaim};
use crate::signed::Signed;

/// An event and when the aggregator saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Unix milliseconds of the aggregator's clock.
    pub at_ms: u64,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, EnumDiscriminants)]
#[strum_discriminants(
    name(EventKind),
    derive(EnumIter, IntoStaticStr, Hash, PartialOrd, Ord),
    strum(serialize_all = "kebab-case")
)]
#[strum_discriminants(doc = "The kind of an [`Event`].")]
pub enum Event {
    /// A house says ready.
    Ready(Signed<Ready>),
    /// The aggregator made and signed the announcement.
    Announced(Signed<Announcement>),
    /// A house submitted; its chunks and sealed shares were checked against the manifest and are stored durably.
    Contribution(Signed<Contribution>),
    /// Time passed.
    Tick,
    /// The aggregator folded the cohort and signed the claim of its sum, once.
    Claimed(Signed<SumClaim>),
    /// A member said the checksum of a body; `secure-sum` reads its value.
    Checksum(Signed<BodyChecksum>),
    /// A member proved that its sealed share is wrong (`secure-sum` says so).
    Complaint(Signed<Complaint>),
    /// A member answered the cohort.
    Answer(Signed<Answer>),
    /// The answer at this index does not fit the summed commitments (`secure-sum` says so).
    FalseAnswer(MemberIndex),
    /// A house signed what came of the round.
    Outcome(Signed<Outcome>),
    /// The operator stops the attempt.
    Stop,
}

impl Event {
    /// A stable name of the kind, for rows and rejections.
    pub fn kind(&self) -> &'static str {
        EventKind::from(self).into()
    }
}

impl Message for Input {
    const LABEL: &'static str = "server-input";

    fn write(&self, writer: &mut Writer) {
        writer.u64(self.at_ms);
        match &self.event {
            Event::Ready(signed) => tagged(writer, 0, signed),
            Event::Announced(signed) => tagged(writer, 1, signed),
            Event::Contribution(signed) => tagged(writer, 2, signed),
            Event::Tick => writer.u8(3),
            Event::Answer(signed) => tagged(writer, 4, signed),
            Event::FalseAnswer(index) => {
                writer.u8(5);
                writer.u8(index.get());
            }
            Event::Outcome(signed) => tagged(writer, 6, signed),
            Event::Stop => writer.u8(7),
            Event::Claimed(signed) => tagged(writer, 8, signed),
            Event::Checksum(signed) => tagged(writer, 9, signed),
            Event::Complaint(signed) => tagged(writer, 10, signed),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        let at_ms = reader.u64("at_ms")?;
        let event = match reader.u8("event")? {
            0 => Event::Ready(Signed::read(reader)?),
            1 => Event::Announced(Signed::read(reader)?),
            2 => Event::Contribution(Signed::read(reader)?),
            3 => Event::Tick,
            4 => Event::Answer(Signed::read(reader)?),
            5 => Event::FalseAnswer(reader.index("index")?),
            6 => Event::Outcome(Signed::read(reader)?),
            7 => Event::Stop,
            8 => Event::Claimed(Signed::read(reader)?),
            9 => Event::Checksum(Signed::read(reader)?),
            10 => Event::Complaint(Signed::read(reader)?),
            _ => return Err(EncodingError::invalid("event", "is not a known kind")),
        };
        Ok(Self { at_ms, event })
    }
}

fn tagged(writer: &mut Writer, tag: u8, message: &impl Message) {
    writer.u8(tag);
    message.write(writer);
}
