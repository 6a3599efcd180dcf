//! From an input to its effects, and from an effect to what is done about it.

use std::sync::Arc;

use protocol::client::{Effect, EffectKind, Event, Input, Round};
use protocol::{Attempt, Digest, Outcome, Ready, Rejection, RoundNumber, Signed, Verdict};
use protos::convert::to_wire;
use protos::v1;

use super::member::{Member, write_adapter};
use super::{RunError, is_refusal, lost, now_ms};
use crate::crash::{Moment, Place};
use crate::progress::Phase;
use crate::store::Slot;

impl Member {
    /// Offers an event to the protocol. A rejection is logged with its rule; the state then stays as it was.
    pub(super) fn offer(&mut self, event: Event) -> Result<(), RunError> {
        self.accepted(event).map(drop)
    }

    /// As [`Member::offer`], and whether it was accepted.
    pub(super) fn accepted(&mut self, event: Event) -> Result<bool, RunError> {
        let kind = event.kind();
        // What the aggregator asked for and this house refused is told to the house, not only logged.
        let told = matches!(
            event,
            Event::Announced { .. }
                | Event::Cohort(_)
                | Event::Claimed(_)
                | Event::Checked { .. }
                | Event::CaughtUp { .. }
        );
        match self.round.step(&Input { at_ms: now_ms(), event }) {
            Ok(step) => {
                tracing::debug!(kind, from = self.round.name(), to = step.next.name(), "step");
                self.round = step.next;
                self.pending.extend(step.effects);
                Ok(true)
            }
            Err(rejection) => {
                let place = self.view.as_ref().map(|view| (view.announcement.round, view.announcement.attempt));
                if let (Some((round, attempt)), true) = (place, told) {
                    self.refuse(round, attempt, &rejection);
                } else {
                    tracing::info!(kind, state = self.round.name(), rule = rejection.code(), "refused: {rejection}");
                }
                Ok(false)
            }
        }
    }

    /// Tells the house that it refused what the aggregator asked for, and by which rule.
    pub(super) fn refuse(&self, round: RoundNumber, attempt: Attempt, rejection: &Rejection) {
        self.report(round, attempt, Phase::Refused, Some(format!("{}: {rejection}", rejection.code())));
    }

    fn report_refused(&self, round: RoundNumber, attempt: Attempt, error: &RunError) {
        self.report(round, attempt, Phase::Refused, Some(error.to_string()));
    }

    /// Carries out what is pending, in order. What a lost connection stops stays pending.
    pub(super) async fn pump(&mut self) -> Result<(), RunError> {
        while let Some(effect) = self.pending.pop_front() {
            let (again, kind) = (effect.clone(), EffectKind::from(&effect));
            self.options.crash.reach(Place::Effect(kind, Moment::Before))?;
            if let Err(error) = self.carry(effect).await {
                if matches!(error, RunError::Lost(_)) {
                    self.pending.push_front(again);
                }
                return Err(error);
            }
            self.options.crash.reach(Place::Effect(kind, Moment::After))?;
        }
        Ok(())
    }

    async fn carry(&mut self, effect: Effect) -> Result<(), RunError> {
        match effect {
            Effect::Remember(memory) => Ok(self.store.put_memory(&memory)?),
            Effect::SendReady(ready) => self.send_ready(&ready).await,
            Effect::Train(announcement) => match self.train(&announcement) {
                // The house cannot take part in this attempt; it stays of the committee.
                Err(error) if matches!(error, RunError::Train(_)) || error.is_refused_charge() => {
                    self.report_refused(announcement.round, announcement.attempt, &error);
                    Ok(())
                }
                other => other,
            },
            Effect::Submit(signed) => match self.submit(&signed) {
                Err(error) if error.is_refused_charge() => {
                    let place = self.view.as_ref().map(|view| (view.announcement.round, view.announcement.attempt));
                    if let Some((round, attempt)) = place {
                        self.report_refused(round, attempt, &error);
                    }
                    Ok(())
                }
                other => other,
            },
            Effect::CheckShares(list) => self.look_at_shares(&list).await,
            Effect::Check { list, claim, bodies } => self.attest(&list, &claim, &bodies).await,
            Effect::SendChecksum(signed) => self.send_checksum(&signed).await,
            Effect::SendComplaint(signed) => self.send_complaint(&signed).await,
            Effect::Answer { list, body_sum } => self.answer(&list, body_sum).await,
            Effect::SendAnswer(signed) => self.send_answer(&signed).await,
            Effect::EraseOneTimeKeys { sequence } => {
                self.shares = None;
                Ok(self.store.erase_keys(sequence)?)
            }
            Effect::Combine { list, checked, answers } => {
                let Some(heard) = self.round.heard() else { return Ok(()) };
                let announcement = Arc::clone(heard.announcement());
                self.combine(announcement, list, &checked, answers).await
            }
            Effect::SendOutcome(outcome) => self.send_outcome(&outcome).await,
            Effect::Settled(verdict) => self.settle(verdict),
        }
    }

    async fn send_ready(&mut self, ready: &Ready) -> Result<(), RunError> {
        let signed = Signed::sign(ready, &self.identity.signer);
        match self.client.mark_ready(v1::MarkReadyRequest { ready: Some(to_wire(&signed)) }).await {
            Ok(_) => self.report(ready.round, ready.attempt, Phase::Ready, None),
            Err(status) if is_refusal(&status) => tracing::info!("not taken as ready: {}", status.message()),
            Err(status) => return Err(lost(&status)),
        }
        Ok(())
    }

    async fn send_outcome(&mut self, outcome: &Outcome) -> Result<(), RunError> {
        let signed = Signed::sign(outcome, &self.identity.signer);
        match self.client.put_outcome(v1::PutOutcomeRequest { outcome: Some(to_wire(&signed)) }).await {
            Ok(_) => Ok(()),
            Err(status) if is_refusal(&status) => {
                tracing::warn!("the outcome was not taken: {}", status.message());
                Ok(())
            }
            Err(status) => Err(lost(&status)),
        }
    }

    /// t houses agree: the candidate becomes the state, or is dropped.
    fn settle(&mut self, verdict: Verdict) -> Result<(), RunError> {
        let place = self.view.as_ref().map(|view| (view.announcement.round, view.announcement.attempt));
        let candidate = self.candidate.take();
        let (phase, reason) = match verdict {
            Verdict::Void { reason } => (Phase::Void, Some(format!("{}: {reason}", reason.code()))),
            Verdict::Applied { .. } if !self.me.is_house() => (Phase::Applied, None),
            Verdict::Applied { state, .. } => {
                let candidate = candidate.filter(|kept| Digest::from_bytes(kept.digest()) == state);
                let missing = || RunError::Adapter(format!("the state {state} that was signed is not at hand"));
                self.state = candidate.ok_or_else(missing)?;
                self.store.put_state(Slot::Adapter, &self.state.to_bytes())?;
                write_adapter(&self.options, &self.state, &self.base_biases)?;
                (Phase::Applied, None)
            }
        };
        if let Some((round, attempt)) = place {
            self.report(round, attempt, phase, reason);
            self.store.forget_before(round.get())?;
        }
        Ok(())
    }

    /// Whether the state machine has heard the announcement with this digest and is still in its round.
    pub(super) fn has_heard(&self, digest: Digest) -> bool {
        self.round.heard().is_some_and(|heard| heard.digest() == digest)
    }

    /// Whether this house has signed a verdict about the announcement with this digest in this process.
    pub(super) fn has_combined(&self, digest: Digest) -> Option<Verdict> {
        match &self.round {
            Round::Combined(combined) if combined.heard().digest() == digest => Some(combined.verdict()),
            _ => None,
        }
    }
}
