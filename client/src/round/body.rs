//! Another house's ciphertext, and this house's own: the bodies that checksums are taken of.

use protocol::message::ciphertext_digest;
use protocol::{Announcement, Contribution, HouseName};
use protos::v1;
use secure_sum::Layout;

use super::contribute::BODY;
use super::member::Member;
use super::{RunError, is_refusal, lost};

impl Member {
    /// This house's own body as it was sent, while it is kept.
    pub(super) fn own_body(&self, announcement: &Announcement) -> Result<Option<Vec<u8>>, RunError> {
        Ok(self.store.attempt(announcement.round, announcement.attempt)?.get(BODY)?)
    }

    /// The body that `manifest` signs, from the aggregator. `None`, and a line in the log, when it has none or another.
    pub(super) async fn fetch_body(
        &mut self,
        layout: &Layout,
        manifest: &Contribution,
    ) -> Result<Option<Vec<u8>>, RunError> {
        let house = &manifest.member;
        let request = v1::GetBodyRequest {
            announcement: manifest.announcement.as_bytes().to_vec().into(),
            house: house.to_string(),
        };
        let mut stream = match self.client.get_body(request).await {
            Ok(response) => response.into_inner(),
            Err(status) if is_refusal(&status) => return Ok(no_body(house, status.message())),
            Err(status) => return Err(lost(&status)),
        };
        let (chunk, whole) = (layout.chunk_bytes(), layout.contribution_bytes());
        let mut body = Vec::with_capacity(whole);
        loop {
            let run = match stream.message().await {
                Ok(Some(run)) => run,
                Ok(None) => break,
                Err(status) if is_refusal(&status) => return Ok(no_body(house, status.message())),
                Err(status) => return Err(lost(&status)),
            };
            if usize::try_from(run.first) != Ok(body.len() / chunk) || body.len() + run.data.len() > whole {
                return Ok(no_body(house, "its chunks are not in order"));
            }
            body.extend_from_slice(&run.data);
        }
        if body.len() != whole || ciphertext_digest(body.chunks(chunk)) != manifest.ciphertext {
            return Ok(no_body(house, "it is not the one that was signed"));
        }
        Ok(Some(body))
    }
}

fn no_body(house: &HouseName, reason: &str) -> Option<Vec<u8>> {
    tracing::error!(%house, "the aggregator does not show the body of `{house}`: {reason}");
    None
}
