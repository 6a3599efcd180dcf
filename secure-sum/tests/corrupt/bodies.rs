//! Ciphertext bodies: one chunk, a whole contribution, the accumulator's own encoding.

use secure_sum::{Accumulator, ChunkError, EncodingError, Layout, check_chunk};

use super::{Case, Decoder, Fixture, case, element, length, longer, version, with};

const SUM: &str = "accumulator";

const CHUNK: Decoder = |f, bytes| Ok(check_chunk(&f.layout, bytes)?);
const WIDE_CHUNK: Decoder = |f, bytes| Ok(check_chunk(&f.wide, bytes)?);
const FROM_BYTES: Decoder = |f, bytes| Ok(Accumulator::from_bytes(&f.layout, bytes).map(drop)?);

/// The index is the input; the chunk is a good one.
const CHUNK_INDEX: Decoder = |f, bytes| {
    let index = u64::from_le_bytes(bytes.try_into()?) as usize;
    Ok(f.sum.borrow_mut().add_chunk(index, &f.contribution[..f.layout.chunk_bytes()])?)
};

/// A whole contribution of the smallest layout, which has one chunk.
const CONTRIBUTION: Decoder = |f, bytes| Ok(f.sum.borrow_mut().add(bytes)?);

/// Residue `position` (prime after prime) becomes `value`.
fn residue(chunk: &[u8], position: usize, value: u64) -> Vec<u8> {
    let mut chunk = chunk.to_vec();
    for bit in 0..50 {
        let (at, one) = (50 * position + bit, (value >> bit & 1) as u8);
        chunk[at / 8] = chunk[at / 8] & !(1 << (at % 8)) | one << (at % 8);
    }
    chunk
}

pub(crate) fn cases(f: &Fixture) -> Vec<Case> {
    let mut cases = chunks(f);
    cases.extend(wide_chunks(f));
    cases.extend(contributions(f));
    cases.extend(accumulators(f));
    cases
}

fn wrong_length(layout: &Layout, found: usize) -> ChunkError {
    ChunkError::Length { expected: layout.chunk_bytes(), found }
}

fn chunks(f: &Fixture) -> Vec<Case> {
    let layout = &f.layout;
    let size = layout.chunk_bytes();
    let (chunk, q) = (&f.contribution[..size], layout.set().moduli()[0]);
    let index = |name, index: u64| {
        let expected = ChunkError::Index { index: index as usize, count: 1 };
        case(name, CHUNK_INDEX, index.to_le_bytes(), expected)
    };
    let not_below = |position| ChunkError::Coefficient { position };
    vec![
        case("chunk: empty", CHUNK, [], wrong_length(layout, 0)),
        case("chunk: one byte", CHUNK, [1], wrong_length(layout, 1)),
        case("chunk: cut after a group of residues", CHUNK, &chunk[..25], wrong_length(layout, 25)),
        case("chunk: half", CHUNK, &chunk[..size / 2], wrong_length(layout, size / 2)),
        case("chunk: one byte short", CHUNK, &chunk[1..], wrong_length(layout, size - 1)),
        case("chunk: one byte more", CHUNK, longer(chunk, &[0]), wrong_length(layout, size + 1)),
        case("chunk: two at once", CHUNK, &f.contribution[..2 * size], wrong_length(layout, 2 * size)),
        case(
            "chunk: of the other set",
            CHUNK,
            &f.wide_contribution[..f.wide.chunk_bytes()],
            wrong_length(layout, f.wide.chunk_bytes()),
        ),
        case("chunk: first residue is the prime", CHUNK, residue(chunk, 0, q), not_below(0)),
        case("chunk: a residue is the prime and one", CHUNK, residue(chunk, 1_001, q + 1), not_below(1_001)),
        case("chunk: last residue is 2^50 - 1", CHUNK, residue(chunk, 2_047, (1 << 50) - 1), not_below(2_047)),
        case("chunk: all bits set", CHUNK, vec![0xff; size], not_below(0)),
        index("chunk: index behind the last", 1),
        index("chunk: index 2^64 - 1", u64::MAX),
        index("chunk: index whose offset is 0 modulo 2^64", 1 << 53),
    ]
}

fn wide_chunks(f: &Fixture) -> Vec<Case> {
    let layout = &f.wide;
    let size = layout.chunk_bytes();
    let chunk = &f.wide_contribution[..size];
    let [q1, q2] = layout.set().moduli() else { unreachable!("the wide set has two primes") };
    let not_below = |position| ChunkError::Coefficient { position };
    // A residue that only the first prime admits, and the two primes' halves swapped around it.
    let first_only = residue(chunk, 77, q1 - 1);
    let swapped = [&first_only[size / 2..], &first_only[..size / 2]].concat();
    vec![
        case("wide chunk: of the narrow set", WIDE_CHUNK, &f.contribution[..12_800], wrong_length(layout, 12_800)),
        case("wide chunk: one prime's half", WIDE_CHUNK, &chunk[..size / 2], wrong_length(layout, size / 2)),
        case("wide chunk: second prime in its half", WIDE_CHUNK, residue(chunk, 4_096 + 9, *q2), not_below(4_105)),
        case("wide chunk: first prime in its half", WIDE_CHUNK, residue(chunk, 4_095, *q1), not_below(4_095)),
        case("wide chunk: halves of the primes swapped", WIDE_CHUNK, swapped, not_below(4_096 + 77)),
    ]
}

fn contributions(f: &Fixture) -> Vec<Case> {
    let size = f.layout.chunk_bytes();
    let (one, q) = (&f.contribution[..size], f.layout.set().moduli()[0]);
    let wrong = |found| wrong_length(&f.layout, found);
    vec![
        case("contribution: empty", CONTRIBUTION, [], wrong(0)),
        case("contribution: one byte short", CONTRIBUTION, &one[..size - 1], wrong(size - 1)),
        case("contribution: with the accumulator's version byte", CONTRIBUTION, longer(&[1], one), wrong(size + 1)),
        case("contribution: of another layout's chunks", CONTRIBUTION, &f.contribution[..], wrong(3 * size)),
        case(
            "contribution: a residue is the prime",
            CONTRIBUTION,
            residue(one, 5, q),
            ChunkError::Coefficient { position: 5 },
        ),
    ]
}

fn accumulators(f: &Fixture) -> Vec<Case> {
    let (size, q) = (f.layout.chunk_bytes(), f.layout.set().moduli()[0]);
    let good = longer(&[1], &f.contribution);
    let expected = good.len();
    let wrong = |found: usize| -> EncodingError { length(SUM, expected, found) };
    let last = residue(&f.contribution[2 * size..], 2_047, q);
    vec![
        case("accumulator: empty", FROM_BYTES, [], wrong(0)),
        case("accumulator: version only", FROM_BYTES, [1], wrong(1)),
        case("accumulator: cut between chunks", FROM_BYTES, &good[..1 + size], wrong(1 + size)),
        case("accumulator: one byte short", FROM_BYTES, &good[..expected - 1], wrong(expected - 1)),
        case("accumulator: one byte more", FROM_BYTES, longer(&good, &[0]), wrong(expected + 1)),
        case("accumulator: without version", FROM_BYTES, &f.contribution[..], wrong(expected - 1)),
        case("accumulator: version 0", FROM_BYTES, with(&good, 0, &[0]), version(SUM, 0)),
        case("accumulator: version 255", FROM_BYTES, with(&good, 0, &[255]), version(SUM, 255)),
        case(
            "accumulator: of the wide layout",
            FROM_BYTES,
            longer(&[1], &f.wide_contribution),
            wrong(1 + f.wide_contribution.len()),
        ),
        case(
            "accumulator: the very last residue is the prime",
            FROM_BYTES,
            with(&good, 1 + 2 * size, &last),
            element(SUM, 3 * 2_048 - 1),
        ),
    ]
}
