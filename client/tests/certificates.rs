//! A member's certificate over its life: renewed in time, too late, revoked and given anew.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use client::identity::Identity;
use client::join::{JoinError, join};
use client::round::RunError;
use common::{Federation, HOUSES, all_completed, as_if_joined, logs, wait_for};
use protocol::HouseName;

const ALL: &[usize] = &[0, 1, 2, 3];

fn days_left(federation: &Federation, house: &str) -> i64 {
    let ends_at_s = Identity::load(&federation.house(house)).unwrap().certificate_ends_at_s();
    // The test takes seconds.
    (ends_at_s - (aggregator::clock::now_ms() / 1000) as i64 + 43_200) / 86_400
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ends_within_thirty_days_is_renewed_and_one_that_has_ended_says_what_to_do() {
    logs();
    let federation = Federation::new("clients", 1, 0).await;
    as_if_joined(&federation, "abbey", 61).await;
    as_if_joined(&federation, "borough", 59).await;
    as_if_joined(&federation, "dale", 91).await;
    let late = federation.spawn("dale", federation.options("dale")).await.unwrap();
    let Err(error @ RunError::CertificateEnded { days: 1, .. }) = late else { panic!("{late:?}") };
    assert!(error.to_string().contains("`revoke` and `invite` dale again"), "{error}");
    as_if_joined(&federation, "dale", 0).await;
    assert_eq!([days_left(&federation, "abbey"), days_left(&federation, "borough")], [29, 31]);
    let tasks = HOUSES.map(|house| federation.spawn(house, federation.options(house)));
    let completed = all_completed(tasks.into()).await;
    assert_eq!(completed.state.as_bytes(), &federation.expected(&[ALL]).digest());
    assert_eq!([days_left(&federation, "abbey"), days_left(&federation, "borough")], [90, 31]);
    federation.stop().await;
}

/// The others go on without it; invited again, it joins in the same folder, and follows them.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_house_is_out_until_it_joins_again_in_its_own_folder() {
    logs();
    let federation = Federation::new("clients", 3, 0).await;
    let name = HouseName::new("dale").unwrap();
    let mut tasks: Vec<_> =
        HOUSES[..3].iter().map(|house| federation.spawn(house, federation.options(house))).collect();
    let dale = federation.spawn("dale", federation.options("dale"));
    wait_for(&federation.progress("dale"), "applied", 1).await;
    let home = aggregator::setup::open(&federation.house("aggregator")).await.unwrap();
    assert_eq!(home.revoke(&name).await.unwrap(), (1, 0));
    // Its calls fail as those of a lost connection, for as long as it tries.
    tokio::time::sleep(Duration::from_secs(3)).await;
    dale.abort();
    // Its folder is free once it is gone.
    let _ = dale.await;

    let url = format!("https://{}", federation.addr);
    let invitation = home.invite(&name, &url, &mut rand::rng()).await.unwrap();
    let elsewhere = join(&federation.house("abbey"), &invitation).await;
    assert!(matches!(elsewhere, Err(JoinError::AlreadyJoined(_))));
    join(&federation.house("dale"), &invitation).await.unwrap();
    home.store.close().await;
    tasks.push(federation.spawn("dale", federation.options("dale")));
    let completed = all_completed(tasks).await;
    assert_eq!(completed.rounds, 3);
    assert_eq!(federation.adapter("dale").digest(), federation.adapter("abbey").digest());
    federation.stop().await;
}
