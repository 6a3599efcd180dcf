//! Joining a federation: an invitation and a signing request for a certificate and the charter.

use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer as _, SigningKey};
use futures::future::BoxFuture;
use protocol::{Charter, CharterError, Digest, HouseName, Invitation};
use protos::v1;
use protos::v1::enrolment_client::EnrolmentClient;
use rcgen::{CertificateParams, DnType, KeyPair};

use crate::config::{Config, ConfigError};
use crate::connection::{self, ConnectError};
use crate::crash::Crash;
use crate::files;
use crate::identity::{Identity, IdentityError, Keys, check_certificate};
use crate::proxy::Network;
use crate::round::is_refusal;
use crate::version::OtherVersion;
use crate::{config, sealing};

/// Why joining failed. Nothing is lost: the same command may be given again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The folder is a member already, of another federation or by another name.
    #[error("{} has joined another federation, or by another name; use another folder", .0.display())]
    AlreadyJoined(PathBuf),
    /// Keys or files of this folder.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The signing request cannot be made.
    #[error("cannot make a signing request: {0}")]
    Request(rcgen::Error),
    /// `client.toml`, where there is one already.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address, or the proxy as it is written.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The aggregator refused.
    #[error("the aggregator refused to enrol `{name}`: {reason}")]
    Refused {
        /// The invited name.
        name: HouseName,
        /// What it said.
        reason: String,
    },
    /// One of the two programs must be updated.
    #[error(transparent)]
    OtherVersion(#[from] OtherVersion),
    /// The aggregator is there but cannot answer now.
    #[error("the aggregator cannot answer now ({reason}); try again later")]
    Unavailable {
        /// What it said.
        reason: String,
    },
    /// The charter that came is not the invitation's.
    #[error("the aggregator sent charter {found}, but the invitation is for {expected}; nothing was stored")]
    OtherCharter {
        /// The invitation's.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// The charter breaks a rule.
    #[error("charter: {0}")]
    Charter(#[from] CharterError),
    /// The charter does not name the invited member.
    #[error("the charter does not name `{0}`")]
    NotAMember(HouseName),
    /// The charter cannot be run, or its noise does not give the epsilon that it states.
    #[error(transparent)]
    Terms(#[from] terms::TermsError),
    /// The certificate that came is not for this member's key.
    #[error("the aggregator sent a certificate that cannot be used: {0}")]
    Certificate(String),
}

/// Joins with `invitation` and writes keys, certificate and charter into `dir`, and a sample `client.toml` where there
/// is none. Gives the identity back; the charter in it is the invitation's, byte for byte.
///
/// # Errors
/// [`JoinError`]; after one, the same command may be given again.
pub async fn join(dir: &Path, invitation: &Invitation) -> Result<Identity, JoinError> {
    join_until(dir, invitation, &Crash::default()).await
}

/// As [`join`], up to where a test ends it.
///
/// Boxed, so that the future's code is made here once, and not again in every program and test that awaits it.
///
/// # Errors
/// As [`join`].
pub fn join_until<'a>(
    dir: &'a Path,
    invitation: &'a Invitation,
    crash: &'a Crash,
) -> BoxFuture<'a, Result<Identity, JoinError>> {
    Box::pin(joining(dir, invitation, crash))
}

async fn joining(dir: &Path, invitation: &Invitation, crash: &Crash) -> Result<Identity, JoinError> {
    if Identity::exists(dir) {
        // A member that was revoked and invited again comes back, with the keys that it had.
        let before = Identity::load(dir)?;
        let same = before.charter.digest() == invitation.charter
            && *before.name() == invitation.name
            && before.authority_der == invitation.authority;
        if !same {
            return Err(JoinError::AlreadyJoined(dir.to_owned()));
        }
    }
    files::create_dir(dir).map_err(IdentityError::from)?;
    let network = if dir.join(config::FILE).exists() { Config::load(dir)?.network } else { Network::default() };
    let keys = Keys::load_or_create(dir, crash, &mut rand::rng())?;
    let request = request(invitation, &keys)?;
    let channel = connection::channel(network.address(&invitation.url), &invitation.authority, None, &network)?;
    let mut enrolment = EnrolmentClient::new(channel).max_decoding_message_size(protos::limits::MESSAGE_BYTES);
    let response = enrolment.join(request).await.map_err(|status| refused(invitation, &status))?.into_inner();

    let found = Digest::sha256(&response.charter);
    if found != invitation.charter {
        return Err(JoinError::OtherCharter { expected: invitation.charter, found });
    }
    let text = String::from_utf8(response.charter.to_vec()).map_err(|_| CharterError::Syntax("is not UTF-8".into()))?;
    let charter = Charter::parse(&text)?;
    terms::check(&charter)?;
    if !charter.members().any(|(name, _)| name == invitation.name) {
        return Err(JoinError::NotAMember(invitation.name.clone()));
    }
    check_certificate(&response.certificate, &keys.tls_pem).map_err(JoinError::Certificate)?;
    Identity::store(dir, invitation, &charter, &response.certificate, crash)?;
    if !dir.join(config::FILE).exists() {
        files::write(&dir.join(config::FILE), config::SAMPLE.as_bytes()).map_err(IdentityError::from)?;
    }
    Ok(Identity::load(dir)?)
}

fn request(invitation: &Invitation, keys: &Keys) -> Result<v1::JoinRequest, JoinError> {
    let signing_request = signing_request(&invitation.name, &keys.tls_pem).map_err(JoinError::Request)?;
    let signing_key = SigningKey::from_bytes(&keys.signing);
    let mut request = v1::JoinRequest {
        name: invitation.name.to_string(),
        token: invitation.token.to_vec().into(),
        signing_request: signing_request.into(),
        signing_key: signing_key.verifying_key().to_bytes().to_vec().into(),
        mailbox_key: sealing::public(&keys.mailbox).to_vec().into(),
        ..v1::JoinRequest::default()
    };
    let signature = signing_key.sign(&protos::join::signed_bytes(&request));
    request.signature = signature.to_bytes().to_vec().into();
    Ok(request)
}

/// A request (PKCS#10, DER) for a certificate over this TLS key.
pub(crate) fn signing_request(name: &HouseName, tls_pem: &str) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name.as_str());
    Ok(params.serialize_request(&KeyPair::from_pem(tls_pem)?)?.der().to_vec())
}

fn refused(invitation: &Invitation, status: &tonic::Status) -> JoinError {
    if let Some(other) = OtherVersion::of(status) {
        return other.clone().into();
    }
    // A connection that broke is no refusal: the same request gets the same answer later.
    if is_refusal(status) {
        JoinError::Refused { name: invitation.name.clone(), reason: status.message().to_owned() }
    } else {
        JoinError::Unavailable { reason: connection::describe(status) }
    }
}
