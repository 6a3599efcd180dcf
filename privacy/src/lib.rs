//! Clipping, integer encoding, noise, accounting and the ledger of differential privacy.
//!
//! The way through it, in the order of a round inside one house:
//!
//! 1. [`Ledger`]: before anything touches the data, the round is *reserved* ([`Ledger::reserve`]): durable,
//!    hash-chained, refused past the house's ceiling ([`Limit`]). A reservation counts as spent.
//! 2. [`poisson_sample`]: every privacy unit joins the batch by itself, with the charter's rate.
//! 3. [`Clip`]: one unit's gradient becomes integers whose sum of squares is at most `integer_norm`^2, checked exactly;
//!    only integers are summed. A unit with several rows is one [`UnitGradient`], clipped once.
//!    A whole house's update (mode `client`) is spread by a [`Rotation`] and becomes integers by [`Rounding`]; its clipping norm
//!    may follow a quantile ([`next_clipping_norm`]).
//! 4. [`clamp`]: coordinates are bounded before noise, never after.
//! 5. `NoiseShare` (feature `noise`): this house's share of the discrete Gaussian noise, exact, from opendp.
//! 6. [`accountant`]: what all the reserved rounds together cost, and its inverses for planning. It needs neither
//!    opendp nor a house: the aggregator builds this crate without the feature `noise`.
//!
//! One grid unit is `norm / integer_norm` of the gradient's own unit; sums of integers times that, divided by the
//! charter's nominal batch, are the step that `adapter` applies.

pub mod accountant;
mod clip;
mod ledger;
#[cfg(feature = "noise")]
mod noise;
mod quantile;
mod rotation;
mod rounding;
mod sample;
#[cfg(feature = "noise")]
mod self_test;
mod unit;

pub use clip::{Clip, ClipError, Clipped, clamp};
pub use ledger::{Entry, Filter, Head, Kind, Ledger, LedgerError, Limit, Plan, Planned, PlannedRounds, ProtectedUnit};
#[cfg(feature = "noise")]
pub use noise::{NoiseError, NoiseShare, SMALLEST_DEVIATION};
pub use quantile::next_clipping_norm;
pub use rotation::{Rotation, RotationError};
pub use rounding::{Rounded, Rounding, RoundingError};
pub use sample::{SampleError, poisson_sample};
#[cfg(feature = "noise")]
pub use self_test::{NoiseFault, SELF_TEST_SAMPLES, SelfTest};
pub use unit::UnitGradient;
