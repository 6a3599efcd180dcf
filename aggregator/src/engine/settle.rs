//! What becomes of states: the aggregator's own, where the charter lets it open, and the final one.

use protocol::message::Approval;
use protocol::server::{Event, Round};
use protocol::{Digest, Message as _, Rejection, Signed};
use tokio::time::Instant;

use super::core::{Core, Done, Own, RETRY, Stage, committee};
use super::open::{Applied, Opened, open_attempt};
use crate::refusal::Refusal;
use crate::store::{Setting, Shelf, Write};

impl Core {
    /// A job has ended.
    pub(super) async fn finished(&mut self, done: Done) {
        let result = match done {
            Done::Folded { announcement, sum } => self.folded(announcement, sum).await,
            Done::Opened { announcement, opened } => match *opened {
                Ok(opened) => self.opened(announcement, opened).await,
                Err(refusal) => {
                    self.open_again = Some(Instant::now() + RETRY);
                    Err(refusal)
                }
            },
        };
        if let Err(refusal) = result {
            tracing::error!(error = %refusal, "a job's result could not be used");
        }
    }

    /// Policy `aggregator`: starts opening the current attempt, once its sum is kept and t answers are there.
    pub(super) fn open_current(&mut self) {
        let Stage::Running(current) = &self.stage else { return };
        let Some(Own { state: own, .. }) = self.own.clone().filter(|_| current.summed) else { return };
        let (Round::Settling(_), Some(federation)) = (&current.round, &self.federation) else { return };
        let (Ok(committee), Some(announcement)) = (committee(federation), current.announcement()) else { return };
        let start = current.round.frame();
        let (store, charter, place) = (self.store.clone(), self.charter.clone(), (start.round, start.attempt));
        self.jobs.spawn(async move {
            Done::Opened { announcement, opened: Box::new(open_attempt(&store, charter, committee, place, own).await) }
        });
    }

    /// A sum was opened here: name false answers, and keep the state until t houses agree on it.
    async fn opened(&mut self, announcement: Digest, opened: Opened) -> Result<(), Refusal> {
        let is_current = matches!(&self.stage, Stage::Running(current) if current.announcement() == Some(announcement));
        if is_current {
            for index in &opened.false_answers {
                tracing::warn!(index = index.get(), "a member answered with a false sum of shares");
                // The houses may have agreed in the meantime; then nothing is left to name.
                if let Err(refusal) = self.input(Event::FalseAnswer(*index), Vec::new()).await {
                    tracing::info!(reason = %refusal, "the false answer came too late to matter");
                }
            }
        }
        if let Some(verdict) = opened.verdict {
            tracing::info!(?verdict, "opened");
            self.candidate = Some((announcement, verdict, opened.applied));
        }
        self.adopt().await
    }

    /// Takes the state that was opened here over once t houses signed the same; another one halts the federation.
    pub(super) async fn adopt(&mut self) -> Result<(), Refusal> {
        let Some(own) = &self.own else { return Ok(()) };
        if own.digest == self.adapter {
            return self.hand_over_own().await;
        }
        let applied = self.record.last_applied().map(|(announcement, _)| announcement);
        let candidate = self.candidate.take().filter(|(announcement, ..)| Some(*announcement) == applied);
        let Some((_, verdict, applied)) = candidate else { return self.open_previous() };
        let applied = applied.map(|Applied { state, metrics }| (Own::new(state), metrics));
        match applied.filter(|(opened, _)| opened.digest == self.adapter) {
            Some((opened, metrics)) => {
                let blob = self.store.blobs().put(Shelf::Kept, opened.state.to_bytes().into()).await?;
                let state = Write::Set(Setting::State, blob.as_bytes().to_vec());
                let metrics = metrics.map(Write::Metrics);
                let former = self.store.setting(Setting::State).await?;
                self.store.commit(&std::iter::once(state).chain(metrics).collect::<Vec<_>>()).await?;
                self.own = Some(opened);
                self.drop_state(former, blob).await;
                self.hand_over_own().await
            }
            None => {
                let reason = format!("opened here: {verdict:?}; signed by the houses: state {}", self.adapter);
                self.halt(reason).await
            }
        }
    }

    /// Only the newest state is read again. One that stays costs room, and nothing else.
    async fn drop_state(&self, former: Option<Vec<u8>>, newest: Digest) {
        let former = former.and_then(|former| Some(Digest::from_bytes(former.as_slice().try_into().ok()?)));
        let Some(former) = former.filter(|former| *former != newest) else { return };
        if let Err(error) = self.store.blobs().remove(Shelf::Kept, &former).await {
            tracing::warn!(%error, "the state before could not be removed");
        }
    }

    /// The houses settled a round before it was opened here (a restart): open it from what is stored.
    fn open_previous(&mut self) -> Result<(), Refusal> {
        if !self.jobs.is_empty() || self.open_again.is_some_and(|again| again > Instant::now()) {
            return Ok(());
        }
        let (Some(Own { state: own, .. }), Some(federation)) = (self.own.clone(), &self.federation) else {
            return Ok(());
        };
        let Some((announcement, place)) = self.record.last_applied() else { return Ok(()) };
        let committee = committee(federation)?;
        let (store, charter) = (self.store.clone(), self.charter.clone());
        self.jobs.spawn(async move {
            Done::Opened { announcement, opened: Box::new(open_attempt(&store, charter, committee, place, own).await) }
        });
        Ok(())
    }

    /// Policy `aggregator`: after the last round its own state is the final one.
    async fn hand_over_own(&mut self) -> Result<(), Refusal> {
        let (Stage::Completed, Some(own)) = (&self.stage, &self.own) else { return Ok(()) };
        if self.store.setting(Setting::FinalState).await?.is_none() {
            self.keep_final(own.state.to_bytes()).await?;
        }
        Ok(())
    }

    async fn keep_final(&self, state: Vec<u8>) -> Result<(), Refusal> {
        let blob = self.store.blobs().put(Shelf::Kept, state.into()).await?;
        self.store.commit(&[Write::Set(Setting::FinalState, blob.as_bytes().to_vec())]).await?;
        tracing::info!("the final adapter is here: take it home with `export`");
        Ok(())
    }

    /// Notes a house's consent to hand the final state over; all consents when somebody should now send it.
    pub(super) async fn approve(
        &mut self,
        approval: &Signed<Approval>,
    ) -> Result<Option<Vec<Signed<Approval>>>, Refusal> {
        let Some(federation) = &self.federation else {
            return Err(Refusal::NotYet { what: "the last round" });
        };
        let statement = approval.verify(federation.roster())?;
        let who = protocol::Party::named(&statement.member);
        let is_house = federation.roster().member(&statement.member).is_some_and(protocol::Member::is_house);
        if !is_house {
            return Err(Rejection::NotAHouse { who }.into());
        }
        let (expected, found) = (self.charter.digest(), statement.charter);
        if found != expected {
            return Err(Rejection::WrongCharter { who, expected, found }.into());
        }
        if !matches!(self.stage, Stage::Completed) {
            return Err(Refusal::NotYet { what: "the last round" });
        }
        if statement.state != self.adapter {
            let (expected, found) = (self.adapter, statement.state);
            return Err(Rejection::WrongAdapter { who, expected, found }.into());
        }
        let (member, body) = (statement.member, approval.to_bytes());
        self.store.commit(&[Write::Approval { member, body }]).await?;
        if !self.wants_final().await? {
            return Ok(None);
        }
        let damaged = |_| Refusal::Failure("a stored approval cannot be read".into());
        let approvals = self.store.approvals().await?;
        approvals.iter().map(|body| Signed::from_bytes(body)).collect::<Result<_, _>>().map_err(damaged).map(Some)
    }

    /// Whether a member's final state is to be read: `false` when it is here, a refusal before enough houses approved.
    pub(super) async fn expects_final(&self) -> Result<bool, Refusal> {
        if self.store.setting(Setting::FinalState).await?.is_some() {
            return Ok(false);
        }
        if self.wants_final().await? { Ok(true) } else { Err(unapproved()) }
    }

    /// Takes the final state in, when it is wanted and the one that was agreed on.
    pub(super) async fn take_final(&mut self, state: Vec<u8>) -> Result<(), Refusal> {
        let read = self.terms.read_state(&state).map_err(|error| Refusal::FinalState(error.to_string()))?;
        let found = Digest::from_bytes(read.digest());
        if found != self.adapter {
            return Err(Refusal::FinalState(format!("its digest is {found}; the houses signed {}", self.adapter)));
        }
        if self.store.setting(Setting::FinalState).await?.is_some() {
            return Ok(());
        }
        if !self.wants_final().await? {
            return Err(unapproved());
        }
        self.keep_final(state).await
    }

    async fn wants_final(&self) -> Result<bool, Refusal> {
        let needed = usize::from(self.charter.committee.threshold);
        let approved = self.store.approvals().await?.len() >= needed;
        let completed = matches!(self.stage, Stage::Completed);
        Ok(completed && approved && self.store.setting(Setting::FinalState).await?.is_none())
    }
}

fn unapproved() -> Refusal {
    Refusal::FinalState("too few houses have approved handing it over".into())
}
