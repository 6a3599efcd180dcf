//! Every message of the protocol, by the first byte, alone and signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plainchant_fuzz::KINDS;

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    if let Some((_, decode)) = KINDS.get(usize::from(*kind)) {
        decode(bytes);
    }
});
