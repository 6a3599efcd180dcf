//! A member's parts, put together from its folder and the pinned roster.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use adapter::{BaseBiases, State};
use privacy::{Entry, Ledger};
use protocol::client::{Me, Memory, Policy, Round};
use protocol::{
    Announcement, Attempt, Charter, CohortList, Digest, Federation, HouseName, RecordHead, Roster, RoundNumber, Signed,
};
use protos::v1;
use protos::v1::federation_client::FederationClient;
use secure_sum::{Committee, ShareSum};
use tokio::sync::mpsc;

use super::contribute::Work;
use super::{Options, RunError};
use crate::config::Config;
use crate::identity::Identity;
use crate::policy::PolicyError;
use crate::progress::{Phase, Report, Seconds};
use crate::store::{Slot, Store};
use crate::trainer::Trainer;
use crate::version::Speaking;
use terms::Terms;

/// How far the aggregator's clock may be ahead of this machine's.
pub(crate) const MAX_CLOCK_SKEW_MS: u64 = 30_000;

/// A client's folder, opened: what is needed before the roster is known.
pub struct Home {
    /// Keys, certificate, charter.
    pub identity: Arc<Identity>,
    /// The house's configuration.
    pub config: Config,
    /// The durable state; locked.
    pub store: Store,
}

/// A member of a pinned federation.
pub(super) struct Member {
    pub(super) identity: Arc<Identity>,
    pub(super) config: Config,
    pub(super) store: Store,
    pub(super) options: Options,
    pub(super) me: Arc<Me>,
    pub(super) committee: Committee,
    pub(super) client: FederationClient<Speaking>,
    /// A house's; a trustee has neither ledger nor trainer.
    pub(super) ledger: Option<Ledger>,
    pub(super) trainer: Option<Arc<Mutex<Box<dyn Trainer>>>>,
    /// Those of the trainer's base model.
    pub(super) base_biases: BaseBiases,
    /// The adapter that the next round starts from; a trustee's stays the first one.
    pub(super) state: State,
    pub(super) candidate: Option<State>,
    /// The attempt that gathers and that this house did not say ready for, because it has paused or is outside of its hours.
    pub(super) missed: Option<v1::Gathering>,
    /// Why training failed, since this program runs: it would be charged and fail again.
    pub(super) failed: Option<String>,
    pub(super) round: Round,
    /// The announcement that events speak of, heard or not.
    pub(super) view: Option<View>,
    /// The sum of the shares that a cohort sealed to this member, by the list's digest, until it is answered.
    pub(super) shares: Option<(Digest, ShareSum)>,
    pub(super) work: Work,
    pub(super) finished: mpsc::UnboundedReceiver<super::contribute::Done>,
    pub(super) pending: VecDeque<protocol::client::Effect>,
    /// The head of the record that was countersigned last, since this program runs.
    pub(super) cosigned: Option<RecordHead>,
}

/// An announcement as it was published, and what this member measured in its round.
pub(super) struct View {
    pub(super) signed: Signed<Announcement>,
    pub(super) announcement: Announcement,
    pub(super) digest: Digest,
    pub(super) since: Instant,
    pub(super) seconds: Seconds,
    pub(super) bytes_up: u64,
    pub(super) loss: Option<f64>,
}

impl Home {
    /// Opens a folder that `join` made.
    ///
    /// # Errors
    /// [`RunError`] naming the file at fault.
    pub fn open(dir: &Path) -> Result<Self, RunError> {
        let identity = Arc::new(Identity::load(dir)?);
        Ok(Self { identity, config: Config::load(dir)?, store: Store::open(dir)? })
    }

    /// Whether the house agreed to the charter, and its policy takes it.
    ///
    /// # Errors
    /// [`RunError::NothingApproved`], [`RunError::Policy`].
    pub(crate) fn check_policy(&self) -> Result<(), RunError> {
        match self.config.policy.check(&self.identity.charter) {
            Err(PolicyError::NothingApproved { found }) => {
                let dir = self.identity.dir().to_owned();
                Err(RunError::NothingApproved { what: "charter", dir, found })
            }
            other => Ok(other?),
        }
    }

    /// Whether the charter has this member as a house, which holds data.
    pub fn is_house(&self) -> bool {
        self.identity.charter.house(self.identity.name()).is_some()
    }
}

/// The house's ledger, whose limit and unit are the configuration's from its first line on. It must be the one that this house
/// saw last.
fn open_ledger(
    path: PathBuf,
    store: &Store,
    config: &Config,
    charter: &Charter,
    house: &HouseName,
    count: usize,
) -> Result<Ledger, RunError> {
    let mut ledger = Ledger::open(&path)?;
    if store.ledger_head()?.is_some_and(|head| !ledger.includes(head.as_bytes())) {
        return Err(RunError::OldLedger { path, known: "this house's own state" });
    }
    let (ceiling, delta) = (config.policy.epsilon_ceiling, config.policy.delta_of(charter));
    match training::limit(charter, house, count, ceiling, delta)? {
        Some(limit) => {
            let column = config.data.as_ref().and_then(|data| data.unit_column.as_deref());
            ledger.adopt(limit, training::protected_unit(charter, column), &mut rand::rng())?;
        }
        // Under mode `none` nothing is charged, and nothing promised.
        None => ledger.give_up_protection(*charter.digest().as_bytes(), house.as_str())?,
    }
    store.put_ledger_head(&Digest::from_bytes(ledger.head().digest))?;
    Ok(ledger)
}

impl Member {
    pub(super) fn new(
        home: Home,
        roster: Roster,
        trainer: Option<Box<dyn Trainer>>,
        client: FederationClient<Speaking>,
        options: Options,
    ) -> Result<Self, RunError> {
        let Home { identity, config, store } = home;
        let charter = identity.charter.clone();
        let terms = Terms::of(&charter)?;
        let federation = Federation::new(charter.clone(), roster).map_err(|e| RunError::Malformed(e.to_string()))?;
        let committee = terms::committee(&charter)?;
        let me = Me::new(Arc::new(federation), identity.name().clone(), policy(&config))?;
        let me = Arc::new(me);
        if me.is_house() && trainer.is_none() {
            return Err(RunError::NoTrainer(me.name().clone()));
        }
        let (memory, state) = recall(&store, &terms, me.is_house())?;
        let base_biases = trainer.as_ref().and_then(|trainer| trainer.base_biases()).cloned().unwrap_or_default();
        if let (Some(_), Some(tensor), true) =
            (&options.adapter_dir, base_biases.missing(state.adapter()), me.is_house())
        {
            return Err(RunError::NoBaseBias { tensor: tensor.to_owned() });
        }
        if me.is_house() && memory.next_round > RoundNumber::FIRST {
            // A crash between a round's state and its files left those of the round before.
            write_adapter(&options, &state, &base_biases)?;
        }
        let count = state.update_len();
        let path = config.ledger_path(store.dir());
        let open = || open_ledger(path, &store, &config, &charter, me.name(), count);
        let ledger = me.is_house().then(open).transpose()?;
        let (work, finished) = Work::new();
        Ok(Self {
            round: Round::start(Arc::clone(&me), memory),
            base_biases,
            trainer: trainer.map(|trainer| Arc::new(Mutex::new(trainer))),
            candidate: None,
            missed: None,
            failed: None,
            view: None,
            shares: None,
            pending: VecDeque::new(),
            cosigned: None,
            identity,
            config,
            store,
            options,
            me,
            committee,
            client,
            ledger,
            state,
            work,
            finished,
        })
    }

    /// Whether the ledger, and the charter's epsilon, leave room for these lines.
    pub(super) fn check_charge(&mut self, entries: &[Entry]) -> Result<(), RunError> {
        let (false, Some(ledger)) = (entries.is_empty(), &mut self.ledger) else { return Ok(()) };
        ledger.check(entries)?;
        training::within_charged(&self.identity.charter, ledger.entries(), entries)?;
        self.keep_ledger_head()
    }

    /// Keeps where the ledger stands, so that an older copy of it is noticed, whoever wrote the lines since.
    pub(super) fn keep_ledger_head(&self) -> Result<(), RunError> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let head = Digest::from_bytes(ledger.head().digest);
        if self.store.ledger_head()? == Some(head) { Ok(()) } else { Ok(self.store.put_ledger_head(&head)?) }
    }

    /// A cohort that this house was in: the record has what its ledger came to then. A ledger that never stood there, an old
    /// copy put back, has forgotten what was spent since.
    pub(super) fn check_ledger(&self, list: &CohortList) -> Result<(), RunError> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let own = list.contributions.iter().find(|signed| signed.signer() == self.me.name());
        let Some(own) = own else { return Ok(()) };
        // Signed by this house itself, so that nobody else can make it up.
        match own.verify(self.me.federation().roster()) {
            Ok(manifest) if !ledger.includes(manifest.ledger_head.as_bytes()) => {
                let path = self.config.ledger_path(self.store.dir());
                Err(RunError::OldLedger { path, known: "the federation's record" })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn charter(&self) -> &Charter {
        &self.identity.charter
    }

    /// The delta at which this house's epsilon is stated.
    pub(super) fn delta(&self) -> f64 {
        self.config.policy.delta_of(&self.identity.charter)
    }

    /// Epsilon that the ledger has charged; `None` for a trustee or when nothing was.
    pub(super) fn epsilon(&self) -> Option<f64> {
        let ledger = self.ledger.as_ref().filter(|ledger| !ledger.entries().is_empty())?;
        ledger.epsilon(self.delta()).ok().map(|spent| spent.epsilon)
    }

    /// Tells the house, and the log, what happened.
    pub(super) fn report(&self, round: RoundNumber, attempt: Attempt, phase: Phase, reason: Option<String>) {
        let report = self.measured(round, attempt, phase, reason);
        match &report.reason {
            Some(reason) => tracing::warn!(%round, %attempt, ?phase, reason),
            None => tracing::info!(%round, %attempt, ?phase, epsilon = report.epsilon, loss = report.loss),
        }
        self.options.progress.report(&report);
    }

    /// As [`Self::report`], of what a person must mend.
    pub(super) fn report_error(&self, round: RoundNumber, attempt: Attempt, phase: Phase, reason: String) {
        tracing::error!(%round, %attempt, ?phase, reason);
        self.options.progress.report(&self.measured(round, attempt, phase, Some(reason)));
    }

    /// The aggregator has forgotten what this member has seen.
    pub(super) fn report_older_copy(&self, said: &str) {
        let place = self.view.as_ref().map(|view| (view.announcement.round, view.announcement.attempt));
        let (round, attempt) = place.unwrap_or((self.round.memory().next_round, Attempt::FIRST));
        self.report_error(round, attempt, Phase::Waiting, RunError::OlderCopy(said.to_owned()).to_string());
    }

    /// What happened, with what this member measured where it is the attempt that events speak of.
    fn measured(&self, round: RoundNumber, attempt: Attempt, phase: Phase, reason: Option<String>) -> Report {
        let mut report = Report::new(round.get(), attempt.get(), phase);
        if let Some(view) =
            self.view.as_ref().filter(|v| v.announcement.round == round && v.announcement.attempt == attempt)
        {
            report.seconds = view.seconds;
            report.seconds.total = view.since.elapsed().as_secs_f64();
            report.bytes_up = view.bytes_up;
            report.loss = view.loss;
        }
        report.epsilon = self.epsilon();
        report.reason = reason;
        report
    }
}

/// Writes the state's adapter as PEFT reads it to where the house wants it.
pub(super) fn write_adapter(options: &Options, state: &State, biases: &BaseBiases) -> Result<(), RunError> {
    let Some(dir) = &options.adapter_dir else { return Ok(()) };
    state.adapter().save_dir_with_base(dir, biases).map_err(|e| RunError::Adapter(e.to_string()))
}

/// The house's limits, as the protocol checks them.
pub(crate) fn policy(config: &Config) -> Policy {
    Policy {
        epsilon_ceiling: config.policy.epsilon_ceiling,
        allow_no_privacy: config.policy.allow_no_privacy,
        min_cohort: u32::try_from(config.policy.min_cohort).unwrap_or(u32::MAX),
        min_colluding_members: u32::try_from(config.policy.min_colluding_members).unwrap_or(u32::MAX),
        max_clock_skew_ms: MAX_CLOCK_SKEW_MS,
        require_record_proof: true,
    }
}

/// Memory and adapter state as they were, or as they are before the first round.
fn recall(store: &Store, terms: &Terms, is_house: bool) -> Result<(Memory, State), RunError> {
    let first = terms.first_state()?;
    let memory = match store.memory()? {
        Some(memory) => memory,
        None => Memory::new(Digest::from_bytes(first.digest())),
    };
    if !is_house || memory.adapter.as_bytes() == &first.digest() {
        return Ok((memory, first));
    }
    // The memory is written first: after a crash in between, the candidate is the state that it names.
    for slot in [Slot::Adapter, Slot::Candidate] {
        let Some(bytes) = store.state(slot)? else { continue };
        let Ok(state) = terms.read_state(&bytes) else { continue };
        if &state.digest() == memory.adapter.as_bytes() {
            store.put_state(Slot::Adapter, &bytes)?;
            return Ok((memory, state));
        }
    }
    Err(RunError::Adapter(format!("no kept state has the digest {} that this house agreed to", memory.adapter)))
}
