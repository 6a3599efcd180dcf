//! Contributions over a network that breaks off: each goes on where it was, whoever crashes, and counts once.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::{CHARTER, HOUSES, Member, Site, announced, body_of, rule, values};
use futures::StreamExt as _;
use protos::v1;
use protos::v1::submit_request::Part;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use secure_sum::Layout;
use tokio_stream::wrappers::ReceiverStream;

/// Cuts of each house's upload.
const CUTS: usize = 67;

/// A model of some twenty chunks, and time for all cuts.
fn charter() -> String {
    CHARTER
        .replace("hidden_size = 8", "hidden_size = 1024")
        .replace("\nr = 2", "\nr = 128")
        .replace("close_ms = 20000", "close_ms = 120000")
        .replace("open_ms = 40000", "open_ms = 240000")
}

async fn kept(member: &mut Member, header: &v1::SubmitHeader) -> v1::FindUploadResponse {
    let request = v1::FindUploadRequest { contribution: header.contribution.clone() };
    member.client.find_upload(request).await.unwrap().into_inner()
}

fn header_of(parts: &[v1::SubmitRequest]) -> v1::SubmitHeader {
    let Some(Part::Header(header)) = parts[0].part.clone() else { panic!("a header comes first") };
    header
}

/// The header and the chunks from `first` up to `end`.
fn from(parts: &[v1::SubmitRequest], first: u32, end: usize) -> Vec<v1::SubmitRequest> {
    let header = v1::SubmitHeader { first, ..header_of(parts) };
    let header = v1::SubmitRequest { part: Some(Part::Header(header)) };
    std::iter::once(header).chain(parts[1 + first as usize..1 + end].iter().cloned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_uploads_that_break_off_go_on_where_they_were_and_count_once() {
    let seed = rand::rng().random::<u64>();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut site = Site::new(&charter()).await;
    site.blob_bytes = Some(1);
    let (mut members, announced) = announced(&mut site, 1).await;
    let count = Layout::from_bytes(&announced.unverified().unwrap().layout).unwrap().values().count;
    let (mut bodies, mut resumed, mut restarts) = (Vec::new(), 0, 0);
    for house in 0..members.len() {
        let parts = members[house].contribution(&announced, &values(house, count));
        let (header, chunks) = (header_of(&parts), parts.len() - 1);
        assert!(chunks > 10, "{chunks} chunks");
        let (mut least, mut most) = (0, 0);
        for _ in 0..CUTS {
            let found = kept(&mut members[house], &header).await;
            assert!(
                !found.accepted && least <= found.chunks && found.chunks as usize <= most,
                "{found:?}, {least} to {most}"
            );
            least = found.chunks;
            resumed += usize::from(found.chunks > 0);
            let end = (found.chunks as usize + rng.random_range(0..=1).max(usize::from(least == 0))).min(chunks - 1);
            most = most.max(end);
            // The parts, and then silence, until the connection is cut.
            let (sender, receiver) = tokio::sync::mpsc::channel(parts.len());
            for part in from(&parts, found.chunks, end) {
                sender.try_send(part).unwrap();
            }
            let cut = Duration::from_millis(rng.random_range(1..30));
            let broken = tokio::time::timeout(cut, members[house].client.submit(ReceiverStream::new(receiver))).await;
            match broken {
                Err(_) => {}
                // What the stream before had on the way was kept after it was asked for: a house asks again.
                Ok(Err(status)) if status.code() == tonic::Code::Aborted => {}
                // It may not have noticed yet that the stream before is gone.
                Ok(Err(status)) if rule(&status) == "busy" => {}
                other => panic!("the stream has not ended: {other:?}"),
            }
            drop(sender);
            if rng.random_ratio(1, 12) {
                site.restart(&mut members).await;
                restarts += 1;
            }
        }
        // The aggregator may not have noticed that the last one is gone.
        let done = async {
            loop {
                let found = kept(&mut members[house], &header).await;
                match members[house].submit(from(&parts, found.chunks, chunks)).await {
                    Ok(()) => return found.chunks,
                    Err(status) => assert_eq!(rule(&status), "busy"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(20), done).await.unwrap() > 0);
        assert!(kept(&mut members[house], &header).await.accepted);
        members[house].submit(from(&parts, 0, chunks)).await.unwrap();
        bodies.push(body_of(&parts));
    }
    let digest = announced.body_digest();
    let list = members[0].cohort(digest).await;
    assert_eq!(list.contributions.len(), 3);
    for (house, body) in HOUSES.iter().zip(&bodies) {
        let request = v1::GetBodyRequest { announcement: digest.as_bytes().to_vec().into(), house: (*house).into() };
        let runs = members[0].client.get_body(request).await.unwrap().into_inner();
        let runs: Vec<_> = runs.map(|run| run.unwrap().data.to_vec()).collect().await;
        assert!(runs.concat() == *body, "the body of {house} is not what it sent");
    }
    println!("{} cuts, {resumed} uploads resumed, {restarts} crashes of the aggregator", CUTS * 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_only_where_what_is_kept_ends_and_one_of_other_bytes_starts_anew() {
    let mut site = Site::new(&charter()).await;
    site.blob_bytes = Some(1);
    let (mut members, announced) = announced(&mut site, 1).await;
    let count = Layout::from_bytes(&announced.unverified().unwrap().layout).unwrap().values().count;
    let parts = members[0].contribution(&announced, &values(0, count));
    let (header, chunks) = (header_of(&parts), parts.len() - 1);
    let cut = members[0].submit(from(&parts, 0, 3)).await.unwrap_err();
    assert_eq!(rule(&cut), "bad-submission");
    assert_eq!(kept(&mut members[0], &header).await.chunks, 3);
    let skipped = members[0].submit(from(&parts, 4, chunks)).await.unwrap_err();
    assert!(skipped.message().contains("goes on at chunk 4"), "{skipped}");

    // Another contribution of the same house to the same attempt, before one is accepted: nothing of the first is taken for it.
    let other = members[0].contribution(&announced, &values(0, count));
    assert_eq!(kept(&mut members[0], &header_of(&other)).await.chunks, 0);
    let mixed = members[0].submit(from(&other, 3, chunks)).await.unwrap_err();
    assert!(mixed.message().contains("goes on at chunk 3"), "{mixed}");
    // Chunks that are in range, and not those that were signed: all of them are forgotten.
    let mut altered = parts.clone();
    altered[5] = other[5].clone();
    assert!(members[0].submit(from(&altered, 3, chunks)).await.unwrap_err().message().contains("digest"));
    assert_eq!(kept(&mut members[0], &header).await.chunks, 0);
    // Nobody learns how far another's is.
    let theirs = v1::FindUploadRequest { contribution: header.contribution.clone() };
    assert_eq!(rule(&members[1].client.find_upload(theirs).await.unwrap_err()), "not-the-caller");
    members[0].submit(from(&parts, 0, chunks)).await.unwrap();
}
