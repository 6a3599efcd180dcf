//! What a house's policy holds back while a federation runs, over real TLS sockets: its hours, its bytes, and what its data may spend.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "common/proxy.rs"]
mod proxy;

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use adapter::State;
use client::crash::{Crash, Kept, Moment, Place};
use client::hours::{MinuteOfWeek, WallTime};
use client::policy::PolicyError;
use client::round::{Completed, Home, Options, RunError};
use client::trainer::Trainer;
use common::{Federation, HOUSES, Known, all_completed, logs, wait_for};
use privacy::{Ledger, LedgerError, Limit};
use proxy::{Attack, redirect};
use tokio::task::JoinHandle;
use training::{Part, TrainError, Trained};

const ALL: &[usize] = &[0, 1, 2, 3];
const WITHOUT_FIRST: &[usize] = &[1, 2, 3];
/// A house's clock when it trains, and when it does not.
const WITHIN: u32 = 8 * 60;
const OUTSIDE: u32 = WITHIN - 1;
const HOURS: &str = "hours = [\"mon 08:00-09:00\"]\n";

type Running = JoinHandle<Result<Completed, RunError>>;

fn monday(minute: u32) -> WallTime {
    WallTime { minute: MinuteOfWeek::new(0, minute), ahead_minutes: 60 }
}

/// Adds lines to the policy of a house.
fn allow(federation: &Federation, house: &str, lines: &str) {
    let path = federation.house(house).join("client.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text + lines).unwrap();
}

/// The first house, with this clock, trainer and place of a crash.
fn abbey(federation: &Federation, wall_clock: fn() -> WallTime, trainer: Box<dyn Trainer>, crash: Crash) -> Running {
    let options = Options { wall_clock, crash, ..federation.options("abbey") };
    tokio::spawn(client::round::run(Home::open(&federation.house("abbey")).unwrap(), Some(trainer), options))
}

fn others(federation: &Federation) -> Vec<Running> {
    HOUSES[1..].iter().map(|house| federation.spawn(house, federation.options(house))).collect()
}

/// What the first house's program ends with, by which it takes part in nothing.
async fn refusal(federation: &Federation) -> RunError {
    let task = federation.spawn("abbey", federation.options("abbey"));
    tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap().unwrap_err()
}

fn progress(federation: &Federation) -> String {
    std::fs::read_to_string(federation.progress("abbey")).unwrap()
}

fn charged_rounds(federation: &Federation) -> Vec<u64> {
    let ledger = Ledger::open(federation.house("abbey").join("state/ledger")).unwrap();
    ledger.entries().iter().map(|entry| entry.round).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_its_hours_a_house_is_in_no_cohort_and_answers_all_the_same_and_within_them_it_is_ready_by_itself() {
    static MINUTE: AtomicU32 = AtomicU32::new(OUTSIDE);
    logs();
    let federation = Federation::new("aggregator", 4, 0).await;
    allow(&federation, "abbey", HOURS);
    let mut tasks =
        vec![abbey(&federation, || monday(MINUTE.load(Ordering::Relaxed)), Box::new(Known(0)), Crash::default())];
    tasks.extend(others(&federation));
    wait_for(&federation.progress("borough"), "applied", 1).await;
    MINUTE.store(WITHIN, Ordering::Relaxed);
    let completed = all_completed(tasks).await;
    // It came in the second round, the third or the last one, and stayed.
    let histories = (1..4).map(|without| [vec![WITHOUT_FIRST; without], vec![ALL; 4 - without]].concat());
    let states: Vec<[u8; 32]> = histories.map(|history| federation.expected(&history).digest()).collect();
    assert!(states.contains(completed.state.as_bytes()), "another history of cohorts");
    let told = progress(&federation);
    assert!(told.contains("it is mon 07:59 (UTC+01:00) here, and policy.hours is mon 08:00-09:00"), "{told}");
    assert_eq!(told.matches("\"answered\"").count(), 4, "its duty to the committee has no hours: {told}");
    let charged = charged_rounds(&federation);
    assert!(!charged.contains(&1) && charged.contains(&4), "{charged:?}");
    federation.stop().await;
}

/// Too few houses are left for a cohort, so that no other event comes than that the hours begin.
#[tokio::test(flavor = "multi_thread")]
async fn a_federation_that_waits_for_houses_goes_on_in_the_minute_in_which_their_hours_begin() {
    static MINUTE: AtomicU32 = AtomicU32::new(OUTSIDE);
    logs();
    let federation = Federation::new("aggregator", 1, 0).await;
    let with_hours = ["abbey", "borough"];
    let tasks = HOUSES.map(|house| {
        let mut options = federation.options(house);
        if with_hours.contains(&house) {
            allow(&federation, house, HOURS);
            options.wall_clock = || monday(MINUTE.load(Ordering::Relaxed));
        }
        federation.spawn(house, options)
    });
    for house in with_hours {
        wait_for(&federation.progress(house), "refused", 1).await;
    }
    for house in &HOUSES[2..] {
        wait_for(&federation.progress(house), "ready", 1).await;
    }
    MINUTE.store(WITHIN, Ordering::Relaxed);
    let completed = all_completed(tasks.into()).await;
    let cohorts = [ALL, WITHOUT_FIRST, &[0, 2, 3]];
    assert!(cohorts.iter().any(|one| completed.state.as_bytes() == &federation.expected(&[*one]).digest()));
    federation.stop().await;
}

/// Says that the hours are over once it has trained.
struct LastOfTheDay(Known, &'static AtomicBool);

impl Trainer for LastOfTheDay {
    fn contribution(&mut self, part: &Part<'_>, state: &State) -> Result<Trained, TrainError> {
        self.1.store(true, Ordering::Relaxed);
        self.0.contribution(part, state)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_within_the_hours_is_finished_and_sent_when_they_have_ended() {
    static OVER: AtomicBool = AtomicBool::new(false);
    let clock = || monday(if OVER.load(Ordering::Relaxed) { OUTSIDE } else { WITHIN });
    logs();
    let federation = Federation::departing_late(1).await;
    allow(&federation, "abbey", HOURS);
    let trainer = Box::new(LastOfTheDay(Known(0), &OVER));
    let mut tasks = vec![abbey(&federation, clock, trainer, Crash::default())];
    tasks.extend(others(&federation));
    let completed = all_completed(tasks).await;
    assert!(OVER.load(Ordering::Relaxed));
    assert_eq!(completed.state.as_bytes(), &federation.expected(&[ALL]).digest());
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_within_the_hours_is_sent_by_a_program_that_starts_again_when_they_have_ended() {
    logs();
    let federation = Federation::departing_late(1).await;
    allow(&federation, "abbey", HOURS);
    let kept = Crash::at(Place::Kept(Kept::Manifest, Moment::After));
    let first = abbey(&federation, || monday(WITHIN), Box::new(Known(0)), kept);
    let mut tasks = others(&federation);
    let stopped = first.await.unwrap().unwrap_err();
    assert_eq!(stopped.to_string(), "stopped by a test at Kept(Manifest, After)");
    tasks.push(abbey(&federation, || monday(OUTSIDE), Box::new(Known(0)), Crash::default()));
    let completed = all_completed(tasks).await;
    assert_eq!(completed.state.as_bytes(), &federation.expected(&[ALL]).digest());
    federation.stop().await;
}

/// It said ready in the last minute of its hours.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_trained_and_nothing_charged_when_the_hours_end_before_the_announcement() {
    static LOOKS: AtomicU32 = AtomicU32::new(0);
    let clock = || monday(if LOOKS.fetch_add(1, Ordering::Relaxed) == 0 { WITHIN } else { OUTSIDE });
    logs();
    let federation = Federation::departing_late(1).await;
    allow(&federation, "abbey", HOURS);
    let mut tasks = vec![abbey(&federation, clock, Box::new(Known(0)), Crash::default())];
    tasks.extend(others(&federation));
    let completed = all_completed(tasks).await;
    assert_eq!(completed.state.as_bytes(), &federation.expected(&[WITHOUT_FIRST]).digest());
    let told = progress(&federation);
    assert!(told.contains("\"ready\"") && told.contains("policy.hours is mon 08:00-09:00"), "{told}");
    assert_eq!(charged_rounds(&federation), Vec::<u64>::new());
    federation.stop().await;
}

/// What is not counted in the limit, for a committee of four.
const BESIDE: usize = 1024 + 4 * 64;

#[tokio::test(flavor = "multi_thread")]
async fn the_most_bytes_are_what_a_submission_weighs_and_a_house_that_allows_one_less_does_not_take_part() {
    logs();
    let federation = Federation::new("clients", 1, 0).await;
    let most = terms::most_sent_bytes(&federation.charter).unwrap();
    let given = redirect(&federation, "abbey", Attack::Nothing).await;
    let config = federation.house("abbey").join("client.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    allow(&federation, "abbey", &format!("max_bytes_per_attempt = {}\n", most - 1));
    let refused = refusal(&federation).await;
    let RunError::Policy(PolicyError::Bytes { found, allowed }) = refused else { panic!("{refused}") };
    assert_eq!((found, allowed), (most, most - 1));
    std::fs::write(&config, text).unwrap();
    allow(&federation, "abbey", &format!("max_bytes_per_attempt = {most}\n"));
    all_completed(HOUSES.map(|house| federation.spawn(house, federation.options(house))).into()).await;
    let contributions = given.contributions.load(Ordering::Relaxed);
    let weighed = given.bytes.load(Ordering::Relaxed);
    assert_eq!(contributions, 1);
    let most = usize::try_from(most).unwrap();
    assert!((most..most + BESIDE).contains(&weighed), "{weighed} beside {most}");
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ceiling_and_delta_are_each_data_sets_from_its_ledgers_first_line_on() {
    logs();
    let federation = Federation::new("aggregator", 1, 0).await;
    let config = |house: &str| federation.house(house).join("client.toml");
    let text = std::fs::read_to_string(config("abbey")).unwrap();
    let with = |ceiling: &str, ledger: &str| {
        let text = text.replace("epsilon_ceiling = 8.0", &format!("epsilon_ceiling = {ceiling}\ndelta = 2e-5"));
        text.replace("[training]", &format!("ledger = {ledger:?}\n[training]"))
    };
    std::fs::write(config("abbey"), with("6.0", "../set-a/ledger")).unwrap();
    std::fs::write(config("borough"), with("4.0", "../set-b/ledger")).unwrap();
    for set in ["set-a", "set-b"] {
        std::fs::create_dir_all(federation.path().join(set)).unwrap();
    }
    all_completed(HOUSES.map(|house| federation.spawn(house, federation.options(house))).into()).await;
    let limits = [("set-a/ledger", 6.0, 2e-5), ("set-b/ledger", 4.0, 2e-5), ("county/state/ledger", 8.0, 1e-5)];
    for (file, ceiling, delta) in limits {
        let ledger = Ledger::open(federation.path().join(file)).unwrap();
        assert_eq!(ledger.limit().map(|limit| (Limit::ceiling(limit), Limit::delta(limit))), Some((ceiling, delta)));
        assert_eq!(ledger.entries().len(), 1, "{file}");
    }
    // Another ceiling in client.toml is none for data that has one.
    std::fs::write(config("abbey"), with("7.0", "../set-a/ledger")).unwrap();
    let refused = refusal(&federation).await;
    let RunError::Ledger(LedgerError::OtherLimit { ceiling, asked, .. }) = &refused else { panic!("{refused}") };
    assert_eq!((*ceiling, *asked), (6.0, 7.0));
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_says_whether_the_policy_takes_the_charter_and_by_which_clock_its_hours_go() {
    logs();
    let federation = Federation::new("aggregator", 1, 0).await;
    let says = async |args: [&'static str; 2]| {
        let args: Vec<&str> = args.into_iter().filter(|arg| !arg.is_empty()).collect();
        let mut program = Command::new(env!("CARGO_BIN_EXE_plainchant-client"));
        // A zone that no machine of ours is in, by its rule, without a file of zones.
        program.args(args).arg(federation.house("abbey")).env("TZ", "TST-05:37");
        let output = tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = says(["charter", "show"]).await;
    assert!(
        shown.contains("takes this charter") && shown.contains(&federation.charter.model.sha256.to_string()),
        "{shown}"
    );
    assert!(!says(["status", ""]).await.contains("hours"));
    allow(&federation, "abbey", "hours = [\"mon-sun\"]\n");
    for told in [says(["status", ""]).await, says(["doctor", ""]).await] {
        assert!(told.contains("mon-sun, and it is ") && told.contains("(UTC+05:37): within them"), "{told}");
    }
    for (line, key) in [
        ("models = [\"another\"]\n", "policy.models"),
        ("targets = [\"query\", \"value\"]\n", "policy.targets"),
        ("max_bytes_per_attempt = 1000\n", "policy.max_bytes_per_attempt"),
    ] {
        let before = std::fs::read_to_string(federation.house("abbey").join("client.toml")).unwrap();
        allow(&federation, "abbey", line);
        let shown = says(["charter", "show"]).await;
        assert!(shown.contains("REFUSES this charter: ") && shown.contains(key), "{shown}");
        let found = says(["doctor", ""]).await;
        assert!(found.contains("FAIL  client.toml") && found.contains(key), "{found}");
        std::fs::write(federation.house("abbey").join("client.toml"), before).unwrap();
    }
    federation.stop().await;
}
