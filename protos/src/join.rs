//! What a joining member signs: everything in its request, with the key that it registers.

use protocol::encoding::{EncodingError, Message, Reader, Writer};
use protocol::{HouseName, PublicKey, Rejection, Signed, Signer, Statement};

use crate::convert::{self, WireError};
use crate::limits::SIGNING_REQUEST_BYTES;
use crate::v1;

/// The content of a [`v1::JoinRequest`]. Its signature is that of a [`Signed`] `JoinStatement`.
///
/// The token is a password: the statement is not printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinStatement {
    /// Who joins.
    pub name: HouseName,
    /// The invitation's token.
    pub token: [u8; 32],
    /// The signing request of the TLS key (PKCS#10, DER).
    pub signing_request: Vec<u8>,
    /// The Ed25519 key that signs the member's messages, and this.
    pub signing_key: PublicKey,
    /// The X25519 key to which answers are sealed.
    pub mailbox_key: [u8; 32],
}

impl JoinStatement {
    /// The signed request; `signer` holds the secret half of `signing_key`.
    pub fn to_wire(&self, signer: &Signer) -> v1::JoinRequest {
        v1::JoinRequest {
            name: self.name.to_string(),
            token: self.token.to_vec().into(),
            signing_request: self.signing_request.clone().into(),
            signing_key: self.signing_key.as_bytes().to_vec().into(),
            mailbox_key: self.mailbox_key.to_vec().into(),
            signature: Signed::sign(self, signer).signature().to_vec().into(),
        }
    }

    /// The statement in a request and its signature, not verified.
    ///
    /// # Errors
    /// [`WireError`] naming the field.
    pub fn from_wire(request: &v1::JoinRequest) -> Result<(Self, [u8; 64]), WireError> {
        let bytes = &request.signing_request;
        let signing_request = convert::bounded("signing_request", bytes, SIGNING_REQUEST_BYTES, "1 to 4096 bytes")?;
        let key = convert::array("signing_key", &request.signing_key, "32")?;
        let invalid = || WireError::Body {
            field: "signing_key",
            source: EncodingError::invalid("signing_key", "is no Ed25519 public key"),
        };
        let statement = Self {
            name: convert::name("name", &request.name)?,
            token: convert::array("token", &request.token, "32")?,
            signing_request: signing_request.to_vec(),
            signing_key: PublicKey::from_bytes(&key).ok_or_else(invalid)?,
            mailbox_key: convert::array("mailbox_key", &request.mailbox_key, "32")?,
        };
        Ok((statement, convert::array("signature", &request.signature, "64")?))
    }

    /// Checks that `signature` is by the key that the statement registers.
    ///
    /// # Errors
    /// [`Rejection::BadSignature`].
    pub fn verify(&self, signature: [u8; 64]) -> Result<(), Rejection> {
        let who = || protocol::Party::named(&self.name);
        Signed::<Self>::from_parts(self.to_bytes(), self.name.clone(), signature)
            .map_err(|error| Rejection::Malformed { who: who(), error })?
            .verify_by(&self.signing_key)
            .map(drop)
    }
}

impl Message for JoinStatement {
    const LABEL: &'static str = "join";

    fn write(&self, writer: &mut Writer) {
        writer.name(&self.name);
        writer.fixed(&self.token);
        writer.bytes(&self.signing_request);
        writer.fixed(self.signing_key.as_bytes());
        writer.fixed(&self.mailbox_key);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(Self {
            name: reader.name("name")?,
            token: reader.array("token")?,
            signing_request: reader.bytes("signing_request", SIGNING_REQUEST_BYTES)?.to_vec(),
            signing_key: PublicKey::from_bytes(&reader.array("signing_key")?)
                .ok_or_else(|| EncodingError::invalid("signing_key", "is no Ed25519 public key"))?,
            mailbox_key: reader.array("mailbox_key")?,
        })
    }
}

impl Statement for JoinStatement {
    fn speaker(&self) -> &str {
        self.name.as_str()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_request_is_read_back_and_no_field_can_be_exchanged() {
        let signer = Signer::new(HouseName::new("north").unwrap(), &[7; 32]);
        let statement = JoinStatement {
            name: signer.name().clone(),
            token: [1; 32],
            signing_request: vec![2; 90],
            signing_key: signer.public_key(),
            mailbox_key: [3; 32],
        };
        let wire = statement.to_wire(&signer);
        let (back, signature) = JoinStatement::from_wire(&wire).unwrap();
        assert!(back == statement);
        back.verify(signature).unwrap();
        for change in 0..4 {
            let mut wire = wire.clone();
            match change {
                0 => wire.name = "south".into(),
                1 => wire.token = vec![9; 32].into(),
                2 => wire.signing_request = vec![9; 90].into(),
                _ => wire.mailbox_key = vec![9; 32].into(),
            }
            let (changed, signature) = JoinStatement::from_wire(&wire).unwrap();
            assert!(matches!(changed.verify(signature), Err(Rejection::BadSignature { .. })), "field {change}");
        }
    }
}
