//! From wire messages to `protocol` types, checked; and back.
//!
//! Sizes are checked here and nowhere again. Signatures are not: [`Signed::verify`] is the only way to trust what a
//! message says.

use protocol::{Digest, EncodingError, HouseName, IdError, Signed, Statement};

use crate::limits;
use crate::v1;

/// Why a wire message is none of ours. The field is named as in the .proto file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A message that must be there is not.
    #[error("`{field}` is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A byte string or list of the wrong length.
    #[error("`{field}` has {found} bytes or items; it must have {rule}")]
    Length {
        /// The field.
        field: &'static str,
        /// What was found.
        found: usize,
        /// What is allowed, in words.
        rule: &'static str,
    },
    /// A name that is none.
    #[error("`{field}`: {source}")]
    Name {
        /// The field.
        field: &'static str,
        /// The rule it breaks.
        source: IdError,
    },
    /// The body of a signed message is too long.
    #[error("`{field}`: {source}")]
    Body {
        /// The field.
        field: &'static str,
        /// The rule it breaks.
        source: EncodingError,
    },
}

/// The signed statement in a wire message's field.
///
/// # Errors
/// [`WireError`] naming `field` when it is absent, or its signer or signature has the wrong form.
pub fn signed<T: Statement>(field: &'static str, message: Option<v1::Signed>) -> Result<Signed<T>, WireError> {
    let message = message.ok_or(WireError::Missing { field })?;
    if message.body.len() > limits::SIGNED_BODY_BYTES {
        return Err(WireError::Length { field, found: message.body.len(), rule: "at most 2 MiB" });
    }
    let signer = name(field, &message.signer)?;
    let signature = array(field, &message.signature, "64")?;
    Signed::from_parts(message.body.to_vec(), signer, signature).map_err(|source| WireError::Body { field, source })
}

/// A signed statement for the wire.
pub fn to_wire<T: Statement>(signed: &Signed<T>) -> v1::Signed {
    v1::Signed {
        body: signed.body().to_vec().into(),
        signer: signed.signer().to_string(),
        signature: signed.signature().to_vec().into(),
    }
}

/// A digest in a wire message's field.
///
/// # Errors
/// [`WireError::Length`] unless it has 32 bytes.
pub fn digest(field: &'static str, bytes: &[u8]) -> Result<Digest, WireError> {
    array(field, bytes, "32").map(Digest::from_bytes)
}

/// A member's name in a wire message's field.
///
/// # Errors
/// [`WireError::Name`] when it is none.
pub fn name(field: &'static str, text: &str) -> Result<HouseName, WireError> {
    HouseName::new(text).map_err(|source| WireError::Name { field, source })
}

/// Exactly `N` bytes in a wire message's field; `rule` says how many, for the error.
///
/// # Errors
/// [`WireError::Length`] for any other number.
pub fn array<const N: usize>(field: &'static str, bytes: &[u8], rule: &'static str) -> Result<[u8; N], WireError> {
    bytes.try_into().map_err(|_| WireError::Length { field, found: bytes.len(), rule })
}

/// At most `limit` bytes in a wire message's field; `rule` says so in words.
///
/// # Errors
/// [`WireError::Length`] for more, or for none.
pub fn bounded<'a>(
    field: &'static str,
    bytes: &'a [u8],
    limit: usize,
    rule: &'static str,
) -> Result<&'a [u8], WireError> {
    if bytes.is_empty() || bytes.len() > limit {
        return Err(WireError::Length { field, found: bytes.len(), rule });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;
    use protocol::{Attempt, Ready, RoundNumber, Signer};

    use super::*;

    fn ready() -> Signed<Ready> {
        let signer = Signer::new(HouseName::new("north").unwrap(), &[7; 32]);
        let ready = Ready {
            charter: Digest::sha256(b"charter"),
            roster: Digest::sha256(b"roster"),
            round: RoundNumber::FIRST,
            attempt: Attempt::FIRST,
            member: signer.name().clone(),
        };
        Signed::sign(&ready, &signer)
    }

    #[test]
    fn a_signed_statement_survives_the_wire_bit_for_bit() {
        let before = ready();
        let after: Signed<Ready> = signed("ready", Some(to_wire(&before))).unwrap();
        assert_eq!(before, after);
    }

    #[test]
    fn a_missing_or_misshapen_field_is_refused_by_name() {
        assert_eq!(signed::<Ready>("ready", None).unwrap_err(), WireError::Missing { field: "ready" });
        let mut wire = to_wire(&ready());
        wire.signature = wire.signature.slice(..63);
        let error = signed::<Ready>("ready", Some(wire)).unwrap_err();
        assert_eq!(error, WireError::Length { field: "ready", found: 63, rule: "64" });
        let mut wire = to_wire(&ready());
        wire.signer = "North Clinic".into();
        assert!(matches!(signed::<Ready>("ready", Some(wire)), Err(WireError::Name { field: "ready", .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn no_wire_message_panics(body in prop::collection::vec(any::<u8>(), 0..200), signer in ".{0,80}",
                                  signature in prop::collection::vec(any::<u8>(), 0..80)) {
            let wire = v1::Signed { body: body.into(), signer, signature: signature.into() };
            if let Ok(signed) = signed::<Ready>("ready", Some(wire)) {
                let _ = signed.unverified();
            }
        }

        #[test]
        fn a_digest_has_exactly_32_bytes(bytes in prop::collection::vec(any::<u8>(), 0..70)) {
            prop_assert_eq!(digest("state", &bytes).is_ok(), bytes.len() == 32);
        }
    }
}
