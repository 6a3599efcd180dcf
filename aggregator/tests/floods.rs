//! Floods that anybody who reaches the port can start, while honest houses play a whole round: it ends with the exact sum, and every new caller is served.
//!
//! Frames are written by hand over TLS, from another address of this machine than the houses'. `PLAINCHANT_FLOOD_SECONDS` says how long each lasts, 5 by
//! default; the table of docs/operations.md is of 60.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "common/frames.rs"]
mod frames;

mod common;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{CHARTER, Member, Site, announced, channel, round, values};
use frames::{Attacker, CONTINUATION, DATA, END_HEADERS, End, HEADERS, PREFACE, Peer, RST_STREAM, frame, headers_of};
use protocol::{Announcement, Signed};
use protos::v1;
use protos::v1::event::Kind;
use protos::v1::federation_client::FederationClient;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use terms::Terms;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

/// Floods run on so many connections at once.
const AT_ONCE: usize = 8;
/// RFC 9113, section 7.
const ENHANCE_YOUR_CALM: u32 = 0xb;
const JOIN: &str = "/plainchant.v1.Enrolment/Join";
/// From where the floods come; honest houses are at 127.0.0.1.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn duration() -> Duration {
    Duration::from_secs(std::env::var("PLAINCHANT_FLOOD_SECONDS").map_or(5, |seconds| seconds.parse().unwrap()))
}

/// What came of a flood.
#[derive(Debug, Default)]
struct Tally {
    connections: AtomicUsize,
    bytes: AtomicUsize,
    calm: AtomicUsize,
    closed: AtomicUsize,
    standing: AtomicUsize,
}

impl Tally {
    fn count(&self, end: Option<End>, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let of = match end {
            Some(End::GoAway(ENHANCE_YOUR_CALM)) => &self.calm,
            Some(_) => &self.closed,
            None => &self.standing,
        };
        of.fetch_add(1, Ordering::Relaxed);
    }
}

fn of(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::Relaxed)
}

/// Memory of this process, which is the aggregator, its houses and their enemies, in MiB.
fn rss_mib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() / 1024
}

/// A flood of the port, and a whole round of three houses meanwhile.
async fn a_round_during<F: Future<Output = ()> + Send + 'static>(
    name: &str,
    flood: impl FnOnce(Attacker, Arc<Tally>) -> F,
) -> Arc<Tally> {
    let charter =
        CHARTER.replace("close_ms = 20000", "close_ms = 240000").replace("open_ms = 40000", "open_ms = 480000");
    let mut site = Site::new(&charter).await;
    let (mut members, announced) = announced(&mut site, 1).await;
    let addr = site.server.as_ref().unwrap().addr;
    let (attacker, tally, before) = (Attacker::new(addr, &site.authority), Arc::new(Tally::default()), rss_mib());
    let flood = tokio::spawn(flood(attacker, Arc::clone(&tally)));
    while of(&tally.connections) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let start = Instant::now();
    // Over connections that begin in the flood.
    for member in &mut members {
        member.connect(addr, &site.authority);
    }
    play(&site, &mut members, &announced).await;
    let round = start.elapsed();
    // Whoever comes new is served, until the end.
    let (mut longest, mut most, mut newcomers) = (Duration::ZERO, rss_mib(), 0);
    while !flood.is_finished() {
        let asked = Instant::now();
        let member = &members[newcomers % 3];
        let new = channel(addr, &site.authority, Some((&member.certificate, &member.tls)));
        let mut newcomer = FederationClient::new(new);
        let call = newcomer.get_checkpoint(v1::GetCheckpointRequest {});
        tokio::time::timeout(Duration::from_secs(60), call).await.unwrap().unwrap();
        longest = longest.max(asked.elapsed());
        (newcomers, most) = (newcomers + 1, most.max(rss_mib()));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    flood.await.unwrap();
    println!(
        "{name}: {} connections, {} MiB taken from them, {} told to calm down, {} closed, {} stood at the end; the round took {:.1} s, {newcomers} newcomers \
         at most {:.2} s; memory {before} MiB before, {most} at most",
        of(&tally.connections),
        of(&tally.bytes) >> 20,
        of(&tally.calm),
        of(&tally.closed),
        of(&tally.standing),
        round.as_secs_f64(),
        longest.as_secs_f64(),
    );
    site.server.take().unwrap().shutdown().await.unwrap();
    tally
}

async fn play(site: &Site, members: &mut [Member], announced: &Signed<Announcement>) {
    let mut state = Terms::of(&site.charter).unwrap().first_state().unwrap();
    round::play(&site.charter, members, announced, &mut state, values).await;
    // The aggregator opened the same, or it would not go on.
    let completed = members[0].event(|event| match &event.kind {
        Some(Kind::Completed(completed)) => Some(completed.clone()),
        _ => None,
    });
    assert_eq!(completed.await.state[..], state.digest());
    let home = site.home().await;
    assert!(aggregator::status::read(&home).await.unwrap().halted.is_none());
    home.store.close().await;
}

/// Connections one after another, [`AT_ONCE`] at a time, each flooded with what `next` gives, until the time is over.
async fn again_and_again(
    attacker: Attacker,
    tally: Arc<Tally>,
    first: impl Fn() -> Vec<u8> + Clone + Send + Sync + 'static,
    next: impl Fn(u32) -> Vec<u8> + Clone + Send + Sync + 'static,
) {
    let end = Instant::now() + duration();
    let mut tasks = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (attacker, tally, first, next) = (attacker.clone(), Arc::clone(&tally), first.clone(), next.clone());
        tasks.spawn(async move {
            loop {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                let Ok(mut peer) = Peer::open(&attacker, ELSEWHERE).await else { continue };
                tally.connections.fetch_add(1, Ordering::Relaxed);
                if peer.send(&first()).await.is_err() {
                    tally.count(Some(End::Closed), 0);
                    continue;
                }
                let mut turn = 0;
                let (end, bytes) = peer
                    .flood(left, || {
                        turn += 1;
                        next(turn)
                    })
                    .await;
                tally.count(end, bytes);
            }
        });
    }
    tasks.join_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_houses_finish_their_round_during_a_flood_of_continuation_frames() {
    let tally = a_round_during("CONTINUATION", |attacker, tally| {
        let first = || frame(HEADERS, 0, 1, &headers_of(JOIN));
        // Headers of one letter, without end.
        let next = |_| frame(CONTINUATION, 0, 1, &b"\x00\x01a\x01b".repeat(1_000));
        again_and_again(attacker, tally, first, next)
    })
    .await;
    // Each is ended, and not after much: what was on the way when it ended is all that came.
    assert!(of(&tally.standing) <= AT_ONCE && of(&tally.calm) + of(&tally.closed) > 0, "{tally:?}");
    assert!(of(&tally.bytes) / of(&tally.connections) < 8 << 20, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_houses_finish_their_round_during_a_flood_of_rapid_resets() {
    let tally = a_round_during("rapid reset", |attacker, tally| {
        let next = |turn| {
            let streams = (0..100).map(|i| 2 * (100 * (turn - 1) + i) + 1);
            let pairs = streams.map(|stream| {
                [frame(HEADERS, END_HEADERS, stream, &headers_of(JOIN)), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])]
                    .concat()
            });
            pairs.collect::<Vec<_>>().concat()
        };
        again_and_again(attacker, tally, Vec::new, next)
    })
    .await;
    assert!(of(&tally.calm) + of(&tally.closed) > 0 && of(&tally.standing) <= AT_ONCE, "{tally:?}");
    assert!(of(&tally.bytes) / of(&tally.connections) < 8 << 20, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_houses_finish_their_round_during_a_flood_of_empty_data_frames() {
    let tally = a_round_during("empty DATA", |attacker, tally| {
        let first = || frame(HEADERS, END_HEADERS, 1, &headers_of(JOIN));
        let next = |_| frame(DATA, 0, 1, &[]).repeat(1_000);
        again_and_again(attacker, tally, first, next)
    })
    .await;
    assert!(of(&tally.calm) + of(&tally.closed) > 0 && of(&tally.standing) <= AT_ONCE, "{tally:?}");
    assert!(of(&tally.bytes) / of(&tally.connections) < 8 << 20, "{tally:?}");
}

/// Where a slow caller is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slow {
    /// In what looks like a TLS handshake.
    Handshake,
    /// In HTTP/2's preface.
    Preface,
    /// In headers that never end.
    Headers,
    /// In a request that never ends.
    Body,
}

impl Slow {
    const ALL: [Self; 4] = [Self::Handshake, Self::Preface, Self::Headers, Self::Body];

    /// Says a byte in half a second until the time is over. `true` when the aggregator ended it before.
    async fn speak(self, attacker: &Attacker, end: Instant) -> std::io::Result<bool> {
        let drip: Vec<u8> = match self {
            // A handshake record that would have 16 KiB.
            Self::Handshake => [&[0x16, 3, 1, 0x40, 0][..], &[1; 1_000]].concat(),
            Self::Preface => PREFACE.to_vec(),
            Self::Headers => frame(HEADERS, 0, 1, &headers_of(JOIN).repeat(9)),
            // A message of 12 KiB, a byte in each frame.
            Self::Body => vec![0, 0, 0, 0x30, 0],
        };
        let mut drops = drip.into_iter();
        if self == Self::Handshake {
            let mut stream = attacker.tcp(ELSEWHERE).await?;
            return Ok(drop_by_drop(&mut stream, end, || Some(vec![drops.next()?])).await);
        }
        let mut stream = attacker.tls(ELSEWHERE).await?;
        if self != Self::Preface {
            stream.write_all(&frames::opening()).await?;
        }
        if self == Self::Body {
            stream.write_all(&frame(HEADERS, END_HEADERS, 1, &headers_of(JOIN))).await?;
        }
        let next = || {
            let byte = drops.next().or((self == Self::Body).then_some(0))?;
            Some(if self == Self::Body { frame(DATA, 0, 1, &[byte]) } else { vec![byte] })
        };
        Ok(drop_by_drop(&mut stream, end, next).await)
    }
}

async fn drop_by_drop<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    stream: &mut S,
    end: Instant,
    mut next: impl FnMut() -> Option<Vec<u8>>,
) -> bool {
    let (mut from, mut to) = tokio::io::split(stream);
    let read = async {
        let mut sink = vec![0; 1 << 10];
        while let Ok(1..) = from.read(&mut sink).await {}
    };
    let write = async {
        // Silent where all is said.
        while let Some(bytes) = next() {
            if to.write_all(&bytes).await.is_err() || to.flush().await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        std::future::pending::<()>().await;
    };
    let both = async {
        tokio::select! {
            () = read => {}
            () = write => {}
        }
    };
    tokio::time::timeout_at(end.into(), both).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn honest_houses_finish_their_round_among_callers_that_speak_byte_by_byte() {
    a_round_during("slow-loris", |attacker, tally| async move {
        let end = Instant::now() + duration();
        let mut tasks = JoinSet::new();
        for number in 0..400 {
            let (attacker, tally) = (attacker.clone(), Arc::clone(&tally));
            tasks.spawn(async move {
                let slow = Slow::ALL[number % 4];
                tally.connections.fetch_add(1, Ordering::Relaxed);
                let ended = slow.speak(&attacker, end).await.unwrap_or(true);
                tally.count(ended.then_some(End::Closed), 0);
                (slow, ended)
            });
        }
        let ends = tasks.join_all().await;
        for slow in Slow::ALL {
            let ended = ends.iter().filter(|end| **end == (slow, true)).count();
            println!("slow in {slow:?}: {ended} of 100 were ended in time");
            // A handshake has ten seconds; half a minute is time enough on a busy machine.
            if slow == Slow::Handshake && duration() >= Duration::from_secs(30) {
                assert_eq!(ended, 100, "a handshake that lasts for ever");
            }
        }
    })
    .await;
}

/// Descriptors that this process may have.
fn descriptors(wanted: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let reachable = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if current.is_some_and(|current| current < reachable) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(reachable), maximum }).unwrap();
    }
    getrlimit(Resource::Nofile).current.unwrap_or(wanted)
}

/// Five thousand connections from ten addresses, a tenth of them with TLS and the rest without a word; both ends of each are in this process.
#[tokio::test(flavor = "multi_thread")]
async fn honest_houses_finish_their_round_beside_five_thousand_idle_connections() {
    let wanted = 5_000;
    let allowed = (descriptors(2 * wanted + 1_000).saturating_sub(1_000) / 2).min(wanted);
    if allowed < wanted {
        println!("only {allowed} idle connections: this process may have no more open files");
    }
    a_round_during("idle connections", move |attacker, tally| async move {
        let (end, mut held) = (Instant::now() + duration(), Vec::new());
        let mut quiet = Vec::new();
        for number in 0..allowed {
            let from = Ipv4Addr::new(127, 0, 1, u8::try_from(number % 10).unwrap() + 1);
            if number % 10 == 9 {
                if let Ok(peer) = Peer::open(&attacker, from).await {
                    held.push(peer);
                }
            } else if let Ok(stream) = attacker.tcp(from).await {
                quiet.push(stream);
            }
            tally.connections.store(held.len() + quiet.len(), Ordering::Relaxed);
        }
        println!("{} idle connections, {} of them with TLS", held.len() + quiet.len(), held.len());
        tokio::time::sleep_until(end.into()).await;
        for stream in &quiet {
            let closed = match stream.try_read(&mut [0]) {
                Ok(bytes) => bytes == 0,
                Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
            };
            tally.count(closed.then_some(End::Closed), 0);
        }
    })
    .await;
}

/// One address gets so many connections and no more; another is served all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_so_many_connections_and_others_are_served_beside_it() {
    let mut site = Site::new(CHARTER).await;
    (site.limits.connections, site.limits.connections_per_address) = (64, 32);
    let addr = site.serve().await;
    let attacker = Attacker::new(addr, &site.authority);
    let mut held = Vec::new();
    for _ in 0..32 {
        held.push(Peer::open(&attacker, ELSEWHERE).await.unwrap());
    }
    for _ in 0..8 {
        assert!(Peer::open(&attacker, ELSEWHERE).await.is_err(), "a connection too many is served");
    }
    let abbey = Member::join(&site, addr, "abbey", 1).await;
    // In all, too: the members are counted with everybody.
    let mut others = Vec::new();
    while let Ok(peer) = Peer::open(&attacker, Ipv4Addr::new(127, 0, 0, 3)).await {
        others.push(peer);
        assert!(others.len() <= 32, "more connections than all may have");
    }
    let mut client = FederationClient::new(channel(addr, &site.authority, Some((&abbey.certificate, &abbey.tls))));
    assert!(client.get_checkpoint(v1::GetCheckpointRequest {}).await.is_err(), "there is room for one more");
    drop((held, others));
    let call = async {
        while client.get_checkpoint(v1::GetCheckpointRequest {}).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), call).await.unwrap();
}
