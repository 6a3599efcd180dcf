//! Chunks, contributions and the accumulator's encoding.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plainchant_fuzz::{bounded, edited, pick};
use secure_sum::{Accumulator, check_chunk};

fuzz_target!(|input: &[u8]| {
    let Some((fixture, rest)) = pick(input) else { return };
    let layout = &fixture.layout;
    let chunk = edited(&fixture.contribution, rest);
    let mut sum = Accumulator::new(layout);
    let empty = sum.to_bytes();
    // 50 bits become 8 bytes.
    match bounded(&chunk, 2, |chunk| check_chunk(layout, chunk)) {
        Ok(()) => {
            sum.add_chunk(0, &chunk).expect("a checked chunk is added");
            assert_eq!(sum.to_bytes()[1..], chunk, "the sum of one is that one");
        }
        Err(refused) => {
            assert_eq!(sum.add_chunk(0, &chunk), Err(refused));
            assert!(sum.add(&chunk).is_err());
            assert_eq!(sum.to_bytes(), empty, "a refused chunk leaves the sum alone");
        }
    }
    let bytes = edited(&[&[1], fixture.contribution.as_slice()].concat(), rest);
    if let Ok(sum) = bounded(&bytes, 4, |bytes| Accumulator::from_bytes(layout, bytes)) {
        assert_eq!(sum.to_bytes(), bytes);
    }
});
