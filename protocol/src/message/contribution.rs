//! A contribution's signed manifest, and the list of them that fixes a cohort. Chunks and sealed shares travel beside
//! the manifest, bound by digest.

use super::{MAX_CHUNKS, MAX_COMMITMENT_BYTES};
use crate::encoding::{EncodingError, Message, Reader, Writer};
use crate::ids::{Digest, HouseName, MemberIndex};
use crate::roster::{MAX_MEMBERS, MAX_ROSTER};
use crate::signed::{Signed, Statement};

/// The HPKE info of a sealed key share.
pub const SHARE_INFO: &[u8] = b"plainchant/v1/key-share";

/// What a house contributes to a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contribution {
    /// The announcement's digest.
    pub announcement: Digest,
    /// Who contributes.
    pub member: HouseName,
    /// [`ciphertext_digest`] of the chunks.
    pub ciphertext: Digest,
    /// How many chunks.
    pub chunk_count: u32,
    /// `secure-sum`'s commitments to the key shares, as their bytes.
    pub commitments: Vec<u8>,
    /// Plain SHA-256 of each sealed share, one for every committee member by index.
    pub sealed_shares: Vec<Digest>,
    /// The digest of the last line of the house's privacy ledger, with this attempt's lines in it; zeros where nothing is
    /// charged. It is in the record for the house itself: a ledger that never stood there is an old copy.
    pub ledger_head: Digest,
}

impl Message for Contribution {
    const LABEL: &'static str = "contribution";

    fn write(&self, writer: &mut Writer) {
        writer.digest(&self.announcement);
        writer.name(&self.member);
        writer.digest(&self.ciphertext);
        writer.u32(self.chunk_count);
        writer.bytes(&self.commitments);
        writer.list(&self.sealed_shares, Writer::digest);
        writer.digest(&self.ledger_head);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        let manifest = Self {
            announcement: reader.digest("announcement")?,
            member: reader.name("member")?,
            ciphertext: reader.digest("ciphertext")?,
            chunk_count: reader.u32("chunk_count")?,
            commitments: reader.bytes("commitments", MAX_COMMITMENT_BYTES)?.to_vec(),
            sealed_shares: reader.list("sealed_shares", MAX_MEMBERS, |reader| reader.digest("sealed_shares"))?,
            ledger_head: reader.digest("ledger_head")?,
        };
        if !(1..=MAX_CHUNKS).contains(&manifest.chunk_count) {
            let rule = format_args!("must be 1 to {MAX_CHUNKS}").to_string();
            return Err(EncodingError::invalid("chunk_count", rule));
        }
        Ok(manifest)
    }
}

impl Statement for Contribution {
    fn speaker(&self) -> &str {
        self.member.as_str()
    }
}

/// The digest of a ciphertext: SHA-256 under a label over the count of chunks and each chunk's SHA-256.
pub fn ciphertext_digest<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let digests: Vec<Digest> = chunks.into_iter().map(Digest::sha256).collect();
    ciphertext_digest_of(&digests)
}

/// [`ciphertext_digest`] from the chunks' SHA-256, for who hashed each as it arrived.
pub fn ciphertext_digest_of(chunk_sha256: &[Digest]) -> Digest {
    let mut writer = Writer::new();
    writer.list(chunk_sha256, Writer::digest);
    Digest::of("ciphertext", &writer.into_bytes())
}

/// The associated data under which `sender` seals a key share to the member at `receiver`.
pub fn share_aad(announcement: &Digest, sender: &HouseName, receiver: MemberIndex, ciphertext: &Digest) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.digest(announcement);
    writer.name(sender);
    writer.u8(receiver.get());
    writer.digest(ciphertext);
    writer.into_bytes()
}

/// U: the contributions that count, in roster order. Its digest names the one set that members answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CohortList {
    /// The announcement's digest.
    pub announcement: Digest,
    /// The signed manifests.
    pub contributions: Vec<Signed<Contribution>>,
}

impl CohortList {
    /// The houses of the cohort, as their signatures name them.
    pub fn houses(&self) -> impl Iterator<Item = &HouseName> {
        self.contributions.iter().map(Signed::signer)
    }
}

impl Message for CohortList {
    const LABEL: &'static str = "cohort-list";

    fn write(&self, writer: &mut Writer) {
        writer.digest(&self.announcement);
        writer.list(&self.contributions, |writer, contribution| contribution.write(writer));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self {
            announcement: reader.digest("announcement")?,
            contributions: reader.list("contributions", MAX_ROSTER, Signed::read)?,
        })
    }
}
