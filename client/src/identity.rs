//! Who this client is: its keys, its certificate, the charter it joined, and where the aggregator is.
//!
//! The keys are made here and stay here; what leaves is a signing request and public keys.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::{Charter, CharterError, Digest, HouseName, IdError, Signer};
use rand::CryptoRng;
use rcgen::KeyPair;
use secure_sum::SealingKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::crash::{Crash, Kept, Stopped};
use crate::files::{self, FileError};
use crate::sealing;

const KEYS: &str = "keys";
const TLS_KEY: &str = "tls.pem";
const SIGNING_KEY: &str = "signing";
const MAILBOX_KEY: &str = "mailbox";
const CERTIFICATE: &str = "certificate.pem";
const AUTHORITY: &str = "authority.der";
const CHARTER: &str = "charter.toml";
const MEMBERSHIP: &str = "membership.toml";
const MAX_PEM_BYTES: usize = 64 * 1024;

/// The private keys of a member. They are wiped on drop and never leave.
pub struct Keys {
    /// TLS key (PKCS#8, PEM).
    pub(crate) tls_pem: Zeroizing<String>,
    /// The Ed25519 seed.
    pub(crate) signing: Zeroizing<[u8; 32]>,
    /// The key to which answers are sealed.
    pub(crate) mailbox: SealingKey,
}

/// A member that has joined.
pub struct Identity {
    /// Signs this member's messages, and knows its name.
    pub signer: Signer,
    /// The contract.
    pub charter: Charter,
    /// Opens answers sealed to this house.
    pub mailbox: SealingKey,
    pub(crate) url: String,
    pub(crate) authority_der: Vec<u8>,
    pub(crate) tls_pem: Zeroizing<String>,
    certificate: Mutex<Certificate>,
    dir: PathBuf,
}

/// What this member shows of itself. It is renewed while the member runs.
#[derive(Clone)]
struct Certificate {
    pem: String,
    name: Option<String>,
    ends_at_s: i64,
}

impl Certificate {
    /// Reads `pem`, which must be for the key `tls_pem`.
    fn read(pem: &str, tls_pem: &str) -> Result<Self, String> {
        let (_, parsed) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|e| e.to_string())?;
        let certificate = parsed.parse_x509().map_err(|e| e.to_string())?;
        let own = KeyPair::from_pem(tls_pem).map_err(|e| e.to_string())?;
        if certificate.public_key().subject_public_key.data.as_ref() != own.public_key_raw() {
            return Err("it is for another key than this member's".to_owned());
        }
        let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        Ok(Self {
            pem: pem.to_owned(),
            name: name.map(str::to_owned),
            ends_at_s: certificate.validity().not_after.timestamp(),
        })
    }
}

/// Whether `pem` is a certificate for the key `tls_pem`, or why not.
pub(crate) fn check_certificate(pem: &str, tls_pem: &str) -> Result<(), String> {
    Certificate::read(pem, tls_pem).map(drop)
}

/// What was joined, as it stands in `membership.toml`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Membership {
    name: String,
    url: String,
    charter: String,
}

/// Why a client's folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nobody has joined here.
    #[error("{dir} has not joined a federation; run `plainchant-client join {dir} --invitation ...` first", dir = .0.display())]
    NotJoined(PathBuf),
    /// A file that holds something else.
    #[error("{}: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The charter's file is not the one that was joined.
    #[error("{}: its digest is {found}, but the federation was joined under {expected}", path.display())]
    OtherCharter {
        /// The file.
        path: PathBuf,
        /// The digest joined under.
        expected: Digest,
        /// The digest of the file.
        found: Digest,
    },
    /// The charter breaks a rule.
    #[error("charter: {0}")]
    Charter(#[from] CharterError),
    /// A name or digest of the membership is malformed.
    #[error("{MEMBERSHIP}: {0}")]
    Id(#[from] IdError),
    /// A renewed certificate that is worse than the present one.
    #[error("the renewed certificate is not taken: {reason}")]
    Renewal {
        /// What is wrong.
        reason: String,
    },
    /// A test.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// A key cannot be made.
    #[error("cannot make a TLS key: {0}")]
    TlsKey(rcgen::Error),
}

impl Keys {
    /// The keys in `dir`, made first where there are none: a join that was cut off goes on with the same keys.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub(crate) fn load_or_create<R: CryptoRng>(dir: &Path, crash: &Crash, rng: &mut R) -> Result<Self, IdentityError> {
        let keys = dir.join(KEYS);
        files::create_dir(&keys)?;
        if files::read(&keys.join(TLS_KEY), MAX_PEM_BYTES)?.is_none() {
            let key = KeyPair::generate().map_err(IdentityError::TlsKey)?;
            let pem = Zeroizing::new(key.serialize_pem());
            crash.keep(Kept::TlsKey, || put(&keys.join(TLS_KEY), pem.as_bytes()))?;
        }
        if files::read_secret(&keys.join(SIGNING_KEY))?.is_none() {
            let mut seed = Zeroizing::new([0; 32]);
            rng.fill_bytes(seed.as_mut_slice());
            crash.keep(Kept::SigningKey, || put(&keys.join(SIGNING_KEY), seed.as_slice()))?;
        }
        if files::read_secret(&keys.join(MAILBOX_KEY))?.is_none() {
            let key = sealing::to_secret(&SealingKey::generate(rng));
            crash.keep(Kept::MailboxKey, || put(&keys.join(MAILBOX_KEY), key.as_slice()))?;
        }
        Self::load(dir)?.ok_or_else(|| IdentityError::NotJoined(dir.to_owned()))
    }

    fn load(dir: &Path) -> Result<Option<Self>, IdentityError> {
        let keys = dir.join(KEYS);
        let Some(tls_pem) = read_text(&keys.join(TLS_KEY))? else { return Ok(None) };
        let Some(signing) = files::read_secret(&keys.join(SIGNING_KEY))? else { return Ok(None) };
        let path = keys.join(MAILBOX_KEY);
        let Some(mailbox) = files::read_secret(&path)? else { return Ok(None) };
        let mailbox = sealing::from_secret(&mailbox)
            .map_err(|error| IdentityError::Malformed { path, reason: error.to_string() })?;
        Ok(Some(Self { tls_pem, signing, mailbox }))
    }
}

impl Identity {
    /// Reads what `join` wrote into `dir`.
    ///
    /// # Errors
    /// [`IdentityError::NotJoined`], or the file at fault.
    pub fn load(dir: &Path) -> Result<Self, IdentityError> {
        let not_joined = || IdentityError::NotJoined(dir.to_owned());
        let path = dir.join(MEMBERSHIP);
        let membership = read_text(&path)?.ok_or_else(not_joined)?;
        let membership: Membership = toml::from_str(&membership)
            .map_err(|e| IdentityError::Malformed { path, reason: e.to_string().trim_end().to_owned() })?;
        let (name, expected): (HouseName, Digest) = (membership.name.parse()?, membership.charter.parse()?);
        let path = dir.join(CHARTER);
        let limit = protocol::charter::MAX_CHARTER_BYTES;
        let charter = files::read(&path, limit)?.ok_or_else(not_joined)?;
        let found = Digest::sha256(&charter);
        if found != expected {
            return Err(IdentityError::OtherCharter { path, expected, found });
        }
        let charter = String::from_utf8(charter)
            .map_err(|_| IdentityError::Malformed { path, reason: "is not UTF-8".to_owned() })?;
        let keys = Keys::load(dir)?.ok_or_else(not_joined)?;
        let path = dir.join(CERTIFICATE);
        let certificate = read_text(&path)?.ok_or_else(not_joined)?;
        let certificate = Certificate::read(&certificate, &keys.tls_pem)
            .map_err(|reason| IdentityError::Malformed { path, reason })?;
        Ok(Self {
            signer: Signer::new(name, &keys.signing),
            charter: Charter::parse(&charter)?,
            mailbox: keys.mailbox,
            url: membership.url,
            authority_der: files::read(&dir.join(AUTHORITY), MAX_PEM_BYTES)?.ok_or_else(not_joined)?,
            tls_pem: keys.tls_pem,
            certificate: Mutex::new(certificate),
            dir: dir.to_owned(),
        })
    }

    /// Whether somebody has joined in `dir`.
    pub fn exists(dir: &Path) -> bool {
        dir.join(MEMBERSHIP).exists()
    }

    /// The folder that it was read from.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// This member's name.
    pub fn name(&self) -> &HouseName {
        self.signer.name()
    }

    /// Its certificate, PEM.
    pub(crate) fn certificate_pem(&self) -> String {
        self.lock().pem.clone()
    }

    /// When its certificate ends, in seconds since 1970.
    pub fn certificate_ends_at_s(&self) -> i64 {
        self.lock().ends_at_s
    }

    /// Keeps a renewed certificate, and shows it from the next connection on.
    ///
    /// # Errors
    /// [`IdentityError`]; the old one then stays.
    pub(crate) fn renew(&self, pem: &str, crash: &Crash) -> Result<(), IdentityError> {
        let path = self.dir.join(CERTIFICATE);
        let refused = |reason: String| IdentityError::Renewal { reason };
        let renewed = Certificate::read(pem, &self.tls_pem).map_err(refused)?;
        // The one that works is given up for a longer one of the same member only: the other clock may be wrong.
        if renewed.ends_at_s <= self.certificate_ends_at_s() {
            return Err(refused("it ends no later than the present one".to_owned()));
        }
        if renewed.name.as_deref() != Some(self.name().as_str()) {
            return Err(refused(format!("it is for {:?}", renewed.name)));
        }
        crash.keep(Kept::Renewal, || put(&path, pem.as_bytes()))?;
        *self.lock() = renewed;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Certificate> {
        self.certificate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what a join brought home; the membership last, so that a folder with one is whole.
    pub(crate) fn store(
        dir: &Path,
        invitation: &protocol::Invitation,
        charter: &Charter,
        certificate_pem: &str,
        crash: &Crash,
    ) -> Result<(), IdentityError> {
        crash.keep(Kept::Authority, || put(&dir.join(AUTHORITY), &invitation.authority))?;
        crash.keep(Kept::Charter, || put(&dir.join(CHARTER), charter.text().as_bytes()))?;
        crash.keep(Kept::Certificate, || put(&dir.join(CERTIFICATE), certificate_pem.as_bytes()))?;
        let membership = Membership {
            name: invitation.name.to_string(),
            url: invitation.url.clone(),
            charter: invitation.charter.to_string(),
        };
        let path = dir.join(MEMBERSHIP);
        let text = toml::to_string(&membership)
            .map_err(|e| IdentityError::Malformed { path: path.clone(), reason: e.to_string() })?;
        crash.keep(Kept::Membership, || put(&path, text.as_bytes()))
    }
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    Ok(files::write(path, bytes)?)
}

fn read_text(path: &Path) -> Result<Option<Zeroizing<String>>, IdentityError> {
    let Some(bytes) = files::read(path, MAX_PEM_BYTES)? else { return Ok(None) };
    let malformed = |_| IdentityError::Malformed { path: path.to_owned(), reason: "is not UTF-8".to_owned() };
    Ok(Some(Zeroizing::new(String::from_utf8(bytes).map_err(malformed)?)))
}
