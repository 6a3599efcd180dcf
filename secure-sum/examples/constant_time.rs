//! Calls each step that touches secrets once for each of some fresh keys; the scripts of `secure-sum/scripts` count the
//! instructions of the `measured_` functions from outside.
//!
//! Everything public is the same for every key: layout, committee, mask seed, sizes. One thread does all the work, so
//! that nothing is counted but the work. The first key also pays for what a process builds once.

use std::error::Error;
use std::hint::black_box;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use secure_sum::{
    Commitments, Committee, Dealing, Envelope, EnvelopeProof, KeyShare, Layout, MaskSeed, OneTimeKey, SealingKey,
    SealingPublicKey, ShareSum, Values, deal, encrypt, seal_with, unseal,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    // One chunk of either set; 2^45 needs the wide one.
    let clamp = match arguments.next().as_deref() {
        Some("p50") => 1_000,
        Some("p100") => 1 << 45,
        _ => return Err(USAGE.into()),
    };
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global()?;
    let layout = Layout::derive(3, Values { count: VALUES, clamp, noise_deviation: 0.0 })?;
    let committee = Committee::new(4, 3)?;
    for seed in arguments {
        let seed = seed.parse().map_err(|_| USAGE)?;
        pass(&layout, &committee, &mut ChaCha20Rng::seed_from_u64(seed), seed)?;
    }
    Ok(())
}

const USAGE: &str = "constant_time p50|p100 SEED...";
const VALUES: usize = 1_500;

fn pass(layout: &Layout, committee: &Committee, rng: &mut ChaCha20Rng, seed: u64) -> Outcome<()> {
    // The values are secrets too.
    let values: Vec<i64> = (0..VALUES as i64).map(|i| (i * 7919 + 31 * seed as i64) % 2_001 - 1_000).collect();
    let key = measured_generate(layout, rng);
    let member = SealingKey::generate(rng);
    let dealing = measured_deal(&key, layout, committee, rng)?;
    let receiver = member.public();
    let sealed = measured_seal(&receiver, &dealing.shares[0].to_bytes(), rng)?;
    measured_public(&Envelope { receiver: &receiver, info: b"info", aad: b"aad", sealed: &sealed })?;
    black_box(measured_answer(layout, &member, &sealed, &dealing.commitments)?);
    black_box(measured_complain(&member, &sealed, rng));
    black_box(measured_encrypt(layout, key, &values, rng)?);
    Ok(())
}

/// A client draws its key.
#[inline(never)]
fn measured_generate(layout: &Layout, rng: &mut ChaCha20Rng) -> OneTimeKey {
    OneTimeKey::generate(black_box(layout), rng)
}

/// A client shares its key.
#[inline(never)]
fn measured_deal(key: &OneTimeKey, layout: &Layout, committee: &Committee, rng: &mut ChaCha20Rng) -> Outcome<Dealing> {
    Ok(deal(black_box(key), layout, committee, rng)?)
}

/// A client seals a share to one member.
#[inline(never)]
fn measured_seal(receiver: &SealingPublicKey, share: &[u8], rng: &mut ChaCha20Rng) -> Outcome<Vec<u8>> {
    Ok(seal_with(receiver, b"info", b"aad", black_box(share), rng)?)
}

/// What anybody checks of an envelope: the proof in it, in variable time over public data. It is a part of the answer and of a
/// complaint.
#[inline(never)]
fn measured_public(envelope: &Envelope) -> Outcome<()> {
    Ok(black_box(envelope).check()?)
}

/// A committee member's answer: it opens its share, checks it and adds it.
#[inline(never)]
fn measured_answer(layout: &Layout, key: &SealingKey, sealed: &[u8], commitments: &Commitments) -> Outcome<Vec<u8>> {
    let share = KeyShare::from_bytes(layout, &unseal(black_box(key), b"info", b"aad", sealed)?)?;
    share.check(commitments, 1)?;
    let mut sum = ShareSum::new(layout);
    sum.add(&share)?;
    Ok(sum.to_bytes().to_vec())
}

/// A member shows what is in an envelope.
#[inline(never)]
fn measured_complain(key: &SealingKey, sealed: &[u8], rng: &mut ChaCha20Rng) -> Vec<u8> {
    EnvelopeProof::make(black_box(key), b"info", b"aad", sealed, rng).to_bytes()
}

/// A client encrypts one chunk.
#[inline(never)]
fn measured_encrypt(layout: &Layout, key: OneTimeKey, values: &[i64], rng: &mut ChaCha20Rng) -> Outcome<Vec<u8>> {
    Ok(encrypt(layout, &MaskSeed([1; 32]), black_box(key), values, rng)?)
}
