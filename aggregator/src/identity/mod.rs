//! Who the aggregator is: the federation's certificate authority, the server's certificate and the key that signs
//! announcements and the record. All of it lives in files of the aggregator's directory that only its owner can read.

mod files;
mod issue;

use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::signed::AGGREGATOR;
use protocol::{HouseName, Signer};
use rand::CryptoRng;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

pub(crate) use issue::is_over_key_of;
pub use issue::{IssueError, MEMBER_MS, Membership};

const AUTHORITY: &str = "authority.pem";
const AUTHORITY_KEY: &str = "authority-key.pem";
const SERVER: &str = "server.pem";
const SERVER_KEY: &str = "server-key.pem";
const SIGNING_KEY: &str = "signing-key";

/// The name in every aggregator's certificate, whatever its address: the authority signs one server only, so a member
/// that pins the authority may ask for this name.
pub const SERVER_NAME: &str = "aggregator.plainchant";

const DAY_S: u64 = 86_400;
const AUTHORITY_DAYS: u64 = 3_650;
const SERVER_DAYS: u64 = 825;
/// Certificates are valid from this long before they were made, so that clocks may differ.
const BACKDATE_S: u64 = 3_600;

/// The keys and certificates of one aggregator.
pub struct Identity {
    authority_pem: String,
    authority_der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
    server_pem: String,
    server_key_pem: Zeroizing<String>,
    signer: Signer,
}

impl Identity {
    /// Makes fresh keys and certificates and writes them to `dir`. `hosts` are further names or addresses under
    /// which the server is reached; `now_ms` is the time from which the certificates count.
    ///
    /// # Errors
    /// [`IdentityError`] when a file is already there or cannot be written, or a host is no DNS name or address.
    pub fn create<R: CryptoRng>(dir: &Path, hosts: &[String], now_ms: u64, rng: &mut R) -> Result<Self, IdentityError> {
        let now_s = now_ms / 1000;
        let authority_key = KeyPair::generate().map_err(IdentityError::Certificate)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("Plainchant federation authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now_s, AUTHORITY_DAYS);
        let authority = params.self_signed(&authority_key).map_err(IdentityError::Certificate)?;
        let issuer = Issuer::from_ca_cert_der(authority.der(), &authority_key).map_err(IdentityError::Certificate)?;

        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1", SERVER_NAME].map(String::from).to_vec();
        names.extend(hosts.iter().filter(|host| !names.contains(host)).cloned().collect::<Vec<_>>());
        let server_key = KeyPair::generate().map_err(IdentityError::Certificate)?;
        let mut params = CertificateParams::new(names).map_err(IdentityError::Certificate)?;
        params.distinguished_name = common_name(SERVER_NAME);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now_s, SERVER_DAYS);
        let server = params.signed_by(&server_key, &issuer).map_err(IdentityError::Certificate)?;

        let mut seed = Zeroizing::new([0_u8; 32]);
        rng.fill_bytes(seed.as_mut());
        files::write_new(&dir.join(AUTHORITY), authority.pem().as_bytes())?;
        files::write_new(&dir.join(AUTHORITY_KEY), Zeroizing::new(authority_key.serialize_pem()).as_bytes())?;
        files::write_new(&dir.join(SERVER), server.pem().as_bytes())?;
        files::write_new(&dir.join(SERVER_KEY), Zeroizing::new(server_key.serialize_pem()).as_bytes())?;
        files::write_new(&dir.join(SIGNING_KEY), seed.as_ref())?;
        Self::load(dir)
    }

    /// Reads what [`Identity::create`] wrote.
    ///
    /// # Errors
    /// [`IdentityError`] naming the file that is missing or malformed.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        let authority_pem = files::read_text(&dir.join(AUTHORITY))?;
        let key_path = dir.join(AUTHORITY_KEY);
        let authority_key = KeyPair::from_pem(&files::read_text(&key_path)?)
            .map_err(|source| IdentityError::Malformed { path: key_path, source })?;
        let path = dir.join(AUTHORITY);
        let authority_der = files::pem_to_der(&path, authority_pem.as_bytes())?;
        let issuer = Issuer::from_ca_cert_der(&authority_der.as_slice().into(), authority_key)
            .map_err(|source| IdentityError::Malformed { path, source })?;
        let seed = files::read_seed(&dir.join(SIGNING_KEY))?;
        let signer = Signer::new(HouseName::new(AGGREGATOR).map_err(|_| IdentityError::Name)?, &seed);
        Ok(Self {
            authority_der,
            issuer,
            server_pem: files::read_text(&dir.join(SERVER))?.to_string(),
            server_key_pem: files::read_text(&dir.join(SERVER_KEY))?,
            signer,
            authority_pem: authority_pem.to_string(),
        })
    }

    /// True when `dir` holds an aggregator's keys.
    #[must_use]
    pub fn exists(dir: &Path) -> bool {
        [AUTHORITY, AUTHORITY_KEY, SERVER, SERVER_KEY, SIGNING_KEY].iter().any(|name| dir.join(name).exists())
    }

    /// The authority's certificate, DER: what an invitation pins.
    #[must_use]
    pub fn authority_der(&self) -> &[u8] {
        &self.authority_der
    }

    /// The key that signs announcements and the record.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// TLS of the server: its own certificate, and the authority as the only one whose members are let in. A caller
    /// without a certificate still reaches `Enrolment`.
    #[must_use]
    pub fn tls(&self) -> tonic::transport::ServerTlsConfig {
        tonic::transport::ServerTlsConfig::new()
            .identity(tonic::transport::Identity::from_pem(&self.server_pem, self.server_key_pem.as_bytes()))
            .client_ca_root(tonic::transport::Certificate::from_pem(&self.authority_pem))
            .client_auth_optional(true)
    }
}

/// Why the aggregator's own keys could not be made or read: a failure, never a peer's fault.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A key or certificate file holds something else.
    #[error("{}: not a usable key or certificate ({source}); restore it from a backup", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the certificate library said.
        source: rcgen::Error,
    },
    /// A file of the wrong length.
    #[error("{}: holds {found} bytes instead of {expected}; restore it from a backup", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Bytes found.
        found: usize,
        /// Bytes expected.
        expected: usize,
    },
    /// The protocol's name for the aggregator is no name: a defect of this program.
    #[error("the aggregator's name is not a valid name")]
    Name,
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(rcgen::Error),
}

/// The authority's certificate in an aggregator's folder, PEM: what its server's own is checked with. Reads no key.
///
/// # Errors
/// [`IdentityError::File`], [`IdentityError::Malformed`].
pub fn authority(dir: &Path) -> Result<String, IdentityError> {
    let path = dir.join(AUTHORITY);
    let pem = files::read_text(&path)?;
    files::pem_to_der(&path, pem.as_bytes())?;
    Ok(pem.to_string())
}

/// SHA-256 of a certificate's DER: how a caller is looked up.
#[must_use]
pub fn certificate_digest(der: &[u8]) -> [u8; 32] {
    Sha256::digest(der).into()
}

fn common_name(name: &str) -> rcgen::DistinguishedName {
    let mut distinguished = rcgen::DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Valid from an hour before `now_s` for `days`.
fn set_validity(params: &mut CertificateParams, now_s: u64, days: u64) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now_s.saturating_sub(BACKDATE_S));
    params.not_after = epoch + Duration::from_secs(now_s.saturating_add(days.saturating_mul(DAY_S)));
}
