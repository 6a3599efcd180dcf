//! A submitted round from the public API, open to be tampered with: bodies, shares and commitments as bytes.
#![allow(dead_code, unreachable_pub, reason = "every test binary uses a part of this")]
#![expect(clippy::unwrap_used, reason = "tests")]

use curve25519_dalek::Scalar;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use secure_sum::{
    Accumulator, CombineError, Commitments, Committee, Dealing, KeyShare, Layout, MaskSeed, OneTimeKey, OpenError,
    ShareSum, Values, combine, deal, encrypt, open,
};

pub const SEED: MaskSeed = MaskSeed([5; 32]);

/// What one client submits.
pub struct Client {
    pub inputs: Vec<i64>,
    pub body: Vec<u8>,
    pub dealing: Dealing,
}

pub struct Round {
    pub layout: Layout,
    pub committee: Committee,
    pub clients: Vec<Client>,
    pub rng: ChaCha20Rng,
}

/// Where a round ended.
#[derive(Debug, PartialEq)]
pub enum Failure {
    Combine(CombineError),
    Open(OpenError),
}

impl Round {
    /// `clients` honest contributions of values up to the clamp.
    pub fn new(clients: usize, committee: Committee, values: Values, seed: u64) -> Self {
        let layout = Layout::derive(clients, values).unwrap();
        let mut round = Self { layout, committee, clients: Vec::new(), rng: ChaCha20Rng::seed_from_u64(seed) };
        for _ in 0..clients {
            let client = round.honest();
            round.clients.push(client);
        }
        round
    }

    pub fn key(&mut self) -> OneTimeKey {
        OneTimeKey::generate(&self.layout, &mut self.rng)
    }

    pub fn deal(&mut self, key: &OneTimeKey) -> Dealing {
        deal(key, &self.layout, &self.committee, &mut self.rng).unwrap()
    }

    pub fn honest(&mut self) -> Client {
        let key = self.key();
        let dealing = self.deal(&key);
        let clamp = self.layout.values().clamp as i64;
        let inputs: Vec<i64> = (0..self.layout.values().count).map(|_| self.rng.random_range(-clamp..=clamp)).collect();
        let body = encrypt(&self.layout, &SEED, key, &inputs, &mut self.rng).unwrap();
        Client { inputs, body, dealing }
    }

    /// What the inputs add up to.
    pub fn expected(&self) -> Vec<i64> {
        let at = |at: usize| self.clients.iter().map(|client| client.inputs[at]).sum();
        (0..self.layout.values().count).map(at).collect()
    }

    pub fn sum(&self) -> Accumulator {
        let mut sum = Accumulator::new(&self.layout);
        self.clients.iter().for_each(|client| sum.add(&client.body).unwrap());
        sum
    }

    pub fn commitments(&self) -> Commitments {
        let mut sum = Commitments::zero(&self.layout, &self.committee);
        self.clients.iter().for_each(|client| sum.add(&client.dealing.commitments).unwrap());
        sum
    }

    /// The true answer of a member.
    pub fn answer(&self, index: u8) -> ShareSum {
        let mut answer = ShareSum::new(&self.layout);
        for client in &self.clients {
            answer.add(&client.dealing.shares[usize::from(index) - 1]).unwrap();
        }
        answer
    }

    pub fn answers(&self, indices: &[u8]) -> Vec<(u8, ShareSum)> {
        indices.iter().map(|&index| (index, self.answer(index))).collect()
    }

    pub fn open(&self, answers: &[(u8, ShareSum)]) -> Result<Vec<i64>, Failure> {
        self.open_under(&self.commitments(), answers)
    }

    /// Combines under these commitments instead of the true ones, and opens.
    pub fn open_under(&self, commitments: &Commitments, answers: &[(u8, ShareSum)]) -> Result<Vec<i64>, Failure> {
        let clients = self.clients.len();
        let key = combine(&self.layout, &self.committee, commitments, answers, clients).map_err(Failure::Combine)?;
        open(&self.layout, &SEED, &self.sum(), &key, clients).map_err(Failure::Open)
    }

    pub fn share_sum(&self, scalars: &[Scalar]) -> ShareSum {
        ShareSum::from_bytes(&self.layout, &encode(scalars)).unwrap()
    }

    pub fn share(&self, scalars: &[Scalar]) -> KeyShare {
        KeyShare::from_bytes(&self.layout, &encode(scalars)).unwrap()
    }

    /// Commitments with another member's place taken from `other`.
    pub fn mixed(&self, one: &Commitments, other: &Commitments, index: u8) -> Commitments {
        let (mut bytes, other) = (one.to_bytes(), other.to_bytes());
        let at = POINTS_FROM + 32 * (usize::from(index) - 1);
        bytes[at..at + 32].copy_from_slice(&other[at..at + 32]);
        Commitments::from_bytes(&self.layout, &self.committee, &bytes).unwrap()
    }
}

/// Version, scalars of a share and members stand before the points of encoded commitments.
pub const POINTS_FROM: usize = 4;

/// The scalars of an encoded share or sum of shares.
pub fn scalars(bytes: &[u8]) -> Vec<Scalar> {
    let scalar = |bytes: &[u8; 32]| Scalar::from_canonical_bytes(*bytes).unwrap();
    bytes[1..].as_chunks::<32>().0.iter().map(scalar).collect()
}

pub fn encode(scalars: &[Scalar]) -> Vec<u8> {
    let mut bytes = vec![1];
    scalars.iter().for_each(|scalar| bytes.extend(scalar.as_bytes()));
    bytes
}

/// The value at `x` of the polynomial of least degree through these points.
pub fn interpolate(points: &[(Scalar, Scalar)], x: Scalar) -> Scalar {
    points.iter().map(|(at, value)| value * weight(points.iter().map(|(other, _)| *other), *at, x)).sum()
}

/// The Lagrange weight at `x` of the point `at` among `all`.
pub fn weight(all: impl Iterator<Item = Scalar>, at: Scalar, x: Scalar) -> Scalar {
    all.filter(|other| *other != at).map(|other| (x - other) * (at - other).invert()).product()
}
