//! A record's file: nothing but the one valid file holds, whatever is edited in it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use plainchant_fuzz::{bounded, edited};
use protocol::log::audit::audit;

/// A whole file, which `examples/seeds.rs` writes behind a first byte.
const SEED: &[u8] = include_bytes!("../corpus/record/bytes");

/// The charter in it becomes a tree of tables, a few hundred bytes for the shortest key.
const TOML_FACTOR: usize = 1024;

fuzz_target!(|input: &[u8]| {
    let valid = &SEED[1..];
    let file = edited(valid, input);
    if bounded(&file, TOML_FACTOR, audit).is_ok() {
        assert!(file == valid, "an edited record holds");
    }
});
