//! Commitments of one dealing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plainchant_fuzz::{bounded, edited, pick};
use secure_sum::Commitments;

fuzz_target!(|input: &[u8]| {
    let Some((fixture, rest)) = pick(input) else { return };
    let (layout, committee) = (&fixture.layout, &fixture.committee);
    let honest = fixture.dealing.commitments.to_bytes();
    let bytes = edited(&honest, rest);
    // 32 bytes become four field elements of 40.
    let decoded = bounded(&bytes, 6, |bytes| Commitments::from_bytes(layout, committee, bytes));
    let Ok(commitments) = decoded else { return };
    assert_eq!(commitments.to_bytes(), bytes);
    let mut sum = Commitments::zero(layout, committee);
    sum.add(&commitments).expect("the same layout and committee");
    assert_eq!(sum, commitments, "the sum of one is that one");
    let _ = commitments.check_degree(committee);
});
