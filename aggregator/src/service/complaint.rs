//! A complaint: who is wrong, the house that sealed a share or the member that complains of it, is decided here; the engine
//! hears of true ones only.

use std::sync::Arc;

use protocol::message::{SHARE_INFO, share_aad};
use protocol::{Complaint, Party, Rejection, Signed};
use protos::convert::signed;
use protos::v1;
use secure_sum::{Commitments, Envelope, EnvelopeProof};

use super::authorise::Caller;
use super::{Shared, can_be_sealed_to};
use crate::engine::Evidence;
use crate::refusal::Refusal;

/// Takes one complaint in.
pub(super) async fn complaint(
    shared: &Arc<Shared>,
    caller: &Caller,
    request: v1::PutComplaintRequest,
) -> Result<(), Refusal> {
    let complaint: Signed<Complaint> = signed("complaint", request.complaint)?;
    caller.speaks_for_itself(&complaint)?;
    let _slot = shared.complaints.take(caller.name())?;
    let Some(evidence) = shared.engine.evidence(complaint.clone()).await? else { return Ok(()) };
    let judged = tokio::task::spawn_blocking(move || judge(&evidence));
    judged.await.map_err(|error| Refusal::Failure(format!("judging a complaint stopped: {error}")))??;
    shared.engine.complaint(complaint).await
}

/// Whether the share is wrong; a complaint without ground names its maker.
fn judge(evidence: &Evidence) -> Result<(), Refusal> {
    let Evidence { complaint, layout, committee, key, manifest } = evidence;
    let failed = |what: &str, error: &dyn std::fmt::Display| Refusal::Failure(format!("{what}: {error}"));
    let who = Party::named(&complaint.member);
    let proof = EnvelopeProof::from_bytes(&complaint.proof).map_err(|error| {
        Refusal::from(Rejection::BadComplaint { who: who.clone(), field: "proof", rule: error.to_string() })
    })?;
    let receiver = can_be_sealed_to(key).ok_or_else(|| failed("a one-time key", &"it is not usable"))?;
    // The manifest was accepted with these commitments.
    let commitments = Commitments::from_bytes(layout, committee, &manifest.commitments);
    let commitments = commitments.map_err(|error| failed("kept commitments", &error))?;
    let aad = share_aad(&complaint.announcement, &manifest.member, complaint.index, &manifest.ciphertext);
    let envelope = Envelope { receiver: &receiver, info: SHARE_INFO, aad: &aad, sealed: &complaint.sealed };
    match proof.judge(&envelope, layout, committee, &commitments, complaint.index.get()) {
        Ok(fault) => {
            tracing::warn!(dealer = %manifest.member, member = %complaint.member, "a wrong share is proved: {fault}");
            Ok(())
        }
        Err(error) => {
            let (dealer, rule) = (manifest.member.clone(), error.to_string());
            Err(Rejection::FalseComplaint { who, dealer, rule }.into())
        }
    }
}
