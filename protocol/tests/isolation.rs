//! Sub-cohorts find the house that spoils rounds, within a bound, without leaving an honest one out for good.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use common::*;
use proptest::prelude::*;
use protocol::server::{Choice, Ground, Isolation, Past};
use protocol::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

const APPLIED: Conclusion = Conclusion::Settled(Verdict::Applied { state: Digest::from_bytes([7; 32]), last: false });
const VOID: Conclusion = Conclusion::Settled(Verdict::Void { reason: VoidReason::Residual });

/// Houses of which some spoil attempts, and an aggregator that knows only how attempts end.
struct Run {
    world: World,
    houses: Vec<HouseName>,
    culprits: Vec<HouseName>,
    need: usize,
    past: Vec<Past>,
    isolation: Isolation,
    rng: ChaCha8Rng,
}

impl Run {
    fn new(houses: usize, culprits: &[usize], need: usize, seed: u64) -> Self {
        let world = World::new(&Shape { houses, threshold: houses, ..FOUR });
        let houses = world.house_names();
        let culprits = culprits.iter().map(|n| houses[*n].clone()).collect();
        let (past, isolation, rng) = (Vec::new(), Isolation::default(), ChaCha8Rng::seed_from_u64(seed));
        Self { world, houses, culprits, need, past, isolation, rng }
    }

    fn choose(&mut self, ready: &[HouseName]) -> Choice {
        let choice = self.isolation.expected(ready, self.need, self.houses.len());
        if let Some(expected) = choice.expected() {
            assert!(expected.len() >= self.need, "{} are expected, not {}", expected.len(), self.need);
            assert!(expected.iter().all(|house| ready.contains(house)));
            assert!(expected.is_sorted_by_key(|house| self.world.federation.roster().index_of(house)));
            assert!(self.isolation.isolated().all(|(house, _)| !expected.contains(house)));
        }
        choice
    }

    fn end(&mut self, cohort: Vec<HouseName>, conclusion: Conclusion) {
        let past = Past::Ended { houses: cohort, conclusion };
        let roster = self.world.federation.roster();
        self.isolation.after(roster, &past);
        self.past.push(past);
        assert_eq!(self.isolation, Isolation::fold(roster, &self.past), "rebuilt from the history");
    }

    /// One attempt over the expected set, of which up to `vanish` vanish. Whether it was void.
    fn attempt(&mut self, ready: &[HouseName], vanish: usize) -> bool {
        let choice = self.choose(ready);
        let mut cohort = choice.expected().unwrap().to_vec();
        for _ in 0..self.rng.random_range(0..=vanish) {
            let gone = self.rng.random_range(0..cohort.len());
            cohort.remove(gone);
        }
        let void = cohort.iter().any(|house| self.culprits.contains(house));
        self.end(cohort, if void { VOID } else { APPLIED });
        void
    }

    fn isolated(&self) -> Vec<(HouseName, Ground)> {
        self.isolation.isolated().map(|(house, ground)| (house.clone(), ground)).collect()
    }
}

fn log2_up(n: usize) -> usize {
    n.next_power_of_two().trailing_zeros() as usize
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_constant_culprit_is_isolated_within_the_bound_and_nobody_else(
        need in 3usize..8, more in 0usize..20, culprit in any::<prop::sample::Index>(), vanish in 0usize..3, seed: u64,
    ) {
        let n = 2 * need + more;
        let culprit = culprit.index(n);
        let mut run = Run::new(n, &[culprit], need, seed);
        let houses = run.houses.clone();
        let mut voids = 0;
        let mut attempts = 0;
        while run.isolated().is_empty() {
            let void = run.attempt(&houses, vanish);
            voids += usize::from(void);
            // The culprit itself may vanish: an attempt that is applied before anybody is suspected begins the count anew.
            if !void && run.isolation.suspects().is_empty() && run.isolation.accused().is_none() {
                voids = 0;
            }
            attempts += 1;
            prop_assert!(voids <= 2 + log2_up(n), "{voids} voids of {n} houses");
            prop_assert!(attempts < 200, "it is not found");
        }
        prop_assert_eq!(run.isolated(), vec![(houses[culprit].clone(), Ground::Inferred)]);
        prop_assert!(!run.attempt(&houses, vanish), "rounds go on without it");
    }

    #[test]
    fn with_few_or_changing_ready_houses_the_culprit_is_found_later_and_still_nobody_else(
        need in 3usize..6, more in 1usize..6, culprit in any::<prop::sample::Index>(), seed: u64,
    ) {
        let n = need + 1 + more;
        let culprit = culprit.index(n);
        let mut run = Run::new(n, &[culprit], need, seed);
        let houses = run.houses.clone();
        for attempt in 0..300 {
            let ready: Vec<HouseName> =
                houses.iter().filter(|_| run.rng.random_range(0..10) < 9 || attempt % 4 == 0).cloned().collect();
            if run.choose(&ready).expected().is_some() {
                run.attempt(&ready, 0);
            }
        }
        prop_assert_eq!(run.isolated(), vec![(houses[culprit].clone(), Ground::Inferred)]);
    }

    #[test]
    fn several_constant_culprits_are_not_found_and_get_nobody_isolated(
        n in 8usize..20, culprits in proptest::collection::btree_set(0usize..8, 2..4), seed: u64,
    ) {
        let culprits: Vec<usize> = culprits.into_iter().collect();
        let mut run = Run::new(n, &culprits, 3, seed);
        let houses = run.houses.clone();
        for _ in 0..150 {
            if run.choose(&houses).expected().is_some() {
                run.attempt(&houses, 0);
            }
        }
        prop_assert_eq!(run.isolated(), vec![]);
    }
}

#[test]
fn a_single_void_is_tried_again_and_other_ends_cast_no_suspicion() {
    let mut run = Run::new(8, &[], 4, 0);
    let houses = run.houses.clone();
    run.end(houses.clone(), VOID);
    assert_eq!(run.choose(&houses), Choice::Everybody(houses.clone()));
    run.end(houses.clone(), APPLIED);
    run.end(houses.clone(), VOID);
    for reason in [VoidReason::WrongSum, VoidReason::FalseAnswers] {
        run.end(houses.clone(), Conclusion::Settled(Verdict::Void { reason }));
    }
    run.end(houses.clone(), Conclusion::Abandoned(Abandonment::TooFewAnswers { needed: 8, found: 2 }));
    assert!(run.isolation.suspects().is_empty());
    run.end(houses.clone(), VOID);
    assert_eq!(run.isolation.suspects(), houses, "the second void in a row");
    assert_eq!(run.choose(&houses), Choice::Probe(houses[..4].to_vec()), "the first of two disjoint halves");
}

#[test]
fn where_no_suspect_can_be_left_out_it_is_said() {
    let mut run = Run::new(4, &[2], 4, 0);
    let houses = run.houses.clone();
    run.attempt(&houses, 0);
    run.attempt(&houses, 0);
    assert_eq!(run.choose(&houses), Choice::Inseparable(houses.clone()));
    assert_eq!(run.choose(&houses[..3]), Choice::TooFew { found: 3 });
}

#[test]
fn a_proven_dealer_is_isolated_at_once_until_the_operator_readmits_it() {
    let mut run = Run::new(5, &[], 3, 0);
    let houses = run.houses.clone();
    let wrong = Conclusion::Abandoned(Abandonment::WrongEnvelope { dealer: RosterPosition::new(2).unwrap() });
    run.end(houses.clone(), wrong);
    assert_eq!(run.isolated(), [(houses[1].clone(), Ground::Proven)]);
    let without: Vec<HouseName> = [0, 2, 3, 4].map(|n: usize| houses[n].clone()).to_vec();
    assert_eq!(run.choose(&houses), Choice::Everybody(without));
    run.past.push(Past::Readmitted(houses[1].clone()));
    assert!(run.isolation.readmit(&houses[1]));
    assert!(!run.isolation.readmit(&houses[1]));
    assert_eq!(run.isolation, Isolation::fold(run.world.federation.roster(), &run.past));
    assert_eq!(run.choose(&houses), Choice::Everybody(houses));
}

#[test]
fn an_accused_house_that_others_are_void_without_is_cleared() {
    let mut run = Run::new(8, &[], 4, 0);
    let houses = run.houses.clone();
    for cohort in [&houses[..], &houses[..], &houses[..4], &houses[2..]] {
        run.end(cohort.to_vec(), VOID);
    }
    assert_eq!(run.isolation.suspects(), &houses[2..4]);
    run.end(houses[3..].to_vec(), VOID);
    assert_eq!(run.isolation.accused(), Some(&houses[3]));
    let without: Vec<HouseName> = houses.iter().filter(|house| **house != houses[3]).cloned().collect();
    assert_eq!(run.choose(&houses), Choice::Probe(without.clone()));
    run.end(without.clone(), VOID);
    assert_eq!((run.isolation.accused(), run.isolation.suspects()), (None, &without[..]));
    assert!(run.isolated().is_empty());
}

#[test]
fn the_largest_cohort_holds_and_the_probed_suspects_are_in_it() {
    let mut run = Run::new(9, &[], 3, 0);
    let houses = run.houses.clone();
    assert_eq!(run.isolation.expected(&houses, 3, 5), Choice::Everybody(houses[..5].to_vec()));
    run.end(houses[4..].to_vec(), VOID);
    run.end(houses[4..].to_vec(), VOID);
    let expected = [0, 1, 2, 4, 5].map(|n: usize| houses[n].clone()).to_vec();
    assert_eq!(run.isolation.expected(&houses, 3, 5), Choice::Probe(expected));
}
