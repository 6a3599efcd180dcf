//! Messages of the wire contract, by the first byte, and their conversions.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plainchant_fuzz::wire::KINDS;

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    if let Some((_, decode)) = KINDS.get(usize::from(*kind)) {
        decode(bytes);
    }
});
