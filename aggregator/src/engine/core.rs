//! The engine's loop and its one rule: step, commit, then act and answer.

use std::sync::Arc;
use std::time::Duration;

use adapter::State;
use protocol::server::{Choice, Event, Input, Isolation, Round, Start};
use protocol::{Charter, Digest, Federation, HouseName, Message as _, Signed, Statement, Verdict};
use secure_sum::{Committee, Layout};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::effects::Plan;
use super::open::{Applied, Opened};
use super::record::Record;
use super::{Admission, Command, FalseSum, Pace};
use crate::clock;
use crate::identity::Identity;
use crate::refusal::Refusal;
use crate::store::{Store, StoredContribution, Write};
use terms::Terms;

/// Nothing to wait for: look again after this long.
pub(super) const IDLE: Duration = Duration::from_secs(3_600);
/// After a failure of ours, try again after this long.
pub(super) const RETRY: Duration = Duration::from_secs(2);

/// Everything that the engine's task owns.
pub(super) struct Core {
    pub(super) charter: Charter,
    pub(super) identity: Arc<Identity>,
    pub(super) store: Store,
    pub(super) terms: Terms,
    pub(super) pace: Pace,
    pub(super) fault: Option<FalseSum>,
    /// Charter and roster, once all have joined.
    pub(super) federation: Option<Arc<Federation>>,
    pub(super) record: Record,
    /// The state that the federation agrees on.
    pub(super) adapter: Digest,
    /// Under policy `aggregator`: the state as far as this program has opened it.
    pub(super) own: Option<Own>,
    /// What opening the latest sum here came to, until t houses agree.
    pub(super) candidate: Option<(Digest, Verdict, Option<Applied>)>,
    /// The disk has no room for a round, and that was said.
    pub(super) short_of_room: bool,
    /// After a failed opening: not again before.
    pub(super) open_again: Option<Instant>,
    /// Trained weights, and so values of a contribution.
    pub(super) count: usize,
    pub(super) stage: Stage,
    /// Who is left out, after so many leaves and readmissions.
    pub(super) isolation: Option<((u64, usize), Isolation)>,
    /// The attempt before, for repeats.
    pub(super) previous: Option<Round>,
    pub(super) last_event: u64,
    pub(super) publish: watch::Sender<u64>,
    pub(super) jobs: JoinSet<Done>,
}

/// A state, with its digest: that is asked for at every command, and takes reading all of a state.
#[derive(Clone)]
pub(super) struct Own {
    pub(super) state: State,
    pub(super) digest: Digest,
}

impl Own {
    pub(super) fn new(state: State) -> Self {
        let digest = Digest::from_bytes(state.digest());
        Self { state, digest }
    }
}

/// Where the federation is.
pub(super) enum Stage {
    /// Members are still missing.
    Enrolling,
    /// A round is under way.
    Running(Box<Current>),
    /// The last round is settled.
    Completed,
    /// Given up, and why.
    Halted(String),
}

/// The attempt under way.
pub(super) struct Current {
    pub(super) round: Round,
    /// Its rows so far.
    pub(super) rows: u64,
    /// The layout, once announced.
    pub(super) layout: Option<Arc<Layout>>,
    /// Whether the sum is kept.
    pub(super) summed: bool,
    /// Whether `opened` was published.
    pub(super) opened: bool,
    /// Whom isolation lets take part, as it was said last.
    pub(super) choice: Option<Choice>,
    /// Too few houses are left that may take part, and that was said.
    pub(super) unable: bool,
    /// Since when enough houses are ready.
    pub(super) enough_since: Option<Instant>,
    /// Adding the cohort up failed here: not again before.
    pub(super) fold_again: Option<Instant>,
    /// A member without one-time keys, already reported.
    pub(super) reported: Option<HouseName>,
}

impl Current {
    pub(super) fn new(federation: &Arc<Federation>, start: Start) -> Self {
        Self::at(Round::start(Arc::clone(federation), start), 0)
    }

    pub(super) fn at(round: Round, rows: u64) -> Self {
        Self {
            round,
            rows,
            layout: None,
            summed: false,
            opened: false,
            choice: None,
            unable: false,
            enough_since: None,
            fold_again: None,
            reported: None,
        }
    }

    /// Digest of the announcement, once there is one.
    pub(super) fn announcement(&self) -> Option<Digest> {
        self.round.announced().map(protocol::server::Announced::digest)
    }
}

/// Long work that has ended.
pub(super) enum Done {
    /// The cohort's ciphertexts are added and kept.
    Folded { announcement: Digest, sum: Result<Digest, Refusal> },
    /// A sum was opened.
    Opened { announcement: Digest, opened: Box<Result<Opened, Refusal>> },
}

impl Core {
    /// Bytes of a state under this charter.
    pub(super) fn state_bytes(&self) -> usize {
        self.terms.first_state().map_or(0, |state| state.to_bytes().len())
    }

    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        loop {
            let wait = match self.proceed().await {
                Ok(wait) => wait,
                Err(refusal) => {
                    tracing::error!(error = %refusal, "the round cannot go on now; trying again");
                    RETRY
                }
            };
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(Command::Stop(reply)) => {
                        // Whoever asked may have gone.
                        let _ = reply.send(());
                        return;
                    }
                    Some(command) => self.handle(command).await,
                    None => return,
                },
                Some(done) = self.jobs.join_next() => match done {
                    Ok(done) => self.finished(done).await,
                    Err(error) => tracing::error!(%error, "a job of the round ended unexpectedly"),
                },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Whatever time and circumstances allow now; returns how long to wait for more.
    async fn proceed(&mut self) -> Result<Duration, Refusal> {
        let fold = self.fold_when_due();
        Ok(self.go_on().await?.min(fold))
    }

    async fn go_on(&mut self) -> Result<Duration, Refusal> {
        if matches!(self.stage, Stage::Enrolling) {
            self.enrolled().await?;
        }
        self.adopt().await?;
        loop {
            let Stage::Running(current) = &self.stage else {
                return Ok(if self.is_behind() { RETRY } else { IDLE });
            };
            if let Some(deadline_ms) = current.round.next_deadline_ms() {
                let left_ms = deadline_ms.saturating_sub(clock::now_ms());
                if left_ms > 0 {
                    return Ok(Duration::from_millis(left_ms));
                }
                self.input(Event::Tick, Vec::new()).await?;
            } else {
                return Ok(self.gather().await?.unwrap_or(IDLE));
            }
        }
    }

    /// The roster is frozen before the last one to join hears that it has.
    async fn look(&mut self) -> Result<(), Refusal> {
        if matches!(self.stage, Stage::Enrolling) { self.enrolled().await } else { Ok(()) }
    }

    /// Policy `aggregator`: the round before is still being opened here.
    pub(super) fn is_behind(&self) -> bool {
        self.own.as_ref().is_some_and(|own| own.digest != self.adapter)
    }

    async fn handle(&mut self, command: Command) {
        // A caller that has gone needs no answer.
        match command {
            Command::Look(reply) => drop(reply.send(self.look().await)),
            Command::Ready(ready, reply) => drop(reply.send(self.input(Event::Ready(ready), Vec::new()).await)),
            Command::Admit(manifest, reply) => drop(reply.send(self.admit(manifest).await)),
            Command::Contribute(stored, reply) => drop(reply.send(self.contribute(stored).await)),
            Command::Checksums(checksums, reply) => drop(reply.send(self.checksums(checksums).await)),
            Command::Judge(complaint, reply) => drop(reply.send(self.evidence(&complaint).await)),
            Command::Complaint(complaint, reply) => {
                let result = match spoken(&complaint) {
                    Ok(statement) => self.of_member(statement.announcement, Event::Complaint(complaint)).await,
                    Err(refusal) => Err(refusal),
                };
                drop(reply.send(result));
            }
            Command::Answer(answer, reply) => {
                let result = match spoken(&answer) {
                    Ok(statement) => self.of_member(statement.announcement, Event::Answer(answer)).await,
                    Err(refusal) => Err(refusal),
                };
                drop(reply.send(result));
            }
            Command::Outcome(outcome, reply) => {
                let result = match spoken(&outcome) {
                    Ok(statement) => self.of_member(statement.announcement, Event::Outcome(outcome)).await,
                    Err(refusal) => Err(refusal),
                };
                drop(reply.send(result));
            }
            Command::Approve(approval, reply) => drop(reply.send(self.approve(&approval).await)),
            Command::WantsFinal(reply) => drop(reply.send(self.expects_final().await)),
            Command::FinalState(state, reply) => drop(reply.send(self.take_final(state).await)),
            Command::Cosign { caller, size, line, reply } => drop(reply.send(self.cosign(&caller, size, line).await)),
            Command::Checkpoint(reply) => drop(reply.send(Ok(self.record.checkpoint(&self.charter, &self.identity)))),
            Command::Inclusion { leaf, size, reply } => drop(reply.send(self.record.inclusion(leaf, size))),
            Command::Consistency { old, new, reply } => drop(reply.send(self.record.consistency(old, new))),
            Command::Stop(_) => {}
        }
    }

    /// Offers an input to the attempt under way. `beside` is written in the same transaction.
    pub(super) async fn input(&mut self, event: Event, beside: Vec<Write>) -> Result<(), Refusal> {
        let federation = self.federation.clone();
        let (Stage::Running(current), Some(federation)) = (&self.stage, federation) else {
            return Err(self.not_running().await);
        };
        let input = Input { at_ms: clock::now_ms(), event };
        let step = current.round.step(&input)?;
        if !step.store {
            return Ok(());
        }
        let start = current.round.frame();
        let mut plan = Plan::new(self, current, &federation);
        plan.write(Write::Step {
            round: start.round,
            attempt: start.attempt,
            sequence: current.rows + 1,
            kind: (&input.event).into(),
            body: input.to_bytes(),
        });
        plan.write_all(beside);
        plan.effects(&step);
        let (writes, after) = plan.done();
        self.store.commit(&writes).await?;
        tracing::debug!(round = %start.round, attempt = %start.attempt, input = input.event.kind(), state = step.next.name(), "step");
        self.carry_out(step.next, after);
        if !matches!(self.stage, Stage::Running(_)) {
            // No announcement follows that would do it.
            self.clear_earlier().await;
        }
        Ok(())
    }

    /// An input about the attempt with this announcement: the current one, or an earlier one, where it is a repeat.
    pub(super) async fn of_member(&mut self, announcement: Digest, event: Event) -> Result<(), Refusal> {
        if self.is_current(&announcement) {
            return self.input(event, Vec::new()).await;
        }
        let previous = self.previous.as_ref();
        if let Some(round) = previous.filter(|round| round.announced().is_some_and(|one| one.digest() == announcement))
        {
            // Whatever comes after the end changes nothing, or is refused.
            round.step(&Input { at_ms: clock::now_ms(), event })?;
            return Ok(());
        }
        if self.store.attempt(&announcement).await?.is_some() {
            return Ok(());
        }
        self.input(event, Vec::new()).await
    }

    fn is_current(&self, announcement: &Digest) -> bool {
        matches!(&self.stage, Stage::Running(current) if current.announcement() == Some(*announcement))
    }

    async fn admit(&mut self, manifest: Signed<protocol::Contribution>) -> Result<Option<Admission>, Refusal> {
        let contribution = spoken(&manifest)?;
        if !self.is_current(&contribution.announcement) {
            let before = self.store.contributions(&contribution.announcement).await?;
            if before.iter().any(|stored| stored.manifest == manifest) {
                return Ok(None);
            }
        }
        let (Stage::Running(current), Some(federation)) = (&self.stage, &self.federation) else {
            return Err(self.not_running().await);
        };
        let input = Input { at_ms: clock::now_ms(), event: Event::Contribution(manifest) };
        if !current.round.step(&input)?.store {
            return Ok(None);
        }
        let layout = current.layout.clone().ok_or(Refusal::NotYet { what: "the round's layout" })?;
        let announced = current.round.announced().ok_or(Refusal::NotYet { what: "the announcement" })?;
        let seats = announced.announcement().committee.iter();
        let keys = seats.map(|seat| spoken(&seat.offer).map(|offer| offer.key)).collect::<Result<_, _>>()?;
        Ok(Some(Admission { layout, committee: committee(federation)?, keys, contribution }))
    }

    async fn contribute(&mut self, stored: StoredContribution) -> Result<(), Refusal> {
        let announcement = spoken(&stored.manifest)?.announcement;
        let event = Event::Contribution(stored.manifest.clone());
        self.input(event, vec![Write::Contribution { announcement, stored }]).await
    }

    async fn cosign(&mut self, caller: &HouseName, size: u64, line: String) -> Result<(), Refusal> {
        let Some(federation) = &self.federation else {
            return Err(Refusal::RosterIncomplete { missing: self.missing().await? });
        };
        if let Some(write) = self.record.cosign(federation, caller, (size, line))? {
            self.store.commit(std::slice::from_ref(&write)).await?;
            self.record.cosigned(write);
        }
        Ok(())
    }

    async fn not_running(&self) -> Refusal {
        match &self.stage {
            Stage::Enrolling => match self.missing().await {
                Ok(missing) => Refusal::RosterIncomplete { missing },
                Err(refusal) => refusal,
            },
            Stage::Halted(reason) => Refusal::Halted(reason.clone()),
            Stage::Running(_) | Stage::Completed => Refusal::Over { what: "the last round" },
        }
    }

    /// Stops for good: the operator must look.
    pub(super) async fn halt(&mut self, reason: String) -> Result<(), Refusal> {
        tracing::error!(reason, "the federation is halted");
        self.store.commit(&[Write::Set(crate::store::Setting::Halted, reason.clone().into_bytes())]).await?;
        self.stage = Stage::Halted(reason);
        Ok(())
    }
}

/// What a signed message says, before its signature is checked.
pub(super) fn spoken<T: Statement>(signed: &Signed<T>) -> Result<T, Refusal> {
    signed.unverified().map_err(|error| {
        let who = protocol::Party::named(signed.signer());
        Refusal::Protocol(protocol::Rejection::Malformed { who, error })
    })
}

/// The committee of a federation.
pub(super) fn committee(federation: &Federation) -> Result<Committee, Refusal> {
    terms::committee(federation.charter()).map_err(|error| Refusal::Failure(error.to_string()))
}
