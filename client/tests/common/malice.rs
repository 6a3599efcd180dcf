//! What a malicious house sends in its own name, with its own keys.

use std::path::Path;
use std::sync::{Arc, Mutex};

use protocol::message::{SHARE_INFO, ciphertext_digest, share_aad};
use protocol::{
    Announcement, Answer, AnswerPayload, BodyChecksum, Contribution, Digest, HouseName, Message as _, Signed, Signer,
    SumClaim,
};
use protos::convert;
use protos::v1;
use protos::v1::event::Kind;
use protos::v1::submit_request::Part;
use secure_sum::{Challenge, Checksum, Committee, Layout, MaskSeed, OneTimeKey, SealingPublicKey};

/// A malicious house.
#[derive(Clone)]
pub(super) struct Malice {
    signer: Arc<Signer>,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    announced: Option<Announcement>,
    /// A contribution that it made in place of its client's, and the body in it.
    made: Option<(Vec<v1::SubmitRequest>, Vec<u8>)>,
}

impl Malice {
    /// With the keys in the house's folder.
    pub(super) fn new(house: &Path) -> Self {
        let seed: [u8; 32] = std::fs::read(house.join("keys/signing")).unwrap().try_into().unwrap();
        let name = HouseName::new(house.file_name().unwrap().to_str().unwrap()).unwrap();
        Self { signer: Arc::new(Signer::new(name, &seed)), seen: Arc::default() }
    }

    /// Remembers the announcement; to a claim over a body of its own it gives that one's true checksum.
    pub(super) fn hears(&self, event: &v1::Event) -> Option<v1::Signed> {
        let mut seen = self.seen.lock().unwrap();
        match event.kind.clone() {
            Some(Kind::Announced(signed)) => {
                let signed: Signed<Announcement> = convert::signed("announced", Some(signed)).unwrap();
                // After a lost connection it is shown once more.
                if seen.announced.as_ref().is_none_or(|known| known.digest() != signed.body_digest()) {
                    *seen = Seen { announced: Some(signed.unverified().unwrap()), made: None };
                }
                None
            }
            Some(Kind::Claimed(signed)) => {
                let (announced, (_, body)) = (seen.announced.as_ref()?, seen.made.as_ref()?);
                let signed: Signed<SumClaim> = convert::signed("claimed", Some(signed)).unwrap();
                let claim = signed.unverified().unwrap();
                let layout = Layout::from_bytes(&announced.layout).unwrap();
                let value = Checksum::of(&layout, &Challenge(claim.challenge()), body).unwrap().to_bytes();
                let name = self.signer.name().clone();
                let said = BodyChecksum::under(&claim, name.clone(), name, value);
                Some(convert::to_wire(&Signed::sign(&said, &self.signer)))
            }
            _ => None,
        }
    }

    /// What the house says of its own body is made false; the signature is its own.
    pub(super) fn false_checksum(&self, signed: v1::Signed) -> v1::Signed {
        let signed: Signed<BodyChecksum> = convert::signed("checksums", Some(signed)).unwrap();
        let mut said = signed.unverified().unwrap();
        if said.house == said.member {
            said.value[1] ^= 1;
        }
        convert::to_wire(&Signed::sign(&said, &self.signer))
    }

    /// The answer of another share sum; the signature is its own.
    pub(super) fn false_answer(&self, signed: v1::Signed) -> v1::Signed {
        let signed: Signed<Answer> = convert::signed("answer", Some(signed)).unwrap();
        let mut answer = signed.unverified().unwrap();
        if let AnswerPayload::Open(sum) = &mut answer.payload {
            // The lowest byte of the first scalar, behind version and layout.
            let last = sum.len() - 32;
            sum[last] ^= 1;
        }
        convert::to_wire(&Signed::sign(&answer, &self.signer))
    }

    /// A contribution with a wrong share for one member: sealed as it should be, but of another key. Or one whose first chunk
    /// is no encryption under the key that it deals.
    pub(super) fn contribution(&self, wrong_for: Option<&str>) -> Vec<v1::SubmitRequest> {
        let mut seen = self.seen.lock().unwrap();
        if let Some((parts, _)) = &seen.made {
            return parts.clone();
        }
        let announced = seen.announced.clone().unwrap();
        let layout = Layout::from_bytes(&announced.layout).unwrap();
        let committee = Committee::new(u8::try_from(announced.committee.len()).unwrap(), 3).unwrap();
        let rng = &mut rand::rng();
        let (key, other) = (OneTimeKey::generate(&layout, rng), OneTimeKey::generate(&layout, rng));
        let dealing = secure_sum::deal(&key, &layout, &committee, rng).unwrap();
        let other = secure_sum::deal(&other, &layout, &committee, rng).unwrap();
        let (seed, zeros) = (MaskSeed(announced.mask_seed()), vec![0; layout.values().count]);
        let mut body = secure_sum::encrypt(&layout, &seed, key, &zeros, rng).unwrap();
        if wrong_for.is_none() {
            body[..layout.chunk_bytes()].fill(0);
        }
        let (name, digest) = (self.signer.name().clone(), announced.digest());
        let ciphertext = ciphertext_digest(body.chunks(layout.chunk_bytes()));
        let sealed: Vec<Vec<u8>> = announced
            .committee
            .iter()
            .enumerate()
            .map(|(position, seat)| {
                let is_wrong = wrong_for == Some(seat.offer.signer().as_str());
                let share = if is_wrong { &other.shares[position] } else { &dealing.shares[position] };
                let mut receiver = vec![1];
                receiver.extend(seat.offer.unverified().unwrap().key);
                let receiver = SealingPublicKey::from_bytes(&receiver).unwrap();
                let aad = share_aad(&digest, &name, seat.index, &ciphertext);
                secure_sum::seal(&receiver, SHARE_INFO, &aad, &share.to_bytes()).unwrap()
            })
            .collect();
        let manifest = Contribution {
            announcement: digest,
            member: name,
            ciphertext,
            chunk_count: u32::try_from(layout.chunk_count()).unwrap(),
            commitments: dealing.commitments.to_bytes(),
            sealed_shares: sealed.iter().map(|share| Digest::sha256(share)).collect(),
            ledger_head: Digest::from_bytes([0; 32]),
        };
        let header = v1::SubmitHeader {
            contribution: Some(convert::to_wire(&Signed::sign(&manifest, &self.signer))),
            sealed_shares: sealed.into_iter().map(Into::into).collect(),
            first: 0,
        };
        let runs = body.chunks(layout.chunk_bytes()).enumerate().map(|(first, chunk)| {
            Part::Run(v1::ChunkRun { first: u32::try_from(first).unwrap(), data: chunk.to_vec().into() })
        });
        let parts = std::iter::once(Part::Header(header)).chain(runs);
        let parts: Vec<_> = parts.map(|part| v1::SubmitRequest { part: Some(part) }).collect();
        seen.made = Some((parts.clone(), body));
        parts
    }
}
