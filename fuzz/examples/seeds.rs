//! Writes the seed corpora: `cargo run --release --example seeds` in fuzz/ makes corpus/ from valid encodings.

use std::path::Path;
use std::{fs, io};

use plainchant_fuzz::{FIXTURES, KINDS, wire};
use prost::Message as _;
use protocol::client::Memory;
use protocol::log::Checkpoint;
use protocol::server::{Event, Input};
use protocol::*;
use protos::{convert, v1};

#[path = "../../protocol/tests/common/mod.rs"]
mod common;
use common::record::End;
use common::*;

fn main() -> io::Result<()> {
    edits()?;
    messages()?;
    texts()?;
    record()?;
    wires()
}

fn seed(target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}

/// The targets that edit a valid encoding need only the choices in front.
fn edits() -> io::Result<()> {
    seed("layout", "valid", &[1])?;
    seed("layout", "bytes", &[&[0], FIXTURES[0].layout.to_bytes().as_slice()].concat())?;
    for target in ["body", "share", "commitments", "checksum", "envelope"] {
        for (set, name) in [(0, "p50"), (1, "p100")] {
            seed(target, name, &[set, 1])?;
            seed(target, &format!("{name}-edited"), &[set, 1, 40, 0, 1])?;
        }
    }
    seed("request", "valid", &[1])?;
    seed("request", "bytes", &[&[0], plainchant_fuzz::signing_request().as_slice()].concat())?;
    let commitments = FIXTURES[0].dealing.commitments.to_bytes();
    seed("commitments", "bytes", &[&[0, 0], commitments.as_slice()].concat())
}

fn messages() -> io::Result<()> {
    let world = World::new(&Shape { policy: "clients", ..FOUR });
    let (start, digest) = (world.start(), Digest::sha256(b"seed"));
    let announced = world.announced();
    let (contribution, answer) = (world.contribution(1, digest, b"content"), world.answer(0, digest, digest));
    let outcome = world.outcome(0, digest, digest, Verdict::Applied { state: digest, last: false });
    let name = world.members[0].name().clone();
    let list = CohortList { announcement: digest, contributions: vec![contribution.clone()] };
    let approval = Approval { charter: digest, member: name.clone(), state: digest };
    let leaf = RecordLeaf {
        round: start.round,
        attempt: start.attempt,
        announcement: digest,
        cohort: Some(digest),
        houses: world.house_names(),
        conclusion: Conclusion::Settled(Verdict::Void { reason: VoidReason::Residual }),
        signers: vec![name.clone()],
    };
    let invitation = Invitation {
        url: "https://aggregator:7000".into(),
        authority: vec![48; 20],
        charter: digest,
        name: name.clone(),
        token: [9; 32],
    };
    statement("ready", &world.ready(0, &start))?;
    statement("offer", &world.offer(0, 7))?;
    statement("announcement", &announced)?;
    statement("contribution", &contribution)?;
    statement("answer", &answer)?;
    statement("outcome", &outcome)?;
    statement("approval", &Signed::sign(&approval, &world.members[0]))?;
    let claim = world.claim(digest, digest);
    statement("claim", &world.sign_claim(&claim))?;
    statement("checksum", &world.checksum(0, 1, &claim, &[1; 25]))?;
    statement("complaint", &world.complaint(0, 1, digest, b"sealed"))?;
    plain("stock", "stock", &KeyStock { member: name, offers: vec![world.offer(0, 7)] })?;
    plain("cohort", "cohort", &list)?;
    plain("roster", "roster", world.federation.roster())?;
    plain("leaf", "leaf", &leaf)?;
    plain("notice", "notice-cohort", &Notice::Cohort(list))?;
    plain("notice", "notice-answered", &Notice::Answered(answer.clone()))?;
    plain("input", "input-outcome", &Input { at_ms: 1, event: Event::Outcome(outcome) })?;
    plain("input", "input-tick", &Input { at_ms: 1, event: Event::Tick })?;
    plain("memory", "memory", &Memory::new(digest))?;
    plain("invitation", "invitation", &invitation)
}

/// A statement alone and signed.
fn statement<T: Statement>(kind: &str, signed: &Signed<T>) -> io::Result<()> {
    message(kind, kind, signed.body())?;
    plain(kind, &format!("{kind}-signed"), signed)
}

fn plain(kind: &str, name: &str, value: &impl Message) -> io::Result<()> {
    message(kind, name, &value.to_bytes())
}

fn message(kind: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let tag = KINDS.iter().position(|(one, _)| *one == kind).expect("a kind of the table");
    seed("message", name, &[&[tag as u8], bytes].concat())
}

fn texts() -> io::Result<()> {
    let world = World::new(&FOUR);
    let signer = Signer::new(HouseName::new("aggregator").expect("a name"), &[7; 32]);
    let checkpoint = Checkpoint::new("fuzz", log::Log::new().head()).sign(&signer);
    let invitation = Invitation {
        url: "https://a:1".into(),
        authority: vec![48; 4],
        charter: Digest::sha256(b"seed"),
        name: world.members[0].name().clone(),
        token: [9; 32],
    };
    for (tag, name, text) in [
        (0, "charter", world.federation.charter().text()),
        (1, "invitation", &invitation.to_string()),
        (2, "checkpoint", &checkpoint),
        (3, "name", "north-clinic"),
    ] {
        seed("text", name, &[&[tag], text.as_bytes()].concat())?;
    }
    Ok(())
}

/// A record of three attempts, edited and not, and its beginning.
fn record() -> io::Result<()> {
    let world = World::new(&FOUR);
    let file = world.whole(&world.record(&[End::WrongEnvelope, End::Applied, End::TooFew]));
    seed("record", "bytes", &[&[0], file.as_slice()].concat())?;
    seed("record", "header", &[&[0], &file[..400]].concat())?;
    seed("record", "whole", &[1])?;
    for (name, at) in [("length", 20_u16), ("leaf", file.len() as u16 / 2), ("checkpoint", file.len() as u16 - 300)] {
        seed("record", name, &[&[1], at.to_le_bytes().as_slice(), &[1]].concat())?;
    }
    Ok(())
}

fn wires() -> io::Result<()> {
    let (world, digest) = (World::new(&FOUR), Digest::sha256(b"seed"));
    let contribution = Some(convert::to_wire(&world.contribution(1, digest, b"content")));
    let upload = v1::FindUploadRequest { contribution: contribution.clone() };
    let header = v1::SubmitHeader { contribution, sealed_shares: vec![b"sealed".to_vec().into()], first: 7 };
    let outcome = convert::to_wire(&world.outcome(0, digest, digest, Verdict::Applied { state: digest, last: false }));
    let settled = v1::Settled { outcomes: vec![outcome.clone()], ..Default::default() };
    let ready = Some(convert::to_wire(&world.ready(0, &world.start())));
    let answer = Some(convert::to_wire(&world.answer(0, digest, digest)));
    let offers = vec![convert::to_wire(&world.offer(0, 7))];
    for (kind, bytes) in [
        ("event", v1::Event { sequence: 5, live: true, kind: Some(v1::event::Kind::Settled(settled)) }.encode_to_vec()),
        ("upload", upload.encode_to_vec()),
        ("submit", v1::SubmitRequest { part: Some(v1::submit_request::Part::Header(header)) }.encode_to_vec()),
        ("ready", v1::MarkReadyRequest { ready }.encode_to_vec()),
        ("offers", v1::OfferKeysRequest { offers }.encode_to_vec()),
        ("answer", v1::PutAnswerRequest { answer }.encode_to_vec()),
        ("outcome", v1::PutOutcomeRequest { outcome: Some(outcome) }.encode_to_vec()),
        (
            "join",
            v1::JoinRequest { name: "north".into(), token: vec![1; 32].into(), ..Default::default() }.encode_to_vec(),
        ),
        ("proof", v1::GetProofResponse { hashes: vec![vec![2; 32].into()], ..Default::default() }.encode_to_vec()),
    ] {
        let tag = wire::KINDS.iter().position(|(one, _)| *one == kind).expect("a kind of the table");
        seed("wire", kind, &[&[tag as u8], bytes.as_slice()].concat())?;
    }
    Ok(())
}
