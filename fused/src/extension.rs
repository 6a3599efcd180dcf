//! How burn comes to the operations: on the CPU computed, under autodiff recorded with what their backward passes need.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, backend_extension};

use crate::packed::Packed;
use crate::{attention, gelu, likelihood, norm, silu};

/// A tensor on the CPU.
pub(crate) type Cpu = FloatTensor<Flex>;

/// The operations of this crate.
#[backend_extension(Autodiff, Flex)]
pub(crate) trait Fused: Backend {
    /// `x W + b`, `[rows, outputs]`.
    fn linear(x: FloatTensor<Self>, layer: Arc<Packed>) -> FloatTensor<Self>;
    /// GELU of every value.
    fn gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// SiLU of one, times the other.
    fn gated_silu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Softmax of `scores * scale + mask` over the last dimension.
    fn attention_weights(scores: FloatTensor<Self>, mask: FloatTensor<Self>, scale: f32) -> FloatTensor<Self>;
    /// Rows of mean 0 and variance 1, times `gamma`, plus `beta`.
    fn layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self>;
    /// -log softmax of a class of each row.
    fn negative_log_likelihood(scores: FloatTensor<Self>, classes: Arc<[usize]>) -> FloatTensor<Self>;
    /// Rows of mean square 1, times `gamma`.
    fn rms_norm(x: FloatTensor<Self>, gamma: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self>;
}

impl Fused for Flex {
    fn linear(x: Cpu, layer: Arc<Packed>) -> Cpu {
        layer.forward(&x)
    }

    fn gelu(x: Cpu) -> Cpu {
        gelu::values(x)
    }

    fn gated_silu(gate: Cpu, up: Cpu) -> Cpu {
        silu::values(gate, &up)
    }

    fn attention_weights(scores: Cpu, mask: Cpu, scale: f32) -> Cpu {
        attention::weights(scores, &mask, scale)
    }

    fn layer_norm(x: Cpu, gamma: Cpu, beta: Cpu, epsilon: f32) -> Cpu {
        norm::layer(x, &gamma, &beta, epsilon).0
    }

    fn negative_log_likelihood(scores: Cpu, classes: Arc<[usize]>) -> Cpu {
        likelihood::losses(scores, &classes).0
    }

    fn rms_norm(x: Cpu, gamma: Cpu, epsilon: f32) -> Cpu {
        norm::rms(x, &gamma, epsilon).0
    }
}

/// The backward pass of an operation with one tracked input: from what was kept and the gradient of the output to that of the input.
macro_rules! backward {
    ($name:ident, $state:ty, |$grad:ident, $kept:ident| $work:expr) => {
        #[derive(Debug)]
        struct $name;

        impl Backward<Flex, 1> for $name {
            type State = $state;

            fn backward(self, ops: Ops<$state, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
                let $grad = grads.consume::<Flex>(&ops.node);
                let $kept = ops.state;
                let [node] = ops.parents;
                if let Some(node) = node {
                    grads.register::<Flex>(node.id, $work);
                }
            }
        }
    };
}

backward!(LinearBackward, Arc<Packed>, |grad, layer| layer.backward(&grad));
backward!(GeluBackward, Cpu, |grad, slopes| crate::lanes::product(grad, &slopes));
backward!(AttentionBackward, (Cpu, f32), |grad, kept| attention::backward(grad, &kept.0, kept.1));
backward!(LikelihoodBackward, (likelihood::Kept, Arc<[usize]>), |grad, kept| likelihood::backward(
    &grad, kept.0, &kept.1
));
backward!(LayerNormBackward, norm::Kept, |grad, kept| norm::layer_backward(grad, &kept));
backward!(RmsNormBackward, norm::Kept, |grad, kept| norm::rms_backward(grad, &kept));

/// The same with two.
#[derive(Debug)]
struct GatedSiluBackward;

impl Backward<Flex, 2> for GatedSiluBackward {
    type State = (Cpu, Cpu);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        let (gate, up) = ops.state;
        let (of_gate, of_up) = silu::backward(&grad, gate, up);
        for (node, grad) in ops.parents.into_iter().zip([of_gate, of_up]) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, grad);
            }
        }
    }
}

impl<C: CheckpointStrategy> Fused for Autodiff<Flex, C> {
    fn linear(x: FloatTensor<Self>, layer: Arc<Packed>) -> FloatTensor<Self> {
        let prepared = LinearBackward.prepare::<C>([x.node()]).compute_bound().stateful();
        let out = layer.forward(x.primitive());
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(layer, out),
            OpsKind::UnTracked(prepared) => prepared.finish(out),
        }
    }

    fn gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        match GeluBackward.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (values, slopes) = gelu::values_and_slopes(x.into_primitive());
                prepared.finish(slopes, values)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(gelu::values(x.into_primitive())),
        }
    }

    fn gated_silu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self> {
        match GatedSiluBackward.prepare::<C>([gate.node(), up.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (gate, up) = (gate.into_primitive(), up.into_primitive());
                let values = silu::values(gate.clone(), &up);
                prepared.finish((gate, up), values)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(silu::values(gate.into_primitive(), up.primitive())),
        }
    }

    fn attention_weights(scores: FloatTensor<Self>, mask: FloatTensor<Self>, scale: f32) -> FloatTensor<Self> {
        let prepared = AttentionBackward.prepare::<C>([scores.node()]).compute_bound().stateful();
        let weights = attention::weights(scores.into_primitive(), mask.primitive(), scale);
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish((weights.clone(), scale), weights),
            OpsKind::UnTracked(prepared) => prepared.finish(weights),
        }
    }

    fn layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let prepared = LayerNormBackward.prepare::<C>([x.node()]).compute_bound().stateful();
        let (values, kept) = norm::layer(x.into_primitive(), gamma.primitive(), beta.primitive(), epsilon);
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(kept, values),
            OpsKind::UnTracked(prepared) => prepared.finish(values),
        }
    }

    fn negative_log_likelihood(scores: FloatTensor<Self>, classes: Arc<[usize]>) -> FloatTensor<Self> {
        let prepared = LikelihoodBackward.prepare::<C>([scores.node()]).compute_bound().stateful();
        let (losses, kept) = likelihood::losses(scores.into_primitive(), &classes);
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish((kept, classes), losses),
            OpsKind::UnTracked(prepared) => prepared.finish(losses),
        }
    }

    fn rms_norm(x: FloatTensor<Self>, gamma: FloatTensor<Self>, epsilon: f32) -> FloatTensor<Self> {
        let prepared = RmsNormBackward.prepare::<C>([x.node()]).compute_bound().stateful();
        let (values, kept) = norm::rms(x.into_primitive(), gamma.primitive(), epsilon);
        match prepared {
            OpsKind::Tracked(prepared) => prepared.finish(kept, values),
            OpsKind::UnTracked(prepared) => prepared.finish(values),
        }
    }
}
