//! A house's contribution: charged to the ledger, trained, encrypted, kept, and only then sent, at a fixed time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use adapter::State;
use privacy::Entry;
use protocol::client::Event;
use protocol::message::{SHARE_INFO, ciphertext_digest, share_aad};
use protocol::{Announcement, Contribution, Digest, Message, Reader, Signed, Writer};
use protos::limits::{COMMITTEE_MEMBERS, SEALED_SHARE_BYTES};
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use secure_sum::{Committee, Layout, MaskSeed, OneTimeKey};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::member::Member;
use super::submission::{NotSent, Submission, Whole, departure};
use super::{RunError, is_refusal, lost, now_ms};
use crate::crash::{Line, Place};
use crate::identity::Identity;
use crate::progress::{Phase, timed};
use crate::sealing;
use crate::standing::Aside;
use crate::store::Part;
use crate::trainer::Trainer;
use training::TrainError;

/// What goes on beside the event loop.
pub(super) struct Work {
    done: mpsc::UnboundedSender<Done>,
    training: Option<Digest>,
    submitting: Option<Digest>,
    tasks: JoinSet<()>,
}

/// Something beside the event loop ended.
pub(super) enum Done {
    Trained(Digest, Result<Made, RunError>),
    Submitted(Digest, Result<f64, NotSent>),
}

/// A contribution, ready to be kept.
pub(crate) struct Made {
    pub(crate) signed: Signed<Contribution>,
    pub(crate) sealed: Vec<Vec<u8>>,
    pub(crate) body: Vec<u8>,
    loss: Option<f64>,
    train: f64,
    noise: f64,
    encrypt: f64,
}

impl Work {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Done>) {
        let (done, finished) = mpsc::unbounded_channel();
        (Self { done, training: None, submitting: None, tasks: JoinSet::new() }, finished)
    }
}

impl Member {
    /// The ledger's lines for an announcement that this house is expected in; none under `none` and for others.
    pub(super) fn entries(&self, announcement: &Announcement) -> Result<Vec<Entry>, RunError> {
        if self.ledger.is_none() || !announcement.expects(self.me.name()) {
            return Ok(Vec::new());
        }
        let part = training::Part::announced(self.charter(), self.me.name(), announcement);
        Ok(part.ledger_entries(self.state.update_len())?)
    }

    /// Charges the ledger and trains beside the event loop; or takes up what was kept before a crash.
    pub(super) fn train(&mut self, announcement: &Arc<Announcement>) -> Result<(), RunError> {
        let digest = announcement.digest();
        if self.work.training == Some(digest) {
            return Ok(());
        }
        if let Some(reason) = self.aside()? {
            self.report(announcement.round, announcement.attempt, Phase::Refused, Some(reason.to_string()));
            return Ok(());
        }
        if let Some(signed) = self.kept(announcement)? {
            return self.offer(Event::Contributed(signed));
        }
        if let Some(reason) = self.begins_nothing()? {
            self.report(announcement.round, announcement.attempt, Phase::Refused, Some(reason.to_string()));
            return Ok(());
        }
        let Some(trainer) = self.trainer.clone() else { return Ok(()) };
        let entries = self.entries(announcement)?;
        if let (false, Some(ledger)) = (entries.is_empty(), &mut self.ledger) {
            ledger.refresh()?;
            // What left is not kept any more (an older state was put back): a second release is not in the charge.
            if entries.iter().any(|entry| ledger.is_confirmed(entry)) {
                let reason =
                    "the ledger says that a contribution to this attempt has left, and it is not kept any more";
                self.report(announcement.round, announcement.attempt, Phase::Refused, Some(reason.to_owned()));
                return Ok(());
            }
            // Reserved and not kept: a crash before anything left, so the charge still stands for this one release.
            if !entries.iter().all(|entry| ledger.is_reserved(entry)) {
                training::within_charged(&self.identity.charter, ledger.entries(), &entries)?;
                self.options.crash.line(Line::Reserve, || Ok::<_, RunError>(ledger.reserve(&entries)?))?;
            }
            self.keep_ledger_head()?;
        }
        self.report(announcement.round, announcement.attempt, Phase::Announced, None);
        let job = Job {
            identity: Arc::clone(&self.identity),
            layout: terms::layout(
                self.charter(),
                announcement.round,
                announcement.expected.len(),
                announcement.may_vanish,
                self.state.update_len(),
            )?,
            announcement: Arc::clone(announcement),
            ledger_head: Digest::from_bytes(self.ledger.as_ref().map_or([0; 32], |ledger| ledger.head().digest)),
            committee: self.committee,
            state: self.state.clone(),
            trainer,
        };
        self.work.training = Some(digest);
        let done = self.work.done.clone();
        tokio::task::spawn_blocking(move || {
            // The member is gone when this fails.
            let made = catch_unwind(AssertUnwindSafe(|| job.make()));
            let _ = done.send(Done::Trained(digest, made.unwrap_or(Err(RunError::Task))));
        });
        Ok(())
    }

    /// Keeps a finished contribution durably, then offers it.
    pub(super) fn trained(&mut self, digest: Digest, made: Result<Made, RunError>) -> Result<(), RunError> {
        if self.work.training == Some(digest) {
            self.work.training = None;
        }
        let made = match made {
            Ok(made) => made,
            Err(error) => {
                self.training_failed(digest, &error);
                return Ok(());
            }
        };
        let Some(view) = self.view.as_mut().filter(|view| view.digest == digest) else { return Ok(()) };
        let (round, attempt) = (view.announcement.round, view.announcement.attempt);
        view.seconds.train = made.train;
        view.seconds.noise = made.noise;
        view.seconds.encrypt = made.encrypt;
        view.loss = made.loss;
        let files = self.store.attempt(round, attempt)?;
        files.put(Part::Body, &made.body)?;
        files.put(Part::SealedShares, &write_sealed(&made.sealed))?;
        files.put(Part::Manifest, &made.signed.to_bytes())?;
        self.offer(Event::Contributed(made.signed))
    }

    /// No further attempt is charged for what fails: this house trains no more until it is started again, and goes on answering for the others.
    fn training_failed(&mut self, digest: Digest, error: &RunError) {
        let failed = Aside::Failed(error.to_string());
        self.failed = Some(error.to_string());
        match self.view.as_ref().filter(|view| view.digest == digest) {
            Some(view) => {
                let (round, attempt) = (view.announcement.round, view.announcement.attempt);
                self.report_error(round, attempt, Phase::Refused, failed.to_string());
            }
            // Of an attempt that is over.
            None => tracing::error!("{failed}"),
        }
    }

    /// Sends the kept contribution beside the event loop, at its time.
    pub(super) fn submit(&mut self, signed: &Signed<Contribution>) -> Result<(), RunError> {
        let place = self.view.as_ref().map(|view| (view.announcement.round, view.announcement.attempt));
        if let (Some((round, attempt)), Some(reason)) = (place, self.aside()?) {
            self.report(round, attempt, Phase::Refused, Some(reason.to_string()));
            return Ok(());
        }
        let Some(view) = &mut self.view else { return Ok(()) };
        if self.work.submitting == Some(view.digest) {
            return Ok(());
        }
        let files = self.store.attempt(view.announcement.round, view.announcement.attempt)?;
        let (Some(sealed), Some(body)) = (files.get(Part::SealedShares)?, files.body()?) else {
            tracing::error!("the contribution that was promised is not kept any more; it cannot be sent again");
            return Ok(());
        };
        // From here on it may have left: the ledger says so first, and no other one is made for this attempt.
        let announcement = view.announcement.clone();
        let entries = self.entries(&announcement)?;
        if let (false, Some(ledger)) = (entries.is_empty(), &mut self.ledger) {
            let digest = *signed.body_digest().as_bytes();
            self.options.crash.line(Line::Confirm, || Ok::<_, RunError>(ledger.confirm(&entries, digest)?))?;
            self.keep_ledger_head()?;
        }
        let Some(view) = &mut self.view else { return Ok(()) };
        let sealed = read_sealed(&sealed).map_err(|e| RunError::Malformed(format!("kept shares: {e}")))?;
        let manifest = signed.unverified().map_err(|e| RunError::Malformed(e.to_string()))?;
        let chunk = body.bytes / u64::from(manifest.chunk_count.max(1));
        let chunk =
            usize::try_from(chunk).map_err(|_| RunError::Malformed("a chunk of the kept body is too long".into()))?;
        view.bytes_up = body.bytes + sealed.iter().map(Vec::len).sum::<usize>() as u64;
        let now = now_ms();
        let late_ms = now.saturating_sub(view.announcement.submit_time_ms());
        if late_ms > 0 {
            tracing::warn!(
                late_ms,
                "this contribution leaves late, which shows about how long its batch took; ask the model builder for a larger rounds.submit_at_ms"
            );
        }
        let submission = Submission {
            client: self.client.clone(),
            whole: Whole { signed: signed.clone(), sealed, body, chunk: chunk.max(1) },
            departure: departure(&view.announcement, now),
            close: view.announcement.close_time_ms(),
            backoff: self.options.backoff.clone(),
            state: self.store.dir().to_owned(),
        };
        let (digest, done) = (view.digest, self.work.done.clone());
        self.work.submitting = Some(digest);
        self.work.tasks.spawn(async move {
            // The member is gone when this fails.
            let _ = done.send(Done::Submitted(digest, submission.send().await));
        });
        Ok(())
    }

    /// Notes whether the contribution was accepted.
    pub(super) fn submitted(&mut self, digest: Digest, result: Result<f64, NotSent>) -> Result<(), RunError> {
        let Some(view) = self.view.as_mut().filter(|view| view.digest == digest) else { return Ok(()) };
        let (round, attempt) = (view.announcement.round, view.announcement.attempt);
        match result {
            Ok(seconds) => {
                view.seconds.network += seconds;
                self.report(round, attempt, Phase::Contributed, None);
                Ok(self.options.crash.reach(Place::Accepted)?)
            }
            Err(NotSent::Aside(reason)) => {
                self.report(round, attempt, Phase::Refused, Some(reason));
                Ok(())
            }
            Err(NotSent::Said(status)) if is_refusal(&status) => {
                tracing::warn!(%round, %attempt, "the contribution was not taken: {}", status.message());
                Ok(())
            }
            Err(NotSent::Said(status)) => {
                self.work.submitting = None;
                Err(lost(&status))
            }
        }
    }

    /// The contribution to `announcement` that was kept before a crash.
    fn kept(&self, announcement: &Announcement) -> Result<Option<Signed<Contribution>>, RunError> {
        let files = self.store.attempt(announcement.round, announcement.attempt)?;
        let Some(bytes) = files.get(Part::Manifest)? else { return Ok(None) };
        let signed = Signed::<Contribution>::from_bytes(&bytes).map_err(|e| RunError::Malformed(e.to_string()))?;
        let manifest = signed.unverified().map_err(|e| RunError::Malformed(e.to_string()))?;
        Ok((manifest.announcement == announcement.digest()).then_some(signed))
    }
}

/// A manifest and what it binds.
pub(crate) struct Encrypted {
    pub(crate) signed: Signed<Contribution>,
    pub(crate) sealed: Vec<Vec<u8>>,
    pub(crate) body: Vec<u8>,
}

/// All that making a contribution needs, for another thread.
pub(crate) struct Job {
    pub(crate) identity: Arc<Identity>,
    pub(crate) layout: Layout,
    pub(crate) announcement: Arc<Announcement>,
    pub(crate) ledger_head: Digest,
    pub(crate) committee: Committee,
    pub(crate) state: State,
    pub(crate) trainer: Arc<Mutex<Box<dyn Trainer>>>,
}

impl Job {
    /// Trains, clips, adds noise, encrypts and signs.
    pub(crate) fn make(&self) -> Result<Made, RunError> {
        let house = self.identity.name();
        let part = training::Part::announced(&self.identity.charter, house, &self.announcement);
        let trained = {
            let mut trainer = self.trainer.lock().unwrap_or_else(PoisonError::into_inner);
            trainer.contribution(&part, &self.state)?
        };
        let (made, encrypt) = timed(|| self.encrypt(&trained.values));
        let Encrypted { signed, sealed, body } = made?;
        Ok(Made {
            signed,
            sealed,
            body,
            loss: trained.loss,
            train: trained.train.as_secs_f64(),
            noise: trained.noise.as_secs_f64(),
            encrypt: encrypt.as_secs_f64(),
        })
    }

    /// Encrypts under a fresh key, deals its shares to the committee, and signs the manifest of it all.
    pub(crate) fn encrypt(&self, values: &[i64]) -> Result<Encrypted, RunError> {
        let failed = |e: &dyn std::fmt::Display| RunError::Train(TrainError::Encrypt(e.to_string()));
        // Not a generator of the process: its buffer would keep the seeds of key and errors.
        let (layout, announcement, rng) = (&self.layout, &self.announcement, &mut UnwrapErr(SysRng));
        let (name, digest) = (self.identity.name(), announcement.digest());
        let key = OneTimeKey::generate(layout, rng);
        let seed = MaskSeed(announcement.mask_seed());
        let dealing = secure_sum::deal(&key, layout, &self.committee, rng).map_err(|e| failed(&e))?;
        let body = secure_sum::encrypt(layout, &seed, key, values, rng).map_err(|e| failed(&e))?;
        let ciphertext = ciphertext_digest(body.chunks(layout.chunk_bytes()));
        let mut sealed = Vec::with_capacity(dealing.shares.len());
        for (seat, share) in announcement.committee.iter().zip(&dealing.shares) {
            let offer = seat.offer.unverified().map_err(|e| failed(&e))?;
            let receiver = sealing::to_public(&offer.key).map_err(|e| failed(&e))?;
            let aad = share_aad(&digest, name, seat.index, &ciphertext);
            sealed.push(secure_sum::seal(&receiver, SHARE_INFO, &aad, &share.to_bytes()).map_err(|e| failed(&e))?);
        }
        let manifest = Contribution {
            announcement: digest,
            member: name.clone(),
            ciphertext,
            chunk_count: u32::try_from(layout.chunk_count()).unwrap_or(u32::MAX),
            commitments: dealing.commitments.to_bytes(),
            sealed_shares: sealed.iter().map(|share| Digest::sha256(share)).collect(),
            ledger_head: self.ledger_head,
        };
        Ok(Encrypted { signed: Signed::sign(&manifest, &self.identity.signer), sealed, body })
    }
}

fn write_sealed(sealed: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.list(sealed, |writer, share| writer.bytes(share));
    writer.into_bytes()
}

fn read_sealed(bytes: &[u8]) -> Result<Vec<Vec<u8>>, protocol::EncodingError> {
    let mut reader = Reader::new(bytes);
    let sealed = reader
        .list("sealed", COMMITTEE_MEMBERS, |reader| reader.bytes("sealed", SEALED_SHARE_BYTES).map(<[u8]>::to_vec))?;
    reader.finish()?;
    Ok(sealed)
}
