//! Layouts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plainchant_fuzz::{FIXTURES, bounded, edited};
use secure_sum::Layout;

fuzz_target!(|input: &[u8]| {
    let bytes = edited(&FIXTURES[0].layout.to_bytes(), input);
    if let Ok(layout) = bounded(&bytes, 0, Layout::from_bytes) {
        assert_eq!(layout.to_bytes(), bytes);
        assert!(layout.failure_log2() < -64.0);
        assert!(layout.chunk_count() * layout.chunk_bytes() == layout.contribution_bytes());
    }
});
