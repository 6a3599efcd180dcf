//! What a house refuses of a malicious aggregator, and what the aggregator refuses of a malicious house, each by its rule.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/proxy.rs"]
mod proxy;

use std::sync::atomic::Ordering;
use std::time::Duration;

use client::crash::{Crash, Place};
use client::round::RunError;
use common::{Federation, HOUSES, all_completed, logs, wait_for};
use protocol::{Contribution, Digest, HouseName, Message as _, Signed, Signer};
use protos::convert::to_wire;
use protos::v1;
use proxy::{Attack, Given, as_member, redirect};
use tokio::task::JoinHandle;

/// Runs a federation in which the aggregator attacks the first house, until that house has refused something. Gives the
/// federation, the lines of that house's progress file and the number of answers it gave.
async fn attacked(kind: Attack) -> (Federation, String, usize) {
    logs();
    let federation = Federation::new("aggregator", 1, 1).await;
    let Given { answers, .. } = redirect(&federation, "abbey", kind).await;
    let tasks: Vec<JoinHandle<_>> =
        HOUSES.iter().map(|house| federation.spawn(house, federation.options(house))).collect();
    wait_for(&federation.progress("abbey"), "refused", 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    for task in tasks {
        task.abort();
        // Its folder is free once it is gone.
        let _ = task.await;
    }
    let lines = std::fs::read_to_string(federation.progress("abbey")).unwrap();
    let given = answers.load(Ordering::Relaxed);
    (federation, lines, given)
}

/// Under policy `clients` a state before the end would show the aggregator what one round came to.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_before_the_last_round_is_neither_approved_nor_handed_over() {
    logs();
    let federation = Federation::new("clients", 2, 1).await;
    let given = redirect(&federation, "abbey", Attack::EarlyEnd).await;
    let mut tasks: Vec<JoinHandle<_>> =
        HOUSES.iter().map(|house| federation.spawn(house, federation.options(house))).collect();
    let attacked = tokio::time::timeout(Duration::from_secs(60), tasks.remove(0)).await.unwrap().unwrap();
    assert!(matches!(attacked, Err(RunError::NotCompleted { settled: 0, rounds: 2 })), "{attacked:?}");
    assert_eq!(given.handed_over.load(Ordering::Relaxed), 0);
    tasks.iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_final_state_is_not_handed_over_on_the_aggregators_word_alone() {
    logs();
    let federation = Federation::new("clients", 1, 0).await;
    let given = redirect(&federation, "abbey", Attack::NoConsent).await;
    all_completed(HOUSES.map(|house| federation.spawn(house, federation.options(house))).into()).await;
    assert_eq!(given.handed_over.load(Ordering::Relaxed), 0);
    federation.stop().await;
}

/// A member that is too late with its answer goes on with the others, over the same connection.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_attempt_is_over_before_it_answered_is_not_stuck() {
    logs();
    let federation = Federation::new("aggregator", 2, 0).await;
    let given = redirect(&federation, "abbey", Attack::NoShares).await;
    let completed = all_completed(HOUSES.map(|house| federation.spawn(house, federation.options(house))).into()).await;
    assert_eq!((completed.rounds, given.answers.load(Ordering::Relaxed)), (2, 0));
    federation.stop().await;
}

/// An aggregator that invents houses shows a roster that nobody else has; a house that compared digests does not run with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_roster_that_the_house_did_not_approve_is_neither_pinned_nor_used() {
    logs();
    let federation = Federation::new("aggregator", 1, 0).await;
    let (config, state) = (federation.house("abbey").join("client.toml"), federation.house("abbey").join("state"));
    let text = std::fs::read_to_string(&config).unwrap();
    let approve = |digest: &str| {
        let with = text.replace("epsilon_ceiling", &format!("roster = \"{digest}\"\nepsilon_ceiling"));
        std::fs::write(&config, with).unwrap();
    };
    approve(&Digest::sha256(b"another roster").to_string());
    let refused = federation.spawn("abbey", federation.options("abbey")).await.unwrap();
    let Err(RunError::UnapprovedRoster { found, .. }) = refused else { panic!("{refused:?}") };
    assert!(!state.join("roster").exists() && !state.join("keys/0").exists());
    approve(&found.to_string());
    all_completed(HOUSES.map(|house| federation.spawn(house, federation.options(house))).into()).await;
    assert!(state.join("roster").exists());
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_under_another_charter_is_not_trained_for() {
    let (federation, lines, answers) = attacked(Attack::OtherCharter).await;
    assert!(lines.contains("wrong-charter: the aggregator"), "{lines}");
    assert!(!lines.contains("contributed") && answers == 0, "{lines}");
    let ledger = privacy::Ledger::open(federation.house("abbey").join("state/ledger")).unwrap();
    assert!(ledger.entries().is_empty(), "nothing was reserved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cohort_list_with_one_signature_altered_is_not_answered() {
    let (_, lines, answers) = attacked(Attack::AlteredSignature).await;
    assert!(lines.contains("bad-signature: the signature of member `borough`"), "{lines}");
    assert_eq!(answers, 0, "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_set_of_the_same_round_is_not_answered() {
    let (_, lines, answers) = attacked(Attack::SecondSet).await;
    assert!(lines.contains("second-opening: the aggregator asked to open a second set"), "{lines}");
    assert_eq!(answers, 1, "the first set was answered: {lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_claim_of_the_same_cohort_is_not_answered() {
    let (_, lines, answers) = attacked(Attack::OtherClaim).await;
    assert!(lines.contains("second-claim: the aggregator claimed two sums of one cohort"), "{lines}");
    assert_eq!(answers, 0, "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_contribution_and_one_in_anothers_name_are_refused() {
    logs();
    let federation = Federation::new("aggregator", 1, 1).await;
    let house = federation.house("abbey");
    let mut options = federation.options("abbey");
    options.crash = Crash::at(Place::Accepted);
    let first = federation.spawn("abbey", options);
    let others: Vec<_> = HOUSES[1..].iter().map(|house| federation.spawn(house, federation.options(house))).collect();
    let stopped = first.await.unwrap();
    assert!(matches!(stopped, Err(RunError::Stopped(_))), "{stopped:?}");

    let bytes = std::fs::read(house.join("state/rounds/1-1/manifest")).unwrap();
    let mut manifest = Signed::<Contribution>::from_bytes(&bytes).unwrap().unverified().unwrap();
    manifest.ciphertext = Digest::sha256(b"another ciphertext");
    let seed: [u8; 32] = std::fs::read(house.join("keys/signing")).unwrap().try_into().unwrap();
    let signer = Signer::new(HouseName::new("abbey").unwrap(), &seed);
    let authority = std::fs::read_to_string(federation.house("aggregator").join("authority.pem")).unwrap();
    let mut raw = as_member(&house, federation.addr, &authority).await;
    let submit = |signed: &Signed<Contribution>| {
        let header = v1::SubmitHeader { contribution: Some(to_wire(signed)), sealed_shares: Vec::new(), first: 0 };
        let part = v1::submit_request::Part::Header(header);
        futures::stream::iter(vec![v1::SubmitRequest { part: Some(part) }])
    };
    let refused = raw.submit(submit(&Signed::sign(&manifest, &signer))).await.unwrap_err();
    assert!(refused.message().contains("submitted two contributions"), "{refused:?}");

    manifest.member = HouseName::new("borough").unwrap();
    let seed: [u8; 32] = std::fs::read(federation.house("borough").join("keys/signing")).unwrap().try_into().unwrap();
    let stolen = Signed::sign(&manifest, &Signer::new(manifest.member.clone(), &seed));
    let refused = raw.submit(submit(&stolen)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::PermissionDenied, "{refused:?}");
    others.iter().for_each(JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_joins_one_member_once_and_only_under_its_charter() {
    logs();
    let federation = Federation::new("aggregator", 1, 0).await;
    let membership = client::identity::Identity::load(&federation.house("abbey")).unwrap();
    assert_eq!(membership.charter.digest(), federation.charter.digest());
    let again =
        client::join::join(&federation.house("abbey"), &invitation(&federation, federation.charter.digest())).await;
    assert!(
        matches!(again, Err(client::join::JoinError::Refused { .. })),
        "a guessed token, for a member that has joined"
    );
    let other =
        client::join::join(&federation.house("abbey"), &invitation(&federation, Digest::sha256(b"another"))).await;
    assert!(matches!(other, Err(client::join::JoinError::AlreadyJoined(_))));
    let guessed =
        client::join::join(&federation.house("new"), &invitation(&federation, federation.charter.digest())).await;
    assert!(matches!(guessed, Err(client::join::JoinError::Refused { .. })), "a guessed token");
    federation.stop().await;
}

/// An invitation with a token that was never given out.
fn invitation(federation: &Federation, charter: Digest) -> protocol::Invitation {
    protocol::Invitation {
        url: format!("https://{}", federation.addr),
        authority: std::fs::read(federation.house("abbey").join("authority.der")).unwrap(),
        charter,
        name: HouseName::new("abbey").unwrap(),
        token: [7; 32],
    }
}

/// Nobody listens: what is not refused before anything is sent finds nobody.
#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_with_another_fingerprint_than_was_heard_is_not_used() {
    let federation = Federation::that_dies_often("aggregator", 1).await;
    let dir = federation.house("abbey");
    let invitation = dir.join("invitation");
    let text = std::fs::read_to_string(&invitation).unwrap();
    let right = text.parse::<protocol::Invitation>().unwrap().fingerprint();
    let files = || std::fs::read_dir(&dir).unwrap().count();
    let before = files();
    for (fingerprint, code) in [("1234 5678 9abc def0 1234", 2), (&*right.replace(' ', "-").to_uppercase(), 75)] {
        let args: [std::ffi::OsString; 7] = [
            "plainchant-client".into(),
            "join".into(),
            dir.clone().into(),
            "--invitation-file".into(),
            invitation.clone().into(),
            "--fingerprint".into(),
            fingerprint.into(),
        ];
        let found = tokio::task::spawn_blocking(move || client::cli::run(args)).await.unwrap();
        assert_eq!(format!("{found:?}"), format!("{:?}", std::process::ExitCode::from(code)), "{fingerprint}");
        assert_eq!(files() > before, code == 75, "keys are made for an invitation that is used");
    }
}
