//! The negative log-likelihood of one class of many in each row: over a vocabulary the largest matrix of a step, which is written once.

use std::sync::Arc;

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor, TensorData, activation};

use crate::extension::{Cpu, Fused};
use crate::lanes::{block, exp_negative, in_place, largest, sum, tensor, wide};
use crate::on_cpu;

/// `-log softmax(scores)` at a class of each row, `[rows, 1]`, from `[rows, classes]`.
///
/// # Panics
/// Where there are not as many `classes` as rows, or one is none of the scores.
#[must_use]
pub fn negative_log_likelihood(scores: Tensor<2>, classes: &[usize]) -> Tensor<2> {
    let [rows, width] = scores.dims();
    assert!(classes.len() == rows && classes.iter().all(|class| *class < width), "a class a row, below {width}");
    if on_cpu(&scores) {
        let losses = <Dispatch as Fused>::negative_log_likelihood(scores.into_dispatch(), classes.into());
        return Tensor::from_dispatch(losses);
    }
    let indices: Vec<i64> = classes.iter().map(|class| *class as i64).collect();
    let device = scores.device().without_autodiff();
    let indices = Tensor::<2, Int>::from_data(TensorData::new(indices, [rows, 1]), &device);
    activation::log_softmax(scores, 1).gather(1, indices).neg()
}

/// The losses, and what the backward pass needs.
pub(crate) fn losses(scores: Cpu, classes: &[usize]) -> (Cpu, Kept) {
    let scores = block(scores);
    let [rows, width] = scores.layout().shape().dims();
    let values = scores.storage::<f32>();
    let mut logarithms = vec![[0.0f32; 2]; rows];
    wide(|| {
        for (row, logarithm) in values.chunks_exact(width.max(1)).zip(&mut logarithms) {
            let most = largest(row);
            *logarithm = [most, sum(row.len(), |i| exp_negative(row[i] - most)).ln()];
        }
    });
    let pairs = logarithms.iter().zip(classes).zip(values.chunks_exact(width.max(1)));
    let losses = pairs.map(|(([most, rest], class), row)| (most - row[*class]) + rest).collect();
    (tensor(losses, [rows, 1].into()), Kept { scores, logarithms })
}

/// What the backward pass needs.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    scores: Cpu,
    /// Of the sum of each row's exponentials, in two parts, so that large scores do not round it: the largest, and what comes to it.
    logarithms: Vec<[f32; 2]>,
}

/// The gradient of the scores: g (softmax - 1 at the class), in the scores' own memory.
pub(crate) fn backward(grad: &Cpu, kept: Kept, classes: &Arc<[usize]>) -> Cpu {
    let Kept { scores, logarithms } = kept;
    let [_, width] = scores.layout().shape().dims();
    let grad = grad.to_contiguous();
    let grads = grad.storage::<f32>();
    in_place(scores, |scores| {
        let rows = scores.chunks_exact_mut(width.max(1)).zip(&logarithms).zip(classes.iter().zip(grads));
        for ((row, [most, rest]), (class, grad)) in rows {
            if *grad == 0.0 {
                row.fill(0.0);
                continue;
            }
            row.iter_mut().for_each(|score| *score = grad * exp_negative((*score - most) - rest));
            row[*class] -= grad;
        }
    })
}
