//! tfhe as the oracle: our chunks are tfhe's GLWE ciphertexts of dimension 1 under a prime modulus.

#![expect(clippy::expect_used, reason = "tests")]

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use tfhe::core_crypto::commons::generators::DeterministicSeeder;
use tfhe::core_crypto::commons::math::random::Seed;
use tfhe::core_crypto::prelude::*;

use crate::encrypt::encrypt_under;
use crate::layout::{Layout, Values};
use crate::mask::MaskSeed;
use crate::open;
use crate::params::ParameterSet;
use crate::ring::{self, Residue};
use crate::{Accumulator, OneTimeKey, gauss, glwe};

const MASK_SEED: MaskSeed = MaskSeed([9; 32]);

fn layout(set: ParameterSet) -> Layout {
    let (count, clamp) = match set {
        ParameterSet::P50 => (2 * 2048, 32_767),
        ParameterSet::P100 => (7 * 4096, 127),
    };
    let layout = Layout::derive(10, Values { count, clamp, noise_deviation: 0.0 });
    let layout = layout.expect("fits");
    assert_eq!((layout.set(), layout.chunk_count()), (set, 1));
    layout
}

fn random_values(layout: &Layout, rng: &mut ChaCha20Rng) -> Vec<i64> {
    let clamp = layout.values().clamp as i64;
    (0..layout.values().count).map(|_| rng.random_range(-clamp..=clamp)).collect()
}

/// The message polynomial by its definition: field j of a coefficient times 2^(noise bits + j field bits).
fn messages(layout: &Layout, values: &[i64]) -> Vec<i128> {
    values
        .chunks(layout.fields_per_coefficient())
        .map(|fields| {
            let field =
                |(j, &f): (usize, &i64)| i128::from(f) << (layout.noise_bits() + j as u32 * layout.field_bits());
            fields.iter().enumerate().map(field).sum()
        })
        .collect()
}

/// What tfhe decrypts from our body and mask modulo one prime, less the message: centered errors.
fn errors_by_tfhe(layout: &Layout, sum: &Accumulator, key: &[i32], message: &[i128]) -> Vec<i64> {
    let set = layout.set();
    let mut errors = Vec::new();
    for (prime, residue) in ring::ring(set).residues.iter().enumerate() {
        let ciphertext = glwe::ciphertext(layout, &MASK_SEED, sum, 0, prime).expect("chunk 0");
        let mut plaintext = PlaintextList::new(0, PlaintextCount(set.ring_degree()));
        decrypt_glwe_ciphertext(&glwe::secret_key_of(key, residue), &ciphertext, &mut plaintext);
        let q = i128::from(residue.q);
        errors.extend(plaintext.iter().zip(message).map(|(p, m)| {
            let error = (i128::from(*p.0) - m).rem_euclid(q);
            (if error > q / 2 { error - q } else { error }) as i64
        }));
    }
    errors
}

#[test]
fn tfhe_decrypts_a_contribution_of_ours() {
    for set in ParameterSet::ALL {
        let (layout, mut rng) = (layout(set), ChaCha20Rng::seed_from_u64(11));
        let key = OneTimeKey::generate(&layout, &mut rng);
        let values = random_values(&layout, &mut rng);
        let mut sum = Accumulator::new(&layout);
        let bytes = encrypt_under(&layout, &MASK_SEED, &key, &values, &mut rng).expect("in range");
        sum.add(&bytes).expect("well formed");
        let message = messages(&layout, &values);
        let errors = errors_by_tfhe(&layout, &sum, key.coefficients(), &message);
        assert!(errors.iter().all(|e| e.abs() <= i64::from(gauss::LARGEST)), "{set}");
        let variance = errors.iter().map(|e| (e * e) as f64).sum::<f64>() / errors.len() as f64;
        assert!((30.0..52.0).contains(&variance), "{set}: {variance}");
    }
}

#[test]
fn tfhe_decrypts_a_sum_of_ours_under_the_summed_key() {
    for set in ParameterSet::ALL {
        let (layout, mut rng) = (layout(set), ChaCha20Rng::seed_from_u64(12));
        let mut sum = Accumulator::new(&layout);
        let mut key_sum = vec![0; set.ring_degree()];
        let mut value_sum = vec![0; layout.values().count];
        for _ in 0..10 {
            let key = OneTimeKey::generate(&layout, &mut rng);
            let values = random_values(&layout, &mut rng);
            let bytes = encrypt_under(&layout, &MASK_SEED, &key, &values, &mut rng).expect("in range");
            sum.add(&bytes).expect("well formed");
            key_sum.iter_mut().zip(key.coefficients()).for_each(|(s, c)| *s += c);
            value_sum.iter_mut().zip(&values).for_each(|(s, v)| *s += v);
        }
        let message = messages(&layout, &value_sum);
        let errors = errors_by_tfhe(&layout, &sum, &key_sum, &message);
        let variance = errors.iter().map(|e| (e * e) as f64).sum::<f64>() / errors.len() as f64;
        assert!((300.0..520.0).contains(&variance), "{set}: {variance}");
        let (opened, measured) = open::open_coefficients(&layout, &MASK_SEED, &sum, &key_sum, 10).expect("opens");
        assert_eq!(opened, value_sum, "{set}");
        assert!((measured / variance - 1.0).abs() < 1e-12, "{set}: {measured}, by tfhe {variance}");
    }
}

/// A ciphertext by tfhe's own encryption modulo one prime: mask (from a seed, so that all have one) and body.
fn encrypt_by_tfhe(key: &[i32], residue: &Residue, message: &[i128], noise_seed: u128) -> [Vec<u64>; 2] {
    let (degree, q) = (PolynomialSize(key.len()), residue.q);
    let mut seeder = DeterministicSeeder::<DefaultRandomGenerator>::new(Seed(noise_seed));
    let mut generator = EncryptionRandomGenerator::<DefaultRandomGenerator>::new(Seed(77), &mut seeder);
    let plaintext = message.iter().map(|m| m.rem_euclid(i128::from(q)) as u64);
    let plaintext = PlaintextList::from_container(plaintext.collect::<Vec<_>>());
    let mut ciphertext = GlweCiphertext::new(0, GlweSize(2), degree, glwe::modulus(q).expect("50 bits"));
    encrypt_glwe_ciphertext(
        &glwe::secret_key_of(key, residue),
        &mut ciphertext,
        &plaintext,
        Gaussian::from_dispersion_parameter(StandardDev(6.4 / q as f64), 0.0),
        &mut generator,
    );
    let (mask, body) = ciphertext.get_mask_and_body();
    [mask.as_ref().to_vec(), body.as_ref().to_vec()]
}

#[test]
fn we_open_ciphertexts_and_their_sum_by_tfhe() {
    let (layout, mut rng) = (layout(ParameterSet::P50), ChaCha20Rng::seed_from_u64(13));
    let residue = &ring::ring(ParameterSet::P50).residues[0];
    let mut key_sum = vec![0; 2048];
    let mut value_sum = vec![0; layout.values().count];
    let mut body_sum = vec![0; 2048];
    for client in 1..=3 {
        let key = OneTimeKey::generate(&layout, &mut rng);
        let values = random_values(&layout, &mut rng);
        let message = messages(&layout, &values);
        let [mut mask, body] = encrypt_by_tfhe(key.coefficients(), residue, &message, u128::from(rng.next_u64()));
        residue.forward(&mut mask);
        let (_, opened, _) = open::open_under_mask(&layout, &mask, &body, key.coefficients());
        assert_eq!(opened, values);

        key_sum.iter_mut().zip(key.coefficients()).for_each(|(s, c)| *s += c);
        value_sum.iter_mut().zip(&values).for_each(|(s, v)| *s += v);
        crate::pack::add(&mut body_sum, &body, residue.q);
        let (_, opened, mean_square) = open::open_under_mask(&layout, &mask, &body_sum, &key_sum);
        assert_eq!(opened, value_sum);
        assert!((30.0..52.0).contains(&(mean_square / f64::from(client))));
    }
}

#[test]
fn we_open_each_residue_by_tfhe_of_the_two_prime_set() {
    let (layout, mut rng) = (layout(ParameterSet::P100), ChaCha20Rng::seed_from_u64(14));
    let key = OneTimeKey::generate(&layout, &mut rng);
    let message = messages(&layout, &random_values(&layout, &mut rng));
    let residues = &ring::ring(ParameterSet::P100).residues;
    let (mut masks, mut bodies) = (Vec::new(), Vec::new());
    for residue in residues {
        let [mut mask, body] = encrypt_by_tfhe(key.coefficients(), residue, &message, 5);
        residue.forward(&mut mask);
        masks.extend(mask);
        bodies.extend(body);
    }
    let (opened, ..) = open::open_under_mask(&layout, &masks, &bodies, key.coefficients());
    for (residue, opened) in residues.iter().zip(opened.chunks(message.len())) {
        let q = i128::from(residue.q);
        for (&value, message) in opened.iter().zip(&message) {
            let error = (i128::from(value) - message).rem_euclid(q);
            assert!(error.min(q - error) <= 64, "ten sigma");
        }
    }
}
