//! When a round begins, and with whom: the houses that are ready, once waiting for more would help nobody.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::server::{Choice, Event, Isolation, Round, Start};
use protocol::{
    Announcement, CommitteeSeat, HouseName, Message as _, OneTimeKeyOffer, PROTOCOL_VERSION, RoundNumber, Signed,
};
use secure_sum::Layout;
use tokio::time::Instant;

use super::core::{Core, RETRY, Stage};
use crate::clock;
use crate::isolation;
use crate::refusal::Refusal;
use crate::store::Write;

/// Look again after this long where a member's keys are missing or a house is left out.
const AGAIN: Duration = Duration::from_secs(5);
/// What the database and its log may grow by in a round.
const ROOM_BESIDE: u64 = 64 << 20;

impl Core {
    /// Announces the round when it is time; else returns how long to wait, or `None` where only an input helps.
    pub(super) async fn gather(&mut self) -> Result<Option<Duration>, Refusal> {
        if self.is_behind() {
            return Ok(Some(RETRY));
        }
        let isolation = self.isolation().await?;
        // The operator may readmit a house beside this program: look again.
        let left_out = isolation.isolated().next().is_some();
        let revoked = self.store.revoked().await?;
        let Some((ready, patience)) = self.enough(&isolation, &revoked) else { return Ok(left_out.then_some(AGAIN)) };
        if let Some(wait) = patience {
            return Ok(Some(wait));
        }
        if !self.has_room(ready.len()).await? {
            return Ok(Some(AGAIN));
        }
        let Some(seats) = self.committee_seats().await? else { return Ok(Some(AGAIN)) };
        self.announce(ready, seats).await?;
        Ok(Some(Duration::ZERO))
    }

    /// Who is left out: worked out anew after an attempt or a readmission, which another process writes.
    async fn isolation(&mut self) -> Result<Isolation, Refusal> {
        let Some(federation) = &self.federation else { return Ok(Isolation::default()) };
        let readmissions = self.store.readmissions().await?;
        let known = (self.record.len(), readmissions.len());
        if let Some((before, isolation)) = &self.isolation
            && *before == known
        {
            return Ok(isolation.clone());
        }
        let isolation = isolation::fold(federation.roster(), self.record.leaves(), &readmissions)?;
        self.isolation = Some((known, isolation.clone()));
        Ok(isolation)
    }

    /// The houses to announce and how long to wait for more of them; `None` while they are too few.
    fn enough(&mut self, isolation: &Isolation, revoked: &[HouseName]) -> Option<(Vec<HouseName>, Option<Duration>)> {
        let pace = self.pace;
        let before: Vec<HouseName> = self
            .previous
            .as_ref()
            .and_then(Round::announced)
            .map(|announced| announced.announcement().expected.clone())
            .unwrap_or_default();
        let out: BTreeSet<&HouseName> = isolation.isolated().map(|(house, _)| house).chain(revoked).collect();
        let houses = self.charter.houses.iter().filter(|house| !out.contains(&house.name)).count();
        let most = self.charter.rounds.max_cohort as usize;
        let Stage::Running(current) = &mut self.stage else { return None };
        let Round::Gathering(gathering) = &current.round else { return None };
        // One that was let out after it said so can not contribute, and would cost the others an attempt.
        let mut ready: Vec<HouseName> = gathering.ready().filter(|house| !revoked.contains(house)).cloned().collect();
        let unable = houses < gathering.needed();
        if unable && !current.unable {
            let needed = gathering.needed();
            tracing::error!(houses, needed, "no round can begin: too few houses are neither revoked nor isolated");
        }
        current.unable = unable;
        let choice = isolation.expected(&ready, gathering.needed(), most);
        ready.retain(|house| isolation.isolated().all(|(isolated, _)| isolated != house));
        say(isolation, &choice, &mut current.choice);
        if choice.expected().is_none() {
            current.enough_since = None;
            return None;
        }
        let waited = current.enough_since.get_or_insert_with(Instant::now).elapsed();
        let again = !before.is_empty() && before.iter().all(|name| ready.contains(name));
        let patience = if ready.len() == houses {
            Duration::ZERO
        } else if again {
            pace.others.min(pace.gather)
        } else {
            pace.gather
        };
        let wait = patience.checked_sub(waited).filter(|left| !left.is_zero());
        let turn = current.round.frame().round.get() as usize + current.round.frame().attempt.get() as usize;
        let expected = match choice {
            Choice::Probe(expected) | Choice::Inseparable(expected) => expected,
            Choice::Everybody(_) | Choice::TooFew { .. } => take_turns(ready, most, turn),
        };
        Some((expected, wait))
    }

    /// Whether the disk has room for all that a round of so many houses brings; a line in the log when not. A round that can not end
    /// would cost every house epsilon.
    async fn has_room(&mut self, houses: usize) -> Result<bool, Refusal> {
        let Stage::Running(current) = &self.stage else { return Ok(false) };
        let layout = self.layout(current.round.frame().round, houses)?;
        let body = layout.contribution_bytes() as u64;
        // Bodies, and the sum beside a state or two.
        let needed = body.saturating_mul(houses as u64 + 1).saturating_mul(2).saturating_add(ROOM_BESIDE);
        let mut free = self.store.room()?;
        if free < needed {
            // Nothing is under way while houses gather.
            self.clear_earlier().await;
            free = self.store.room()?;
        }
        let short = free < needed;
        if short && !self.short_of_room {
            tracing::error!(free, needed, "no round is announced before the disk has room for it");
        }
        self.short_of_room = short;
        Ok(!short)
    }

    /// A fresh one-time key of every member; `None`, and a line in the log, when one has none left.
    async fn committee_seats(&mut self) -> Result<Option<Vec<(u64, CommitteeSeat)>>, Refusal> {
        let (Stage::Running(current), Some(federation)) = (&mut self.stage, &self.federation) else { return Ok(None) };
        let mut seats = Vec::new();
        for member in federation.roster().committee() {
            let Some(key) = self.store.next_key(member.name()).await? else {
                if current.reported.as_ref() != Some(member.name()) {
                    tracing::warn!(member = %member.name(), "no one-time key left: the round waits for it");
                    current.reported = Some(member.name().clone());
                }
                return Ok(None);
            };
            let damaged = |_| Refusal::Failure(format!("a stored one-time key of {} cannot be read", member.name()));
            let offer: Signed<OneTimeKeyOffer> = Signed::from_bytes(&key.body).map_err(damaged)?;
            let index = federation.roster().index_of(member.name());
            let index = index.ok_or_else(|| Refusal::Failure("the committee has more than 255 members".into()))?;
            seats.push((key.sequence, CommitteeSeat { index, offer }));
        }
        current.reported = None;
        Ok(Some(seats))
    }

    async fn announce(&mut self, expected: Vec<HouseName>, seats: Vec<(u64, CommitteeSeat)>) -> Result<(), Refusal> {
        let (Stage::Running(current), Some(federation)) = (&self.stage, &self.federation) else { return Ok(()) };
        let Start { round, attempt, adapter, record } = current.round.frame().clone();
        let layout = self.layout(round, expected.len())?;
        let rounds = &self.charter.rounds;
        let uses = seats.iter().map(|(sequence, seat)| Write::UseKey {
            member: seat.offer.signer().clone(),
            sequence: *sequence,
            round,
            attempt,
        });
        let mut beside: Vec<Write> = uses.collect();
        let announcement = Announcement {
            protocol_version: PROTOCOL_VERSION,
            record,
            charter: self.charter.digest(),
            roster: federation.roster_digest(),
            round,
            attempt,
            expected,
            may_vanish: rounds.may_vanish,
            adapter,
            announced_at_ms: clock::now_ms(),
            submit_at_ms: rounds.submit_at_ms,
            close_ms: rounds.close_ms,
            open_ms: rounds.open_ms,
            committee: seats.into_iter().map(|(_, seat)| seat).collect(),
            layout: layout.to_bytes(),
            data_commitment: None,
        };
        let signed = Signed::sign(&announcement, self.identity.signer());
        beside.push(Write::Attempt { round, attempt, announcement: signed.body_digest() });
        let houses = announcement.expected.len();
        self.input(Event::Announced(signed), beside).await?;
        if let Stage::Running(current) = &mut self.stage {
            current.layout = Some(layout.into());
        }
        tracing::info!(%round, %attempt, houses, "announced");
        self.clear_earlier().await;
        Ok(())
    }

    /// The layout of a round of so many houses.
    fn layout(&self, round: RoundNumber, expected: usize) -> Result<Layout, Refusal> {
        let failed = |error: terms::TermsError| Refusal::Failure(error.to_string());
        terms::layout(&self.charter, round, expected, self.charter.rounds.may_vanish, self.count).map_err(failed)
    }

    /// Drops the ciphertexts and shares of attempts that are over. What is left behind is tried again next time.
    pub(super) async fn clear_earlier(&self) {
        let current = match &self.stage {
            Stage::Running(current) => current.announcement(),
            _ => None,
        };
        let cleared = async {
            for announcement in self.store.announcements().await? {
                if Some(announcement) != current {
                    self.store.blobs().clear(&announcement).await?;
                }
            }
            Ok::<_, crate::store::StoreError>(())
        };
        if let Err(error) = cleared.await {
            tracing::warn!(%error, "bodies of earlier attempts could not be removed");
        }
    }
}

/// A line in the log about who is left out and why, whenever that changes.
fn say(isolation: &Isolation, choice: &Choice, last: &mut Option<Choice>) {
    if last.as_ref() == Some(choice) {
        return;
    }
    let names = |houses: &[HouseName]| houses.iter().map(HouseName::as_str).collect::<Vec<_>>().join(", ");
    let isolated = isolation.isolated().map(|(house, ground)| format!("{house} ({})", ground.code()));
    let isolated = isolated.collect::<Vec<_>>().join(", ");
    let accused = isolation.accused().map(HouseName::as_str).unwrap_or_default();
    let suspects = names(isolation.suspects());
    match choice {
        Choice::Everybody(_) if isolated.is_empty() => {}
        Choice::Everybody(_) => tracing::warn!(isolated, "houses are left out; `readmit` takes one in again"),
        Choice::Probe(expected) => {
            let expected = names(expected);
            tracing::warn!(
                isolated,
                suspects,
                accused,
                expected,
                "rounds are spoilt: some houses are left out to find who"
            );
        }
        Choice::Inseparable(_) => tracing::error!(
            isolated,
            suspects,
            accused,
            "rounds are spoilt, and too few houses are ready to tell who spoils them"
        ),
        Choice::TooFew { found } if !isolated.is_empty() => {
            tracing::error!(
                isolated,
                found,
                "too few houses are ready that are not left out; `readmit` takes one in again"
            );
        }
        Choice::TooFew { .. } => {}
    }
    *last = Some(choice.clone());
}

/// At most `most` of the ready houses, in their order; where some must stay out, another set each time.
fn take_turns(ready: Vec<HouseName>, most: usize, turn: usize) -> Vec<HouseName> {
    let count = ready.len();
    if count <= most {
        return ready;
    }
    let first = turn % count;
    let taken = |position: usize| (position + count - first) % count < most;
    ready.into_iter().enumerate().filter(|(position, _)| taken(*position)).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn houses_take_turns_in_roster_order() {
        let names: Vec<_> = ["a", "b", "c", "d"].map(|name| HouseName::new(name).unwrap()).to_vec();
        let turn = |most, turn| {
            take_turns(names.clone(), most, turn).iter().map(|name| name.as_str().to_owned()).collect::<String>()
        };
        assert_eq!(turn(4, 3), "abcd");
        assert_eq!([turn(3, 0), turn(3, 1), turn(3, 2), turn(3, 3)], ["abc", "bcd", "acd", "abd"]);
    }
}
