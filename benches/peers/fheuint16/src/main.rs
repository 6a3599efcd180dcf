//! A peer for `benches/secure-sum`: the same sum with tfhe's `FheUint16`, which can compute anything, not only add.
//!
//! One ciphertext a value, default parameters. Sums are modulo 2^16, so they are compared modulo 2^16.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use tfhe::prelude::*;
use tfhe::safe_serialization::safe_serialize;
use tfhe::{ClientKey, CompressedFheUint16, ConfigBuilder, FheUint16, ServerKey, set_server_key};

const CLIENTS: usize = 10;
const REPEATS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let client_key = ClientKey::generate(ConfigBuilder::default().build());
    set_server_key(ServerKey::new(&client_key));
    let values: Vec<u16> = (1..=CLIENTS as u64).map(|i| (i * 0x9e37_79b9_7f4a_7c15 >> 48) as u16).collect();

    let compressed: Vec<_> = values.iter().map(|&v| CompressedFheUint16::encrypt(v, &client_key)).collect();
    let ciphertexts: Vec<FheUint16> = compressed.iter().map(CompressedFheUint16::decompress).collect();
    let plain = values.iter().fold(0_u16, |sum, &v| sum.wrapping_add(v));
    let mut total: FheUint16 = ciphertexts.iter().sum();
    if decrypt(&total, &client_key) != plain {
        return Err("the decrypted sum is not the sum of the inputs".into());
    }

    let encrypt_s = fastest(100, || drop(black_box(CompressedFheUint16::encrypt(values[0], &client_key))));
    let sum_s = fastest(REPEATS, || total = ciphertexts.iter().sum());
    let add_s = fastest(REPEATS, || drop(black_box(&ciphertexts[0] + &ciphertexts[1])));
    let open_s = fastest(100, || _ = black_box(decrypt(&total, &client_key)));
    let (mut small, mut large) = (Vec::new(), Vec::new());
    safe_serialize(&compressed[0], &mut small, 1 << 30)?;
    safe_serialize(&total, &mut large, 1 << 30)?;

    println!("row=tfhe FheUint16\nkind=fheuint16\nversion=tfhe 1.8.2");
    println!("encrypt_values_per_s={:.4}", 1.0 / encrypt_s);
    println!("add_values_per_s={:.4}", CLIENTS as f64 / sum_s);
    println!("open_values_per_s={:.4}", 1.0 / open_s);
    println!("bytes_per_value={}", small.len());
    println!("single_add_values_per_s={:.4}", 1.0 / add_s);
    println!("sum_bytes_per_value={}", large.len());
    Ok(())
}

fn decrypt(ciphertext: &FheUint16, key: &ClientKey) -> u16 {
    ciphertext.decrypt(key)
}

/// Seconds of the fastest of several repetitions.
fn fastest(repeats: usize, mut step: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..repeats {
        let start = Instant::now();
        step();
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}
