//! `health`, as a container's health check runs it; and servers that do not start, or do not go on.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aggregator::server::{self, Config, ServeError};
use aggregator::setup::SetupError;
use aggregator::store::{Setting, Transition};
use common::{CHARTER, Member, Site, rule};
use protos::v1;

fn health(dir: &Path, listen: &str, more: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plainchant-aggregator"));
    let output = command.arg("health").arg(dir).args(["--listen", listen]).args(more).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(said.lines().count() <= 1 || output.status.code() == Some(2), "{said}");
    (output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_0_for_a_server_that_serves_1_for_one_that_does_not_and_2_for_what_must_change() {
    let mut site = Site::new(CHARTER).await;
    let other = Site::new(CHARTER).await;
    let addr = site.serve().await;
    let (dir, foreign) = (site.path(), other.path());
    let everywhere = format!("0.0.0.0:{}", addr.port());
    let here = addr.to_string();
    let asked = {
        let (dir, here) = (dir.clone(), here.clone());
        tokio::task::spawn_blocking(move || {
            let serving = [health(&dir, &here, &[]), health(&dir, &everywhere, &[])];
            let wrong_authority = health(&foreign, &here, &[]);
            let silent = TcpListener::bind("127.0.0.1:0").unwrap();
            let no_answer = health(&dir, &silent.local_addr().unwrap().to_string(), &["--seconds", "1"]);
            (serving, wrong_authority, no_answer)
        })
    };
    let (serving, wrong_authority, no_answer) = asked.await.unwrap();
    for said in serving {
        assert_eq!(said, (Some(0), format!("{here}: serving\n")));
    }
    assert!(wrong_authority.0 == Some(1) && wrong_authority.1.contains("certificate"), "{wrong_authority:?}");
    assert!(no_answer.0 == Some(1) && no_answer.1.contains("no answer within 1 s"), "{no_answer:?}");

    site.server.take().unwrap().shutdown().await.unwrap();
    let stopped = health(&dir, &here, &[]);
    assert!(stopped.0 == Some(1) && stopped.1.contains("refused"), "{stopped:?}");
    let nowhere = health(&dir.join("nowhere"), &here, &[]);
    assert!(nowhere.0 == Some(2) && nowhere.1.contains("authority.pem"), "{nowhere:?}");
    assert_eq!(health(&dir, "127.0.0.1:0", &[]).0, Some(2));
}

/// `serve` as it is started; gives its exit code and what it said.
async fn serve(dir: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_plainchant-aggregator"));
    command.arg("serve").arg(dir).args(["--listen", "127.0.0.1:0"]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_served_once_and_the_second_is_told_to_come_later() {
    let mut site = Site::new(CHARTER).await;
    site.serve().await;
    let second = serve(&site.path()).await;
    assert!(second.0 == Some(75) && second.1.contains("another `serve` is at work here"), "{second:?}");
    let path = site.path();
    let config = || Config::new(&path, "127.0.0.1:0".parse().unwrap());
    let within = server::start(config()).await;
    assert!(matches!(within, Err(ServeError::Setup(SetupError::Served(_)))));
    site.server.take().unwrap().kill().await;
    server::start(config()).await.unwrap().shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_somebody_holds_is_tried_again_later_and_one_that_is_none_is_not() {
    let site = Site::new(CHARTER).await;
    let database = site.path().join("plainchant.db");
    let holder = sqlx::sqlite::SqliteConnectOptions::new().filename(&database);
    let holder = holder.locking_mode(sqlx::sqlite::SqliteLockingMode::Exclusive);
    let mut holder = <sqlx::SqliteConnection as sqlx::Connection>::connect_with(&holder).await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut holder).await.unwrap();
    let held = serve(&site.path()).await;
    assert!(held.0 == Some(75) && held.1.contains("another program holds it"), "{held:?}");
    drop(holder);
    std::fs::write(&database, "this was a database").unwrap();
    let damaged = serve(&site.path()).await;
    assert!(damaged.0 == Some(2) && damaged.1.contains("restore it from a backup"), "{damaged:?}");
}

/// What a fault of ours would do: a panic of the task that plays the rounds.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_rounds_are_not_played_any_more_ends_so_that_it_is_started_again() {
    let mut site = Site::new(CHARTER).await;
    site.crash = Some(Arc::new(|transition, _| {
        assert!(transition != Transition::Set(Setting::Roster), "the engine's task is to end here");
    }));
    let addr = site.serve().await;
    for (secret, name) in (1..).zip(common::HOUSES) {
        // The last one's answer is lost.
        let _ = Member::try_join(&site, addr, name, secret).await;
    }
    let mut server = site.server.take().unwrap();
    let failed = tokio::time::timeout(Duration::from_secs(10), server.failed()).await.unwrap();
    assert!(matches!(failed, Err(ServeError::EngineEnded)), "{failed:?}");
    assert!(failed.unwrap_err().is_passing());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_seen_more_than_there_is_hears_that_an_older_copy_is_served() {
    let mut site = Site::new(CHARTER).await;
    let addr = site.serve().await;
    let mut abbey = Member::join(&site, addr, "abbey", 1).await;
    let last = site.home().await.store.last_event().await.unwrap();
    abbey.client.watch_events(v1::WatchEventsRequest { after: last }).await.unwrap();
    let beyond = abbey.client.watch_events(v1::WatchEventsRequest { after: last + 1 }).await.unwrap_err();
    assert_eq!((beyond.code(), rule(&beyond).as_str()), (tonic::Code::FailedPrecondition, "older-copy"));
    assert!(beyond.message().contains("`abbey` has seen event 1, and the last one here is 0"), "{beyond}");
}
