//! A table of hand-made corrupt inputs for every decoder of the crate: each is refused with the error that the table
//! names, and none makes a decoder allocate much more than its input.
//!
//! One test alone in its process, since the allocator's counters are the process's.

#![expect(clippy::unwrap_used, reason = "tests")]

mod bodies;
mod checksums;
mod envelopes;
mod layouts;
mod proofs;
mod shares;

use std::alloc::System;
use std::cell::RefCell;
use std::error::Error;
use std::fmt::Display;

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use secure_sum::{
    Accumulator, Commitments, Committee, Dealing, EncodingError, Layout, MaskSeed, OneTimeKey, Values, deal, encrypt,
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What a decoder may allocate beyond twice its input (a residue of 50 bits becomes 8 bytes), errors included.
const SLACK_BYTES: usize = 8192;

/// One row: a decoder, an input, and what it must say of it.
struct Case {
    name: &'static str,
    input: Vec<u8>,
    expected: String,
    decode: Decoder,
}

type Decoder = fn(&Fixture, &[u8]) -> Result<(), Box<dyn Error>>;

/// A round of three clients in set P50, and one with wider values in set P100.
struct Fixture {
    layout: Layout,
    wide: Layout,
    committee: Committee,
    contribution: Vec<u8>,
    wide_contribution: Vec<u8>,
    dealing: Dealing,
    wide_dealing: Dealing,
    /// Of the smallest layout, which has one chunk.
    sum: RefCell<Accumulator>,
}

#[test]
fn every_corrupt_input_is_refused_by_its_rule_before_it_costs_memory() {
    let fixture = Fixture::new();
    let mut cases = layouts::cases(&fixture);
    cases.extend(bodies::cases(&fixture));
    cases.extend(shares::cases(&fixture));
    cases.extend(checksums::cases(&fixture));
    cases.extend(envelopes::cases());
    cases.extend(proofs::cases());
    assert!(cases.len() >= 40);
    let mut wrong = Vec::new();
    for case in &cases {
        let region = Region::new(ALLOCATOR);
        let refused = (case.decode)(&fixture, &case.input);
        let allocated = region.change().bytes_allocated;
        let found = refused.err().map_or("accepted".to_owned(), |error| error.to_string());
        if found != case.expected {
            wrong.push(format!("{}: `{found}` instead of `{}`", case.name, case.expected));
        }
        if allocated > 2 * case.input.len() + SLACK_BYTES {
            wrong.push(format!("{}: {allocated} bytes allocated for {} of input", case.name, case.input.len()));
        }
    }
    println!("{} corrupt inputs", cases.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

impl Fixture {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(16);
        let committee = Committee::new(4, 3).unwrap();
        let narrow = Values { count: 15_000, clamp: 1_000, noise_deviation: 0.0 };
        let [layout, wide] = [narrow, Values { count: 8_000, clamp: 1 << 45, ..narrow }]
            .map(|values| Layout::derive(3, values).unwrap());
        let mut client = |layout: &Layout| {
            let key = OneTimeKey::generate(layout, &mut rng);
            let dealing = deal(&key, layout, &committee, &mut rng).unwrap();
            let values = vec![5; layout.values().count];
            (encrypt(layout, &MaskSeed([1; 32]), key, &values, &mut rng).unwrap(), dealing)
        };
        let ((contribution, dealing), (wide_contribution, wide_dealing)) = (client(&layout), client(&wide));
        // Generators and transforms are built once a process, not for an input.
        let zero = Commitments::zero(&layout, &committee);
        let _ = dealing.shares[0].check(&zero, 1);
        let smallest = Layout::derive(3, Values { count: 1, clamp: 1, noise_deviation: 0.0 }).unwrap();
        let sum = RefCell::new(Accumulator::new(&smallest));
        Self { layout, wide, committee, contribution, wide_contribution, dealing, wide_dealing, sum }
    }
}

fn case(name: &'static str, decode: Decoder, input: impl Into<Vec<u8>>, expected: impl Display) -> Case {
    Case { name, input: input.into(), expected: expected.to_string(), decode }
}

fn length(what: &'static str, expected: usize, found: usize) -> EncodingError {
    EncodingError::Length { what, expected, found }
}

fn version(what: &'static str, found: u8) -> EncodingError {
    EncodingError::Version { what, found }
}

fn element(what: &'static str, position: usize) -> EncodingError {
    EncodingError::Element { what, position }
}

fn geometry(what: &'static str) -> EncodingError {
    EncodingError::Geometry { what }
}

/// `bytes` with those from `at` on replaced.
fn with(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

/// `bytes` and more behind them.
fn longer(bytes: &[u8], more: &[u8]) -> Vec<u8> {
    [bytes, more].concat()
}
