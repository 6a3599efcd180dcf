//! A disk that is full: nothing begins that could not end, callers are told to come back, and all goes on once there is room.
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::{CHARTER, HOUSES, Member, Site, rule};
use protocol::Message as _;
use protos::v1;
use protos::v1::event::Kind;
use tonic::Code;

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
    fn fill(&self) -> std::path::PathBuf {
        let file = self.0.join("filler");
        // It ends when the disk is full.
        let _ = std::io::copy(&mut std::io::repeat(7), &mut std::fs::File::create(&file).unwrap());
        file
    }
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
