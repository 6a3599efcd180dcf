//! Signed fields in a coefficient: fields `f_0, f_1, ...` of w bits above `r` noise bits are the number
//! `2^r (f_0 + 2^w f_1 + 2^2w f_2 + ...)`. Sums of coefficients are sums of fields as long as every sum of
//! fields stays in its w bits and the summed errors stay below 2^(r-1).

use std::iter;

use pulp::{Simd, WithSimd};

use crate::layout::Layout;
use crate::params::RESIDUE_BITS;

const LOW: u64 = (1 << RESIDUE_BITS) - 1;

/// The widths of a layout in the form that the inner loops use.
#[derive(Clone, Copy, Debug)]
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

    /// Splits centered coefficients `low + 2^50 high`, low from 0 to 2^50, into fields, in order; of one prime, `high`
    /// is empty and `low` is the signed coefficient. `values` holds a field for each of them.
    pub(crate) fn split(self, low: &[i64], high: &[i64], values: &mut [i64]) -> Seen {
        pulp::Arch::new().dispatch(Split { fields: self, low, high, values })
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

/// Work of a type of its own, because the compiler leaves a closure of this size out of line, where it has no vectors.
struct Split<'a> {
    fields: Fields,
    low: &'a [i64],
    high: &'a [i64],
    values: &'a mut [i64],
}

impl WithSimd for Split<'_> {
    type Output = Seen;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Seen {
        match (self.fields.count, self.high.is_empty()) {
            (1, true) => self.narrow::<1>(),
            (2, true) => self.narrow::<2>(),
            (3, true) => self.narrow::<3>(),
            (4, true) => self.narrow::<4>(),
            (1, false) => self.wide::<1>(),
            (2, false) => self.wide::<2>(),
            (3, false) => self.wide::<3>(),
            (4, false) => self.wide::<4>(),
            (5, false) => self.wide::<5>(),
            (6, false) => self.wide::<6>(),
            (7, false) => self.wide::<7>(),
            (_, true) => self.narrow_any(),
            (_, false) => self.wide_any(),
        }
    }
}

impl Split<'_> {
    #[inline(always)]
    fn narrow<const F: usize>(self) -> Seen {
        let (cuts, mut seen) = (Cuts::of(self.fields), Sums::default());
        let groups = self.values.as_chunks_mut::<F>().0.chunks_mut(LANES);
        for (low, values) in self.low.as_chunks::<LANES>().0.iter().zip(groups) {
            let mut biased = *low;
            for (lane, biased) in biased.iter_mut().enumerate() {
                *biased = biased.wrapping_add(cuts.low);
                let residual = cuts.residual(*biased, 0);
                seen.squares[lane] += residual * residual;
                seen.left[lane] |= *biased >> cuts.end;
            }
            for (biased, values) in biased.iter().zip(values) {
                for (j, value) in values.iter_mut().enumerate() {
                    *value = cuts.field((biased >> cuts.bit(j)) as u64);
                }
            }
        }
        seen.total()
    }

    #[inline(always)]
    fn wide<const F: usize>(self) -> Seen {
        let (cuts, mut seen) = (Cuts::of(self.fields), Sums::default());
        let mut shifts = [Shifts::to(0); F];
        for (j, shifts) in shifts.iter_mut().enumerate() {
            *shifts = Shifts::to(cuts.bit(j));
        }
        let groups = self.values.as_chunks_mut::<F>().0.chunks_mut(LANES);
        let pairs = self.low.as_chunks::<LANES>().0.iter().zip(self.high.as_chunks::<LANES>().0);
        for ((low, high), values) in pairs.zip(groups) {
            let (mut low, mut high) = (*low, *high);
            for (lane, (low, high)) in low.iter_mut().zip(&mut high).enumerate() {
                cuts.bias(low, high);
                let residual = cuts.residual(*low, *high);
                seen.squares[lane] += residual * residual;
                seen.left[lane] |= cuts.left(*low, *high);
            }
            for ((low, high), values) in low.iter().zip(&high).zip(values) {
                for (value, shifts) in values.iter_mut().zip(&shifts) {
                    *value = cuts.field(shifts.apply(*low, *high));
                }
            }
        }
        seen.total()
    }

    fn narrow_any(self) -> Seen {
        let (cuts, mut seen) = (Cuts::of(self.fields), Sums::default());
        for (&low, values) in self.low.iter().zip(self.values.chunks_exact_mut(self.fields.count)) {
            let biased = low.wrapping_add(cuts.low);
            seen.add_one(cuts.residual(biased, 0), biased >> cuts.end);
            values.iter_mut().enumerate().for_each(|(j, value)| *value = cuts.field((biased >> cuts.bit(j)) as u64));
        }
        seen.total()
    }

    fn wide_any(self) -> Seen {
        let (cuts, mut seen) = (Cuts::of(self.fields), Sums::default());
        let groups = self.values.chunks_exact_mut(self.fields.count);
        for ((&low, &high), values) in self.low.iter().zip(self.high).zip(groups) {
            let (mut low, mut high) = (low, high);
            cuts.bias(&mut low, &mut high);
            seen.add_one(cuts.residual(low, high), cuts.left(low, high));
            let read = |j| cuts.field(Shifts::to(cuts.bit(j)).apply(low, high));
            values.iter_mut().enumerate().for_each(|(j, value)| *value = read(j));
        }
        seen.total()
    }
}

/// Coefficients of one step.
const LANES: usize = 8;

/// Half of the noise's range and half of every field's are added first. Then noise and fields are unsigned digits,
/// none borrows from the next, and what is above them is zero exactly if it was.
#[derive(Clone, Copy)]
struct Cuts {
    fields: Fields,
    low: i64,
    high: i64,
    /// The bit above the last field.
    end: u32,
    field_mask: u64,
    low_noise: i64,
    high_noise: i64,
}

impl Cuts {
    fn of(fields: Fields) -> Self {
        let (bits, noise) = (fields.bits, fields.noise_bits);
        let bias =
            (0..fields.count as u32).map(|j| 1 << (noise + j * bits + bits - 1)).sum::<u128>() + (1 << (noise - 1));
        // With one prime all of it is in the low part. With two, more than 62 bits of noise would leave room for
        // another field.
        let noise_mask = (1_u128 << noise) - 1;
        Self {
            fields,
            low: (bias & u128::from(LOW)) as i64,
            high: (bias >> RESIDUE_BITS) as i64,
            end: noise + bits * fields.count as u32,
            field_mask: u64::MAX >> (u64::BITS - bits),
            low_noise: (noise_mask & u128::from(LOW)) as i64,
            high_noise: (noise_mask >> RESIDUE_BITS) as i64,
        }
    }

    #[inline(always)]
    fn bit(&self, j: usize) -> u32 {
        self.fields.noise_bits + j as u32 * self.fields.bits
    }

    #[inline(always)]
    fn bias(&self, low: &mut i64, high: &mut i64) {
        let sum = low.wrapping_add(self.low);
        *high = high.wrapping_add(self.high).wrapping_add(sum >> RESIDUE_BITS);
        *low = sum & LOW as i64;
    }

    #[inline(always)]
    fn residual(&self, low: i64, high: i64) -> f64 {
        let noise = (low & self.low_noise) | (high & self.high_noise) << RESIDUE_BITS;
        noise.wrapping_sub(1 << (self.fields.noise_bits - 1)) as f64
    }

    /// Not zero exactly if something is above the last field.
    #[inline(always)]
    fn left(&self, low: i64, high: i64) -> i64 {
        (high >> self.end.saturating_sub(RESIDUE_BITS)) | (low >> self.end.min(RESIDUE_BITS))
    }

    #[inline(always)]
    fn field(&self, shifted: u64) -> i64 {
        ((shifted & self.field_mask) as i64).wrapping_sub(1 << (self.fields.bits - 1))
    }
}

/// How the bits from a place on come to the bottom of a word.
#[derive(Clone, Copy)]
struct Shifts {
    low: u32,
    left: u32,
    right: u32,
}

impl Shifts {
    fn to(bit: u32) -> Self {
        match bit.checked_sub(RESIDUE_BITS) {
            None => Self { low: bit, left: RESIDUE_BITS - bit, right: 0 },
            // The low part is below 2^50, so nothing of it is left.
            Some(above) => Self { low: RESIDUE_BITS, left: 0, right: above },
        }
    }

    #[inline(always)]
    fn apply(self, low: i64, high: i64) -> u64 {
        ((low >> self.low) | (high << self.left >> self.right)) as u64
    }
}

/// Sums in lanes of their own, so that the total is the same on every processor.
#[derive(Default)]
struct Sums {
    squares: [f64; LANES],
    left: [i64; LANES],
}

impl Sums {
    fn add_one(&mut self, residual: f64, left: i64) {
        self.squares[0] += residual * residual;
        self.left[0] |= left;
    }

    fn total(&self) -> Seen {
        Seen { squares: self.squares.iter().sum(), overflow: self.left.iter().any(|&left| left != 0) }
    }
}

#[cfg(test)]
mod tests;
