//! A whole round by hand, with the aggregator killed and restarted after every step; and everything a submission can
//! do wrong.
#![expect(clippy::unwrap_used, reason = "tests")]

mod common;

use aggregator::store::{Setting, Shelf};
use common::{CHARTER, HOUSES, Member, Site, announced, rule, values};
use protocol::log::{Checkpoint, leaf_hash, verify_inclusion};
use protocol::{Announcement, BodyChecksum, Digest, Message as _, RecordLeaf, Signed, SumClaim, Verdict};
use protos::convert;
use protos::v1;
use protos::v1::event::Kind;
use protos::v1::submit_request::Part;
use secure_sum::Layout;
use terms::{Terms, unit};

#[tokio::test]
async fn a_round_survives_a_crash_after_every_step_and_releases_the_exact_sum() {
    let mut site = Site::new(CHARTER).await;
    let (mut members, announced) = announced(&mut site, 2).await;
    let announcement = announced.unverified().unwrap();
    let (charter, digest) = (site.charter.digest(), announced.body_digest());
    assert_eq!(announcement.charter, charter);
    let count = Layout::from_bytes(&announcement.layout).unwrap().values().count;

    site.restart(&mut members).await;
    assert_eq!(members[0].announcement().await, announced, "one attempt, one announcement");
    for house in 0..members.len() {
        let parts = members[house].contribution(&announced, &values(house, count));
        members[house].submit(parts.clone()).await.unwrap();
        site.restart(&mut members).await;
        members[house].submit(parts).await.unwrap();
    }
    let list = members[0].cohort(digest).await;
    assert_eq!(list.contributions.len(), 3);
    let claim = members[0].claim().await;
    let early =
        members[0].client.get_checked(v1::GetCheckedRequest { announcement: digest.as_bytes().to_vec().into() });
    assert_eq!(rule(&early.await.unwrap_err()), "not-yet");
    for house in 0..members.len() {
        members[house].attest(&announced).await;
        site.restart(&mut members).await;
        members[house].attest(&announced).await;
        assert_eq!(members[house].claim().await, claim, "one cohort, one claim");
    }
    check_claim(&mut members[1], digest, &claim).await;
    for house in 0..members.len() {
        let answer = members[house].answer(&announced).await;
        members[house].put_answer(&answer).await.unwrap();
        site.restart(&mut members).await;
        members[house].put_answer(&answer).await.unwrap();
    }
    members[0].event(|event| matches!(event.kind, Some(Kind::Opened(_))).then_some(())).await;

    // What must come out: the integers that went in, summed and applied.
    let terms = Terms::of(&site.charter).unwrap();
    let mut expected = terms.first_state().unwrap();
    let sum: Vec<i64> = (0..count).map(|i| (0..3).map(|house| values(house, count)[i]).sum()).collect();
    expected.apply(&sum, unit(&site.charter), 12.0).unwrap();
    let verdict = Verdict::Applied { state: Digest::from_bytes(expected.digest()), last: false };
    for house in 0..members.len() {
        members[house].put_outcome(digest, list.digest(), verdict).await.unwrap();
        site.restart(&mut members).await;
        members[house].put_outcome(digest, list.digest(), verdict).await.unwrap();
    }
    let completed = members[1].event(|event| match &event.kind {
        Some(Kind::Completed(completed)) => Some(completed.clone()),
        _ => None,
    });
    assert_eq!(&completed.await.state[..], &expected.digest());

    // The history has each event once, numbered from 1.
    let mut numbers = Vec::new();
    members[0]
        .event(|event| {
            numbers.push(event.sequence);
            matches!(event.kind, Some(Kind::Completed(_))).then_some(())
        })
        .await;
    let kinds = "gathering, announced, closed, claimed, checked, opened, settled, completed";
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8], "{kinds}");

    check_record(&mut members[2], &site).await;
    cosignatures(&mut members, &mut site).await;
    check_own_state(&site, &expected).await;
}

/// What is served as the sum is what was claimed, and the checksums that were said are handed on.
async fn check_claim(member: &mut Member, announcement: Digest, claim: &Signed<SumClaim>) {
    let checked = member.checked(announcement).await;
    assert_eq!(checked.claim, Some(convert::to_wire(claim)));
    let said = checked.checksums.into_iter().map(|one| convert::signed("checksums", Some(one)));
    let said: Vec<BodyChecksum> = said.map(|one: Result<Signed<_>, _>| one.unwrap().unverified().unwrap()).collect();
    let own = said.iter().filter(|one| one.member == one.house).map(|one| one.house.as_str());
    assert_eq!(own.collect::<Vec<_>>(), HOUSES);
    let request = v1::GetSumRequest { announcement: announcement.as_bytes().to_vec().into() };
    let (mut stream, mut sum) = (member.client.get_sum(request).await.unwrap().into_inner(), Vec::new());
    while let Some(chunk) = stream.message().await.unwrap() {
        sum.extend_from_slice(&chunk.data);
    }
    assert_eq!(Digest::sha256(&sum), claim.unverified().unwrap().body_sum);
}

/// The record has one leaf, its proof holds, and it names who was counted.
async fn check_record(member: &mut Member, site: &Site) {
    let note = member.checkpoint().await;
    let key = site.charter.aggregator_key();
    let checkpoint = Checkpoint::open(&note, "plainchant/test-federation", key).unwrap();
    assert_eq!(checkpoint.head.size, 1);
    let query = v1::InclusionQuery { leaf_index: 0, tree_size: 1 };
    let of = Some(v1::get_proof_request::Of::Inclusion(query));
    let proof = member.client.get_proof(v1::GetProofRequest { of }).await.unwrap().into_inner();
    assert!(proof.hashes.is_empty());
    assert!(verify_inclusion(&leaf_hash(&proof.leaf), 0, 1, &checkpoint.head.root, &[]));
    let leaf = RecordLeaf::from_bytes(&proof.leaf).unwrap();
    assert_eq!(leaf.houses.iter().map(|name| name.as_str()).collect::<Vec<_>>(), HOUSES);
}

/// A member's word for the record's head is kept, once it is verified, and stands in the checkpoint that everybody gets.
async fn cosignatures(members: &mut [Member], site: &mut Site) {
    let (key, origin) = (*site.charter.aggregator_key(), "plainchant/test-federation");
    let note = members[0].checkpoint().await;
    let checkpoint = Checkpoint::open(&note, origin, &key).unwrap();
    let put = |size, line: &str| v1::PutCosignatureRequest { size, line: line.to_owned() };
    let [own, others] = [0, 1].map(|member: usize| checkpoint.cosign(&members[member].signer, 1_700_000_000));
    let elsewhere = Checkpoint::new("elsewhere", checkpoint.head).cosign(&members[0].signer, 1_700_000_000);
    for (request, refused) in [
        (put(2, &own), "no-proof"),
        (put(0, &own), "bad-cosignature"),
        (put(1, &others), "bad-cosignature"),
        (put(1, &elsewhere), "bad-cosignature"),
        (put(1, own.trim_end()), "bad-cosignature"),
        (put(1, &format!("{own}{own}")), "bad-cosignature"),
        (put(1, ""), "bad-cosignature"),
    ] {
        let status = members[0].client.put_cosignature(request.clone()).await.unwrap_err();
        assert_eq!(rule(&status), refused, "{request:?}");
    }
    assert_eq!(members[2].checkpoint().await, note, "nothing of it was kept");
    members[1].client.put_cosignature(put(1, &others)).await.unwrap();
    members[0].client.put_cosignature(put(1, &own)).await.unwrap();
    // Of an older head, and of the same one again: the first word for the newest stays.
    let empty = Checkpoint::new("test-federation", protocol::log::Log::new().head());
    members[0].client.put_cosignature(put(0, &empty.cosign(&members[0].signer, 7))).await.unwrap();
    members[0].client.put_cosignature(put(1, &checkpoint.cosign(&members[0].signer, 7))).await.unwrap();
    site.restart(members).await;
    let cosigned = members[2].checkpoint().await;
    assert_eq!(cosigned, format!("{note}{own}{others}"), "in roster order");
    let roster = members[2].roster().await;
    let committee = roster.committee().map(|member| (member.name(), member.signing_key()));
    let (opened, words) = Checkpoint::open_cosigned(&cosigned, origin, &key, committee).unwrap();
    assert_eq!((opened, words.len(), words[0].at_s), (checkpoint, 2, 1_700_000_000));
    let file = aggregator::record::file(&site.home().await).await.unwrap().unwrap();
    assert_eq!(protocol::log::audit::audit(&file).unwrap().cosignatures, words);
}

/// The aggregator opened the same state, and `export` would find it.
async fn check_own_state(site: &Site, expected: &adapter::State) {
    let home = site.home().await;
    for _ in 0..200 {
        if let Some(blob) = home.store.setting(Setting::FinalState).await.unwrap() {
            let digest = Digest::from_bytes(blob.as_slice().try_into().unwrap());
            let bytes = home.store.blobs().get(Shelf::Kept, &digest).await.unwrap();
            assert_eq!(&bytes[..], &expected.to_bytes()[..]);
            let status = aggregator::status::read(&home).await.unwrap();
            assert_eq!((status.stage, status.record, status.final_adapter), ("completed", 1, true));
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the aggregator has no final state");
}

#[tokio::test]
async fn a_false_answer_is_named_and_dropped() {
    let mut site = Site::new(CHARTER).await;
    let (mut members, announced) = announced(&mut site, 1).await;
    let digest = announced.body_digest();
    let announcement = announced.unverified().unwrap();
    let count = Layout::from_bytes(&announcement.layout).unwrap().values().count;
    for (house, member) in members.iter_mut().enumerate() {
        member.submit(member.contribution(&announced, &values(house, count))).await.unwrap();
    }
    for member in &mut members {
        member.attest(&announced).await;
    }
    for member in &mut members[..2] {
        let answer = member.answer(&announced).await;
        member.put_answer(&answer).await.unwrap();
    }
    let true_answer = members[2].answer(&announced).await.unverified().unwrap();
    let protocol::AnswerPayload::Open(mut sum) = true_answer.payload else { panic!("under `aggregator` it is open") };
    sum[40] ^= 1;
    let claim = members[2].claim().await.unverified().unwrap();
    let false_answer = members[2].signed_answer(&claim, true_answer.index, sum);
    members[2].put_answer(&false_answer).await.unwrap();
    let request = v1::GetAnswersRequest { announcement: digest.as_bytes().to_vec().into() };
    for _ in 0..200 {
        let answers = members[0].client.get_answers(request.clone()).await.unwrap().into_inner().answers;
        if answers.len() == 2 {
            assert!(answers.iter().all(|answer| answer.signer != "county"));
            // Three of three must answer, so nobody can open this attempt any more: another one begins.
            let reason = members[1].event(|event| abandoned(event, 1)).await;
            assert!(reason.starts_with("too-few-answers"), "{reason}");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the false answer is still handed out");
}

#[tokio::test]
async fn attempts_without_contributions_are_abandoned_with_fresh_keys_each_and_then_halt() {
    let charter = CHARTER.replace("close_ms = 20000", "close_ms = 300").replace("open_ms = 40000", "open_ms = 400");
    let mut site = Site::new(&charter).await;
    let (mut members, first) = announced(&mut site, 2).await;
    let reason = members[0].event(|event| abandoned(event, 1)).await;
    assert!(reason.starts_with("cohort-too-small: 0 contributions"), "{reason}");
    let (charter, roster) = (site.charter.digest(), members[0].roster().await.digest());
    for member in &mut members {
        member.ready(charter, roster, 2).await.unwrap();
    }
    let second = members[0].event(|event| match &event.kind {
        Some(Kind::Announced(signed)) => {
            let signed: Signed<Announcement> = convert::signed("announced", Some(signed.clone())).unwrap();
            signed.unverified().ok().filter(|announcement| announcement.attempt.get() == 2)
        }
        _ => None,
    });
    let (first, second) = (first.unverified().unwrap(), second.await);
    assert_eq!(second.record.size, 1, "the abandoned attempt is on the record");
    for (before, after) in first.committee.iter().zip(&second.committee) {
        assert_ne!(before.offer.body(), after.offer.body(), "no key is used twice");
    }
    assert_ne!(first.mask_seed(), second.mask_seed());
    members[0].event(|event| abandoned(event, 2)).await;
    site.restart(&mut members).await;
    let refused = members[0].ready(charter, roster, 3).await.unwrap_err();
    assert_eq!(rule(&refused), "halted");
    let status = aggregator::status::read(&site.home().await).await.unwrap();
    assert_eq!((status.stage, status.record), ("halted", 2));
    let file = aggregator::record::file(&site.home().await).await.unwrap().unwrap();
    let audited = protocol::log::audit::audit(&file).unwrap();
    let ended: Vec<String> = audited.attempts.iter().map(protocol::log::audit::AuditedAttempt::ended).collect();
    assert_eq!(ended, ["abandoned: 0 contributions at the close; 3 were needed"; 2]);
}

fn abandoned(event: &v1::Event, attempt: u32) -> Option<String> {
    match &event.kind {
        Some(Kind::Abandoned(abandoned)) if abandoned.attempt == attempt => Some(abandoned.reason.clone()),
        _ => None,
    }
}

#[tokio::test]
async fn houses_that_sign_another_state_than_was_opened_here_halt_the_federation() {
    let mut site = Site::new(CHARTER).await;
    let (mut members, announced) = announced(&mut site, 1).await;
    let count = Layout::from_bytes(&announced.unverified().unwrap().layout).unwrap().values().count;
    for (house, member) in members.iter_mut().enumerate() {
        member.submit(member.contribution(&announced, &values(house, count))).await.unwrap();
    }
    let (digest, list) = (announced.body_digest(), members[0].cohort(announced.body_digest()).await);
    for member in &mut members {
        member.attest(&announced).await;
    }
    for member in &mut members {
        let answer = member.answer(&announced).await;
        member.put_answer(&answer).await.unwrap();
    }
    let verdict = Verdict::Applied { state: Digest::sha256(b"another state"), last: false };
    for member in &mut members {
        member.put_outcome(digest, list.digest(), verdict).await.unwrap();
    }
    let home = site.home().await;
    for _ in 0..200 {
        let status = aggregator::status::read(&home).await.unwrap();
        if let Some(reason) = status.halted {
            assert!(reason.contains(&Digest::sha256(b"another state").to_string()), "{reason}");
            assert!(!status.final_adapter);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the federation goes on with two states");
}

#[tokio::test]
async fn under_clients_the_final_state_comes_only_with_approvals_and_only_the_agreed_one() {
    let mut site = Site::new(&CHARTER.replace("policy = \"aggregator\"", "policy = \"clients\"")).await;
    let (mut members, announced) = announced(&mut site, 1).await;
    let announcement = announced.unverified().unwrap();
    let (charter, digest) = (site.charter.digest(), announced.body_digest());
    let count = Layout::from_bytes(&announcement.layout).unwrap().values().count;
    for (house, member) in members.iter_mut().enumerate() {
        member.submit(member.contribution(&announced, &values(house, count))).await.unwrap();
    }
    let list = members[0].cohort(digest).await.digest();
    for member in &mut members {
        member.attest(&announced).await;
    }
    let claim = members[0].claim().await.unverified().unwrap();
    let terms = Terms::of(&site.charter).unwrap();
    let first = terms.first_state().unwrap();
    let mut last = first.clone();
    last.apply(&values(1, count), unit(&site.charter), 12.0).unwrap();
    let state = Digest::from_bytes(last.digest());
    for (member, seat) in members.iter_mut().zip(&announcement.committee) {
        assert!(member.approve(charter, state).await.is_err(), "nothing is handed over before the last round");
        let open = member.signed_answer(&claim, seat.index, vec![1; 64]);
        assert_eq!(rule(&member.put_answer(&open).await.unwrap_err()), "wrong-release");
        let sealed = member.sealed_answer(&claim, seat.index);
        member.put_answer(&sealed).await.unwrap();
    }
    for member in &mut members {
        member.put_outcome(digest, list, Verdict::Applied { state, last: false }).await.unwrap();
    }
    assert_eq!(rule(&members[0].approve(charter, Digest::sha256(b"another")).await.unwrap_err()), "wrong-adapter");
    assert!(!members[0].approve(charter, state).await.unwrap());
    assert!(!members[1].approve(charter, state).await.unwrap());
    assert_eq!(rule(&members[1].put_final(&last.to_bytes()).await.unwrap_err()), "final-state");
    site.restart(&mut members).await;
    assert!(members[2].approve(charter, state).await.unwrap(), "the third of three is the threshold");
    for wrong in [first.to_bytes(), vec![1; 10], [last.to_bytes(), vec![0]].concat()] {
        assert_eq!(rule(&members[2].put_final(&wrong).await.unwrap_err()), "final-state");
    }
    members[2].put_final(&last.to_bytes()).await.unwrap();
    members[0].put_final(&last.to_bytes()).await.unwrap();
    assert!(!members[0].approve(charter, state).await.unwrap(), "it is here");
    check_own_state(&site, &last).await;
}

/// Spoils the parts of a submission.
type Fault<'a> = &'a dyn Fn(&mut Vec<v1::SubmitRequest>);

#[tokio::test]
async fn each_fault_of_a_submission_is_refused_and_a_good_one_still_counts() {
    let mut site = Site::new(CHARTER).await;
    let (mut members, announced) = announced(&mut site, 1).await;
    let layout = Layout::from_bytes(&announced.unverified().unwrap().layout).unwrap();
    let count = layout.values().count;
    let good = members[0].contribution(&announced, &values(0, count));
    let last = good.len() - 1;
    let faults: [(&str, Fault<'_>); 9] = [
        ("no header", &|parts| drop(parts.remove(0))),
        ("no part", &|parts| parts[0].part = None),
        ("truncated stream", &|parts| parts.truncate(last)),
        ("too many chunks", &|parts| {
            let mut more = parts[last].clone();
            if let Some(Part::Run(run)) = &mut more.part {
                run.first += 1;
            }
            parts.push(more);
        }),
        ("truncated chunk", &|parts| chunk(&mut parts[1], |data| data.truncate(layout.chunk_bytes() - 1))),
        ("oversized chunk", &|parts| chunk(&mut parts[1], |data| data.push(0))),
        ("coefficient >= q", &|parts| chunk(&mut parts[1], |data| data[..32].fill(0xff))),
        ("another ciphertext", &|parts| chunk(&mut parts[1], |data| data[0] ^= 1)),
        ("another sealed share", &|parts| {
            if let Some(Part::Header(header)) = &mut parts[0].part {
                header.sealed_shares[1] = vec![1, 2, 3].into();
            }
        }),
    ];
    for (name, fault) in faults {
        let mut parts = good.clone();
        fault(&mut parts);
        let refused = members[0].submit(parts).await.unwrap_err();
        let expected = if name == "no part" { "wire" } else { "bad-submission" };
        assert_eq!(rule(&refused), expected, "{name}: {refused}");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{name}");
    }
    let others = members[1].contribution(&announced, &values(1, count));
    assert_eq!(rule(&members[0].submit(others).await.unwrap_err()), "not-the-caller");
    // Signed by the house itself, but an envelope to nobody: its member could only complain of it, after the close.
    let mut parts = good.clone();
    if let Some(Part::Header(header)) = &mut parts[0].part {
        let signed: Signed<protocol::Contribution> =
            convert::signed("contribution", header.contribution.take()).unwrap();
        let mut manifest = signed.unverified().unwrap();
        let mut sealed = header.sealed_shares[1].to_vec();
        *sealed.last_mut().unwrap() ^= 1;
        manifest.sealed_shares[1] = Digest::sha256(&sealed);
        header.sealed_shares[1] = sealed.into();
        header.contribution = Some(convert::to_wire(&Signed::sign(&manifest, &members[0].signer)));
    }
    let refused = members[0].submit(parts).await.unwrap_err();
    assert_eq!(rule(&refused), "bad-submission");
    assert!(refused.message().contains("sealed share 2"), "{refused}");

    members[0].submit(good.clone()).await.unwrap();
    members[0].submit(good).await.unwrap();
    let second = members[0].contribution(&announced, &values(0, count));
    assert_eq!(rule(&members[0].submit(second).await.unwrap_err()), "second-contribution");
    for (house, member) in members.iter_mut().enumerate().skip(1) {
        member.submit(member.contribution(&announced, &values(house, count))).await.unwrap();
    }
    assert_eq!(members[0].cohort(announced.body_digest()).await.contributions.len(), 3);
}

#[tokio::test]
async fn a_member_that_breaks_off_again_and_again_is_stopped_and_the_others_are_not() {
    let mut site = Site::new(CHARTER).await;
    let (mut members, announced) = announced(&mut site, 1).await;
    let count = Layout::from_bytes(&announced.unverified().unwrap().layout).unwrap().values().count;
    let mut cut = members[0].contribution(&announced, &values(0, count));
    cut.pop();
    for _ in 0..32 {
        assert_eq!(rule(&members[0].submit(cut.clone()).await.unwrap_err()), "bad-submission");
    }
    let stopped = members[0].submit(cut).await.unwrap_err();
    assert_eq!((stopped.code(), rule(&stopped).as_str()), (tonic::Code::ResourceExhausted, "busy"));
    let whole = members[1].contribution(&announced, &values(1, count));
    members[1].submit(whole).await.unwrap();
}

fn chunk(part: &mut v1::SubmitRequest, change: impl FnOnce(&mut Vec<u8>)) {
    if let Some(Part::Run(run)) = &mut part.part {
        let mut data = run.data.to_vec();
        change(&mut data);
        run.data = data.into();
    }
}
