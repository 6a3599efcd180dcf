//! Key shares and sums of shares.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plainchant_fuzz::{bounded, edited, pick};
use secure_sum::{KeyShare, ShareSum};

fuzz_target!(|input: &[u8]| {
    let Some((fixture, rest)) = pick(input) else { return };
    let layout = &fixture.layout;
    let bytes = edited(&fixture.dealing.shares[0].to_bytes(), rest);
    let share = bounded(&bytes, 2, |bytes| KeyShare::from_bytes(layout, bytes));
    let sum = bounded(&bytes, 2, |bytes| ShareSum::from_bytes(layout, bytes));
    assert_eq!(share.is_ok(), sum.is_ok(), "both have one encoding");
    let (Ok(share), Ok(sum)) = (share, sum) else { return };
    assert_eq!(share.to_bytes().as_slice(), bytes);
    assert_eq!(sum.to_bytes().as_slice(), bytes);
    let mut one = ShareSum::new(layout);
    one.add(&share).expect("a share of this layout");
    assert_eq!(one.to_bytes(), sum.to_bytes(), "the sum of one is that one");
    let honest = fixture.dealing.shares[0].to_bytes();
    let holds = share.check(&fixture.dealing.commitments, 1).is_ok();
    assert_eq!(holds, bytes == honest.as_slice(), "only the dealt share opens its commitment");
});
