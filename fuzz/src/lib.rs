//! What the fuzz targets share: a round's valid encodings, edits of them, and the bound on what an input may cost.

mod kinds;
pub mod wire;

use std::alloc::System;
use std::sync::LazyLock;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use secure_sum::{Committee, Dealing, EnvelopeProof, Layout, MaskSeed, OneTimeKey, SealingKey, Values};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

pub use kinds::KINDS;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What a decoder may allocate beyond a multiple of its input, errors included.
const SLACK_BYTES: usize = 4096;

/// Runs a decoder and panics when it allocated more than `factor` times `input` bytes and some slack.
pub fn bounded<T>(input: &[u8], factor: usize, decode: impl FnOnce(&[u8]) -> T) -> T {
    let region = Region::new(ALLOCATOR);
    let value = decode(input);
    let allocated = region.change().bytes_allocated;
    assert!(allocated <= factor * input.len() + SLACK_BYTES, "{allocated} bytes allocated for {}", input.len());
    value
}

/// One client of a small round in each parameter set.
pub struct Fixture {
    pub layout: Layout,
    pub committee: Committee,
    pub contribution: Vec<u8>,
    pub dealing: Dealing,
    pub receiver: SealingKey,
    /// The first share, sealed to `receiver` under the info `info` and the associated data `aad`.
    pub sealed: Vec<u8>,
    /// What `receiver` would show of it in a complaint.
    pub proof: Vec<u8>,
}

/// One chunk of set P50, then one of set P100.
pub static FIXTURES: LazyLock<[Fixture; 2]> = LazyLock::new(|| [Fixture::new(1_000), Fixture::new(1 << 45)]);

impl Fixture {
    fn new(clamp: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(14);
        let values = Values { count: 1_000, clamp, noise_deviation: 0.0 };
        let layout = Layout::derive(3, values).expect("a layout holds such values");
        let committee = Committee::new(4, 3).expect("three of four");
        let key = OneTimeKey::generate(&layout, &mut rng);
        let dealing = secure_sum::deal(&key, &layout, &committee, &mut rng).expect("the key is this layout's");
        let contribution = secure_sum::encrypt(&layout, &MaskSeed([1; 32]), key, &[5; 1_000], &mut rng)
            .expect("the values are within the clamp");
        let receiver = SealingKey::generate(&mut rng);
        let share = dealing.shares[0].to_bytes();
        let sealed =
            secure_sum::seal_with(&receiver.public(), b"info", b"aad", &share, &mut rng).expect("a usable key");
        let proof = EnvelopeProof::make(&receiver, b"info", b"aad", &sealed, &mut rng).to_bytes();
        Self { layout, committee, contribution, dealing, receiver, sealed, proof }
    }
}

/// The decoder's input: either the fuzzer's bytes themselves or a valid encoding with edits, so that what lies behind a
/// length check is reached as often as the check.
///
/// The first byte chooses; an edit is three bytes, a position (modulo the length) and what is XORed into it. A rest of
/// one byte cuts that many bytes off the end, a rest of two puts them there.
pub fn edited(valid: &[u8], input: &[u8]) -> Vec<u8> {
    let Some((choice, rest)) = input.split_first() else {
        return Vec::new();
    };
    if choice & 1 == 0 {
        return rest.to_vec();
    }
    let mut bytes = valid.to_vec();
    let (edits, rest) = rest.as_chunks::<3>();
    for [low, high, change] in edits {
        let at = usize::from(u16::from_le_bytes([*low, *high])) % bytes.len();
        bytes[at] ^= change;
    }
    match rest {
        [cut] => bytes.truncate(bytes.len().saturating_sub(usize::from(*cut))),
        more => bytes.extend_from_slice(more),
    }
    bytes
}

/// A house's signing request, always the same: its key is Ed25519 (RFC 8410), whose signatures are.
pub fn signing_request() -> Vec<u8> {
    const HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    let key = rcgen::KeyPair::try_from([&HEAD[..], &[7; 32]].concat().as_slice()).expect("a key");
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "north");
    params.serialize_request(&key).expect("a request").der().to_vec()
}

/// The first byte picks one of the fixtures; the rest is the input.
pub fn pick(input: &[u8]) -> Option<(&'static Fixture, &[u8])> {
    let (choice, rest) = input.split_first()?;
    Some((&FIXTURES[usize::from(choice & 1)], rest))
}
