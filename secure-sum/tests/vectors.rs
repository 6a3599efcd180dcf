//! Recorded rounds in `vectors/`: this crate opens them as `scripts/check_vectors.py` does, which shares no code with it.
//!
//! `cargo test --release -p secure-sum --test vectors -- --ignored` records them again, from fixed seeds.

#![expect(clippy::unwrap_used, reason = "tests")]

mod rounds;

use base64::prelude::{BASE64_STANDARD as BASE64, Engine};
use rand::RngExt;
use rounds::{Round, SEED};
use secure_sum::{
    Accumulator, Challenge, Checksum, Commitments, Committee, Layout, MaskSeed, ParameterSet, ShareSum, Values,
    check_chunk, combine, glwe, open,
};
use serde_json::{Value, json};
use tfhe_ntt::prime64::Plan;

/// Where the recorded masks are looked at: chunks that a round need not have, and the first and last positions.
const MASK_POSITIONS: [usize; 3] = [0, 1, 2047];

fn path(name: &str) -> std::path::PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "vectors", name].iter().collect()
}

/// Both sets; several fields a coefficient in each, a last coefficient that is not full, and padding behind it.
fn recorded() -> [(&'static str, Values); 2] {
    [
        ("p50.json", Values { count: 601, clamp: 100, noise_deviation: 12.5 }),
        ("p100.json", Values { count: 201, clamp: 1 << 40, noise_deviation: 0.0 }),
    ]
}

#[test]
fn the_recorded_rounds_open() {
    for ((name, values), set) in recorded().into_iter().zip(ParameterSet::ALL) {
        let text = std::fs::read_to_string(path(name)).unwrap();
        let file: Value = serde_json::from_str(&text).unwrap();
        let layout = Layout::from_bytes(&bytes(&file["layout"]["bytes"])).unwrap();
        assert_eq!(layout, Layout::derive(3, values).unwrap());
        assert_eq!(layout.set(), set);
        assert_eq!(file["layout"], describe(&layout), "{name}");

        let [members, threshold] = ["members", "threshold"].map(|key| file["committee"][key].as_u64().unwrap() as u8);
        let committee = Committee::new(members, threshold).unwrap();
        let seed = MaskSeed(bytes(&file["mask_seed"]).try_into().unwrap());
        assert_eq!(file["mask"], masks(&layout, &seed), "{name}");

        let sum = Accumulator::from_bytes(&layout, &bytes(&file["body_sum"])).unwrap();
        let bodies: Vec<_> = file["bodies"].as_array().unwrap().iter().map(bytes).collect();
        let mut added = Accumulator::new(&layout);
        for body in &bodies {
            body.chunks(layout.chunk_bytes()).for_each(|chunk| check_chunk(&layout, chunk).unwrap());
            added.add(body).unwrap();
        }
        assert!(bodies.is_empty() || added.to_bytes() == sum.to_bytes(), "{name}");

        let challenge = Challenge(bytes(&file["checksum"]["challenge"]).try_into().unwrap());
        assert_eq!(file["checksum"], checksums(&layout, challenge, &bodies, &sum), "{name}");

        let mut commitments = Commitments::zero(&layout, &committee);
        for dealt in file["commitments"].as_array().unwrap() {
            let dealt = Commitments::from_bytes(&layout, &committee, &bytes(dealt)).unwrap();
            dealt.check_degree(&committee).unwrap();
            commitments.add(&dealt).unwrap();
        }
        let cohort = file["commitments"].as_array().unwrap().len();
        let answers = |but: usize| -> Vec<(u8, ShareSum)> {
            let all = file["share_sums"].as_array().unwrap().iter().map(|answer| {
                let sum = ShareSum::from_bytes(&layout, &bytes(&answer["bytes"])).unwrap();
                (answer["index"].as_u64().unwrap() as u8, sum)
            });
            all.enumerate().filter(|(at, _)| *at != but).map(|(_, answer)| answer).collect()
        };
        let expected: Vec<i64> = file["sums"].as_array().unwrap().iter().map(|sum| sum.as_i64().unwrap()).collect();
        for but in 0..4 {
            let key = combine(&layout, &committee, &commitments, &answers(but), cohort).unwrap();
            assert_eq!(open(&layout, &seed, &sum, &key, cohort).unwrap(), expected, "{name}");
        }
    }
}

/// A new recording opens to the sums of its own inputs; the files change only where it differs.
#[test]
#[ignore = "writes the recorded rounds anew"]
fn record_the_rounds() {
    for ((name, values), seed) in recorded().into_iter().zip(50..) {
        let mut round = Round::new(3, Committee::new(4, 3).unwrap(), values, seed);
        let challenge = Challenge(round.rng.random());
        let (layout, sum) = (&round.layout, round.sum());
        let bodies: Vec<Vec<u8>> = round.clients.iter().map(|client| client.body.clone()).collect();
        // The bodies of the two-prime round would be most of its file; their sum is what is opened.
        let bodies = if layout.set() == ParameterSet::P50 { bodies } else { Vec::new() };
        let share_sums: Vec<Value> = round
            .committee
            .indices()
            .map(|index| json!({ "index": index, "bytes": text(&round.answer(index).to_bytes()) }))
            .collect();
        let file = json!({
            "format": "plainchant/secure-sum/round/v1",
            "layout": describe(layout),
            "committee": { "members": 4, "threshold": 3 },
            "mask_seed": text(&SEED.0),
            "mask": masks(layout, &SEED),
            "bodies": bodies.iter().map(|body| text(body)).collect::<Vec<_>>(),
            "body_sum": text(&sum.to_bytes()),
            "checksum": checksums(layout, challenge, &bodies, &sum),
            "commitments": round.clients.iter().map(|c| text(&c.dealing.commitments.to_bytes())).collect::<Vec<_>>(),
            "share_sums": share_sums,
            "sums": round.expected(),
        });
        std::fs::write(path(name), format!("{file:#}\n")).unwrap();
    }
}

/// What another implementation needs of the layout, beside its bytes.
fn describe(layout: &Layout) -> Value {
    let (set, values, bytes) = (layout.set(), layout.values(), layout.to_bytes());
    let roots: Vec<u64> = set.moduli().iter().map(|&q| root(set.ring_degree(), q)).collect();
    json!({
        "bytes": text(&bytes),
        "set": set.to_string(),
        "ring_degree": set.ring_degree(),
        "moduli": set.moduli(),
        "roots": roots,
        "cohort_max": layout.cohort_max(),
        "count": values.count,
        "clamp": values.clamp,
        "noise_deviation": values.noise_deviation,
        "field_bits": layout.field_bits(),
        "fields_per_coefficient": layout.fields_per_coefficient(),
        "noise_bits": bytes[31],
        "digit_bits": bytes[32],
        "chunks": layout.chunk_count(),
    })
}

/// The 2N-th root of unity of the transform: what X becomes at its first position.
fn root(degree: usize, q: u64) -> u64 {
    let mut x = vec![0; degree];
    x[1] = 1;
    Plan::try_new(degree, q).unwrap().fwd(&mut x);
    x[0]
}

/// Some values of the masks of the first two chunks: as expanded, and as coefficients.
fn masks(layout: &Layout, seed: &MaskSeed) -> Value {
    let (set, values) = (layout.set(), layout.values());
    let degree = set.ring_degree();
    // The same set with two chunks and more.
    let longer =
        Layout::derive(3, Values { count: values.count + 3 * degree * layout.fields_per_coefficient(), ..values });
    let longer = longer.unwrap();
    assert_eq!(longer.set(), set);
    let zero = Accumulator::new(&longer);
    let places = (0..2).flat_map(|chunk| (0..set.moduli().len()).map(move |prime| (chunk, prime)));
    let mask = places.map(|(chunk, prime)| {
        let mask = glwe::ciphertext(&longer, seed, &zero, chunk, prime).unwrap().into_container();
        let coefficients = &mask[..degree];
        let mut expanded = coefficients.to_vec();
        Plan::try_new(degree, set.moduli()[prime]).unwrap().fwd(&mut expanded);
        json!({
            "chunk": chunk,
            "prime": prime,
            "positions": MASK_POSITIONS,
            "expanded": MASK_POSITIONS.map(|at| expanded[at]),
            "coefficients": MASK_POSITIONS.map(|at| coefficients[at]),
        })
    });
    mask.collect()
}

fn checksums(layout: &Layout, challenge: Challenge, bodies: &[Vec<u8>], sum: &Accumulator) -> Value {
    let of_body = |body: &Vec<u8>| text(&Checksum::of(layout, &challenge, body).unwrap().to_bytes());
    json!({
        "challenge": text(&challenge.0),
        "bodies": bodies.iter().map(of_body).collect::<Vec<_>>(),
        "sum": text(&Checksum::of_sum(layout, &challenge, sum).unwrap().to_bytes()),
    })
}

fn text(bytes: &[u8]) -> String {
    BASE64.encode(bytes)
}

fn bytes(value: &Value) -> Vec<u8> {
    BASE64.decode(value.as_str().unwrap()).unwrap()
}
