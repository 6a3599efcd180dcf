//! What operators and houses run into while a federation runs, over real TLS sockets: a client ends with what to do where only a person can mend it, and goes on
//! by itself where not.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adapter::State;
use aggregator::store::{Moment, Setting, Transition};
use client::round::{Completed, RunError};
use client::trainer::Trainer;
use common::{Federation, HOUSES, all_completed, copy, logs, wait_for};
use protocol::HouseName;
use tokio::task::JoinHandle;
use training::{Part, TrainError, Trained};

const ALL: &[usize] = &[0, 1, 2, 3];
const WITHOUT_FIRST: &[usize] = &[1, 2, 3];
/// Who can be in a round's cohort: a house that comes back late is left out of one.
const COHORTS: [&[usize]; 5] = [ALL, WITHOUT_FIRST, &[0, 2, 3], &[0, 1, 3], &[0, 1, 2]];

type Running = JoinHandle<Result<Completed, RunError>>;

fn all(federation: &Federation) -> Vec<Running> {
    HOUSES.iter().map(|house| federation.spawn(house, federation.options(house))).collect()
}

/// Ends clients as a crash would; their folders are free then.
async fn end(tasks: Vec<Running>) {
    for task in tasks {
        task.abort();
        let _ = task.await;
    }
}

fn told(federation: &Federation, house: &str) -> String {
    std::fs::read_to_string(federation.progress(house)).unwrap()
}

fn count(federation: &Federation, house: &str, phase: &str) -> usize {
    told(federation, house).matches(&format!("\"phase\":\"{phase}\"")).count()
}

/// Runs the program with these arguments; its exit code.
async fn program(verb: &[&str], dir: &Path, more: &[&str]) -> String {
    let mut args: Vec<std::ffi::OsString> = vec!["plainchant-client".into()];
    args.extend(verb.iter().map(Into::into));
    args.push(dir.into());
    args.extend(more.iter().map(Into::into));
    format!("{:?}", tokio::task::spawn_blocking(move || client::cli::run(args)).await.unwrap())
}

fn code(code: u8) -> String {
    format!("{:?}", ExitCode::from(code))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_that_is_revoked_ends_with_what_to_do_and_goes_on_once_it_joined_by_a_new_invitation() {
    logs();
    let federation = Federation::new("aggregator", 4, 1).await;
    let (abbey, name) = (federation.house("abbey"), HouseName::new("abbey").unwrap());
    let mut tasks = all(&federation);
    wait_for(&federation.progress("abbey"), "applied", 1).await;
    let home = aggregator::setup::open(&federation.house("aggregator")).await.unwrap();
    home.revoke(&name).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), tasks.remove(0)).await.unwrap().unwrap().unwrap_err();
    assert!(matches!(ended, RunError::NotLetIn(_)), "{ended:?}");
    let said = ended.to_string();
    for part in ["revoked", "`invite`", "`join` with that invitation in the same folder"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // A service that starts again is told so at once; its model, which is not there, is not looked for.
    assert_eq!(program(&["run"], &abbey, &[]).await, code(2));
    let again = federation.spawn("abbey", federation.options("abbey")).await.unwrap().unwrap_err();
    assert!(matches!(again, RunError::NotLetIn(_)), "{again:?}");

    let url = format!("https://{}", federation.addr);
    let invitation = home.invite(&name, &url, &mut rand::rng()).await.unwrap();
    home.store.close().await;
    client::join::join(&abbey, &invitation).await.unwrap();
    tasks.push(federation.spawn("abbey", federation.options("abbey")));
    let completed = all_completed(tasks).await;
    assert!(federation.reachable(4, &COHORTS).contains(completed.state.as_bytes()));
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_aggregators_folder_is_told_once_and_waited_out() {
    logs();
    let mut federation = Federation::new("aggregator", 4, 0).await;
    let (served, aside) = (federation.house("aggregator"), tempfile::tempdir().unwrap());
    let (older, newest) = (aside.path().join("older"), aside.path().join("newest"));
    let tasks = all(&federation);
    for (rounds, kept) in [(1, &older), (2, &newest)] {
        for house in HOUSES {
            wait_for(&federation.progress(house), "applied", rounds).await;
        }
        federation.halt().await;
        copy(&served, kept);
        if rounds == 1 {
            federation.serve().await;
        }
    }
    std::fs::remove_dir_all(&served).unwrap();
    copy(&older, &served);
    federation.serve().await;
    for house in HOUSES {
        wait_for(&federation.progress(house), "waiting", 1).await;
    }
    // Their longest wait is 0.2 s: they ask some ten times more.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (house, task) in HOUSES.iter().zip(&tasks) {
        assert!(!task.is_finished(), "{house} has ended");
        assert_eq!(count(&federation, house, "waiting"), 1, "{}", told(&federation, house));
        let told = told(&federation, house);
        assert!(told.contains("older-copy") && told.contains("must put the newest one back"), "{told}");
    }
    federation.halt().await;
    std::fs::remove_dir_all(&served).unwrap();
    copy(&newest, &served);
    federation.serve().await;
    let completed = all_completed(tasks).await;
    assert!(federation.reachable(4, &COHORTS).contains(completed.state.as_bytes()));
    federation.stop().await;
}

/// Its disk takes nothing more from the first approval on.
#[tokio::test(flavor = "multi_thread")]
async fn a_final_state_that_the_aggregator_cannot_keep_at_first_is_handed_over_once_it_can() {
    logs();
    let mut federation = Federation::new("clients", 1, 0).await;
    let kept = federation.house("aggregator").join("blobs/kept");
    let away = kept.with_extension("away");
    let in_the_way = Arc::new(AtomicBool::new(false));
    let (place, aside, set) = (kept.clone(), away.clone(), Arc::clone(&in_the_way));
    federation.hook = Some(Arc::new(move |transition, moment| {
        if (transition, moment) == (Transition::Approval, Moment::Before) && !set.swap(true, Ordering::Relaxed) {
            std::fs::rename(&place, &aside).unwrap();
            std::fs::write(&place, b"a plain file").unwrap();
        }
    }));
    federation.crash_and_restart().await;
    let tasks = all(&federation);
    let store = aggregator::setup::open(&federation.house("aggregator")).await.unwrap().store;
    for _ in 0..600 {
        if store.approvals().await.unwrap().len() >= 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Longer than three tries within a second.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(in_the_way.load(Ordering::Relaxed) && store.setting(Setting::FinalState).await.unwrap().is_none());
    assert!(tasks.iter().any(|task| !task.is_finished()), "nobody is left to hand it over");
    std::fs::remove_file(&kept).unwrap();
    std::fs::rename(&away, &kept).unwrap();
    let completed = all_completed(tasks).await;
    assert_eq!(completed.state.as_bytes(), &federation.expected(&[ALL]).digest());
    let blob = store.setting(Setting::FinalState).await.unwrap().unwrap();
    let handed_over = std::fs::read(kept.join(protocol::Digest::from_bytes(blob.try_into().unwrap()).to_string()));
    assert_eq!(handed_over.unwrap(), federation.expected(&[ALL]).to_bytes());
    store.close().await;
    federation.stop().await;
}

/// Fails at every row, or ends in a panic.
struct Broken(bool);

impl Trainer for Broken {
    fn contribution(&mut self, _: &Part<'_>, _: &State) -> Result<Trained, TrainError> {
        assert!(!self.0, "a device that is gone");
        Err(TrainError::Encrypt("the rows are gone".to_owned()))
    }
}

async fn a_house_whose_training_fails(panics: bool) {
    logs();
    let federation = Federation::new("aggregator", 2, 0).await;
    let mut tasks = vec![federation.spawn_with("abbey", Box::new(Broken(panics)))];
    tasks.extend(HOUSES[1..].iter().map(|house| federation.spawn(house, federation.options(house))));
    let completed = all_completed(tasks).await;
    assert_eq!(completed.state.as_bytes(), &federation.expected(&[WITHOUT_FIRST, WITHOUT_FIRST]).digest());
    let ledger = privacy::Ledger::open(federation.house("abbey").join("state/ledger")).unwrap();
    let charged: Vec<_> = ledger.entries().iter().map(|entry| (entry.round, entry.attempt)).collect();
    assert_eq!(charged, [(1, 1)], "the attempt that failed, and no other");
    let told = told(&federation, "abbey");
    assert!(told.contains("training failed: ") && told.contains("restart the client once this is mended"), "{told}");
    assert_eq!(count(&federation, "abbey", "ready"), 1, "{told}");
    assert!(count(&federation, "abbey", "answered") >= 1, "it answers for the others: {told}");
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_whose_training_fails_is_charged_once_and_answers_for_the_rounds_of_the_others() {
    a_house_whose_training_fails(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_whose_training_panics_is_charged_once_and_answers_for_the_rounds_of_the_others() {
    a_house_whose_training_fails(true).await;
}

/// Everything below `dir`, itself too.
#[cfg(unix)]
fn everything(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![dir.to_owned()];
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(everything(&path)) } else { found.push(path) }
    }
    found
}

/// As `systemd` and `install -d -o` leave a service's folder.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn what_root_writes_by_a_verb_is_the_services_users() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    const SERVICE: u32 = 65534;
    logs();
    let federation = Federation::new("aggregator", 1, 0).await;
    let abbey = federation.house("abbey");
    if std::fs::metadata(&abbey).unwrap().uid() != 0 {
        eprintln!("this is not run as root: whose its files are is not looked at");
        return;
    }
    everything(&abbey).iter().for_each(|path| chown(path, Some(SERVICE), Some(SERVICE)).unwrap());
    let before = everything(&abbey).len();
    let charter = federation.charter.digest().to_string();
    assert_eq!(program(&["pause"], &abbey, &[]).await, code(0));
    assert_eq!(program(&["resume"], &abbey, &[]).await, code(0));
    assert_eq!(program(&["charter", "approve"], &abbey, &[&charter]).await, code(0));
    // The ledger is shown where there is none yet, and made by whoever opens it.
    assert_eq!(program(&["ledger"], &abbey, &[]).await, code(0));
    drop(privacy::Ledger::open(abbey.join("state/ledger")).unwrap());
    let after = everything(&abbey);
    assert!(after.len() >= before + 4, "the state's folder, the standing, its lock and the ledger: {after:?}");
    for path in after {
        let (found, shown) = (std::fs::metadata(&path).unwrap(), path.display());
        assert_eq!((found.uid(), found.gid()), (SERVICE, SERVICE), "{shown}");
        if path.starts_with(abbey.join("state")) {
            assert_eq!(found.permissions().mode() & 0o077, 0, "{shown}");
        }
    }
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_whose_client_toml_is_as_join_wrote_it_runs_only_once_charter_and_roster_are_approved() {
    logs();
    let mut federation = Federation::that_dies_often("aggregator", 1).await;
    federation.serve().await;
    let abbey = federation.house("abbey");
    let config = abbey.join("client.toml");
    std::fs::remove_file(&config).unwrap();
    let join = async |house: &str| {
        let invitation = std::fs::read_to_string(federation.house(house).join("invitation")).unwrap();
        client::join::join(&federation.house(house), &invitation.parse().unwrap()).await.unwrap();
    };
    join("abbey").await;
    let written = std::fs::read_to_string(&config).unwrap();
    assert_eq!(written, client::config::SAMPLE);
    // The charter of these tests costs more than the sample's ceiling.
    std::fs::write(&config, written.replace("epsilon_ceiling = 3.0", "epsilon_ceiling = 8.0")).unwrap();
    let run = || federation.spawn("abbey", federation.options("abbey"));
    let refused = run().await.unwrap().unwrap_err();
    let (shown, charter) = (abbey.display(), federation.charter.digest());
    let command = format!("`plainchant-client charter approve {shown} {charter}`");
    assert!(refused.to_string().contains(&command), "{refused}");
    assert_eq!(program(&["run"], &abbey, &[]).await, code(2));
    assert_eq!(program(&["charter", "approve"], &abbey, &[&charter.to_string()]).await, code(0));

    // It waits for all to have joined, and pins nothing that nobody approved.
    let waiting = run();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(!waiting.is_finished());
    for house in &HOUSES[1..] {
        join(house).await;
    }
    let refused = tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap().unwrap().unwrap_err();
    let RunError::NothingApproved { found, .. } = &refused else { panic!("{refused:?}") };
    let command = format!("`plainchant-client roster approve {shown} {found}`");
    assert!(refused.to_string().contains(&command), "{refused}");
    assert!(!abbey.join("state/roster").exists());
    assert_eq!(program(&["run"], &abbey, &[]).await, code(2));
    assert_eq!(program(&["roster", "approve"], &abbey, &[&found.to_string()]).await, code(0));
    let completed = all_completed(all(&federation)).await;
    assert!(federation.reachable(1, &COHORTS).contains(completed.state.as_bytes()));
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn houses_whose_aggregator_moved_go_on_once_its_new_address_is_in_client_toml() {
    logs();
    let mut federation = Federation::new("aggregator", 3, 0).await;
    let tasks = all(&federation);
    for house in HOUSES {
        wait_for(&federation.progress(house), "applied", 1).await;
    }
    federation.halt().await;
    // Kept, so that nobody else listens at the address of before.
    let _before = std::net::TcpListener::bind(federation.addr).unwrap();
    federation.addr = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    federation.serve().await;
    end(tasks).await;
    for house in HOUSES {
        let config = federation.house(house).join("client.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(config, format!("{text}[network]\nurl = \"https://{}\"\n", federation.addr)).unwrap();
    }
    let completed = all_completed(all(&federation)).await;
    assert!(federation.reachable(3, &COHORTS).contains(completed.state.as_bytes()));
    federation.stop().await;
}
