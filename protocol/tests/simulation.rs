//! A thousand rounds in memory over a bad network, with crashes of everybody, a two-faced aggregator that claims false sums
//! now and then, and houses that lie, stay silent, complain or spoil rounds.
//!
//! A failure prints its seed; `PLAINCHANT_SEED=n cargo test -p protocol --test simulation` runs that seed alone.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;
mod sim;

use common::Shape;
use sim::Simulation;

const SEEDS: u64 = 40;
const ROUNDS_A_SEED: u32 = 25;

/// Four to nine members: with and without trustees, tolerance for absence, sealed answers, and a committee of some houses.
const SHAPES: [Shape; 7] = [
    Shape { houses: 4, trustees: 0, threshold: 3, min_cohort: 3, may_vanish: 1, policy: "aggregator", committee: None },
    Shape { houses: 4, trustees: 0, threshold: 4, min_cohort: 4, may_vanish: 0, policy: "clients", committee: None },
    Shape { houses: 5, trustees: 0, threshold: 4, min_cohort: 3, may_vanish: 1, policy: "clients", committee: None },
    Shape { houses: 4, trustees: 2, threshold: 4, min_cohort: 3, may_vanish: 1, policy: "aggregator", committee: None },
    Shape { houses: 6, trustees: 0, threshold: 4, min_cohort: 4, may_vanish: 2, policy: "aggregator", committee: None },
    Shape { houses: 8, trustees: 0, threshold: 5, min_cohort: 3, may_vanish: 1, policy: "clients", committee: None },
    Shape {
        houses: 8,
        trustees: 1,
        threshold: 3,
        min_cohort: 4,
        may_vanish: 1,
        policy: "aggregator",
        committee: Some(&[1, 2, 5, 7]),
    },
];

/// Prints the seed when the run that owns it panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failed with PLAINCHANT_SEED={}", self.0);
        }
    }
}

fn run(seed: u64, rounds: u32) -> Simulation {
    let seed = Seed(seed);
    // Most single rounds are of four houses: the others take several times as long.
    let shapes = if rounds > 1 || seed.0.is_multiple_of(20) { SHAPES.len() } else { 2 };
    let shape = &SHAPES[(seed.0 % shapes as u64) as usize];
    // Every other run of a shape that has more houses than a round needs has a house that spoils every round it is in.
    let spare = shape.houses > shape.min_cohort + shape.may_vanish && (seed.0 / SHAPES.len() as u64).is_multiple_of(2);
    let culprit = spare.then_some(seed.0 as usize * 7 % shape.houses);
    let mut simulation = Simulation::new(shape, rounds, seed.0, culprit);
    simulation.run();
    simulation
}

#[test]
fn a_thousand_rounds_count_everybody_at_most_once_and_open_one_set_each() {
    if let Ok(seed) = std::env::var("PLAINCHANT_SEED") {
        run(seed.parse().unwrap(), ROUNDS_A_SEED);
        return;
    }
    let (mut faults, mut rules) = ([0; 10], std::collections::BTreeMap::<&str, usize>::new());
    for seed in 0..SEEDS {
        let checker = run(seed, ROUNDS_A_SEED).checker;
        let abandoned: usize = checker.abandoned.values().sum();
        let complaints = checker.abandoned.get("wrong-envelope").copied().unwrap_or_default();
        let seen = [
            checker.server_crashes,
            checker.member_crashes,
            abandoned,
            checker.voided,
            checker.partial_cohorts,
            checker.wrong_sums,
            checker.false_checksums,
            checker.spot_checks,
            complaints,
            checker.clock_jumps,
        ];
        for (total, seen) in faults.iter_mut().zip(seen) {
            *total += seen;
        }
        for (rule, count) in checker.rejections {
            *rules.entry(rule).or_default() += count;
        }
    }
    let [server_crashes, member_crashes, abandoned, voided, partial, wrong_sums, lies, spot_checks, complaints, jumps] =
        faults;
    println!(
        "crashes: server {server_crashes}, members {member_crashes}; attempts abandoned {abandoned}, void {voided}; cohorts without everybody {partial}; false sums {wrong_sums}, false checksums {lies}, spot checks {spot_checks}, complaints {complaints}, clock jumps {jumps}; rejections {rules:?}"
    );
    // The run is worth something only if the faults happened.
    assert!(faults.iter().all(|count| *count > 10), "{faults:?}");
    for rule in ["second-opening", "second-claim"] {
        assert!(rules.get(rule).is_some_and(|count| *count > 10), "{rules:?}");
    }
}

/// One round a seed, so that it is the seeds that differ. CI plays 100,000 of them: `PLAINCHANT_SEEDS=100000`.
#[test]
fn thousands_of_seeds_of_one_round_keep_every_promise() {
    if let Ok(seed) = std::env::var("PLAINCHANT_SEED") {
        run(seed.parse().unwrap(), 1);
        return;
    }
    let seeds: u64 = std::env::var("PLAINCHANT_SEEDS").map_or(5_000, |seeds| seeds.parse().unwrap());
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let totals: Vec<[usize; 4]> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                scope.spawn(move || {
                    let mut total = [0; 4];
                    for seed in (first..seeds).step_by(threads as usize) {
                        let checker = run(seed, 1).checker;
                        total[0] += checker.server_crashes + checker.member_crashes;
                        total[1] += checker.abandoned.values().sum::<usize>();
                        total[2] += checker.partial_cohorts;
                        total[3] += checker.clock_jumps;
                    }
                    total
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let [crashes, abandoned, partial, jumps] =
        std::array::from_fn(|n| totals.iter().map(|total| total[n]).sum::<usize>());
    println!(
        "{seeds} seeds: {crashes} crashes, {abandoned} attempts abandoned, {partial} cohorts without everybody, {jumps} clock jumps"
    );
    assert!([crashes, abandoned, partial, jumps].iter().all(|count| *count as u64 > seeds / 100));
}
