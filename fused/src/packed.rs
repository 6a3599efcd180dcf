//! A matrix in the order in which products read it, for x W and for g Wᵀ.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use rten_gemm::{BiasVector, GemmExecutor, GemmInputA, GemmInputB, GemmOptions, PackedBMatrix};
use rten_tensor::NdTensorView;

use crate::extension::Cpu;
use crate::lanes::tensor;

thread_local! {
    /// The fastest kernel of this machine; it may not go from thread to thread, and is made in no time.
    static KERNEL: GemmExecutor = GemmExecutor::default();
}

/// A frozen layer on the CPU.
pub(crate) struct Packed {
    inputs: usize,
    outputs: usize,
    forward: PackedBMatrix<f32>,
    /// Packed at the first backward pass.
    backward: OnceLock<PackedBMatrix<f32>>,
    /// `[outputs, inputs]`, which `backward` is made from, and until then: a model is held twice, not three times.
    weight: Mutex<Vec<f32>>,
    bias: Option<Vec<f32>>,
}

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed({} x {})", self.inputs, self.outputs)
    }
}

impl Packed {
    /// `weight` is `[outputs, inputs]`, row by row.
    pub(crate) fn new(weight: Vec<f32>, [outputs, inputs]: [usize; 2], bias: Option<Vec<f32>>) -> Self {
        let view = NdTensorView::from_data([outputs, inputs], weight.as_slice());
        let forward = KERNEL.with(|kernel| kernel.prepack_b(view.transposed()));
        Self { inputs, outputs, forward, backward: OnceLock::new(), weight: Mutex::new(weight), bias }
    }

    /// Columns of what it takes.
    pub(crate) fn inputs(&self) -> usize {
        self.inputs
    }

    /// `x W + b`, `[rows, outputs]` from `[rows, inputs]`.
    pub(crate) fn forward(&self, x: &Cpu) -> Cpu {
        let bias = self.bias.as_deref().map(BiasVector::Row);
        self.product(x, self.inputs, &self.forward, self.outputs, bias)
    }

    /// `g Wᵀ`, `[rows, inputs]` from `[rows, outputs]`.
    pub(crate) fn backward(&self, grad: &Cpu) -> Cpu {
        let packed = self.backward.get_or_init(|| {
            let weight = std::mem::take(&mut *self.weight.lock().unwrap_or_else(PoisonError::into_inner));
            let view = NdTensorView::from_data([self.outputs, self.inputs], weight.as_slice());
            KERNEL.with(|kernel| kernel.prepack_b(view))
        });
        self.product(grad, self.outputs, packed, self.inputs, None)
    }

    fn product(
        &self,
        x: &Cpu,
        depth: usize,
        matrix: &PackedBMatrix<f32>,
        width: usize,
        bias: Option<BiasVector<'_, f32>>,
    ) -> Cpu {
        let x = x.to_contiguous();
        let rows = x.layout().num_elements() / depth.max(1);
        let mut out = vec![0.0f32; rows * width];
        let left = GemmInputA::Unpacked(NdTensorView::from_data([rows, depth], x.storage::<f32>()));
        let options = GemmOptions { bias, ..GemmOptions::default() };
        let done = KERNEL.with(|kernel| kernel.gemm(&mut out, left, GemmInputB::Packed(matrix), options));
        assert!(done.is_ok(), "{done:?}: sizes are those that this was made with");
        tensor(out, [rows, width].into())
    }
}
