//! What a member hears and does, and what its caller carries out.

use std::sync::Arc;

use strum::{EnumDiscriminants, EnumIter, IntoStaticStr};

use super::Round;
use super::memory::Memory;
use crate::checked::Checked;
use crate::ids::{Attempt, Digest, HouseName, MemberIndex, RoundNumber};
use crate::message::{
    Announcement, Answer, BodyChecksum, CohortList, Complaint, Contribution, Outcome, Ready, SumClaim, Verdict,
};
use crate::rejection::Abandonment;
use crate::signed::Signed;

/// An event and when this member saw it.
#[derive(Debug, Clone)]
pub struct Input {
    /// Unix milliseconds of the member's own clock.
    pub at_ms: u64,
    /// What happened.
    pub event: Event,
}

/// What happened.
#[derive(Debug, Clone, EnumDiscriminants)]
#[strum_discriminants(name(EventKind), derive(IntoStaticStr), strum(serialize_all = "kebab-case"))]
#[strum_discriminants(doc = "The kind of an [`Event`].")]
pub enum Event {
    /// The aggregator gathers this attempt, and this house can take part.
    BecomeReady {
        /// The round.
        round: RoundNumber,
        /// The attempt.
        attempt: Attempt,
    },
    /// The aggregator announced a round.
    Announced {
        /// The announcement.
        signed: Signed<Announcement>,
        /// What this member's ledger would come to with this round; 0 for a trustee.
        epsilon_after: f64,
        /// The consistency proof from the last record head seen to the announced one.
        record_proof: Option<Vec<Digest>>,
    },
    /// This house trained, encrypted, stored and signed its contribution.
    Contributed(Signed<Contribution>),
    /// The aggregator fixed a cohort.
    Cohort(CohortList),
    /// The aggregator claimed the cohort's sum.
    Claimed(Signed<SumClaim>),
    /// This house computed the checksums of [`Effect::Check`] and signed them.
    Checksummed(Vec<Signed<BodyChecksum>>),
    /// A share sealed to this member does not unseal, is none, or does not open its dealer's commitment; this is the
    /// signed proof.
    Complained(Signed<Complaint>),
    /// The aggregator showed the claim and what was said of single bodies: the checking is over.
    Checked {
        /// The claim.
        claim: Signed<SumClaim>,
        /// The checksums.
        checksums: Vec<Signed<BodyChecksum>>,
    },
    /// A member answered: this one, after [`Effect::Answer`], or another.
    Answered(Signed<Answer>),
    /// The answer at this index does not fit the summed commitments (`secure-sum` says so).
    FalseAnswer(MemberIndex),
    /// This house combined the answers, opened the sum and applied it to a copy of its state, or found it void.
    Combined(Verdict),
    /// The aggregator showed outcomes of t houses.
    Settled {
        /// The cohort list's digest.
        cohort: Digest,
        /// The outcomes.
        outcomes: Vec<Signed<Outcome>>,
    },
    /// This member was away: a round that it missed, proven by outcomes of t houses. A house has applied the sum and got
    /// the state that they signed, or got that state from a peer.
    CaughtUp {
        /// The missed round's announcement.
        signed: Signed<Announcement>,
        /// The cohort list's digest.
        cohort: Digest,
        /// The outcomes.
        outcomes: Vec<Signed<Outcome>>,
    },
    /// The aggregator gave the attempt up.
    Abandoned {
        /// The round.
        round: RoundNumber,
        /// The attempt.
        attempt: Attempt,
        /// Why.
        reason: Abandonment,
    },
}

impl Event {
    /// A stable name of the kind.
    pub fn kind(&self) -> &'static str {
        EventKind::from(self).into()
    }
}

/// What the caller carries out, in order.
#[derive(Debug, Clone, PartialEq, EnumDiscriminants)]
#[strum_discriminants(
    name(EffectKind),
    derive(EnumIter, IntoStaticStr, Hash, PartialOrd, Ord),
    strum(serialize_all = "kebab-case")
)]
#[strum_discriminants(doc = "The kind of an [`Effect`].")]
pub enum Effect {
    /// Store this durably (fsync) before the effects after it.
    Remember(Memory),
    /// Sign and send.
    SendReady(Ready),
    /// Reserve the ledger, train, encrypt, store, sign, then offer [`Event::Contributed`].
    Train(Arc<Announcement>),
    /// Send the manifest with its chunks and sealed shares, as stored.
    Submit(Signed<Contribution>),
    /// Fetch and unseal the shares of exactly this list and check each against its dealer's commitments; a wrong one is
    /// proved and offered as [`Event::Complained`]. This may go on while other effects are carried out.
    CheckShares(Arc<CohortList>),
    /// Compute the checksum of this house's own body under the claim's challenge, and of each body of `bodies`, which is
    /// downloaded and must have the ciphertext digest of its manifest; sign them; then offer [`Event::Checksummed`].
    Check {
        /// U.
        list: Arc<CohortList>,
        /// The claim.
        claim: SumClaim,
        /// The houses whose bodies to check beside its own: at most one.
        bodies: Vec<HouseName>,
    },
    /// Send it.
    SendChecksum(Signed<BodyChecksum>),
    /// Send it.
    SendComplaint(Signed<Complaint>),
    /// Unseal and add the shares of exactly this list, sign the answer to this sum, then offer [`Event::Answered`].
    Answer {
        /// U.
        list: Arc<CohortList>,
        /// The claimed sum's digest.
        body_sum: Digest,
    },
    /// Send it.
    SendAnswer(Signed<Answer>),
    /// Erase the one-time keys with this sequence number and below, and every share unsealed with them.
    EraseOneTimeKeys {
        /// The last to erase.
        sequence: u64,
    },
    /// Check the served sum against the claim and the checksums, combine, open and apply to a copy of the state, then offer
    /// [`Event::Combined`] or [`Event::FalseAnswer`].
    Combine {
        /// U.
        list: Arc<CohortList>,
        /// The claim, and what was said of single bodies.
        checked: Arc<Checked>,
        /// At least t answers, by index.
        answers: Vec<Signed<Answer>>,
    },
    /// Sign and send.
    SendOutcome(Outcome),
    /// t houses agree: keep the applied copy as the state, or drop it when void.
    Settled(Verdict),
}

/// An accepted input: the state after it, and what to do.
#[derive(Debug, Clone)]
pub struct Step {
    /// The state after it.
    pub next: Round,
    /// What to carry out, in order.
    pub effects: Vec<Effect>,
}

impl Step {
    /// A state and its effects.
    pub(super) fn to(next: Round, effects: Vec<Effect>) -> Self {
        Self { next, effects }
    }
}
