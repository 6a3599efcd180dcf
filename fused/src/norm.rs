//! Norms over the last dimension, whose parameters are frozen.

use burn::backend::Dispatch;
use burn::tensor::{Tensor, module};

use crate::extension::{Cpu, Fused};
use crate::lanes::{block, in_place, sum, tensor, wide};
use crate::on_cpu;

/// Rows of mean 0 and variance 1 (plus `epsilon`), times `gamma`, plus `beta`, which are no variables.
///
/// # Panics
/// Where `gamma` or `beta` has another width than the rows.
#[must_use]
pub fn layer_norm<const D: usize>(x: Tensor<D>, gamma: &Tensor<1>, beta: &Tensor<1>, epsilon: f32) -> Tensor<D> {
    let width = x.dims().last().copied().unwrap_or(0);
    assert_eq!([gamma.dims(), beta.dims()], [[width]; 2], "parameters of a norm");
    let (gamma, beta) = (gamma.clone(), beta.clone());
    if on_cpu(&x) {
        let (gamma, beta) = (gamma.into_dispatch(), beta.into_dispatch());
        Tensor::from_dispatch(<Dispatch as Fused>::layer_norm(x.into_dispatch(), gamma, beta, epsilon))
    } else {
        module::layer_norm(x, gamma, Some(beta), f64::from(epsilon))
    }
}

/// Rows of mean square 1 (plus `epsilon`), times `gamma`, which is no variable.
///
/// # Panics
/// Where `gamma` has another width than the rows.
#[must_use]
pub fn rms_norm<const D: usize>(x: Tensor<D>, gamma: &Tensor<1>, epsilon: f32) -> Tensor<D> {
    assert_eq!(gamma.dims(), [x.dims().last().copied().unwrap_or(0)], "parameters of a norm");
    if on_cpu(&x) {
        let gamma = gamma.clone().into_dispatch();
        return Tensor::from_dispatch(<Dispatch as Fused>::rms_norm(x.into_dispatch(), gamma, epsilon));
    }
    let root = x.clone().square().mean_dim(D - 1).add_scalar(epsilon).sqrt();
    x / root * gamma.clone().unsqueeze()
}

/// What the backward pass needs.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    /// The rows before `gamma`.
    normed: Cpu,
    /// What each row was multiplied by.
    factors: Vec<f32>,
    gamma: Cpu,
}

/// The values, and what the backward pass needs.
pub(crate) fn layer(x: Cpu, gamma: &Cpu, beta: &Cpu, epsilon: f32) -> (Cpu, Kept) {
    let beta = beta.to_contiguous();
    let betas = beta.storage::<f32>();
    scaled(x, gamma, |row, out, gammas| {
        let count = row.len() as f32;
        let mean = sum(row.len(), |i| row[i]) / count;
        row.iter_mut().for_each(|value| *value -= mean);
        let factor = 1.0 / (sum(row.len(), |i| row[i] * row[i]) / count + epsilon).sqrt();
        for (((value, out), gamma), beta) in row.iter_mut().zip(out).zip(gammas).zip(betas) {
            *value *= factor;
            *out = *value * gamma + beta;
        }
        factor
    })
}

/// The same without mean and `beta`.
pub(crate) fn rms(x: Cpu, gamma: &Cpu, epsilon: f32) -> (Cpu, Kept) {
    scaled(x, gamma, |row, out, gammas| {
        let factor = 1.0 / (sum(row.len(), |i| row[i] * row[i]) / row.len() as f32 + epsilon).sqrt();
        for ((value, out), gamma) in row.iter_mut().zip(out).zip(gammas) {
            *value *= factor;
            *out = *value * gamma;
        }
        factor
    })
}

/// Normalises each row by `work`, which writes the output and gives the row's factor.
#[inline(always)]
fn scaled(x: Cpu, gamma: &Cpu, work: impl Fn(&mut [f32], &mut [f32], &[f32]) -> f32) -> (Cpu, Kept) {
    let (mut normed, gamma) = (block(x), gamma.to_contiguous());
    let shape = normed.layout().shape().clone();
    let width = gamma.layout().num_elements().max(1);
    let mut out = vec![0.0f32; shape.num_elements()];
    let (rows, gammas) = (normed.storage_mut::<f32>(), gamma.storage::<f32>());
    let factors = wide(|| {
        let pairs = rows.chunks_exact_mut(width).zip(out.chunks_exact_mut(width));
        pairs.map(|(row, out)| work(row, out, gammas)).collect()
    });
    (tensor(out, shape), Kept { normed, factors, gamma })
}

/// The gradient of the input: factor · (h - mean(h) - n mean(h n)) with h = g γ and n the normalised row.
pub(crate) fn layer_backward(grad: Cpu, kept: &Kept) -> Cpu {
    unscaled(grad, kept, |grads, normed, factor| {
        let count = grads.len() as f32;
        let mean = sum(grads.len(), |i| grads[i]) / count;
        let along = sum(grads.len(), |i| grads[i] * normed[i]) / count;
        grads.iter_mut().zip(normed).for_each(|(grad, value)| *grad = factor * (*grad - mean - value * along));
    })
}

/// The same without the mean.
pub(crate) fn rms_backward(grad: Cpu, kept: &Kept) -> Cpu {
    unscaled(grad, kept, |grads, normed, factor| {
        let along = sum(grads.len(), |i| grads[i] * normed[i]) / grads.len() as f32;
        grads.iter_mut().zip(normed).for_each(|(grad, value)| *grad = factor * (*grad - value * along));
    })
}

#[inline(always)]
fn unscaled(grad: Cpu, kept: &Kept, work: impl Fn(&mut [f32], &[f32], f32)) -> Cpu {
    let (normed, gammas) = (kept.normed.storage::<f32>(), kept.gamma.storage::<f32>());
    let width = gammas.len().max(1);
    in_place(grad, |grads| {
        let rows = grads.chunks_exact_mut(width).zip(normed.chunks_exact(width)).zip(&kept.factors);
        for ((grads, normed), factor) in rows {
            grads.iter_mut().zip(gammas).for_each(|(grad, gamma)| *grad *= gamma);
            work(grads, normed, *factor);
        }
    })
}
