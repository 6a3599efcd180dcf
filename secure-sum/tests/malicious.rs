//! Malicious clients and members: who is caught by what, who is named, and who can not be.

#![expect(clippy::unwrap_used, reason = "tests")]

mod rounds;

use curve25519_dalek::Scalar;
use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use rand::RngExt;
use rounds::{Client, Failure, POINTS_FROM, Round, SEED, encode, scalars, weight};
use secure_sum::{
    CombineError, Commitments, Committee, Dealing, DealingError, KeyShare, Layout, MaskSeed, OpenError, ParameterSet,
    ShareError, Values, combine, encrypt, open,
};
use sha2::{Digest, Sha512};

/// Four times it still fits a field that is wide enough for three.
const CLAMP: i64 = 8_000;

/// Three of four open; three clients. Wide enough values for the one-prime set.
fn round(seed: u64) -> Round {
    let values = Values { count: 3_000, clamp: CLAMP as u64, noise_deviation: 0.0 };
    let round = Round::new(3, Committee::new(4, 3).unwrap(), values, seed);
    assert_eq!(round.layout.set(), ParameterSet::P50);
    assert_eq!(round.open(&round.answers(&[1, 2, 3])), Ok(round.expected()));
    round
}

/// Each member's share opens its commitment, but member 4's lies on another polynomial: quorums would open different
/// sums.
#[test]
fn a_dealer_off_the_polynomial_is_named_by_the_degree_test_although_every_share_opens_its_commitment() {
    let mut round = round(1);
    let [key, other] = [round.key(), round.key()];
    let [mut dealing, mut foreign] = [round.deal(&key), round.deal(&other)];
    let commitments = round.mixed(&dealing.commitments, &foreign.commitments, 4);
    dealing.shares[3] = foreign.shares.remove(3);
    for (index, share) in (1..).zip(&dealing.shares) {
        assert_eq!(share.check(&commitments, index), Ok(()));
    }
    round.clients[1].dealing = Dealing { commitments, ..dealing };
    let verdicts: Vec<_> =
        round.clients.iter().map(|client| client.dealing.commitments.check_degree(&round.committee)).collect();
    assert_eq!(verdicts, [Ok(()), Err(DealingError::Degree), Ok(())]);
    // The sum of all three fails as well, so nobody can leave the test of one dealer out unseen.
    assert_eq!(round.commitments().check_degree(&round.committee), Err(DealingError::Degree));
}

/// Consistent shares of a small key that did not encrypt: only the residual at opening shows it, and it names nobody.
#[test]
fn shares_of_another_small_key_pass_every_check_until_the_residual_which_names_nobody() {
    let mut round = round(2);
    let other = round.key();
    round.clients[0].dealing = round.deal(&other);
    let dealt = &round.clients[0].dealing;
    assert_eq!(dealt.commitments.check_degree(&round.committee), Ok(()));
    for (index, share) in (1..).zip(&dealt.shares) {
        assert_eq!(share.check(&dealt.commitments, index), Ok(()));
    }
    for quorum in [[1, 2, 3], [2, 3, 4]] {
        let opened = round.open(&round.answers(&quorum));
        assert!(matches!(opened, Err(Failure::Open(OpenError::Residual { chunk: 0, .. }))), "{opened:?}");
    }
}

/// A sum that is false by just so much that the combined key moves by one in one coefficient: the size of the key
/// shows nothing, the commitment shows who.
#[test]
fn a_false_sum_that_keeps_the_key_small_names_its_member() {
    let round = round(3);
    let quorum = [1, 2, 3];
    let one_digit = weight(quorum.map(Scalar::from).into_iter(), Scalar::ONE, Scalar::ZERO).invert();
    let mut lie = scalars(&round.answer(1).to_bytes());
    lie[0] += one_digit;
    let mut answers = round.answers(&quorum);
    answers[0].1 = round.share_sum(&lie);
    assert_eq!(answers[0].1.check(&round.commitments(), 1), Err(ShareError::Commitment { index: 1 }));
    assert_eq!(round.open(&answers), Err(Failure::Combine(CombineError::FalseAnswer { index: 1 })));

    // Under a commitment that is false by as much, the key passes as small: without commitments nobody could be named.
    let first = Sha512::new().chain_update(b"plainchant/secure-sum/generator/v1").chain_update(1_u16.to_le_bytes());
    let mut bytes = round.commitments().to_bytes();
    let place = &mut bytes[POINTS_FROM..POINTS_FROM + 32];
    let honest = CompressedRistretto::from_slice(place).unwrap().decompress().unwrap();
    place.copy_from_slice((honest + RistrettoPoint::from_hash(first) * one_digit).compress().as_bytes());
    let forged = Commitments::from_bytes(&round.layout, &round.committee, &bytes).unwrap();
    let opened = round.open_under(&forged, &answers);
    assert!(matches!(opened, Err(Failure::Open(OpenError::Residual { .. }))), "{opened:?}");
}

#[test]
fn exactly_t_answers_with_one_false_name_it_and_open_once_another_member_answers() {
    let round = round(4);
    let mut answers = round.answers(&[4, 2, 1]);
    let mut lie = scalars(&round.answer(2).to_bytes());
    let last = lie.len() - 1;
    lie[last] += Scalar::ONE;
    answers[1].1 = round.share_sum(&lie);
    assert_eq!(round.open(&answers), Err(Failure::Combine(CombineError::FalseAnswer { index: 2 })));
    answers.remove(1);
    assert_eq!(round.open(&answers), Err(Failure::Combine(CombineError::TooFew { needed: 3, found: 2 })));
    answers.push((3, round.answer(3)));
    assert_eq!(round.open(&answers), Ok(round.expected()));
}

#[test]
fn fewer_than_t_true_answers_open_nothing_whatever_fills_the_third_place() {
    let round = round(5);
    let with = |third: Option<(u8, Vec<Scalar>)>| {
        let mut answers = round.answers(&[1, 2]);
        answers.extend(third.map(|(index, lie)| (index, round.share_sum(&lie))));
        round.open(&answers)
    };
    let refused = |error| Err(Failure::Combine(error));
    assert_eq!(with(None), refused(CombineError::TooFew { needed: 3, found: 2 }));
    let copied = scalars(&round.answer(2).to_bytes());
    assert_eq!(with(Some((2, copied.clone()))), refused(CombineError::Twice { index: 2 }));
    assert_eq!(with(Some((3, copied.clone()))), refused(CombineError::FalseAnswer { index: 3 }));
    let nothing = vec![Scalar::ZERO; copied.len()];
    assert_eq!(with(Some((4, nothing))), refused(CombineError::FalseAnswer { index: 4 }));
    // On the line through the two true ones, as if the threshold were two.
    let first = scalars(&round.answer(1).to_bytes());
    let line = copied.iter().zip(&first).map(|(second, first)| second + second - first).collect();
    assert_eq!(with(Some((3, line))), refused(CombineError::FalseAnswer { index: 3 }));
}

/// A share that is not what was committed to: its receiver sees it, and nobody else can.
#[test]
fn a_wrong_share_for_one_member_is_found_by_that_member_alone_and_names_the_dealer() {
    let mut round = round(6);
    let dealt = &round.clients[2].dealing;
    let mut wrong = scalars(&dealt.shares[1].to_bytes());
    wrong[7] += Scalar::ONE;
    let wrong = round.share(&wrong);
    assert_eq!(dealt.commitments.check_degree(&round.committee), Ok(()));
    assert_eq!(wrong.check(&dealt.commitments, 2), Err(ShareError::Commitment { index: 2 }));
    for index in [1, 3, 4] {
        assert_eq!(dealt.shares[usize::from(index) - 1].check(&dealt.commitments, index), Ok(()));
    }
    // A member that adds it unchecked answers falsely, and would be blamed itself.
    round.clients[2].dealing.shares[1] = wrong;
    let opened = round.open(&round.answers(&[1, 2, 3]));
    assert_eq!(opened, Err(Failure::Combine(CombineError::FalseAnswer { index: 2 })));
    assert_eq!(round.open(&round.answers(&[1, 3, 4])), Ok(round.expected()));
}

/// A commitment that is not to the share that was sent: its receiver sees it, and so does everybody.
#[test]
fn a_wrong_commitment_for_one_member_is_found_by_that_member_and_by_the_degree_test() {
    let mut round = round(7);
    let other = round.key();
    let foreign = round.deal(&other).commitments;
    let dealt = &round.clients[0].dealing;
    let wrong = round.mixed(&dealt.commitments, &foreign, 3);
    assert_eq!(dealt.shares[2].check(&wrong, 3), Err(ShareError::Commitment { index: 3 }));
    assert_eq!(dealt.shares[1].check(&wrong, 2), Ok(()));
    assert_eq!(wrong.check_degree(&round.committee), Err(DealingError::Degree));
}

/// Shares given to the wrong members open nobody's commitment.
#[test]
fn shares_of_two_members_swapped_are_found_by_both() {
    let round = round(8);
    let dealt = &round.clients[0].dealing;
    for (index, swapped) in [(1, 1), (2, 0)] {
        let bytes = dealt.shares[swapped].to_bytes();
        let share = KeyShare::from_bytes(&round.layout, &bytes).unwrap();
        assert_eq!(share.check(&dealt.commitments, index), Err(ShareError::Commitment { index }));
        assert_eq!(encode(&scalars(&bytes)), *bytes);
    }
}

/// A body of well-formed residues that is no a s + e + m: found at opening, named by nobody.
#[test]
fn a_body_of_random_residues_leaves_a_residual_which_names_nobody() {
    let mut round = round(9);
    // Any 50 bits are a residue but for the last 16,383 of 2^50.
    let length = round.clients[1].body.len();
    let body: Vec<u8> = (0..length).map(|_| round.rng.random()).collect();
    round.clients[1].body = body;
    let opened = round.open(&round.answers(&[1, 2, 3]));
    assert!(matches!(opened, Err(Failure::Open(OpenError::Residual { chunk: 0, .. }))), "{opened:?}");
}

/// The right key, values in range, and errors of two hundred where sigma is 6.4: found at opening, named by nobody.
#[test]
fn a_body_with_large_errors_leaves_a_residual_which_names_nobody() {
    let mut round = round(13);
    for coefficient in 0..2048 {
        shift(&round.layout, &mut round.clients[1].body, coefficient, 200 - 400 * (coefficient as i64 % 2));
    }
    let opened = round.open(&round.answers(&[1, 2, 3]));
    assert!(matches!(opened, Err(Failure::Open(OpenError::Residual { chunk: 0, .. }))), "{opened:?}");
}

/// The right key and small errors, and something behind the last value, where honest bodies hold nothing.
#[test]
fn a_body_with_something_behind_its_last_value_is_found_and_names_nobody() {
    let mut round = round(14);
    let noise_bits = u32::from(round.layout.to_bytes()[31]);
    // 3,000 values, two in a coefficient.
    assert_eq!((round.layout.fields_per_coefficient(), round.layout.chunk_count()), (2, 1));
    shift(&round.layout, &mut round.clients[1].body, 1_500, 1 << noise_bits);
    let opened = round.open(&round.answers(&[1, 2, 3]));
    assert_eq!(opened, Err(Failure::Open(OpenError::Overflow { chunk: 0 })));
}

/// Adds to a coefficient of a body's first chunk modulo the one prime.
fn shift(layout: &Layout, body: &mut [u8], coefficient: usize, by: i64) {
    let q = layout.set().moduli()[0] as i128;
    let bits = |bit: usize| 50 * coefficient + bit;
    let old: i128 = (0..50).map(|bit| i128::from(body[bits(bit) / 8] >> (bits(bit) % 8) & 1) << bit).sum();
    let new = (old + i128::from(by)).rem_euclid(q);
    for bit in 0..50 {
        let (byte, at) = (bits(bit) / 8, bits(bit) % 8);
        body[byte] = body[byte] & !(1 << at) | ((new >> bit & 1) as u8) << at;
    }
}

/// Commitments or answers of another layout are nobody's false answer and nobody's false share.
#[test]
fn commitments_of_another_layout_name_nobody() {
    let round = round(15);
    let other = Round::new(3, round.committee, Values { count: 100, clamp: 1 << 45, noise_deviation: 0.0 }, 16);
    assert_ne!(other.layout.set(), round.layout.set());
    let answers = round.answers(&[1, 2, 3]);
    let opened = round.open_under(&other.commitments(), &answers);
    assert_eq!(opened, Err(Failure::Combine(CombineError::OtherCommittee)));
    let share = &round.clients[0].dealing.shares[0];
    assert_eq!(share.check(&other.clients[0].dealing.commitments, 1), Err(ShareError::OtherLayout));
    assert_eq!(answers[0].1.check(&other.commitments(), 1), Err(ShareError::OtherLayout));
}

/// A body under the mask of another announcement is no part of this round's sum, even with honest shares of its key.
#[test]
fn a_body_under_another_rounds_mask_leaves_a_residual() {
    let mut round = round(10);
    let key = round.key();
    let dealing = round.deal(&key);
    let inputs = round.clients[1].inputs.clone();
    let body = encrypt(&round.layout, &MaskSeed([6; 32]), key, &inputs, &mut round.rng).unwrap();
    round.clients[1] = Client { inputs, body, dealing };
    let opened = round.open(&round.answers(&[2, 3, 4]));
    assert!(matches!(opened, Err(Failure::Open(OpenError::Residual { chunk: 0, .. }))), "{opened:?}");
}

/// Counting oneself twice (body and dealing twice over) stays on the polynomial and below the limits of key and
/// residual; values at the clamp leave the range of three clients.
#[test]
fn a_client_that_counts_itself_twice_leaves_the_range() {
    assert_eq!(counted(2), Err(Failure::Open(OpenError::Range { index: 0 })));
}

#[test]
fn a_client_that_counts_itself_five_times_makes_the_key_too_large() {
    assert_eq!(counted(5), Err(Failure::Combine(CombineError::KeyNotSmall { cohort: 3 })));
}

/// Three clients with all values at the clamp, of whom the first is counted so many times.
fn counted(times: usize) -> Result<Vec<i64>, Failure> {
    let mut round = round(11);
    let inputs = vec![CLAMP; 3_000];
    for at in 0..3 {
        let key = round.key();
        let dealing = round.deal(&key);
        let body = encrypt(&round.layout, &SEED, key, &inputs, &mut round.rng).unwrap();
        round.clients[at] = Client { inputs: inputs.clone(), body, dealing };
    }
    assert_eq!(round.open(&round.answers(&[1, 2, 3])), Ok(vec![3 * CLAMP; 3_000]));
    let (mut sum, mut commitments, mut answers) = (round.sum(), round.commitments(), round.answers(&[1, 2, 3]));
    for _ in 1..times {
        let first = &round.clients[0];
        sum.add(&first.body).unwrap();
        commitments.add(&first.dealing.commitments).unwrap();
        for (index, answer) in &mut answers {
            answer.add(&first.dealing.shares[usize::from(*index) - 1]).unwrap();
        }
    }
    assert_eq!(commitments.check_degree(&round.committee), Ok(()));
    let key = combine(&round.layout, &round.committee, &commitments, &answers, 3).map_err(Failure::Combine)?;
    open(&round.layout, &SEED, &sum, &key, 3).map_err(Failure::Open)
}

/// What no check sees: a client may send any values within the clamp. There is no range proof, and docs say so.
#[test]
fn values_within_the_clamp_are_taken_as_they_are() {
    let mut round = round(12);
    let key = round.key();
    let dealing = round.deal(&key);
    let inputs = vec![CLAMP; 3_000];
    let body = encrypt(&round.layout, &SEED, key, &inputs, &mut round.rng).unwrap();
    round.clients[0] = Client { inputs, body, dealing };
    assert_eq!(round.open(&round.answers(&[1, 2, 3])), Ok(round.expected()));
}
