//! One gradient an example from one backward pass.
//!
//! Each example gets its own copy of B (and of A, where it is trained) and of the head as the leaf of the recorded graph (an expanded view: nothing is copied).
//! The frozen product, and x · Aᵀ where A is frozen, stay single products over all tokens; only the small products with what is trained are batched. The loss of a
//! batch is the sum of its examples' losses, and an example's loss depends on its own copies alone, so the gradient of the sum by
//! the copies holds each example's gradient (the per-example form of Goodfellow 2015, arXiv 1510.01799, for low-rank factors).

use burn::tensor::{Gradients as Tape, Tensor, activation};

use crate::LoraError;
use crate::attach::{Attached, Factor};
use crate::batch::MicroBatch;
use crate::classifier::{Head, class_logits, one_hot, pool, to_vec};
use crate::linear::{Branch, Down, Up};
use crate::transformer::{Input, LayerBranches, Transformer};

/// Losses and gradients of one micro-batch's examples, without its dummy rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// Cross-entropy of each example, in nats, in the order of [`MicroBatch::indices`].
    pub losses: Vec<f32>,
    /// Number of examples.
    pub rows: usize,
    /// Length of one gradient: the adapter's `trainable_len`.
    pub width: usize,
    /// The gradients, row by row, each in the order of the adapter's `trainable`.
    pub data: Vec<f32>,
}

impl Gradients {
    /// The gradient of one example.
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        &self.data[index * self.width..(index + 1) * self.width]
    }
}

/// The leaves of one backward pass, one copy of each trained tensor an example.
struct Leaves {
    branches: Vec<LayerBranches>,
    /// The copies of B `[examples, outputs, r]`, and of A `[examples, r, inputs]` where it is trained, with their place in the flat gradient.
    factors: Vec<(usize, Tensor<3>)>,
    /// `[examples, labels, hidden]`.
    head_weight: Tensor<3>,
    /// `[examples, labels]`.
    head_bias: Tensor<2>,
}

/// Gradients of the examples of `batch`; `labels[row]` belongs to its row, dummy rows excluded.
pub(crate) fn per_example(
    model: &Transformer,
    attached: &Attached,
    batch: &MicroBatch,
    input: &Input,
    labels: &[usize],
) -> Result<Gradients, LoraError> {
    let leaves = Leaves::new(attached, batch.rows());
    let hidden = model.forward(input, &leaves.branches)?;
    let pooled = pool(hidden, batch.lengths());
    let head = Head { weight: leaves.head_weight.clone(), bias: leaves.head_bias.clone() };
    let log_probabilities = activation::log_softmax(class_logits(pooled, head), 1);
    let chosen = one_hot(labels, batch.rows(), attached.labels, &log_probabilities.device());
    let losses = (log_probabilities * chosen).sum_dim(1).neg();
    let mut tape = losses.clone().sum().backward();

    let rows = labels.len();
    let mut losses = to_vec("the losses", losses.inner())?;
    losses.truncate(rows);
    let mut gradients = Gradients { losses, rows, width: attached.width, data: vec![0.0; rows * attached.width] };
    for (offset, leaf) in &leaves.factors {
        gradients.take(leaf, *offset, &mut tape)?;
    }
    gradients.take(&leaves.head_weight, attached.slots.weight, &mut tape)?;
    gradients.take(&leaves.head_bias, attached.slots.bias, &mut tape)?;
    Ok(gradients)
}

impl Leaves {
    fn new(attached: &Attached, examples: usize) -> Self {
        let mut factors = Vec::new();
        let mut copies = |factor: &Factor| {
            let [rows, columns] = factor.values.dims();
            let copies: Tensor<3> = factor.values.clone().unsqueeze::<3>().expand([examples, rows, columns]);
            let copies = copies.autodiff().require_grad();
            factors.push((factor.offset, copies.clone()));
            copies
        };
        let mut branches = Vec::with_capacity(attached.sites.len());
        for row in &attached.sites {
            branches.push(row.each_ref().map(|site| {
                let site = site.as_ref()?;
                let down = match &site.down {
                    Some(down) => Down::PerExample(copies(down)),
                    None => site.shared.down.clone(),
                };
                Some(Branch { down, up: Up::PerExample(copies(&site.up)), scaling: site.shared.scaling })
            }));
        }
        let [labels, hidden] = attached.head_weight.dims();
        let weight: Tensor<3> = attached.head_weight.clone().unsqueeze::<3>().expand([examples, labels, hidden]);
        let bias: Tensor<2> = attached.head_bias.clone().unsqueeze::<2>().expand([examples, labels]);
        Self {
            branches,
            factors,
            head_weight: weight.autodiff().require_grad(),
            head_bias: bias.autodiff().require_grad(),
        }
    }
}

impl Gradients {
    /// Moves a leaf's gradient, `[examples, ...]`, to `offset` of each row.
    fn take<const D: usize>(&mut self, leaf: &Tensor<D>, offset: usize, tape: &mut Tape) -> Result<(), LoraError> {
        // A leaf that the loss does not depend on has no gradient: it is zero, as `data` already is.
        let Some(gradient) = leaf.grad_remove(tape) else {
            return Ok(());
        };
        let size = leaf.dims().iter().skip(1).product::<usize>();
        let values = to_vec("the gradients", gradient)?;
        for (row, part) in values.chunks_exact(size).take(self.rows).enumerate() {
            let start = row * self.width + offset;
            self.data[start..start + size].copy_from_slice(part);
        }
        Ok(())
    }
}
