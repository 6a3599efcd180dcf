//! Names, numbers and digests as types, checked where they are made.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest. Written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// SHA-256 over `"plainchant/v1/" || label || 0x00 || bytes`: no two kinds of thing share a digest.
    pub fn of(label: &str, bytes: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"plainchant/v1/");
        hash.update(label.as_bytes());
        hash.update([0]);
        hash.update(bytes);
        Self(hash.finalize().into())
    }

    /// Plain SHA-256 over `bytes`, for what others hash too (files, charters, Merkle trees).
    pub fn sha256(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 32];
        let lower = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !lower || hex::decode_to_slice(text, &mut bytes).is_err() {
            return Err(IdError::Digest);
        }
        Ok(Self(bytes))
    }
}

/// The name of a house or of a trustee: 1 to 64 characters of `a-z`, `0-9` and `-`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HouseName(String);

impl HouseName {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 64;

    /// Checks a name.
    ///
    /// # Errors
    /// [`IdError::Name`] when it is empty, too long or has another character.
    pub fn new(name: &str) -> Result<Self, IdError> {
        let fits = (1..=Self::MAX_LEN).contains(&name.len());
        let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits && plain { Ok(Self(name.to_owned())) } else { Err(IdError::Name) }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HouseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HouseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl FromStr for HouseName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

impl TryFrom<String> for HouseName {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        Self::new(&text)
    }
}

/// The place of a member in the committee, and the x coordinate of its key shares: 1 to 255, in roster order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberIndex(u8);

impl MemberIndex {
    /// Checks an index; it counts from 1.
    ///
    /// # Errors
    /// [`IdError::Zero`] for 0.
    pub const fn new(index: u8) -> Result<Self, IdError> {
        if index == 0 { Err(IdError::Zero { what: "member index" }) } else { Ok(Self(index)) }
    }

    /// The index, from 1.
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The position in a list, from 0.
    pub const fn position(self) -> usize {
        self.0 as usize - 1
    }
}

impl fmt::Display for MemberIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u32);

        impl $name {
            /// The first one: 1.
            pub const FIRST: Self = Self(1);

            /// Checks a number; it counts from 1.
            ///
            /// # Errors
            /// [`IdError::Zero`] for 0.
            pub const fn new(number: u32) -> Result<Self, IdError> {
                if number == 0 { Err(IdError::Zero { what: $what }) } else { Ok(Self(number)) }
            }

            /// The number, from 1.
            pub const fn get(self) -> u32 {
                self.0
            }

            /// The one after it; `None` past `u32::MAX`.
            pub const fn next(self) -> Option<Self> {
                match self.0.checked_add(1) {
                    Some(number) => Some(Self(number)),
                    None => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// The number of a round, from 1. It grows by one with every *applied* round.
    RoundNumber, "round number"
}

counter! {
    /// The attempt at a round, from 1: a void or abandoned round is tried again under the next attempt.
    Attempt, "attempt"
}

counter! {
    /// Where a member stands in the roster, from 1: houses first, then trustees. [`MemberIndex`] counts those only that hold
    /// key shares.
    RosterPosition, "roster position"
}

/// Why a name, number or digest was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 64 lower-case hexadecimal digits.
    #[error("a digest is 64 lower-case hexadecimal digits")]
    Digest,
    /// Not a name.
    #[error("a name is 1 to 64 characters of a-z, 0-9 and -")]
    Name,
    /// A number that counts from 1 was 0.
    #[error("{what} counts from 1, not from 0")]
    Zero {
        /// Which number.
        what: &'static str,
    },
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn digest_text_is_its_own_inverse_and_upper_case_is_refused() {
        let digest = Digest::sha256(b"abc");
        let text = digest.to_string();
        assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(text.parse::<Digest>().unwrap(), digest);
        assert_eq!(text.to_uppercase().parse::<Digest>(), Err(IdError::Digest));
        assert_eq!(text[1..].parse::<Digest>(), Err(IdError::Digest));
    }

    #[test]
    fn names_outside_the_alphabet_or_length_are_refused() {
        for bad in ["", "St-Mary", "a_b", "a/b", "..", "ä", &"a".repeat(65)] {
            assert_eq!(HouseName::new(bad), Err(IdError::Name), "{bad:?}");
        }
        assert!(HouseName::new(&"a".repeat(64)).is_ok());
    }

    #[test]
    fn counters_start_at_one_and_stop_at_the_last() {
        assert!(RoundNumber::new(0).is_err() && Attempt::new(0).is_err() && MemberIndex::new(0).is_err());
        assert_eq!(RoundNumber::FIRST.next().unwrap().get(), 2);
        assert_eq!(Attempt::new(u32::MAX).unwrap().next(), None);
    }
}
