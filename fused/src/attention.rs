//! From scores to weights of attention: scaled, masked, softmax over what is seen.

use burn::backend::Dispatch;
use burn::tensor::{Tensor, activation};

use crate::extension::{Cpu, Fused};
use crate::lanes::{exp_negative, in_place, largest, sum};
use crate::on_cpu;

/// Softmax over the last dimension of `scores · scale + mask`; `scores` is `[examples, heads, tokens, seen]`, `mask` `[examples or 1, 1, tokens or 1, seen]`.
/// The mask is no variable.
///
/// # Panics
/// Where the mask has another shape.
#[must_use]
pub fn attention_weights(scores: Tensor<4>, mask: &Tensor<4>, scale: f32) -> Tensor<4> {
    let ([examples, _, tokens, seen], [masked, one, rows, columns]) = (scores.dims(), mask.dims());
    let fits = (masked == examples || masked == 1) && one == 1 && (rows == tokens || rows == 1) && columns == seen;
    assert!(fits, "a mask of {:?} for scores of {:?}", mask.dims(), scores.dims());
    if on_cpu(&scores) {
        let weights =
            <Dispatch as Fused>::attention_weights(scores.into_dispatch(), mask.clone().into_dispatch(), scale);
        Tensor::from_dispatch(weights)
    } else {
        activation::softmax(scores.mul_scalar(scale) + mask.clone(), 3)
    }
}

pub(crate) fn weights(scores: Cpu, mask: &Cpu, scale: f32) -> Cpu {
    let shape = scores.layout().shape().clone();
    let [_, heads, tokens, seen] = shape.dims();
    let [masked, _, rows, _]: [usize; 4] = mask.layout().shape().dims();
    let mask = mask.to_contiguous();
    let masks = mask.storage::<f32>();
    // 1 where there is one an example, one a token; 0 where one is for all.
    let (each, every) = (usize::from(masked > 1), usize::from(rows > 1));
    in_place(scores, |scores| {
        for (index, scores) in scores.chunks_exact_mut(seen.max(1)).enumerate() {
            let (example, token) = (index / (heads * tokens), index % tokens);
            let start = (example * each * rows + token * every) * seen;
            softmax(scores, &masks[start..start + seen], scale);
        }
    })
}

#[inline(always)]
fn softmax(scores: &mut [f32], mask: &[f32], scale: f32) {
    scores.iter_mut().zip(mask).for_each(|(score, mask)| *score = *score * scale + mask);
    let most = largest(scores);
    scores.iter_mut().for_each(|score| *score = exp_negative(*score - most));
    let share = 1.0 / sum(scores.len(), |i| scores[i]);
    scores.iter_mut().for_each(|score| *score *= share);
}

/// The gradient of the scores: scale · w · (g - Σ g w).
pub(crate) fn backward(grad: Cpu, weights: &Cpu, scale: f32) -> Cpu {
    let seen = weights.layout().shape().dims::<4>()[3].max(1);
    let weights = weights.to_contiguous();
    in_place(grad, |grads| {
        for (grads, weights) in grads.chunks_exact_mut(seen).zip(weights.storage::<f32>().chunks_exact(seen)) {
            let mean = sum(seen, |i| grads[i] * weights[i]);
            grads.iter_mut().zip(weights).for_each(|(grad, weight)| *grad = scale * weight * (*grad - mean));
        }
    })
}
