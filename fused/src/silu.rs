//! The gate of a Llama-shaped feed-forward block: SiLU(gate) · up.

use burn::backend::Dispatch;
use burn::tensor::{Tensor, activation};

use crate::extension::{Cpu, Fused};
use crate::lanes::{block, exp_negative, in_place, wide};
use crate::on_cpu;

/// SiLU(`gate`) · `up`, value by value; both have the same shape.
///
/// # Panics
/// Where they do not.
#[must_use]
pub fn gated_silu<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    assert_eq!(gate.dims(), up.dims(), "a gate and what goes through it");
    if on_cpu(&gate) {
        Tensor::from_dispatch(<Dispatch as Fused>::gated_silu(gate.into_dispatch(), up.into_dispatch()))
    } else {
        activation::silu(gate) * up
    }
}

/// 1 / (1 + exp(-x)).
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let small = exp_negative(-x.abs());
    let of_negative = small / (1.0 + small);
    if x < 0.0 { of_negative } else { 1.0 - of_negative }
}

pub(crate) fn values(gate: Cpu, up: &Cpu) -> Cpu {
    let up = up.to_contiguous();
    in_place(gate, |gate| gate.iter_mut().zip(up.storage::<f32>()).for_each(|(gate, up)| *gate *= sigmoid(*gate) * up))
}

/// The gradients of both.
pub(crate) fn backward(grad: &Cpu, gate: Cpu, up: Cpu) -> (Cpu, Cpu) {
    let (grad, mut gate, mut up) = (grad.to_contiguous(), block(gate), block(up));
    let (grads, gates, ups) = (grad.storage::<f32>(), gate.storage_mut::<f32>(), up.storage_mut::<f32>());
    wide(|| {
        for ((grad, gate), up) in grads.iter().zip(gates).zip(ups) {
            let share = sigmoid(*gate);
            let value = *gate * share;
            // d SiLU = σ + x σ (1 - σ).
            let slope = share + value * (1.0 - share);
            (*gate, *up) = (grad * *up * slope, grad * value);
        }
    });
    (gate, up)
}
