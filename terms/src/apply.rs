//! What an opened sum does to a state: one function for houses, the aggregator and the laboratory.

use adapter::{ApplyError, State};
use protocol::{Charter, HouseName};

use crate::unit;

/// Applies the opened sum over `cohort` to `state`: the mean over the cohort's nominal batches, and over the local steps
/// of `record-local`, is the gradient that the server's optimizer takes.
///
/// # Errors
/// [`ApplyError`]; the state is then as before.
pub fn apply<'a>(
    charter: &Charter,
    cohort: impl IntoIterator<Item = &'a HouseName>,
    sum: &[i64],
    state: &mut State,
) -> Result<(), ApplyError> {
    let divisor = charter.nominal_batch_of(cohort) as f64 * f64::from(charter.noised_steps());
    state.apply(sum, unit(charter), divisor)
}
