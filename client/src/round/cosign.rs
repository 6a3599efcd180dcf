//! This member's word for the record: a cosignature of each head that it saw grow from the one before.

use protocol::log::{Checkpoint, verify_consistency};
use protocol::{Digest, Party, RecordHead, Rejection};
use protos::convert;
use protos::v1;
use tonic::Status;

use super::member::Member;
use super::{RunError, now_ms};

impl Member {
    /// Countersigns the head that this member remembers: it was announced, proven to continue the one before, and is on the disk.
    pub(super) async fn cosign(&mut self) {
        self.cosign_head(self.round.memory().record).await;
    }

    /// After the last round: the head that counts all of it, which no announcement shows any more. It is remembered before it is signed.
    pub(super) async fn cosign_last(&mut self) -> Result<(), RunError> {
        let seen = self.round.memory().record;
        let (note, proof) = match self.shown(seen).await {
            Ok(shown) => shown,
            // All is settled: a connection that breaks now costs a cosignature.
            Err(status) => {
                tracing::info!("the record's last head was not shown: {}", status.message());
                return Ok(());
            }
        };
        let origin = Checkpoint::origin_of(self.charter().name.as_str());
        let malformed = |error: &dyn std::fmt::Display| RunError::Malformed(format!("the record's head: {error}"));
        let opened = Checkpoint::open(&note, &origin, self.charter().aggregator_key());
        let head = opened.map_err(|error| malformed(&error))?.head;
        let proof: Vec<Digest> = proof
            .iter()
            .map(|hash| convert::digest("hashes", hash))
            .collect::<Result<_, _>>()
            .map_err(|error| malformed(&error))?;
        let (who, found) = (Party::Aggregator, head.size);
        if found < seen.size || (found == seen.size && head.root != seen.root) {
            return Err(Rejection::RecordWentBack { who, seen: seen.size, found }.into());
        }
        let continues = seen.size == 0 || verify_consistency(seen.size, &seen.root, found, &head.root, &proof);
        if !continues {
            return Err(Rejection::RecordForked { who, seen: seen.size, found }.into());
        }
        if head != seen {
            let mut memory = self.round.memory().clone();
            memory.record = head;
            self.store.put_memory(&memory)?;
        }
        self.cosign_head(head).await;
        Ok(())
    }

    /// A member of the committee says so once a head; that it was not taken stops nothing.
    async fn cosign_head(&mut self, head: RecordHead) {
        if self.me.seat().is_none() || head.size == 0 || self.cosigned == Some(head) {
            return;
        }
        let checkpoint = Checkpoint::new(self.charter().name.as_str(), head);
        let line = checkpoint.cosign(&self.identity.signer, now_ms() / 1_000);
        // Once, however it is answered: an aggregator of an older version has no such call.
        self.cosigned = Some(head);
        let request = v1::PutCosignatureRequest { size: head.size, line };
        if let Err(status) = self.client.put_cosignature(request).await {
            tracing::info!(size = head.size, "the cosignature was not taken: {}", status.message());
        }
    }

    /// The signed head that the aggregator shows, and its proof that the head `seen` is a part of it.
    async fn shown(&mut self, seen: RecordHead) -> Result<(String, Vec<bytes::Bytes>), Status> {
        let note = self.client.get_checkpoint(v1::GetCheckpointRequest {}).await?.into_inner().checkpoint;
        // The size is in the note's second line; whoever signed it is looked at later.
        let new_size = note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0);
        if seen.size == 0 || new_size <= seen.size {
            return Ok((note, Vec::new()));
        }
        let of = v1::get_proof_request::Of::Consistency(v1::ConsistencyQuery { old_size: seen.size, new_size });
        let proof = self.client.get_proof(v1::GetProofRequest { of: Some(of) }).await?.into_inner().hashes;
        Ok((note, proof))
    }
}
