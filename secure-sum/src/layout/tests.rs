//! Which layouts are derived, and how often they fail.

#![expect(clippy::unwrap_used, reason = "tests")]
use super::*;
use proptest::prelude::*;

fn values(count: usize, clamp: u64, noise_deviation: f64) -> Values {
    Values { count, clamp, noise_deviation }
}

#[test]
fn sixteen_bit_values_of_ten_clients_take_3_13_bytes_with_p50() {
    let layout = Layout::derive(10, values(1 << 20, 32_767, 0.0)).unwrap();
    assert_eq!(layout.set(), ParameterSet::P50);
    assert_eq!(layout.fields_per_coefficient(), 2);
    assert!(layout.contribution_bytes() as f64 / f64::from(1 << 20) <= 3.13);
}

#[test]
fn eight_bit_values_of_ten_clients_take_1_79_bytes_with_p100() {
    let layout = Layout::derive(10, values(28 << 15, 127, 0.0)).unwrap();
    assert_eq!(layout.set(), ParameterSet::P100);
    assert_eq!(layout.fields_per_coefficient(), 7);
    assert!(layout.contribution_bytes() as f64 / f64::from(28 << 15) <= 1.79);
}

#[test]
fn every_layout_fails_less_often_than_two_to_the_minus_64() {
    for cohort in [3, 4, 10, 100, 1_000, 10_000] {
        for (count, clamp) in [(1, 1), (50_000, 255), (1 << 20, 32_767), (1 << 33, 1 << 40)] {
            for deviation in [0.0, 4.0, 3_000.5] {
                let layout = Layout::derive(cohort, values(count, clamp, deviation)).unwrap();
                assert!(layout.failure_log2() < -64.0, "{layout:?}");
                assert!((18..=31).contains(&layout.digits_per_scalar()));
                let bytes = layout.to_bytes();
                assert_eq!(Layout::from_bytes(&bytes).unwrap(), layout);
            }
        }
    }
}

#[test]
fn arguments_out_of_range_are_named() {
    let ok = values(10, 10, 1.0);
    assert_eq!(Layout::derive(2, ok), Err(LayoutError::Cohort { found: 2 }));
    assert_eq!(Layout::derive(10_001, ok), Err(LayoutError::Cohort { found: 10_001 }));
    assert_eq!(Layout::derive(3, values(0, 10, 1.0)), Err(LayoutError::Count { found: 0 }));
    assert_eq!(Layout::derive(3, values(1, 0, 1.0)), Err(LayoutError::Clamp));
    assert!(matches!(Layout::derive(3, values(1, 1, f64::NAN)), Err(LayoutError::NoiseDeviation { .. })));
    assert!(matches!(Layout::derive(10, values(1, 1 << 62, 0.0)), Err(LayoutError::TooWide { .. })));
}

#[test]
fn a_layout_that_another_program_derived_differently_is_refused() {
    let bytes = Layout::derive(10, values(100, 1_000, 40.0)).unwrap().to_bytes();
    for position in BYTES - 4..BYTES {
        let mut other = bytes.clone();
        other[position] ^= 1;
        assert!(matches!(Layout::from_bytes(&other), Err(LayoutError::Encoding(EncodingError::Geometry { .. }))));
    }
    assert!(matches!(Layout::from_bytes(&bytes[1..]), Err(LayoutError::Encoding(EncodingError::Length { .. }))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The bounds again, from the numbers that a layout shows, in the plain form of the module's head.
    #[test]
    fn any_cohort_and_width_fails_less_often_than_two_to_the_minus_64(
        cohort in Layout::COHORT_MIN..=Layout::COHORT_MAX,
        bits in 2..36_u32,
        count in 1..1_usize << 30,
        deviation in prop_oneof![Just(0.0), 0.5..1e6],
    ) {
        let clamp = (1 << (bits - 1)) - 1;
        let layout = Layout::derive(cohort, values(count, clamp, deviation)).unwrap();
        prop_assert!(layout.failure_log2() < -64.0);
        let degree = layout.set().ring_degree() as f64;
        let errors = 6.4 * (cohort as f64).sqrt();
        let tail = |events: f64, threshold: f64, deviation: f64| {
            2.0 * events * (-threshold.powi(2) / (2.0 * deviation.powi(2))).exp()
        };
        let noise_tail = (layout.value_limit() - clamp) as f64;
        let failure = tail(degree * layout.chunk_count() as f64, 2_f64.powi(layout.noise_bits() as i32 - 1), errors)
            + if deviation > 0.0 { tail(count as f64, noise_tail, deviation) } else { 0.0 }
            + tail(degree, 2_f64.powi(layout.digit_bits() as i32 - 1), errors);
        prop_assert!(failure < 2_f64.powi(-64), "{layout:?}: {failure:e}");
        // The largest sum fits its field, the fields and the errors fit the coefficient, the values fit the chunks.
        prop_assert!(2 * layout.sum_limit(cohort) < 1 << layout.field_bits());
        let fields = layout.fields_per_coefficient();
        let width = fields as u32 * layout.field_bits() + layout.noise_bits();
        prop_assert!(width <= layout.set().bits_per_coefficient());
        prop_assert!(layout.chunk_count() * layout.values_per_chunk() >= count);
        prop_assert_eq!(Layout::from_bytes(&layout.to_bytes()), Ok(layout));
    }
}
