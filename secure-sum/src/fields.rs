//! Signed fields in a coefficient: fields `f_0, f_1, ...` of w bits above `r` noise bits are the number
//! `2^r (f_0 + 2^w f_1 + 2^2w f_2 + ...)`. Sums of coefficients are sums of fields as long as every sum of
//! fields stays in its w bits and the summed errors stay below 2^(r-1).

use std::iter;

use crate::layout::Layout;
use crate::params::RESIDUE_BITS;

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

    /// Packs values into coefficients `low + 2^50 high`; missing values are zero. Of one prime, coefficients are
    /// below 2^49 in size and `high` is empty; of two primes they are below 2^99, and each field that reaches into
    /// `low` leaves there a part from 0 to 2^50. These are at most 14: no layout has fields of fewer than 3 bits or
    /// fewer than 8 noise bits.
    pub(crate) fn pack(self, values: &[i64], low: &mut [i64], high: &mut [i64]) {
        let full = values.len() / self.count;
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || match (self.count, high.is_empty()) {
                (1, true) => self.pack_narrow::<1>(values, low),
                (2, true) => self.pack_narrow::<2>(values, low),
                (3, true) => self.pack_narrow::<3>(values, low),
                (4, true) => self.pack_narrow::<4>(values, low),
                (1, false) => self.pack_wide::<1>(values, low, high),
                (2, false) => self.pack_wide::<2>(values, low, high),
                (3, false) => self.pack_wide::<3>(values, low, high),
                (4, false) => self.pack_wide::<4>(values, low, high),
                (5, false) => self.pack_wide::<5>(values, low, high),
                (6, false) => self.pack_wide::<6>(values, low, high),
                (7, false) => self.pack_wide::<7>(values, low, high),
                _ => self.pack_any(values.chunks_exact(self.count), low, high),
            },
        );
        let rest = values[full * self.count..].chunks(self.count);
        let (low, high) = (&mut low[full..], high.get_mut(full..).unwrap_or_default());
        self.pack_any(rest.chain(iter::repeat(&[][..])), low, high);
    }

    /// The loop with the number of fields known to the compiler.
    #[inline(always)]
    fn pack_narrow<const F: usize>(self, values: &[i64], low: &mut [i64]) {
        for (group, low) in values.as_chunks::<F>().0.iter().zip(low) {
            *low = self.join(group);
        }
    }

    #[inline(always)]
    fn pack_wide<const F: usize>(self, values: &[i64], low: &mut [i64], high: &mut [i64]) {
        let places: [Place; F] = std::array::from_fn(|j| self.place(j));
        for ((group, low), high) in values.as_chunks::<F>().0.iter().zip(low).zip(high) {
            (*low, *high) = (0, 0);
            for (place, &field) in places.iter().zip(group) {
                place.add(field, low, high);
            }
        }
    }

    fn pack_any<'a>(self, groups: impl Iterator<Item = &'a [i64]>, low: &mut [i64], high: &mut [i64]) {
        if high.is_empty() {
            groups.zip(low).for_each(|(group, low)| *low = self.join(group));
            return;
        }
        for ((group, low), high) in groups.zip(low).zip(high) {
            (*low, *high) = (0, 0);
            group.iter().enumerate().for_each(|(j, &field)| self.place(j).add(field, low, high));
        }
    }

    /// The fields one above the other, over the noise bits.
    #[inline(always)]
    fn join(self, fields: &[i64]) -> i64 {
        let above = |packed: i64, &field: &i64| (packed << self.bits).wrapping_add(field);
        fields.iter().rev().fold(0, above) << self.noise_bits
    }

    fn place(self, j: usize) -> Place {
        let bit = self.noise_bits + j as u32 * self.bits;
        match bit.checked_sub(RESIDUE_BITS) {
            None => Place { left: bit, mask: (1 << RESIDUE_BITS) - 1, above: 0, down: RESIDUE_BITS - bit },
            Some(above) => Place { left: 0, mask: 0, above, down: 0 },
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

/// Where a field lies in a coefficient of two primes, as shifts that are the same for every value.
#[derive(Clone, Copy)]
struct Place {
    left: u32,
    mask: i64,
    above: u32,
    down: u32,
}

impl Place {
    /// `field` times 2^bit is `low + 2^50 high` with low from 0 to 2^50.
    #[inline(always)]
    fn add(self, field: i64, low: &mut i64, high: &mut i64) {
        *low = low.wrapping_add((field << self.left) & self.mask);
        *high = high.wrapping_add(field << self.above >> self.down);
    }
}
