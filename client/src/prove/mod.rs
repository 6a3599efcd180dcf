//! Shows to somebody who reads no code what leaves this house: a canary goes through all that a contribution goes through, and is caught at the far end.
//!
//! 1. `rehearsal` makes a federation of this hour out of the charter that was joined, with keys that are all here.
//! 2. `canary` is a trainer whose rows are a known update; the charter's mechanism clips it and adds the house's noise.
//! 3. The round's own code encrypts and sends it, over the connection that any call takes; `far_end` keeps every byte.
//! 4. `opened` reads what came as an aggregator and a committee do, and `look` asks: is it the plaintext, does it compress (`search`), is there anything
//!    else (`frames`), do too few shares open it, do enough, is the noise of the stated size?
//! 5. `weaken` says to this house's rules what an aggregator might say; `report` writes all of it, signed.
//!
//! ```text
//! README.md           how to verify the rest, with common tools
//! proof.json          what was found; proof.json.sig and house.pub.pem as in `evidence`
//! proof.html          the same to read
//! on-the-cable.bin    what left, as it would be on the cable
//! at-the-aggregator.bin   the same out of TLS, as an aggregator reads it
//! ```

mod canary;
mod far_end;
mod frames;
mod look;
mod opened;
mod rehearsal;
mod report;
mod search;
#[cfg(test)]
mod tests;
mod weaken;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use privacy::NoiseShare;
use protocol::client::{Event, Input};
use protocol::{Announcement, Digest, Message as _, Rejection, Roster};
use protos::v1::federation_client::FederationClient;
use secure_sum::Committee;
use training::{Part, TrainError};

pub(crate) use report::verdict;
pub use report::{Check, Left, Proof, Refused, Site, Stated};

use crate::config::Config;
use crate::connection::Backoff;
use crate::files::FileError;
use crate::identity::Identity;
use crate::policy::PolicyError;
use crate::round::{Encrypted, Job, Made as Contributed, RunError, Submission, Whole, now_ms, policy};
use crate::signature;
use crate::store::{Part as KeptPart, Store, StoreError};
use crate::version::Speaking;
use canary::{CanaryTrainer, Made};
use look::Shown;
use rehearsal::Rehearsal;

/// How long the canary may take to be sent.
const LONGEST_MS: u64 = 3_600_000;

/// Why nothing could be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// Something is there already.
    #[error("{}: is there already; name a folder that is not", .0.display())]
    Exists(PathBuf),
    /// A trustee contributes nothing.
    #[error("`{0}` is no house of this charter: it contributes nothing, so there is nothing to show")]
    NotAHouse(String),
    /// The house's policy refuses the charter.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The house's rules refuse even an honest round.
    #[error("this house would take part in no round of this charter: {0}")]
    Refused(Rejection),
    /// The roster is not one that this house would run under.
    #[error(transparent)]
    Roster(#[from] RunError),
    /// The charter cannot be run.
    #[error(transparent)]
    Terms(#[from] terms::TermsError),
    /// The canary could not be made.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The rehearsal itself failed.
    #[error("the rehearsal failed: {0}")]
    Rehearsal(String),
    /// What arrived is no contribution.
    #[error("what arrived is no contribution of this house: {0}")]
    Contribution(String),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It cannot be written as JSON.
    #[error("the proof cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

/// Shows what leaves the house that joined as `identity`, and writes it into the folder `out`, which is made here. `roster` is the federation's and
/// whether it is pinned; `step` is told what is being done.
///
/// # Errors
/// [`ProveError`]. A check that does not pass is no error: it stands in the proof.
pub async fn prove(
    identity: &Identity,
    config: &Config,
    (roster, pinned): (&Roster, bool),
    out: &Path,
    step: &dyn Fn(&'static str),
) -> Result<Proof, ProveError> {
    if out.exists() {
        return Err(ProveError::Exists(out.to_owned()));
    }
    let charter = &identity.charter;
    let house = charter.house(identity.name()).ok_or_else(|| ProveError::NotAHouse(identity.name().to_string()))?;
    config.policy.check(charter)?;
    terms::check(charter)?;

    crate::round::check_roster(identity, config, roster)?;

    step("making a federation for the rehearsal");
    let rehearsal = Arc::new(Rehearsal::new(charter, identity.name())?);
    let rules = policy(config);
    let (heard, _) = weaken::hear(&rehearsal, &rules)?;

    step("clipping the canary, adding noise, encrypting");
    let trainer = CanaryTrainer::new(charter, house, rehearsal.state.update_len())?;
    let making = Arc::clone(&rehearsal);
    let making = tokio::task::spawn_blocking(move || make(&making, trainer, making.committee));
    let (contribution, again, made) = making.await.map_err(|error| ProveError::Rehearsal(error.to_string()))??;
    // The protocol's rules take it for this house's contribution, as they must before anything is sent.
    let signed = contribution.signed.clone();
    let at_ms = rehearsal.announcement.submit_time_ms();
    heard.step(&Input { at_ms, event: Event::Contributed(signed.clone()) }).map_err(ProveError::Refused)?;

    step("sending it to the far end, on this machine");
    let (whole, state) = whole(contribution, &rehearsal)?;
    let arrived = far_end::receive(&rehearsal, |client| send(client, whole, state)).await?;

    step("looking at what left, and opening it");
    let shares = shares(&rehearsal)?;
    let deviation = shares.as_ref().map_or(0.0, |[share, _]| share.deviation());
    let shown = Shown { rehearsal: &rehearsal, arrived: &arrived, again: &again, made: &made, shares };
    let (checks, left) = shown.checks();
    let refused = weaken::all(&rehearsal, &rules, &signed)?;
    let passed = checks.iter().all(|check| check.passed) && refused.iter().all(|one| one.refused);
    let mut proof = Proof {
        format: "plainchant-proof/1",
        made_at_ms: now_ms(),
        program: concat!("plainchant-client ", env!("CARGO_PKG_VERSION")),
        federation: charter.name.to_string(),
        house: Site::own(identity, roster).house,
        charter: charter.digest(),
        rehearsed: rehearsal.announcement.charter,
        roster: roster.digest(),
        roster_pinned: pinned,
        members: roster.members().iter().map(Site::of).collect(),
        stated: Stated {
            mode: charter.privacy.mode.as_str(),
            epsilon: charter.privacy.epsilon,
            delta: charter.privacy.delta,
            noise_multiplier: charter.privacy.noise_multiplier,
            share_deviation: deviation,
            values: made[0].values.len(),
            committee: rehearsal.committee.members(),
            threshold: rehearsal.committee.threshold(),
            min_cohort: config.policy.min_cohort.max(charter.rounds.min_cohort as usize),
        },
        left,
        checks,
        refused,
        files: Default::default(),
        passed,
    };
    step("writing the report");
    let page = report::page(&proof);
    let files = [
        ("on-the-cable.bin", &arrived.wire[..]),
        ("at-the-aggregator.bin", &arrived.read),
        ("proof.html", page.as_bytes()),
    ];
    proof.files = files.iter().map(|(name, bytes)| ((*name).to_owned(), Digest::sha256(bytes))).collect();
    let json = serde_json::to_string_pretty(&proof)? + "\n";
    signature::write_folder(out, ("proof.json", &json), &identity.signer, &readme(&proof), &files)?;
    Ok(proof)
}

/// The noise that this house owes in the rehearsed round, and where the fewest houses are expected; none under mode `none`.
fn shares(rehearsal: &Rehearsal) -> Result<Option<[NoiseShare; 2]>, TrainError> {
    let (charter, house) = (rehearsal.federation.charter(), rehearsal.identity.name());
    let of = |announcement: &Announcement| Part::announced(charter, house, announcement).noise_share();
    Ok(of(&rehearsal.announcement)?.zip(of(&rehearsal.with_fewest())?).map(|(all, fewest)| [all, fewest]))
}

/// A contribution; the same values encrypted once more; and what the trainer made: this, the same once more, and with the fewest houses.
fn make(
    rehearsal: &Rehearsal,
    trainer: CanaryTrainer,
    committee: Committee,
) -> Result<(Contributed, Encrypted, [Made; 3]), ProveError> {
    let log = trainer.log();
    let job = Job {
        identity: Arc::clone(&rehearsal.identity),
        layout: rehearsal.layout.clone(),
        announcement: Arc::clone(&rehearsal.announcement),
        ledger_head: Digest::from_bytes([0; 32]),
        committee,
        state: rehearsal.state.clone(),
        trainer: Arc::new(Mutex::new(Box::new(trainer))),
    };
    let contribution = job.make().map_err(|error| ProveError::Contribution(error.to_string()))?;
    let (charter, house) = (rehearsal.federation.charter(), rehearsal.identity.name());
    for announcement in [rehearsal.announcement.as_ref(), &rehearsal.with_fewest()] {
        let part = Part::announced(charter, house, announcement);
        let mut trainer = job.trainer.lock().unwrap_or_else(PoisonError::into_inner);
        drop(trainer.contribution(&part, &rehearsal.state)?);
    }
    let made = std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner));
    let made: [Made; 3] =
        made.try_into().map_err(|_| ProveError::Rehearsal("the canary was not made three times".to_owned()))?;
    let again = job.encrypt(&made[0].values).map_err(|error| ProveError::Contribution(error.to_string()))?;
    Ok((contribution, again, made))
}

/// As a round keeps and sends it, and where it lies.
fn whole(made: Contributed, rehearsal: &Rehearsal) -> Result<(Whole, PathBuf), ProveError> {
    let failed = |error: StoreError| ProveError::Rehearsal(error.to_string());
    let Contributed { signed, sealed, body, .. } = made;
    let store = Store::open(rehearsal.dir()).map_err(failed)?;
    let kept = store.attempt(rehearsal.announcement.round, rehearsal.announcement.attempt).map_err(failed)?;
    kept.put(KeptPart::Body, &body).map_err(failed)?;
    let body =
        kept.body().map_err(failed)?.ok_or_else(|| ProveError::Rehearsal("the canary was not kept".to_owned()))?;
    Ok((Whole { signed, sealed, body, chunk: rehearsal.layout.chunk_bytes() }, store.dir().to_owned()))
}

/// Sends as a round does, at once.
async fn send(client: FederationClient<Speaking>, whole: Whole, state: PathBuf) -> Result<f64, ProveError> {
    let (now, backoff) = (now_ms(), Backoff::new(Duration::from_millis(50), Duration::from_secs(1)));
    let submission = Submission { client, whole, departure: now, close: now + LONGEST_MS, backoff, state };
    submission.send().await.map_err(|reason| ProveError::Rehearsal(reason.to_string()))
}

fn readme(proof: &Proof) -> String {
    format!(
        "# What leaves `{house}` in the federation `{federation}`\n\
         \n\
         `proof.html` is for reading, `proof.json` is the same for programs and is what is signed.\n\
         \n\
         {signed}\n\
         3. The other files: `sha256sum on-the-cable.bin at-the-aggregator.bin proof.html` gives the digests under `files` in `proof.json`.\n\
         4. Your own look: `gzip -9 < at-the-aggregator.bin | wc -c` beside the file's length, or any other tool that you trust.\n\
         \n\
         What it does not show: that the program that takes part in rounds is the one that made this (its version is in `proof.json`; install both\n\
         from one package), that its random numbers can not be guessed, what training does with real rows, what else a house says (that it is ready,\n\
         one-time keys, checksums of its contribution, sums of shares, outcomes), and what the members of a committee do with their keys. The\n\
         canary's federation was of the charter {charter}, with the aggregator's key replaced by one that was made here, which gives it the digest {rehearsed}.\n",
        house = proof.house.name,
        federation = proof.federation,
        signed = signature::how_to_verify("proof.json", &proof.house.key_sha256),
        charter = proof.charter,
        rehearsed = proof.rehearsed,
    )
}
