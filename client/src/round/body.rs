//! Another house's ciphertext, and this house's own: the bodies that checksums are taken of.

use protocol::message::ciphertext_digest;
use protocol::{Announcement, Contribution};
use protos::v1;
use secure_sum::Layout;

use super::member::Member;
use super::{RunError, is_refusal, lost};
use crate::progress::Phase;
use crate::store::Part;

impl Member {
    /// This house's own body as it was sent, while it is kept and its file is sound.
    pub(super) fn own_body(
        &self,
        announcement: &Announcement,
        layout: &Layout,
        manifest: &Contribution,
    ) -> Result<Option<Vec<u8>>, RunError> {
        let body = self.store.attempt(announcement.round, announcement.attempt)?.get(Part::Body)?;
        let sound = |body: &Vec<u8>| ciphertext_digest(body.chunks(layout.chunk_bytes())) == manifest.ciphertext;
        Ok(body.filter(sound))
    }

    /// The body that `manifest` signs, from the aggregator; `None` when it has none any more, because the attempt is over.
    ///
    /// # Errors
    /// [`RunError::Lost`], and a word about the aggregator, when it shows another one.
    pub(super) async fn fetch_body(
        &mut self,
        announcement: &Announcement,
        layout: &Layout,
        manifest: &Contribution,
    ) -> Result<Option<Vec<u8>>, RunError> {
        let house = &manifest.member;
        let request = v1::GetBodyRequest {
            announcement: manifest.announcement.as_bytes().to_vec().into(),
            house: house.to_string(),
        };
        let gone = |status: &tonic::Status| {
            tracing::info!(%house, "no body to look at: {}", status.message());
            Ok(None)
        };
        let mut stream = match self.client.get_body(request).await {
            Ok(response) => response.into_inner(),
            Err(status) if is_refusal(&status) => return gone(&status),
            Err(status) => return Err(lost(&status)),
        };
        let (chunk, whole) = (layout.chunk_bytes(), layout.contribution_bytes());
        let mut body = Vec::with_capacity(whole);
        let mut is_whole = true;
        loop {
            match stream.message().await {
                Ok(Some(run)) => {
                    let fits = usize::try_from(run.first) == Ok(body.len() / chunk);
                    is_whole = fits && body.len() + run.data.len() <= whole;
                    if !is_whole {
                        break;
                    }
                    body.extend_from_slice(&run.data);
                }
                Ok(None) => break,
                Err(status) if is_refusal(&status) => return gone(&status),
                Err(status) => return Err(lost(&status)),
            }
        }
        if is_whole && body.len() == whole && ciphertext_digest(body.chunks(chunk)) == manifest.ciphertext {
            return Ok(Some(body));
        }
        let reason = format!("the aggregator shows another body of `{house}` than was signed");
        self.report(announcement.round, announcement.attempt, Phase::Accused, Some(reason.clone()));
        Err(RunError::Lost(reason))
    }
}
