//! Clipping's exact bound, for any input.
#![expect(clippy::unwrap_used, reason = "tests")]

use privacy::{Clip, ClipError, UnitGradient, clamp};
use proptest::{collection::vec, prelude::*};

fn squares(values: &[i64]) -> u128 {
    values.iter().map(|value| u128::from(value.unsigned_abs()).pow(2)).sum()
}

/// Every finite f32: denormals, zeros of both signs, the largest.
fn any_finite() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |value| value.is_finite())
}

/// Vectors of wildly mixed magnitudes, and of like ones (where most coordinates survive truncation).
fn gradient() -> impl Strategy<Value = Vec<f32>> {
    prop_oneof![vec(any_finite(), 1..40), vec(-2.0f32..2.0, 1..40), vec(-1e-40f32..1e-40, 1..40)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_norm_bound_holds_exactly(
        gradient in gradient(), norm in 1e-6f64..1e6, integer_norm in prop_oneof![1u64..1 << 20, 1u64..1 << 40],
    ) {
        let clip = Clip::new(norm, integer_norm).unwrap();
        let mut sums = vec![0; gradient.len()];
        let clipped = clip.add_clipped(&gradient, &mut sums).unwrap();
        prop_assert!(squares(&sums) <= u128::from(integer_norm).pow(2));
        if clipped.zeroed {
            prop_assert!(integer_norm > 1 << 23, "rounding alone zeroed an example at {integer_norm}");
            prop_assert!(sums.iter().all(|sum| *sum == 0));
        }
    }

    #[test]
    fn in_parts_the_bound_of_the_whole_holds_exactly_and_each_part_is_what_it_would_be_alone(
        parts in vec(vec(any_finite(), 1..9), 1..6), norm in 1e-6f64..1e6, integer_norm in 100u64..1 << 24,
    ) {
        let ends: Vec<usize> = parts.iter().scan(0, |end, part| { *end += part.len(); Some(*end) }).collect();
        let whole: Vec<f32> = parts.concat();
        let clip = Clip::new(norm, integer_norm).unwrap().in_parts(ends).unwrap();
        let mut sums = vec![0; whole.len()];
        let clipped = clip.add_clipped(&whole, &mut sums).unwrap();
        prop_assert!(squares(&sums) <= u128::from(integer_norm).pow(2));
        // The largest part norm whose squares, that often, fit into the whole.
        let bound = (0..=integer_norm).rev().find(|b| u128::from(*b).pow(2) * parts.len() as u128 <= u128::from(integer_norm).pow(2));
        let bound = bound.unwrap();
        let alone = Clip::new(bound as f64 * (norm / integer_norm as f64), bound).unwrap();
        let mut found = sums.as_slice();
        for part in &parts {
            let mut own = vec![0; part.len()];
            alone.add_clipped(part, &mut own).unwrap();
            let (head, rest) = found.split_at(part.len());
            // The same but for the last bit of the factor before truncation.
            prop_assert!(clipped.zeroed || head.iter().zip(&own).all(|(a, b)| a.abs_diff(*b) <= 1));
            found = rest;
        }
    }

    #[test]
    fn truncation_never_increases_a_magnitude_nor_turns_a_sign(gradient in gradient(), integer_norm in 1u64..1 << 20) {
        let clip = Clip::new(1.0, integer_norm).unwrap();
        let mut sums = vec![0; gradient.len()];
        clip.add_clipped(&gradient, &mut sums).unwrap();
        let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        for (g, sum) in gradient.iter().zip(&sums) {
            let exact = f64::from(*g) / norm.max(1.0) * integer_norm as f64;
            prop_assert!(sum.unsigned_abs() as f64 <= exact.abs() * (1.0 + 1e-12));
            prop_assert!(exact.abs() * (1.0 - 1e-12) - 1.0 < sum.unsigned_abs() as f64);
            prop_assert!(*sum == 0 || (*sum > 0) == (*g > 0.0));
        }
    }

    #[test]
    fn contributions_add_up_whatever_is_in_the_sums(a in vec(any_finite(), 7), b in vec(-3.0f32..3.0, 7)) {
        let clip = Clip::new(0.5, 30_000).unwrap();
        let alone = |gradient: &[f32]| {
            let mut sums = [0; 7];
            clip.add_clipped(gradient, &mut sums).unwrap();
            sums
        };
        let mut together = [0; 7];
        clip.add_clipped(&a, &mut together).unwrap();
        clip.add_clipped(&b, &mut together).unwrap();
        let (a, b) = (alone(&a), alone(&b));
        prop_assert!((0..7).all(|i| together[i] == a[i] + b[i]));
    }

    #[test]
    fn a_unit_of_many_rows_moves_the_sums_by_one_norm(rows in vec(vec(any_finite(), 5), 1..9)) {
        let clip = Clip::new(1.0, 1 << 15).unwrap();
        let mut unit = UnitGradient::new(5);
        for row in &rows {
            unit.add_row(row).unwrap();
        }
        let mut sums = [0; 5];
        clip.add_clipped_unit(&unit, &mut sums).unwrap();
        prop_assert!(squares(&sums) <= 1 << 30);
        // In the order in which another batch's micro-batches might finish.
        unit.clear();
        for row in rows.iter().rev() {
            unit.add_row(row).unwrap();
        }
        let mut reversed = [0; 5];
        clip.add_clipped_unit(&unit, &mut reversed).unwrap();
        prop_assert_eq!(sums, reversed);
    }

    #[test]
    fn a_unit_of_one_row_is_that_row(row in vec(-8.0f32..8.0, 5)) {
        let clip = Clip::new(1.0, 1 << 15).unwrap();
        let mut unit = UnitGradient::new(5);
        unit.add_row(&row).unwrap();
        let (mut sums, mut single) = ([0; 5], [0; 5]);
        let clipped = clip.add_clipped_unit(&unit, &mut sums).unwrap();
        prop_assert_eq!(clipped, clip.add_clipped(&row, &mut single).unwrap());
        prop_assert_eq!(single, sums);
    }

    #[test]
    fn clamping_bounds_and_keeps_what_is_inside(values in vec(any::<i64>(), 0..20), bound in any::<u64>()) {
        let mut clamped = values.clone();
        clamp(&mut clamped, bound);
        for (before, after) in values.iter().zip(&clamped) {
            prop_assert!(after.unsigned_abs() <= bound);
            prop_assert!(before == after || before.unsigned_abs() > bound || bound > i64::MAX as u64);
        }
    }
}

/// 2^30 + 2^-40 - 2^30 is 0 or 2^-40 in floating point, by the order. The integers of a unit must not tell in which order
/// its rows came, since that depends on the rest of the batch.
#[test]
fn the_order_of_a_units_rows_does_not_matter() {
    let clip = Clip::new(2f64.powi(-30), 1 << 20).unwrap();
    let values = [2f32.powi(30), 2f32.powi(-40), -2f32.powi(30)];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut unit = UnitGradient::new(1);
        for i in order {
            unit.add_row(&values[i..=i]).unwrap();
        }
        let mut sums = [0];
        clip.add_clipped_unit(&unit, &mut sums).unwrap();
        assert_eq!(sums, [341], "{order:?}"); // 2^-40 / 3 in units of 2^-50
    }
}

#[test]
fn a_units_gradient_is_not_printed() {
    let mut unit = UnitGradient::new(2);
    unit.add_row(&[0.625, 0.625]).unwrap();
    assert_eq!(format!("{unit:?}"), "UnitGradient { width: 2, .. }");
}

#[test]
fn a_worked_example() {
    let clip = Clip::new(2.0, 10).unwrap();
    let mut sums = [1, 1, 1];
    let inside = clip.add_clipped(&[0.5, -0.3, 0.0], &mut sums).unwrap(); // times 5: 2.5, -1.5
    assert_eq!((sums, inside.shrunk, inside.zeroed), ([3, 0, 1], false, false));
    let outside = clip.add_clipped(&[30.0, 0.0, -40.0], &mut sums).unwrap(); // to norm 10: 6, 0, -8
    assert_eq!((sums, outside.shrunk, outside.norm), ([9, 0, -7], true, 50.0));
    assert_eq!(clip.unit(), 0.2);
}

#[test]
fn the_largest_and_the_smallest_numbers_keep_their_bound() {
    let clip = Clip::new(1.0, 1 << 20).unwrap();
    for value in [f32::MAX, f32::MIN, f32::MIN_POSITIVE, f32::from_bits(1)] {
        let mut sums = vec![0; 1000];
        let clipped = clip.add_clipped(&vec![value; 1000], &mut sums).unwrap();
        assert!(!clipped.zeroed && squares(&sums) <= 1 << 40);
        assert_eq!(sums[0] != 0, value.abs() > 1.0, "large ones survive, tiny ones truncate to zero");
    }
}

#[test]
fn what_cannot_be_added_is_refused_and_changes_nothing() {
    let clip = Clip::new(1.0, 1000).unwrap();
    let mut sums = [5, i64::MAX];
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(clip.add_clipped(&[0.1, bad], &mut sums), Err(ClipError::NotFinite { coordinate: 1 }));
    }
    assert_eq!(clip.add_clipped(&[0.1, 0.1], &mut sums), Err(ClipError::Overflow { coordinate: 1 }));
    assert_eq!(clip.add_clipped(&[0.1], &mut sums), Err(ClipError::Width { gradient: 1, sums: 2 }));
    assert_eq!(sums, [5, i64::MAX]);

    let mut unit = UnitGradient::new(2);
    assert_eq!(clip.add_clipped_unit(&unit, &mut sums), Err(ClipError::NoRows));
    assert_eq!(unit.add_row(&[f32::NAN, 0.0]), Err(ClipError::NotFinite { coordinate: 0 }));
    assert_eq!(unit.add_row(&[0.0; 3]), Err(ClipError::Width { gradient: 3, sums: 2 }));
    assert_eq!(unit.rows(), 0);

    for norm in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::from_bits(1)] {
        assert!(matches!(Clip::new(norm, 1000), Err(ClipError::Norm(_))));
    }
    for integer_norm in [0, (1 << 40) + 1, u64::MAX] {
        assert_eq!(Clip::new(1.0, integer_norm), Err(ClipError::IntegerNorm(integer_norm)));
    }
}

#[test]
fn parts_that_do_not_follow_each_other_or_that_nothing_is_left_for_are_refused() {
    let clip = |norm| Clip::new(1.0, norm).unwrap();
    for (norm, ends) in [(100, vec![]), (100, vec![0]), (100, vec![3, 3]), (100, vec![3, 2]), (1, vec![1, 2])] {
        assert!(
            matches!(clip(norm).in_parts(ends.clone()), Err(ClipError::Parts { parts, .. }) if parts == ends.len()),
            "{ends:?}"
        );
    }
    let mut sums = [0; 3];
    let refused = clip(100).in_parts(vec![1, 2]).unwrap().add_clipped(&[1.0; 3], &mut sums);
    assert_eq!(refused, Err(ClipError::Width { gradient: 3, sums: 2 }));
}
