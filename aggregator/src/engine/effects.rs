//! From a step's effects to rows, and to what follows once the rows are on the disk.

use std::sync::Arc;

use prost::Message as _;
use protocol::charter::PrivacyMode;
use protocol::server::{Effect, Round, Start, Step};
use protocol::{
    Attempt, Conclusion, Digest, Federation, HouseName, Message as _, Notice, RecordLeaf, RoundNumber, Verdict,
};
use protos::convert::to_wire;
use protos::v1;
use protos::v1::event::Kind;

use super::core::{Core, Current, Stage};
use crate::store::{Setting, Write};

/// The rows of one input, and what follows from them.
pub(super) struct Plan<'a> {
    core: &'a Core,
    current: &'a Current,
    federation: &'a Arc<Federation>,
    writes: Vec<Write>,
    after: After,
}

/// What follows once the rows are on the disk.
pub(super) struct After {
    last_event: u64,
    leaf: Option<Vec<u8>>,
    adapter: Option<Digest>,
    fold: bool,
    combine: bool,
    opened: bool,
    next: Next,
}

enum Next {
    Same,
    Begin(RoundNumber, Attempt),
    Completed,
    Halted(String),
}

impl<'a> Plan<'a> {
    pub(super) fn new(core: &'a Core, current: &'a Current, federation: &'a Arc<Federation>) -> Self {
        let after = After {
            last_event: core.last_event,
            leaf: None,
            adapter: None,
            fold: false,
            combine: false,
            opened: false,
            next: Next::Same,
        };
        Self { core, current, federation, writes: Vec::new(), after }
    }

    pub(super) fn write(&mut self, write: Write) {
        self.writes.push(write);
    }

    pub(super) fn write_all(&mut self, writes: Vec<Write>) {
        self.writes.extend(writes);
    }

    pub(super) fn done(self) -> (Vec<Write>, After) {
        (self.writes, self.after)
    }

    /// Rows for all effects of `step`.
    pub(super) fn effects(&mut self, step: &Step) {
        for effect in &step.effects {
            match effect {
                // Decided by time, not by this step: see `announce`.
                Effect::Gathered { .. } => {}
                Effect::Publish(notice) => self.publish(notice, step),
                Effect::FoldCohort(list) => {
                    self.after.fold = true;
                    self.write(Write::Cohort { announcement: list.announcement, body: list.to_bytes() });
                }
                Effect::Combine { .. } => self.after.combine = true,
                Effect::AppendLog(leaf) => self.append(leaf),
                Effect::NextRound(round) => self.begin(*round, Attempt::FIRST),
                Effect::NextAttempt(attempt) => self.begin(self.current.round.frame().round, *attempt),
                Effect::FederationDone => self.complete(),
                Effect::AttemptsUsedUp => {
                    let Start { round, attempt, .. } = self.current.round.frame();
                    self.halt(format!("round {round} failed {attempt} times, as often as the charter allows"));
                }
            }
        }
    }

    /// An event of this attempt.
    pub(super) fn event(&mut self, kind: Kind) {
        let Start { round, attempt, .. } = self.current.round.frame();
        self.event_of(*round, *attempt, kind);
    }

    fn event_of(&mut self, round: RoundNumber, attempt: Attempt, kind: Kind) {
        self.after.last_event += 1;
        let sequence = self.after.last_event;
        self.writes.push(event_row(sequence, round, attempt, kind));
    }

    fn publish(&mut self, notice: &Notice, step: &Step) {
        let kind = match notice {
            // `begin` publishes it, with the step that ends the attempt before.
            Notice::Gathering { .. } => return,
            Notice::Announced(signed) => Kind::Announced(to_wire(signed)),
            Notice::Cohort(list) => Kind::Closed(self.place(list.announcement)),
            Notice::Claimed(signed) => Kind::Claimed(to_wire(signed)),
            Notice::Checked { .. } => {
                let Some(announcement) = self.current.announcement() else { return };
                Kind::Checked(self.place(announcement))
            }
            Notice::Complained(signed) => {
                tracing::warn!(by = %signed.signer(), "a house sealed a wrong share, and its receiver proved it");
                Kind::Complained(to_wire(signed))
            }
            Notice::Answered(_) => return self.answered(step),
            Notice::Settled { announcement, outcomes, .. } => Kind::Settled(v1::Settled {
                attempt: Some(self.place(*announcement)),
                state: verdict(&step.next).map_or_else(Vec::new, |state| state.as_bytes().to_vec()).into(),
                leaf_index: self.core.record.len(),
                outcomes: outcomes.iter().map(to_wire).collect(),
            }),
            Notice::Abandoned { round, attempt, reason } => Kind::Abandoned(v1::Abandoned {
                round: round.get(),
                attempt: attempt.get(),
                reason: format!("{}: {reason}", reason.code()),
            }),
        };
        self.event(kind);
    }

    /// `opened` goes out once t answers are there, and again when there is another answer that may
    /// stand in for a false one: one known to be false, or one that only the houses can check.
    fn answered(&mut self, step: &Step) {
        let Round::Settling(settling) = &step.next else { return };
        let replaces = step.effects.iter().any(|effect| matches!(effect, Effect::Combine { .. }));
        if self.current.opened && !replaces && !self.federation.seals_answers() {
            return;
        }
        let announcement = settling.fixed().announced().digest();
        self.after.opened = true;
        self.event(Kind::Opened(self.place(announcement)));
    }

    fn append(&mut self, leaf: &RecordLeaf) {
        if let Conclusion::Settled(Verdict::Applied { state, .. }) = leaf.conclusion {
            self.after.adapter = Some(state);
        }
        let body = leaf.to_bytes();
        self.write(Write::Leaf { position: self.core.record.len(), body: body.clone() });
        self.after.leaf = Some(body);
    }

    fn halt(&mut self, reason: String) {
        self.write(Write::Set(Setting::Halted, reason.clone().into_bytes()));
        self.after.next = Next::Halted(reason);
    }

    /// Houses that the charter may still charge for an attempt; all under mode `none`.
    fn chargeable(&self) -> usize {
        let charter = self.federation.charter();
        let last = self.after.leaf.as_ref().and_then(|body| RecordLeaf::from_bytes(body).ok());
        let charged = |house: &HouseName| {
            let now = last.as_ref().is_some_and(|leaf| leaf.houses.contains(house));
            self.core.record.cohorts_of(house) + u32::from(now)
        };
        let free = charter.privacy.mode == PrivacyMode::None;
        charter.houses.iter().filter(|house| free || charged(&house.name) < charter.charged_rounds()).count()
    }

    fn begin(&mut self, round: RoundNumber, attempt: Attempt) {
        let (left, rounds) = (self.chargeable(), &self.federation.charter().rounds);
        if left < rounds.min_cohort as usize {
            let (most, done, all) = (self.federation.charter().charged_rounds(), round.get() - 1, rounds.count);
            return self.halt(format!(
                "only {left} houses may still be charged for an attempt, of {most} each that the charter's epsilon is for (rounds.charged): it ends after {done} of {all} rounds"
            ));
        }
        self.event_of(round, attempt, gathering(round, attempt));
        self.after.next = Next::Begin(round, attempt);
    }

    fn complete(&mut self) {
        let state = self.after.adapter.unwrap_or(self.core.adapter);
        // As many as were applied: all of the charter's, or those after which t houses signed that the run is over.
        let rounds = self.current.round.frame().round.get();
        self.event(Kind::Completed(v1::Completed { rounds, state: state.as_bytes().to_vec().into() }));
        self.after.next = Next::Completed;
    }

    fn place(&self, announcement: Digest) -> v1::AttemptRef {
        let Start { round, attempt, .. } = self.current.round.frame();
        place(*round, *attempt, announcement)
    }
}

impl Core {
    /// What follows from a committed step. Nothing here can fail.
    pub(super) fn carry_out(&mut self, next: Round, after: After) {
        let (Stage::Running(current), Some(federation)) = (&mut self.stage, self.federation.clone()) else { return };
        current.round = next;
        current.rows += 1;
        current.opened |= after.opened;
        if let Some(body) = after.leaf {
            self.record.push(body);
        }
        if let Some(adapter) = after.adapter {
            self.adapter = adapter;
        }
        if after.fold {
            self.fold();
        }
        if after.combine {
            self.open_current();
        }
        match after.next {
            Next::Same => {}
            Next::Begin(round, attempt) => {
                if attempt.get() == self.charter.rounds.max_attempts && attempt > Attempt::FIRST {
                    tracing::error!(%round, %attempt, "the last attempt at this round: if it fails too, the federation halts for good");
                }
                let start = Start { round, attempt, adapter: self.adapter, record: self.record.head() };
                self.end_attempt(Stage::Running(Box::new(Current::new(&federation, start))));
            }
            Next::Completed => self.end_attempt(Stage::Completed),
            Next::Halted(reason) => {
                tracing::error!(reason, "the federation is halted");
                self.end_attempt(Stage::Halted(reason));
            }
        }
        self.announce_events(after.last_event);
    }

    fn end_attempt(&mut self, stage: Stage) {
        if let Stage::Running(current) = std::mem::replace(&mut self.stage, stage) {
            let start = current.round.frame();
            tracing::info!(round = %start.round, attempt = %start.attempt, ended = current.round.name(), "attempt over");
            self.previous = Some(current.round);
        }
    }

    /// Lets watchers know up to where the history goes.
    pub(super) fn announce_events(&mut self, last: u64) {
        self.last_event = last;
        self.publish.send_replace(last);
    }
}

/// The event that opens an attempt.
pub(super) fn gathering(round: RoundNumber, attempt: Attempt) -> Kind {
    Kind::Gathering(v1::Gathering { round: round.get(), attempt: attempt.get() })
}

/// An attempt on the wire.
pub(super) fn place(round: RoundNumber, attempt: Attempt, announcement: Digest) -> v1::AttemptRef {
    let announcement = announcement.as_bytes().to_vec().into();
    v1::AttemptRef { round: round.get(), attempt: attempt.get(), announcement }
}

/// The row of an event.
pub(super) fn event_row(sequence: u64, round: RoundNumber, attempt: Attempt, kind: Kind) -> Write {
    let name = match &kind {
        Kind::Gathering(_) => "gathering",
        Kind::Announced(_) => "announced",
        Kind::Closed(_) => "closed",
        Kind::Claimed(_) => "claimed",
        Kind::Checked(_) => "checked",
        Kind::Complained(_) => "complained",
        Kind::Opened(_) => "opened",
        Kind::Settled(_) => "settled",
        Kind::Abandoned(_) => "abandoned",
        Kind::Completed(_) => "completed",
    };
    let body = v1::Event { sequence, live: false, kind: Some(kind) }.encode_to_vec();
    Write::Event { sequence, round, attempt, kind: name, body }
}

/// The new state's digest, of a finished round that was applied.
fn verdict(round: &Round) -> Option<Digest> {
    match round {
        Round::Finished(finished) => match finished.verdict() {
            Verdict::Applied { state, .. } => Some(state),
            Verdict::Void { .. } => None,
        },
        _ => None,
    }
}
