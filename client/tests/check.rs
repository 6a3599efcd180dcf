//! The verifiable sum and wrong shares, in whole federations: who did it is named, and honest rounds go on.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/proxy.rs"]
mod proxy;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aggregator::FalseSum;
use client::crash::{Crash, Moment, Place};
use client::round::RunError;
use common::{Federation, HOUSES, all_completed, logs, wait_for};
use protocol::client::EffectKind;
use proxy::{Attack, redirect};
use tokio::task::JoinHandle;

const ALL: &[usize] = &[0, 1, 2, 3];
const WITHOUT_FIRST: &[usize] = &[1, 2, 3];

fn lines(federation: &Federation, house: &str, phase: &str) -> Vec<String> {
    let text = std::fs::read_to_string(federation.progress(house)).unwrap();
    let wanted = format!("\"phase\":\"{phase}\"");
    text.lines().filter(|line| line.contains(&wanted)).map(str::to_owned).collect()
}

/// The aggregator claims and serves a false sum: every house finds it void, and says whose fault it is.
async fn a_false_sum_is_refused_by_every_house(policy: &str, fault: FalseSum) {
    logs();
    let mut federation = Federation::new(policy, 1, 0).await;
    federation.fault = Some(fault);
    federation.crash_and_restart().await;
    let tasks: Vec<JoinHandle<_>> =
        HOUSES.iter().map(|house| federation.spawn(house, federation.options(house))).collect();
    for house in HOUSES {
        wait_for(&federation.progress(house), "void", 1).await;
        let accused = lines(&federation, house, "accused");
        assert!(accused[0].contains("the aggregator claims a sum that is not the sum"), "{house}: {accused:?}");
        assert!(accused.iter().all(|line| !line.contains("false checksum")), "no house is to blame: {accused:?}");
        assert!(lines(&federation, house, "void")[0].contains("wrong-sum"));
        assert!(lines(&federation, house, "applied").is_empty());
    }
    for task in tasks {
        task.abort();
        // Its folder is free once it is gone.
        let _ = task.await;
    }
    let home = aggregator::setup::open(&federation.house("aggregator")).await.unwrap();
    let status = aggregator::status::read(&home).await.unwrap();
    let none: [(String, &str); 0] = [];
    assert_eq!(
        (status.isolated.as_slice(), status.suspects.len()),
        (none.as_slice(), 0),
        "no house is left out for it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sum_with_a_contribution_left_out_is_refused_and_the_aggregator_named() {
    a_false_sum_is_refused_by_every_house("clients", FalseSum::LeftOut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sum_with_a_contribution_counted_twice_is_refused_and_the_aggregator_named() {
    a_false_sum_is_refused_by_every_house("aggregator", FalseSum::Twice).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sum_with_a_contribution_replaced_is_refused_and_the_aggregator_named() {
    a_false_sum_is_refused_by_every_house("clients", FalseSum::Substituted).await;
}

/// What one house is served differs from what was claimed. It signs nothing about it; the others go on, and it follows
/// them as soon as it is served the claimed sum.
#[tokio::test(flavor = "multi_thread")]
async fn a_house_that_is_served_another_sum_than_was_claimed_signs_nothing_and_is_not_lost() {
    logs();
    let federation = Federation::new("clients", 1, 0).await;
    let membership = federation.house("abbey").join("membership.toml");
    let direct = std::fs::read_to_string(&membership).unwrap();
    redirect(&federation, "abbey", Attack::OtherSum).await;
    let attacked = federation.spawn("abbey", federation.options("abbey"));
    let others: Vec<_> = HOUSES[1..].iter().map(|house| federation.spawn(house, federation.options(house))).collect();
    let completed = all_completed(others).await;
    assert_eq!(completed.state.as_bytes(), &federation.expected(&[ALL]).digest());
    wait_for(&federation.progress("abbey"), "accused", 1).await;
    attacked.abort();
    // Its folder is free once it is gone.
    let _ = attacked.await;
    let accused = lines(&federation, "abbey", "accused");
    assert!(accused[0].contains("the aggregator serves a sum with digest"), "{accused:?}");
    assert!(lines(&federation, "abbey", "void").is_empty() && lines(&federation, "abbey", "applied").is_empty());
    std::fs::write(&membership, direct).unwrap();
    let back = all_completed(vec![federation.spawn("abbey", federation.options("abbey"))]).await;
    assert_eq!(back, completed);
    federation.stop().await;
}

/// The sum is right, so the round counts; the others download every body to find out, and say who was wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_house_that_says_a_false_checksum_is_named_and_the_right_sum_still_counts() {
    logs();
    let federation = Federation::new("clients", 1, 0).await;
    redirect(&federation, "abbey", Attack::FalseChecksum).await;
    let completed = all_completed(HOUSES.map(|house| federation.spawn(house, federation.options(house))).into()).await;
    assert_eq!(completed.state.as_bytes(), &federation.expected(&[ALL]).digest());
    for house in HOUSES {
        let accused = lines(&federation, house, "accused");
        assert!(accused[0].contains("`abbey` says a false checksum of its own body"), "{house}: {accused:?}");
        assert_eq!(accused.iter().filter(|line| !line.contains("`abbey`")).count(), 0, "{accused:?}");
        assert!(lines(&federation, house, "void").is_empty());
    }
    federation.stop().await;
}

/// A house submits and is never seen again: the others look at its body themselves, and its contribution counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_house_that_vanishes_before_the_check_is_looked_at_by_the_others_and_counts() {
    logs();
    let federation = Federation::impatient("clients").await;
    let given = redirect(&federation, "borough", Attack::Nothing).await;
    let mut options = federation.options("abbey");
    options.crash = Crash::at(Place::Accepted);
    let leaving = federation.spawn("abbey", options);
    let others: Vec<_> = HOUSES[1..].iter().map(|house| federation.spawn(house, federation.options(house))).collect();
    let left = tokio::time::timeout(Duration::from_secs(60), leaving).await.unwrap().unwrap();
    assert!(matches!(left, Err(RunError::Stopped(_))), "{left:?}");
    let completed = all_completed(others).await;
    assert_eq!(completed.state.as_bytes(), &federation.expected(&[ALL]).digest());
    assert!(given.bodies.load(Ordering::Relaxed) >= 1, "the body of the house that has gone is downloaded");
    for house in &HOUSES[1..] {
        assert!(lines(&federation, house, "accused").is_empty());
    }
    federation.stop().await;
}

/// No message shows whose contribution is no encryption of small values; attempts over parts of the houses do, also when
/// the aggregator crashes in between: it works out from its record whom it suspects.
#[tokio::test(flavor = "multi_thread")]
async fn a_house_whose_contributions_spoil_every_sum_is_found_by_leaving_houses_out() {
    logs();
    let mut federation = Federation::new("clients", 2, 0).await;
    redirect(&federation, "abbey", Attack::SpoiltBody).await;
    let tasks = HOUSES.map(|house| federation.spawn(house, federation.options(house)));
    for voids in [2, 4] {
        wait_for(&federation.progress("county"), "void", voids).await;
        federation.crash_and_restart().await;
    }
    let completed = all_completed(tasks.into()).await;
    assert_eq!(completed.state.as_bytes(), &federation.expected(&[WITHOUT_FIRST, WITHOUT_FIRST]).digest());
    // All four twice; then three of them, until no void is left that `abbey` was not in.
    for house in &HOUSES[1..] {
        assert_eq!(lines(&federation, house, "void").len(), 5, "{house}");
        assert!(lines(&federation, house, "accused").is_empty(), "nobody said anything false");
    }
    let home = aggregator::setup::open(&federation.house("aggregator")).await.unwrap();
    let status = aggregator::status::read(&home).await.unwrap();
    assert_eq!((status.isolated, status.suspects), (vec![("abbey".to_owned(), "inferred")], Vec::new()));
    home.store.close().await;
    federation.stop().await;
}

/// An attempt that came to a cohort, and to nothing else: the aggregator says why it can not go on.
#[tokio::test(flavor = "multi_thread")]
async fn the_aggregator_halts_and_says_so_when_too_few_houses_may_still_be_charged() {
    logs();
    let federation = Federation::without_spare_attempts("clients").await;
    let path = federation.house("aggregator");
    redirect(&federation, "abbey", Attack::SpoiltBody).await;
    let tasks = HOUSES.map(|house| federation.spawn(house, federation.options(house)));
    let reason = async {
        loop {
            let home = aggregator::setup::open(&path).await.unwrap();
            let halted = aggregator::status::read(&home).await.unwrap().halted;
            home.store.close().await;
            if let Some(reason) = halted {
                return reason;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let reason = tokio::time::timeout(Duration::from_secs(60), reason).await.unwrap();
    assert!(reason.contains("only 0 houses may still be charged"), "{reason}");
    tasks.iter().for_each(JoinHandle::abort);
    federation.stop().await;
}

/// A house that cannot look at a body signs nothing; the round settles with the house that came back, and it follows.
async fn a_house_without_a_body_to_look_at_follows_the_others(attack: Attack) -> Vec<String> {
    logs();
    let federation = Federation::impatient("clients").await;
    let membership = federation.house("borough").join("membership.toml");
    let direct = std::fs::read_to_string(&membership).unwrap();
    let given = redirect(&federation, "borough", attack).await;
    let mut options = federation.options("abbey");
    options.crash = Crash::at(Place::Accepted);
    let leaving = federation.spawn("abbey", options);
    let mut others: Vec<_> =
        HOUSES[1..].iter().map(|house| federation.spawn(house, federation.options(house))).collect();
    let left = tokio::time::timeout(Duration::from_secs(60), leaving).await.unwrap().unwrap();
    assert!(matches!(left, Err(RunError::Stopped(_))), "{left:?}");
    while given.bodies.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    others.push(federation.spawn("abbey", federation.options("abbey")));
    if attack == Attack::OtherBody {
        // Once: after the last round bodies are gone as soon as it is settled, and then it follows the others.
        wait_for(&federation.progress("borough"), "accused", 1).await;
        let attacked = others.remove(0);
        attacked.abort();
        // Its folder is free once it is gone.
        let _ = attacked.await;
        std::fs::write(&membership, direct).unwrap();
        others.push(federation.spawn("borough", federation.options("borough")));
    }
    let completed = all_completed(others).await;
    assert_eq!(completed.state.as_bytes(), &federation.expected(&[ALL]).digest());
    assert!(lines(&federation, "borough", "void").is_empty());
    let accused = lines(&federation, "borough", "accused");
    federation.stop().await;
    accused
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_that_is_too_late_for_a_body_follows_the_others() {
    assert!(a_house_without_a_body_to_look_at_follows_the_others(Attack::NoBodies).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_that_is_shown_another_body_names_the_aggregator_and_is_not_lost() {
    let accused = a_house_without_a_body_to_look_at_follows_the_others(Attack::OtherBody).await;
    assert!(accused[0].contains("the aggregator shows another body of `abbey` than was signed"), "{accused:?}");
}

async fn readmit(federation: &Federation, house: &str) -> String {
    let args = ["plainchant-aggregator".into(), "readmit".into(), federation.house("aggregator").into(), house.into()];
    let args: Vec<OsString> = args.into();
    format!("{:?}", tokio::task::spawn_blocking(move || aggregator::cli::run(args)).await.unwrap())
}

/// A wrong share ends the attempt before anything is answered, also when its receiver crashes right after it complained. The
/// next attempts go on without the dealer, until the operator takes it in again.
#[tokio::test(flavor = "multi_thread")]
async fn a_house_that_seals_a_wrong_share_is_proved_wrong_and_left_out_until_it_is_readmitted() {
    logs();
    let federation = Federation::new("clients", 3, 0).await;
    redirect(&federation, "abbey", Attack::WrongShare).await;
    let mut options = federation.options("borough");
    options.crash = Crash::at(Place::Effect(EffectKind::SendComplaint, Moment::After));
    let complaining = federation.spawn("borough", options);
    let mut tasks: Vec<_> =
        ["abbey", "county", "dale"].iter().map(|house| federation.spawn(house, federation.options(house))).collect();
    let crashed = tokio::time::timeout(Duration::from_secs(60), complaining).await.unwrap().unwrap();
    assert!(matches!(crashed, Err(RunError::Stopped(_))), "{crashed:?}");
    let accused = lines(&federation, "borough", "accused");
    assert!(accused[0].contains("`abbey` sealed a wrong key share to this member"), "{accused:?}");
    let home = aggregator::setup::open(&federation.house("aggregator")).await.unwrap();
    let isolated = aggregator::status::read(&home).await.unwrap().isolated;
    assert_eq!(isolated, [("abbey".to_owned(), "proven")]);
    tasks.push(federation.spawn("borough", federation.options("borough")));

    wait_for(&federation.progress("county"), "applied", 1).await;
    assert_eq!(readmit(&federation, "county").await, format!("{:?}", ExitCode::from(2)), "it is not isolated");
    assert_eq!(readmit(&federation, "abbey").await, format!("{:?}", ExitCode::SUCCESS));
    let completed = all_completed(tasks).await;
    // It may have been readmitted too late for the second round.
    let histories = [[WITHOUT_FIRST, ALL, ALL], [WITHOUT_FIRST, WITHOUT_FIRST, ALL]];
    let histories = histories.map(|history| federation.expected(&history).digest());
    assert!(histories.contains(completed.state.as_bytes()));
    assert_eq!(lines(&federation, "county", "answered").len(), 3, "the attempt with the wrong share is not answered");
    assert!(lines(&federation, "county", "abandoned")[0].contains("wrong-envelope"));
    assert!(aggregator::status::read(&home).await.unwrap().isolated.is_empty());
    // The record's file has the complaint, and the audit its ground.
    let record = protocol::log::audit::audit(&aggregator::record::file(&home).await.unwrap().unwrap()).unwrap();
    let ended: Vec<String> = record.attempts.iter().map(protocol::log::audit::AuditedAttempt::ended).collect();
    assert!(ended[0].contains("house number 1 of the roster sealed a wrong share") && ended.len() == 4, "{ended:?}");
    home.store.close().await;
    federation.stop().await;
}
