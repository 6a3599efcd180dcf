//! Checkpoints: origin, size and root as a C2SP signed note, which common log tools read, and the cosignatures of members that saw them
//! grow from the ones that they knew (c2sp.org/tlog-cosignature, Ed25519).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::ids::{Digest, HouseName};
use crate::message::RecordHead;
use crate::signed::{PublicKey, Signer};

/// The longest note that is read, in bytes.
pub(super) const MAX_NOTE_BYTES: usize = 128 * 1024;
/// The longest signature line: two names and a signature.
const MAX_LINE_BYTES: usize = 512;
/// A signed note's algorithm byte for Ed25519.
const ED25519: u8 = 1;
/// The same for a timestamped Ed25519 cosignature.
const COSIGNATURE: u8 = 4;
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

/// A member's word that the head was the largest that it had seen of this record, and grew from every one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// The member.
    pub member: HouseName,
    /// When it said so, in seconds since 1970 of its own clock.
    pub at_s: u64,
}

impl Checkpoint {
    /// The checkpoint of a federation's record; its origin is `plainchant/` and the federation's name.
    pub fn new(federation: &str, head: RecordHead) -> Self {
        Self { origin: Self::origin_of(federation), head }
    }

    /// The name of a federation's log.
    pub fn origin_of(federation: &str) -> String {
        format!("plainchant/{federation}")
    }

    /// The signed note.
    pub fn sign(&self, signer: &Signer) -> String {
        let text = self.text();
        let signature = signer.sign_raw(text.as_bytes());
        format!("{text}\n{}", line(&self.origin, ED25519, &signer.public_key(), &signature))
    }

    /// The signature line that a member adds to the note, once it knows that this head grew from the ones that it saw before; `at_s` is its
    /// clock, in seconds since 1970. The cosigner's name is the origin, a slash and the member's.
    pub fn cosign(&self, member: &Signer, at_s: u64) -> String {
        let signature = member.sign_raw(cosigned(&self.text(), at_s).as_bytes());
        let signature = [at_s.to_be_bytes().as_slice(), &signature].concat();
        line(&cosigner(&self.origin, member.name()), COSIGNATURE, &member.public_key(), &signature)
    }

    /// Reads a member's signature line, its newline included, and verifies it over this head.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn cosigned_by(&self, line: &str, member: &HouseName, key: &PublicKey) -> Result<Cosignature, CheckpointError> {
        let line = line.strip_suffix('\n').filter(|line| line.len() <= MAX_LINE_BYTES && !line.contains('\n'));
        let (name, blob) = line.and_then(parts).ok_or(CheckpointError::Format)?;
        let at_s = cosignature(&self.origin, &self.text(), (name, &blob), (member, key))?;
        Ok(Cosignature { member: member.clone(), at_s })
    }

    /// Reads a note of which every line is known: `key`'s signature, then cosignatures of `members`, in their order and each at most once.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open_cosigned<'a>(
        note: &str,
        origin: &str,
        key: &PublicKey,
        mut members: impl Iterator<Item = (&'a HouseName, &'a PublicKey)>,
    ) -> Result<(Self, Vec<Cosignature>), CheckpointError> {
        let checkpoint = Self::open(note, origin, key)?;
        let (text, signatures) = split(note)?;
        let mut lines = signatures.split_terminator('\n');
        let (first, _) = lines.next().and_then(parts).ok_or(CheckpointError::Format)?;
        if first != origin {
            return Err(CheckpointError::Format);
        }
        let mut found = Vec::new();
        for line in lines {
            let (name, blob) = parts(line).ok_or(CheckpointError::Format)?;
            let (member, key) =
                members.find(|(member, _)| cosigner(origin, member) == name).ok_or_else(|| unknown(name))?;
            let at_s = cosignature(origin, text, (name, &blob), (member, key))?;
            found.push(Cosignature { member: member.clone(), at_s });
        }
        Ok((checkpoint, found))
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
    let (text, signatures) = split(note)?;
    let id = key_id(name, ED25519, key);
    for line in signatures.split_terminator('\n') {
        let (signer, blob) = parts(line).ok_or(CheckpointError::Format)?;
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

/// A note's text, its last newline included, and its signature lines.
fn split(note: &str) -> Result<(&str, &str), CheckpointError> {
    if note.len() > MAX_NOTE_BYTES {
        return Err(CheckpointError::TooLong { length: note.len(), limit: MAX_NOTE_BYTES });
    }
    let cut = note.rfind("\n\n").ok_or(CheckpointError::Format)?;
    let (text, signatures) = (&note[..=cut], &note[cut + 2..]);
    if signatures.ends_with('\n') { Ok((text, signatures)) } else { Err(CheckpointError::Format) }
}

/// The name in a signature line, and its bytes.
fn parts(line: &str) -> Option<(&str, Vec<u8>)> {
    let (name, blob) = line.strip_prefix(SIGNATURE_MARK)?.split_once(' ')?;
    Some((name, STANDARD.decode(blob).ok()?))
}

fn line(name: &str, algorithm: u8, key: &PublicKey, signature: &[u8]) -> String {
    let blob = [key_id(name, algorithm, key).as_slice(), signature].concat();
    format!("{SIGNATURE_MARK}{name} {}\n", STANDARD.encode(blob))
}

/// When a member signed `text`, once its signature holds.
fn cosignature(
    origin: &str,
    text: &str,
    (name, blob): (&str, &[u8]),
    (member, key): (&HouseName, &PublicKey),
) -> Result<u64, CheckpointError> {
    if name != cosigner(origin, member) {
        return Err(unknown(name));
    }
    let blob = blob.strip_prefix(&key_id(name, COSIGNATURE, key)).ok_or_else(|| unknown(name))?;
    let (at_s, signature) = blob.split_first_chunk::<8>().ok_or(CheckpointError::Format)?;
    let at_s = u64::from_be_bytes(*at_s);
    let signature: &[u8; 64] = signature.try_into().map_err(|_| CheckpointError::Format)?;
    // The format's bound on a time.
    if i64::try_from(at_s).is_err() {
        return Err(CheckpointError::Format);
    }
    if key.holds(cosigned(text, at_s).as_bytes(), signature) {
        Ok(at_s)
    } else {
        Err(CheckpointError::BadCosignature { member: member.clone() })
    }
}

fn unknown(name: &str) -> CheckpointError {
    CheckpointError::Cosigner { name: name.chars().take(128).collect() }
}

/// What a cosignature is over.
fn cosigned(text: &str, at_s: u64) -> String {
    format!("cosignature/v1\ntime {at_s}\n{text}")
}

fn cosigner(origin: &str, member: &HouseName) -> String {
    format!("{origin}/{member}")
}

/// The first four bytes of SHA-256 over name, newline, algorithm and key.
fn key_id(name: &str, algorithm: u8, key: &PublicKey) -> [u8; 4] {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([b'\n', algorithm]);
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
    /// A signature line of nobody who is known, of a member a second time, or out of roster order.
    #[error("`{name}` is no cosigner, or is there twice or out of roster order")]
    Cosigner {
        /// The name in the line.
        name: String,
    },
    /// A cosignature that does not hold.
    #[error("the cosignature of `{member}` does not hold")]
    BadCosignature {
        /// The member.
        member: HouseName,
    },
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
