//! How a refused call says by which rule. All rules are in `docs/operations.md`; here are those that the other end acts on.

/// Metadata key of a status under which the rule's name travels.
pub const KEY: &str = "plainchant-rule";
/// More is asked at this moment than is answered: nothing was done for the call, and it may be made again.
pub const BUSY: &str = "busy";
/// One caller asks too often; likewise.
pub const TOO_MANY_CALLS: &str = "too-many-calls";
/// The caller's certificate is revoked: it is let in no more.
pub const REVOKED: &str = "revoked";
/// The caller's certificate is of nobody who has joined.
pub const NOT_ENROLLED: &str = "not-enrolled";
/// The caller has seen events that are not here: an older copy of the aggregator's folder is served.
pub const OLDER_COPY: &str = "older-copy";
