//! The invitation that a model builder hands to a data holder, as one line of text.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::encoding::{EncodingError, Message, Reader, Writer};
use crate::ids::{Digest, HouseName};

/// Where to join, whom to trust there, what is signed up to, and the right to do so once.
///
/// As text: `plainchant1.` and the base64url of its canonical bytes. Whoever holds it can join in the member's place, so it
/// travels like a password; it is not printed by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The aggregator's address, `https://host:port`.
    pub url: String,
    /// The certificate (DER) of the authority that signed the aggregator's; no other is trusted.
    pub authority: Vec<u8>,
    /// Digest of the charter.
    pub charter: Digest,
    /// The invited member.
    pub name: HouseName,
    /// The single-use token.
    pub token: [u8; 32],
}

const PREFIX: &str = "plainchant1.";
const MAX_URL_BYTES: usize = 512;
const MAX_CERTIFICATE_BYTES: usize = 8 * 1024;
const MAX_TEXT_BYTES: usize = 16 * 1024;

impl Message for Invitation {
    const LABEL: &'static str = "invitation";

    fn write(&self, writer: &mut Writer) {
        writer.bytes(self.url.as_bytes());
        writer.bytes(&self.authority);
        writer.digest(&self.charter);
        writer.name(&self.name);
        writer.fixed(&self.token);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError> {
        let url = reader.bytes("url", MAX_URL_BYTES)?;
        let url = std::str::from_utf8(url).map_err(|_| EncodingError::invalid("url", "is not UTF-8"))?;
        if !url.starts_with("https://") {
            return Err(EncodingError::invalid("url", "does not start with https://"));
        }
        Ok(Self {
            url: url.to_owned(),
            authority: reader.bytes("authority", MAX_CERTIFICATE_BYTES)?.to_vec(),
            charter: reader.digest("charter")?,
            name: reader.name("name")?,
            token: reader.array("token")?,
        })
    }
}

impl Invitation {
    /// 80 bits of a digest of all of it, as five groups of four hexadecimal digits: short enough to be read out. Whoever changes an invitation on its way (its
    /// address, the authority to trust, the charter) would have to find another with the same digits, 2^80 tries; nothing of the token is learnt from it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let digits = Digest::of("invitation fingerprint", &self.to_bytes()).to_string();
        let groups = digits.as_bytes().chunks(4).take(5).map(|group| String::from_utf8_lossy(group).into_owned());
        groups.collect::<Vec<_>>().join(" ")
    }

    /// Whether a person's copy of the [`fingerprint`](Self::fingerprint) is this one's, whatever the case and the spaces or hyphens in it.
    #[must_use]
    pub fn has_fingerprint(&self, text: &str) -> bool {
        let digits = |text: &str| text.to_ascii_lowercase().replace([' ', '-'], "");
        digits(text) == digits(&self.fingerprint())
    }
}

impl fmt::Display for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.to_bytes()))
    }
}

impl fmt::Debug for Invitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Invitation({} at {})", self.name, self.url)
    }
}

impl FromStr for Invitation {
    type Err = InvitationError;

    fn from_str(text: &str) -> Result<Self, InvitationError> {
        let text = text.trim();
        if text.len() > MAX_TEXT_BYTES {
            return Err(InvitationError::TooLong { length: text.len() });
        }
        let encoded = text.strip_prefix(PREFIX).ok_or(InvitationError::Prefix)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| InvitationError::Base64)?;
        Ok(Self::from_bytes(&bytes)?)
    }
}

/// Why a text is no invitation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvitationError {
    /// It does not start as one.
    #[error(
        "an invitation starts with `plainchant1.`; copy the whole line that `plainchant-aggregator invite` printed"
    )]
    Prefix,
    /// Something was lost or added in copying.
    #[error("the invitation was damaged in copying; copy the whole line again")]
    Base64,
    /// Far longer than any invitation.
    #[error("an invitation has a few hundred characters, not {length}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// Its fields do not fit.
    #[error("the invitation is damaged: {0}")]
    Encoding(#[from] EncodingError),
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn invitation() -> Invitation {
        Invitation {
            url: "https://builder.example:7443".into(),
            authority: vec![0x30, 0x82, 1, 2, 3],
            charter: Digest::sha256(b"charter"),
            name: HouseName::new("st-mary").unwrap(),
            token: [9; 32],
        }
    }

    #[test]
    fn text_is_read_back_with_space_around_it_and_the_token_is_not_debug_printed() {
        let text = invitation().to_string();
        assert_eq!(format!("  {text}\n").parse::<Invitation>().unwrap(), invitation());
        assert_eq!(format!("{:?}", invitation()), "Invitation(st-mary at https://builder.example:7443)");
    }

    #[test]
    fn a_fingerprint_is_read_in_any_case_and_grouping_and_no_changed_invitation_has_it() {
        let fingerprint = invitation().fingerprint();
        assert_eq!(fingerprint.len(), 24);
        for copy in [fingerprint.to_uppercase(), fingerprint.replace(' ', "-"), fingerprint.replace(' ', "")] {
            assert!(invitation().has_fingerprint(&copy), "{copy}");
        }
        assert!(!invitation().has_fingerprint(""));
        assert!(!invitation().has_fingerprint(&fingerprint[..19]));
        let own = invitation();
        for changed in [
            Invitation { url: "https://builder.example:7444".into(), ..own.clone() },
            Invitation { authority: vec![0x30, 0x82, 1, 2, 4], ..own.clone() },
            Invitation { charter: Digest::sha256(b"other"), ..own.clone() },
            Invitation { name: HouseName::new("st-martha").unwrap(), ..own.clone() },
            Invitation { token: [8; 32], ..own.clone() },
        ] {
            assert!(!changed.has_fingerprint(&fingerprint), "{changed:?}");
        }
    }

    #[test]
    fn a_plain_http_address_or_another_prefix_is_refused() {
        let plain = Invitation { url: "http://builder.example".into(), ..invitation() };
        assert!(matches!(plain.to_string().parse::<Invitation>(), Err(InvitationError::Encoding(_))));
        assert_eq!("plainsong1.AAAA".parse::<Invitation>(), Err(InvitationError::Prefix));
    }

    proptest! {
        #[test]
        fn a_changed_character_never_panics_and_a_cut_text_is_refused(at in 0usize..200, with in any::<char>()) {
            let text = invitation().to_string();
            let at = at % text.len();
            let changed: String = text.char_indices().map(|(i, c)| if i == at { with } else { c }).collect();
            let _ = changed.parse::<Invitation>();
            prop_assert!(text[..at].parse::<Invitation>().is_err());
        }
    }
}
