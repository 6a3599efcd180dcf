//! GELU with the exact (erf) form: value and slope in one pass.

use burn::backend::Dispatch;
use burn::tensor::{Tensor, activation};

use crate::extension::{Cpu, Fused};
use crate::lanes::{block, exp_negative, in_place, tensor, wide};
use crate::on_cpu;

/// GELU of every value of `x`: x · Φ(x), to 2e-7 of |x|.
#[must_use]
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if on_cpu(&x) { Tensor::from_dispatch(<Dispatch as Fused>::gelu(x.into_dispatch())) } else { activation::gelu(x) }
}

pub(crate) fn values(x: Cpu) -> Cpu {
    in_place(x, |x| x.iter_mut().for_each(|x| *x = value_and_slope(*x).0))
}

pub(crate) fn values_and_slopes(x: Cpu) -> (Cpu, Cpu) {
    let mut values = block(x);
    let shape = values.layout().shape().clone();
    let mut slopes = vec![0.0f32; shape.num_elements()];
    let numbers = values.storage_mut::<f32>();
    wide(|| {
        for (x, slope) in numbers.iter_mut().zip(&mut slopes) {
            (*x, *slope) = value_and_slope(*x);
        }
    });
    (values, tensor(slopes, shape))
}

/// GELU(x) = x · Φ(x) and its derivative Φ(x) + x · φ(x), with Φ from erf by Abramowitz and Stegun 7.1.26 (off by at most 1.5e-7).
#[inline(always)]
fn value_and_slope(x: f32) -> (f32, f32) {
    const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    const A: [f32; 5] = [0.254_829_6, -0.284_496_74, 1.421_413_7, -1.453_152, 1.061_405_4];
    const INV_SQRT_2_PI: f32 = 0.398_942_3;
    let bell = exp_negative(-0.5 * x * x);
    let t = 1.0 / (1.0 + P * x.abs());
    let tail = 0.5 * bell * t * (A[0] + t * (A[1] + t * (A[2] + t * (A[3] + t * A[4]))));
    let cdf = if x < 0.0 { tail } else { 1.0 - tail };
    (x * cdf, cdf + x * bell * INV_SQRT_2_PI)
}
