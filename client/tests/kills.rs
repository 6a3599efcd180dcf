//! `kill -9` of the aggregator at every durable change and of houses at every place of their own, over real sockets and real
//! processes: nothing that was acknowledged is lost, nothing is counted twice, no one-time key is used twice, and everybody ends with
//! the state that the record's cohorts add up to.
//!
//! The places come from the types: a new kind of change does not build here before it has a scenario, and a place that no process
//! reached fails the test. `PLAINCHANT_SEED=n` plays one run again, `PLAINCHANT_KILL_RUNS=n` plays so many of each policy, one by default; the table of
//! docs/endurance.md says how many were played.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/process.rs"]
mod process_of;
#[path = "common/proxy.rs"]
mod proxy;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use aggregator::store::{Moment, Place as Blob, Setting, Transition};
use client::crash::{Kept, Moment as Edge, Place};
use client::store::peek_metrics;
use common::{Federation, HOUSES, as_if_joined};
use process_of::{AGGREGATOR, OPERATOR, Process, revoked_by};
use protocol::charter::ReleasePolicy;
use protocol::client::EffectKind;
use protocol::server::{Event, EventKind, Input};
use protocol::{Conclusion, Message as _, RecordLeaf, RoundNumber, Verdict};
use proxy::{Attack, redirect};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use terms::CurvePoint;

/// Rounds in which all places of honest rounds are reached.
const ROUNDS: u32 = 16;
/// Longer than a round is open.
const AWHILE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(300);

/// Whether an honest run under this policy comes to this change. The others have tests of their own below.
fn in_an_honest_run(transition: Transition, policy: &str) -> bool {
    match transition {
        Transition::Step(kind) => match kind {
            EventKind::Ready
            | EventKind::Announced
            | EventKind::Contribution
            | EventKind::Tick
            | EventKind::Claimed
            | EventKind::Checksum
            | EventKind::Answer
            | EventKind::Outcome => true,
            EventKind::Complaint | EventKind::FalseAnswer | EventKind::Stop => false,
        },
        Transition::Set(setting) => match setting {
            Setting::Roster | Setting::FinalState => true,
            Setting::State => policy == "aggregator",
            Setting::Halted => false,
        },
        Transition::Enrol | Transition::Keys | Transition::Upload | Transition::Clear | Transition::Cosignature => true,
        Transition::Put(Blob::Attempt | Blob::Kept) | Transition::Approval => true,
        Transition::Invite | Transition::Renew | Transition::Revoke | Transition::Readmission => false,
    }
}

fn in_an_honest_house(place: &Place) -> bool {
    match place {
        Place::Effect(kind, _) => match kind {
            EffectKind::Remember
            | EffectKind::SendReady
            | EffectKind::Train
            | EffectKind::Submit
            | EffectKind::CheckShares
            | EffectKind::Check
            | EffectKind::SendChecksum
            | EffectKind::Answer
            | EffectKind::SendAnswer
            | EffectKind::EraseOneTimeKeys
            | EffectKind::Combine
            | EffectKind::SendOutcome
            | EffectKind::Settled => true,
            EffectKind::SendComplaint => false,
        },
        Place::Kept(Kept::Renewal, _) => false,
        Place::Kept(..) | Place::Ledger(..) | Place::Accepted => true,
    }
}

/// What is being waited for while a test process lives; no test by itself.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the other tests start it"]
async fn process() {
    process_of::live().await;
}

fn seed() -> u64 {
    let seed = std::env::var("PLAINCHANT_SEED").map_or_else(|_| rand::rng().random(), |seed| seed.parse().unwrap());
    eprintln!("PLAINCHANT_SEED={seed}");
    seed
}

fn moments(transition: Transition) -> impl Iterator<Item = (String, bool)> {
    let often = matches!(transition, Transition::Step(_) | Transition::Put(_) | Transition::Upload | Transition::Clear);
    transition.moments().iter().map(move |moment| (format!("{transition:?} {moment:?}"), !often))
}

fn place_of_a_house(place: &Place) -> (String, bool) {
    use Kept::{
        Authority, Certificate, Charter, MailboxKey, Membership, NextKey, OneTimeKey, Roster, SigningKey, TlsKey,
    };
    let joining =
        [TlsKey, SigningKey, MailboxKey, Authority, Charter, Certificate, Membership, Roster, NextKey, OneTimeKey];
    (format!("{place:?}"), matches!(place, Place::Kept(kept, _) if joining.contains(kept)))
}

/// Lets all processes live, die and come back until every house has completed. Gives the number of kills.
async fn until_completed(
    aggregator: &mut Process,
    houses: &mut [Process],
    rest: fn(&mut StdRng) -> Duration,
    rng: &mut StdRng,
) -> usize {
    let start = Instant::now();
    loop {
        aggregator.tend(Duration::ZERO, rng);
        let mut ended = 0;
        for house in houses.iter_mut() {
            let rest = rest(rng);
            ended += usize::from(house.tend(rest, rng));
        }
        if ended == houses.len() {
            break;
        }
        // A round that closes by the clock, since somebody is away at any moment of it.
        let wanted = aggregator.missed().iter().any(|place| place.contains("Tick"));
        if wanted && rng.random_ratio(1, 200) && !houses.iter().any(Process::rests) {
            houses[rng.random_range(0..4)].kill_for(AWHILE);
        }
        assert!(start.elapsed() < PATIENCE, "not completed in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    aggregator.kill();
    let missed: Vec<String> = houses.iter().chain([&*aggregator]).flat_map(Process::missed).collect();
    assert!(missed.is_empty(), "never reached: {missed:#?}");
    houses.iter().chain([&*aggregator]).map(|process| process.died).sum()
}

async fn dies_everywhere(policy: &str) {
    let runs = std::env::var("PLAINCHANT_KILL_RUNS").map_or(1, |runs| runs.parse().unwrap());
    for _ in 0..runs {
        one_run(policy).await;
    }
}

async fn one_run(policy: &str) {
    let mut rng = StdRng::seed_from_u64(seed());
    let federation = Federation::that_dies_often(policy, ROUNDS).await;
    let (dir, addr) = (federation.path(), federation.addr);
    let honest = Transition::all().into_iter().filter(|one| in_an_honest_run(*one, policy));
    let mut aggregator = Process::new(AGGREGATOR, dir, addr, honest.flat_map(moments).collect());
    let mut places: [Vec<(String, bool)>; 4] = std::array::from_fn(|_| Vec::new());
    for place in Place::all().iter().filter(|place| in_an_honest_house(place)) {
        places[rng.random_range(0..4)].push(place_of_a_house(place));
    }
    let houses = HOUSES.iter().zip(places).map(|(house, places)| Process::new(house, dir, addr, places));
    let mut houses: Vec<Process> = houses.collect();
    // Most come back at once; some are missed at the close.
    let rest = |rng: &mut StdRng| if rng.random_ratio(1, 4) { AWHILE } else { Duration::ZERO };
    let kills = until_completed(&mut aggregator, &mut houses, rest, &mut rng).await;
    let attempts = audit(&federation).await;
    println!(
        "policy {policy}: {kills} kills, {attempts} attempts, {ROUNDS} rounds; nothing lost, nothing counted twice; the aggregator listened again within {} ms",
        aggregator.slowest_start.as_millis()
    );
}

/// What must hold of all that is stored, after everybody has completed. Gives the number of attempts.
async fn audit(federation: &Federation) -> usize {
    let home = aggregator::setup::open(&federation.house(AGGREGATOR)).await.unwrap();
    let leaves = home.store.leaves().await.unwrap();
    let leaves: Vec<RecordLeaf> = leaves.iter().map(|leaf| RecordLeaf::from_bytes(leaf).unwrap()).collect();

    // Everybody's state is what the record's cohorts add up to, to the bit: a house counted twice or not at all is another sum.
    let applied = |leaf: &&RecordLeaf| matches!(leaf.conclusion, Conclusion::Settled(Verdict::Applied { .. }));
    let number = |house: &str| HOUSES.iter().position(|name| *name == house).unwrap();
    let cohorts: Vec<Vec<usize>> = leaves
        .iter()
        .filter(applied)
        .map(|leaf| leaf.houses.iter().map(|house| number(house.as_str())).collect())
        .collect();
    assert_eq!(cohorts.len(), ROUNDS as usize);
    let cohorts: Vec<&[usize]> = cohorts.iter().map(Vec::as_slice).collect();
    let expected = federation.expected(&cohorts);
    for house in HOUSES {
        assert_eq!(federation.adapter(house).digest(), expected.adapter().digest(), "{house}");
    }
    let kept = home.store.setting(Setting::FinalState).await.unwrap().unwrap();
    let kept = protocol::Digest::from_bytes(kept.try_into().unwrap());
    let kept = home.store.blobs().get(aggregator::store::Shelf::Kept, &kept).await.unwrap();
    assert_eq!(kept, expected.to_bytes());

    // The metrics of each evaluated round are of the attempt that was applied, at the aggregator and in every house.
    let evaluated: Vec<(u32, usize)> = leaves
        .iter()
        .filter(applied)
        .filter(|leaf| federation.charter.is_evaluated(leaf.round))
        .map(|leaf| (leaf.round.get(), leaf.houses.len()))
        .collect();
    assert_eq!(evaluated.len(), ROUNDS as usize / 2);
    let points =
        |points: Vec<CurvePoint>| -> Vec<_> { points.iter().map(|point| (point.round, point.houses)).collect() };
    let opens = federation.charter.release.policy == ReleasePolicy::Aggregator;
    assert_eq!(points(home.store.metrics().await.unwrap()), if opens { evaluated.clone() } else { Vec::new() });
    let after = RoundNumber::new(ROUNDS + 1).unwrap();
    for house in HOUSES {
        assert_eq!(points(peek_metrics(&federation.house(house), after).unwrap()), evaluated, "{house}");
    }

    // No one-time key is in two announcements, and no answer to a second set or sum and no second contribution was accepted.
    let (mut keys, mut by_attempt) = (BTreeSet::new(), BTreeMap::new());
    for leaf in &leaves {
        let (mut sets, mut contributed) = (BTreeSet::new(), BTreeSet::new());
        for step in home.store.steps(leaf.round, leaf.attempt).await.unwrap() {
            match Input::from_bytes(&step.body).unwrap().event {
                Event::Announced(signed) => {
                    for seat in signed.unverified().unwrap().committee {
                        assert!(keys.insert(seat.offer.unverified().unwrap().key), "a one-time key is used twice");
                    }
                }
                Event::Contribution(signed) => assert!(contributed.insert(signed.signer().clone())),
                Event::Answer(signed) => {
                    let answer = signed.unverified().unwrap();
                    sets.insert((answer.cohort, answer.body_sum));
                }
                _ => {}
            }
        }
        assert!(sets.len() <= 1, "two sets are answered in round {} attempt {}", leaf.round, leaf.attempt);
        if let Conclusion::Settled(_) = leaf.conclusion {
            assert_eq!(leaf.houses.iter().cloned().collect::<BTreeSet<_>>(), contributed);
        }
        by_attempt.insert((leaf.round.get(), leaf.attempt.get()), leaf);
    }

    for house in HOUSES {
        // What was acknowledged counts, wherever its attempt came to a sum.
        let lines = std::fs::read_to_string(federation.progress(house)).unwrap();
        for line in lines.lines().filter(|line| line.contains("\"phase\":\"contributed\"")) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let place = (line["round"].as_u64().unwrap() as u32, line["attempt"].as_u64().unwrap() as u32);
            let leaf = by_attempt[&place];
            let counted = leaf.houses.iter().any(|name| name.as_str() == house);
            assert!(counted || leaf.cohort.is_none(), "{house} is lost from round {} attempt {}", place.0, place.1);
        }
        // And what counts was charged before.
        let ledger = privacy::Ledger::open(federation.house(house).join("state/ledger")).unwrap();
        for leaf in leaves.iter().filter(|leaf| leaf.houses.iter().any(|name| name.as_str() == house)) {
            let charged = |entry: &&privacy::Entry| {
                entry.round == u64::from(leaf.round.get())
                    && entry.attempt == leaf.attempt.get()
                    && ledger.is_confirmed(entry)
            };
            assert!(ledger.entries().iter().any(|entry| charged(&entry)), "{house}: {:?}", leaf.round);
        }
    }
    let last = RoundNumber::new(ROUNDS).unwrap();
    assert!(leaves.iter().any(|leaf| leaf.round == last));
    home.store.close().await;
    leaves.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_change_nothing_is_lost_or_counted_twice_under_policy_clients() {
    dies_everywhere("clients").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_every_change_nothing_is_lost_or_counted_twice_under_policy_aggregator() {
    dies_everywhere("aggregator").await;
}

/// `abbey` misbehaves; the aggregator dies at every moment of what follows from it, and another house at these places.
async fn dies_with(
    attack: Attack,
    rounds: u32,
    consequence: EventKind,
    (dying, places): (&str, &[Place]),
    rest: fn(&mut StdRng) -> Duration,
) -> Federation {
    let mut rng = StdRng::seed_from_u64(seed());
    let mut federation = Federation::new("aggregator", rounds, 0).await;
    redirect(&federation, "abbey", attack).await;
    federation.halt().await;
    let (dir, addr) = (federation.path(), federation.addr);
    let mut aggregator = Process::new(AGGREGATOR, dir, addr, moments(Transition::Step(consequence)).collect());
    let places = |house| if house == dying { places.iter().map(place_of_a_house).collect() } else { Vec::new() };
    let mut houses = HOUSES.map(|house| Process::new(house, dir, addr, places(house)));
    until_completed(&mut aggregator, &mut houses, rest, &mut rng).await;
    federation
}

fn at_once(_: &mut StdRng) -> Duration {
    Duration::ZERO
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_wrong_share_is_proved_its_dealer_is_left_out_and_the_others_go_on() {
    let complaining = [Edge::Before, Edge::After].map(|moment| Place::Effect(EffectKind::SendComplaint, moment));
    let federation = dies_with(Attack::WrongShare, 2, EventKind::Complaint, ("borough", &complaining), at_once).await;
    let without_dealer: &[usize] = &[1, 2, 3];
    let expected = federation.expected(&[without_dealer, without_dealer]);
    assert_eq!(federation.adapter("dale").digest(), expected.adapter().digest());
}

/// `dale` is away when the others answer, so that the false answer is one of three that must open.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_a_false_answer_is_found_the_others_answers_open_the_sum() {
    let dale = ("dale", [Place::Effect(EffectKind::Answer, Edge::Before)].as_slice());
    let federation = dies_with(Attack::FalseAnswer, 2, EventKind::FalseAnswer, dale, |_| AWHILE).await;
    let all: &[usize] = &[0, 1, 2, 3];
    assert_eq!(federation.adapter("dale").digest(), federation.expected(&[all; 2]).adapter().digest());
}

/// The bodies of a fixed cohort are damaged on the disk: the attempt is given up, and the next one counts.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_an_attempt_with_damaged_bodies_is_given_up_the_next_one_counts() {
    let mut rng = StdRng::seed_from_u64(seed());
    let mut federation = Federation::new("clients", 2, 0).await;
    federation.halt().await;
    let (dir, addr) = (federation.path(), federation.addr);
    let before = format!("{:?} {:?}", Transition::Step(EventKind::Claimed), Moment::Before);
    let mut aggregator = Process::new(AGGREGATOR, dir, addr, vec![(before, true)]);
    let mut houses = HOUSES.map(|house| Process::new(house, dir, addr, Vec::new()));
    while aggregator.died == 0 {
        aggregator.tend(PATIENCE, &mut rng);
        houses.iter_mut().for_each(|house| assert!(!house.tend(Duration::ZERO, &mut rng)));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut damaged = 0;
    for attempt in std::fs::read_dir(dir.join(AGGREGATOR).join("blobs/attempts")).unwrap() {
        for blob in std::fs::read_dir(attempt.unwrap().path()).unwrap() {
            let path = blob.unwrap().path();
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[1] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged >= 4, "each house has a body and shares: {damaged}");
    let mut aggregator = Process::new(AGGREGATOR, dir, addr, moments(Transition::Step(EventKind::Stop)).collect());
    until_completed(&mut aggregator, &mut houses, at_once, &mut rng).await;
    let all: &[usize] = &[0, 1, 2, 3];
    assert_eq!(federation.adapter("dale").digest(), federation.expected(&[all, all]).adapter().digest());
}

/// What the operator changes beside the server is there, or it is not.
#[tokio::test(flavor = "multi_thread")]
async fn killed_beside_the_server_a_change_of_the_operator_is_whole_or_not_made() {
    let mut rng = StdRng::seed_from_u64(seed());
    let mut federation = Federation::new("clients", 1, 0).await;
    federation.halt().await;
    let dir = federation.house(AGGREGATOR);
    let changes = [
        Transition::Invite,
        Transition::Renew,
        Transition::Revoke,
        Transition::Readmission,
        Transition::Set(Setting::Halted),
    ];
    let places = changes.into_iter().flat_map(|change| change.moments().iter().map(move |moment| (change, *moment)));
    for (number, (change, moment)) in (1..).zip(places) {
        let role = format!("{OPERATOR}{number}");
        let place = (format!("{change:?} {moment:?}"), true);
        let mut operator = Process::new(&role, federation.path(), federation.addr, vec![place]);
        for is_there in [moment == Moment::After, true] {
            let died = operator.died;
            while !operator.tend(Duration::ZERO, &mut rng) && operator.died == died {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let store = aggregator::setup::open(&dir).await.unwrap().store;
            let found = match change {
                Transition::Invite => {
                    store.is_invited([number; 32], &protocol::HouseName::new("abbey").unwrap()).await.unwrap()
                }
                Transition::Renew => store.certificate([number; 32]).await.unwrap().is_some(),
                Transition::Revoke => store.revoked().await.unwrap().contains(&revoked_by(number).unwrap()),
                Transition::Readmission => {
                    store.readmissions().await.unwrap().iter().any(|(_, leaves)| *leaves == u64::from(number))
                }
                _ => store.setting(Setting::Halted).await.unwrap() == Some(vec![number]),
            };
            assert_eq!(found, is_there, "{change:?} {moment:?}");
            store.close().await;
        }
    }
}

/// Near its end, each certificate is renewed, whoever dies while it is.
#[tokio::test(flavor = "multi_thread")]
async fn killed_while_certificates_are_renewed_every_house_has_one_that_works() {
    let mut rng = StdRng::seed_from_u64(seed());
    let mut federation = Federation::new("clients", 1, 0).await;
    for house in HOUSES {
        as_if_joined(&federation, house, 61).await;
    }
    federation.halt().await;
    let (dir, addr) = (federation.path(), federation.addr);
    let mut aggregator = Process::new(AGGREGATOR, dir, addr, moments(Transition::Renew).collect());
    let renewing = [Edge::Before, Edge::After].map(|moment| place_of_a_house(&Place::Kept(Kept::Renewal, moment)));
    let mut houses = HOUSES.map(|house| Process::new(house, dir, addr, renewing.to_vec()));
    until_completed(&mut aggregator, &mut houses, at_once, &mut rng).await;
    let all: &[usize] = &[0, 1, 2, 3];
    assert_eq!(federation.adapter("dale").digest(), federation.expected(&[all]).adapter().digest());
    for house in HOUSES {
        let ends_at_s = client::identity::Identity::load(&federation.house(house)).unwrap().certificate_ends_at_s();
        assert!(ends_at_s as u64 * 1000 > aggregator::clock::now_ms() + 89 * 86_400_000, "{house}");
    }
}
