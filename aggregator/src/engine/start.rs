//! Taking stored rounds up again, and the first round once everybody has joined.

use std::sync::Arc;

use protocol::server::{Event, Input, Round, Start};
use protocol::{Attempt, Digest, Federation, HouseName, Member, Message as _, PublicKey, Roster, RoundNumber, Signed};
use secure_sum::Layout;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::core::{Core, Current, Own, Stage};
use super::effects::{event_row, gathering};
use super::record::Record;
use super::{FalseSum, Pace};
use crate::refusal::Refusal;
use crate::setup::Home;
use crate::store::{EnrolledMember, Setting, Shelf, Store, StoreError, Write};
use terms::Terms;

impl Core {
    /// The engine as its storage says it was.
    pub(super) async fn start(
        home: &Home,
        (pace, fault): (Pace, Option<FalseSum>),
        publish: watch::Sender<u64>,
    ) -> Result<Self, Refusal> {
        let failed = |error: terms::TermsError| Refusal::Failure(error.to_string());
        let terms = Terms::of(&home.charter).map_err(failed)?;
        let first = terms.first_state().map_err(failed)?;
        let record = Record::load(&home.store).await?;
        let mut core = Self {
            adapter: record.last_state().unwrap_or_else(|| Digest::from_bytes(first.digest())),
            count: first.update_len(),
            charter: home.charter.clone(),
            identity: Arc::clone(&home.identity),
            store: home.store.clone(),
            terms,
            pace,
            fault,
            federation: None,
            record,
            own: None,
            candidate: None,
            short_of_room: false,
            open_again: None,
            stage: Stage::Enrolling,
            isolation: None,
            previous: None,
            last_event: 0,
            publish,
            jobs: JoinSet::new(),
        };
        core.announce_events(home.store.last_event().await?);
        if let Some(roster) = home.store.setting(Setting::Roster).await? {
            let damaged = |error: &dyn std::fmt::Display| Refusal::Failure(format!("the stored roster: {error}"));
            let roster = Roster::from_bytes(&roster).map_err(|error| damaged(&error))?;
            let federation = Federation::new(home.charter.clone(), roster).map_err(|error| damaged(&error))?;
            core.federation = Some(Arc::new(federation));
            core.stage = core.stored_stage().await?;
        }
        if core.charter.release.policy == protocol::charter::ReleasePolicy::Aggregator {
            core.own = Some(Own::new(match home.store.setting(Setting::State).await? {
                None => first,
                Some(blob) => core.stored_state(&blob).await?,
            }));
        }
        core.take_up();
        core.clear_earlier().await;
        Ok(core)
    }

    /// Freezes the roster and begins the first round, once all have joined.
    pub(super) async fn enrolled(&mut self) -> Result<(), Refusal> {
        if !self.missing().await?.is_empty() {
            return Ok(());
        }
        let joined = self.store.members().await?;
        let members = joined.iter().map(|member| self.member(member)).collect::<Result<Vec<_>, _>>()?;
        let roster = Roster::new(&self.charter, members)
            .map_err(|error| Refusal::Failure(format!("the members make no roster: {error}")))?;
        let (round, attempt) = (RoundNumber::FIRST, Attempt::FIRST);
        let last = self.last_event + 1;
        self.store
            .commit(&[
                Write::Set(Setting::Roster, roster.to_bytes()),
                event_row(last, round, attempt, gathering(round, attempt)),
            ])
            .await?;
        let federation = Federation::new(self.charter.clone(), roster)
            .map_err(|error| Refusal::Failure(format!("the roster: {error}")))?;
        tracing::info!(members = joined.len(), "all have joined; the roster is frozen");
        let federation = Arc::new(federation);
        let start = Start { round, attempt, adapter: self.adapter, record: self.record.head() };
        self.stage = Stage::Running(Box::new(Current::new(&federation, start)));
        self.federation = Some(federation);
        self.announce_events(last);
        Ok(())
    }

    /// The charter's members who have not joined, or may not come in: a roster would pin keys for good that are lost or stolen.
    pub(super) async fn missing(&self) -> Result<Vec<HouseName>, Refusal> {
        Ok(missing(&self.store, self.charter.members().map(|(name, _)| name)).await?)
    }

    fn member(&self, joined: &EnrolledMember) -> Result<Member, Refusal> {
        let damaged = || Refusal::Failure(format!("the stored member {} cannot be read", joined.name));
        let (_, role) = self.charter.members().find(|(name, _)| *name == joined.name).ok_or_else(damaged)?;
        let signing_key = PublicKey::from_bytes(&joined.signing_key).ok_or_else(damaged)?;
        let certificate = Digest::from_bytes(joined.certificate_digest);
        Ok(Member::new(joined.name.clone(), role, signing_key, joined.mailbox_key, certificate))
    }

    async fn stored_stage(&self) -> Result<Stage, Refusal> {
        if let Some(reason) = self.store.setting(Setting::Halted).await? {
            return Ok(Stage::Halted(String::from_utf8_lossy(&reason).into_owned()));
        }
        let (Some((round, attempt)), Some(federation)) = (self.store.latest_attempt().await?, &self.federation) else {
            return Err(Refusal::Failure("a roster is stored but no round".into()));
        };
        if self.store.has_event(round, attempt, "completed").await? {
            return Ok(Stage::Completed);
        }
        let damaged = |error: &dyn std::fmt::Display| {
            Refusal::Failure(format!("round {round} attempt {attempt} cannot be taken up: {error}"))
        };
        let steps = self.store.steps(round, attempt).await?;
        let inputs: Vec<Input> = steps
            .iter()
            .map(|step| Input::from_bytes(&step.body).map_err(|error| damaged(&error)))
            .collect::<Result<_, _>>()?;
        let start = Start { round, attempt, adapter: self.adapter, record: self.record.head() };
        let replayed = Round::replay(Arc::clone(federation), start, &inputs).map_err(|error| damaged(&error))?;
        tracing::info!(%round, %attempt, rows = inputs.len(), state = replayed.name(), "round taken up");
        let mut current = Current::at(replayed, inputs.len() as u64);
        for input in &inputs {
            if let Event::Announced(signed) = &input.event {
                current.layout = Some(Arc::new(layout_of(signed).map_err(|error| damaged(&error))?));
            }
        }
        if let Some(announcement) = current.announcement() {
            current.summed = self.store.attempt(&announcement).await?.is_some_and(|stored| stored.sum.is_some());
        }
        current.opened = self.store.has_event(round, attempt, "opened").await?;
        Ok(Stage::Running(Box::new(current)))
    }

    /// The long work that a restart cut off.
    fn take_up(&mut self) {
        self.fold();
        self.open_current();
    }

    async fn stored_state(&self, blob: &[u8]) -> Result<adapter::State, Refusal> {
        let damaged = || Refusal::Failure("the stored state cannot be read; restore it from a backup".into());
        let digest = Digest::from_bytes(blob.try_into().map_err(|_| damaged())?);
        let bytes = self.store.blobs().get(Shelf::Kept, &digest).await?;
        self.terms.read_state(&bytes).map_err(|_| damaged())
    }
}

/// Those of `members` who have not joined, or whose certificates are all revoked.
pub(super) async fn missing(
    store: &Store,
    members: impl Iterator<Item = HouseName>,
) -> Result<Vec<HouseName>, StoreError> {
    let (joined, revoked) = (store.members().await?, store.revoked().await?);
    let there = |name: &HouseName| joined.iter().any(|member| member.name == *name) && !revoked.contains(name);
    Ok(members.filter(|name| !there(name)).collect())
}

fn layout_of(signed: &Signed<protocol::Announcement>) -> Result<Layout, String> {
    let announcement = signed.unverified().map_err(|error| error.to_string())?;
    Layout::from_bytes(&announcement.layout).map_err(|error| error.to_string())
}
