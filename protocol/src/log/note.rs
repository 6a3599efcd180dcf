//! Checkpoints: origin, size and root as a C2SP signed note, which common log tools read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::ids::Digest;
use crate::message::RecordHead;
use crate::signed::{PublicKey, Signer};

/// The longest note that is read, in bytes.
const MAX_NOTE_BYTES: usize = 64 * 1024;
/// A signed note's algorithm byte for Ed25519.
const ED25519: u8 = 1;
/// What a signature line starts with: an em dash and a space.
const SIGNATURE_MARK: &str = "\u{2014} ";

/// A log's head under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name; also the name of its key.
    pub origin: String,
    /// Size and root.
    pub head: RecordHead,
}

impl Checkpoint {
    /// The checkpoint of a federation's record; its origin is `plainchant/` and the federation's name.
    pub fn new(federation: &str, head: RecordHead) -> Self {
        Self { origin: format!("plainchant/{federation}"), head }
    }

    /// The signed note.
    pub fn sign(&self, signer: &Signer) -> String {
        let text = self.text();
        let signature = signer.sign_raw(text.as_bytes());
        let mut blob = key_id(&self.origin, &signer.public_key()).to_vec();
        blob.extend_from_slice(&signature);
        format!("{text}\n{SIGNATURE_MARK}{} {}\n", self.origin, STANDARD.encode(blob))
    }

    /// Reads a note and verifies its signature by `key` under the name `origin`. Signatures of others are passed over.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(note: &str, origin: &str, key: &PublicKey) -> Result<Self, CheckpointError> {
        let text = open_note(note, origin, key)?;
        let mut lines = text.split_terminator('\n');
        let (found, size, root) = (lines.next(), lines.next(), lines.next());
        if found != Some(origin) {
            return Err(CheckpointError::Origin);
        }
        let size = size.and_then(canonical_number).ok_or(CheckpointError::Size)?;
        let root = root.and_then(|root| STANDARD.decode(root).ok()).and_then(|root| root.try_into().ok());
        let root = Digest::from_bytes(root.ok_or(CheckpointError::Root)?);
        // The format allows extension lines; this record has none, and nobody here would check them.
        if lines.next().is_some() {
            return Err(CheckpointError::Extension);
        }
        Ok(Self { origin: origin.to_owned(), head: RecordHead { size, root } })
    }

    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.head.size, STANDARD.encode(self.head.root.as_bytes()))
    }
}

/// The text of a signed note (its last newline included) once `key`'s signature under `name` holds.
pub(super) fn open_note<'a>(note: &'a str, name: &str, key: &PublicKey) -> Result<&'a str, CheckpointError> {
    if note.len() > MAX_NOTE_BYTES {
        return Err(CheckpointError::TooLong { length: note.len(), limit: MAX_NOTE_BYTES });
    }
    let cut = note.rfind("\n\n").ok_or(CheckpointError::Format)?;
    let (text, signatures) = (&note[..=cut], &note[cut + 2..]);
    if !signatures.ends_with('\n') {
        return Err(CheckpointError::Format);
    }
    let id = key_id(name, key);
    for line in signatures.split_terminator('\n') {
        let (signer, blob) =
            line.strip_prefix(SIGNATURE_MARK).and_then(|rest| rest.split_once(' ')).ok_or(CheckpointError::Format)?;
        let blob = STANDARD.decode(blob).map_err(|_| CheckpointError::Format)?;
        let Some(signature) = blob.strip_prefix(&id).filter(|_| signer == name) else {
            continue;
        };
        let signature: &[u8; 64] = signature.try_into().map_err(|_| CheckpointError::Format)?;
        if key.holds(text.as_bytes(), signature) {
            return Ok(text);
        }
        return Err(CheckpointError::BadSignature);
    }
    Err(CheckpointError::Unsigned)
}

/// The first four bytes of SHA-256 over name, newline, algorithm and key.
fn key_id(name: &str, key: &PublicKey) -> [u8; 4] {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([b'\n', ED25519]);
    hash.update(key.as_bytes());
    let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
    [a, b, c, d]
}

/// A decimal number without sign or leading zeros.
fn canonical_number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// Why a checkpoint was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Longer than the bound.
    #[error("the note has {length} bytes; at most {limit} are allowed")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The bound.
        limit: usize,
    },
    /// Not a signed note.
    #[error("this is no signed note: text, an empty line, then signature lines")]
    Format,
    /// No signature by the expected key.
    #[error("the note has no signature by the expected key")]
    Unsigned,
    /// A signature that does not hold.
    #[error("the note's signature does not hold")]
    BadSignature,
    /// Another log.
    #[error("the checkpoint is of another log")]
    Origin,
    /// No size.
    #[error("the checkpoint's size is no decimal number")]
    Size,
    /// No root.
    #[error("the checkpoint's root is not 32 bytes in base64")]
    Root,
    /// Lines after the root.
    #[error("the checkpoint has lines after its root")]
    Extension,
}
