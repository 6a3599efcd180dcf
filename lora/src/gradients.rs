//! One gradient an example from one backward pass.
//!
//! Each example gets its own copy of B (and of A, where it is trained) and of the head as the leaf of the recorded graph (an expanded view: nothing is copied).
//! The frozen product, and x · Aᵀ where A is frozen, stay single products over all tokens; only the small products with what is trained are batched. The loss of a
//! batch is the sum of its examples' losses, and an example's loss depends on its own copies alone, so the gradient of the sum by
//! the copies holds each example's gradient (the per-example form of Goodfellow 2015, arXiv 1510.01799, for low-rank factors).

use std::cell::RefCell;

use adapter::Site;
use burn::tensor::{Gradients as Tape, Tensor};

use crate::LoraError;
use crate::adapted::Adapted;
use crate::attach::{Factor, SiteTensors};
use crate::batch::MicroBatch;
use crate::classifier::to_vec;
use crate::linear::{Branch, Down, Up};
use crate::transformer::Additions;

/// Leaves of the recorded graph, one copy of a trained tensor an example, `[examples, ...]` (one for all, `[1, ...]`, of a summed gradient), with its place in
/// the flat gradient.
pub(crate) type Leaves = Vec<(usize, Tensor<3>)>;

/// Whose gradient a leaf holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// Each example its own.
    Each,
    /// The sum over the examples, as without privacy.
    Sum,
}

impl Of {
    /// Copies of a trained tensor in a batch of so many rows.
    pub(crate) fn copies(self, rows: usize) -> usize {
        match self {
            Self::Each => rows,
            Self::Sum => 1,
        }
    }
}

/// Losses and gradients of one micro-batch's examples, without its dummy rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// Cross-entropy of each example, in nats, in the order of [`MicroBatch::indices`].
    pub losses: Vec<f32>,
    /// Number of gradients: one an example, or one for all where they were summed.
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

/// Gradients of the examples of `batch`, without its dummy rows: each one's, or one row with their sum. `losses` makes `[rows, 1]` losses from the last hidden
/// states `[rows, tokens, hidden]`, and adds the leaves of what it trains itself; the loss of a row must depend on its own states and copies alone.
pub(crate) fn of_losses(
    adapted: &Adapted,
    batch: &MicroBatch,
    of: Of,
    losses: impl FnOnce(Tensor<3>, &mut Leaves) -> Result<Tensor<2>, LoraError>,
) -> Result<Gradients, LoraError> {
    let (added, mut leaves) = additions(adapted, batch, of);
    let hidden = adapted.model.forward(&adapted.input(batch), &added);
    let losses = losses(hidden, &mut leaves)?;
    let (examples, width) = (batch.indices().len(), adapted.attached.width);
    let total = match of {
        Of::Each => losses.clone().sum(),
        // Dummy rows have no copies of their own.
        Of::Sum => losses.clone().narrow(0, 0, examples).sum(),
    };
    let mut tape = total.backward();
    let mut losses = to_vec("the losses", losses.inner())?;
    losses.truncate(examples);
    let rows = of.copies(examples);
    let mut gradients = Gradients { losses, rows, width, data: vec![0.0; rows * width] };
    for (offset, leaf) in &leaves {
        gradients.take(leaf, *offset, &mut tape)?;
    }
    Ok(gradients)
}

/// What the adapter adds with a copy of each trained factor for each example, or one for all, and these copies: of B `[copies, outputs, r]`, of A
/// `[copies, r, inputs]`, of a bias `[copies, 1, outputs]`.
fn additions(adapted: &Adapted, batch: &MicroBatch, of: Of) -> (Additions, Leaves) {
    let leaves = RefCell::new(Vec::new());
    let copies = |factor: &Factor| leaf(factor, of.copies(batch.rows()), &mut leaves.borrow_mut());
    let dropout = adapted.dropout();
    let branch = |place: (usize, Site), site: &SiteTensors| {
        let down = match (&site.down, of) {
            (Some(down), Of::Each) => Down::PerExample(copies(down)),
            (Some(down), Of::Sum) => Down::Shared(one(copies(down)).transpose()),
            (None, _) => site.shared.down.clone(),
        };
        let up = match (&site.up, of) {
            (Some(up), Of::Each) => Up::PerExample(copies(up)),
            (Some(up), Of::Sum) => Up::Shared(one(copies(up)).transpose()),
            (None, _) => site.shared.up.clone(),
        };
        let bias = site.bias.as_ref().map(copies).or_else(|| site.shared.bias.clone());
        let (inputs, _) = adapted.spec().shape(place.1);
        let dropout = dropout.map(|dropout| dropout.factors(batch, place, inputs, &adapted.device));
        Branch { down, up, bias, dropout, scaling: site.shared.scaling }
    };
    let added = adapted.attached.additions(branch, copies);
    (added, leaves.into_inner())
}

/// So many copies of a trained tensor, `[copies, ...]` (an expanded view: nothing is copied), which are leaves of the recorded graph.
pub(crate) fn leaf(factor: &Factor, copies: usize, leaves: &mut Leaves) -> Tensor<3> {
    let [rows, columns] = factor.values.dims();
    let copies: Tensor<3> = factor.values.clone().unsqueeze::<3>().expand([copies, rows, columns]);
    let copies = copies.autodiff().require_grad();
    leaves.push((factor.offset, copies.clone()));
    copies
}

/// The only copy.
fn one(copies: Tensor<3>) -> Tensor<2> {
    let [_, rows, columns] = copies.dims();
    copies.reshape([rows, columns])
}

impl Gradients {
    /// Moves a leaf's gradient, `[examples, ...]`, to `offset` of each row.
    fn take(&mut self, leaf: &Tensor<3>, offset: usize, tape: &mut Tape) -> Result<(), LoraError> {
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
