//! An aggregator's directory: making one, opening one, and inviting members to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::charter::{CharterError, SAMPLE};
use protocol::{Charter, HouseName, IdError, Invitation};
use rand::CryptoRng;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::identity::{Identity, IdentityError};
use crate::store::{Store, StoreError, private_dir};
use crate::{clock, config};
use terms::TermsError;

/// The charter's file.
pub const CHARTER: &str = "charter.toml";
/// How long an invitation is good for, in milliseconds: seven days.
pub const INVITATION_MS: u64 = 7 * 24 * 3_600 * 1_000;
/// Held by the program that serves the folder.
const LOCK: &str = "lock";
const KEY_LINE: &str = "aggregator_key";

/// An opened aggregator's directory; cheap to clone.
#[derive(Clone)]
pub struct Home {
    /// The contract.
    pub charter: Charter,
    /// Keys and certificates.
    pub identity: Arc<Identity>,
    /// Database and blobs.
    pub store: Store,
}

/// Why a directory could not be made or opened, or nobody be invited.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// `init` on a directory that holds an aggregator.
    #[error("{}: in use by an aggregator; choose another directory", .0.display())]
    InUse(PathBuf),
    /// `serve` where another one does.
    #[error("{}: another `serve` is at work here; stop that first", .0.display())]
    Served(PathBuf),
    /// No aggregator's directory.
    #[error("{dir}: no aggregator lives here; make one with `plainchant-aggregator init {dir}`", dir = .0.display())]
    NotInitialised(PathBuf),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The template has no line for the aggregator's key.
    #[error("charter: it has no `aggregator_key = \"...\"` line at its top level; add one, `init` fills it in")]
    NoKeyLine,
    /// The charter breaks a rule.
    #[error("charter: {0}")]
    Charter(#[from] CharterError),
    /// The charter cannot be run by this version.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// The charter names another aggregator.
    #[error("charter: its aggregator_key is not the key in this directory; do not edit a charter after `init`")]
    OtherKey,
    /// Not a name.
    #[error("`{name}` is no member's name: {source}")]
    Name {
        /// What was given.
        name: String,
        /// The rule.
        source: IdError,
    },
    /// A name that the charter does not know.
    #[error("`{name}` is not in the charter; its members are {known}")]
    NotAMember {
        /// What was given.
        name: HouseName,
        /// The charter's members.
        known: String,
    },
    /// The member has joined already.
    #[error("`{0}` has joined already")]
    Joined(HouseName),
    /// Keys and certificates.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Database and blobs.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SetupError {
    /// Whether the same may work later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Store(error) => error.is_passing(),
            Self::Served(_) => true,
            _ => false,
        }
    }
}

/// Makes an aggregator in `dir`: keys, certificates, database, and the charter from `template` (or a sample) with the
/// new key filled in. `hosts` are names and addresses under which members will reach it, beside this machine's own.
///
/// # Errors
/// [`SetupError`]; a directory in use is left as it was.
pub async fn init<R: CryptoRng>(
    dir: &Path,
    template: Option<&str>,
    hosts: &[String],
    rng: &mut R,
) -> Result<Home, SetupError> {
    if Identity::exists(dir) || Store::exists(dir) || dir.join(CHARTER).exists() {
        return Err(SetupError::InUse(dir.to_path_buf()));
    }
    let template = template.unwrap_or(SAMPLE);
    // A template that cannot work is refused before anything is written.
    let checked = Charter::parse(&with_key(template, &placeholder_key())?)?;
    terms::check(&checked)?;
    private_dir(dir).map_err(|source| SetupError::File { path: dir.to_path_buf(), source })?;
    let identity = Identity::create(dir, hosts, clock::now_ms(), rng)?;
    let text = with_key(template, &hex::encode(identity.signer().public_key().as_bytes()))?;
    let path = dir.join(CHARTER);
    std::fs::write(&path, &text).map_err(|source| SetupError::File { path, source })?;
    let path = dir.join(config::FILE);
    if !path.exists() {
        std::fs::write(&path, config::SAMPLE).map_err(|source| SetupError::File { path, source })?;
    }
    let store = Store::open(dir, true).await?;
    Ok(Home { charter: Charter::parse(&text)?, identity: Arc::new(identity), store })
}

/// Opens what [`init`] made.
///
/// # Errors
/// [`SetupError`] naming the file.
pub async fn open(dir: &Path) -> Result<Home, SetupError> {
    if !Identity::exists(dir) || !Store::exists(dir) {
        return Err(SetupError::NotInitialised(dir.to_path_buf()));
    }
    let path = dir.join(CHARTER);
    let text = std::fs::read_to_string(&path).map_err(|source| SetupError::File { path, source })?;
    let charter = Charter::parse(&text)?;
    terms::check(&charter)?;
    let identity = Identity::load(dir)?;
    if *charter.aggregator_key() != identity.signer().public_key() {
        return Err(SetupError::OtherKey);
    }
    Ok(Home { charter, identity: Arc::new(identity), store: Store::open(dir, false).await? })
}

impl Home {
    /// Invites `name` to join at `url`, once, within [`INVITATION_MS`].
    ///
    /// # Errors
    /// [`SetupError::NotAMember`], [`SetupError::Joined`], [`SetupError::Store`].
    pub async fn invite<R: CryptoRng>(
        &self,
        name: &HouseName,
        url: &str,
        rng: &mut R,
    ) -> Result<Invitation, SetupError> {
        self.known(name)?;
        let joined = self.store.members().await?.iter().any(|member| member.name == *name);
        if joined && !self.store.revoked().await?.contains(name) {
            return Err(SetupError::Joined(name.clone()));
        }
        let mut token = Zeroizing::new([0_u8; 32]);
        rng.fill_bytes(token.as_mut());
        let expires = clock::now_ms().saturating_add(INVITATION_MS);
        self.store.invite(token_digest(&token), name, expires).await?;
        Ok(Invitation {
            url: url.to_owned(),
            authority: self.identity.authority_der().to_vec(),
            charter: self.charter.digest(),
            name: name.clone(),
            token: *token,
        })
    }

    /// Revokes all certificates of `name`, and its invitations that were not used: its calls are refused from now on, and its open
    /// streams end within seconds. Gives how many certificates and invitations that were.
    ///
    /// # Errors
    /// [`SetupError::NotAMember`], [`SetupError::Store`].
    pub async fn revoke(&self, name: &HouseName) -> Result<(u64, u64), SetupError> {
        self.known(name)?;
        Ok(self.store.revoke(name, clock::now_ms()).await?)
    }

    fn known(&self, name: &HouseName) -> Result<(), SetupError> {
        if self.charter.members().any(|(member, _)| member == *name) {
            return Ok(());
        }
        let known: Vec<String> = self.charter.members().map(|(member, _)| member.to_string()).collect();
        Err(SetupError::NotAMember { name: name.clone(), known: known.join(", ") })
    }
}

/// Under what a token is kept.
#[must_use]
pub fn token_digest(token: &[u8; 32]) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The charter's text with the aggregator's key in its top-level line for it; everything else stays byte for byte.
fn with_key(template: &str, key: &str) -> Result<String, SetupError> {
    let mut text = String::with_capacity(template.len() + 80);
    let (mut top_level, mut found) = (true, false);
    for line in template.split_inclusive('\n') {
        top_level &= !line.trim_start().starts_with('[');
        let is_key = line.trim_start().strip_prefix(KEY_LINE).is_some_and(|rest| rest.trim_start().starts_with('='));
        if top_level && is_key && !found {
            found = true;
            text.push_str(&format!("{KEY_LINE} = \"{key}\"\n"));
        } else {
            text.push_str(line);
        }
    }
    if found { Ok(text) } else { Err(SetupError::NoKeyLine) }
}

/// The folder's lock, which whoever serves it holds: two would write over each other. The system gives it back when its holder ends, however that is.
pub(crate) fn lock(dir: &Path) -> Result<std::fs::File, SetupError> {
    let path = dir.join(LOCK);
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|source| SetupError::File { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(SetupError::Served(dir.to_path_buf())),
        Err(std::fs::TryLockError::Error(source)) => Err(SetupError::File { path, source }),
    }
}

/// A valid public key for checking a template: the Ed25519 base point.
fn placeholder_key() -> String {
    let mut bytes = [0x66_u8; 32];
    bytes[0] = 0x58;
    hex::encode(bytes)
}
