//! Which versions of this contract two programs speak with each other.
//!
//! Each says the newest that it speaks, the client with every request and the aggregator with every answer, and both follow
//! one rule ([`agree`]): where the majors are the same and the minors at most one apart, the older of the two is spoken. So
//! nobody asks first, and neither end need be told what the other found.

use std::fmt;
use std::str::FromStr;

use tonic::codegen::http::{HeaderMap, HeaderValue};

/// Metadata key of requests and answers under which a [`Version`] travels.
pub const VERSION_KEY: &str = "plainchant-version";

/// A version of the contract: `MAJOR.MINOR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    major: u16,
    minor: u16,
}

impl Version {
    /// The newest that this program speaks.
    pub const PRESENT: Self = Self::new(1, 1);

    /// What a peer speaks that does not say: programs did not before 1.1.
    pub const UNSAID: Self = Self::new(1, 0);

    /// Version `major.minor`.
    #[must_use]
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// Says it in the metadata of a request or an answer.
    pub fn say(self, headers: &mut HeaderMap) {
        // Digits and a dot always are a value.
        if let Ok(value) = HeaderValue::try_from(self.to_string()) {
            headers.insert(VERSION_KEY, value);
        }
    }

    /// What the metadata of a request or an answer says, or leaves unsaid.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn said(headers: &HeaderMap) -> Result<Self, Unreadable> {
        let mut said = headers.get_all(VERSION_KEY).iter();
        match (said.next(), said.next()) {
            (None, _) => Ok(Self::UNSAID),
            (Some(one), None) => one.to_str().map_err(|_| Unreadable)?.parse(),
            (Some(_), Some(_)) => Err(Unreadable),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Version {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let (major, minor) = text.split_once('.').ok_or(Unreadable)?;
        let number = |text: &str| text.parse().map_err(|_| Unreadable);
        let version = Self::new(number(major)?, number(minor)?);
        // One version, one text: no signs, no zeros before it.
        if version.to_string() == text { Ok(version) } else { Err(Unreadable) }
    }
}

/// Something else than one version in the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{VERSION_KEY}` is not one version, two numbers as in `{}`", Version::PRESENT)]
pub struct Unreadable;

/// The version that a client and an aggregator of these newest versions speak with each other.
///
/// # Errors
/// [`Apart`] where there is none.
pub fn agree(client: Version, aggregator: Version) -> Result<Version, Apart> {
    if client.major == aggregator.major && client.minor.abs_diff(aggregator.minor) <= 1 {
        return Ok(client.min(aggregator));
    }
    Err(Apart { client, aggregator })
}

/// No version is spoken by both: one of them must be updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "plainchant-client speaks version {client} of the protocol and the aggregator {aggregator}, which is more than one minor version apart: {}",
    todo(*client, *aggregator)
)]
pub struct Apart {
    /// The client's newest.
    pub client: Version,
    /// The aggregator's newest.
    pub aggregator: Version,
}

fn todo(client: Version, aggregator: Version) -> &'static str {
    if client < aggregator {
        "install the plainchant-client that the model builder names"
    } else {
        "ask the model builder to update the aggregator, or for which plainchant-client it takes"
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn both_ends_come_to_the_older_of_two_versions_at_most_one_minor_apart_and_else_to_none() {
        let agreed = [("1.1", "1.1", "1.1"), ("1.0", "1.1", "1.0"), ("1.2", "1.1", "1.1"), ("2.0", "2.1", "2.0")];
        for (client, aggregator, spoken) in agreed {
            assert_eq!(agree(version(client), version(aggregator)), Ok(version(spoken)), "{client} {aggregator}");
        }
        for (client, aggregator) in [("1.0", "1.2"), ("1.3", "1.1"), ("0.1", "1.1"), ("2.1", "1.1"), ("0.65535", "1.0")]
        {
            let apart = agree(version(client), version(aggregator)).unwrap_err();
            assert_eq!((apart.client, apart.aggregator), (version(client), version(aggregator)));
            let said = apart.to_string();
            assert!(said.contains(&format!(" {client} ")) && said.contains(&format!(" {aggregator},")), "{said}");
            assert_eq!(said.contains("install the plainchant-client"), version(client) < version(aggregator), "{said}");
        }
    }

    #[test]
    fn what_is_not_one_version_is_unreadable_and_nothing_is_the_version_of_before() {
        let said = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(VERSION_KEY, HeaderValue::from_bytes(value).unwrap());
            }
            Version::said(&headers)
        };
        assert_eq!(said(&[]), Ok(version("1.0")));
        assert_eq!(said(&[b"1.1"]), Ok(version("1.1")));
        let long = [b"1.".as_slice(), &[b'1'; 8_000]].concat();
        for wrong in [
            b"".as_slice(),
            b"1",
            b".",
            b"1.",
            b".1",
            b"1.1.1",
            b"1,1",
            b"+1.1",
            b"01.1",
            b"1.01",
            b"-1.1",
            b" 1.1",
            b"1.65536",
            b"one.one",
            b"1.1\xff",
            &long,
        ] {
            assert_eq!(said(&[wrong]), Err(Unreadable), "{wrong:?}");
        }
        assert_eq!(said(&[b"1.1", b"1.1"]), Err(Unreadable));
    }

    proptest! {
        #[test]
        fn a_version_is_said_and_heard_as_it_is_and_both_orders_agree(
            one in any::<(u16, u16)>(), other in any::<(u16, u16)>(), text in ".{0,12}",
        ) {
            let (one, other) = (Version::new(one.0, one.1), Version::new(other.0, other.1));
            let mut headers = HeaderMap::new();
            one.say(&mut headers);
            prop_assert_eq!(Version::said(&headers), Ok(one));
            prop_assert_eq!(agree(one, other).ok(), agree(other, one).ok());
            if let Ok(read) = text.parse::<Version>() {
                prop_assert_eq!(read.to_string(), text);
            }
        }
    }
}
