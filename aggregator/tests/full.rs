//! A disk that is full: nothing begins that could not end, callers are told to come back, and all goes on once there is room.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aggregator::store::{CrashHook, Moment, Place, Setting, Shelf, Transition};
use common::{CHARTER, HOUSES, Member, Site, channel, join_request, round, rule, signer, values};
use futures::StreamExt as _;
use protocol::log::Checkpoint;
use protocol::{Digest, Message as _, Verdict};
use protos::v1;
use protos::v1::enrolment_client::EnrolmentClient;
use protos::v1::event::Kind;
use rcgen::{CertificateParams, KeyPair};
use secure_sum::{Layout, SealingKey};
use terms::Terms;
use tokio::sync::Notify;
use tonic::{Code, Status};

/// Cases at once, each with a disk of its own.
const TOGETHER: usize = 4;
/// The disk is full for so long at most: some changes follow from no call, and nobody is told.
const FULL: Duration = Duration::from_millis(500);

/// A small disk of its own, where this user may mount one; gone when dropped.
struct Disk<'a>(&'a Path);

impl<'a> Disk<'a> {
    fn mount(at: &'a Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        let done = mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at).output().ok()?;
        done.status.success().then_some(Self(at))
    }

    /// Takes all that is left; gives the file that holds it.
    fn fill(&self) -> PathBuf {
        fill(self.0)
    }
}

fn fill(disk: &Path) -> PathBuf {
    let file = disk.join("filler");
    // It ends when the disk is full.
    let _ = std::io::copy(&mut std::io::repeat(7), &mut std::fs::File::create(&file).unwrap());
    file
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        // Lazily: the database may be closing still.
        let _ = Command::new("umount").arg("-l").arg(self.0).output();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_no_round_begins_callers_come_back_later_and_room_is_enough_to_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Disk::mount(dir.path(), "160m") else {
        eprintln!("no disk can be mounted here: this is not looked at");
        return;
    };
    let mut site = Site::new_in(dir.path(), CHARTER).await;
    let addr = site.serve().await;
    let mut members = Vec::new();
    for (secret, name) in (1..).zip(HOUSES) {
        members.push(Member::join(&site, addr, name, secret).await);
    }
    let filler = disk.fill();
    let offered = members[0].try_offer_keys(site.charter.digest(), 40).await.unwrap_err();
    assert_eq!((offered.code(), rule(&offered).as_str()), (Code::ResourceExhausted, "disk-full"), "{offered}");
    assert_eq!(members[0].client.offer_keys(v1::OfferKeysRequest::default()).await.unwrap().into_inner().stock, 0);

    // Room for rows, and not for a round.
    std::fs::File::options().write(true).open(&filler).unwrap().set_len(140 << 20).unwrap();
    let (charter, roster) = (site.charter.digest(), members[0].roster().await.digest());
    for member in &mut members {
        member.offer_keys(charter, 2).await;
        member.ready(charter, roster, 1).await.unwrap();
    }
    let mut events = members[0].client.watch_events(v1::WatchEventsRequest { after: 0 }).await.unwrap().into_inner();
    let gathering = events.message().await.unwrap().unwrap();
    assert!(matches!(gathering.kind, Some(Kind::Gathering(_))));
    let more = tokio::time::timeout(Duration::from_secs(2), events.message()).await;
    assert!(more.is_err(), "a round is announced on a full disk: {more:?}");

    std::fs::remove_file(&filler).unwrap();
    members[0].announcement().await;
    site.server.take().unwrap().shutdown().await.unwrap();
}

/// A durable change, and which of its kind.
type Change = (Transition, usize, Moment);

/// Notes each change of a federation, and fills the disk at one of them.
#[derive(Default)]
struct Watch {
    seen: Mutex<BTreeMap<(Transition, Moment), usize>>,
    full: Notify,
    /// Calls that were told to come back.
    refused: AtomicUsize,
    told: Notify,
}

impl Watch {
    fn hook(self: &Arc<Self>, disk: PathBuf, at: Option<Change>) -> CrashHook {
        let watch = Arc::clone(self);
        Arc::new(move |transition, moment| {
            let mut seen = watch.seen.lock().unwrap();
            let number = seen.entry((transition, moment)).or_default();
            *number += 1;
            if at == Some((transition, *number, moment)) {
                fill(&disk);
                watch.full.notify_one();
            }
        })
    }

    /// Makes room again once somebody was told that there is none, or after a while.
    async fn make_room(self: Arc<Self>, disk: PathBuf) {
        self.full.notified().await;
        // Whether or not somebody was told.
        let _ = tokio::time::timeout(FULL, self.told.notified()).await;
        std::fs::remove_file(disk.join("filler")).unwrap();
    }

    /// Asks until it is answered, as a member does that is told to come back.
    async fn again<T>(&self, mut ask: impl AsyncFnMut() -> Result<T, Status>) -> T {
        for _ in 0..1_000 {
            match ask().await {
                Ok(answer) => return answer,
                Err(refused) => {
                    assert_eq!((refused.code(), rule(&refused).as_str()), (Code::ResourceExhausted, "disk-full"));
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    self.told.notify_one();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        panic!("there is room, and it is refused all the same");
    }
}

/// A federation from the first joining to the final state, on a disk that is full at this change. `None` where no disk can be mounted.
async fn full_at(at: Option<Change>) -> Option<Arc<Watch>> {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::mount(dir.path(), "96m")?;
    // A busy machine must not lose the round to its deadlines.
    let charter =
        CHARTER.replace("close_ms = 20000", "close_ms = 240000").replace("open_ms = 40000", "open_ms = 480000");
    let mut site = Site::new_in(dir.path(), &charter).await;
    let watch = Arc::new(Watch::default());
    site.crash = Some(watch.hook(dir.path().to_owned(), at));
    // The rate of a test is not a member's.
    (site.limits.calls_per_second, site.limits.anonymous_calls_per_second) = (u32::MAX, u32::MAX);
    let addr = site.serve().await;
    let mut tokens = Vec::new();
    for name in HOUSES {
        tokens.push(site.invite(name).await.token);
    }
    let room = tokio::spawn(Arc::clone(&watch).make_room(dir.path().to_owned()));

    let mut members = Vec::new();
    for (secret, (name, token)) in (1..).zip(HOUSES.into_iter().zip(&tokens)) {
        // The same keys each time: what was noted before the disk was full is answered again.
        let (tls, mailbox) = (KeyPair::generate().unwrap(), SealingKey::generate(&mut rand::rng()));
        let request = join_request(name, token, &tls, secret, &mailbox);
        let mut enrolment = EnrolmentClient::new(channel(addr, &site.authority, None));
        let joined = watch.again(async || enrolment.join(request.clone()).await).await.into_inner();
        let server = (addr, site.authority.as_slice());
        members.push(Member::with_certificate(server, signer(name, secret), (tls, mailbox), joined.certificate));
    }
    let charter = site.charter.digest();
    for member in &mut members {
        let offers = member.offers(charter, 1);
        watch.again(async || member.client.offer_keys(offers.clone()).await).await;
        let csr = CertificateParams::default().serialize_request(&member.tls).unwrap().der().to_vec();
        let renewal = v1::RenewCertificateRequest { signing_request: csr.into() };
        watch.again(async || member.client.renew_certificate(renewal.clone()).await).await;
    }
    let roster = members[0].roster().await.digest();
    for member in &mut members {
        watch.again(async || member.ready(charter, roster, 1).await).await;
    }
    let announced = members[0].announcement().await;
    let digest = announced.body_digest();
    let count = Layout::from_bytes(&announced.unverified().unwrap().layout).unwrap().values().count;
    for (house, member) in members.iter_mut().enumerate() {
        let parts = member.contribution(&announced, &values(house, count));
        watch.again(async || member.submit(parts.clone()).await).await;
    }
    let list = members[0].cohort(digest).await;
    for member in &mut members {
        for signed in member.checksums(&announced).await {
            watch.again(async || member.put_checksum(&signed).await).await;
        }
    }
    members[0].checked(digest).await;
    for member in &mut members {
        let answer = member.answer(&announced).await;
        watch.again(async || member.put_answer(&answer).await).await;
    }
    let sum = round::open(&mut members[0], &announced, &list).await;
    let put: Vec<i64> = (0..count).map(|i| (0..3).map(|house| values(house, count)[i]).sum()).collect();
    assert!(sum == put, "{at:?}: the sum is another");
    let mut state = Terms::of(&site.charter).unwrap().first_state().unwrap();
    round::apply(&site.charter, &mut state, &sum, 3);
    let verdict = Verdict::Applied { state: Digest::from_bytes(state.digest()), last: false };
    for member in &mut members {
        watch.again(async || member.put_outcome(digest, list.digest(), verdict).await).await;
    }
    members[0].settled(1).await;
    let note = members[0].checkpoint().await;
    let origin = Checkpoint::origin_of(site.charter.name.as_str());
    let head = Checkpoint::open(&note, &origin, site.charter.aggregator_key()).unwrap();
    let cosignature =
        v1::PutCosignatureRequest { size: head.head.size, line: head.cosign(&members[0].signer, 1_700_000_000) };
    watch.again(async || members[0].client.put_cosignature(cosignature.clone()).await).await;

    // All of it is there, whole, without a restart and after one.
    final_state(&site, &state).await;
    if at.is_some() {
        room.await.unwrap();
    } else {
        room.abort();
    }
    site.crash = None;
    site.restart(&mut members).await;
    final_state(&site, &state).await;
    let home = site.home().await;
    let status = aggregator::status::read(&home).await.unwrap();
    assert_eq!((status.stage, status.record, status.halted), ("completed", 1, None), "{at:?}");
    let file = aggregator::record::file(&home).await.unwrap().unwrap();
    assert_eq!(protocol::log::audit::audit(&file).unwrap().cosignatures.len(), 1);
    home.store.close().await;
    site.server.take().unwrap().shutdown().await.unwrap();
    drop(disk);
    Some(watch)
}

/// The aggregator opened the same state and handed it to itself.
async fn final_state(site: &Site, state: &adapter::State) {
    let home = site.home().await;
    let kept = async {
        loop {
            if let Some(blob) = home.store.setting(Setting::FinalState).await.unwrap() {
                let digest = Digest::from_bytes(blob.as_slice().try_into().unwrap());
                return home.store.blobs().get(Shelf::Kept, &digest).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let kept = tokio::time::timeout(Duration::from_secs(30), kept).await.unwrap();
    assert_eq!(kept[..], state.to_bytes()[..]);
    home.store.close().await;
}

/// Each change of a federation's life that writes, as a run without a full disk came to them: the first of its kind, and of kept blobs all.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_at_any_change_of_a_round_costs_time_only_and_callers_are_told_to_come_back() {
    let Some(plain) = full_at(None).await else {
        eprintln!("no disk can be mounted here: this is not looked at");
        return;
    };
    assert_eq!(plain.refused.load(Ordering::Relaxed), 0);
    let seen = std::mem::take(&mut *plain.seen.lock().unwrap());
    let mut cases = Vec::new();
    for ((transition, moment), times) in seen {
        let most = if transition == Transition::Put(Place::Kept) { times } else { 1 };
        if moment != Moment::After && transition != Transition::Clear {
            cases.extend((1..=most).map(|number| (transition, number, moment)));
        }
    }
    let count = cases.len();
    assert!(count >= 25, "{cases:?}");
    let mut outcomes = futures::stream::iter(cases)
        .map(|case| async move { (case, full_at(Some(case)).await.unwrap().refused.load(Ordering::Relaxed)) })
        .buffer_unordered(TOGETHER);
    let mut told = 0;
    while let Some(((transition, number, moment), refused)) = outcomes.next().await {
        println!("full at {transition:?} {number} {moment:?}: {refused} calls told to come back, then the exact sum");
        told += usize::from(refused > 0);
    }
    println!("{count} cases of a full disk; in {told} a caller was told so, in the others nobody's call was under way");
    assert!(told >= count / 2, "a full disk was hardly ever noticed");
}
