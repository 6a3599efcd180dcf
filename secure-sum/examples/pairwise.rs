//! A peer for `benches/secure-sum`: secure aggregation by pairwise masks, its symmetric part only.
//!
//! Bonawitz et al. 2017 with the neighbours of Bell et al. 2020: a client adds to its 32-bit values a mask of its
//! own and one for each neighbour, of opposite sign at the two ends, each expanded by AES-128-CTR. The aggregator
//! adds up, takes away the own masks of all who came, and the neighbours' masks of who did not. Key agreement and
//! secret shares of the seeds, which do not grow with the values, are left out, to the peer's favour.

mod bench;

use std::convert::Infallible;
use std::error::Error;
use std::hint::black_box;

use aes::Aes128;
use aes::cipher::{KeyIvInit, StreamCipher};
use bench::fastest;
use sha2::{Digest, Sha256};

/// Values a vector; 512 KiB, so that a client's vector stays in its core's cache as a chunk of ours does.
const COUNT: usize = 1 << 17;

/// Values between -CLAMP and CLAMP.
const CLAMP: u64 = 32_767;

/// Values that are masked in one go, 16 KiB of key stream.
const BLOCK: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    // Everybody is everybody's neighbour, so 101 clients are the fewest with 100 neighbours.
    measure("100 neighbours, 101 clients", 101)?;
    measure("9 neighbours, 10 clients", 10)
}

fn measure(name: &str, clients: usize) -> Result<(), Box<dyn Error>> {
    let inputs: Vec<_> = (0..clients).map(|client| bench::values(client, COUNT, CLAMP)).collect();
    let masked: Vec<_> = inputs.iter().enumerate().map(|(client, values)| mask(client, clients, values)).collect();
    check(&masked, &inputs)?;

    let encrypt_s = seconds(|| drop(black_box(mask(1, clients, &inputs[1]))));
    let mut sum = vec![0; COUNT];
    let add_s = seconds(|| masked.iter().for_each(|vector| add(&mut sum, vector)));
    let open_s = seconds(|| unmask_present(black_box(&mut sum), 0..clients));
    let dropout_s = seconds(|| unmask_absent(black_box(&mut sum), 0, clients));

    let count = COUNT as f64;
    println!("row=pairwise masks, {name}\nkind=pairwise");
    println!("neighbours={}\nclients={clients}", clients - 1);
    println!("encrypt_values_per_s={:.0}", count / encrypt_s);
    println!("add_values_per_s={:.0}", count * clients as f64 / add_s);
    println!("open_values_per_s={:.0}", count / open_s);
    println!("dropout_values_per_s={:.0}", count / dropout_s);
    println!("bytes_per_value=4");
    let bits = u64::BITS - (clients as u64 * 2 * CLAMP).leading_zeros();
    println!("packed_bytes_per_value={}", f64::from(bits) / 8.0);
    Ok(())
}

/// Seconds of the fastest repetition of what can not fail.
fn seconds(mut step: impl FnMut()) -> f64 {
    let sure = || {
        step();
        Ok::<_, Infallible>(())
    };
    match fastest(sure) {
        Ok(seconds) => seconds,
        Err(never) => match never {},
    }
}

/// The whole sum, and the sum without client 0, who vanished after the others had masked towards it.
fn check(masked: &[Vec<u32>], inputs: &[Vec<i64>]) -> Result<(), Box<dyn Error>> {
    for absent in [0, 1] {
        let mut sum = vec![0; COUNT];
        masked[absent..].iter().for_each(|vector| add(&mut sum, vector));
        unmask_present(&mut sum, absent..masked.len());
        (0..absent).for_each(|client| unmask_absent(&mut sum, client, masked.len()));
        let expected = |at: usize| inputs[absent..].iter().map(|values| values[at]).sum::<i64>();
        if (0..COUNT).any(|at| i64::from(sum[at] as i32) != expected(at)) {
            return Err("the unmasked sum is not the sum of the inputs".into());
        }
    }
    Ok(())
}

/// What a client sends: its values, its own mask, and a mask for each other client.
fn mask(client: usize, clients: usize, values: &[i64]) -> Vec<u32> {
    let mut vector: Vec<u32> = values.iter().map(|&value| value as u32).collect();
    apply(&mut vector, stream(client, client), true);
    for other in (0..clients).filter(|&other| other != client) {
        apply(&mut vector, stream(client, other), client < other);
    }
    vector
}

/// Takes away the own masks of the clients that came.
fn unmask_present(sum: &mut [u32], present: std::ops::Range<usize>) {
    present.for_each(|client| apply(sum, stream(client, client), false));
}

/// Takes away what the others masked towards a client that did not come.
fn unmask_absent(sum: &mut [u32], absent: usize, clients: usize) {
    for other in (0..clients).filter(|&other| other != absent) {
        apply(sum, stream(absent, other), absent < other);
    }
}

type Stream = ctr::Ctr128BE<Aes128>;

/// The key stream that two clients share; both ends derive it from a seed that they agreed on.
fn stream(one: usize, other: usize) -> Stream {
    let pair = [one.min(other) as u64, one.max(other) as u64];
    let digest = Sha256::new().chain_update(pair[0].to_le_bytes()).chain_update(pair[1].to_le_bytes()).finalize();
    let (mut key, mut counter) = ([0; 16], [0; 16]);
    key.copy_from_slice(&digest[..16]);
    counter.copy_from_slice(&digest[16..]);
    Stream::new(&key.into(), &counter.into())
}

/// Adds the expanded mask, or takes it away.
fn apply(vector: &mut [u32], mut stream: Stream, is_plus: bool) {
    let mut bytes = [0; 4 * BLOCK];
    for part in vector.chunks_mut(BLOCK) {
        bytes.fill(0);
        stream.apply_keystream(&mut bytes);
        pulp::Arch::new().dispatch(
            #[inline(always)]
            || {
                for (value, word) in part.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    let word = u32::from_le_bytes(*word);
                    *value = value.wrapping_add(if is_plus { word } else { word.wrapping_neg() });
                }
            },
        );
    }
}

fn add(sum: &mut [u32], vector: &[u32]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum = sum.wrapping_add(*value)),
    );
}
