//! Committee duty: the shares of exactly the cohort, unsealed, checked, added, and sent as the release policy says; and a
//! complaint about a share that is wrong.

use std::sync::Arc;

use protocol::client::Event;
use protocol::message::{ANSWER_INFO, SHARE_INFO, answer_aad, share_aad};
use protocol::{
    Answer, AnswerPayload, CohortList, Complaint, Contribution, Digest, MemberIndex, Message as _, SealedFor, Signed,
};
use protos::convert::to_wire;
use protos::v1;
use rand::rand_core::UnwrapErr;
use rand::rngs::SysRng;
use secure_sum::{Commitments, Committee, EnvelopeProof, KeyShare, Layout, SealingKey, ShareSum};

use super::member::Member;
use super::{RunError, is_refusal, lost};
use crate::progress::Phase;
use crate::sealing;

/// A share that cannot be used.
enum WrongShare {
    /// Not the one that its house signed, so the aggregator's fault.
    NotSigned,
    /// Commitments that anybody sees are none, so the aggregator's fault, which listed the contribution.
    NotCommitted(String),
    /// Its house sealed it so, and it is not what the commitments say.
    Dealt(String),
}

impl Member {
    /// Looks at the shares that a cohort sealed to this member as soon as there is a cohort: a wrong one is proved before
    /// anybody has answered.
    pub(super) async fn look_at_shares(&mut self, list: &Arc<CohortList>) -> Result<(), RunError> {
        let cohort = list.digest();
        if self.shares.as_ref().is_none_or(|(known, _)| *known != cohort) {
            self.shares = self.sum_of_shares(list).await?.map(|sum| (cohort, sum));
        }
        Ok(())
    }

    /// Answers the one cohort list and sum that this member promised an answer.
    pub(super) async fn answer(&mut self, list: &Arc<CohortList>, body_sum: Digest) -> Result<(), RunError> {
        let cohort = list.digest();
        self.look_at_shares(list).await?;
        // The round ends without this answer where there is none; why was said.
        let Some((_, sum)) = self.shares.take().filter(|(known, _)| *known == cohort) else { return Ok(()) };
        let answer = Answer {
            announcement: list.announcement,
            cohort,
            body_sum,
            member: self.me.name().clone(),
            index: self.seat()?,
            payload: self.payload(list, &sum)?,
        };
        let signed = Signed::sign(&answer, &self.identity.signer);
        self.offer(Event::Answered(signed))
    }

    /// Sends an answer that the memory holds.
    pub(super) async fn send_answer(&mut self, signed: &Signed<Answer>) -> Result<(), RunError> {
        let request = v1::PutAnswerRequest { answer: Some(to_wire(signed)) };
        match self.client.put_answer(request).await {
            Ok(_) => {
                if let Some(view) = &self.view {
                    self.report(view.announcement.round, view.announcement.attempt, Phase::Answered, None);
                }
                Ok(())
            }
            Err(status) if is_refusal(&status) => {
                tracing::info!("the answer was not taken: {}", status.message());
                Ok(())
            }
            Err(status) => Err(lost(&status)),
        }
    }

    /// The sum of the shares that exactly this cohort sealed to this member; `None`, and a word about why, without it.
    async fn sum_of_shares(&mut self, list: &CohortList) -> Result<Option<ShareSum>, RunError> {
        let Some(heard) = self.round.heard() else { return Ok(None) };
        // A house outside of the committee has no shares to add.
        let Some(sequence) = heard.sequence() else { return Ok(None) };
        let announcement = Arc::clone(heard.announcement());
        let Some(key) = self.store.key(sequence)? else {
            tracing::error!(sequence, "the one-time key of this round is not kept any more: no answer can be given");
            return Ok(None);
        };
        let request = v1::GetSealedSharesRequest { announcement: list.announcement.as_bytes().to_vec().into() };
        let shares = match self.client.get_sealed_shares(request).await {
            Ok(response) => response.into_inner().shares,
            // The attempt ended without this answer: asking again and again would keep this member from what comes next.
            Err(status) if is_refusal(&status) => {
                tracing::info!("no shares to answer with: {}", status.message());
                return Ok(None);
            }
            Err(status) => return Err(lost(&status)),
        };
        let malformed = |error: &dyn std::fmt::Display| RunError::Malformed(error.to_string());
        let layout = Layout::from_bytes(&announcement.layout).map_err(|e| malformed(&e))?;
        let mut sum = ShareSum::new(&layout);
        for contribution in &list.contributions {
            let manifest = contribution.unverified().map_err(|e| malformed(&e))?;
            let sealed = shares.iter().find(|share| share.sender == manifest.member.as_str());
            let sealed = sealed.map(|share| share.sealed.clone()).unwrap_or_default();
            match self.unseal(&layout, &manifest, &key, &sealed) {
                Ok(share) => sum.add(&share).map_err(|e| malformed(&e))?,
                Err(wrong) => {
                    let (round, attempt, dealer) = (announcement.round, announcement.attempt, &manifest.member);
                    let reason = match &wrong {
                        WrongShare::NotSigned => format!("the aggregator has no share of `{dealer}` that it signed"),
                        WrongShare::NotCommitted(what) => {
                            format!("the aggregator listed `{dealer}` with commitments that are none: {what}")
                        }
                        WrongShare::Dealt(what) => {
                            format!("`{dealer}` sealed a wrong key share to this member: {what}")
                        }
                    };
                    self.report(round, attempt, Phase::Accused, Some(reason));
                    if let WrongShare::Dealt(_) = wrong {
                        self.complain(&manifest, &key, &sealed)?;
                    }
                    return Ok(None);
                }
            }
        }
        Ok(Some(sum))
    }

    /// Proves that a house sealed a wrong share: the attempt ends, and the house stays out of the next.
    fn complain(&mut self, manifest: &Contribution, key: &SealingKey, sealed: &[u8]) -> Result<(), RunError> {
        let Some(dealer) = self.me.federation().roster().position_of(&manifest.member) else { return Ok(()) };
        let index = self.seat()?;
        if manifest.member == *self.me.name() {
            tracing::error!("this house dealt a wrong share to itself; its program or its disk is damaged");
            return Ok(());
        }
        let aad = share_aad(&manifest.announcement, &manifest.member, index, &manifest.ciphertext);
        let proof = EnvelopeProof::make(key, SHARE_INFO, &aad, sealed, &mut UnwrapErr(SysRng));
        let complaint = Complaint {
            announcement: manifest.announcement,
            member: self.me.name().clone(),
            index,
            dealer,
            sealed: sealed.to_vec(),
            proof: proof.to_bytes(),
        };
        let signed = Signed::sign(&complaint, &self.identity.signer);
        self.offer(Event::Complained(signed))
    }

    /// Sends a complaint that the memory holds.
    pub(super) async fn send_complaint(&mut self, signed: &Signed<Complaint>) -> Result<(), RunError> {
        match self.client.put_complaint(v1::PutComplaintRequest { complaint: Some(to_wire(signed)) }).await {
            Ok(_) => Ok(()),
            Err(status) if is_refusal(&status) => {
                tracing::warn!("the complaint was not taken: {}", status.message());
                Ok(())
            }
            Err(status) => Err(lost(&status)),
        }
    }

    /// This member's share index; the round asks for answers only where there is one.
    fn seat(&self) -> Result<MemberIndex, RunError> {
        self.me.seat().ok_or_else(|| RunError::Malformed("this house holds no key shares".to_owned()))
    }

    fn unseal(
        &self,
        layout: &Layout,
        manifest: &Contribution,
        key: &SealingKey,
        sealed: &[u8],
    ) -> Result<KeyShare, WrongShare> {
        let index = self.seat().map_err(|_| WrongShare::NotSigned)?;
        if manifest.sealed_shares.get(index.position()) != Some(&Digest::sha256(sealed)) {
            return Err(WrongShare::NotSigned);
        }
        // Before the envelope: a complaint is about what only its receiver can see.
        let commitments = commitments(layout, &self.committee, manifest).map_err(WrongShare::NotCommitted)?;
        let dealt = |error: &dyn std::fmt::Display| WrongShare::Dealt(error.to_string());
        let aad = share_aad(&manifest.announcement, &manifest.member, index, &manifest.ciphertext);
        let bytes = secure_sum::unseal(key, SHARE_INFO, &aad, sealed).map_err(|e| dealt(&e))?;
        let share = KeyShare::from_bytes(layout, &bytes).map_err(|e| dealt(&e))?;
        share.check(&commitments, index.get()).map_err(|e| dealt(&e))?;
        Ok(share)
    }

    fn payload(&self, list: &CohortList, sum: &ShareSum) -> Result<AnswerPayload, RunError> {
        let federation = self.me.federation();
        if !federation.seals_answers() {
            return Ok(AnswerPayload::Open(sum.to_bytes().to_vec()));
        }
        let (cohort, bytes, index) = (list.digest(), sum.to_bytes(), self.seat()?);
        let seal = |house: &protocol::Member| -> Result<SealedFor, RunError> {
            let failed = |e: &dyn std::fmt::Display| RunError::Malformed(format!("mailbox of `{}`: {e}", house.name()));
            let key = sealing::to_public(house.mailbox_key()).map_err(|e| failed(&e))?;
            let aad = answer_aad(&list.announcement, &cohort, index, house.name());
            let sealed = secure_sum::seal(&key, ANSWER_INFO, &aad, &bytes).map_err(|e| failed(&e))?;
            Ok(SealedFor { house: house.name().clone(), sealed })
        };
        Ok(AnswerPayload::Sealed(federation.roster().houses().map(seal).collect::<Result<_, _>>()?))
    }
}

/// The commitments of a manifest, checked to be a dealing of this committee's threshold.
pub(super) fn commitments(
    layout: &Layout,
    committee: &Committee,
    manifest: &Contribution,
) -> Result<Commitments, String> {
    let commitments = Commitments::from_bytes(layout, committee, &manifest.commitments).map_err(|e| e.to_string())?;
    commitments.check_degree(committee).map_err(|e| e.to_string())?;
    Ok(commitments)
}
