//! The round engine: one task owns the state, takes one input after another, and has each on the disk before anybody
//! hears of it.
//!
//! [`core`] holds that loop: an input is a step of `protocol`, its row and all that follows from it are one
//! transaction, then the long work starts: [`fold`] adds ciphertexts and claims the sum, [`check`] hears what houses say of it, [`open`] opens a sum where the charter lets the
//! aggregator. [`announce`] decides when a round begins, [`settle`] what becomes of states and approvals, [`record`]
//! keeps the Merkle tree, [`reads`] answers what needs no decision.

mod announce;
mod check;
mod core;
mod effects;
mod fold;
mod open;
mod reads;
mod record;
mod settle;
mod start;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::message::Approval;
use protocol::{
    Answer, BodyChecksum, Complaint, Contribution, Digest, EncodingError, HouseName, Outcome, Reader, Ready, Signed,
    Writer,
};
use protos::limits::{COMMITTEE_MEMBERS, SEALED_SHARE_BYTES};
use secure_sum::{Committee, Layout};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::refusal::Refusal;
use crate::setup::Home;
use crate::store::{Store, StoredContribution};

pub(crate) use check::Evidence;
pub use fold::FalseSum;
pub(crate) use record::Record;

/// Inputs that may wait for the engine.
const QUEUE: usize = 256;

/// How long gathering waits for houses that have not said ready, once enough have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// For every house of the charter.
    pub gather: Duration,
    /// When all houses of the attempt before are there again: for the others.
    pub others: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { gather: Duration::from_secs(20), others: Duration::from_secs(2) }
    }
}

/// What a submission is checked against.
pub(crate) struct Admission {
    pub(crate) layout: Arc<Layout>,
    pub(crate) committee: Committee,
    /// The committee's one-time keys in this attempt, by share index.
    pub(crate) keys: Vec<[u8; 32]>,
    pub(crate) contribution: Contribution,
}

/// The way to the engine's task.
#[derive(Clone)]
pub(crate) struct Engine {
    commands: mpsc::Sender<Command>,
    events: watch::Receiver<u64>,
    task: AbortHandle,
    store: Store,
    members: Arc<[HouseName]>,
    state_bytes: usize,
}

type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// What the engine is asked to do.
enum Command {
    /// Somebody joined or brought keys: see whether something can go on.
    Look(Reply<()>),
    Ready(Signed<Ready>, Reply<()>),
    Admit(Signed<Contribution>, Reply<Option<Admission>>),
    Contribute(StoredContribution, Reply<()>),
    Checksums(Vec<Signed<BodyChecksum>>, Reply<()>),
    /// What a complaint is judged by.
    Judge(Signed<Complaint>, Reply<Option<Evidence>>),
    /// A complaint that was found right.
    Complaint(Signed<Complaint>, Reply<()>),
    Answer(Signed<Answer>, Reply<()>),
    Outcome(Signed<Outcome>, Reply<()>),
    Approve(Signed<Approval>, Reply<Option<Vec<Signed<Approval>>>>),
    WantsFinal(Reply<bool>),
    FinalState(Vec<u8>, Reply<()>),
    Cosign {
        caller: HouseName,
        size: u64,
        line: String,
        reply: Reply<()>,
    },
    Checkpoint(Reply<String>),
    Inclusion {
        leaf: u64,
        size: u64,
        reply: Reply<(Vec<Digest>, Vec<u8>)>,
    },
    Consistency {
        old: u64,
        new: u64,
        reply: Reply<Vec<Digest>>,
    },
    Stop(oneshot::Sender<()>),
}

impl Engine {
    /// Takes the stored rounds up where they were and goes on.
    pub(crate) async fn start(home: &Home, pace: Pace, fault: Option<FalseSum>) -> Result<Self, Refusal> {
        let (commands, inbox) = mpsc::channel(QUEUE);
        let (publish, events) = watch::channel(0);
        let core = core::Core::start(home, (pace, fault), publish).await?;
        let state_bytes = core.state_bytes();
        let task = tokio::spawn(core.run(inbox)).abort_handle();
        let members = home.charter.members().map(|(name, _)| name).collect();
        Ok(Self { commands, events, task, store: home.store.clone(), members, state_bytes })
    }

    /// The number of the last event, and a wake-up at each new one.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.events.clone()
    }

    /// Resolves when the engine's task is gone.
    pub(crate) async fn ended(&self) {
        let mut events = self.events.clone();
        // The task holds the other end.
        while events.changed().await.is_ok() {}
    }

    /// Bytes of a state under this charter.
    pub(crate) fn state_bytes(&self) -> usize {
        self.state_bytes
    }

    pub(crate) async fn look(&self) -> Result<(), Refusal> {
        self.ask(Command::Look).await
    }

    pub(crate) async fn ready(&self, ready: Signed<Ready>) -> Result<(), Refusal> {
        self.ask(|reply| Command::Ready(ready, reply)).await
    }

    /// What a submission is checked against; `None` when this very contribution was accepted before.
    pub(crate) async fn admit(&self, manifest: Signed<Contribution>) -> Result<Option<Admission>, Refusal> {
        self.ask(|reply| Command::Admit(manifest, reply)).await
    }

    /// Accepts a contribution whose chunks and shares were checked and are kept.
    pub(crate) async fn contribute(&self, stored: StoredContribution) -> Result<(), Refusal> {
        self.ask(|reply| Command::Contribute(stored, reply)).await
    }

    pub(crate) async fn checksums(&self, checksums: Vec<Signed<BodyChecksum>>) -> Result<(), Refusal> {
        self.ask(|reply| Command::Checksums(checksums, reply)).await
    }

    /// What a complaint is judged by; `None` when it was taken before.
    pub(crate) async fn evidence(&self, complaint: Signed<Complaint>) -> Result<Option<Evidence>, Refusal> {
        self.ask(|reply| Command::Judge(complaint, reply)).await
    }

    /// Takes a complaint that was judged and found right: the attempt ends.
    pub(crate) async fn complaint(&self, complaint: Signed<Complaint>) -> Result<(), Refusal> {
        self.ask(|reply| Command::Complaint(complaint, reply)).await
    }

    pub(crate) async fn answer(&self, answer: Signed<Answer>) -> Result<(), Refusal> {
        self.ask(|reply| Command::Answer(answer, reply)).await
    }

    pub(crate) async fn outcome(&self, outcome: Signed<Outcome>) -> Result<(), Refusal> {
        self.ask(|reply| Command::Outcome(outcome, reply)).await
    }

    /// Notes an approval; all approvals when somebody should now send the final state.
    pub(crate) async fn approve(&self, approval: Signed<Approval>) -> Result<Option<Vec<Signed<Approval>>>, Refusal> {
        self.ask(|reply| Command::Approve(approval, reply)).await
    }

    /// Whether the final state is to be read at all: `false` when it is here.
    pub(crate) async fn wants_final(&self) -> Result<bool, Refusal> {
        self.ask(Command::WantsFinal).await
    }

    pub(crate) async fn final_state(&self, state: Vec<u8>) -> Result<(), Refusal> {
        self.ask(|reply| Command::FinalState(state, reply)).await
    }

    /// Keeps the cosignature of a member, where it is its newest.
    pub(crate) async fn cosign(&self, caller: HouseName, size: u64, line: String) -> Result<(), Refusal> {
        self.ask(|reply| Command::Cosign { caller, size, line, reply }).await
    }

    pub(crate) async fn checkpoint(&self) -> Result<String, Refusal> {
        self.ask(Command::Checkpoint).await
    }

    pub(crate) async fn inclusion(&self, leaf: u64, size: u64) -> Result<(Vec<Digest>, Vec<u8>), Refusal> {
        self.ask(|reply| Command::Inclusion { leaf, size, reply }).await
    }

    pub(crate) async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, Refusal> {
        self.ask(|reply| Command::Consistency { old, new, reply }).await
    }

    /// Ends the task after the input under way, and closes the storage.
    pub(crate) async fn stop(&self) {
        let (reply, stopped) = oneshot::channel();
        if self.commands.send(Command::Stop(reply)).await.is_ok() {
            // The task is gone when this fails.
            let _ = stopped.await;
        }
        self.store.close().await;
    }

    /// Ends the task at once, between or within inputs.
    pub(crate) async fn kill(&self) {
        self.task.abort();
        while !self.task.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Refusal::ShuttingDown)?;
        answer.await.map_err(|_| Refusal::ShuttingDown)?
    }
}

/// The blob of a contribution's sealed shares.
pub(crate) fn sealed_to_bytes(shares: &[Bytes]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.list(shares, |writer, share| writer.bytes(share));
    writer.into_bytes()
}

/// Reads [`sealed_to_bytes`].
fn sealed_from_bytes(bytes: &[u8]) -> Result<Vec<Vec<u8>>, EncodingError> {
    let mut reader = Reader::new(bytes);
    let shares = reader
        .list("sealed", COMMITTEE_MEMBERS, |reader| reader.bytes("sealed", SEALED_SHARE_BYTES).map(<[u8]>::to_vec))?;
    reader.finish()?;
    Ok(shares)
}
