//! GELU with the exact (erf) form, fast on the CPU.
//!
//! burn's CPU kernels compute erf one value at a time, once forward and once more backward, which would be a quarter of a training
//! step. Here one loop that the compiler vectorises gives the value and the derivative together. The recorded graph then holds
//! `x · d + c` with constants d = GELU'(x₀) and c = GELU(x₀) - x₀ · d: its value and its gradient at x₀ are GELU's.

use burn::tensor::{Device, Tensor, TensorData, activation};

use crate::LoraError;
use crate::classifier::to_vec;

/// GELU of every value of `x`.
pub(crate) fn gelu(x: Tensor<2>) -> Result<Tensor<2>, LoraError> {
    if x.device() != Device::flex() {
        return Ok(activation::gelu(x));
    }
    let (dims, device, tracked) = (x.dims(), x.device().without_autodiff(), x.is_tracked());
    let constant = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, dims), &device);
    if !tracked {
        let mut values = to_vec("GELU", x.inner())?;
        values.iter_mut().for_each(|x| *x = value_and_slope(*x).0);
        return Ok(constant(values));
    }
    let mut offsets = to_vec("GELU", x.clone().inner())?;
    let mut slopes = vec![0.0f32; offsets.len()];
    for (x, slope) in offsets.iter_mut().zip(&mut slopes) {
        let (y, d) = value_and_slope(*x);
        *slope = d;
        *x = y - *x * d;
    }
    Ok(x * constant(slopes) + constant(offsets))
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

/// exp(x) for x <= 0 to 3e-7 of its value: 2^k times a Taylor polynomial on |r| <= ln(2)/2.
#[inline(always)]
fn exp_negative(x: f32) -> f32 {
    /// Adding and subtracting 1.5 · 2^23 rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    let x = x.max(-87.0);
    let k = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    // ln(2) in two parts, so that the product with k loses nothing.
    let r = (x - k * 0.693_359_4) - k * -2.121_944_4e-4;
    let high = 1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0)));
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * high)));
    // k + ROUND holds the whole number k in its low bits: no conversion to an integer, which would not vectorise.
    let bits = (k + ROUND).to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(bits)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn exp_is_within_3e_7_of_the_libraries() {
        for i in 0..=8700 {
            let x = -(i as f32) / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp_negative(x)) - exact).abs() <= 3e-7 * exact, "{x}");
        }
        assert!(exp_negative(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn value_and_gradient_are_burns() {
        let values: Vec<f32> = (-1200..=1200).map(|i| i as f32 / 100.0).collect();
        let device = Device::flex();
        let tensor = || Tensor::<2>::from_data(TensorData::new(values.clone(), [1, values.len()]), &device);
        let run = |f: &dyn Fn(Tensor<2>) -> Tensor<2>| {
            let x = tensor().autodiff().require_grad();
            let y = f(x.clone());
            let gradient = x.grad(&y.clone().sum().backward()).unwrap();
            [y.inner().into_data().try_into_vec::<f32>().unwrap(), gradient.into_data().try_into_vec::<f32>().unwrap()]
        };
        let ours = run(&|x| gelu(x).unwrap());
        let burns = run(&activation::gelu);
        for (ours, burns) in ours.iter().zip(&burns) {
            for (i, (a, b)) in ours.iter().zip(burns).enumerate() {
                assert!((a - b).abs() < 3e-6, "at {}: {a} {b}", values[i]);
            }
        }
        let untracked = to_vec("GELU", gelu(tensor()).unwrap()).unwrap();
        assert!(untracked.iter().zip(&ours[0]).all(|(a, b)| (a - b).abs() < 3e-6));
    }
}
