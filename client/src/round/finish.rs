//! The end: consent to hand the final adapter over, and the hand-over itself.

use protocol::message::Approval;
use protocol::{Digest, Signed, check};
use protos::convert::{self, to_wire};
use protos::v1;

use super::member::Member;
use super::{Completed, RunError, is_refusal, lost};
use crate::progress::Phase;

/// Bytes of the state in one message.
const PART_BYTES: usize = 256 << 10;

impl Member {
    /// All rounds are settled: this house approves the hand-over where its policy says so, and sends the state when the
    /// aggregator lacks it.
    pub(super) async fn finish(&mut self, completed: v1::Completed) -> Result<Completed, RunError> {
        self.end_if_left(None)?;
        let state = convert::digest("state", &completed.state).map_err(|e| RunError::Malformed(e.to_string()))?;
        let rounds = completed.rounds;
        let own = Digest::from_bytes(self.state.digest());
        // What t houses have signed says when the last round is over, not the aggregator: under policy `clients` a state
        // in between would show it a round's sum.
        let memory = self.round.memory();
        let (settled, all) = (memory.next_round.get().saturating_sub(1), self.charter().rounds.count);
        if settled < all && !memory.over {
            return Err(RunError::NotCompleted { settled, rounds: all });
        }
        if self.me.is_house() {
            if own != state {
                return Err(RunError::Diverged { round: rounds, own: own.to_string(), signed: state.to_string() });
            }
            if let Some(reason) = self.aside()? {
                tracing::info!("this house does not approve the hand-over: {reason}");
            } else if self.config.policy.hand_over {
                self.approve(state).await?;
            } else {
                tracing::info!("policy.hand_over is false: this house does not approve the hand-over");
            }
        }
        self.cosign_last().await?;
        if let Some(view) = &self.view {
            self.report(view.announcement.round, view.announcement.attempt, Phase::Completed, None);
        }
        Ok(Completed { rounds: settled, state })
    }

    async fn approve(&mut self, state: Digest) -> Result<(), RunError> {
        let approval = Approval { charter: self.charter().digest(), member: self.me.name().clone(), state };
        let signed = Signed::sign(&approval, &self.identity.signer);
        let request = v1::PutApprovalRequest { approval: Some(to_wire(&signed)) };
        match self.client.put_approval(request).await {
            Ok(response) if response.get_ref().wanted => {
                let approvals = response.into_inner().approvals.into_iter();
                let approvals = approvals.map(|approval| convert::signed("approvals", Some(approval)));
                let approvals: Vec<Signed<Approval>> =
                    approvals.collect::<Result<_, _>>().map_err(|e| RunError::Malformed(e.to_string()))?;
                if check::hand_over_approved(self.me.federation(), state, &approvals) {
                    return self.hand_over().await;
                }
                tracing::error!(
                    "the aggregator asks for the final state without the consent of t houses: it gets none"
                );
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(status) if is_refusal(&status) => {
                tracing::warn!("the approval was not taken: {}", status.message());
                Ok(())
            }
            Err(status) => Err(lost(&status)),
        }
    }

    async fn hand_over(&mut self) -> Result<(), RunError> {
        let bytes = self.state.to_bytes();
        let parts: Vec<v1::PutFinalStateRequest> =
            bytes.chunks(PART_BYTES).map(|part| v1::PutFinalStateRequest { data: part.to_vec().into() }).collect();
        match self.client.put_final_state(futures::stream::iter(parts)).await {
            Ok(_) => tracing::info!("the final adapter was handed over"),
            Err(status) if is_refusal(&status) => {
                tracing::warn!("the final adapter was not taken: {}", status.message());
            }
            // A full disk there, say: the end is heard again over the next connection, and whether it is still wanted.
            Err(status) => return Err(lost(&status)),
        }
        Ok(())
    }
}
