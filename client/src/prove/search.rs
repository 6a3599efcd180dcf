//! Two ways of looking at bytes without any key: is a known vector in them, and do they have any structure that a compressor finds?

use std::collections::HashSet;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// Bytes that are compared at once: by chance, a window of a ciphertext is one of a million known ones with probability 2^-108.
const WINDOW: usize = 16;
/// Windows that are looked for in each encoding, spread over the vector.
const WINDOWS: usize = 4096;
/// A window of fewer different bytes may stand anywhere (zeros of a header).
const LEAST_VARIETY: usize = 4;

/// A vector as a program might have written it.
pub(super) struct Encoded {
    pub(super) name: &'static str,
    pub(super) bytes: Vec<u8>,
}

/// These integers in every encoding that holds them: whole words of both byte orders, floats, protobuf's variable lengths, text.
pub(super) fn encodings(values: &[i64]) -> Vec<Encoded> {
    let mut found = Vec::new();
    let mut add = |name, bytes: Vec<u8>| found.push(Encoded { name, bytes });
    let each = |write: &dyn Fn(i64) -> Vec<u8>| values.iter().flat_map(|value| write(*value)).collect::<Vec<u8>>();
    add("64-bit integers", each(&|value| value.to_le_bytes().to_vec()));
    add("64-bit integers, most significant byte first", each(&|value| value.to_be_bytes().to_vec()));
    if let Some(short) = all::<i32>(values) {
        add("32-bit integers", short.iter().flat_map(|value| value.to_le_bytes()).collect());
        add(
            "32-bit integers, most significant byte first",
            short.iter().flat_map(|value| value.to_be_bytes()).collect(),
        );
    }
    if let Some(short) = all::<i16>(values) {
        add("16-bit integers", short.iter().flat_map(|value| value.to_le_bytes()).collect());
        add(
            "16-bit integers, most significant byte first",
            short.iter().flat_map(|value| value.to_be_bytes()).collect(),
        );
    }
    add("32-bit floats", each(&|value| (value as f32).to_le_bytes().to_vec()));
    add("64-bit floats", each(&|value| (value as f64).to_le_bytes().to_vec()));
    add("variable length", each(&variable_length));
    add("text", each(&|value| format!("{value},").into_bytes()));
    found
}

fn all<T: TryFrom<i64>>(values: &[i64]) -> Option<Vec<T>> {
    values.iter().map(|value| T::try_from(*value).ok()).collect()
}

/// Protobuf's `sint64`.
fn variable_length(value: i64) -> Vec<u8> {
    let (mut rest, mut bytes) = (((value << 1) ^ (value >> 63)) as u64, Vec::new());
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// Pieces of encoded vectors, to be looked for.
pub(super) struct Pieces<'a>(HashSet<&'a [u8]>);

impl<'a> Pieces<'a> {
    /// Of each of these, [`WINDOWS`] at the most.
    pub(super) fn of(encoded: impl IntoIterator<Item = &'a Encoded>) -> Self {
        let mut known = HashSet::new();
        for encoded in encoded {
            let blocks: Vec<&[u8]> = encoded.bytes.chunks_exact(WINDOW).filter(|block| is_varied(block)).collect();
            let step = (blocks.len() / WINDOWS).max(1);
            known.extend(blocks.into_iter().step_by(step));
        }
        Self(known)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many places of `bytes` hold one of them.
    pub(super) fn places_in(&self, bytes: &[u8]) -> usize {
        bytes.windows(WINDOW).filter(|window| self.0.contains(window)).count()
    }
}

/// All of a short vector; of a long one runs of it, spread over all of it.
pub(super) fn runs_of<T: Copy>(values: &[T]) -> Vec<T> {
    const RUNS: usize = 16;
    const RUN: usize = 4096;
    if values.len() <= RUNS * RUN {
        return values.to_vec();
    }
    values.chunks(values.len().div_ceil(RUNS)).flat_map(|part| part.iter().take(RUN).copied()).collect()
}

/// These numbers as floats of 32, 16 and 64 bits.
pub(super) fn floats(values: &[f32]) -> Vec<Encoded> {
    let half = |value: &f32| half::f16::from_f32(*value).to_le_bytes();
    let brain = |value: &f32| half::bf16::from_f32(*value).to_le_bytes();
    vec![
        Encoded {
            name: "gradients, 32-bit floats",
            bytes: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        },
        Encoded { name: "gradients, 16-bit floats", bytes: values.iter().flat_map(half).collect() },
        Encoded { name: "gradients, brain floats", bytes: values.iter().flat_map(brain).collect() },
        Encoded {
            name: "gradients, 64-bit floats",
            bytes: values.iter().flat_map(|value| f64::from(*value).to_le_bytes()).collect(),
        },
    ]
}

fn is_varied(block: &[u8]) -> bool {
    block.iter().collect::<HashSet<_>>().len() >= LEAST_VARIETY
}

/// What DEFLATE at its best makes of `bytes`, as a share of their length.
pub(super) fn compressed_share(bytes: &[u8]) -> f64 {
    let mut encoder = ZlibEncoder::new(Count(0), Compression::best());
    // Counting cannot fail.
    let _ = encoder.write_all(bytes);
    let length = encoder.finish().map_or(0, |count| count.0);
    length as f64 / bytes.len().max(1) as f64
}

struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// How many bytes stand in the same place of both, as a share, and how far chance lets that share be from 1/256 (six deviations).
pub(super) fn equal_share(one: &[u8], other: &[u8]) -> (f64, f64) {
    let length = one.len().min(other.len()).max(1) as f64;
    let equal = one.iter().zip(other).filter(|(one, other)| one == other).count() as f64;
    let p = 1.0 / 256.0;
    (equal / length, 6.0 * (p * (1.0 - p) / length).sqrt())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use prost::Message as _;
    use rand::Rng as _;

    use super::*;

    fn noise(count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        rand::rng().fill_bytes(&mut bytes);
        bytes
    }

    #[test]
    fn a_vector_is_found_at_any_place_in_each_encoding_and_never_in_random_bytes() {
        let values: Vec<i64> = (0..1000).map(|i| (i * 7919) % 30_011 - 15_000).collect();
        let encodings = encodings(&values);
        assert_eq!(encodings.len(), 10);
        for encoded in &encodings {
            let pieces = Pieces::of([encoded]);
            assert!(pieces.len() >= 60 && pieces.places_in(&noise(1 << 20)) == 0, "{}", encoded.name);
            let hidden = [noise(1001), encoded.bytes[48..96].to_vec(), noise(1000)].concat();
            assert!(pieces.places_in(&hidden) > 0, "{}", encoded.name);
        }
        let many: Vec<i64> = (0..1_000_000).collect();
        let runs = runs_of(&many);
        assert_eq!((runs.len(), runs.first(), runs[4096]), (65_536, Some(&0), 62_500));
    }

    /// Against prost's own writer.
    #[test]
    fn variable_lengths_are_protobufs() {
        #[derive(Clone, PartialEq, prost::Message)]
        struct Packed {
            #[prost(sint64, repeated, tag = "1")]
            values: Vec<i64>,
        }
        let values = vec![0, -1, 1, 300, -70_000, i64::MAX, i64::MIN];
        let ours: Vec<u8> = values.iter().flat_map(|value| variable_length(*value)).collect();
        let theirs = Packed { values }.encode_to_vec();
        assert!(theirs.ends_with(&ours) && theirs.len() == ours.len() + 2);
    }

    #[test]
    fn structure_is_compressed_and_random_bytes_are_not() {
        assert!(compressed_share(&noise(1 << 18)) > 0.9999);
        let small: Vec<i64> = (0..10_000).map(|i| (i * 7919) % 997).collect();
        assert!(compressed_share(&encodings(&small).first().unwrap().bytes) < 0.6);
        // One bit in eight that is always the same.
        let mut weak = noise(1 << 18);
        weak.iter_mut().for_each(|byte| *byte &= 0x7f);
        assert!(compressed_share(&weak) < 0.95);
    }

    #[test]
    fn two_random_texts_agree_by_chance_only_and_a_repeated_one_does_not() {
        let one = noise(1 << 16);
        let (share, most) = equal_share(&one, &noise(1 << 16));
        assert!((share - 1.0 / 256.0).abs() < most);
        let mut half = noise(1 << 16);
        half[..1 << 15].copy_from_slice(&one[..1 << 15]);
        let (share, most) = equal_share(&one, &half);
        assert!((share - 1.0 / 256.0).abs() > most);
    }
}
