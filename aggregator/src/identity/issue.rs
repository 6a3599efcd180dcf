//! Signing a member's request: the request proves the key, and nothing else in it is believed.

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, KeyUsagePurpose, PublicKeyData as _,
};

use protos::limits::SIGNING_REQUEST_BYTES;

use super::{Identity, certificate_digest, common_name, set_validity};

/// Days for which a member's certificate is valid.
const MEMBER_DAYS: u64 = 90;
/// The same in milliseconds.
pub const MEMBER_MS: u64 = MEMBER_DAYS * 86_400_000;

/// A member's new certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// SHA-256 of its DER.
    pub certificate_digest: [u8; 32],
}

/// Why a signing request was refused.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// Longer than any honest request.
    #[error("the signing request has {0} bytes; at most {SIGNING_REQUEST_BYTES} are read")]
    Oversized(usize),
    /// Not a PKCS#10 request, of an unknown kind, or signed by another key than the one it carries.
    #[error("the signing request cannot be used: {0}")]
    Refused(rcgen::Error),
    /// Over another key than the member has: a request of somebody else's, or of another time.
    #[error("the signing request is over another key than the member's certificate")]
    OtherKey,
    /// The certificate could not be made: our failure.
    #[error("cannot sign the certificate: {0}")]
    Failed(rcgen::Error),
}

impl Identity {
    /// A client certificate for `name` over the key that the request `der` (PKCS#10) proves to hold. Names, usages
    /// and extensions that the request asks for are ignored.
    ///
    /// # Errors
    /// [`IssueError`] when the request is malformed or its own signature does not hold.
    pub fn issue(&self, name: &str, der: &[u8], now_ms: u64) -> Result<Membership, IssueError> {
        if der.len() > SIGNING_REQUEST_BYTES {
            return Err(IssueError::Oversized(der.len()));
        }
        let request = CertificateSigningRequestParams::from_der(&der.into()).map_err(IssueError::Refused)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now_ms / 1000, MEMBER_DAYS);
        let certificate = params.signed_by(&request.public_key, &self.issuer).map_err(IssueError::Failed)?;
        Ok(Membership { certificate_pem: certificate.pem(), certificate_digest: certificate_digest(certificate.der()) })
    }
}

/// Whether this certificate is over the key of the request `der` (PKCS#10).
pub(crate) fn is_over_key_of(certificate_pem: &str, der: &[u8]) -> bool {
    let Ok(request) = CertificateSigningRequestParams::from_der(&der.into()) else { return false };
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(certificate_pem.as_bytes()) else { return false };
    let certificate = pem.parse_x509();
    certificate.is_ok_and(|one| *one.public_key().subject_public_key.data == *request.public_key.der_bytes())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use rcgen::{DnType, ExtendedKeyUsagePurpose, KeyPair};
    use x509_parser::prelude::FromDer as _;

    use super::*;

    fn identity(dir: &std::path::Path) -> Identity {
        Identity::create(dir, &[], 1_800_000_000_000, &mut rand::rng()).unwrap()
    }

    fn request(key: &KeyPair) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "somebody-else");
        params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
        params.serialize_request(key).unwrap().der().to_vec()
    }

    #[test]
    fn a_certificate_carries_the_members_name_and_nothing_the_request_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let identity = identity(dir.path());
        let key = KeyPair::generate().unwrap();
        let issued = identity.issue("st-anna", &request(&key), 1_800_000_000_000).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(issued.certificate_pem.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        let (_, authority) = x509_parser::certificate::X509Certificate::from_der(identity.authority_der()).unwrap();
        certificate.verify_signature(Some(authority.public_key())).unwrap();
        let names: Vec<_> = certificate.subject().iter_common_name().map(|cn| cn.as_str().unwrap()).collect();
        assert_eq!(names, ["st-anna"]);
        assert!(certificate.subject_alternative_name().unwrap().is_none());
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth);
        assert!(!certificate.is_ca());
        assert_eq!(issued.certificate_digest, certificate_digest(&pem.contents));
        let days = (certificate.validity().not_after.timestamp() - 1_800_000_000) / 86_400;
        assert_eq!(days, 90);
        assert!(is_over_key_of(&issued.certificate_pem, &request(&key)));
        assert!(!is_over_key_of(&issued.certificate_pem, &request(&KeyPair::generate().unwrap())));
        assert!(!is_over_key_of(&issued.certificate_pem[..200], &request(&key)));
    }

    #[test]
    fn a_request_not_signed_by_its_own_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut der = request(&KeyPair::generate().unwrap());
        *der.last_mut().unwrap() ^= 1;
        let refused = identity(dir.path()).issue("st-anna", &der, 0);
        assert!(matches!(refused, Err(IssueError::Refused(_))), "{refused:?}");
        let refused = identity_again(dir.path()).issue("st-anna", &der[..der.len() / 2], 0);
        assert!(matches!(refused, Err(IssueError::Refused(_))), "{refused:?}");
        let refused = identity_again(dir.path()).issue("st-anna", &vec![0; 9_000], 0);
        assert!(matches!(refused, Err(IssueError::Oversized(9_000))), "{refused:?}");
    }

    fn identity_again(dir: &std::path::Path) -> Identity {
        Identity::load(dir).unwrap()
    }

    #[cfg(unix)]
    #[test]
    fn key_files_are_their_owners_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let made = identity(dir.path());
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(identity_again(dir.path()).signer().public_key(), made.signer().public_key());
        let again = Identity::create(dir.path(), &[], 0, &mut rand::rng());
        assert!(matches!(again, Err(super::super::IdentityError::File { .. })));
    }
}
