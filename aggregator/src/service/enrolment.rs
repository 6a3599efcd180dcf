//! Joining: an invitation and a signing request become a certificate.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::PublicKey;
use protos::convert::{array, bounded, name};
use protos::limits::SIGNING_REQUEST_BYTES;
use protos::v1;
use tonic::{Request, Response, Status};

use super::authorise::address_of;
use super::rate::Who;
use super::{Shared, can_be_sealed_to};
use crate::clock;
use crate::refusal::Refusal;
use crate::setup::token_digest;
use crate::store::{EnrolError, NewMember};

/// Wrong invitations within [`WINDOW`] after which further ones are told to wait until it is over.
const MAX_WRONG: u32 = 100;
const WINDOW: Duration = Duration::from_secs(60);

/// Open to callers without a certificate.
pub(crate) struct EnrolmentService {
    shared: Arc<Shared>,
    guesses: Guesses,
}

impl EnrolmentService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, guesses: Guesses::default() }
    }

    async fn join(&self, request: v1::JoinRequest) -> Result<v1::JoinResponse, Refusal> {
        let token: [u8; 32] = array("token", &request.token, "32")?;
        let signing_key: [u8; 32] = array("signing_key", &request.signing_key, "32")?;
        let mailbox_key: [u8; 32] = array("mailbox_key", &request.mailbox_key, "32")?;
        let signature: [u8; 64] = array("signature", &request.signature, "64")?;
        let csr = bounded("signing_request", &request.signing_request, SIGNING_REQUEST_BYTES, "1 to 4096")?;
        let name = name("name", &request.name)?;
        // First of all what is cheap and cannot be had without an invitation; a right one is never locked out.
        let token = token_digest(&token);
        if !self.shared.store.is_invited(token, &name).await? {
            self.guesses.check(Instant::now())?;
            self.guesses.wrong(Instant::now());
            return Err(EnrolError::UnknownToken { name }.into());
        }
        let key = PublicKey::from_bytes(&signing_key).ok_or(Refusal::BadKey { field: "signing_key" })?;
        if !key.holds(&protos::join::signed_bytes(&request), &signature) {
            return Err(Refusal::BadJoinSignature);
        }
        if can_be_sealed_to(&mailbox_key).is_none() {
            return Err(Refusal::BadKey { field: "mailbox_key" });
        }
        let now_ms = clock::now_ms();
        let membership = self.shared.identity.issue(name.as_str(), csr, now_ms)?;
        let new = NewMember {
            name,
            signing_key,
            mailbox_key,
            certificate: membership.certificate_pem,
            certificate_digest: membership.certificate_digest,
            joined_at_ms: now_ms,
        };
        let enrolled = self.shared.store.enrol(token, &new).await?;
        tracing::info!(member = %enrolled.name, "joined");
        self.shared.engine.look().await?;
        Ok(v1::JoinResponse {
            certificate: enrolled.certificate,
            charter: self.shared.charter.text().as_bytes().to_vec().into(),
        })
    }
}

#[tonic::async_trait]
impl v1::enrolment_server::Enrolment for EnrolmentService {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinResponse>, Status> {
        let _at_work = self.shared.crowd.enter(Who::Address(address_of(request.extensions()))).await?;
        Ok(Response::new(self.join(request.into_inner()).await?))
    }
}

/// Counts wrong invitations.
#[derive(Default)]
struct Guesses {
    window: Mutex<Option<(Instant, u32)>>,
}

impl Guesses {
    fn check(&self, now: Instant) -> Result<(), Refusal> {
        let window = *self.window.lock().unwrap_or_else(PoisonError::into_inner);
        match window {
            Some((start, count)) if count >= MAX_WRONG && now < start + WINDOW => {
                Err(Refusal::Locked { seconds: (start + WINDOW - now).as_secs().max(1) })
            }
            _ => Ok(()),
        }
    }

    fn wrong(&self, now: Instant) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        *window = match *window {
            Some((start, count)) if now < start + WINDOW => Some((start, count + 1)),
            _ => Some((now, 1)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_is_locked_for_the_rest_of_the_window() {
        let (guesses, start) = (Guesses::default(), Instant::now());
        for _ in 0..MAX_WRONG {
            assert!(guesses.check(start).is_ok());
            guesses.wrong(start);
        }
        assert!(matches!(guesses.check(start), Err(Refusal::Locked { seconds: 60 })));
        assert!(guesses.check(start + WINDOW).is_ok());
        guesses.wrong(start + WINDOW);
        assert!(guesses.check(start + WINDOW).is_ok());
    }
}
