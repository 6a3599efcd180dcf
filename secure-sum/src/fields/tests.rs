//! Packing and splitting against their definition in 128-bit numbers.

use super::*;
use proptest::prelude::*;

/// More than one step of eight, and a rest.
const COUNT: usize = 24;

/// Widths as layouts have them: of one prime or of two.
fn any_fields() -> impl Strategy<Value = (Fields, bool)> {
    any::<bool>()
        .prop_flat_map(|wide| (Just(wide), 3..if wide { 80_u32 } else { 42 }, 1..9_usize))
        .prop_flat_map(|(wide, bits, count)| {
            let total = if wide { 100 } else { 50 };
            let bits = bits.min((total - 8) / count as u32).min(63);
            let noise = total - bits * count as u32;
            (Just((wide, bits, count)), 8..=noise.clamp(8, 62))
        })
        .prop_map(|((wide, bits, count), noise_bits)| (Fields { bits, count, noise_bits }, wide))
}

fn parts(x: i128, wide: bool) -> (i64, i64) {
    if wide { ((x & i128::from(LOW)) as i64, (x >> RESIDUE_BITS) as i64) } else { (x as i64, 0) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn coefficients_are_fields_one_above_the_other(
        (fields, wide) in any_fields(), random in prop::collection::vec(any::<i64>(), 8 * COUNT), missing in 0..9_usize,
    ) {
        let values: Vec<i64> = random[..fields.count * COUNT - missing.min(fields.count * COUNT)]
            .iter()
            .map(|x| x >> (i64::BITS - fields.bits))
            .collect();
        let (mut low, mut high) = (vec![7; COUNT], vec![7; if wide { COUNT } else { 0 }]);
        fields.pack(&values, &mut low, &mut high);
        let mut groups = values.chunks(fields.count);
        for (at, &low) in low.iter().enumerate() {
            let place = |j: usize| fields.noise_bits + j as u32 * fields.bits;
            let group = groups.next().unwrap_or_default();
            let expected: i128 = group.iter().enumerate().map(|(j, &f)| i128::from(f) << place(j)).sum();
            let high = high.get(at).copied().unwrap_or(0);
            prop_assert_eq!(i128::from(low) + (i128::from(high) << RESIDUE_BITS), expected);
            prop_assert!(!wide || (0..14 << RESIDUE_BITS).contains(&low));
        }
    }

    #[test]
    fn fields_residuals_and_overflow_are_those_of_the_definition(
        (fields, wide) in any_fields(),
        random in prop::collection::vec((any::<i128>(), 0..3), COUNT),
        spoiled in 0..COUNT + 1,
    ) {
        // Centered coefficients: any number as large as can be, one within the fields, or the ends of the fields.
        let size = if wide { 99 } else { 49 };
        let end = fields.noise_bits + fields.bits * fields.count as u32;
        let coefficients: Vec<i128> = random.iter().enumerate().map(|(at, &(x, kind))| {
            let width = if at == spoiled { size } else { size.min(end - 2) };
            match kind {
                0 => x >> (i128::BITS - 1 - width),
                1 => (1 << width) - 1 - (x & 3),
                _ => -(1 << width) + (x & 3),
            }
        }).collect();
        let (mut expected, mut squares, mut overflow) = (Vec::new(), 0.0, false);
        let half = 1_i128 << (fields.noise_bits - 1);
        for x in &coefficients {
            let mut packed = (x + half) >> fields.noise_bits;
            squares += ((x - (packed << fields.noise_bits)) as f64).powi(2);
            for _ in 0..fields.count {
                let field = packed << (i128::BITS - fields.bits) >> (i128::BITS - fields.bits);
                expected.push(field as i64);
                packed = (packed - field) >> fields.bits;
            }
            overflow |= packed != 0;
        }
        let (low, high): (Vec<i64>, Vec<i64>) = coefficients.iter().map(|&x| parts(x, wide)).unzip();
        let mut values = vec![0; COUNT * fields.count];
        let seen = fields.split(&low, if wide { &high } else { &[] }, &mut values);
        prop_assert_eq!(values, expected);
        prop_assert_eq!(seen.overflow, overflow);
        prop_assert!((seen.squares - squares).abs() <= 1e-9 * squares);
    }
}
