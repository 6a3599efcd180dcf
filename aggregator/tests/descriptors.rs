//! An aggregator's process that may open few files, and callers that take them all or break off at once: it goes on taking connections, callers are told to come
//! back or are let go, nothing is lost, and a round comes to its end without a restart.
//!
//! RUSTSEC-2024-0376 was this: an error of `accept` ended a server's loop.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::BufRead as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{CHARTER, HOUSES, Member, Site, channel, round, values};
use protocol::{Digest, Message as _, Verdict};
use protos::v1;
use protos::v1::federation_client::FederationClient;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use secure_sum::Layout;
use terms::Terms;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tonic::{Code, Status};

/// From where the crowd comes; houses are at 127.0.0.1.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// A call that is not answered by then is one whose connection waits to be taken.
const PATIENCE: Duration = Duration::from_secs(1);
/// Once the others have gone, all are served by then, also by a busy machine.
const RELIEF: Duration = Duration::from_secs(30);
/// Connections that break off at once, in each case.
const BROKEN: usize = 1_000;

/// Files of a process that is not short of them yet.
const MANY: u64 = 256;

/// What is done to the server while a member calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// It was started with so few files, and others hold connections to it: more than it takes.
    Started(u64),
    /// It may open no more than some files beside those that are open, and others hold connections until all are taken.
    Lowered,
    /// It may open few files, and others connect and reset the connection at once.
    Reset,
}

/// A server's process.
struct Live {
    child: Child,
    addr: SocketAddr,
}

impl Live {
    /// Starts one that may open so many files.
    fn start(site: &Site, files: u64) -> Self {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "ulimit -n \"$0\"; exec \"$@\"",
            &files.to_string(),
            env!("CARGO_BIN_EXE_plainchant-aggregator"),
        ]);
        command.arg("serve").arg(site.path()).args(["--listen", "127.0.0.1:0", "--gather-seconds", "1"]);
        let log = std::fs::File::create(site.dir.path().join("log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim().strip_prefix("listening on https://").unwrap().parse().unwrap();
        Self { child, addr }
    }

    /// So many files more than are open, from now on.
    fn lower(&self, more: u64) {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count() as u64;
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        prlimit(pid, Resource::Nofile, Rlimit { current: Some(open + more), maximum: Some(MANY) }).unwrap();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Those who hold connections, or break them off, until it is dropped.
struct Crowd {
    held: Vec<TcpStream>,
    resets: JoinSet<()>,
}

async fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((ELSEWHERE, 0).into())?;
    tokio::time::timeout(PATIENCE, socket.connect(to)).await.map_err(std::io::Error::other)?
}

/// A call of a member over a new connection.
async fn newcomer(live: &Live, site: &Site, member: &Member) -> Result<(), String> {
    let new = channel(live.addr, &site.authority, Some((&member.certificate, &member.tls)));
    let mut client = FederationClient::new(new);
    let call = client.get_checkpoint(v1::GetCheckpointRequest {});
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(status)) => Err(allowed(&status)),
        Err(_) => Err("is not taken".to_owned()),
    }
}

/// How a call may fail: told to come back, or the connection has gone.
fn allowed(status: &Status) -> String {
    let code = status.code();
    let gone = code == Code::Unknown && std::error::Error::source(status).is_some();
    assert!(gone || [Code::Unavailable, Code::ResourceExhausted].contains(&code), "{status:?}");
    format!("{code:?}")
}

impl Crowd {
    async fn come(trouble: Trouble, live: &Live, site: &Site, member: &Member, broken: &Arc<AtomicUsize>) -> Self {
        let mut crowd = Self { held: Vec::new(), resets: JoinSet::new() };
        if trouble == Trouble::Reset {
            let (addr, before) = (live.addr, broken.load(Ordering::Relaxed));
            for _ in 0..8 {
                let broken = Arc::clone(broken);
                crowd.resets.spawn(async move {
                    loop {
                        // One that is not let in at all, since so many are waiting, is tried again.
                        let Ok(stream) = connect(addr).await else { continue };
                        // The system sends a reset when it is closed.
                        stream.set_zero_linger().unwrap();
                        drop(stream);
                        broken.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            while broken.load(Ordering::Relaxed) < before + BROKEN / 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            return crowd;
        }
        if trouble == Trouble::Lowered {
            live.lower(8);
        }
        // Until whoever comes new is not served.
        for _ in 0..40 {
            for _ in 0..32 {
                crowd.held.extend(connect(live.addr).await);
            }
            if newcomer(live, site, member).await.is_err() {
                return crowd;
            }
        }
        panic!("{trouble:?}: everybody is served");
    }

    async fn go(self, broken: &AtomicUsize, until: usize) {
        while !self.resets.is_empty() && broken.load(Ordering::Relaxed) < until {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Asks until it is answered.
async fn again<T>(mut ask: impl AsyncFnMut() -> Result<T, Status>) -> T {
    let end = Instant::now() + RELIEF;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(status) => drop(allowed(&status)),
        }
        assert!(Instant::now() < end, "nothing is in the way, and it is refused all the same");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// One federation, and its cases.
struct Stage<'a> {
    live: Live,
    site: &'a Site,
    trouble: Trouble,
    broken: Arc<AtomicUsize>,
    cases: usize,
}

impl Stage<'_> {
    /// A house's call: of the last one a case, of the others nothing special.
    async fn turn<T>(
        &mut self,
        house: usize,
        name: &str,
        member: &mut Member,
        mut ask: impl AsyncFnMut(&mut Member) -> Result<T, Status>,
    ) {
        if house + 1 == HOUSES.len() {
            self.case(name, member, ask).await;
        } else {
            ask(member).await.unwrap();
        }
    }

    /// The last house's call comes while files are short, and again when they are not.
    async fn case<T>(
        &mut self,
        name: &str,
        member: &mut Member,
        mut ask: impl AsyncFnMut(&mut Member) -> Result<T, Status>,
    ) {
        let until = self.broken.load(Ordering::Relaxed) + BROKEN;
        let crowd = Crowd::come(self.trouble, &self.live, self.site, member, &self.broken).await;
        let meanwhile = match tokio::time::timeout(5 * PATIENCE, ask(member)).await {
            Ok(Ok(_)) => "answered".to_owned(),
            Ok(Err(status)) => allowed(&status),
            Err(_) => "not answered".to_owned(),
        };
        crowd.go(&self.broken, until).await;
        // Whoever comes new is served, by the same process.
        let end = Instant::now() + RELIEF;
        while let Err(why) = newcomer(&self.live, self.site, member).await {
            assert!(Instant::now() < end, "{:?} {name}: afterwards a newcomer {why}", self.trouble);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(self.live.child.try_wait().unwrap().is_none(), "the server has ended");
        self.cases += 1;
        println!("{:?}, {name}: meanwhile {meanwhile}, afterwards answered", self.trouble);
        again(async || ask(member).await).await;
    }
}

/// A federation from the first keys to the last outcome. Gives how many cases it was.
async fn a_round_among(trouble: Trouble) -> usize {
    // A busy machine must not lose the round to its deadlines.
    let charter =
        CHARTER.replace("close_ms = 20000", "close_ms = 240000").replace("open_ms = 40000", "open_ms = 480000");
    let site = Site::new(&charter).await;
    // Whoever resets connections has a process that could not keep them.
    let files = if let Trouble::Started(files) = trouble { files } else { MANY };
    let live = Live::start(&site, files);
    let addr = live.addr;
    let mut stage = Stage { live, site: &site, trouble, broken: Arc::default(), cases: 0 };
    let mut members = Vec::new();
    for (secret, name) in (1..).zip(HOUSES) {
        members.push(Member::join(&site, addr, name, secret).await);
    }
    let charter = site.charter.digest();
    for (house, member) in members.iter_mut().enumerate() {
        let offers = member.offers(charter, 1);
        let offer = async |member: &mut Member| member.client.offer_keys(offers.clone()).await;
        stage.turn(house, "one-time keys", member, offer).await;
    }
    let roster = members[0].roster().await.digest();
    for (house, member) in members.iter_mut().enumerate() {
        let ready = async |member: &mut Member| member.ready(charter, roster, 1).await;
        stage.turn(house, "ready", member, ready).await;
    }
    let announced = members[0].announcement().await;
    let digest = announced.body_digest();
    let count = Layout::from_bytes(&announced.unverified().unwrap().layout).unwrap().values().count;
    for (house, member) in members.iter_mut().enumerate() {
        let parts = member.contribution(&announced, &values(house, count));
        let submit = async |member: &mut Member| member.submit(parts.clone()).await;
        stage.turn(house, "contribution", member, submit).await;
    }
    let list = members[0].cohort(digest).await;
    assert_eq!(list.contributions.len(), 3);
    for (house, member) in members.iter_mut().enumerate() {
        let (first, others) = {
            let mut all = member.checksums(&announced).await;
            (all.remove(0), all)
        };
        for signed in others {
            member.put_checksum(&signed).await.unwrap();
        }
        let put = async |member: &mut Member| member.put_checksum(&first).await;
        stage.turn(house, "checksum", member, put).await;
    }
    members[0].checked(digest).await;
    for (house, member) in members.iter_mut().enumerate() {
        let answer = member.answer(&announced).await;
        let put = async |member: &mut Member| member.put_answer(&answer).await;
        stage.turn(house, "answer", member, put).await;
    }
    let sum = round::open(&mut members[0], &announced, &list).await;
    let put: Vec<i64> = (0..count).map(|i| (0..3).map(|house| values(house, count)[i]).sum()).collect();
    assert!(sum == put, "{trouble:?}: the sum is another");
    let mut state = Terms::of(&site.charter).unwrap().first_state().unwrap();
    round::apply(&site.charter, &mut state, &sum, 3);
    let verdict = Verdict::Applied { state: Digest::from_bytes(state.digest()), last: false };
    for (house, member) in members.iter_mut().enumerate() {
        let put = async |member: &mut Member| member.put_outcome(digest, list.digest(), verdict).await;
        stage.turn(house, "outcome", member, put).await;
    }
    members[0].settled(1).await;
    let home = site.home().await;
    let ended = async {
        while home.store.setting(aggregator::store::Setting::FinalState).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap();
    let status = aggregator::status::read(&home).await.unwrap();
    assert_eq!((status.stage, status.record, status.halted), ("completed", 1, None), "{trouble:?}");
    let file = aggregator::record::file(&home).await.unwrap().unwrap();
    protocol::log::audit::audit(&file).unwrap();
    home.store.close().await;
    let log = std::fs::read_to_string(site.dir.path().join("log")).unwrap();
    let not_taken = log.matches("no connection could be taken").count();
    match trouble {
        Trouble::Lowered => assert!(not_taken > 0, "it never was without a file for a connection:\n{log}"),
        // Its own limit of connections leaves files for the round.
        Trouble::Started(_) => assert!(not_taken == 0 && !log.contains("too-many-files"), "{log}"),
        Trouble::Reset => println!("{} connections were reset", stage.broken.load(Ordering::Relaxed)),
    }
    assert!(!log.contains("panicked"), "{log}");
    stage.cases
}

#[tokio::test(flavor = "multi_thread")]
async fn without_files_for_connections_callers_come_back_later_and_the_round_ends_with_the_exact_sum_in_the_same_process()
 {
    let mut cases = 0;
    for trouble in [Trouble::Started(96), Trouble::Started(64), Trouble::Lowered, Trouble::Reset] {
        cases += a_round_among(trouble).await;
    }
    println!("{cases} cases of too few files or of connections that break off at once");
    assert_eq!(cases, 24);
}
