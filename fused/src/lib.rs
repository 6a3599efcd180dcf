//! What a training step spends its time in, in one pass on the CPU: extensions of burn, with burn's own operations on every other device.
//!
//! The way through it:
//!
//! 1. [`Linear`] is a frozen layer whose matrix is packed once for both directions (`packed`).
//! 2. [`gelu`], [`gated_silu`], [`attention_weights`], [`layer_norm`], [`rms_norm`] and [`negative_log_likelihood`] are single passes over memory, forward and backward (a file each), in the
//!    widest vector instructions that the machine has (`lanes`).
//! 3. `extension` makes burn take them: a trait that `Flex` computes, and `Autodiff` records with a backward pass of its own.
//! 4. On a device that is not the CPU each function is the composition of burn's operations that it stands for; the tests hold both against each other, values and
//!    gradients, for random shapes.

mod attention;
mod extension;
mod gelu;
mod lanes;
mod likelihood;
mod linear;
mod norm;
mod packed;
mod silu;

pub use crate::attention::attention_weights;
pub use crate::gelu::gelu;
pub use crate::likelihood::negative_log_likelihood;
pub use crate::linear::Linear;
pub use crate::norm::{layer_norm, rms_norm};
pub use crate::silu::gated_silu;

use burn::tensor::{Device, Tensor};

/// Whether a tensor lies where these operations are done in one pass.
fn on_cpu<const D: usize>(x: &Tensor<D>) -> bool {
    x.device().without_autodiff() == Device::flex()
}
