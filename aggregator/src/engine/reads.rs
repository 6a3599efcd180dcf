//! What members may fetch, straight from the storage.

use protocol::server::{Event, EventKind, Input};
use protocol::{Announcement, Answer, BodyChecksum, CohortList, HouseName, Message as _, Roster, Signed, SumClaim};
use secure_sum::Layout;

use super::{Engine, sealed_from_bytes, start};
use crate::refusal::Refusal;
use crate::store::{BlobError, Setting, Shelf, StoredAttempt};

impl Engine {
    /// The frozen roster, canonical bytes.
    pub(crate) async fn roster(&self) -> Result<Vec<u8>, Refusal> {
        match self.store.setting(Setting::Roster).await? {
            Some(roster) => Ok(roster),
            None => Err(Refusal::RosterIncomplete { missing: self.missing().await? }),
        }
    }

    /// The layout of an attempt's bodies.
    pub(crate) async fn layout(&self, attempt: &StoredAttempt) -> Result<Layout, Refusal> {
        let announcement = self.announcement(attempt).await?;
        let damaged = |_| Refusal::Failure("a stored layout cannot be read".into());
        Layout::from_bytes(&announcement.layout).map_err(damaged)
    }

    /// The announcement of an attempt.
    async fn announcement(&self, attempt: &StoredAttempt) -> Result<Announcement, Refusal> {
        let damaged = || Refusal::Failure("a stored announcement cannot be read".into());
        let kinds = [EventKind::Announced, EventKind::Announced];
        for step in self.store.steps_of((attempt.round, attempt.attempt), kinds).await? {
            if let Event::Announced(signed) = Input::from_bytes(&step.body).map_err(|_| damaged())?.event {
                return signed.unverified().map_err(|_| damaged());
            }
        }
        Err(damaged())
    }

    /// The shares that the cohort of an attempt sealed to `caller`, by sender.
    pub(crate) async fn sealed_shares(
        &self,
        caller: &HouseName,
        attempt: &StoredAttempt,
    ) -> Result<Vec<(HouseName, Vec<u8>)>, Refusal> {
        let damaged = |what: &str| Refusal::Failure(format!("stored {what} cannot be read"));
        let cohort = self.store.cohort(&attempt.announcement).await?;
        let cohort = cohort.ok_or(Refusal::NotYet { what: "the cohort list" })?;
        let cohort = CohortList::from_bytes(&cohort).map_err(|_| damaged("cohort list"))?;
        let roster = Roster::from_bytes(&self.roster().await?).map_err(|_| damaged("roster"))?;
        let no_part = || Refusal::NoPart { caller: caller.clone(), what: "this committee" };
        let position = roster.index_of(caller).ok_or_else(no_part)?.position();
        let kept = self.store.contributions(&attempt.announcement).await?;
        let mut shares = Vec::with_capacity(cohort.contributions.len());
        for manifest in &cohort.contributions {
            let stored = kept.iter().find(|stored| stored.manifest == *manifest);
            let stored = stored.ok_or_else(|| damaged("contribution"))?;
            let blob = match self.store.blobs().get(Shelf::Attempt(attempt.announcement), &stored.sealed).await {
                Err(BlobError::Store(object_store::Error::NotFound { .. })) => {
                    return Err(Refusal::Over { what: "the attempt" });
                }
                blob => blob?,
            };
            let mut all = sealed_from_bytes(&blob).map_err(|_| damaged("shares"))?;
            if position >= all.len() {
                return Err(damaged("shares"));
            }
            shares.push((manifest.signer().clone(), all.swap_remove(position)));
        }
        Ok(shares)
    }

    /// The claimed sum of an attempt and what was said of single bodies, once members may answer.
    pub(crate) async fn checked(
        &self,
        attempt: &StoredAttempt,
    ) -> Result<(Signed<SumClaim>, Vec<Signed<BodyChecksum>>), Refusal> {
        let not_yet = || Refusal::NotYet { what: "the check of the sum" };
        if !self.store.has_event(attempt.round, attempt.attempt, "checked").await? {
            return Err(not_yet());
        }
        let damaged = |_| Refusal::Failure("a stored step cannot be read".into());
        let (mut claim, mut checksums) = (None, Vec::new());
        let kinds = [EventKind::Claimed, EventKind::Checksum];
        for step in self.store.steps_of((attempt.round, attempt.attempt), kinds).await? {
            match Input::from_bytes(&step.body).map_err(damaged)?.event {
                Event::Claimed(signed) => claim = Some(signed),
                Event::Checksum(signed) => checksums.push(signed),
                _ => {}
            }
        }
        Ok((claim.ok_or_else(not_yet)?, checksums))
    }

    /// The answers of an attempt but those known to be false.
    pub(crate) async fn answers(&self, attempt: &StoredAttempt) -> Result<Vec<Signed<Answer>>, Refusal> {
        let damaged = || Refusal::Failure("a stored step cannot be read".into());
        let mut answers: Vec<(protocol::MemberIndex, Signed<Answer>)> = Vec::new();
        let kinds = [EventKind::Answer, EventKind::FalseAnswer];
        for step in self.store.steps_of((attempt.round, attempt.attempt), kinds).await? {
            match Input::from_bytes(&step.body).map_err(|_| damaged())?.event {
                Event::Answer(signed) => answers.push((signed.unverified().map_err(|_| damaged())?.index, signed)),
                Event::FalseAnswer(index) => answers.retain(|(other, _)| *other != index),
                _ => {}
            }
        }
        answers.sort_by_key(|(index, _)| *index);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    async fn missing(&self) -> Result<Vec<HouseName>, Refusal> {
        Ok(start::missing(&self.store, self.members.iter().cloned()).await?)
    }
}
