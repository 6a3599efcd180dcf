//! Signed fields in a coefficient: fields `f_0, f_1, ...` of w bits above `r` noise bits are the number
//! `2^r (f_0 + 2^w f_1 + 2^2w f_2 + ...)`. Sums of coefficients are sums of fields as long as every sum of
//! fields stays in its w bits and the summed errors stay below 2^(r-1).

use crate::layout::Layout;

/// The widths of a layout in the form that the inner loops use.
#[derive(Clone, Copy)]
pub(crate) struct Fields {
    bits: u32,
    count: usize,
    noise_bits: u32,
}

/// What decoding of one chunk saw besides the values.
pub(crate) struct Seen {
    /// Sum of the squared residuals.
    pub(crate) squares: f64,
    /// Whether a coefficient held more than its fields.
    pub(crate) overflow: bool,
}

impl Fields {
    pub(crate) fn of(layout: &Layout) -> Self {
        Self { bits: layout.field_bits(), count: layout.fields_per_coefficient(), noise_bits: layout.noise_bits() }
    }

    /// Packs values into coefficients below 2^49 in size; missing values are zero.
    pub(crate) fn pack_narrow(self, values: &[i64], coefficients: &mut [i64]) {
        self.pack(values, coefficients);
    }

    /// Packs values into coefficients below 2^99 in size; missing values are zero.
    pub(crate) fn pack_wide(self, values: &[i64], coefficients: &mut [i128]) {
        self.pack(values, coefficients);
    }

    fn pack<T: Coefficient>(self, values: &[i64], coefficients: &mut [T]) {
        let full = values.len() / self.count;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || match self.count {
                1 => self.pack_groups::<1, T>(values, coefficients),
                2 => self.pack_groups::<2, T>(values, coefficients),
                3 => self.pack_groups::<3, T>(values, coefficients),
                4 => self.pack_groups::<4, T>(values, coefficients),
                7 => self.pack_groups::<7, T>(values, coefficients),
                _ => {
                    let groups = values.chunks_exact(self.count);
                    for (group, out) in groups.zip(coefficients.iter_mut()) {
                        *out = T::pack(group, self.bits, self.noise_bits);
                    }
                }
            },
        );
        let rest = &values[full * self.count..];
        if let Some((first, others)) = coefficients[full..].split_first_mut() {
            *first = T::pack(rest, self.bits, self.noise_bits);
            others.fill(T::default());
        }
    }

    /// The same loop with the number of fields known to the compiler.
    #[inline(always)]
    fn pack_groups<const F: usize, T: Coefficient>(self, values: &[i64], out: &mut [T]) {
        for (group, out) in values.as_chunks::<F>().0.iter().zip(out) {
            *out = T::pack(group, self.bits, self.noise_bits);
        }
    }

    /// Splits centered coefficients into fields, in order; `values` holds a field for each of them.
    pub(crate) fn split_narrow(self, coefficients: &[i64], values: &mut [i64]) -> Seen {
        let half = 1_i64 << (self.noise_bits - 1);
        let unused = i64::BITS - self.bits;
        let (mut squares, mut left) = (0.0, 0);
        for (&coefficient, group) in coefficients.iter().zip(values.chunks_exact_mut(self.count)) {
            let mut packed = (coefficient + half) >> self.noise_bits;
            let residual = (coefficient - (packed << self.noise_bits)) as f64;
            squares += residual * residual;
            for value in group {
                *value = packed << unused >> unused;
                packed = (packed - *value) >> self.bits;
            }
            left |= packed;
        }
        Seen { squares, overflow: left != 0 }
    }

    /// The same for coefficients of two primes.
    pub(crate) fn split_wide(self, coefficients: &[i128], values: &mut [i64]) -> Seen {
        let half = 1_i128 << (self.noise_bits - 1);
        let unused = i64::BITS - self.bits;
        let (mut squares, mut left) = (0.0, 0);
        for (&coefficient, group) in coefficients.iter().zip(values.chunks_exact_mut(self.count)) {
            let mut packed = (coefficient + half) >> self.noise_bits;
            let residual = (coefficient - (packed << self.noise_bits)) as f64;
            squares += residual * residual;
            for value in group {
                *value = (packed as i64) << unused >> unused;
                packed = (packed - i128::from(*value)) >> self.bits;
            }
            left |= packed;
        }
        Seen { squares, overflow: left != 0 }
    }
}

/// A coefficient of one prime or of two.
trait Coefficient: Copy + Default {
    /// The fields one above the other, over `noise_bits` zero bits.
    fn pack(fields: &[i64], bits: u32, noise_bits: u32) -> Self;
}

impl Coefficient for i64 {
    #[inline(always)]
    fn pack(fields: &[i64], bits: u32, noise_bits: u32) -> Self {
        let above = |packed: Self, &field: &i64| (packed << bits).wrapping_add(field);
        fields.iter().rev().fold(0, above) << noise_bits
    }
}

impl Coefficient for i128 {
    #[inline(always)]
    fn pack(fields: &[i64], bits: u32, noise_bits: u32) -> Self {
        let above = |packed: Self, &field: &i64| (packed << bits).wrapping_add(field.into());
        fields.iter().rev().fold(0, above) << noise_bits
    }
}
