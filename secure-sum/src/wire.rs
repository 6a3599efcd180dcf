//! Byte encodings: a version byte first, then fields of fixed length; lengths are checked before anything is allocated.

/// The version that every encoding of this crate starts with.
pub(crate) const VERSION: u8 = 1;

/// Bytes that are not the encoding they were given as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// The length is not the one that layout and committee imply.
    #[error("{what} has {found} bytes where {expected} are expected")]
    Length {
        /// What was decoded.
        what: &'static str,
        /// The length that it must have.
        expected: usize,
        /// The length that it has.
        found: usize,
    },
    /// The version byte is not one that this program reads.
    #[error("{what} has version {found}; this program reads version {VERSION}")]
    Version {
        /// What was decoded.
        what: &'static str,
        /// The version byte found.
        found: u8,
    },
    /// A field holds a value that no encoder writes.
    #[error("{what}: element {position} is not canonical")]
    Element {
        /// What was decoded.
        what: &'static str,
        /// Which element, counted from zero.
        position: usize,
    },
    /// A size written inside does not agree with the layout or the committee.
    #[error("{what} was made for another layout or committee")]
    Geometry {
        /// What was decoded.
        what: &'static str,
    },
}

/// Checks length and version byte; yields what follows the version.
pub(crate) fn body<'a>(what: &'static str, bytes: &'a [u8], expected: usize) -> Result<&'a [u8], EncodingError> {
    if bytes.len() != expected {
        return Err(EncodingError::Length { what, expected, found: bytes.len() });
    }
    match bytes.split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        Some((&found, _)) => Err(EncodingError::Version { what, found }),
        None => Err(EncodingError::Length { what, expected, found: 0 }),
    }
}

/// The first `N` bytes, which the caller's length check guarantees, and the rest.
pub(crate) fn take<'a, const N: usize>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<([u8; N], &'a [u8]), EncodingError> {
    bytes.split_first_chunk::<N>().map(|(head, rest)| (*head, rest)).ok_or(EncodingError::Length {
        what,
        expected: N,
        found: bytes.len(),
    })
}
