//! What members say while a cohort's sum is checked: checksums of bodies, and complaints about shares.

use protocol::server::{Event, EventKind, Input};
use protocol::{BodyChecksum, Complaint, Contribution, Message as _, Rejection, Signed};
use secure_sum::{Checksum, Committee, Layout};

use super::core::{Core, Stage, committee, spoken};
use crate::clock;
use crate::refusal::Refusal;

/// What a complaint is judged by.
pub(crate) struct Evidence {
    pub(crate) complaint: Complaint,
    pub(crate) layout: std::sync::Arc<Layout>,
    pub(crate) committee: Committee,
    /// The complainer's one-time key in this attempt.
    pub(crate) key: [u8; 32],
    /// The dealer's.
    pub(crate) manifest: Contribution,
}

impl Core {
    /// Takes checksums of one member in, each that can be read.
    pub(super) async fn checksums(&mut self, checksums: Vec<Signed<BodyChecksum>>) -> Result<(), Refusal> {
        for signed in checksums {
            let said = spoken(&signed)?;
            if let Stage::Running(current) = &self.stage
                && let Some(layout) =
                    current.layout.as_ref().filter(|_| current.announcement() == Some(said.announcement))
            {
                let who = protocol::Party::named(&said.member);
                let bad = |error: secure_sum::EncodingError| Rejection::BadChecksum { who, rule: error.to_string() };
                Checksum::from_bytes(layout, &said.value).map_err(bad)?;
            }
            self.of_member(said.announcement, Event::Checksum(signed)).await?;
        }
        Ok(())
    }

    /// What a complaint about the attempt under way is judged by, when the protocol finds nothing against it; `None` for a
    /// repeat.
    pub(super) async fn evidence(&self, complaint: &Signed<Complaint>) -> Result<Option<Evidence>, Refusal> {
        let said = spoken(complaint)?;
        let (Stage::Running(current), Some(federation)) = (&self.stage, &self.federation) else {
            return self.heard_before(complaint, &said).await;
        };
        if current.announcement() != Some(said.announcement) {
            return self.heard_before(complaint, &said).await;
        }
        let input = Input { at_ms: clock::now_ms(), event: Event::Complaint(complaint.clone()) };
        if !current.round.step(&input)?.store {
            return Ok(None);
        }
        let missing = |what: &str| Refusal::Failure(format!("no {what} for a complaint that fits the round"));
        let fixed = current.round.fixed().ok_or_else(|| missing("cohort"))?;
        let dealer = federation.roster().at(said.dealer).ok_or_else(|| missing("dealer"))?.name();
        let manifest = fixed.list().contributions.iter().find(|signed| signed.signer() == dealer);
        let manifest = manifest.and_then(|signed| signed.unverified().ok()).ok_or_else(|| missing("manifest"))?;
        let mut seats = fixed.announced().announcement().committee.iter();
        let seat = seats.find(|seat| seat.index == said.index).and_then(|seat| seat.offer.unverified().ok());
        Ok(Some(Evidence {
            complaint: said,
            layout: current.layout.clone().ok_or_else(|| missing("layout"))?,
            committee: committee(federation)?,
            key: seat.ok_or_else(|| missing("one-time key"))?.key,
            manifest,
        }))
    }

    /// A complaint ends its attempt: the same one again is told so only where it was not the one that did.
    async fn heard_before(&self, complaint: &Signed<Complaint>, said: &Complaint) -> Result<Option<Evidence>, Refusal> {
        let over = Refusal::Over { what: "the attempt" };
        let Some(attempt) = self.store.attempt(&said.announcement).await? else { return Err(over) };
        let kinds = [EventKind::Complaint, EventKind::Complaint];
        for step in self.store.steps_of((attempt.round, attempt.attempt), kinds).await? {
            let damaged = |_| Refusal::Failure("a stored step cannot be read".into());
            if matches!(Input::from_bytes(&step.body).map_err(damaged)?.event, Event::Complaint(heard) if heard == *complaint)
            {
                return Ok(None);
            }
        }
        Err(over)
    }
}
