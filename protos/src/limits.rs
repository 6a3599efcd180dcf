//! Sizes that both ends enforce, where bytes become types.

/// Longest gRPC message either end decodes, in bytes. The largest one is a submission's header with the sealed shares
/// of 255 committee members at 8 KiB each.
pub const MESSAGE_BYTES: usize = 4 << 20;

/// Longest gRPC message a member decodes, in bytes. The largest one holds the answers of a committee, each sealed to every
/// house: 80 houses at 8 KiB fit.
pub const RESPONSE_BYTES: usize = 64 << 20;

/// Most bytes of a cohort list, which comes in chunks: the largest roster's contributions at 16 KiB each.
pub const COHORT_BYTES: usize = protocol::roster::MAX_ROSTER * (16 << 10);

/// Most bytes of ciphertext in one run of chunks; senders fill runs up to it with whole chunks.
pub const RUN_BYTES: usize = 256 << 10;

/// Most bytes of one sealed key share.
pub const SEALED_SHARE_BYTES: usize = 16 << 10;

/// Most members of a committee, and so most sealed shares in a submission.
pub const COMMITTEE_MEMBERS: usize = 255;

/// Most bytes of a signing request (PKCS#10, DER).
pub const SIGNING_REQUEST_BYTES: usize = 4 << 10;

/// Most bytes of the canonical body of a signed message.
pub const SIGNED_BODY_BYTES: usize = 2 << 20;

/// Most one-time keys in one offer.
pub const KEYS_PER_OFFER: usize = 256;

/// Most checksums in one call: of a house's own body, and of the one that it was drawn to look at.
pub const CHECKSUMS_PER_CALL: usize = 2;

/// Most checksums of one attempt: two a house.
pub const CHECKSUMS_PER_ATTEMPT: usize = 2 * protocol::roster::MAX_ROSTER;

/// Streams that one connection may hold open; tonic's default is unlimited.
pub const STREAMS_PER_CONNECTION: u32 = 32;

/// Most bytes of a state (adapter and optimizer) that a member hands over.
pub const STATE_BYTES: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::RESPONSE_BYTES;
    use crate::v1;

    #[test]
    fn the_answers_of_80_members_sealed_to_80_houses_fit_a_response() {
        // A house's name has at most 64 bytes; 128 cover it, the lengths and HPKE's overhead.
        let body = vec![0; 80 * (8 * 1024 + 128)];
        let answer = v1::Signed { body: body.into(), signer: "a".repeat(64), signature: vec![0; 64].into() };
        assert!(answer.body.len() <= super::SIGNED_BODY_BYTES);
        let response = v1::GetAnswersResponse { answers: vec![answer; 80] };
        assert!(response.encoded_len() < RESPONSE_BYTES);
    }
}
