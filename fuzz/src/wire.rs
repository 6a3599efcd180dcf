//! The messages of the wire contract.

use prost::Message;
use protocol::{Announcement, Answer, Approval, Contribution, OneTimeKeyOffer, Outcome, Ready, Statement};
use protos::convert;
use protos::v1;

use crate::bounded;

/// Reads bytes as one kind of message and checks what is read.
type Decode = fn(&[u8]);

/// Every message that comes from a peer and has more than numbers in it.
pub const KINDS: [(&str, Decode); 15] = [
    ("event", |bytes| {
        use v1::event::Kind;
        match decode::<v1::Event>(bytes).and_then(|event| event.kind) {
            Some(Kind::Announced(signed)) => statement::<Announcement>(Some(signed)),
            Some(Kind::Settled(settled)) => {
                settled.outcomes.into_iter().for_each(|one| statement::<Outcome>(Some(one)))
            }
            Some(Kind::Closed(attempt) | Kind::Opened(attempt)) => {
                let _ = convert::digest("announcement", &attempt.announcement);
            }
            _ => {}
        }
    }),
    ("submit", |bytes| {
        if let Some(v1::submit_request::Part::Header(header)) = decode::<v1::SubmitRequest>(bytes).and_then(|r| r.part)
        {
            statement::<Contribution>(header.contribution);
        }
    }),
    ("ready", |bytes| {
        if let Some(request) = decode::<v1::MarkReadyRequest>(bytes) {
            statement::<Ready>(request.ready);
        }
    }),
    ("offers", |bytes| {
        for offer in decode::<v1::OfferKeysRequest>(bytes).map(|r| r.offers).unwrap_or_default() {
            statement::<OneTimeKeyOffer>(Some(offer));
        }
    }),
    ("answer", |bytes| {
        if let Some(request) = decode::<v1::PutAnswerRequest>(bytes) {
            statement::<Answer>(request.answer);
        }
    }),
    ("answers", |bytes| {
        for answer in decode::<v1::GetAnswersResponse>(bytes).map(|r| r.answers).unwrap_or_default() {
            statement::<Answer>(Some(answer));
        }
    }),
    ("outcome", |bytes| {
        if let Some(request) = decode::<v1::PutOutcomeRequest>(bytes) {
            statement::<Outcome>(request.outcome);
        }
    }),
    ("approvals", |bytes| {
        for approval in decode::<v1::PutApprovalResponse>(bytes).map(|r| r.approvals).unwrap_or_default() {
            statement::<Approval>(Some(approval));
        }
    }),
    ("join", |bytes| {
        if let Some(request) = decode::<v1::JoinRequest>(bytes) {
            let _ = convert::name("name", &request.name);
            let _ = convert::array::<32>("token", &request.token, "32");
            let _ = protos::join::signed_bytes(&request);
        }
    }),
    ("shares", |bytes| {
        for share in decode::<v1::GetSealedSharesResponse>(bytes).map(|r| r.shares).unwrap_or_default() {
            let _ = convert::name("sender", &share.sender);
        }
    }),
    ("sum", |bytes| drop(decode::<v1::SumChunk>(bytes))),
    ("proof", |bytes| drop(decode::<v1::GetProofResponse>(bytes))),
    ("query", |bytes| {
        let _ = decode::<v1::GetProofRequest>(bytes);
    }),
    ("upload", |bytes| {
        if let Some(request) = decode::<v1::FindUploadRequest>(bytes) {
            statement::<Contribution>(request.contribution);
        }
    }),
    ("renewal", |bytes| drop(decode::<v1::RenewCertificateRequest>(bytes))),
];

/// A message read; what is written of it is read as the same again. Protobuf has many byte strings for one message.
fn decode<T: Message + Default + PartialEq>(bytes: &[u8]) -> Option<T> {
    // An item of two bytes (an empty message in a list) becomes a struct, in a list that doubles as it grows.
    let message = bounded(bytes, 256, |bytes| T::decode(bytes)).ok()?;
    assert!(T::decode(message.encode_to_vec().as_slice()).as_ref() == Ok(&message), "read again as another");
    Some(message)
}

/// A signed statement through the conversions, back and forth.
fn statement<T: Statement>(wire: Option<v1::Signed>) {
    let before = wire.clone();
    if let Ok(signed) = convert::signed::<T>("signed", wire) {
        assert_eq!(Some(convert::to_wire(&signed)), before);
        crate::kinds::message::<T>(signed.body());
    }
}
