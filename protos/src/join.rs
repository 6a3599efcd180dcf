//! What a member signs when it joins.

use protocol::Writer;

use crate::v1;

/// The bytes over which the Ed25519 signature in a [`v1::JoinRequest`] runs: a label, then every other field in the
/// order of the .proto file, each with its length before it.
pub fn signed_bytes(request: &v1::JoinRequest) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.bytes(b"plainchant/v1/join");
    writer.bytes(request.name.as_bytes());
    writer.bytes(&request.token);
    writer.bytes(&request.signing_request);
    writer.bytes(&request.signing_key);
    writer.bytes(&request.mailbox_key);
    writer.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moving_a_byte_from_one_field_to_the_next_changes_what_is_signed() {
        let one = v1::JoinRequest { name: "ab".into(), token: b"c".to_vec().into(), ..Default::default() };
        let other = v1::JoinRequest { name: "a".into(), token: b"bc".to_vec().into(), ..Default::default() };
        assert_ne!(signed_bytes(&one), signed_bytes(&other));
    }

    #[test]
    fn the_signature_itself_is_not_signed() {
        let one = v1::JoinRequest::default();
        let other = v1::JoinRequest { signature: vec![1; 64].into(), ..Default::default() };
        assert_eq!(signed_bytes(&one), signed_bytes(&other));
    }
}
