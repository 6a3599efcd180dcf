//! Checksums, of bytes from a peer and over bytes from a peer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plainchant_fuzz::{bounded, edited, pick};
use secure_sum::{Accumulator, Challenge, Checksum, check_chunk};

fuzz_target!(|input: &[u8]| {
    let Some((fixture, rest)) = pick(input) else { return };
    let (layout, challenge) = (&fixture.layout, Challenge([3; 32]));
    let honest = Checksum::of(layout, &challenge, &fixture.contribution).expect("an honest body");
    let bytes = edited(&honest.to_bytes(), rest);
    if let Ok(checksum) = bounded(&bytes, 2, |bytes| Checksum::from_bytes(layout, bytes)) {
        assert_eq!(checksum.to_bytes(), bytes);
        let mut sum = Checksum::zero(layout);
        sum.add(&checksum).expect("the same set");
        assert_eq!(sum, checksum, "the sum of one is that one");
    }
    let body = edited(&fixture.contribution, rest);
    let of_body = Checksum::of(layout, &challenge, &body);
    assert_eq!(of_body.is_ok(), check_chunk(layout, &body).is_ok(), "a body of one chunk");
    if let Ok(of_body) = of_body {
        assert_eq!(of_body == honest, body == fixture.contribution, "another body has another checksum");
        let mut sum = Accumulator::new(layout);
        sum.add(&body).expect("a checked body");
        assert_eq!(Checksum::of_sum(layout, &challenge, &sum), Ok(of_body));
    }
});
