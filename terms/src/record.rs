//! What of a federation's record follows from its charter, and `protocol` can not compute.

use protocol::Digest;
use protocol::log::audit::Audited;

use crate::{Terms, TermsError, check};

/// Why a record that holds is still not one of its charter.
#[derive(Debug, thiserror::Error)]
pub enum RecordTermsError {
    /// The charter cannot be run.
    #[error(transparent)]
    Terms(#[from] TermsError),
    /// The first round did not start from the state that follows from the charter.
    #[error(
        "entry 0: it starts from adapter state {found}; the first state that follows from the charter is {expected}"
    )]
    FirstState {
        /// The state that follows from the charter.
        expected: Digest,
        /// The record's.
        found: Digest,
    },
}

/// Checks that the charter's noise gives the epsilon that it states, and that the record starts from the charter's first adapter state: with
/// the chain that [`protocol::log::audit`] checks, every state is then one that t houses computed from there.
///
/// # Errors
/// [`RecordTermsError`].
pub fn check_record(audited: &Audited) -> Result<(), RecordTermsError> {
    let charter = audited.federation.charter();
    check(charter)?;
    let expected = Digest::from_bytes(Terms::of(charter)?.first_state()?.digest());
    match audited.first_adapter().filter(|found| *found != expected) {
        Some(found) => Err(RecordTermsError::FirstState { expected, found }),
        None => Ok(()),
    }
}
