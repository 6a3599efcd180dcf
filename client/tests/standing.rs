//! A house that pauses, resumes and leaves while its client runs, over real TLS sockets: what is counted is what it agreed to.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use adapter::State;
use client::round::RunError;
use client::standing::Standing;
use client::trainer::Trainer;
use common::{Federation, HOUSES, Known, all_completed, logs, wait_for};
use protocol::message::Approval;
use protocol::{Message as _, Signed};
use training::{Part, TrainError, Trained};

const ALL: &[usize] = &[0, 1, 2, 3];
const WITHOUT_FIRST: &[usize] = &[1, 2, 3];

async fn program(verb: &[&str], dir: &Path) -> String {
    let mut args: Vec<std::ffi::OsString> = vec!["plainchant-client".into(), verb[0].into(), dir.into()];
    args.extend(verb.iter().skip(1).map(Into::into));
    format!("{:?}", tokio::task::spawn_blocking(move || client::cli::run(args)).await.unwrap())
}

fn code(code: u8) -> String {
    format!("{:?}", ExitCode::from(code))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_is_in_no_cohort_from_its_pause_on_and_in_all_once_it_resumed() {
    logs();
    let federation = Federation::new("aggregator", 4, 0).await;
    let dir = federation.house("abbey");
    assert_eq!(program(&["pause"], &dir).await, code(0));
    let tasks = HOUSES.map(|house| federation.spawn(house, federation.options(house)));
    wait_for(&federation.progress("borough"), "applied", 1).await;
    assert_eq!(program(&["resume"], &dir).await, code(0));
    let completed = all_completed(tasks.into()).await;
    // It came back in the second round, the third or the last one, and stayed.
    let histories = (1..4).map(|without| [vec![WITHOUT_FIRST; without], vec![ALL; 4 - without]].concat());
    let states: Vec<[u8; 32]> = histories.map(|history| federation.expected(&history).digest()).collect();
    assert!(states.contains(completed.state.as_bytes()), "another history of cohorts");
    let told = std::fs::read_to_string(federation.progress("abbey")).unwrap();
    assert!(told.contains("this house has paused") && told.contains("plainchant-client resume"), "{told}");
    federation.stop().await;
}

/// Says a standing once, in a thread of its own, when the ledger says that the contribution of this round may leave.
struct Interrupted {
    known: Known,
    state: PathBuf,
    round: u32,
    standing: Option<Standing>,
}

impl Interrupted {
    fn in_round(federation: &Federation, round: u32, standing: Standing) -> Box<Self> {
        let state = federation.house("abbey").join("state");
        Box::new(Self { known: Known(0), state, round, standing: Some(standing) })
    }
}

impl Trainer for Interrupted {
    fn contribution(&mut self, part: &Part<'_>, state: &State) -> Result<Trained, TrainError> {
        if part.number.get() == self.round
            && let Some(standing) = self.standing.take()
        {
            let (folder, round) = (self.state.clone(), u64::from(self.round));
            std::thread::spawn(move || {
                let confirmed = || {
                    let ledger = privacy::Ledger::open(folder.join("ledger")).unwrap();
                    ledger.entries().iter().any(|entry| entry.round == round && ledger.is_confirmed(entry))
                };
                while !confirmed() {
                    std::thread::sleep(Duration::from_millis(20));
                }
                standing.write(&folder).unwrap();
            });
        }
        self.known.contribution(part, state)
    }
}

/// Its contribution was made, and waits for the moment at which all leave.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_departure_when_a_house_pauses_is_not_sent_and_stays_charged() {
    logs();
    let federation = Federation::departing_late(2).await;
    let trainer = Interrupted::in_round(&federation, 2, Standing::Paused { since_ms: 1 });
    let mut tasks = vec![federation.spawn_with("abbey", trainer)];
    tasks.extend(HOUSES[1..].iter().map(|house| federation.spawn(house, federation.options(house))));
    wait_for(&federation.progress("abbey"), "refused", 1).await;
    let told = std::fs::read_to_string(federation.progress("abbey")).unwrap();
    assert_eq!(told.matches("\"phase\":\"contributed\"").count(), 1, "{told}");
    // Its client answers for the others; should they need another attempt, it is in that.
    let state = federation.house("abbey").join("state");
    Standing::TakesPart.write(&state).unwrap();
    let completed = all_completed(tasks).await;
    let states = [WITHOUT_FIRST, ALL].map(|second| federation.expected(&[ALL, second]).digest());
    assert!(states.contains(completed.state.as_bytes()));
    let ledger = privacy::Ledger::open(state.join("ledger")).unwrap();
    assert!(ledger.entries().iter().any(|entry| entry.round == 2), "it is charged all the same");
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_that_leaves_in_the_last_round_answers_for_the_others_and_approves_no_hand_over() {
    logs();
    let federation = Federation::departing_late(1).await;
    let trainer = Interrupted::in_round(&federation, 1, Standing::Left { since_ms: 1 });
    let mut tasks = vec![federation.spawn_with("abbey", trainer)];
    tasks.extend(HOUSES[1..].iter().map(|house| federation.spawn(house, federation.options(house))));
    let left = tasks.remove(0).await.unwrap().unwrap_err();
    assert!(matches!(left, RunError::Left), "{left}");
    let completed = all_completed(tasks).await;
    assert_eq!(completed.state.as_bytes(), &federation.expected(&[WITHOUT_FIRST]).digest());
    let dir = federation.house("abbey");
    assert_eq!(std::fs::read_dir(dir.join("state/keys")).unwrap().count(), 0);
    let progress = std::fs::read_to_string(federation.progress("abbey")).unwrap();
    assert!(!progress.contains("\"phase\":\"contributed\""), "{progress}");
    let store = aggregator::setup::open(&federation.house("aggregator")).await.unwrap().store;
    let approved: Vec<String> = store
        .approvals()
        .await
        .unwrap()
        .iter()
        .map(|bytes| Signed::<Approval>::from_bytes(bytes).unwrap().signer().to_string())
        .collect();
    assert_eq!(approved, HOUSES[1..]);
    store.close().await;
    federation.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_that_leaves_ends_with_no_key_left_and_does_not_come_back_while_the_others_go_on() {
    logs();
    let federation = Federation::new("aggregator", 4, 0).await;
    let dir = federation.house("abbey");
    let keys = || std::fs::read_dir(dir.join("state/keys")).unwrap().count();
    let mut tasks: Vec<_> = HOUSES.iter().map(|house| federation.spawn(house, federation.options(house))).collect();
    wait_for(&federation.progress("abbey"), "applied", 1).await;
    assert_eq!(program(&["leave"], &dir).await, code(2), "it only says what that means");
    assert!(keys() > 0);
    assert_eq!(program(&["leave", "--yes"], &dir).await, code(0));
    let left = tasks.remove(0).await.unwrap().unwrap_err();
    assert!(matches!(left, RunError::Left), "{left}");
    assert_eq!((keys(), std::fs::read_dir(dir.join("state/rounds")).unwrap().count()), (0, 0));
    let completed = all_completed(tasks).await;
    let histories = (1..4).map(|with| [vec![ALL; with], vec![WITHOUT_FIRST; 4 - with]].concat());
    let states: Vec<[u8; 32]> = histories.map(|history| federation.expected(&history).digest()).collect();
    assert!(states.contains(completed.state.as_bytes()), "another history of cohorts");
    for verb in ["run", "resume", "pause"] {
        assert_eq!(program(&[verb], &dir).await, code(2), "{verb}");
    }
    let again = federation.spawn("abbey", federation.options("abbey")).await.unwrap().unwrap_err();
    assert!(matches!(again, RunError::Left), "{again}");
    // Its record of what was spent is still there.
    assert!(!privacy::Ledger::open(dir.join("state/ledger")).unwrap().entries().is_empty());
    federation.stop().await;
}
