//! Canonical bytes: one byte string for one value, bounded when read.
//!
//! Numbers are big-endian, byte strings have a 32-bit length before them, lists a 32-bit count. A reader names the field
//! it stopped at, checks every length against the caller's bound and the bytes that are left before it allocates, and
//! refuses trailing bytes.

use crate::ids::{Attempt, Digest, HouseName, MemberIndex, RoundNumber};

/// Something with canonical bytes and a digest.
pub trait Message: Sized {
    /// The name of this kind of message; part of its digest and of signatures over it.
    const LABEL: &'static str;
    /// The version of these bytes; the first byte.
    const VERSION: u8 = 1;

    /// Writes the fields, without the version byte.
    fn write(&self, writer: &mut Writer);

    /// Reads the fields, without the version byte.
    ///
    /// # Errors
    /// [`EncodingError`] naming the first field that does not fit.
    fn read(reader: &mut Reader<'_>) -> Result<Self, EncodingError>;

    /// The canonical bytes, the version first.
    fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(Self::VERSION);
        self.write(&mut writer);
        writer.into_bytes()
    }

    /// Reads canonical bytes, all of them.
    ///
    /// # Errors
    /// [`EncodingError`] naming the first field that does not fit.
    fn from_bytes(bytes: &[u8]) -> Result<Self, EncodingError> {
        let mut reader = Reader::new(bytes);
        let found = reader.u8("version")?;
        if found != Self::VERSION {
            return Err(EncodingError::Version { label: Self::LABEL, found });
        }
        let value = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }

    /// SHA-256 over `"plainchant/v1/" || LABEL || 0x00 || to_bytes()`.
    fn digest(&self) -> Digest {
        Digest::of(Self::LABEL, &self.to_bytes())
    }
}

/// Writes canonical bytes.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    /// Four bytes, big-endian.
    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// Eight bytes, big-endian.
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// A byte string with its length before it.
    pub fn bytes(&mut self, value: &[u8]) {
        self.count(value.len());
        self.bytes.extend_from_slice(value);
    }

    /// The 32 bytes of a digest, without a length.
    pub fn digest(&mut self, value: &Digest) {
        self.fixed(value.as_bytes());
    }

    /// Bytes of a length that the reader knows.
    pub fn fixed(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
    }

    /// A name.
    pub fn name(&mut self, value: &HouseName) {
        self.bytes(value.as_str().as_bytes());
    }

    /// A value that may be absent: 0, or 1 and the value.
    pub fn option<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.u8(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// A list: its count, then every item.
    pub fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.count(items.len());
        for item in items {
            write(self, item);
        }
    }

    /// A count saturates: no reader's bound comes near it, so an impossible list is unreadable rather than ambiguous.
    fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX));
    }
}

/// Reads canonical bytes.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader over all of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Nothing may be left.
    ///
    /// # Errors
    /// [`EncodingError::Trailing`] with the count of bytes that are.
    pub fn finish(self) -> Result<(), EncodingError> {
        if self.rest.is_empty() { Ok(()) } else { Err(EncodingError::Trailing { count: self.rest.len() }) }
    }

    /// One byte.
    ///
    /// # Errors
    /// [`EncodingError::Truncated`].
    pub fn u8(&mut self, field: &'static str) -> Result<u8, EncodingError> {
        Ok(self.array::<1>(field)?[0])
    }

    /// Four bytes, big-endian.
    ///
    /// # Errors
    /// [`EncodingError::Truncated`].
    pub fn u32(&mut self, field: &'static str) -> Result<u32, EncodingError> {
        Ok(u32::from_be_bytes(self.array(field)?))
    }

    /// Eight bytes, big-endian.
    ///
    /// # Errors
    /// [`EncodingError::Truncated`].
    pub fn u64(&mut self, field: &'static str) -> Result<u64, EncodingError> {
        Ok(u64::from_be_bytes(self.array(field)?))
    }

    /// A byte string of at most `limit` bytes; borrowed, so nothing is allocated.
    ///
    /// # Errors
    /// [`EncodingError::TooLong`] or [`EncodingError::Truncated`].
    pub fn bytes(&mut self, field: &'static str, limit: usize) -> Result<&'a [u8], EncodingError> {
        let length = self.length(field, limit)?;
        self.take(field, length)
    }

    /// `N` bytes.
    ///
    /// # Errors
    /// [`EncodingError::Truncated`].
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], EncodingError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(EncodingError::Truncated { field })?;
        self.rest = rest;
        Ok(*head)
    }

    /// A digest.
    ///
    /// # Errors
    /// [`EncodingError::Truncated`].
    pub fn digest(&mut self, field: &'static str) -> Result<Digest, EncodingError> {
        Ok(Digest::from_bytes(self.array(field)?))
    }

    /// A name.
    ///
    /// # Errors
    /// [`EncodingError`] when it is no [`HouseName`].
    pub fn name(&mut self, field: &'static str) -> Result<HouseName, EncodingError> {
        let bytes = self.bytes(field, HouseName::MAX_LEN)?;
        let text = std::str::from_utf8(bytes).map_err(|_| EncodingError::invalid(field, "is not UTF-8"))?;
        HouseName::new(text).map_err(|error| EncodingError::invalid(field, error))
    }

    /// A round number.
    ///
    /// # Errors
    /// [`EncodingError`] for 0.
    pub fn round(&mut self, field: &'static str) -> Result<RoundNumber, EncodingError> {
        RoundNumber::new(self.u32(field)?).map_err(|error| EncodingError::invalid(field, error))
    }

    /// An attempt.
    ///
    /// # Errors
    /// [`EncodingError`] for 0.
    pub fn attempt(&mut self, field: &'static str) -> Result<Attempt, EncodingError> {
        Attempt::new(self.u32(field)?).map_err(|error| EncodingError::invalid(field, error))
    }

    /// A member index.
    ///
    /// # Errors
    /// [`EncodingError`] for 0.
    pub fn index(&mut self, field: &'static str) -> Result<MemberIndex, EncodingError> {
        MemberIndex::new(self.u8(field)?).map_err(|error| EncodingError::invalid(field, error))
    }

    /// A value that may be absent.
    ///
    /// # Errors
    /// Those of `read`, and [`EncodingError::Invalid`] for a flag other than 0 and 1.
    pub fn option<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, EncodingError>,
    ) -> Result<Option<T>, EncodingError> {
        match self.u8(field)? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(EncodingError::invalid(field, "has a flag other than 0 and 1")),
        }
    }

    /// A list of at most `limit` items, each at least one byte.
    ///
    /// # Errors
    /// Those of `read`; [`EncodingError::TooLong`], [`EncodingError::Truncated`].
    pub fn list<T>(
        &mut self,
        field: &'static str,
        limit: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, EncodingError>,
    ) -> Result<Vec<T>, EncodingError> {
        let count = self.length(field, limit)?;
        if count > self.rest.len() {
            return Err(EncodingError::Truncated { field });
        }
        // No capacity in advance: the list grows only as its items turn out to be there.
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(read(self)?);
        }
        Ok(items)
    }

    fn length(&mut self, field: &'static str, limit: usize) -> Result<usize, EncodingError> {
        let length = self.u32(field)? as usize;
        if length > limit { Err(EncodingError::TooLong { field, length, limit }) } else { Ok(length) }
    }

    fn take(&mut self, field: &'static str, length: usize) -> Result<&'a [u8], EncodingError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(EncodingError::Truncated { field })?;
        self.rest = rest;
        Ok(head)
    }
}

/// Why bytes are not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// The bytes end inside a field.
    #[error("`{field}` is cut short")]
    Truncated {
        /// The field.
        field: &'static str,
    },
    /// A length or count is above its bound.
    #[error("`{field}` has length {length}; at most {limit} is allowed")]
    TooLong {
        /// The field.
        field: &'static str,
        /// The length in the bytes.
        length: usize,
        /// The bound.
        limit: usize,
    },
    /// Bytes are left after the last field.
    #[error("{count} bytes follow the last field")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// Another version.
    #[error("version {found} of `{label}` is not known here")]
    Version {
        /// The kind of message.
        label: &'static str,
        /// Its version byte.
        found: u8,
    },
    /// A field breaks a rule of its type.
    #[error("`{field}`: {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// The rule.
        rule: String,
    },
}

impl EncodingError {
    /// `field` breaks `rule`.
    pub fn invalid(field: &'static str, rule: impl ToString) -> Self {
        Self::Invalid { field, rule: rule.to_string() }
    }
}
