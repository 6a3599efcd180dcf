//! The certificate, renewed before it ends.

use protos::v1;

use super::member::Member;
use super::{RunError, is_refusal, lost, now_ms};
use crate::identity::{Identity, IdentityError};
use crate::{connection, join};

/// A certificate that ends sooner is renewed. It lasts 90 days, and a connection an hour at most.
const AHEAD_S: i64 = 30 * 86_400;

/// Seconds for which the certificate of `identity` is still good.
///
/// # Errors
/// [`RunError::CertificateEnded`].
pub(super) fn left_s(identity: &Identity) -> Result<i64, RunError> {
    let left_s = identity.certificate_ends_at_s() - i64::try_from(now_ms() / 1000).unwrap_or(i64::MAX);
    if left_s > 0 {
        return Ok(left_s);
    }
    Err(RunError::CertificateEnded { days: -left_s / 86_400, name: identity.name().clone() })
}

impl Member {
    /// Asks for a new certificate where the present one ends soon, and connects anew with it.
    ///
    /// # Errors
    /// [`RunError::CertificateEnded`], [`RunError::Lost`], or what the disk did not take.
    pub(super) async fn renew_certificate(&mut self) -> Result<(), RunError> {
        let left_s = left_s(&self.identity)?;
        if left_s > AHEAD_S {
            return Ok(());
        }
        let request = join::signing_request(self.me.name(), &self.identity.tls_pem);
        let signing_request = request.map_err(|e| RunError::Malformed(format!("TLS key: {e}")))?.into();
        match self.client.renew_certificate(v1::RenewCertificateRequest { signing_request }).await {
            Ok(response) => {
                match self.identity.renew(&response.into_inner().certificate, &self.options.crash) {
                    Err(error @ IdentityError::Renewal { .. }) => {
                        tracing::warn!(days_left = left_s / 86_400, "{error}");
                        return Ok(());
                    }
                    other => other?,
                }
                self.client = connection::federation(&self.identity, &self.config.network)?;
                tracing::info!("certificate renewed");
                Ok(())
            }
            Err(status) if is_refusal(&status) => {
                tracing::warn!(days_left = left_s / 86_400, "the certificate is not renewed: {}", status.message());
                Ok(())
            }
            Err(status) => Err(lost(&status)),
        }
    }
}
