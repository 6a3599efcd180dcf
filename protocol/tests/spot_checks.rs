//! Who checks whose body beside its own: drawn by the claim, rarely, and of everybody alike.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use protocol::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn spot_checks_are_of_others_one_a_checker_and_follow_the_whole_claim(seed: [u8; 32], n in 1usize..40) {
        let houses: Vec<HouseName> = (0..n).map(|n| HouseName::new(&format!("house-{n}")).unwrap()).collect();
        let digest = |n: u8| Digest::of("part", &[&seed[..], &[n]].concat());
        let claim = SumClaim { announcement: digest(0), cohort: digest(1), body_sum: digest(2) };
        let drawn = claim.spot_checks(&houses);
        let checkers: std::collections::BTreeSet<&HouseName> = drawn.iter().map(|(checker, _)| *checker).collect();
        prop_assert_eq!(checkers.len(), drawn.len());
        prop_assert!(drawn.iter().all(|(checker, house)| checker != house && houses.contains(house)));
        for changed in [
            SumClaim { announcement: digest(3), ..claim },
            SumClaim { cohort: digest(3), ..claim },
            SumClaim { body_sum: digest(3), ..claim },
        ] {
            prop_assert_ne!(changed.challenge(), claim.challenge());
        }
    }
}

#[test]
fn one_house_in_128_checks_another_and_every_other_one_is_drawn() {
    let houses: Vec<HouseName> = (0..8).map(|n| HouseName::new(&format!("house-{n}")).unwrap()).collect();
    let digest = Digest::sha256(b"fixed");
    let mut counts = [[0u32; 8]; 8];
    let rounds = 40_000u32;
    for n in 0..rounds {
        let claim = SumClaim { announcement: digest, cohort: digest, body_sum: Digest::sha256(&n.to_be_bytes()) };
        for (checker, house) in claim.spot_checks(&houses) {
            let at = |name| houses.iter().position(|house| house == name).unwrap();
            counts[at(checker)][at(house)] += 1;
        }
    }
    // 8 * 40,000 draws of chance 1/128: 2,500 expected, deviation 50; each of the 56 pairs 44.6, deviation 6.7.
    let total: u32 = counts.iter().flatten().sum();
    assert!((2_200..2_800).contains(&total), "{total}");
    for (checker, row) in counts.iter().enumerate() {
        for (house, count) in row.iter().enumerate() {
            assert!(if checker == house { *count == 0 } else { (10..90).contains(count) }, "{counts:?}");
        }
    }
}
