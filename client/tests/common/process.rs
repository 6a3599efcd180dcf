//! A federation of processes that die by SIGKILL, each at every place of a list, and are started again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aggregator::store::{Setting, Write};
use client::crash::Crash;
use client::identity::Identity;
use client::join::{JoinError, join_until};
use client::round::{Home, RunError};
use protocol::HouseName;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::common::{HOUSES, Known, logs, options, server_config};

const ROLE: &str = "PLAINCHANT_TEST_ROLE";
const DIR: &str = "PLAINCHANT_TEST_DIR";
const ADDR: &str = "PLAINCHANT_TEST_ADDR";
/// Where it dies at once, and where it dies or goes on by a coin's toss.
const DIES: [&str; 2] = ["PLAINCHANT_TEST_DIES", "PLAINCHANT_TEST_MAY_DIE"];
const COIN: &str = "PLAINCHANT_TEST_COIN";
const SEPARATOR: &str = ";";
/// So few places are waited for all at once.
const FEW: usize = 8;
/// A process that lives for so long, and has still to die somewhere, is killed wherever it is.
const LONG: Duration = Duration::from_secs(6);
/// The test of each file that uses this, which is the process's whole life.
const ENTRY: &str = "process";

/// The aggregator's name among the processes.
pub(crate) const AGGREGATOR: &str = "aggregator";

/// Who changes something beside the server, and a number.
pub(crate) const OPERATOR: &str = "operator-";

/// One process, and the places where it has still to die.
pub(crate) struct Process {
    role: String,
    dir: PathBuf,
    addr: SocketAddr,
    /// Each with whether it is reached only once or twice in a federation's life.
    places: BTreeMap<String, bool>,
    pub(crate) died: usize,
    child: Option<Child>,
    /// Not started again before.
    rests_until: Instant,
    started: Instant,
    /// The longest that it took from a start until its address was listened on: of the aggregator.
    pub(crate) slowest_start: Duration,
    /// Its address was listened on since it was started.
    listens: bool,
    /// It lived long without coming to any of the places that it was started with.
    passed_by: bool,
    ended: bool,
}

/// What a test process does when another test started it; `false` when nobody did.
pub(crate) async fn live() -> bool {
    let Ok(role) = std::env::var(ROLE) else { return false };
    logs();
    let dir = PathBuf::from(std::env::var(DIR).unwrap());
    let addr: SocketAddr = std::env::var(ADDR).unwrap().parse().unwrap();
    let places = |list| std::env::var(list).unwrap().split(SEPARATOR).map(str::to_owned).collect();
    let seed = std::env::var(COIN).unwrap().parse().unwrap();
    let dies = Dies {
        places: DIES.map(places),
        coin: Mutex::new(StdRng::seed_from_u64(seed)),
        at: place_file(&dir, &role),
        first: Mutex::default(),
    };
    if role == AGGREGATOR {
        aggregator(&dir.join(AGGREGATOR), addr, dies).await;
    } else if let Some(number) = role.strip_prefix(OPERATOR) {
        operator(&dir.join(AGGREGATOR), number.parse().unwrap(), dies).await;
    } else {
        house(&dir.join(&role), &role, dies).await;
    }
    true
}

async fn aggregator(dir: &Path, addr: SocketAddr, dies: Dies) {
    let mut config = server_config(dir, addr);
    config.crash = Some(Arc::new(move |transition, moment| dies.at(&format!("{transition:?} {moment:?}"))));
    let mut handle = aggregator::server::start(config).await.unwrap();
    handle.failed().await.unwrap();
}

/// What the operator changes beside the server, each time another number of things.
async fn operator(dir: &Path, number: u8, dies: Dies) {
    let home = aggregator::setup::open(dir).await.unwrap();
    let hook = Arc::new(move |transition, moment| dies.at(&format!("{transition:?} {moment:?}")));
    let (store, member) = (home.store.with_crash_hook(hook), HouseName::new(HOUSES[0]).unwrap());
    if !store.is_invited([number; 32], &member).await.unwrap() {
        store.invite([number; 32], &member, u64::MAX >> 1).await.unwrap();
    }
    let renewed = store.certificate([number; 32]).await.unwrap().is_some();
    let present = store.members().await.unwrap().into_iter().find(|one| one.name == member).unwrap();
    if !renewed {
        store.renew(present.certificate_digest, [number; 32], "", number.into()).await.unwrap();
    }
    if let Some(house) = revoked_by(number) {
        store.revoke(&house, number.into()).await.unwrap();
    }
    store.commit(&[Write::Readmission { member, leaves: number.into() }]).await.unwrap();
    store.commit(&[Write::Set(Setting::Halted, vec![number])]).await.unwrap();
}

/// Whom the operator revokes: another house each time.
pub(crate) fn revoked_by(number: u8) -> Option<HouseName> {
    let house = HOUSES[1..].get(usize::from(number.checked_sub(7)?))?;
    Some(HouseName::new(house).unwrap())
}

async fn house(dir: &Path, name: &str, dies: Dies) {
    let number = HOUSES.iter().position(|house| *house == name).unwrap();
    let crash = Crash::new(move |place| {
        dies.at(&format!("{place:?}"));
        ControlFlow::Continue(())
    });
    while !Identity::exists(dir) {
        let invitation = std::fs::read_to_string(dir.join("invitation")).unwrap().parse().unwrap();
        match join_until(dir, &invitation, &crash).await {
            Ok(_) => {}
            Err(JoinError::Unavailable { .. } | JoinError::Connect(_)) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    let mut options = options(dir);
    options.crash = crash;
    let home = Home::open(dir).unwrap();
    match client::round::run(home, Some(Box::new(Known(number))), options).await {
        Ok(_) | Err(RunError::Lost(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Where this process dies.
struct Dies {
    /// As in [`DIES`].
    places: [BTreeSet<String>; 2],
    coin: Mutex<StdRng>,
    at: PathBuf,
    /// It dies in one place only, however many threads come to one.
    first: Mutex<()>,
}

impl Dies {
    /// Ends the process here, and says where, if it is to die at `place`.
    fn at(&self, place: &str) {
        let [always, perhaps] = self.places.each_ref().map(|places| places.contains(place));
        if always || (perhaps && self.coin.lock().unwrap().random()) {
            let _first = self.first.lock().unwrap();
            File::create(&self.at).unwrap().write_all(place.as_bytes()).unwrap();
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).unwrap();
            loop {
                std::thread::park();
            }
        }
    }
}

fn place_file(dir: &Path, role: &str) -> PathBuf {
    dir.join(format!("{role}.died"))
}

impl Process {
    pub(crate) fn new(role: &str, dir: &Path, addr: SocketAddr, places: Vec<(String, bool)>) -> Self {
        Self {
            role: role.to_owned(),
            dir: dir.to_owned(),
            addr,
            places: places.into_iter().collect(),
            died: 0,
            child: None,
            rests_until: Instant::now(),
            started: Instant::now(),
            slowest_start: Duration::ZERO,
            listens: false,
            passed_by: false,
            ended: false,
        }
    }

    /// Starts it. It dies at the first of its places, or goes on, so that it comes to others; but not where few are left or a place is seldom reached.
    fn start(&mut self, rng: &mut StdRng) {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        let few = self.places.len() < FEW || self.passed_by;
        (self.started, self.passed_by, self.listens) = (Instant::now(), false, false);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([ENTRY, "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(ROLE, &self.role).env(DIR, &self.dir).env(ADDR, self.addr.to_string());
        for (list, always) in DIES.into_iter().zip([true, false]) {
            let places = self.places.iter().filter(|(_, rare)| (few || **rare) == always);
            command.env(list, places.map(|(place, _)| place.as_str()).collect::<Vec<_>>().join(SEPARATOR));
        }
        command.env(COIN, rng.random::<u64>().to_string());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    fn log(&self) -> PathBuf {
        self.dir.join(format!("{}.log", self.role))
    }

    /// Starts it, also after it died and rested. `true` once it has ended by itself.
    pub(crate) fn tend(&mut self, rest: Duration, rng: &mut StdRng) -> bool {
        let Some(child) = &mut self.child else {
            if !self.ended && Instant::now() >= self.rests_until {
                self.start(rng);
            }
            return self.ended;
        };
        let Some(status) = child.try_wait().unwrap() else {
            if self.role == AGGREGATOR && !self.listens && TcpStream::connect(self.addr).is_ok() {
                self.slowest_start = self.slowest_start.max(self.started.elapsed());
                self.listens = true;
            }
            if !self.places.is_empty() && self.started.elapsed() > LONG {
                self.kill_for(Duration::ZERO);
                self.passed_by = true;
            }
            return false;
        };
        self.child = None;
        if status.signal() == Some(9) {
            let place = std::fs::read_to_string(place_file(&self.dir, &self.role)).unwrap();
            assert!(self.places.remove(&place).is_some(), "{} died twice at {place}", self.role);
            self.died += 1;
            self.rests_until = Instant::now() + rest;
        } else {
            assert!(status.success(), "{} ended with {status}:\n{}", self.role, self.tail());
            self.ended = true;
        }
        self.ended
    }

    /// The places that were not reached.
    pub(crate) fn missed(&self) -> Vec<String> {
        self.places.keys().map(|place| format!("{}: {place}", self.role)).collect()
    }

    /// Kills it where it is.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Kills it where it is, and starts it again after a while.
    pub(crate) fn kill_for(&mut self, rest: Duration) {
        self.kill();
        self.died += 1;
        self.rests_until = Instant::now() + rest;
    }

    /// Whether it is dead for now.
    pub(crate) fn rests(&self) -> bool {
        !self.ended && self.child.is_none()
    }

    /// The end of its log.
    pub(crate) fn tail(&self) -> String {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() && self.child.is_some() {
            eprintln!("{}:\n{}", self.role, self.tail());
        }
        if let Some(child) = &mut self.child {
            // It may have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
