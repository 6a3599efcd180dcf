//! The event loop: connect, follow the history, come back after every lost connection.
//!
//! Events of the past are not acted on one by one: an announcement is only remembered until an event that is `live` says
//! where its attempt stands, or that it is over. So a member that was away for three rounds opens three sums, and does
//! not answer three cohorts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adapter::State;
use futures::future::BoxFuture;
use protocol::client::{Effect, Event, Round};
use protocol::{
    Abandonment, Announcement, Attempt, Charter, CommitteeSeat, Digest, HouseName, Outcome, RoundNumber, Signed,
    SumClaim, Verdict, check,
};
use protos::convert;
use protos::v1;
use protos::v1::event::Kind;

use super::aside::end_between_attempts;
use super::contribute::Done;
use super::member::{Home, Member, View};
use super::{Completed, Options, RunError, is_refusal, lost, renew, stock};
use crate::connection;
use crate::progress::{Phase, Seconds};
use crate::sealing;
use crate::trainer::Trainer;
use training::Part;

/// What ledger, memory and log may grow by in a round.
const ROOM_BESIDE: u64 = 16 << 20;
/// How often a running client looks whether the house still takes part, and whether its hours have begun.
const LOOK: Duration = Duration::from_secs(1);
/// A connection that held for this long was a good one: the next wait is a short one again.
const SETTLED_CONNECTION: Duration = Duration::from_secs(10);

/// Runs a member until the federation is completed. It dials out, waits for the others, and survives lost connections.
/// Dropping the future at any point is as safe as a crash.
///
/// Boxed, so that the future's code is made here once, and not again in every program and test that awaits it.
///
/// # Errors
/// [`RunError`]: what this house refuses, or cannot go on with.
pub fn run(
    home: Home,
    trainer: Option<Box<dyn Trainer>>,
    options: Options,
) -> BoxFuture<'static, Result<Completed, RunError>> {
    Box::pin(async move {
        let result = running(home, trainer, options).await;
        if let Err(error @ RunError::NotLetIn(_)) = &result {
            tracing::error!("{error}");
        }
        result
    })
}

async fn running(
    mut home: Home,
    trainer: Option<Box<dyn Trainer>>,
    mut options: Options,
) -> Result<Completed, RunError> {
    home.store.set_crash(options.crash.clone());
    end_between_attempts(&home.store)?;
    home.check_policy()?;
    terms::check(&home.identity.charter)?;
    renew::left_s(&home.identity)?;
    let mut client = connection::federation(&home.identity, &home.config.network)?;
    let roster = stock::roster(&home, &mut client, &mut options).await?;
    let mut member = Member::new(home, roster, trainer, client, options)?;
    let mut told = String::new();
    loop {
        let start = Instant::now();
        match member.session().await {
            Err(RunError::Lost(reason)) => {
                // A connection that breaks at the same place again and again must not be retried at full speed.
                if start.elapsed() > SETTLED_CONNECTION {
                    member.options.backoff.reset();
                }
                let wait = member.options.backoff.next_wait();
                tracing::info!(wait_ms = wait.as_millis(), "connection lost: {reason}");
                tokio::time::sleep(wait).await;
            }
            Err(RunError::OlderCopy(said)) => {
                // A person has to put the newest copy back; asking again soon brings nothing.
                if told != said {
                    member.report_older_copy(&said);
                    told = said;
                }
                tokio::time::sleep(member.options.backoff.longest_wait()).await;
            }
            other => return other,
        }
    }
}

impl Member {
    /// One connection's worth of events.
    async fn session(&mut self) -> Result<Completed, RunError> {
        self.end_if_left(None)?;
        self.renew_certificate().await?;
        self.offer_keys().await?;
        self.pump().await?;
        let request = v1::WatchEventsRequest { after: self.store.handled()? };
        let mut events = self.client.watch_events(request).await.map_err(|s| lost(&s))?.into_inner();
        let mut looks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                event = events.message() => {
                    let event = event.map_err(|s| lost(&s))?;
                    let event = event.ok_or_else(|| RunError::Lost("the aggregator ended the stream".to_owned()))?;
                    if let Some(completed) = self.event(event).await? {
                        return Ok(completed);
                    }
                }
                Some(done) = self.finished.recv() => {
                    match done {
                        Done::Trained(digest, made) => self.trained(digest, made)?,
                        Done::Submitted(digest, result) => self.submitted(digest, result)?,
                    }
                    self.pump().await?;
                }
                _ = looks.tick() => self.heed_standing().await?,
            }
        }
    }

    async fn event(&mut self, event: v1::Event) -> Result<Option<Completed>, RunError> {
        let (live, sequence) = (event.live, event.sequence);
        match event.kind {
            Some(Kind::Gathering(gathering)) if live => self.gathering(&gathering).await?,
            Some(Kind::Announced(signed)) => self.announced(signed, live).await?,
            Some(Kind::Closed(place)) if live => self.closed(announcement_of(&place)?).await?,
            Some(Kind::Claimed(signed)) if live => self.claimed(signed).await?,
            Some(Kind::Checked(place)) if live => self.checked(announcement_of(&place)?).await?,
            Some(Kind::Opened(place)) if live => self.opened(announcement_of(&place)?).await?,
            Some(Kind::Gathering(_) | Kind::Closed(_) | Kind::Claimed(_) | Kind::Checked(_) | Kind::Opened(_)) => {}
            // The evidence is for people; the attempt's end comes as an event of its own.
            Some(Kind::Complained(signed)) => {
                tracing::warn!(
                    by = signed.signer,
                    "the aggregator says that a complaint about a wrong share ended the attempt"
                );
            }
            Some(Kind::Settled(settled)) => {
                if self.settled(settled).await? {
                    self.pump().await?;
                    self.store.put_handled(sequence)?;
                }
            }
            Some(Kind::Abandoned(abandoned)) => {
                self.abandoned(&abandoned)?;
                self.pump().await?;
                self.store.put_handled(sequence)?;
            }
            Some(Kind::Completed(completed)) => return self.finish(completed).await.map(Some),
            None => tracing::warn!(sequence, "an event of a kind that this version does not know"),
        }
        self.pump().await?;
        self.cosign().await;
        Ok(None)
    }

    pub(super) async fn gathering(&mut self, gathering: &v1::Gathering) -> Result<(), RunError> {
        let (round, attempt) = place(gathering.round, gathering.attempt)?;
        self.end_if_left(Some((round, attempt)))?;
        self.offer_keys().await?;
        if !self.me.is_house() {
            return Ok(());
        }
        self.missed = None;
        if let Some(reason) = self.begins_nothing()? {
            self.report(round, attempt, Phase::Refused, Some(reason.to_string()));
            self.missed = Some(*gathering);
            return Ok(());
        }
        let count = self.state.update_len();
        let ahead = Part::ahead(self.charter(), self.me.name(), round, attempt);
        let entries = ahead.ledger_entries(count)?;
        if let Some(reason) = self.short_of_room(round)? {
            self.report(round, attempt, Phase::Refused, Some(reason));
            return Ok(());
        }
        match self.check_charge(&entries) {
            Ok(()) => {}
            Err(error) if error.is_refused_charge() => {
                self.report(round, attempt, Phase::Refused, Some(error.to_string()));
                return Ok(());
            }
            Err(other) => return Err(other),
        }
        self.offer(Event::BecomeReady { round, attempt })
    }

    /// Why the disk has no room for a contribution, before anything is charged for one that could not be kept.
    fn short_of_room(&self, round: RoundNumber) -> Result<Option<String>, RunError> {
        let needed = room_needed(self.charter(), round, &self.state)?;
        let free = self.store.room()?;
        let reason = || format!("the disk of this house's folder has {free} bytes left, and a round needs {needed}");
        Ok((free < needed).then(reason))
    }

    /// Remembers an announcement that passes the protocol's checks, and hears it when it is live.
    async fn announced(&mut self, signed: v1::Signed, live: bool) -> Result<(), RunError> {
        let signed: Signed<Announcement> = malformed(convert::signed("announced", Some(signed)))?;
        let digest = signed.body_digest();
        if self.view.as_ref().is_none_or(|view| view.digest != digest) {
            let announcement = match check::announcement(self.me.federation(), &signed) {
                Ok(announcement) => announcement,
                Err(rejection) => {
                    let claimed = malformed(signed.unverified())?;
                    self.refuse(claimed.round, claimed.attempt, &rejection);
                    return Ok(());
                }
            };
            let (since, seconds) = (Instant::now(), Seconds::default());
            self.view = Some(View { signed, announcement, digest, since, seconds, bytes_up: 0, loss: None });
        }
        if live { self.hear(true).await } else { Ok(()) }
    }

    /// Offers the remembered announcement to the protocol, once. Past the close, nothing is trained or sent for it.
    async fn hear(&mut self, open: bool) -> Result<(), RunError> {
        let Some(view) = &self.view else { return Ok(()) };
        let (signed, announcement) = (view.signed.clone(), view.announcement.clone());
        if self.has_heard(view.digest) {
            return Ok(());
        }
        let place = (announcement.round, announcement.attempt);
        let count = self.state.update_len();
        let (expected, may_vanish) = (announcement.expected.len(), announcement.may_vanish);
        let layout = terms::layout(self.charter(), announcement.round, expected, may_vanish, count)?;
        if layout.to_bytes() != announcement.layout {
            let reason = "the announced layout is not the one that follows from the charter".to_owned();
            self.report(place.0, place.1, Phase::Refused, Some(reason));
            return Ok(());
        }
        // Before anything is charged: a share could not be sealed to such a key.
        if let Some(member) = unusable_key(&announcement) {
            let reason = format!("the one-time key of `{member}` is none that anything can be sealed to");
            self.report(place.0, place.1, Phase::Refused, Some(reason));
            return Ok(());
        }
        let missing: Vec<_> = self.entries(&announcement)?;
        let epsilon_after = match &self.ledger {
            Some(ledger) => {
                let missing: Vec<_> = missing.into_iter().filter(|entry| !ledger.is_reserved(entry)).collect();
                ledger.epsilon_with(&missing, self.delta())?.epsilon
            }
            None => 0.0,
        };
        let record_proof = self.record_proof(&announcement).await?;
        let before = self.pending.len();
        self.offer(Event::Announced { signed, epsilon_after, record_proof })?;
        if !open {
            let added = self.pending.split_off(before);
            self.pending.extend(added.into_iter().filter(|e| !matches!(e, Effect::Train(_) | Effect::Submit(_))));
        }
        Ok(())
    }

    /// Proof that the record seen last is a part of the announced one.
    async fn record_proof(&mut self, announcement: &Announcement) -> Result<Option<Vec<Digest>>, RunError> {
        let (old_size, new_size) = (self.round.memory().record.size, announcement.record.size);
        if old_size == 0 || new_size <= old_size {
            return Ok(None);
        }
        let of = v1::get_proof_request::Of::Consistency(v1::ConsistencyQuery { old_size, new_size });
        let hashes = match self.client.get_proof(v1::GetProofRequest { of: Some(of) }).await {
            Ok(response) => response.into_inner().hashes,
            // Then the announcement is refused, by name.
            Err(status) if is_refusal(&status) => return Ok(None),
            Err(status) => return Err(lost(&status)),
        };
        malformed(hashes.iter().map(|hash| convert::digest("hashes", hash)).collect::<Result<_, _>>()).map(Some)
    }

    /// The cohort is fixed: promise to follow no other, and look at the shares.
    async fn closed(&mut self, digest: Digest) -> Result<(), RunError> {
        self.hear(false).await?;
        if !self.has_heard(digest) {
            return Ok(());
        }
        match self.fetch_cohort(digest).await? {
            Some(list) => {
                self.check_ledger(&list)?;
                self.offer(Event::Cohort(list))
            }
            None => Ok(()),
        }
    }

    /// The sum is claimed: say the checksum of this house's body.
    async fn claimed(&mut self, signed: v1::Signed) -> Result<(), RunError> {
        let signed: Signed<SumClaim> = malformed(convert::signed("claimed", Some(signed)))?;
        let digest = malformed(signed.unverified())?.announcement;
        self.follow(digest).await?;
        if self.has_heard(digest) { self.offer(Event::Claimed(signed)) } else { Ok(()) }
    }

    /// What houses say of their bodies is there: answer the sum.
    async fn checked(&mut self, digest: Digest) -> Result<(), RunError> {
        self.follow(digest).await?;
        if !self.has_heard(digest) {
            return Ok(());
        }
        match self.fetch_checked(digest).await? {
            Some((claim, checksums)) => self.offer(Event::Checked { claim, checksums }),
            None => Ok(()),
        }
    }

    /// Takes up an attempt's cohort, unless it has.
    async fn follow(&mut self, digest: Digest) -> Result<(), RunError> {
        let follows = matches!(self.round, Round::Listed(_) | Round::Answered(_) | Round::Combined(_));
        if follows && self.has_heard(digest) { Ok(()) } else { self.closed(digest).await }
    }

    /// The sum and t answers are there: open.
    async fn opened(&mut self, digest: Digest) -> Result<(), RunError> {
        if let Some(verdict) = self.has_combined(digest) {
            return self.offer(Event::Combined(verdict));
        }
        if !matches!(self.round, Round::Answered(_)) || !self.has_heard(digest) {
            self.checked(digest).await?;
        }
        if !self.me.is_house() || !self.has_heard(digest) {
            return Ok(());
        }
        for answer in self.fetch_answers(digest).await? {
            self.offer(Event::Answered(answer))?;
        }
        Ok(())
    }

    /// t houses signed what the attempt came to. `true` when this member went along.
    async fn settled(&mut self, settled: v1::Settled) -> Result<bool, RunError> {
        let Some(reference) = settled.attempt else { return Ok(false) };
        let (round, _) = place(reference.round, reference.attempt)?;
        if round < self.round.memory().next_round {
            return Ok(true);
        }
        let digest = malformed(convert::digest("announcement", &reference.announcement))?;
        let outcomes = settled.outcomes.into_iter().map(|outcome| convert::signed("outcomes", Some(outcome)));
        let outcomes: Vec<Signed<Outcome>> = malformed(outcomes.collect::<Result<_, _>>())?;
        let Some(Ok(cohort)) = outcomes.first().map(|first| first.unverified().map(|outcome| outcome.cohort)) else {
            tracing::error!(%round, "settled without an outcome to prove it");
            return Ok(false);
        };
        let signed = check::settled(self.me.federation(), digest, cohort, &outcomes)?;
        if let Some(own) = self.has_combined(digest) {
            if own != signed {
                let (own, signed) = (format!("{own:?}"), format!("{signed:?}"));
                return Err(RunError::Diverged { round: round.get(), own, signed });
            }
            return self.accepted(Event::Settled { cohort, outcomes });
        }
        let Some(view) = self.view.as_ref().filter(|view| view.digest == digest) else {
            tracing::error!(%round, "settled, but its announcement was not shown");
            return Ok(false);
        };
        let (announced, announcement) = (view.signed.clone(), Arc::new(view.announcement.clone()));
        match signed {
            Verdict::Applied { state, .. } if self.me.is_house() => {
                tracing::info!(%round, "catching up");
                if !self.catch_up(announcement, cohort, state).await? {
                    return Err(RunError::Lost(format!("what round {round} needs to be opened is not there")));
                }
            }
            // Nothing to open; but what this house gave to it stays spent, and its ledger must know.
            Verdict::Void { .. } if self.me.is_house() => {
                self.settled_cohort(&announcement, cohort).await?;
            }
            _ => {}
        }
        self.accepted(Event::CaughtUp { signed: announced, cohort, outcomes })
    }

    fn abandoned(&mut self, abandoned: &v1::Abandoned) -> Result<(), RunError> {
        let (round, attempt) = place(abandoned.round, abandoned.attempt)?;
        let heard = self
            .round
            .heard()
            .is_some_and(|heard| heard.announcement().round == round && heard.announcement().attempt == attempt);
        if heard {
            // The reason is for people; the state machine does not ask for it.
            self.offer(Event::Abandoned { round, attempt, reason: Abandonment::Stopped })?;
        }
        if round >= self.round.memory().next_round {
            self.report(round, attempt, Phase::Abandoned, Some(abandoned.reason.clone()));
        }
        Ok(())
    }
}

/// Bytes that a house's part in `round` may need on its disk: the body, the states before and after, and what grows beside.
pub(crate) fn room_needed(charter: &Charter, round: RoundNumber, state: &State) -> Result<u64, RunError> {
    let rounds = &charter.rounds;
    let layout = terms::layout(charter, round, rounds.max_cohort as usize, rounds.may_vanish, state.update_len())?;
    Ok(layout.contribution_bytes() as u64 + 2 * state.to_bytes().len() as u64 + ROOM_BESIDE)
}

/// A committee member whose one-time key is no usable one.
fn unusable_key(announcement: &Announcement) -> Option<&HouseName> {
    let usable = |seat: &&CommitteeSeat| seat.offer.unverified().is_ok_and(|offer| sealing::is_usable(&offer.key));
    announcement.committee.iter().find(|seat| !usable(seat)).map(|seat| seat.offer.signer())
}

fn announcement_of(place: &v1::AttemptRef) -> Result<Digest, RunError> {
    malformed(convert::digest("announcement", &place.announcement))
}

fn place(round: u32, attempt: u32) -> Result<(RoundNumber, Attempt), RunError> {
    malformed(RoundNumber::new(round).and_then(|round| Ok((round, Attempt::new(attempt)?))))
}

fn malformed<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, RunError> {
    result.map_err(|error| RunError::Malformed(error.to_string()))
}
