//! Committee duty: the shares of exactly the cohort, unsealed, checked, added, and sent as the release policy says.

use std::sync::Arc;

use protocol::client::Event;
use protocol::message::{ANSWER_INFO, SHARE_INFO, answer_aad, share_aad};
use protocol::{Announcement, Answer, AnswerPayload, CohortList, Contribution, Message as _, SealedFor, Signed};
use protos::convert::to_wire;
use protos::v1;
use secure_sum::{Commitments, Committee, KeyShare, Layout, SealingKey, ShareSum};

use super::member::Member;
use super::{Fault, RunError, is_refusal, lost};
use crate::progress::Phase;
use crate::sealing;

impl Member {
    /// Answers the one cohort list that this member promised an answer.
    pub(super) async fn answer(&mut self, list: &Arc<CohortList>) -> Result<(), RunError> {
        self.fault(Fault::BeforeAnswer)?;
        let Some(heard) = self.round.heard() else { return Ok(()) };
        let (announcement, sequence) = (Arc::clone(heard.announcement()), heard.sequence());
        let Some(key) = self.store.key(sequence)? else {
            tracing::error!(sequence, "the one-time key of this round is not kept any more: no answer can be given");
            return Ok(());
        };
        let request = v1::GetSealedSharesRequest { announcement: list.announcement.as_bytes().to_vec().into() };
        let shares = match self.client.get_sealed_shares(request).await {
            Ok(response) => response.into_inner().shares,
            // The attempt ended without this answer: asking again and again would keep this member from what comes next.
            Err(status) if is_refusal(&status) => {
                tracing::info!("no shares to answer with: {}", status.message());
                return Ok(());
            }
            Err(status) => return Err(lost(&status)),
        };
        let sum = match self.sum_of_shares(&announcement, list, &key, &shares) {
            Ok(sum) => sum,
            Err(reason) => {
                // The round ends without this answer; who dealt wrongly is named in the house's log.
                self.report(announcement.round, announcement.attempt, Phase::Refused, Some(reason));
                return Ok(());
            }
        };
        let answer = Answer {
            announcement: list.announcement,
            cohort: list.digest(),
            member: self.me.name().clone(),
            index: self.me.index(),
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
                self.fault(Fault::AfterAnswer)
            }
            Err(status) if is_refusal(&status) => {
                tracing::info!("the answer was not taken: {}", status.message());
                Ok(())
            }
            Err(status) => Err(lost(&status)),
        }
    }

    fn sum_of_shares(
        &self,
        announcement: &Announcement,
        list: &CohortList,
        key: &SealingKey,
        shares: &[v1::SealedShare],
    ) -> Result<ShareSum, String> {
        let layout = Layout::from_bytes(&announcement.layout).map_err(|e| e.to_string())?;
        let mut sum = ShareSum::new(&layout);
        for contribution in &list.contributions {
            let sender = contribution.signer();
            let wrong = |what: &dyn std::fmt::Display| format!("the key share from `{sender}`: {what}");
            let manifest = contribution.unverified().map_err(|e| wrong(&e))?;
            let sealed = shares.iter().find(|share| share.sender == sender.as_str());
            let sealed = sealed.ok_or_else(|| wrong(&"is missing"))?;
            let share = self.unseal(&layout, &manifest, key, &sealed.sealed).map_err(|e| wrong(&e))?;
            sum.add(&share).map_err(|e| wrong(&e))?;
        }
        Ok(sum)
    }

    fn unseal(
        &self,
        layout: &Layout,
        manifest: &Contribution,
        key: &SealingKey,
        sealed: &[u8],
    ) -> Result<KeyShare, String> {
        let index = self.me.index();
        if manifest.sealed_shares.get(index.position()) != Some(&protocol::Digest::sha256(sealed)) {
            return Err("is not the one that was signed".to_owned());
        }
        let aad = share_aad(&manifest.announcement, &manifest.member, index, &manifest.ciphertext);
        let bytes = secure_sum::unseal(key, SHARE_INFO, &aad, sealed).map_err(|e| e.to_string())?;
        let share = KeyShare::from_bytes(layout, &bytes).map_err(|e| e.to_string())?;
        let commitments = commitments(layout, &self.committee, manifest)?;
        share.check(&commitments, index.get()).map_err(|e| e.to_string())?;
        Ok(share)
    }

    fn payload(&self, list: &CohortList, sum: &ShareSum) -> Result<AnswerPayload, RunError> {
        let federation = self.me.federation();
        if !federation.seals_answers() {
            return Ok(AnswerPayload::Open(sum.to_bytes().to_vec()));
        }
        let (cohort, bytes) = (list.digest(), sum.to_bytes());
        let seal = |house: &protocol::Member| -> Result<SealedFor, RunError> {
            let failed = |e: &dyn std::fmt::Display| RunError::Malformed(format!("mailbox of `{}`: {e}", house.name()));
            let key = sealing::to_public(house.mailbox_key()).map_err(|e| failed(&e))?;
            let aad = answer_aad(&list.announcement, &cohort, self.me.index(), house.name());
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
